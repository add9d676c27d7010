//! The end of an address space: everything given back, in pieces of bounded work.
//! It is a machine of stages rather than a loop, so that a large domain's death does not stop the others.

use hypercall_abi::Mfn;

use super::Tables;
use crate::memory::MachineMemory;

/// How far the end of an address space has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In use.
    Alive,
    /// Pins are taken away, up to this extent and frame in it.
    Unpinning(usize, u32),
    /// Tables are released.
    Draining,
    /// The domain's own references are given back, up to this extent and frame in it.
    Freeing(usize, u32),
    /// Nothing of it is left but frames that others refer to.
    Done,
}

/// Whether a piece of work was the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Call again.
    More,
    /// All is done.
    Done,
}

impl<M: MachineMemory> Tables<'_, M> {
    /// Begins the end: gives back the roots in use.
    pub(crate) fn begin_teardown(&mut self, roots: [Option<Mfn>; 2]) {
        if self.space.stage != Stage::Alive {
            return;
        }
        for root in roots.into_iter().flatten() {
            self.put_table(root);
        }
        self.space.stage = Stage::Unpinning(0, 0);
    }

    /// Does a piece of it, as far as this call's work goes.
    pub(crate) fn teardown(&mut self) -> Progress {
        loop {
            match self.space.stage {
                Stage::Alive => return Progress::More,
                Stage::Unpinning(extent, frame) => {
                    let next = self.each_frame(extent, frame, |tables, mfn| {
                        let _ = tables.unpin(mfn);
                    });
                    match next {
                        Some((extent, frame)) => {
                            self.space.stage = Stage::Unpinning(extent, frame);
                            return Progress::More;
                        }
                        None => self.space.stage = Stage::Draining,
                    }
                }
                Stage::Draining => {
                    if !self.drain() {
                        return Progress::More;
                    }
                    for mfn in core::mem::take(&mut self.space.shared) {
                        self.frames.end_shared(mfn);
                        self.frames.release_held(mfn);
                    }
                    self.space.stage = Stage::Freeing(0, 0);
                }
                Stage::Freeing(extent, frame) => {
                    let next = self.each_frame(extent, frame, |tables, mfn| {
                        // Parts of its image may be others' too.
                        if tables.frames.is_of(mfn, tables.space.owner) {
                            tables.frames.release_held(mfn);
                        }
                    });
                    match next {
                        Some((extent, frame)) => {
                            self.space.stage = Stage::Freeing(extent, frame);
                            return Progress::More;
                        }
                        None => {
                            self.space.extents = alloc::vec::Vec::new();
                            self.space.stage = Stage::Done;
                        }
                    }
                }
                Stage::Done => return Progress::Done,
            }
        }
    }

    /// Does something with each frame from a place on; returns where the work of this call ran out.
    fn each_frame(
        &mut self,
        extent: usize,
        frame: u32,
        mut act: impl FnMut(&mut Self, Mfn),
    ) -> Option<(usize, u32)> {
        let (mut at, mut frame) = (extent, frame);
        while let Some(&extent) = self.space.extents.get(at) {
            while frame < extent.count {
                let Some(work) = self.work.checked_sub(1) else { return Some((at, frame)) };
                self.work = work;
                act(self, Mfn(extent.first.0.saturating_add(u64::from(frame))));
                frame = frame.saturating_add(1);
            }
            at = at.saturating_add(1);
            frame = 0;
        }
        None
    }
}
