//! From the boot loader to a running system.
//! It exists to turn what two boot protocols say into one [`info::Information`] before anything else looks at the machine.

mod start;

use crate::log::log;
use crate::{power, serial};

/// Where [`start`] hands over: the boot tables map the first 4 GiB at 0, at the image's slot and at the direct map.
pub(crate) extern "C" fn enter(protocol: u32, information: u32) -> ! {
    serial::initialise();
    log!("Denizen {} by protocol {protocol}, information at {information:#x}", env!("CARGO_PKG_VERSION"));
    power::exit(power::Code::Orderly)
}
