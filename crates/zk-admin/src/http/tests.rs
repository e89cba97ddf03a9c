//! The expected texts were taken from Java 3.9.4 with `curl`, stand-alone and a member of an ensemble.

use expect_test::{Expect, expect};

use super::*;
use crate::status::{
    Client, ClientSession, Conf, MemberAddresses, MemberView, Mode, Serving, Snapshot, Status, Version,
};

fn status(serving: Option<Serving>) -> Status {
    let version = Version::new("3.9.4", "7246445ec281f3dbf53dc54e970c914f39713903", 1_755_633_180);
    Status { serving, ..Status::not_serving(version) }
}

fn check(name: &str, serving: Serving, expected: Expect) {
    let command = Command::parse(name).expect("a command");
    let r = answer(command, name, None, &status(Some(serving)));
    assert_eq!((r.status, r.content_type), (200, Some("application/json")));
    expected.assert_eq(&r.body);
}

fn member() -> Serving {
    let at = |id: u16| MemberAddresses {
        peer: vec![("127.0.0.1".into(), 31290 + id, 31390 + id)],
        client: (id == 2).then(|| ("0.0.0.0".into(), 2181)),
        observer: id == 2,
    };
    Serving {
        mode: Mode::Leader,
        zxid: 0x1_0000_0135,
        member: Some(MemberView {
            id: 1,
            leads: true,
            leader: Some(1),
            members: [(1, at(1)), (2, at(2))].into(),
            observers: Vec::new(),
        }),
        ..Serving::default()
    }
}

#[test]
fn names_have_no_doubles_and_stand_in_order() {
    let names: Vec<_> = Command::ALL.iter().map(|c| c.name()).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 28);
    assert!(Command::ALL.iter().all(|c| Command::parse(c.name()) == Some(*c)));
}

#[test]
fn links() {
    let r = index("/commands");
    assert_eq!((r.status, r.content_type, r.body.len()), (200, None, 1518));
    assert!(r.body.starts_with("<a href=\"/commands/configuration\">configuration</a>\n<br/>\n"));
}

