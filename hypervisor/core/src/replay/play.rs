//! A log played to the core: the same entries in the same order, each with the arguments that it had.
//! It does what the machine does between them as far as the core sees it: it takes the effects.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::entries::{Answer, Entry, NOTHING, begun, domain, of_begun, of_bool, of_next, of_short, place};
use super::form::{Tag, WORDS};
use super::player::{Memory, Mismatch, Player};
use super::start::Start;
use super::state::digest;
use crate::config;
use crate::effects::Todo;
use crate::registers::Registers;
use crate::report::hypercall_name;
use crate::world::{Exception, World};

/// What the hypervisor was started with: contents by name.
pub type Archive<'a> = &'a dyn Fn(&str) -> Option<&'static [u8]>;

/// The first thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Ordinal of the entry into the core in which it shows, from 1.
    pub call: u64,
    /// Who had the processor.
    pub domain: String,
    /// Which entry, with its arguments.
    pub what: String,
    /// What the core did then.
    pub expected: String,
    /// What it does now.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, domain, what, expected, got } = self;
        write!(f, "call {call}: {domain}, {what}: expected that the core {expected}, got that it {got}")
    }
}

/// What a replay has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries into the core.
    pub calls: u64,
    /// Hypercalls and system calls among them.
    pub hypercalls: u64,
    /// Exceptions of guests.
    pub exceptions: u64,
    /// Interrupts.
    pub interrupts: u64,
    /// What the core asked, did and answered, all of which agreed.
    pub compared: u64,
    /// Digests of the state that agreed.
    pub digests: u64,
    /// The last of them.
    pub digest: u64,
    /// Whether the run ended in order.
    pub powered_off: bool,
    /// Whether the log ends within a call.
    pub broken_off: bool,
}

/// How far one step came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// The log was played to its end.
    End,
    /// Something is not as it was.
    Differs(Difference),
}

/// A replay under way.
#[derive(Debug)]
pub struct Play<'a> {
    world: World,
    machine: Player<'a>,
    archive: ArchiveOf<'a>,
    domain: String,
    what: String,
    summary: Summary,
    length: usize,
}

/// Only so that [`Play`] can be shown.
struct ArchiveOf<'a>(Archive<'a>);

impl fmt::Debug for ArchiveOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("archive")
    }
}

impl<'a> Play<'a> {
    /// A replay of the bytes of a log; `None` if they begin as no log of this version does.
    #[must_use]
    pub fn new(log: &'a [u8], archive: Archive<'a>) -> Option<Self> {
        let (start, length) = Start::read(log)?;
        let setup = start.setup()?;
        let machine = Player::new(log.get(length..)?, &setup);
        Some(Self {
            world: World::new(setup),
            machine,
            archive: ArchiveOf(archive),
            domain: String::from("nobody"),
            what: String::from("start"),
            summary: Summary::default(),
            length: log.len(),
        })
    }

