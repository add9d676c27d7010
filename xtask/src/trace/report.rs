//! A trace as one HTML page: who had the processor when, how long events wait and for what, how they gather, who calls what.
//! It exists so that a trace can be looked at and passed on without any tool.

mod lanes;
mod plots;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use hypervisor_core::trace::reader::Header;

use super::follow::{Delivery, Fact, Follow};
use super::names::Names;
use super::stats::{Gather, Processor, Ring, Stats};
use super::timeline::window::Window;
use super::{files, input, missing, write_json};
use crate::cli::Report;
use crate::html::{END, escaped, opening};
use crate::table::{grouped, or_dash};
use crate::{BadInput, paths};
use lanes::Lanes;

/// Rows of the tables.
const ROWS: usize = 20;
/// Around the slowest event, in ns: as much before it and after it.
const MARGIN: u64 = 200_000;

/// Writes the page.
///
/// # Errors
/// [`BadInput`] for a file that is no trace or holds nothing.
pub(super) fn report(options: &Report) -> Result<()> {
    let file = &options.file;
    let output = files::page(options);
    let mut reader = input::open(file)?;
    let mut seen = Seen::default();
    for entry in reader.by_ref() {
        seen.see(&entry);
    }
    let tally = reader.tally();
    if tally.records == 0 {
        return Err(BadInput(format!("{} holds no record", file.display())).into());
    }
    let names = Names::new(reader.names());
    let whole = tally.lost == 0 && !tally.truncated;
    let (mut stats, lanes, slowest) = seen.finish(&names, whole, Some(reader.header()));
    stats.note(&tally);
    let closer = slowest.filter(|_| stats.delays.is_some()).map(|event| closer(file, event)).transpose()?;
    let page = page(file, &stats, &lanes, closer.as_ref(), &names)?;
    std::fs::write(&output, page).with_context(|| format!("writing {}", output.display()))?;
    say!("{}", paths::shown(&output));
    if let Some(missing) = missing(&tally) {
        say!("{missing}");
    }
    write_json(&options.json, &stats)
}

/// What is gathered in one reading.
#[derive(Default)]
struct Seen {
    gather: Gather,
    follow: Follow,
    lanes: Lanes,
    slowest: Option<Delivery>,
}

impl Seen {
    fn see(&mut self, entry: &hypervisor_core::trace::reader::Entry) {
        self.gather.see(entry);
        let Self { follow, lanes, slowest, .. } = self;
        lanes.reach(entry.time_ns);
        follow.see(entry, |fact| match fact {
            Fact::State(span) => lanes.add(&span),
            Fact::Delivered(event) if slowest.is_none_or(|slowest| slowest.total() < event.total()) => {
                *slowest = Some(event);
            }
            _ => {}
        });
    }

    fn finish(
        mut self,
        names: &Names,
        whole: bool,
        header: Option<&Header>,
    ) -> (Stats, Lanes, Option<Delivery>) {
        let Self { follow, lanes, .. } = &mut self;
        follow.finish(|fact| {
            if let Fact::State(span) = fact {
                lanes.add(&span);
            }
        });
        self.gather.finish();
        (self.gather.stats(names, whole, header), self.lanes, self.slowest)
    }
}

/// What lay around the slowest event.
fn closer(file: &Path, event: Delivery) -> Result<(Delivery, Window)> {
    let reader = input::open(file)?;
    let margin = MARGIN.min(event.total().max(1000));
    let (from, to) = (event.raised.saturating_sub(margin), event.upcall.saturating_add(margin));
    Ok((event, Window::of(reader, from, to, 0)))
}

fn page(
    file: &Path,
    stats: &Stats,
    lanes: &Lanes,
    closer: Option<&(Delivery, Window)>,
    names: &Names,
) -> Result<String> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut page = opening(&format!("Denizen: trace {name}"))?;
    write!(page, "<p class=\"sub\">{}</p>", escaped(&stats.remark))?;
    for figure in &stats.left_out {
        write!(page, "<p class=\"sub\">Left out: {}.</p>", escaped(figure))?;
    }
    tiles(&mut page, stats)?;
    let section = |page: &mut String, title: &str, text: &str, plot: &str| {
        write!(page, "<h2>{title}</h2><p class=\"sub\">{text}</p><div class=\"plots\">{plot}</div>")
    };
    let text = "Each moment's height is shared out: running below, waiting for the processor above, sleep is empty. Domains that ran \
                most come first.";
    if stats.domains.iter().all(|domain| domain.running_ns.is_some()) {
        section(&mut page, "Who had the processor", text, &plots::lanes(lanes, names))?;
    }
    if let Some((event, window)) = closer {
        let text = format!(
            "The event that waited longest: {:.1} &micro;s for {}, which was {} when {} raised it at port {}. \
             <code>trace why FILE {} --at {}ns</code> says more.",
            event.total() as f64 / 1e3,
            escaped(&names.of(event.domain)),
            event.state.word(),
            escaped(&names.of(event.from)),
            event.port,
            escaped(&names.of(event.domain)),
            event.raised,
        );
        section(&mut page, "A closer look", &text, &plots::closer(event, window, names))?;
    }
    if let Some(delays) = stats.delays.as_ref().filter(|delays| !delays.is_empty()) {
        let text = "From raise to handler, by what the target did when the event was raised. The bar goes from the shortest \
                    to the longest, dark from the median to the 99th percentile.";
        section(&mut page, "Delays of events by stage", text, &plots::delays(delays))?;
    }
    if let Some(batches) = stats.batches.as_ref().filter(|batches| !batches.is_empty()) {
        let text = "How many upcalls found so many events: the more, the fewer entries an event costs.";
        section(&mut page, "Events that an upcall finds", text, &plots::batches(batches))?;
    }
    if !stats.calls.is_empty() {
        let text = "How often each domain made each hypercall; the colour's scale is logarithmic.";
        section(&mut page, "Who calls what", text, &plots::heat(&stats.calls))?;
        calls(&mut page, stats)?;
    }
    interrupts(&mut page, stats)?;
    rings(&mut page, stats)?;
    page.push_str(END);
    Ok(page)
}

