//! Which words of a stack are return addresses: those that follow a call.
//! The images have no frame pointers and no unwind tables, so that a report shows all words that could be one.

/// What kind of call stands before a return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A call of the function at this address.
    Direct(u64),
    /// A call through a register or memory.
    Indirect,
}

/// The call that ends `before`, the bytes before `address`; `None` if they end otherwise.
#[must_use]
pub fn call_before(before: &[u8], address: u64) -> Option<Call> {
    if let Some(&[0xe8, a, b, c, d]) = before.last_chunk() {
        let distance = i32::from_le_bytes([a, b, c, d]);
        return Some(Call::Direct(address.wrapping_add_signed(distance.into())));
    }
    // `call [register]`, and its longer forms with displacements of one and four bytes.
    let indirect = |length: usize| {
        let Some(start) = before.len().checked_sub(length) else { return false };
        matches!(before.get(start..), Some([0xff, mode, ..]) if mode >> 3 & 7 == 2)
    };
    [2, 3, 6, 7].into_iter().any(indirect).then_some(Call::Indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_call_are_known() {
        assert_eq!(call_before(&[0x90, 0xe8, 1, 0, 0, 0], 0x1000), Some(Call::Direct(0x1001)));
        assert_eq!(call_before(&[0xe8, 0xf0, 0xff, 0xff, 0xff], 0x1000), Some(Call::Direct(0xff0)));
        for code in [&[0xff, 0xd0][..], &[0xff, 0x50, 0x18], &[0xff, 0x15, 1, 2, 3, 4]] {
            assert_eq!(call_before(code, 0x1000), Some(Call::Indirect));
        }
    }

    #[test]
    fn other_instructions_are_none() {
        assert_eq!(call_before(&[], 0), None);
        assert_eq!(call_before(&[0x90; 8], 0), None);
        assert_eq!(call_before(&[0xff, 0xe0], 0), None, "jmp rax");
    }
}
