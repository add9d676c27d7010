//! Addresses of a process: one top-level slot of its own, of which two gigabytes are used.
//! The guest's kernel lies in another slot, so that one entry keeps it out of sight.

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// First address of a process.
pub const START: u64 = 0x80_0000_0000;
/// First address past it.
pub const END: u64 = START + (2 << 30);
/// The page by which a program calls its kernel.
pub const GATE: u64 = START + 0x1000;
/// Bytes that the stack may grow to.
pub const STACK_BYTES: u64 = 256 << 10;
/// First address past the stack. Gate, stack and a small program share their page tables.
pub const STACK_END: u64 = START + 0x5_0000;
/// Where programs are linked.
pub const IMAGE: u64 = START + 0x6_0000;
/// Where [`crate::Call::Map`] looks for room first, and image and heap end.
pub const MAPS: u64 = START + 0x2000_0000;

const _: () = assert!(START.is_multiple_of(1 << 39), "a process begins with its top-level slot");
