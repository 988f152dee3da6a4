//! Plots, drawn as SVG: lines over two axes. A page in a dark dress shows them in one.

use std::fmt::{self, Write as _};

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// What its file is called, without an ending.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    /// Whether each step multiplies.
    pub(crate) logarithmic: bool,
    /// What has to be on it, besides all points.
    pub(crate) holds: Vec<f64>,
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Others' values are dashed, ours are not.
    pub(crate) dashed: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Axis {
    /// An axis with equal steps that begins at zero or below.
    pub(crate) fn linear(label: &'static str) -> Self {
        Self { label, logarithmic: false, holds: vec![0.0] }
    }

    /// An axis on which each step multiplies.
    pub(crate) fn logarithmic(label: &'static str) -> Self {
        Self { label, logarithmic: true, holds: Vec::new() }
    }

    /// The same, reaching to `value`.
    pub(crate) fn holding(mut self, value: f64) -> Self {
        self.holds.push(value);
        self
    }
}

impl Series {
    pub(crate) fn ours(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), dashed: false, points }
    }

    pub(crate) fn others(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), dashed: true, points }
    }
}

const WIDTH: f64 = 776.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 372.0;
/// About how wide a character is; the browser knows better, so names get room to spare.
const CHARACTER: f64 = 7.4;
const LEGEND_LINE: f64 = 22.0;

