//! What the tests share.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::ensure;
use zk_testkit::process::{Config, Java, Launcher, Server, Zkd};

/// A number or a word from the environment.
pub fn env<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not what it should be")),
        Err(_) => default,
    }
}

/// The servers that a behaviour is shown on: the reference, which proves the
/// expectation, then zkd. `ZKD_TEST_ONLY=java` or `zkd` leaves one out by hand.
pub fn both() -> Vec<&'static dyn Launcher> {
    let all: [&'static dyn Launcher; 2] = [&Java, &Zkd];
    let only: String = env("ZKD_TEST_ONLY", String::new());
    all.into_iter().filter(|l| only.is_empty() || l.name() == only).collect()
}

/// Ensembles to run on: those that `variable` names, separated by `;`, or `usual` ones. The
/// reference alone proves the expectations; that it does so still is seen with `SLOW=1`.
pub fn ensembles(variable: &str, reference: &str, usual: &[&str]) -> Vec<String> {
    let only: String = env(variable, String::new());
    if !only.is_empty() {
        return only.split(';').map(str::to_owned).collect();
    }
    let reference = std::env::var_os("SLOW").map(|_| reference);
    reference.into_iter().chain(usual.iter().copied()).map(str::to_owned).collect()
}

/// Runs this for all items, so many at a time since most of it is waiting, and gives what
/// failed.
pub fn at_once<T: Sync>(many: usize, items: &[T], one: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let left = Mutex::new(items.iter());
    let next = || left.lock().expect("no panic").next();
    std::thread::scope(|scope| {
        let some = || std::iter::from_fn(next).filter_map(&one).collect::<Vec<_>>();
        let threads: Vec<_> = (0..many).map(|_| scope.spawn(some)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
    })
}

/// Looks again until it is so, for what comes a moment later: a counter, a line of a log, a file,
/// whatever another process does by itself.
pub fn eventually<T>(mut look: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match look() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}

/// Looks again until this holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    eventually(|| {
        ensure!(holds(), "{what}: not within a minute");
        Ok(())
    })
}

/// One named behaviour.
pub type Row = (&'static str, fn(&Server) -> anyhow::Result<()>);

/// Runs all rows on a server of each kind, one server for all rows, and
/// reports all that fail.
pub fn check_rows(config: &Config, rows: &[Row]) {
    let mut failed = String::new();
    for launcher in both() {
        let server = match Server::start(launcher, config.clone()) {
            Ok(s) => s,
            Err(e) => {
                let _ = writeln!(failed, "{} does not start: {e:#}", launcher.name());
                continue;
            }
        };
        for (name, row) in rows {
            if let Err(e) = row(&server) {
                let _ = writeln!(failed, "{}: {name}: {e:#}", launcher.name());
            }
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}
