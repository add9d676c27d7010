//! The load of a game: to each target an update by UDP each period, whether or not the last one was answered.
//! An answer's latency counts from the time at which its update was due.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, Instant, Timer, with_deadline};
use futures_util::future::join;

use crate::schedule::Segment;
use crate::segments::{Outcome, Served, chance_of};
use crate::settings::Settings;

/// Where targets listen for updates.
const PORT: u16 = 7000;
/// Our own port.
const OWN_PORT: u16 = 7001;
/// An update: the target's index, and when it was due.
const UPDATE_BYTES: usize = 16;
/// An answer begins with the update.
const ANSWER_BYTES: usize = 128;
/// Packets that wait for us, or for the ring.
const WAITING: usize = 256;
/// How long answers are awaited after the end.
const LAST: Duration = Duration::from_millis(20);

/// The updates of a segment to the targets of client `index`.
pub(crate) async fn one(
    stack: Stack<'_>,
    settings: &Settings,
    segment: &Segment,
    period: Duration,
    index: usize,
    served: &mut [Served],
) -> Outcome {
    let mut chance = chance_of(settings, segment, index);
    // Players do not march in step.
    let mut turns: Vec<(u64, usize)> = (0..settings.targets.len())
        .skip(index)
        .step_by(settings.clients)
        .map(|target| (chance.u64(0..period.as_micros().max(1)), target))
        .collect();
    turns.sort_unstable();

    let (mut receive, mut send) =
        (vec![PacketMetadata::EMPTY; WAITING], vec![PacketMetadata::EMPTY; WAITING]);
    let (mut received, mut sent) = (vec![0; WAITING * ANSWER_BYTES], vec![0; WAITING * UPDATE_BYTES]);
    let mut socket = UdpSocket::new(stack, &mut receive, &mut received, &mut send, &mut sent);
    socket.bind(OWN_PORT).expect("nobody else has this port");
    let outcome = RefCell::new(Outcome::default());
    let updates = send_all(&socket, settings, segment, period, &turns, &outcome);
    let answers = take_all(&socket, segment, served, &outcome);
    join(updates, answers).await;
    outcome.into_inner()
}

/// Whether an update that is due at `due` counts.
fn counts(segment: &Segment, due: Instant) -> bool {
    due >= segment.settled && due < segment.end
}

async fn send_all(
    socket: &UdpSocket<'_>,
    settings: &Settings,
    segment: &Segment,
    period: Duration,
    turns: &[(u64, usize)],
    outcome: &RefCell<Outcome>,
) {
    let mut round = segment.begin;
    while !turns.is_empty() && round < segment.end {
        for &(phase_us, target) in turns {
            let due = round + Duration::from_micros(phase_us);
            let Some(&address) = settings.targets.get(target) else { continue };
            if due >= segment.end {
                return;
            }
            Timer::at(due).await;
            let mut update = [0; UPDATE_BYTES];
            let (place, time) = update.split_at_mut(8);
            place.copy_from_slice(&(target as u64).to_le_bytes());
            time.copy_from_slice(&due.as_micros().to_le_bytes());
            if counts(segment, due) {
                // Until its answer comes.
                outcome.borrow_mut().errors += 1;
            }
            let _ = socket.send_to(&update, IpEndpoint::new(address.into(), PORT)).await;
        }
        round += period;
    }
}

async fn take_all(
    socket: &UdpSocket<'_>,
    segment: &Segment,
    served: &mut [Served],
    outcome: &RefCell<Outcome>,
) {
    let mut answer = [0; ANSWER_BYTES];
    while let Ok(received) = with_deadline(segment.end + LAST, socket.recv_from(&mut answer)).await {
        let Ok((bytes, _)) = received else { continue };
        let word = |at: usize| answer.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let Some((target, due_us)) = word(0).zip(word(8)).filter(|_| bytes >= UPDATE_BYTES) else { continue };
        let (due, now) = (Instant::from_micros(due_us), Instant::now());
        if !counts(segment, due) {
            continue;
        }
        let us = now.saturating_duration_since(due).as_micros();
        let mut outcome = outcome.borrow_mut();
        outcome.requests += 1;
        outcome.errors = outcome.errors.saturating_sub(1);
        outcome.latency.add(us.try_into().unwrap_or(u32::MAX));
        if let Some(one) = served.get_mut(target as usize) {
            one.requests += 1;
            one.latency_us += us;
        }
    }
}
