//! The file, read again by a reader that knows the published numbers and none of the writer's types.

use std::collections::BTreeMap;

use super::*;
use hypercall_abi::Hypercall;

/// A field of a message: its number and its content.
#[derive(Clone, Debug, PartialEq)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number without an end");
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Wire<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let wire = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)),
            1 => {
                let (word, rest) = bytes.split_at(8);
                bytes = rest;
                Wire::Number(u64::from_le_bytes(word.try_into().unwrap()))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Wire::Bytes(inner)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, wire));
    }
    fields
}

fn message<'a>(of: &[(u64, Wire<'a>)], number: u64) -> Option<Vec<(u64, Wire<'a>)>> {
    of.iter().find_map(|field| match field {
        (found, Wire::Bytes(bytes)) if *found == number => Some(fields(bytes)),
        _ => None,
    })
}

fn numbers(of: &[(u64, Wire<'_>)], number: u64) -> Vec<u64> {
    let value = |field: &(u64, Wire<'_>)| match field {
        (found, Wire::Number(value)) if *found == number => Some(*value),
        _ => None,
    };
    of.iter().filter_map(value).collect()
}

fn string(of: &[(u64, Wire<'_>)], number: u64) -> Option<String> {
    of.iter().find_map(|field| match field {
        (found, Wire::Bytes(bytes)) if *found == number => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        _ => None,
    })
}

/// What stands on each track, each with its name, in order of time: `B name`, `E`, `I name`, `C value`.
/// A damaged header may give domains one name, and so their tracks.
fn tracks(bytes: &[u8]) -> Vec<(String, Vec<(u64, String)>)> {
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let mut tracks: BTreeMap<u64, Vec<(u64, String)>> = BTreeMap::new();
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    // Texts by kind and number: categories, names of events, names of notes.
    let mut texts: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for (number, packet) in fields(bytes) {
        let (1, Wire::Bytes(packet)) = (number, packet) else { panic!("no packet") };
        let packet = fields(packet);
        assert_eq!(numbers(&packet, 10), [1]);
        for (kind, told) in message(&packet, 12).unwrap_or_default() {
            let Wire::Bytes(told) = told else { panic!("no text") };
            let told = fields(told);
            let (number, text) = (numbers(&told, 1)[0], string(&told, 2).unwrap());
            assert!(number > 0 && texts.insert((kind, number), text).is_none(), "two texts with one number");
        }
        if let Some(track) = message(&packet, 60) {
            let uuid = numbers(&track, 1)[0];
            let name = string(&track, 2).unwrap();
            let parent = numbers(&track, 5).first().map(|parent| &names[parent]);
            let whole = parent.map_or(name.clone(), |parent| format!("{parent}/{name}"));
            assert_eq!(names.insert(uuid, whole), None, "two tracks with one number");
        }
        if let Some(event) = message(&packet, 11) {
            let time = numbers(&packet, 8)[0];
            begun.extend(numbers(&event, 47));
            ended.extend(numbers(&event, 48));
            assert_eq!(numbers(&packet, 13), [2]);
            let name = numbers(&event, 10).first().map_or("", |name| &texts[&(2, *name)]);
            assert!(numbers(&event, 3).iter().all(|category| texts.contains_key(&(1, *category))));
            for (_, note) in event.iter().filter(|(number, _)| *number == 4) {
                let Wire::Bytes(note) = note else { panic!("no note") };
                assert!(texts.contains_key(&(3, numbers(&fields(note), 1)[0])));
            }
            let text = match numbers(&event, 9)[0] {
                1 => format!("B {name}"),
                2 => "E".to_owned(),
                3 => format!("I {name}"),
                4 => format!("C {}", numbers(&event, 30)[0]),
                other => panic!("type {other}"),
            };
            let track = numbers(&event, 11)[0];
            let events = tracks.entry(track).or_default();
            let before = events.last().map_or(0, |(time, _)| *time);
            assert!(before <= time, "{} steps back in time, from {before} to {time}", names[&track]);
            events.push((time, text));
        }
    }
    begun.sort_unstable();
    ended.sort_unstable();
    assert_eq!(begun, ended, "a flow without an end, or an end without a flow");
    let named = |(track, events): (u64, Vec<(u64, String)>)| (names[&track].clone(), events);
    let tracks: Vec<_> = tracks.into_iter().map(named).collect();
    for (track, events) in &tracks {
        let depth = events.iter().fold(0_i64, |depth, (_, text)| {
            let depth = depth + i64::from(text.starts_with('B')) - i64::from(text == "E");
            assert!(depth >= 0, "{track}: an end without a beginning: {events:?}");
            depth
        });
        assert_eq!(depth, 0, "{track}: a slice without an end: {events:?}");
    }
    tracks
}

fn written(entries: &[(u64, u16, Record)]) -> BTreeMap<String, Vec<(u64, String)>> {
    let names = [(1, "web"), (2, "driver")].map(|(id, name)| (DomId(id), name.to_owned()));
    let entries = entries.iter().map(|&(time_ns, id, record)| Entry {
        time_ns,
        cpu: 0,
        vcpu: 0,
        domain: DomId(id),
        record,
    });
    let mut bytes = Vec::new();
    write(entries, &Names::new(&names.into()), &mut bytes).unwrap();
    tracks(&bytes).into_iter().collect()
}

/// Writes any records: slices are balanced and flows arrive, whatever the records say.
pub(crate) fn checked(entries: impl Iterator<Item = Entry>, names: &Names) {
    let mut bytes = Vec::new();
    write(entries, names, &mut bytes).unwrap();
    tracks(&bytes);
}

fn entry(call: Hypercall) -> Record {
    Record::HypercallEntry { number: call.raw() as u8, arg0: 0, arg1: 0, arg2: 0, arg3: 0, arg4: 0 }
}

fn exit(call: Hypercall) -> Record {
    Record::HypercallExit { number: call.raw() as u8, result: 0 }
}

fn owned(events: &[(u64, &str)]) -> Vec<(u64, String)> {
    events.iter().map(|(time, text)| (*time, (*text).to_owned())).collect()
}

#[test]
fn slices_nest_flows_arrive_and_rings_are_counted() {
    let name = u64::from_le_bytes(*b"request\0");
    let raised = Record::EventRaised { merged: 0, port: 3, from: 2 };
    let tracks = written(&[
        (10, 2, Record::Switch { why: 4, from: 32767 }),
        (20, 2, entry(Hypercall::EventChannelOp)),
        (21, 1, raised),
        (22, 1, Record::Wake { ahead: 0 }),
        (25, 2, exit(Hypercall::EventChannelOp)),
        (30, 1, Record::Switch { why: 0, from: 2 }),
        (35, 1, Record::Upcall { selector: 1 }),
        (36, 1, Record::SpanBegin { name, value: 4 }),
        (38, 1, Record::RingConsumed { ring: 1, peer: 2, index: 5, count: 2, waiting: 7 }),
        (40, 1, Record::SpanEnd { name, value: 4 }),
        (41, 1, Record::HandlerDone { ports: 1 }),
    ]);
    assert_eq!(tracks["driver/vCPU 0: hypercalls"], owned(&[(20, "B event_channel_op"), (25, "E")]));
    assert_eq!(tracks["driver/events raised"], owned(&[(21, "I raises for web")]));
    assert_eq!(tracks["web/vCPU 0: upcalls"], owned(&[(35, "B upcall"), (41, "E")]));
    assert_eq!(tracks["web/request"], owned(&[(36, "B request"), (40, "E")]));
    assert_eq!(tracks["web/FrontReceive, driver: waiting"], owned(&[(38, "C 7")]));
    let turns = [(10, "B driver"), (30, "E"), (30, "B web"), (41, "E")];
    assert_eq!(tracks["processors/CPU 0"], owned(&turns));
}

#[test]
fn what_has_no_other_end_is_closed_or_left_out() {
    let tracks = written(&[
        (10, 1, exit(Hypercall::SchedOp)),
        (15, 1, Record::SpanEnd { name: 1, value: 0 }),
        (20, 1, entry(Hypercall::SchedOp)),
        (30, 1, entry(Hypercall::XenVersion)),
        (40, 1, Record::EventRaised { merged: 0, port: 3, from: 2 }),
        (50, 1, Record::EventRaised { merged: 0, port: 3, from: 2 }),
        // A damaged block: time steps back.
        (45, 1, Record::Upcall { selector: 0 }),
    ]);
    let calls = [(20, "B sched_op"), (30, "E"), (30, "B xen_version"), (50, "E")];
    assert_eq!(tracks["web/vCPU 0: hypercalls"], owned(&calls));
    assert_eq!(tracks["driver/events raised"].len(), 2);
    assert_eq!(tracks["web/vCPU 0: upcalls"], owned(&[(50, "B upcall"), (50, "E")]));
}

#[test]
fn spans_that_overlap_lie_beside_each_other() {
    let (name, other) = (u64::from_le_bytes(*b"fetch\0\0\0"), u64::from_le_bytes(*b"(others)"));
    let begin = |value| Record::SpanBegin { name, value };
    let end = |value| Record::SpanEnd { name, value };
    let mut records =
        vec![(1, 1, begin(7)), (2, 1, begin(8)), (3, 1, end(7)), (4, 1, begin(9)), (5, 1, end(8))];
    // A guest that makes up names gets no track for each.
    let made_up = |name| u64::from_le_bytes(format!("{name:08}").as_bytes().try_into().unwrap());
    records.extend((0..5000).map(|name| (6, 2, Record::Value { name: made_up(name), value: 1 })));
    let tracks = written(&records);
    assert_eq!(tracks["web/fetch"], owned(&[(1, "B fetch"), (3, "E"), (4, "B fetch"), (6, "E")]));
    assert_eq!(tracks["web/fetch, 2"], owned(&[(2, "B fetch"), (5, "E")]));
    assert_eq!(tracks[&format!("driver/{}", texts::letters(other))].len(), 5000 - 1023);
    assert_eq!(tracks.len(), 2 + 1023 + 1);
}

#[test]
fn a_long_call_that_one_record_tells_of_is_a_slice() {
    let number = Hypercall::MmuUpdate.raw() as u8;
    let long = |duration| Record::LongCall { number, result: 0, duration, arg0: 0, arg1: 0 };
    // The second claims to have begun before the first.
    let tracks = written(&[(50, 1, long(30)), (60, 1, long(100))]);
    let calls = [(20, "B mmu_update"), (50, "E"), (50, "B mmu_update"), (60, "E")];
    assert_eq!(tracks["web/vCPU 0: hypercalls"], owned(&calls));
}

#[test]
fn a_track_of_raised_events_is_in_order_though_their_upcalls_are_not() {
    let raise = |port| Record::EventRaised { merged: 0, port, from: 2 };
    let tracks = written(&[
        (10, 1, raise(70)),
        (20, 3, raise(4)),
        (30, 3, Record::Upcall { selector: 1 }),
        (40, 1, Record::Upcall { selector: 2 }),
    ]);
    let raised = [(10, "I raises for web"), (20, "I raises for d3")];
    assert_eq!(tracks["driver/events raised"], owned(&raised));
}
