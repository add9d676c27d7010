//! The end of a hypervisor that found itself wrong: a line that says where, then a distinct exit code.
//! No guest can bring it here; if one does, the line is the start of the mend.

use core::fmt::Write;
use core::panic::PanicInfo;

use crate::{power, serial};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A serial port cannot fail, and there is nobody left to tell.
    let _ = writeln!(serial::seize(), "\ndenizen: panic: {info}");
    power::exit(power::Code::Panic)
}
