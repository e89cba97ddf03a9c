//! The one checked [`Config`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use crate::{
    error::{Note, Secret},
    lines::Line,
    members::{Endpoint, Membership, PeerType},
    zoo_cfg::Setting,
};

/// A configuration with what there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// Remarks in the order of their discovery; the binary logs them.
    pub notes: Vec<Note>,
    /// What became of each line.
    pub lines: Vec<Line>,
}

/// Everything that `zoo.cfg`, the dynamic file, `myid` and the flags say, checked.
///
/// Each field names its key in `zoo.cfg` (as a system property it has the prefix `zookeeper.`, but
/// where stated otherwise), its unit and its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from; `None` when there was none.
    pub file: Option<PathBuf>,
    /// Ports and the limits on connections.
    pub connections: Connections,
    /// Ticks and session time-outs.
    pub sessions: Sessions,
    /// Directories, log, snapshots and their purge.
    pub storage: Storage,
    /// Sizes and queues.
    pub limits: Limits,
    /// Who may do what.
    pub auth: Auth,
    /// Node kinds, quotas and digests.
    pub tree: Tree,
    /// Four-letter words, admin server, metrics.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
    /// TLS, for clients and between members.
    pub tls: Tls,
    /// Membership. Of no effect while [`Ensemble::is_distributed`] says no.
    pub ensemble: Ensemble,
    /// Every system property as it was set, by full name: what no field above holds (`ssl.*`,
    /// SASL, …), and what the admin server shows.
    pub properties: BTreeMap<String, Setting>,
}

/// Ports and the limits on connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Connections {
    /// `clientPort` with `clientPortAddress`. Default: none, no plain port.
    pub client: Option<Endpoint>,
    /// `secureClientPort` with `secureClientPortAddress`. Default: none, no TLS port.
    pub secure_client: Option<Endpoint>,
    /// `clientPortListenBacklog`, connections. Default: none (-1), the system's.
    pub listen_backlog: Option<u32>,
    /// `maxClientCnxns`, connections from one address. Default: 60; 0 is no limit.
    pub max_per_address: u32,
    /// `maxCnxns`, connections in total. Default: 0, no limit.
    pub max_total: u32,
    /// `nio.sessionlessCnxnTimeout`, ms until a connection needs a session. Default: 10000.
    pub sessionless_timeout: Duration,
    /// `clientTcpKeepAlive`. Default: false.
    pub tcp_keep_alive: bool,
    /// `connection_throttle_*`.
    pub throttle: ConnectionThrottle,
}

/// The token bucket for new connections. (ref: BlueThrottle)
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionThrottle {
    /// `connection_throttle_tokens`, size of the bucket. Default: 0, off.
    pub tokens: u32,
    /// `connection_throttle_fill_time`, ms between refills. Default: 1.
    pub fill_time: Duration,
    /// `connection_throttle_fill_count`, tokens a refill. Default: 1.
    pub fill_count: u32,
    /// `connection_throttle_freeze_time`, ms between changes of the drop chance. Default: none (-1), off.
    pub freeze_time: Option<Duration>,
    /// `connection_throttle_drop_increase`, 0 to 1. Default: 0.02.
    pub drop_increase: f64,
    /// `connection_throttle_drop_decrease`, 0 to 1. Default: 0.002.
    pub drop_decrease: f64,
    /// `connection_throttle_decrease_ratio`, 0 to 1. Default: 0.
    pub decrease_ratio: f64,
    /// `connection_throttle_weight_enabled`. Default: false. When true, `tokens` and `fill_count`
    /// are already multiplied by `global_weight`.
    pub weighted: bool,
    /// `connection_throttle_global_session_weight`, tokens. Default: 3.
    pub global_weight: u32,
    /// `connection_throttle_renew_session_weight`, tokens. Default: 2.
    pub renew_weight: u32,
    /// `connection_throttle_local_session_weight`, tokens. Default: 1.
    pub local_weight: u32,
}

