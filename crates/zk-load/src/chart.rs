//! Line charts as SVG, for pages that are light or dark: text and axes take the page's own colour,
//! or that of the reader's theme where the file stands alone.

use std::fmt::Write as _;
use std::time::Duration;

use crate::outcome::Times;

/// How an axis runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps.
    Linear,
    /// Equal factors; what is not above zero is left out.
    Log,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its points in order of x.
    pub points: Vec<(f64, f64)>,
    /// Stretches of x that are marked with its colour.
    pub marks: Vec<(f64, f64)>,
}

/// A chart of lines over one x axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the x axis.
    pub x: String,
    /// Beside the y axis.
    pub y: String,
    /// How y runs.
    pub scale: Scale,
    /// Names of places on the x axis; without them there are numbers.
    pub x_names: Vec<(f64, String)>,
    /// The lines.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 48.0;

/// Colours with enough contrast on white and on nearly black, also for who cannot tell red from green.
const COLOURS: [&str; 6] = ["#d95f02", "#1b86d1", "#8a8a8a", "#b4499e", "#2a9d6f", "#b8860b"];

/// Different for each line, so that colour is not all that tells them apart.
const DASHES: [&str; 6] = ["", "", "5 4", "2 3", "8 3 2 3", "1 4"];

const STYLE: &str = "svg{color:#1f2328;background:transparent;font:13px system-ui,sans-serif}\
@media(prefers-color-scheme:dark){svg{color:#d7dde4}}\
text{fill:currentColor}.title{font-weight:600}.grid{stroke:currentColor;stroke-opacity:.15}\
.axis{stroke:currentColor;stroke-opacity:.6}.line{fill:none;stroke-width:2;stroke-linejoin:round}.mark{opacity:.18}";

impl Chart {
    /// Curves of times: which share of the requests took no longer, with its last nines stretched.
    pub fn of_times(title: &str, sides: &[(&str, Times)]) -> Chart {
        const NAMES: [(f64, &str); 6] = [
            (0.5, "50%"),
            (0.9, "90%"),
            (0.99, "99%"),
            (0.999, "99.9%"),
            (0.9999, "99.99%"),
            (0.99999, "99.999%"),
        ];
        let nines = |share: f64| -(1.0 - share).log10();
        let point = |(share, time): (f64, Duration)| (nines(share), time.as_secs_f64() * 1e6);
        let line = |(name, times): &(&str, Times)| Series {
            name: (*name).to_owned(),
            points: times.curve().into_iter().map(point).collect(),
            marks: Vec::new(),
        };
        Chart {
            title: title.to_owned(),
            x: "share of the requests that took no longer".to_owned(),
            y: "microseconds".to_owned(),
            scale: Scale::Log,
            x_names: NAMES.map(|(share, name)| (nines(share), name.to_owned())).to_vec(),
            series: sides.iter().map(line).collect(),
        }
    }

