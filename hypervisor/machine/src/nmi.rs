//! Non-maskable interrupts in the trace.
//! One may come at any instruction, also in the middle of a record of the hypervisor's. So they have a stream of their own
//! in the trace's storage, take no lock and touch nothing that anybody else writes.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use hypercall_abi::DomId;
use hypervisor_core::trace::layout::{WORD_CATEGORIES, WRITTEN_START, head};
use hypervisor_core::trace::{Category, Record, Storage, Stream};

use crate::cpu;

/// Number of the stream in the trace's header.
const STREAM: usize = 1;

/// The writer.
struct Writer(UnsafeCell<Option<(&'static [AtomicU64], Stream)>>);

// SAFETY: `install` writes it before `INSTALLED` is set, and then only `record`, which does not come while it runs.
unsafe impl Sync for Writer {}

static WRITER: Writer = Writer(UnsafeCell::new(None));
/// Whether the writer is there.
static INSTALLED: AtomicU64 = AtomicU64::new(0);

/// Lets interrupts be recorded from now on. Once, at boot.
pub(crate) fn install(storage: &'static [AtomicU64]) {
    let stream = Stream::described(&storage, STREAM);
    // SAFETY: nobody looks before the flag below is set.
    unsafe { *WRITER.0.get() = Some((storage, stream)) };
    INSTALLED.store(1, Ordering::Release);
}

/// Records an interrupt that came before the instruction at `rip`.
pub(crate) extern "C" fn record(rip: u64) {
    if INSTALLED.load(Ordering::Acquire) == 0 {
        return;
    }
    // SAFETY: an NMI does not interrupt another before its `iretq`, and nobody else uses it now.
    let writer = unsafe { &mut *WRITER.0.get() };
    let Some((words, stream)) = writer else { return };
    let bit = u64::from(Category::Interrupt.bit());
    if words.trace_load(WORD_CATEGORIES) & bit == 0 {
        return;
    }
    if !stream.is_described() {
        // The storage was divided anew.
        *stream = Stream::described(words, STREAM);
    }
    const KIND: u8 = Record::Nmi { rip: 0 }.kind();
    // There is always room: the oldest go.
    let _ = stream.write(words, cpu::tsc(), head(KIND, 1, DomId::IDLE.0, 0), [rip]);
    words.trace_store(WRITTEN_START + usize::from(KIND), stream.written());
}
