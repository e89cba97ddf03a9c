//! What each key does, in a few words, for `zkd config check`.

use crate::keys::{Key, Status};

/// What a key does here, or why it does nothing. Empty for a key that this table forgot, which a
/// test finds.
pub fn of(key: &Key) -> &'static str {
    match key.status {
        Status::Nothing(why) => why,
        Status::Used | Status::Ensemble | Status::Later(_) => in_words(key.name),
    }
}

fn in_words(name: &str) -> &'static str {
    match name {
        "dataDir" => "directory of data, of snapshots and of myid",
        "dataLogDir" => "directory of the transaction log",
        "clientPort" => "port for clients",
        "clientPortAddress" => "address at which clients are accepted",
        "clientPortListenBacklog" => "connections that may wait to be accepted",
        "secureClientPort" => "port for clients that speak TLS",
        "secureClientPortAddress" => "address of the port for TLS",
        "observerMasterPort" => "port at which a follower serves observers",
        "tickTime" => "ms of a tick, the unit of the other limits",
        "maxClientCnxns" => "connections from one address; 0 is no limit",
        "minSessionTimeout" => "shortest session time-out, ms",
        "maxSessionTimeout" => "longest session time-out, ms",
        "initLimit" => "ticks within which a follower connects and gets the leader's state",
        "syncLimit" => "ticks by which a follower may be behind",
        "connectToLearnerMasterLimit" => "ticks within which a learner connects; 0 is initLimit",
        "electionAlg" => "how a leader is found; 3 is the only way",
        "quorumListenOnAllIPs" => "members are accepted at every address of this machine",
        "peerType" => "whether this member votes or observes",
        "dynamicConfigFile" => "file with the server lines",
        "standaloneEnabled" => "whether one server line alone makes a stand-alone server",
        "reconfigEnabled" => "whether clients may change the members",
        "autopurge.snapRetainCount" => "snapshots that a purge keeps, with their logs",
        "autopurge.purgeInterval" => "hours between purges; 0 is never",
        "localSessionsEnabled" => "sessions begin on one member alone",
        "localSessionsUpgradingEnabled" => {
            "a local session that makes an ephemeral node becomes a global one"
        }
        "sslQuorum" => "members speak TLS",
        "portUnification" => "members speak TLS or plain text on one port",
        "sslQuorumReloadCertFiles" => "changed certificates of members are read again",
        "quorum.auth.enableSasl" => "members authenticate each other",
        "quorum.auth.serverRequireSasl" => "only authenticated members are accepted",
        "quorum.auth.learnerRequireSasl" => "only an authenticated leader is followed",
        "quorum.auth.learner.saslLoginContext" => "section of the JAAS file for a learner",
        "quorum.auth.server.saslLoginContext" => "section of the JAAS file for a leader",
        "quorum.auth.kerberos.servicePrincipal" => "Kerberos principal of the members",
        "metricsProvider.className" => "whether Prometheus may ask for metrics",
        "metricsProvider.httpHost" => "address of the metrics port",
        "metricsProvider.httpPort" => "port of the metrics",
        "metricsProvider.exportJvmInfo" => "metrics of the process among the others",
        "metricsProvider." => "setting of the metrics provider",
        "multiAddress.enabled" => "members may have several addresses",
        "oraclePath" => "file that breaks the tie of two members",
        "server." => "a member: host, ports, role",
        "group." => "members of a group of a hierarchical quorum",
        "weight." => "weight of a member's vote",
        "4lw.commands.whitelist" => "four-letter words that are answered; srvr always is",
        "admin.enableServer" => "whether there is an admin server",
        "admin.serverPort" => "port of the admin server",
        "admin.serverAddress" => "address of the admin server",
        "admin.commandURL" => "where the admin server has its commands",
        "admin.idleTimeout" => "ms until an idle connection to the admin server closes",
        "admin.httpVersion" => "version of HTTP that the admin server speaks",
        "admin.portUnification" => "the admin server speaks TLS and plain text on one port",
        "admin.forceHttps" => "the admin server speaks TLS only",
        "admin.needClientAuth" => "the admin server asks for certificates",
        "admin.snapshot.enabled" => "snapshots may be taken over HTTP",
        "admin.restore.enabled" => "snapshots may be restored over HTTP",
        "admin.rateLimiterIntervalInMS" => "ms between two snapshots or restores over HTTP",
        "audit.enable" => "changes are logged with who made them",
        "audit.impl.class" => "class that writes the audit log; there is one",
        "txnLogSizeLimitInKb" => "KB after which a new log file begins",
        "preAllocSize" => "KB by which a log file grows",
        "forceSync" => "whether a write waits for the disk before it is acknowledged",
        "fsync.warningthresholdms" => "ms of a sync of the log above which a warning is logged",
        "commitLogCount" => "transactions in memory for learners that come back",
        "snapshotSizeFactor" => "share of the data's size up to which a learner gets logs and no snapshot",
        "snapshot.compression.method" => "how snapshots are packed",
        "snapshot.trust.empty" => "whether a log without a snapshot is believed",
        "db.autocreate" => "whether a member without data may vote",
        "datadir.autocreate" => "whether missing directories are made",
        "jute.maxbuffer" => "bytes of the largest request",
        "jute.maxbuffer.extrasize" => "bytes above jute.maxbuffer that members may send each other",
        "globalOutstandingLimit" => "requests under way above which sockets are not read",
        "maxCnxns" => "connections in total; 0 is no limit",
        "request_throttle_max_requests" => "requests under way above which sockets are not read; 0 is off",
        "largeRequestMaxBytes" => "bytes of large requests under way",
        "largeRequestThreshold" => "bytes from which a request is a large one; -1 is off",
        "connection_throttle_tokens" => "new sessions at a stroke; 0 is no limit",
        "connection_throttle_fill_time" => "ms between fills of the bucket for new sessions",
        "connection_throttle_fill_count" => "tokens that a fill brings",
        "connection_throttle_freeze_time" => "ms between changes of the chance that a session is refused",
        "connection_throttle_drop_increase" => "by how much that chance grows",
        "connection_throttle_drop_decrease" => "by how much that chance falls",
        "connection_throttle_decrease_ratio" => "fill of the bucket above which that chance falls",
        "connection_throttle_weight_enabled" => "new and renewed sessions take different numbers of tokens",
        "connection_throttle_global_session_weight" => "tokens of a new session",
        "connection_throttle_renew_session_weight" => "tokens of a renewed session",
        "connection_throttle_local_session_weight" => "tokens of a local session",
        "clientTcpKeepAlive" => "whether TCP looks for clients that are gone",
        "nio.sessionlessCnxnTimeout" => "ms that a connection may be without a session",
        "netty.server.outstandingHandshake.limit" => "TLS handshakes at the same time",
        "netty.server.earlyDropSecureConnectionHandshakes" => {
            "whether handshakes are refused while nobody is served"
        }
        "readonlymode.enabled" => "whether a member without a leader serves reads",
        "leaderServes" => "whether a leader serves clients",
        "forceSnapshotSync" => "learners always get a snapshot",
        "observerMaster.sizeLimit" => "bytes that a follower keeps for its observers",
        "observer.reconnectDelayMs" => "ms that an observer waits before it connects again",
        "observer.election.DelayMs" => "ms that an observer waits before it looks for a leader",
        "fastleader.minNotificationInterval" => "shortest ms between two votes to silent members",
        "fastleader.maxNotificationInterval" => "longest ms between two votes to silent members",
        "cnxTimeout" => "ms within which a member answers a call of the election",
        "quorumCnxnTimeoutMs" => "ms within which a member says who it is",
        "electionPortBindRetry" => "tries to open the election port; 0 is without end",
        "tcpKeepAlive" => "whether TCP looks for members that are gone",
        "skipACL" => "nobody is refused anything",
        "DigestAuthenticationProvider.superDigest" => "name and digest of the super user",
        "DigestAuthenticationProvider.enabled" => "whether clients may authenticate by digest",
        "DigestAuthenticationProvider.digestAlg" => "how digests are made",
        "X509AuthenticationProvider.superUser" => "certificate of the super user",
        "IPAuthenticationProvider.usexforwardedfor" => "whether the admin server believes X-Forwarded-For",
        "SASLAuthenticationProvider.superPassword" => "password of the super user",
        "authProvider." => "a way to authenticate",
        "ensembleAuthName" => "names of ensembles that clients may ask for",
        "allowSaslFailedClients" => "clients that fail to authenticate by SASL stay",
        "sessionRequireClientSASLAuth" => "clients must authenticate by SASL",
        "enforce.auth.enabled" => "clients must authenticate",
        "enforce.auth.schemes" => "ways to authenticate of which one is needed",
        "superUser" => "SASL name of the super user",
        "superUser." => "SASL name of a super user",
        "letAnySaslUserDoX" => "name in ACLs that stands for whoever has logged in by SASL",
        "sasl.serverconfig" => "section of the JAAS file for clients",
        "sasl." => "setting of SASL",
        "kerberos.removeHostFromPrincipal" => "names of clients without their host",
        "kerberos.removeRealmFromPrincipal" => "names of clients without their realm",
        "kerberos.canonicalizeHostNames" => "host names are looked up before they are used for Kerberos",
        "security.auth_to_local" => "rules that shorten Kerberos names",
        "requireKerberosConfig" => "no start without Kerberos settings",
        "server.realm" => "Kerberos realm of the servers",
        "kinit" => "program that renews Kerberos tickets",
        "java.security.auth.login.config" => "JAAS file",
        "java.security.krb5.conf" => "Kerberos settings",
        "fips-mode" => "only approved algorithms for TLS",
        "client.portUnification" => "clients speak TLS or plain text on one port",
        "client.certReload" => "changed certificates are read again",
        "ssl.quorum." => "TLS between members",
        "ssl." => "TLS of clients",
        "enforceQuota" => "hard quotas refuse writes",
        "extendedTypesEnabled" => "nodes may have a time to live",
        "digest.enabled" => "transactions carry a digest of the tree",
        "closeSessionTxn.enabled" => "the end of a session lists the nodes that it deletes",
        "znode.container.checkIntervalMs" => "ms between looks for empty containers and aged nodes",
        "znode.container.maxPerMinute" => "containers deleted in a minute",
        "znode.container.maxNeverUsedIntervalMs" => {
            "ms after which a container that was never used goes; 0 is never"
        }
        "zkd.log.level" => "which messages are logged: error, warn, info, debug, trace",
        "zkd.log.format" => "how messages are logged: text or json",
        "zkd.login.longestWaitMs" => {
            "ms that the answer to a failed login waits at most when its address fails again and again; 0 is never"
        }
        "zkd.log.slowRequestMs" => "ms of a request above which it is logged; 0 is never",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KEYS;

    #[test]
    fn every_key_says_what_it_does() {
        let silent: Vec<_> = KEYS.iter().filter(|k| of(k).is_empty()).map(|k| k.name).collect();
        assert!(silent.is_empty(), "without words: {silent:?}");
    }
}
