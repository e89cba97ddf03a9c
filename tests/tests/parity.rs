//! What operators read of zkd beside what they read of the reference: every command of the admin
//! port, every metric, and every four-letter word of a stand-alone server, a leader and a follower.
//!
//! A difference that is not explained here fails, and so does an explanation that nothing needs any
//! more. `ZKD_PARITY=<file>` writes the table; the one in `docs/parity.md` is made so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use zk_testkit::ensemble::{self, ELECTION, Ensemble, MemberSpec};
use zk_testkit::http;
use zk_testkit::process::{Config, JavaWithAdmin, Launcher, SUPER, Server, Zkd, free_port};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

use crate::admin::with_admin;
use crate::member_words::shape;

const NO_POOLS: &str = "writes pass one core in order and reads are answered by their worker: there are no such queues, stages and pools";
const NO_CACHE: &str = "replies are encoded from the tree, there is no cache of them";
const NO_CLEANER: &str = "watches of a closed connection go at once, there is no cleaner";
const NO_THROTTLE: &str = "a socket is not read while too much is under way: there is no queue to wait in";
const NO_OBSERVERS: &str = "only a follower with `observerMasterPort` has observers to count";
const ONE_STEP: &str =
    "a follower queues a packet for its observers in the step that works on it, which has no time of its own";
const IN_PREP: &str = "`prep_process_time` has it: the core reads no clock between the requests of a round";
const NO_STAMP: &str =
    "a request carries no time to the core; `zkd_request_seconds` has its whole time by operation";
const EPOCH_WAIT: &str = "it counts what `leader.maxTimeToWaitForEpoch` does: here the wait for an epoch ends with `initLimit` alone";
const NO_NETTY: &str = "there is no Netty";
const NO_CLOSING: &str = "closing a socket waits for nobody";
const BY_PATH: &str = "a look-up by path for each request would cost more than many requests do";
const NO_JVM: &str = "there is no JVM";

/// Metrics that Java has and zkd has not.
const ABSENT: &[(&str, &[&str])] = &[
    (
        NO_POOLS,
        &[
            "commit_commit_proc_req_queued",
            "commit_process_time",
            "concurrent_request_processing_in_commit_processor",
            "learner_request_processor_queue_size",
            "pending_session_queue_size",
            "read_commit_proc_issued",
            "read_commit_proc_req_queued",
            "read_commitproc_time_ms",
            "read_final_proc_time_ms",
            "reads_after_write_in_session_queue",
            "reads_issued_from_session_queue",
            "requests_in_session_queue",
            "requests_not_forwarded_to_commit_processor",
            "session_queues_drained",
            "skip_learner_request_to_next_processor_count",
            "time_waiting_empty_pool_in_commit_processor_read_ms",
            "write_batch_time_in_commit_processor",
            "write_commit_proc_issued",
            "write_commit_proc_req_queued",
            "write_commitproc_time_ms",
            "proposal_process_time",
        ],
    ),
    (
        NO_CACHE,
        &[
            "response_packet_cache_hits",
            "response_packet_cache_misses",
            "response_packet_get_children_cache_hits",
            "response_packet_get_children_cache_misses",
        ],
    ),
    (
        NO_CLEANER,
        &[
            "add_dead_watcher_stall_time",
            "dead_watchers_cleaner_latency",
            "dead_watchers_cleared",
            "dead_watchers_queued",
        ],
    ),
    (
        NO_THROTTLE,
        &["request_throttle_queue_time_ms", "request_throttle_wait_count", "throttled_ops", "stale_requests"],
    ),
    // Of a follower; a leader has it.
    (NO_OBSERVERS, &["synced_observers"]),
    (ONE_STEP, &["om_commit_process_time_ms", "om_proposal_process_time_ms"]),
    (IN_PREP, &["close_session_prep_time"]),
    (NO_STAMP, &["prep_processor_queue_time_ms"]),
    (EPOCH_WAIT, &["quit_leading_due_to_disloyal_voter"]),
    (NO_NETTY, &["netty_queued_buffer_capacity"]),
    (NO_CLOSING, &["socket_closing_time"]),
    (BY_PATH, &["read_per_namespace", "write_per_namespace"]),
];

