//! The live view on a terminal.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Clear, Paragraph, Row as TableRow, Table};
use ratatui::{DefaultTerminal, Frame};

use super::keys::{Act, View};
use super::picture::{Picture, Row, percent, rate};
use super::wrap::wrapped;
use super::{LOOK, Stream};
use crate::cli::{Live, Sort};
use crate::interrupt;
use crate::table::{fraction, grouped};

const HEAD: Style = Style::new().fg(Color::Black).bg(Color::Green);
const CHOSEN: Style = Style::new().fg(Color::Black).bg(Color::Cyan);
const FAINT: Style = Style::new().fg(Color::DarkGray);
const HELP: &str = " q, Esc     quit
 s, S       sort by the next, the previous column
 r          turn the order
 p, space   pause, go on
 + -        longer, shorter intervals
 arrows     scroll
 :          a setting of the trace, then Enter:
            on   off   categories=event,ring   domains=web-*
            calls=sched_op   longer=5000   stop=delay:2000000
            categories=all and so on take one back

 CPU, queue, sleep: shares of the interval in each run state
 ev/upc: events that an upcall finds
 rings: entries that wait/most that did, by direction";

/// A column of domains.
struct Column {
    head: &'static str,
    width: u16,
    sort: Option<Sort>,
    cell: fn(&Row) -> String,
    /// Which goes first where the terminal is too narrow for all: the highest.
    rank: u8,
}

const COLUMNS: &[Column] = &[
    Column { head: "domain", width: 12, sort: Some(Sort::Name), cell: |row| row.domain.clone(), rank: 0 },
    Column { head: "state", width: 8, sort: None, cell: |row| row.state.unwrap_or("-").to_owned(), rank: 4 },
    Column { head: "CPU%", width: 5, sort: Some(Sort::Cpu), cell: |row| percent(row.running), rank: 1 },
    Column { head: "queue", width: 5, sort: Some(Sort::Queue), cell: |row| percent(row.runnable), rank: 3 },
    Column { head: "sleep", width: 5, sort: None, cell: |row| percent(row.blocked), rank: 8 },
    Column { head: "calls/s", width: 7, sort: Some(Sort::Calls), cell: |row| rate(row.calls_per_s), rank: 6 },
    Column {
        head: "events/s",
        width: 8,
        sort: Some(Sort::Events),
        cell: |row| rate(row.events_per_s),
        rank: 5,
    },
    Column { head: "upcall/s", width: 8, sort: None, cell: |row| rate(row.upcalls_per_s), rank: 10 },
    Column {
        head: "ev/upc",
        width: 6,
        sort: Some(Sort::Batch),
        cell: |row| fraction(row.events_per_upcall),
        rank: 7,
    },
    Column {
        head: "switch/s",
        width: 8,
        sort: Some(Sort::Switches),
        cell: |row| rate(row.switches_per_s),
        rank: 9,
    },
    Column { head: "rings", width: 22, sort: Some(Sort::Rings), cell: Row::rings, rank: 2 },
];

/// The columns that there is room for, in their order: each whole, the most important first.
fn fitting(width: u16) -> Vec<&'static Column> {
    let mut ranked: Vec<&Column> = COLUMNS.iter().collect();
    ranked.sort_by_key(|column| column.rank);
    let mut left = width.max(COLUMNS[0].width) + 1;
    let mut chosen = Vec::new();
    for column in ranked {
        if let Some(rest) = left.checked_sub(column.width + 1) {
            chosen.push(column.rank);
            left = rest;
        }
    }
    COLUMNS.iter().filter(|column| chosen.contains(&column.rank)).collect()
}

/// Shows pictures until the user quits.
pub(super) fn run(options: &Live, stream: &mut Stream, keep: &mut dyn FnMut(&Picture)) -> Result<()> {
    let mut terminal = ratatui::try_init().context("taking the terminal")?;
    let result = follow(options, stream, keep, &mut terminal);
    ratatui::restore();
    result
}

fn follow(
    options: &Live,
    stream: &mut Stream,
    keep: &mut dyn FnMut(&Picture),
    terminal: &mut DefaultTerminal,
) -> Result<()> {
    let mut view = View::new(options.sort, options.interval);
    let mut picture = Picture { scenario: stream.run.scenario().to_owned(), ..Picture::default() };
    let mut left = options.intervals.unwrap_or(u64::MAX);
    let mut begun = Instant::now();
    let mut fresh = true;
    while left > 0 && !interrupt::pressed() {
        stream.pump()?;
        if begun.elapsed() >= Duration::from_millis(view.interval) {
            let next = stream.picture();
            keep(&next);
            if !view.paused {
                picture = next;
            }
            (left, begun, fresh) = (left - 1, Instant::now(), true);
        }
        if fresh {
            picture.sort(view.sort, view.turned);
            view.top = view.top.min(picture.domains.len().saturating_sub(1));
            terminal.draw(|frame| draw(frame, &picture, &view)).context("drawing")?;
            fresh = false;
        }
        while event::poll(if fresh { Duration::ZERO } else { LOOK }).context("waiting for keys")? {
            fresh = true;
            let Event::Key(key) = event::read().context("reading keys")? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match view.key(key) {
                Act::Show => {}
                Act::Quit => return Ok(()),
                Act::Control(text) => {
                    view.message = match stream.control(&text) {
                        Ok(()) => format!("{text}: done"),
                        Err(error) => format!("{error:#}"),
                    };
                }
            }
        }
    }
    Ok(())
}

