//! A directory as a page, and paths as they stand in addresses.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Bytes of a page after which no more entries are shown.
const PAGE_MAX: usize = 256 << 10;
/// What stands for itself in an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The entries of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    entries: Vec<(bool, Vec<u8>)>,
}

impl Listing {
    pub(crate) fn new(mut entries: Vec<(bool, Vec<u8>)>) -> Self {
        // Directories first.
        entries.sort_unstable_by(|a, b| (!a.0, &a.1).cmp(&(!b.0, &b.1)));
        Self { entries }
    }

    /// The page of a directory with this path, which ends in a slash, on a server of this name.
    #[must_use]
    pub fn page(&self, server: &str, path: &[u8]) -> String {
        let title = format!("{server}: {}", escaped(&String::from_utf8_lossy(path)));
        let mut page =
            format!("<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>\n");
        if path != b"/" {
            page.push_str("<li><a href=\"../\">../</a>\n");
        }
        for (shown, (is_directory, name)) in self.entries.iter().enumerate() {
            if page.len() > PAGE_MAX {
                page.push_str(&format!("</ul><p>and {} more\n", self.entries.len() - shown));
                break;
            }
            let slash = if *is_directory { "/" } else { "" };
            let (link, text) = (encoded(name), escaped(&String::from_utf8_lossy(name)));
            page.push_str(&format!("<li><a href=\"./{link}{slash}\">{text}{slash}</a>\n"));
        }
        page
    }
}

/// Text as it stands in a page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

/// A path as it stands in an address.
#[must_use]
pub fn encoded(path: &[u8]) -> String {
    percent_encode(path, PLAIN).collect()
}

/// The path that an address means.
#[must_use]
pub fn decoded(address: &str) -> Vec<u8> {
    percent_decode(address.as_bytes()).collect()
}