/// Metrics of which it is compared, too, whether something was seen: what the load does not do
/// on each run at the same place is not among them.
const SEEN: &[&str] = &[
    "ack_latency",
    "connection_token_deficit",
    "inflight_diff_count",
    "learner_handler_qp_size",
    "learner_handler_qp_time_ms",
    "local_write_committed_time_ms",
    "proposal_ack_creation_latency",
    "quota_exceeded_error_per_namespace",
    "server_write_committed_time_ms",
    "sync_processor_queue_and_flush_time_ms",
    "sync_processor_queue_time_ms",
];

/// Keys of commands that differ: the command, the beginning of the line, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("system_properties", "", NO_JVM),
    ("monitor", "", "its keys are the metrics below"),
    ("dump", "# expire at", "Java's queue keeps a bucket that has become empty until its time"),
];

/// The one of them that Java shows now and then only.
const SOMETIMES: &str = "dump";

/// Something that both are asked: a command, a metric or a word, and the lines of its answer.
type Answers = BTreeMap<String, BTreeSet<String>>;

/// Commands that would change what the next ones are asked about, or have tests of their own.
const NOT_ASKED: [&str; 4] = ["snapshot", "restore", "connection_stat_reset", "stat_reset"];

const WORDS: [&str; 16] = [
    "ruok", "srvr", "stat", "cons", "conf", "isro", "dump", "wchs", "wchc", "wchp", "hash", "gtmk", "dirs",
    "envi", "mntr", "crst",
];

struct Ports {
    admin: SocketAddr,
    metrics: SocketAddr,
}

fn config(base: Config) -> (Config, Ports) {
    let (config, admin) = with_admin(base);
    let port = free_port().expect("a port");
    let class = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    let config = config
        .line("metricsProvider.className", class)
        .line("metricsProvider.httpHost", Ipv4Addr::LOCALHOST)
        .line("metricsProvider.httpPort", port)
        // Java measures only each 1000th of them without it.
        .line("leader.ackLoggingFrequency", 1)
        .line("enforceQuota", true);
    (config, Ports { admin, metrics: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
}

/// A session with an ephemeral node, watches, a quota, and enough writes for a digest.
fn load(addr: SocketAddr, name: &str) -> anyhow::Result<Conn> {
    let mut c = Conn::open(addr, 60_000)?;
    c.create(&format!("/{name}"), b"", OPEN, 0)?;
    let ephemeral = c.create(&format!("/{name}/e"), b"", OPEN, 1)?;
    c.get_data(&ephemeral, true)?;
    let quota = format!("/zookeeper/quota/{name}");
    c.create(&quota, b"", OPEN, 0)?;
    c.create(&format!("{quota}/zookeeper_limits"), b"count=5,bytes=100;byteHardLimit=150", OPEN, 0)?;
    c.create(&format!("{quota}/zookeeper_stats"), b"count=1,bytes=0", OPEN, 0)?;
    for _ in 0..130 {
        c.set_data(&format!("/{name}"), b"x", -1)?;
    }
    let refused = c.set_data(&format!("/{name}"), &[b'x'; 200], -1);
    ensure!(refused.is_err(), "more than the quota allows");
    c.ping()?;
    Ok(c)
}

/// Java queues the expiry of a session a moment after its making, and until then `dump` lacks it.
fn is_dumped(server: &Server, session: &Conn) -> anyhow::Result<()> {
    let deadline = Instant::now() + ELECTION;
    let line = format!("\t{}", session.session);
    while !server.word("dump")?.contains(&line) {
        ensure!(Instant::now() < deadline, "no session {}", session.session);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn ask(server: &Server, ports: &Ports, commands: &[String]) -> anyhow::Result<Answers> {
    let mut all = Answers::new();
    for command in commands.iter().filter(|c| !NOT_ASKED.contains(&c.as_str())) {
        let answer = http::get(ports.admin, &format!("/commands/{command}"))?;
        let mut lines = BTreeSet::from([format!("HTTP {}", answer.status)]);
        lines.extend(answer.header("content-type").map(|t| format!("content-type {t}")));
        let body: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        keys(&body, "", &mut lines);
        all.insert(format!("command {command}"), lines);
    }
    for word in WORDS {
        let text = server.word(word)?;
        let lines =
            if text.contains("\nzk_") { BTreeSet::new() } else { text.split('\n').map(shape).collect() };
        all.insert(format!("word {word}"), lines);
    }
    let page = http::get(ports.metrics, "/metrics")?;
    ensure!(page.header("content-type") == Some("text/plain; version=0.0.4; charset=utf-8"));
    for (family, forms) in families(&page.text()) {
        all.insert(format!("metric {family}"), forms);
    }
    Ok(all)
}

/// Every key with the type of its value. Keys that are ids, paths or times count as one.
fn keys(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let data = key.starts_with('/') || key.bytes().all(|b| b.is_ascii_digit());
                let key = if data { "*" } else { key.as_str() };
                keys(value, &if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }, out);
            }
        }
        Value::Array(values) => values.iter().for_each(|v| keys(v, &format!("{at}[]"), out)),
        Value::Null => drop(out.insert(format!("{at}: null"))),
        Value::Bool(_) => drop(out.insert(format!("{at}: boolean"))),
        Value::Number(_) => drop(out.insert(format!("{at}: number"))),
        Value::String(_) => drop(out.insert(format!("{at}: text"))),
    }
}

