//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const AFTER: &str = "\
Without a command the arguments are those of `serve`, as for Java's server.

Environment: SERVER_JVMFLAGS and JVMFLAGS (-Dname=value sets ZooKeeper's system
properties), ZKD_LOG or RUST_LOG (level of messages: error, warn, info, debug).

Signals: SIGTERM and SIGINT stop; SIGHUP reads the zoo.cfg again and takes over log level, limits and the
list of four-letter words (it stops a server that was started in a terminal which has gone).

Exit codes: 0 stopped on request, 1 unexpected, 2 arguments or configuration,
3 data directory unusable, 4 port cannot be opened, 10 disk failed while running.";

/// A ZooKeeper server.
#[derive(Debug, Parser)]
#[command(name = "zkd", version, about, after_help = AFTER, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a server. Without arguments: port 2181, data in ./data
    Serve(ServeArgs),
    /// Fill an empty data directory from one of Apache ZooKeeper, which is only read and must not be in use
    Import(ImportArgs),
    /// Write a directory that Apache ZooKeeper starts on; the server must not run
    Export(ExportArgs),
    /// Look at a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Entry point of the container image: makes a zoo.cfg from ZOO_* variables and runs a command
    DockerEntry(DockerArgs),
    /// Health check of the container image: whether the server beside serves clients
    DockerHealth,
}

#[derive(Debug, Args)]
pub struct DockerArgs {
    /// The command [default: zkServer.sh start-foreground, which serves]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Which data directory.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// The zoo.cfg that names the directories
    #[arg(long, value_name = "ZOO_CFG", conflicts_with = "data_dir")]
    pub config: Option<PathBuf>,
    /// The data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The directory of the log [default: the data directory]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub log_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// dataDir of the other server
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// dataLogDir of the other server [default: its dataDir]
    #[arg(long, value_name = "DIR")]
    pub from_log_dir: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The directory to write, without a version-2 in it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How the snapshot is packed
    #[arg(long, value_enum, default_value_t = Packing::None)]
    pub compression: Packing,
    #[command(flatten)]
    pub data: DataArgs,
}

/// As Java's snapshot.compression.method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Packing {
    None,
    Gz,
    Snappy,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read a zoo.cfg as the server would, and say what each line does; exit code 2 if it would not start
    Check {
        /// The zoo.cfg
        file: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A zoo.cfg; or `PORT DATADIR [TICKTIME [MAXCLIENTCNXNS]]`
    #[arg(value_name = "ZOO_CFG", num_args = 0..=4)]
    pub arguments: Vec<String>,
    /// Threads for connections [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How messages are written; zkd.log.format in the file counts more
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

/// As zkd.log.format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_java() {
        let cli = Cli::parse_from(["zkd", "zoo.cfg"]);
        assert_eq!(cli.serve.arguments, ["zoo.cfg"]);
        let cli = Cli::parse_from(["zkd", "serve", "2181", "/data", "2000"]);
        let Some(Command::Serve(args)) = cli.command else { panic!("serve is a command") };
        assert_eq!(args.arguments, ["2181", "/data", "2000"]);
        assert!(Cli::parse_from(["zkd"]).command.is_none());
    }
}
