//! A window of time as a picture of letters: a line a domain, a letter a moment.

use std::collections::BTreeMap;
use std::fmt::Write;

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;

use super::window::Window;
use crate::trace::follow::State;
use crate::trace::names::Names;
use crate::trace::text::seconds;

/// Most domains that are drawn; the ones that did the least are left out.
const MOST: usize = 32;

/// What a letter says; where several things fall together the strongest is shown.
const RUNNABLE: u8 = b'-';
const RUNNING: u8 = b'#';
const CALL: u8 = b'h';
const RAISED: u8 = b'!';
const UPCALL: u8 = b'^';

/// How strong.
fn strength(letter: u8) -> usize {
    [b' ', b'.', RUNNABLE, RUNNING, CALL, RAISED, UPCALL].iter().position(|one| *one == letter).unwrap_or(0)
}

/// The picture, so many letters wide.
pub(super) fn text(window: &Window, names: &Names, wanted: impl Fn(DomId) -> bool, width: usize) -> String {
    let width = width.clamp(20, 160);
    let length = window.to.saturating_sub(window.from).max(1);
    let column = |time: u64| {
        let at = u128::from(time.saturating_sub(window.from)) * width as u128 / u128::from(length);
        usize::try_from(at).unwrap_or(width).min(width - 1)
    };
    let mut lanes: BTreeMap<DomId, Vec<u8>> = BTreeMap::new();
    let mut draw = |id: DomId, from: u64, to: u64, letter: u8| {
        if !wanted(id) || id == DomId::IDLE {
            return;
        }
        let lane = lanes.entry(id).or_insert_with(|| vec![b' '; width]);
        for place in &mut lane[column(from)..=column(to.max(from))] {
            if strength(letter) > strength(*place) {
                *place = letter;
            }
        }
    };
    for span in &window.spans {
        let letter = match span.state {
            State::Running => RUNNING,
            State::Runnable => RUNNABLE,
            State::Blocked => b'.',
            State::Ended => b' ',
        };
        draw(span.domain, span.from, span.to, letter);
    }
    for call in &window.calls {
        draw(call.domain, call.begun.unwrap_or(call.ended).max(window.from), call.ended, CALL);
    }
    for entry in &window.entries {
        let letter = match entry.record {
            Record::Upcall { .. } => UPCALL,
            Record::EventRaised { .. } => RAISED,
            _ => continue,
        };
        draw(entry.domain, entry.time_ns, entry.time_ns, letter);
    }
    let left = lanes.len().saturating_sub(MOST);
    let mut busiest: Vec<(DomId, Vec<u8>)> = lanes.into_iter().collect();
    busiest.sort_by_key(|(_, lane)| std::cmp::Reverse(lane.iter().filter(|one| strength(**one) > 1).count()));
    busiest.truncate(MOST);
    busiest.sort_by_key(|(id, _)| *id);
    let mut text = String::new();
    let (from, to) = (seconds(window.from), seconds(window.to));
    let gap = width.saturating_sub(from.trim().len() + to.trim().len() + 4);
    let _ = writeln!(text, "{:14} {} s{:gap$}{} s", "", from.trim(), "", to.trim());
    for (id, lane) in busiest {
        let _ = writeln!(text, "{:<14} {}", names.of(id), String::from_utf8_lossy(&lane));
    }
    if left > 0 {
        let _ = writeln!(text, "{left} domains that did less are not drawn");
    }
    let _ = writeln!(
        text,
        "{:14} # running  h in a hypercall  - runnable  . asleep  ! event raised  ^ upcall;  a letter is {:.3} us",
        "",
        length as f64 / width as f64 / 1e3
    );
    text
}
