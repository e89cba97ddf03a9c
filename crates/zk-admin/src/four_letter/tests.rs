//! The expected texts were taken from Java 3.9.4 by a raw socket, with `4lw.commands.whitelist=*`: a
//! server alone with three sessions, a member without its ensemble, and the members of an ensemble
//! of two voters and an observer. Only directories and the build date were replaced.

use expect_test::{Expect, expect};

use super::*;
use crate::{
    names::{self, last_operation},
    status::{
        Client, ClientId, ClientSession, Conf, ConfMember, Directories, Expiry, Gauges, Latency,
        LeaderGauges, MemberGauges, Metric, Mode, Seen, Serving, Sessions, Sizes, Status, Version, Watches,
    },
};

const A: i64 = 0x0100_000f_aaff_0000;
const B: i64 = A + 1;
const C: i64 = A + 2;

fn status(serving: Option<Serving>) -> Status {
    let version = Version::new("3.9.4", "7246445ec281f3dbf53dc54e970c914f39713903", 1_755_633_180);
    Status { serving, ..Status::not_serving(version) }
}

fn address(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn strings(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

fn client(port: u16, packets: u64, session: ClientSession) -> Client {
    Client {
        address: Some(address(port)),
        interest: 1,
        queued: 0,
        received: packets,
        sent: packets,
        session: Some(session),
    }
}

/// The connection that asks.
fn asking(port: u16) -> Client {
    Client { address: Some(address(port)), received: 1, ..Client::default() }
}

fn busy() -> Serving {
    let session = |id, last_operation, established, timeout, last_xid, last_response, latency: [u64; 4]| {
        let [last_latency, min_latency, average_latency, max_latency] = latency;
        ClientSession {
            id,
            last_operation,
            established,
            timeout,
            last_xid: Some(last_xid),
            last_zxid: 9,
            last_response,
            last_latency,
            min_latency,
            average_latency,
            max_latency,
        }
    };
    Serving {
        mode: Mode::Standalone,
        latency: Latency { min: 0, average: crate::java::average(50, 18), max: 12 },
        received: 24,
        sent: 22,
        connections: 4,
        zxid: 9,
        node_count: 10,
        clients: vec![
            client(
                50700,
                7,
                session(A, last_operation(8), 1_795_262_941_066, 30000, 6, 1_059_091, [2, 0, 4, 12]),
            ),
            asking(50748),
            client(
                50714,
                3,
                session(C, last_operation(11), 1_795_262_941_084, 6000, 1, 1_059_098, [1, 0, 2, 4]),
            ),
            client(
                50702,
                8,
                session(B, last_operation(106), 1_795_262_941_081, 20000, 7, 1_059_096, [0, 0, 1, 4]),
            ),
        ],
        conf: Conf {
            client_port: Some(23181),
            data_dir: "/data/version-2".into(),
            data_log_dir: "/data/version-2".into(),
            tick_time: 3000,
            max_client_cnxns: 60,
            min_session_timeout: 6000,
            max_session_timeout: 60000,
            ..Conf::default()
        },
        sessions: Sessions::Tracked(Expiry {
            known: 2,
            buckets: vec![
                (1_795_262_950_000, vec![C]),
                (1_795_262_962_000, vec![]),
                (1_795_262_974_000, vec![A]),
            ],
        }),
        connection_expiry: Expiry {
            known: 4,
            buckets: vec![
                (
                    1_795_262_952_000,
                    vec![
                        ClientId { address: address(50762), session: 0 },
                        ClientId { address: address(50714), session: C },
                    ],
                ),
                (1_795_262_962_000, vec![ClientId { address: address(50702), session: B }]),
                (1_795_262_972_000, vec![ClientId { address: address(50700), session: A }]),
            ],
        },
        ephemerals: vec![(A, strings(&["/e/y", "/e/x"])), (B, strings(&["/e/z"]))],
        watches: Watches {
            connections: 2,
            paths: 5,
            total: 6,
            by_session: vec![(A, strings(&["/p", "/e"])), (B, strings(&["/e", "/rec", "/none", "/pers"]))],
            by_path: vec![("/p".into(), vec![A]), ("/e".into(), vec![B, A]), ("/rec".into(), vec![B])],
        },
        directories: Directories { data: 478, log: 479 },
        digests: vec![(0x80, 16_492_991_188), (0x100, 15_884_582_601)],
        ..Serving::default()
    }
}

fn check(word: Word, serving: Serving, expected: Expect) {
    expected.assert_eq(&render(word, &status(Some(serving))));
}

/// As `check`, for lines that begin with a blank, which `expect` would take for indentation.
fn check_barred(word: Word, serving: Serving, expected: Expect) {
    let text = render(word, &status(Some(serving)));
    let barred: String = text.split_inclusive('\n').map(|line| format!("|{line}")).collect();
    expected.assert_eq(&barred);
}

#[test]
fn srvr() {
    check(
        Word::Srvr,
        busy(),
        expect![[r#"
            Zookeeper version: 3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 08/19/2025 19:53 GMT
            Latency min/avg/max: 0/2.7778/12
            Received: 24
            Sent: 22
            Connections: 4
            Outstanding: 0
            Zxid: 0x9
            Mode: standalone
            Node count: 10
        "#]],
    );
}

#[test]
fn srvr_of_a_leader_and_of_a_read_only_member() {
    let latency = Latency { min: 2, average: crate::java::average(26, 6), max: 7 };
    let base =
        Serving { latency, received: 14, sent: 14, connections: 3, node_count: 6, ..Serving::default() };
    check(
        Word::Srvr,
        Serving {
            mode: Mode::Leader,
            zxid: 0x1_0000_0006,
            proposal_sizes: Sizes { last: 36, min: 36, max: 89 },
            ..base.clone()
        },
        expect![[r#"
            Zookeeper version: 3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 08/19/2025 19:53 GMT
            Latency min/avg/max: 2/4.3333/7
            Received: 14
            Sent: 14
            Connections: 3
            Outstanding: 0
            Zxid: 0x100000006
            Mode: leader
            Node count: 6
            Proposal sizes last/min/max: 36/36/89
        "#]],
    );
    check(
        Word::Srvr,
        Serving { mode: Mode::ReadOnly, outstanding: -1, ..base },
        expect![[r#"
            Zookeeper version: 3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 08/19/2025 19:53 GMT
            READ-ONLY mode; serving only read-only clients
            Latency min/avg/max: 2/4.3333/7
            Received: 14
            Sent: 14
            Connections: 3
            Outstanding: -1
            Zxid: 0x0
            Mode: read-only
            Node count: 6
        "#]],
    );
}

#[test]
fn stat() {
    let mut serving = busy();
    serving.clients.push(Client { received: 1, sent: 1, interest: 5, ..Client::default() });
    check(
        Word::Stat,
        serving,
        expect![[r#"
            Zookeeper version: 3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 08/19/2025 19:53 GMT
            Clients:
             /127.0.0.1:50700[1](queued=0,recved=7,sent=7)
             /127.0.0.1:50748[0](queued=0,recved=1,sent=0)
             /127.0.0.1:50714[1](queued=0,recved=3,sent=3)
             /127.0.0.1:50702[1](queued=0,recved=8,sent=8)
             null[5](queued=0,recved=1,sent=1)

            Latency min/avg/max: 0/2.7778/12
            Received: 24
            Sent: 22
            Connections: 4
            Outstanding: 0
            Zxid: 0x9
            Mode: standalone
            Node count: 10
        "#]],
    );
}

#[test]
fn cons() {
    check_barred(
        Word::Cons,
        busy(),
        expect![[r#"
            | /127.0.0.1:50700[1](queued=0,recved=7,sent=7,sid=0x100000faaff0000,lop=GETC,est=1795262941066,to=30000,lcxid=0x6,lzxid=0x9,lresp=1059091,llat=2,minlat=0,avglat=4,maxlat=12)
            | /127.0.0.1:50748[0](queued=0,recved=1,sent=0)
            | /127.0.0.1:50714[1](queued=0,recved=3,sent=3,sid=0x100000faaff0002,lop=PING,est=1795262941084,to=6000,lcxid=0x1,lzxid=0x9,lresp=1059098,llat=1,minlat=0,avglat=2,maxlat=4)
            | /127.0.0.1:50702[1](queued=0,recved=8,sent=8,sid=0x100000faaff0001,lop=ADDW,est=1795262941081,to=20000,lcxid=0x7,lzxid=0x9,lresp=1059096,llat=0,minlat=0,avglat=1,maxlat=4)
            |
        "#]],
    );
}

#[test]
fn cons_after_crst() {
    let reset = ClientSession {
        id: A,
        last_operation: last_operation(0),
        established: 1_795_262_941_066,
        timeout: 30000,
        last_xid: None,
        last_zxid: -1,
        last_response: 0,
        last_latency: 0,
        min_latency: 0,
        average_latency: 0,
        max_latency: 0,
    };
    check_barred(
        Word::Cons,
        Serving { clients: vec![client(50700, 0, reset)], ..Serving::default() },
        expect![[r#"
            | /127.0.0.1:50700[1](queued=0,recved=0,sent=0,sid=0x100000faaff0000,lop=NA,est=1795262941066,to=30000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)
            |
        "#]],
    );
}

#[test]
fn conf() {
    check(
        Word::Conf,
        busy(),
        expect![[r#"
            clientPort=23181
            secureClientPort=-1
            dataDir=/data/version-2
            dataDirSize=478
            dataLogDir=/data/version-2
            dataLogSize=479
            tickTime=3000
            maxClientCnxns=60
            minSessionTimeout=6000
            maxSessionTimeout=60000
            clientPortListenBacklog=-1
            serverId=0
        "#]],
    );
}

#[test]
fn conf_of_a_member() {
    let membership = "server.1=127.0.0.1:23281:23381:participant\nserver.2=127.0.0.1:23282:23382:participant\n\
        server.3=127.0.0.1:23283:23383:observer\nversion=0";
    let mut serving = busy();
    serving.conf.server_id = 3;
    let member = ConfMember {
        init_limit: 5,
        sync_limit: 3,
        election_ports: vec![23383],
        quorum_ports: vec![23283],
        observer: true,
        membership: Some(membership.into()),
    };
    serving.conf.member = Some(member);
    let text = render(Word::Conf, &status(Some(serving.clone())));
    let (_, end) = text.split_once("serverId=").expect("the last line of a server alone");
    expect![[r#"
        3
        initLimit=5
        syncLimit=3
        electionAlg=3
        electionPort=23383
        quorumPort=23283
        peerType=1
        membership: 
        server.1=127.0.0.1:23281:23381:participant
        server.2=127.0.0.1:23282:23382:participant
        server.3=127.0.0.1:23283:23383:observer
        version=0"#]]
    .assert_eq(end);

    // A read-only member leaves the membership out.
    serving.conf.member = serving.conf.member.map(|m| ConfMember { membership: None, observer: false, ..m });
    assert!(render(Word::Conf, &status(Some(serving))).ends_with("quorumPort=23283\npeerType=0\n"));
}

#[test]
fn dump() {
    check(
        Word::Dump,
        busy(),
        expect![[r#"
            SessionTracker dump:
            Session Sets (3)/(2):
            1 expire at Sat Nov 21 12:09:10 UTC 2026:
            	0x100000faaff0002
            0 expire at Sat Nov 21 12:09:22 UTC 2026:
            1 expire at Sat Nov 21 12:09:34 UTC 2026:
            	0x100000faaff0000
            ephemeral nodes dump:
            Sessions with Ephemerals (2):
            0x100000faaff0000:
            	/e/y
            	/e/x
            0x100000faaff0001:
            	/e/z
            Connections dump:
            Connections Sets (3)/(4):
            2 expire at Sat Nov 21 12:09:12 UTC 2026:
            	ip: /127.0.0.1:50762 sessionId: 0x0
            	ip: /127.0.0.1:50714 sessionId: 0x100000faaff0002
            1 expire at Sat Nov 21 12:09:22 UTC 2026:
            	ip: /127.0.0.1:50702 sessionId: 0x100000faaff0001
            1 expire at Sat Nov 21 12:09:32 UTC 2026:
            	ip: /127.0.0.1:50700 sessionId: 0x100000faaff0000
        "#]],
    );
}

#[test]
fn dump_of_a_learner() {
    check(
        Word::Dump,
        Serving {
            mode: Mode::Follower,
            sessions: Sessions::Global(vec![(0x0100_0023_821b_0000, 5000), (0x0100_0023_821b_0001, 7000)]),
            ..Serving::default()
        },
        expect![[r#"
            SessionTracker dump:
            Global Sessions(2):
            0x1000023821b0000	5000ms
            0x1000023821b0001	7000ms
            ephemeral nodes dump:
            Sessions with Ephemerals (0):
            Connections dump:
            Connections Sets (0)/(0):
        "#]],
    );
}

#[test]
fn dump_with_local_sessions() {
    let local =
        Expiry { known: 2, buckets: vec![(1_795_262_950_000, vec![C]), (1_795_262_974_000, vec![A])] };
    let of = |sessions| Serving { sessions, local_sessions: Some(local.clone()), ..Serving::default() };
    check(
        Word::Dump,
        of(Sessions::Global(vec![(0x0100_0023_821b_0000, 5000)])),
        expect![[r#"
            SessionTracker dump:
            Local Session Sets (2)/(2):
            1 expire at Sat Nov 21 12:09:10 UTC 2026:
            	0x100000faaff0002
            1 expire at Sat Nov 21 12:09:34 UTC 2026:
            	0x100000faaff0000
            Global Sessions(1):
            0x1000023821b0000	5000ms
            ephemeral nodes dump:
            Sessions with Ephemerals (0):
            Connections dump:
            Connections Sets (0)/(0):
        "#]],
    );
    check(
        Word::Dump,
        of(Sessions::default()),
        expect![[r#"
            SessionTracker dump:
            Local Session Sets (2)/(2):
            1 expire at Sat Nov 21 12:09:10 UTC 2026:
            	0x100000faaff0002
            1 expire at Sat Nov 21 12:09:34 UTC 2026:
            	0x100000faaff0000
            Global Session Sets (0)/(0):
            ephemeral nodes dump:
            Sessions with Ephemerals (0):
            Connections dump:
            Connections Sets (0)/(0):
        "#]],
    );
}

#[test]
fn watches() {
    check(
        Word::Wchs,
        busy(),
        expect![[r#"
            2 connections watching 5 paths
            Total watches:6
        "#]],
    );
    check(
        Word::Wchc,
        busy(),
        expect![[r#"
            0x100000faaff0000
            	/p
            	/e
            0x100000faaff0001
            	/e
            	/rec
            	/none
            	/pers

        "#]],
    );
    check(
        Word::Wchp,
        busy(),
        expect![[r#"
            /p
            	0x100000faaff0000
            /e
            	0x100000faaff0001
            	0x100000faaff0000
            /rec
            	0x100000faaff0001

        "#]],
    );
    let empty = status(Some(Serving::default()));
    assert_eq!(render(Word::Wchs, &empty), "0 connections watching 0 paths\nTotal watches:0\n");
    assert_eq!((render(Word::Wchc, &empty), render(Word::Wchp, &empty)), ("\n".into(), "\n".into()));
}

#[test]
fn short_words() {
    let busy = status(Some(busy()));
    for (word, text) in [
        (Word::Ruok, "imok"),
        (Word::Isro, "rw"),
        (Word::Gtmk, "306"),
        (Word::Stmk, "306"),
        (Word::Crst, "Connection stats reset.\n"),
        (Word::Srst, "Server stats reset.\n"),
        (Word::Dirs, "datadir_size: 478\nlogdir_size: 479\n"),
        (Word::Hash, "80: 16492991188\n100: 15884582601\n"),
    ] {
        assert_eq!(render(word, &busy), text);
    }
    let read_only = status(Some(Serving { mode: Mode::ReadOnly, ..Serving::default() }));
    assert_eq!(render(Word::Isro, &read_only), "ro");
    assert_eq!(render(Word::Hash, &read_only), "");
}

#[test]
fn envi() {
    let mut status = status(None);
    status.environment = Status::environment_from(|key| match key {
        "host.name" => Some("localhost".into()),
        "os.memory.free" => Some("101MB".into()),
        _ => None,
    });
    expect![[r#"
        Environment:
        zookeeper.version=3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 08/19/2025 19:53 GMT
        host.name=localhost
        java.version=<NA>
        java.vendor=<NA>
        java.home=<NA>
        java.class.path=<NA>
        java.library.path=<NA>
        java.io.tmpdir=<NA>
        java.compiler=<NA>
        os.name=<NA>
        os.arch=<NA>
        os.version=<NA>
        user.name=<NA>
        user.home=<NA>
        user.dir=<NA>
        os.memory.free=101MB
        os.memory.max=<NA>
        os.memory.total=<NA>
    "#]]
    .assert_eq(&render(Word::Envi, &status));
}

#[test]
fn while_nobody_is_served() {
    let line = "This ZooKeeper instance is not currently serving requests\n";
    let status = status(None);
    for word in Word::ALL {
        let expected = match word {
            Word::Ruok => "imok",
            Word::Gtmk | Word::Stmk => "306",
            Word::Isro => "null",
            Word::Hash => line.trim_end(),
            Word::TelnetClose => "",
            Word::Envi => continue,
            _ => line,
        };
        assert_eq!(render(word, &status), expected, "{word}");
    }
}

fn gauges() -> Gauges {
    Gauges {
        ephemerals: 3,
        global_sessions: 3,
        client_response_sizes: Sizes { last: 16, min: 16, max: 89 },
        watches: 9,
        max_file_descriptors: 20000,
        open_file_descriptors: 45,
        approximate_data_size: 65,
        uptime: 32369,
        ..Gauges::default()
    }
}

#[test]
fn mntr() {
    let metrics = vec![
        Metric::Counter { name: names::WATCH_BYTES, value: 0 },
        Metric::Keyed { name: names::QUOTA_COUNT_LIMIT_PER_NAMESPACE, key: "app".into(), value: 10 },
        Metric::Summary {
            name: names::SNAPSHOTTIME,
            seen: Seen { min: 1, max: 1, count: 1, sum: 1, ..Seen::default() },
            advanced: false,
        },
        Metric::Summary {
            name: names::READLATENCY,
            seen: Seen { max: 4, count: 3, sum: 4, p90: 4, p95: 4, p99: 4, p999: 4, ..Seen::default() },
            advanced: true,
        },
    ];
    check(
        Word::Mntr,
        Serving { received: 32, sent: 29, gauges: gauges(), metrics, ..busy() },
        expect![[r#"
            zk_version	3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 08/19/2025 19:53 GMT
            zk_server_state	standalone
            zk_ephemerals_count	3
            zk_num_alive_connections	4
            zk_avg_latency	2.7778
            zk_outstanding_requests	0
            zk_znode_count	10
            zk_global_sessions	3
            zk_non_mtls_remote_conn_count	0
            zk_last_client_response_size	16
            zk_packets_sent	29
            zk_packets_received	32
            zk_max_client_response_size	89
            zk_connection_drop_probability	0.0
            zk_watch_count	9
            zk_auth_failed_count	0
            zk_min_latency	0
            zk_max_file_descriptor_count	20000
            zk_approximate_data_size	65
            zk_open_file_descriptor_count	45
            zk_local_sessions	0
            zk_uptime	32369
            zk_max_latency	12
            zk_outstanding_tls_handshake	0
            zk_min_client_response_size	16
            zk_non_mtls_local_conn_count	0
            zk_watch_bytes	0
            zk_app_quota_count_limit_per_namespace	10
            zk_avg_snapshottime	1.0
            zk_min_snapshottime	1
            zk_max_snapshottime	1
            zk_cnt_snapshottime	1
            zk_sum_snapshottime	1
            zk_avg_readlatency	1.3333
            zk_min_readlatency	0
            zk_max_readlatency	4
            zk_cnt_readlatency	3
            zk_sum_readlatency	4
            zk_p50_readlatency	0
            zk_p95_readlatency	4
            zk_p99_readlatency	4
            zk_p999_readlatency	4
        "#]],
    );
}

#[test]
fn mntr_of_members() {
    let lines = |mode, member| {
        let serving = Serving { mode, gauges: Gauges { member: Some(member), ..gauges() }, ..busy() };
        let alone = render(Word::Mntr, &status(Some(Serving { gauges: gauges(), ..busy() })));
        let text = render(Word::Mntr, &status(Some(serving)));
        let added = text.lines().filter(|line| !alone.lines().any(|other| other == *line));
        added.map(|line| format!("{line}\n")).collect::<String>()
    };
    let leader = LeaderGauges {
        learners: 2,
        synced_followers: 1,
        synced_non_voting_followers: 0,
        pending_syncs: 0,
        uptime: 7755,
    };
    expect![[r#"
        zk_server_state	leader
        zk_peer_state	leading - broadcast
        zk_quorum_size	2
        zk_synced_observers	1
        zk_learners	2
        zk_synced_followers	1
        zk_synced_non_voting_followers	0
        zk_pending_syncs	0
        zk_leader_uptime	7755
        zk_last_proposal_size	-1
        zk_max_proposal_size	-1
        zk_min_proposal_size	-1
    "#]]
    .assert_eq(&lines(
        Mode::Leader,
        MemberGauges {
            peer_state: "leading - broadcast".into(),
            quorum_size: 2,
            synced_observers: Some(1),
            leader: Some(leader),
            ..MemberGauges::default()
        },
    ));
    expect![[r#"
        zk_server_state	observer
        zk_peer_state	observing - broadcast
        zk_observer_master_id	2
        zk_quorum_size	2
    "#]]
    .assert_eq(&lines(
        Mode::Observer,
        MemberGauges {
            peer_state: "observing - broadcast".into(),
            observer_master_id: Some(2),
            quorum_size: 2,
            ..MemberGauges::default()
        },
    ));
}

#[test]
fn words_are_four_bytes() {
    for word in Word::ALL {
        let bytes = if word == Word::TelnetClose {
            [0xff, 0xf4, 0xff, 0xfd]
        } else {
            word.to_string().into_bytes().try_into().expect("four letters")
        };
        assert_eq!(Word::parse(bytes), Some(word));
    }
    for other in [*b"RUOK", *b"abcd", [0, 0, 0, 45], *b"ruo\n"] {
        assert_eq!(Word::parse(other), None);
    }
}

#[test]
fn whitelists() {
    let allowed = |list, read_only| {
        let whitelist = Whitelist::parse(list, read_only);
        Word::ALL
            .into_iter()
            .filter(|&word| whitelist.allows(word))
            .map(|w| w.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(allowed(None, false), "srvr");
    assert_eq!(allowed(Some(""), true), "srvr isro");
    assert_eq!(allowed(Some("cons, stat,dump"), false), "cons dump srvr stat");
    assert_eq!(allowed(Some("RUOK,nope,, mntr "), false), "srvr mntr");
    assert_eq!(allowed(Some("ruok, *"), false).split(" ").count(), Word::ALL.len() + 1); // one has a blank
    assert_eq!(allowed(Some("telnet close"), false), "srvr telnet close");
}

#[test]
fn answers() {
    let none = Whitelist::parse(None, false);
    let all = Whitelist::parse(Some("*"), false);
    let status = status(None);
    let refused =
        |word: &str| Answer::Text(format!("{word} is not executed because it is not in the whitelist.\n"));
    assert_eq!(answer(Word::Ruok, &none, &status), refused("ruok"));
    assert_eq!(answer(Word::TelnetClose, &none, &status), refused("telnet close"));
    assert_eq!(answer(Word::TelnetClose, &all, &status), Answer::Close);
    assert_eq!(answer(Word::Isro, &all, &status), Answer::Text("null".into()));
}

/// The patterns of go-zk (`FLWSrvr`, `FLWCons`), spelled out without a regular expression.
#[test]
fn go_zk_reads_srvr() {
    let text = render(Word::Srvr, &status(Some(busy())));
    let mut lines = text.lines();
    let first = lines.next().and_then(|l| l.strip_prefix("Zookeeper version: ")).expect("a version");
    let (version, date) = first.split_once(", built on ").expect("a date");
    assert!(version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'));
    let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "99/99/9999 99:99 GMT");
    let keys: Vec<_> = lines.map(|l| l.split_once(": ").expect("a pair").0).collect();
    let expected = [
        "Latency min/avg/max",
        "Received",
        "Sent",
        "Connections",
        "Outstanding",
        "Zxid",
        "Mode",
        "Node count",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn words_say_what_they_need() {
    assert!(Word::Srvr.needs() == Needs::default() && Word::Stat.needs().clients);
    assert!(Word::Wchc.needs().watches_by_session && !Word::Wchc.needs().watches_by_path);
    assert!(Word::Dump.needs().sessions && Word::Dump.needs().ephemerals);
}
