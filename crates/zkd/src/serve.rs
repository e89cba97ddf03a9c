//! `zkd serve` and `zkd config check`.

use std::path::Path;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use zk_config::{Config, Env, Level, Loaded, Note};
use zk_server::{Options, Server, StartError};

use crate::cli::ServeArgs;
use crate::progress::Terminal;
use crate::{Exit, Failure};

/// Runs a server until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let start = Instant::now();
    log_to_stderr();
    raise_descriptors();
    zk_server::huge_pages(false);
    let Loaded { config, notes } = load(&args.arguments).map_err(|e| Failure::new(Exit::Invalid, e))?;
    for Note { level, origin, text } in &notes {
        let place = origin.as_ref().map_or_else(String::new, |o| format!("{o}: "));
        match level {
            Level::Warn => warn!("{place}{text}"),
            Level::Info => info!("{place}{text}"),
        }
    }
    let mut terminal = Terminal::new();
    let options = Options { workers: args.workers };
    let started = Server::start(&config, options, &mut |p| terminal.show(p));
    drop(terminal);
    let server = started.map_err(failure)?;
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    info!(
        data = %config.storage.data_dir.display(),
        nodes = server.nodes(),
        zxid = %server.zxid(),
        "listening on {} after {} ms",
        addresses.join(" and "),
        start.elapsed().as_millis()
    );
    server.run().map_err(failure)?;
    info!("stopped");
    Ok(())
}

/// Says what the server thinks of a file.
pub fn check(file: &Path) -> Result<(), Failure> {
    let loaded = Config::load(file, &env()).map_err(|e| Failure::new(Exit::Invalid, e))?;
    for note in &loaded.notes {
        let level = match note.level {
            Level::Warn => "warning",
            Level::Info => "note",
        };
        println!("{level}: {note}");
    }
    let warnings = loaded.notes.iter().filter(|n| n.level == Level::Warn).count();
    println!("{}: valid, {warnings} warnings", file.display());
    Ok(())
}

/// The part of the environment that configures.
pub fn env() -> Env {
    Env::pick(|name| std::env::var(name).ok())
}

fn load(arguments: &[String]) -> Result<Loaded, zk_config::ConfigError> {
    match arguments {
        [] => Config::standalone(&env()),
        [file] => Config::load(Path::new(file), &env()),
        many => Config::from_arguments(many, &env()),
    }
}

fn failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Unsupported(_) | StartError::Tls(_) => Exit::Invalid,
        StartError::Storage(_) => Exit::Data,
        StartError::Listen { .. } => Exit::Listen,
        StartError::System { .. } => Exit::Unexpected,
    };
    Failure::new(exit, error)
}

fn log_to_stderr() {
    let level = std::env::var("ZKD_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter =
        EnvFilter::try_new(level.as_deref().unwrap_or("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(ansi)
        .init();
}

/// A connection is a descriptor; the usual soft limit of 1024 is for programs
/// that use `select`.
fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!("the limit on open files stays at {soft}: {e}");
    }
}
