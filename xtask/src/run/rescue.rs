//! The trace of a system that came to a bad end, put where the next run does not write.
//! It exists because the last records before a panic are the ones that explain it.

use std::path::Path;

use anyhow::{Context, Result};

use crate::table::grouped;
use crate::{paths, trace};

/// Saves the trace of a run of this name, if it was recorded until the system's end.
pub(super) fn rescue(name: &str) {
    let folder = paths::run(name);
    match saved(&folder.join("trace.bin"), &folder.join("last-words.bin")) {
        Ok(Some(text)) => tell!("{text}"),
        Ok(None) => {}
        Err(error) => tell!("the trace could not be saved: {error:#}"),
    }
}

/// Copies a trace that was still on when its system ended; returns what to say of it.
fn saved(from: &Path, to: &Path) -> Result<Option<String>> {
    // No trace was begun.
    let Ok(mut reader) = trace::open(from) else { return Ok(None) };
    if reader.header().categories == 0 {
        return Ok(None);
    }
    reader.by_ref().for_each(drop);
    let records = reader.tally().records;
    std::fs::copy(from, to).with_context(|| format!("writing {}", to.display()))?;
    Ok(Some(format!("the trace up to the end is saved: {}, {} records", paths::shown(to), grouped(records))))
}

#[cfg(test)]
mod tests {
    use hypervisor_core::trace::layout::{
        BLOCKS_START, MAGIC, VERSION, WORD_CATEGORIES, WORD_MAGIC, WORD_VERSION,
    };

    use super::saved;

    #[test]
    fn only_a_trace_that_was_on_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("trace.bin"), folder.path().join("last.bin"));
        let mut words = vec![0_u64; BLOCKS_START];
        let write = |words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            std::fs::write(&from, bytes).unwrap();
        };
        write(&words);
        assert_eq!(saved(&from, &to).unwrap(), None, "no trace was begun");
        (words[WORD_MAGIC], words[WORD_VERSION]) = (MAGIC, VERSION);
        write(&words);
        assert_eq!(saved(&from, &to).unwrap(), None, "it went off in order");
        words[WORD_CATEGORIES] = 1;
        write(&words);
        assert!(saved(&from, &to).unwrap().unwrap().contains("last.bin, 0 records"));
        assert!(to.exists());
    }
}
