//! Running a process and all that came of it by `fork`, as one of the guest's tasks.

use core::future::poll_fn;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::task::Poll;

use embassy_time::{Instant, Timer};
use process_abi::{Call, Error, Exit};

use super::calls::NUMBER;
use super::member::{Member, Step};
use crate::machine::hypercall::time;
use crate::machine::{clock, time_driver};
use crate::process::family::{Family, Number, Turn};
use crate::process::program::Program;
use crate::process::space::Refusal;

/// When the timer will interrupt; a time that has passed for never.
static ALARM: AtomicU64 = AtomicU64::new(0);

/// What a process may use up, with all that come of it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages of each process, its page tables counted.
    pub pages: u64,
    /// Processes at one time.
    pub processes: usize,
    /// ns on the processor, of all together; `u64::MAX` for no limit.
    pub time_ns: u64,
    /// ns after which the guest's other tasks, and other processes, get their turn.
    pub slice_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pages: 1024, processes: 16, time_ns: u64::MAX, slice_ns: 1_000_000 }
    }
}

/// A process that can be run.
#[derive(Debug)]
pub struct Process {
    family: Family<Member>,
    limits: Limits,
    spent_ns: u64,
}

/// How a turn ended.
enum Ended {
    /// Something else may have to run.
    Upcall,
    /// It is another process's turn.
    Turn,
    /// The first process is at its end, and with it the others.
    All(Exit),
}

impl Process {
    /// A process that has not begun, with an argument for the program's `main`.
    ///
    /// # Errors
    /// [`Refusal::Memory`] when there is too little memory for it.
    pub fn new(program: &Program, argument: u64, limits: Limits) -> Result<Self, Refusal> {
        let first = Member::new(program, argument, limits.pages)?;
        Ok(Self { family: Family::new(first, limits.processes), limits, spent_ns: 0 })
    }

    /// Runs it to its end. It takes turns with the guest's tasks; dropping the call kills it.
    pub async fn run(mut self) -> Exit {
        loop {
            let now = clock::now_ns();
            match self.family.turn(now) {
                Turn::Run(number) => match self.slice(number, now) {
                    Ended::Upcall => rest().await,
                    Ended::Turn => {}
                    Ended::All(exit) => return exit,
                },
                Turn::Sleep(until) => Timer::at(Instant::from_micros(until.div_ceil(1000))).await,
                Turn::Stuck => return Exit::Killed,
            }
        }
    }

    /// Gives a process its turn.
    fn slice(&mut self, number: Number, now: u64) -> Ended {
        let left = self.limits.time_ns - self.spent_ns;
        set_alarm(now, now.saturating_add(self.limits.slice_ns.min(left)));
        NUMBER.store(number, Relaxed);
        let ended = self.steps(number);
        self.spent_ns += clock::now_ns().saturating_sub(now);
        match ended {
            Ended::Upcall | Ended::Turn if self.spent_ns >= self.limits.time_ns => Ended::All(Exit::Time),
            ended => ended,
        }
    }

    fn steps(&mut self, number: Number) -> Ended {
        loop {
            let Some(member) = self.family.get_mut(number) else { return Ended::Turn };
            if member.activate().is_err() {
                return self.end(number, Exit::Memory);
            }
            let answer = match member.step() {
                Step::Upcall => return Ended::Upcall,
                Step::End(exit) => return self.end(number, exit),
                Step::Call(Call::Yield, _) => {
                    member.answer(Ok(0));
                    return if self.family.others_ready(number) { Ended::Turn } else { Ended::Upcall };
                }
                Step::Call(Call::Sleep, ns) => {
                    member.answer(Ok(0));
                    self.family.sleep(number, clock::now_ns().saturating_add(ns));
                    return Ended::Turn;
                }
                Step::Call(Call::Fork, _) => self.fork(number),
                Step::Call(Call::Kill, child) => {
                    self.family.kill(number, child).map(|()| 0).map_err(|_| Error::NoChild)
                }
                Step::Call(Call::Wait, child) => match self.family.wait(number, child) {
                    Ok(None) => return Ended::Turn,
                    Ok(Some(exit)) => Ok(exit.to_word()),
                    Err(_) => Err(Error::NoChild),
                },
                Step::Call(..) => Err(Error::NoCall),
            };
            if let Some(member) = self.family.get_mut(number) {
                member.answer(answer);
            }
        }
    }

    fn fork(&mut self, number: Number) -> Result<u64, Error> {
        if !self.family.has_room() {
            return Err(Error::NoMemory);
        }
        let parent = self.family.get_mut(number).ok_or(Error::Invalid)?;
        let mut child = parent.fork()?;
        child.answer(Ok(0));
        Ok(self.family.add(number, child))
    }

    /// A process is at its end, whatever it was.
    fn end(&mut self, number: Number, exit: Exit) -> Ended {
        if number == 1 {
            return Ended::All(exit);
        }
        if let Some((parent, exit)) = self.family.end(number, exit)
            && let Some(member) = self.family.get_mut(parent)
        {
            member.answer(Ok(exit.to_word()));
        }
        Ended::Turn
    }
}

/// Lets the guest's other tasks run.
async fn rest() {
    let mut rested = false;
    poll_fn(|context| {
        if core::mem::replace(&mut rested, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Has the timer interrupt at `latest`, or sooner for a task.
fn set_alarm(now: u64, latest: u64) {
    let wanted = time_driver::next().map_or(latest, |next| next.min(latest));
    let set = ALARM.load(Relaxed);
    if now < set && set <= wanted {
        return;
    }
    // A time that has passed interrupts at once, which is as it should be.
    if time::set_timer(wanted.max(1)).is_ok() {
        ALARM.store(wanted, Relaxed);
    }
}
