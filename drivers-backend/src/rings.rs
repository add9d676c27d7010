//! A turn's work on the rings: frames out of guests, frames into guests, notifications last.
//! Copies are gathered over many front ends, so that a hypercall carries as many as it can.

use hypercall_abi::PAGE_SIZE;
use hypercall_abi::device::NetError;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};
use hypercall_abi::netif::{
    ETHERNET_HEADER_BYTES, FRAME_BYTES_MAX, PacketStatus, RxResponse, TxRequest, TxResponse, tx_flags,
};

use crate::netback::{BATCH, BUDGET, Job, NetBack, WRONG_MAX};
use crate::platform::Platform;
use crate::switch::{Ingress, VifId};
use crate::uplink::Uplink;

/// Whether a request describes one whole frame within its page.
fn is_right(request: &TxRequest) -> bool {
    let (offset, size) = (usize::from(request.offset), usize::from(request.size));
    (ETHERNET_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&size)
        && offset + size <= PAGE_SIZE
        && request.flags & (tx_flags::MORE_DATA | tx_flags::EXTRA_INFO | tx_flags::CSUM_BLANK) == 0
}

impl<P: Platform, U: Uplink> NetBack<P, U> {
    /// Takes one batch of frames from the front ends that have sent, each in turn and within its budget.
    pub(crate) fn take_from_guests(&mut self) {
        for _ in 0..self.senders.len() {
            if self.copies.len() + BUDGET > BATCH {
                break;
            }
            let Some(id) = self.senders.take() else { break };
            let gathered = self.gather_from(id);
            self.note_work(id, 0);
            match gathered {
                Ok(drained) => {
                    self.touched.add(id);
                    if !drained {
                        self.senders.add(id);
                    }
                }
                Err(error) => self.fail(id, error),
            }
        }
        self.copy();
        let mut jobs = core::mem::take(&mut self.jobs);
        for (at, job) in jobs.drain(..).enumerate() {
            let done = self.copies.get(at).is_some_and(|copy| copy.status == GrantStatus::Okay.raw());
            let mac = match self.vifs.get_mut(usize::from(job.vif.0)) {
                Some(Some(vif)) => {
                    let status = if done { PacketStatus::Okay } else { PacketStatus::Error };
                    vif.wrong = if done { 0 } else { vif.wrong + 1 };
                    if let Some(rings) = vif.link.mapped() {
                        let _full = rings.transmit.push(&TxResponse { id: job.id, status: status.raw() });
                    }
                    Some(vif.front.mac).filter(|_| done)
                }
                _ => None,
            };
            match mac {
                Some(mac) => {
                    self.counters.from_guests += 1;
                    self.route(Ingress::Guest(job.vif, mac), job.packet);
                }
                None => self.pool.give_back(job.packet),
            }
        }
        self.jobs = jobs;
        self.copies.clear();
    }

    /// Gathers copies of one front end's frames; true when none is left in its ring.
    fn gather_from(&mut self, id: VifId) -> Result<bool, NetError> {
        let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { return Ok(true) };
        let peer = vif.front.peer;
        for _ in 0..BUDGET {
            // Looking is work too, even if there is nothing.
            vif.work += 1;
            self.work += 1;
            if vif.wrong > WRONG_MAX {
                return Err(NetError::Requests);
            }
            let Some(rings) = vif.link.mapped() else { return Ok(true) };
            let Some(request) = rings.transmit.pop().map_err(|_| NetError::Overrun)? else { return Ok(true) };
            if !is_right(&request) {
                let _full =
                    rings.transmit.push(&TxResponse { id: request.id, status: PacketStatus::Error.raw() });
                vif.wrong += 1;
                vif.counters.dropped += 1;
                continue;
            }
            let Some(mut packet) = self.pool.take() else {
                // The reserve makes this impossible; were it possible, the frame would be lost, nothing else.
                let _full =
                    rings.transmit.push(&TxResponse { id: request.id, status: PacketStatus::Dropped.raw() });
                continue;
            };
            packet.bytes = request.size;
            let source = CopySide {
                frame_or_ref: u64::from(request.gref),
                domid: peer.0,
                offset: request.offset,
                pad: 0,
            };
            let Some(dest) = self.pool.side(&packet) else {
                self.pool.give_back(packet);
                return Ok(true);
            };
            self.copies.push(CopyGrant {
                source,
                dest,
                len: request.size,
                flags: copy_flags::SOURCE_GREF,
                status: GrantStatus::GeneralError.raw(),
                pad: 0,
            });
            self.jobs.push(Job { vif: id, id: request.id, packet });
        }
        Ok(false)
    }

