//! The rules by which settings become a [`Config`], and the ways to get one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    config::{
        Admin, Auth, Compression, Config, ConnectionThrottle, Connections, DigestAlgorithm, Ensemble, Limits,
        Loaded, Log, LogFormat, RequestThrottle, Sessions, Storage, Tree,
    },
    error::{ConfigError, Origin, Secret},
    jvm_flags::Env,
    lines,
    members::{Endpoint, Membership, PeerType, SERVER_FORM, Server},
    properties::{MAX_BYTES, Properties},
    zoo_cfg::{Setting, Settings, decode_number},
};

/// The login module of DIGEST-MD5, on both sides.
pub(crate) const DIGEST_LOGIN: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";

/// How [`Config::load_with`] reads a file: its bytes, or `None` when there is no such file.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Option<Vec<u8>>>;

impl Config {
    /// Reads `zoo.cfg` and what it leads to (dynamic file, `myid`).
    /// (ref: QuorumPeerConfig.parse)
    pub fn load(path: &Path, env: &Env) -> Result<Loaded, ConfigError> {
        Self::load_with(path, env, &read_bounded)
    }

    /// As [`Config::load`], with files from anywhere.
    pub fn load_with(path: &Path, env: &Env, read: ReadFile<'_>) -> Result<Loaded, ConfigError> {
        let bytes = must_read(path, read)?;
        let properties = Properties::parse(path, &bytes)?;
        let settings = Settings::gather(path, &properties, env);
        Builder { place: path.display().to_string(), path: Some(path), settings, read }.build()
    }

    /// What `zkd serve` runs with when it gets no file: port 2181, data in `./data`, and the flags.
    pub fn standalone(env: &Env) -> Result<Loaded, ConfigError> {
        Self::from_pairs(&[("clientPort", "2181"), ("dataDir", "./data")], Origin::Builtin, env)
    }

    /// [`Config::standalone`] in an empty environment.
    pub fn standalone_default() -> Self {
        Self::standalone(&Env::empty()).expect("the built-in settings are valid").config
    }

    /// Java's other command line: `PORT DATADIR [tickTime [maxClientCnxns]]`.
    /// (ref: ServerConfig.parse)
    pub fn from_arguments(arguments: &[String], env: &Env) -> Result<Loaded, ConfigError> {
        if !(2..=4).contains(&arguments.len()) {
            return Err(ConfigError::Conflict {
                place: Origin::Argument.to_string(),
                reason: "allowed is a configuration file, or PORT DATADIR [TICKTIME [MAXCLIENTCNXNS]]".into(),
            });
        }
        let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        let pairs: Vec<_> = keys.into_iter().zip(arguments.iter().map(String::as_str)).collect();
        Self::from_pairs(&pairs, Origin::Argument, env)
    }

    fn from_pairs(pairs: &[(&str, &str)], origin: Origin, env: &Env) -> Result<Loaded, ConfigError> {
        let mut settings = Settings::from_env(env);
        for &(key, value) in pairs {
            settings.put(Setting { key: key.into(), value: value.trim().into(), origin: origin.clone() });
        }
        // Nothing here leads to another file: there is no dynamic file, and `myid` is for ensembles.
        Builder { place: origin.to_string(), path: None, settings, read: &|_| Ok(None) }.build()
    }
}

/// Checks the content of a file that stands alone: no environment, no other files. Total and
/// bounded for any input; this is what the fuzz target calls.
pub fn parse_bytes(bytes: &[u8]) -> Result<Loaded, ConfigError> {
    let read = |path: &Path| Ok((path == Path::new("zoo.cfg")).then(|| bytes.to_vec()));
    Config::load_with(Path::new("zoo.cfg"), &Env::empty(), &read)
}

pub(crate) fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    use io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

pub(crate) fn must_read(path: &Path, read: ReadFile<'_>) -> Result<Vec<u8>, ConfigError> {
    let found = read(path).and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    found.map_err(|source| ConfigError::Read { path: path.into(), source })
}

/// Settings on their way to a [`Config`].
pub(crate) struct Builder<'a> {
    /// Stands before messages that are about no line.
    pub(crate) place: String,
    pub(crate) path: Option<&'a Path>,
    pub(crate) settings: Settings,
    pub(crate) read: ReadFile<'a>,
}

