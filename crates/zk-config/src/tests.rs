//! Whole configurations: what people have, and what goes wrong with it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use crate::{
    Config, ConfigError, Endpoint, Env, Loaded, PeerType, Secret,
    config::{
        ClientAuth, ClientSettings, Compression, DigestAlgorithm, Door, Keytab, MemberLogin, PrincipalNames,
    },
    keys::{ALIASES, KEYS},
    parse_bytes,
};

const MINIMAL: &str = "dataDir=/data\nclientPort=2181\n";

fn files(files: &[(&str, &str)], flags: &str) -> Result<Loaded, ConfigError> {
    let files: BTreeMap<&Path, &str> = files.iter().map(|(p, t)| (Path::new(*p), *t)).collect();
    let env = Env { variables: vec![("SERVER_JVMFLAGS".into(), flags.into())] };
    let read = |path: &Path| Ok(files.get(path).map(|text| text.as_bytes().to_vec()));
    Config::load_with(Path::new("zoo.cfg"), &env, &read)
}

fn with(lines: &str) -> Result<Loaded, ConfigError> {
    files(&[("zoo.cfg", &format!("{MINIMAL}{lines}"))], "")
}

fn config(lines: &str) -> Config {
    with(lines).unwrap_or_else(|e| panic!("{e}")).config
}

fn error(lines: &str) -> String {
    with(lines).err().map_or_else(|| panic!("{lines} is accepted"), |e| e.to_string())
}

