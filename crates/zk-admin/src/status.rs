//! The values that the words print, as plain data.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use crate::java;

/// What `srvr`, `mntr` and `envi` call the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Release of ZooKeeper whose behaviour this is, for example `3.9.4`: tools compare it.
    pub release: String,
    /// 40 hexadecimal digits.
    pub revision: String,
    /// Build date as printed.
    pub built: String,
}

impl Version {
    /// A version built at `seconds` since 1970.
    ///
    /// differs: Java 3.9 prints `2025-08-19 19:53 UTC`. Releases of go-zk in use refuse everything
    /// but the older `08/19/2025 19:53 GMT`, newer ones take both, so the older form is printed.
    pub fn new(release: &str, revision: &str, seconds: i64) -> Self {
        Self { release: release.into(), revision: revision.into(), built: java::build_date(seconds) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}, built on {}", self.release, self.revision, self.built)
    }
}

/// Everything the words print. What a word does not print may stay empty, see [`crate::Needs`].
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Of this program.
    pub version: Version,
    /// `gtmk` prints it and `stmk` sets it; it has no other effect.
    pub trace_mask: i64,
    /// Lines of `envi` after the version, in order.
    pub environment: Vec<(String, String)>,
    /// `None`: this member looks for a leader, or stops.
    pub serving: Option<Serving>,
    /// What `system_properties` prints, without secrets.
    pub properties: BTreeMap<String, String>,
    /// The text that `initial_configuration` prints, without secrets; `None` in an ensemble, as in Java.
    pub initial_configuration: Option<String>,
}

/// Java's trace mask at start. (ref: ZooTrace)
pub const DEFAULT_TRACE_MASK: i64 = 306;

/// Keys of `envi` after `zookeeper.version`, in Java's order. (ref: Environment.list)
pub const ENVIRONMENT_KEYS: [&str; 17] = [
    "host.name",
    "java.version",
    "java.vendor",
    "java.home",
    "java.class.path",
    "java.library.path",
    "java.io.tmpdir",
    "java.compiler",
    "os.name",
    "os.arch",
    "os.version",
    "user.name",
    "user.home",
    "user.dir",
    "os.memory.free",
    "os.memory.max",
    "os.memory.total",
];

/// What Java prints for a value that is not there.
pub const NO_VALUE: &str = "<NA>";

impl Status {
    /// The status of a server that serves nobody.
    pub fn not_serving(version: Version) -> Self {
        Self {
            version,
            trace_mask: DEFAULT_TRACE_MASK,
            environment: Vec::new(),
            serving: None,
            properties: BTreeMap::new(),
            initial_configuration: None,
        }
    }

    /// Puts the values of `envi` in Java's order; what `lookup` does not know is `<NA>`.
    pub fn environment_from(lookup: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        let entry = |key: &str| (key.to_owned(), lookup(key).unwrap_or_else(|| NO_VALUE.into()));
        ENVIRONMENT_KEYS.into_iter().map(entry).collect()
    }
}

/// What this server is, as `srvr` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Not a member of an ensemble.
    #[default]
    Standalone,
    /// It orders the writes.
    Leader,
    /// It follows and votes.
    Follower,
    /// It follows without a vote.
    Observer,
    /// It lost the ensemble and answers reads to clients that accept that.
    ReadOnly,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        })
    }
}

