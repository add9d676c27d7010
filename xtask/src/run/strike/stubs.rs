//! The instructions of the ways in and out, from the hypervisor's image.
//! It exists so that a sweep knows where it has not been, and why that may be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use hypervisor_core::ring::{HYPERCALL_VECTOR, Ring, SYSTEM_CALL_VECTOR};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

/// Bytes from one vector's stub to the next.
const STUB_BYTES: u64 = 16;
/// Vectors of exceptions.
const EXCEPTIONS: u64 = 32;
/// All vectors.
const VECTORS: u64 = 256;

/// Vector that the interrupt controller raises itself when an interrupt goes away before it is taken. Raised by anybody
/// else it would never be acknowledged.
const SPURIOUS: u64 = 0xff;

/// One instruction.
#[derive(Clone, Debug)]
pub(super) struct Stub {
    /// Where it is, for people.
    pub(super) place: String,
    /// Address of the first instruction of the straight piece that it is in: who executes one of them executes all.
    pub(super) piece: u64,
    /// The interrupt that leads there.
    pub(super) interrupt: Option<u8>,
    /// Why a sound run may never come there.
    pub(super) excuse: Option<&'static str>,
}

/// The ways in and out for guests in one ring.
#[derive(Debug)]
pub(super) struct Stubs {
    /// Each instruction by its address.
    pub(super) all: BTreeMap<u64, Stub>,
    /// The way in for NMIs.
    pub(super) nmi: Range<u64>,
    /// The first instruction of what it asks of Rust.
    pub(super) record: u64,
    /// Where it counts.
    pub(super) counts_at: u64,
    /// The way in for machine checks.
    pub(super) machine_check: Range<u64>,
    /// The end of a way out, from which a strike does not come back.
    pub(super) left: Range<u64>,
    /// Physical address of the counters: NMIs, where the last of them struck, machine checks.
    pub(super) counters: u64,
}

/// An image with its symbols in the order of their addresses.
struct Image<'a> {
    elf: ElfBytes<'a, LittleEndian>,
    symbols: BTreeMap<u64, &'a str>,
    addresses: BTreeMap<&'a str, u64>,
}

impl Stubs {
    /// Reads them.
    pub(super) fn read(file: &[u8], ring: Ring) -> Result<Self> {
        let image = Image::parse(file)?;
        let (nmi, machine_check, debug, exceptions, interrupts) = match ring {
            Ring::One => {
                ("ring1_nmi", "ring1_machine_check", "ring1_debug", "ring1_exceptions", "ring1_interrupts")
            }
            Ring::Three => {
                ("nmi_entry", "machine_check_entry", "debug_entry", "exception_stubs", "interrupt_stubs")
            }
        };
        let left = match ring {
            Ring::One => image.address("ring1_left")?..image.address("ring1_left_end")?,
            Ring::Three => 0..0,
        };
        let (exceptions, interrupts) = (image.address(exceptions)?, image.address(interrupts)?);
        let mut code = Vec::new();
        for range in image.ranges(ring)? {
            code.extend(image.decoded(range)?);
        }
        let own_faults = own_faults(&code, &|address| image.symbols.get(&address).copied());
        let put_off = put_off(&code, &image.until_next(debug)?).context("#DB is not told by its ring")?;
        let starts = pieces(&code, |address| image.symbols.contains_key(&address));
        let mut all = BTreeMap::new();
        for one in &code {
            let address = one.ip();
            let piece = starts.range(..=address).next_back().copied().unwrap_or(address);
            let of = |start: u64, first: u64, end: u64| {
                let vector = first + address.checked_sub(start)? / STUB_BYTES;
                (vector < end).then_some(vector)
            };
            let stub = if let Some(vector) = of(exceptions, 0, EXCEPTIONS) {
                Stub {
                    place: format!("exception {vector}"),
                    piece,
                    interrupt: None,
                    excuse: exception(vector, ring),
                }
            } else if let Some(vector) = of(interrupts, EXCEPTIONS, VECTORS) {
                let excuse = interrupt(vector, ring);
                let raised = if excuse.is_none() { u8::try_from(vector).ok() } else { None };
                Stub { place: format!("interrupt {vector}"), piece, interrupt: raised, excuse }
            } else {
                let excuse = if own_faults.contains(&address) {
                    Some("only the hypervisor's own fault leads there, and it ends there")
                } else if put_off.contains(&address) {
                    Some("only a breakpoint on a guest's stack leads there, and no guest can set one")
                } else {
                    None
                };
                Stub { place: image.place(address), piece, interrupt: None, excuse }
            };
            all.insert(address, stub);
        }
        let record = image.address(image.full("3nmi6record")?)?;
        all.insert(record, Stub { place: "record".to_owned(), piece: record, interrupt: None, excuse: None });
        let nmi = image.until_next(nmi)?;
        let counting = code
            .iter()
            .find(|one| nmi.contains(&one.ip()) && one.has_lock_prefix() && one.is_ip_rel_memory_operand())
            .context("the way in for NMIs counts nothing")?;
        Ok(Self {
            counts_at: counting.ip(),
            counters: image.physical(counting.ip_rel_memory_address())?,
            machine_check: image.until_next(machine_check)?,
            nmi,
            record,
            left,
            all,
        })
    }
}