fn notes(loaded: &Loaded) -> Vec<String> {
    loaded.notes.iter().map(ToString::to_string).collect()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn defaults_are_those_of_java() {
    let c = config("");
    assert_eq!(c.connections.client, Some(Endpoint::any(2181)));
    assert_eq!((c.connections.max_per_address, c.connections.max_total), (60, 0));
    assert_eq!((c.connections.listen_backlog, c.connections.sessionless_timeout), (None, ms(10_000)));
    assert_eq!(
        (c.sessions.tick_time, c.sessions.min_timeout, c.sessions.max_timeout),
        (ms(3000), ms(6000), ms(60_000))
    );
    assert_eq!(c.storage.data_log_dir, Path::new("/data"));
    assert_eq!((c.storage.snap_count, c.storage.pre_alloc_size), (100_000, 64 << 20));
    assert_eq!((c.storage.snap_size_limit, c.storage.log_size_limit), (Some(4 << 30), None));
    assert_eq!((c.storage.purge_keep, c.storage.purge_interval), (3, None));
    assert_eq!(c.storage.compression, Compression::None);
    assert!(c.storage.force_sync && c.storage.create_database && c.storage.create_directories);
    assert!(!c.storage.trust_empty_snapshot && c.storage.snapshot_holds_last_zxid);
    assert_eq!(
        (c.limits.jute_max_buffer, c.limits.jute_extra, c.limits.global_outstanding),
        (0xf_ffff, 0xf_ffff, 1000)
    );
    assert_eq!((c.limits.large_request_max_bytes, c.limits.large_request_threshold), (100 << 20, None));
    assert_eq!((c.limits.throttle.max_requests, c.limits.throttle.op_wait_time), (0, None));
    assert!(
        !c.auth.skip_acl
            && c.auth.digest
            && c.auth.super_digest.is_none()
            && c.auth.enforced_schemes.is_empty()
    );
    assert_eq!(c.auth.digest_algorithm, DigestAlgorithm::Sha1);
    assert!(
        !c.tree.extended_types && !c.tree.enforce_quota && c.tree.digests && c.sessions.close_lists_paths
    );
    assert_eq!((c.tree.container_check_interval, c.tree.container_max_per_minute), (ms(60_000), 10_000));
    assert_eq!(c.tree.container_max_never_used, None);
    assert_eq!((c.admin.words, c.admin.read_only_mode, c.admin.server), (None, false, true));
    assert_eq!((c.admin.address, c.admin.prometheus), (Endpoint::any(8080), None));
    assert!(c.admin.snapshot && c.admin.restore && c.admin.process_metrics);
    assert_eq!((c.admin.idle_timeout, c.admin.rate_limit), (ms(30_000), ms(300_000)));
    assert!(!c.ensemble.is_distributed() && !c.ensemble.reconfig_enabled && c.ensemble.standalone_enabled);
}

#[test]
fn without_a_file() {
    let c = Config::standalone_default();
    assert_eq!((c.connections.client, c.storage.data_dir), (Some(Endpoint::any(2181)), "./data".into()));
    assert_eq!((c.sessions.tick_time, c.file), (ms(3000), None));
    let env = Env { variables: vec![("JVMFLAGS".into(), "-Djute.maxbuffer=4096".into())] };
    assert_eq!(Config::standalone(&env).expect("valid").config.limits.jute_max_buffer, 4096);
}

#[test]
fn javas_other_command_line() {
    let run = |line: &str| {
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Config::from_arguments(&arguments, &Env::empty())
    };
    let c = run("2182 /d 2000 7").expect("valid").config;
    assert_eq!((c.connections.client, c.connections.max_per_address), (Some(Endpoint::any(2182)), 7));
    assert_eq!((c.sessions.min_timeout, c.storage.data_dir), (ms(4000), "/d".into()));
    assert_eq!(
        run("2182 /d x").expect_err("no number").to_string(),
        "command line: tickTime=x is not valid, allowed is a number from 1 to 2147483647"
    );
    assert!(run("2182").is_err() && run("1 2 3 4 5").is_err());
}

#[test]
fn kafkas_file() {
    let loaded = files(
        &[(
            "zoo.cfg",
            "# where the snapshot is stored.\ndataDir=/tmp/zookeeper\nclientPort=2181\n\
            maxClientCnxns=0\nadmin.enableServer=false\n# admin.serverPort=8080\n",
        )],
        "-Xmx512M -Xms512M -server",
    )
    .expect("valid");
    assert_eq!(loaded.config.connections.max_per_address, 0);
    assert!(!loaded.config.admin.server);
    assert_eq!(notes(&loaded), ["flags for a JVM have no effect: -Xmx512M -Xms512M -server"]);
}

#[test]
fn bitnamis_file() {
    let loaded = files(
        &[
            ("zoo.cfg", "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/bitnami/zookeeper/data\nclientPort=2181\n\
            maxClientCnxns=60\nautopurge.snapRetainCount=3\nautopurge.purgeInterval=0\npreAllocSize=65536\nsnapCount=100000\n\
            maxCnxns=0\nreconfigEnabled=false\nquorumListenOnAllIPs=false\n4lw.commands.whitelist=srvr, mntr\nmaxSessionTimeout=40000\n\
            admin.serverPort=8080\nadmin.enableServer=true\nserver.1=0.0.0.0:2888:3888;2181\n\
            authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
            requireClientAuthScheme=sasl\njaasLoginRenew=3600000\n"),
            ("/bitnami/zookeeper/data/myid", "1\n"),
        ],
        "",
    )
    .expect("valid");
    assert_eq!(loaded.config.admin.words.as_deref(), Some("srvr, mntr"));
    assert_eq!((loaded.config.ensemble.my_id, loaded.config.ensemble.is_distributed()), (Some(1), false));
    assert_eq!(
        notes(&loaded),
        [
            "one server line and standaloneEnabled=true: the server stands alone",
            "zoo.cfg:21: jaasLoginRenew has no effect: no ZooKeeper server reads it",
            "zoo.cfg:20: requireClientAuthScheme has no effect: no ZooKeeper server reads it",
        ]
    );
}

#[test]
fn solrs_file() {
    let loaded = with(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\n# snapshots\n4lw.commands.whitelist=mntr,conf,ruok\n\
        autopurge.snapRetainCount=3\nautopurge.purgeInterval=1\n",
    );
    let loaded = loaded.expect("valid");
    assert_eq!(loaded.config.storage.purge_interval, Some(Duration::from_secs(3600)));
    assert!(loaded.notes.is_empty());
}

#[test]
fn the_official_images_ensemble() {
    let text = "dataDir=/data\ndataLogDir=/datalog\ntickTime=2000\ninitLimit=5\nsyncLimit=2\n\
        autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\nmaxClientCnxns=60\nstandaloneEnabled=true\nadmin.enableServer=true\n\
        server.1=zoo1:2888:3888;2181\nserver.2=zoo2:2888:3888;2181\nserver.3=zoo3:2888:3888:observer;2181\nserver.4=zoo4:2888:3888;2181\n";
    let loaded = files(&[("zoo.cfg", text), ("/data/myid", "3")], "").expect("valid");
    let e = &loaded.config.ensemble;
    assert!(e.is_distributed());
    assert_eq!((e.my_id, e.peer_type, e.membership.servers.len()), (Some(3), PeerType::Observer, 4));
    assert_eq!(loaded.config.connections.client, Some(Endpoint::any(2181)));
    assert_eq!(notes(&loaded), ["peerType is participant, but server.3 is observer, which counts"]);
}

#[test]
fn hbases_single_server_line_stands_alone() {
    let c = config("initLimit=10\nsyncLimit=5\nserver.0=localhost:2888:3888\n");
    assert!(!c.ensemble.is_distributed());
}

#[test]
fn a_dynamic_file() {
    let zoo = "dataDir=/data\ninitLimit=5\nsyncLimit=2\nreconfigEnabled=true\nstandaloneEnabled=false\n\
        dynamicConfigFile=/conf/zoo.cfg.dynamic.10000000f\n";
    let dynamic = "server.1=a:2888:3888:participant;2181\nserver.2=b:2888:3888:participant;2181\nserver.3=c:2888:3888\n";
    let next = "server.1=a:2888:3888:participant;2181\nversion=200000001\n";
    let all = [
        ("zoo.cfg", zoo),
        ("/conf/zoo.cfg.dynamic.10000000f", dynamic),
        ("zoo.cfg.dynamic.next", next),
        ("/data/myid", "2"),
    ];
    let e = files(&all, "").expect("valid").config.ensemble;
    assert_eq!((e.membership.version, e.membership.servers.len()), (0x1_0000_000f, 3));
    assert_eq!(e.last_seen.map(|m| (m.version, m.servers.len())), Some((0x2_0000_0001, 1)));

    let wrong = |dynamic: &str| files(&[all[0], (all[1].0, dynamic)], "").expect_err("wrong").to_string();
    assert_eq!(
        wrong("server.1=a:1:2\nversion=1\n"),
        "/conf/zoo.cfg.dynamic.10000000f:2: version=1 is refused: the dynamic file holds server.N, group.N and weight.N only"
    );
    assert!(
        wrong("server.1=a:1\n").starts_with("/conf/zoo.cfg.dynamic.10000000f:1: server.1=a:1 is not valid")
    );
    let missing = files(&[all[0]], "").expect_err("missing").to_string();
    assert!(missing.starts_with("cannot read /conf/zoo.cfg.dynamic.10000000f: "), "{missing}");
    let both = format!("{zoo}server.1=a:1:2\n");
    assert_eq!(
        files(&[("zoo.cfg", &both), all[1]], "").expect_err("both").to_string(),
        "zoo.cfg:7: server.1=a:1:2 is refused: with dynamicConfigFile it must be in that file"
    );
    let broken_next = [all[0], all[1], ("zoo.cfg.dynamic.next", "server.x=1"), all[3]];
    let loaded = files(&broken_next, "").expect("valid");
    assert!(
        loaded.config.ensemble.last_seen.is_none()
            && notes(&loaded)[0].starts_with("the proposed membership")
    );
}

#[test]
fn groups_and_weights() {
    let servers = "initLimit=5\nsyncLimit=2\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n";
    let read = |lines: &str| {
        files(&[("zoo.cfg", &format!("{MINIMAL}{servers}{lines}")), ("/data/myid", "1")], "")
            .map(|l| l.config.ensemble.membership)
            .map_err(|e| e.to_string())
    };
    let m = read("group.1=1:2\ngroup.2=3\nweight.3=0\n").expect("valid");
    assert_eq!((m.groups[&1].len(), m.weights[&3], m.is_hierarchical()), (2, 0, true));
    for (lines, part) in [
        (
            "group.1=1:2\ngroup.2=2:3\n",
            "zoo.cfg:9: group.2=2:3 is not valid, allowed is each server in one group",
        ),
        ("group.1=1:2\n", "zoo.cfg:7: server.3=c:1:2 is not valid"),
        ("weight.1=x\n", "zoo.cfg:8: weight.1=x is not valid, allowed is a number that is not negative"),
        ("group1=1\n", "zoo.cfg:8: group1=1 is not valid, allowed is server.N, group.N or weight.N"),
        ("server.x=a:1:2\n", "zoo.cfg:8: server.x=a:1:2 is not valid"),
    ] {
        let found = read(lines).expect_err(lines);
        assert!(found.starts_with(part), "{found}");
    }
}

#[test]
fn what_an_ensemble_needs() {
    let servers = "server.1=a:1:2\nserver.2=b:1:2\n";
    assert_eq!(error(servers), "zoo.cfg: initLimit is not set: an ensemble needs a number of ticks above 0");
    assert_eq!(
        error(&format!("initLimit=1\n{servers}")),
        "zoo.cfg: syncLimit is not set: an ensemble needs a number of ticks above 0"
    );
    let limits = format!("{MINIMAL}initLimit=1\nsyncLimit=1\n{servers}");
    let run = |myid: &str, more: &str| {
        let text = format!("{limits}{more}");
        files(&[("zoo.cfg", &text), ("/data/myid", myid)], "").map_err(|e| e.to_string())
    };
    assert!(files(&[("zoo.cfg", &limits)], "").is_err_and(|e| e.to_string().contains("myid is not set")));
    assert_eq!(
        run("one", "").expect_err("no number"),
        "/data/myid:1: myid=one is not valid, allowed is the N of this machine's server.N line, a number from 0 to 255"
    );
    assert_eq!(
        run("255", "server.255=c:1:2\nextendedTypesEnabled=true").expect_err("too large"),
        "zoo.cfg: extendedTypesEnabled=true allows no myid above 254"
    );
    assert_eq!(
        run("9", "").expect_err("no line").to_string(),
        "zoo.cfg: server.9 is not set: myid in dataDir names this member, which needs a line; add it, or correct myid"
    );
    let text = limits.replace("a:1:2", "a:1:2;2182");
    let differs = files(&[("zoo.cfg", &text), ("/data/myid", "1")], "").expect_err("differs").to_string();
    assert!(differs.contains("differ from 0.0.0.0:2182 in server.1"), "{differs}");
    assert_eq!(
        error("standaloneEnabled=false"),
        "zoo.cfg: standaloneEnabled=false needs at least one server.N that is a participant"
    );
    assert!(error("server.1=a:1:2\nserver.2=b:1:2:observer").contains("observers need an ensemble"));
    assert!(error("server.1=a:1:2|b:1:2").contains("one address unless multiAddress.enabled is true"));
    config("multiAddress.enabled=true\nserver.1=a:1:2|b:1:2");
}

#[test]
fn wrong_values_of_file_keys_stop_the_start() {
    for (line, allowed) in [
        ("clientPort=x", "a port, a number from 0 to 65535"),
        ("clientPort=65536", "a port, a number from 0 to 65535"),
        ("tickTime=0", "a number from 1 to 2147483647"),
        ("tickTime=2000ms", "a number from 1 to 2147483647"),
        ("tickTime=0x10", "a number from 1 to 2147483647"),
        ("maxClientCnxns=", "a number from -2147483648 to 2147483647"),
        ("minSessionTimeout=-", "a number from -2147483648 to 2147483647"),
        ("clientPortListenBacklog=many", "a number from -2147483648 to 2147483647"),
        ("reconfigEnabled=yes", "true or false"),
        ("sslQuorum=1", "true or false"),
        ("jvm.pause.monitor=on", "true or false"),
        ("peerType=leader", "participant or observer"),
        ("electionAlg=0", "3"),
        (
            "autopurge.purgeInterval=1y",
            "a number of hours, or a number with one of the units ms, s, m, h, d; 0 is off",
        ),
        ("quorum.cnxn.threads.size=x", "a number from -9223372036854775808 to 9223372036854775807"),
    ] {
        let key = line.split('=').next().expect("a key");
        let text =
            if key == "clientPort" { format!("dataDir=/d\n\n{line}") } else { format!("{MINIMAL}{line}") };
        let found = files(&[("zoo.cfg", &text)], "").map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(found, Err(format!("zoo.cfg:3: {line} is not valid, allowed is {allowed}")));
    }
}

#[test]
fn negative_numbers_mean_off_as_in_java() {
    let c =
        config("minSessionTimeout=-2\nclientPortListenBacklog=-5\nobserverMasterPort=-1\nmaxClientCnxns=-1");
    assert_eq!((c.sessions.min_timeout, c.connections.listen_backlog), (ms(0), None));
    assert_eq!((c.ensemble.observer_master_port, c.connections.max_per_address), (None, 0));
    assert!(error("tickTime=-5").contains("tickTime=-5 is not valid"));
    assert!(error("maxSessionTimeout=-2").contains("maxSessionTimeout is 0 ms"));
}

#[test]
fn contradictions() {
    assert_eq!(
        parse_bytes(b"clientPort=1").expect_err("no dataDir").to_string(),
        "zoo.cfg: dataDir is not set: a directory for snapshots, and for the log without dataLogDir"
    );
    assert_eq!(
        error("secureClientPortAddress=h"),
        "zoo.cfg: secureClientPortAddress is set but secureClientPort is not, set it too"
    );
    assert!(
        error("minSessionTimeout=7\nmaxSessionTimeout=6")
            .contains("minSessionTimeout is 7 ms and maxSessionTimeout is 6 ms")
    );
    assert!(error("minSessionTimeout=60001").contains("maxSessionTimeout is 60000 ms"));
    assert!(error("quorum.auth.serverRequireSasl=true").contains("enableSasl=true"));
    assert!(
        error("quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true")
            .contains("learnerRequireSasl=true")
    );
}

#[test]
fn refused_and_not_ignored() {
    assert_eq!(
        error("authProvider.1=com.example.Ldap"),
        "zoo.cfg:3: authProvider.1=com.example.Ldap is refused: there are no plug-in classes, allowed are \
         DigestAuthenticationProvider, IPAuthenticationProvider, SASLAuthenticationProvider, \
         X509AuthenticationProvider and EnsembleAuthenticationProvider of org.apache.zookeeper.server.auth.*"
    );
    for line in [
        "ssl.ocsp=true",
        "ssl.quorum.ocsp=True",
        "ssl.context.supplier.class=a.B",
        "serverCnxnFactory=a.B",
        "audit.impl.class=a.B",
        "metricsProvider.className=a.B",
    ] {
        assert!(error(line).contains(" is refused: "), "{line}");
    }
    let flag =
        files(&[("zoo.cfg", MINIMAL)], "-Dzookeeper.authProvider.x=a.B").expect_err("refused").to_string();
    assert!(flag.starts_with("-D in SERVER_JVMFLAGS: zookeeper.authProvider.x=a.B is refused"), "{flag}");
    let c = config(
        "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\nssl.ocsp=false",
    );
    assert!(c.auth.providers.contains("sasl"));
}

#[test]
fn members_are_not_left_open() {
    let member = |lines: &str| {
        let text = format!(
            "{MINIMAL}server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\ninitLimit=5\nsyncLimit=2\n{lines}"
        );
        files(&[("zoo.cfg", &text), ("/data/myid", "1")], "").map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(member("sslQuorum=false"), Ok(()));
    for lines in ["sslQuorum=true", "portUnification=true"] {
        let text = member(lines).expect_err("no files");
        assert!(text.contains("ssl.quorum.keyStore.location is not set"), "{text}");
    }
    assert!(with("sslQuorum=true").is_ok(), "there are no members");
}

#[test]
fn wrong_properties_take_the_default_as_in_java() {
    let loaded =
        with("snapCount=many\nforceSync=off\nskipACL=true\nextendedTypesEnabled=yes\njute.maxbuffer=1m")
            .expect("valid");
    let c = &loaded.config;
    assert_eq!((c.storage.snap_count, c.storage.force_sync, c.auth.skip_acl), (100_000, true, false));
    assert_eq!((c.tree.extended_types, c.limits.jute_max_buffer), (false, 0xf_ffff));
    assert_eq!(
        notes(&loaded),
        [
            "zoo.cfg:7: jute.maxbuffer=1m is not a number, the default 1048575 is taken as Java does",
            "zoo.cfg:6: extendedTypesEnabled=yes is neither true nor false",
            "zoo.cfg:4: forceSync=off is neither yes nor no",
            "zoo.cfg:5: skipACL=true is neither yes nor no",
            "zoo.cfg:3: snapCount=many is not a number, the default 100000 is taken as Java does",
            "zoo.cfg:3: snapCount has no effect: the mirror is always near the log, no snapshots are taken by number or size of transactions",
        ]
    );
    assert_eq!(
        error("jute.maxbuffer=0"),
        "zoo.cfg:3: jute.maxbuffer=0 is not valid, allowed is a number from 1 to 2147483647"
    );
}

#[test]
fn values_below_a_minimum_are_raised() {
    let loaded = with("snapCount=1\nautopurge.snapRetainCount=1\njute.maxbuffer.extrasize=5").expect("valid");
    assert_eq!((loaded.config.storage.snap_count, loaded.config.storage.purge_keep), (2, 3));
    assert_eq!(loaded.config.limits.jute_extra, 1024);
    assert_eq!(
        notes(&loaded),
        [
            "zoo.cfg:3: zookeeper.snapCount is below 2, 2 is taken as Java does",
            "zoo.cfg:4: autopurge.snapRetainCount is below 3, 3 is taken as Java does",
            "zoo.cfg:3: snapCount has no effect: the mirror is always near the log, no snapshots are taken by number or size of transactions",
        ]
    );
}

#[test]
fn dangerous_settings_warn() {
    let loaded = with("forceSync=no\nskipACL=yes").expect("valid");
    assert!(!loaded.config.storage.force_sync && loaded.config.auth.skip_acl);
    assert_eq!(
        notes(&loaded),
        [
            "zoo.cfg:3: forceSync=no: acknowledged writes are lost when the machine fails",
            "zoo.cfg:4: skipACL=yes: every client may do everything",
        ]
    );
}

#[test]
fn storage_values() {
    let s = config("dataLogDir=/log\nsnapSizeLimitInKb=-1\ntxnLogSizeLimitInKb=10\npreAllocSize=0\nsnapshot.compression.method=GZ\n\
        snapshot.trust.empty=TRUE\ndb.autocreate=false\nfsync.warningthresholdms=20").storage;
    assert_eq!(
        (s.data_log_dir.to_str(), s.snap_size_limit, s.log_size_limit),
        (Some("/log"), None, Some(10240))
    );
    assert_eq!((s.pre_alloc_size, s.compression), (0, Compression::Gzip));
    assert!(s.trust_empty_snapshot && !s.create_database && s.fsync_warning == ms(20));
    for (text, interval) in
        [("24", 86_400_000), ("30m", 1_800_000), ("1d", 86_400_000), ("-1", 0), ("500ms", 500)]
    {
        let expected = (interval > 0).then(|| ms(interval));
        assert_eq!(
            config(&format!("autopurge.purgeInterval={text}")).storage.purge_interval,
            expected,
            "{text}"
        );
    }
    let legacy = files(&[("zoo.cfg", MINIMAL)], "-Dfsync.warningthresholdms=7").expect("valid");
    assert_eq!(legacy.config.storage.fsync_warning, ms(7));
}

#[test]
fn enforced_schemes() {
    assert!(config("enforce.auth.schemes=digest").auth.enforced_schemes.is_empty());
    let c = config("enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip,");
    assert_eq!(c.auth.enforced_schemes.into_iter().collect::<Vec<_>>(), ["digest", "ip"]);
    assert!(error("enforce.auth.enabled=true").contains("enforce.auth.schemes is not set"));
    assert!(
        error("enforce.auth.enabled=true\nenforce.auth.schemes=sasl")
            .contains("available are digest, ip, and more")
    );
    assert!(error("DigestAuthenticationProvider.enabled=false\nenforce.auth.enabled=true\nenforce.auth.schemes=digest")
        .contains("available are ip, and"));
    assert!(error("sessionRequireClientSASLAuth=true").contains("authenticate by sasl"));
    let sasl = "sessionRequireClientSASLAuth=true\nauthProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
    assert!(config(sasl).auth.enforced_schemes.contains("sasl"));
    let both = format!("{sasl}\nenforce.auth.enabled=true\nenforce.auth.schemes=digest");
    assert_eq!(config(&both).auth.enforced_schemes.into_iter().collect::<Vec<_>>(), ["sasl"]);
}

/// A configuration with this file of logins.
fn logins(jaas: &str, lines: &str) -> Result<Loaded, String> {
    let zoo_cfg = format!("{MINIMAL}{lines}");
    let found =
        files(&[("zoo.cfg", &zoo_cfg), ("/jaas.conf", jaas)], "-Djava.security.auth.login.config=/jaas.conf");
    found.map_err(|e| e.to_string())
}

const DIGEST_LOGIN: &str = "org.apache.zookeeper.server.auth.DigestLoginModule required";
const SASL_PROVIDER: &str = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";

fn users_of(door: &Door) -> &BTreeMap<String, Secret> {
    match door {
        Door::Digest(users) => users,
        Door::Kerberos(keytab) => panic!("{keytab:?}"),
    }
}

#[test]
fn logins_by_kerberos() {
    let section = |options: &str| {
        let class = "com.sun.security.auth.module.Krb5LoginModule required";
        format!("Server {{ {DIGEST_LOGIN} user_a=b; {class}\n {options}; }};")
    };
    let usual = section(
        "useKeyTab=true keyTab=\"/k/tab\" storeKey=true useTicketCache=false principal=\"zookeeper/h@R\"",
    );
    let auth = logins(&usual, SASL_PROVIDER).expect("valid").config.auth;
    let sasl = auth.sasl.expect("configured");
    let keytab = Keytab { principal: "zookeeper/h@R".to_owned(), path: Some("/k/tab".into()) };
    assert_eq!(
        (sasl.door, sasl.names, auth.krb5_conf),
        (Door::Kerberos(keytab), PrincipalNames::default(), None)
    );

    let lines = "kerberos.removeHostFromPrincipal=true\nkerberos.removeRealmFromPrincipal=TRUE\n\
                 security.auth_to_local=RULE:[1:$1]\njava.security.krb5.conf=/etc/other.conf";
    let file = section("useKeyTab=True principal=\"zk/h\" keyTab=\"FILE:/k\"");
    let auth = logins(&file, lines).expect("valid").config.auth;
    let sasl = auth.sasl.expect("configured");
    assert_eq!(sasl.door, Door::Kerberos(Keytab { principal: "zk/h".to_owned(), path: Some("/k".into()) }));
    // Java compares with "true" here.
    let rules = Some("RULE:[1:$1]".to_owned());
    assert_eq!(sasl.names, PrincipalNames { remove_host: true, remove_realm: false, rules });
    assert_eq!(auth.krb5_conf, Some("/etc/other.conf".into()));

    for (options, expected) in [
        ("principal=\"zk/h@R\"", "a server has its key in a file"),
        ("useKeyTab=true", "it needs principal="),
        ("useKeyTab=true principal=\"*\"", "it needs principal="),
        ("useKeyTab=true principal=\"zk@R\"", "principal zk@R is no service"),
    ] {
        let text = logins(&section(options), "").expect_err(options);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn members_with_kerberos() {
    const JAAS: &str = "QuorumServer { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true \
        keyTab=\"/s\" principal=\"zkquorum/h\"; };\nQuorumLearner { com.sun.security.auth.module.Krb5LoginModule required \
        useKeyTab=true keyTab=\"/l\" principal=\"learner/h@R\"; };";
    let login = |lines: &str, flags: &str| {
        let text = format!(
            "{MINIMAL}server.1=a:2888:3888\nserver.2=b:2888:3888\ninitLimit=5\nsyncLimit=2\n\
             quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n{lines}"
        );
        let files = [("zoo.cfg", &*text), ("/data/myid", "1"), ("/jaas.conf", JAAS)];
        let flags = format!("-Djava.security.auth.login.config=/jaas.conf {flags}");
        let loaded = self::files(&files, &flags).expect("valid");
        loaded.config.ensemble.sasl.expect("enabled")
    };
    let sasl = login("", "");
    assert_eq!(
        sasl.door,
        Door::Kerberos(Keytab { principal: "zkquorum/h".to_owned(), path: Some("/s".into()) })
    );
    let realm = "-Dzookeeper.server.realm=X";
    for (lines, flags, expected) in [
        ("", "", "zkquorum/localhost"),
        ("quorum.auth.kerberos.servicePrincipal=zk/_HOST", "", "zk/_HOST"),
        ("quorum.auth.kerberos.servicePrincipal=zk/_HOST", realm, "zk/_HOST@X"),
        ("quorum.auth.kerberos.servicePrincipal=zk/_HOST@Y", realm, "zk/_HOST@Y"),
    ] {
        let Some(MemberLogin::Kerberos { keytab, service }) = login(lines, flags).login else {
            panic!("{lines}")
        };
        assert_eq!((keytab.principal.as_str(), service.as_str()), ("learner/h@R", expected));
    }
}

#[test]
fn logins_by_sasl() {
    assert_eq!(config("").auth.sasl, None);
    let jaas = format!(
        "Server {{ {DIGEST_LOGIN} user_super=hush user_bob=\"hush too\" debug=\"true\"; }};\nOther {{ {DIGEST_LOGIN} user_eve=x; }};"
    );
    let loaded = logins(&jaas, SASL_PROVIDER).expect("valid");
    let sasl = loaded.config.auth.sasl.as_ref().expect("configured");
    let users: Vec<_> =
        users_of(&sasl.door).iter().map(|(name, password)| (name.as_str(), password.expose())).collect();
    assert_eq!(users, [("bob", "hush too"), ("super", "hush")]);
    assert!(sasl.super_users.is_empty() && !sasl.allow_failed && notes(&loaded).is_empty());
    assert!(!format!("{loaded:?}").contains("hush"));

    let lines = "sasl.serverconfig=Other\nsuperUser=eve\nsuperUser.2=kim\nsuperUserX=no\nallowSaslFailedClients=true\n\
                 SASLAuthenticationProvider.superPassword=p\nletAnySaslUserDoX=any";
    let loaded = logins(&jaas, lines).expect("valid");
    let sasl = loaded.config.auth.sasl.as_ref().expect("configured");
    // There is no user super whose password it could be.
    assert_eq!(users_of(&sasl.door).keys().collect::<Vec<_>>(), ["eve"]);
    assert_eq!(sasl.super_users.iter().collect::<Vec<_>>(), ["eve", "kim"]);
    assert!(sasl.allow_failed);
    assert_eq!(loaded.config.auth.any_sasl_user.as_deref(), Some("any"));
    assert!(
        notes(&loaded).iter().any(|n| n.contains("no ACL can name them: add authProvider.1")),
        "{loaded:?}"
    );

    let loaded = logins(&jaas, "SASLAuthenticationProvider.superPassword=p").expect("valid");
    assert_eq!(users_of(&loaded.config.auth.sasl.expect("configured").door)["super"].expose(), "p");
}

#[test]
fn logins_of_members() {
    const MEMBERS: &str =
        "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\ninitLimit=5\nsyncLimit=2\n";
    let jaas = format!(
        "QuorumServer {{ {DIGEST_LOGIN} user_zk=\"hush\"; }};\nQuorumLearner {{ {DIGEST_LOGIN} username=zk password=hush; }};\n\
         Half {{ {DIGEST_LOGIN} username=zk; }};\nKerberos {{ a.B required; }};"
    );
    let member = |lines: &str, jaas: &str| {
        let text = format!("{MINIMAL}{MEMBERS}quorum.auth.{}", lines.replace('\n', "\nquorum.auth."));
        let files = [("zoo.cfg", &*text), ("/data/myid", "1"), ("/jaas.conf", jaas)];
        let flags = "-Djava.security.auth.login.config=/jaas.conf -Dzookeeper.fips-mode=";
        let switched = self::files(&files, &format!("{flags}{}", lines.starts_with("x=fips")));
        switched.map(|l| l.config.ensemble.sasl).map_err(|e| e.to_string())
    };
    let on = "enableSasl=true\nlearnerRequireSasl=true\nserverRequireSasl=true";
    assert_eq!(member("enableSasl=false", ""), Ok(None));
    let sasl = member("enableSasl=true", &jaas).expect("valid").expect("enabled");
    assert!(!sasl.required && sasl.login.is_none());
    assert_eq!(users_of(&sasl.door)["zk"].expose(), "hush");
    let sasl = member(on, &jaas).expect("valid").expect("enabled");
    assert!(sasl.required && !format!("{sasl:?}").contains("hush"));
    let login = MemberLogin::Digest { user: "zk".to_owned(), password: Secret::new("hush") };
    assert_eq!(sasl.login, Some(login));

    for (lines, jaas, expected) in [
        (
            "enableSasl=true",
            "",
            "/jaas.conf has no section QuorumServer, which quorum.auth.server.saslLoginContext",
        ),
        (
            "enableSasl=true\nlearner.saslLoginContext=X",
            &*jaas,
            "has no section X, which quorum.auth.learner",
        ),
        ("enableSasl=true\nserver.saslLoginContext=Kerberos", &jaas, "Kerberos=a.B is refused: "),
        (&format!("{on}\nlearner.saslLoginContext=Half"), &jaas, "section Half has no username="),
        (&format!("x=fips\n{on}"), &jaas, "needs fips-mode=false"),
    ] {
        let text = member(lines, jaas).expect_err(lines);
        assert!(text.contains(expected), "{text}");
    }
    let text = format!("{MINIMAL}{MEMBERS}quorum.auth.enableSasl=true");
    let text = files(&[("zoo.cfg", &text), ("/data/myid", "1")], "").expect_err("no file").to_string();
    assert!(text.contains("java.security.auth.login.config is not set"), "{text}");
    assert!(with("quorum.auth.enableSasl=true").is_ok(), "there are no members");
}

#[test]
fn logins_that_are_missing_or_not_possible() {
    let loaded = logins("Client { };", "").expect("valid");
    assert_eq!(loaded.config.auth.sasl, None);
    assert_eq!(
        notes(&loaded),
        ["-D in SERVER_JVMFLAGS: /jaas.conf has no section Server: clients cannot log in by SASL"]
    );
    assert_eq!(
        logins("Server {\n com.example.Ldap required; };", "").expect_err("refused"),
        "/jaas.conf:2: Server=com.example.Ldap is refused: there are no plug-in classes, allowed are \
         org.apache.zookeeper.server.auth.DigestLoginModule and com.sun.security.auth.module.Krb5LoginModule"
    );
    assert_eq!(
        logins("Server {", "").expect_err("broken"),
        "/jaas.conf:1: the class of a login module or '}' is expected"
    );
    let text = error("java.security.auth.login.config=/nosuch");
    assert!(text.starts_with("cannot read /nosuch: "), "{text}");
    for written in ["=/jaas.conf", "file:/jaas.conf", "file:///jaas.conf"] {
        let zoo_cfg = format!("{MINIMAL}java.security.auth.login.config={written}");
        let jaas = format!("Server {{ {DIGEST_LOGIN} user_a=b; }};");
        let loaded = files(&[("zoo.cfg", &zoo_cfg), ("/jaas.conf", &jaas)], "").expect(written);
        assert!(loaded.config.auth.sasl.is_some(), "{written}");
    }
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let lines = "DigestAuthenticationProvider.superDigest=super:hush\nssl.keyStore.password=hush\nssl.trustStore.passwordPath=/p";
    let loaded = with(lines).expect("valid");
    assert_eq!(loaded.config.auth.super_digest.as_ref().map(|s| s.expose()), Some("super:hush"));
    assert_eq!(loaded.config.properties["zookeeper.ssl.keyStore.password"].value, "hush");
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hush") && shown.contains("passwordPath=/p"));
}

#[test]
fn addresses() {
    let c = config(
        "clientPortAddress=::1\nsecureClientPort=2281\nssl.keyStore.location=/k.pem\nssl.clientAuth=none\nsecureClientPortAddress=[fe80::1]\nadmin.serverAddress=127.0.0.1\n\
        metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\nmetricsProvider.httpPort=7001",
    );
    assert_eq!(c.connections.client.map(|e| e.to_string()).as_deref(), Some("[::1]:2181"));
    assert_eq!(c.connections.secure_client.map(|e| e.to_string()).as_deref(), Some("[fe80::1]:2281"));
    assert_eq!(c.admin.address.to_string(), "127.0.0.1:8080");
    assert_eq!(c.admin.prometheus, Some(Endpoint::any(7001)));
    assert_eq!(config("clientPortAddress=0.0.0.0").connections.client, Some(Endpoint::any(2181)));
    assert_eq!(parse_bytes(b"dataDir=/d").expect("valid").config.connections.client, None);
}

#[test]
fn throttles() {
    let t = config(
        "connectionMaxTokens=10\nconnection_throttle_weight_enabled=true\nconnection_throttle_global_session_weight=4\n\
        connection_throttle_freeze_time=5\nconnection_throttle_drop_increase=0.5",
    );
    let t = t.connections.throttle;
    assert_eq!((t.tokens, t.fill_count, t.freeze_time, t.drop_increase), (40, 4, Some(ms(5)), 0.5));
    let t = config("connection_throttle_local_session_weight=5").connections.throttle;
    assert_eq!((t.global_weight, t.renew_weight, t.local_weight), (5, 5, 5));
    let l = config("requestThrottleLimit=9\nthrottled_op_wait_time=3\nlargeRequestThreshold=100").limits;
    assert_eq!(
        (l.throttle.max_requests, l.throttle.op_wait_time, l.large_request_threshold),
        (9, Some(ms(3)), Some(100))
    );
    assert!(error("connection_throttle_drop_increase=2").ends_with("allowed is a number from 0 to 1"));
}

#[test]
fn digest_algorithms() {
    for (name, algorithm) in
        [("sha-256", DigestAlgorithm::Sha256), ("SHA3-512", DigestAlgorithm::Sha3Bits512)]
    {
        let c = config(&format!("DigestAuthenticationProvider.digestAlg={name}"));
        assert_eq!(c.auth.digest_algorithm, algorithm);
    }
    assert!(error("DigestAuthenticationProvider.digestAlg=MD2").contains("allowed is MD5, SHA1"));
}

#[test]
fn properties_without_prefix_are_taken_from_the_file() {
    let c = config(
        "jute.maxbuffer=4194304\nreadonlymode.enabled=true\nznode.container.maxPerMinute=5\n\
        znode.container.maxNeverUsedIntervalMs=9\nznode.container.checkIntervalMs=8",
    );
    assert_eq!((c.limits.jute_max_buffer, c.limits.jute_extra), (4 << 20, 4 << 20));
    assert!(c.admin.read_only_mode);
    assert_eq!((c.tree.container_max_per_minute, c.tree.container_max_never_used), (5, Some(ms(9))));
    assert_eq!(c.tree.container_check_interval, ms(8));
}

#[test]
fn tls_of_clients() {
    use crate::config::{ClientAuth, StoreKind};
    let stores = "secureClientPort=2281\nssl.keyStore.location=/k.jks\nssl.trustStore.location=/t.crt\nssl.trustStore.type=pem\n";
    let tls = config(stores).tls;
    let side = tls.client.expect("there is a port with TLS");
    let trust = side.trust_store.expect("it is set");
    assert_eq!((side.key_store.kind, trust.kind), (StoreKind::Java, StoreKind::Pem));
    assert_eq!((side.client_auth, side.verify_accepted, side.crl), (ClientAuth::Need, false, false));
    assert_eq!((tls.quorum, tls.handshakes, side.protocols), (None, None, None));
    assert!(config(stores).auth.providers.contains("x509") && config("").tls.client.is_none());

    let more = "fips-mode=false\nssl.clientHostnameVerification=true\nssl.enabledProtocols=TLSv1.2, TLSv1.3\nssl.protocol=TLSv1.3\n";
    let side = config(&format!("{stores}{more}")).tls.client.expect("there is a port with TLS");
    assert!(side.verify_accepted);
    assert_eq!(side.protocols.as_deref(), Some(&["TLSv1.2".to_owned(), "TLSv1.3".to_owned()][..]));
    // Whoever asks for it gets it with fips-mode, too; Java then lets nobody in.
    let asked = with(&format!("{stores}ssl.clientHostnameVerification=true")).expect("valid");
    assert_eq!(notes(&asked), Vec::<String>::new());
    assert!(asked.config.tls.client.is_some_and(|side| side.verify_accepted));
    let neither = "ssl.clientHostnameVerification=true\nssl.hostnameVerification=false";
    assert!(config(&format!("{stores}{neither}")).tls.client.is_some_and(|side| !side.verify_accepted));

    for (lines, expected) in [
        ("secureClientPort=1", "ssl.keyStore.location is not set"),
        ("client.portUnification=true\nssl.keyStore.location=/k.p12", "ssl.trustStore.location is not set"),
        ("secureClientPort=1\nssl.keyStore.location=/k.bcfks", "JKS, PEM or PKCS12"),
        ("secureClientPort=1\nssl.clientAuth=maybe", "need, want or none"),
        ("secureClientPort=1\nssl.sslProvider=BoringSSL", "JDK, OPENSSL"),
        ("secureClientPort=1\nssl.authProvider=mine", "plug-in"),
    ] {
        let text = error(lines);
        assert!(text.contains(expected), "{lines}: {text}");
    }
}

#[test]
fn later_areas_say_so() {
    let loaded = with("oraclePath=a\nsslQuorum=false\naudit.enable=true").expect("valid");
    assert_eq!(notes(&loaded), ["zoo.cfg:3: oraclePath has no effect yet: the oracle is missing"]);
}

#[test]
fn every_known_key_is_accepted_with_its_default() {
    for key in KEYS.iter().filter(|k| !k.default.is_empty() && !k.name.ends_with('.')) {
        let loaded = with(&format!("{}={}", key.name, key.default)).unwrap_or_else(|e| panic!("{e}"));
        let allowed = ["reconfigEnabled", "clientPort"];
        assert!(loaded.notes.is_empty() || allowed.contains(&key.name), "{:?}", loaded.notes);
    }
    for (alias, _) in ALIASES {
        assert!(
            with(&format!("{alias}=1")).is_ok_and(|l| l.config.properties.values().any(|s| s.key == *alias)),
            "{alias}"
        );
    }
}

/// The keys of the administrator's side of our specification (row group 7).
const SPECIFIED: &str = "
    dataDir dataLogDir clientPort clientPortAddress secureClientPort secureClientPortAddress
    observerMasterPort clientPortListenBacklog tickTime maxClientCnxns minSessionTimeout
    maxSessionTimeout initLimit syncLimit connectToLearnerMasterLimit electionAlg
    quorumListenOnAllIPs peerType syncEnabled dynamicConfigFile autopurge.snapRetainCount
    autopurge.purgeInterval standaloneEnabled reconfigEnabled localSessionsEnabled
    localSessionsUpgradingEnabled sslQuorum portUnification sslQuorumReloadCertFiles
    quorum.auth.enableSasl quorum.auth.serverRequireSasl quorum.auth.learnerRequireSasl
    quorum.auth.learner.saslLoginContext quorum.auth.server.saslLoginContext
    quorum.auth.kerberos.servicePrincipal quorum.cnxn.threads.size jvm.pause.monitor
    jvm.pause.info-threshold.ms jvm.pause.warn-threshold.ms jvm.pause.sleep.time.ms
    metricsProvider.className metricsProvider.httpPort metricsProvider.httpHost
    metricsProvider.exportJvmInfo multiAddress.enabled multiAddress.reachabilityCheckEnabled
    multiAddress.reachabilityCheckTimeoutMs oraclePath server.N group.N weight.N
    4lw.commands.whitelist admin.enableServer admin.serverPort admin.serverAddress admin.idleTimeout
    admin.commandURL admin.httpVersion admin.portUnification admin.forceHttps admin.needClientAuth
    admin.snapshot.enabled admin.restore.enabled admin.rateLimiterIntervalInMS snapCount
    snapSizeLimitInKb txnLogSizeLimitInKb preAllocSize forceSync fsync.warningthresholdms
    commitLogCount snapshotSizeFactor snapshot.compression.method snapshot.trust.empty
    serializeLastProcessedZxid.enabled db.autocreate datadir.autocreate globalOutstandingLimit
    maxCnxns request_throttle_max_requests request_throttle_stall_time request_throttle_drop_stale
    request_stale_connection_check request_stale_latency_check request_throttler.shutdownTimeout
    throttled_op_wait_time largeRequestMaxBytes largeRequestThreshold connection_throttle_tokens
    flushDelay maxWriteQueuePollTime maxBatchSize maxResponseCacheSize
    maxGetChildrenResponseCacheSize leaderServes leader.maxConcurrentSnapSyncs
    leader.maxConcurrentDiffSyncs leader.maxTimeToWaitForEpoch leader.closeSocketAsync
    learner.closeSocketAsync learner.asyncSending leaderConnectDelayDuringRetryMs forceSnapshotSync
    forward_learner_requests_to_commit_processor_disabled follower.skipLearnerRequestToNextProcessor
    observerMaster.sizeLimit observer.reconnectDelayMs observer.election.DelayMs
    observer.syncEnabled fastleader.minNotificationInterval fastleader.maxNotificationInterval
    cnxTimeout quorumCnxnTimeoutMs electionPortBindRetry tcpKeepAlive clientTcpKeepAlive
    nio.numSelectorThreads nio.numWorkerThreads nio.sessionlessCnxnTimeout nio.directBufferBytes
    nio.shutdownTimeout commitProcessor.numWorkerThreads commitProcessor.maxReadBatchSize
    commitProcessor.maxCommitBatchSize serverCnxnFactory skipACL enableEagerACLCheck superUser
    DigestAuthenticationProvider.superDigest X509AuthenticationProvider.superUser
    IPAuthenticationProvider.usexforwardedfor ensembleAuthName authProvider.N allowSaslFailedClients
    sessionRequireClientSASLAuth enforce.auth.enabled enforce.auth.schemes letAnySaslUserDoX
    kerberos.removeHostFromPrincipal sasl.serverconfig fips-mode enforceQuota extendedTypesEnabled
    emulate353TTLNodes digest.enabled closeSessionTxn.enabled audit.enable audit.impl.class
    watchManagerName watcherCleanThreadsNum watcherCleanThreshold watcherCleanIntervalInSeconds
    maxInProcessingDeadWatchers bitHashCacheSize pathStats.* messageTracker.Enabled
    jute.maxbuffer.extrasize ssl.* ssl.quorum.* client.portUnification client.certReload
    jute.maxbuffer readonlymode.enabled znode.container.checkIntervalMs
    metricsProvider.numWorkerThreads metricsProvider.maxQueueSize
    metricsProvider.workerShutdownTimeoutMs connection_throttle_fill_time
    connection_throttle_fill_count connection_throttle_freeze_time connection_throttle_drop_increase
    connection_throttle_drop_decrease connection_throttle_decrease_ratio
    connection_throttle_weight_enabled connection_throttle_global_session_weight
    connection_throttle_renew_session_weight connection_throttle_local_session_weight
    DigestAuthenticationProvider.digestAlg DigestAuthenticationProvider.enabled
    kerberos.removeRealmFromPrincipal kerberos.canonicalizeHostNames znode.container.maxPerMinute
    znode.container.maxNeverUsedIntervalMs java.security.auth.login.config
    netty.advancedFlowControl.enabled netty.server.outstandingHandshake.limit
    netty.server.earlyDropSecureConnectionHandshakes
";

/// The system properties that the classes of Java's server name.
const NAMED_BY_JAVA: &str = "
    follower.nodelay fsync.warningthresholdms java.security.auth.login.config jute.maxbuffer
    leader.nodelay readonlymode.enabled znode.container.checkIntervalMs
    znode.container.maxNeverUsedIntervalMs znode.container.maxPerMinute
    zookeeper.4lw.commands.whitelist zookeeper.DigestAuthenticationProvider.digestAlg
    zookeeper.DigestAuthenticationProvider.enabled
    zookeeper.DigestAuthenticationProvider.superDigest
    zookeeper.IPAuthenticationProvider.usexforwardedfor
    zookeeper.SASLAuthenticationProvider.superPassword
    zookeeper.X509AuthenticationProvider.superUser zookeeper.admin.commandURL
    zookeeper.admin.enableServer zookeeper.admin.forceHttps zookeeper.admin.httpVersion
    zookeeper.admin.idleTimeout zookeeper.admin.needClientAuth zookeeper.admin.portUnification
    zookeeper.admin.rateLimiterIntervalInMS zookeeper.admin.restore.enabled
    zookeeper.admin.serverAddress zookeeper.admin.serverPort zookeeper.admin.snapshot.enabled
    zookeeper.allowSaslFailedClients zookeeper.authProvider.x509 zookeeper.bitHashCacheSize
    zookeeper.clientTcpKeepAlive zookeeper.closeSessionTxn.enabled zookeeper.cnxTimeout
    zookeeper.commitLogCount zookeeper.commitProcessor.maxCommitBatchSize
    zookeeper.commitProcessor.maxReadBatchSize zookeeper.commitProcessor.numWorkerThreads
    zookeeper.commitProcessor.shutdownTimeout zookeeper.connection_throttle_decrease_ratio
    zookeeper.connection_throttle_drop_decrease zookeeper.connection_throttle_drop_increase
    zookeeper.connection_throttle_fill_count zookeeper.connection_throttle_fill_time
    zookeeper.connection_throttle_freeze_time zookeeper.connection_throttle_global_session_weight
    zookeeper.connection_throttle_local_session_weight
    zookeeper.connection_throttle_renew_session_weight zookeeper.connection_throttle_tokens
    zookeeper.connection_throttle_weight_enabled zookeeper.datadir.autocreate
    zookeeper.db.autocreate zookeeper.digest.enabled zookeeper.electionPortBindRetry
    zookeeper.emulate353TTLNodes zookeeper.enableEagerACLCheck zookeeper.enforce.auth.enabled
    zookeeper.enforce.auth.schemes zookeeper.enforceQuota zookeeper.ensembleAuthName
    zookeeper.extendedTypesEnabled zookeeper.fastleader.maxNotificationInterval
    zookeeper.fastleader.minNotificationInterval zookeeper.fips-mode zookeeper.flushDelay
    zookeeper.follower.skipLearnerRequestToNextProcessor zookeeper.forceSnapshotSync
    zookeeper.forceSync zookeeper.forward_learner_requests_to_commit_processor_disabled
    zookeeper.fsync.warningthresholdms zookeeper.globalOutstandingLimit
    zookeeper.intBufferStartingSizeBytes zookeeper.kerberos.canonicalizeHostNames
    zookeeper.kerberos.removeHostFromPrincipal zookeeper.kerberos.removeRealmFromPrincipal
    zookeeper.kinit zookeeper.largeRequestMaxBytes zookeeper.largeRequestThreshold
    zookeeper.leader.ackLoggingFrequency zookeeper.leader.closeSocketAsync
    zookeeper.leader.maxConcurrentDiffSyncs zookeeper.leader.maxConcurrentSnapSyncs
    zookeeper.leader.maxTimeToWaitForEpoch zookeeper.leaderConnectDelayDuringRetryMs
    zookeeper.leaderServes zookeeper.learner.asyncSending zookeeper.learner.closeSocketAsync
    zookeeper.letAnySaslUserDoX zookeeper.maxBatchSize zookeeper.maxCnxns
    zookeeper.maxGetChildrenResponseCacheSize zookeeper.maxInProcessingDeadWatchers
    zookeeper.maxResponseCacheSize zookeeper.maxWriteQueuePollTime
    zookeeper.messageTracker.BufferSize zookeeper.messageTracker.Enabled
    zookeeper.multiAddress.enabled zookeeper.multiAddress.reachabilityCheckEnabled
    zookeeper.multiAddress.reachabilityCheckTimeoutMs zookeeper.netty.advancedFlowControl.enabled
    zookeeper.netty.server.earlyDropSecureConnectionHandshakes
    zookeeper.netty.server.outstandingHandshake.limit zookeeper.nio.directBufferBytes
    zookeeper.nio.numSelectorThreads zookeeper.nio.numWorkerThreads
    zookeeper.nio.sessionlessCnxnTimeout zookeeper.nio.shutdownTimeout
    zookeeper.observer.election.DelayMs zookeeper.observer.reconnectDelayMs
    zookeeper.observer.syncEnabled zookeeper.observerMaster.sizeLimit zookeeper.pathStats.delay
    zookeeper.pathStats.enabled zookeeper.pathStats.initialDelay zookeeper.pathStats.maxDepth
    zookeeper.pathStats.sampleRate zookeeper.pathStats.slotCapacity zookeeper.pathStats.slotDuration
    zookeeper.pathStats.topPathMax zookeeper.preAllocSize zookeeper.quorumCnxnTimeoutMs
    zookeeper.request_stale_connection_check zookeeper.request_stale_latency_check
    zookeeper.request_throttle_drop_stale zookeeper.request_throttle_max_requests
    zookeeper.request_throttle_stall_time zookeeper.request_throttler.shutdownTimeout
    zookeeper.requireKerberosConfig zookeeper.sasl.serverconfig zookeeper.security.auth_to_local
    zookeeper.serializeLastProcessedZxid.enabled zookeeper.serverCnxnFactory
    zookeeper.sessionRequireClientSASLAuth zookeeper.skipACL zookeeper.snapCount
    zookeeper.snapSizeLimitInKb zookeeper.snapshot.compression.method zookeeper.snapshot.trust.empty
    zookeeper.snapshotSizeFactor zookeeper.superUser zookeeper.tcpKeepAlive
    zookeeper.throttled_op_wait_time zookeeper.txnLogSizeLimitInKb zookeeper.watchManagerName
    zookeeper.watcherCleanIntervalInSeconds zookeeper.watcherCleanThreadsNum
    zookeeper.watcherCleanThreshold
";

#[test]
fn no_key_is_forgotten() {
    let forgotten: Vec<_> =
        SPECIFIED.split_whitespace().filter(|n| crate::keys::by_name(n).is_none()).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
    let known = |n: &&str| crate::keys::by_property(n).is_some();
    let forgotten: Vec<_> = NAMED_BY_JAVA.split_whitespace().filter(|n| !known(n)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
    let live = crate::keys::LIVE.iter().filter(|n| crate::keys::by_name(n).is_none());
    assert_eq!(live.count(), 0);
}

#[test]
fn each_line_tells_what_it_does() {
    use crate::{Effect, lines};
    let flags = "-Dzookeeper.snapCount=5 -Djute.maxbuffer=4096";
    let before =
        files(&[("zoo.cfg", &format!("{MINIMAL}clientPort=2182\nsyncLimit=2\nx=1\noraclePath=x\n"))], flags);
    let before = before.expect("valid").lines;
    let shown: Vec<_> = before.iter().map(|l| format!("{} {} {:?}", l.origin, l.key, l.effect)).collect();
    assert_eq!(
        shown,
        [
            "-D in SERVER_JVMFLAGS jute.maxbuffer Used",
            "-D in SERVER_JVMFLAGS zookeeper.snapCount None",
            "zoo.cfg:1 dataDir Used",
            "zoo.cfg:2 clientPort Replaced",
            "zoo.cfg:3 clientPort Used",
            "zoo.cfg:4 syncLimit None",
            "zoo.cfg:5 x Unknown",
            "zoo.cfg:6 oraclePath Missing",
        ]
    );
    assert!(before.iter().all(|l| !l.text.is_empty() && (l.effect != Effect::Used || !l.live)));
    let after = files(&[("zoo.cfg", "dataDir=/data\nclientPort=2183\nmaxClientCnxns=3\nx=2\n")], "");
    let after = after.expect("valid").lines;
    assert_eq!(lines::need_restart(&before, &after), ["clientPort", "jute.maxbuffer", "oraclePath"]);
    assert!(lines::need_restart(&after, &after).is_empty());
}

#[test]
fn a_server_alone_may_have_its_client_port_in_its_line() {
    let text = "dataDir=/data\nserver.1=localhost:2888:3888;2181\n";
    let loaded = files(&[("zoo.cfg", text), ("/data/myid", "1")], "").expect("valid");
    assert!(!loaded.config.ensemble.is_distributed());
    assert_eq!(loaded.config.connections.client, Some(Endpoint::any(2181)));
}

#[test]
fn reading_from_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("zoo.cfg");
    std::fs::write(&path, MINIMAL).expect("written");
    let loaded = Config::load(&path, &Env::empty()).expect("valid");
    assert_eq!(loaded.config.file.as_deref(), Some(path.as_path()));
    let missing = dir.path().join("none.cfg");
    let error = Config::load(&missing, &Env::empty()).expect_err("missing").to_string();
    assert!(error.starts_with("cannot read ") && error.contains("none.cfg"), "{error}");
    std::fs::write(&path, vec![b'#'; crate::properties::MAX_BYTES + 1]).expect("written");
    assert!(matches!(Config::load(&path, &Env::empty()), Err(ConfigError::TooLarge { .. })));
    assert!(matches!(Config::load(dir.path(), &Env::empty()), Err(ConfigError::Read { .. })));
}

mod total {
    use proptest::prelude::*;

    use super::{Env, KEYS, MINIMAL, parse_bytes};
    use crate::jvm_flags::Flags;

    fn line() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            (0..KEYS.len()).prop_map(|i| KEYS[i].name.to_owned()),
            "(server|group|weight)[.]?[0-9]{0,3}",
            "[a-z.]{0,8}",
        ];
        let value = prop_oneof![
            "-?[0-9]{1,20}",
            "(true|false|yes|no|gz|)",
            "\\[?[a-z:0-9]{0,6}\\]?(:[0-9]{1,5}){0,3}(\\||;|:observer)?[0-9]{0,4}",
            any::<String>(),
        ];
        (key, value).prop_map(|(key, value)| format!("{key}={value}\n"))
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_bytes(&bytes);
        }

        #[test]
        fn likely_lines(lines in proptest::collection::vec(line(), 0..12)) {
            if let Err(error) = parse_bytes(format!("{MINIMAL}{}", lines.concat()).as_bytes()) {
                // The dynamic file is the only other file that is named.
                let text = error.to_string();
                prop_assert!(text.starts_with("zoo.cfg") || text.starts_with("cannot read "), "{text}");
            }
        }

        #[test]
        fn any_flags(text in any::<String>()) {
            let _ = Flags::parse(&Env { variables: vec![("JVMFLAGS".into(), text)] });
        }
    }
}

#[test]
fn tls_of_the_admin_port() {
    let with = |text: &str| files(&[("zoo.cfg", &format!("{MINIMAL}\n{text}"))], "").expect("valid");
    let stores = "ssl.quorum.keyStore.location=/k.p12\nssl.quorum.trustStore.location=/t.p12\n";
    let admin = |text: &str| with(&format!("{stores}{text}")).config.admin;
    assert_eq!(admin("admin.forceHttps=false").tls, None);
    let tls = admin("admin.forceHttps=TRUE").tls.expect("TLS");
    assert_eq!((tls.forced, tls.side.client_auth, tls.side.prefix), (true, ClientAuth::None, "ssl.quorum."));
    let tls = admin("admin.portUnification=true\nadmin.needClientAuth=true\nssl.quorum.clientAuth=none").tls;
    let tls = tls.expect("TLS");
    assert_eq!((tls.forced, tls.side.client_auth), (false, ClientAuth::Need));
    assert_eq!(admin("admin.forceHttps=true\nadmin.enableServer=false").tls, None);
    for stores in ["", "ssl.quorum.keyStore.location=/k.p12", "ssl.keyStore.location=/k.p12"] {
        let without = with(&format!("admin.forceHttps=true\n{stores}"));
        assert!(!without.config.admin.server, "{stores}");
        let said = without.notes.iter().any(|n| n.text.starts_with("no admin port, it cannot have TLS"));
        assert!(said, "{stores}: {:?}", without.notes);
    }
}

#[test]
fn settings_of_clients() {
    let dir = tempfile::tempdir().expect("a directory");
    let jaas = dir.path().join("jaas.conf");
    let logins = "Client { org.apache.zookeeper.server.auth.DigestLoginModule required\n\
                  username=\"bob\" password=\"hush\"; };\nOther { a.Krb5LoginModule required; };\n\
                  Half { org.apache.zookeeper.server.auth.DigestLoginModule required username=\"bob\"; };";
    std::fs::write(&jaas, logins).expect("written");
    let file = dir.path().join("client.properties");
    std::fs::write(&file, "zookeeper.client.secure=true\nzookeeper.ssl.hostnameVerification=false\n")
        .expect("written");
    let load = |flags: &str, file: Option<&Path>, arguments: &[(&str, &str)]| {
        let env = Env::pick_client(|name| (name == "CLIENT_JVMFLAGS").then(|| flags.to_owned()));
        let arguments: Vec<_> = arguments.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ClientSettings::load(file, &env, &arguments)
    };
    let none =
        load("-Xmx1g -Dzookeeper.clientCnxnSocket=x -Dzookeeper.ssl.trustStore.location=/t.pem", None, &[]);
    let none = none.expect("valid");
    assert_eq!((&none.tls, &none.login, none.notes.len()), (&None, &None, 0));

    let trust = "-Dzookeeper.ssl.trustStore.location=/t.pem";
    let tls =
        load(&format!("{trust} -Dzookeeper.client.secure=true"), None, &[]).expect("valid").tls.expect("TLS");
    assert!(tls.host_names && tls.key_store.is_none() && !tls.crl);
    let tls = load(trust, Some(&file), &[]).expect("valid").tls.expect("TLS");
    assert!(!tls.host_names);
    let argument = [("zookeeper.ssl.hostnameVerification", "true")];
    assert!(load(trust, Some(&file), &argument).expect("valid").tls.expect("TLS").host_names);
    for (flag, refused) in [("ocsp=true", "OCSP"), ("context.supplier.class=a.B", "plug-in")] {
        let flags = format!("{trust} -Dzookeeper.serverCnxnFactory=a.B -Dzookeeper.ssl.{flag}");
        assert!(load(&flags, None, &[]).is_ok());
        let error = load(&flags, Some(&file), &[]).expect_err(flag).to_string();
        assert!(error.contains(refused), "{error}");
    }
    let missing = load("", Some(&file), &[]).expect_err("no trust store").to_string();
    assert!(missing.contains("zookeeper.ssl.trustStore.location is not set"), "{missing}");

    let jaas = format!("-Djava.security.auth.login.config={}", jaas.display());
    let login = |more: &str| load(&format!("{jaas} {more}"), None, &[]);
    let bob = login("").expect("valid").login.expect("a login");
    assert_eq!((bob.user.as_str(), bob.password.expose()), ("bob", "hush"));
    assert_eq!(login("-Dzookeeper.sasl.client=false").expect("valid").login, None);
    let nobody = login("-Dzookeeper.sasl.clientconfig=Nobody").expect("valid");
    assert!(
        nobody.login.is_none() && nobody.notes[0].text.contains("no section Nobody"),
        "{:?}",
        nobody.notes
    );
    for (section, expected) in [("Other", "DIGEST-MD5 alone"), ("Half", "password")] {
        let refused =
            login(&format!("-Dzookeeper.sasl.clientconfig={section}")).expect_err(section).to_string();
        assert!(refused.contains(expected) && !refused.contains("hush"), "{refused}");
    }
}

#[test]
fn a_shown_file_has_no_secrets() {
    let text = "dataDir=/d\n  ssl.keyStore.password = pw\\\n  more\n#ssl.trustStore.password=old\n\
                DigestAuthenticationProvider.superDigest:super:x\nssl.keyStore.passwordPath=/p\n";
    assert_eq!(
        crate::without_secrets(text),
        "dataDir=/d\nssl.keyStore.password=…\n#ssl.trustStore.password=…\n\
         DigestAuthenticationProvider.superDigest=…\nssl.keyStore.passwordPath=/p\n"
    );
}
