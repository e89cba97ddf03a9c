//! Charts of a comparison: times by share, and loads over time with the marks of snapshots.

use std::fs;
use std::path::Path;

use anyhow::Result;
use zk_load::{Chart, SLOT, Scale, Series, Times};

use crate::compare::Measured;
use crate::sample::{Sample, Timeline};

/// Writes the charts of all scenarios that have some.
pub fn write(dir: &Path, all: &[Measured]) -> Result<()> {
    for m in all {
        let name = &m.scenario.name;
        let sides = m.sides.iter().filter_map(|(side, turns)| Some((side.name(), times(turns)?)));
        let curves: Vec<(&str, Times)> = sides.collect();
        if !curves.is_empty() {
            fs::write(
                dir.join(format!("{name}-times.svg")),
                Chart::of_times(&m.scenario.title, &curves).svg(),
            )?;
        }
        for (what, y, scale, value) in [
            (
                "rate",
                "replies a second",
                Scale::Linear,
                (|t| t.per_second.as_slice()) as fn(&Timeline) -> &[f64],
            ),
            ("worst", "longest time, ms", Scale::Log, |t| t.worst_ms.as_slice()),
        ] {
            let lines = m.sides.iter().filter_map(|(side, turns)| course(side.name(), turns, value));
            let chart = Chart {
                title: m.scenario.title.clone(),
                x: "seconds; where the server wrote its tree is shaded".to_owned(),
                y: y.to_owned(),
                scale,
                x_names: Vec::new(),
                series: lines.collect(),
            };
            if chart.series.iter().any(|s| !s.marks.is_empty()) {
                fs::write(dir.join(format!("{name}-{what}.svg")), chart.svg())?;
            }
        }
    }
    Ok(())
}

/// The times of all turns of a side.
fn times(turns: &[Sample]) -> Option<Times> {
    let mut all = Times::default();
    turns.iter().filter_map(|s| s.times.as_ref()).for_each(|t| all.add(t));
    (all.count() >= 100).then_some(all)
}

/// The last turn.
fn course(name: &str, turns: &[Sample], value: fn(&Timeline) -> &[f64]) -> Option<Series> {
    let timeline = turns.last()?.timeline.as_ref()?;
    let slot = SLOT.as_secs_f64();
    let at = |i: usize| i as f64 * slot;
    let marks = timeline.marks.iter().enumerate().filter(|(_, m)| **m).map(|(i, _)| (at(i), at(i + 1)));
    Some(Series {
        name: name.to_owned(),
        points: value(timeline).iter().enumerate().map(|(i, v)| (at(i), *v)).collect(),
        marks: marks.collect(),
    })
}