#[cfg(test)]
impl Stubs {
    /// Instructions alone.
    pub(super) fn of(all: impl IntoIterator<Item = (u64, Stub)>) -> Self {
        let all = all.into_iter().collect();
        Self { all, nmi: 0..0, record: 0, counts_at: 0, machine_check: 0..0, left: 0..0, counters: 0 }
    }
}

impl<'a> Image<'a> {
    fn parse(file: &'a [u8]) -> Result<Self> {
        let elf = ElfBytes::minimal_parse(file).context("reading the hypervisor's image")?;
        let (table, names) =
            elf.symbol_table().context("reading symbols")?.context("there are no symbols")?;
        let mut symbols = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for symbol in table {
            let name = names.get(symbol.st_name as usize).unwrap_or_default();
            if symbol.st_value != 0 && !name.is_empty() && !name.starts_with(['.', '$']) {
                // Marks of ranges name nothing.
                if !name.ends_with("text_start") && !name.ends_with("text_end") {
                    symbols.insert(symbol.st_value, name);
                }
                addresses.insert(name, symbol.st_value);
            }
        }
        Ok(Self { elf, symbols, addresses })
    }

    fn address(&self, name: &str) -> Result<u64> {
        self.addresses.get(name).copied().with_context(|| format!("the image has no symbol {name}"))
    }

    /// From a symbol to the next.
    fn until_next(&self, name: &str) -> Result<Range<u64>> {
        let start = self.address(name)?;
        let next = self.symbols.range(start + 1..).next().context("there is no next symbol")?;
        Ok(start..*next.0)
    }

    /// The whole of a Rust function's name.
    fn full(&self, part: &str) -> Result<&'a str> {
        let found = self.addresses.keys().find(|full| full.contains(part));
        found.copied().with_context(|| format!("the image has no function {part}"))
    }

    fn ranges(&self, ring: Ring) -> Result<Vec<Range<u64>>> {
        let marked = |name: &str| -> Result<Range<u64>> {
            Ok(self.address(&format!("{name}_text_start"))?..self.address(&format!("{name}_text_end"))?)
        };
        match ring {
            Ring::One => Ok(vec![marked("ring1")?]),
            Ring::Three => {
                let mut ranges = vec![marked("entry")?];
                for name in ["4exit12exit_quickly", "4exit13exit_to_guest"] {
                    ranges.push(self.until_next(self.full(name)?)?);
                }
                Ok(ranges)
            }
        }
    }

    fn decoded(&self, range: Range<u64>) -> Result<Vec<Instruction>> {
        let (segment, offset) = self.segment(range.start)?;
        let bytes = self.elf.segment_data(&segment).context("reading code")?;
        let bytes = bytes
            .get(offset as usize..(offset + range.end - range.start) as usize)
            .context("code ends before its end")?;
        let decoder = Decoder::with_ip(64, bytes, range.start, DecoderOptions::NONE);
        // What fills gaps is never executed.
        let fills = |one: &Instruction| {
            matches!(one.code(), Code::Int3 | Code::Add_rm8_r8) || one.mnemonic() == Mnemonic::Nop
        };
        let code: Vec<_> = decoder.into_iter().filter(|one| !fills(one)).collect();
        if let Some(bad) = code.iter().find(|one| one.is_invalid()) {
            bail!("no instruction at {:#x}", bad.ip());
        }
        ensure!(!code.is_empty(), "no code at {:#x}", range.start);
        Ok(code)
    }

    /// The segment of an address, and the offset in it.
    fn segment(&self, address: u64) -> Result<(elf::segment::ProgramHeader, u64)> {
        let segments = self.elf.segments().context("there are no segments")?;
        let mut loaded = segments.iter().filter(|one| one.p_type == PT_LOAD);
        let found = loaded.find(|one| (one.p_vaddr..one.p_vaddr + one.p_memsz).contains(&address));
        let found = found.with_context(|| format!("nothing is loaded at {address:#x}"))?;
        let offset = address - found.p_vaddr;
        Ok((found, offset))
    }

    fn physical(&self, address: u64) -> Result<u64> {
        let (segment, offset) = self.segment(address)?;
        Ok(segment.p_paddr + offset)
    }

    fn place(&self, address: u64) -> String {
        let Some((start, name)) = self.symbols.range(..=address).next_back() else {
            return format!("{address:#x}");
        };
        // Rust's names hold a path and a hash; what matters is the function.
        let short = ["exit_quickly", "exit_to_guest"].into_iter().find(|short| name.contains(short));
        format!("{}+{:#x}", short.unwrap_or(name), address - start)
    }
}

