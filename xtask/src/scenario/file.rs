//! The form of a scenario file: every key there is.
//! It exists so that a key that nobody reads is refused instead of being ignored.

use serde::Deserialize;
use toml::Spanned;

use super::disks::DiskDevice;
use super::units::{Size, Span};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct System {
    /// One sentence for people.
    pub(crate) description: String,
    /// Memory of the whole machine.
    pub(crate) memory: Spanned<Size>,
    /// Slice of a domain that names none.
    pub(crate) slice: Spanned<Span>,
    /// Seed of everything that is drawn at random.
    #[serde(default)]
    pub(crate) seed: u64,
    /// First two bytes of the guests' /16 network.
    #[serde(default = "default_network")]
    pub(crate) network: Spanned<String>,
    /// Name of the entry that is counted by `--guests`, loaded and measured.
    pub(crate) subject: Option<Spanned<String>>,
    /// What the load fetches; `/page`, the page of a web guest, when absent.
    #[serde(default = "page")]
    pub(crate) page: String,
    /// How long a run without load lasts at most; until all domains have ended when absent.
    pub(crate) runtime: Option<Span>,
    /// What is traced.
    #[serde(default)]
    pub(crate) trace: Trace,
    /// The domains in the order of their creation.
    pub(crate) domain: Vec<Entry>,
}

/// What is traced: each key as `--trace-set` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Trace {
    /// Whether from the start.
    #[serde(default)]
    pub(crate) on: bool,
    /// `flight`, where the newest records win, or `live`, where the oldest stay until the host has read them.
    pub(crate) mode: Option<Spanned<String>>,
    /// Bytes of the buffer, at most what there is.
    pub(crate) buffer: Option<Spanned<Size>>,
    /// Categories of records, with commas between them.
    pub(crate) categories: Option<Spanned<String>>,
    /// Patterns of domains' names, with commas between them.
    pub(crate) domains: Option<Spanned<String>>,
    /// Names of hypercalls, with commas between them.
    pub(crate) calls: Option<Spanned<String>>,
    /// Only hypercalls that take at least so long.
    pub(crate) longer: Option<Spanned<Span>>,
    /// What ends the recording: `call NS`, `delay NS` or `death`.
    pub(crate) stop: Option<Spanned<String>>,
    /// What the command line says beside the file.
    #[serde(skip)]
    pub(crate) more: Vec<String>,
}

impl Trace {
    /// As the hypervisor reads it, each with its place in the file.
    pub(crate) fn spanned(&self) -> Vec<(std::ops::Range<usize>, String)> {
        let mut settings = Vec::new();
        let texts = [
            ("mode", &self.mode),
            ("categories", &self.categories),
            ("domains", &self.domains),
            ("calls", &self.calls),
            ("stop", &self.stop),
        ];
        for (key, value) in texts {
            settings.extend(value.iter().map(|value| (value.span(), format!("{key} {}", value.get_ref()))));
        }
        settings.extend(self.buffer.iter().map(|size| (size.span(), format!("buffer {}", size.get_ref().0))));
        settings.extend(
            self.longer.iter().map(|span| (span.span(), format!("longer {}", span.get_ref().us * 1000))),
        );
        settings
    }

    /// As the hypervisor reads it.
    pub(crate) fn settings(&self) -> Vec<String> {
        self.spanned().into_iter().map(|(_, setting)| setting).chain(self.more.iter().cloned()).collect()
    }
}

fn empty() -> Spanned<String> {
    Spanned::new(0..0, String::new())
}

fn page() -> String {
    "/page".to_owned()
}

fn default_network() -> Spanned<String> {
    Spanned::new(0..0, "10.16".to_owned())
}

