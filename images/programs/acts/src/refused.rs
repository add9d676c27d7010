//! What a process must not be able to do: hypercalls, privileged instructions, other rings, its kernel's memory.
//! Each attempt is made by a copy of the process, so that its end can be looked at.

use core::arch::asm;

use program_runtime::{Error, Exit, calls, layout};

const GENERAL_PROTECTION: u8 = 13;

/// How a copy of the process ends that does this.
fn tried(attempt: impl FnOnce()) -> u64 {
    match calls::fork() {
        Ok(0) => {
            attempt();
            calls::exit(0)
        }
        Ok(child) => calls::wait(child).unwrap_or(u64::MAX),
        Err(_) => u64::MAX,
    }
}

fn fault(vector: u8) -> u64 {
    Exit::Fault { vector, rip: 0, address: 0 }.to_word()
}

/// `syscall` with the numbers of hypercalls reaches the guest's kernel, which knows them not, or takes them for calls
/// of its own.
pub(crate) fn hypercalls() -> u32 {
    for number in 15_u64..64 {
        let result: u64;
        // SAFETY: a number from here on is no call of the kernel's.
        unsafe {
            asm!("syscall", inlateout("rax") number => result, in("rdi") 2_u64, in("rsi") 0_u64, in("rdx") 0_u64,
                 out("rcx") _, out("r11") _, options(nostack));
        }
        if Error::from_result(result) != Err(Error::NoCall) {
            return 1 + number as u32;
        }
    }
    0
}

/// Instructions that belong to rings below.
pub(crate) fn instructions() -> u32 {
    macro_rules! try_each {
        ($($text:literal),+ $(,)?) => { [$(tried(|| {
            // SAFETY: the point is that it faults.
            unsafe { asm!($text, out("rax") _, out("rcx") _, out("rdx") _, options(nostack)) }
        })),+] };
    }
    let ends = try_each![
        "cli",
        "sti",
        "hlt",
        "mov rax, cr3",
        "mov cr3, rax",
        "mov rax, cr0",
        "mov rax, dr7",
        "in al, 0x60",
        "out 0x80, al",
        "mov ecx, 0xc0000080\nrdmsr",
        "mov ecx, 0xc0000082\nxor eax, eax\nxor edx, edx\nwrmsr",
        "wbinvd",
        "invlpg [rax]",
        "lgdt [rsp]",
        "lidt [rsp]",
        "ltr ax",
        "clts",
        "swapgs",
        "int 0x20",
        "int 0x82",
        "int 0xff",
        "int 14",
    ];
    (1..).zip(ends).find(|&(_, end)| end != fault(GENERAL_PROTECTION)).map_or(0, |(number, _)| number)
}

/// Far returns and `iretq` to every selector of the hypervisor's descriptors, in every ring but the own.
pub(crate) fn rings() -> u32 {
    for selector in (0xe008_u64..0xe080).step_by(8) {
        for ring in 0..3 {
            let far = tried(|| {
                // SAFETY: the point is that it faults.
                unsafe {
                    asm!("push {0}", "lea {1}, [rip + 2f]", "push {1}", "retfq", "2:",
                         in(reg) selector | ring, out(reg) _);
                }
                calls::exit(ring_now());
            });
            let back = tried(|| {
                // SAFETY: the point is that it faults.
                unsafe {
                    asm!("mov {1}, rsp", "push 0xe02b", "push {1}", "pushfq", "push {0}", "lea {1}, [rip + 2f]",
                         "push {1}", "iretq", "2:", in(reg) selector | ring, out(reg) _);
                }
                calls::exit(ring_now());
            });
            for end in [far, back] {
                if end >> 32 != 1 {
                    return ((selector as u32) << 8) | (ring as u32 + 1);
                }
            }
        }
    }
    u32::from(ring_now() != 3)
}

/// The ring of this process.
fn ring_now() -> u32 {
    let selector: u64;
    // SAFETY: reading a selector changes nothing.
    unsafe { asm!("mov {}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    selector as u32 & 3
}

/// Arguments that lead elsewhere are refused and change nothing.
pub(crate) fn arguments() -> u32 {
    let elsewhere = [0, 0x20_0000, 0x40_0000, layout::END, 0xffff_8000_0000_0000, u64::MAX - 10];
    for (number, address) in (1..).zip(elsewhere) {
        // SAFETY: the kernel looks before it reads.
        let result = unsafe { calls::raw(program_runtime::Call::Write as u64, address, 64) };
        if Error::from_result(result) != Err(Error::Fault) {
            return number;
        }
        // SAFETY: nothing of ours is there.
        if unsafe { calls::unmap(address as *mut u8, 1) } == Ok(()) && address < layout::START {
            return 100 + number;
        }
    }
    if [1 << 47, u64::MAX].into_iter().any(|base| calls::set_fs_base(base) != Err(Error::Invalid)) {
        return 150;
    }
    let wrong = [calls::wait(1), calls::wait(99), calls::map(0).map(|_| 0), calls::map(u64::MAX).map(|_| 0)];
    200 * u32::from(wrong.iter().any(Result::is_ok))
}
