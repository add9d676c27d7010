//! Writes the names of a guest's functions into its image, for the reports of panics and exceptions.
//! It is a program of its own, run after the linker, because only then are addresses known.
//!
//! `embed-symbols IMAGE...` changes each image in place; an image that has its names already is made anew.

use std::process::ExitCode;

use elf::ElfBytes;
use elf::abi::{PT_LOAD, STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;
use guest_kernel::symbols;

/// Name of the section that waits for the table, which has a program header of its own.
const SECTION: &str = ".guest_symbols";
/// Offset of `e_phoff` in an ELF header.
const E_PHOFF: usize = 32;
/// Bytes of a 64-bit program header.
const PROGRAM_HEADER_BYTES: usize = 56;

fn main() -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        if let Err(error) = embed_in(&path) {
            eprintln!("embed-symbols: {path}: {error}");
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn embed_in(path: &str) -> Result<(), String> {
    let image = std::fs::read(path).map_err(|error| error.to_string())?;
    let image = embed(image)?;
    // Another name may be hard-linked to the file; a new one is put in its place.
    let scratch = format!("{path}.symbols");
    std::fs::write(&scratch, image).map_err(|error| error.to_string())?;
    let permissions = std::fs::metadata(path).map_err(|error| error.to_string())?.permissions();
    std::fs::set_permissions(&scratch, permissions).map_err(|error| error.to_string())?;
    std::fs::rename(&scratch, path).map_err(|error| error.to_string())
}

/// The image with its table of symbols at its end, and the program header of [`SECTION`] leading there.
fn embed(mut image: Vec<u8>) -> Result<Vec<u8>, String> {
    let (table, header) = {
        let file = ElfBytes::<LittleEndian>::minimal_parse(&image)
            .map_err(|error| format!("no ELF image: {error}"))?;
        let section = file
            .section_header_by_name(SECTION)
            .map_err(|error| error.to_string())?
            .ok_or(format!("it has no section {SECTION}: it was not linked by guest-kernel's script"))?;
        let header = file
            .segments()
            .into_iter()
            .flatten()
            .position(|header| header.p_type == PT_LOAD && header.p_vaddr == section.sh_addr)
            .ok_or(format!("no program header loads {SECTION}"))?;
        (symbols::encode(functions(&file)?), header)
    };
    let start = image.len().next_multiple_of(4096);
    image.resize(start, 0);
    image.extend(&table);
    let headers = read_word(&image, E_PHOFF)? as usize;
    let at = headers + header * PROGRAM_HEADER_BYTES;
    write_word(&mut image, at + 8, start as u64)?;
    write_word(&mut image, at + 32, table.len() as u64)?;
    write_word(&mut image, at + 40, table.len() as u64)?;
    Ok(image)
}

/// Functions of the image by address. Labels of assembly have no type.
fn functions(file: &ElfBytes<'_, LittleEndian>) -> Result<Vec<(u32, String)>, String> {
    let (table, names) = file
        .symbol_table()
        .map_err(|error| error.to_string())?
        .ok_or("it has no symbol table: it was stripped")?;
    let code = file
        .section_header_by_name(".text")
        .map_err(|error| error.to_string())?
        .ok_or("it has no section .text")?;
    let mut functions = Vec::new();
    for symbol in table {
        let inside = (code.sh_addr..code.sh_addr + code.sh_size).contains(&symbol.st_value);
        if !inside || !matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE) {
            continue;
        }
        let name = names.get(symbol.st_name as usize).map_err(|error| error.to_string())?;
        let address = u32::try_from(symbol.st_value).map_err(|error| error.to_string())?;
        functions.push((address, format!("{:#}", rustc_demangle::demangle(name))));
    }
    Ok(functions)
}

fn read_word(image: &[u8], at: usize) -> Result<u64, String> {
    let bytes = image.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(format!("it ends before byte {at}"))
}

fn write_word(image: &mut [u8], at: usize, value: u64) -> Result<(), String> {
    let place = image.get_mut(at..at + 8).ok_or(format!("it ends before byte {at}"))?;
    place.copy_from_slice(&value.to_le_bytes());
    Ok(())
}