/// Families with their types and the forms of their lines, but for what a JVM or a process has,
/// and what is zkd's own.
fn families(page: &str) -> Answers {
    let mut all = Answers::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            family = name.to_owned();
            all.entry(family.clone()).or_default().insert(format!("type {kind}"));
        } else if !line.starts_with('#') {
            // Java ends labels with a comma, and the keys are data.
            let form = line.rsplit_once(' ').map_or(line, |(form, _)| form).replace(",}", "}");
            let form = match form.split_once("key=\"") {
                Some((head, tail)) => format!("{head}key=*{}", tail.split_once('"').map_or("", |(_, t)| t)),
                None => form,
            };
            let forms = all.entry(family.clone()).or_default();
            let counted = line.contains("_count") || line.starts_with("quota_exceeded");
            if SEEN.contains(&family.as_str()) && counted && !line.ends_with(" 0") && !line.ends_with(" 0.0")
            {
                forms.insert("something was seen".to_owned());
            }
            forms.insert(form);
        }
    }
    all.retain(|name, _| {
        !["jvm_", "process_", "zkd_"].iter().any(|p| name.starts_with(p)) || name == "jvm_pause_time_ms"
    });
    all.remove("jvm_pause_time_ms");
    all
}

#[derive(Default)]
struct Table {
    /// By what was asked: what each server said of it.
    rows: BTreeMap<String, BTreeMap<&'static str, String>>,
    unexplained: Vec<String>,
    used: BTreeSet<usize>,
    absent: BTreeSet<&'static str>,
}

impl Table {
    fn compare(&mut self, who: &'static str, java: &Answers, zkd: &Answers) {
        let all: BTreeSet<_> = java.keys().chain(zkd.keys()).collect();
        for asked in all {
            let verdict = self.verdict(asked, java.get(asked), zkd.get(asked));
            let text = verdict.unwrap_or_else(|what| {
                self.unexplained.push(format!("{who}: {asked}: {what}"));
                format!("UNEXPLAINED {what}")
            });
            self.rows.entry(asked.clone()).or_default().insert(who, text);
        }
    }

    fn verdict(
        &mut self,
        asked: &str,
        java: Option<&BTreeSet<String>>,
        zkd: Option<&BTreeSet<String>>,
    ) -> Result<String, String> {
        let (_, name) = asked.split_once(' ').unwrap_or(("", asked));
        let (java, zkd) = match (java, zkd) {
            (Some(java), Some(zkd)) => (java, zkd),
            (None, _) => return Err("only zkd has it".to_owned()),
            (Some(_), None) => {
                let found = ABSENT
                    .iter()
                    .find_map(|(why, names)| names.iter().find(|n| **n == name).map(|n| (*n, *why)));
                let (name, why) = found.ok_or("zkd lacks it")?;
                self.absent.insert(name);
                return Ok(format!("absent: {why}"));
            }
        };
        let differ: Vec<_> = java.symmetric_difference(zkd).collect();
        let mut reasons = BTreeSet::new();
        for line in differ {
            let found = DIFFERENT.iter().position(|(n, start, _)| *n == name && line.starts_with(start));
            let Some(i) = found else {
                let who = if java.contains(line) { "Java" } else { "zkd" };
                return Err(format!("only {who}: {line:?}"));
            };
            self.used.insert(i);
            reasons.insert(DIFFERENT[i].2);
        }
        match reasons.is_empty() {
            true => Ok("same".to_owned()),
            false => Ok(format!("differs: {}", reasons.into_iter().collect::<Vec<_>>().join("; "))),
        }
    }

