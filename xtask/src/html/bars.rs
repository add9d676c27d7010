//! Bars side by side and bars of parts that stand on each other, as SVG text.
//! They exist for what has no values in between: buckets of a histogram, names of hypercalls, whose instructions.

use anyhow::Result;
use plotters::chart::MeshStyle;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::axis::Axis;
use super::curves::{SIZE, Words, sized};
use super::plots::{Area, FONT, above, centred, failed};
use super::{series, ticks};

const LETTER: u32 = 11;
/// Whose parts stand on each other from dark to light, but for the second and the third.
const FILLS: [RGBColor; 5] =
    [series::COLOURS[0], series::COLOURS[1], series::COLOURS[2], series::COLOURS[3], RGBColor(221, 221, 221)];

/// A bar of a stack plot: its name, and the height of each part.
pub(crate) type Stack = (String, Vec<f64>);

/// Columns, and the height that each series has in each of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bars {
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// Series by name.
    pub(crate) series: Vec<(String, Vec<f64>)>,
}

/// Draws the bars of all series beside each other in each column.
pub(crate) fn bars(size: (u32, u32), words: Words<'_>, bars: &Bars) -> Result<String> {
    let top = above(bars.series.iter().flat_map(|(_, heights)| heights).copied());
    let names: Vec<&str> = bars.series.iter().map(|(name, _)| name.as_str()).collect();
    let swatch = |area: &Area<'_>, index, at| series::of_fill(area, series::colour(index), at);
    let width = 0.84 / bars.series.len().max(1) as f64;
    sized(size, words, &names, swatch, |area| {
        columns(area, words, &bars.columns, top, |bar| {
            for (which, (_, heights)) in bars.series.iter().enumerate() {
                for (column, &height) in heights.iter().enumerate() {
                    let left = column as f64 + 0.08 + width * which as f64;
                    bar([(left, 0.0), (left + width, height)], series::colour(which))?;
                }
            }
            Ok(())
        })
    })
}

/// Bars as wide as a curve plot.
pub(crate) fn histogram(words: Words<'_>, of: &Bars) -> Result<String> {
    bars(SIZE, words, of)
}

/// Draws bars of parts that stand on each other.
pub(crate) fn stacks(words: Words<'_>, parts: &[&str], stacks: &[Stack]) -> Result<String> {
    let top = above(stacks.iter().map(|(_, heights)| heights.iter().sum()));
    let names: Vec<String> = stacks.iter().map(|(name, _)| name.clone()).collect();
    let swatch = |area: &Area<'_>, part: usize, at| series::of_fill(area, FILLS[part % FILLS.len()], at);
    sized((SIZE.0 * 2 + 16, SIZE.1 + 40), words, parts, swatch, |area| {
        columns(area, words, &names, top, |bar| {
            for (index, (_, heights)) in stacks.iter().enumerate() {
                let (left, mut floor) = (index as f64, 0.0);
                for (part, &height) in heights.iter().enumerate() {
                    bar([(left + 0.15, floor), (left + 0.85, floor + height)], FILLS[part % FILLS.len()])?;
                    floor += height;
                }
            }
            Ok(())
        })
    })
}

/// Where bars stand: columns side by side over heights.
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Axis>>;

/// Lines at the heights' ticks and none at the columns, whose names are drawn apart.
pub(super) fn mesh<'a, 'b>(
    chart: &'b mut Chart<'a>,
    letter: u32,
) -> MeshStyle<'a, 'b, RangedCoordf64, Axis, SVGBackend<'a>> {
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(0)
        .y_label_formatter(&|value| ticks::written(*value))
        .label_style((FONT, letter));
    mesh
}

/// A function that draws one bar between two corners.
type DrawBar<'a> = &'a mut dyn FnMut([(f64, f64); 2], RGBColor) -> Result<()>;

/// The axes of columns with names, as many as have room; `draw` puts bars in.
fn columns(
    area: &Area<'_>,
    words: Words<'_>,
    names: &[String],
    top: f64,
    draw: impl FnOnce(DrawBar<'_>) -> Result<()>,
) -> Result<()> {
    let lines = |name: &String| name.split(' ').count();
    let room = 24 + 14 * names.iter().map(lines).max().unwrap_or(1) as u32;
    let mut chart = ChartBuilder::on(area)
        .caption(words.title, (FONT, 16))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(room)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..names.len().max(1) as f64, Axis::even(top))
        .map_err(failed)?;
    mesh(&mut chart, 12).x_desc(words.across).y_desc(words.up).draw().map_err(failed)?;
    draw(&mut |corners, colour| {
        if corners[0].1 >= corners[1].1 {
            return Ok(());
        }
        let line = BLACK.mix(0.35).stroke_width(1);
        let both = [Rectangle::new(corners, colour.filled()), Rectangle::new(corners, line)];
        chart.draw_series(both).map(|_| ()).map_err(failed)
    })?;
    let mut free = i32::MIN;
    for (index, name) in names.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(index as f64 + 0.5, 0.0));
        let half = name.split(' ').map(|word| series::wide(word, LETTER)).max().unwrap_or(0) / 2;
        if x - half < free {
            continue;
        }
        free = x + half + 4;
        for (line, word) in name.split(' ').enumerate() {
            area.draw_text(word, &centred((FONT, LETTER)), (x, y + 18 + 14 * line as i32)).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::series::tests::grey;

    #[test]
    fn each_part_of_a_stack_has_a_colour_of_its_own_even_in_grey() {
        let mut greys = FILLS.map(grey);
        greys.sort_unstable();
        assert!(greys.windows(2).all(|pair| pair[1] - pair[0] >= 20), "{greys:?}");
    }

    #[test]
    fn a_bucket_is_a_bar_and_an_empty_one_is_none() {
        let one = |heights: &[f64]| Bars {
            columns: ["1", "2", "3"].map(str::to_owned).to_vec(),
            series: vec![("a".to_owned(), heights.to_vec())],
        };
        let words = Words { title: "title", across: "events", up: "percent", source: "" };
        let count = |of: &Bars| histogram(words, of).unwrap().matches("fill=\"#12406E\"").count();
        // One more stands before the name.
        assert_eq!([count(&one(&[1.0, 0.0, 99.0])), count(&one(&[0.0, 0.0, 9.0]))], [3, 2]);
    }
}
