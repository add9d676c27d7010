//! The generator by itself: repeatable, and reaching everything that it is for.

use std::collections::HashMap;

use hypercall_abi::grant_table::{CopyGrant, GrantTableOp};
use hypercall_abi::mmu::MmuextOp;
use hypercall_abi::{Hypercall, Mfn};

use zerocopy::FromBytes;

use crate::{Action, Call, Deed, Estate, Expect, Generator, Playground};

fn estate() -> Estate {
    let frames: Vec<Mfn> = (0x5000..0x5200).map(Mfn).collect();
    Estate {
        argument: 0x48_0000,
        argument_pages: 3,
        read_only: 0x5f_0000,
        unmapped: 0x48_3000,
        shared_info: 0x47_0000,
        shared_info_frame: Mfn(0x4fff),
        grant_frames: vec![Mfn(0x4ff0)],
        grant_entries: (64, 128),
        playground: Playground {
            va: 0x50_0000,
            frames: frames[256..272].to_vec(),
            entries: (0..16).map(|index| 0x51f0_0000 + index * 8).collect(),
        },
        root: Mfn(0x51f3),
        tables: [Mfn(0x51f2), Mfn(0x51f1), Mfn(0x51f0)],
        start: 0x40_0000,
        shared: frames[2..4].to_vec(),
        frames,
        handlers: [0x40_1000, 0x40_1100, 0x40_1200],
        stack: 0x40_8000,
        state_ports: vec![1],
        own: 2,
        backend: 1,
        now_ns: 1_000_000_000,
        instructions: 10,
        deaths: 0,
    }
}

fn actions(seed: u64, count: usize) -> Vec<Action> {
    let mut generator = Generator::new(seed, estate());
    (0..count).map(|_| generator.draw()).collect()
}

#[test]
fn the_same_seed_gives_the_same_sequence() {
    assert_eq!(actions(7, 5000), actions(7, 5000));
    assert_ne!(actions(7, 500), actions(8, 500));
}

#[test]
fn each_operation_is_asked_for_and_so_is_what_does_not_exist() {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for action in actions(1, 60_000) {
        if let Deed::Call(call) = &action.deed {
            *seen.entry(call.operation().to_string()).or_default() += 1;
        }
    }
    let never = ["Iret", "SchedOp.Shutdown"];
    for operation in crate::Operation::all() {
        let name = operation.to_string();
        let by_death = never.contains(&name.as_str());
        // Families in which every value of the selector exists have none that does not.
        let impossible = name == "SchedOp.Unknown";
        assert!(by_death || impossible || seen.contains_key(&name), "{name} is never asked for");
    }
}

#[test]
fn what_must_be_refused_is_never_spoilt_into_something_else() {
    for action in actions(3, 30_000) {
        if let Deed::Call(call) = &action.deed
            && call.expect == Expect::Refusal
            && call.number == u64::from(Hypercall::UpdateVaMapping.raw())
        {
            assert_ne!(call.args[1] & 1, 0, "clearing an entry is nothing to refuse");
        }
    }
}

#[test]
fn what_is_laid_into_memory_stays_within_the_argument_pages() {
    let estate = estate();
    for action in actions(5, 30_000) {
        if let Deed::Call(call) = &action.deed {
            for (at, bytes) in &call.writes {
                assert!(
                    *at >= estate.argument && at + bytes.len() as u64 <= estate.argument_end(),
                    "{action:?}"
                );
            }
        }
    }
}

#[test]
fn rubbish_spares_the_code_that_draws_it() {
    let estate = estate();
    assert!(estate.is_image(0x40_0000) && estate.is_image(estate.stack) && estate.is_image(0x5f_ffff));
    for elsewhere in [0, 0x3f_ffff, 0x60_0000, estate.argument, estate.playground.va, u64::MAX] {
        assert!(!estate.is_image(elsewhere), "{elsewhere:#x}");
    }
}

#[test]
fn no_copy_names_a_frame_of_the_image() {
    let mut estate = estate();
    // Low numbers, which rubbish is likely to hit.
    estate.frames = (0x1000..0x1200).map(Mfn).collect();
    estate.playground.frames = estate.frames[256..272].to_vec();
    // What is shared is named on purpose.
    estate.shared.clear();
    assert!(estate.may_hit_image(0x1003) && estate.may_hit_image(0x100_3067));
    assert!(!estate.may_hit_image(0x1100) && !estate.may_hit_image(0x110_0067));
    let mut generator = Generator::new(11, estate.clone());
    let mut frames = 0;
    for _ in 0..1_000_000 {
        let Deed::Call(call) = generator.draw().deed else { continue };
        let copies = call.number == u64::from(Hypercall::GrantTableOp.raw())
            && call.args[0] as u32 == GrantTableOp::Copy.raw();
        for (_, bytes) in call.writes.iter().filter(|_| copies) {
            for element in bytes.chunks_exact(size_of::<CopyGrant>()) {
                let frame = Mfn(CopyGrant::read_from_bytes(element).unwrap().dest.frame_or_ref);
                let lost = estate.playground.frames.contains(&frame);
                assert!(lost || !estate.frames.contains(&frame), "{frame:?}");
                frames += 1;
            }
        }
    }
    assert!(frames > 10_000, "{frames}");
}

#[test]
fn a_batch_of_none_is_not_its_first_request() {
    let request = MmuextOp::FlushCache.raw().to_le_bytes();
    let mut call = Call {
        number: Hypercall::MmuextOp.raw().into(),
        args: [0x1000, 1, 0, 0, 0],
        writes: vec![(0x1000, [request, [0; 4]].concat())],
        ..Call::default()
    };
    assert_eq!(call.operation().to_string(), "MmuextOp.FlushCache");
    // The upper half of a count means nothing.
    call.args[1] = 1 << 45;
    assert!(!call.operation().exists());
}

#[test]
fn tidying_up_ends() {
    let mut generator = Generator::new(1, estate());
    for _ in 0..100 {
        generator.draw();
    }
    generator.tidy_up();
    let mut steps = 0;
    while generator.is_in_the_midst() {
        generator.draw();
        steps += 1;
    }
    assert!((10..300).contains(&steps), "{steps}");
}
