//! Ensembles whose members change while they serve: clients write all the time, and
//! nothing that was acknowledged is lost.
//!
//! `ZKD_RECONFIG_ONLY=zkd,zkd,zkd,java,zkd;...` chooses compositions by hand.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zk_proto::{ErrorCode, OpCode, Stat};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Role, composition};
use zk_testkit::process::{Config, zk_cli};
use zk_testkit::raw::Conn;
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN};

use crate::support::{ensembles, eventually};

/// The expectations of this file, proven on the reference alone.
const REFERENCE: &str = "java,java,java,java,java";
/// The largest of the first three leads at first.
const USUAL: &[&str] = &["zkd,zkd,zkd,zkd,zkd", "zkd,zkd,java,zkd,java"];

fn config() -> Config {
    ensemble::config().line("reconfigEnabled", "true")
}

/// How an operator asks for other members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    /// The request itself.
    Request,
    /// The reference's command line.
    ZkCli,
}

/// A client that makes one node after the other, at any member that takes it, and an operator.
struct Clients {
    members: Mutex<Vec<SocketAddr>>,
    stop: AtomicBool,
    tool: Tool,
}

impl Clients {
    fn new(e: &Ensemble, tool: Tool) -> Self {
        let clients = Self { members: Mutex::default(), stop: AtomicBool::new(false), tool };
        clients.follow(e);
        clients
    }

    /// Members are these now.
    fn follow(&self, e: &Ensemble) {
        *self.members.lock().expect("no panic") = e.running().into_iter().map(|i| e.addr(i)).collect();
    }

    /// Writes until it is stopped. Gives the names that were acknowledged, and the longest
    /// time without any.
    fn write(&self) -> (BTreeSet<String>, Duration) {
        let (mut acked, mut pause, mut last) = (BTreeSet::new(), Duration::ZERO, Instant::now());
        let (mut conn, mut turn): (Option<Conn>, usize) = (None, 0);
        for n in 0.. {
            let name = format!("n{n}");
            loop {
                if self.stop.load(Ordering::Relaxed) {
                    return (acked, pause);
                }
                if conn.is_none() {
                    turn += 1;
                    let members = self.members.lock().expect("no panic").clone();
                    conn = Conn::open(members[turn % members.len()], 10_000).ok();
                }
                let Some(c) = &mut conn else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                let body = request::create(Some(format!("/w/{name}").as_bytes()), Some(b"x"), Some(OPEN), 0);
                let code = c.call(OpCode::Create, &body).map(|r| r.code());
                match code {
                    // Made by a try whose reply was lost.
                    Ok(ErrorCode::Ok | ErrorCode::NodeExists) => break,
                    _ => conn = None,
                }
            }
            acked.insert(name);
            pause = pause.max(last.elapsed());
            last = Instant::now();
            std::thread::sleep(Duration::from_millis(2));
        }
        unreachable!("it is stopped before the numbers end")
    }
}

/// Runs the steps while a client writes; then every member has all that it was told.
fn under_load(e: &mut Ensemble, tool: Tool, steps: &[(&str, Step)]) -> anyhow::Result<()> {
    let mut conn = e.super_user(e.running()[0])?;
    conn.create("/w", b"", OPEN, 0)?;
    conn.close()?;
    let clients = Clients::new(e, tool);
    let (outcome, (acked, pause)) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| clients.write());
        let outcome = steps.iter().try_for_each(|(name, step)| {
            let began = Instant::now();
            step(e, &clients).with_context(|| (*name).to_owned())?;
            clients.follow(e);
            println!("{name}: {:.1?}", began.elapsed());
            anyhow::Ok(())
        });
        clients.stop.store(true, Ordering::Relaxed);
        (outcome, thread.join().expect("no panic"))
    });
    outcome?;
    println!("{} writes acknowledged, longest pause {pause:.1?}", acked.len());
    has_all(e, &acked)?;
    eventually(|| written_down(e))?;
    // What they have written down is enough to come back.
    for i in e.running() {
        e.stop(i)?;
        e.keep_config(i, true);
        e.spawn(i)?;
        e.wait_all_serving(ELECTION)?;
    }
    has_all(e, &acked)?;
    e.same_tree()?;
    Ok(())
}

