//! Virtual CPUs: state, run-state times and timers.

abi_enum! {
    /// Operation of [`crate::Hypercall::VcpuOp`] (`VCPUOP_*`).
    pub enum VcpuOp: u32 {
        /// `()`: 1 if the vCPU is up.
        IsUp = 3,
        /// `(&RunstateInfo)`: run states and times.
        GetRunstateInfo = 4,
        /// `()`: no periodic timer.
        StopPeriodicTimer = 7,
        /// `(&SetSingleshotTimer)`: set the timer.
        SetSingleshotTimer = 8,
        /// `()`: stop the timer.
        StopSingleshotTimer = 9,
    }
}

abi_struct! {
    /// Argument of [`VcpuOp::SetSingleshotTimer`] (`vcpu_set_singleshot_timer`).
    pub struct SetSingleshotTimer(16) {
        /// IN: system time in ns.
        0 => timeout_abs_ns: u64,
        /// IN: bit 0: refuse a time that has passed.
        8 => flags: u32,
        /// Unused.
        12 => pad: u32,
    }
}

abi_struct! {
    /// Argument of [`VcpuOp::GetRunstateInfo`] (`vcpu_runstate_info`).
    pub struct RunstateInfo(48) {
        /// OUT: a [`RunState`].
        0 => state: u32,
        /// Unused.
        4 => pad: u32,
        /// OUT: system time in ns at which it was entered.
        8 => state_entry_time: u64,
        /// OUT: ns spent in each state.
        16 => time: [u64; 4],
    }
}

abi_enum! {
    /// What a vCPU is doing (`RUNSTATE_*`).
    pub enum RunState: u32 {
        /// Has the processor.
        Running = 0,
        /// Waits for it.
        Runnable = 1,
        /// Waits for an event.
        Blocked = 2,
        /// Neither runs nor wants to.
        Offline = 3,
    }
}
