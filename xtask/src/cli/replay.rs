//! Options of `trace replay`.
//! They are apart from the views of traces, because a recording is no trace.

use std::path::PathBuf;

use clap::Args;

use super::Json;

/// Options of `trace replay`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Replay {
    /// The recording
    pub(crate) file: PathBuf,
    /// Play only the first so many calls
    #[arg(long, value_name = "CALL", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) until: Option<u64>,
    /// Keep it as a test of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) test: Option<String>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}
