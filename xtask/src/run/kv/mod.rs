//! `cargo xtask kv`: a key-value server under load, with deaths of all kinds on the way, and its disk judged from outside.
//! It exists because what a server says is durable is worth what is found on the disk after it is gone.

mod client;
mod image;
mod load;
mod promise;
mod recording;
#[cfg(test)]
mod tests;

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::image::NoStore;
use self::promise::Promise;
use crate::cli::{self, Json};
use crate::{BadInput, paths};

/// Does what the command line wants.
pub(crate) fn kv(what: &cli::Kv) -> Result<()> {
    match what {
        cli::Kv::Load(options) => load::load(options),
        cli::Kv::Check(options) => check(options),
    }
}

/// Checks a disk.
///
/// # Errors
/// [`BadInput`] for what is no store; others when one is damaged or breaks a promise.
fn check(options: &cli::KvCheck) -> Result<()> {
    let shown = options.image.display();
    let image = paths::open(&options.image).map_err(|error| BadInput(format!("{shown}: {error}")))?;
    let promises: Vec<Promise> = match &options.acknowledged {
        None => Vec::new(),
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| BadInput(format!("{}: {error}", path.display()));
            let text = paths::read_text(path).map_err(|error| wrong(&error))?;
            serde_json::from_str(&text).map_err(|error| wrong(&error))?
        }
    };
    let found = image::content_of_file(&image).map_err(|error| match error.downcast::<NoStore>() {
        Ok(other) => BadInput(format!("{shown}: {other}")).into(),
        Err(error) => error.context(shown.to_string()),
    })?;
    let wrong: Vec<String> = promises.iter().filter_map(|promise| promise.broken(&found)).collect();
    say!("{shown}: {} keys, {} promises, {} of them broken", found.len(), promises.len(), wrong.len());
    let figures = json!({"keys": found.len(), "promises": promises.len(), "broken": wrong});
    write(&options.json, &figures)?;
    match wrong.first() {
        None => Ok(()),
        Some(first) => bail!("{} promises are broken, the first: {first}", wrong.len()),
    }
}

fn write(json: &Json, figures: &serde_json::Value) -> Result<()> {
    let Some(path) = &json.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
