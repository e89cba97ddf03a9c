//! Benches that run real servers: Java 3.9.4, zkd and one that answers without work, in turns.

mod charts;
mod compare;
mod failover;
mod fleet;
mod leash;
mod machine;
mod report;
mod sample;
mod scenario;
mod small;
mod snapshots;
mod start_up;
mod work;

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

/// Benches that run real servers.
#[derive(Debug, Parser)]
#[command(name = "zkd-benches")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every scenario on Java, zkd and a server without work, in turns
    Compare(CompareArgs),
    /// Some of them in small on zkd and the server without work, as a test of ratios
    Small,
    /// How long an empty server takes until it answers, and what it holds in memory
    StartUp,
    /// How long writes stop when a leader is killed, zkd and Java in turns
    Failover {
        /// How often
        kills: usize,
    },
    /// A server that answers without work
    #[command(hide = true)]
    Canned {
        /// Where it listens on loopback
        port: u16,
    },
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Only scenarios whose file name begins with one of these words, large ones too
    #[arg(value_name = "WORD")]
    only: Vec<String>,
    /// Turns of each server [default: the scenario's]
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of a turn of load, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Load before the first turn on a fresh JVM, in seconds
    #[arg(long, default_value_t = 10.0)]
    warm_up: f64,
    /// A directory for results.json, table.md and charts
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Compare(args) => compare(&args),
        What::Small => small::run(),
        What::StartUp => start_up::run(),
        What::Failover { kills } => failover::compare(kills),
        What::Canned { port } => {
            zk_load::Canned::start(port, std::thread::available_parallelism().map_or(1, |n| n.get()))?;
            loop {
                std::thread::park();
            }
        }
    }
}

fn compare(args: &CompareArgs) -> Result<()> {
    machine::raise_files()?;
    build_zkd()?;
    let scenarios = scenario::load(&args.only)?;
    let about = report::About {
        commit: commit(),
        machine: machine::describe(),
        load_before: machine::load_average(),
    };
    let effort = compare::Effort {
        rounds: args.rounds,
        time: Duration::from_secs_f64(args.seconds),
        warm_up: Duration::from_secs_f64(args.warm_up),
    };
    eprintln!("{}, load {}, commit {}", about.machine, about.load_before, about.commit);
    let mut failed = Vec::new();
    let all = compare::run(scenarios, effort, |name, result| match result {
        Ok(m) => eprintln!("{name} took {:.0} s", m.took.as_secs_f64()),
        Err(e) => {
            eprintln!("{name}: {e:#}");
            failed.push(name.to_owned());
        }
    });
    let json = report::json(&all, &about);
    let table = report::table(&all);
    if args.json {
        println!("{json}");
    } else {
        show(&table);
    }
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("results.json"), format!("{json:#}\n"))?;
        fs::write(dir.join("table.md"), table.markdown())?;
        charts::write(dir, &all)?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn show(table: &zk_load::Table) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    for (i, line) in table.lines().iter().enumerate() {
        match i {
            0 if colour => println!("\x1b[1m{line}\x1b[0m"),
            _ => println!("{line}"),
        }
    }
}

/// Builds the zkd of this checkout beside this program, unless another one is named.
fn build_zkd() -> Result<()> {
    if std::env::var_os("ZKD_BIN").is_some() {
        return Ok(());
    }
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let mut build = Command::new(cargo);
    build.args(["build", "-q", "-p", "zkd"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    ensure!(build.status().context("cargo")?.success(), "zkd does not build");
    Ok(())
}

fn commit() -> String {
    let out = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    out.ok()
        .filter(|o| o.status.success())
        .map_or_else(|| "unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
