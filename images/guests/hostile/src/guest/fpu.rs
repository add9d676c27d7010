//! FPU state: clean when a domain begins, and nobody else's ever after.

use core::arch::asm;

use hypercall_abi::Hypercall;

use super::syscall::syscall;

/// What `fxsave` stores.
#[repr(C, align(16))]
struct Image([u64; 64]);

fn save() -> Image {
    let number = Hypercall::FpuTaskswitch.raw().into();
    // SAFETY: the next use of the FPU does not trap; nobody waits for such a trap.
    unsafe { syscall(number, [0; 5]) };
    let mut image = Image([0; 64]);
    // SAFETY: the image is 512 bytes, aligned as `fxsave` wants.
    unsafe { asm!("fxsave64 [{0}]", in(reg) &raw mut image, options(nostack)) };
    image
}

/// Whether the state is that of a processor just reset: control words as after `fninit`, registers zero.
pub(super) fn check_fresh() -> bool {
    let Image(words) = save();
    let control = words[0] & 0xffff;
    let empty = words[0] >> 16 & 0xff_ffff == 0;
    let registers = words[4..52].iter().all(|&word| word == 0);
    (control == 0x37f || control == 0x40) && empty && registers && words[3] & 0xffff_ffff == 0x1f80
}

/// Leaves a mark of our own in every SSE register.
pub(super) fn mark(seed: u64) {
    let mut image = save();
    image.0[0] = 0x37f;
    image.0[3] = 0x1f80;
    for (index, word) in image.0[20..52].iter_mut().enumerate() {
        *word = seed ^ index as u64;
    }
    // SAFETY: the image is 512 bytes, aligned, with legal control words; this guest keeps nothing in these registers.
    unsafe { asm!("fxrstor64 [{0}]", in(reg) &raw const image, options(nostack)) };
}

/// Whether the mark is there still, but for the first register, which probed instructions use.
pub(super) fn is_marked(seed: u64) -> bool {
    let Image(words) = save();
    words[22..52].iter().enumerate().all(|(index, &word)| word == seed ^ (index as u64 + 2))
}
