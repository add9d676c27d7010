//! `cargo xtask trace control`: what a running system records, changed while it runs.

use anyhow::Result;
use hypervisor_core::trace::{Category, Mode};
use serde::Serialize;

use super::attach::Attached;
use super::names::Names;
use super::stats::left_out;
use super::{input, setting, write_json};
use crate::BadInput;
use crate::cli::Control;
use crate::table::grouped;

/// How the trace of a running system stands.
#[derive(Clone, Debug, Serialize)]
struct Standing {
    /// What runs.
    scenario: String,
    /// Whether records are written.
    on: bool,
    /// `flight` or `live`.
    mode: &'static str,
    /// Categories that are recorded; none while the trace is off.
    categories: Vec<&'static str>,
    /// Whether some domains, some hypercalls, short hypercalls are left out on purpose.
    left_out: Vec<&'static str>,
    /// What ended the recording by itself.
    triggered: Option<String>,
    /// Records for which there was no room.
    dropped: u64,
}

/// Gives settings to a run that is up, in their order, and says how its trace stands.
///
/// # Errors
/// [`BadInput`] for a bad setting, of which nothing is given, and if no run is up.
pub(super) fn control(options: &Control) -> Result<()> {
    let line = |text: &String| match text.as_str() {
        word @ ("on" | "off") => Ok(format!("trace {word}")),
        _ => setting("setting", text).map(|setting| format!("trace {setting}")),
    };
    let lines: Vec<String> = options.settings.iter().map(line).collect::<Result<_, BadInput>>()?;
    let mut run = Attached::find(options.run.as_deref())?;
    fits(&run, &options.settings)?;
    for line in lines {
        run.ask(&line)?;
    }
    let standing = standing(&run)?;
    strangers(&run, &options.settings)?;
    let list = |words: &[&str]| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    say!("{}: the trace is {}", standing.scenario, if standing.on { "on" } else { "off" });
    say!("mode        {}", standing.mode);
    say!("categories  {}", list(&standing.categories));
    say!("left out    {}", list(&standing.left_out));
    if let Some(condition) = &standing.triggered {
        say!("ended by    {condition}");
    }
    say!("dropped     {}", grouped(standing.dropped));
    write_json(&options.json, &standing)
}

/// Refuses a buffer that the shared memory cannot hold.
fn fits(run: &Attached, settings: &[String]) -> Result<()> {
    let most = std::fs::metadata(run.trace()).map_or(u64::MAX, |about| about.len());
    let asked = settings.iter().filter_map(|text| text.strip_prefix("buffer="));
    match asked.filter_map(|bytes| bytes.parse::<u64>().ok()).find(|bytes| *bytes > most) {
        Some(bytes) => {
            let text = format!("setting buffer={bytes}: the shared memory has {most} bytes");
            Err(BadInput(text).into())
        }
        None => Ok(()),
    }
}

/// Says which patterns fit no domain that there is now: one may come that they fit.
fn strangers(run: &Attached, settings: &[String]) -> Result<()> {
    let reader = input::open(run.trace())?;
    let names = Names::new(reader.names());
    let lists = settings.iter().filter_map(|text| text.strip_prefix("domains="));
    for pattern in lists.flat_map(|list| list.split(',')).filter(|pattern| *pattern != "all") {
        if names.fitting(pattern).is_empty() {
            say!("no domain fits  {pattern}; there are {}", names.all());
        }
    }
    Ok(())
}

fn standing(run: &Attached) -> Result<Standing> {
    let reader = input::open(run.trace())?;
    let header = reader.header();
    Ok(Standing {
        scenario: run.scenario().to_owned(),
        on: header.categories != 0,
        mode: if header.mode == Mode::Live { "live" } else { "flight" },
        categories: words(header.categories),
        left_out: left_out(header.left_out),
        triggered: header.triggered.map(|condition| format!("{condition:?}").to_lowercase()),
        dropped: header.dropped.values().fold(0, |sum, count| sum.saturating_add(*count)),
    })
}

/// Categories by name.
pub(super) fn words(bits: u32) -> Vec<&'static str> {
    let wanted = Category::ALL.iter().filter(|category| bits & category.bit() != 0);
    wanted.map(|category| category.word()).collect()
}
