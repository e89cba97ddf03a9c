//! How long writes stop when a leader is killed, zkd and Java in turns.
//!
//! Three members, and writers of several kinds. Some stay with a follower: they keep
//! their connection as long as the server keeps it and come back to the same member at
//! once. Two begin at the leader: one goes to the next member at once, one waits as the
//! Java client does. What counts is the longest time between two acknowledged writes of one, of
//! which the second comes behind the kill.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zk_proto::{OpCode, SessionId};
use zk_testkit::ensemble::{ELECTION, Ensemble, MemberSpec, Role};
use zk_testkit::process::{Config, Java, Launcher, Zkd};
use zk_testkit::raw::{Conn, hello, hello_again};
use zk_testkit::request;

/// Time between a reply and the next write.
const PAUSE: Duration = Duration::from_millis(2);

/// The same of a writer that has seldom one under way when the leader dies.
const LONG_PAUSE: Duration = Duration::from_millis(25);

/// Time-out of the sessions: an election does not end them.
const SESSION_MS: i32 = 20_000;

/// Writes that a writer must get through behind the leader's end before the round is over.
const ENOUGH: usize = 10;

/// How a writer goes on when its connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It comes back to the same member, and keeps trying.
    Stays,
    /// The same with [`LONG_PAUSE`].
    StaysSlow,
    /// It goes to the next member.
    Moves,
    /// The same after a random second, and a whole one after each round of all.
    /// (ref: ClientCnxn.SendThread.startConnect, StaticHostProvider.next)
    MovesAsJava,
}

/// What was seen at one kill.
#[derive(Debug, Default)]
struct Gaps {
    follower: Vec<Duration>,
    slow: Vec<Duration>,
    /// How often a follower kept the connection of those.
    kept: usize,
    moves: Vec<Duration>,
    as_java: Vec<Duration>,
}

/// Kills the leader of each ensemble this often, and prints medians and the worst.
pub fn compare(kills: usize) -> Result<()> {
    let config = || {
        Config::default()
            .line("tickTime", 2000)
            .line("initLimit", 10)
            .line("syncLimit", 5)
            .line("maxSessionTimeout", 40_000)
            .line("snapCount", 100_000)
    };
    let one =
        |launcher: &'static dyn Launcher| Ensemble::start(&[MemberSpec::participant(launcher); 3], config());
    let only = std::env::var("ZKD_FAILOVER_ONLY").unwrap_or_default();
    let launchers: [&'static dyn Launcher; 2] = [&Zkd, &Java];
    let mut sides = Vec::new();
    for launcher in launchers.into_iter().filter(|l| l.name().contains(&only)) {
        sides.push((launcher.name(), one(launcher)?, Gaps::default()));
    }
    for _ in 0..kills {
        for (name, ensemble, gaps) in &mut sides {
            if let Err(e) = round(ensemble, gaps) {
                return Err(e.context(format!("{name}:\n{}", ensemble.log_tails())));
            }
        }
    }
    println!("longest time between two writes when the leader is killed, {kills} kills, median and worst");
    for (name, ensemble, gaps) in &mut sides {
        println!(
            "{name:<5} at a follower {}, with pauses {} ({} of {} connections kept), at the leader {}, as the Java \
             client {}",
            Spread::of(&mut gaps.follower),
            Spread::of(&mut gaps.slow),
            gaps.kept,
            gaps.slow.len(),
            Spread::of(&mut gaps.moves),
            Spread::of(&mut gaps.as_java),
        );
        if std::env::var_os("ZKD_FAILOVER_LOGS").is_some() {
            (0..ensemble.len()).for_each(|i| println!("--- member {} ---\n{}", i + 1, ensemble.log(i)));
        }
    }
    Ok(())
}

struct Spread(Option<(Duration, Duration)>);

impl Spread {
    fn of(gaps: &mut [Duration]) -> Spread {
        gaps.sort();
        Spread(gaps.get(gaps.len() / 2).copied().zip(gaps.last().copied()))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((median, worst)) => write!(f, "{} / {} ms", median.as_millis(), worst.as_millis()),
            None => f.write_str("-"),
        }
    }
}

