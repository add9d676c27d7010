//! What was asked, what was answered, and what came of each instruction.
//! It exists to show that the attacks reach what they are meant for: a run that tries nothing passes too easily.

use core::fmt::{self, Write};

use hypercall_abi::Errno;
use hypercall_abi::grant_table::GrantStatus;

use crate::Operation;
use crate::model::Answer;

/// The most instructions that can be counted.
pub(crate) const INSTRUCTIONS: usize = 128;

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
            Answer::Accepted => self.accepted[place] += 1,
            Answer::Refused(errno) => {
                self.refused[place] += 1;
                if let Some(index) = Errno::ALL.iter().position(|&other| other == errno) {
                    self.errnos[index] += 1;
                }
            }
            Answer::Status(status) => {
                self.refused[place] += 1;
                if let Some(index) = GrantStatus::ALL.iter().position(|&other| other == status) {
                    self.statuses[index] += 1;
                }
            }
            Answer::Odd(_) => self.breaches += 1,
        }
    }

    /// Notes what came of an instruction.
    pub fn instruction(&mut self, index: usize, outcome: InstructionOutcome) {
        if let Some(place) = self.instructions.get_mut(index) {
            *place = outcome;
        }
    }

    /// How often an operation was accepted and refused.
    #[must_use]
    pub fn of(&self, operation: Operation) -> (u32, u32) {
        (self.accepted[operation.place()], self.refused[operation.place()])
    }

    /// How often an error came.
    #[must_use]
    pub fn errno(&self, errno: Errno) -> u32 {
        Errno::ALL.iter().position(|&other| other == errno).map_or(0, |index| self.errnos[index])
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
        *self = Self::default();
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
}
