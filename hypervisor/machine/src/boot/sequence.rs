//! The order in which the machine comes up.
//! Each step needs the ones before it and nothing else, which is all the order there is.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;

use hypercall_abi::Mfn;
use hypervisor_core::config;
use hypervisor_core::frames::FrameTable;
use hypervisor_core::machine::PciAddress;
use hypervisor_core::memory::MachineAddress;
use hypervisor_core::pci::Function;
use hypervisor_core::reserve::DIRECT_LEAST;
use hypervisor_core::ring::Ring;
use hypervisor_core::time::Time;
use hypervisor_core::world::{Setup, World};

use super::archive::Archive;
use super::information::Information;
use super::plan::Plan;
use super::{multiboot2, pvh, start};
use crate::account::Account;
use crate::acpi::Platform;
use crate::apic::{self, io::IoApic, local::LocalApic};
use crate::clock::Clock;
use crate::cpu::{self, control::Features, string};
use crate::hardware::Hardware;
use crate::log::log;
use crate::paging::direct;
use crate::paging::space::{self, Space};
use crate::pci::{self, Config, MessageTable};
use crate::record::{self, Hands, Mind};
use crate::system::{self, System};
use crate::{descriptors, exit, heap, nmi, power, ring1, rtc, serial};

/// Memory below this is the firmware's or what it left there.
const LOW_MEMORY: u64 = 1 << 20;
const REGISTERS_BYTES: u64 = 4096;
/// The shared memory that QEMU gives: vendor in the lower half, device in the upper.
const SHARED_MEMORY: u32 = 0x1110_1af4;
/// The BAR with the memory itself.
const SHARED_MEMORY_BAR: usize = 2;

/// Where [`start`] hands over: the boot tables map the first 4 GiB at 0, at the image's slot and at the direct map.
pub(crate) extern "C" fn enter(protocol: u32, information: u32) -> ! {
    let origin = cpu::tsc();
    serial::initialise();
    log!("version {}", env!("CARGO_PKG_VERSION"));
    let Some(mut information) = read_information(protocol, information) else {
        fail("the boot loader's information cannot be read")
    };
    let platform = Platform::discover(information.rsdp);
    if let Some(off) = platform.power_off {
        power::install(off);
    }
    let Some(plan) = Plan::make(&mut information.memory) else { fail("too little memory") };
    // SAFETY: the plan has taken the region from the free memory for this alone, below what the boot tables map.
    heap::initialise(unsafe { direct::bytes_mut(plan.heap.0, plan.heap.1 as usize) });

    let features = Features::detect();
    let mut space = Space::enter(plan.pool, plan.memory_end, features.huge_pages);
    clear(plan.zeros, 4096);
    space.map_descriptors(plan.zeros);
    fill_machine_to_phys(&mut space, &plan);
    descriptors::load();
    features.enable();
    ring1::area::fill(space.root());

    let apic = start_interrupts(&mut space, &platform);
    let clock = Clock::calibrate(origin, platform.timer.as_ref(), &apic);
    apic.enable_timer();
    let config = open_config_space(&mut space, &platform);
    let hardware = Hardware {
        account: Account::default(),
        clock,
        apic,
        config,
        message_tables: Vec::new(),
        trace: &[],
        features,
        root: space.root(),
        timer: Time::NEVER,
        user_gs: false,
        root_ahead: None,
        ring: Ring::Three,
        area_user: None,
    };
    let system = create(hardware, &mut space, &information, &plan);
    nmi::install(system.hardware.trace);
    system::install(system);
    exit::start()
}

/// Reports what prevents the system from starting, and ends it.
fn fail(what: &str) -> ! {
    log!("cannot start: {what}");
    power::exit(power::Code::Panic)
}

fn read_information(protocol: u32, address: u32) -> Option<Information> {
    let address = u64::from(address);
    let memory = |address: u64, bytes: usize| {
        let end = address.checked_add(bytes as u64)?;
        // SAFETY: the boot tables map the first 4 GiB, and nobody writes what the loader left.
        (end <= DIRECT_LEAST).then(|| unsafe { direct::bytes(address, bytes) })
    };
    let mut found = if protocol == start::MULTIBOOT2 {
        let bytes = multiboot2::total_bytes(memory(address, 8)?)?;
        let mut found = multiboot2::parse(address, memory(address, bytes)?)?;
        // It holds ACPI's root pointer, which is read later.
        found.memory.remove(address, bytes as u64);
        found
    } else {
        pvh::parse(address, memory)?
    };
    found.memory.remove(0, LOW_MEMORY);
    let (start, end) = space::image();
    found.memory.remove(start, end - start);
    if let Some(archive) = found.archive {
        found.memory.remove(archive.start, archive.bytes());
    }
    Some(found)
}

fn clear(address: u64, bytes: u64) {
    // SAFETY: the plan has taken the region for the hypervisor, and nothing refers to it yet.
    unsafe { string::clear(direct::pointer(address).cast(), (bytes / 8) as usize) };
}

