//! Port input and output.
//! Ports cannot break memory safety except by starting DMA, which no device of the hypervisor's own does.

use core::arch::asm;

macro_rules! width {
    ($read:ident, $write:ident, $type:ty, $register:tt) => {
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

width!(read_u8, write_u8, u8, "al");
width!(read_u16, write_u16, u16, "ax");
width!(read_u32, write_u32, u32, "eax");
