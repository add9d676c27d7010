//! `measure scale`: what single operations cost beside one guest, beside 32, beside a thousand.
//! It exists because a loop over all domains on a hot path shows nowhere but there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::point::round;
use super::prepare::replace;
use super::sweep::qemu_version;
use crate::cli::Scale;
use crate::html::{Curve, Words, curves};
use crate::qemu::{Clock, Next};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, Size, lower};
use crate::serial::Line;
use crate::table::{self, grouped, new};
use crate::{BadInput, compile, host, interrupt, paths, setup};

/// How long the machine may be silent.
const PATIENCE: Duration = Duration::from_secs(600);
/// Virtual ms until the operations begin, and for each guest more; time in which nobody runs costs nothing.
const START_MS: u32 = 200;
const START_MS_A_GUEST: u32 = 5;
/// Virtual ms for the operations, and for the yields.
const OPERATIONS_MS: u32 = 200;
const YIELDS_MS: u32 = 100;
/// The name of what is computed from everybody's yields.
const YIELD: &str = "yield to the next of all";
/// How many guests measure.
const ACTORS: u32 = 2;

/// What is found out.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    qemu: String,
    accelerator: String,
    seed: u64,
    points: Vec<Point>,
    /// For each operation the most instructions through the fewest.
    growth: BTreeMap<String, f64>,
}

/// Beside so many guests.
#[derive(Clone, Debug, Serialize)]
struct Point {
    guests: u32,
    /// Instructions of each operation.
    instructions: BTreeMap<String, f64>,
}

/// Measures.
pub(crate) fn measure(options: &Scale) -> Result<()> {
    let mut guests = options.guests.clone();
    guests.sort_unstable();
    guests.dedup();
    for &count in &guests {
        let Err(error) = scenario(count, options) else { continue };
        let fits = guests.iter().filter(|&&count| scenario(count, options).is_ok()).max();
        let advice = fits.map_or("no number of this list fits".to_owned(), |most| {
            format!("of this list, {most} guests and fewer fit")
        });
        return Err(BadInput(format!("{count} guests: {error:#}; {advice}")).into());
    }
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let mut points = Vec::new();
    for &count in &guests {
        tell!("beside {} ...", table::guests(count));
        points.push(Point { guests: count, instructions: run(&scenario(count, options)?, count)? });
    }
    let growth = growth(&points);
    let figures = Figures {
        command: format!("cargo xtask {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        qemu: qemu_version()?,
        accelerator: super::ACCELERATOR.to_owned(),
        seed: options.seed,
        points,
        growth,
    };
    print(&figures);
    write(options, &figures)
}

fn times(guests: u32) -> [u32; 3] {
    let start = START_MS + START_MS_A_GUEST * guests;
    [start, start + OPERATIONS_MS, start + OPERATIONS_MS + YIELDS_MS]
}

fn scenario(guests: u32, options: &Scale) -> Result<Scenario> {
    let mut scenario = Scenario::open(&paths::root(), "scale")?;
    scenario.system.seed = options.seed;
    replace(&mut scenario.system.memory, Size(options.memory.0));
    let [start, yields, stop] = times(guests);
    for entry in &mut scenario.system.domain {
        let line = if entry.name.get_ref() == "actor" {
            format!("act=scale start_ms={start} yields_ms={yields} stop_ms={stop}")
        } else {
            if let Some(place) = &mut entry.count {
                replace(place, guests);
            }
            format!("act=yields start_ms={yields} stop_ms={stop}")
        };
        replace(&mut entry.command_line, line);
    }
    scenario.check(&compile::is_guest)?;
    if let Some(bytes) = host::memory_bytes() {
        scenario.check_host(bytes)?;
    }
    Ok(scenario)
}

/// Runs a machine until all its guests have said what they did.
fn run(scenario: &Scenario, guests: u32) -> Result<BTreeMap<String, f64>> {
    let mut plan = lower(scenario)?;
    // Domains are numbered in the order of their creation, from 0.
    let numbers: BTreeMap<String, usize> = plan
        .config
        .domains
        .iter()
        .enumerate()
        .map(|(number, domain)| (domain.name.clone(), number))
        .collect();
    for domain in &mut plan.config.domains {
        let peer = match domain.name.as_str() {
            "actor-1" => "actor-2",
            "actor-2" => "actor-1",
            _ => continue,
        };
        let number = numbers.get(peer).context("the scenario has two actors")?;
        domain.command_line.push_str(&format!(" peer={number}"));
    }
    let how = How::new(Clock::Counted { seed: scenario.system.seed });
    let mut machine = boot::boot(how, scenario, plan)?.machine;
    let mut said = Said::default();
    while said.ended < guests + ACTORS {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) => {
                said.see(&line).with_context(|| format!("the log is {}", machine.log().display()))?;
            }
            Next::Timeout => {
                bail!("silent for {} s; the log is {}", PATIENCE.as_secs(), machine.log().display())
            }
            Next::End if said.ended == guests + ACTORS => break,
            Next::End => return Err(machine.death()),
        }
    }
    let mut instructions = said.instructions;
    // All that time somebody ran, and an instruction takes a nanosecond.
    instructions.insert(YIELD.to_owned(), round(f64::from(YIELDS_MS) * 1e6 / said.yields.max(1) as f64));
    Ok(instructions)
}

