//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use zk_proto::{SessionId, Zxid};

use crate::{inspect, times};

const AFTER: &str = "\
Without a command the arguments are those of `serve`, as for Java's server.

Environment: SERVER_JVMFLAGS and JVMFLAGS (-Dname=value sets ZooKeeper's system
properties), ZKD_LOG or RUST_LOG (level of messages: error, warn, info, debug).

Signals: SIGTERM and SIGINT stop; SIGHUP reads the zoo.cfg again and takes over log level, limits and the
list of four-letter words (it stops a server that was started in a terminal which has gone).

Exit codes: 0 stopped on request, 1 unexpected, 2 arguments or configuration,
3 data directory unusable, 4 port cannot be opened, 10 disk failed while running.
`zkd status`: 5 something is wrong, 6 nobody serves.";

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
    /// Show what a log, a snapshot or the mirror holds; nothing is written
    #[command(subcommand)]
    Inspect(InspectCommand),
    /// Copy a server's data, which may run, so that every later state can be restored
    Backup(BackupArgs),
    /// Fill an empty data directory with a state of a backup
    Restore(RestoreArgs),
    /// Show one line for each member of an ensemble
    Status(StatusArgs),
    /// Talk to a server, with zkCli's commands
    Cli(ClientArgs),
    /// Measure a server of any kind, from outside
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Entry point of the container image: makes a zoo.cfg from ZOO_* variables and runs a command
    DockerEntry(DockerArgs),
    /// Health check of the container image: whether the server beside serves clients
    DockerHealth,
}

#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// The transactions of a log file, or of all in a directory, and where it is damaged
    Log(InspectLogArgs),
    /// The nodes and sessions of a snapshot, or of the newest in a directory
    Snapshot(InspectStateArgs),
    /// The same of the mirror in a dataDir; its server may run
    Mirror(InspectStateArgs),
    /// What differs between two snapshots (or dataDirs: their mirror, else the newest snapshot)
    Compare(InspectCompareArgs),
}

/// Limits of what is shown, all of them inclusive.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// From this zxid on, such as 0x1f
    #[arg(long, value_name = "ZXID", value_parser = inspect::zxid)]
    pub from: Option<Zxid>,
    /// Up to this zxid
    #[arg(long, value_name = "ZXID", value_parser = inspect::zxid)]
    pub to: Option<Zxid>,
    /// From this time on: 2026-11-21T18:19:50Z, '2026-11-21 18:19' (local), ms since 1970
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub since: Option<i64>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub until: Option<i64>,
}