/// The dress: colours that are told apart by everybody (Okabe and Ito), light and dark.
const STYLE: &str = "
.back{fill:#ffffff}.text{fill:#24292f;font:13px system-ui,sans-serif}.title{font-size:15px;font-weight:600}
.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}.line{fill:none;stroke-width:2}.dashed{stroke-dasharray:6 4}
.s0{stroke:#0072b2;fill:#0072b2}.s1{stroke:#d55e00;fill:#d55e00}.s2{stroke:#009e73;fill:#009e73}
.s3{stroke:#cc79a7;fill:#cc79a7}.s4{stroke:#9a7b00;fill:#9a7b00}.s5{stroke:#57606a;fill:#57606a}
@media (prefers-color-scheme: dark){.back{fill:#0d1117}.text{fill:#e6edf3}.grid{stroke:#30363d}.axis{stroke:#8b949e}
.s0{stroke:#56b4e9;fill:#56b4e9}.s1{stroke:#ff9e57;fill:#ff9e57}.s2{stroke:#3ddc9f;fill:#3ddc9f}
.s3{stroke:#f0a6cf;fill:#f0a6cf}.s4{stroke:#f0e442;fill:#f0e442}.s5{stroke:#8b949e;fill:#8b949e}}
.line{fill:none}
";
const COLOURS: usize = 6;

/// Whether the points of a line are marked: that shows where something was measured; very many marks would hide the line.
fn has_marks(places: &[(f64, f64)]) -> bool {
    places.len() <= 24
}

/// Whether one of `places` is so near that what is drawn there hides what was drawn at `place`.
fn hides(places: &[(f64, f64)], place: (f64, f64)) -> bool {
    places.iter().any(|other| (other.0 - place.0).hypot(other.1 - place.1) < 3.0)
}

/// An axis with its ends, and where they are on the paper.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values
            .chain(axis.holds.iter().copied())
            .filter(|value| value.is_finite() && !(axis.logarithmic && *value <= 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.1, 1.0) } else { (low, high) };
        let ticks = if axis.logarithmic { decades(low, high) } else { steps(low, high) };
        let (first, last) = (ticks.first().copied().unwrap_or(low), ticks.last().copied().unwrap_or(high));
        Self { low: first, high: last, logarithmic: axis.logarithmic, from, to, ticks }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }
}

/// About five round numbers from one at or below `low` to one at or above `high`.
fn steps(low: f64, high: f64) -> Vec<f64> {
    let span = if high > low { high - low } else { 1.0 };
    let power = 10f64.powf((span / 5.0).log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| span / step <= 6.0);
    let step = step.unwrap_or(span);
    let (first, last) =
        ((low / step).floor(), (low.max(high) / step - 1e-9).ceil().max((low / step).floor() + 1.0));
    let mut ticks = Vec::new();
    let mut tick = first;
    while tick <= last {
        ticks.push(tick * step);
        tick += 1.0;
    }
    ticks
}

/// The powers of ten from one at or below `low` to one at or above `high`.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor(), (high.log10() - 1e-9).ceil());
    let mut ticks = Vec::new();
    let mut power = first;
    while power <= last.max(first + 1.0) {
        ticks.push(10f64.powf(power));
        power += 1.0;
    }
    ticks
}

/// A number at an axis.
fn tick(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let text = format!("{value:.0}");
        let head = text.len() % 3;
        let groups: Vec<&str> = std::iter::once(&text[..head])
            .chain((head..text.len()).step_by(3).map(|place| &text[place..place + 3]))
            .filter(|group| !group.is_empty())
            .collect();
        return groups.join(",");
    }
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Plot {
    /// The plot as a file.
    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("a string takes everything");
        svg
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = Scale::new(&self.x, points().map(|point| point.0), LEFT, RIGHT);
        let y = Scale::new(&self.y, points().map(|point| point.1), BOTTOM, TOP);
        let legend = self.legend();
        let lines = legend.last().map_or(0.0, |entry| entry.1) + LEGEND_LINE;
        let height = BOTTOM + 64.0 + lines;
        let title = escaped(&self.title);
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"text title\" x=\"{LEFT}\" y=\"28\">{title}</text>"
        )?;
        for &value in &x.ticks {
            let (place, text) = (x.place(value), tick(value));
            writeln!(svg, "<path class=\"grid\" d=\"M{place:.1} {TOP}V{BOTTOM}\"/>")?;
            let below = BOTTOM + 20.0;
            writeln!(
                svg,
                "<text class=\"text\" text-anchor=\"middle\" x=\"{place:.1}\" y=\"{below}\">{text}</text>"
            )?;
        }
        for &value in &y.ticks {
            let (place, text) = (y.place(value), tick(value));
            writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {place:.1}H{RIGHT}\"/>")?;
            let (left, middle) = (LEFT - 8.0, place + 4.5);
            writeln!(
                svg,
                "<text class=\"text\" text-anchor=\"end\" x=\"{left}\" y=\"{middle:.1}\">{text}</text>"
            )?;
        }
        writeln!(svg, "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>")?;
        let (across, middle) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        let below = BOTTOM + 44.0;
        let (x_label, y_label) = (escaped(self.x.label), escaped(self.y.label));
        writeln!(
            svg,
            "<text class=\"text\" text-anchor=\"middle\" x=\"{across}\" y=\"{below}\">{x_label}</text>"
        )?;
        writeln!(
            svg,
            "<text class=\"text\" text-anchor=\"middle\" transform=\"translate(18 {middle}) rotate(-90)\">{y_label}</text>"
        )?;
        let places: Vec<Vec<(f64, f64)>> = self.series.iter().map(|series| series.places(&x, &y)).collect();
        // The first lies on top of the others.
        for (number, series) in self.series.iter().enumerate().rev() {
            series.draw(svg, number, &places[number], &places[..number])?;
        }
        for (number, (left, line)) in legend.into_iter().enumerate() {
            self.series[number].entry(svg, number, left, BOTTOM + 72.0 + line)?;
        }
        writeln!(svg, "</svg>")
    }

    /// Where each name stands: how far right and how far down. A line that is full is followed by another.
    fn legend(&self) -> Vec<(f64, f64)> {
        let (mut left, mut line) = (LEFT, 0.0);
        let place = |series: &Series| {
            let width =
                44.0 + CHARACTER * f64::from(u32::try_from(series.name.chars().count()).unwrap_or(u32::MAX));
            if left > LEFT && left + width > RIGHT {
                (left, line) = (LEFT, line + LEGEND_LINE);
            }
            let here = (left, line);
            left += width;
            here
        };
        self.series.iter().map(place).collect()
    }
}

impl Series {
    fn class(&self, number: usize) -> String {
        format!("s{}{}", number % COLOURS, if self.dashed { " dashed" } else { "" })
    }