fn tiles(page: &mut String, stats: &Stats) -> Result<()> {
    let share = |of: fn(&Processor) -> u64| {
        let ns = stats.processor.as_ref().map(of);
        or_dash(ns.map(|ns| format!("{:.1} %", ns as f64 / stats.span_ns.max(1) as f64 * 100.0)))
    };
    let batches = || stats.batches.iter().flatten();
    let upcalls: u64 = batches().map(|(_, count)| count).sum();
    let events: u64 = batches().map(|(events, count)| events.saturating_mul(*count)).sum();
    let batch = crate::counters::ratio(events, upcalls).map(|mean| format!("{mean:.2}"));
    let tiles = [
        (format!("{:.3} s", stats.span_ns as f64 / 1e9), "from first to last"),
        (grouped(stats.records), "records"),
        (grouped(stats.lost), "lost"),
        (share(|time| time.guests_ns), "in guests"),
        (share(|time| time.hypercalls_ns), "in hypercalls"),
        (share(|time| time.switches_ns), "in switches"),
        (share(|time| time.idle_ns), "nothing to do"),
        (or_dash(batch), "events an upcall"),
    ];
    page.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        write!(page, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")?;
    }
    page.push_str("</div>");
    Ok(())
}

fn calls(page: &mut String, stats: &Stats) -> Result<()> {
    page.push_str(
        "<p></p><table><tr><th>hypercall</th><th>count</th><th>share of time</th><th>mean, ns</th><th>p50, ns</th>\
         <th>p99, ns</th><th>max, ns</th><th>errors</th></tr>",
    );
    let mut calls: Vec<_> = stats.hypercalls.iter().collect();
    calls.sort_by_key(|(_, call)| std::cmp::Reverse(call.total_ns));
    for (name, call) in calls.iter().take(ROWS) {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(name),
            grouped(call.count),
            or_dash(call.share.map(|share| format!("{:.1} %", share * 100.0))),
            or_dash(call.mean_ns.map(|mean| format!("{mean:.0}"))),
            or_dash(call.p50_ns.map(grouped)),
            or_dash(call.p99_ns.map(grouped)),
            or_dash(call.max_ns.map(grouped)),
            grouped(call.errors),
        )?;
    }
    page.push_str("</table>");
    Ok(())
}

fn interrupts(page: &mut String, stats: &Stats) -> Result<()> {
    let Some(rows) = stats.interrupts.as_ref().filter(|rows| !rows.is_empty()) else { return Ok(()) };
    page.push_str(
        "<h2>Who interrupts whom</h2><table><tr><th>from</th><th>to</th><th>events raised</th><th>merged</th>\
         <th>preempted</th></tr>",
    );
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.raised));
    for row in rows.iter().take(ROWS) {
        write!(
            page,
            "<tr><td>{}</td><td style=\"text-align:left\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&row.from),
            escaped(&row.to),
            grouped(row.raised),
            grouped(row.merged),
            or_dash(row.preempted.map(grouped)),
        )?;
    }
    page.push_str("</table>");
    Ok(())
}

/// The busiest sides of rings.
fn rings(page: &mut String, stats: &Stats) -> Result<()> {
    let Some(rows) = stats.rings.as_ref().filter(|rows| !rows.is_empty()) else { return Ok(()) };
    let heads: String = Ring::HEADS.iter().map(|head| format!("<th>{head}</th>")).collect();
    write!(page, "<h2>What went through rings</h2><table><tr>{heads}</tr>")?;
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|ring| std::cmp::Reverse(ring.produced.saturating_add(ring.consumed)));
    for ring in rows.iter().take(ROWS) {
        let [domain, side, numbers @ ..] = ring.cells();
        write!(
            page,
            "<tr><td>{}</td><td style=\"text-align:left\">{}</td>",
            escaped(&domain),
            escaped(&side)
        )?;
        for number in numbers {
            write!(page, "<td>{number}</td>")?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
    Ok(())
}

/// Writes the page of a damaged trace.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn tried(entries: &[hypervisor_core::trace::reader::Entry], names: &Names) -> String {
    let mut seen = Seen::default();
    entries.iter().for_each(|entry| seen.see(entry));
    let (stats, lanes, slowest) = seen.finish(names, true, None);
    let around = slowest.map(|event| {
        let (from, to) = (event.raised.saturating_sub(MARGIN), event.upcall.saturating_add(MARGIN));
        (event, Window::of(entries.iter().copied(), from, to.max(from), 0))
    });
    page(Path::new("test.bin"), &stats, &lanes, around.as_ref(), names).unwrap()
}

#[cfg(test)]
mod tests;
