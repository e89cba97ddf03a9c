//! A live ensemble of the reference becomes one of zkd, member by member on the
//! same directories, and goes back, while clients write and read.
//!
//! `ZKD_ROLLING_ONLY=followers` or `leader` chooses one of the orders by hand,
//! `ZKD_ROLLING_SEED` (1) what the clients do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use zk_proto::SessionId;
use zk_testkit::ensemble::{self, ELECTION, Ensemble, Role, SyncKind, composition};
use zk_testkit::history::check::{self, Options};
use zk_testkit::history::load::Load;
use zk_testkit::history::{Call, History};
use zk_testkit::process::{Config, Java, Launcher, Zkd};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

use crate::ensemble::lone_write_and_then;
use crate::support::env;

const REFERENCE: &str = "java,java,java";
/// Outlives every pause.
const LONG_MS: i32 = 120_000;

fn config() -> Config {
    ensemble::config().line("snapCount", 1500)
}

/// Which member is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    FollowersFirst,
    LeaderFirst,
}

/// What was seen of whom: member, program, role.
type Roles = BTreeSet<(usize, &'static str, &'static str)>;

#[test]
fn a_live_ensemble_is_replaced_and_goes_back() {
    let only: String = env("ZKD_ROLLING_ONLY", String::new());
    let orders = [("followers", Order::FollowersFirst), ("leader", Order::LeaderFirst)];
    let began = Instant::now();
    // Most of it is waiting.
    let roles: Roles = std::thread::scope(|scope| {
        let chosen = orders.into_iter().filter(|(name, _)| name.contains(&only));
        let runs: Vec<_> =
            chosen.map(|(name, order)| scope.spawn(move || run_or_tell(name, order))).collect();
        runs.into_iter().flat_map(|r| r.join().expect("a run without trouble")).collect()
    });
    println!("after {:.1?}", began.elapsed());
    if only.is_empty() {
        for role in ["leader", "follower"] {
            for i in 0..3 {
                assert!(roles.iter().any(|r| r.0 == i && r.2 == role), "member {} was no {role}", i + 1);
            }
            for program in ["java", "zkd"] {
                assert!(roles.iter().any(|r| (r.1, r.2) == (program, role)), "{program} was no {role}");
            }
        }
    }
}

fn run_or_tell(name: &str, order: Order) -> Roles {
    let (mut kept, mut roles) = (None, Roles::new());
    if let Err(error) = run(name, order, &mut kept, &mut roles) {
        let logs = kept.as_ref().map(Ensemble::log_tails).unwrap_or_default();
        panic!("{name}: {error:#}\n{logs}");
    }
    roles
}

fn run(name: &str, order: Order, kept: &mut Option<Ensemble>, roles: &mut Roles) -> anyhow::Result<()> {
    let mut e = Ensemble::prepare(&composition(REFERENCE)?, config())?;
    match order {
        Order::FollowersFirst => e.start_all()?,
        Order::LeaderFirst => start_with_first_as_leader(&mut e)?,
    }
    let load = Load {
        clients: 6,
        session_ms: 60_000,
        pause: Duration::from_millis(8),
        ..Load::new((0..e.len()).map(|i| e.addr(i)).collect(), env("ZKD_ROLLING_SEED", 1))
    };
    let mut keepers = Keeper::all(&e)?;
    let clock = Instant::now();
    let stop = AtomicBool::new(false);
    let mut history = load.prepare(clock)?;
    let mut fuzzy = BTreeSet::new();
    let outcome = std::thread::scope(|scope| {
        let clients = scope.spawn(|| load.run(clock, &stop));
        let outcome = there_and_back(name, &mut e, order, &mut keepers, roles, &mut fuzzy);
        stop.store(true, Ordering::Relaxed);
        history.extend(clients.join().expect("no panic"));
        outcome
    });
    let outcome = outcome.and_then(|()| judge(name, &e, &load, &history, &fuzzy));
    if outcome.is_err() {
        *kept = Some(e);
    }
    outcome
}

/// The one that has more than the other wins, not the larger one.
fn start_with_first_as_leader(e: &mut Ensemble) -> anyhow::Result<()> {
    e.spawn(0)?;
    e.spawn(1)?;
    e.wait_all_serving(ELECTION)?;
    let mut c = Conn::open(e.addr(0), LONG_MS)?;
    c.create("/first", b"", OPEN, 0)?;
    c.close()?;
    e.stop(1)?;
    e.spawn(2)?;
    ensure!(e.roles(ELECTION)?.get(&0) == Some(&Role::Leader), "the first does not lead");
    e.restart(1)
}

