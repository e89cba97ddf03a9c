//! Every scenario on every server, in turns: A B C A B C.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::fleet::Fleet;
use crate::leash;
use crate::machine;
use crate::sample::Sample;
use crate::scenario::{Scenario, Side, Work};
use crate::work;

/// Of a turn, besides the time of its load; filling is not in it.
const TURN: Duration = Duration::from_secs(600);

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Turns of each server; by default the scenario's.
    pub rounds: Option<usize>,
    /// Length of a turn.
    pub time: Duration,
    /// Load before the first turn, so that the JVM has compiled what is hot.
    pub warm_up: Duration,
}

/// A scenario with what its turns gave.
#[derive(Debug)]
pub struct Measured {
    /// The file.
    pub scenario: Scenario,
    /// The turns of each side, in order.
    pub sides: BTreeMap<Side, Vec<Sample>>,
    /// How long it took altogether.
    pub took: Duration,
}

/// Runs scenarios. `tell` hears of each when it is done, and of one that failed; the others go on.
pub fn run(
    scenarios: Vec<Scenario>,
    effort: Effort,
    mut tell: impl FnMut(&str, Result<&Measured, anyhow::Error>),
) -> Vec<Measured> {
    let mut fleet: Option<Fleet> = None;
    let mut all = Vec::new();
    for scenario in scenarios {
        let begin = Instant::now();
        let name = scenario.name.clone();
        match one(&scenario, effort, &mut fleet) {
            Ok(sides) => {
                let measured = Measured { scenario, sides, took: begin.elapsed() };
                tell(&name, Ok(&measured));
                all.push(measured);
            }
            Err(e) => {
                fleet = None;
                tell(&name, Err(e));
            }
        }
    }
    all
}

fn one(s: &Scenario, effort: Effort, fleet: &mut Option<Fleet>) -> Result<BTreeMap<Side, Vec<Sample>>> {
    if fleet.as_ref().is_none_or(|f| f.setup != s.setup) {
        // The old servers go first: they have memory and a disk.
        *fleet = None;
        *fleet = Some(Fleet::start(&s.setup)?);
    }
    let fleet = fleet.as_mut().context("it was just started")?;
    warm_up(s, effort, fleet)?;
    let mut sides: BTreeMap<Side, Vec<Sample>> = BTreeMap::new();
    for _ in 0..effort.rounds.unwrap_or(s.rounds) {
        for (side, target) in &mut fleet.targets {
            // What another side has left unwritten does not fall into this one's turn: a snapshot of Java's
            // goes to the disk half a minute later.
            nix::unistd::sync();
            let sync = machine::fdatasync(&target.home())?;
            let pids = target.pids();
            let turn = || work::turn(&s.work, *side, target, effort.time);
            let mut sample = leash::within(TURN + effort.time, pids, turn)
                .with_context(|| format!("{}: {}", side.name(), target.log_tail()))?;
            sample.set("fdatasync_us", sync.as_secs_f64() * 1e6);
            let value = sample.figures.get(s.figure.as_str()).copied();
            ensure!(value.is_some(), "there is no figure {}", s.figure);
            sides.entry(*side).or_default().push(sample);
        }
    }
    Ok(sides)
}

/// The JVM needs it, most of all when it is new, and a little for each new mix; the others get less.
fn warm_up(s: &Scenario, effort: Effort, fleet: &mut Fleet) -> Result<()> {
    if !matches!(s.work, Work::Load(_) | Work::Sessions(_)) {
        return Ok(());
    }
    let long = if std::mem::replace(&mut fleet.warm, true) { effort.warm_up / 3 } else { effort.warm_up };
    for (side, target) in &fleet.targets {
        let time = if *side == Side::Java { long } else { long / 10 };
        match &s.work {
            Work::Load(load) => {
                let mut plan = load.plan(target.servers(), Duration::ZERO, time)?;
                plan.time = time;
                zk_load::run(&plan, || ())?;
            }
            Work::Sessions(s) => {
                zk_load::churn(&target.servers(), s.at_once, time, || ())?;
            }
            _ => {}
        }
    }
    Ok(())
}
