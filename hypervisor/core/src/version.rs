//! Questions about version and features, and requests for assists that Denizen does not give.

use hypercall_abi::version::{Feature, FeatureInfo, MAJOR, MINOR, VersionOp};
use hypercall_abi::{Errno, PAGE_SIZE, layout};

use crate::call::Call;
use crate::dispatch::Arguments;
use crate::machine::Machine;

/// What follows the version number.
const EXTRA: &[u8] = b".0-denizen";
/// Kinds of guest that can run.
const CAPABILITIES: &[u8] = b"xen-3.0-x86_64 ";
/// Bits of the first word of features.
const FEATURES: u32 = (1 << Feature::PaePgdirAbove4gb.raw()) | (1 << Feature::MmuPtUpdatePreserveAd.raw());

/// Version of the interface, the answer to operation 0.
#[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
pub(crate) const INTERFACE: u64 = ((MAJOR << 16) | MINOR) as u64;

/// `xen_version(op, argument)`.
///
/// # Errors
/// [`Errno::NoSys`] for an unknown operation, [`Errno::Fault`] for a bad pointer.
#[inline]
pub fn xen_version<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, at, ..] = args;
    match u32::try_from(op).ok().and_then(VersionOp::from_raw).ok_or(Errno::NoSys)? {
        VersionOp::Version => Ok(INTERFACE),
        VersionOp::ExtraVersion => text::<16, M>(call, at, EXTRA),
        VersionOp::Capabilities => text::<1024, M>(call, at, CAPABILITIES),
        VersionOp::PlatformParameters => {
            call.write(at, &layout::HYPERVISOR_START)?;
            Ok(0)
        }
        VersionOp::GetFeatures => {
            let FeatureInfo { submap_index, .. } = call.read(at)?;
            let submap = if submap_index == 0 { FEATURES } else { 0 };
            call.write(at, &FeatureInfo { submap_index, submap })?;
            Ok(0)
        }
        VersionOp::PageSize => Ok(u64::try_from(PAGE_SIZE).unwrap_or(0)),
    }
}

/// Writes text into a field of `SIZE` bytes.
fn text<const SIZE: usize, M: Machine>(call: &mut Call<'_, M>, at: u64, text: &[u8]) -> Result<u64, Errno> {
    let mut field = [0_u8; SIZE];
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    call.write(at, &field)?;
    Ok(0)
}

/// `vm_assist(op, type)`: none is given, so none can be turned on and turning off always works.
///
/// # Errors
/// [`Errno::Inval`] to turn one on, [`Errno::NoSys`] for an unknown operation.
pub const fn vm_assist(args: Arguments) -> Result<u64, Errno> {
    const ENABLE: u64 = 0;
    const DISABLE: u64 = 1;
    match args {
        [ENABLE, ..] => Err(Errno::Inval),
        [DISABLE, ..] => Ok(0),
        _ => Err(Errno::NoSys),
    }
}