/// Ticks and session time-outs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// `tickTime`, ms. Default: 3000.
    pub tick_time: Duration,
    /// `minSessionTimeout`, ms. Default: 2 ticks.
    pub min_timeout: Duration,
    /// `maxSessionTimeout`, ms. Default: 20 ticks.
    pub max_timeout: Duration,
    /// `localSessionsEnabled`. Default: false.
    pub local: bool,
    /// `localSessionsUpgradingEnabled`. Default: false.
    pub local_upgrading: bool,
    /// `closeSessionTxn.enabled`: the txn lists the paths that it deletes. Default: true.
    pub close_lists_paths: bool,
}

/// How a snapshot file is packed. (ref: SnapStream.StreamMode)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As it is, with a checksum.
    #[default]
    None,
    /// `snapshot.<zxid>.gz`.
    Gzip,
    /// `snapshot.<zxid>.snappy`.
    Snappy,
}

/// Directories, log, snapshots and their purge.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// `dataDir`. Required in a file.
    pub data_dir: PathBuf,
    /// `dataLogDir`. Default: `dataDir`.
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: missing directories are made. Default: true.
    pub create_directories: bool,
    /// `db.autocreate`: a member with no data may vote. Default: true.
    pub create_database: bool,
    /// `snapshot.trust.empty`: logs without a snapshot are accepted. Default: false.
    pub trust_empty_snapshot: bool,
    /// `snapCount`, txns between snapshots, at least 2. Default: 100000.
    pub snap_count: u32,
    /// `snapSizeLimitInKb`, bytes of log between snapshots. Default: 4 GiB; none: no limit.
    pub snap_size_limit: Option<u64>,
    /// `txnLogSizeLimitInKb`, bytes of one log file. Default: none (-1), no limit.
    pub log_size_limit: Option<u64>,
    /// `preAllocSize` (KiB there), bytes by which a log file grows. Default: 64 MiB; 0: it grows as written.
    pub pre_alloc_size: u64,
    /// `forceSync`: an acknowledged write is on disk. Default: true (`yes`).
    pub force_sync: bool,
    /// `fsync.warningthresholdms` (without prefix, too), ms. Default: 1000.
    pub fsync_warning: Duration,
    /// `snapshot.compression.method`. Default: none; `gz`, `snappy`.
    pub compression: Compression,
    /// `serializeLastProcessedZxid.enabled`. Default: true.
    pub snapshot_holds_last_zxid: bool,
    /// `autopurge.snapRetainCount`, snapshots, at least 3. Default: 3.
    pub purge_keep: u32,
    /// `autopurge.purgeInterval`, hours (or with a unit: ms, s, m, h, d). Default: none (0), off.
    pub purge_interval: Option<Duration>,
}

/// Sizes and queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `jute.maxbuffer` (property without prefix), bytes of one frame. Default: 1048575.
    pub jute_max_buffer: u32,
    /// `jute.maxbuffer.extrasize`, bytes by which a string or buffer on disk and between members may
    /// be larger, at least 1024. Default: `jute.maxbuffer`.
    pub jute_extra: u32,
    /// `globalOutstandingLimit`, requests in the pipeline. Default: 1000.
    pub global_outstanding: u32,
    /// `largeRequestMaxBytes`, bytes of all large requests in flight. Default: 104857600.
    pub large_request_max_bytes: u64,
    /// `largeRequestThreshold`, bytes from which a request is large. Default: none (-1), off.
    pub large_request_threshold: Option<u32>,
    /// `request_throttle_*`.
    pub throttle: RequestThrottle,
}

/// The queue in front of the pipeline. (ref: RequestThrottler)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestThrottle {
    /// `request_throttle_max_requests`, requests. Default: 0, off.
    pub max_requests: u32,
    /// `request_throttle_stall_time`, ms. Default: 100.
    pub stall_time: Duration,
    /// `request_throttle_drop_stale`: drop requests of closed connections. Default: true.
    pub drop_stale: bool,
    /// `request_stale_connection_check`. Default: true.
    pub check_connection: bool,
    /// `request_stale_latency_check`. Default: false.
    pub check_latency: bool,
    /// `throttled_op_wait_time`, ms after which a waiting request fails. Default: none (0), off.
    pub op_wait_time: Option<Duration>,
}

