//! Runs user processes that behave and that do not, and says how they ended.
//! It exists to be looked at by a test: each line says what was to happen and what did.

#![no_std]
#![no_main]

use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Ticker, Timer, with_timeout};
use guest_kernel::hypercall::extension;
use guest_kernel::process::{Exit, Limits, Process, Program};
use guest_kernel::{Guest, println};

guest_kernel::main!(run);

/// An ELF file, as its program was built.
static ACTS: &[u8] = include_bytes!(env!("PROGRAM_acts"));

const LIMITS: Limits = Limits { pages: 256, processes: 16, time_ns: 5_000_000_000, slice_ns: 1_000_000 };
/// Of those that loop.
const SHORT_NS: u64 = 20_000_000;
const DEBUG: u8 = 1;
const PAGE_FAULT: u8 = 14;

/// What an act must come to.
#[derive(Clone, Copy)]
enum Wanted {
    Status(u32),
    Fault(u8),
    Memory,
    Time,
}

/// Each act of the program, by its number.
const COURSE: [(&str, Wanted); 19] = [
    ("hello", Wanted::Status(7)),
    ("loop", Wanted::Time),
    ("read at 0", Wanted::Fault(PAGE_FAULT)),
    ("read the kernel", Wanted::Fault(PAGE_FAULT)),
    ("write code", Wanted::Fault(PAGE_FAULT)),
    ("overflow the stack", Wanted::Fault(PAGE_FAULT)),
    ("FPU and bases, three processes", Wanted::Status(0)),
    ("exhaust memory", Wanted::Memory),
    ("grow and give back", Wanted::Status(0)),
    ("fork, copies", Wanted::Status(0)),
    ("fork without end", Wanted::Status(0)),
    ("fork, turns", Wanted::Status(0)),
    ("kill a child", Wanted::Status(0)),
    ("hypercalls", Wanted::Status(0)),
    ("privileged instructions", Wanted::Status(0)),
    ("other rings", Wanted::Status(0)),
    ("bad arguments", Wanted::Status(0)),
    ("sleep", Wanted::Status(0)),
    ("single step", Wanted::Fault(DEBUG)),
];

impl Wanted {
    fn is(self, exit: Exit) -> bool {
        match (self, exit) {
            (Self::Status(wanted), Exit::Status(status)) => wanted == status,
            (Self::Fault(wanted), Exit::Fault { vector, .. }) => wanted == vector,
            (Self::Memory, Exit::Memory) | (Self::Time, Exit::Time) => true,
            _ => false,
        }
    }
}

async fn run(guest: Guest) {
    let program = Program::read(ACTS).unwrap_or_else(|why| panic!("acts: {why}"));
    let before = entries();
    let mut good = 0;
    for (act, (name, wanted)) in (0..).zip(COURSE) {
        let exit = start(&program, act).run().await;
        let ok = wanted.is(exit);
        good += u32::from(ok);
        println!("@process {{\"act\":\"{name}\",\"ok\":{ok},\"exit\":\"{exit:x?}\"}}");
    }
    for (name, ok) in [
        ("a task beside a loop", beside(&program).await),
        ("dropped in its run", dropped(&program).await),
        ("two at once", both(&program).await),
        ("FPU and bases, two families", families(&program).await),
    ] {
        good += u32::from(ok);
        println!("@process {{\"act\":\"{name}\",\"ok\":{ok}}}");
    }
    println!(
        "@processes {{\"good\":{good},\"of\":{},\"cpl\":{},\"hypercalls\":{}}}",
        COURSE.len() + 4,
        guest.cpl(),
        entries() - before
    );
}

fn start(program: &Program, act: u64) -> Process {
    let limits = if act == 1 { Limits { time_ns: SHORT_NS, ..LIMITS } } else { LIMITS };
    Process::new(program, act, limits).unwrap_or_else(|why| panic!("act {act}: {why:?}"))
}

/// Hypercalls so far; 0 where nobody says.
fn entries() -> u64 {
    extension::counters().map_or(0, |counters| counters.hypercalls)
}

/// A task with a timer goes on while a process loops: it is done before the process has used up its time.
async fn beside(program: &Program) -> bool {
    let looping = async {
        let exit = start(program, 1).run().await;
        (exit, Instant::now())
    };
    let ticking = async {
        let mut ticker = Ticker::every(Duration::from_millis(1));
        for _ in 0..10 {
            ticker.next().await;
        }
        Instant::now()
    };
    let ((exit, end), done) = join(looping, ticking).await;
    exit == Exit::Time && done < end
}

/// A process whose run is given up is gone, and the guest is none the worse.
async fn dropped(program: &Program) -> bool {
    for _ in 0..20 {
        if with_timeout(Duration::from_micros(500), start(program, 1).run()).await.is_ok() {
            return false;
        }
    }
    Timer::after(Duration::from_millis(2)).await;
    start(program, 0).run().await == Exit::Status(7)
}

/// Processes of two families keep their own in the processor, and those after them find nothing of it.
async fn families(program: &Program) -> bool {
    const STATE: u64 = 6;
    let (one, other) = join(start(program, STATE).run(), start(program, STATE).run()).await;
    one == Exit::Status(0) && other == Exit::Status(0) && start(program, STATE).run().await == Exit::Status(0)
}

/// Two families take turns.
async fn both(program: &Program) -> bool {
    let (one, other) = join(start(program, 9).run(), start(program, 9).run()).await;
    one == Exit::Status(0) && other == Exit::Status(0)
}
