//! Grant copies within the domain: from a frame of its own, then from one that it granted to itself.

use guest_kernel::grants;
use guest_kernel::hypercall::grant::copy;
use guest_kernel::memory::Page;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};
use hypercall_abi::{DomId, Errno};

use crate::measure::{N, failed, measure};

pub(crate) fn run() {
    if let Err(error) = try_run() {
        failed("grant_copy_4096", format_args!("{error:?}"));
    }
}

fn try_run() -> Result<(), Errno> {
    let source = Page::new().ok_or(Errno::NoMem)?;
    let target = Page::new().ok_or(Errno::NoMem)?;
    let reference = grants::allow(grants::own_domain()?, source.machine_frame(), true)?;
    let frame = source.machine_frame().0;
    for (name, len, frame_or_ref, flags) in [
        ("grant_copy_4096", 4096, frame, 0),
        ("grant_copy_1", 1, frame, 0),
        ("grant_copy_granted_4096", 4096, reference.0.into(), copy_flags::SOURCE_GREF),
        ("grant_copy_granted_1", 1, reference.0.into(), copy_flags::SOURCE_GREF),
    ] {
        let side = |frame_or_ref| CopySide { frame_or_ref, domid: DomId::SELF.0, offset: 0, pad: 0 };
        let mut element = CopyGrant {
            source: side(frame_or_ref),
            dest: side(target.machine_frame().0),
            len,
            flags,
            status: 1,
            pad: 0,
        };
        measure(name, N, 1, || {
            // SAFETY: the target page is ours and holds nothing.
            let _ = unsafe { copy(core::slice::from_mut(&mut element)) };
        });
        if element.status != GrantStatus::Okay.raw() {
            failed(name, format_args!("status {}", element.status));
        }
    }
    // Nobody maps it; if it were in use it would simply stay granted.
    let _ = grants::end(reference);
    Ok(())
}
