//! Tables on the terminal.
//! It exists so that all commands print alike, and numbers line up.

use std::fmt::Display;

use comfy_table::{CellAlignment, Table, presets};

/// A table with these headings; all columns but the first are numbers.
pub(crate) fn new(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headings);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number, or a dash.
pub(crate) fn or_dash(number: Option<impl Display>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// A fraction with two digits, or a dash.
pub(crate) fn fraction(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"))
}

/// A whole number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many guests in words.
pub(crate) fn guests(number: u32) -> String {
    if number == 1 { "1 guest".to_owned() } else { format!("{number} guests") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_guest_is_no_plural() {
        assert_eq!([0, 1, 2, 1024].map(super::guests), ["0 guests", "1 guest", "2 guests", "1024 guests"]);
    }

    #[test]
    fn digits_are_grouped_from_the_right() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
