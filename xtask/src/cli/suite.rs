//! Options of the tests.

use clap::Args;

use super::Json;

/// Options of `test`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Test {
    /// Only the parts whose name holds this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `soak`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Soak {
    /// Seeds of the hostile runs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seeds: u32,
    /// Only the parts whose name holds this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}
