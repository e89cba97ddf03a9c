//! Servers with the feature `otel`, and a collector of the test's own.
//!
//! `cargo test -p zkd --features otel --test otel`

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, MemberSpec};
use zk_testkit::process::{Config, Launcher, Server, Zkd, free_port};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

/// The zkd of this build, which sends all spans to `endpoint`.
#[derive(Debug)]
struct Traced {
    endpoint: String,
}

impl Traced {
    /// A launcher lives as long as the test; a few bytes each.
    fn to(endpoint: String) -> &'static Traced {
        Box::leak(Box::new(Traced { endpoint }))
    }
}

impl Launcher for Traced {
    fn name(&self) -> &'static str {
        "zkd"
    }

    fn command(&self, zoo_cfg: &Path, config: &Config) -> anyhow::Result<Command> {
        let plain = Zkd.command(zoo_cfg, config)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkd"));
        command.args(plain.get_args()).envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.endpoint).env("OTEL_TRACES_SAMPLER_ARG", "1");
        command.env("OTEL_SERVICE_NAME", "the test").env("OTEL_BSP_SCHEDULE_DELAY", "100");
        Ok(command)
    }
}

#[derive(Debug, Clone)]
struct Span {
    service: String,
    member: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
}

/// Takes spans on a port of its own until the process ends.
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    endpoint: String,
}

impl Collector {
    fn start() -> anyhow::Result<Collector> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let got = stream.map_err(Into::into).and_then(|s| one_request(&s)).expect("a batch of spans");
                all.lock().expect("no panic").extend(got);
            }
        });
        Ok(Collector { spans, endpoint })
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().expect("no panic").iter().filter(|s| s.name == name).cloned().collect()
    }
}

fn one_request(stream: &TcpStream) -> anyhow::Result<Vec<Span>> {
    let mut reader = BufReader::new(stream);
    let (mut lines, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        lines.push(line.trim().to_ascii_lowercase());
        line.clear();
    }
    ensure!(lines.first().is_some_and(|l| l == "post /v1/traces http/1.1"), "{lines:?}");
    ensure!(lines.iter().any(|l| l == "content-type: application/x-protobuf"), "{lines:?}");
    let length = lines.iter().find_map(|l| l.strip_prefix("content-length: ")).context("no length")?;
    let mut body = vec![0; length.parse()?];
    reader.read_exact(&mut body)?;
    (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    let mut spans = Vec::new();
    for of_resource in all(&body, 1)? {
        let resource = attributes(all(of_resource, 1)?.first().context("no resource")?, 1)?;
        let named = |key: &str| resource.get(key).cloned().unwrap_or_default();
        for of_scope in all(of_resource, 2)? {
            for span in all(of_scope, 2)? {
                let bytes = |n| anyhow::Ok(all(span, n)?.first().map(|b| b.to_vec()).unwrap_or_default());
                let number = |n| {
                    let found = fields(span)?.into_iter().find(|(field, _)| *field == n);
                    let Some((_, Field::Number(n))) = found else { bail!("no field {n}") };
                    Ok(n)
                };
                spans.push(Span {
                    service: named("service.name"),
                    member: named("service.instance.id"),
                    name: String::from_utf8(bytes(5)?)?,
                    trace: bytes(1)?,
                    id: bytes(2)?,
                    parent: bytes(4)?,
                    start: number(7)?,
                    end: number(8)?,
                    attributes: attributes(span, 9)?,
                });
            }
        }
    }
    Ok(spans)
}

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> anyhow::Result<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().context("cut off")?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(n);
        }
    }
    bail!("too long")
}

fn fields(mut bytes: &[u8]) -> anyhow::Result<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            kind => {
                let length = match kind {
                    1 => 8,
                    2 => usize::try_from(varint(&mut bytes)?)?,
                    5 => 4,
                    other => bail!("no field is of kind {other}"),
                };
                let (value, rest) = bytes.split_at_checked(length).context("cut off")?;
                bytes = rest;
                match kind {
                    1 => Field::Number(u64::from_le_bytes(value.try_into()?)),
                    _ => Field::Bytes(value),
                }
            }
        };
        found.push((tag >> 3, value));
    }
    Ok(found)
}

/// The fields with this number that are messages, texts or bytes.
fn all(message: &[u8], number: u64) -> anyhow::Result<Vec<&[u8]>> {
    let of = |(n, field)| match field {
        Field::Bytes(bytes) if n == number => Some(bytes),
        _ => None,
    };
    Ok(fields(message)?.into_iter().filter_map(of).collect())
}

