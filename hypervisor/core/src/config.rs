//! What a system consists of, as `config.json` in the boot archive says it.
//! The host tool writes these structures after it has checked a scenario, and the hypervisor reads them, so the two
//! cannot disagree about a key.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Name of the configuration in the boot archive.
pub const FILE: &str = "config.json";
/// The weight of a domain that does not say.
pub const WEIGHT_DEFAULT: u32 = 256;
/// The heaviest weight, which keeps a turn within arithmetic and reason.
pub const WEIGHT_MAX: u32 = 65_536;
/// The shortest slice in microseconds.
pub const SLICE_US_MIN: u32 = 100;
/// The longest slice in microseconds.
pub const SLICE_US_MAX: u32 = 1_000_000;

/// A whole system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Name of the scenario.
    pub name: String,
    /// Length of a turn at [`WEIGHT_DEFAULT`], in microseconds.
    pub slice_us: u32,
    /// Seed for whatever a guest draws.
    pub seed: u64,
    /// Whether the trace is on from the start.
    pub trace: bool,
    /// What the trace records, as [`crate::trace::choice::Choice::set`] reads it.
    #[serde(default)]
    pub trace_settings: Vec<String>,
    /// The domains in order of creation.
    pub domains: Vec<Domain>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Unique name.
    pub name: String,
    /// Path of the ELF image in the archive.
    pub image: String,
    /// Memory in bytes, whole pages.
    pub memory_bytes: u64,
    /// Share of the processor, [`WEIGHT_DEFAULT`] being one share.
    pub weight: u32,
    /// Length of a turn at [`WEIGHT_DEFAULT`], in microseconds; the system's if absent.
    #[serde(default)]
    pub slice_us: Option<u32>,
    /// Ring of the guest's kernel: 1 or 3.
    pub ring: u8,
    /// Text for the guest.
    pub command_line: String,
    /// How its events reach it at first.
    pub delivery: Delivery,
    /// What is done when it crashes.
    pub on_crash: OnCrash,
    /// Whether it may rule the system.
    pub control: bool,
    /// Its devices in the order of its directory.
    pub devices: Vec<Device>,
}

/// How events reach a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The policy.
    pub policy: Policy,
    /// Batched: wake a sleeping target after this many events; 0 or 1 for the first.
    #[serde(default)]
    pub window_events: u32,
    /// Batched: or after this many microseconds since the first.
    #[serde(default)]
    pub window_us: u32,
}

/// A delivery policy by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// An event preempts whoever runs.
    Synchronous,
    /// Events gather until their target next runs.
    Batched,
    /// Their target runs next, when whoever runs has had a moment to finish.
    Adaptive,
}

/// What is done when a domain crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCrash {
    /// Its resources are returned; the others go on.
    Destroy,
    /// The same, and it is built again from its image.
    Restart,
    /// The whole system ends.
    Poweroff,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Device {
    /// Front end of a split network device.
    NetFront {
        /// Name of the domain that has the back end.
        backend: String,
        /// Hardware address, unique in the system.
        mac: [u8; 6],
        /// Address.
        ipv4: [u8; 4],
        /// Length of the subnet's prefix.
        prefix: u8,
        /// The gateway's address; zeros without one.
        gateway: [u8; 4],
        /// Whether ring indices may suppress notifications.
        suppress: bool,
    },
    /// Front end of a split block device.
    BlockFront {
        /// Name of the domain that has the back end.
        backend: String,
        /// Number of the disk there; [`hypercall_abi::device::NO_DISK`] for one in that domain's memory.
        disk: u32,
        /// Bits of [`hypercall_abi::device::block_access`].
        access: u32,
        /// First sector that may be used.
        first_sector: u64,
        /// How many; 0 for all from there on.
        sectors: u64,
        /// Bytes of memory that an overlay may take.
        memory_bytes: u64,
        /// Whether ring indices may suppress notifications.
        suppress: bool,
    },
    /// A real PCI device: the first not yet assigned one with these numbers.
    Pci {
        /// Vendor in configuration space.
        vendor: u16,
        /// Device in configuration space.
        device: u16,
        /// Device number on bus 0, if it has to be that one.
        #[serde(default)]
        slot: Option<u8>,
        /// Number of the disk that it is, among those of its domain.
        #[serde(default)]
        disk: Option<u32>,
    },
}

impl Device {
    /// The domain with the back end; `None` for a device that is not split.
    #[must_use]
    pub fn backend(&self) -> Option<&str> {
        match self {
            Self::NetFront { backend, .. } | Self::BlockFront { backend, .. } => Some(backend),
            Self::Pci { .. } => None,
        }
    }
}

impl System {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// Where and why the text is not a configuration.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_survives_its_json() {
        let system = System {
            name: "web".into(),
            slice_us: 5000,
            seed: 1,
            trace: false,
            trace_settings: Vec::new(),
            domains: alloc::vec![Domain {
                name: "web-1".into(),
                image: "guests/web".into(),
                memory_bytes: 1 << 21,
                weight: WEIGHT_DEFAULT,
                slice_us: None,
                ring: 3,
                command_line: "size=10".into(),
                delivery: Delivery { policy: Policy::Batched, window_events: 0, window_us: 0 },
                on_crash: OnCrash::Restart,
                control: false,
                devices: alloc::vec![
                    Device::NetFront {
                        backend: "driver".into(),
                        mac: [2, 0xde, 0, 0, 0, 1],
                        ipv4: [10, 16, 1, 1],
                        prefix: 16,
                        gateway: [10, 16, 0, 2],
                        suppress: true,
                    },
                    Device::BlockFront {
                        backend: "disks".into(),
                        disk: 3,
                        access: 1,
                        first_sector: 8,
                        sectors: 1 << 40,
                        memory_bytes: 4096,
                        suppress: false,
                    },
                    Device::Pci { vendor: 0x1af4, device: 0x1042, slot: Some(16), disk: Some(3) },
                ],
            }],
        };
        let text = serde_json::to_string(&system).unwrap();
        assert_eq!(System::from_json(text.as_bytes()).unwrap(), system);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = br#"{"name":"x","slice_us":1,"seed":1,"trace":false,"domains":[],"colour":"red"}"#;
        assert!(System::from_json(text).is_err());
    }
}
