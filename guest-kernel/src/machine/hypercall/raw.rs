//! Hypercalls as numbers and words, by the stubs of the hypercall page.
//! The stubs are reached by `call`, since what they execute depends on the ring that the domain was given.

use core::arch::asm;

/// Declares one function for each count of arguments.
macro_rules! calls {
    ($($(#[$meta:meta])* $name:ident($($argument:ident: $register:tt),*);)+) => { $(
        $(#[$meta])*
        ///
        /// # Safety
        /// What the call changes must be what the caller may change: pointers among the arguments lead to memory of
        /// the right size that is ours for the duration, and no mapping in use is taken away.
        #[inline(always)]
        pub unsafe fn $name<const NUMBER: u32>($($argument: u64),*) -> u64 {
            let result;
            // SAFETY: stub `NUMBER` of the filled hypercall page keeps the convention: arguments and result in these
            // registers, RCX and R11 lost. What the call itself does, the caller answers for.
            unsafe {
                asm!(
                    "call guest_hypercall_page + {offset}",
                    offset = const NUMBER as usize * hypercall_abi::hypercall::STUB_BYTES,
                    $(inlateout($register) $argument => _,)*
                    lateout("rax") result,
                    out("rcx") _,
                    out("r11") _,
                );
            }
            result
        }
    )+ };
}

calls! {
    /// A hypercall without arguments.
    call0();
    /// A hypercall with one argument.
    call1(a: "rdi");
    /// A hypercall with two arguments.
    call2(a: "rdi", b: "rsi");
    /// A hypercall with three arguments.
    call3(a: "rdi", b: "rsi", c: "rdx");
    /// A hypercall with four arguments.
    call4(a: "rdi", b: "rsi", c: "rdx", d: "r10");
    /// A hypercall with five arguments.
    call5(a: "rdi", b: "rsi", c: "rdx", d: "r10", e: "r8");
}