/// The digest in the `digest` scheme, by the names of Java's `MessageDigest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the name of its algorithm")]
pub enum DigestAlgorithm {
    Md5,
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512Half224,
    Sha512Half256,
    Sha3Bits224,
    Sha3Bits256,
    Sha3Bits384,
    Sha3Bits512,
}

impl DigestAlgorithm {
    pub(crate) const ALLOWED: &str = "MD5, SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256, SHA3-224, \
         SHA3-256, SHA3-384 or SHA3-512";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MD5" => Self::Md5,
            "SHA" | "SHA1" | "SHA-1" => Self::Sha1,
            "SHA224" | "SHA-224" => Self::Sha224,
            "SHA256" | "SHA-256" => Self::Sha256,
            "SHA384" | "SHA-384" => Self::Sha384,
            "SHA512" | "SHA-512" => Self::Sha512,
            "SHA512/224" | "SHA-512/224" => Self::Sha512Half224,
            "SHA512/256" | "SHA-512/256" => Self::Sha512Half256,
            "SHA3-224" => Self::Sha3Bits224,
            "SHA3-256" => Self::Sha3Bits256,
            "SHA3-384" => Self::Sha3Bits384,
            "SHA3-512" => Self::Sha3Bits512,
            _ => return None,
        })
    }
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `skipACL`: nobody is refused anything. Default: false (`no`).
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled`. Default: true.
    pub digest: bool,
    /// `DigestAuthenticationProvider.digestAlg`. Default: SHA1.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`, `super:<base64 of a digest>`. Default: none.
    pub super_digest: Option<Secret>,
    /// `enforce.auth.enabled` with `enforce.auth.schemes`, and `sessionRequireClientSASLAuth`: a
    /// connection needs an identity of one of these schemes. Default: empty, not enforced.
    pub enforced_schemes: BTreeSet<String>,
    /// `authProvider.N`: built-in providers that were named, by scheme. Default: empty.
    pub providers: BTreeSet<String>,
    /// `enableEagerACLCheck`: a member checks ACLs before it forwards. Default: false.
    pub eager_acl_check: bool,
    /// `letAnySaslUserDoX`: an ACL with this id of the scheme `sasl` is for everybody who has an
    /// identity of that scheme. Default: none.
    pub any_sasl_user: Option<String>,
    /// How clients log in by SASL. Default: none, they cannot.
    pub sasl: Option<Sasl>,
    /// `ensembleAuthName` with the provider of the scheme `ensemble`: what this ensemble is called.
    /// Empty: any name is right. Default: none, there is no such scheme.
    pub ensemble: Option<BTreeSet<String>>,
    /// `zkd.login.longestWaitMs`, ms: how long the answer to a failed login waits at most when many
    /// of its address have failed. Default: 10000; 0 is never.
    pub login_wait: Duration,
    /// `java.security.krb5.conf`: Kerberos' own configuration. Default: the machine's.
    pub krb5_conf: Option<PathBuf>,
}

/// How clients log in by SASL: the section of the file `java.security.auth.login.config` that
/// `sasl.serverconfig` names (`Server`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// Who is let in; `SASLAuthenticationProvider.superPassword` counts more for the user `super`.
    pub door: Door,
    /// What becomes of Kerberos principals in ACLs.
    pub names: PrincipalNames,
    /// `superUser` and `superUser.N`: users who may do everything. Default: empty.
    pub super_users: BTreeSet<String>,
    /// `allowSaslFailedClients`: who fails stays, without an identity. Default: false.
    pub allow_failed: bool,
}

