//! `zkd status`: how the members of an ensemble are. It asks with the word `srvr`, which
//! every server answers unless its whitelist forbids it, Java's too.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use zk_client::{Link, Shake};
use zk_proto::Zxid;

use crate::cli::StatusArgs;
use crate::out::{Colour, Out};
use crate::security::{self, Given};
use crate::{Exit, Failure};

/// An answer is short; a stranger's may not be.
const MAX_ANSWER: u64 = 64 << 10;
const DEFAULT_PORT: u16 = 2181;

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
struct Answer {
    version: String,
    mode: String,
    zxid: Option<Zxid>,
    connections: Option<u64>,
    outstanding: Option<u64>,
    /// min/avg/max in ms, as it was said.
    latency: String,
    nodes: Option<u64>,
    /// How long the answer took.
    took: Duration,
}

/// A member as it is shown.
#[derive(Debug)]
struct Member {
    name: String,
    answer: std::result::Result<Answer, String>,
}

/// How everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Degraded,
    Down,
}

/// Asks all members at once and shows them.
pub fn run(args: &StatusArgs) -> std::result::Result<(), Failure> {
    let names = names(&args.members).map_err(|e| Failure::new(Exit::Invalid, e))?;
    let wait = Duration::from_millis(args.timeout);
    // Words need no login.
    let properties = args.properties.iter().map(|p| security::property(p));
    let properties = properties.chain([security::property("zookeeper.sasl.client=false")]).collect();
    let given = Given { file: args.client_configuration.clone(), properties };
    let security = security::load(&given, |_| ()).map_err(|e| Failure::new(Exit::Invalid, e))?;
    let asked: Vec<_> = names
        .into_iter()
        .map(|name| {
            let tls = security.tls.clone();
            (name.clone(), thread::spawn(move || ask(&name, tls.as_deref(), wait)))
        })
        .collect();
    let gone = || Err("the question could not be asked".to_owned());
    let members: Vec<_> = asked
        .into_iter()
        .map(|(name, asked)| Member { name, answer: asked.join().unwrap_or_else(|_| gone()) })
        .collect();
    let (health, why) = judge(&members);
    show(&members, health, &why, args.json).map_err(|e| Failure::new(Exit::Unexpected, e))?;
    match health {
        Health::Good => Ok(()),
        Health::Degraded => Err(Failure::new(Exit::Degraded, anyhow!(why))),
        Health::Down => Err(Failure::new(Exit::Down, anyhow!(why))),
    }
}

/// Splits `host:port,host:port`. An IPv6 address stands in brackets.
fn names(list: &str) -> Result<Vec<String>> {
    // A chroot behind a connection string means nothing here.
    let list = list.split('/').next().unwrap_or_default();
    let names: Vec<String> =
        list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(with_port).collect();
    if names.is_empty() {
        bail!("no member is named; say HOST:PORT,HOST:PORT");
    }
    Ok(names)
}

fn with_port(name: &str) -> String {
    let port = name.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match port {
        Some(_) => name.to_owned(),
        None if name.contains(':') && !name.starts_with('[') => format!("[{name}]:{DEFAULT_PORT}"),
        None => format!("{name}:{DEFAULT_PORT}"),
    }
}

fn ask(name: &str, tls: Option<&Shake>, wait: Duration) -> std::result::Result<Answer, String> {
    let begin = Instant::now();
    let text = word(name, "srvr", tls, wait).map_err(|e| format!("{e:#}"))?;
    let mut answer = parse(&text)?;
    answer.took = begin.elapsed();
    Ok(answer)
}

/// Asks the first address of a name that takes a connection.
fn word(name: &str, word: &str, tls: Option<&Shake>, wait: Duration) -> Result<String> {
    let mut tried = None;
    for addr in name.to_socket_addrs().with_context(|| format!("{name} is no address"))? {
        match TcpStream::connect_timeout(&addr, wait) {
            Ok(stream) => return exchange(&Link::open(stream, name, tls, wait)?, word, wait),
            Err(e) => tried = Some(e),
        }
    }
    Err(tried.map_or_else(|| anyhow!("{name} has no address"), |e| anyhow!("no connection: {e}")))
}

