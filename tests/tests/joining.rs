//! Members with blank disks: new ones, and ones that have lost their volumes.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use zk_testkit::ensemble::{self, ELECTION, Ensemble, SyncKind, composition};
use zk_testkit::process::Config;
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

use crate::support::{at_once, env, eventually};

const LONG_MS: i32 = 30_000;
/// Longer than an election of Java's takes with anybody who is there.
const NOBODY: Duration = Duration::from_secs(5);

/// One named scenario on members that do not run and have blank disks.
type Scenario = (&'static str, &'static str, fn(&mut Ensemble) -> anyhow::Result<()>);

#[test]
fn blank_members_do_not_lose_what_others_have() {
    let scenarios: &[Scenario] = &[
        ("a fresh ensemble, one by one", "zkd,zkd,zkd", fresh),
        ("a fresh ensemble with Java", "zkd,java,zkd", fresh),
        ("from one member to three", "zkd,zkd,zkd", one_to_three),
        ("two volumes lost at once", "zkd,zkd,zkd", two_lost),
        ("two volumes lost at once, the data is Java's", "java,zkd,zkd", two_lost),
        ("one volume lost, the others serve", "zkd,zkd,zkd", one_lost),
        ("one volume lost, Java serves", "zkd,java,java", one_lost),
        ("one volume lost, another one down", "zkd,zkd,zkd", one_lost_one_down),
        ("one volume lost, another one down, both Java's", "java,zkd,java", one_lost_one_down),
    ];
    run(scenarios, &ensemble::config());
}

/// Java's own way: `db.autocreate=false` and the file `initialize`.
#[test]
fn a_blank_member_that_may_not_make_a_database_has_no_vote() {
    let scenarios: &[Scenario] = &[
        ("reference", "java,java,java", marked_ones_only),
        ("zkd", "zkd,zkd,zkd", marked_ones_only),
        ("mixed", "zkd,java,zkd", marked_ones_only),
        ("mixed, Java's is blank", "java,zkd,zkd", marked_ones_only),
    ];
    run(scenarios, &ensemble::config().property("zookeeper.db.autocreate", "false"));
}

