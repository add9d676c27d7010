//! From the first Rust function to the application's `main`.
//! What happens here in order: memory, heap, the shared page, traps and upcalls, the banner, the executor.

use core::future::Future;
use core::sync::atomic::{AtomicPtr, Ordering};

use hypercall_abi::PAGE_SIZE;
use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::start_info::StartInfo;

use super::{Guest, Hypervisor, console, devices, executor, heap, hypercall, memory, trap, upcall, window};
use crate::command_line::CommandLine;

unsafe extern "Rust" {
    /// The application, by [`crate::main!`].
    safe fn guest_main() -> !;
}

static START_INFO: AtomicPtr<StartInfo> = AtomicPtr::new(core::ptr::null_mut());

/// The start information.
pub(super) fn info() -> &'static StartInfo {
    // SAFETY: set before anything else runs, to the page that the hypervisor wrote; nobody writes it afterwards.
    unsafe { &*START_INFO.load(Ordering::Relaxed) }
}

/// Called by the entry code on our own stack, with upcalls masked.
#[unsafe(no_mangle)]
extern "C" fn guest_start(start_info: *mut StartInfo, boot_stack_end: u64) -> ! {
    START_INFO.store(start_info, Ordering::Relaxed);
    memory::init(info());
    let hypervisor = Hypervisor::detect();
    devices::init();
    add_memory(
        boot_stack_end - PAGE_SIZE as u64,
        memory::mapped_end(boot_stack_end, hypervisor.is_denizen()),
    );
    window::map_shared_info(info().shared_info).expect("the shared page is ours to map");
    trap::init().expect("traps and upcalls can be registered");
    guest_main()
}

/// Gives the heap what the builder left to us, from the boot stack (no longer used) up to `end`, but for the
/// pages of devices.
fn add_memory(start: u64, end: u64) {
    let mut start = start;
    while start < end {
        let device_page = devices::reserved()
            .map(memory::address_of)
            .filter(|page| (start..end).contains(page))
            .min()
            .unwrap_or(end);
        // SAFETY: nothing else uses what lies there: the builder's own pages are below the boot stack.
        unsafe { heap::add(start, device_page) };
        start = device_page + PAGE_SIZE as u64;
    }
}

/// Runs `main` as the first task of the executor; [`crate::main!`] calls it.
pub fn enter<F: Future<Output = ()> + 'static>(image: &'static str, main: fn(Guest) -> F) -> ! {
    let command_line = CommandLine::from_bytes(&info().cmd_line);
    let plain_from_ms: u64 = command_line.parse("plain_from_ms", 0).unwrap_or(0);
    let is_plain = command_line.get("idle") == Some("plain");
    let executor = executor::init(is_plain.then(|| plain_from_ms.saturating_mul(1_000_000)));
    let guest = Guest { image, command_line, hypervisor: Hypervisor::detect(), spawner: executor.spawner() };
    console::init_log(command_line.parse("log", log::LevelFilter::Info).unwrap_or(log::LevelFilter::Info));
    crate::println!(
        "@guest {{\"cpl\":{},\"memory_bytes\":{},\"abi\":\"{}\",\"image\":\"{image}\"}}",
        guest.cpl(),
        guest.memory_bytes(),
        guest.hypervisor,
    );
    guest.spawn(async move {
        main(guest).await;
        hypercall::domain::shutdown(ShutdownReason::Poweroff)
    });
    upcall::unmask();
    executor::run(executor, guest.hypervisor)
}