/// One picture.
fn draw(frame: &mut Frame<'_>, picture: &Picture, view: &View) {
    let most = (frame.area().height / 4).max(1);
    let calls = u16::try_from(picture.hypercalls.len()).unwrap_or(u16::MAX).min(most) + 1;
    // Half of the screen is left to the domains, however much is said.
    let mut said = wrapped(&view.message, frame.area().width);
    said.truncate(usize::from(frame.area().height / 2));
    if view.typed.is_some() {
        said.clear();
    }
    let rows = [
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(calls),
        Constraint::Length(said.len().max(1) as u16),
        Constraint::Length(1),
    ];
    let [head, domains, hypercalls, message, keys] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(heading(picture, view)), head);
    draw_domains(frame, domains, picture, view);
    draw_calls(frame, hypercalls, picture);
    let said: Vec<Line<'_>> = match &view.typed {
        Some(typed) => vec![Line::from(format!(":{typed}_"))],
        None if said.is_empty() => {
            vec![Line::styled(hidden(picture.domains.len(), view.top, domains.height), FAINT)]
        }
        None => said.into_iter().map(|line| Line::styled(line, Style::new().fg(Color::Yellow))).collect(),
    };
    frame.render_widget(Paragraph::new(said), message);
    let line = match frame.area().width {
        80.. => " q quit  s sort  r turn  p pause  +/- interval  arrows scroll  : control  h help",
        _ => " q quit  h help  arrows  s sort",
    };
    frame.render_widget(Paragraph::new(line).style(HEAD), keys);
    if view.help {
        let area = middle(frame.area());
        frame.render_widget(Clear, area);
        let block = ratatui::widgets::Block::bordered().title(" help ");
        frame.render_widget(Paragraph::new(HELP).block(block), area);
    }
}

/// What of the domains is not on the screen.
fn hidden(domains: usize, top: usize, height: u16) -> String {
    let room = usize::from(height.saturating_sub(1));
    let below = domains.saturating_sub(top).saturating_sub(room);
    match (top.min(domains), below) {
        (0, 0) => String::new(),
        (above, below) => format!(" of {domains} domains {above} above, {below} below"),
    }
}

fn heading(picture: &Picture, view: &View) -> Vec<Line<'static>> {
    let busy = picture.idle_share.map(|idle| 1.0 - idle);
    let lost = if picture.lost > 0 { Style::new().fg(Color::Red) } else { Style::new() };
    let mut what = picture.categories.join(" ");
    if picture.categories.len() == hypervisor_core::trace::category::CATEGORIES {
        "everything".clone_into(&mut what);
    } else if what.is_empty() {
        "nothing: the trace is off".clone_into(&mut what);
    }
    let paused = if view.paused { "  PAUSED" } else { "" };
    vec![
        Line::from(vec![
            Span::styled(picture.scenario.clone(), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!(
                "  {:.1} s  {} domains  busy {} %  {} switches/s  every {} ms{paused}",
                picture.time_ns as f64 / 1e9,
                picture.domains.len(),
                percent(busy),
                rate(picture.switches_per_s),
                view.interval
            )),
        ]),
        Line::from(vec![
            Span::raw(format!("{} records/s  ", rate(picture.records_per_s))),
            Span::styled(format!("{} lost", grouped(picture.lost)), lost),
            Span::raw(format!("  recording {what}")),
        ]),
    ]
}

fn draw_domains(frame: &mut Frame<'_>, area: Rect, picture: &Picture, view: &View) {
    let shown = fitting(area.width);
    let head = shown.iter().map(|column| {
        let style = if column.sort == Some(view.sort) { CHOSEN } else { HEAD };
        Cell::from(aligned(column.head.to_owned(), column)).style(style)
    });
    let row = |row: &Row| {
        let idle = row.state == Some("blocked") && row.running.is_some_and(|share| share < 0.0005);
        let cells = shown.iter().map(|column| Cell::from(aligned((column.cell)(row), column)));
        TableRow::new(cells).style(if idle { FAINT } else { Style::new() })
    };
    let widths: Vec<Constraint> = shown
        .iter()
        .map(|column| match column.sort {
            Some(Sort::Rings) => Constraint::Min(column.width),
            _ => Constraint::Length(column.width),
        })
        .collect();
    let rows: Vec<TableRow<'_>> = picture.domains.iter().skip(view.top).map(row).collect();
    let table = Table::new(rows, widths).header(TableRow::new(head).style(HEAD)).column_spacing(1);
    frame.render_widget(table, area);
}

