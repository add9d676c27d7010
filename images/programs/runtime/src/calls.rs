//! System calls with typed arguments and results, one function each.

use core::arch::asm;

use process_abi::{Call, Error, layout};

/// Makes a system call.
///
/// # Safety
/// The call takes no memory away that is in use, and pointers among the arguments are good.
#[inline(always)]
pub unsafe fn raw(number: u64, a: u64, b: u64) -> u64 {
    let result;
    // SAFETY: the kernel maps the gate for the life of the process and keeps all registers but these; what the call
    // does, the caller answers for.
    unsafe {
        asm!(
            "call {gate}",
            gate = in(reg) layout::GATE,
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") 0_u64,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

fn plain(call: Call, a: u64) -> Result<u64, Error> {
    // SAFETY: none of the calls that come by here takes an address or takes memory away.
    Error::from_result(unsafe { raw(call as u64, a, 0) })
}

/// Does nothing.
#[inline(always)]
pub fn nothing() {
    // SAFETY: it does nothing.
    unsafe { raw(Call::Nothing as u64, 0, 0) };
}

/// Ends the process.
pub fn exit(status: u32) -> ! {
    loop {
        let _ = plain(Call::Exit, status.into());
    }
}

/// Writes text to the console, all of it.
///
/// # Errors
/// As the kernel says.
pub fn write(mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads these bytes.
        let rax = unsafe { raw(Call::Write as u64, bytes.as_ptr() as u64, bytes.len() as u64) };
        let written = Error::from_result(rax)?;
        bytes = bytes.get(written as usize..).ok_or(Error::Invalid)?;
    }
    Ok(())
}

/// Lets others run.
pub fn yield_now() {
    let _ = plain(Call::Yield, 0);
}

/// Makes a copy of the process: its number, and 0 in the copy.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn fork() -> Result<u64, Error> {
    plain(Call::Fork, 0)
}

/// Makes the heap longer; its old end.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn grow(bytes: u64) -> Result<*mut u8, Error> {
    plain(Call::Grow, bytes).map(|address| address as *mut u8)
}

/// Makes room for pages of zeros; their address.
///
/// # Errors
/// [`Error::NoMemory`], [`Error::Invalid`] for none.
pub fn map(pages: u64) -> Result<*mut u8, Error> {
    plain(Call::Map, pages).map(|address| address as *mut u8)
}

/// Gives pages back.
///
/// # Safety
/// Nobody uses them any more.
///
/// # Errors
/// [`Error::Invalid`] for an address that is no page's.
pub unsafe fn unmap(address: *mut u8, pages: u64) -> Result<(), Error> {
    // SAFETY: the caller says that nobody uses them.
    Error::from_result(unsafe { raw(Call::Unmap as u64, address as u64, pages) }).map(drop)
}

/// The process's own number.
#[must_use]
pub fn number() -> u64 {
    plain(Call::Number, 0).unwrap_or(0)
}

/// System time in ns.
#[must_use]
pub fn clock() -> u64 {
    plain(Call::Clock, 0).unwrap_or(0)
}

/// Sleeps.
pub fn sleep(ns: u64) {
    let _ = plain(Call::Sleep, ns);
}

/// Sets the base of FS to an address of the lower half.
///
/// # Errors
/// [`Error::Invalid`] for another one.
pub fn set_fs_base(address: u64) -> Result<(), Error> {
    plain(Call::FsBase, address).map(drop)
}

/// Sets the base of GS to an address of the lower half.
///
/// # Errors
/// [`Error::Invalid`] for another one.
pub fn set_gs_base(address: u64) -> Result<(), Error> {
    plain(Call::GsBase, address).map(drop)
}

/// Waits until a child has ended; how, as [`process_abi::Exit::to_word`] says.
///
/// # Errors
/// [`Error::NoChild`].
pub fn wait(child: u64) -> Result<u64, Error> {
    plain(Call::Wait, child)
}

/// Kills a child.
///
/// # Errors
/// [`Error::NoChild`].
pub fn kill(child: u64) -> Result<(), Error> {
    plain(Call::Kill, child).map(drop)
}
