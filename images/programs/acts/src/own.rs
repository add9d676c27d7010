//! What a process has in the processor beside general registers: FPU, SSE, bases of FS and GS.
//! Each process of three must find its own there, whenever it was interrupted, and a new one nobody's.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::hint::black_box;

use program_runtime::{Exit, calls};

/// Times that a process looks whether its own is still there.
const LOOKS: u32 = 12;
/// Turns of a loop between two looks: most of a slice under emulation, so that the processes come to be interrupted anywhere.
const TURNS: u32 = 200_000;
/// MXCSR after a reset.
const MXCSR: u32 = 0x1f80;
/// Its lowest flag, as if something had been computed inexactly.
const INEXACT: u32 = 1 << 5;

/// What lies at offset 0 of FS and GS.
struct Words([u64; 2]);

/// The first word at FS and at GS.
fn at_bases() -> [u64; 2] {
    let (fs, gs): (u64, u64);
    // SAFETY: the bases lead to words of this process.
    unsafe { asm!("mov {}, fs:[0]", "mov {}, gs:[0]", out(reg) fs, out(reg) gs, options(nostack, readonly)) };
    [fs, gs]
}

/// Whether the processor lets processes change bases by themselves. Denizen leaves that on where it is there; nobody
/// else runs this program.
fn has_instructions() -> bool {
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & 1 != 0
}

fn set_bases(words: &Words, by_instructions: bool) -> bool {
    let [fs, gs] = [&raw const words.0[0], &raw const words.0[1]].map(|word| word as u64);
    if !by_instructions {
        return calls::set_fs_base(fs).is_ok() && calls::set_gs_base(gs).is_ok();
    }
    // SAFETY: nothing here uses the bases but `at_bases`, and the words live until the process ends.
    unsafe {
        asm!("wrfsbase {}", "wrgsbase {}", in(reg) fs, in(reg) gs, options(nomem, nostack, preserves_flags))
    };
    true
}

/// Puts a number into registers of SSE, of the FPU and into MXCSR.
fn fill(number: u64) {
    let mxcsr = MXCSR | if number & 1 == 1 { INEXACT } else { 0 };
    // SAFETY: nothing here is compiled to use these registers.
    unsafe {
        asm!("movq xmm0, {0}", "movq xmm15, {0}", "movlhps xmm15, xmm15", "fninit", "fild qword ptr [{1}]", "ldmxcsr [{2}]",
             in(reg) number, in(reg) &raw const number, in(reg) &raw const mxcsr, options(nostack));
    }
}

/// Whether the number is still there.
fn holds(number: u64) -> bool {
    let (first, last, upper): (u64, u64, u64);
    let (mut mxcsr, mut real) = (0_u32, 0_u64);
    // SAFETY: as in `fill`; the number is pushed again after it was stored.
    unsafe {
        asm!("movq {0}, xmm0", "movq {1}, xmm15", "movhlps xmm14, xmm15", "movq {2}, xmm14", "stmxcsr [{3}]",
             "fistp qword ptr [{4}]", "fild qword ptr [{4}]", out(reg) first, out(reg) last, out(reg) upper,
             in(reg) &raw mut mxcsr, in(reg) &raw mut real, options(nostack));
    }
    let wanted = MXCSR | if number & 1 == 1 { INEXACT } else { 0 };
    [first, last, upper, real] == [number; 4] && mxcsr == wanted
}

/// A new process finds nothing: no register of a neighbour, no base.
fn is_new() -> bool {
    let (first, last): (u64, u64);
    let (mut mxcsr, mut control) = (0_u32, 0_u16);
    // SAFETY: reading registers into memory of our own.
    unsafe {
        asm!("movq {0}, xmm0", "movq {1}, xmm15", "stmxcsr [{2}]", "fnstcw [{3}]", out(reg) first, out(reg) last,
             in(reg) &raw mut mxcsr, in(reg) &raw mut control, options(nostack));
    }
    let mut bases = [0_u64; 2];
    if has_instructions() {
        // SAFETY: reading changes nothing.
        unsafe {
            asm!("rdfsbase {}", "rdgsbase {}", out(reg) bases[0], out(reg) bases[1], options(nomem, nostack))
        };
    }
    (first, last, mxcsr, control) == (0, 0, MXCSR, 0x37f) && bases == [0; 2]
}

/// Keeps a number for a while, with turns that end anywhere.
fn keep(number: u64, by_instructions: bool) -> u32 {
    let words = Words([number, !number]);
    if !set_bases(&words, by_instructions) {
        return 1;
    }
    fill(number);
    for look in 0..LOOKS {
        for turn in 0..TURNS {
            black_box(turn);
        }
        if look % 4 == 3 {
            calls::yield_now();
        }
        if !holds(number) {
            return 2;
        }
        if at_bases() != black_box(&words).0 {
            return 3;
        }
    }
    0
}

/// Three processes, one of which starts as a copy of another that has something there.
pub(crate) fn state() -> u32 {
    if !is_new() {
        return 10;
    }
    let by_instructions = has_instructions();
    let words = Words([1, !1]);
    if !set_bases(&words, by_instructions) {
        return 11;
    }
    fill(1);
    let mut children = [0; 2];
    for (number, child) in (2..).zip(&mut children) {
        *child = match calls::fork() {
            Err(_) => return 12,
            Ok(0) if !holds(1) || at_bases() != black_box(&words).0 => calls::exit(13),
            Ok(0) => calls::exit(keep(number, by_instructions && number & 1 == 1)),
            Ok(child) => child,
        };
    }
    let own = keep(5, by_instructions);
    if own != 0 {
        return own;
    }
    let ends = children.map(calls::wait);
    if ends.iter().all(|end| *end == Ok(Exit::Status(0).to_word())) {
        0
    } else {
        20 + ends[0].map_or(9, |word| word as u32)
    }
}
