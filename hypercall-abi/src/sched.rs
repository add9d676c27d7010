//! Giving the processor away: yield, block, poll, shut down.

abi_enum! {
    /// Operation of [`crate::Hypercall::SchedOp`] (`SCHEDOP_*`).
    pub enum SchedOp: u32 {
        /// `()`: let others run.
        Yield = 0,
        /// `()`: unmask upcalls and sleep until one is pending.
        Block = 1,
        /// `(&Shutdown)`: end this domain.
        Shutdown = 2,
        /// `(&Poll)`: sleep until one of some ports is pending; upcalls stay masked.
        Poll = 3,
    }
}

abi_enum! {
    /// Why a domain ends (`SHUTDOWN_*`).
    pub enum ShutdownReason: u32 {
        /// It is done.
        Poweroff = 0,
        /// It wants to be started again.
        Reboot = 1,
        /// It was suspended.
        Suspend = 2,
        /// It failed.
        Crash = 3,
        /// Its watchdog expired.
        Watchdog = 4,
    }
}

abi_struct! {
    /// Argument of [`SchedOp::Shutdown`] (`sched_shutdown`).
    pub struct Shutdown(4) {
        /// IN: a [`ShutdownReason`].
        0 => reason: u32,
    }
}

abi_struct! {
    /// Argument of [`SchedOp::Poll`] (`sched_poll`).
    pub struct Poll(24) {
        /// IN: address of an array of `u32` ports.
        0 => ports: u64,
        /// IN: how many; at most 128.
        8 => count: u32,
        /// Unused.
        12 => pad: u32,
        /// IN: system time in ns at which to return anyway; 0 for never.
        16 => timeout_ns: u64,
    }
}

/// The most ports that one [`SchedOp::Poll`] may name.
pub const POLL_PORTS_MAX: u32 = 128;
