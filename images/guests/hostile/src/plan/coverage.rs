//! What was asked, what was answered, and what came of each instruction.
//! It exists to show that the attacks reach what they are meant for: a run that tries nothing passes too easily.

use core::fmt::{self, Write};

use hypercall_abi::Errno;
use hypercall_abi::grant_table::GrantStatus;

use crate::model::Answer;
use crate::{Operation, Reach};

/// The most instructions that can be counted.
pub(crate) const INSTRUCTIONS: usize = 128;

/// Words with a bit for each answer.
const SEEN_WORDS: usize = (2 * Operation::COUNT + Errno::ALL.len() + GrantStatus::ALL.len()).div_ceil(64);

/// What came of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstructionOutcome {
    /// Not tried.
    #[default]
    Untried,
    /// It faulted, with this vector.
    Trapped(u8),
    /// It was executed or skipped.
    Silent,
}

/// Counts since they were last taken.
#[derive(Clone, Debug)]
pub struct Coverage {
    accepted: [u32; Operation::COUNT],
    refused: [u32; Operation::COUNT],
    errnos: [u32; Errno::ALL.len()],
    statuses: [u32; GrantStatus::ALL.len()],
    instructions: [InstructionOutcome; INSTRUCTIONS],
    /// Answers that ever came, a bit each in the order of [`Reach::all`].
    seen: [u64; SEEN_WORDS],
    news: bool,
    /// Calls made.
    pub calls: u64,
    /// Answers that must not be.
    pub breaches: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            accepted: [0; Operation::COUNT],
            refused: [0; Operation::COUNT],
            errnos: [0; Errno::ALL.len()],
            statuses: [0; GrantStatus::ALL.len()],
            instructions: [InstructionOutcome::Untried; INSTRUCTIONS],
            seen: [0; SEEN_WORDS],
            news: false,
            calls: 0,
            breaches: 0,
        }
    }
}

impl Coverage {
    /// Counts an answer.
    pub fn count(&mut self, operation: Operation, answer: Answer) {
        self.calls += 1;
        let place = operation.place();
        match answer {
            Answer::Accepted => {
                self.accepted[place] += 1;
                self.see(place);
            }
            Answer::Refused(errno) => {
                self.refused[place] += 1;
                self.see(Operation::COUNT + place);
                if let Some(index) = Errno::ALL.iter().position(|&other| other == errno) {
                    self.errnos[index] += 1;
                    self.see(2 * Operation::COUNT + index);
                }
            }
            Answer::Status(status) => {
                self.refused[place] += 1;
                self.see(Operation::COUNT + place);
                if let Some(index) = GrantStatus::ALL.iter().position(|&other| other == status) {
                    self.statuses[index] += 1;
                    self.see(2 * Operation::COUNT + Errno::ALL.len() + index);
                }
            }
            Answer::Odd(_) => self.breaches += 1,
        }
    }

    fn see(&mut self, place: usize) {
        let bit = 1 << (place % 64);
        if let Some(word) = self.seen.get_mut(place / 64) {
            self.news |= *word & bit == 0;
            *word |= bit;
        }
    }

    /// Whether an answer came for the first time since the last report: whoever may die any moment reports it soon.
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.news
    }

    /// Notes what came of an instruction.
    pub fn instruction(&mut self, index: usize, outcome: InstructionOutcome) {
        if let Some(place) = self.instructions.get_mut(index) {
            *place = outcome;
        }
    }

    /// How often an answer came.
    #[must_use]
    pub fn of(&self, reach: Reach) -> u32 {
        let counted = match reach {
            Reach::Accepted(operation) => self.accepted.get(operation.place()),
            Reach::Refused(operation) => self.refused.get(operation.place()),
            Reach::Errno(errno) => {
                Errno::ALL.iter().position(|&other| other == errno).and_then(|index| self.errnos.get(index))
            }
            Reach::Status(status) => GrantStatus::ALL
                .iter()
                .position(|&other| other == status)
                .and_then(|index| self.statuses.get(index)),
        };
        counted.copied().unwrap_or(0)
    }

    /// Writes as `@coverage` lines which answers have to come, and why others never do.
    ///
    /// # Errors
    /// Whatever `line` fails with.
    pub fn report_due(seed: u64, mut line: impl FnMut(&str) -> fmt::Result) -> fmt::Result {
        let mut lines = Lines { text: alloc::string::String::new(), seed, line: &mut line };
        for never in [false, true] {
            for reach in Reach::all() {
                match reach.never() {
                    None if !never => lines.text("due", &reach, &"\"\"")?,
                    Some(why) if never => lines.text("never", &reach, &format_args!("\"{why}\""))?,
                    _ => {}
                }
            }
            lines.end()?;
        }
        Ok(())
    }

    /// Writes the counts as `@coverage` lines of at most 180 bytes, since a console has short lines, and
    /// begins anew. `name` names an instruction.
    ///
    /// # Errors
    /// Whatever `line` fails with.
    pub fn report(
        &mut self,
        seed: u64,
        name: impl Fn(usize) -> &'static str,
        mut line: impl FnMut(&str) -> fmt::Result,
    ) -> fmt::Result {
        let mut lines = Lines { text: alloc::string::String::new(), seed, line: &mut line };
        for (key, counts) in [("accepted", &self.accepted), ("refused", &self.refused)] {
            for operation in Operation::all() {
                let count = counts[operation.place()];
                if count != 0 {
                    lines.number(key, &operation, count)?;
                }
            }
            lines.end()?;
        }
        for (errno, &count) in Errno::ALL.iter().zip(&self.errnos) {
            if count != 0 {
                lines.number("errnos", &errno.name(), count)?;
            }
        }
        lines.end()?;
        for (status, &count) in GrantStatus::ALL.iter().zip(&self.statuses) {
            if count != 0 {
                lines.number("statuses", &status.name(), count)?;
            }
        }
        lines.end()?;
        for (index, outcome) in self.instructions.iter().enumerate() {
            match outcome {
                InstructionOutcome::Untried => {}
                InstructionOutcome::Silent => lines.text("instructions", &name(index), &"\"silent\"")?,
                InstructionOutcome::Trapped(vector) => {
                    lines.text("instructions", &name(index), &format_args!("\"trapped {vector}\""))?;
                }
            }
        }
        lines.end()?;
        lines.number("totals", &"calls", self.calls)?;
        lines.number("totals", &"breaches", self.breaches)?;
        lines.end()?;
        *self = Self { seen: self.seen, ..Self::default() };
        Ok(())
    }
}

