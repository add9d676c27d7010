//! A trace in formats that other tools read.
//! It exists because people have viewers that they know, and each wants its own file.

mod csv;
mod ctf;
mod perfetto;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::filter::Filter;
use super::names::Names;
use super::{input, remark, write_json};
use crate::cli::{self, Format, Json};
use crate::table::grouped;
use crate::{BadInput, cost};

/// Writes a trace in another format.
///
/// # Errors
/// [`BadInput`] for a file that is no trace or a filter that nothing can fit; others when the output cannot be written.
pub(super) fn export(
    format: Format,
    file: &Path,
    output: &Path,
    filter: &cli::Filter,
    json: &Json,
) -> Result<()> {
    let mut reader = input::open(file)?;
    let names = Names::new(reader.names());
    let filter = Filter::new(filter, &names)?;
    let is_folder = format == Format::Ctf;
    if output.exists() && output.is_dir() != is_folder {
        let what = if is_folder { "no folder, which ctf is written to" } else { "a folder" };
        return Err(BadInput(format!("{} is {what}", output.display())).into());
    }
    let header = reader.header().clone();
    let entries = reader.by_ref().filter(|entry| filter.wants(entry));
    let written = match format {
        Format::Csv => csv::write(entries, &names, &mut create(output)?),
        Format::Perfetto => perfetto::write(entries, &names, &mut create(output)?),
        Format::Ctf => {
            std::fs::create_dir_all(output).with_context(|| format!("making {}", output.display()))?;
            let lost = header.streams.iter().map(|stream| stream.overwritten + stream.dropped).sum();
            let metadata = ctf::metadata(&names);
            std::fs::write(output.join("metadata"), metadata)
                .with_context(|| format!("writing {}", output.join("metadata").display()))?;
            ctf::write(entries, lost, &mut create(&output.join("stream"))?)
        }
    };
    let written = written.with_context(|| format!("writing {}", output.display()))?;
    say!("{} events in {}", grouped(written), output.display());
    let tally = reader.tally();
    tell!("{}", remark(&tally));
    let (processor_seconds, peak_bytes) = (cost::processor_seconds(), cost::peak_bytes());
    let (records, lost) = (tally.records, tally.lost);
    let exported = Exported { format, output, events: written, records, lost, processor_seconds, peak_bytes };
    write_json(json, &exported)
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    /// The format.
    format: Format,
    /// Where it lies.
    output: &'a Path,
    /// Events in it.
    events: u64,
    /// Records of the trace, wanted or not.
    records: u64,
    /// Records that should be in the trace but are not.
    lost: u64,
    /// Seconds of processors that it took, the kernel's included.
    processor_seconds: Option<f64>,
    /// The most memory that it took.
    peak_bytes: Option<u64>,
}

/// Bytes that are written at once.
const WRITTEN: usize = 1 << 18;

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(BufWriter::with_capacity(WRITTEN, file))
}

/// Writes whatever came out of a damaged trace, in each format.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn tried(entries: &[hypervisor_core::trace::reader::Entry], names: &Names) {
    let all = || entries.iter().copied();
    let count = entries.len() as u64;
    assert!(csv::write(all(), names, &mut Vec::new()).is_ok_and(|written| written == count));
    assert!(ctf::write(all(), 0, &mut Vec::new()).is_ok_and(|written| written == count));
    #[cfg(test)]
    perfetto::checked(all(), names);
    #[cfg(not(test))]
    assert!(perfetto::write(all(), names, &mut Vec::new()).is_ok());
}
