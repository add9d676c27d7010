//! Several hypercalls in one.

abi_struct! {
    /// One call of [`crate::Hypercall::Multicall`] (`multicall_entry`).
    pub struct MulticallEntry(64) {
        /// IN: hypercall number.
        0 => op: u64,
        /// OUT: its result.
        8 => result: u64,
        /// IN: its arguments.
        16 => args: [u64; 6],
    }
}
