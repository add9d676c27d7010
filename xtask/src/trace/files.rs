//! Files that a view of a trace reads and writes: looked at before anything is written, whatever they are called.
//! It exists because a trace that took an hour must not be lost to a slip in a command.

use std::path::PathBuf;

use crate::BadInput;
use crate::cli::{Format, Json, Report, TraceView, spare};

/// Refuses a view that would write over what it reads, or two things into one file.
///
/// # Errors
/// [`BadInput`] that names the file.
pub(super) fn check(view: &TraceView) -> Result<(), BadInput> {
    let (read, written) = of(view);
    let json = json(view).json.as_deref();
    spare(read.iter().map(PathBuf::as_path), written.iter().map(|path| Some(path.as_path())).chain([json]))
}

/// The page that a report writes.
pub(super) fn page(options: &Report) -> PathBuf {
    options.output.clone().unwrap_or_else(|| options.file.with_extension("html"))
}

/// Files that are read, and those that are written beside the figures.
fn of(view: &TraceView) -> (Vec<PathBuf>, Vec<PathBuf>) {
    match view {
        TraceView::Record(options) => (
            vec![],
            [Some(options.output.clone()), options.run.record.clone()].into_iter().flatten().collect(),
        ),
        TraceView::Live(_) | TraceView::Control(_) => (vec![], vec![]),
        TraceView::Stats { file, .. } | TraceView::Text { file, .. } => (vec![file.clone()], vec![]),
        TraceView::Timeline(options) => (vec![options.file.clone()], vec![]),
        TraceView::Why(options) => (vec![options.file.clone()], vec![]),
        TraceView::Replay(options) => (vec![options.file.clone()], vec![]),
        TraceView::Report(options) => (vec![options.file.clone()], vec![page(options)]),
        TraceView::Diff { one, other, .. } => (vec![one.clone(), other.clone()], vec![]),
        TraceView::Export { format: Format::Ctf, file, output, .. } => {
            (vec![file.clone()], vec![output.clone(), output.join("metadata"), output.join("stream")])
        }
        TraceView::Export { file, output, .. } => (vec![file.clone()], vec![output.clone()]),
    }
}

/// Where a view's figures go.
fn json(view: &TraceView) -> &Json {
    match view {
        TraceView::Record(options) => &options.run.json,
        TraceView::Live(options) => &options.json,
        TraceView::Control(options) => &options.json,
        TraceView::Timeline(options) => &options.json,
        TraceView::Why(options) => &options.json,
        TraceView::Replay(options) => &options.json,
        TraceView::Report(options) => &options.json,
        TraceView::Stats { json, .. }
        | TraceView::Text { json, .. }
        | TraceView::Diff { json, .. }
        | TraceView::Export { json, .. } => json,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        view: TraceView,
    }

    #[test]
    fn no_view_writes_over_what_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (trace, other, link, new) = (path("stream"), path("other.bin"), path("link.bin"), path("new"));
        std::fs::write(&trace, "kept").unwrap();
        std::fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&trace, &link).unwrap();
        let checked = |words: &str| {
            let words = words.replace("TRACE", &trace).replace("OTHER", &other).replace("LINK", &link);
            let words = words.replace("FOLDER", folder.path().to_str().unwrap()).replace("NEW", &new);
            check(&Line::try_parse_from(["trace"].into_iter().chain(words.split(' '))).unwrap().view)
        };
        for words in [
            "stats TRACE --json LINK",
            "text TRACE --json TRACE",
            "timeline TRACE --around 1 --json LINK",
            "why LINK --json TRACE",
            "replay TRACE --json TRACE",
            "report LINK --output TRACE",
            "report TRACE --json TRACE",
            "report TRACE --output NEW --json NEW",
            "diff OTHER TRACE --json LINK",
            "diff OTHER TRACE --json OTHER",
            "export csv TRACE LINK",
            "export csv TRACE NEW --json TRACE",
            "export csv TRACE NEW --json NEW",
            "export ctf TRACE FOLDER",
            "record hello --output NEW --json NEW",
        ] {
            assert!(checked(words).is_err(), "{words}");
        }
        for words in
            ["stats TRACE --json OTHER", "report TRACE --json NEW", "export csv TRACE NEW --json OTHER"]
        {
            checked(words).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&trace).unwrap(), "kept");
    }
}