    /// What it came to so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary { compared: self.machine.compared.get(), ..self.summary }
    }

    /// The entry that was played last, or is being played: who had the processor, and which it is.
    #[must_use]
    pub fn at(&self) -> (&str, &str) {
        (&self.domain, &self.what)
    }

    /// Bytes of the log that were read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.length.saturating_sub(self.machine.left())
    }

    /// Checks every invariant of the state as it is between two entries.
    ///
    /// # Errors
    /// The first that is broken, in words.
    pub fn check(&self) -> Result<(), String> {
        self.world.check(&Memory(&self.machine))
    }

    /// Plays one entry, with the digest that may follow it.
    pub fn step(&mut self) -> Step {
        let Some((tag, words)) = self.machine.next() else { return self.end() };
        match tag {
            Tag::Enter => self.enter(words),
            Tag::Digest => {
                let ([then, ..], now) = (words, digest(&self.world));
                self.summary.digests = self.summary.digests.saturating_add(1);
                self.summary.digest = now;
                if then != now {
                    let of = |digest: u64| format!("leaves a state with the digest {digest:#018x}");
                    self.machine.differs(of(then), of(now));
                }
            }
            other => {
                let said = words.get(..other.says()).unwrap_or_default();
                self.machine.differs(other.describe(said), String::from("has returned"));
            }
        }
        match self.machine.mismatch() {
            Some(Mismatch { expected, got }) => Step::Differs(Difference {
                call: self.summary.calls,
                domain: self.domain.clone(),
                what: self.what.clone(),
                expected,
                got,
            }),
            None if self.machine.has_ended() => {
                self.summary.broken_off = true;
                self.end()
            }
            None => Step::More,
        }
    }

    fn end(&mut self) -> Step {
        if let Some(Mismatch { expected, got }) = self.machine.mismatch() {
            let (call, domain, what) = (self.summary.calls, self.domain.clone(), self.what.clone());
            return Step::Differs(Difference { call, domain, what, expected, got });
        }
        self.summary.powered_off |= self.world.effects.todo.contains(Todo::POWEROFF);
        Step::End
    }

    /// Does what the machine did with the effects since the last entry.
    fn take_effects(&mut self, todo: u64) {
        let left = Todo::from_bits_retain(u32::try_from(todo).unwrap_or(0));
        let taken = self.world.effects.todo.difference(left);
        if taken.contains(Todo::DEVICES) {
            drop(self.world.take_device_requests());
        }
        if taken.contains(Todo::CONSOLE) {
            self.world.take_output(&mut |_| ());
        }
        self.summary.powered_off |= taken.contains(Todo::POWEROFF);
        self.world.effects.todo = left;
    }

    fn enter(&mut self, words: [u64; WORDS]) {
        let [raw, first, second, third, todo, _] = words;
        let Some(entry) = Entry::from_raw(raw) else {
            return self
                .machine
                .differs(format!("a way into the core, not {raw}"), String::from("is damaged"));
        };
        self.take_effects(todo);
        let mut regs = match entry.has_registers() {
            false => None,
            true => match self.machine.registers() {
                None => return,
                some => some,
            },
        };
        self.note(entry, [first, second, third], regs.as_ref());
        let mut none = Registers::default();
        let answer = self.call(entry, [first, second, third], regs.as_mut().unwrap_or(&mut none));
        let Some([answer, second]) = answer else { return };
        let todo = u64::from(self.world.effects.todo.bits());
        self.machine.leave(&[answer, second, todo, self.world.next_deadline().0], regs.as_ref());
    }

    /// Makes the call; `None` if its arguments make no sense.
    fn call(
        &mut self,
        entry: Entry,
        [first, second, third]: [u64; 3],
        regs: &mut Registers,
    ) -> Option<Answer> {
        let (world, m) = (&mut self.world, &mut self.machine);
        let (caller, error) = (domain(first), u32::try_from(first));
        let answer = match (entry, caller, error) {
            (Entry::AddFunction, ..) => of_bool(world.add_function(m, place(first)).is_some()),
            (Entry::CreateDomains, ..) => {
                let Some(Ok(system)) = (self.archive.0)(config::FILE).map(config::System::from_json) else {
                    m.differs(String::from("finds a configuration"), String::from("finds none"));
                    return None;
                };
                world.create_domains(m, system, self.archive.0);
                NOTHING
            }
            (Entry::BeginHypercall, ..) => of_begun(world.begin_hypercall(m, regs)),
            (Entry::Send, Some(caller), _) => of_short(world.send(m, regs, caller)),
            (Entry::ReturnFromHandler, Some(caller), _) => {
                of_short(world.return_from_handler(m, regs, caller))
            }
            (Entry::ReturnToProcess, Some(caller), _) => of_short(world.return_to_process(m, regs, caller)),
            (Entry::CallOfProcess, Some(caller), _) => of_short(world.call_of_process(m, regs, caller)),
            (Entry::PageFault, _, Ok(error)) => of_short(world.page_fault(m, regs, error, second)),
            (Entry::RecordedPageFault, _, Ok(error)) => {
                of_short(world.recorded_page_fault(m, regs, error, second))
            }
            (Entry::PageFaultOfProcess, _, Ok(error)) => {
                of_short(world.page_fault_of_process(m, regs, error, second))
            }
            (Entry::PageFaultInRing1, _, Ok(error)) => {
                of_short(world.page_fault_in_ring1(m, regs, error, second))
            }
            (Entry::FinishHypercall, ..) => match begun(first, second) {
                Some(begun) => of_bool(world.finish_hypercall(m, regs, begun)),
                None => return self.senseless(),
            },
            (Entry::RecordedHypercall, Some(caller), _) => of_bool(world.recorded_hypercall(m, regs, caller)),
            (Entry::SystemCall, ..) => {
                world.system_call(m, regs);
                NOTHING
            }
            (Entry::IsQuiet, ..) => of_bool(world.is_quiet(m)),
            (Entry::Exception, ..) => {
                let [vector, _, _, _, error @ ..] = first.to_le_bytes();
                let exception = Exception { vector, error: u32::from_le_bytes(error), address: second };
                if let Some(domain) = world.current_mut() {
                    domain.vcpu.segments.gs_base_user = third;
                }
                of_bool(world.exception(m, regs, exception))
            }
            (Entry::TimerInterrupt, ..) => {
                world.timer_interrupt(m);
                NOTHING
            }
            (Entry::DeviceInterrupt, _, Ok(pirq)) => {
                world.device_interrupt(m, pirq);
                NOTHING
            }
            (Entry::SerialInput, ..) => {
                let [byte, ..] = first.to_le_bytes();
                world.serial_input(m, byte);
                NOTHING
            }
            (Entry::BeforeReturn, ..) => of_next(world.before_return(m, regs)),
            _ => return self.senseless(),
        };
        Some(answer)
    }

    fn senseless(&self) -> Option<Answer> {
        self.machine.differs(String::from("gets arguments that make sense"), String::from("is damaged"));
        None
    }

    /// Counts an entry, and puts it into words.
    fn note(&mut self, entry: Entry, arguments: [u64; 3], regs: Option<&Registers>) {
        let Summary { calls, hypercalls, exceptions, interrupts, .. } = &mut self.summary;
        *calls = calls.saturating_add(1);
        let also = match entry {
            Entry::BeginHypercall | Entry::SystemCall => Some(hypercalls),
            Entry::PageFault | Entry::PageFaultOfProcess | Entry::PageFaultInRing1 | Entry::Exception => {
                Some(exceptions)
            }
            Entry::TimerInterrupt | Entry::DeviceInterrupt => Some(interrupts),
            _ => None,
        };
        if let Some(count) = also {
            *count = count.saturating_add(1);
        }
        let of = self.world.current.and_then(|id| self.world.domains.get(id));
        self.domain.clear();
        self.domain.push_str(of.map_or("nobody", |domain| &domain.name));
        self.what = describe(entry, arguments, regs);
    }
}

