//! The sensitive instructions, one line each: those that Popek and Goldberg's condition is about, which read or change what
//! is a hypervisor's and need not trap, and the privileged ones, which must.
//!
//! Each finds scratch memory in RDI and leaves in RAX what it returned: a selector, flags, 1 for a right answer.

use core::arch::naked_asm;

use super::longer;
use super::outcome::Shown;
use super::probe::Code;

/// An instruction to try.
pub(crate) struct Instruction {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// What there is to say if it is executed.
    pub(crate) shown: Shown,
    /// The code.
    pub(crate) code: Code,
}

macro_rules! instructions {
    ($($shown:ident $name:literal: $body:tt;)+) => {
        /// All of them, in the order of the table.
        pub(crate) static INSTRUCTIONS: &[Instruction] = &[$(
            Instruction { name: $name, shown: Shown::$shown, code: instructions!(@ $body) }
        ),+];
    };
    (@ ($function:path)) => { $function };
    (@ [$($line:literal),+]) => {{
        #[unsafe(naked)]
        unsafe extern "C" fn code(_: *mut u64) -> u64 {
            naked_asm!($($line,)+ "ret")
        }
        code
    }};
}

instructions! {
    Value "sgdt": ["sgdt [rdi]", "mov rax, [rdi + 2]"];
    Value "sidt": ["sidt [rdi]", "mov rax, [rdi + 2]"];
    Value "sldt": ["sldt eax"];
    Value "smsw": ["smsw eax"];
    Value "str": ["str eax"];
    Value "pushf: IF, IOPL": ["pushfq", "pop rax", "and eax, 0x3200"];
    Value "popf: clear IF, IOPL 3": ["pushfq", "and qword ptr [rsp], -0x201", "or qword ptr [rsp], 0x3000", "popfq", "pushfq", "pop rax", "and eax, 0x3200"];
    Answer "lar of the hypervisor's code": ["mov ecx, 0xe008", "xor eax, eax", "lar eax, ecx"];
    Answer "lar of the hypervisor's task": ["mov ecx, 0xe040", "xor eax, eax", "lar eax, ecx"];
    Answer "lar of the own code": ["mov ecx, cs", "xor eax, eax", "lar eax, ecx"];
    Answer "lsl of the hypervisor's data": ["mov ecx, 0xe010", "xor eax, eax", "lsl eax, ecx"];
    Answer "lsl of the hypervisor's task": ["mov ecx, 0xe040", "xor eax, eax", "lsl eax, ecx"];
    Answer "lsl of the own stack": ["mov ecx, ss", "xor eax, eax", "lsl eax, ecx"];
    Answer "verr of the hypervisor's data": ["mov ecx, 0xe010", "xor eax, eax", "verr cx", "setz al"];
    Answer "verr of the own stack": ["mov ecx, ss", "xor eax, eax", "verr cx", "setz al"];
    Answer "verw of the hypervisor's data": ["mov ecx, 0xe010", "xor eax, eax", "verw cx", "setz al"];
    Answer "verw of the own stack": ["mov ecx, ss", "xor eax, eax", "verw cx", "setz al"];
    Value "mov from cs": ["mov eax, cs"];
    Value "mov from ss": ["mov eax, ss"];
    Ran "mov ds, own stack's": ["mov eax, ss", "mov ds, eax", "xor eax, eax", "mov ds, eax"];
    Ran "mov ds, hypervisor's data": ["mov eax, 0xe010", "mov ds, eax"];
    Ran "mov ss, hypervisor's data": ["mov eax, 0xe010", "mov ss, eax"];
    Ran "mov es, beyond the table": ["mov eax, 0xfff8", "mov es, eax"];
    Value "push fs": ["xor eax, eax", "mov fs, eax", ".byte 0x0f, 0xa0", "pop rax"];
    Ran "push cs": [".byte 0x0e"];
    Ran "pop fs, null": ["push 0", ".byte 0x0f, 0xa1"];
    Ran "pop fs, hypervisor's data": ["mov eax, 0xe010", "push rax", ".byte 0x0f, 0xa1"];
    Ran "pop ss": [".byte 0x17"];
    Value "call far, own code": (longer::call_own);
    Value "call far, hypervisor's code": (longer::call_hypervisor);
    Value "jmp far, own code": (longer::jump_own);
    Value "jmp far, hypervisor's code": (longer::jump_hypervisor);
    Value "jmp far, hypervisor's task": (longer::jump_task);
    Value "ret far, own code": ["mov eax, cs", "lea rcx, [rip + 2f]", "push rax", "push rcx", "retfq", "2:", "mov eax, cs"];
    Ran "ret far, hypervisor's code": ["mov eax, 0xe008", "lea rcx, [rip + 2f]", "push rax", "push rcx", "retfq", "2:"];
    Value "iretq, own code": ["mov eax, ss", "mov rdx, rsp", "push rax", "push rdx", "pushfq", "mov eax, cs", "lea rcx, [rip + 2f]", "push rax", "push rcx", "iretq", "2:", "mov eax, cs"];
    Value "iretq, IF clear, IOPL 3": ["mov eax, ss", "mov rdx, rsp", "push rax", "push rdx", "push 0x3002", "mov eax, cs", "lea rcx, [rip + 2f]", "push rax", "push rcx", "iretq", "2:", "pushfq", "pop rax", "and eax, 0x3200"];
    Ran "iretq, hypervisor's code": ["mov rdx, rsp", "push 0xe010", "push rdx", "push 0x202", "push 0xe008", "lea rcx, [rip + 2f]", "push rcx", "iretq", "2:"];
    Ran "int3": ["int3"];
    Ran "int1": [".byte 0xf1"];
    Ran "int 3": ["int 3"];
    Ran "int 0": ["int 0"];
    Ran "int 2": ["int 2"];
    Ran "int 14": ["int 14"];
    Ran "int 0x20": ["int 0x20"];
    Ran "int 0x80, no handler": ["int 0x80"];
    Ran "int 0xff": ["int 0xff"];
    Ran "into": [".byte 0xce"];
    Value "cli: the upcall mask then": (longer::mask);
    Value "sti: the upcall mask then": (longer::unmask);
    Value "hlt: whether it waits": (longer::halt);
    Ran "lgdt": ["lgdt [rdi]"];
    Ran "lidt": ["lidt [rdi]"];
    Ran "lldt": ["xor eax, eax", "lldt ax"];
    Ran "ltr": ["mov eax, 0xe040", "ltr ax"];
    Ran "lmsw": ["xor eax, eax", "lmsw ax"];
    Ran "clts": ["clts"];
    Ran "mov from cr0": ["mov rax, cr0"];
    Ran "mov to cr0": ["xor eax, eax", "mov cr0, rax"];
    Ran "mov from cr2": ["mov rax, cr2"];
    Ran "mov from cr3": ["mov rax, cr3"];
    Ran "mov to cr3": ["xor eax, eax", "mov cr3, rax"];
    Ran "mov from cr4": ["mov rax, cr4"];
    Ran "mov to cr4": ["xor eax, eax", "mov cr4, rax"];
    Ran "mov from cr8": ["mov rax, cr8"];
    Ran "mov to cr8": ["mov eax, 15", "mov cr8, rax"];
    Ran "mov from dr7": ["mov rax, dr7"];
    Ran "mov to dr7": ["mov eax, 0x400", "mov dr7, rax"];
    Ran "mov to dr0": ["xor eax, eax", "mov dr0, rax"];
    Ran "invlpg": ["invlpg [rdi]"];
    Ran "invpcid": ["xor eax, eax", "mov qword ptr [rdi], 0", "mov qword ptr [rdi + 8], 0", "invpcid rax, [rdi]"];
    Ran "invd": ["invd"];
    Ran "wbinvd": ["wbinvd"];
    Ran "rdmsr of EFER": ["mov ecx, 0xc0000080", "rdmsr"];
    Ran "wrmsr of EFER": ["mov ecx, 0xc0000080", "xor eax, eax", "xor edx, edx", "wrmsr"];
    Ran "wrmsr of LSTAR": ["mov ecx, 0xc0000082", "xor eax, eax", "xor edx, edx", "wrmsr"];
    Value "wrmsr, rdmsr of the base of GS": ["mov ecx, 0xc0000101", "mov eax, 0x1234000", "xor edx, edx", "wrmsr", "xor eax, eax", "rdmsr", "shl rdx, 32", "or rdx, rax", "xor eax, eax", "push rdx", "mov ecx, 0xc0000101", "xor edx, edx", "wrmsr", "pop rax"];
    Ran "wrmsr of the base of GS, the hypervisor's": ["mov ecx, 0xc0000101", "xor eax, eax", "mov edx, 0xffff8080", "wrmsr"];
    Value "wrgsbase, rdgsbase": ["mov eax, 0x1234000", "wrgsbase rax", "rdgsbase rcx", "xor eax, eax", "wrgsbase rax", "mov rax, rcx"];
    Ran "rdpmc": ["xor ecx, ecx", "rdpmc"];
    Value "rdtsc: whether it grows": ["rdtsc", "shl rdx, 32", "lea rcx, [rdx + rax]", "rdtsc", "shl rdx, 32", "add rdx, rax", "xor eax, eax", "cmp rdx, rcx", "seta al"];
    Value "rdtscp: its processor": ["rdtscp", "mov eax, ecx"];
    Ran "rdpid": [".byte 0xf3, 0x0f, 0xc7, 0xf8"];
    Ran "cpuid": ["push rbx", "xor eax, eax", "xor ecx, ecx", "cpuid", "pop rbx"];
    Value "cpuid: OSXSAVE": ["push rbx", "mov eax, 1", "xor ecx, ecx", "cpuid", "pop rbx", "shr ecx, 27", "and ecx, 1", "mov eax, ecx"];
    Ran "cpuid, Xen's forced form": [".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "cpuid"];
    Ran "in": ["mov edx, 0x3f8", "in al, dx"];
    Ran "out": ["mov edx, 0x3f8", "out dx, al"];
    Ran "ins": ["mov edx, 0x60", "insb"];
    Ran "outs": ["mov edx, 0xcf8", "mov rsi, rdi", "outsd"];
    Ran "xgetbv": ["xor ecx, ecx", "xgetbv"];
    Ran "xsetbv": ["xor ecx, ecx", "mov eax, 7", "xor edx, edx", "xsetbv"];
    Ran "monitor": ["mov rax, rdi", "xor ecx, ecx", "xor edx, edx", "monitor"];
    Ran "mwait": ["xor eax, eax", "xor ecx, ecx", "mwait"];
    Ran "swapgs": ["swapgs"];
    Ran "sysretq": ["lea rcx, [rip + 2f]", "sysretq", "2:"];
    Ran "sysexit": ["sysexit"];
    Ran "sysenter": ["sysenter"];
    Ran "clac": ["clac"];
    Ran "stac": ["stac"];
    Ran "rsm": ["rsm"];
    Ran "vmcall": ["vmcall"];
    Ran "vmmcall": ["vmmcall"];
    Ran "vmxon": ["vmxon [rdi]"];
    Ran "vmrun": [".byte 0x0f, 0x01, 0xd8"];
    Ran "stgi": [".byte 0x0f, 0x01, 0xdc"];
    Ran "clgi": [".byte 0x0f, 0x01, 0xdd"];
    Ran "skinit": [".byte 0x0f, 0x01, 0xde"];
}