fn has_all(e: &Ensemble, acked: &BTreeSet<String>) -> anyhow::Result<()> {
    for i in e.running() {
        let mut conn = e.super_user(i)?;
        conn.sync("/w")?;
        let names: BTreeSet<String> = conn.children("/w", false)?.0.into_iter().collect();
        let lost: Vec<_> = acked.difference(&names).take(5).collect();
        ensure!(lost.is_empty(), "member {} has lost {lost:?}", i + 1);
        conn.close()?;
    }
    Ok(())
}

/// The files of all members lead to the configuration in force and to nothing else.
fn written_down(e: &Ensemble) -> anyhow::Result<()> {
    for i in e.running() {
        let (data, stat) = e.super_user(i)?.get_data("/zookeeper/config", false)?;
        let text = String::from_utf8(data.context("no configuration")?)?;
        let mut lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("version")).collect();
        lines.sort_unstable();
        let home = e.member(i).home();
        let dynamic = home.join(format!("zoo.cfg.dynamic.{:x}", stat.mzxid));
        ensure!(fs::read_to_string(&dynamic)? == lines.join("\n"), "{}", dynamic.display());
        let zoo_cfg = fs::read_to_string(home.join("zoo.cfg"))?;
        let last = format!("dynamicConfigFile={}", dynamic.canonicalize()?.display());
        ensure!(zoo_cfg.lines().last() == Some(&last), "member {}:\n{zoo_cfg}", i + 1);
        let moved = |l: &str| ["server.", "clientPort="].iter().any(|key| l.starts_with(key));
        ensure!(!zoo_cfg.lines().any(moved), "member {}:\n{zoo_cfg}", i + 1);
        ensure!(!home.join("zoo.cfg.dynamic.next").exists(), "member {} keeps a proposal", i + 1);
        ensure!(fs::read_to_string(home.join("zoo.cfg.bak"))?.contains("server."), "no copy");
    }
    Ok(())
}

type Step = fn(&mut Ensemble, &Clients) -> anyhow::Result<()>;

fn run(list: &str, first: usize, tool: Tool, config: Config, steps: &[(&str, Step)]) -> anyhow::Result<()> {
    println!("--- {list}, {tool:?}");
    let mut e = Ensemble::prepare(&composition(list)?, config)?;
    let members: Vec<usize> = (0..first).collect();
    for i in 0..e.len() {
        let mut named = members.clone();
        named.extend((i >= first).then_some(i));
        e.configure_one(i, &named);
    }
    members.iter().rev().try_for_each(|i| e.spawn(*i))?;
    let outcome = e.wait_all_serving(ELECTION).and_then(|()| under_load(&mut e, tool, steps));
    outcome.map_err(|error| error.context(e.log_tails()).context(list.to_owned()))
}

/// A change of the members.
pub enum Change {
    /// Lines of `server.N=...`, and numbers; one of them may be empty.
    Some { joining: String, leaving: String },
    /// All lines.
    All(Vec<String>),
}

impl Change {
    fn request(&self) -> Vec<u8> {
        match self {
            Self::Some { joining, leaving } => {
                request::reconfig(Some(joining.as_bytes()), Some(leaving.as_bytes()), None, -1)
            }
            Self::All(lines) => request::reconfig(None, None, Some(lines.join(",").as_bytes()), -1),
        }
    }

