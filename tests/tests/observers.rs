//! Observers that followers serve: `observerMasterPort`.
//!
//! `ZKD_OBSERVERS_ONLY=zkd,zkd,java,zkd:observer` chooses compositions by hand.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Place, Role, SyncKind, composition};
use zk_testkit::process::{Config, free_port};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

use crate::ensemble::{self as steps, Step};
use crate::reconfig;
use crate::support::{ensembles, eventually};

/// The expectations of this file, proven on the reference alone.
const REFERENCE: &str = "java,java,java,java:observer,java:observer";

/// The largest with a vote leads: followers of zkd under a leader of Java with observers of both,
/// and followers of Java under zkd.
const MIXED: &[&str] =
    &["zkd,zkd,java,zkd:observer,java:observer", "java,java,zkd,zkd:observer", "zkd,zkd,zkd,zkd:observer"];

/// Members that listen at one port, each on an address of its own.
fn prepare(list: &str) -> anyhow::Result<Ensemble> {
    let specs = composition(list)?;
    let place = |n: usize| {
        let last = u8::try_from(n + 1).context("too many members")?;
        Ok(Place { peer: Ipv4Addr::new(127, 0, 0, last), ..Place::default() })
    };
    let places = (0..specs.len()).map(place).collect::<anyhow::Result<Vec<_>>>()?;
    let config: Config = ensemble::config()
        .line("observerMasterPort", free_port()?)
        .line("reconfigEnabled", "true")
        .property("zookeeper.observer.reconnectDelayMs", 100);
    Ensemble::prepare_at(&specs, config, &places)
}

fn run(list: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut e = prepare(list)?;
    e.start_all().with_context(|| format!("start of {list}\n{}", e.log_tails()))?;
    println!("{list}: started after {:.1?}", began.elapsed());
    let all: &[Step] = &[
        ("followers serve observers", followers_serve),
        ("writes and reads through each member", steps::writes_and_reads),
        ("watches across members", steps::watches),
        ("ephemerals across members, sessions that move", steps::ephemerals),
        ("multi", steps::multi),
        ("sync", steps::sync_then_read),
        ("observers miss 10", |e| observers_miss(e, SyncKind::Diff)),
        ("the follower of an observer is killed", masters_killed),
        ("observers get a snapshot of a follower", snapshots),
        ("a follower and an observer change places", change_places),
        ("the leader is killed", steps::leader_killed),
    ];
    for (name, step) in all {
        let began = Instant::now();
        let outcome = step(&mut e).and_then(|()| followers_serve(&mut e)).and_then(|()| steps::alike(&e));
        if let Err(error) = outcome {
            bail!("{list}: {name}: {error:#}\n{}", e.log_tails());
        }
        println!("{list}: {name}: {:.1?}", began.elapsed());
    }
    Ok(())
}

#[test]
fn followers_serve_observers() {
    let lists = ensembles("ZKD_OBSERVERS_ONLY", REFERENCE, MIXED);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = lists.iter().map(|list| scope.spawn(move || run(list).err())).collect();
        threads.into_iter().filter_map(|t| t.join().expect("no panic")).map(|e| format!("{e:#}")).collect()
    });
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

fn observers(e: &mut Ensemble) -> anyhow::Result<Vec<usize>> {
    let roles = e.roles(ELECTION)?;
    Ok(roles.into_iter().filter(|(_, role)| *role == Role::Observer).map(|(i, _)| i).collect())
}

/// The follower of an observer, as the observer tells.
fn master(e: &Ensemble, i: usize) -> anyhow::Result<usize> {
    let id = e.metric(i, "observer_master_id")?.with_context(|| format!("member {} names nobody", i + 1))?;
    ensure!((1.0..=9.0).contains(&id), "member {} is with {id}", i + 1);
    Ok(id as usize - 1)
}

/// Each observer is one follower's, and the leader has links of followers only.
fn followers_serve(e: &mut Ensemble) -> anyhow::Result<()> {
    let leader = e.wait_leader(ELECTION)?;
    e.wait_all_serving(ELECTION)?;
    eventually(|| numbers(e, leader))
}

