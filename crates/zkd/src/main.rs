//! The zkd binary: arguments, logs, exit codes.

mod backup;
mod check;
mod cli;
mod client;
mod docker;
mod inspect;
mod notify;
mod out;
mod progress;
mod security;
mod serve;
mod status;
mod times;
mod transfer;

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command, ConfigCommand};

/// Measured smaller and faster than the system's with many small nodes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the process ends when it does not end well. 10 comes from
/// [`zk_server::EXIT_DISK`]. ref: org.apache.zookeeper.server.ExitCode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// Something that this program has no name for.
    Unexpected = 1,
    /// Arguments or configuration.
    Invalid = 2,
    /// The data directory cannot be used.
    Data = 3,
    /// The port cannot be opened.
    Listen = 4,
    /// `status`: a member is not as it should be.
    Degraded = 5,
    /// `status`: nobody serves.
    Down = 6,
}

/// An error and the code it ends with.
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into() }
    }
}

fn main() -> ExitCode {
    abort_on_panic();
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Import(args)) => transfer::import(&args),
        Some(Command::Export(args)) => transfer::export(&args),
        Some(Command::Config(ConfigCommand::Check { file, json })) => check::run(&file, json),
        Some(Command::Inspect(command)) => inspect::run(&command),
        Some(Command::Backup(args)) => backup::run(&args),
        Some(Command::Restore(args)) => backup::restore(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Cli(args)) => client::run(&args),
        Some(Command::DockerEntry(args)) => docker::entry(&args.command),
        Some(Command::DockerHealth) => docker::health(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, error }) => {
            eprintln!("zkd: {}", one_line(&error));
            ExitCode::from(exit as u8)
        }
    }
}

/// An error and its causes, without a cause that was said already.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A dead thread in a living server is worse than a restart: whatever panics,
/// the process ends, and recovery starts from the log.
fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let io = || std::io::Error::other("disk is gone");
        let said = anyhow::Error::new(io()).context("cannot read a: disk is gone");
        assert_eq!(one_line(&said), "cannot read a: disk is gone");
        let not_said = anyhow::Error::new(io()).context("cannot read a");
        assert_eq!(one_line(&not_said), "cannot read a: disk is gone");
    }
}