/// Sends a four-letter word on a fresh connection and reads to the end.
pub fn exchange(mut link: &Link, word: &str, wait: Duration) -> Result<String> {
    link.write_all(word.as_bytes()).context("the connection broke")?;
    let mut text = String::new();
    match link.take(MAX_ANSWER).read_to_string(&mut text) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            bail!(
                "no answer within {} ms: the server hangs, or the port speaks TLS and zookeeper.client.secure is \
                 not set",
                wait.as_millis()
            )
        }
        done => done.context("the connection broke")?,
    };
    Ok(text)
}

fn parse(text: &str) -> std::result::Result<Answer, String> {
    if text.contains("not currently serving requests") {
        return Err("not serving: it has no quorum, or is still starting".to_owned());
    }
    if text.contains("not in the whitelist") {
        return Err("srvr is not allowed; add it to 4lw.commands.whitelist".to_owned());
    }
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let Some(mode) = field("Mode:") else {
        return Err("no ZooKeeper, or a port with TLS and zookeeper.client.secure is not set: the answer to srvr has no mode".to_owned());
    };
    let number = |name: &str| field(name).and_then(|v| v.parse().ok());
    let version = field("Zookeeper version:").unwrap_or_default();
    Ok(Answer {
        version: version.split([',', '-']).next().unwrap_or_default().to_owned(),
        mode: mode.to_owned(),
        zxid: field("Zxid: 0x").and_then(|z| i64::from_str_radix(z, 16).ok()).map(Zxid),
        connections: number("Connections:"),
        outstanding: number("Outstanding:"),
        latency: field("Latency min/avg/max:").unwrap_or_default().to_owned(),
        nodes: number("Node count:"),
        took: Duration::ZERO,
    })
}

/// All good: each answers, and exactly one of several leads.
fn judge(members: &[Member]) -> (Health, String) {
    let answers: Vec<_> = members.iter().filter_map(|m| m.answer.as_ref().ok()).collect();
    let leaders = answers.iter().filter(|a| a.mode == "leader").count();
    let missing: Vec<_> = members.iter().filter(|m| m.answer.is_err()).map(|m| m.name.as_str()).collect();
    if answers.is_empty() {
        return (Health::Down, "nobody serves".to_owned());
    }
    let alone = answers.iter().filter(|a| a.mode == "standalone").count();
    let read_only = answers.iter().filter(|a| a.mode == "read-only").count();
    let mut wrong = Vec::new();
    if !missing.is_empty() {
        wrong.push(format!("{} of {} do not serve: {}", missing.len(), members.len(), missing.join(", ")));
    }
    if leaders > 1 {
        wrong.push(format!(
            "{leaders} members lead: they are of different ensembles, or one has just been replaced"
        ));
    }
    if alone > 0 && members.len() > 1 {
        wrong.push(format!("{alone} of {} members stand alone", members.len()));
    }
    // Asked for one follower, nobody expects the leader in the list.
    if leaders == 0 && alone == 0 && members.len() > 1 {
        wrong.push("none of them leads".to_owned());
    }
    if read_only > 0 {
        wrong.push(format!("{read_only} serve reads only"));
    }
    if wrong.is_empty() { (Health::Good, String::new()) } else { (Health::Degraded, wrong.join("; ")) }
}

/// Transactions behind the newest zxid that anybody has. `None`: of an earlier epoch.
fn lag(newest: Zxid, own: Zxid) -> Option<i64> {
    (newest.epoch() == own.epoch()).then(|| newest.0 - own.0)
}

