//! A turn's work between the rings: frames from the uplink, and where each frame goes.
//! Decisions are the switch's; what is done about them, and what it costs whom, stands here.

use crate::answers::Answer;
use crate::frame::ARP_FRAME_BYTES;
use crate::link::Link;
use crate::netback::NetBack;
use crate::platform::Platform;
use crate::pool::Packet;
use crate::queue::Sender;
use crate::switch::{DropReason, Ingress, Verdict, VifId};
use crate::uplink::Uplink;

/// Frames taken from the uplink in one turn.
const UPLINK_BUDGET: usize = 64;
/// Packets that one queue holds at most: enough for the answers to a client of 64 connections, since each packet that is
/// dropped costs its connection a second.
const QUEUE_MAX: usize = 256;

impl<P: Platform, U: Uplink> NetBack<P, U> {
    /// Takes frames from the uplink within its budget, and asks for an interrupt when it has no more.
    pub(crate) fn take_from_uplink(&mut self) {
        if !self.uplink_ready {
            return;
        }
        for _ in 0..UPLINK_BUDGET {
            let Some(mut packet) = self.pool.take() else { return };
            let received = self.pool.write(&packet, |room| self.uplink.receive(room));
            match received.and_then(|bytes| u16::try_from(bytes).ok()) {
                Some(bytes) => {
                    packet.bytes = bytes;
                    self.counters.from_uplink += 1;
                    self.route(Ingress::Uplink, packet);
                }
                None => {
                    self.pool.give_back(packet);
                    self.uplink_ready = self.uplink.arm();
                    return;
                }
            }
        }
    }

    /// Decides where a packet goes and sends it there.
    pub(crate) fn route(&mut self, from: Ingress, mut packet: Packet) {
        let sender = match from {
            Ingress::Guest(id, _) => Sender(id.0.into()),
            Ingress::Uplink => Sender::UPLINK,
        };
        let verdict = self.pool.read(&packet, |frame| self.switch.decide(from, frame));
        match verdict {
            Verdict::Guest(to) => {
                if sender == Sender::UPLINK {
                    self.answers.used(to);
                    // Whoever sent it is outside, and the receiver is whom it was for.
                    self.note_work(to, 1);
                }
                self.enqueue(sender, to, packet);
            }
            Verdict::Uplink => {
                let sent = self.pool.read(&packet, |frame| self.uplink.send(frame));
                self.note_sent(sent.is_ok());
                self.pool.give_back(packet);
            }
            Verdict::Answer { frame, about, asker } => match (from, about) {
                (Ingress::Guest(to, _), _) => {
                    self.counters.answered += 1;
                    packet.bytes = self.pool.write(&packet, |room| fill(room, &frame));
                    self.enqueue(sender, to, packet);
                }
                (Ingress::Uplink, about) => {
                    if let Some(about) = about {
                        self.answers.owe(Answer { about, asker, frame });
                    }
                    self.pool.give_back(packet);
                }
            },
            Verdict::Drop(reason) => {
                match reason {
                    DropReason::Spoofed => self.counters.spoofed += 1,
                    DropReason::Consumed => {}
                    _ => self.counters.dropped += 1,
                }
                self.pool.give_back(packet);
            }
        }
    }

    /// Gives the wire the answers that it may have now.
    pub(crate) fn give_answers(&mut self, now_ns: u64) {
        while let Some(answer) = self.answers.next(now_ns) {
            let sent = self.uplink.send(&answer.frame);
            self.counters.answered += 1;
            self.note_sent(sent.is_ok());
        }
    }

    pub(crate) const fn note_sent(&mut self, sent: bool) {
        if sent {
            self.counters.to_uplink += 1;
        } else {
            self.counters.dropped += 1;
        }
    }

    fn enqueue(&mut self, from: Sender, to: VifId, packet: Packet) {
        let limit = self.pool.queue_limit().min(QUEUE_MAX);
        let Some(Some(vif)) = self.vifs.get_mut(usize::from(to.0)) else {
            self.counters.dropped += 1;
            return self.pool.give_back(packet);
        };
        let before = vif.queue.len();
        let dropped = match vif.link {
            Link::Connected(_) => vif.queue.push(from, packet, limit.max(before.min(QUEUE_MAX))),
            Link::Waiting | Link::Closed => Some(packet),
        };
        if vif.queue.len() > before {
            self.pool.note_queued();
        }
        self.receivers.add(to);
        if let Some(packet) = dropped {
            vif.counters.dropped += 1;
            self.counters.dropped += 1;
            self.pool.give_back(packet);
        }
    }
}

/// Copies a small frame to the start of a place; its bytes.
fn fill(room: &mut [u8], frame: &[u8; ARP_FRAME_BYTES]) -> u16 {
    if let Some(room) = room.get_mut(..frame.len()) {
        room.copy_from_slice(frame);
    }
    frame.len() as u16
}
