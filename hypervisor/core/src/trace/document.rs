//! The trace's document, written from the declarations of its records.
//! It exists so that what a reader is told and what the hypervisor writes cannot differ.

use alloc::string::String;
use core::fmt::Write;

use hypercall_abi::describe::Numbers;

use super::category::Category;
use super::declare::{Field, Meaning};
use super::records::DESCRIPTIONS;

/// The document as Markdown.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Records of the trace\n\n\
         Written from `hypervisor/core/src/trace/records.rs`; the layout in storage is described in `layout.rs` beside it.\n\
         Each record carries its domain, its vCPU and its time.\n\n\
         | category | its records |\n|---|---|\n",
    );
    for category in Category::ALL {
        let _ = write!(text, "| `{}` |", category.word());
        for description in DESCRIPTIONS.iter().filter(|description| description.category == *category) {
            let _ = write!(text, " {}", description.name);
        }
        text.push_str(" |\n");
    }
    for description in DESCRIPTIONS {
        let category = description.category.word();
        let _ = write!(text, "\n## {} {} ({category})\n\n", description.kind, description.name);
        for line in description.doc {
            let _ = writeln!(text, "{}", line.trim());
        }
        if description.fields.is_empty() {
            continue;
        }
        text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
        for field in description.fields {
            row(&mut text, field);
        }
    }
    text
}

fn row(text: &mut String, field: &Field) {
    let _ = write!(text, "| `{}` | `{}` |", field.name, field.kind);
    for line in field.doc {
        let _ = write!(text, " {}", line.trim());
    }
    if let Meaning::Of(Numbers { members, .. }) = field.meaning {
        let mut before = "";
        for member in *members {
            let _ = write!(text, "{before} {} {}", member.value, member.name);
            before = ",";
        }
        text.push('.');
    }
    text.push_str(" |\n");
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
