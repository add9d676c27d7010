//! Curves over the number of guests, as SVG text that can stand alone or in a page.
//! Each carries a line that says where its figures come from, so that a picture that travels alone can be made again.

use anyhow::Result;
use plotters::prelude::*;

use super::axis::Axis;
use super::plots::{Area, FONT, above, failed};
use super::{series, ticks};

/// Room of a plot without its names and its foot.
pub(super) const SIZE: (u32, u32) = (510, 310);
/// Height of a line at its foot.
const LINE: u32 = 13;
/// Most of them.
const FOOT_LINES: usize = 3;
/// Width beside the axes.
const MARGIN: u32 = 60 + 8 + 24;
const LETTER: u32 = 12;

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
    let places = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).collect();
    let across = Axis::doubling(places, SIZE.0 - MARGIN, LETTER);
    let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
    sized(SIZE, words, &names, series::of_line, |area| lines(area, words, &across, curves))
}

/// Draws curves over any axis.
pub(super) fn lines(area: &Area<'_>, words: Words<'_>, across: &Axis, curves: &[Curve]) -> Result<()> {
    let top = above(curves.iter().flat_map(|curve| &curve.points).map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(words.title, (FONT, 16))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(across.clone(), Axis::even(top))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(words.across)
        .y_desc(words.up)
        .x_label_formatter(&|value| ticks::written(*value))
        .y_label_formatter(&|value| ticks::written(*value))
        .light_line_style(TRANSPARENT)
        .label_style((FONT, LETTER))
        .draw()
        .map_err(failed)?;
    for (index, curve) in curves.iter().enumerate() {
        let pixels: Vec<_> = curve.points.iter().map(|point| chart.backend_coord(point)).collect();
        series::line(area, index, &pixels)?;
        pixels.into_iter().try_for_each(|at| series::mark(area, index, at))?;
    }
    Ok(())
}

/// Draws a plot of this size, and below it the names of its series behind their swatches and where its figures come from.
pub(super) fn sized(
    (width, height): (u32, u32),
    words: Words<'_>,
    names: &[&str],
    swatch: impl Fn(&Area<'_>, usize, (i32, i32)) -> Result<()>,
    draw: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let below = series::height(names, width);
    let foot = broken(words.source, width as usize / 5);
    let whole = height + below + foot.len() as u32 * LINE + 4;
    super::plots::drawn((width, whole), |area| {
        area.fill(&WHITE).map_err(failed)?;
        draw(&area.split_vertically(height).0)?;
        series::names(area, names, height, |index, at| swatch(area, index, at))?;
        let grey = BLACK.mix(0.6);
        let style = TextStyle::from((FONT, 9).into_font()).color(&grey);
        let tops = (height + below..).step_by(LINE as usize);
        foot.iter()
            .zip(tops)
            .try_for_each(|(line, y)| area.draw_text(line, &style, (8, y as i32)).map_err(failed))
    })
}

/// Text in lines of at most so many letters, broken between words.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < room => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.truncate(FOOT_LINES);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(names: &[&str], points: &[(f64, f64)]) -> String {
        let curve = |name: &&str| Curve { name: (*name).to_owned(), points: points.to_vec() };
        let all: Vec<Curve> = names.iter().map(curve).collect();
        let words = Words { title: "title", across: "guests", up: "ms", source: "from here" };
        curves(words, &all).unwrap()
    }

    #[test]
    fn names_stand_below_the_plot() {
        let svg = drawn(&["synchronous", "batched"], &[(1.0, 9.0), (1024.0, 7.0)]);
        let name = svg.find("batched").unwrap();
        let tag = &svg[svg[..name].rfind("<text").unwrap()..name];
        let y = tag.split("y=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert!(y.parse::<u32>().unwrap() > SIZE.1, "{tag}");
    }

    #[test]
    fn one_number_of_guests_has_one_tick() {
        let svg = drawn(&["batched"], &[(8.0, 3.0)]);
        let says = |label: &str| svg.lines().filter(|line| line.trim() == label).count();
        assert_eq!((says("8"), says("10"), says("16")), (1, 0, 0), "{svg}");
    }

    #[test]
    fn curves_that_coincide_are_drawn_each_in_its_way() {
        let svg = drawn(&["one", "two", "three"], &[(1.0, 5.0), (64.0, 5.0)]);
        assert_eq!(
            svg.matches("<circle").count(),
            6,
            "a circle and its white ground at two points and at the name"
        );
        for colour in ["#12406E", "#D55E00", "#007852"] {
            assert!(svg.contains(&format!("stroke=\"{colour}\"")), "{colour}");
        }
    }

    #[test]
    fn a_source_is_broken_between_words() {
        assert_eq!(broken("one two three", 8), ["one two", "three"]);
    }
}
