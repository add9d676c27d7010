//! The report of a run as one HTML file, plots included.
//! It exists so that figures can be looked at and passed on without any tool.

mod axis;
mod bars;
mod curves;
mod plots;
mod series;
mod suite;
mod ticks;

use std::fmt::Write;

use anyhow::Result;

use crate::figures::{Figures, Run};
use crate::table::{fraction, grouped, or_dash};

pub(crate) use bars::{Bars, Stack, histogram, stacks};
pub(crate) use curves::{Curve, Words, curves};
pub(crate) use suite::{Row, suite};
pub(crate) use ticks::written;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;background:#f6f7f9;margin:0}\
main{max-width:1080px;margin:0 auto;padding:24px}h1{margin:0 0 4px}h2{margin:32px 0 8px;font-size:19px}\
.sub{color:#5b6775;margin:0 0 20px}.tiles{display:flex;flex-wrap:wrap;gap:12px}\
.tile{background:#fff;border:1px solid #dde2e8;border-radius:8px;padding:12px 16px;min-width:150px}\
.tile b{display:block;font-size:24px}.tile span{color:#5b6775}.plots{display:flex;flex-wrap:wrap;gap:16px}\
.plots svg{background:#fff;border:1px solid #dde2e8;border-radius:8px;max-width:100%;height:auto}\
table{border-collapse:collapse;background:#fff;border:1px solid #dde2e8;border-radius:8px}\
th,td{padding:5px 16px;text-align:right;border-bottom:1px solid #eceff3}th{background:#eef1f5}\
th:first-child,td:first-child{text-align:left}code{background:#eef1f5;padding:2px 5px;border-radius:4px}\
.bad{color:#b3261e}\
@media(prefers-color-scheme:dark){:root{color-scheme:dark}body{color:#dfe5ec;background:#14181d}\
.sub,.tile span{color:#9aa7b5}.tile,table{background:#1c2229;border-color:#333c46}th,td{border-color:#2a323b}\
th,code{background:#262e37}.bad{color:#ff8a80}}";

/// The whole page.
pub(crate) fn page(figures: &Figures) -> Result<String> {
    let mut page = String::new();
    begin(&mut page, &format!("Denizen: {}", escaped(&figures.scenario)))?;
    write!(
        page,
        "<p class=\"sub\"><code>{}</code> &middot; load from {} &middot; {} clock &middot; seed {}</p>",
        escaped(&figures.command),
        escaped(&figures.load),
        escaped(&figures.clock),
        figures.seed,
    )?;
    tiles(&mut page, figures)?;
    if !figures.runs.is_empty() {
        page.push_str("<h2>Interrupt delivery</h2><div class=\"plots\">");
        for plot in plots::of_runs(&figures.runs)? {
            page.push_str(&plot);
        }
        page.push_str("</div><h2>Figures</h2>");
        runs(&mut page, &figures.runs)?;
        page.push_str("<h2>Hypercalls</h2><div class=\"plots\">");
        page.push_str(&plots::hypercalls(&figures.runs)?);
        page.push_str("</div>");
        calls(&mut page, &figures.runs)?;
    }
    guests(&mut page, figures)?;
    page.push_str(END);
    Ok(page)
}

/// The end of every page.
pub(crate) const END: &str = "</main></body></html>\n";

/// A page's beginning with a title in plain text.
pub(crate) fn opening(title: &str) -> Result<String> {
    let mut page = String::new();
    begin(&mut page, &escaped(title))?;
    Ok(page)
}

/// The beginning of every page; `title` is markup.
fn begin(page: &mut String, title: &str) -> Result<()> {
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body><main>\
         <h1>{title}</h1>"
    )?;
    Ok(())
}

fn tiles(page: &mut String, figures: &Figures) -> Result<()> {
    let per_guest = or_dash(figures.memory.hypervisor_bytes_per_guest.map(grouped));
    let virtual_ms = or_dash(figures.boot.virtual_ms.map(|ms| format!("{ms:.0} ms")));
    let errors: u64 = figures.runs.iter().map(|run| run.http.errors).sum();
    let tiles = [
        (format!("{} / {}", figures.ready, figures.guests), "guests answered"),
        (grouped(errors), "errors under load"),
        (format!("{:.1} s", figures.boot.wall_s), "until all answered"),
        (virtual_ms, "virtual time to start"),
        (per_guest, "hypervisor bytes a guest"),
        (format!("{} KiB", figures.memory.guest_bytes >> 10), "memory of a guest"),
    ];
    page.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        write!(page, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")?;
    }
    page.push_str("</div>");
    Ok(())
}

fn runs(page: &mut String, runs: &[Run]) -> Result<()> {
    type Cell = fn(&Run) -> String;
    let rows: &[(&str, Cell)] = &[
        ("suppression by ring indices", |run| run.suppress.clone()),
        ("idle", |run| run.idle.clone()),
        ("connections", |run| run.http.connections.to_string()),
        ("seconds", |run| format!("{:.2}", run.http.seconds)),
        ("requests", |run| grouped(run.http.requests)),
        ("errors", |run| grouped(run.http.errors)),
        ("requests/s", |run| format!("{:.1}", run.http.requests_per_s)),
        ("p50, &micro;s", |run| grouped(run.http.p50_us)),
        ("p99, &micro;s", |run| grouped(run.http.p99_us)),
        ("interrupts raised", |run| grouped(run.interrupts.raised)),
        ("merged", |run| grouped(run.interrupts.merged)),
        ("suppressed", |run| grouped(run.interrupts.suppressed)),
        ("upcalls", |run| grouped(run.interrupts.upcalls)),
        ("events per upcall", |run| fraction(run.interrupts.events_per_upcall)),
        ("domain switches", |run| grouped(run.interrupts.switches)),
        ("switches per request", |run| fraction(run.interrupts.switches_per_request)),
        ("time with no domain running", |run| {
            or_dash(run.idle_share.map(|share| format!("{:.1} %", share * 100.0)))
        }),
    ];
    page.push_str("<table><tr><th></th>");
    runs.iter().try_for_each(|run| write!(page, "<th>{}</th>", escaped(&run.delivery)))?;
    page.push_str("</tr>");
    for (name, cell) in rows {
        write!(page, "<tr><td>{name}</td>")?;
        runs.iter().try_for_each(|run| write!(page, "<td>{}</td>", cell(run)))?;
        page.push_str("</tr>");
    }
    page.push_str("</table>");
    Ok(())
}

fn calls(page: &mut String, runs: &[Run]) -> Result<()> {
    let names: std::collections::BTreeSet<&String> =
        runs.iter().flat_map(|run| run.hypercalls.keys()).collect();
    page.push_str("<table><tr><th>hypercall, all domains</th>");
    runs.iter().try_for_each(|run| write!(page, "<th>{}</th>", escaped(&run.delivery)))?;
    page.push_str("<th>mean, ns</th></tr>");
    for name in names {
        write!(page, "<tr><td>{}</td>", escaped(name))?;
        let of = |run: &Run| run.hypercalls.get(name).cloned().unwrap_or_default();
        runs.iter().try_for_each(|run| write!(page, "<td>{}</td>", grouped(of(run).count)))?;
        let mean = runs.iter().find_map(|run| of(run).mean_ns).map(|mean| format!("{mean:.0}"));
        write!(page, "<td>{}</td></tr>", or_dash(mean))?;
    }
    page.push_str("</table>");
    Ok(())
}

fn guests(page: &mut String, figures: &Figures) -> Result<()> {
    if let Some(traced) = &figures.traced {
        write!(
            page,
            "<p class=\"sub\">Means come from a trace of {} records ({} lost) under {} delivery: <code>{}</code></p>",
            grouped(traced.records),
            grouped(traced.lost),
            escaped(&traced.delivery),
            escaped(&traced.file),
        )?;
    }
    page.push_str(
        "<h2>Guests</h2><table><tr><th>name</th><th>ring</th><th>CPL seen</th><th>memory, KiB</th></tr>",
    );
    for domain in &figures.domains {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&domain.name),
            domain.ring,
            or_dash(domain.cpl_seen),
            grouped(domain.memory_bytes >> 10),
        )?;
    }
    page.push_str("</table>");
    for (name, reason) in &figures.silent {
        write!(page, "<p class=\"bad\">{} did not answer: {}</p>", escaped(name), escaped(reason))?;
    }
    Ok(())
}

/// Text as markup shows it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_guest_cannot_become_markup() {
        let silent = vec![("web-1".to_owned(), "<script>".to_owned())];
        let page = page(&Figures { silent, ..Figures::default() }).unwrap();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }

    #[test]
    fn every_run_is_a_column_and_every_plot_is_there() {
        let run = |delivery: &str| Run { delivery: delivery.to_owned(), ..Run::default() };
        let page =
            page(&Figures { runs: vec![run("synchronous"), run("batched")], ..Figures::default() }).unwrap();
        assert_eq!(page.matches("<th>batched</th>").count(), 2);
        assert!(page.matches("<svg").count() >= 5, "{}", page.matches("<svg").count());
    }
}