fn run(scenarios: &[Scenario], config: &Config) {
    let only: String = env("ZKD_JOINING_ONLY", String::new());
    let chosen: Vec<&Scenario> = scenarios.iter().filter(|s| s.0.contains(&only)).collect();
    let failed = at_once(3, &chosen, |(name, list, scenario)| {
        let mut e = Ensemble::prepare(&composition(list).unwrap(), config.clone()).unwrap();
        let outcome = (0..e.len()).try_for_each(|i| mark(&e, i, false)).and_then(|()| scenario(&mut e));
        outcome.err().map(|error| format!("{name}: {list}: {error:#}\n{}", e.log_tails()))
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Puts or removes the file by which an operator says that nothing was lost.
fn mark(e: &Ensemble, i: usize, yes: bool) -> anyhow::Result<()> {
    let path = e.member(i).data_dir().join("initialize");
    if yes {
        fs::write(path, "")?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// The volume of a member that does not run is replaced by an empty one.
fn lose(e: &Ensemble, i: usize) -> anyhow::Result<()> {
    Ok(fs::remove_dir_all(e.member(i).data_dir().join("version-2"))?)
}

fn nobody_serves(e: &Ensemble) -> anyhow::Result<()> {
    std::thread::sleep(NOBODY);
    let serving: Vec<usize> = e.running().into_iter().filter(|i| e.role(*i).is_some()).collect();
    ensure!(serving.is_empty(), "{serving:?} serve, counted from 0");
    Ok(())
}

fn write(e: &Ensemble, i: usize, path: &str) -> anyhow::Result<()> {
    let mut c = Conn::open(e.addr(i), LONG_MS)?;
    c.create(path, b"1", OPEN, 0)?;
    c.close().map(|_| ())
}

fn all_have(e: &Ensemble, paths: &[&str]) -> anyhow::Result<()> {
    let tree = e.same_tree()?;
    for path in paths {
        ensure!(tree.contains_key(*path), "{path} is lost");
    }
    Ok(())
}

/// Every voter must have been seen once; a minority is down in none of this.
fn fresh(e: &mut Ensemble) -> anyhow::Result<()> {
    e.spawn(0)?;
    nobody_serves(e)?;
    // A blank member of Java alone is no quorum either.
    e.spawn(1)?;
    nobody_serves(e)?;
    e.spawn(2)?;
    e.wait_all_serving(ELECTION)?;
    write(e, 0, "/first")?;
    all_have(e, &["/first"])?;
    // From now on a majority is enough.
    for i in e.running() {
        e.stop(i)?;
    }
    e.spawn(0)?;
    e.spawn(2)?;
    e.wait_all_serving(ELECTION)?;
    all_have(e, &["/first"])
}

/// A server that stood alone gets two blank members, which start first.
fn one_to_three(e: &mut Ensemble) -> anyhow::Result<()> {
    let lines = e.config_mut(0).lines.clone();
    e.config_mut(0).lines.retain(|(key, _)| !key.starts_with("server."));
    e.spawn(0)?;
    e.wait("a server that stands alone", ELECTION, |e| e.member(0).mode().is_some())?;
    write(e, 0, "/alone")?;
    e.stop(0)?;
    e.config_mut(0).lines = lines;
    e.spawn(1)?;
    e.spawn(2)?;
    nobody_serves(e)?;
    e.spawn(0)?;
    e.wait_all_serving(ELECTION)?;
    all_have(e, &["/alone"])
}

/// All members serve, and all have this.
fn with_data(e: &mut Ensemble) -> anyhow::Result<()> {
    (0..e.len()).try_for_each(|i| e.spawn(i))?;
    e.wait_all_serving(ELECTION)?;
    write(e, 0, "/early")?;
    all_have(e, &["/early"])
}

fn two_lost(e: &mut Ensemble) -> anyhow::Result<()> {
    with_data(e)?;
    (0..3).try_for_each(|i| e.kill(i))?;
    for i in [1, 2] {
        lose(e, i)?;
        e.spawn(i)?;
    }
    nobody_serves(e)?;
    e.spawn(0)?;
    e.wait_all_serving(ELECTION)?;
    all_have(e, &["/early"])
}

fn one_lost(e: &mut Ensemble) -> anyhow::Result<()> {
    with_data(e)?;
    e.kill(0)?;
    lose(e, 0)?;
    e.wait_leader(ELECTION)?;
    e.restart(0)?;
    eventually(|| {
        let kinds = e.sync_kinds(0);
        ensure!(kinds.last() == Some(&SyncKind::Snap), "it got {kinds:?}");
        Ok(())
    })?;
    all_have(e, &["/early"])?;
    // It counts now: with it a majority is left.
    e.kill(1)?;
    e.wait_all_serving(ELECTION)?;
    write(e, 0, "/late")?;
    e.restart(1)?;
    all_have(e, &["/early", "/late"])
}

/// What members 2 and 3 had committed is lost by 2, and 1 never had it.
fn one_lost_one_down(e: &mut Ensemble) -> anyhow::Result<()> {
    with_data(e)?;
    e.kill(0)?;
    e.wait_all_serving(ELECTION)?;
    write(e, 1, "/late")?;
    e.kill(1)?;
    e.kill(2)?;
    lose(e, 1)?;
    e.spawn(0)?;
    e.spawn(1)?;
    nobody_serves(e)?;
    e.spawn(2)?;
    e.wait_all_serving(ELECTION)?;
    all_have(e, &["/early", "/late"])?;
    // Unless an operator knows better.
    for i in e.running() {
        e.kill(i)?;
    }
    lose(e, 1)?;
    mark(e, 1, true)?;
    e.spawn(0)?;
    e.spawn(1)?;
    e.wait_all_serving(ELECTION)?;
    all_have(e, &["/early", "/late"])
}

/// Members 2 and 3 are marked, member 1 is not and only follows, until it was given
/// the state.
fn marked_ones_only(e: &mut Ensemble) -> anyhow::Result<()> {
    e.spawn(0)?;
    mark(e, 1, true)?;
    e.spawn(1)?;
    nobody_serves(e)?;
    mark(e, 2, true)?;
    e.spawn(2)?;
    e.wait_all_serving(ELECTION)?;
    write(e, 0, "/first")?;
    all_have(e, &["/first"])?;
    // It counts now.
    e.kill(2)?;
    e.wait_all_serving(ELECTION)?;
    write(e, 1, "/second")?;
    // The same with a lost volume.
    e.kill(0)?;
    lose(e, 0)?;
    e.spawn(0)?;
    nobody_serves(e)?;
    e.restart(2)?;
    e.wait_all_serving(ELECTION)?;
    all_have(e, &["/first", "/second"])
}
