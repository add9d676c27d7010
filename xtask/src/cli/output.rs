//! Files that commands write: looked at before anything starts, since what takes an hour must not fail when it is written down.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::BadInput;

/// The option of each command that reports.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Json {
    /// Write the figures here as JSON
    #[arg(long, value_name = "FILE", value_parser = writable)]
    pub(crate) json: Option<PathBuf>,
}

impl Json {
    /// As one of the files that a command writes.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.json.as_deref()
    }
}

/// Refuses to write over what is read, or two outputs into one file, whatever their names; to be asked before anything is written.
///
/// # Errors
/// [`BadInput`] that names the file.
pub(crate) fn spare<'a>(
    read: impl IntoIterator<Item = &'a Path>,
    written: impl IntoIterator<Item = Option<&'a Path>>,
) -> Result<(), BadInput> {
    let read: Vec<&Path> = read.into_iter().collect();
    let written: Vec<&Path> = written.into_iter().flatten().collect();
    for (index, output) in written.iter().enumerate() {
        if read.iter().any(|input| same(input, output)) {
            return Err(BadInput(format!("{}: it is read, and would be overwritten", output.display())));
        }
        if written.iter().take(index).any(|other| same(other, output)) {
            return Err(BadInput(format!("{}: two outputs cannot go there", output.display())));
        }
    }
    Ok(())
}

/// Whether two paths lead to one file, or would if it were made. Terminals and pipes may be named twice.
fn same(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(first), Ok(second)) => {
            first.is_file() && (first.dev(), first.ino()) == (second.dev(), second.ino())
        }
        (Err(_), Err(_)) => place(one).is_some_and(|first| place(other) == Some(first)),
        _ => false,
    }
}

/// Where a file that is not there yet would be.
fn place(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new(".")).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}

/// What can be made where it is to be, as far as its folder says.
pub(super) fn in_a_folder(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let folder = path.parent().unwrap_or(&path);
    if folder.as_os_str().is_empty() || folder.is_dir() {
        Ok(path)
    } else {
        Err(format!("there is no folder {}", folder.display()))
    }
}

/// A file that can be written.
pub(super) fn writable(text: &str) -> Result<PathBuf, String> {
    let path = in_a_folder(text)?;
    if path.is_dir() {
        return Err("that is a folder".to_owned());
    }
    let is_new = !path.exists();
    // A pipe would wait for its reader here.
    if is_new || path.is_file() {
        let tried = OpenOptions::new().append(true).create(true).open(&path);
        tried.map_err(|error| format!("cannot be written: {error}"))?;
        if is_new {
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_not_written_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (read, new) = (path("trace.bin"), path("new"));
        std::fs::write(&read, "kept").unwrap();
        std::os::unix::fs::symlink(&read, path("link")).unwrap();
        std::fs::hard_link(&read, path("hard")).unwrap();
        for name in ["trace.bin", "link", "hard", "./trace.bin"] {
            let written = path(name);
            assert!(spare([read.as_path()], [None, Some(written.as_path())]).is_err(), "{name}");
        }
        assert!(spare([read.as_path()], [Some(new.as_path()), None]).is_ok());
        let again = path("./new");
        assert!(spare([], [Some(new.as_path()), Some(again.as_path())]).is_err());
        let null = Path::new("/dev/null");
        assert!(spare([], [Some(null), Some(null)]).is_ok());
    }

    #[test]
    fn what_can_be_written_is_left_as_it_is_and_what_cannot_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (old, new) = (path("old"), path("new"));
        std::fs::write(&old, "kept").unwrap();
        assert!(writable(&old).is_ok() && writable(&new).is_ok());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept");
        assert!(!folder.path().join("new").exists());
        assert!(writable(&path("no/where")).unwrap_err().contains("there is no folder"));
        assert_eq!(writable(folder.path().to_str().unwrap()).unwrap_err(), "that is a folder");
        assert!(writable("/proc/none").unwrap_err().starts_with("cannot be written"));
    }
}
