//! Each test that the specification names must exist.
//! A promise whose test was renamed away is no promise.

use std::path::Path;

/// The document.
const FILE: &str = "docs/SPECIFICATION.md";

/// What is wrong with the specification of the repository at `root`.
pub(super) fn complaints(root: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(root.join(FILE)) else {
        return vec![format!("{FILE}: cannot be read")];
    };
    let read = |file: &str| std::fs::read_to_string(root.join(file)).ok();
    named(&text).filter_map(|(file, test)| complaint(file, test, read)).collect()
}

/// The tests that the document names, as `path::function` between backquotes.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit_once("::"))
}

fn complaint(file: &str, test: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    match read(file) {
        None => Some(format!("{FILE}: names {file}, which is not there")),
        Some(source) if !source.contains(&format!("fn {test}(")) => {
            Some(format!("{FILE}: names {test}, which {file} does not have"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "| A1 | It holds. | `a/b.rs::it_holds`, `a/c.rs::still` | `no test` |";

    #[test]
    fn named_tests_are_found() {
        assert_eq!(named(TEXT).collect::<Vec<_>>(), [("a/b.rs", "it_holds"), ("a/c.rs", "still")]);
    }

    #[test]
    fn a_test_that_is_not_there_is_a_complaint() {
        let source = |file: &str| (file == "a/b.rs").then(|| "fn it_holds() {}".to_owned());
        assert_eq!(complaint("a/b.rs", "it_holds", source), None);
        assert!(complaint("a/b.rs", "it_hol", source).is_some());
        assert!(complaint("a/c.rs", "still", source).is_some());
    }
}