#[derive(Debug, Args)]
pub struct InspectLogArgs {
    /// A log file, or a directory of them
    pub path: PathBuf,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Only what names this node or one below it
    #[arg(long = "path", value_name = "PATH")]
    pub node: Option<String>,
    /// Only this session, such as 0x100016396390000
    #[arg(long, value_name = "ID", value_parser = inspect::session)]
    pub session: Option<SessionId>,
    /// Show the nodes' data, not only its length
    #[arg(long)]
    pub data: bool,
    /// One JSON object a line, with data
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct InspectStateArgs {
    /// A snapshot file, or a dataDir
    pub path: PathBuf,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Only this node and those below it
    #[arg(long = "path", value_name = "PATH")]
    pub node: Option<String>,
    /// Only this session and its ephemerals
    #[arg(long, value_name = "ID", value_parser = inspect::session)]
    pub session: Option<SessionId>,
    /// Show the nodes' data and access control lists
    #[arg(long)]
    pub data: bool,
    /// Only the sessions and sums
    #[arg(long)]
    pub summary: bool,
    /// One JSON object a line, with data
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct InspectCompareArgs {
    /// A snapshot file, or a dataDir
    pub left: PathBuf,
    /// Another
    pub right: PathBuf,
    /// Only this node and those below it
    #[arg(long = "path", value_name = "PATH")]
    pub node: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: Option<BackupCommand>,
    /// The backup's directory: a new one, or one to bring up to date
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Take a new state to begin from, so that a restore replays less of the log
    #[arg(long)]
    pub full: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Read a whole backup: checksums, records, seals
    Verify {
        /// The backup's directory
        dir: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Say what a backup holds and what can be restored
    List {
        /// The backup's directory
        dir: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup's directory
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// The data directory to fill, without a version-2 in it
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The directory of the log [default: the data directory]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// The state after this transaction, such as 0x1f [default: the newest]
    #[arg(long, value_name = "ZXID", value_parser = inspect::zxid, conflicts_with = "time")]
    pub zxid: Option<Zxid>,
    /// The state at this time: 2026-11-21T18:19:50Z, '2026-11-21 18:19' (local), ms since 1970
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    pub time: Option<i64>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Members: HOST:PORT,HOST:PORT (without a port: 2181)
    #[arg(default_value = "127.0.0.1:2181")]
    pub members: String,
    /// How long to wait for an answer, in ms
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    pub timeout: u64,
    /// Properties of Java's client, such as zookeeper.client.secure=true and zookeeper.ssl.* for ports with TLS;
    /// CLIENT_JVMFLAGS and JVMFLAGS in the environment are read too
    #[arg(long, value_name = "FILE")]
    pub client_configuration: Option<PathBuf>,
    /// One such property; it counts more
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub properties: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Reads and writes: as many as the server can take, or so many a second
    Load(BenchLoadArgs),
    /// Sessions that open and end
    Sessions(BenchSessionsArgs),
    /// How long it takes until all who watch a node know that it changed
    Watchers(BenchWatchersArgs),
}

#[derive(Debug, Args)]
pub struct BenchOutput {
    /// Servers: HOST:PORT,HOST:PORT (without a port: 2181); connections go to them in turns
    #[arg(default_value = "127.0.0.1:2181")]
    pub servers: String,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Draw the times into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BenchLoadArgs {
    #[command(flatten)]
    pub output: BenchOutput,
    /// Sessions
    #[arg(long, short, value_name = "N", default_value_t = 16)]
    pub connections: usize,
    /// Requests under way on each
    #[arg(long, short, value_name = "N", default_value_t = 16)]
    pub depth: usize,
    /// Requests a second over all connections, sent when they are due, however slow the replies; times
    /// count from then
    #[arg(long, value_name = "N", conflicts_with = "depth")]
    pub rate: Option<f64>,
    /// Kinds of requests with weights: get, exists, children, set, create, delete, multi (of set)
    #[arg(long, value_name = "MIX", default_value = "get=70,set=30")]
    pub mix: String,
    /// Nodes; each # is a digit of a node's number. Below /zkd-bench they are made and removed, elsewhere they
    /// have to be there and are only read
    #[arg(long, value_name = "PATTERN", default_value = "/zkd-bench/key-###")]
    pub keys: String,
    /// How many of these nodes [default: as many as the digits allow]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Size of nodes' data in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub value: usize,
    /// Parts of a multi
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub parts: usize,
    /// Seconds that count
    #[arg(long, short, value_name = "SECONDS", default_value_t = 10.0)]
    pub time: f64,
    /// Seconds before those
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub warm_up: f64,
    /// Threads of the load [default: as many as processors, two at most]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
}

#[derive(Debug, Args)]
pub struct BenchSessionsArgs {
    #[command(flatten)]
    pub output: BenchOutput,
    /// Sessions under way
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub at_once: usize,
    /// Seconds
    #[arg(long, short, value_name = "SECONDS", default_value_t = 10.0)]
    pub time: f64,
}

#[derive(Debug, Args)]
pub struct BenchWatchersArgs {
    #[command(flatten)]
    pub output: BenchOutput,
    /// Sessions that watch
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub watchers: usize,
    /// Changes
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rounds: usize,
}

/// As zkCli takes them, where one or two dashes are the same.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct ClientArgs {
    /// -server HOST:PORT,...[/CHROOT] -timeout MS -r -waitforconnection -client-configuration FILE -Dname=value
    /// --json, then a command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
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
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

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
