//! `cargo xtask tidy`: the repository checks itself.
//! It exists so that the house's rules hold because they are tested, not because they are remembered.

mod abi;
mod arrows;
mod census;
mod files;
mod specification;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Checks everything; with `bless`, rewrites generated files instead of comparing them.
pub(crate) fn tidy(bless: bool) -> Result<()> {
    let root = paths::root();
    let sources = sources(&root)?;
    let mut wrong = Vec::new();
    wrong.extend(arrows::check(&root)?);
    wrong.extend(files::check(&sources));
    wrong.extend(specification::complaints(&root));
    wrong.extend(generated(&root, "docs/UNSAFE.md", &census::page(&sources)?, bless)?);
    wrong.extend(generated(&root, "docs/ABI.md", &abi::page(), bless)?);
    for line in &wrong {
        tell!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} untidy", wrong.len());
    }
    say!("tidy: {} files, median of {} lines", sources.len(), files::median(&sources));
    Ok(())
}

/// A Rust file of the repository.
#[derive(Clone, Debug)]
struct Source {
    /// Path from the root, with `/`.
    name: String,
    text: String,
}

impl Source {
    fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// All Rust files, sorted by name.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = item?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(read(root, path)?);
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn read(root: &Path, path: PathBuf) -> Result<Source> {
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
    Ok(Source { name, text })
}

/// Compares a generated file with what it should be, or writes it.
fn generated(root: &Path, name: &str, wanted: &str, bless: bool) -> Result<Option<String>> {
    let path = root.join(name);
    if std::fs::read_to_string(&path).is_ok_and(|text| text == wanted) {
        return Ok(None);
    }
    if !bless {
        return Ok(Some(format!("{name}: differs from what the sources say; run cargo xtask tidy --bless")));
    }
    std::fs::write(&path, wanted).with_context(|| format!("writing {name}"))?;
    say!("wrote {name}");
    Ok(None)
}
