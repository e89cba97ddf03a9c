//! A member that is told to stop hands over what it does for others.
//!
//! `ZKD_HANDOVER_ROUNDS` (1) is how often each end of a leader is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use zk_proto::OpCode;
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Role, composition};
use zk_testkit::http;
use zk_testkit::process::SUPER;
use zk_testkit::raw::Conn;
use zk_testkit::request::{self, OPEN};

use crate::admin::with_admin;
use crate::support::env;

const LONG_MS: i32 = 30_000;

/// How a leader ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Term,
    Kill,
}

#[test]
fn a_leader_that_is_told_to_stop_is_missed_for_a_moment() {
    // Time-outs of 40 s.
    let config = ensemble::config().line("initLimit", 80).line("syncLimit", 80);
    let mut e = Ensemble::start(&composition("zkd,zkd,zkd").unwrap(), config).unwrap();
    let mut gaps: Vec<(End, Duration)> = Vec::new();
    for _ in 0..env("ZKD_HANDOVER_ROUNDS", 1) {
        for end in [End::Term, End::Kill] {
            match gap(&mut e, end) {
                Ok(gap) => gaps.push((end, gap)),
                Err(error) => panic!("{end:?}: {error:#}\n{}", e.log_tails()),
            }
        }
    }
    for (end, gap) in &gaps {
        println!("{end:?}: {gap:.1?} without an acknowledged write");
    }
    // Elections alone may take some time on a busy machine, time-outs take far more.
    assert!(gaps.iter().all(|(_, gap)| *gap < Duration::from_secs(20)), "{gaps:?}");
}

/// The longest time without an acknowledged write for a client of another member
/// while the leader ends. What was acknowledged is there afterwards.
fn gap(e: &mut Ensemble, end: End) -> anyhow::Result<Duration> {
    let leader = e.wait_leader(ELECTION)?;
    let other = e.running().into_iter().find(|i| *i != leader).context("nobody else")?;
    let mut c = Conn::open(e.addr(other), LONG_MS)?;
    let path = c.create("/gap-", b"", OPEN, 2)?;
    let done = Arc::new(AtomicBool::new(false));
    let (until, addr, node) = (Arc::clone(&done), e.addr(other), path.clone());
    let writer = std::thread::spawn(move || -> anyhow::Result<(Vec<Instant>, i32)> {
        let (mut acks, mut newest) = (vec![Instant::now()], 0);
        while !until.load(Ordering::Relaxed) {
            match c.set_data(&node, b"x", -1) {
                Ok(stat) => {
                    acks.push(Instant::now());
                    newest = stat.version;
                }
                Err(_) => {
                    while let Err(error) = Conn::reopen(addr, c.session, LONG_MS).map(|new| c = new) {
                        ensure!(acks.last().is_some_and(|a| a.elapsed() < ELECTION), "{error:#}");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        }
        c.close()?;
        Ok((acks, newest))
    });
    std::thread::sleep(Duration::from_millis(300));
    match end {
        End::Term => e.stop(leader)?,
        End::Kill => e.kill(leader)?,
    }
    e.wait_leader(ELECTION)?;
    std::thread::sleep(Duration::from_millis(500));
    done.store(true, Ordering::Relaxed);
    let (acks, newest) = writer.join().expect("no panic")?;
    let gap = acks.windows(2).map(|w| w[1] - w[0]).max().context("no writes")?;
    e.restart(leader)?;
    let mut c = Conn::open(e.addr(leader), LONG_MS)?;
    c.sync("/")?;
    let version = c.get_data(&path, false)?.1.version;
    ensure!(version >= newest, "version {newest} was acknowledged, {version} is there");
    c.close()?;
    Ok(gap)
}

/// The largest member leads and would be elected again; its clients keep their connections.
#[test]
fn a_leader_hands_over_when_it_is_asked_to() {
    let mut e = Ensemble::prepare(&composition("zkd,zkd,zkd").unwrap(), ensemble::config()).unwrap();
    let mut admin = Vec::new();
    for i in 0..e.len() {
        let (config, addr) = with_admin(e.config_mut(i).clone());
        *e.config_mut(i) = config;
        admin.push(addr);
    }
    e.start_all().unwrap();
    let leader = e.wait_leader(ELECTION).unwrap();
    let ask = |i: usize, who: &str| {
        let auth = format!("digest {who}");
        http::request(admin[i], "POST", "/handover", &[("Authorization", auth.as_str())], b"").unwrap()
    };
    let mut c = Conn::open(e.addr(leader), LONG_MS).unwrap();
    let path = c.create("/kept-", b"", OPEN, 3).unwrap();
    assert_eq!(ask(leader, "some:body").status, 403);
    assert_eq!(ask((leader + 1) % 3, SUPER).status, 409);
    let done = ask(leader, SUPER);
    assert_eq!(done.status, 200, "{}\n{}", done.text(), e.log_tails());
    e.wait("another leader", ELECTION, |e| e.role(leader) == Some(Role::Follower)).unwrap();
    let next = e.wait_leader(ELECTION).unwrap();
    assert_ne!(next, leader);
    // The same connection goes on, and what it has made is there.
    c.set_data(&path, b"x", -1).unwrap();
    let mut other = Conn::open(e.addr(next), LONG_MS).unwrap();
    other.sync("/").unwrap();
    assert_eq!(other.get_data(&path, false).unwrap().0.as_deref(), Some(&b"x"[..]));
    e.same_tree().unwrap();
}

/// A client has the replies to all of its writes that were done when its
/// connection closes, whatever the member was.
#[test]
fn clients_have_their_replies_before_a_member_goes() {
    for list in ["zkd,zkd,zkd", "java,zkd,zkd"] {
        let mut e = Ensemble::start(&composition(list).unwrap(), ensemble::config()).unwrap();
        // Member 3 leads, member 2 follows.
        for leaving in [2, 1] {
            if let Err(error) = replies(&mut e, leaving) {
                panic!("{list}: member {}: {error:#}\n{}", leaving + 1, e.log_tails());
            }
        }
    }
}

fn replies(e: &mut Ensemble, leaving: usize) -> anyhow::Result<()> {
    // One that was away may be elected by those who had elected another one.
    e.wait_all_serving(ELECTION)?;
    let mut c = Conn::open(e.addr(leaving), LONG_MS)?;
    let path = c.create("/replies-", b"", OPEN, 2)?;
    let body = request::set_data(Some(path.as_bytes()), Some(b"x"), -1);
    let writer = std::thread::spawn(move || -> anyhow::Result<i32> {
        const WINDOW: usize = 50;
        let mut sent = std::collections::VecDeque::new();
        let mut replies = 0;
        loop {
            while sent.len() < WINDOW {
                match c.send(OpCode::SetData, &body) {
                    Ok(xid) => sent.push_back(xid),
                    Err(_) => break,
                }
            }
            let Some(xid) = sent.pop_front() else { return Ok(replies) };
            match c.reply_to(xid, OpCode::SetData) {
                Ok(reply) => {
                    reply.ok()?;
                    replies += 1;
                }
                Err(_) => return Ok(replies),
            }
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    e.stop(leaving)?;
    println!("member {} was gone after {:.1?}", leaving + 1, began.elapsed());
    let replies = writer.join().expect("no panic")?;
    e.restart(leaving)?;
    let mut c = Conn::open(e.addr(leaving), LONG_MS)?;
    c.sync("/")?;
    let version = c.get_data(&path, false)?.1.version;
    c.close()?;
    println!("{replies} replies, version {version}");
    ensure!(replies == version, "{replies} replies, {version} writes were done");
    Ok(())
}
