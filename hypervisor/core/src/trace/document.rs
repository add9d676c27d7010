//! The trace's document, written from the declarations of its records.
//! It exists so that what a reader is told and what the hypervisor writes cannot differ.

use alloc::string::String;
use core::fmt::Write;

use super::records::DESCRIPTIONS;

/// The document as Markdown.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Records of the trace\n\n\
         Written from `hypervisor/core/src/trace/records.rs`; the layout in storage is described in `layout.rs` beside it.\n\
         Each record carries its domain and its time in nanoseconds of system time.\n",
    );
    for description in DESCRIPTIONS {
        let _ = write!(text, "\n## {} {}\n\n", description.kind, description.name);
        for line in description.doc {
            let _ = writeln!(text, "{}", line.trim());
        }
        if description.fields.is_empty() {
            continue;
        }
        text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
        for (name, kind, doc) in description.fields {
            let _ = write!(text, "| `{name}` | `{kind}` |");
            for line in *doc {
                let _ = write!(text, " {}", line.trim());
            }
            text.push_str(" |\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    extern crate std;

    /// Run with `BLESS=1` to write the document anew.
    #[test]
    fn the_document_is_what_the_declarations_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TRACE.md");
        let text = super::document();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text, "run the test with BLESS=1");
    }
}
