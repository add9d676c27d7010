//! `test`, `soak` and `check`: many parts, each a command that a person could type, each timed.
//! It exists so that what is tested is what is used.

mod bad_ends;
mod bad_images;
mod disks;
mod failing;
mod files;
mod host;
mod iso;
mod judge;
mod keep;
mod kept;
mod kv;
mod long;
mod machine;
mod opening;
mod part;
mod path;
mod perfetto;
mod replay;
mod space;
mod storm;
mod trace;
mod turns;

use anyhow::{Context, Result};

use crate::cli::{Json, Soak, Test};
use crate::{BadInput, compile, interrupt, paths, setup, tidy};
use part::{Part, Report};

/// All tests, in under ten minutes.
pub(crate) fn test(options: &Test) -> Result<()> {
    let parts =
        host::tests().into_iter().chain(machine::parts()).chain(trace::parts()).chain(iso::parts()).collect();
    let parts = chosen(parts, options.only.as_deref())?;
    prepare()?;
    let mut report = Report::new("test");
    report.run(&parts);
    report.finish(&options.json)
}

/// The parts whose name holds a text.
fn chosen(mut parts: Vec<Part>, only: Option<&str>) -> Result<Vec<Part>> {
    let names: Vec<String> = parts.iter().map(|part| part.name().to_owned()).collect();
    parts.retain(|part| only.is_none_or(|only| part.name().contains(only)));
    if parts.is_empty() {
        return Err(BadInput(format!("--only: no part is named so; there are: {}", names.join("; "))).into());
    }
    Ok(parts)
}

/// The long counts.
pub(crate) fn soak(options: &Soak) -> Result<()> {
    let parts = long::parts(options.seeds).into_iter().chain(replay::long()).collect();
    let parts = chosen(parts, options.only.as_deref())?;
    prepare()?;
    let mut report = Report::new("soak");
    report.run(&parts);
    report.finish(&options.json)
}

/// All that must hold before a change goes in.
pub(crate) fn check() -> Result<()> {
    prepare()?;
    let mut report = Report::new("check");
    report.run(&host::formed()?);
    report.run(&[Part::here("tidy", || tidy::tidy(false).map(|()| String::new()))]);
    report.run(&host::tests());
    report.run(&machine::parts());
    report.run(&trace::parts());
    report.run(&iso::parts());
    report.finish(&Json::default())
}

fn prepare() -> Result<()> {
    space::need()?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let folder = paths::run("suite");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Built once, in sight: the parts find everything ready.
    compile::hypervisor()?;
    compile::guests(&compile::guest_names()?).map(drop)
}
