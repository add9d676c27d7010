//! The form of source files: a first sentence, and a length that can be read.
//! It exists so that every file says what it is before anybody has to find out.

use super::Source;

/// Lines from which a file is to be split.
const SPLIT: usize = 600;
/// Lines that half of the files stay below.
const MEDIAN: usize = 150;

/// What is wrong with the files.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut wrong: Vec<String> = sources.iter().filter_map(one).collect();
    let median = median(sources);
    if median > MEDIAN {
        wrong.push(format!("half of the files have more than {median} lines; the rule is {MEDIAN}"));
    }
    wrong
}

/// The median of the files' lines.
pub(super) fn median(sources: &[Source]) -> usize {
    let mut lines: Vec<usize> = sources.iter().map(Source::lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or(0)
}

fn one(source: &Source) -> Option<String> {
    let first: String = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .take_while(|line| !line.trim().is_empty())
        .collect();
    if first.trim().len() < 12 || !first.contains('.') {
        return Some(format!(
            "{}:1: does not begin with a sentence (//! ...) that says what the file is",
            source.name
        ));
    }
    let lines = source.lines();
    (lines > SPLIT).then(|| format!("{}: {lines} lines; split it (the limit is {SPLIT})", source.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Option<String> {
        one(&Source { name: "a.rs".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn a_file_without_a_first_sentence_is_untidy() {
        assert!(judged("fn main() {}").is_some());
        assert!(judged("//! .\n").is_some());
        assert!(judged("//! The form of source files.\n").is_none());
        assert!(judged("//! The form of source files:\n//! a first sentence.\n").is_none());
    }

    #[test]
    fn a_long_file_is_untidy() {
        assert!(judged(&format!("//! The form of source files.\n{}", "\n".repeat(SPLIT))).is_some());
    }
}