fn there_and_back(
    name: &str,
    e: &mut Ensemble,
    order: Order,
    keepers: &mut [Keeper],
    roles: &mut Roles,
    fuzzy: &mut BTreeSet<usize>,
) -> anyhow::Result<()> {
    let counts = |e: &Ensemble| (0..e.len()).map(|i| snapshots(e, i)).collect::<Vec<_>>();
    let (mut got, mut given) = (counts(e), given_by_java(e));
    for program in [&Zkd as &'static dyn Launcher, &Java] {
        note(e, roles)?;
        while let Some(i) = next(e, order, program)? {
            let role = e.wait_serving(i, ELECTION)?;
            let began = Instant::now();
            none_of_zkd(e)?;
            replace(e, i, program).with_context(|| format!("member {} as {}", i + 1, program.name()))?;
            println!(
                "{name}: member {} ({role:?}) is {} after {:.1?}",
                i + 1,
                program.name(),
                began.elapsed()
            );
            note(e, roles)?;
            let (before, gave) = (std::mem::replace(&mut got, counts(e)), given);
            given = given_by_java(e);
            if given > gave {
                fuzzy.extend((0..e.len()).filter(|i| got[*i] > before[*i]));
            }
            keepers.iter_mut().try_for_each(|k| k.look(e))?;
        }
    }
    Ok(())
}

/// Whatever state a member of zkd was given, it knows which transactions are in it.
fn none_of_zkd(e: &Ensemble) -> anyhow::Result<()> {
    let counts = e.digest_mismatches()?;
    let own = |(i, n): &(usize, f64)| *n != 0.0 && e.member(*i).name() == Zkd.name();
    ensure!(!counts.iter().any(own), "digest mismatches {counts:?}\n{}", what_led_there(e));
    Ok(())
}

/// How often a member got a whole state.
fn snapshots(e: &Ensemble, i: usize) -> usize {
    e.sync_kinds(i).into_iter().filter(|k| *k == SyncKind::Snap).count()
}

/// How often a leader of Java sent one.
fn given_by_java(e: &Ensemble) -> usize {
    (0..e.len()).map(|i| e.log(i).matches("Sending snapshot last zxid").count()).sum()
}

/// The next member that is not of this program.
fn next(e: &mut Ensemble, order: Order, program: &dyn Launcher) -> anyhow::Result<Option<usize>> {
    let roles = e.roles(ELECTION)?;
    let left: Vec<usize> = (0..e.len()).filter(|i| e.member(*i).name() != program.name()).collect();
    let leads = |i: &&usize| roles.get(i) == Some(&Role::Leader);
    Ok(match order {
        Order::FollowersFirst => left.iter().find(|i| !leads(i)).or(left.first()).copied(),
        Order::LeaderFirst => left.iter().find(leads).or(left.first()).copied(),
    })
}

/// As an operator does it: stop, start the other program on the same directory
/// and `zoo.cfg`, wait until it serves and has what the leader had.
fn replace(e: &mut Ensemble, i: usize, program: &'static dyn Launcher) -> anyhow::Result<()> {
    e.stop(i)?;
    e.replace(i, program);
    e.restart(i)?;
    let leader = e.wait_leader(ELECTION)?;
    let due = e.zxid(leader)?;
    e.wait("a member in step", ELECTION, |e| e.zxid(i).is_ok_and(|z| z >= due))?;
    e.wait_all_serving(ELECTION)
}

fn note(e: &mut Ensemble, roles: &mut Roles) -> anyhow::Result<()> {
    for (i, role) in e.roles(ELECTION)? {
        let role = if role == Role::Leader { "leader" } else { "follower" };
        roles.insert((i, e.member(i).name(), role));
    }
    Ok(())
}

/// A session with an ephemeral that must be there whatever happens.
struct Keeper {
    session: SessionId,
    path: String,
    visits: usize,
}

impl Keeper {
    fn all(e: &Ensemble) -> anyhow::Result<Vec<Keeper>> {
        let keeper = |i: usize| {
            let mut c = Conn::open(e.addr(i), LONG_MS)?;
            let path = format!("/keeper{i}");
            c.create(&path, b"", OPEN, 1)?;
            Ok(Keeper { session: c.session, path, visits: i })
        };
        (0..e.len()).map(keeper).collect()
    }

    /// Goes on at another member and finds its ephemeral.
    fn look(&mut self, e: &Ensemble) -> anyhow::Result<()> {
        let i = self.visits % e.len();
        self.visits += 1;
        let mut c = Conn::reopen(e.addr(i), self.session, LONG_MS)
            .with_context(|| format!("session {} at member {}", self.session, i + 1))?;
        c.sync("/")?;
        let stat = c.exists(&self.path, false)?.context("the ephemeral is gone")?;
        ensure!(stat.ephemeral_owner == self.session.0, "{}: another owner", self.path);
        Ok(())
    }
}

