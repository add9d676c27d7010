//! The report of a suite of tests as one HTML page.
//! It exists so that a person sees at a glance what was tried, what came of it, and where the time went.

use std::fmt::Write;

use anyhow::Result;

use super::{END, begin, escaped};

/// One part of a suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Whether it passed.
    pub(crate) ok: bool,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What it says.
    pub(crate) remark: &'a str,
}

/// The whole page.
pub(crate) fn suite(name: &str, rows: &[Row<'_>]) -> Result<String> {
    let mut page = String::new();
    let passed = rows.iter().filter(|row| row.ok).count();
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    begin(&mut page, &format!("Denizen: {}", escaped(name)))?;
    write!(
        page,
        "<p class=\"sub\"><code>cargo xtask {}</code></p><div class=\"tiles\">\
         <div class=\"tile\"><b>{passed} / {}</b><span>parts passed</span></div>\
         <div class=\"tile\"><b>{seconds:.0} s</b><span>in all</span></div></div><h2>Parts</h2>\
         <table><tr><th>part</th><th>seconds</th><th>result</th><th>remark</th></tr>",
        escaped(name),
        rows.len(),
    )?;
    for row in rows {
        let (class, result) = if row.ok { ("", "ok") } else { (" class=\"bad\"", "FAILED") };
        write!(
            page,
            "<tr><td>{}</td><td>{:.1}</td><td{class}>{result}</td><td>{}</td></tr>",
            escaped(row.name),
            row.seconds,
            escaped(row.remark),
        )?;
    }
    page.push_str("</table>");
    page.push_str(END);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_seen_and_its_words_are_text() {
        let bad = Row { name: "web", ok: false, seconds: 1.5, remark: "<b>broken</b>" };
        let good = Row { name: "hello", ok: true, seconds: 1.0, remark: "" };
        let page = suite("test", &[good, bad]).unwrap();
        assert!(page.contains("1 / 2") && page.contains("FAILED") && page.contains("&lt;b&gt;broken"));
    }
}