/// The values of a server that serves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Serving {
    /// What it is.
    pub mode: Mode,
    /// Time of requests since the start or `srst`.
    pub latency: Latency,
    /// Packets received since the start or `srst`, this word included.
    pub received: u64,
    /// Packets sent since the start or `srst`.
    pub sent: u64,
    /// Open client connections, this one included.
    pub connections: u64,
    /// Requests in the pipeline.
    pub outstanding: i64,
    /// The last one that was applied.
    pub zxid: i64,
    /// Nodes, the root counted twice: 5 on an empty server.
    pub node_count: u64,
    /// Sizes of proposals; printed by a leader only.
    pub proposal_sizes: Sizes,
    /// Lines of `stat` and `cons`.
    pub clients: Vec<Client>,
    /// Lines of `conf`.
    pub conf: Conf,
    /// Sessions by expiry, or by id on a learner.
    pub sessions: Sessions,
    /// Sessions that only this member knows, by expiry; `None` where there cannot be any.
    pub local_sessions: Option<Expiry<i64>>,
    /// Connections by expiry.
    pub connection_expiry: Expiry<ClientId>,
    /// Ephemeral nodes by session; only sessions that have some.
    pub ephemerals: Vec<(i64, Vec<String>)>,
    /// Data watches.
    pub watches: Watches,
    /// Sizes of the two directories.
    pub directories: Directories,
    /// Zxid and digest of the tree, one entry each 128 txns.
    pub digests: Vec<(i64, i64)>,
    /// Values that `mntr` alone prints.
    pub gauges: Gauges,
    /// Counters, summaries and sets for the end of `mntr`.
    pub metrics: Vec<Metric>,
    /// The newest snapshot file.
    pub last_snapshot: Option<Snapshot>,
    /// Syncs of the log that took longer than `fsync.warningthresholdms`.
    pub slow_syncs: u64,
    /// What a member of an ensemble knows of the others.
    pub member: Option<MemberView>,
    /// Whether `mntr` prints what Java prints with the Prometheus provider.
    pub prometheus: bool,
}

/// A snapshot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The zxid in its name.
    pub zxid: i64,
    /// When it was written, seconds since 1970.
    pub written: i64,
}

/// What a member of an ensemble knows of the others, for `leader`, `voting_view`, `zabstate` and
/// `observers`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberView {
    /// Its own id.
    pub id: i64,
    /// Whether it leads.
    pub leads: bool,
    /// Whom it follows or is.
    pub leader: Option<i64>,
    /// Everyone with and without a vote, by id.
    pub members: BTreeMap<i64, MemberAddresses>,
    /// Observers that are connected to it.
    pub observers: Vec<Observer>,
}

/// Where a member is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberAddresses {
    /// Host, quorum port and election port, one for each address.
    pub peer: Vec<(String, u16, u16)>,
    /// Where clients connect, if its server line says so.
    pub client: Option<(String, u16)>,
    /// It has no vote.
    pub observer: bool,
}

/// An observer as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    /// Its id, once it is known.
    pub id: Option<i64>,
    /// Whether it is in step.
    pub synced: bool,
    /// The last zxid that it has acknowledged.
    pub acked: i64,
}

/// Time of requests in ms.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Latency {
    /// The shortest; 0 of nothing.
    pub min: u64,
    /// See [`java::average`].
    pub average: f64,
    /// The longest.
    pub max: u64,
}

/// Sizes in bytes; -1 before the first. (ref: BufferStats)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The last one.
    pub last: i64,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { last: -1, min: -1, max: -1 }
    }
}

/// One connection in `stat` and `cons`. (ref: ServerCnxn.dumpConnectionInfo)
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Client {
    /// `None` while it is being closed.
    pub address: Option<SocketAddr>,
    /// 1: it is read from, 4: it waits for room to write, 5: both, 0: neither (four-letter words).
    pub interest: u8,
    /// Its requests in the pipeline.
    pub queued: i64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Present after the handshake.
    pub session: Option<ClientSession>,
}