/// How members log in to each other by SASL: `quorum.auth.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumSasl {
    /// Whom this member takes for one, from the section `quorum.auth.server.saslLoginContext`
    /// (`QuorumServer`).
    pub door: Door,
    /// `quorum.auth.serverRequireSasl`: who does not log in is turned away. Default: false.
    pub required: bool,
    /// What this member says to others, from the section `quorum.auth.learner.saslLoginContext`
    /// (`QuorumLearner`). Default: none (`quorum.auth.learnerRequireSasl=false`), it does not log in.
    pub login: Option<MemberLogin>,
}

/// By which mechanism a section of the file of logins lets others in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// DIGEST-MD5: `user_NAME="password"` of its `DigestLoginModule`.
    Digest(BTreeMap<String, Secret>),
    /// GSSAPI: the service of its `Krb5LoginModule`.
    Kerberos(Keytab),
}

/// Who somebody is, and how he proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberLogin {
    /// DIGEST-MD5.
    Digest {
        /// `username`.
        user: String,
        /// `password`.
        password: Secret,
    },
    /// GSSAPI.
    Kerberos {
        /// Who he is.
        keytab: Keytab,
        /// `quorum.auth.kerberos.servicePrincipal`: whom he logs in to, where the host `_HOST` stands
        /// for the other member's, with `server.realm` if it has no realm. Default: zkquorum/localhost.
        service: String,
    },
}

/// A Kerberos principal with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keytab {
    /// `principal`. Without a realm it is of the machine's own.
    pub principal: String,
    /// `keyTab`. Default: the machine's own.
    pub path: Option<PathBuf>,
}

/// What becomes of Kerberos principals in ACLs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrincipalNames {
    /// `kerberos.removeHostFromPrincipal`. Default: false.
    pub remove_host: bool,
    /// `kerberos.removeRealmFromPrincipal`. Default: false.
    pub remove_realm: bool,
    /// `security.auth_to_local`. Default: `DEFAULT`.
    pub rules: Option<String>,
}

/// TLS, for clients and between members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `ssl.*`, if `secureClientPort` or `client.portUnification` is set.
    pub client: Option<TlsSide>,
    /// `client.portUnification`: `clientPort` takes both kinds. Default: false.
    pub unified: bool,
    /// `ssl.quorum.*`, if there are members and `sslQuorum` or `portUnification` is set.
    pub quorum: Option<TlsSide>,
    /// `sslQuorum`: other members are dialled with TLS. Default: false.
    pub dial: bool,
    /// `portUnification`: the ports between members take both kinds. Default: false.
    pub quorum_unified: bool,
    /// `X509AuthenticationProvider.superUser`, a name. Default: none.
    pub super_user: Option<String>,
    /// `netty.server.outstandingHandshake.limit`. Default: none (-1).
    pub handshakes: Option<u32>,
    /// `netty.server.earlyDropSecureConnectionHandshakes`: without a leader clients with TLS are
    /// closed at once. Default: false.
    pub early_drop: bool,
}

/// What `ssl.*` or `ssl.quorum.*` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSide {
    /// Beginning of the keys, for messages.
    pub prefix: &'static str,
    /// `keyStore.*`: this server's keys with their certificates. Required.
    pub key_store: Store,
    /// `trustStore.*`: whom certificates of the other side must come from. Required but for
    /// clients with `clientAuth=none`.
    pub trust_store: Option<Store>,
    /// `clientAuth`: whether the connecting side must show a certificate. Default: need.
    pub client_auth: ClientAuth,
    /// `enabledProtocols`, without it `protocol`, by Java's names. Default: TLSv1.3 and TLSv1.2.
    pub protocols: Option<Vec<String>>,
    /// `ciphersuites`, by Java's names. Default: all that there are.
    pub cipher_suites: Option<Vec<String>>,
    /// `crl`: revoked certificates are refused. Default: false.
    pub crl: bool,
    /// `hostnameVerification` of members that are dialled. Off with `fips-mode`, which is on by default.
    pub verify_dialled: bool,
    /// `clientHostnameVerification` of who connects; of members off with `fips-mode`, which is on by default.
    pub verify_accepted: bool,
    /// `client.certReload` or `sslQuorumReloadCertFiles`. Default: false.
    pub reload: bool,
}

