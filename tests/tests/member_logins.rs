//! Members that log in to each other by SASL, of both kinds in one ensemble.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use zk_testkit::ensemble::{self, ELECTION, Ensemble, composition};
use zk_testkit::process::Config;

use crate::tls::is_seen_by_all;

/// Files of logins, in a directory that goes with this.
struct Logins(TempDir);

impl Logins {
    fn new() -> anyhow::Result<Self> {
        let logins = Self(tempfile::tempdir()?);
        for (name, password) in [("right", "a \\\"secret\\\""), ("wrong", "hush")] {
            let section = |name: &str, options: &str| {
                let class = "org.apache.zookeeper.server.auth.DigestLoginModule";
                format!("{name} {{\n  {class} required\n  {options};\n}};\n")
            };
            let server = section("QuorumServer", &format!("user_zk=\"{password}\""));
            let learner = section("QuorumLearner", &format!("username=\"zk\"\n  password=\"{password}\""));
            std::fs::write(logins.file(name), server + &learner)?;
        }
        Ok(logins)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.conf"))
    }

    fn config(&self, name: &str) -> Config {
        ensemble::config()
            .property("java.security.auth.login.config", self.file(name).display())
            .property("zookeeper.fips-mode", false)
    }
}

/// All three switches; the order is that in which an operator turns them on.
const SWITCHES: [&str; 3] =
    ["quorum.auth.enableSasl", "quorum.auth.learnerRequireSasl", "quorum.auth.serverRequireSasl"];

fn switched(config: Config, on: usize) -> Config {
    let switches = SWITCHES.iter().enumerate();
    switches.fold(config, |config, (i, switch)| config.line(switch, i < on))
}

#[test]
fn members_of_both_kinds_log_in() -> anyhow::Result<()> {
    let logins = Logins::new()?;
    // The last one leads: each kind once.
    for list in ["java,zkd,zkd", "zkd,zkd,java"] {
        let ensemble =
            Ensemble::start(&composition(list)?, switched(logins.config("right"), 3)).context(list)?;
        is_seen_by_all(&ensemble, "/logged-in").context(list)?;
        for i in 0..3 {
            ensure!(!ensemble.log(i).contains("not logged in"), "{list}:\n{}", ensemble.log_tails());
        }
    }
    Ok(())
}

/// A member without a login stays outside, and one with a wrong password. CVE-2018-8012: Java let
/// anybody join.
#[test]
fn cve_2018_8012_members_without_the_password_stay_outside() -> anyhow::Result<()> {
    let logins = Logins::new()?;
    let right = switched(logins.config("right"), 3);
    let mut ensemble = Ensemble::prepare(&composition("zkd,zkd,zkd")?, right.clone())?;
    ensemble.spawn(0)?;
    ensemble.spawn(1)?;
    ensemble.wait_leader(ELECTION)?;
    // The one with the largest id is called back by nobody: its own words are listened to or not.
    let outsider = 2;
    let slow = std::env::var_os("SLOW").map(|_| "java");
    for kind in ["zkd"].into_iter().chain(slow) {
        ensemble.replace(outsider, composition(kind)?[0].launcher);
        for (on, login, why) in [
            (0, "right", "it does not log in, and quorum.auth.serverRequireSasl is on"),
            (2, "wrong", "the user or his password is wrong"),
        ] {
            let line = format!("is not let in as a member: {why}");
            let seen = |e: &Ensemble| e.log(0).matches(&line).count() + e.log(1).matches(&line).count();
            let before = seen(&ensemble);
            let own = ensemble.config_mut(outsider);
            let lines = switched(own.clone(), on).lines;
            *own = Config { lines, properties: switched(logins.config(login), 0).properties, ..own.clone() };
            ensemble.spawn(outsider)?;
            ensemble.wait(why, ELECTION, |e| seen(e) > before)?;
            std::thread::sleep(std::time::Duration::from_secs(2));
            ensure!(ensemble.role(outsider).is_none(), "{kind} serves: {why}");
            ensemble.kill(outsider)?;
        }
    }
    ensemble.replace(outsider, composition("java")?[0].launcher);
    let own = ensemble.config_mut(outsider);
    let lines = switched(own.clone(), 3).lines;
    *own = Config { lines, properties: right.properties, ..own.clone() };
    ensemble.restart(outsider)?;
    is_seen_by_all(&ensemble, "/at-last")
}

/// One that has the wrong password is refused by members of Java too.
#[test]
fn a_member_of_java_refuses_a_wrong_password() -> anyhow::Result<()> {
    let logins = Logins::new()?;
    let mut ensemble =
        Ensemble::prepare(&composition("zkd,java,java")?, switched(logins.config("right"), 3))?;
    ensemble.spawn(1)?;
    ensemble.spawn(2)?;
    ensemble.wait_leader(ELECTION)?;
    let own = ensemble.config_mut(0);
    *own = own.clone().property("java.security.auth.login.config", logins.file("wrong").display());
    ensemble.spawn(0)?;
    let why = "cannot log in to a member: it says that the login has failed";
    ensemble.wait(why, ELECTION, |e| e.log(0).contains(why))?;
    ensure!(ensemble.role(0).is_none(), "it serves");
    Ok(())
}

/// Rolling switch-on: first logins are understood, then all log in, then all must.
#[test]
fn members_switch_to_logins_one_by_one() -> anyhow::Result<()> {
    if std::env::var_os("SLOW").is_none() {
        return Ok(());
    }
    let logins = Logins::new()?;
    let mut ensemble = Ensemble::start(&composition("zkd,java,zkd")?, switched(logins.config("right"), 0))?;
    for on in 1..=3 {
        for i in 0..3 {
            let config = ensemble.config_mut(i).clone();
            *ensemble.config_mut(i) = switched(config, on);
            ensemble.stop(i)?;
            ensemble.restart(i).with_context(|| format!("step {on}, member {}", i + 1))?;
            ensemble.wait_all_serving(ELECTION)?;
            is_seen_by_all(&ensemble, &format!("/step-{on}-{i}"))?;
        }
    }
    Ok(())
}
