//! The zkd binary: arguments, logs, exit codes.

mod cli;
mod progress;
mod serve;
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
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Import(args)) => transfer::import(&args),
        Some(Command::Export(args)) => transfer::export(&args),
        Some(Command::Config(ConfigCommand::Check { file })) => serve::check(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, error }) => {
            eprintln!("zkd: {error:#}");
            ExitCode::from(exit as u8)
        }
    }
}
