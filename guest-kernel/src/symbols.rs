//! Names of functions by address, as a compact table within the image.
//! Panics and exceptions are read by people, who know names; the linker's own table is not loaded with an image.
//!
//! The table: [`MAGIC`], the count, then for each symbol in order of address two words (address, place of its name
//! from the table's start), then the names, each behind its length in one byte. All words are little-endian.

/// First word of a table; an image without names has 0 there.
pub const MAGIC: u32 = u32::from_le_bytes(*b"SYM1");

/// Bytes before the first symbol.
const HEAD_BYTES: usize = 8;
/// Bytes of one symbol.
const SYMBOL_BYTES: usize = 8;

/// A table of symbols.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    table: &'a [u8],
    count: usize,
}

impl<'a> Symbols<'a> {
    /// Reads a table; `None` if it is none.
    #[must_use]
    pub fn read(table: &'a [u8]) -> Option<Self> {
        if word(table, 0)? != MAGIC {
            return None;
        }
        let count = word(table, 4)? as usize;
        table.get(HEAD_BYTES..)?.get(..count.checked_mul(SYMBOL_BYTES)?)?;
        Some(Self { table, count })
    }

    /// The last symbol at or below `address`: its name, and the bytes from it to the address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&'a str, u64)> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if u64::from(self.address(middle)?) <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        Some((self.name(index)?, address - u64::from(self.address(index)?)))
    }

    fn address(&self, index: usize) -> Option<u32> {
        word(self.table, HEAD_BYTES + index * SYMBOL_BYTES)
    }

    fn name(&self, index: usize) -> Option<&'a str> {
        let place = word(self.table, HEAD_BYTES + index * SYMBOL_BYTES + 4)? as usize;
        let (&length, rest) = self.table.get(place..)?.split_first()?;
        core::str::from_utf8(rest.get(..usize::from(length))?).ok()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Makes a table of symbols: `(address, name)` in any order. Long names lose their ends.
#[cfg(any(test, feature = "embed"))]
#[must_use]
pub fn encode(mut symbols: std::vec::Vec<(u32, std::string::String)>) -> std::vec::Vec<u8> {
    symbols.sort();
    symbols.dedup_by_key(|&mut (address, _)| address);
    let names_at = HEAD_BYTES + symbols.len() * SYMBOL_BYTES;
    let mut table = std::vec::Vec::new();
    let mut names = std::vec::Vec::new();
    table.extend(MAGIC.to_le_bytes());
    table.extend((symbols.len() as u32).to_le_bytes());
    for (address, name) in &symbols {
        let mut length = name.len().min(u8::MAX.into());
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        table.extend(address.to_le_bytes());
        table.extend(((names_at + names.len()) as u32).to_le_bytes());
        names.push(length as u8);
        names.extend(name.as_bytes().iter().take(length));
    }
    table.extend(names);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn an_address_finds_the_function_that_it_lies_in() {
        let table = encode(vec![(0x30, "c".to_string()), (0x10, "a::b".to_string())]);
        let symbols = Symbols::read(&table).unwrap();
        assert_eq!(symbols.find(0x0f), None);
        assert_eq!(symbols.find(0x10), Some(("a::b", 0)));
        assert_eq!(symbols.find(0x2f), Some(("a::b", 0x1f)));
        assert_eq!(symbols.find(0x1000), Some(("c", 0xfd0)));
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let table = encode(vec![(1, "ä".repeat(200))]);
        assert_eq!(Symbols::read(&table).unwrap().find(1).unwrap().0.len(), 254);
    }

    #[test]
    fn what_is_no_table_is_refused_and_a_damaged_one_answers_nothing() {
        assert!(Symbols::read(&[]).is_none());
        assert!(Symbols::read(&[0; 64]).is_none());
        let table = encode(vec![(1, "name".to_string()), (2, "other".to_string())]);
        assert!(Symbols::read(&table[..12]).is_none());
        let cut = &table[..table.len() - 1];
        assert_eq!(Symbols::read(cut).unwrap().find(2), None);
        assert_eq!(Symbols::read(cut).unwrap().find(1), Some(("name", 0)));
    }
}