/// TLS on the admin port, with the files of the members' side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// `ssl.quorum.*`; whether callers must show a certificate is `admin.needClientAuth`.
    pub side: TlsSide,
    /// `admin.forceHttps`: nothing else is taken. Otherwise it is `admin.portUnification`, which takes both.
    pub forced: bool,
}

/// How a client reaches servers: what Java's has in its properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// `zookeeper.client.secure`. Default: none, no TLS.
    pub tls: Option<TlsClient>,
    /// The section of the file `java.security.auth.login.config` that `zookeeper.sasl.clientconfig` names
    /// (`Client`). Default: none, nobody is logged in.
    pub login: Option<Login>,
    /// Remarks.
    pub notes: Vec<Note>,
}

/// A user of DIGEST-MD5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `username`.
    pub user: String,
    /// `password`.
    pub password: Secret,
}

/// TLS of a client: `zookeeper.ssl.*` with `zookeeper.client.secure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsClient {
    /// `keyStore.*`: what it shows. Default: nothing.
    pub key_store: Option<Store>,
    /// `trustStore.*`: whom certificates of servers must come from. Required.
    pub trust_store: Store,
    /// `enabledProtocols`, without it `protocol`, by Java's names. Default: TLSv1.3 and TLSv1.2.
    pub protocols: Option<Vec<String>>,
    /// `ciphersuites`, by Java's names. Default: all that there are.
    pub cipher_suites: Option<Vec<String>>,
    /// `crl`: revoked certificates are refused. Default: false.
    pub crl: bool,
    /// `hostnameVerification`: a certificate must be for the host that was named. Default: true.
    pub host_names: bool,
}

/// A file with keys or certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The key that named it, for messages.
    pub key: String,
    /// `location`.
    pub location: PathBuf,
    /// `type`, without it by the end of the file's name.
    pub kind: StoreKind,
    /// `password`. Default: none, an empty one.
    pub password: Option<Secret>,
    /// `passwordPath`, a file with the password; it counts more.
    pub password_path: Option<PathBuf>,
}

/// Format of a [`Store`]. (ref: KeyStoreFileType)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Java's: the old format or PKCS12, which the content tells.
    Java,
    /// Text.
    Pem,
}

impl StoreKind {
    /// By the value of a `type` key.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "JKS" | "PKCS12" => Some(Self::Java),
            "PEM" => Some(Self::Pem),
            _ => None,
        }
    }

    /// By the end of a file's name.
    pub fn of_file(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "jks" | "p12" => Some(Self::Java),
            "pem" => Some(Self::Pem),
            _ => None,
        }
    }
}

/// Whether the connecting side must show a certificate. (ref: X509Util.ClientAuth)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is asked for, and may show none.
    Want,
    /// It must.
    Need,
    /// It is not asked.
    None,
}

/// Node kinds, quotas and digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// `extendedTypesEnabled`: TTL nodes. Default: false.
    pub extended_types: bool,
    /// `emulate353TTLNodes`: read TTL nodes as 3.5.3 wrote them. Default: false.
    pub emulate_353_ttl: bool,
    /// `enforceQuota`: a hard quota refuses writes. Default: false.
    pub enforce_quota: bool,
    /// `digest.enabled`: each txn carries a digest of the tree. Default: true.
    pub digests: bool,
    /// `znode.container.checkIntervalMs` (property without prefix), ms. Default: 60000.
    pub container_check_interval: Duration,
    /// `znode.container.maxPerMinute` (property without prefix), deletions. Default: 10000.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs` (property without prefix), ms. Default: none (0),
    /// a container that never had a child stays.
    pub container_max_never_used: Option<Duration>,
}