    fn command(&self) -> String {
        match self {
            Self::Some { joining, leaving } => [("-add", joining), ("-remove", leaving)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .fold("reconfig -s".to_owned(), |line, (option, value)| format!("{line} {option} {value}")),
            Self::All(lines) => format!("reconfig -s -members {}", lines.join(",")),
        }
    }
}

/// Some join and some leave.
pub fn some(joining: &str, leaving: &str) -> Change {
    Change::Some { joining: joining.to_owned(), leaving: leaving.to_owned() }
}

/// All members by name.
fn all(e: &Ensemble, members: &[usize]) -> Change {
    Change::All(members.iter().map(|i| line(e, *i)).collect())
}

/// What the operator is told: the configuration and the Stat of its node. Tried again while
/// the ensemble is not ready.
fn reconfig(e: &Ensemble, via: usize, clients: &Clients, change: &Change) -> anyhow::Result<(String, Stat)> {
    let deadline = Instant::now() + ELECTION;
    loop {
        let told = match clients.tool {
            Tool::Request => by_request(e, via, change),
            Tool::ZkCli => by_zk_cli(e, via, change),
        };
        if let Some(told) = told.with_context(|| change.command())? {
            return Ok(told);
        }
        ensure!(Instant::now() < deadline, "it does not go: {}", change.command());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `None`: not now.
pub fn by_request(e: &Ensemble, via: usize, change: &Change) -> anyhow::Result<Option<(String, Stat)>> {
    match e.super_user(via).and_then(|mut c| c.call(OpCode::Reconfig, &change.request())) {
        Ok(r) if r.code() == ErrorCode::Ok => match r.ok()? {
            Body::DataStat(Some(text), stat) => Ok(Some((String::from_utf8(text)?, stat))),
            other => bail!("unexpected body {other:?}"),
        },
        Ok(r) if matches!(r.code(), ErrorCode::NewConfigNoQuorum | ErrorCode::ReconfigInProgress) => Ok(None),
        Ok(r) => bail!("{:?}", r.code()),
        Err(error) => {
            println!("reconfig through member {}: {error}", via + 1);
            Ok(None)
        }
    }
}

fn by_zk_cli(e: &Ensemble, via: usize, change: &Change) -> anyhow::Result<Option<(String, Stat)>> {
    let out = zk_cli(e.addr(via), &[change.command()])?;
    let Some((_, told)) = out.split_once("Committed new configuration:\n") else {
        let passing = ["No quorum of new config", "Another reconfiguration", "ConnectionLoss"];
        ensure!(passing.iter().any(|text| out.contains(text)), "{out}");
        println!("zkCli through member {}: {}", via + 1, out.lines().last().unwrap_or_default());
        return Ok(None);
    };
    let field = |name: &str| {
        let value = told.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(" = "));
        value.with_context(|| format!("no {name}:\n{told}"))
    };
    let stat = Stat {
        mzxid: i64::from_str_radix(field("mZxid")?.trim_start_matches("0x"), 16)?,
        version: field("dataVersion")?.parse()?,
        data_length: field("dataLength")?.parse()?,
        ..Stat::default()
    };
    let lines: Vec<&str> =
        told.lines().take_while(|l| l.starts_with("server.") || l.starts_with("version=")).collect();
    Ok(Some((lines.join("\n"), stat)))
}

/// Waits until all running members serve and show this text.
pub fn shown(e: &mut Ensemble, text: &str) -> anyhow::Result<()> {
    let has = |e: &Ensemble, i| configuration(e, i).is_ok_and(|(t, stat)| t == text && stat.version == -1);
    e.wait("the configuration at all members", ELECTION, |e| e.running().into_iter().all(|i| has(e, i)))?;
    e.wait_all_serving(ELECTION)
}

/// What a member shows when it is in step.
fn configuration(e: &Ensemble, i: usize) -> anyhow::Result<(String, Stat)> {
    let mut conn = Conn::open(e.addr(i), 10_000)?;
    conn.sync("/")?;
    let (data, stat) = conn.get_data("/zookeeper/config", false)?;
    Ok((String::from_utf8(data.context("no configuration")?)?, stat))
}

pub fn line(e: &Ensemble, i: usize) -> String {
    let (key, value) = e.server_line(i);
    format!("{key}={value}")
}

fn leader(e: &mut Ensemble) -> anyhow::Result<usize> {
    e.wait_leader(ELECTION)
}

fn follower(e: &mut Ensemble) -> anyhow::Result<usize> {
    let leader = leader(e)?;
    e.running().into_iter().find(|i| *i != leader).context("nobody follows")
}

/// Starts a member that is in its own configuration only, and takes it in.
fn join(e: &mut Ensemble, i: usize, via: usize, clients: &Clients) -> anyhow::Result<()> {
    e.spawn(i)?;
    e.wait_serving(i, ELECTION)?;
    let mut conn = e.super_user(via)?;
    conn.get_data("/zookeeper/config", true)?;
    let (text, stat) = reconfig(e, via, clients, &some(&line(e, i), ""))?;
    ensure!(text.contains(&line(e, i)) && text.ends_with(&format!("version={:x}", stat.mzxid)), "{text}");
    ensure!(stat.version == -1 && stat.data_length as usize == text.len(), "{stat:?}");
    let event = conn.event(ELECTION)?.context("no event")?;
    ensure!(event.path == "/zookeeper/config", "{event:?}");
    shown(e, &text)
}

fn three_become_five(e: &mut Ensemble, clients: &Clients) -> anyhow::Result<()> {
    let via = leader(e)?;
    join(e, 3, via, clients)?;
    let via = follower(e)?;
    join(e, 4, via, clients)
}

/// Every member moves to other ports, the leader last.
fn ports_change(e: &mut Ensemble, clients: &Clients) -> anyhow::Result<()> {
    let leader = leader(e)?;
    let mut order = e.running();
    order.sort_by_key(|i| *i == leader);
    for i in order {
        let via = e.running().into_iter().find(|m| *m != i).context("it is alone")?;
        e.move_ports(i)?;
        let (text, _) = reconfig(e, via, clients, &some(&line(e, i), ""))?;
        clients.follow(e);
        shown(e, &text).with_context(|| format!("member {} moves", i + 1))?;
    }
    Ok(())
}

fn voters_and_observers_change_places(e: &mut Ensemble, clients: &Clients) -> anyhow::Result<()> {
    let i = follower(e)?;
    for (observer, role) in [(true, Role::Observer), (false, Role::Follower)] {
        let via = leader(e)?;
        e.set_observer(i, observer);
        let (text, _) = reconfig(e, via, clients, &some(&line(e, i), ""))?;
        shown(e, &text)?;
        e.wait_role(i, role)?;
    }
    Ok(())
}

/// Through the leader and through a follower, without a change.
fn what_is_refused(e: &mut Ensemble, _: &Clients) -> anyhow::Result<()> {
    use ErrorCode as E;
    type Row<'a> = (bool, Option<&'a str>, Option<&'a str>, Option<&'a str>, i64, ErrorCode);
    #[rustfmt::skip]
    let rows: &[Row<'static>] = &[
        (false, None, Some("9"), None, -1, E::NoAuth),
        (false, None, Some("9"), None, 5, E::BadVersion),
        (true, None, Some("9"), None, 5, E::BadVersion),
        (false, None, Some("1,2"), None, -1, E::BadArguments),
        (true, None, Some("x"), None, -1, E::MarshallingError),
        (true, Some("server.9=127.0.0.1:1:2"), None, None, -1, E::BadArguments),
        (true, Some("server.9=127.0.0.1:1;3"), None, None, -1, E::BadArguments),
        (true, Some("server.9"), None, None, -1, E::BadArguments),
        (true, Some("server.x=127.0.0.1:1:2;3"), None, None, -1, E::MarshallingError),
        (true, Some("server.8=127.0.0.1:1:2;3,server.9=127.0.0.1:4:5;6,server.7=127.0.0.1:7:8;9"), None, None, -1, E::NewConfigNoQuorum),
        (true, None, None, Some(""), -1, E::BadArguments),
        (true, None, None, Some("peerType=observer"), -1, E::BadArguments),
        (true, None, None, Some("server.1=127.0.0.1:1:2;3"), -1, E::BadArguments),
        (true, None, None, Some("server.1=127.0.0.1:1:2;3,server.2=127.0.0.1:4:5:observer;6"), -1, E::MarshallingError),
        (true, None, None, Some("server.x=127.0.0.1:1:2;3"), -1, E::MarshallingError),
        (false, None, None, Some("server.8=127.0.0.1:1:2;3,server.9=127.0.0.1:4:5;6"), -1, E::NewConfigNoQuorum),
    ];
    let before = e.super_user(0)?.get_data("/zookeeper/config", false)?;
    for via in [leader(e)?, follower(e)?] {
        for (is_super, joining, leaving, members, base, code) in rows {
            let mut conn = if *is_super { e.super_user(via)? } else { Conn::open(e.addr(via), 10_000)? };
            let bytes = |s: &Option<&'static str>| s.map(str::as_bytes);
            let body = request::reconfig(bytes(joining), bytes(leaving), bytes(members), *base);
            let found = conn.call(OpCode::Reconfig, &body)?.code();
            ensure!(found == *code, "{joining:?} {leaving:?} {members:?} {base}: {found:?}, not {code:?}");
            conn.close()?;
        }
    }
    ensure!(e.super_user(0)?.get_data("/zookeeper/config", false)?.0 == before.0);
    Ok(())
}

/// The leader or a follower is killed while the members change. Afterwards all agree on the old
/// or the new ones.
fn killed_in_the_middle(e: &mut Ensemble, clients: &Clients) -> anyhow::Result<()> {
    let fifth = line(e, 4);
    for (round, delay) in [0, 1, 2, 3, 5, 8, 13, 21].into_iter().enumerate() {
        let leader = leader(e)?;
        let of_four = |i: &usize| (0..4).contains(i) && *i != leader;
        let follower = (0..4).find(of_four).context("alone")?;
        let victim = if round % 3 == 2 || leader == 4 { follower } else { leader };
        let via = (0..4).find(|i| of_four(i) && *i != victim).context("alone")?;
        let old = e.super_user(via)?.get_data("/zookeeper/config", false)?.0.context("no configuration")?;
        let is_in = String::from_utf8_lossy(&old).contains(&fifth);
        let change = if is_in { some("", "5") } else { some(&fifth, "") };
        e.super_user(via)?.send(OpCode::Reconfig, &change.request())?;
        std::thread::sleep(Duration::from_millis(delay));
        e.kill(victim)?;
        clients.follow(e);
        e.wait_all_serving(ELECTION)?;
        e.keep_config(victim, true);
        e.restart(victim)?;
        clients.follow(e);
        let new = agreed(e).with_context(|| format!("member {} killed after {delay} ms", victim + 1))?;
        let outcome = if new.as_bytes() == old { "old" } else { "new" };
        ensure!(outcome == "old" || new.contains(&fifth) != is_in, "neither old nor new:\n{new}");
        println!("  member {} killed after {delay} ms: {outcome} members", victim + 1);
    }
    let via = follower(e)?;
    let (text, _) = reconfig(e, via, clients, &some(&fifth, ""))?;
    shown(e, &text)
}

/// The configuration that all running members show, as soon as they do.
fn agreed(e: &mut Ensemble) -> anyhow::Result<String> {
    let text = |e: &Ensemble, i| configuration(e, i).map(|(text, _)| text);
    let mut found = String::new();
    e.wait("one configuration at all members", ELECTION, |e| {
        let texts: Vec<String> = e.running().into_iter().map(|i| text(e, i).unwrap_or_default()).collect();
        found.clone_from(&texts[0]);
        !found.is_empty() && texts.iter().all(|t| *t == found)
    })?;
    Ok(found)
}

/// A follower leaves, then the leader.
fn five_become_three(e: &mut Ensemble, clients: &Clients) -> anyhow::Result<()> {
    for pick in [follower, leader] {
        let i = pick(e)?;
        let rest: Vec<usize> = e.running().into_iter().filter(|m| *m != i).collect();
        let change = if rest.len() == 4 { some("", &(i + 1).to_string()) } else { all(e, &rest) };
        let (text, _) = reconfig(e, rest[0], clients, &change)?;
        shown(e, &text)?;
        e.stop(i)?;
        clients.follow(e);
        e.wait_all_serving(ELECTION)?;
    }
    Ok(())
}

#[test]
fn members_come_and_go_and_move() {
    let steps: &[(&str, Step)] = &[
        ("what is refused", what_is_refused),
        ("3 become 5", three_become_five),
        ("voters and observers change places", voters_and_observers_change_places),
        ("killed in the middle", killed_in_the_middle),
        ("all ports change", ports_change),
        ("5 become 3", five_become_three),
    ];
    for list in ensembles("ZKD_RECONFIG_ONLY", REFERENCE, USUAL) {
        if let Err(error) = run(&list, 3, Tool::Request, config(), steps) {
            panic!("{error:#}");
        }
    }
}

#[test]
fn zk_cli_changes_the_members() {
    let steps: &[(&str, Step)] = &[
        ("3 become 5", three_become_five),
        ("all ports change", ports_change),
        ("5 become 3", five_become_three),
    ];
    for list in ensembles("ZKD_RECONFIG_ONLY", REFERENCE, &USUAL[1..]) {
        if let Err(error) = run(&list, 3, Tool::ZkCli, config(), steps) {
            panic!("{error:#}");
        }
    }
}

#[test]
fn one_becomes_three() {
    let steps: &[(&str, Step)] = &[("1 becomes 3", |e, clients| {
        join(e, 1, 0, clients)?;
        join(e, 2, 1, clients)
    })];
    for list in ensembles("ZKD_RECONFIG_ONLY", REFERENCE, USUAL) {
        let three = list.split(',').take(3).collect::<Vec<_>>().join(",");
        if let Err(error) = run(&three, 1, Tool::Request, config().line("standaloneEnabled", "false"), steps)
        {
            panic!("{error:#}");
        }
    }
}