/// What `cons` prints of a connection with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSession {
    /// Its id.
    pub id: i64,
    /// See [`crate::names::last_operation`].
    pub last_operation: &'static str,
    /// When it was connected, ms since 1970.
    pub established: i64,
    /// Negotiated time-out, ms.
    pub timeout: u32,
    /// Xid of the last request that had one; `None` before it and after `crst`.
    pub last_xid: Option<i64>,
    /// Zxid of the last reply; -1 after `crst`.
    pub last_zxid: i64,
    /// Monotonic ms of the last reply, not a time of day; 0 after `crst`.
    pub last_response: i64,
    /// Time of the last request, ms.
    pub last_latency: u64,
    /// Shortest time, ms; 0 of nothing.
    pub min_latency: u64,
    /// Mean time, ms without a fraction.
    pub average_latency: u64,
    /// Longest time, ms.
    pub max_latency: u64,
}

/// What `conf` prints. (ref: ZooKeeperServer.dumpConf)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conf {
    /// `None` prints -1.
    pub client_port: Option<u16>,
    /// `None` prints -1.
    pub secure_client_port: Option<u16>,
    /// The `version-2` directory of snapshots, absolute.
    pub data_dir: String,
    /// The `version-2` directory of the log, absolute.
    pub data_log_dir: String,
    /// ms.
    pub tick_time: u64,
    /// From one address; 0 is no limit.
    pub max_client_cnxns: u32,
    /// ms.
    pub min_session_timeout: u64,
    /// ms.
    pub max_session_timeout: u64,
    /// `None` prints -1.
    pub listen_backlog: Option<u32>,
    /// 0 on a server that stands alone.
    pub server_id: i64,
    /// Of a member of an ensemble.
    pub member: Option<ConfMember>,
}

/// What `conf` prints of a member. (ref: QuorumZooKeeperServer.dumpConf)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfMember {
    /// Ticks.
    pub init_limit: u32,
    /// Ticks.
    pub sync_limit: u32,
    /// One for each address.
    pub election_ports: Vec<u16>,
    /// One for each address.
    pub quorum_ports: Vec<u16>,
    /// It has no vote.
    pub observer: bool,
    /// The text of `/zookeeper/config`, without a final newline; `None` in read-only mode.
    pub membership: Option<String>,
}

/// Who `dump` shows in a connection bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId {
    /// Where it comes from.
    pub address: SocketAddr,
    /// 0 before the handshake.
    pub session: i64,
}

/// Things by the time at which they expire. (ref: ExpiryQueue.dump)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry<T> {
    /// How many things the queue knows; Java keeps empty buckets until their time.
    pub known: usize,
    /// Time of day in ms since 1970 with what expires then, in order of time.
    pub buckets: Vec<(i64, Vec<T>)>,
}

impl<T> Default for Expiry<T> {
    fn default() -> Self {
        Self { known: 0, buckets: Vec::new() }
    }
}

/// Sessions as `dump` shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sessions {
    /// A leader or a server that stands alone expires them. (ref: SessionTrackerImpl)
    Tracked(Expiry<i64>),
    /// A learner knows id and time-out (ms), in order of id. (ref: LearnerSessionTracker)
    Global(Vec<(i64, u32)>),
}

impl Default for Sessions {
    fn default() -> Self {
        Self::Tracked(Expiry::default())
    }
}

/// Data watches; watches on children are not among them. (ref: DataTree.dumpWatches)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watches {
    /// Connections with a watch.
    pub connections: u64,
    /// Paths with a watch.
    pub paths: u64,
    /// Pairs of the two.
    pub total: u64,
    /// For `wchc`: session and its paths.
    pub by_session: Vec<(i64, Vec<String>)>,
    /// For `wchp`: path and its sessions.
    pub by_path: Vec<(String, Vec<i64>)>,
}

/// Bytes in the `version-2` directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directories {
    /// Of `dataDir`.
    pub data: u64,
    /// Of `dataLogDir`.
    pub log: u64,
}