fn draw_calls(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let heads = ["hypercall", "a second", "% time", "mean ns", "p99 ns", "max ns"];
    let right = |text: String| Line::from(text).right_aligned();
    let head = heads.iter().enumerate().map(|(index, head)| {
        Cell::from(if index == 0 { Line::from(*head) } else { right((*head).to_owned()) })
    });
    let row = |call: &super::picture::CallRow| {
        TableRow::new(vec![
            Cell::from(call.hypercall.clone()),
            Cell::from(right(rate(call.per_s))),
            Cell::from(right(percent(Some(call.share)))),
            Cell::from(right(call.mean_ns.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.0}")))),
            Cell::from(right(grouped(call.p99_ns))),
            Cell::from(right(grouped(call.max_ns))),
        ])
    };
    // A narrow table loses its last columns.
    let widths = [if area.width < 80 { 16 } else { 24 }, 9, 7, 9, 9, 11];
    let mut used = 0;
    let fits = |width: &&u16| {
        used += **width + 1;
        used <= area.width + 1
    };
    let widths: Vec<Constraint> =
        widths.iter().take_while(fits).map(|width| Constraint::Length(*width)).collect();
    let rows: Vec<TableRow<'_>> = picture.hypercalls.iter().map(row).collect();
    frame.render_widget(Table::new(rows, widths).header(TableRow::new(head).style(HEAD)), area);
}

/// Words to the left, numbers to the right.
fn aligned(text: String, column: &Column) -> Line<'static> {
    let line = Line::from(text);
    if matches!(column.head, "domain" | "state" | "rings") { line } else { line.right_aligned() }
}

/// The middle of the screen, for the help.
fn middle(area: Rect) -> Rect {
    let (width, height) = (area.width.min(64), area.height.min(HELP.lines().count() as u16 + 2));
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::live::picture::{CallRow, Ring};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(width: u16, height: u16, view: &View) -> String {
        let row = |number: u32| Row {
            domain: format!("web-{number}"),
            state: Some("blocked"),
            running: Some(0.25),
            runnable: Some(0.5),
            blocked: Some(0.25),
            calls_per_s: 12_345.0,
            events_per_s: 950.0,
            upcalls_per_s: 500.0,
            events_per_upcall: Some(1.9),
            switches_per_s: 700.0,
            rings: vec![
                Ring { ring: "tx", waiting: 3, most: 12 },
                Ring { ring: "rx", waiting: 200, most: 256 },
            ],
        };
        let picture = Picture {
            scenario: "web".to_owned(),
            idle_share: Some(0.25),
            categories: vec!["event"],
            domains: (1..=40).map(row).collect(),
            hypercalls: vec![CallRow { hypercall: "sched_op".to_owned(), ..CallRow::default() }],
            ..Picture::default()
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &picture, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn what_matters_is_there_on_the_smallest_screen() {
        let text = drawn(80, 24, &View::new(Sort::Cpu, 1000));
        for part in ["busy 75.0 %", "web-1 ", "12.3k", "tx 3/12 rx 200/256", "sched_op", "q quit", "h help"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("switch/s "), "a column too many in\n{text}");
    }

    #[test]
    fn a_narrow_screen_drops_whole_columns_and_says_how_many_domains_are_below() {
        let text = drawn(36, 24, &View::new(Sort::Cpu, 1000));
        for part in
            ["web-1 ", "CPU%", "queue", "blocked", "of 40 domains 0 above, 23 below", "q quit  h help"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("rings") && !text.contains("events/s") && !text.contains("p99"), "{text}");
        assert_eq!(fitting(200).len(), COLUMNS.len());
        assert_eq!(fitting(3).len(), 1);
    }

    #[test]
    fn a_larger_screen_shows_more_and_scrolls() {
        let mut view = View::new(Sort::Cpu, 1000);
        view.top = 5;
        let text = drawn(120, 40, &view);
        assert!(text.contains("switch/s") && text.contains("web-25") && !text.contains("web-5 "), "{text}");
    }

    #[test]
    fn a_long_message_is_wrapped_to_its_end() {
        let mut view = View::new(Sort::Cpu, 1000);
        view.message =
            format!("unknown category: foo; there are {} interrupt, trace", "hypercall, ".repeat(12));
        let text = drawn(80, 24, &view);
        assert!(
            text.contains("interrupt, trace") && text.contains("q quit") && text.contains("web-1 "),
            "{text}"
        );
        assert!(wrapped(&view.message, 80).iter().all(|line| line.len() <= 80));
        drawn(10, 5, &view);
    }

    #[test]
    fn the_help_and_a_typed_setting_are_shown() {
        let mut view = View::new(Sort::Cpu, 1000);
        (view.help, view.typed) = (true, Some("categories=ev".to_owned()));
        let text = drawn(80, 24, &view);
        assert!(text.contains("turn the order") && text.contains(":categories=ev_"), "{text}");
        // A screen of nearly no size is no reason to stop.
        drawn(10, 5, &view);
    }
}