impl Builder<'_> {
    fn build(mut self) -> Result<Loaded, ConfigError> {
        self.refuse()?;
        let storage = self.storage()?;
        let auth = self.auth()?;
        let mut connections = self.connections()?;
        let sessions = self.sessions()?;
        let limits = self.limits()?;
        let tree = self.tree()?;
        let admin = self.admin()?;
        let log = self.log()?;
        let ensemble = self.ensemble(&storage.data_dir, &mut connections)?;
        let tls = self.tls(ensemble.is_distributed())?;
        if tree.extended_types && ensemble.my_id.is_some_and(|id| id > 254) {
            return Err(self.conflict("extendedTypesEnabled=true allows no myid above 254"));
        }
        self.settings.note_effects();
        let lines = lines::of(&self.settings, !ensemble.is_distributed());
        let config = Config {
            file: self.path.map(Into::into),
            connections,
            sessions,
            storage,
            limits,
            auth,
            tree,
            admin,
            log,
            tls,
            ensemble,
            properties: self.settings.properties,
        };
        Ok(Loaded { config, lines, notes: self.settings.notes })
    }

    pub(crate) fn conflict(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Conflict { place: self.place.clone(), reason: reason.into() }
    }

    pub(crate) fn missing(&self, key: &str, allowed: &str) -> ConfigError {
        ConfigError::Missing { place: self.place.clone(), key: key.into(), allowed: allowed.into() }
    }

    // Keys of the file: a wrong value stops the start, as it does in Java.

    pub(crate) fn text(&self, key: &str) -> Option<&Setting> {
        self.settings.file.get(key)
    }

    fn whole(&self, key: &str, default: i64, min: i64, max: i64) -> Result<i64, ConfigError> {
        let Some(setting) = self.text(key) else { return Ok(default) };
        let number = setting.value.parse::<i64>().ok().filter(|n| (min..=max).contains(n));
        number.ok_or_else(|| setting.invalid(format!("a number from {min} to {max}")))
    }

    fn count(&self, key: &str, default: u32) -> Result<u32, ConfigError> {
        Ok(clamp_u32(self.whole(key, default.into(), i32::MIN.into(), i32::MAX.into())?))
    }

    pub(crate) fn switch(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(setting) = self.text(key) else { return Ok(default) };
        match setting.value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(setting.invalid("true or false")),
        }
    }

    fn port(&self, key: &str) -> Result<Option<u16>, ConfigError> {
        let Some(setting) = self.text(key) else { return Ok(None) };
        setting.value.parse().map(Some).map_err(|_| setting.invalid("a port, a number from 0 to 65535"))
    }

    /// A port with the address beside it.
    fn endpoint(&self, port_key: &str, address_key: &str) -> Result<Option<Endpoint>, ConfigError> {
        let port = self.port(port_key)?;
        let host = self.text(address_key).map(|s| s.value.clone()).filter(|h| !h.is_empty());
        if port.is_none() && host.is_some() {
            return Err(self.conflict(format!("{address_key} is set but {port_key} is not, set it too")));
        }
        Ok(port.map(|port| Endpoint { host: host.and_then(named_host), port }))
    }

    // System properties: what Java cannot read gives its default there, and here a note.

    pub(crate) fn property(&self, name: &str) -> Option<&Setting> {
        self.settings.properties.get(name)
    }

    /// (ref: Integer.getInteger)
    pub(crate) fn number(&self, name: &str, default: i64, min: i64, max: i64) -> Result<i64, ConfigError> {
        let Some(setting) = self.property(name) else { return Ok(default) };
        match decode_number(&setting.value) {
            None => Ok(default),
            Some(n) if (min..=max).contains(&n) => Ok(n),
            Some(_) => Err(setting.invalid(format!("a number from {min} to {max}"))),
        }
    }

    fn int(&self, name: &str, default: u32) -> Result<u32, ConfigError> {
        Ok(clamp_u32(self.number(name, default.into(), i32::MIN.into(), i32::MAX.into())?))
    }

    fn millis(&self, name: &str, default: u32) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(self.int(name, default)?.into()))
    }

    fn fraction(&self, name: &str, default: f64) -> Result<f64, ConfigError> {
        let Some(setting) = self.property(name) else { return Ok(default) };
        match setting.value.parse::<f64>() {
            Ok(n) if (0.0..=1.0).contains(&n) => Ok(n),
            Ok(n) if n.is_finite() => Err(setting.invalid("a number from 0 to 1")),
            _ => Ok(default),
        }
    }

    /// (ref: Boolean.getBoolean, Boolean.parseBoolean)
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.property(name).map_or(default, |s| s.value.eq_ignore_ascii_case("true"))
    }

    /// Settings that Java obeys and that would be dangerous to ignore.
    fn refuse(&self) -> Result<(), ConfigError> {
        let classes: [(&str, &[&str], &str); 4] = [
            (
                "zookeeper.serverCnxnFactory",
                &[
                    "org.apache.zookeeper.server.NIOServerCnxnFactory",
                    "org.apache.zookeeper.server.NettyServerCnxnFactory",
                ],
                "there are no plug-in classes, only NIOServerCnxnFactory and NettyServerCnxnFactory have a meaning",
            ),
            (
                "zookeeper.audit.impl.class",
                &["org.apache.zookeeper.audit.Slf4jAuditLogger"],
                "there are no plug-in classes, only org.apache.zookeeper.audit.Slf4jAuditLogger has a meaning",
            ),
            (
                "zookeeper.ssl.context.supplier.class",
                &[""],
                "there are no plug-in classes, use ssl.keyStore.location",
            ),
            (
                "zookeeper.ssl.quorum.context.supplier.class",
                &[""],
                "there are no plug-in classes, use ssl.quorum.keyStore.location",
            ),
        ];
        for (name, allowed, reason) in classes {
            if let Some(setting) = self.property(name).filter(|s| !allowed.contains(&s.value.as_str())) {
                return Err(setting.refused(reason));
            }
        }
        for name in ["zookeeper.ssl.ocsp", "zookeeper.ssl.quorum.ocsp"] {
            if let Some(setting) = self.property(name).filter(|s| s.value.eq_ignore_ascii_case("true")) {
                return Err(setting.refused("certificates are not checked by OCSP, remove it or use ssl.crl"));
            }
        }
        Ok(())
    }

    fn connections(&mut self) -> Result<Connections, ConfigError> {
        let client = self.endpoint("clientPort", "clientPortAddress")?;
        let secure_client = self.endpoint("secureClientPort", "secureClientPortAddress")?;
        let backlog = self.whole("clientPortListenBacklog", -1, i32::MIN.into(), i32::MAX.into())?;
        Ok(Connections {
            client,
            secure_client,
            listen_backlog: u32::try_from(backlog).ok(),
            max_per_address: self.count("maxClientCnxns", 60)?,
            max_total: self.int("zookeeper.maxCnxns", 0)?,
            sessionless_timeout: Duration::from_millis(
                self.number("zookeeper.nio.sessionlessCnxnTimeout", 10_000, 1, i32::MAX.into())?
                    .unsigned_abs(),
            ),
            tcp_keep_alive: self.flag("zookeeper.clientTcpKeepAlive", false),
            throttle: self.connection_throttle()?,
        })
    }

    /// Weights that contradict each other are corrected as Java does. (ref: BlueThrottle, static block)
    fn connection_throttle(&mut self) -> Result<ConnectionThrottle, ConfigError> {
        let key = |name: &str| format!("zookeeper.connection_throttle_{name}");
        let weighted = self.flag(&key("weight_enabled"), false);
        let local = self.int(&key("local_session_weight"), 1)?;
        let mut weight = |name: &str, default: u32| -> Result<u32, ConfigError> {
            let property = key(name);
            let written = self.int(&property, default)?;
            let corrected = if written == 0 { default } else { written.max(local) };
            if corrected != written {
                let origin = self.property(&property).map(|s| s.origin.clone());
                self.settings
                    .warn(origin, format!("{property} is {written}, {corrected} is taken as Java does"));
            }
            Ok(corrected)
        };
        let global_weight = weight("global_session_weight", 3)?;
        let renew_weight = weight("renew_session_weight", 2)?;
        let factor = if weighted { global_weight } else { 1 };
        let freeze = self.number(&key("freeze_time"), -1, i32::MIN.into(), i32::MAX.into())?;
        Ok(ConnectionThrottle {
            tokens: self.int(&key("tokens"), 0)?.saturating_mul(factor),
            fill_time: self.millis(&key("fill_time"), 1)?,
            fill_count: self.int(&key("fill_count"), 1)?.saturating_mul(factor),
            freeze_time: u64::try_from(freeze).ok().map(Duration::from_millis),
            drop_increase: self.fraction(&key("drop_increase"), 0.02)?,
            drop_decrease: self.fraction(&key("drop_decrease"), 0.002)?,
            decrease_ratio: self.fraction(&key("decrease_ratio"), 0.0)?,
            weighted,
            global_weight,
            renew_weight,
            local_weight: local.max(1),
        })
    }

    fn sessions(&self) -> Result<Sessions, ConfigError> {
        let max = i64::from(i32::MAX);
        let tick = self.whole("tickTime", 3000, 1, max)?;
        let timeout = |key: &str, ticks: i64| -> Result<i64, ConfigError> {
            let written = self.whole(key, -1, i32::MIN.into(), max)?;
            Ok(if written == -1 { (tick * ticks).min(max) } else { written.max(0) })
        };
        let (min_timeout, max_timeout) =
            (timeout("minSessionTimeout", 2)?, timeout("maxSessionTimeout", 20)?);
        if min_timeout > max_timeout || max_timeout == 0 {
            return Err(self.conflict(format!(
                "minSessionTimeout is {min_timeout} ms and maxSessionTimeout is {max_timeout} ms, allowed is a \
                 maximum that is not 0 and not below the minimum (they default to 2 and 20 times tickTime)"
            )));
        }
        let millis = |n: i64| Duration::from_millis(n.unsigned_abs());
        Ok(Sessions {
            tick_time: millis(tick),
            min_timeout: millis(min_timeout),
            max_timeout: millis(max_timeout),
            local: self.switch("localSessionsEnabled", false)?,
            local_upgrading: self.switch("localSessionsUpgradingEnabled", false)?,
            close_lists_paths: self.flag("zookeeper.closeSessionTxn.enabled", true),
        })
    }

    fn storage(&mut self) -> Result<Storage, ConfigError> {
        let directory =
            |key| self.text(key).map(|s| s.value.clone()).filter(|v| !v.is_empty()).map(PathBuf::from);
        let data_dir = directory("dataDir").ok_or_else(|| {
            self.missing("dataDir", "a directory for snapshots, and for the log without dataLogDir")
        })?;
        let data_log_dir = directory("dataLogDir").unwrap_or_else(|| data_dir.clone());
        let kilobytes = |n: i64| u64::try_from(n).ok().filter(|&n| n > 0).map(|n| n.saturating_mul(1024));
        let any = (i64::MIN, i64::MAX);
        let fsync = if self.property("zookeeper.fsync.warningthresholdms").is_some() {
            self.millis("zookeeper.fsync.warningthresholdms", 1000)?
        } else {
            self.millis("fsync.warningthresholdms", 1000)?
        };
        let storage = Storage {
            data_dir,
            data_log_dir,
            create_directories: self.flag("zookeeper.datadir.autocreate", true),
            create_database: self.flag("zookeeper.db.autocreate", true),
            trust_empty_snapshot: self.flag("zookeeper.snapshot.trust.empty", false),
            snap_count: self.at_least("zookeeper.snapCount", 2, self.int("zookeeper.snapCount", 100_000)?),
            snap_size_limit: kilobytes(self.number(
                "zookeeper.snapSizeLimitInKb",
                4_194_304,
                any.0,
                any.1,
            )?),
            log_size_limit: kilobytes(self.number("zookeeper.txnLogSizeLimitInKb", -1, any.0, any.1)?),
            pre_alloc_size: kilobytes(self.number("zookeeper.preAllocSize", 65536, any.0, any.1)?)
                .unwrap_or(0),
            force_sync: self.property("zookeeper.forceSync").is_none_or(|s| s.value != "no"),
            fsync_warning: fsync,
            compression: self.compression(),
            snapshot_holds_last_zxid: self.flag("zookeeper.serializeLastProcessedZxid.enabled", true),
            purge_keep: self.at_least(
                "autopurge.snapRetainCount",
                3,
                self.count("autopurge.snapRetainCount", 3)?,
            ),
            purge_interval: self.purge_interval()?,
        };
        if !storage.force_sync {
            let origin = self.property("zookeeper.forceSync").map(|s| s.origin.clone());
            self.settings.warn(origin, "forceSync=no: acknowledged writes are lost when the machine fails");
        }
        Ok(storage)
    }

    /// Java raises these with a warning instead of refusing them.
    fn at_least(&mut self, key: &str, least: u32, written: u32) -> u32 {
        if written < least {
            let setting = self.text(key).or_else(|| self.property(key));
            let origin = setting.map(|s| s.origin.clone());
            self.settings.warn(origin, format!("{key} is below {least}, {least} is taken as Java does"));
        }
        written.max(least)
    }

    /// A method that Java does not know means no compression there.
    fn compression(&mut self) -> Compression {
        let Some(setting) = self.property("zookeeper.snapshot.compression.method") else {
            return Compression::None;
        };
        match setting.value.to_ascii_lowercase().as_str() {
            "gz" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "" => Compression::None,
            _ => {
                let text = format!(
                    "{}={} is none of gz and snappy, snapshots are not compressed",
                    setting.key, setting.value
                );
                let origin = setting.origin.clone();
                self.settings.warn(Some(origin), text);
                Compression::None
            }
        }
    }

    /// A plain number counts hours; units are those of 3.10. (ref: Time.parseTimeInterval)
    fn purge_interval(&self) -> Result<Option<Duration>, ConfigError> {
        let Some(setting) = self.text("autopurge.purgeInterval") else { return Ok(None) };
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let found = units.iter().find_map(|(unit, ms)| Some((setting.value.strip_suffix(unit)?, *ms)));
        let (digits, unit) = found.unwrap_or((&setting.value, 3_600_000));
        let number = digits.trim().parse::<i32>().map_err(|_| {
            setting.invalid("a number of hours, or a number with one of the units ms, s, m, h, d; 0 is off")
        })?;
        let millis = u64::try_from(number).unwrap_or(0).saturating_mul(unit);
        Ok((millis > 0).then(|| Duration::from_millis(millis)))
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let max = i64::from(i32::MAX);
        let jute_max_buffer = clamp_u32(self.number("jute.maxbuffer", 0xf_ffff, 1, max)?);
        let threshold = self.number("zookeeper.largeRequestThreshold", -1, i32::MIN.into(), max)?;
        let op_wait = self.millis("zookeeper.throttled_op_wait_time", 0)?;
        Ok(Limits {
            jute_max_buffer,
            jute_extra: self.int("zookeeper.jute.maxbuffer.extrasize", jute_max_buffer)?.max(1024),
            global_outstanding: self.int("zookeeper.globalOutstandingLimit", 1000)?,
            large_request_max_bytes: self.int("zookeeper.largeRequestMaxBytes", 100 << 20)?.into(),
            large_request_threshold: u32::try_from(threshold).ok().filter(|&n| n > 0),
            throttle: RequestThrottle {
                max_requests: self.int("zookeeper.request_throttle_max_requests", 0)?,
                stall_time: self.millis("zookeeper.request_throttle_stall_time", 100)?,
                drop_stale: self.flag("zookeeper.request_throttle_drop_stale", true),
                check_connection: self.flag("zookeeper.request_stale_connection_check", true),
                check_latency: self.flag("zookeeper.request_stale_latency_check", false),
                op_wait_time: (!op_wait.is_zero()).then_some(op_wait),
            },
        })
    }

    fn auth(&mut self) -> Result<Auth, ConfigError> {
        let algorithm = match self.property("zookeeper.DigestAuthenticationProvider.digestAlg") {
            Some(s) => DigestAlgorithm::parse(&s.value).ok_or_else(|| s.invalid(DigestAlgorithm::ALLOWED))?,
            None => DigestAlgorithm::Sha1,
        };
        let digest = self.flag("zookeeper.DigestAuthenticationProvider.enabled", true);
        let super_digest = self.property("zookeeper.DigestAuthenticationProvider.superDigest");
        let providers = self.providers()?;
        let ensemble = providers.contains("ensemble").then(|| self.ensemble_names());
        let auth = Auth {
            skip_acl: self.property("zookeeper.skipACL").is_some_and(|s| s.value == "yes"),
            digest: digest || providers.contains("digest"),
            digest_algorithm: algorithm,
            super_digest: super_digest.map(|s| Secret::new(s.value.clone())),
            enforced_schemes: self.enforced_schemes(digest, &providers)?,
            providers,
            eager_acl_check: self.flag("zookeeper.enableEagerACLCheck", false),
            any_sasl_user: self.property("zookeeper.letAnySaslUserDoX").map(|s| s.value.clone()),
            sasl: self.sasl()?,
            ensemble,
            login_wait: self.millis("zookeeper.zkd.login.longestWaitMs", 10_000)?,
            krb5_conf: self.property("java.security.krb5.conf").map(|s| PathBuf::from(&s.value)),
        };
        if auth.sasl.is_some() && !auth.providers.contains("sasl") {
            let text = "clients can log in by SASL, but no ACL can name them: add \
                        authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
            self.settings.warn(None, text);
        }
        if auth.skip_acl {
            let origin = self.property("zookeeper.skipACL").map(|s| s.origin.clone());
            self.settings.warn(origin, "skipACL=yes: every client may do everything");
        }
        Ok(auth)
    }

    /// (ref: EnsembleAuthenticationProvider.setEnsembleNames)
    fn ensemble_names(&self) -> BTreeSet<String> {
        let listed = self.property("zookeeper.ensembleAuthName").map(|s| s.value.as_str());
        listed.into_iter().flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()).collect()
    }

    /// (ref: ProviderRegistry.initialize, QuorumPeerConfig.configureSSLAuth)
    fn providers(&self) -> Result<BTreeSet<String>, ConfigError> {
        const PACKAGE: &str = "org.apache.zookeeper.server.auth.";
        let named =
            self.settings.properties.iter().filter(|(name, _)| name.starts_with("zookeeper.authProvider."));
        let own = self.clients_use_tls().then(|| Ok("x509".to_owned()));
        let schemes = named.map(|(_, setting)| {
            let scheme = match setting.value.strip_prefix(PACKAGE) {
                Some("DigestAuthenticationProvider") => "digest",
                Some("IPAuthenticationProvider") => "ip",
                Some("SASLAuthenticationProvider") => "sasl",
                Some("X509AuthenticationProvider") => "x509",
                Some("EnsembleAuthenticationProvider") => "ensemble",
                _ => {
                    return Err(setting.refused(format!(
                        "there are no plug-in classes, allowed are DigestAuthenticationProvider, \
                         IPAuthenticationProvider, SASLAuthenticationProvider, X509AuthenticationProvider and \
                         EnsembleAuthenticationProvider of {PACKAGE}*"
                    )));
                }
            };
            Ok(scheme.to_owned())
        });
        schemes.chain(own).collect()
    }

    /// (ref: AuthenticationHelper.initConfigurations, validateConfiguredProperties)
    fn enforced_schemes(
        &self,
        digest: bool,
        providers: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, ConfigError> {
        let enabled = self.flag("zookeeper.enforce.auth.enabled", false);
        let sasl = self.flag("zookeeper.sessionRequireClientSASLAuth", false);
        let mut schemes = BTreeSet::new();
        let listed = self.property("zookeeper.enforce.auth.schemes");
        if sasl {
            // The list counts for nothing then.
            schemes.insert("sasl".to_owned());
        } else if !enabled {
            return Ok(schemes);
        } else {
            let list = listed.map_or("", |s| s.value.as_str());
            schemes.extend(list.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned));
        }
        let mut available = providers.clone();
        available.insert("ip".into());
        if digest {
            available.insert("digest".into());
        }
        if schemes.is_empty() {
            return Err(self.missing(
                "enforce.auth.schemes",
                "enforce.auth.enabled=true needs schemes with commas between",
            ));
        }
        if let Some(unknown) = schemes.difference(&available).next() {
            let available: Vec<_> = available.iter().map(String::as_str).collect();
            return Err(self.conflict(format!(
                "clients must authenticate by {unknown}, but there is no such provider; available are {}, and more \
                 can be named by authProvider.N",
                available.join(", ")
            )));
        }
        Ok(schemes)
    }

    fn tree(&self) -> Result<Tree, ConfigError> {
        let never_used = self.number("znode.container.maxNeverUsedIntervalMs", 0, i64::MIN, i64::MAX)?;
        Ok(Tree {
            extended_types: self.flag("zookeeper.extendedTypesEnabled", false),
            emulate_353_ttl: self.flag("zookeeper.emulate353TTLNodes", false),
            enforce_quota: self.flag("zookeeper.enforceQuota", false),
            digests: self.flag("zookeeper.digest.enabled", true),
            container_check_interval: Duration::from_millis(
                self.number("znode.container.checkIntervalMs", 60_000, 1, i32::MAX.into())?.unsigned_abs(),
            ),
            container_max_per_minute: clamp_u32(self.number(
                "znode.container.maxPerMinute",
                10_000,
                1,
                i32::MAX.into(),
            )?),
            container_max_never_used: u64::try_from(never_used)
                .ok()
                .filter(|&n| n > 0)
                .map(Duration::from_millis),
        })
    }

    fn admin(&mut self) -> Result<Admin, ConfigError> {
        let mut server = self.property("zookeeper.admin.enableServer").is_none_or(|s| s.value != "false");
        // A server runs without its admin port, as Java's does.
        let tls = match self.admin_tls() {
            Ok(tls) => tls.filter(|_| server),
            Err(e) if server => {
                self.settings.warn(None, format!("no admin port, it cannot have TLS: {e}"));
                server = false;
                None
            }
            Err(_) => None,
        };
        let value = |name: &str| self.property(name).map(|s| s.value.clone());
        let port = self.number("zookeeper.admin.serverPort", 8080, 0, 65535)?;
        Ok(Admin {
            words: value("zookeeper.4lw.commands.whitelist"),
            read_only_mode: self.flag("readonlymode.enabled", false),
            server,
            tls,
            address: Endpoint {
                host: value("zookeeper.admin.serverAddress").and_then(named_host),
                port: u16::try_from(port).expect("the range was checked"),
            },
            command_url: value("zookeeper.admin.commandURL").unwrap_or_else(|| "/commands".into()),
            idle_timeout: self.millis("zookeeper.admin.idleTimeout", 30_000)?,
            snapshot: self.flag("zookeeper.admin.snapshot.enabled", true),
            restore: self.flag("zookeeper.admin.restore.enabled", true),
            rate_limit: self.millis("zookeeper.admin.rateLimiterIntervalInMS", 300_000)?,
            prometheus: self.prometheus()?,
            process_metrics: self.text("metricsProvider.exportJvmInfo").is_none_or(|s| s.value != "false"),
        })
    }

    fn log(&self) -> Result<Log, ConfigError> {
        let level = self.property("zookeeper.zkd.log.level");
        if let Some(setting) = level {
            let known = setting.value.split(',').all(|part| {
                let word = part.rsplit('=').next().unwrap_or(part).trim().to_ascii_lowercase();
                ["error", "warn", "info", "debug", "trace", "off"].contains(&word.as_str())
            });
            if !known {
                return Err(setting.invalid("error, warn, info, debug or trace"));
            }
        }
        let format = match self.property("zookeeper.zkd.log.format") {
            None => None,
            Some(s) => Some(LogFormat::parse(&s.value).ok_or_else(|| s.invalid("text or json"))?),
        };
        let slow = self.millis("zookeeper.zkd.log.slowRequestMs", 2000)?;
        Ok(Log {
            level: level.map(|s| s.value.clone()),
            format,
            slow_request: (!slow.is_zero()).then_some(slow),
            audit: self.flag("zookeeper.audit.enable", false),
        })
    }

    fn prometheus(&self) -> Result<Option<Endpoint>, ConfigError> {
        let port = self.port("metricsProvider.httpPort")?.unwrap_or(7000);
        let Some(class) = self.text("metricsProvider.className") else { return Ok(None) };
        match class.value.as_str() {
            "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
            | "org.apache.zookeeper.metrics.impl.NullMetricsProvider" => Ok(None),
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider" => {
                let host = self.text("metricsProvider.httpHost").and_then(|s| named_host(s.value.clone()));
                Ok(Some(Endpoint { host, port }))
            }
            _ => Err(class.refused(
                "there are no plug-in classes, allowed are \
                 org.apache.zookeeper.metrics.impl.DefaultMetricsProvider and \
                 org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
            )),
        }
    }

    fn ensemble(&mut self, data_dir: &Path, connections: &mut Connections) -> Result<Ensemble, ConfigError> {
        let path =
            |key: &str| self.text(key).map(|s| PathBuf::from(&s.value)).filter(|p| !p.as_os_str().is_empty());
        if let Some(setting) = self.text("electionAlg").filter(|s| s.value != "3") {
            return Err(setting.invalid("3"));
        }
        let peer_type = match self.text("peerType") {
            Some(s) => PeerType::parse(&s.value).ok_or_else(|| s.invalid("participant or observer"))?,
            None => PeerType::Participant,
        };
        let multi = self.flag("zookeeper.multiAddress.enabled", false);
        let mut ensemble = Ensemble {
            dynamic_file: path("dynamicConfigFile"),
            peer_type,
            standalone_enabled: self.switch("standaloneEnabled", true)?,
            reconfig_enabled: self.switch("reconfigEnabled", false)?,
            init_limit: self.count("initLimit", 0)?,
            sync_limit: self.count("syncLimit", 0)?,
            connect_limit: self.count("connectToLearnerMasterLimit", 0)?,
            observer_master_port: u16::try_from(self.whole(
                "observerMasterPort",
                0,
                i32::MIN.into(),
                65535,
            )?)
            .ok()
            .filter(|&port| port > 0),
            listen_on_all_addresses: self.switch("quorumListenOnAllIPs", false)?,
            sync_enabled: self.switch("syncEnabled", true)?,
            multi_address: self.switch("multiAddress.enabled", multi)?,
            oracle_path: path("oraclePath"),
            membership: Membership::default(),
            sasl: None,
            last_seen: None,
            my_id: None,
        };
        self.check_switches()?;
        self.read_membership(&mut ensemble)?;
        self.check_membership(&ensemble)?;
        if !ensemble.membership.servers.is_empty() {
            ensemble.my_id = self.my_id(data_dir)?;
        }
        self.take_client(&ensemble, connections)?;
        if ensemble.is_distributed() {
            self.check_member(&mut ensemble)?;
            ensemble.sasl = self.quorum_sasl()?;
        }
        Ok(ensemble)
    }

    /// Switches that nothing here turns yet must still be right. (ref: parseProperties)
    fn check_switches(&self) -> Result<(), ConfigError> {
        for key in ["jvm.pause.monitor", "multiAddress.reachabilityCheckEnabled"] {
            self.switch(key, false)?;
        }
        let numbers = [
            "quorum.cnxn.threads.size",
            "jvm.pause.info-threshold.ms",
            "jvm.pause.warn-threshold.ms",
            "jvm.pause.sleep.time.ms",
            "multiAddress.reachabilityCheckTimeoutMs",
        ];
        for key in numbers {
            self.whole(key, 0, i64::MIN, i64::MAX)?;
        }
        self.quorum_logins().map(|_| ())
    }

    fn read_membership(&mut self, ensemble: &mut Ensemble) -> Result<(), ConfigError> {
        let member =
            |name: &str| ["server.", "group", "weight"].iter().any(|family| name.starts_with(family));
        let in_file: Vec<Setting> = self
            .settings
            .file
            .iter()
            .filter(|(name, _)| member(name))
            .map(|(_, setting)| setting.clone())
            .collect();
        let Some(dynamic) = ensemble.dynamic_file.clone() else {
            ensemble.membership = members(&in_file, ensemble.multi_address)?;
            return Ok(());
        };
        if let Some(setting) = in_file.first() {
            return Err(setting.refused("with dynamicConfigFile it must be in that file"));
        }
        let settings = self.read_dynamic(&dynamic)?;
        if let Some(setting) = settings.iter().find(|s| !member(&s.key)) {
            return Err(setting.refused("the dynamic file holds server.N, group.N and weight.N only"));
        }
        ensemble.membership = members(&settings, ensemble.multi_address)?;
        self.settings.members = settings;
        ensemble.membership.version = version_of(&dynamic);
        ensemble.last_seen = self.last_seen(ensemble.multi_address);
        Ok(())
    }

    fn read_dynamic(&self, path: &Path) -> Result<Vec<Setting>, ConfigError> {
        let properties = Properties::parse(path, &must_read(path, self.read)?)?;
        let setting = |entry: crate::properties::Entry| Setting {
            key: entry.key,
            value: entry.value,
            origin: Origin::File { path: path.into(), line: entry.line },
        };
        Ok(properties.entries.into_iter().map(setting).collect())
    }

    /// What was proposed and never activated. Java goes on without it when it cannot be read.
    /// (ref: QuorumPeerConfig.parse, nextDynamicConfigFile)
    fn last_seen(&mut self, multi_address: bool) -> Option<Membership> {
        let mut next = self.path?.as_os_str().to_owned();
        next.push(".dynamic.next");
        let next = PathBuf::from(next);
        if !matches!((self.read)(&next), Ok(Some(_))) {
            return None;
        }
        let found = self.read_dynamic(&next).and_then(|settings| {
            let version = settings.iter().rev().find(|s| s.key == "version").map(|s| s.value.clone());
            let settings: Vec<_> = settings.into_iter().filter(|s| s.key != "version").collect();
            let mut membership = members(&settings, multi_address)?;
            membership.version = version.and_then(|v| i64::from_str_radix(&v, 16).ok()).unwrap_or(0);
            Ok(membership)
        });
        match found {
            Ok(membership) => Some(membership),
            Err(error) => {
                self.settings.warn(None, format!("the proposed membership is left out: {error}"));
                None
            }
        }
    }

    /// (ref: QuorumPeerConfig.parseDynamicConfig)
    fn check_membership(&mut self, ensemble: &Ensemble) -> Result<(), ConfigError> {
        let voters = ensemble.membership.count(PeerType::Participant);
        let observers = ensemble.membership.count(PeerType::Observer);
        if voters == 0 && !ensemble.standalone_enabled {
            return Err(
                self.conflict("standaloneEnabled=false needs at least one server.N that is a participant")
            );
        }
        if voters <= 1 && ensemble.standalone_enabled && observers > 0 {
            return Err(
                self.conflict("observers need an ensemble, name at least two servers that are participants")
            );
        }
        if voters == 1 && ensemble.standalone_enabled {
            self.settings.info(None, "one server line and standaloneEnabled=true: the server stands alone");
        } else if voters == 2 {
            self.settings
                .warn(None, "an ensemble of two members tolerates no failure, at least three are needed");
        } else if voters > 2 && voters.is_multiple_of(2) {
            self.settings
                .warn(None, "an even number of members tolerates no more failures than one member less");
        }
        Ok(())
    }

    /// (ref: QuorumPeerConfig.setupMyId)
    fn my_id(&self, data_dir: &Path) -> Result<Option<i64>, ConfigError> {
        let path = data_dir.join("myid");
        let found = (self.read)(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let Some(bytes) = found else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or("").trim();
        let id = line.parse::<i64>().ok().filter(|id| (0..=255).contains(id));
        id.map(Some).ok_or_else(|| ConfigError::Value {
            origin: Origin::File { path: path.as_path().into(), line: 1 },
            key: "myid".into(),
            value: line.chars().take(40).collect(),
            allowed: "the N of this machine's server.N line, a number from 0 to 255".into(),
        })
    }

    /// The server's own line may name the client port, also of one that stands alone.
    /// (ref: setupClientPort)
    fn take_client(&self, ensemble: &Ensemble, connections: &mut Connections) -> Result<(), ConfigError> {
        let Some(id) = ensemble.my_id else { return Ok(()) };
        let Some(client) = ensemble.membership.servers.get(&id).and_then(|s| s.client.as_ref()) else {
            return Ok(());
        };
        let same = connections.client.as_ref().is_none_or(|own| {
            own.port == client.port && (own.host.is_none() || own.host_or_any() == client.host_or_any())
        });
        if !same {
            return Err(self.conflict(format!(
                "clientPort and clientPortAddress differ from {client} in server.{id}, allowed is one of them or both alike"
            )));
        }
        connections.client = Some(client.clone());
        Ok(())
    }

    /// What a member of an ensemble needs. (ref: checkValidity, setupPeerType)
    fn check_member(&mut self, ensemble: &mut Ensemble) -> Result<(), ConfigError> {
        for (key, value) in [("initLimit", ensemble.init_limit), ("syncLimit", ensemble.sync_limit)] {
            if value == 0 {
                return Err(self.missing(key, "an ensemble needs a number of ticks above 0"));
            }
        }
        let Some(id) = ensemble.my_id else {
            return Err(
                self.missing("myid", "an ensemble needs the file myid in dataDir with this server's number")
            );
        };
        let Some(server) = ensemble.membership.servers.get(&id) else {
            return Err(self.missing(
                &format!("server.{id}"),
                "myid in dataDir names this member, which needs a line; add it, or correct myid",
            ));
        };
        if server.peer_type != ensemble.peer_type {
            let text = format!(
                "peerType is {}, but server.{id} is {}, which counts",
                ensemble.peer_type, server.peer_type
            );
            self.settings.warn(None, text);
            ensemble.peer_type = server.peer_type;
        }
        Ok(())
    }
}

