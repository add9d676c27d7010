//! Recordings of runs that are kept as tests: each is played to the hypervisor's core once more, and what comes of it must
//! be what was noted when it was kept (`cargo xtask trace replay FILE --test NAME`).

use std::path::{Path, PathBuf};

use hypervisor_core::replay::file::File;
use hypervisor_core::replay::kept::judge;

/// Where they lie: here, or where this variable says.
const FOLDER: &str = "DENIZEN_REPLAYS";

fn folder() -> PathBuf {
    match std::env::var_os(FOLDER) {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("replays"),
    }
}

#[test]
fn kept_recordings_come_out_as_they_must() {
    let files = std::fs::read_dir(folder()).into_iter().flatten();
    let mut wrong = Vec::new();
    for path in files.filter_map(|file| Some(file.ok()?.path())) {
        if path.extension().is_none_or(|kind| kind != "replay") {
            continue;
        }
        // A core that panics says so after this line.
        eprintln!("{}", path.display());
        let read = File::read(&std::fs::read(&path).expect("a recording can be read"));
        match read.and_then(|file| judge(&file)) {
            Ok(summary) => eprintln!("  {} calls", summary.calls),
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
