//! How the series of a plot are told apart, and their names below it.
//! Colours differ in lightness too, lines in dashes and markers, so that grey paper, a colour-blind reader and curves that coincide lose none.

use anyhow::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plots::{Area, FONT, failed};

/// Neighbours differ in lightness.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(18, 64, 110),
    RGBColor(213, 94, 0),
    RGBColor(0, 120, 82),
    RGBColor(86, 180, 233),
    RGBColor(163, 25, 91),
    RGBColor(120, 120, 120),
];
/// Dash and gap of a line in pixels; the first has no gaps.
const DASHES: [(u32, u32); 4] = [(4, 0), (9, 6), (3, 5), (15, 4)];
/// Widths of lines: what is drawn first is wider and shows on both sides of what lies over it.
const WIDTHS: [u32; 3] = [4, 3, 2];
/// Sizes of markers, for the same reason.
const MARKS: [i32; 3] = [7, 4, 3];

/// Height of a row of names.
const ROW: u32 = 17;
/// Letters of a name are about so high.
const LETTER: u32 = 12;
/// What stands before a name.
const SWATCH: i32 = 30;

/// The colour of a series.
pub(super) const fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Draws the line of a series through these pixels.
pub(super) fn line(area: &Area<'_>, index: usize, points: &[(i32, i32)]) -> Result<()> {
    let style = colour(index).stroke_width(WIDTHS[index.min(WIDTHS.len() - 1)]);
    match DASHES[index % DASHES.len()] {
        (_, 0) => area.draw(&PathElement::new(points.to_vec(), style)).map_err(failed),
        (dash, gap) => area.draw(&DashedPathElement::new(points.to_vec(), dash, gap, style)).map_err(failed),
    }
}

/// Draws the marker of a series at this pixel.
pub(super) fn mark(area: &Area<'_>, index: usize, (x, y): (i32, i32)) -> Result<()> {
    let r = MARKS[index.min(MARKS.len() - 1)];
    let corners = match index % 4 {
        0 => {
            area.draw(&Circle::new((x, y), r, WHITE.filled())).map_err(failed)?;
            return area.draw(&Circle::new((x, y), r, colour(index).stroke_width(2))).map_err(failed);
        }
        1 => vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        2 => vec![(x, y - r - 1), (x + r + 1, y + r), (x - r - 1, y + r)],
        _ => vec![(x, y - r - 2), (x + r + 2, y), (x, y + r + 2), (x - r - 2, y)],
    };
    area.draw(&Polygon::new(corners, colour(index).filled())).map_err(failed)
}

/// About how wide text of this size is.
pub(super) fn wide(text: &str, size: u32) -> i32 {
    // Letters of common sans-serif faces are a little over half as wide as high.
    i32::try_from(text.chars().count() * size as usize * 56 / 100).unwrap_or(i32::MAX)
}

/// Names in rows no wider than a plot: each with its number and its place.
fn rows(names: &[&str], width: u32) -> Vec<Vec<(usize, i32)>> {
    let mut rows: Vec<Vec<(usize, i32)>> = Vec::new();
    let mut x = i32::MAX;
    for (index, name) in names.iter().enumerate() {
        let needs = SWATCH + wide(name, LETTER) + 16;
        if x.saturating_add(needs) > width as i32 {
            rows.push(Vec::new());
            x = 12;
        }
        if let Some(row) = rows.last_mut() {
            row.push((index, x));
        }
        x += needs;
    }
    rows
}

/// Height of the names below a plot.
pub(super) fn height(names: &[&str], width: u32) -> u32 {
    rows(names, width).len() as u32 * ROW + 4
}

/// Draws names from this height down, each behind what `swatch` draws for it.
pub(super) fn names(
    area: &Area<'_>,
    names: &[&str],
    top: u32,
    swatch: impl Fn(usize, (i32, i32)) -> Result<()>,
) -> Result<()> {
    let style = TextStyle::from((FONT, LETTER).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
    for (row, names_of) in rows(names, area.dim_in_pixel().0).iter().enumerate() {
        let y = (top + row as u32 * ROW + ROW / 2) as i32;
        for &(index, x) in names_of {
            swatch(index, (x, y))?;
            area.draw_text(names[index], &style, (x + SWATCH, y)).map_err(failed)?;
        }
    }
    Ok(())
}

/// The swatch of a line.
pub(super) fn of_line(area: &Area<'_>, index: usize, (x, y): (i32, i32)) -> Result<()> {
    line(area, index, &[(x, y), (x + SWATCH - 6, y)])?;
    mark(area, index, (x + SWATCH / 2 - 3, y))
}

/// The swatch of a filled part.
pub(super) fn of_fill(area: &Area<'_>, colour: RGBColor, (x, y): (i32, i32)) -> Result<()> {
    let corners = [(x + 8, y - 6), (x + SWATCH - 8, y + 6)];
    area.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)?;
    area.draw(&Rectangle::new(corners, BLACK.mix(0.5))).map_err(failed)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// How light a colour is on grey paper.
    pub(in crate::html) fn grey(colour: RGBColor) -> i32 {
        (i32::from(colour.0) * 299 + i32::from(colour.1) * 587 + i32::from(colour.2) * 114) / 1000
    }

    #[test]
    fn colours_that_stand_beside_each_other_differ_in_grey() {
        for pair in COLOURS.windows(2) {
            assert!((grey(pair[0]) - grey(pair[1])).abs() >= 24, "{pair:?}");
        }
    }

    #[test]
    fn names_are_broken_into_rows_and_none_is_lost() {
        let names = ["device, target sleeps"; 6];
        let rows = rows(&names, 510);
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 6);
        let right = |&(index, x): &(usize, i32)| x + SWATCH + wide(names[index], LETTER);
        assert!(rows.len() > 1 && rows.iter().flatten().all(|one| right(one) <= 510), "{rows:?}");
    }
}
