//! The servers of a scenario, each a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use zk_testkit::ensemble::{self, Ensemble, MemberSpec};
use zk_testkit::process::{Config, Java, Launcher, Server, Zkd};

use crate::machine::{self, Usage};
use crate::scenario::{self, Setup, Side};
use crate::work;

/// This program as a server that answers without work.
#[derive(Debug)]
struct Canned;

impl Launcher for Canned {
    fn name(&self) -> &'static str {
        "canned"
    }

    fn command(&self, zoo_cfg: &Path, _: &Config) -> Result<Command> {
        let text = std::fs::read_to_string(zoo_cfg)?;
        let port = text.lines().find_map(|l| l.strip_prefix("clientPort=")).context("no port")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["canned", port]);
        Ok(command)
    }
}

/// The program of a side.
pub fn launcher(side: Side) -> &'static dyn Launcher {
    match side {
        Side::Java => &Java,
        Side::Zkd => &Zkd,
        Side::Canned => &Canned,
    }
}

/// What runs for one side, filled with the data set.
#[derive(Debug)]
pub struct Target {
    /// The processes.
    pub servers: Servers,
    /// What they used before they were filled.
    pub empty: Usage,
    /// Live bytes of a lone JVM's heap then.
    pub empty_heap: u64,
}

/// Processes that serve the same tree.
#[derive(Debug)]
pub enum Servers {
    /// One server.
    One(Box<Server>),
    /// An ensemble.
    Many(Ensemble),
}

/// The configuration of all servers: Java's defaults where they matter, and the heap of a
/// production machine with the collector that such machines have.
pub fn config(setup: &Setup) -> Config {
    let mut config = if setup.members > 1 { ensemble::config() } else { Config::default() }
        .line("tickTime", 2000)
        .line("maxSessionTimeout", 60_000)
        // Java's is 50: who comes when so many wait is dropped by the kernel and tries again after a second.
        .line("clientPortListenBacklog", 4096)
        .line("preAllocSize", 65_536)
        .line("snapCount", 100_000)
        .line("autopurge.purgeInterval", 0);
    config.verbose.clear();
    config.start_within = Duration::from_secs(300);
    config.jvm = vec![
        format!("-Xmx{}", setup.java_heap),
        format!("-Xms{}", setup.java_heap),
        "-XX:+UseG1GC".to_owned(),
    ];
    setup.config.iter().fold(config, |c, (key, value)| c.line(key, value))
}

impl Target {
    /// Starts a side on empty directories, and fills it.
    pub fn start(side: Side, setup: &Setup) -> Result<Target> {
        let config = config(setup);
        let servers = if side == Side::Canned || setup.members + setup.observers == 1 {
            Servers::One(Box::new(Server::start(launcher(side), config)?))
        } else {
            let mut specs = vec![MemberSpec::participant(launcher(side)); setup.members];
            specs.extend(vec![MemberSpec::observer(launcher(side)); setup.observers]);
            Servers::Many(Ensemble::start(&specs, config)?)
        };
        let mut target = Target { servers, empty: Usage::default(), empty_heap: 0 };
        target.empty = target.usage()?;
        if side == Side::Java && setup.members == 1 {
            // Without a JDK's tools only the scenarios fail that need them.
            target.empty_heap = work::live_heap(&target).unwrap_or(0);
        }
        if side != Side::Canned {
            zk_load::fill(&target.servers()[..1], &scenario::data(&setup.data)?)
                .with_context(|| format!("{}: {}", side.name(), target.log_tail()))?;
        }
        Ok(target)
    }

    /// Nodes that a server counts.
    pub fn nodes(&self) -> Result<u64> {
        self.word("srvr", "Node count: ")
    }

    /// Watches that a server counts.
    pub fn watches(&self) -> Result<u64> {
        self.word("wchs", "Total watches:")
    }

    fn word(&self, word: &str, before: &str) -> Result<u64> {
        let text = match &self.servers {
            Servers::One(server) => server.word(word)?,
            Servers::Many(e) => e.member(0).word(word)?,
        };
        let line =
            text.lines().find_map(|l| l.strip_prefix(before)).with_context(|| format!("{word}: {text}"))?;
        Ok(line.trim().parse()?)
    }

    /// Where clients connect.
    pub fn servers(&self) -> Vec<SocketAddr> {
        match &self.servers {
            Servers::One(server) => vec![server.addr()],
            Servers::Many(e) => (0..e.len()).map(|i| e.addr(i)).collect(),
        }
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        match &self.servers {
            Servers::One(server) => server.pid().into_iter().collect(),
            Servers::Many(e) => (0..e.len()).filter_map(|i| e.member(i).pid()).collect(),
        }
    }

    /// What they have used.
    pub fn usage(&self) -> Result<Usage> {
        machine::usage(&self.pids(), &self.home())
    }

    /// A directory on the disk that they use.
    pub fn home(&self) -> PathBuf {
        match &self.servers {
            Servers::One(server) => server.home().to_owned(),
            Servers::Many(e) => e.member(0).home().to_owned(),
        }
    }

    /// The ends of their outputs.
    pub fn log_tail(&self) -> String {
        match &self.servers {
            Servers::One(server) => server.log_tail(),
            Servers::Many(e) => e.log_tails(),
        }
    }
}

/// The sides of a setup.
#[derive(Debug)]
pub struct Fleet {
    /// What they are made of.
    pub setup: Setup,
    /// Those that run.
    pub targets: BTreeMap<Side, Target>,
    /// Whether there was load already, so that the JVM has compiled what is hot.
    pub warm: bool,
}

impl Fleet {
    /// Starts all sides.
    pub fn start(setup: &Setup) -> Result<Fleet> {
        let targets = setup
            .sides
            .iter()
            .map(|side| Ok((*side, Target::start(*side, setup)?)))
            .collect::<Result<_>>()?;
        Ok(Fleet { setup: setup.clone(), targets, warm: false })
    }
}
