//! Instructions that a guest should not execute, or whose answer it should not get.
//! Each is a function of its own that ends in `ret`, so that a probe can call it.
//!
//! They find a page that they may only read in RDI, writable memory in RSI, and an address of the hypervisor in RDX.

use core::arch::naked_asm;

/// An instruction to try.
pub(super) struct Instruction {
    /// Its name in reports.
    pub(super) name: &'static str,
    /// Whether it must fault: to do nothing, or worse, would be a breach.
    pub(super) must_trap: bool,
    /// The code.
    pub(super) code: unsafe extern "C" fn() -> u64,
}

macro_rules! instructions {
    ($($must_trap:ident $name:literal: $($line:literal),+;)+) => {
        /// All of them.
        pub(super) static INSTRUCTIONS: &[Instruction] = &[$({
            #[unsafe(naked)]
            unsafe extern "C" fn code() -> u64 {
                naked_asm!($($line,)+ "ret")
            }
            Instruction { name: $name, must_trap: instructions!(@ $must_trap), code }
        }),+];
    };
    (@ traps) => { true };
    (@ may) => { false };
}

instructions! {
    may "cli": "cli";
    may "sti": "sti";
    may "cli sti": "cli", "sti";
    may "wrmsr fs base": "mov ecx, 0xc0000100", "xor eax, eax", "xor edx, edx", "wrmsr";
    may "wrmsr bad base": "mov ecx, 0xc0000101", "mov edx, 0x80000000", "wrmsr";
    may "rdmsr fs base": "mov ecx, 0xc0000100", "rdmsr";
    traps "rdmsr efer": "mov ecx, 0xc0000080", "rdmsr";
    traps "wrmsr lstar": "mov ecx, 0xc0000082", "mov rax, rsi", "xor edx, edx", "wrmsr";
    traps "wrmsr efer": "mov ecx, 0xc0000080", "xor eax, eax", "xor edx, edx", "wrmsr";
    traps "wrmsr apic": "mov ecx, 0x1b", "xor eax, eax", "xor edx, edx", "wrmsr";
    traps "in": "mov edx, 0x3f8", "in al, dx";
    traps "out": "mov edx, 0x3f8", "mov al, 0x21", "out dx, al";
    traps "out debug exit": "mov edx, 0xf4", "xor eax, eax", "out dx, eax";
    traps "in keyboard": "in al, 0x64";
    traps "out interrupt controller": "mov al, 0xff", "out 0x21, al";
    traps "out timer": "mov al, 0x34", "out 0x43, al";
    traps "out last port": "mov edx, 0xffff", "out dx, al";
    traps "ins": "mov edx, 0x60", "mov rdi, rsi", "insb";
    traps "outs": "mov edx, 0xcf8", "outsd";
    traps "lgdt": "lgdt [rsi]";
    traps "lidt": "lidt [rsi]";
    traps "lldt": "xor eax, eax", "lldt ax";
    traps "ltr": "mov eax, 0xe040", "ltr ax";
    may "sgdt": "sgdt [rsi]", "mov rax, [rsi + 2]";
    may "sidt": "sidt [rsi]", "mov rax, [rsi + 2]";
    may "sldt": "sldt eax";
    may "smsw": "smsw eax";
    may "str": "str eax";
    traps "lmsw": "xor eax, eax", "lmsw ax";
    traps "clts": "clts";
    traps "mov from cr0": "mov rax, cr0";
    traps "mov from cr3": "mov rax, cr3";
    traps "mov from cr4": "mov rax, cr4";
    traps "mov to cr0": "xor eax, eax", "mov cr0, rax";
    traps "mov to cr3": "xor eax, eax", "mov cr3, rax";
    traps "mov to cr4": "xor eax, eax", "mov cr4, rax";
    traps "mov to cr8": "mov eax, 15", "mov cr8, rax";
    traps "mov from dr7": "mov rax, dr7";
    traps "mov to dr7": "mov rax, rdx", "mov dr7, rax";
    traps "invlpg": "invlpg [rdx]";
    traps "invd": "invd";
    traps "wbinvd": "wbinvd";
    traps "xsetbv": "xor ecx, ecx", "mov eax, 7", "xor edx, edx", "xsetbv";
    traps "swapgs": "swapgs";
    traps "sysret": "mov rcx, rdx", "sysretq";
    traps "monitor": "mov rax, rsi", "xor ecx, ecx", "xor edx, edx", "monitor";
    may "rdpmc": "xor ecx, ecx", "rdpmc";
    may "rdtscp": "rdtscp";
    may "cpuid": "push rbx", "xor eax, eax", "xor ecx, ecx", "cpuid", "pop rbx";
    may "forced cpuid": "push rbx", "xor eax, eax", ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "cpuid", "pop rbx";
    traps "ud2": "ud2";
    traps "int3": "int3";
    may "icebp": ".byte 0xf1";
    may "int 0": "int 0";
    may "int 2": "int 2";
    may "int 8": "int 8";
    may "int 14": "int 14";
    may "int 0x20": "int 0x20";
    may "int 0x40": "int 0x40";
    may "int 0x80": "int 0x80";
    may "int 0xf0": "int 0xf0";
    may "int 0xff": "int 0xff";
    traps "divide by zero": "xor ecx, ecx", "xor edx, edx", "div ecx";
    traps "into": ".byte 0xce";
    traps "int 4": "int 4";
    may "popf all": "push 0x3ffed7 & ~0x100", "popfq", "pushfq", "pop rax";
    may "single step": "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop";
    may "nested task iret": "pushfq", "or qword ptr [rsp], 0x4000", "popfq", "nop";
    may "alignment check": "pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov rax, [rsi + 1]";
    traps "read the hypervisor": "mov rax, [rdx]";
    traps "read the hypervisor through gs": "wrgsbase rdx", "mov rax, gs:[0]";
    traps "write the hypervisor": "mov [rdx], rax";
    traps "jump to the hypervisor": "jmp rdx";
    may "read machine-to-physical": "mov rax, 0xffff800000000000", "mov rax, [rax]";
    traps "write machine-to-physical": "mov rax, 0xffff800000000000", "mov [rax], rax";
    traps "write a page table": "mov rax, [rdi]", "mov [rdi], rax";
    traps "xchg a page table": "xor eax, eax", "lock xadd [rdi], rax";
    traps "read nowhere": "mov rax, 0x8000000000000000", "mov rax, [rax]";
    traps "jump nowhere": "mov rax, 0x8000000000000000", "jmp rax";
    traps "read null": "xor eax, eax", "mov rax, [rax]";
    may "lar": "mov ecx, 0xe008", "lar eax, ecx";
    may "lsl": "mov ecx, 0xe040", "lsl eax, ecx";
    may "verr": "mov ecx, 0xe010", "verr cx";
    may "verw": "mov ecx, 0xe02b", "verw cx";
    traps "load ds of ring 0": "mov eax, 0xe010", "mov ds, eax";
    traps "load ss of ring 0": "mov eax, 0xe010", "mov ss, eax";
    traps "load ss null": "xor eax, eax", "mov ss, eax";
    traps "load fs beyond": "mov eax, 0xfff8", "mov fs, eax";
    may "load gs below": "mov eax, 0x0010", "mov gs, eax", "xor eax, eax", "mov gs, eax";
    traps "far return to ring 0": "mov rax, 0xe008", "push rax", "push rdx", ".byte 0x48, 0xcb";
    traps "far return through a task": "mov rax, 0xe040", "push rax", "push rdx", ".byte 0x48, 0xcb";
    traps "iretq to ring 0": "mov eax, 0xe010", "push rax", "push rsp", "push 0x202", "mov eax, 0xe008", "push rax", "push rdx", "iretq";
    traps "iretq to nowhere": "mov eax, 0xe02b", "push rax", "push rsp", "push 0x202", "mov eax, 0xe033", "push rax", "mov rax, 0x8000000000000000", "push rax", "iretq";
    traps "mov ss then int3": "mov eax, ss", "mov ss, eax", "int3";
    may "mov ss then syscall": "mov ecx, ss", "mov eax, 17", "xor edi, edi", "mov ss, ecx", "syscall";
    may "sysenter": "mov rcx, rsp", "sysenter";
    may "fpu exception": "push 0x0360", "fldcw [rsp]", "fld1", "fldz", "fdivp", "fwait", "fninit", "pop rax";
    may "sse exception": "push 0x1d00", "ldmxcsr [rsp]", "xorps xmm0, xmm0", "divps xmm0, xmm0", "pop rax";
    traps "avx": "vxorps ymm0, ymm0, ymm0";
}
