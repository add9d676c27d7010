//! The families of numbers that records carry and the ABI does not know.

use hypercall_abi::abi_enum;

abi_enum! {
    /// What became of the domain that had the processor.
    pub enum Why: u8 {
        /// It sleeps.
        Slept = 0,
        /// Its turn was over, or it gave way.
        Turn = 1,
        /// It was preempted for an event.
        Preempted = 2,
        /// It ended.
        Ended = 3,
        /// There was none.
        WasIdle = 4,
    }
}

abi_enum! {
    /// Why a vCPU's run state changed.
    pub enum Reason: u8 {
        /// It got the processor.
        Chosen = 0,
        /// It lost the processor: its turn was over, or it gave way.
        Turn = 1,
        /// It lost the processor to the target of an event.
        Preempted = 2,
        /// It sleeps until an event.
        Block = 3,
        /// It sleeps until an event or a deadline.
        Idle = 4,
        /// It waits for ports.
        Poll = 5,
        /// Its sleep ended.
        Woken = 6,
        /// It was built.
        Built = 7,
        /// It ended.
        Ended = 8,
    }
}

abi_enum! {
    /// What was done about an exception.
    pub enum Handled: u8 {
        /// The guest's handler was entered.
        Bounced = 0,
        /// The instruction was carried out for the guest.
        Emulated = 1,
        /// The domain was ended.
        Killed = 2,
        /// The FPU was given to the domain.
        Fpu = 3,
    }
}

abi_enum! {
    /// Stages of a domain's life.
    pub enum Stage: u8 {
        /// It was built.
        Built = 0,
        /// It ended.
        Dying = 1,
        /// All that it had is back.
        Dead = 2,
    }
}

abi_enum! {
    /// Which timer.
    pub enum TimerKind: u8 {
        /// The guest's single-shot timer.
        Single = 0,
        /// End of a sleep.
        Sleep = 1,
        /// End of a window of gathered events.
        Window = 2,
    }
}

abi_enum! {
    /// What a domain's own counter counts, beside hypercalls.
    pub enum Counted: u8 {
        /// Events raised for it.
        Raised = 0,
        /// Of those, the ones that found their bit already pending.
        Merged = 1,
        /// Upcalls.
        Upcalls = 2,
        /// Times that it was switched to from another domain.
        Switches = 3,
        /// Exceptions bounced to it.
        Bounced = 4,
    }
}

abi_enum! {
    /// What becomes of memory.
    pub enum MemoryChange: u8 {
        /// Frames were given to a new domain.
        Given = 0,
        /// All frames of a dead domain have come back, the last of them from domains that had them mapped.
        Returned = 1,
    }
}

abi_enum! {
    /// What ended a recording by itself.
    pub enum Condition: u8 {
        /// A hypercall took longer than was asked for; the value is its ns.
        Call = 0,
        /// A domain died.
        Death = 1,
        /// A runnable vCPU waited longer for the processor than was asked for; the value is its ns.
        Delay = 2,
    }
}
