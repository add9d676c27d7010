//! Attacks from ring 1 on what is mapped of the hypervisor there: the entry area, and the rest of the reserved range.
//! Every page is tried for reading and writing; the one that can be written is read for what is not ours and filled with
//! rubbish; each piece of the hypervisor's code is jumped into. All but reading must end in a fault to ourselves.

use core::arch::naked_asm;

use alloc::vec::Vec;

use hostile_plan::Random;
use hypercall_abi::Hypercall;
use hypercall_abi::layout::{HYPERVISOR_END, HYPERVISOR_START, MACHINE_TO_PHYS};

use super::act::Actor;
use super::own_process;
use super::probe::probe;
use super::syscall::syscall;

const PAGE: u64 = 4096;
/// Bytes that one top-level slot spans.
const SLOT: u64 = 1 << 39;
/// Where the hypervisor's image lies, and how much of it is looked through page by page.
const IMAGE: u64 = HYPERVISOR_START + SLOT;
const IMAGE_BYTES: u64 = 8 << 20;
/// Addresses drawn anywhere in the reserved range.
const DRAWN: u64 = 2000;
/// Words at the end of the writable page that hold the frame of our last entry: RAX and what `iretq` takes.
const FRAME_WORDS: usize = 6;
/// What a fault with this in every register must not leave behind.
const MARK: u64 = 0x6d61_726b_6d61_726b;

#[unsafe(naked)]
unsafe extern "C" fn read() -> u64 {
    naked_asm!("mov rax, [rdi]", "ret")
}

/// Writes back what is there, so that a success harms nobody but is seen.
#[unsafe(naked)]
unsafe extern "C" fn write_same() -> u64 {
    naked_asm!("mov rax, [rdi]", "mov [rdi], rax", "xor eax, eax", "ret")
}

/// Goes on at RDI.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn jump() -> u64 {
    naked_asm!("jmp rdi")
}

/// Faults with a mark in RAX.
#[unsafe(naked)]
unsafe extern "C" fn fault_marked() -> u64 {
    naked_asm!("mov rax, rdi", "ud2")
}