/// Where straight pieces of code start: at symbols, at targets of branches, after what does not go on.
fn pieces(code: &[Instruction], symbol: impl Fn(u64) -> bool) -> BTreeSet<u64> {
    let mut starts: BTreeSet<u64> = code.iter().map(Instruction::ip).filter(|&ip| symbol(ip)).collect();
    for one in code {
        match one.flow_control() {
            FlowControl::Next | FlowControl::Call => continue,
            _ => starts.insert(one.next_ip()),
        };
        if one.op_count() > 0 && one.op0_kind() == OpKind::NearBranch64 {
            starts.insert(one.near_branch_target());
        }
    }
    starts
}

/// Why the stub of an exception is not entered by its vector in QEMU, if it is not.
fn exception(vector: u64, ring: Ring) -> Option<&'static str> {
    match vector {
        1 | 2 | 18 => Some("this vector's gate leads to a way in of its own"),
        8 if ring == Ring::One => Some("this vector's gate leads to a way in of its own"),
        8 => Some("only the hypervisor's own fault leads there, and it ends there"),
        5 => Some("`bound` is no instruction of 64-bit code"),
        9 | 15 | 22..=27 | 31 => Some("no processor raises this vector"),
        10 => Some("only a bad task state raises this vector in 64-bit code"),
        11 => Some("no descriptor is marked absent"),
        12 => Some("QEMU raises general protection in its place"),
        17 => Some("QEMU does not check alignment"),
        19 => Some("QEMU raises no exceptions of SSE"),
        20 | 21 | 28..=30 => Some("what raises this vector is switched off"),
        _ => None,
    }
}

/// Why the stub of an interrupt is not entered, if it is not.
fn interrupt(vector: u64, ring: Ring) -> Option<&'static str> {
    let own = [SYSTEM_CALL_VECTOR, HYPERCALL_VECTOR].map(u64::from);
    match vector {
        SPURIOUS => Some("the interrupt controller raises this vector by chance alone"),
        _ if ring == Ring::One && own.contains(&vector) => Some("this vector's gate leads elsewhere"),
        _ => None,
    }
}

/// What the way in for #DB does when it came from the hypervisor itself: one side of its first branch.
fn put_off(code: &[Instruction], debug: &Range<u64>) -> Option<Range<u64>> {
    let within = || code.iter().filter(|one| debug.contains(&one.ip()));
    let branch = within().find(|one| one.flow_control() == FlowControl::ConditionalBranch)?;
    let target = branch.near_branch_target();
    // Taken if CS is the hypervisor's, or if it is not.
    match branch.mnemonic() {
        Mnemonic::Je => Some(target..debug.end),
        Mnemonic::Jne => Some(branch.next_ip()..target),
        _ => None,
    }
}

/// Instructions that lead to a call after which all ends, and to nothing else.
fn own_faults<'a>(code: &[Instruction], name: &impl Fn(u64) -> Option<&'a str>) -> BTreeSet<u64> {
    let branches = code.iter().filter(|one| one.op_count() > 0 && one.op0_kind() == OpKind::NearBranch64);
    let targets: BTreeSet<u64> = branches.map(Instruction::near_branch_target).collect();
    let ends = |one: &Instruction| {
        one.flow_control() == FlowControl::Call
            && name(one.near_branch_target())
                .is_some_and(|name| name.contains("own_fault") || name.contains("interrupts_off"))
    };
    let mut found = BTreeSet::new();
    for (at, call) in code.iter().enumerate().filter(|(_, one)| ends(one)) {
        found.insert(call.ip());
        if let Some(next) = code.get(at + 1).filter(|next| next.code() == Code::Ud2) {
            found.insert(next.ip());
        }
        let mut here = at;
        while let Some(before) = here.checked_sub(1)
            && !targets.contains(&code[here].ip())
            && code[before].flow_control() == FlowControl::Next
        {
            here = before;
            found.insert(code[here].ip());
        }
    }
    found
}