/// Four-letter words, admin server, metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `4lw.commands.whitelist`, words with commas between, or `*`. Default: none, `srvr` alone.
    pub words: Option<String>,
    /// `readonlymode.enabled` (property without prefix). Default: false.
    pub read_only_mode: bool,
    /// `admin.enableServer`. Default: true.
    pub server: bool,
    /// `admin.serverAddress` and `admin.serverPort`. Default: 0.0.0.0:8080.
    pub address: Endpoint,
    /// `admin.portUnification` or `admin.forceHttps`. Default: none, no TLS.
    pub tls: Option<AdminTls>,
    /// `admin.commandURL`. Default: `/commands`.
    pub command_url: String,
    /// `admin.idleTimeout`, ms: a connection that says nothing for so long is closed. Default: 30000.
    pub idle_timeout: Duration,
    /// `admin.snapshot.enabled`. Default: true.
    pub snapshot: bool,
    /// `admin.restore.enabled`. Default: true.
    pub restore: bool,
    /// `admin.rateLimiterIntervalInMS`: between two of the same of these commands. Default: 300000.
    pub rate_limit: Duration,
    /// `metricsProvider.className` with `.httpHost` and `.httpPort`: where Prometheus asks. Default:
    /// none; 0.0.0.0:7000 when that provider is chosen.
    pub prometheus: Option<Endpoint>,
    /// `metricsProvider.exportJvmInfo`: what the process uses. Default: true.
    pub process_metrics: bool,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line of text a message.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `zkd.log.level`. Default: none, what the environment says.
    pub level: Option<String>,
    /// `zkd.log.format`. Default: none, what the command line says.
    pub format: Option<LogFormat>,
    /// `zkd.log.slowRequestMs`, ms: a request that takes longer is logged. Default: 2000; 0 is never.
    pub slow_request: Option<Duration>,
    /// `audit.enable`: changes are logged with who made them. Default: false.
    pub audit: bool,
}

/// Membership and the limits of followers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensemble {
    /// `server.N`, `group.N`, `weight.N`, from the file or from `dynamicConfigFile`.
    pub membership: Membership,
    /// The proposed membership in `<file>.dynamic.next`. Default: none.
    pub last_seen: Option<Membership>,
    /// `dynamicConfigFile`. Default: none.
    pub dynamic_file: Option<PathBuf>,
    /// `myid` in `dataDir`. Default: none.
    pub my_id: Option<i64>,
    /// `peerType`; a server line of this member counts more. Default: participant.
    pub peer_type: PeerType,
    /// `standaloneEnabled`: one voter alone is no ensemble. Default: true.
    pub standalone_enabled: bool,
    /// `reconfigEnabled`. Default: false.
    pub reconfig_enabled: bool,
    /// `initLimit`, ticks. Required in an ensemble.
    pub init_limit: u32,
    /// `syncLimit`, ticks. Required in an ensemble.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit`, ticks. Default: 0, `initLimit`.
    pub connect_limit: u32,
    /// `observerMasterPort`. Default: none (0), off.
    pub observer_master_port: Option<u16>,
    /// `quorumListenOnAllIPs`. Default: false.
    pub listen_on_all_addresses: bool,
    /// `syncEnabled`: observers write log and snapshots. Default: true.
    pub sync_enabled: bool,
    /// `multiAddress.enabled`. Default: false.
    pub multi_address: bool,
    /// `oraclePath`. Default: none.
    pub oracle_path: Option<PathBuf>,
    /// `quorum.auth.*` of a member, if `quorum.auth.enableSasl` is on. Default: none.
    pub sasl: Option<QuorumSasl>,
}

impl Ensemble {
    /// Whether this server is a member of an ensemble rather than alone.
    /// (ref: QuorumPeerConfig.isDistributed)
    pub fn is_distributed(&self) -> bool {
        !self.standalone_enabled || self.membership.count(PeerType::Participant) > 1
    }
}