/// Marks every frame as having no pseudo-physical number, and shows the table to guests.
fn fill_machine_to_phys(space: &mut Space, plan: &Plan) {
    let (table, bytes) = plan.machine_to_phys;
    // SAFETY: the plan has taken the region for this alone.
    unsafe { direct::bytes_mut(table, bytes as usize) }.fill(0xff);
    space.map_machine_to_phys(table, bytes);
}

/// Brings up the interrupt controllers; the serial port's interrupt is the only one that is routed.
fn start_interrupts(space: &mut Space, platform: &Platform) -> LocalApic {
    apic::silence_pics();
    // SAFETY: the processor says where its local APIC answers.
    let registers = unsafe { space.map_registers(LocalApic::address(), REGISTERS_BYTES) };
    let local = LocalApic::initialise(registers);
    if let Some((address, first)) = platform.io_apic {
        // SAFETY: ACPI says where the I/O APIC answers.
        let registers = unsafe { space.map_registers(address, REGISTERS_BYTES) };
        let io = IoApic::initialise(registers, first);
        io.route(platform.serial, apic::SERIAL_VECTOR, local.id());
    } else {
        log!("no I/O APIC: the serial line takes no input");
    }
    local
}

fn open_config_space(space: &mut Space, platform: &Platform) -> Config {
    match platform.config_space {
        Some(found) => {
            let bytes = (u64::from(found.last_bus) + 1) << 20;
            // SAFETY: ACPI says that configuration space answers there.
            let window = unsafe { space.map_registers(found.address, bytes) };
            Config::Memory { window, last_bus: found.last_bus }
        }
        None => Config::Ports,
    }
}

/// Builds the world: memory, devices, domains.
fn create(mut hardware: Hardware, space: &mut Space, information: &Information, plan: &Plan) -> System {
    let functions: Vec<PciAddress> = pci::scan(&hardware.config);
    let found: Vec<Function> =
        functions.iter().filter_map(|address| Function::probe(&mut hardware, *address)).collect();
    let (trace, log) = record::share(trace_storage(&found, &hardware.config, space, plan));
    hardware.trace = trace;
    for function in &found {
        if let Some(msix) = &function.msix {
            // SAFETY: the function's table answers there, and the core never lets a guest map it.
            let registers = unsafe { space.map_registers(msix.table, MessageTable::bytes(msix)) };
            hardware.message_tables.push(MessageTable::new(function.address, msix, registers));
        }
    }
    let Ok(mut frames) = FrameTable::new(plan.memory_end / 4096) else {
        fail("the heap cannot hold the frame table")
    };
    for range in information.memory.ranges() {
        frames.add_ram(Mfn(range.start / 4096), range.bytes() / 4096);
    }
    let setup = Setup {
        frames,
        machine_to_phys: MachineAddress(plan.machine_to_phys.0),
        hypervisor_slots: space.hypervisor_slots(),
        ring1_slots: hardware.features.ring1.then(|| space.ring1_slots()),
        scale: hardware.clock.scale(),
        tsc_khz: hardware.clock.tsc_khz(),
        wall_clock: rtc::seconds(),
        trace_words: hardware.trace.len(),
        heap_bytes: plan.heap.1,
    };
    let ranges = information.memory.ranges().iter().map(|range| (range.start / 4096, range.bytes() / 4096));
    let mut hardware = record::begin(hardware, log, &setup, ranges);
    let mut world = record::mind(World::new(setup));
    for function in found.iter().filter(|function| function.id != SHARED_MEMORY) {
        world.add_function(&mut hardware, function.address);
    }
    create_domains(&mut world, &mut hardware, information);
    world.effects.todo |= hypervisor_core::effects::Todo::CONSOLE;
    System { world, hardware }
}

/// The shared memory with the host, or the plan's region without one.
fn trace_storage(
    found: &[Function],
    config: &Config,
    space: &mut Space,
    plan: &Plan,
) -> &'static [AtomicU64] {
    let shared = found.iter().find(|function| function.id == SHARED_MEMORY);
    if let Some(function) = shared
        && let Some(bar) = function.bars.get(SHARED_MEMORY_BAR)
        && bar.base != 0
        && bar.size != 0
    {
        config.enable_memory(function.address);
        // SAFETY: the device's memory, which no guest is given.
        return unsafe { space.map_words(bar.base, bar.size) };
    }
    let (start, bytes) = plan.trace;
    clear(start, bytes);
    // SAFETY: the plan has taken the region for this alone; the direct map shows it for ever.
    unsafe { core::slice::from_raw_parts(direct::pointer(start).cast(), (bytes / 8) as usize) }
}

fn create_domains(world: &mut Mind, hardware: &mut Hands, information: &Information) {
    let Some(range) = information.archive else { fail("the boot loader brought no boot archive") };
    // SAFETY: the loader put the archive there, and its memory was taken from the map.
    let archive = Archive::new(unsafe { direct::bytes(range.start, range.bytes() as usize) });
    let Some(text) = archive.find(config::FILE) else { fail("the boot archive has no configuration") };
    match config::System::from_json(text) {
        Ok(system) => world.create_domains(hardware, system, |path| archive.find(path)),
        Err(error) => {
            log!("cannot start: {}: {error}", config::FILE);
            power::exit(power::Code::Panic)
        }
    }
}