/// Keys with their values as text.
fn attributes(message: &[u8], number: u64) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for pair in all(message, number)? {
        let key = all(pair, 1)?.first().map(|k| String::from_utf8_lossy(k).into_owned());
        let value = all(pair, 2)?.first().copied().unwrap_or_default();
        let text = fields(value)?.pop().map(|(_, field)| match field {
            Field::Number(n) => n.cast_signed().to_string(),
            Field::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        });
        found.insert(key.context("no key")?, text.unwrap_or_default());
    }
    Ok(found)
}

fn until(what: &str, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        ensure!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// How many elections ended in this role.
fn decided(collector: &Collector, role: &str) -> usize {
    collector.named("election").iter().filter(|s| s.attributes["zookeeper.role"] == role).count()
}

/// A write through a follower: its request there and its commit at the leader are one trace.
#[test]
fn requests_commits_and_elections_have_spans() -> anyhow::Result<()> {
    let collector = Collector::start()?;
    let zkd = Traced::to(collector.endpoint.clone());
    let mut e = Ensemble::start(&[MemberSpec::participant(zkd); 3], ensemble::config())?;
    let leader = e.wait_leader(ELECTION)?;
    let follower = (leader + 1) % 3;
    let mut c = Conn::open(e.addr(follower), 30_000)?;
    for n in 0..5 {
        c.create(&format!("/n{n}"), b"secret", OPEN, 0)?;
    }
    ensure!(c.create("/n0", b"", OPEN, 0).is_err());
    until("six requests, their commits, three elections", || {
        let (requests, commits) = (collector.named("create"), collector.named("commit"));
        requests.len() >= 6
            && requests.iter().all(|r| commits.iter().any(|c| c.parent == r.id))
            && decided(&collector, "leading") >= 1
            && decided(&collector, "following") >= 2
    })?;
    let (requests, commits) = (collector.named("create"), collector.named("commit"));
    ensure!(requests.len() == 6, "{requests:#?}");
    for request in &requests {
        let zxid = &request.attributes["zookeeper.zxid"];
        let commit = commits.iter().find(|c| c.parent == request.id).context("no commit")?;
        ensure!(
            commit.trace == request.trace && commit.trace.len() == 16,
            "two traces: {request:?}, {commit:?}"
        );
        ensure!(commit.attributes["zookeeper.zxid"] == *zxid, "{request:?}, {commit:?}");
        ensure!(request.parent.is_empty() || request.parent.iter().all(|b| *b == 0), "{request:?}");
        ensure!(request.member == (follower + 1).to_string() && commit.member == (leader + 1).to_string());
        ensure!(request.start <= request.end && commit.start <= commit.end, "{request:?}, {commit:?}");
        ensure!(request.attributes["zookeeper.session"] == c.session.to_string(), "{request:?}");
    }
    let traces: std::collections::BTreeSet<_> = requests.iter().map(|r| &r.trace).collect();
    ensure!(traces.len() == 6, "writes share a trace");
    let errors = requests.iter().map(|r| r.attributes["zookeeper.error"].as_str());
    ensure!(errors.filter(|e| *e == "-110").count() == 1, "{requests:#?}");
    let all = collector.spans.lock().expect("no panic").clone();
    ensure!(all.iter().all(|s| s.service == "the test"));
    ensure!(!format!("{all:?}").contains("secret"));
    Ok(())
}

/// Nobody collects: it is said once, and nothing else happens. A stop does not wait for it.
#[test]
fn a_server_does_without_its_collector() -> anyhow::Result<()> {
    let nowhere = format!("http://127.0.0.1:{}", free_port()?);
    let mut server = Server::start(Traced::to(nowhere), Config::default())?;
    let mut c = Conn::open(server.addr(), 30_000)?;
    for n in 0..50 {
        c.create(&format!("/n{n}"), b"", OPEN, 0)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = "the collector does not take spans";
    until("the warning", || server.log().contains(said))?;
    ensure!(server.log().matches(said).count() == 1, "{}", server.log());
    ensure!(server.stop()?.success());
    Ok(())
}

#[test]
fn what_cannot_be_meant_is_refused() -> anyhow::Result<()> {
    let mut server = Server::prepare(Traced::to("https://127.0.0.1:1".to_owned()), Config::default())?;
    server.spawn()?;
    let status = server.wait_exit(Duration::from_secs(60))?;
    ensure!(status.code() == Some(2) && server.log().contains("spans go out by http://"), "{}", server.log());
    Ok(())
}
