//! Every key that Apache ZooKeeper 3.9 and 3.10 read, and what becomes of it here.

/// How Java finds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A key of the file alone. (ref: QuorumPeerConfig.parseProperties)
    File,
    /// System property `zookeeper.<name>`; in the file without the prefix.
    Prefixed,
    /// System property `<name>`. Java reads it from `-D` only; here the file may hold it too.
    Bare,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// `yes` or `no`.
    YesNo,
    /// A whole number.
    Number,
    /// A number with a fraction.
    Fraction,
    /// Milliseconds.
    Millis,
    /// A TCP port.
    Port,
    /// Anything else.
    Text,
}

/// What becomes of a key here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what it does in Java.
    Used,
    /// It matters only to a member of an ensemble.
    Ensemble,
    /// Read and kept; what it configures is not there yet.
    Later(&'static str),
    /// There is nothing here that it could configure.
    Nothing(&'static str),
}

/// One known key, or a family of keys when the name ends with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As it stands in `zoo.cfg`.
    pub name: &'static str,
    /// How Java finds it.
    pub place: Place,
    /// What its values look like.
    pub kind: Kind,
    /// Java's default as text; empty when there is none.
    pub default: &'static str,
    /// What becomes of it here.
    pub status: Status,
}

impl Key {
    /// The name of the system property, as `-D` takes it; `None` for a key of the file alone.
    pub fn property(&self) -> Option<String> {
        match self.place {
            Place::File => None,
            Place::Prefixed => Some(format!("zookeeper.{}", self.name)),
            Place::Bare => Some(self.name.into()),
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.name == name || (self.name.ends_with('.') && name.starts_with(self.name))
    }
}

/// Looks a key up by its name in `zoo.cfg`.
pub fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name).or_else(|| KEYS.iter().find(|key| key.matches(name)))
}

/// Looks a key up by the name of its system property.
pub fn by_property(property: &str) -> Option<&'static Key> {
    let at = |name: &str, place| {
        let mut there = KEYS.iter().filter(|key| key.place == place);
        there.clone().find(|key| key.name == name).or_else(|| there.find(|key| key.matches(name)))
    };
    let prefixed = property.strip_prefix("zookeeper.").and_then(|name| at(name, Place::Prefixed));
    prefixed.or_else(|| at(property, Place::Bare))
}

