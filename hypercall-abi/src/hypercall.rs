//! The hypercalls by number, and how their arguments travel.
//! One closed list exists so that counters, traces, documentation and both sides name a call alike.
//!
//! Number in RAX, arguments in RDI RSI RDX R10 R8, result in RAX; RCX and R11 are lost. A guest executes `syscall`
//! itself or calls stub `32 * number` of its hypercall page, which the hypervisor fills. A negative result is
//! `-errno` ([`crate::Errno`]).

abi_enum! {
    /// A hypercall's number in RAX (`xen/include/public/xen.h`).
    pub enum Hypercall: u32 {
        /// `(table)`: set handlers for exceptions.
        SetTrapTable = 0,
        /// `(requests, count, &done, domid)`: change page-table entries.
        MmuUpdate = 1,
        /// `(frames, entries)`: set the descriptor table.
        SetGdt = 2,
        /// `(ss, sp)`: set the kernel's stack.
        StackSwitch = 3,
        /// `(event, failsafe, syscall)`: set the upcall entry points.
        SetCallbacks = 4,
        /// `(set)`: set or clear the flag that makes the next FPU use trap.
        FpuTaskswitch = 5,
        /// `(register, value)`: set a debug register.
        SetDebugreg = 8,
        /// `(register)`: read a debug register.
        GetDebugreg = 9,
        /// `(address, descriptor)`: change one segment descriptor.
        UpdateDescriptor = 10,
        /// `(op, argument)`: the domain's memory.
        MemoryOp = 12,
        /// `(calls, count)`: several hypercalls in one.
        Multicall = 13,
        /// `(va, value, flags)`: change the entry that maps one address.
        UpdateVaMapping = 14,
        /// `(deadline_ns)`: set the single-shot timer.
        SetTimerOp = 15,
        /// `(op, argument)`: version and features.
        XenVersion = 17,
        /// `(op, count, buffer)`: the console.
        ConsoleIo = 18,
        /// `(op, argument, count)`: shared memory by reference.
        GrantTableOp = 20,
        /// `(op, type)`: assists for the guest's kernel.
        VmAssist = 21,
        /// `()`: return from an upcall or exception; its frame lies on the stack.
        Iret = 23,
        /// `(op, vcpu, argument)`: virtual CPUs.
        VcpuOp = 24,
        /// `(which, base)`: segment bases.
        SetSegmentBase = 25,
        /// `(requests, count, &done, domid)`: pin, switch and flush page tables.
        MmuextOp = 26,
        /// `(op, argument)`: yield, block, shut down, poll.
        SchedOp = 29,
        /// `(op, argument)`: register callbacks one by one.
        CallbackOp = 30,
        /// `(op, argument)`: event channels.
        EventChannelOp = 32,
        /// `(op, argument)`: physical devices.
        PhysdevOp = 33,
        /// `(op, ...)`: what Denizen adds; a number that Xen leaves free ([`crate::extension`]).
        Extension = 60,
    }
}

/// Hypercall numbers are below this, as is the count of stubs that Xen fills in a hypercall page.
pub const COUNT: usize = 64;
/// Bytes from one stub of the hypercall page to the next.
pub const STUB_BYTES: usize = 32;