/// One domain, or several alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Name of the domain; with `count`, `-1`, `-2`, ... follow.
    pub(crate) name: Spanned<String>,
    /// Name of the guest's crate in `images/guests/`, or path of any file, with a slash in it, from the repository's root.
    pub(crate) image: Spanned<String>,
    /// How many; one, named without a number, when absent.
    pub(crate) count: Option<Spanned<u32>>,
    /// Memory of each.
    pub(crate) memory: Spanned<Size>,
    /// Share of the processor against others; 256 is usual.
    pub(crate) weight: Spanned<u32>,
    /// Longest time on the processor at a stretch.
    pub(crate) slice: Option<Spanned<Span>>,
    /// Ring of the guest's kernel.
    pub(crate) ring: Spanned<u8>,
    /// Text that the guest finds at its start.
    #[serde(default = "empty")]
    pub(crate) command_line: Spanned<String>,
    /// When events reach it.
    pub(crate) delivery: Delivery,
    /// Batched: wake a sleeping domain after this many events.
    #[serde(default)]
    pub(crate) window_events: u32,
    /// Batched: or this long after the first.
    pub(crate) window: Option<Spanned<Span>>,
    /// What follows its crash.
    pub(crate) on_crash: OnCrash,
    /// Whether it may rule the system.
    #[serde(default)]
    pub(crate) control: bool,
    /// Network front ends.
    #[serde(default)]
    pub(crate) net: Vec<NetDevice>,
    /// Block front ends.
    #[serde(default)]
    pub(crate) disk: Vec<DiskDevice>,
    /// Real PCI devices, each `vendor:device` in hexadecimal.
    #[serde(default)]
    pub(crate) pci: Vec<Spanned<String>>,
    /// TCP port of the guest to which the host's port leads, [`HTTP`] when absent. On another one it is not loaded with HTTP.
    pub(crate) port: Option<Spanned<u16>>,
    /// Where the load must come from for it to take part; it always does when absent.
    pub(crate) only: Option<Load>,
}

/// Where web servers are.
pub(crate) const HTTP: u16 = 80;

impl Entry {
    /// The port of its server.
    pub(crate) fn server_port(&self) -> u16 {
        self.port.as_ref().map_or(HTTP, |port| *port.get_ref())
    }

    /// How many domains it makes.
    pub(crate) fn domains(&self) -> u32 {
        self.count.as_ref().map_or(1, |count| *count.get_ref())
    }

    /// Its front ends, each as the name of the domain that serves it.
    pub(crate) fn fronts(&self) -> impl Iterator<Item = &Spanned<String>> {
        let nets = self.net.iter().map(|device| &device.backend);
        nets.chain(self.disk.iter().map(|disk| &disk.backend))
    }

    /// Names of the domains that serve its devices, once for each device.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &str> {
        self.fronts().map(|name| name.get_ref().as_str())
    }
}

/// A network front end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetDevice {
    /// Name of the driver domain.
    pub(crate) backend: Spanned<String>,
    /// Hardware address; chosen when absent.
    pub(crate) mac: Option<Spanned<String>>,
    /// Whether ring indices may suppress notifications.
    #[serde(default = "yes")]
    pub(crate) suppress: bool,
}

fn yes() -> bool {
    true
}

/// Where the requests come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Load {
    /// From this machine, over TCP through QEMU.
    Host,
    /// From a client guest.
    Inside,
}

/// When a domain's events reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Delivery {
    /// At once, preempting whoever runs.
    Synchronous,
    /// When it next gets the processor.
    Batched,
    /// Next, when whoever runs has had a moment to finish.
    Adaptive,
}

impl Delivery {
    /// All policies, the baseline first.
    pub(crate) const ALL: [Self; 3] = [Self::Synchronous, Self::Batched, Self::Adaptive];

    /// The word for it in files and commands.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Synchronous => "synchronous",
            Self::Batched => "batched",
            Self::Adaptive => "adaptive",
        }
    }
}

/// What follows a domain's crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnCrash {
    /// Its memory is returned.
    Destroy,
    /// It is built anew.
    Restart,
    /// The whole system ends.
    Poweroff,
}