/// Names that the administrator's guide gives and Java never reads, with those that it does.
/// Both are accepted here. (ref: zookeeperAdmin.md against BlueThrottle, RequestThrottler)
pub const ALIASES: &[(&str, &str)] = &[
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionDropIncrease", "connection_throttle_drop_increase"),
    ("connectionDropDecrease", "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio", "connection_throttle_decrease_ratio"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("advancedFlowControlEnabled", "netty.advancedFlowControl.enabled"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
];

/// Keys whose new value counts without a restart, when the server is told to read its file again.
pub const LIVE: &[&str] = &[
    "maxClientCnxns",
    "maxCnxns",
    "globalOutstandingLimit",
    "request_throttle_max_requests",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "connection_throttle_tokens",
    "connection_throttle_fill_time",
    "connection_throttle_fill_count",
    "connection_throttle_freeze_time",
    "connection_throttle_drop_increase",
    "connection_throttle_drop_decrease",
    "connection_throttle_decrease_ratio",
    "connection_throttle_weight_enabled",
    "connection_throttle_global_session_weight",
    "connection_throttle_renew_session_weight",
    "connection_throttle_local_session_weight",
    "4lw.commands.whitelist",
    "zkd.log.level",
    "zkd.log.slowRequestMs",
];

/// Short forms of [`Key`] for the table.
mod short {
    use super::{Key, Kind, Place, Status};

    pub(super) const fn file(name: &'static str, kind: Kind, default: &'static str, status: Status) -> Key {
        Key { name, place: Place::File, kind, default, status }
    }
    pub(super) const fn prop(name: &'static str, kind: Kind, default: &'static str, status: Status) -> Key {
        Key { name, place: Place::Prefixed, kind, default, status }
    }
    pub(super) const fn bare(name: &'static str, kind: Kind, default: &'static str, status: Status) -> Key {
        Key { name, place: Place::Bare, kind, default, status }
    }
    pub(super) const fn own(name: &'static str, kind: Kind, default: &'static str) -> Key {
        Key { name, place: Place::Prefixed, kind, default, status: Status::Used }
    }
}

use Kind::{Bool, Fraction, Millis, Number, Port, Text, YesNo};
use Status::{Ensemble, Later, Nothing, Used};
use short::{bare, file, own, prop};

const HTTP: Status = Nothing("the admin port speaks HTTP/1.0 and 1.1, as its clients do");
const FORWARDED: Status = Nothing("a header can be forged: the address of the connection counts");
const THREADS: Status = Nothing("zkd sizes its threads itself");
const NO_JVM: Status = Nothing("there is no JVM whose pauses could be watched");
const NO_CACHE: Status = Nothing("replies are encoded from the tree, there is no cache of them");
const NO_DELAY: Status = Nothing("a batch is what gathered during the last sync, no timer is involved");
const ONE_HISTORY: Status = Nothing("observers get what is kept for all learners, see commitLogCount");
const NO_WAIT: Status = Nothing("an observer looks for a leader at once, see observer.reconnectDelayMs");
const WATCHES: Status = Nothing("there is one watch manager and it cleans up at once");
const PATH_STATS: Status = Nothing("there are no statistics by path");
const LOGGING: Status = Nothing("logs are set up with zkd.log.level and zkd.log.format");
const NO_QUEUE: Status =
    Nothing("requests wait in their sockets, there is no queue in which they grow stale");
const NO_SNAPSHOTS: Status =
    Nothing("the mirror is always near the log, no snapshots are taken by number or size of transactions");
const ALWAYS: Status = Nothing("snapshots always hold it");
const LEADER_CHECKS: Status = Nothing("the leader checks every write");
const ALWAYS_WRITE: Status = Nothing("observers always write their log");
const ORACLE: Status = Later("the oracle");
const NO_SYNC_LIMIT: Status =
    Nothing("learners are brought up at the same time, each within its own memory limit");
const EPOCH_WAIT: Status = Nothing("the wait for an epoch ends with initLimit");
const ACK_LOG: Status = Nothing("acknowledgements are not logged");
const CLOSE: Status = Nothing("closing a socket waits for nobody");
const SENDING: Status = Nothing("sending to the leader waits for nobody");
const NODELAY: Status = Nothing("TCP_NODELAY is always on");
const RETRY: Status = Nothing("a leader is dialled again at once, and then at growing intervals");
const WORKAROUND: Status = Nothing("it is about a race between Java's threads");
const REACHABLE: Status = Nothing("all addresses of a member are tried, the first that answers is taken");
const OLD_TTL: Status = Nothing("nodes with a time to live are read as ZooKeeper writes them since 3.5.4");
const TRACKER: Status = Nothing("the last messages between members are not kept");
const FIRST_BYTE: Status =
    Nothing("the first byte of a connection tells whether it has TLS, whenever it comes");
const UNREAD: Status = Nothing("no ZooKeeper server reads it");

/// All known keys: the file's own first, then the system properties, by area.
pub const KEYS: &[Key] = &[
    // Keys of the file.
    file("dataDir", Text, "", Used),
    file("dataLogDir", Text, "", Used),
    file("clientPort", Port, "", Used),
    file("clientPortAddress", Text, "", Used),
    file("clientPortListenBacklog", Number, "-1", Used),
    file("secureClientPort", Port, "", Used),
    file("secureClientPortAddress", Text, "", Used),
    file("observerMasterPort", Port, "0", Ensemble),
    file("tickTime", Millis, "3000", Used),
    file("maxClientCnxns", Number, "60", Used),
    file("minSessionTimeout", Millis, "-1", Used),
    file("maxSessionTimeout", Millis, "-1", Used),
    file("initLimit", Number, "0", Ensemble),
    file("syncLimit", Number, "0", Ensemble),
    file("connectToLearnerMasterLimit", Number, "0", Ensemble),
    file("electionAlg", Number, "3", Ensemble),
    file("quorumListenOnAllIPs", Bool, "false", Ensemble),
    file("peerType", Text, "participant", Ensemble),
    file("syncEnabled", Bool, "true", ALWAYS_WRITE),
    file("dynamicConfigFile", Text, "", Ensemble),
    file("standaloneEnabled", Bool, "true", Ensemble),
    file("reconfigEnabled", Bool, "false", Used),
    file("autopurge.snapRetainCount", Number, "3", Used),
    file("autopurge.purgeInterval", Number, "0", Used),
    file("localSessionsEnabled", Bool, "false", Ensemble),
    file("localSessionsUpgradingEnabled", Bool, "false", Ensemble),
    file("sslQuorum", Bool, "false", Ensemble),
    file("portUnification", Bool, "false", Ensemble),
    file("sslQuorumReloadCertFiles", Bool, "false", Ensemble),
    file("quorum.auth.enableSasl", Bool, "false", Ensemble),
    file("quorum.auth.serverRequireSasl", Bool, "false", Ensemble),
    file("quorum.auth.learnerRequireSasl", Bool, "false", Ensemble),
    file("quorum.auth.learner.saslLoginContext", Text, "QuorumLearner", Ensemble),
    file("quorum.auth.server.saslLoginContext", Text, "QuorumServer", Ensemble),
    file("quorum.auth.kerberos.servicePrincipal", Text, "zkquorum/localhost", Ensemble),
    file("quorum.cnxn.threads.size", Number, "20", THREADS),
    file("jvm.pause.monitor", Bool, "false", NO_JVM),
    file("jvm.pause.info-threshold.ms", Millis, "1000", NO_JVM),
    file("jvm.pause.warn-threshold.ms", Millis, "10000", NO_JVM),
    file("jvm.pause.sleep.time.ms", Millis, "500", NO_JVM),
    file("metricsProvider.className", Text, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", Used),
    file("metricsProvider.httpHost", Text, "0.0.0.0", Used),
    file("metricsProvider.httpPort", Port, "7000", Used),
    file("metricsProvider.exportJvmInfo", Bool, "true", Used),
    file("metricsProvider.numWorkerThreads", Number, "1", THREADS),
    file("metricsProvider.maxQueueSize", Number, "1000000", THREADS),
    file("metricsProvider.workerShutdownTimeoutMs", Millis, "1000", THREADS),
    file("metricsProvider.", Text, "", UNREAD),
    file("multiAddress.enabled", Bool, "false", Ensemble),
    file("multiAddress.reachabilityCheckEnabled", Bool, "true", REACHABLE),
    file("multiAddress.reachabilityCheckTimeoutMs", Millis, "1000", REACHABLE),
    file("oraclePath", Text, "", ORACLE),
    file("server.", Text, "", Ensemble),
    file("group.", Text, "", Ensemble),
    file("weight.", Number, "1", Ensemble),
    // Four-letter words, admin server, audit.
    prop("4lw.commands.whitelist", Text, "srvr", Used),
    prop("admin.enableServer", Bool, "true", Used),
    prop("admin.serverPort", Port, "8080", Used),
    prop("admin.serverAddress", Text, "0.0.0.0", Used),
    prop("admin.commandURL", Text, "/commands", Used),
    prop("admin.idleTimeout", Millis, "30000", Used),
    prop("admin.httpVersion", Number, "11", HTTP),
    prop("admin.portUnification", Bool, "false", Used),
    prop("admin.forceHttps", Bool, "false", Used),
    prop("admin.needClientAuth", Bool, "false", Used),
    prop("admin.snapshot.enabled", Bool, "true", Used),
    prop("admin.restore.enabled", Bool, "true", Used),
    prop("admin.rateLimiterIntervalInMS", Millis, "300000", Used),
    prop("audit.enable", Bool, "false", Used),
    prop("audit.impl.class", Text, "org.apache.zookeeper.audit.Slf4jAuditLogger", Used),
    // Disk.
    prop("snapCount", Number, "100000", NO_SNAPSHOTS),
    prop("snapSizeLimitInKb", Number, "4194304", NO_SNAPSHOTS),
    prop("txnLogSizeLimitInKb", Number, "-1", Used),
    prop("preAllocSize", Number, "65536", Used),
    prop("forceSync", YesNo, "yes", Used),
    prop("fsync.warningthresholdms", Millis, "1000", Used),
    bare("fsync.warningthresholdms", Millis, "1000", Used),
    prop("commitLogCount", Number, "500", Ensemble),
    prop("snapshotSizeFactor", Fraction, "0.33", Ensemble),
    prop("snapshot.compression.method", Text, "", Used),
    prop("snapshot.trust.empty", Bool, "false", Used),
    prop("serializeLastProcessedZxid.enabled", Bool, "true", ALWAYS),
    prop("db.autocreate", Bool, "true", Used),
    prop("datadir.autocreate", Bool, "true", Used),
    prop("flushDelay", Millis, "0", NO_DELAY),
    prop("maxWriteQueuePollTime", Millis, "0", NO_DELAY),
    prop("maxBatchSize", Number, "1000", NO_DELAY),
    // Limits and throttles.
    bare("jute.maxbuffer", Number, "1048575", Used),
    prop("jute.maxbuffer.extrasize", Number, "1048575", Used),
    prop("globalOutstandingLimit", Number, "1000", Used),
    prop("maxCnxns", Number, "0", Used),
    prop("request_throttle_max_requests", Number, "0", Used),
    prop("request_throttle_stall_time", Millis, "100", NO_QUEUE),
    prop("request_throttle_drop_stale", Bool, "true", NO_QUEUE),
    prop("request_stale_connection_check", Bool, "true", NO_QUEUE),
    prop("request_stale_latency_check", Bool, "false", NO_QUEUE),
    prop("request_throttler.shutdownTimeout", Millis, "10000", THREADS),
    prop("throttled_op_wait_time", Millis, "0", NO_QUEUE),
    prop("largeRequestMaxBytes", Number, "104857600", Used),
    prop("largeRequestThreshold", Number, "-1", Used),
    prop("connection_throttle_tokens", Number, "0", Used),
    prop("connection_throttle_fill_time", Millis, "1", Used),
    prop("connection_throttle_fill_count", Number, "1", Used),
    prop("connection_throttle_freeze_time", Millis, "-1", Used),
    prop("connection_throttle_drop_increase", Fraction, "0.02", Used),
    prop("connection_throttle_drop_decrease", Fraction, "0.002", Used),
    prop("connection_throttle_decrease_ratio", Fraction, "0", Used),
    prop("connection_throttle_weight_enabled", Bool, "false", Used),
    prop("connection_throttle_global_session_weight", Number, "3", Used),
    prop("connection_throttle_renew_session_weight", Number, "2", Used),
    prop("connection_throttle_local_session_weight", Number, "1", Used),
    prop("maxResponseCacheSize", Number, "400", NO_CACHE),
    prop("maxGetChildrenResponseCacheSize", Number, "400", NO_CACHE),
    prop("intBufferStartingSizeBytes", Number, "1024", NO_CACHE),
    // Sockets and threads.
    prop("clientTcpKeepAlive", Bool, "false", Used),
    prop("nio.sessionlessCnxnTimeout", Millis, "10000", Used),
    prop("nio.numSelectorThreads", Number, "", THREADS),
    prop("nio.numWorkerThreads", Number, "", THREADS),
    prop("nio.directBufferBytes", Number, "65536", THREADS),
    prop("nio.shutdownTimeout", Millis, "5000", THREADS),
    prop("commitProcessor.numWorkerThreads", Number, "", THREADS),
    prop("commitProcessor.maxReadBatchSize", Number, "-1", THREADS),
    prop("commitProcessor.maxCommitBatchSize", Number, "1", THREADS),
    prop("commitProcessor.shutdownTimeout", Millis, "5000", THREADS),
    prop("serverCnxnFactory", Text, "org.apache.zookeeper.server.NIOServerCnxnFactory", THREADS),
    prop("netty.advancedFlowControl.enabled", Bool, "false", THREADS),
    prop("netty.server.outstandingHandshake.limit", Number, "-1", Used),
    prop("netty.server.earlyDropSecureConnectionHandshakes", Bool, "false", Used),
    bare("readonlymode.enabled", Bool, "false", Used),
    // The ensemble.
    prop("leaderServes", YesNo, "yes", Ensemble),
    prop("leader.maxConcurrentSnapSyncs", Number, "10", NO_SYNC_LIMIT),
    prop("leader.maxConcurrentDiffSyncs", Number, "100", NO_SYNC_LIMIT),
    prop("leader.maxTimeToWaitForEpoch", Millis, "-1", EPOCH_WAIT),
    prop("leader.ackLoggingFrequency", Number, "1000", ACK_LOG),
    prop("leader.closeSocketAsync", Bool, "false", CLOSE),
    prop("learner.closeSocketAsync", Bool, "false", CLOSE),
    prop("learner.asyncSending", Bool, "false", SENDING),
    bare("leader.nodelay", Bool, "true", NODELAY),
    bare("follower.nodelay", Bool, "true", NODELAY),
    prop("leaderConnectDelayDuringRetryMs", Millis, "100", RETRY),
    prop("forceSnapshotSync", Bool, "false", Ensemble),
    prop("forward_learner_requests_to_commit_processor_disabled", Bool, "false", WORKAROUND),
    prop("follower.skipLearnerRequestToNextProcessor", Bool, "false", WORKAROUND),
    prop("observerMaster.sizeLimit", Number, "33554432", ONE_HISTORY),
    prop("observer.reconnectDelayMs", Millis, "0", Ensemble),
    prop("observer.election.DelayMs", Millis, "200", NO_WAIT),
    prop("observer.syncEnabled", Bool, "true", ALWAYS_WRITE),
    prop("fastleader.minNotificationInterval", Millis, "200", Ensemble),
    prop("fastleader.maxNotificationInterval", Millis, "60000", Ensemble),
    prop("cnxTimeout", Millis, "5000", Ensemble),
    prop("quorumCnxnTimeoutMs", Millis, "-1", Ensemble),
    prop("electionPortBindRetry", Number, "3", Ensemble),
    prop("tcpKeepAlive", Bool, "false", Ensemble),
    prop("multiAddress.enabled", Bool, "false", Ensemble),
    prop("multiAddress.reachabilityCheckEnabled", Bool, "true", REACHABLE),
    prop("multiAddress.reachabilityCheckTimeoutMs", Millis, "1000", REACHABLE),
    // Who may do what.
    prop("skipACL", YesNo, "no", Used),
    prop("enableEagerACLCheck", Bool, "false", LEADER_CHECKS),
    prop("DigestAuthenticationProvider.superDigest", Text, "", Used),
    prop("DigestAuthenticationProvider.enabled", Bool, "true", Used),
    prop("DigestAuthenticationProvider.digestAlg", Text, "SHA1", Used),
    prop("X509AuthenticationProvider.superUser", Text, "", Used),
    prop("IPAuthenticationProvider.usexforwardedfor", Bool, "false", FORWARDED),
    prop("SASLAuthenticationProvider.superPassword", Text, "", Used),
    prop("authProvider.", Text, "", Used),
    prop("ensembleAuthName", Text, "", Used),
    prop("allowSaslFailedClients", Bool, "false", Used),
    prop("sessionRequireClientSASLAuth", Bool, "false", Used),
    prop("enforce.auth.enabled", Bool, "false", Used),
    prop("enforce.auth.schemes", Text, "", Used),
    prop("superUser", Text, "", Used),
    prop("superUser.", Text, "", Used),
    prop("letAnySaslUserDoX", Text, "", Used),
    prop("sasl.serverconfig", Text, "Server", Used),
    prop("sasl.", Text, "", Nothing("it is a setting of clients")),
    prop("kerberos.removeHostFromPrincipal", Bool, "false", Used),
    prop("kerberos.removeRealmFromPrincipal", Bool, "false", Used),
    prop("kerberos.canonicalizeHostNames", Bool, "false", Nothing("it is a setting of clients")),
    prop("security.auth_to_local", Text, "DEFAULT", Used),
    prop(
        "requireKerberosConfig",
        Bool,
        "false",
        Nothing("a start without what Kerberos needs is always refused"),
    ),
    prop("server.realm", Text, "", Ensemble),
    prop("kinit", Text, "/usr/bin/kinit", Nothing("tickets come from the keytab, whenever one is needed")),
    bare("java.security.auth.login.config", Text, "", Used),
    bare("java.security.krb5.conf", Text, "", Used),
    prop("fips-mode", Bool, "true", Used),
    prop("client.portUnification", Bool, "false", Used),
    prop("client.certReload", Bool, "false", Used),
    prop("client.secure", Bool, "false", Nothing("it is a setting of clients")),
    prop("clientCnxnSocket", Text, "", Nothing("it is a setting of clients")),
    prop("ssl.handshakeDetectionTimeoutMillis", Millis, "5000", FIRST_BYTE),
    prop("ssl.quorum.handshakeDetectionTimeoutMillis", Millis, "5000", FIRST_BYTE),
    prop("ssl.quorum.", Text, "", Ensemble),
    prop("ssl.", Text, "", Used),
    // The tree.
    prop("enforceQuota", Bool, "false", Used),
    prop("extendedTypesEnabled", Bool, "false", Used),
    prop("emulate353TTLNodes", Bool, "false", OLD_TTL),
    prop("digest.enabled", Bool, "true", Used),
    prop("closeSessionTxn.enabled", Bool, "true", Used),
    bare("znode.container.checkIntervalMs", Millis, "60000", Used),
    bare("znode.container.maxPerMinute", Number, "10000", Used),
    bare("znode.container.maxNeverUsedIntervalMs", Millis, "0", Used),
    prop("watchManagerName", Text, "org.apache.zookeeper.server.watch.WatchManager", WATCHES),
    prop("watcherCleanThreadsNum", Number, "2", WATCHES),
    prop("watcherCleanThreshold", Number, "1000", WATCHES),
    prop("watcherCleanIntervalInSeconds", Number, "600", WATCHES),
    prop("maxInProcessingDeadWatchers", Number, "-1", WATCHES),
    prop("bitHashCacheSize", Number, "10", WATCHES),
    prop("pathStats.", Text, "", PATH_STATS),
    prop("messageTracker.Enabled", Bool, "false", TRACKER),
    prop("messageTracker.BufferSize", Number, "10", TRACKER),
    // zkd's own. Java keeps them as system properties that nobody reads.
    own("zkd.log.level", Text, "info"),
    own("zkd.log.format", Text, "text"),
    own("zkd.log.slowRequestMs", Millis, "2000"),
    own("zkd.login.longestWaitMs", Millis, "10000"),
    // What only scripts and other servers know.
    prop("log.", Text, "", LOGGING),
    prop("root.logger", Text, "", LOGGING),
    prop("console.threshold", Text, "", LOGGING),
    prop("tracelog.", Text, "", LOGGING),
    prop("jmx.log4j.disable", Bool, "", LOGGING),
    prop("requireClientAuthScheme", Text, "", UNREAD),
    prop("jaasLoginRenew", Number, "", UNREAD),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut seen: Vec<_> =
            KEYS.iter().map(|k| (k.name, k.place == Place::File, k.place == Place::Bare)).collect();
        seen.sort_unstable();
        let count = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn defaults_fit_their_kind() {
        for key in KEYS.iter().filter(|k| !k.default.is_empty()) {
            let fits = match key.kind {
                Kind::Bool => matches!(key.default, "true" | "false"),
                Kind::YesNo => matches!(key.default, "yes" | "no"),
                Kind::Number | Kind::Millis => key.default.parse::<i64>().is_ok(),
                Kind::Fraction => key.default.parse::<f64>().is_ok(),
                Kind::Port => key.default.parse::<u16>().is_ok(),
                Kind::Text => true,
            };
            assert!(fits, "{}", key.name);
        }
    }

    #[test]
    fn families_and_exact_names() {
        assert_eq!(by_name("metricsProvider.httpPort").map(|k| k.default), Some("7000"));
        assert_eq!(by_name("metricsProvider.other").map(|k| k.name), Some("metricsProvider."));
        assert_eq!(by_name("ssl.quorum.keyStore.location").map(|k| k.name), Some("ssl.quorum."));
        assert_eq!(by_property("zookeeper.authProvider.1").map(|k| k.name), Some("authProvider."));
        assert_eq!(by_property("jute.maxbuffer").map(|k| k.place), Some(Place::Bare));
        assert_eq!(by_property("zookeeper.jute.maxbuffer"), None);
        assert_eq!(by_property("zookeeper.tickTime"), None);
        assert_eq!(by_property("fsync.warningthresholdms").map(|k| k.place), Some(Place::Bare));
    }

    #[test]
    fn aliases_lead_to_known_keys() {
        for (alias, name) in ALIASES {
            assert!(by_name(name).is_some() && by_name(alias).is_none(), "{alias}");
        }
    }
}
