//! Port input and output.
//! Ports cannot break memory safety except by starting DMA, which no device of the hypervisor's own does.

use core::arch::asm;

macro_rules! reader {
    ($read:ident, $type:ty, $register:tt) => {
        /// Reads a port.
        pub(crate) fn $read(port: u16) -> $type {
            let value;
            // SAFETY: ring 0 may read every port; no device behind the ports in use has memory at its mercy.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                     options(nomem, nostack, preserves_flags));
            }
            value
        }
    };
}

macro_rules! writer {
    ($write:ident, $type:ty, $register:tt) => {
        /// Writes a port.
        pub(crate) fn $write(port: u16, value: $type) {
            // SAFETY: ring 0 may write every port; no device behind the ports in use has memory at its mercy.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                     options(nomem, nostack, preserves_flags));
            }
        }
    };
}

reader!(read_u8, u8, "al");
reader!(read_u32, u32, "eax");
writer!(write_u8, u8, "al");
writer!(write_u16, u16, "ax");
writer!(write_u32, u32, "eax");
