//! Curves and stacks over the number of guests, as SVG text that can stand alone or in a page.
//! Each carries a line that says where its figures come from, so that a picture that travels alone can be made again.

use std::ops::Range;

use anyhow::Result;
use plotters::prelude::*;

use super::plots::{COLOURS, FONT, above, failed};
use crate::table::grouped;

/// Room of a plot.
const SIZE: (u32, u32) = (510, 340);
/// Height of the lines at its foot.
const FOOT: u32 = 32;

/// How many they are.
const FOOT_LINES: usize = 2;

/// A line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Its name.
    pub(crate) name: String,
    /// Points from left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a plot says beside its curves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// Above it.
    pub(crate) title: &'a str,
    /// Along its lower edge.
    pub(crate) across: &'a str,
    /// Along its left edge.
    pub(crate) up: &'a str,
    /// Where the figures come from.
    pub(crate) source: &'a str,
}

/// Draws curves over an axis that doubles from tick to tick.
pub(crate) fn curves(words: Words<'_>, curves: &[Curve]) -> Result<String> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let first = all().map(|point| point.0).fold(f64::INFINITY, f64::min).min(1e6);
    let last = all().map(|point| point.0).fold(first, f64::max);
    // One number of guests alone still needs an axis with two ends.
    let last = if last > first { last } else { first * 2.0 };
    let top = above(all().map(|point| point.1));
    framed(words, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(words.title, (FONT, 16))
            .margin(8)
            .margin_right(20)
            .x_label_area_size(36)
            .y_label_area_size(60)
            .build_cartesian_2d((first..last).log_scale().base(2.0), 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(words.across)
            .y_desc(words.up)
            .y_label_formatter(&|value| tick(*value, top))
            .x_labels(12)
            .x_label_formatter(&|value| format!("{value:.0}"))
            .light_line_style(TRANSPARENT)
            .label_style((FONT, 12))
            .draw()
            .map_err(failed)?;
        for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)
                .map_err(failed)?
                .label(curve.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(corner(curves, first..last, top))
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 12))
            .draw()
            .map_err(failed)
    })
}

/// What is written beside a tick of an axis that goes up to `top`.
fn tick(value: f64, top: f64) -> String {
    match top {
        10.0.. => grouped(value.round() as u64),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The corner where the names of the curves hide least of them.
fn corner(curves: &[Curve], across: Range<f64>, top: f64) -> SeriesLabelPosition {
    use SeriesLabelPosition::{LowerLeft, LowerRight, UpperLeft, UpperRight};
    /// Points of each piece of a curve that are looked at.
    const STEPS: u32 = 16;
    /// What the names take of the width and of the height.
    const PART: (f64, f64) = (0.35, 0.3);
    let width = (across.end / across.start).log2();
    let places = |points: &[(f64, f64)]| {
        let [(x0, y0), (x1, y1)] = *points else { return Vec::new() };
        let (left, right) = ((x0 / across.start).log2() / width, (x1 / across.start).log2() / width);
        let parts = (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS));
        parts.map(|part| (left + (right - left) * part, (y0 + (y1 - y0) * part) / top)).collect()
    };
    let all: Vec<(f64, f64)> =
        curves.iter().flat_map(|curve| curve.points.windows(2)).flat_map(places).collect();
    let hidden = |corner: &SeriesLabelPosition| {
        all.iter()
            .filter(|&&(x, y)| match corner {
                LowerRight | UpperRight if x < 1.0 - PART.0 => false,
                LowerLeft | UpperLeft if x > PART.0 => false,
                LowerLeft | LowerRight => y < PART.1,
                _ => y > 1.0 - PART.1,
            })
            .count()
    };
    [LowerRight, UpperLeft, UpperRight, LowerLeft].into_iter().min_by_key(hidden).unwrap_or(LowerRight)
}

/// A bar of a stack plot: its name, and the height of each part.
pub(crate) type Stack = (String, Vec<f64>);

/// Draws bars of parts that stand on each other.
pub(crate) fn stacks(words: Words<'_>, parts: &[&str], stacks: &[Stack]) -> Result<String> {
    let top = above(stacks.iter().map(|(_, heights)| heights.iter().sum()));
    let wide = (SIZE.0 * 2 + 16, SIZE.1 + 40);
    sized(wide, words, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(words.title, (FONT, 16))
            .margin(8)
            .x_label_area_size(56)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..stacks.len().max(1) as f64 * 1.12, 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(0)
            .y_desc(words.up)
            .y_label_formatter(&|value| tick(*value, top))
            .label_style((FONT, 12))
            .draw()
            .map_err(failed)?;
        for (part, name) in parts.iter().enumerate() {
            let colour = COLOURS[part % COLOURS.len()];
            let bars = stacks.iter().enumerate().filter_map(|(index, (_, heights))| {
                let below: f64 = heights.iter().take(part).sum();
                let height = heights.get(part)?;
                let left = index as f64;
                Some(Rectangle::new([(left + 0.15, below), (left + 0.85, below + height)], colour.filled()))
            });
            chart
                .draw_series(bars)
                .map_err(failed)?
                .label(*name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        }
        for (index, (name, _)) in stacks.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(index as f64 + 0.5, 0.0));
            for (line, word) in name.split(' ').enumerate() {
                let style = super::plots::centred((FONT, 11));
                area.draw_text(word, &style, (x, y + 18 + 14 * line as i32)).map_err(failed)?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 12))
            .draw()
            .map_err(failed)
    })
}

fn framed(words: Words<'_>, draw: impl FnOnce(&super::plots::Area<'_>) -> Result<()>) -> Result<String> {
    sized(SIZE, words, draw)
}

fn sized(
    size: (u32, u32),
    words: Words<'_>,
    draw: impl FnOnce(&super::plots::Area<'_>) -> Result<()>,
) -> Result<String> {
    super::plots::drawn(size, |area| {
        area.fill(&WHITE).map_err(failed)?;
        let (above, foot) = area.split_vertically(size.1 - FOOT);
        draw(&above)?;
        let room = usize::try_from(size.0).unwrap_or(0) / 5;
        let grey = BLACK.mix(0.6);
        let style = TextStyle::from((FONT, 9).into_font()).color(&grey);
        let letters: Vec<char> = words.source.chars().collect();
        letters.chunks(room).take(FOOT_LINES).zip([4, 17]).try_for_each(|(line, y)| {
            foot.draw_text(&line.iter().collect::<String>(), &style, (8, y)).map_err(failed)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_no_curve_is() {
        let curve = |points: &[(f64, f64)]| [Curve { name: "a".into(), points: points.to_vec() }];
        let place = |points| format!("{:?}", corner(&curve(points), 1.0..1024.0, 10.0));
        assert_eq!(place(&[(1.0, 9.0), (1024.0, 7.0)]), "LowerRight");
        assert_eq!(place(&[(1.0, 1.0), (1024.0, 1.0)]), "UpperLeft");
        assert_eq!(place(&[(1.0, 9.0), (1024.0, 0.5)]), "UpperRight");
    }

    #[test]
    fn ticks_are_written_as_the_axis_needs() {
        assert_eq!([tick(10_000.0, 12_000.0), tick(0.5, 2.0), tick(0.25, 0.5)], ["10,000", "0.5", "0.25"]);
    }
}