fn numbers(e: &mut Ensemble, leader: usize) -> anyhow::Result<()> {
    let observers = observers(e)?;
    let others = e.running().into_iter().filter(|i| *i != leader);
    let followers: Vec<usize> = others.filter(|i| !observers.contains(i)).collect();
    let e = &*e;
    let of = |i: usize, name: &str| Ok::<_, anyhow::Error>(e.metric(i, name)?.map(|n| n as usize));
    ensure!(of(leader, "synced_observers")? == Some(0), "observers at the leader");
    let learners = of(leader, "learners")?;
    ensure!(learners == Some(followers.len()), "the leader has {learners:?} learners");
    for follower in followers {
        let here = observers.iter().filter(|o| master(e, **o).ok() == Some(follower)).count();
        let told = of(follower, "synced_observers")?;
        ensure!(told == Some(here), "member {} tells of {told:?} observers, not {here}", follower + 1);
    }
    let masters = observers.iter().map(|o| master(e, *o)).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!masters.contains(&leader), "an observer is with the leader");
    Ok(())
}

/// Each observer is away for some transactions and is brought back like this.
fn observers_miss(e: &mut Ensemble, due: SyncKind) -> anyhow::Result<()> {
    let leader = e.wait_leader(ELECTION)?;
    for i in observers(e)? {
        let before = e.sync_kinds(i).len();
        e.kill(i)?;
        let mut c = Conn::open(e.addr(leader), 20_000)?;
        let dir = steps::fresh(&mut c, "away")?;
        steps::transactions(&mut c, &dir, 10)?;
        c.close()?;
        e.restart(i)?;
        eventually(|| {
            let got = e.sync_kinds(i);
            ensure!(got[before..].last() == Some(&due), "member {} got {:?}", i + 1, &got[before..]);
            Ok(())
        })?;
    }
    Ok(())
}

/// Each observer goes to another follower, and its clients' sessions go on.
fn masters_killed(e: &mut Ensemble) -> anyhow::Result<()> {
    for i in observers(e)? {
        followers_serve(e)?;
        let from = master(e, i)?;
        let mut owner = Conn::open(e.addr(i), 20_000)?;
        let dir = steps::fresh(&mut owner, "left")?;
        owner.create(&format!("{dir}/mine"), b"", OPEN, 1)?;
        let began = Instant::now();
        e.kill(from)?;
        e.wait("another follower for the observer", ELECTION, |e| {
            let with = |now: usize| now != from && e.role(now) == Some(Role::Follower);
            master(e, i).is_ok_and(with) && e.role(i).is_some()
        })?;
        println!("  member {} is with another follower after {:.1?}", i + 1, began.elapsed());
        let mut owner = Conn::reopen(e.addr(i), owner.session, 20_000)?;
        let stat = owner.exists(&format!("{dir}/mine"), false)?.context("the ephemeral is lost")?;
        ensure!(stat.ephemeral_owner == owner.session.0, "another owner");
        owner.create(&format!("{dir}/after"), b"", OPEN, 0)?;
        owner.close()?;
        e.restart(from)?;
    }
    Ok(())
}

/// Followers of zkd are told to send snapshots; Java's are slow to start.
fn snapshots(e: &mut Ensemble) -> anyhow::Result<()> {
    let leader = e.wait_leader(ELECTION)?;
    let followers: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
    if followers.iter().any(|i| e.member(*i).name() != "zkd") {
        return Ok(());
    }
    for force in ["true", "false"] {
        for i in &followers {
            let config = std::mem::take(e.config_mut(*i));
            *e.config_mut(*i) = config.property("zookeeper.forceSnapshotSync", force);
            e.kill(*i)?;
            e.restart(*i)?;
        }
        let due = if force == "true" { SyncKind::Snap } else { SyncKind::Diff };
        observers_miss(e, due)?;
    }
    Ok(())
}

/// A follower that others observe becomes an observer itself, and a follower again.
fn change_places(e: &mut Ensemble) -> anyhow::Result<()> {
    for observer in [true, false] {
        let leader = e.wait_leader(ELECTION)?;
        let via = *observers(e)?.first().context("no observer")?;
        let i = if observer {
            master(e, via)?
        } else {
            observers(e)?.into_iter().find(|i| *i < 3 && *i != leader).context("nobody changed")?
        };
        e.set_observer(i, observer);
        let change = reconfig::some(&reconfig::line(e, i), "");
        let mut text = None;
        // Its follower is the one that changes: the reply may be lost, not the change.
        e.wait("the reconfiguration", ELECTION, |e| {
            text = reconfig::by_request(e, via, &change).unwrap_or_default();
            text.is_some()
        })?;
        reconfig::shown(e, &text.context("no configuration")?.0)?;
        followers_serve(e)?;
        let due = if observer { Role::Observer } else { Role::Follower };
        e.wait_role(i, due)?;
    }
    Ok(())
}