/// What the members say of digests, and of how they came to their state.
fn what_led_there(e: &Ensemble) -> String {
    let tells = |line: &&str| {
        let words =
            ["igest", "napshot", "Synchroni", "synchronised", "Getting a", "LEADING", "FOLLOWING", "start"];
        words.iter().any(|w| line.contains(w))
    };
    let of = |i: usize| {
        format!("--- member {}\n{}\n", i + 1, e.log(i).lines().filter(tells).collect::<Vec<_>>().join("\n"))
    };
    (0..e.len()).map(of).collect()
}

fn judge(
    name: &str,
    e: &Ensemble,
    load: &Load,
    history: &History,
    fuzzy: &BTreeSet<usize>,
) -> anyhow::Result<()> {
    e.same_tree()?;
    e.equal_digests()?;
    // A state that Java sends while it takes writes holds some of them already. Its learner applies these once more and
    // counts a mismatch for each, and so does Java at a start from what a learner of either program has kept of it.
    let counts = e.digest_mismatches()?;
    let unexplained = counts.iter().any(|(i, n)| *n > 0.0 && !fuzzy.contains(i));
    ensure!(
        !unexplained,
        "digest mismatches {counts:?}; by Java's fuzzy snapshots only in {fuzzy:?}\n{}",
        what_led_there(e)
    );
    println!("{name}: digest mismatches {counts:?}, fuzzy snapshots of Java in {fuzzy:?}");
    let ends = (0..e.len()).map(|i| e.tree(i)).collect::<anyhow::Result<Vec<_>>>()?;
    // Java's sync may be answered by a leader that was replaced a moment ago.
    let report = check::check(history, &ends, Options { strict_sync: false });
    let (done, failed, unknown) = history.counts();
    let sessions: BTreeSet<SessionId> = history.ops.iter().map(|o| o.session).collect();
    println!(
        "{name}: {done} requests acknowledged, {failed} refused, {unknown} of unknown fate; {} sessions; longest time \
         without an acknowledged write {:.1?}; {} violations",
        sessions.len(),
        longest_pause(history),
        report.violations.len()
    );
    ensure!(report.violations.is_empty(), "{}", report.text());
    // One for the nodes that all write.
    ensure!(sessions.len() == load.clients + 1, "{} sessions of {} clients", sessions.len(), load.clients);
    ensure!(done > 2000, "hardly a load: {done}");
    for i in 0..e.len() {
        println!("{name}: member {}: got {:?}, gave {:?}", i + 1, e.sync_kinds(i), e.sent_kinds(i));
    }
    Ok(())
}

/// Between two acknowledged writes of whichever clients.
fn longest_pause(history: &History) -> Duration {
    let is_write = |c: &Call| matches!(c, Call::Create { .. } | Call::Set { .. } | Call::Delete { .. });
    let mut times: Vec<u64> =
        history.ops.iter().filter(|o| o.done() && is_write(&o.call)).map(|o| o.completed).collect();
    times.sort_unstable();
    Duration::from_nanos(times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default())
}

/// What one program wrote and was never committed is cut away by the other one,
/// and the first one goes on with what the other made of the directory.
#[test]
fn what_the_other_program_cut_away_stays_away() {
    let steps: [(&'static dyn Launcher, &'static dyn Launcher); 2] = [(&Zkd, &Java), (&Java, &Zkd)];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (first, other) in steps {
            scope.spawn(move || {
                let list = format!("java,java,{}", first.name());
                let mut e = Ensemble::start(&composition(&list).expect("a list"), config()).expect("a start");
                for commits in [false, true] {
                    if let Err(error) = cut_and_back(&mut e, first, other, commits) {
                        panic!("{list}, commits {commits}: {error:#}\n{}", e.log_tails());
                    }
                }
            });
        }
    });
    println!("after {:.1?}", began.elapsed());
}

fn cut_and_back(
    e: &mut Ensemble,
    first: &'static dyn Launcher,
    other: &'static dyn Launcher,
    commits: bool,
) -> anyhow::Result<()> {
    const CUT: usize = 2;
    lone_write_and_then(e, commits, other)?;
    for (n, program) in [first, other, first].into_iter().enumerate() {
        let path = format!("/cut-{}-{}-{commits}-{n}", first.name(), other.name());
        let mut c = Conn::open(e.addr(CUT), LONG_MS)?;
        c.create(&path, b"", OPEN, 0)?;
        c.close()?;
        replace(e, CUT, program)?;
        e.same_tree()?;
        e.same_digests()?;
    }
    Ok(())
}
