//! Long messages on a narrow screen.

/// A message in lines of this width, broken between words where that is possible.
pub(super) fn wrapped(message: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines: Vec<String> = Vec::new();
    for word in message.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width) {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + piece.len() <= width => {
                    line.push(' ');
                    line.extend(piece);
                }
                _ => lines.push(piece.iter().collect()),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_break_between_words_and_in_those_that_are_too_long() {
        assert_eq!(wrapped("abcdef gh ij", 5), ["abcde", "f gh", "ij"]);
        assert!(wrapped("", 5).is_empty());
    }
}
