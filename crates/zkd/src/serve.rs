//! `zkd serve`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{error, info, warn};
use zk_config::config::LogFormat;
use zk_config::{Config, Env, Level, Loaded, Note, lines};
use zk_server::{Hangup, Options, Server, StartError, audit, logs};

use crate::cli::{Format, ServeArgs};
use crate::progress::Terminal;
use crate::{Exit, Failure, notify};

/// Runs a server until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let start = Instant::now();
    zk_memory::one_heap_for_c();
    let loaded = load(&args.arguments).map_err(|e| Failure::new(Exit::Invalid, e))?;
    log_as(args, &loaded.config);
    // Before there are threads, of which spans have one.
    zk_server::sasl::configure(&loaded.config.auth)
        .map_err(|e| Failure::new(Exit::Invalid, anyhow::Error::new(e)))?;
    #[cfg(feature = "otel")]
    zk_server::trace::start(&loaded.config)
        .map_err(|e| Failure::new(Exit::Invalid, anyhow::Error::msg(e)))?;
    raise_descriptors();
    zk_server::huge_pages(false);
    tell(&loaded.notes);
    let config = &loaded.config;
    let mut terminal = Terminal::new();
    let options = Options { workers: args.workers };
    let started = Server::start(config, options, &mut |p| terminal.show(p));
    drop(terminal);
    if config.log.audit {
        audit::start(started.is_ok());
    }
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
    notify::tell("READY=1");
    if let Err(e) = zk_memory::forget_code() {
        tracing::debug!("the code of the start stays in memory: {e}");
    }
    let mut current = loaded.clone();
    let ended = server.run(|| hangup(&args.arguments, &mut current));
    if config.log.audit {
        audit::stop();
    }
    #[cfg(feature = "otel")]
    zk_server::trace::stop();
    ended.map_err(failure)?;
    info!("stopped");
    Ok(())
}

/// Reads the configuration again. What is wrong in it leaves everything as it is.
fn hangup(arguments: &[String], current: &mut Loaded) -> Hangup {
    if std::io::stderr().is_terminal() {
        return Hangup::Stop;
    }
    let new = match load(arguments) {
        Ok(new) => new,
        Err(e) => {
            error!("the configuration stays as it is: {e}");
            return Hangup::Ignore;
        }
    };
    if new.config.log.level != current.config.log.level {
        let level = new.config.log.level.clone().unwrap_or_else(level_of_environment);
        if let Err(e) = logs::set_level(&level) {
            error!("the log level stays as it is: {e}");
        }
    }
    let later = lines::need_restart(&current.lines, &new.lines);
    if later.is_empty() {
        info!("the configuration was read again");
    } else {
        warn!(
            "the configuration was read again; these keys count from the next start on: {}",
            later.join(", ")
        );
    }
    // What is running is still what was there before of the keys that need a restart.
    let running = std::mem::take(&mut current.lines);
    let needs = |l: &zk_config::Line| !l.live;
    let lines =
        running.into_iter().filter(needs).chain(new.lines.iter().filter(|l| l.live).cloned()).collect();
    *current = Loaded { lines, ..new };
    Hangup::Take(Box::new(current.config.clone()))
}

fn tell(notes: &[Note]) {
    for Note { level, origin, text } in notes {
        let place = origin.as_ref().map_or_else(String::new, |o| format!("{o}: "));
        match level {
            Level::Warn => warn!("{place}{text}"),
            Level::Info => info!("{place}{text}"),
        }
    }
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
        StartError::Unsupported(_) | StartError::Tls(_) | StartError::Logins(_) => Exit::Invalid,
        StartError::Storage(_) => Exit::Data,
        StartError::Listen { .. } => Exit::Listen,
        StartError::System { .. } => Exit::Unexpected,
    };
    Failure::new(exit, error)
}

fn log_as(args: &ServeArgs, config: &Config) {
    let format = config.log.format.unwrap_or(match args.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    });
    logs::start(format, &config.log.level.clone().unwrap_or_else(level_of_environment));
}

fn level_of_environment() -> String {
    let level = std::env::var("ZKD_LOG").or_else(|_| std::env::var("RUST_LOG"));
    level.unwrap_or_else(|_| "info".to_owned())
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
