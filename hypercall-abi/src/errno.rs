//! The errors that a hypercall returns, as negative numbers, with Xen's values.
//! They exist as a closed type so that no handler can return a number that the interface does not know.

abi_enum! {
    /// Why a hypercall was refused; returned as `-value` in RAX (`xen/include/public/errno.h`).
    pub enum Errno: i32 {
        /// Operation not permitted.
        Perm = 1,
        /// No such entry.
        NoEnt = 2,
        /// No such domain, vCPU or port owner.
        Srch = 3,
        /// Interrupted: ask again.
        Intr = 4,
        /// Input or output failed.
        Io = 5,
        /// No such device or address.
        Nxio = 6,
        /// Argument list too long.
        TooBig = 7,
        /// Temporarily impossible: ask again.
        Again = 11,
        /// Out of memory.
        NoMem = 12,
        /// Access denied.
        Access = 13,
        /// A pointer does not lead to readable or writable guest memory.
        Fault = 14,
        /// In use.
        Busy = 16,
        /// Exists already.
        Exist = 17,
        /// No such device.
        NoDev = 19,
        /// Invalid argument.
        Inval = 22,
        /// No space left: every port or entry is taken.
        NoSpc = 28,
        /// Out of range.
        Range = 34,
        /// No such hypercall or operation.
        NoSys = 38,
        /// The time has passed already.
        Time = 62,
        /// Not supported for this caller.
        OpNotSupp = 95,
        /// Already connected.
        IsConn = 106,
        /// Not connected.
        NotConn = 107,
    }
}

impl Errno {
    /// What a guest finds in RAX.
    #[must_use]
    pub const fn to_rax(self) -> u64 {
        (-(self as i64)) as u64
    }

    /// Reads a hypercall's RAX: its result, or the error that it names.
    ///
    /// # Errors
    /// The error whose negative number `rax` holds. A negative number that the interface does not know is
    /// [`Errno::Inval`].
    pub const fn from_rax(rax: u64) -> Result<u64, Self> {
        let signed = rax as i64;
        if signed >= 0 || signed < -4095 {
            return Ok(rax);
        }
        match Self::from_raw((-signed) as i32) {
            Some(errno) => Err(errno),
            None => Err(Self::Inval),
        }
    }
}