/// What the guests said.
#[derive(Debug, Default)]
struct Said {
    instructions: BTreeMap<String, f64>,
    yields: u64,
    ended: u32,
}

impl Said {
    fn see(&mut self, line: &Line) -> Result<()> {
        if let Line::Record { kind, body } = line
            && kind == "domain"
            && (body["state"] == "failed" || (body["state"] == "dead" && body["reason"] != "poweroff"))
        {
            bail!("a domain ended: {body}");
        }
        let Some((domain, kind, body)) = line.guest_record() else { return Ok(()) };
        match kind.as_str() {
            "scaled" => {
                let (name, instructions) = (body["operation"].as_str(), body["instructions"].as_f64());
                let (name, instructions) = name.zip(instructions).context("a record without its figure")?;
                self.instructions.insert(name.to_owned(), instructions);
            }
            "computed" => {
                ensure!(body["late"] != true, "{domain} started too late");
                self.ended += 1;
                self.yields += body["units"].as_u64().unwrap_or(0);
            }
            _ => {}
        }
        Ok(())
    }
}

/// For each operation the most through the fewest.
fn growth(points: &[Point]) -> BTreeMap<String, f64> {
    let names = points.iter().flat_map(|point| point.instructions.keys());
    let of = |name: &String| {
        let values = || points.iter().filter_map(|point| point.instructions.get(name).copied());
        let most = values().fold(0.0, f64::max);
        (name.clone(), round(most / values().fold(f64::INFINITY, f64::min).max(1.0)))
    };
    names.map(of).collect()
}

fn print(figures: &Figures) {
    let beside: Vec<String> =
        figures.points.iter().map(|point| format!("beside {}", grouped(u64::from(point.guests)))).collect();
    let mut head = vec!["instructions"];
    head.extend(beside.iter().map(String::as_str));
    head.push("most / fewest");
    let mut table = new(&head);
    for (name, growth) in &figures.growth {
        let mut row = vec![name.clone()];
        let of = |point: &Point| {
            point.instructions.get(name).map_or("-".to_owned(), |value| format!("{value:.0}"))
        };
        row.extend(figures.points.iter().map(of));
        row.push(format!("{growth:.3}"));
        table.add_row(row);
    }
    say!("{table}");
    if let Some((name, worst)) = figures.growth.iter().max_by(|a, b| a.1.total_cmp(b.1)) {
        say!(
            "With the number of guests the most that an operation changes is {:.1} %: {name}.",
            (worst - 1.0) * 100.0
        );
    }
}

fn write(options: &Scale, figures: &Figures) -> Result<()> {
    let folder = paths::run("measure");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let put = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    };
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    put(&folder.join("scale.json"), &text)?;
    if let Some(path) = &options.json.json {
        put(path, &text)?;
    }
    let source = format!(
        "scenario scale, seed {}, QEMU {}, {}; {}",
        figures.seed, figures.qemu, figures.accelerator, figures.command
    );
    let of = |name: &String| Curve {
        name: name.clone(),
        points: figures
            .points
            .iter()
            .filter_map(|point| Some((f64::from(point.guests), *point.instructions.get(name)?)))
            .collect(),
    };
    let drawn: Vec<Curve> = figures.growth.keys().map(of).collect();
    let words = Words {
        title: "what single operations cost",
        across: "guests beside",
        up: "instructions",
        source: &source,
    };
    put(&folder.join("scale.svg"), &curves(words, &drawn)?)?;
    say!("plot: {}", paths::shown(&folder.join("scale.svg")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_the_most_through_the_fewest() {
        let point =
            |guests, cost| Point { guests, instructions: BTreeMap::from([("call".to_owned(), cost)]) };
        assert_eq!(growth(&[point(1, 100.0), point(32, 130.0), point(64, 110.0)])["call"], 1.3);
    }

    #[test]
    fn yields_of_all_add_up_and_a_late_guest_spoils_them() {
        let line = |late: bool| {
            Line::parse(&format!(
                "other-1| @computed {{\"act\":\"yields\",\"units\":7,\"turns\":2,\"longest_wait_us\":9,\"late\":{late}}}"
            ))
        };
        let mut said = Said::default();
        said.see(&line(false)).unwrap();
        said.see(&line(false)).unwrap();
        said.see(&Line::parse("actor-1| @scaled {\"operation\":\"null hypercall\",\"instructions\":90}"))
            .unwrap();
        assert_eq!((said.yields, said.ended, said.instructions["null hypercall"]), (14, 2, 90.0));
        assert!(said.see(&line(true)).is_err());
    }
}
