//! `test`, `soak` and `check`: many parts, each a command that a person could type, each timed.
//! It exists so that what is tested is what is used.

mod host;
mod iso;
mod judge;
mod long;
mod machine;
mod part;

use anyhow::Result;

use crate::cli::{Json, Soak};
use crate::{compile, interrupt, setup, tidy};
use part::{Part, Report};

/// All tests, in under ten minutes.
pub(crate) fn test(options: &Json) -> Result<()> {
    prepare()?;
    let mut report = Report::new("test");
    report.run(&host::tests());
    report.run(&machine::parts());
    report.run(&iso::parts());
    report.finish(options)
}

/// The long counts.
pub(crate) fn soak(options: &Soak) -> Result<()> {
    prepare()?;
    let mut report = Report::new("soak");
    report.run(&long::parts(options.seeds));
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
    report.run(&iso::parts());
    report.finish(&Json::default())
}

fn prepare() -> Result<()> {
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    // Built once, in sight: the parts find everything ready.
    compile::hypervisor()?;
    compile::guests(&compile::guest_names()?).map(drop)
}
