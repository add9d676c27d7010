//! The whole interface as one list, from which `docs/ABI.md` is written.

use crate::describe::{Layout, Numbers};
use crate::{
    blkif, console, device, elf_note, errno, event_channel, extension, grant_table, hypercall, memory,
};
use crate::{mmu, multicall, netif, physdev, sched, shared_info, start_info, trap, vcpu, version};

/// One module of the interface.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// Module name.
    pub name: &'static str,
    /// Its families of numbers.
    pub numbers: &'static [Numbers],
    /// Its structures.
    pub layouts: &'static [Layout],
}

/// Each module in reading order.
pub const CHAPTERS: &[Chapter] = &[
    Chapter { name: "hypercall", numbers: &[hypercall::Hypercall::NUMBERS], layouts: &[] },
    Chapter { name: "errno", numbers: &[errno::Errno::NUMBERS], layouts: &[] },
    Chapter { name: "elf_note", numbers: &[elf_note::NoteType::NUMBERS], layouts: &[] },
    Chapter { name: "start_info", numbers: &[], layouts: &[start_info::StartInfo::LAYOUT] },
    Chapter {
        name: "shared_info",
        numbers: &[],
        layouts: &[
            shared_info::SharedInfo::LAYOUT,
            shared_info::VcpuInfo::LAYOUT,
            shared_info::ArchVcpuInfo::LAYOUT,
            shared_info::VcpuTimeInfo::LAYOUT,
            shared_info::ArchSharedInfo::LAYOUT,
        ],
    },
    Chapter {
        name: "trap",
        numbers: &[
            trap::Vector::NUMBERS,
            trap::CallbackType::NUMBERS,
            trap::CallbackOp::NUMBERS,
            trap::SegmentBase::NUMBERS,
        ],
        layouts: &[
            trap::TrapInfo::LAYOUT,
            trap::BounceFrame::LAYOUT,
            trap::IretContext::LAYOUT,
            trap::CallbackRegister::LAYOUT,
        ],
    },
    Chapter {
        name: "event_channel",
        numbers: &[
            event_channel::EventChannelOp::NUMBERS,
            event_channel::PortState::NUMBERS,
            event_channel::Virq::NUMBERS,
        ],
        layouts: &[
            event_channel::AllocUnbound::LAYOUT,
            event_channel::BindInterdomain::LAYOUT,
            event_channel::BindVirq::LAYOUT,
            event_channel::BindPirq::LAYOUT,
            event_channel::BindIpi::LAYOUT,
            event_channel::BindVcpu::LAYOUT,
            event_channel::PortArgument::LAYOUT,
            event_channel::Reset::LAYOUT,
            event_channel::Status::LAYOUT,
        ],
    },
    Chapter {
        name: "grant_table",
        numbers: &[grant_table::GrantTableOp::NUMBERS, grant_table::GrantStatus::NUMBERS],
        layouts: &[
            grant_table::GrantEntry::LAYOUT,
            grant_table::MapGrantRef::LAYOUT,
            grant_table::UnmapGrantRef::LAYOUT,
            grant_table::SetupTable::LAYOUT,
            grant_table::QuerySize::LAYOUT,
            grant_table::SetVersion::LAYOUT,
            grant_table::CopySide::LAYOUT,
            grant_table::CopyGrant::LAYOUT,
        ],
    },
    Chapter {
        name: "mmu",
        numbers: &[mmu::UpdateKind::NUMBERS, mmu::MmuextOp::NUMBERS],
        layouts: &[mmu::MmuUpdate::LAYOUT, mmu::MmuextRequest::LAYOUT],
    },
    Chapter {
        name: "memory",
        numbers: &[memory::MemoryOp::NUMBERS],
        layouts: &[memory::MachphysMapping::LAYOUT],
    },
    Chapter {
        name: "sched",
        numbers: &[sched::SchedOp::NUMBERS, sched::ShutdownReason::NUMBERS],
        layouts: &[sched::Shutdown::LAYOUT, sched::Poll::LAYOUT],
    },
    Chapter {
        name: "vcpu",
        numbers: &[vcpu::VcpuOp::NUMBERS, vcpu::RunState::NUMBERS],
        layouts: &[vcpu::SetSingleshotTimer::LAYOUT, vcpu::RunstateInfo::LAYOUT],
    },
    Chapter { name: "multicall", numbers: &[], layouts: &[multicall::MulticallEntry::LAYOUT] },
    Chapter {
        name: "version",
        numbers: &[version::VersionOp::NUMBERS, version::Feature::NUMBERS],
        layouts: &[version::FeatureInfo::LAYOUT],
    },
    Chapter { name: "console", numbers: &[console::ConsoleOp::NUMBERS], layouts: &[] },
    Chapter {
        name: "physdev",
        numbers: &[physdev::PhysdevOp::NUMBERS, physdev::MapPirqType::NUMBERS],
        layouts: &[
            physdev::SetIopl::LAYOUT,
            physdev::Eoi::LAYOUT,
            physdev::MapPirq::LAYOUT,
            physdev::UnmapPirq::LAYOUT,
        ],
    },
    Chapter {
        name: "extension",
        numbers: &[
            extension::ExtensionOp::NUMBERS,
            extension::IdleResult::NUMBERS,
            extension::Delivery::NUMBERS,
            extension::ControlOp::NUMBERS,
        ],
        layouts: &[
            extension::DeliveryPolicy::LAYOUT,
            extension::DeviceDirectoryInfo::LAYOUT,
            extension::PciConfig::LAYOUT,
            extension::Control::LAYOUT,
            extension::DomainCounters::LAYOUT,
        ],
    },
    Chapter {
        name: "device",
        numbers: &[
            device::XenbusState::NUMBERS,
            device::DeviceKind::NUMBERS,
            device::NetError::NUMBERS,
            device::BlockError::NUMBERS,
        ],
        layouts: &[device::DirectoryEntry::LAYOUT, device::NetHalf::LAYOUT, device::BlockHalf::LAYOUT],
    },
    Chapter {
        name: "netif",
        numbers: &[netif::PacketStatus::NUMBERS],
        layouts: &[
            netif::TxRequest::LAYOUT,
            netif::TxResponse::LAYOUT,
            netif::RxRequest::LAYOUT,
            netif::RxResponse::LAYOUT,
        ],
    },
    Chapter {
        name: "blkif",
        numbers: &[blkif::BlockOp::NUMBERS, blkif::BlockStatus::NUMBERS],
        layouts: &[
            blkif::BlockSegment::LAYOUT,
            blkif::BlockRequest::LAYOUT,
            blkif::DiscardRequest::LAYOUT,
            blkif::IndirectRequest::LAYOUT,
            blkif::BlockResponse::LAYOUT,
        ],
    },
];
