//! Copies by grant between two domains, and what they may not touch.

use hypercall_abi::DomId;
use hypercall_abi::grant_table::{GrantStatus, copy_flags, entry_flags};

use super::{OKAY, SPARE, two, va};

#[test]
fn bytes_travel_between_any_two_sides() {
    let (mut fixture, granter, user) = two();
    let (source, dest) = (fixture.mfn(granter, SPARE), fixture.mfn(granter, SPARE + 1));
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS | entry_flags::READ_ONLY, user, source);
    fixture.grant(granter, 10, entry_flags::PERMIT_ACCESS, user, dest);
    let text = *b"from one domain to another";
    fixture.poke(granter, va(SPARE) + 3, &text);
    let own = fixture.mfn(user, SPARE).0;
    assert_eq!(
        fixture.copy_grant(user, (granter, 9, 3), (DomId::SELF, own, 5), 26, copy_flags::SOURCE_GREF),
        OKAY
    );
    assert_eq!(fixture.peek::<[u8; 26]>(user, va(SPARE) + 5), Ok(text));
    assert_eq!(fixture.copy_grant(user, (user, own, 5), (granter, 10, 0), 26, copy_flags::DEST_GREF), OKAY);
    assert_eq!(fixture.peek::<[u8; 26]>(granter, va(SPARE + 1)), Ok(text));
    let both = copy_flags::SOURCE_GREF | copy_flags::DEST_GREF;
    assert_eq!(fixture.copy_grant(user, (granter, 9, 3), (granter, 10, 4070), 26, both), OKAY);
    assert_eq!(fixture.peek::<[u8; 26]>(granter, va(SPARE + 1) + 4070), Ok(text));
    assert_eq!(fixture.copy_grant(user, (granter, 9, 0), (granter, 10, 0), 4096, both), OKAY);
    assert_eq!(fixture.peek::<[u8; 26]>(granter, va(SPARE + 1) + 3), Ok(text));
    for reference in [9, 10] {
        assert_eq!(fixture.entry(granter, reference).flags & 0x18, 0, "no bit stays set after a copy");
    }
    fixture.check();
}

#[test]
fn copies_stay_within_their_frames_and_domains() {
    let (mut fixture, granter, user) = two();
    let frame = fixture.mfn(granter, SPARE);
    fixture.grant(granter, 9, entry_flags::PERMIT_ACCESS, user, frame);
    let own = fixture.mfn(user, SPARE).0;
    let root = fixture.world.domains.get(user).unwrap().vcpu.root().0;
    let source = copy_flags::SOURCE_GREF;
    for (from, to, len, flags, wanted) in [
        ((granter, 9, 4095), (user, own, 0), 2, source, GrantStatus::BadCopyArg),
        ((granter, 9, 0), (user, own, 4096), 1, source, GrantStatus::BadCopyArg),
        ((granter, 9, 0), (user, own, 1), 4096, source, GrantStatus::BadCopyArg),
        ((granter, 9, 0), (user, own, 0), 8, 4, GrantStatus::GeneralError),
        ((granter, 9, 0), (user, root, 0), 8, source, GrantStatus::BadPage),
        ((granter, 9, 0), (user, frame.0, 0), 8, source, GrantStatus::BadPage),
        ((granter, 9, 0), (user, u64::MAX, 0), 8, source, GrantStatus::BadPage),
        ((granter, 9, 0), (granter, own, 0), 8, source, GrantStatus::PermissionDenied),
        ((granter, frame.0, 0), (user, own, 0), 8, 0, GrantStatus::PermissionDenied),
        ((user, own, 0), (user, own, 4), 8, 0, GrantStatus::BadCopyArg),
    ] {
        assert_eq!(fixture.copy_grant(user, from, to, len, flags), wanted.raw(), "{from:?} {to:?}");
        assert_eq!(fixture.entry(granter, 9).flags & 0x18, 0);
        fixture.check();
    }
}