    /// The chart as a file's content.
    pub fn svg(&self) -> String {
        let shown = |(x, y): &&(f64, f64)| {
            x.is_finite() && y.is_finite() && (self.scale == Scale::Linear || *y > 0.0)
        };
        let points: Vec<(f64, f64)> =
            self.series.iter().flat_map(|s| s.points.iter().filter(shown)).copied().collect();
        let axis = Axis::new(self.scale, points.iter().map(|p| p.1));
        let (x0, x1) = ends(points.iter().map(|p| p.0));
        let at_x = |x: f64| LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
        let at_y = |y: f64| HEIGHT - BOTTOM - axis.share(y) * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\"><style>{STYLE}</style><text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>\n",
            title = escape(&self.title)
        );
        for (value, text) in axis.ticks() {
            let y = at_y(value);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0
            );
        }
        let named = || self.x_names.iter().map(|(x, t)| (*x, escape(t))).collect();
        let ticks: Vec<(f64, String)> = if self.x_names.is_empty() {
            Axis::new(Scale::Linear, [x0, x1].into_iter()).ticks()
        } else {
            named()
        };
        for (value, text) in ticks.iter().filter(|(v, _)| (x0..=x1).contains(v)) {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                at_x(*value),
                HEIGHT - BOTTOM + 18.0
            );
        }
        let bottom = HEIGHT - BOTTOM;
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{}\" fill=\"none\"/><text x=\"{}\" y=\"{}\" \
             text-anchor=\"middle\">{}</text><text x=\"16\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {})\">{}</text>",
            WIDTH - RIGHT,
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 8.0,
            escape(&self.x),
            f64::midpoint(TOP, bottom),
            f64::midpoint(TOP, bottom),
            escape(&self.y)
        );
        for (n, series) in self.series.iter().enumerate() {
            let (colour, dash) = (COLOURS[n % COLOURS.len()], DASHES[n % DASHES.len()]);
            for (from, to) in &series.marks {
                let (from, to) = (at_x(from.max(x0)), at_x(to.min(x1)));
                let _ = writeln!(
                    out,
                    "<rect class=\"mark\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                    (to - from).max(1.0),
                    bottom - TOP
                );
            }
            let mut d = String::new();
            for (i, (x, y)) in series.points.iter().filter(shown).enumerate() {
                let _ = write!(d, "{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, at_x(*x), at_y(*y));
            }
            let legend = LEFT + 150.0 * n as f64;
            let _ = writeln!(
                out,
                "<path class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" d=\"{d}\"/>\
                 <path class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" d=\"M{legend} 38h24\"/>\
                 <text x=\"{}\" y=\"42\">{}</text>",
                legend + 30.0,
                escape(&series.name)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    if low < high { (low, high) } else { (0.0, high.max(1.0)) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The y axis, or the numbers of the x axis.
#[derive(Debug)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = ends(values);
        match scale {
            Scale::Linear => {
                let step = step(high);
                Axis { scale, low: 0.0, high: (high / step).ceil() * step }
            }
            Scale::Log => {
                let low = if low > 0.0 { low } else { high / 10.0 };
                let (low, high) = (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil()));
                Axis { scale, low, high: if low < high { high } else { low * 10.0 } }
            }
        }
    }

    /// Where a value is, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                (0..=(self.high / step).round() as u32).map(|i| f64::from(i) * step).collect()
            }
            Scale::Log => {
                let (from, to) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
                (from..=to).map(|e| 10f64.powi(e)).collect()
            }
        };
        values.into_iter().map(|v| (v, short(v))).collect()
    }
}

/// A round number of which about five make the whole.
fn step(high: f64) -> f64 {
    let rough = high / 5.0;
    let size = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * size).find(|s| *s >= rough).unwrap_or(rough)
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", trim(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trim(value / 1e3)),
        _ => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale) -> Chart {
        Chart {
            title: "a < b".to_owned(),
            x: "seconds".to_owned(),
            y: "ms".to_owned(),
            scale,
            x_names: Vec::new(),
            series: vec![
                Series {
                    name: "zkd".to_owned(),
                    points: vec![(0.0, 1.0), (1.0, 300.0)],
                    marks: vec![(0.2, 0.4)],
                },
                Series {
                    name: "none".to_owned(),
                    points: vec![(0.5, 0.0), (1.0, f64::NAN)],
                    marks: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn all_that_is_drawn_lies_inside() {
        for scale in [Scale::Linear, Scale::Log] {
            let svg = chart(scale).svg();
            assert!(
                svg.contains("a &lt; b") && svg.contains("<rect class=\"mark\"") && !svg.contains("NaN"),
                "{svg}"
            );
            let drawn = svg.split("d=\"M").skip(1).filter_map(|p| p.split('"').next());
            let pairs = drawn.flat_map(|d| d.split('L').map(str::to_owned).collect::<Vec<_>>());
            for (x, y) in pairs.filter_map(|p| p.split_once(' ').map(|(x, y)| (x.to_owned(), y.to_owned()))) {
                let (Ok(x), Ok(y)) = (x.parse::<f64>(), y.parse::<f64>()) else { continue };
                assert!(
                    (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP - 30.0..=HEIGHT - BOTTOM).contains(&y),
                    "{x} {y}"
                );
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        let texts = |scale, values: [f64; 2]| -> Vec<String> {
            Axis::new(scale, values.into_iter()).ticks().into_iter().map(|t| t.1).collect()
        };
        assert_eq!(texts(Scale::Linear, [3.0, 930_000.0]), ["0", "200k", "400k", "600k", "800k", "1M"]);
        assert_eq!(texts(Scale::Log, [0.3, 12.0]), ["0.1", "1", "10", "100"]);
        assert_eq!(texts(Scale::Linear, [0.0, 0.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }
}
