//! The figures of a run in the form of its JSON file.
//! It exists so that table, JSON and HTML report read the same numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::counters::Interrupts;
use crate::run::Coverage;

/// Everything that a run found out.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Name of the scenario.
    pub(crate) scenario: String,
    /// The command that makes these figures.
    pub(crate) command: String,
    /// Guests that were wanted.
    pub(crate) guests: usize,
    /// Guests that answered over HTTP.
    pub(crate) ready: usize,
    /// Where the requests came from: `host` or `inside`.
    pub(crate) load: String,
    /// `real`, `counted` (one instruction a tick) or `kvm`.
    pub(crate) clock: String,
    /// Seed of what was drawn at random.
    pub(crate) seed: u64,
    /// The measured guests.
    pub(crate) domains: Vec<Domain>,
    /// One measurement a policy.
    pub(crate) runs: Vec<Run>,
    /// The short run under the trace.
    pub(crate) traced: Option<Traced>,
    /// Memory.
    pub(crate) memory: Memory,
    /// Start.
    pub(crate) boot: Boot,
    /// Guests that did not answer, with the reason.
    pub(crate) silent: Vec<(String, String)>,
    /// Deaths of domains by name.
    pub(crate) deaths: BTreeMap<String, u64>,
    /// What hostile guests tried, if there were any.
    pub(crate) coverage: Option<Coverage>,
    /// Whether the hypervisor's invariants held at the end; absent where nobody asked.
    pub(crate) audit: Option<serde_json::Value>,
}

/// A measured guest.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Domain {
    /// Its name.
    pub(crate) name: String,
    /// Ring that its scenario gives it.
    pub(crate) ring: u8,
    /// Privilege level that it read itself.
    pub(crate) cpl_seen: Option<u8>,
    /// Its memory.
    pub(crate) memory_bytes: u64,
}

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Run {
    /// The policy.
    pub(crate) delivery: String,
    /// `on` or `off`.
    pub(crate) suppress: String,
    /// `timeout` or `plain`.
    pub(crate) idle: String,
    /// The load.
    pub(crate) http: Http,
    /// Interrupts.
    pub(crate) interrupts: Interrupts,
    /// Hypercalls of all domains by name.
    pub(crate) hypercalls: BTreeMap<String, Call>,
    /// Share of the time in which no domain ran.
    pub(crate) idle_share: Option<f64>,
}

/// What the clients saw.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Http {
    /// Requests answered in full.
    pub(crate) requests: u64,
    /// Those that were not.
    pub(crate) errors: u64,
    /// The first of them in words.
    pub(crate) first_error: Option<String>,
    /// All of them by guest.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Half of the requests took no longer, in microseconds.
    pub(crate) p50_us: u64,
    /// 99 of 100 took no longer.
    pub(crate) p99_us: u64,
    /// Requests a second, of wall time with load from the host, of virtual time with load from inside.
    pub(crate) requests_per_s: f64,
    /// Concurrent connections.
    pub(crate) connections: usize,
    /// Length of the load in seconds.
    pub(crate) seconds: f64,
    /// The latency at each of these percentiles: `(percentile, microseconds)`.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// A hypercall.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Call {
    /// How many.
    pub(crate) count: u64,
    /// Mean duration in the traced run.
    pub(crate) mean_ns: Option<f64>,
}

/// The run under the trace.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Traced {
    /// The trace file.
    pub(crate) file: String,
    /// The policy.
    pub(crate) delivery: String,
    /// Records in it.
    pub(crate) records: u64,
    /// Records that it had no room for.
    pub(crate) lost: u64,
    /// Requests in its time.
    pub(crate) requests: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// What the hypervisor's heap grew by for a guest.
    pub(crate) hypervisor_bytes_per_guest: Option<u64>,
    /// A guest's memory as it sees it, with what it shares with others of its image.
    pub(crate) guest_bytes: u64,
    /// What domains of one image have in common, of all images.
    pub(crate) shared_bytes: Option<u64>,
}

/// Start.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Boot {
    /// The hypervisor's clock when all guests had started, in ms.
    pub(crate) virtual_ms: Option<f64>,
    /// From the start of QEMU until every guest had answered, in s.
    pub(crate) wall_s: f64,
}
