//! The machines of a sweep, several at a time.
//! It exists because a machine that counts instructions keeps one processor of the host busy and cares for nothing else.
//! What several at a time disturb is wall time alone, and there policies are compared within one machine.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use indicatif::{MultiProgress, ProgressBar};

use super::images::Frozen;
use super::machine::{Look, add_own, follow, measured};
use super::point::Point;
use super::prepare::View;
use super::resume::Store;
use super::settings::{Cell, Settings};
use crate::host;

/// What all workers share.
struct Work<'a> {
    settings: &'a Settings,
    images: &'a Frozen,
    store: &'a Store,
    cells: &'a [Cell],
    state: Mutex<State>,
    /// Set when a machine failed: the others end too.
    failed: AtomicBool,
}

/// How far it is.
struct State {
    /// What is to be done yet.
    waiting: VecDeque<(usize, View)>,
    /// What is known of each cell.
    looks: Vec<Vec<Look>>,
    done: usize,
    error: Option<Error>,
}

/// How many machines run at a time when nobody says otherwise: as many as there are processors, but not so many that they
/// take more than half of the host's memory.
pub(crate) fn jobs(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let fitting = host::memory_bytes().map_or(1, |bytes| bytes / 2 / settings.memory.max(1));
    cores.min(usize::try_from(fitting).unwrap_or(usize::MAX)).max(1)
}

/// Measures these cells, each kept as soon as it is complete.
pub(crate) fn measure(
    settings: &Settings,
    images: &Frozen,
    store: &Store,
    cells: &[Cell],
    jobs: usize,
) -> Result<()> {
    // The longest first, so that none is alone at the end.
    let mut waiting: Vec<_> =
        (0..cells.len()).flat_map(|index| [(index, View::Plain), (index, View::Accounted)]).collect();
    waiting.sort_by_key(|&(index, view)| (std::cmp::Reverse(cells[index].guests), view != View::Plain));
    let state = State {
        waiting: waiting.into(),
        looks: cells.iter().map(|_| Vec::new()).collect(),
        done: 0,
        error: None,
    };
    let work =
        Work { settings, images, store, cells, state: Mutex::new(state), failed: AtomicBool::new(false) };
    let bars = MultiProgress::new();
    std::thread::scope(|scope| {
        for number in 0..jobs.min(2 * cells.len()) {
            let (work, bars) = (&work, &bars);
            scope.spawn(move || work.through(number, bars));
        }
    });
    let state = work.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    state.error.map_or(Ok(()), Err)
}

impl Work<'_> {
    /// One machine after the other, until none waits.
    fn through(&self, number: usize, bars: &MultiProgress) {
        loop {
            let next = self.lock().waiting.pop_front();
            let Some((index, view)) = next.filter(|_| !self.failed.load(Ordering::Acquire)) else { return };
            let bar = bars.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(200));
            let result = self.one(number, index, view, &bar, bars);
            bar.finish_and_clear();
            if let Err(error) = result {
                self.failed.store(true, Ordering::Release);
                self.lock().error.get_or_insert(error);
            }
        }
    }

    fn one(
        &self,
        number: usize,
        index: usize,
        view: View,
        bar: &ProgressBar,
        bars: &MultiProgress,
    ) -> Result<()> {
        let cell = &self.cells[index];
        let look =
            follow(self.settings, cell, view, self.images, self.store.run(number), (bar, &self.failed))
                .with_context(|| cell.name())?;
        let looks = {
            let mut state = self.lock();
            state.looks[index].push(look);
            if state.looks[index].len() < 2 {
                return Ok(());
            }
            std::mem::take(&mut state.looks[index])
        };
        let points = complete(self.settings, cell, looks).with_context(|| cell.name())?;
        self.store.keep(cell, &points)?;
        let mut state = self.lock();
        state.done += 1;
        let text = format!("{}: measured, {} of {}", cell.name(), state.done, self.cells.len());
        bars.suspend(|| tell!("{text}"));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The points of a cell from both looks at it.
fn complete(settings: &Settings, cell: &Cell, mut looks: Vec<Look>) -> Result<Vec<Point>> {
    looks.sort_by_key(|look| look.view != View::Plain);
    let [plain, accounted] = looks.as_slice() else { anyhow::bail!("a look is missing") };
    let mut points = measured(settings, cell, plain)?;
    add_own(settings, &accounted.collected, &mut points).context("for the hypervisor's own part")?;
    Ok(points)
}
