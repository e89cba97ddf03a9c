//! What four-letter words tell of a member in each role, line by line beside a
//! member of the reference in the same role: keys and forms, not numbers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Role, composition};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

/// Words whose lines are compared. `hash` has none before the 128th transaction;
/// digests are compared wherever ensembles are tested.
const WORDS: [&str; 15] = [
    "ruok", "srvr", "stat", "cons", "conf", "isro", "dump", "wchs", "wchc", "wchp", "hash", "gtmk", "dirs",
    "envi", "mntr",
];

/// Lines of `mntr` that are the same in every role. Counters and summaries behind
/// them are those of a stand-alone server.
#[rustfmt::skip]
const GAUGES: &[&str] = &[
    "version", "server_state", "peer_state", "ephemerals_count", "num_alive_connections", "avg_latency",
    "outstanding_requests", "znode_count", "global_sessions", "non_mtls_remote_conn_count",
    "last_client_response_size", "packets_sent", "packets_received", "max_client_response_size",
    "connection_drop_probability", "watch_count", "auth_failed_count", "min_latency",
    "max_file_descriptor_count", "approximate_data_size", "open_file_descriptor_count", "local_sessions",
    "uptime", "max_latency", "outstanding_tls_handshake", "min_client_response_size",
    "non_mtls_local_conn_count", "quorum_size",
];

/// Those of one role.
#[rustfmt::skip]
const ROLE_GAUGES: &[&str] = &[
    "observer_master_id", "learners", "synced_followers", "synced_non_voting_followers", "synced_observers",
    "pending_syncs", "leader_uptime", "last_proposal_size", "max_proposal_size", "min_proposal_size",
];

/// Lines that differ and may.
const DIFFERENCES: &[(&str, &str, &str)] =
    &[("dump", "# expire at", "Java's queue keeps a bucket that has become empty until its time")];

/// The lines of all words.
type Lines = BTreeMap<&'static str, BTreeSet<String>>;

#[test]
fn words_of_members_have_the_lines_of_the_reference() {
    // The largest member with a vote leads, after it member 3.
    let list = composition("java,zkd,zkd,java,java:observer,zkd:observer").unwrap();
    let mut e = Ensemble::start(&list, ensemble::config()).unwrap();
    if let Err(error) = compare_all(&mut e) {
        panic!("{error:#}\n{}", e.log_tails());
    }
}

fn compare_all(e: &mut Ensemble) -> anyhow::Result<()> {
    let mut sessions = all_have_clients(e)?;
    // Java's had none of them once, right behind their making.
    e.wait("sessions in the leader's dump", ELECTION, |e| {
        e.member(3).word("dump").is_ok_and(|text| text.contains("\t0x"))
    })?;
    let java_leads = lines(e, 3)?;
    ensure!(e.wait_leader(ELECTION)? == 3, "member 4 does not lead");
    compare("a follower", &lines(e, 0)?, &lines(e, 1)?)?;
    compare("an observer", &lines(e, 4)?, &lines(e, 5)?)?;
    sessions.clear();
    e.stop(3)?;
    ensure!(e.roles(ELECTION)?.get(&2) == Some(&Role::Leader), "member 3 does not lead");
    let sessions = all_have_clients(e)?;
    compare("a leader", &java_leads, &lines(e, 2)?)?;
    compare("a follower of zkd", &lines(e, 0)?, &lines(e, 1)?)?;
    compare("an observer of zkd", &lines(e, 4)?, &lines(e, 5)?)?;
    drop(sessions);
    // Two of four are no quorum.
    e.stop(2)?;
    e.wait_none_serving(ELECTION)?;
    compare("a member that looks for a leader", &lines(e, 0)?, &lines(e, 1)?)?;
    compare("an observer that looks for a leader", &lines(e, 4)?, &lines(e, 5)?)
}

/// A session with an ephemeral node and a watch at each member.
fn all_have_clients(e: &Ensemble) -> anyhow::Result<Vec<Conn>> {
    let open = |i: usize| {
        let mut c = Conn::open(e.addr(i), 60_000)?;
        let path = c.create(&format!("/words-{i}-"), b"", OPEN, 3)?;
        c.get_data(&path, true)?;
        Ok(c)
    };
    e.running().into_iter().map(open).collect()
}

fn lines(e: &Ensemble, i: usize) -> anyhow::Result<Lines> {
    let of = |word: &'static str| {
        let text = e.member(i).word(word).with_context(|| format!("{word} of member {}", i + 1))?;
        let known = |key: &&str| GAUGES.contains(key) || ROLE_GAUGES.contains(key);
        let lines = match word == "mntr" && text.contains('\t') {
            true => text
                .lines()
                .filter_map(|l| l.strip_prefix("zk_")?.split('\t').next())
                .filter(known)
                .map(str::to_owned)
                .collect(),
            false => text.split('\n').map(shape).collect(),
        };
        Ok((word, lines))
    };
    WORDS.into_iter().map(of).collect()
}

/// A line without its numbers, dates and directories.
pub fn shape(line: &str) -> String {
    let keyed = ["dataDir=", "dataLogDir=", "Zookeeper version:", "zookeeper.version="];
    let keyed = keyed.iter().chain(&["java.", "os.", "user.", "host.name="]);
    if let Some(key) = keyed.into_iter().find(|k| line.starts_with(**k)) {
        let end = line.find('=').filter(|_| key.ends_with('.')).map_or(key.len(), |at| at + 1);
        return line[..end].to_owned();
    }
    let line = line.split_once("expire at").map_or(line.to_owned(), |(head, _)| format!("{head}expire at"));
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(c) = rest.chars().next() {
        let number = match rest.strip_prefix("0x") {
            Some(hex) => 2 + hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len()),
            None => rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()),
        };
        match number {
            0 => out.push(c),
            _ => out.push('#'),
        }
        rest = &rest[number.max(c.len_utf8())..];
        if number > 0 {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    out
}

fn compare(what: &str, java: &Lines, zkd: &Lines) -> anyhow::Result<()> {
    let mut differ = Vec::new();
    for (word, theirs) in java {
        let ours = zkd.get(word).context("every word was asked")?;
        let may =
            |line: &&String| !DIFFERENCES.iter().any(|(w, start, _)| w == word && line.starts_with(start));
        differ.extend(theirs.difference(ours).filter(may).map(|l| format!("{what}: {word}: lacks {l:?}")));
        differ.extend(ours.difference(theirs).filter(may).map(|l| format!("{what}: {word}: has {l:?}")));
    }
    ensure!(differ.is_empty(), "{}", differ.join("\n"));
    let gauges = java.get("mntr").context("mntr")?;
    println!("{what}: alike; {} gauges", gauges.len());
    Ok(())
}

#[test]
fn shapes_have_no_numbers() {
    assert_eq!(
        shape(" /127.0.0.1:80[1](queued=0,sid=0x1fe,lop=GETD)"),
        " /#.#.#.#:#[#](queued=#,sid=#,lop=GETD)"
    );
    assert_eq!(shape("1 expire at Sat Nov 21"), "# expire at");
    assert_eq!(shape("os.name=Linux"), "os.name=");
    assert_eq!(shape("dataDir=/tmp/x"), "dataDir=");
}
