//! Files that commands write: looked at before anything starts, since what takes an hour must not fail when it is written down.

use std::fs::OpenOptions;
use std::path::PathBuf;

use clap::Args;

/// The option of each command that reports.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Json {
    /// Write the figures here as JSON
    #[arg(long, value_name = "FILE", value_parser = writable)]
    pub(crate) json: Option<PathBuf>,
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
