//! Scenarios as files: what is set up, what is done to it, and which figure of it counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use zk_load::{Keys, Mix, Nodes, Pace, Plan};

/// One file of `scenarios/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without its end; names in order of their files.
    #[serde(skip)]
    pub name: String,
    /// What is measured, in a line.
    pub title: String,
    /// The figure that counts: a name of [`crate::sample::Sample::figures`].
    pub figure: String,
    /// What is to be reached, in words.
    pub reach: String,
    /// What would be best, in words.
    #[serde(default)]
    pub aim: String,
    /// How often each server has its turn; the command line counts more.
    #[serde(default = "three")]
    pub rounds: usize,
    /// Left out unless it is asked for by name: too large or too long for every day.
    #[serde(default)]
    pub large: bool,
    /// The scenario is also run in small, as a test: zkd may take so many times the processor time for a
    /// request that the server without work takes.
    pub small: Option<f64>,
    /// What runs.
    #[serde(default)]
    pub setup: Setup,
    /// What is done.
    pub work: Work,
}

fn three() -> usize {
    3
}

/// What runs. Scenarios that follow each other with the same setup share the servers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Setup {
    /// Which servers have turns.
    pub sides: Vec<Side>,
    /// Heap of each JVM: `-Xmx` and `-Xms`.
    pub java_heap: String,
    /// A data set of `data.toml`.
    pub data: String,
    /// Members of an ensemble; 1 stands alone.
    pub members: usize,
    /// Observers beside them.
    pub observers: usize,
    /// Lines of `zoo.cfg`.
    pub config: BTreeMap<String, String>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            sides: vec![Side::Java, Side::Zkd, Side::Canned],
            java_heap: "1g".to_owned(),
            data: "none".to_owned(),
            members: 1,
            observers: 0,
            config: BTreeMap::new(),
        }
    }
}

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Java ZooKeeper 3.9.4.
    Java,
    /// zkd.
    Zkd,
    /// Answers without work.
    Canned,
}

impl Side {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Side::Java => "java",
            Side::Zkd => "zkd",
            Side::Canned => "canned",
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Requests.
    Load(Load),
    /// Sessions that open and end.
    Sessions(Sessions),
    /// Until all who watch a node are told.
    Watchers(Watchers),
    /// What the nodes of the data set hold.
    Memory(Memory),
    /// What watches hold.
    WatchMemory(WatchMemory),
    /// Sessions that do nothing.
    Idle(Idle),
    /// Until a server that was stopped can be read.
    Restart(Restart),
    /// What an observer costs the leader.
    Observers(Observers),
}

/// Sessions that open and end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// How many are under way.
    pub at_once: usize,
}

/// Sessions that watch one node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchers {
    /// How many.
    pub count: usize,
    /// Changes in a turn.
    pub rounds: usize,
}

/// Nothing to choose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {}

/// Watches on existing nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchMemory {
    /// Sessions.
    pub connections: usize,
    /// Watches of each.
    pub each: u64,
    /// Whether all watch the same nodes.
    pub shared: bool,
    /// The nodes.
    pub keys: String,
}

/// Sessions that do nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// How many, as far as the limit of open files goes.
    pub connections: usize,
    /// How often each says that it is alive.
    pub pings: usize,
}

/// A stop and a start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// What is read.
    pub path: String,
}

/// Writes at the leader, with observers and without.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observers {
    /// Writes a second.
    pub rate: f64,
    /// The nodes.
    pub keys: String,
    /// Members that are no observers.
    pub voters: usize,
    /// Seconds with the observers, and without.
    pub seconds: f64,
}

