//! The options of `kv`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Json;
use super::run::seconds;

/// What to do with a key-value server.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Kv {
    /// Start it on an empty disk and load it, with deaths of all kinds on the way
    #[command(after_help = "Examples:
  cargo xtask kv load --seconds 5
  cargo xtask kv load --crash storage --crashes 5    its driver domain dies and is built again
  cargo xtask kv load --kills 10 --json kv.json      QEMU is killed, and the disk checked each time")]
    Load(KvLoad),
    /// Check a disk: that its store is whole, and holds what was acknowledged
    #[command(after_help = "Examples:
  cargo xtask kv check target/denizen/kv/kv.img
  cargo xtask kv check target/denizen/kv/kv.img --acknowledged target/denizen/kv/acknowledged.json")]
    Check(KvCheck),
}

/// Options of `kv load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KvLoad {
    /// Length of the load that ends in order
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) connections: u32,
    /// Driver domain that is crashed under load
    #[arg(long, value_name = "DOMAIN", default_value = "storage")]
    pub(crate) crash: String,
    /// How often it is
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) crashes: u32,
    /// How often QEMU is killed under load before that
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) kills: u32,
    /// Seed of everything drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `kv check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KvCheck {
    /// The disk
    pub(crate) image: PathBuf,
    /// What clients were told is durable, as `kv load` leaves it
    #[arg(long, value_name = "FILE")]
    pub(crate) acknowledged: Option<PathBuf>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}