    fn markdown(&self) -> String {
        let mut out = "# Parity with Java ZooKeeper 3.9.4 for operators\n\n\
            Made by `tests/tests/parity.rs` (`ZKD_PARITY=docs/parity.md`) from running servers side by side: a\n\
            stand-alone one, and leader and follower of an ensemble of three. *Same* means the same keys, types of\n\
            values, labels and forms of lines; numbers are not compared. `-`: neither has it in that role.\n\n\
            `observers` was asked without an observer: see `differences.md`. Absent as a whole: `jvm_*` (there is no JVM); `process_*` is there. Own metrics begin with `zkd_`.\n\n\
            | what | stand-alone | leader | follower |\n|---|---|---|---|\n"
            .to_owned();
        for (asked, by) in &self.rows {
            let cell = |who: &str| by.get(who).map_or("-", String::as_str).replace('|', "\\|");
            let cells = ["stand-alone", "leader", "follower"].map(cell).join(" | ");
            writeln!(out, "| {asked} | {cells} |").expect("a string takes all");
        }
        out
    }
}

fn standalone(launcher: &'static dyn Launcher) -> anyhow::Result<Answers> {
    let (config, ports) = config(Config::default());
    let server = Server::start(launcher, config)?;
    let session = load(server.addr(), "p")?;
    is_dumped(&server, &session)?;
    ask(&server, &ports, &commands(&ports)?)
}

/// What the list of links names.
fn commands(ports: &Ports) -> anyhow::Result<Vec<String>> {
    let index = http::get(ports.admin, "/commands")?;
    let links = index.text();
    let names: Vec<_> = links
        .lines()
        .filter_map(|l| Some(l.split_once("/commands/")?.1.split_once('"')?.0.to_owned()))
        .collect();
    ensure!(names.len() == 28, "{links}");
    Ok(names)
}

/// What the leader and what a follower says.
fn ensemble_of(launcher: &'static dyn Launcher) -> anyhow::Result<(Answers, Answers)> {
    let mut e = Ensemble::prepare(&[MemberSpec::participant(launcher); 3], ensemble::config())?;
    let mut ports = Vec::new();
    for i in 0..3 {
        let (config, p) = config(e.config_mut(i).clone());
        *e.config_mut(i) = config;
        ports.push(p);
    }
    e.start_all()?;
    let leader = e.wait_leader(ELECTION)?;
    let follower = (leader + 1) % 3;
    let sessions = [load(e.addr(leader), "l")?, load(e.addr(follower), "f")?];
    sessions.iter().try_for_each(|c| is_dumped(e.member(leader), c))?;
    let of = |i: usize| ask(e.member(i), &ports[i], &commands(&ports[i])?);
    let answers = (of(leader)?, of(follower)?);
    drop(sessions);
    Ok(answers)
}

#[test]
fn operators_read_the_same() {
    let mut table = Table::default();
    table.compare("stand-alone", &standalone(&JavaWithAdmin).unwrap(), &standalone(&Zkd).unwrap());
    let (java, zkd) = (ensemble_of(&JavaWithAdmin).unwrap(), ensemble_of(&Zkd).unwrap());
    table.compare("leader", &java.0, &zkd.0);
    table.compare("follower", &java.1, &zkd.1);
    if let Ok(file) = std::env::var("ZKD_PARITY") {
        std::fs::write(&file, table.markdown()).unwrap();
    }
    assert!(table.unexplained.is_empty(), "\n{}", table.unexplained.join("\n"));
    let stale = ABSENT.iter().flat_map(|(_, names)| *names).filter(|n| !table.absent.contains(**n));
    assert_eq!(stale.collect::<Vec<_>>(), Vec::<&&str>::new(), "explained as absent, but it is there");
    for (i, (name, start, _)) in DIFFERENT.iter().enumerate() {
        assert!(table.used.contains(&i) || *name == SOMETIMES, "{name} {start:?}: there is no difference");
    }
}

