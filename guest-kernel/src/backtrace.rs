//! Which words of a stack are return addresses: those that follow a call.
//! The images have no frame pointers and no unwind tables, so that a report shows all words that could be one.

/// Whether `before`, the bytes before an address, end with a call instruction.
#[must_use]
pub fn follows_call(before: &[u8]) -> bool {
    // The last two bytes of `call [register]`, and of its longer forms with displacements of one and four bytes.
    let indirect = |length: usize| {
        let Some(start) = before.len().checked_sub(length) else { return false };
        matches!(before.get(start..), Some([0xff, mode, ..]) if mode >> 3 & 7 == 2)
    };
    let direct = before.len().checked_sub(5).and_then(|start| before.get(start)) == Some(&0xe8);
    direct || [2, 3, 6, 7].into_iter().any(indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_call_are_known() {
        assert!(follows_call(&[0x90, 0xe8, 1, 2, 3, 4]));
        assert!(follows_call(&[0xff, 0xd0]));
        assert!(follows_call(&[0xff, 0x50, 0x18]));
        assert!(follows_call(&[0xff, 0x15, 1, 2, 3, 4]));
    }

    #[test]
    fn other_instructions_are_none() {
        assert!(!follows_call(&[]));
        assert!(!follows_call(&[0x90; 8]));
        assert!(!follows_call(&[0xff, 0xe0]), "jmp rax");
    }
}