/// An entry in words, with its arguments.
fn describe(entry: Entry, [first, second, ..]: [u64; 3], regs: Option<&Registers>) -> String {
    let Some(regs) = regs else {
        return match entry {
            Entry::DeviceInterrupt => format!("interrupt {first} of a device"),
            Entry::SerialInput => {
                let byte = u8::try_from(first).map_or('?', char::from);
                format!("{byte:?} on the serial line")
            }
            entry => format!("{entry:?}"),
        };
    };
    let Registers { rax, rdi, rsi, rdx, r10, r8, rip, .. } = *regs;
    match entry {
        Entry::BeginHypercall
        | Entry::Send
        | Entry::FinishHypercall
        | Entry::RecordedHypercall
        | Entry::CallOfProcess => {
            let name = u32::try_from(rax).map_or_else(|_| rax.to_string(), hypercall_name);
            let arguments: Vec<String> =
                [rdi, rsi, rdx, r10, r8].iter().map(|word| format!("{word:#x}")).collect();
            format!("{entry:?} {name}({}) at {rip:#x}", arguments.join(", "))
        }
        Entry::Exception => {
            let (vector, error) = (first & 0xff, first >> 32);
            format!("exception {vector} with error {error:#x} for {second:#x} at {rip:#x}")
        }
        Entry::PageFault | Entry::RecordedPageFault | Entry::PageFaultOfProcess | Entry::PageFaultInRing1 => {
            format!("{entry:?} with error {first:#x} for {second:#x} at {rip:#x}")
        }
        entry => format!("{entry:?} at {rip:#x}"),
    }
}