/// Lines being filled.
struct Lines<'a> {
    text: alloc::string::String,
    seed: u64,
    line: &'a mut dyn FnMut(&str) -> fmt::Result,
}

impl Lines<'_> {
    const BYTES: usize = 180;

    fn number(&mut self, key: &str, name: &dyn fmt::Display, count: impl fmt::Display) -> fmt::Result {
        self.text(key, name, &count)
    }

    fn text(&mut self, key: &str, name: &dyn fmt::Display, value: &dyn fmt::Display) -> fmt::Result {
        let pair = alloc::format!("\"{name}\":{value}");
        if self.text.len() + pair.len() + 3 > Self::BYTES {
            self.end()?;
        }
        if self.text.is_empty() {
            write!(self.text, "@coverage {{\"seed\":{},\"{key}\":{{{pair}", self.seed)
        } else {
            write!(self.text, ",{pair}")
        }
    }

    fn end(&mut self) -> fmt::Result {
        if self.text.is_empty() {
            return Ok(());
        }
        self.text.push_str("}}");
        let done = (self.line)(&self.text);
        self.text.clear();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_once_in_short_whole_lines() {
        let mut coverage = Coverage::default();
        for operation in Operation::all() {
            coverage.count(operation, Answer::Accepted);
            coverage.count(operation, Answer::Refused(Errno::Inval));
        }
        coverage.instruction(0, InstructionOutcome::Trapped(13));
        let mut lines = Vec::new();
        let mut keep = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        coverage.report(3, |_| "cli", &mut keep).unwrap();
        assert!(lines.iter().all(|line| line.len() <= 180 && line.starts_with("@coverage {\"seed\":3,")));
        assert!(lines.iter().all(|line| line.matches('{').count() == 2 && line.ends_with("}}")));
        let text = lines.concat();
        for operation in Operation::all() {
            assert_eq!(text.matches(&format!("\"{operation}\":1")).count(), 2, "{operation}");
        }
        assert!(text.contains(&format!("\"Inval\":{}", Operation::COUNT)));
        assert!(text.contains("\"cli\":\"trapped 13\""));
        let mut rest = Vec::new();
        coverage
            .report(
                3,
                |_| "",
                |line| {
                    rest.push(line.to_owned());
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!(rest, ["@coverage {\"seed\":3,\"totals\":{\"calls\":0,\"breaches\":0}}"]);
    }

    #[test]
    fn only_what_comes_for_the_first_time_is_news() {
        let mut coverage = Coverage::default();
        let operation = Operation::of(29, 0);
        let news = |coverage: &mut Coverage, answer| {
            coverage.count(operation, answer);
            let news = coverage.has_news();
            coverage.report(1, |_| "", |_| Ok(())).unwrap();
            news
        };
        assert!(news(&mut coverage, Answer::Accepted));
        assert!(!news(&mut coverage, Answer::Accepted));
        assert!(news(&mut coverage, Answer::Refused(Errno::Perm)));
        assert!(news(&mut coverage, Answer::Refused(Errno::Busy)));
        assert!(!news(&mut coverage, Answer::Refused(Errno::Perm)));
        assert!(news(&mut coverage, Answer::Status(GrantStatus::BadPage)));
    }

    #[test]
    fn what_is_due_and_what_never_comes_are_all_answers_in_short_lines() {
        let mut text = Vec::new();
        let keep = |line: &str| {
            assert!(line.len() <= 180 && line.ends_with("}}"), "{line}");
            text.push(line.to_owned());
            Ok(())
        };
        Coverage::report_due(1, keep).unwrap();
        let text = text.concat();
        for reach in Reach::all() {
            assert_eq!(text.matches(&format!("\"{reach}\":")).count(), 1, "{reach}");
        }
        assert!(text.contains("\"never\":{\"accepted "));
    }
}
