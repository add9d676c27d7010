//! What stands between core and machine: nothing, or in a hypervisor that is built for it (feature `replay`) what
//! writes a run down. Both have the same names, so that nobody else needs to know.

#[cfg(not(feature = "replay"))]
pub(crate) use nothing::{Hands, Mind, begin, mind, share};
#[cfg(feature = "replay")]
pub(crate) use recording::{Hands, Mind, begin, mind, share};

#[cfg(not(feature = "replay"))]
mod nothing {
    use core::sync::atomic::AtomicU64;

    use hypervisor_core::world::{Setup, World};

    use crate::hardware::Hardware;

    /// The world as the machine enters it.
    pub(crate) type Mind = World;
    /// The hardware as the core gets it.
    pub(crate) type Hands = Hardware;

    /// The trace's part of the storage, and the log's.
    pub(crate) const fn share(storage: &'static [AtomicU64]) -> (&'static [AtomicU64], &'static [AtomicU64]) {
        (storage, &[])
    }

    /// Records nothing.
    pub(crate) fn begin(
        hardware: Hardware,
        _: &'static [AtomicU64],
        _: &Setup,
        _: impl Iterator<Item = (u64, u64)>,
    ) -> Hands {
        hardware
    }

    /// The world itself.
    pub(crate) const fn mind(world: World) -> Mind {
        world
    }
}

#[cfg(feature = "replay")]
mod recording {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicU64, Ordering};

    use hypervisor_core::replay::{Recorded, Recorder, Sink, Start, ring};
    use hypervisor_core::world::{Setup, World};

    use crate::hardware::Hardware;

    /// The world as the machine enters it.
    pub(crate) type Mind = Recorded;
    /// The hardware as the core gets it.
    pub(crate) type Hands = Recorder<Hardware, Ring>;

    /// The trace's part of the storage, and the log's.
    pub(crate) const fn share(storage: &'static [AtomicU64]) -> (&'static [AtomicU64], &'static [AtomicU64]) {
        storage.split_at(ring::first(storage.len()))
    }

    /// Begins to record, if the host has asked for it.
    pub(crate) fn begin(
        hardware: Hardware,
        storage: &'static [AtomicU64],
        setup: &Setup,
        ranges: impl Iterator<Item = (u64, u64)>,
    ) -> Hands {
        Recorder::new(hardware, Ring::new(storage), &Start::new(setup, ranges))
    }

    /// The world, its entries noted.
    pub(crate) const fn mind(world: World) -> Mind {
        Recorded::new(world)
    }

    /// The log's bytes on their way to the host: a ring in memory that it shares, and takes them out of.
    #[derive(Debug)]
    pub(crate) struct Ring {
        words: &'static [AtomicU64],
        /// The same without its head.
        data: &'static [AtomicU64],
        /// Bytes that were put.
        put: Cell<u64>,
        /// Bytes that the host had taken when it was last looked.
        taken: Cell<u64>,
        /// The word that is being filled.
        word: Cell<u64>,
    }

    impl Ring {
        fn new(words: &'static [AtomicU64]) -> Option<Self> {
            let asked = words.get(ring::ASKED)?.load(Ordering::Acquire) == ring::MAGIC;
            let data = words.get(ring::DATA..).filter(|data| asked && !data.is_empty())?;
            let [put, taken, word] = [0; 3].map(Cell::new);
            Some(Self { words, data, put, taken, word })
        }

        fn bytes(&self) -> u64 {
            self.data.len() as u64 * 8
        }

        /// Waits until the host has taken something.
        #[cold]
        fn wait(&self) {
            self.publish();
            while self.put.get() - self.taken.get() >= self.bytes() {
                self.taken.set(self.words[ring::TAKEN].load(Ordering::Acquire));
                core::hint::spin_loop();
            }
        }
    }

    impl Sink for Ring {
        fn put(&self, byte: u8) {
            let at = self.put.get();
            if at - self.taken.get() >= self.bytes() {
                self.wait();
            }
            let shift = at % 8 * 8;
            let word = if shift == 0 { 0 } else { self.word.get() } | u64::from(byte) << shift;
            self.word.set(word);
            self.data[(at / 8) as usize % self.data.len()].store(word, Ordering::Release);
            self.put.set(at + 1);
        }

        fn publish(&self) {
            self.words[ring::PUT].store(self.put.get(), Ordering::Release);
        }
    }
}
