//! Operations on the console: one log per domain.

abi_enum! {
    /// Operation of [`crate::Hypercall::ConsoleIo`] (`CONSOLEIO_*`).
    pub enum ConsoleOp: u32 {
        /// `(count, buffer)`: write bytes; returns 0.
        Write = 0,
        /// `(count, buffer)`: read what was typed; returns the count of bytes.
        Read = 1,
    }
}
