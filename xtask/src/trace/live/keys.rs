//! What keys do in the live view.
//! It exists apart from the screen so that it can be tested without one.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::Sort;

/// Shortest and longest interval in ms.
const INTERVALS: (u64, u64) = (100, 60_000);

/// What the user has chosen.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Column to sort by.
    pub(super) sort: Sort,
    /// The other way round.
    pub(super) turned: bool,
    /// Pictures stand still.
    pub(super) paused: bool,
    /// The help is shown.
    pub(super) help: bool,
    /// First domain that is shown.
    pub(super) top: usize,
    /// In ms.
    pub(super) interval: u64,
    /// A setting being typed.
    pub(super) typed: Option<String>,
    /// What the last setting came to.
    pub(super) message: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing but to show it.
    Show,
    /// Give a setting to the running system.
    Control(String),
    /// End.
    Quit,
}

const SORTS: [Sort; 8] =
    [Sort::Cpu, Sort::Queue, Sort::Calls, Sort::Events, Sort::Batch, Sort::Switches, Sort::Rings, Sort::Name];

impl View {
    /// As the options say.
    pub(super) fn new(sort: Sort, interval: u64) -> Self {
        Self {
            sort,
            turned: false,
            paused: false,
            help: false,
            top: 0,
            interval,
            typed: None,
            message: String::new(),
        }
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Act {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Act::Quit;
        }
        if let Some(typed) = &mut self.typed {
            match key.code {
                KeyCode::Enter => {
                    let text = std::mem::take(typed);
                    self.typed = None;
                    return if text.trim().is_empty() { Act::Show } else { Act::Control(text) };
                }
                KeyCode::Esc => self.typed = None,
                KeyCode::Backspace => drop(typed.pop()),
                KeyCode::Char(letter) if typed.len() < 200 => typed.push(letter),
                _ => {}
            }
            return Act::Show;
        }
        match key.code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Esc if !self.help => return Act::Quit,
            KeyCode::Char('h' | '?') | KeyCode::Esc => self.help = !self.help,
            KeyCode::Char('s') => self.step(1),
            KeyCode::Char('S') => self.step(SORTS.len() - 1),
            KeyCode::Char('r') => self.turned = !self.turned,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('+') => self.interval = (self.interval * 2).min(INTERVALS.1),
            KeyCode::Char('-') => self.interval = (self.interval / 2).max(INTERVALS.0),
            KeyCode::Char(':') => (self.typed, self.message) = (Some(String::new()), String::new()),
            KeyCode::Down | KeyCode::Char('j') => self.top += 1,
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::PageDown => self.top += 10,
            KeyCode::PageUp => self.top = self.top.saturating_sub(10),
            KeyCode::Home => self.top = 0,
            _ => {}
        }
        Act::Show
    }

    fn step(&mut self, by: usize) {
        let now = SORTS.iter().position(|sort| *sort == self.sort).unwrap_or(0);
        self.sort = SORTS[(now + by) % SORTS.len()];
        self.top = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(view: &mut View, text: &str) -> Vec<Act> {
        let code = |letter| if letter == '\n' { KeyCode::Enter } else { KeyCode::Char(letter) };
        text.chars().map(|letter| view.key(KeyEvent::new(code(letter), KeyModifiers::NONE))).collect()
    }

    #[test]
    fn a_colon_begins_a_setting_and_enter_gives_it() {
        let mut view = View::new(Sort::Cpu, 1000);
        let acts = typed(&mut view, ":categories=event\n");
        assert_eq!(acts.last(), Some(&Act::Control("categories=event".to_owned())));
        assert!(acts[..acts.len() - 1].iter().all(|act| *act == Act::Show), "letters are no keys there");
        assert_eq!(typed(&mut view, "q"), [Act::Quit]);
    }

    #[test]
    fn columns_go_round_both_ways_and_intervals_have_ends() {
        let mut view = View::new(Sort::Cpu, 1000);
        typed(&mut view, "S");
        assert_eq!(view.sort, Sort::Name);
        typed(&mut view, "ss");
        assert_eq!(view.sort, Sort::Queue);
        typed(&mut view, "----------");
        assert_eq!(view.interval, 100);
        typed(&mut view, "++++++++++++++");
        assert_eq!(view.interval, 60_000);
    }
}