/// (ref: QuorumMaj, QuorumHierarchical.parse)
fn members(settings: &[Setting], multi_address: bool) -> Result<Membership, ConfigError> {
    let mut found = Membership::default();
    let mut grouped: BTreeMap<i64, &Setting> = BTreeMap::new();
    for setting in settings {
        let (family, id) = setting.key.split_once('.').unwrap_or((&setting.key, ""));
        let allowed = || setting.invalid("server.N, group.N or weight.N with a number for N");
        let id = id.parse::<i64>().ok().filter(|id| *id >= 0).ok_or_else(allowed)?;
        match family {
            "server" => {
                let server = Server::parse(&setting.value).map_err(|reason| setting.invalid(reason))?;
                if server.addresses.len() > 1 && !multi_address {
                    return Err(setting.invalid(format!(
                        "one address unless multiAddress.enabled is true ({SERVER_FORM})"
                    )));
                }
                found.servers.insert(id, server);
            }
            "group" => {
                let ids: Result<BTreeSet<i64>, _> =
                    setting.value.split(':').map(|s| s.trim().parse()).collect();
                let ids = ids.map_err(|_| setting.invalid("numbers of servers with colons between"))?;
                for member in &ids {
                    if grouped.insert(*member, setting).is_some_and(|other| other.key != setting.key) {
                        return Err(
                            setting.invalid(format!("each server in one group, server {member} is in two"))
                        );
                    }
                }
                found.groups.insert(id, ids);
            }
            "weight" => {
                let weight = setting.value.parse::<i64>().ok().filter(|w| *w >= 0);
                found
                    .weights
                    .insert(id, weight.ok_or_else(|| setting.invalid("a number that is not negative"))?);
            }
            _ => return Err(allowed()),
        }
    }
    if found.is_hierarchical()
        && let Some((id, _)) = found
            .servers
            .iter()
            .find(|(id, s)| s.peer_type == PeerType::Participant && !grouped.contains_key(id))
        && let Some(setting) = settings.iter().find(|s| s.key == format!("server.{id}"))
    {
        return Err(setting.invalid(format!(
            "a server that is in a group when there are groups or weights, {id} is in none"
        )));
    }
    Ok(found)
}

/// The hexadecimal end of `zoo.cfg.dynamic.10000000f`, or 0.
/// (ref: QuorumPeerConfig.getVersionFromFilename)
fn version_of(dynamic_file: &Path) -> i64 {
    let name = dynamic_file.to_string_lossy();
    name.rsplit_once('.').and_then(|(_, end)| i64::from_str_radix(end, 16).ok()).unwrap_or(0)
}

/// A host without brackets; `None` when it stands for every address.
fn named_host(host: String) -> Option<String> {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => Some(inner.into()),
        None => Some(host).filter(|h| !matches!(h.as_str(), "" | "0.0.0.0")),
    }
}

/// Negative numbers mean "off" in Java, as 0 does.
fn clamp_u32(n: i64) -> u32 {
    u32::try_from(n.clamp(0, u32::MAX.into())).expect("the range was clamped")
}