/// Names in the dashboard and in the rules are names on the page.
#[test]
fn dashboard_and_rules_use_names_that_exist() {
    let (config, ports) = config(Config::default());
    let server = Server::start(&Zkd, config).unwrap();
    let _session = load(server.addr(), "p").unwrap();
    let page = http::get(ports.metrics, "/metrics").unwrap().text();
    let there: BTreeSet<&str> = page
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split(['{', ' ']).next())
        .chain(["up", "quorum_size", "synced_followers", "learners"])
        .collect();
    let docker = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/");
    let dashboard = std::fs::read_to_string(format!("{docker}grafana-dashboard.json")).unwrap();
    let rules = std::fs::read_to_string(format!("{docker}prometheus-rules.yml")).unwrap();
    let json: Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = Vec::new();
    collect_expressions(&json, &mut expressions);
    expressions.extend(rules.lines().filter_map(|l| l.trim().strip_prefix("expr: ").map(str::to_owned)));
    assert!(expressions.len() > 25, "{}", expressions.len());
    let mut missing = BTreeSet::new();
    for e in &expressions {
        let names: Vec<_> = metric_names(e);
        assert!(!names.is_empty(), "no metric in {e}");
        missing.extend(names.into_iter().filter(|n| !there.contains(n.as_str())));
    }
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    let auth = [("Authorization", format!("digest {SUPER}"))];
    let auth: Vec<_> = auth.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let properties = http::request(ports.admin, "GET", "/commands/sysp", &auth, b"").unwrap().text();
    assert!(!properties.contains("lK75jTNcA"), "a secret in {properties}");
}

fn collect_expressions(json: &Value, out: &mut Vec<String>) {
    match json {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(text) if key == "expr" => out.push(text.clone()),
                    value => collect_expressions(value, out),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|v| collect_expressions(v, out)),
        _ => {}
    }
}

/// Words of an expression that are neither functions, nor labels, nor keywords.
fn metric_names(expression: &str) -> Vec<String> {
    const KEYWORDS: [&str; 9] = ["by", "without", "on", "ignoring", "and", "or", "unless", "offset", "sum"];
    let mut names: Vec<String> = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || "{[\"(".contains(c)) {
        let (before, from) = rest.split_at(at);
        let skipped = match from.as_bytes()[0] {
            b'{' => from.find('}'),
            b'[' => from.find(']'),
            b'"' => from[1..].find('"').map(|i| i + 1),
            b'(' => {
                // A list of labels behind `by` and its like.
                let word = before.trim_end();
                let behind = names.last().map(String::as_str);
                if word.is_empty() && matches!(behind, Some("by" | "on" | "without")) {
                    names.pop();
                    from.find(')')
                } else {
                    Some(0)
                }
            }
            _ => None,
        };
        if let Some(end) = skipped {
            rest = &from[end + 1..];
            continue;
        }
        if before.ends_with(|c: char| c.is_ascii_digit()) {
            // A unit of time.
            rest = &from[1..];
            continue;
        }
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
        let (word, tail) = from.split_at(end);
        let function = tail.starts_with('(') && !KEYWORDS.contains(&word);
        if !function {
            names.push(word.to_owned());
        }
        rest = tail;
    }
    names.retain(|n| !KEYWORDS.contains(&n.as_str()));
    names
}

#[test]
fn names_of_an_expression() {
    assert_eq!(
        metric_names(
            "histogram_quantile(0.99, sum by (le, op) (rate(zkd_request_seconds_bucket{op=\"x\"}[5m])))"
        ),
        ["zkd_request_seconds_bucket"]
    );
    assert_eq!(metric_names("a / b > 0.8 and on (instance) up == 1"), ["a", "b", "up"]);
}