/// Values that `mntr` alone prints; their meaning stands in [`crate::names`].
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each is the name in `names`")]
pub struct Gauges {
    pub ephemerals: u64,
    pub global_sessions: u64,
    pub local_sessions: u64,
    pub non_mtls_remote_connections: u64,
    pub non_mtls_local_connections: u64,
    pub client_response_sizes: Sizes,
    pub connection_drop_probability: f64,
    pub watches: u64,
    pub auth_failed: u64,
    pub max_file_descriptors: u64,
    pub open_file_descriptors: u64,
    pub approximate_data_size: u64,
    pub uptime: u64,
    pub outstanding_tls_handshakes: u64,
    /// Of a member of an ensemble; `None` for a server that stands alone or is read-only.
    pub member: Option<MemberGauges>,
}

/// Values of a member of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberGauges {
    /// For example `following - broadcast`.
    pub peer_state: String,
    /// Of an observer.
    pub observer_master_id: Option<i64>,
    /// Voters.
    pub quorum_size: u64,
    /// Observers in step; not known to an observer.
    pub synced_observers: Option<u64>,
    /// Of a leader.
    pub leader: Option<LeaderGauges>,
}

/// Values of a leader; their meaning stands in [`crate::names`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the name in `names`")]
pub struct LeaderGauges {
    pub learners: u64,
    pub synced_followers: u64,
    pub synced_non_voting_followers: u64,
    pub pending_syncs: u64,
    pub uptime: u64,
}

/// A value of a gauge: Java prints whole numbers and others differently.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(i64),
    /// A number with a fraction.
    Real(f64),
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        Self::Whole(n)
    }
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self::Whole(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        Self::Real(x)
    }
}

impl Number {
    /// As Prometheus has it.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Real(x) => x,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(n) => n.fmt(f),
            Self::Real(x) => f.write_str(&java::double(*x)),
        }
    }
}

/// One metric. (ref: MetricsProvider.dump)
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A number that goes up and down.
    Gauge {
        /// One of [`crate::names`].
        name: &'static str,
        /// Its value.
        value: Number,
    },
    /// A whole number that only grows.
    Counter {
        /// One of [`crate::names`].
        name: &'static str,
        /// Its value.
        value: i64,
    },
    /// A gauge by key.
    Keyed {
        /// One of [`crate::names`].
        name: &'static str,
        /// For example the first component of a path.
        key: String,
        /// Its value.
        value: i64,
    },
    /// Counters by key; their name is there before the first key.
    CounterSet {
        /// One of [`crate::names`].
        name: &'static str,
        /// Keys and values.
        values: Vec<(String, i64)>,
    },
    /// Summaries by key; their name is there before the first key.
    SummarySet {
        /// One of [`crate::names`].
        name: &'static str,
        /// Keys, and what was seen of each.
        seen: Vec<(String, Seen)>,
        /// As that of a summary.
        advanced: bool,
    },
    /// Count, sum, extremes and quantiles.
    Summary {
        /// One of [`crate::names`].
        name: &'static str,
        /// What was seen.
        seen: Seen,
        /// Whether Java gives more quantiles than the median: `ADVANCED` and not `BASIC`.
        advanced: bool,
    },
}

/// What a summary has seen. All are 0 when that is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "quantiles by their names in Java")]
pub struct Seen {
    /// The smallest value.
    pub min: i64,
    /// The largest value.
    pub max: i64,
    /// How many values there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    pub p50: i64,
    pub p90: i64,
    pub p95: i64,
    pub p99: i64,
    pub p999: i64,
}

/// A metric that Java does not have, for the page of Prometheus alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// One of [`crate::names`], with its own prefix.
    pub name: &'static str,
    /// A label and its value.
    pub label: Option<(&'static str, String)>,
    /// What it measures.
    pub value: OwnValue,
}

/// What an own metric measures.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnValue {
    /// A number that only grows.
    Counter(f64),
    /// A number that goes up and down.
    Gauge(f64),
    /// Values by size.
    Histogram {
        /// An upper bound, and how many values were not above it; in order of the bounds.
        buckets: Vec<(f64, u64)>,
        /// All values together.
        sum: f64,
        /// How many values there were.
        count: u64,
    },
}