#[test]
fn stand_alone() {
    check(
        "conf",
        Serving {
            conf: Conf {
                client_port: Some(31182),
                data_dir: "/d/version-2".into(),
                data_log_dir: "/d/version-2".into(),
                tick_time: 500,
                min_session_timeout: 1000,
                max_session_timeout: 10000,
                ..Conf::default()
            },
            ..Serving::default()
        },
        expect![[r#"
            {
              "client_port" : 31182,
              "data_dir" : "/d/version-2",
              "data_log_dir" : "/d/version-2",
              "tick_time" : 500,
              "max_client_cnxns" : 0,
              "min_session_timeout" : 1000,
              "max_session_timeout" : 10000,
              "server_id" : 0,
              "client_port_listen_backlog" : -1,
              "command" : "configuration",
              "error" : null
            }"#]],
    );
    check(
        "lead",
        Serving::default(),
        expect![[r#"
            {
              "error" : "server is not initialized",
              "command" : "leader"
            }"#]],
    );
    check(
        "lsnp",
        Serving {
            last_snapshot: Some(Snapshot { zxid: 0x1f, written: 1_795_285_200 }),
            ..Serving::default()
        },
        expect![[r#"
            {
              "zxid" : "1f",
              "timestamp" : 1795285200,
              "command" : "last_snapshot",
              "error" : null
            }"#]],
    );
    check(
        "voting_view",
        Serving::default(),
        expect![[r#"
            {
              "current_config" : { },
              "command" : "voting_view",
              "error" : null
            }"#]],
    );
    check(
        "hash",
        Serving { digests: vec![(128, 4_768_721_883)], ..Serving::default() },
        expect![[r#"
            {
              "digests" : [ {
                "zxid" : 128,
                "digest" : 4768721883,
                "digest_version" : 2
              } ],
              "command" : "hash",
              "error" : null
            }"#]],
    );
}

#[test]
fn connections() {
    let session = ClientSession {
        id: 72_059_122_245_435_392,
        last_operation: "PING",
        established: 1_795_285_265_223,
        timeout: 10000,
        last_xid: None,
        last_zxid: -1,
        last_response: 0,
        last_latency: 0,
        min_latency: 0,
        average_latency: 0,
        max_latency: 0,
    };
    let address = Some(([127, 0, 0, 1], 58442).into());
    let client = Client { address, interest: 1, session: Some(session), ..Client::default() };
    check(
        "cons",
        Serving { clients: vec![client], ..Serving::default() },
        expect![[r#"
            {
              "connections" : [ {
                "remote_socket_address" : "127.0.0.1:58442",
                "interest_ops" : 1,
                "outstanding_requests" : 0,
                "packets_received" : 0,
                "packets_sent" : 0,
                "session_id" : 72059122245435392,
                "last_operation" : "PING",
                "established" : 1795285265223,
                "session_timeout" : 10000,
                "last_cxid" : -1,
                "last_zxid" : -1,
                "last_response_time" : 0,
                "last_latency" : 0,
                "min_latency" : 0,
                "avg_latency" : 0,
                "max_latency" : 0
              } ],
              "secure_connections" : [ ],
              "command" : "connections",
              "error" : null
            }"#]],
    );
}

#[test]
fn a_member() {
    check(
        "lead",
        member(),
        expect![[r#"
            {
              "is_leader" : true,
              "leader_id" : 1,
              "leader_ip" : "127.0.0.1",
              "command" : "leader",
              "error" : null
            }"#]],
    );
    check(
        "voting_view",
        member(),
        expect![[r#"
            {
              "current_config" : {
                "1" : {
                  "server_addresses" : [ "127.0.0.1:31291" ],
                  "election_addresses" : [ "127.0.0.1:31391" ],
                  "client_address" : "",
                  "learner_type" : "participant"
                }
              },
              "command" : "voting_view",
              "error" : null
            }"#]],
    );
    check(
        "zabstate",
        member(),
        expect![[r#"
            {
              "myid" : 1,
              "is_leader" : true,
              "quorum_address" : {
                "empty" : false,
                "all_addresses" : [ "127.0.0.1:31291" ],
                "wildcard_addresses" : [ "0.0.0.0:31291" ],
                "all_ports" : [ 31291 ],
                "all_host_strings" : [ "127.0.0.1" ],
                "reachable_address" : "127.0.0.1:31291",
                "all_reachable_addresses" : [ "127.0.0.1:31291" ],
                "all_reachable_addresses_or_all" : [ "127.0.0.1:31291" ],
                "reachable_or_one" : "127.0.0.1:31291",
                "one" : "127.0.0.1:31291"
              },
              "election_address" : {
                "empty" : false,
                "all_addresses" : [ "127.0.0.1:31391" ],
                "wildcard_addresses" : [ "0.0.0.0:31391" ],
                "all_ports" : [ 31391 ],
                "all_host_strings" : [ "127.0.0.1" ],
                "reachable_address" : "127.0.0.1:31391",
                "all_reachable_addresses" : [ "127.0.0.1:31391" ],
                "all_reachable_addresses_or_all" : [ "127.0.0.1:31391" ],
                "reachable_or_one" : "127.0.0.1:31391",
                "one" : "127.0.0.1:31391"
              },
              "client_address" : null,
              "voting" : true,
              "last_zxid" : "0x100000135",
              "zab_epoch" : 1,
              "zab_counter" : 309,
              "zabstate" : "broadcast",
              "command" : "zabstate",
              "error" : null
            }"#]],
    );
}

#[test]
fn without_a_role() {
    let none = status(None);
    let body = |command: Command| answer(command, "x", None, &none).body;
    assert!(body(Command::Ruok).contains(NOT_SERVING));
    assert!(body(Command::Monitor).contains(NOT_SERVING));
    assert!(body(Command::GetTraceMask).contains("\"tracemask\" : 306"));
    expect![[r#"
        {
          "voting" : false,
          "zabstate" : "",
          "command" : "zabstate",
          "error" : null
        }"#]]
    .assert_eq(&body(Command::Zabstate));
}

#[test]
fn the_trace_mask_is_a_number() {
    let set = |mask| answer(Command::SetTraceMask, "stmk", mask, &status(None)).body;
    expect![[r#"
        {
          "error" : "setTraceMask requires long traceMask argument",
          "command" : "set_trace_mask"
        }"#]]
    .assert_eq(&set(None));
    expect![[r#"
        {
          "error" : "setTraceMask requires long traceMask argument, got x",
          "command" : "set_trace_mask"
        }"#]]
    .assert_eq(&set(Some("x")));
    assert!(set(Some("306")).contains("\"tracemask\" : 306,"));
}

#[test]
fn refusals() {
    let r = refused("snap", Refusal::Missing);
    assert_eq!(r.status, 401);
    expect![[r#"
        {
          "command" : "snap",
          "error" : "Auth info is missing for the command"
        }"#]]
    .assert_eq(&r.body);
    assert_eq!(refused("snap", Refusal::NotAuthorized).status, 403);
    assert_eq!(outcome(Command::Snapshot, &Outcome::TooSoon).status, 429);
    assert_eq!(outcome(Command::Restore, &Outcome::Disabled).status, 503);
    expect![[r#"
        {
          "command" : "no",
          "error" : "Unknown command: no"
        }"#]]
    .assert_eq(&unknown("no").body);
    assert_eq!([method_not_allowed("TRACE").status, method_not_allowed("PATCH").status], [403, 501]);
}
