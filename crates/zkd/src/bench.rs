//! `zkd bench`: what a server can do, seen by its clients.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use zk_load::{Chart, Keys, Mix, Nodes, Outcome, Pace, Plan, Table, Times, figure};

use crate::cli::{BenchCommand, BenchLoadArgs, BenchOutput};
use crate::out::{Colour, Out};
use crate::status::names;
use crate::{Exit, Failure};

/// Nodes below it are the bench's own.
const OWN: &str = "/zkd-bench/";

/// A day: longer runs are mistakes, and their numbers would not fit.
const LONGEST: f64 = 86_400.0;

/// Measures, and shows what was seen.
pub fn run(command: &BenchCommand) -> Result<(), Failure> {
    let done = match command {
        BenchCommand::Load(args) => load(args),
        BenchCommand::Sessions(args) => seconds(args.time).and_then(|time| {
            let (seen, _) = zk_load::churn(&servers(&args.output)?, args.at_once, time, || ())?;
            show(&args.output, "sessions", &seen)
        }),
        BenchCommand::Watchers(args) => servers(&args.output).and_then(|servers| {
            let (told, _) = zk_load::watchers(&servers, args.watchers, args.rounds, || ())?;
            show(&args.output, "changes until all watchers know", &told.outcome())
        }),
    };
    done.map_err(|e| match e.downcast_ref::<zk_load::Error>() {
        Some(zk_load::Error::Invalid(_)) => Failure::new(Exit::Invalid, e),
        _ => Failure::new(Exit::Unexpected, e),
    })
}

fn servers(output: &BenchOutput) -> Result<Vec<SocketAddr>> {
    let first = |name: String| {
        let mut all = name.to_socket_addrs().with_context(|| format!("{name} is no address"))?;
        all.next().with_context(|| format!("{name} has no address"))
    };
    names(&output.servers)?.into_iter().map(first).collect()
}

fn seconds(time: f64) -> Result<Duration> {
    ensure!((0.0..=LONGEST).contains(&time), "a time is between 0 and {LONGEST} seconds");
    Ok(Duration::from_secs_f64(time))
}

fn load(args: &BenchLoadArgs) -> Result<()> {
    let servers = servers(&args.output)?;
    let keys = match args.count {
        Some(count) => Keys::new(&args.keys, count)?,
        None => Keys::all(&args.keys)?,
    };
    let mix = Mix::parse(&args.mix)?;
    let own = args.keys.starts_with(OWN);
    if !own && mix.writes() {
        let why = format!("{} is not below {OWN}: nodes of others are only read, say --mix get", args.keys);
        return Err(zk_load::Error::Invalid(why).into());
    }
    let plan = Plan {
        servers: servers.clone(),
        connections: args.connections,
        threads: args.threads,
        pace: args.rate.map_or(Pace::Closed { depth: args.depth }, |per_second| Pace::Open { per_second }),
        mix,
        keys: keys.clone(),
        value: args.value,
        parts: args.parts,
        warm_up: seconds(args.warm_up)?,
        time: seconds(args.time)?,
    };
    if own {
        zk_load::fill(&servers[..1], &[Nodes { keys: keys.clone(), value: args.value, percent: 100 }])?;
    }
    let seen = zk_load::run(&plan, || ());
    if own {
        zk_load::clear(&servers, &keys)?;
    }
    show(&args.output, "requests", &seen?.0)
}

fn show(output: &BenchOutput, what: &str, seen: &Outcome) -> Result<()> {
    let all = seen.all();
    let kinds = [("reads", &seen.reads), ("writes", &seen.writes)];
    let mut rows = vec![(what, &all)];
    if kinds.iter().all(|(_, t)| t.count() > 0) {
        rows.extend(kinds);
    }
    let mut out = Out::new();
    if output.json {
        let times = |t: &Times| -> Value {
            let micros = |d: Duration| d.as_secs_f64() * 1e6;
            let q = |share| micros(t.quantile(share));
            json!({"count": t.count(), "p50_us": q(0.5), "p90_us": q(0.9), "p99_us": q(0.99), "p999_us": q(0.999),
                   "max_us": micros(t.max())})
        };
        out.json(&json!({
            "seconds": seen.time.as_secs_f64(), "per_second": seen.rate(), "refused": seen.refused,
            "lost": seen.lost, "own_cpu_seconds": seen.own_cpu.as_secs_f64(),
            "all": times(&all), "reads": times(&seen.reads), "writes": times(&seen.writes),
        }))?;
    } else {
        let lines = table(seen, &rows).lines();
        for (i, line) in lines.iter().enumerate() {
            out.line(&if i == 0 { out.paint(Colour::Bold, line) } else { line.clone() })?;
        }
        let own = seen.own_cpu.as_secs_f64();
        out.line(&format!(
            "{} refused, {} without a reply; the load itself took {own:.1} s of processor time",
            seen.refused, seen.lost
        ))?;
    }
    out.flush()?;
    if let Some(file) = &output.svg {
        let rows: Vec<(&str, Times)> = rows.into_iter().map(|(name, t)| (name, t.clone())).collect();
        fs::write(file, Chart::of_times(&output.servers, &rows).svg())
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn table(seen: &Outcome, rows: &[(&str, &Times)]) -> Table {
    let mut table = Table::new(["", "count", "a second", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"]);
    for (name, times) in rows {
        let micros = |d: Duration| figure(d.as_secs_f64() * 1e6);
        let rate = match seen.time.as_secs_f64() {
            s if s > 0.0 => figure(times.count() as f64 / s),
            _ => "-".to_owned(),
        };
        let count = match times.count() {
            few @ 0..10 => few.to_string(),
            many => figure(many as f64),
        };
        let mut row = vec![(*name).to_owned(), count, rate];
        row.extend([0.5, 0.9, 0.99, 0.999].map(|share| micros(times.quantile(share))));
        row.push(micros(times.max()));
        table.row(row);
    }
    table
}
