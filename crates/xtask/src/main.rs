//! Automation of the project: `cargo xtask verify` is the gate, and what CI
//! calls (through `./test`); `cargo xtask fix` may write.

mod edges;
mod release;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Automation of the project")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks everything and writes nothing to the checkout.
    Verify {
        /// `rust`: only the workspace, no Java and no foreign clients.
        part: Option<String>,
    },
    /// Formats the code.
    Fix,
    /// Checks which crate uses which, and the licences of all dependencies.
    Edges,
    /// Makes the Debian package.
    Release {
        /// The zkd to pack [default: a release build]
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Makes the container image, with buildah.
    Image {
        /// The zkd to pack [default: a release build]
        #[arg(long)]
        binary: Option<PathBuf>,
        /// The image to build on [default: Debian's]
        #[arg(long)]
        base: Option<String>,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Task::Verify { part } => verify(part.as_deref()),
        Task::Fix => run("format", Command::new("cargo").args(["fmt", "--all"])),
        Task::Edges => edges::check(),
        Task::Release { binary } => release::package(binary),
        Task::Image { binary, base } => release::image(binary, base),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs one step; says what it is and how long it took.
fn run(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("== {name}");
    let start = Instant::now();
    let status = command.current_dir(root()).status().with_context(|| format!("cannot start {name}"))?;
    eprintln!("== {name}: {:.0?}", start.elapsed());
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

fn cargo(args: &[&str]) -> Command {
    let mut c = Command::new("cargo");
    c.args(args);
    c
}

fn verify(part: Option<&str>) -> Result<()> {
    let everything = match part {
        None | Some("all") => true,
        Some("rust") => false,
        Some(other) => bail!("no part is called {other:?}: leave it out, or say 'rust'"),
    };
    let mut failed = Vec::new();
    // What fails does not hide what comes behind it.
    let mut step = |name: &str, command: &mut Command| {
        failed.extend(run(name, command).err().map(|e| e.to_string()));
    };
    step("format", &mut cargo(&["fmt", "--all", "--check"]));
    step(
        "clippy",
        // With the feature that is off; what is built is without it.
        &mut cargo(&[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--features",
            "zkd/otel",
            "-q",
            "--",
            "-D",
            "warnings",
        ]),
    );
    step(
        "documentation",
        cargo(&["doc", "--release", "--workspace", "--no-deps", "-q"]).env("RUSTDOCFLAGS", "-D warnings"),
    );
    run("build", &mut cargo(&["build", "--release", "-q", "-p", "zkd", "-p", "zk-testkit"]))?;
    step(
        "unit tests",
        &mut cargo(&["test", "--release", "--no-fail-fast", "--workspace", "--exclude", "zkd-tests"]),
    );
    for bench in ["start-up", "small"] {
        let name = format!("bench {bench}");
        step(&name, &mut cargo(&["run", "--release", "-q", "-p", "zkd-benches", "--", bench]));
    }
    if everything {
        run("Java 3.9.4 and its class path", Command::new("compat-tests/run").arg("--setup-only"))?;
        // They mostly wait, for ticks and for Java; more at once and elections take their time-outs.
        step(
            "integration tests",
            &mut cargo(&["test", "--release", "-p", "zkd-tests", "--", "--test-threads=2"]),
        );
        let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root().join("target"), PathBuf::from);
        let zkd = target.join("release/zkd");
        step(
            "real clients",
            Command::new("compat-tests/run").args(["--server", "zkd", "--zkd-bin"]).arg(zkd),
        );
    }
    failed.extend(edges::check().err().map(|e| format!("{e:#}")));
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    eprintln!("== all good");
    Ok(())
}