    /// Copies queued packets into the pages that their receivers have posted.
    pub(crate) fn deliver(&mut self) {
        for _ in 0..self.receivers.len() {
            let Some(id) = self.receivers.take() else { break };
            loop {
                match self.gather_for(id) {
                    // A full batch: carry it out and go on with the same front end.
                    Ok(false) => self.copy_to_guests(),
                    Ok(true) => break,
                    Err(error) => {
                        self.fail(id, error);
                        break;
                    }
                }
            }
        }
        self.copy_to_guests();
    }

    /// Gathers copies of one front end's queue; false when the batch is full before that is done.
    fn gather_for(&mut self, id: VifId) -> Result<bool, NetError> {
        let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { return Ok(true) };
        if vif.queue.is_empty() {
            return Ok(true);
        }
        self.touched.add(id);
        let peer = vif.front.peer;
        while !vif.queue.is_empty() {
            if self.copies.len() >= BATCH {
                return Ok(false);
            }
            if vif.wrong > WRONG_MAX {
                return Err(NetError::Requests);
            }
            let Some(rings) = vif.link.mapped() else { return Ok(true) };
            let Some(request) = rings.receive.pop().map_err(|_| NetError::Overrun)? else { return Ok(true) };
            let Some(packet) = vif.queue.pop() else { return Ok(true) };
            self.pool.note_unqueued();
            let Some(source) = self.pool.side(&packet) else {
                self.pool.give_back(packet);
                return Ok(true);
            };
            let dest = CopySide { frame_or_ref: u64::from(request.gref), domid: peer.0, offset: 0, pad: 0 };
            self.copies.push(CopyGrant {
                source,
                dest,
                len: packet.bytes,
                flags: copy_flags::DEST_GREF,
                status: GrantStatus::GeneralError.raw(),
                pad: 0,
            });
            self.jobs.push(Job { vif: id, id: request.id, packet });
        }
        Ok(true)
    }

    fn copy_to_guests(&mut self) {
        self.copy();
        let mut jobs = core::mem::take(&mut self.jobs);
        for (job, copy) in jobs.drain(..).zip(&self.copies) {
            let done = copy.status == GrantStatus::Okay.raw();
            if let Some(Some(vif)) = self.vifs.get_mut(usize::from(job.vif.0)) {
                vif.wrong = if done { 0 } else { vif.wrong + 1 };
                if done {
                    vif.counters.packets += 1;
                    vif.counters.bytes += u64::from(job.packet.bytes);
                    self.counters.to_guests += 1;
                } else {
                    vif.counters.dropped += 1;
                }
                let status = if done { job.packet.bytes.cast_signed() } else { PacketStatus::Error.raw() };
                if let Some(rings) = vif.link.mapped() {
                    let _full = rings.receive.push(&RxResponse { id: job.id, offset: 0, flags: 0, status });
                }
            }
            self.pool.give_back(job.packet);
        }
        self.jobs = jobs;
        self.copies.clear();
    }

    fn copy(&mut self) {
        if !self.copies.is_empty() {
            self.counters.copies += self.copies.len() as u64;
            self.counters.batches += 1;
            self.platform.copy(&mut self.copies);
        }
    }

    /// Shows everybody what was done, and asks to be told of what comes next.
    pub(crate) fn finish(&mut self) {
        self.uplink.flush();
        while let Some(id) = self.touched.take() {
            let Some(Some(vif)) = self.vifs.get_mut(usize::from(id.0)) else { continue };
            vif.publish(&mut self.platform);
            let waits = !vif.queue.is_empty();
            let Some(rings) = vif.link.mapped() else { continue };
            let armed = match rings.transmit.arm() {
                Ok(more) if waits => rings.receive.arm().map(|room| (more, room)),
                Ok(more) => Ok((more, false)),
                Err(overrun) => Err(overrun),
            };
            match armed {
                Ok((more, room)) => {
                    if more {
                        self.senders.add(id);
                    }
                    if room {
                        self.receivers.add(id);
                    }
                }
                Err(_) => self.fail(id, NetError::Overrun),
            }
        }
    }
}