    fn places(&self, x: &Scale, y: &Scale) -> Vec<(f64, f64)> {
        self.points.iter().map(|&(at, value)| (x.place(at), y.place(value))).collect()
    }

    /// Draws the line through `places`, on which `above` will lie. Marks that these would hide are so much larger that they show around them.
    fn draw(
        &self,
        svg: &mut String,
        number: usize,
        places: &[(f64, f64)],
        above: &[Vec<(f64, f64)>],
    ) -> fmt::Result {
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        writeln!(svg, "<path class=\"{} line\" d=\"M{}\"/>", self.class(number), line.join("L"))?;
        if !has_marks(places) {
            return Ok(());
        }
        for &(x, y) in places {
            let hidden = above.iter().filter(|other| has_marks(other) && hides(other, (x, y))).count();
            let (colour, radius) = (number % COLOURS, 3 + 2 * hidden);
            writeln!(svg, "<circle class=\"s{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>")?;
        }
        Ok(())
    }

    fn entry(&self, svg: &mut String, number: usize, left: f64, line: f64) -> fmt::Result {
        let (end, text, middle) = (left + 24.0, left + 30.0, line - 4.5);
        let (class, name) = (self.class(number), escaped(&self.name));
        writeln!(svg, "<path class=\"{class} line\" d=\"M{left} {middle}H{end}\"/>")?;
        writeln!(svg, "<text class=\"text\" x=\"{text}\" y=\"{line}\">{name}</text>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(series: Vec<Series>) -> Plot {
        let (x, y) = (Axis::linear("failed %"), Axis::linear("reliability %").holding(100.0));
        Plot { name: "test", title: "a < b".to_owned(), x, y, series }
    }

    #[test]
    fn axes_have_round_numbers_that_hold_all_values() {
        assert_eq!(steps(0.0, 95.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(steps(0.0, 1.0), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
        assert_eq!(steps(3.0, 3.0), [3.0, 3.2]);
        assert_eq!(decades(1_000.0, 100_000.0), [1_000.0, 10_000.0, 100_000.0]);
        assert_eq!(decades(5.0, 5.0), [1.0, 10.0]);
        let ticks = [0.0, 0.2, 0.600_000_000_000_000_1, 100.0, 1_000.0, 100_000.0, 1_500_000.0].map(tick);
        assert_eq!(ticks, ["0", "0.2", "0.6", "100", "1,000", "100,000", "1,500,000"]);
    }

    #[test]
    fn points_lie_where_their_numbers_say() {
        let svg = plot(vec![Series::ours("ours", vec![(0.0, 0.0), (50.0, 100.0), (100.0, 50.0)])]).svg();
        assert!(svg.contains("d=\"M76.0 372.0L406.0 52.0L736.0 212.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("dashed\""), "{svg}");
    }

    #[test]
    fn the_first_lies_on_top_and_what_it_hides_shows_around_it() {
        let ours = |end| Series::ours("ours", vec![(0.0, 0.0), (100.0, end)]);
        let svg = plot(vec![ours(100.0), ours(100.0), ours(20.0)]).svg();
        let drawn: Vec<&str> = svg.lines().filter(|line| line.contains("circle")).collect();
        let expected = [(2, 372, 7), (2, 308, 3), (1, 372, 5), (1, 52, 5), (0, 372, 3), (0, 52, 3)];
        for (line, (number, y, radius)) in drawn.iter().zip(expected) {
            assert!(line.contains(&format!("\"s{number}\"")), "{line}");
            assert!(line.contains(&format!("cy=\"{y}.0\" r=\"{radius}\"")), "{line}");
        }
        assert_eq!(drawn.len(), expected.len());
    }

    #[test]
    fn names_that_do_not_fit_into_a_line_go_into_the_next() {
        let long = "a name that takes about a half of the whole line".to_owned();
        let places = plot(vec![Series::others(long, Vec::new()); 3]).legend();
        assert_eq!(places, [(LEFT, 0.0), (LEFT, LEGEND_LINE), (LEFT, 2.0 * LEGEND_LINE)]);
    }

    #[test]
    fn a_plot_without_points_is_still_a_plot() {
        let svg = plot(vec![Series::ours("nothing", Vec::new())]).svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
