//! Results as a table and as JSON.

use serde_json::{Map, Value, json};
use zk_load::{Table, figure};

use crate::compare::Measured;
use crate::sample::{Spread, more_is_better};
use crate::scenario::Side;

/// What else is said of a run.
#[derive(Debug, Clone)]
pub struct About {
    /// Of the code.
    pub commit: String,
    /// Of the machine.
    pub machine: String,
    /// Load average before it.
    pub load_before: f64,
}

impl Measured {
    /// The spread of a figure over a side's turns.
    pub fn spread(&self, side: Side, name: &str) -> Option<Spread> {
        Spread::of(self.sides.get(&side)?.iter().filter_map(|s| s.figures.get(name).copied()))
    }

    /// How many times better one side is than another, turn by turn, in what counts.
    pub fn ratio(&self, of: Side, to: Side) -> Option<Spread> {
        self.ratio_in(&self.scenario.figure, of, to)
    }

    /// The same in another figure.
    pub fn ratio_in(&self, name: &str, of: Side, to: Side) -> Option<Spread> {
        let value = |s: &crate::sample::Sample| s.figures.get(name).copied();
        let pairs = self.sides.get(&of)?.iter().zip(self.sides.get(&to)?);
        let ratios =
            pairs.filter_map(|(a, b)| Some((value(a)?, value(b)?))).filter(|(a, b)| *a > 0.0 && *b > 0.0);
        Spread::of(ratios.map(|(a, b)| if more_is_better(name) { a / b } else { b / a }))
    }
}

fn range(spread: Option<Spread>, unit: &str) -> String {
    match spread {
        None => "-".to_owned(),
        Some(s) if s.min == s.max => format!("{}{unit}", figure(s.median)),
        Some(s) => format!("{}{unit} ({}..{})", figure(s.median), figure(s.min), figure(s.max)),
    }
}

fn middle(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "-".to_owned(), |s| figure(s.median))
}

/// One line for each scenario: medians, and ranges of what counts.
pub fn table(all: &[Measured]) -> Table {
    let mut table = Table::new([
        "scenario",
        "figure",
        "Java",
        "zkd",
        "canned",
        "zkd : Java",
        "of canned",
        "reach",
        "CPU us Java",
        "zkd",
        "fdatasync us",
    ]);
    for m in all {
        let name = m.scenario.figure.as_str();
        let of_canned = m.ratio(Side::Zkd, Side::Canned).map(|s| format!("{:.0}%", s.median * 100.0));
        table.row([
            m.scenario.title.clone(),
            name.replace('_', " "),
            range(m.spread(Side::Java, name), ""),
            range(m.spread(Side::Zkd, name), ""),
            middle(m.spread(Side::Canned, name)),
            range(m.ratio(Side::Zkd, Side::Java), "x"),
            of_canned.unwrap_or_else(|| "-".to_owned()),
            m.scenario.reach.clone(),
            middle(m.spread(Side::Java, "server_cpu_us")),
            middle(m.spread(Side::Zkd, "server_cpu_us")),
            middle(m.spread(Side::Zkd, "fdatasync_us")),
        ]);
    }
    table
}

fn spread_json(spread: Option<Spread>) -> Value {
    spread.map_or(Value::Null, |s| json!({"median": s.median, "min": s.min, "max": s.max}))
}

/// Everything, for programs.
pub fn json(all: &[Measured], about: &About) -> Value {
    let scenario = |m: &Measured| {
        let mut sides = Map::new();
        for (side, samples) in &m.sides {
            let names: std::collections::BTreeSet<&str> =
                samples.iter().flat_map(|s| s.figures.keys().copied()).collect();
            let figures: Map<String, Value> =
                names.into_iter().map(|n| (n.to_owned(), spread_json(m.spread(*side, n)))).collect();
            let turns: Vec<&std::collections::BTreeMap<&str, f64>> =
                samples.iter().map(|s| &s.figures).collect();
            sides.insert(side.name().to_owned(), json!({"figures": figures, "turns": turns}));
        }
        json!({
            "name": m.scenario.name, "title": m.scenario.title, "figure": m.scenario.figure,
            "reach": m.scenario.reach, "aim": m.scenario.aim, "seconds": m.took.as_secs_f64(),
            "sides": sides,
            "zkd_to_java": spread_json(m.ratio(Side::Zkd, Side::Java)),
            "zkd_to_canned": spread_json(m.ratio(Side::Zkd, Side::Canned)),
        })
    };
    json!({
        "commit": about.commit, "machine": about.machine, "load_before": about.load_before,
        "scenarios": all.iter().map(scenario).collect::<Vec<_>>(),
    })
}
