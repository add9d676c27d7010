//! Builds the hypervisor and the guests for bare metal, by cargo.
//! It exists so that nobody needs to know profiles, targets and package names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The target of all that runs without an operating system.
pub(crate) const TARGET: &str = "x86_64-unknown-none";

/// Environment variable of the suites: the fault that is planted into the hypervisor.
pub(crate) const PLANTED: &str = "DENIZEN_PLANTED_FAULT";

/// The image of a hypervisor that has no trace in it.
pub(crate) fn traceless() -> Result<PathBuf> {
    hypervisor_with("traceless", &["--no-default-features"])
}

/// The image of a hypervisor that counts its own instructions.
pub(crate) fn accounting() -> Result<PathBuf> {
    hypervisor_with("accounting", &["--features", "account"])
}

/// The image of a hypervisor that writes its runs down.
pub(crate) fn recording() -> Result<PathBuf> {
    if let Some(fault) = std::env::var_os(PLANTED) {
        return planted(&format!("replay,plant-{}", fault.to_string_lossy()));
    }
    hypervisor_with("recording", &["--features", "replay"])
}

/// The hypervisor's image.
pub(crate) fn hypervisor() -> Result<PathBuf> {
    if let Some(fault) = std::env::var_os(PLANTED) {
        return planted(&format!("plant-{}", fault.to_string_lossy()));
    }
    hypervisor_with("usual", &[])
}

/// A hypervisor with these features, at a place of its own: cargo builds all of them at one.
fn hypervisor_with(name: &str, features: &[&str]) -> Result<PathBuf> {
    let _lock = lock()?;
    cargo(&["hypervisor".to_owned()], "release", features)?;
    let place = paths::made(paths::run("hypervisors").join(name))?.join("hypervisor");
    let copy = copy("release", "hypervisor", &place)?;
    put(&copy, &place)?;
    Ok(place)
}

/// The hypervisor's image with these features, one of which plants a fault, apart from the others.
fn planted(features: &str) -> Result<PathBuf> {
    let folder = paths::target().join("planted");
    let status = Command::new(program())
        .current_dir(paths::root())
        .args(["build", "--quiet", "--target", TARGET, "--release", "--package", "hypervisor"])
        .arg(format!("--features={features}"))
        .arg("--target-dir")
        .arg(&folder)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("cargo could not build the hypervisor with {features}");
    }
    Ok(folder.join(TARGET).join("release").join("hypervisor"))
}

/// The images of these guests, in their order.
pub(crate) fn guests(names: &[String]) -> Result<Vec<PathBuf>> {
    let _lock = lock()?;
    cargo(names, "guest", &[])?;
    let folder = paths::made(paths::run("guests"))?;
    let places: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let pairs = names.iter().zip(&places);
    let copies: Vec<PathBuf> =
        pairs.map(|(name, place)| copy("guest", name, place)).collect::<Result<_>>()?;
    embed_symbols(&copies)?;
    for (copy, place) in copies.iter().zip(&places) {
        put(copy, place)?;
    }
    Ok(places)
}

/// Held from a build until what it made is in its place, since another `xtask` may build in the same clone.
fn lock() -> Result<File> {
    let path = paths::made(paths::run("guests"))?.join(".lock");
    let lock = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    if lock.try_lock().is_err() {
        tell!("waiting for another xtask that builds in this clone ...");
        lock.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(lock)
}

/// Copies what cargo built to a file beside its place.
fn copy(profile: &str, name: &str, place: &Path) -> Result<PathBuf> {
    let built = paths::target().join(TARGET).join(profile).join(name);
    let copy = place.with_extension("new");
    std::fs::copy(&built, &copy).with_context(|| format!("copying {}", built.display()))?;
    Ok(copy)
}

/// Puts it there, at once, since a machine may be starting from what was there.
fn put(copy: &Path, place: &Path) -> Result<()> {
    std::fs::rename(copy, place).with_context(|| format!("putting {} in its place", place.display()))
}

/// Puts names of functions into images, for their reports of panics.
fn embed_symbols(images: &[PathBuf]) -> Result<()> {
    let status = Command::new(program())
        .current_dir(paths::root())
        .args([
            "run",
            "--quiet",
            "--package",
            "guest-kernel",
            "--features",
            "embed",
            "--bin",
            "embed-symbols",
            "--",
        ])
        .args(images)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("the names of functions could not be put into the images");
    }
    Ok(())
}

fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Names of all guests.
pub(crate) fn guest_names() -> Result<Vec<String>> {
    packages_in("guests")
}

/// Packages of the programs that guests carry; build scripts of guests build them.
pub(crate) fn program_names() -> Result<Vec<String>> {
    let mut names = packages_in("programs")?;
    // For the host.
    names.retain(|name| name != "build");
    for name in &mut names {
        if name == "runtime" {
            "program-runtime".clone_into(name);
        }
    }
    Ok(names)
}

/// Names of the folders with packages in a folder of `images/`.
fn packages_in(kind: &str) -> Result<Vec<String>> {
    let folder = paths::root().join("images").join(kind);
    let mut names = Vec::new();
    for item in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let item = item?;
        if item.path().join("Cargo.toml").is_file() {
            names.push(item.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The image that a scenario names by its path, which only a name with a slash is; not one of ours, and not built.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    name.contains('/').then(|| paths::root().join(name)).filter(|path| path.is_file())
}

/// Whether a scenario may name this as an image.
pub(crate) fn is_image(name: &str) -> bool {
    is_guest(name) || file(name).is_some()
}

/// Whether there is a guest of this name.
pub(crate) fn is_guest(name: &str) -> bool {
    let plain = Path::new(name).components().count() == 1;
    plain && paths::root().join("images").join("guests").join(name).join("Cargo.toml").is_file()
}

/// Runs cargo for packages in one profile; its own progress shows.
fn cargo(packages: &[String], profile: &str, more: &[&str]) -> Result<()> {
    let mut command = Command::new(program());
    command.current_dir(paths::root()).args(["build", "--target", TARGET, "--profile", profile]).args(more);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo could not build {}", packages.join(", "));
    }
    Ok(())
}