/// Copies 512 words from RDI to RSI, with RAX as a hypercall left it.
#[unsafe(naked)]
unsafe extern "C" fn copy_page() -> u64 {
    naked_asm!("xchg rdi, rsi", "mov ecx, 512", "rep movsq", "xor eax, eax", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn fill_page() -> u64 {
    naked_asm!("mov ecx, 512", "mov rax, rsi", "rep stosq", "xor eax, eax", "ret")
}

/// Loads a data selector into each register that takes one; the number of the last that did.
#[unsafe(naked)]
unsafe extern "C" fn load_selector() -> u64 {
    naked_asm!(
        "mov eax, edi",
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "mov gs, eax",
        "xor eax, eax",
        "ret"
    )
}

/// Loads a stack selector; what SS is then.
#[unsafe(naked)]
unsafe extern "C" fn load_stack() -> u64 {
    naked_asm!("mov ecx, ss", "mov eax, edi", "mov ss, eax", "mov eax, ss", "mov ss, ecx", "ret")
}

/// Returns far to a code selector; CS as it is then.
#[unsafe(naked)]
unsafe extern "C" fn load_code() -> u64 {
    naked_asm!("push rdi", "lea rax, [rip + 2f]", "push rax", ".byte 0x48, 0xcb", "2:", "mov eax, cs", "ret")
}

/// Calls far through a code selector or a gate; CS as it is then.
#[unsafe(naked)]
unsafe extern "C" fn call_code() -> u64 {
    naked_asm!(
        "push rdi",
        "lea rax, [rip + 2f]",
        "push rax",
        ".byte 0x48, 0xff, 0x1c, 0x24",
        "2:",
        "mov eax, cs",
        "add rsp, 32",
        "ret"
    )
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    readable: Vec<u64>,
    writable: Vec<u64>,
}

/// All attacks, once.
pub(super) fn attack(actor: &mut Actor) {
    let found = explore(actor);
    // The table of machine-to-physical numbers lies before the image.
    let [page] = found.writable[..] else {
        actor.breach("the entry area", "has not just one page that can be written");
        return;
    };
    inspect(actor, page);
    forge(actor, page);
    selectors(actor);
    let jumps = jumps(actor, &found);
    own_process::attack(actor, page);
    // Jumps have left words of ours there.
    // SAFETY: nobody relies on what lies there.
    let _ = unsafe { probe(fill_page, [page, 0, 0]) };
    inspect(actor, page);
    guest_kernel::println!(
        "@ring1 {{\"seed\":{},\"readable\":{},\"writable\":{},\"jumps\":{jumps}}}",
        actor.seed,
        found.readable.len(),
        found.writable.len()
    );
}

/// Reads every page of the image's range and addresses drawn over the whole reserved range, and tries to write each.
fn explore(actor: &mut Actor) -> Found {
    let mut found = Found::default();
    let mut random = Random::new(actor.seed);
    let slots = (HYPERVISOR_START..HYPERVISOR_END).step_by(SLOT as usize);
    let image = (IMAGE..IMAGE + IMAGE_BYTES).step_by(PAGE as usize);
    let drawn = (0..DRAWN).map(|_| HYPERVISOR_START + random.bits() % (HYPERVISOR_END - HYPERVISOR_START));
    // Where slots have something in roots of guests in ring 3: devices, and all of memory, which lies GiBs behind the image.
    let places = [0, PAGE, 1 << 20, 2 << 20, 16 << 20, 0xfee0_0000];
    let low = slots.flat_map(|slot| places.map(|offset| slot + offset));
    let behind = (1..SLOT >> 30).map(|gib| IMAGE + (gib << 30));
    for at in image.chain(low).chain(behind).chain(drawn) {
        let at = at & !(PAGE - 1);
        // SAFETY: reading; a fault comes back here.
        let readable = unsafe { probe(read, [at, 0, 0]) }.is_ok();
        // SAFETY: writes what is there already; a fault comes back here.
        let writable = unsafe { probe(write_same, [at, 0, 0]) }.is_ok();
        let ours = (IMAGE..IMAGE + IMAGE_BYTES).contains(&at);
        if readable && !ours && !(MACHINE_TO_PHYS..MACHINE_TO_PHYS + SLOT).contains(&at) {
            actor.breach("a page beside the entry area", "can be read");
        }
        if readable && ours {
            found.readable.push(at);
        }
        if writable {
            found.writable.push(at);
        }
    }
    found
}

/// Reads the writable page right after a fault and a hypercall: it may hold the frame of the last entry, which is ours,
/// and zeros.
fn inspect(actor: &mut Actor, page: u64) {
    // SAFETY: it faults by design.
    let _ = unsafe { probe(fault_marked, [MARK, 0, 0]) };
    let mut words = [0_u64; 512];
    // SAFETY: asks for the version.
    unsafe { syscall(Hypercall::XenVersion.raw().into(), [0; 5]) };
    // SAFETY: the array has so many words; the page can be read.
    let _ = unsafe { probe(copy_page, [page, words.as_mut_ptr() as u64, 0]) };
    let (rest, frame) = words.split_at(512 - FRAME_WORDS);
    if let Some((index, word)) = rest.iter().enumerate().find(|(_, word)| **word != 0) {
        guest_kernel::println!("@word {index} {word:#x}");
        actor.breach("the writable page", "holds more than our last frame");
    }
    let [_, rip, cs, rflags, rsp, ss] = frame else { return };
    let here = (&raw const words) as u64;
    let selector = u64::from(guest_kernel::trap::code_selector());
    let ours = *rip < HYPERVISOR_START
        && *cs == selector
        && *rflags & 0x3200 == 0x200
        && here.abs_diff(*rsp) < 1 << 16
        && *ss & 3 == 1;
    if !ours {
        guest_kernel::println!("@frame {frame:x?}");
        actor.breach("the writable page", "holds a frame that is not ours");
    }
}

/// Fills the writable page with rubbish, and goes on.
fn forge(actor: &mut Actor, page: u64) {
    let mut random = Random::new(actor.seed);
    // SAFETY: asks for the version.
    let version = || unsafe { syscall(Hypercall::XenVersion.raw().into(), [0; 5]) };
    let expected = version();
    for word in [0, u64::MAX, page, HYPERVISOR_START + SLOT, random.bits(), random.any_size()] {
        // SAFETY: nobody relies on what lies there.
        let _ = unsafe { probe(fill_page, [page, word, 0]) };
        let version = version();
        // SAFETY: it faults by design.
        let faulted = unsafe { probe(fault_marked, [word, 0, 0]) };
        if version != expected || faulted != Err(6) {
            guest_kernel::println!("@forged {word:#x} {version:#x} {faulted:?}");
            actor.breach("a forged entry stack", "changed what an entry does");
        }
        // SAFETY: as it was.
        let _ = unsafe { probe(fill_page, [page, 0, 0]) };
    }
}

/// Whether we are in ring 1 of QEMU's emulation, which takes a null SS there for a way into ring 0: no processor does,
/// and nothing that runs on it could prevent it.
pub(super) fn null_stack_escapes() -> bool {
    let found = core::arch::x86_64::__cpuid(0x4000_0000);
    let emulated = [found.ebx, found.ecx, found.edx] == [0x5447_4354, 0x4354_4743, 0x4743_5447];
    emulated && guest_kernel::trap::code_selector() & 3 == 1
}

/// Loads every selector of the hypervisor's table into every register.
fn selectors(actor: &mut Actor) {
    let own = u64::from(guest_kernel::trap::code_selector());
    for selector in (0xe000_u64..0xe080).chain([0, 1, 2, 3, 4, 0x10, 0x33, 0xdff8, 0xeff8, 0xfff8]) {
        // SAFETY: a selector that may not be loaded faults; one that may changes nothing that we use.
        let _ = unsafe { probe(load_selector, [selector, 0, 0]) };
        if selector <= 3 && null_stack_escapes() {
            continue;
        }
        // SAFETY: as above; SS is put back.
        if let Ok(loaded) = unsafe { probe(load_stack, [selector, 0, 0]) }
            && loaded & 3 != own & 3
            && loaded > 3
        {
            actor.breach("a stack selector of another ring", "can be loaded");
        }
        for way in [load_code as unsafe extern "C" fn() -> u64, call_code] {
            // SAFETY: a selector that may not be used faults, there or as soon as our code cannot be executed.
            if let Ok(code) = unsafe { probe(way, [selector, 0, 0]) }
                && code != own
            {
                guest_kernel::println!("@code {selector:#x} {code:#x}");
                actor.breach("a code selector that is not ours", "can be used");
            }
        }
    }
}

/// Jumps to where each gate leads, and to each sixteenth byte of what can be executed there; how often.
fn jumps(actor: &mut Actor, found: &Found) -> u64 {
    /// `lea rsp, [rip + ...]`, or from its middle on `lea esp`: with a stack that is not ours no fault could be given to us, which would be our end.
    const LOADS_STACK: [u8; 2] = [0x8d, 0x25];
    /// Bytes before and behind that are looked through for it: code jumps back too.
    const AROUND: usize = 512;
    let mut targets = Vec::new();
    for page in &found.readable {
        // SAFETY: the page was read just now; but for the writable one nobody changes it.
        let words = unsafe { core::slice::from_raw_parts(*page as *const u64, 512) };
        let (gates, _) = words.as_chunks::<2>();
        if gates.iter().take(32).all(|[low, _]| low >> 40 & 0x8f == 0x8e) {
            let leads_to = |[low, high]: &[u64; 2]| low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
            targets.extend(gates.iter().map(leads_to));
        }
        // SAFETY: as above.
        let bytes = unsafe { core::slice::from_raw_parts(*page as *const u8, PAGE as usize) };
        for start in (0..PAGE as usize).step_by(16) {
            let code = bytes
                .get(start.saturating_sub(AROUND)..(start + AROUND).min(PAGE as usize))
                .unwrap_or_default();
            if !code.windows(2).any(|window| window == LOADS_STACK) {
                targets.push(page + start as u64);
            }
        }
    }
    for target in &targets {
        // SAFETY: it faults; a fault comes back here.
        if unsafe { probe(jump, [*target, 0, 0]) }.is_ok() {
            guest_kernel::println!("@jumped {target:#x}");
            actor.breach("a jump into the entry area", "came back");
        }
    }
    targets.len() as u64
}
