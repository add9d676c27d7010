//! Where things are: the repository, what cargo built, what a run leaves behind.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| PathBuf::from(folder)),
        None => root().join("target"),
    }
}

/// Where the files of a run of this name go.
pub(crate) fn run(name: &str) -> PathBuf {
    target().join("denizen").join(name)
}

/// A folder, made if it is not there.
pub(crate) fn made(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// The socket of a run of this name that stays up.
pub(crate) fn door(name: &str) -> PathBuf {
    run(name).join("door")
}

/// The most bytes of a file that is read as a whole.
const READ_MAX: u64 = 1 << 30;

/// A file to read. A pipe, which may never come to its end, is refused instead of being waited for.
///
/// # Errors
/// When it is no file, or cannot be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let facts = std::fs::metadata(path)?;
    if facts.is_dir() {
        return Err(io::Error::other("it is a folder, not a file"));
    }
    if !facts.is_file() {
        return Err(io::Error::other("it is a pipe, a socket or a device, not a file"));
    }
    File::open(path)
}

/// What a file holds. What would not fit into memory is refused.
///
/// # Errors
/// As [`open`], and when it is too large or cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    if length > READ_MAX {
        return Err(io::Error::other(format!("it has {length} bytes, and at most {READ_MAX} are read")));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same, as text.
///
/// # Errors
/// As [`read`], and when it is no UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A path as people like to read it: relative to where they stand, if it is below.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn what_is_no_file_or_too_large_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, large, text] = ["pipe", "large", "text"].map(|name| folder.path().join(name));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::File::create(&large).unwrap().set_len(READ_MAX + 1).unwrap();
        std::fs::write(&text, "text").unwrap();
        let why = |path: &Path| read(path).unwrap_err().to_string();
        assert!(why(&pipe).contains("not a file"));
        assert!(why(Path::new("/dev/zero")).contains("not a file"));
        assert!(why(folder.path()).contains("a folder"));
        assert!(why(&large).contains("1073741825 bytes"));
        assert_eq!(read_text(&text).unwrap(), "text");
    }
}
