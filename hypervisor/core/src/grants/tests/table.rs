//! The table itself: how long it is, where it lies, and what the builder writes into it.

use hypercall_abi::grant_table::{
    DEVICE_FIRST, GrantStatus, GrantTableOp, QuerySize, SetVersion, SetupTable,
};
use hypercall_abi::mmu::flush;
use hypercall_abi::{DomId, Errno, GrantRef, Mfn};

use super::super::TABLE_FRAMES_MAX;
use super::{ARGUMENTS, OKAY, RO, RW, SPARE, two, va};
use crate::paging::update_va_mapping;

#[test]
fn a_table_is_set_up_measured_and_mapped() {
    let (mut fixture, domain, other) = two();
    let request =
        SetupTable { dom: DomId::SELF.0, pad: 0, frames: 3, status: 9, pad2: [0; 3], frame_list: va(SPARE) };
    assert_eq!(fixture.op(domain, GrantTableOp::SetupTable, &request).unwrap().status, OKAY);
    fixture.check();
    let frames: [u64; 3] = fixture.peek(domain, va(SPARE)).unwrap();
    assert_eq!(frames.map(Mfn), fixture.world.domains.get(domain).unwrap().grants.table_frames());
    for mfn in frames {
        let args = [va(SPARE + 1), mfn << 12 | RW, flush::INVLPG, 0, 0];
        assert_eq!(fixture.call(domain, |call| update_va_mapping(call, args)), Ok(0));
        assert_eq!(fixture.peek::<[u64; 512]>(domain, va(SPARE + 1)), Ok([0; 512]));
        let args = [va(SPARE + 1), mfn << 12 | RO, flush::INVLPG, 0, 0];
        assert_eq!(fixture.call(other, |call| update_va_mapping(call, args)), Err(Errno::Inval));
    }
    fixture.check();
    let query = QuerySize { dom: DomId::SELF.0, pad: 0, frames: 0, max_frames: 0, status: 9, pad2: 0 };
    let answer = fixture.op(domain, GrantTableOp::QuerySize, &query).unwrap();
    assert_eq!((answer.frames, answer.max_frames, answer.status), (3, TABLE_FRAMES_MAX as u32, OKAY));
    let too_many = SetupTable { frames: TABLE_FRAMES_MAX as u32 + 1, ..request };
    let answer = fixture.op(domain, GrantTableOp::SetupTable, &too_many).unwrap();
    assert_eq!(answer.status, GrantStatus::GeneralError.raw());
    let of_other = SetupTable { dom: other.0, ..request };
    let answer = fixture.op(domain, GrantTableOp::SetupTable, &of_other).unwrap();
    assert_eq!(answer.status, GrantStatus::PermissionDenied.raw());
    assert_eq!(
        fixture.op(domain, GrantTableOp::SetVersion, &SetVersion { version: 1 }),
        Ok(SetVersion { version: 1 })
    );
    assert_eq!(fixture.op(domain, GrantTableOp::SetVersion, &SetVersion { version: 2 }), Err(Errno::Inval));
    assert_eq!(fixture.peek::<u32>(domain, ARGUMENTS), Ok(1), "the version in force is told");
    fixture.kill(domain);
    fixture.check();
    assert_eq!(fixture.world.frames.owned_by(domain), 0);
}

#[test]
fn the_builder_can_grant_for_the_domain() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    let grants = &fixture.world.domains.get(granter).unwrap().grants;
    assert!(grants.seed(&mut fixture.machine, GrantRef(DEVICE_FIRST), user, frame, false));
    assert!(!grants.seed(&mut fixture.machine, GrantRef(512), user, frame, false));
    assert_eq!(fixture.map_grant(user, granter, DEVICE_FIRST, 0, va(SPARE)).status, OKAY);
    fixture.check();
}