/// Requests in a closed or an open loop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Sessions.
    pub connections: usize,
    /// Requests under way on each; a rate counts more.
    #[serde(default = "one")]
    pub depth: usize,
    /// Requests a second over all: an open loop.
    pub rate: Option<f64>,
    /// Kinds of requests with weights.
    pub mix: String,
    /// Nodes, with `#` for digits.
    pub keys: String,
    /// How many of them; by default as many as the digits allow.
    pub count: Option<u64>,
    /// Size of written data.
    #[serde(default = "hundred")]
    pub value: usize,
    /// Parts of a multi.
    #[serde(default = "one")]
    pub parts: usize,
    /// Seconds that count, instead of those of the command line.
    pub seconds: Option<f64>,
    /// Whether to tell apart the times in which the server writes its tree.
    #[serde(default)]
    pub snapshots: bool,
}

fn one() -> usize {
    1
}

fn hundred() -> usize {
    100
}

impl Load {
    /// Writes of 100 B at this rate.
    pub fn writes(rate: f64, keys: &str) -> Load {
        Load {
            connections: 8,
            depth: 1,
            rate: Some(rate),
            mix: "set".to_owned(),
            keys: keys.to_owned(),
            count: None,
            value: 100,
            parts: 1,
            seconds: None,
            snapshots: false,
        }
    }

    /// The plan against these servers.
    pub fn plan(
        &self,
        servers: Vec<std::net::SocketAddr>,
        warm_up: Duration,
        time: Duration,
    ) -> Result<Plan> {
        let keys = match self.count {
            Some(count) => Keys::new(&self.keys, count)?,
            None => Keys::all(&self.keys)?,
        };
        let pace = match self.rate {
            Some(per_second) => Pace::Open { per_second },
            None => Pace::Closed { depth: self.depth },
        };
        Ok(Plan {
            servers,
            connections: self.connections,
            threads: 0,
            pace,
            mix: Mix::parse(&self.mix)?,
            keys,
            value: self.value,
            parts: self.parts,
            warm_up,
            time: self.seconds.map_or(time, Duration::from_secs_f64),
        })
    }
}

/// Nodes of a data set in `data.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataPart {
    keys: String,
    count: Option<u64>,
    #[serde(default)]
    value: usize,
    #[serde(default = "all")]
    percent: u64,
}

fn all() -> u64 {
    100
}

/// Where the files are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// All scenarios but the large ones, or those whose names begin with one of these words.
pub fn load(only: &[String]) -> Result<Vec<Scenario>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory())?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut scenarios = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "data" {
            continue;
        }
        let text = fs::read_to_string(&file)?;
        let mut scenario: Scenario =
            toml::from_str(&text).with_context(|| format!("scenario {}", file.display()))?;
        ensure!(scenario.rounds > 0, "{name}: no rounds");
        scenario.name = name;
        let wanted = if only.is_empty() {
            !scenario.large
        } else {
            only.iter().any(|o| scenario.name.starts_with(o.as_str()))
        };
        if wanted {
            scenarios.push(scenario);
        }
    }
    if scenarios.is_empty() {
        bail!("no scenario is called so; see {}", directory().display());
    }
    Ok(scenarios)
}

/// The nodes of a data set.
pub fn data(name: &str) -> Result<Vec<Nodes>> {
    let file = directory().join("data.toml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut sets: BTreeMap<String, Vec<DataPart>> = toml::from_str(&text).context("data.toml")?;
    let parts = sets.remove(name).with_context(|| format!("data.toml has no set {name}"))?;
    parts
        .into_iter()
        .map(|p| {
            let keys = match p.count {
                Some(count) => Keys::new(&p.keys, count)?,
                None => Keys::all(&p.keys)?,
            };
            Ok(Nodes { keys, value: p.value, percent: p.percent })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_can_be_run() {
        let all = load(&[String::new()]).unwrap();
        assert!(all.len() > 10 && all.iter().any(|s| s.large));
        for s in all {
            data(&s.setup.data).unwrap();
            if let Work::Load(load) = &s.work {
                load.plan(Vec::new(), Duration::ZERO, Duration::ZERO).unwrap();
            }
        }
    }
}