/// One kill.
fn round(e: &mut Ensemble, gaps: &mut Gaps) -> Result<()> {
    let roles = e.roles(ELECTION)?;
    let of = |role: Role| roles.iter().filter(move |(_, r)| **r == role).map(|(i, _)| *i);
    let leader = of(Role::Leader).next().context("no leader")?;
    let followers: Vec<usize> = of(Role::Follower).collect();
    ensure!(followers.len() == 2, "{} followers", followers.len());
    let all: Vec<SocketAddr> = (0..e.len()).map(|i| e.addr(i)).collect();
    let writer = |n: usize, at: usize, manner| Writer::new(n, &all, at, manner);
    let mut writers = vec![
        writer(0, followers[0], Manner::Stays)?,
        writer(1, followers[1], Manner::Stays)?,
        writer(2, followers[0], Manner::StaysSlow)?,
        writer(3, followers[1], Manner::StaysSlow)?,
        writer(4, leader, Manner::Moves)?,
        writer(5, leader, Manner::MovesAsJava)?,
    ];
    let [stop, killed, ended] = [false; 3].map(AtomicBool::new);
    thread::scope(|scope| -> Result<()> {
        let [stop, killed, ended] = [&stop, &killed, &ended];
        let threads: Vec<_> =
            writers.iter_mut().map(|w| scope.spawn(move || w.run(stop, killed, ended))).collect();
        thread::sleep(Duration::from_millis(500));
        killed.store(true, Ordering::Relaxed);
        let mut outcome = e.kill(leader);
        ended.store(true, Ordering::Relaxed);
        for t in threads {
            outcome = outcome.and(t.join().expect("a writer does not panic"));
        }
        outcome
    })?;
    for w in &mut writers {
        let gap = w.longest;
        match w.manner {
            Manner::Stays => gaps.follower.push(gap),
            Manner::StaysSlow => {
                gaps.slow.push(gap);
                gaps.kept += usize::from(!w.lost);
            }
            Manner::Moves => gaps.moves.push(gap),
            Manner::MovesAsJava => gaps.as_java.push(gap),
        }
        w.close();
    }
    let told = writers.iter().map(|w| w.longest.as_millis().to_string());
    println!("{:<5} {}", e.member(leader).name(), told.collect::<Vec<_>>().join(" "));
    e.restart(leader)
}

struct Writer<'a> {
    members: &'a [SocketAddr],
    at: usize,
    first: usize,
    manner: Manner,
    session: SessionId,
    conn: Option<Conn>,
    path: String,
    acked: Option<Instant>,
    longest: Duration,
    lost: bool,
    rng: StdRng,
}

impl<'a> Writer<'a> {
    fn new(n: usize, members: &'a [SocketAddr], at: usize, manner: Manner) -> Result<Self> {
        let mut conn = Conn::open(members[at], SESSION_MS)?;
        let path = format!("/failover-{n}");
        if conn.exists(&path, false)?.is_none() {
            conn.create(&path, b"", request::OPEN, 0)?;
        }
        let session = conn.session;
        Ok(Self {
            members,
            at,
            first: at,
            manner,
            session,
            conn: Some(conn),
            path,
            acked: None,
            longest: Duration::ZERO,
            lost: false,
            rng: StdRng::seed_from_u64(session.0.cast_unsigned()),
        })
    }

    /// Writes until enough writes went through behind the leader's end.
    fn run(&mut self, stop: &AtomicBool, killed: &AtomicBool, ended: &AtomicBool) -> Result<()> {
        let mut after = 0;
        let begin = Instant::now();
        while after < ENOUGH && !stop.load(Ordering::Relaxed) {
            if begin.elapsed() > ELECTION {
                stop.store(true, Ordering::Relaxed);
                anyhow::bail!("no writes for {ELECTION:?}: {:?} at member {}", self.manner, self.at + 1);
            }
            let Some(conn) = &mut self.conn else {
                self.reconnect();
                continue;
            };
            let body = request::set_data(Some(self.path.as_bytes()), Some(b"x"), -1);
            match conn.call(OpCode::SetData, &body).and_then(|r| r.ok().map(|_| ())) {
                Ok(()) => {
                    self.ack(killed.load(Ordering::Relaxed));
                    after += usize::from(ended.load(Ordering::Relaxed));
                    thread::sleep(if self.manner == Manner::StaysSlow { LONG_PAUSE } else { PAUSE });
                }
                Err(_) => {
                    self.conn = None;
                    self.lost = true;
                }
            }
        }
        Ok(())
    }

    fn ack(&mut self, is_killed: bool) {
        let now = Instant::now();
        if let Some(before) = self.acked.replace(now)
            && is_killed
        {
            self.longest = self.longest.max(now - before);
        }
    }

    fn reconnect(&mut self) {
        match self.manner {
            Manner::Stays | Manner::StaysSlow => thread::sleep(PAUSE),
            Manner::Moves => {
                thread::sleep(PAUSE);
                self.at = (self.at + 1) % self.members.len();
            }
            Manner::MovesAsJava => {
                self.at = (self.at + 1) % self.members.len();
                if self.at == self.first {
                    thread::sleep(Duration::from_secs(1));
                }
                thread::sleep(Duration::from_millis(self.rng.random_range(0..1000)));
            }
        }
        let Ok(mut conn) = Conn::dial(self.members[self.at]) else { return };
        let request = match self.session {
            SessionId::NONE => hello(SESSION_MS),
            session => hello_again(session, SESSION_MS),
        };
        match conn.handshake(&request) {
            Ok(Some(r)) if r.timeout > 0 => {
                self.session = r.session;
                self.conn = Some(conn);
            }
            Ok(Some(_)) => self.session = SessionId::NONE,
            Ok(None) | Err(_) => {}
        }
    }

    fn close(&mut self) {
        let closed = self.conn.take().context("no connection").and_then(|mut c| c.close());
        if let Err(e) = closed {
            println!("a session was not closed: {e:#}");
        }
    }
}
