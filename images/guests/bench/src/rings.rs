//! What the choice of a ring costs: calls of processes and of their kernel, with the hypervisor's part in each.
//! Processes measure themselves; their kernel counts how often they came into the hypervisor.

mod mapping;

use guest_kernel::hypercall::{extension, raw};
use guest_kernel::process::{Exit, Limits, Member, Process, Program, Step, Stop, layout};
use guest_kernel::{clock, println, upcall};

use crate::events;
use crate::measure::{N, failed};

/// An ELF file, as its program was built.
pub(crate) static RINGS: &[u8] = include_bytes!(env!("PROGRAM_rings"));

/// So long that no slice ends in a measurement.
const SLICE_NS: u64 = 1 << 40;
const LIMITS: Limits = Limits { pages: 6000, processes: 4, time_ns: u64::MAX, slice_ns: SLICE_NS };

/// What the program measures, by its number, with the pages that it takes.
pub(crate) const SYSTEM_CALL: u64 = 0;
const FAULT: u64 = 1;
pub(crate) const FORK: u64 = 2;
const SWITCH: u64 = 3;

pub(crate) async fn run() {
    repeated("null_hypercall", N, |times| {
        for _ in 0..times {
            // SAFETY: the number is unknown, so that nothing happens.
            let _ = unsafe { raw::call0::<63>() };
        }
    });
    events::of_rings();
    let program = match Program::read(RINGS) {
        Ok(program) => program,
        Err(why) => return failed("user_system_call", why),
    };
    upcall::unmask();
    processes("user_system_call", &program, SYSTEM_CALL, 0, N).await;
    faults(&program);
    for (name, pages, times) in
        [("fork_exit_16", 16, 100), ("fork_exit_256", 256, 50), ("fork_exit_4096", 4096, 8)]
    {
        processes(name, &program, FORK, pages, times).await;
    }
    processes("process_switch", &program, SWITCH, 0, N / 2).await;
    mapping::run();
}

/// How often this domain came into the hypervisor so far, where it says: calls, exceptions, system calls.
pub(crate) fn entries() -> Option<u64> {
    extension::counters().ok().map(|counters| counters.hypercalls + counters.bounced)
}

/// Measures `work`, which does something so many times.
pub(crate) fn repeated(name: &str, times: u64, mut work: impl FnMut(u64)) {
    work(16);
    let before = entries();
    let start = clock::tsc();
    work(times);
    let ticks = clock::tsc() - start;
    // The question itself is one more.
    let entered = entries().zip(before).map(|(after, before)| after - before - 1);
    report(name, ticks / times, times, entered.map(|entered| (entered, times)));
}

/// Says a result, with the entries into the hypervisor of so many operations.
pub(crate) fn report(name: &str, value: u64, times: u64, entries: Option<(u64, u64)>) {
    match entries {
        Some((entries, operations)) => {
            let hundredths = entries * 100 / operations;
            println!(
                "@bench {{\"name\":\"{name}\",\"instructions\":{value},\"n\":{times},\"entries\":{}.{:02}}}",
                hundredths / 100,
                hundredths % 100
            );
        }
        None => println!("@bench {{\"name\":\"{name}\",\"instructions\":{value},\"n\":{times}}}"),
    }
}

/// Tells the program what to measure.
pub(crate) fn argument(what: u64, pages: u64, times: u64) -> u64 {
    what | times << 8 | pages << 32
}

/// Has processes measure something, and counts what twice as many repetitions add.
async fn processes(name: &str, program: &Program, what: u64, pages: u64, times: u64) {
    let mut value = 0;
    let mut entered = [None; 2];
    for (factor, entered) in (1..).zip(&mut entered) {
        let process = match Process::new(program, argument(what, pages, factor * times), LIMITS) {
            Ok(process) => process,
            Err(why) => return failed(name, format_args!("{why:?}")),
        };
        let before = entries();
        match process.run().await {
            Exit::Status(status) if status != u32::MAX => value = u64::from(status),
            exit => return failed(name, format_args!("{exit:?}")),
        }
        *entered = entries().zip(before).map(|(after, before)| after - before);
    }
    let [once, twice] = entered;
    // A round of two processes is two switches.
    let operations = if what == SWITCH { 2 * times } else { times };
    report(
        name,
        value,
        2 * times,
        twice.zip(once).map(|(twice, once)| (twice.saturating_sub(once), operations)),
    );
}

/// Page faults of a process that its kernel answers by skipping the instruction.
fn faults(program: &Program) {
    const NAME: &str = "user_page_fault";
    let mut value = 0;
    let mut entered = [None; 2];
    for (factor, entered) in (1..).zip(&mut entered) {
        let mut member = match Member::new(program, argument(FAULT, 0, factor * N), LIMITS.pages) {
            Ok(member) => member,
            Err(why) => return failed(NAME, format_args!("{why:?}")),
        };
        if let Err(why) = member.activate() {
            return failed(NAME, format_args!("{why:?}"));
        }
        let before = entries();
        let end = loop {
            match member.context().execute() {
                Stop::PageFault { address, .. } if address == layout::END - layout::PAGE => {
                    member.context().registers().rip += 2;
                }
                stop => match member.serve(stop) {
                    None | Some(Step::Upcall) => {}
                    Some(other) => break other,
                },
            }
        };
        *entered = entries().zip(before).map(|(after, before)| after - before);
        match end {
            Step::End(Exit::Status(status)) if status != u32::MAX => value = u64::from(status),
            end => return failed(NAME, format_args!("{end:?}")),
        }
    }
    let [once, twice] = entered;
    report(NAME, value, 2 * N, twice.zip(once).map(|(twice, once)| (twice.saturating_sub(once), N)));
}