fn show(members: &[Member], health: Health, why: &str, as_json: bool) -> std::io::Result<()> {
    let mut out = Out::new();
    let newest = members.iter().filter_map(|m| m.answer.as_ref().ok()?.zxid).max();
    let width = members.iter().map(|m| m.name.len()).max().unwrap_or(0).max("MEMBER".len());
    if !as_json {
        let columns = format!(
            "{:<width$}  {:<10}  {:<13}  {:>7}  {:>6}  {:>11}  {:<14}  {:>8}  {:<8}  HEALTH",
            "MEMBER", "ROLE", "ZXID", "LAG", "CONNS", "OUTSTANDING", "LATENCY MS", "NODES", "VERSION"
        );
        out.line(&out.paint(Colour::Dim, &columns))?;
    }
    for Member { name, answer } in members {
        let line = match answer {
            Ok(a) if as_json => json!({
                "member": name, "healthy": true, "role": a.mode, "zxid": a.zxid.map(|z| z.to_string()),
                "lag": newest.zip(a.zxid).and_then(|(n, z)| lag(n, z)), "connections": a.connections,
                "outstanding": a.outstanding, "latency_min_avg_max_ms": a.latency, "nodes": a.nodes,
                "version": a.version, "answered_in_ms": u64::try_from(a.took.as_millis()).unwrap_or(u64::MAX),
            })
            .to_string(),
            Err(e) if as_json => json!({ "member": name, "healthy": false, "error": e }).to_string(),
            Ok(a) => {
                let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
                let behind = match newest.zip(a.zxid).map(|(n, z)| lag(n, z)) {
                    Some(Some(n)) => n.to_string(),
                    Some(None) => "epoch".to_owned(),
                    None => "?".to_owned(),
                };
                let role = format!("{:<10}", a.mode);
                let colour = if a.mode == "leader" { Colour::Bold } else { Colour::Dim };
                format!(
                    "{name:<width$}  {}  {:<13}  {behind:>7}  {:>6}  {:>11}  {:<14}  {:>8}  {:<8}  {}",
                    out.paint(colour, &role),
                    a.zxid.map_or_else(|| "?".to_owned(), |z| z.to_string()),
                    number(a.connections),
                    number(a.outstanding),
                    a.latency,
                    number(a.nodes),
                    a.version,
                    out.paint(Colour::Green, "ok")
                )
            }
            Err(e) => format!("{name:<width$}  {}", out.paint(Colour::Red, e)),
        };
        out.line(&line)?;
    }
    if as_json {
        let word = match health {
            Health::Good => "good",
            Health::Degraded => "degraded",
            Health::Down => "down",
        };
        out.json(&json!({ "summary": { "health": word, "why": why } }))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of a follower of Java 3.9.4.
    const SRVR: &str = "Zookeeper version: 3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 2025-08-19 19:53 UTC\n\
        Latency min/avg/max: 0/0.25/3\nReceived: 10\nSent: 9\nConnections: 2\nOutstanding: 1\nZxid: 0x100000005\n\
        Mode: follower\nNode count: 7\n";

    fn member(mode: &str) -> Member {
        let answer = Ok(Answer { mode: mode.to_owned(), ..Answer::default() });
        Member { name: "a:1".to_owned(), answer }
    }

    #[test]
    fn an_answer_is_read() {
        let a = parse(SRVR).unwrap();
        assert_eq!((a.version.as_str(), a.mode.as_str()), ("3.9.4", "follower"));
        assert_eq!((a.zxid, a.connections, a.outstanding), (Some(Zxid(0x1_0000_0005)), Some(2), Some(1)));
        assert_eq!((a.latency.as_str(), a.nodes), ("0/0.25/3", Some(7)));
        assert!(
            parse("This ZooKeeper instance is not currently serving requests\n")
                .unwrap_err()
                .contains("quorum")
        );
        assert!(
            parse("srvr is not executed because it is not in the whitelist.\n").unwrap_err().contains("4lw")
        );
        assert!(parse("HTTP/1.1 400").is_err());
    }

    #[test]
    fn members_are_named() {
        let all = names("a, b:1,[::1]:5,::1,[::1]/chroot").unwrap();
        assert_eq!(all, ["a:2181", "b:1", "[::1]:5", "[::1]:2181", "[::1]:2181"]);
        assert!(names(",").is_err());
    }

    #[test]
    fn health() {
        let down = || Member { name: "b:2".to_owned(), answer: Err("no connection".to_owned()) };
        let of = |list: Vec<Member>| judge(&list).0;
        assert_eq!(of(vec![member("standalone")]), Health::Good);
        assert_eq!(of(vec![member("follower")]), Health::Good);
        assert_eq!(of(vec![member("leader"), member("follower"), member("observer")]), Health::Good);
        assert_eq!(of(vec![member("leader"), down()]), Health::Degraded);
        assert_eq!(of(vec![member("leader"), member("leader")]), Health::Degraded);
        assert_eq!(of(vec![member("follower"), member("follower")]), Health::Degraded);
        assert_eq!(of(vec![member("standalone"), member("leader")]), Health::Degraded);
        assert_eq!(of(vec![member("read-only")]), Health::Degraded);
        assert_eq!(of(vec![down(), down()]), Health::Down);
        assert_eq!(lag(Zxid(0x1_0000_0005), Zxid(0x1_0000_0003)), Some(2));
        assert_eq!(lag(Zxid(0x2_0000_0001), Zxid(0x1_0000_0003)), None);
    }
}
