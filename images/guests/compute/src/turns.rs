//! Work until a set time, counted, and how often the processor was away meanwhile.

use guest_kernel::clock;

/// A unit that takes so long was interrupted by others: alone it takes a few us.
const AWAY_NS: u64 = 50_000;

/// What was done up to `end_ns`.
pub(crate) struct Turns {
    end_ns: u64,
    /// Units that were done in time.
    pub(crate) units: u64,
    /// Turns on the processor.
    pub(crate) count: u64,
    /// The longest time between two of them.
    pub(crate) longest_wait_ns: u64,
    last_ns: u64,
}

impl Turns {
    /// Nothing yet.
    pub(crate) const fn new(end_ns: u64) -> Self {
        Self { end_ns, units: 0, count: 0, longest_wait_ns: 0, last_ns: 0 }
    }

    /// Repeats `unit` until the end.
    pub(crate) fn repeat(&mut self, mut unit: impl FnMut()) {
        self.begin();
        while self.goes_on() {
            unit();
            self.done();
        }
    }

    /// Now is the begin of the first turn.
    pub(crate) fn begin(&mut self) {
        self.last_ns = clock::now_ns();
        self.count = u64::from(self.goes_on());
    }

    /// Whether there is time left.
    pub(crate) const fn goes_on(&self) -> bool {
        self.last_ns < self.end_ns
    }

    /// A unit is done; it counts if it is in time.
    pub(crate) fn done(&mut self) {
        let now_ns = clock::now_ns();
        let took_ns = now_ns.saturating_sub(self.last_ns);
        if now_ns < self.end_ns {
            self.units += 1;
            if took_ns > AWAY_NS {
                self.count += 1;
                self.longest_wait_ns = self.longest_wait_ns.max(took_ns);
            }
        }
        self.last_ns = now_ns;
    }
}
