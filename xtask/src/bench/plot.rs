//! Plots: a few lines over two logarithmic axes, as an SVG that is read on light and on dark pages.

use super::report::grouped;

/// A picture of how something grows.
#[derive(Debug)]
pub(super) struct Plot {
    /// What the axis to the right counts.
    pub(super) x: String,
    /// What the axis upwards counts.
    pub(super) y: String,
    pub(super) series: Vec<Series>,
}

/// One line.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Both above zero.
    pub(super) points: Vec<(f64, f64)>,
    /// Drawn dashed, without a colour of its own.
    pub(super) floor: bool,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// The room of the axes' numbers, and on the right of the lines' names.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 52.0;

/// Colours that stand out on white and on black, and from each other for those who see fewer.
const COLOURS: [&str; 5] = ["#0b84d8", "#d9730d", "#2e9e5b", "#b64fc8", "#c94f4f"];

/// A logarithmic axis from one power of ten to another, placed between two lengths.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// The powers of ten around all values.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let logs: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil();
        let (low, high) = if low.is_finite() { (low, high.max(low + 1.0)) } else { (0.0, 1.0) };
        Self { low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low);
        (self.to - self.from).mul_add(part, self.from)
    }

    /// Every power of ten, with how it is written.
    fn ticks(&self) -> Vec<(f64, String)> {
        #[expect(clippy::cast_possible_truncation, reason = "logarithms of what can be measured")]
        let (low, high) = (self.low as i32, self.high as i32);
        (low..=high).map(|power| (10f64.powi(power), written(power))).collect()
    }
}

fn written(power: i32) -> String {
    match u32::try_from(power) {
        Ok(power) => grouped(10u64.saturating_pow(power)),
        Err(_) => format!("0.{}1", "0".repeat(usize::try_from(-power - 1).unwrap_or(0))),
    }
}

impl Plot {
    /// The whole file.
    pub(super) fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|line| &line.points);
        let x = Axis::around(all().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::around(all().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <style>text{{fill:#333}}.grid{{stroke:#999;stroke-opacity:.3}}.floor{{stroke:#777}}\
             @media(prefers-color-scheme:dark){{text{{fill:#ccc}}.floor{{stroke:#999}}}}</style>\n"
        );
        self.axes(&mut svg, x, y);
        let mut names = Vec::new();
        let mut colours = COLOURS.iter().cycle();
        for line in &self.series {
            let look = match line.floor {
                true => "class=\"floor\" stroke-dasharray=\"5 4\"".to_owned(),
                false => format!("stroke=\"{}\"", colours.next().unwrap_or(&"#777")),
            };
            let points: Vec<String> =
                line.points.iter().map(|(right, up)| format!("{:.1},{:.1}", x.place(*right), y.place(*up))).collect();
            push(
                &mut svg,
                format_args!("<polyline fill=\"none\" stroke-width=\"2\" {look} points=\"{}\"/>\n", points.join(" ")),
            );
            if !line.floor {
                for (right, up) in &line.points {
                    let (cx, cy) = (x.place(*right), y.place(*up));
                    push(
                        &mut svg,
                        format_args!(
                            "<circle r=\"3\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" fill=\"none\" stroke-width=\"2\" {look}/>\n"
                        ),
                    );
                }
            }
            names.extend(line.points.last().map(|(_, up)| (y.place(*up), line.name.as_str())));
        }
        for (place, name) in apart(names) {
            text(&mut svg, WIDTH - RIGHT + 8.0, place + 4.0, "start", name);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String, x: Axis, y: Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, label) in x.ticks() {
            let at = x.place(value);
            push(
                svg,
                format_args!("<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>\n"),
            );
            text(svg, at, bottom + 18.0, "middle", &label);
        }
        for (value, label) in y.ticks() {
            let at = y.place(value);
            push(
                svg,
                format_args!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\n"),
            );
            text(svg, LEFT - 8.0, at + 4.0, "end", &label);
        }
        text(svg, f64::midpoint(LEFT, right), HEIGHT - 10.0, "middle", &self.x);
        let middle = f64::midpoint(TOP, bottom);
        push(
            svg,
            format_args!(
                "<text x=\"16\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {middle})\">{}</text>\n",
                escaped(&self.y)
            ),
        );
    }
}

/// Names at the ends of their lines, moved down where they would cover each other.
fn apart(mut names: Vec<(f64, &str)>) -> Vec<(f64, &str)> {
    const LINE: f64 = 16.0;
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::NEG_INFINITY;
    for (place, _) in &mut names {
        *place = place.max(lowest + LINE);
        lowest = *place;
    }
    names
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    push(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(text)));
}

fn push(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.push_str(&what.to_string());
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_from_power_to_power_and_decades_are_equally_long() {
        let axis = Axis::around([2.0, 700.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.low, axis.high), (0.0, 3.0));
        for (value, place) in [(1.0, 0.0), (10.0, 100.0), (100.0, 200.0), (1000.0, 300.0)] {
            assert!((axis.place(value) - place).abs() < 1e-9, "{value}");
        }
        let labels: Vec<String> = axis.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["1", "10", "100", "1,000"]);
        assert_eq!([written(-1), written(-3)], ["0.1", "0.001"]);
        let empty = Axis::around(std::iter::empty(), 0.0, 1.0);
        assert_eq!((empty.low, empty.high), (0.0, 1.0));
    }

    #[test]
    fn a_plot_has_every_line_its_points_and_its_name() {
        let line = |name: &str, floor| Series { name: name.to_owned(), points: vec![(1.0, 5.0), (1000.0, 6.0)], floor };
        let plot =
            Plot { x: "a < b".to_owned(), y: "ms".to_owned(), series: vec![line("create", false), line("exec", true)] };
        let svg = plot.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 2, "a floor is a line only");
        for wanted in [">create</text>", ">exec</text>", "a &lt; b", "prefers-color-scheme:dark", "stroke-dasharray"] {
            assert!(svg.contains(wanted), "{wanted}");
        }
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let placed = apart(vec![(100.0, "b"), (99.0, "a"), (200.0, "c")]);
        assert_eq!(placed, [(99.0, "a"), (115.0, "b"), (200.0, "c")]);
    }
}
