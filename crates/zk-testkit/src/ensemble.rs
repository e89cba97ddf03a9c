//! Several servers that form one ensemble, each the reference or zkd.
//!
//! Members are counted from 0 here and have the server id `index + 1`. With
//! equal data the member with the largest id wins an election, so the order of
//! the members decides who leads.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;

use crate::process::{Config, Launcher, SUPER, Server, free_port};
use crate::raw::{self, Conn, PATIENCE};
use crate::tree::{self, Node, Tree};

/// How long an election with everything after it may take on a busy machine.
pub const ELECTION: Duration = Duration::from_secs(180);

/// What a member is made of.
#[derive(Debug, Clone, Copy)]
pub struct MemberSpec {
    /// The program.
    pub launcher: &'static dyn Launcher,
    /// Follows without a vote.
    pub observer: bool,
}

impl MemberSpec {
    /// A member with a vote.
    pub fn participant(launcher: &'static dyn Launcher) -> MemberSpec {
        MemberSpec { launcher, observer: false }
    }

    /// A member without a vote.
    pub fn observer(launcher: &'static dyn Launcher) -> MemberSpec {
        MemberSpec { launcher, observer: true }
    }
}

/// The members that a list such as `java,zkd,java:observer` names.
pub fn composition(list: &str) -> anyhow::Result<Vec<MemberSpec>> {
    list.split(',')
        .map(|word| match word.trim().split_once(':') {
            None => Ok(MemberSpec::participant(crate::process::launcher(word.trim())?)),
            Some((name, "observer")) => Ok(MemberSpec::observer(crate::process::launcher(name)?)),
            Some((_, kind)) => bail!("a member is no {kind}"),
        })
        .collect()
}

/// Where a member lives.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where it listens for clients.
    pub client: Ipv4Addr,
    /// Where it listens for members.
    pub peer: Ipv4Addr,
    /// What enters its network namespace; empty for none.
    pub wrapper: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { client: Ipv4Addr::LOCALHOST, peer: Ipv4Addr::LOCALHOST, wrapper: Vec::new() }
    }
}

/// What a serving member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes and follows.
    Follower,
    /// It follows without a vote.
    Observer,
}

/// How a learner was brought to the leader's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    /// The transactions that it lacked, if any.
    Diff,
    /// It took transactions back first.
    Trunc,
    /// The whole state.
    Snap,
}

impl SyncKind {
    /// Java's words for it in a learner's log.
    /// (ref: Learner.syncWithLeader)
    fn in_java(line: &str) -> Option<SyncKind> {
        const WORDS: [(&str, SyncKind); 3] = [
            ("Getting a diff from the leader", SyncKind::Diff),
            ("Truncating log to get in sync", SyncKind::Trunc),
            ("Getting a snapshot from leader", SyncKind::Snap),
        ];
        WORDS.iter().find(|(w, _)| line.contains(w)).map(|(_, k)| *k)
    }

    /// zkd's words for it on either side. `role=learner` or `role=leader` tells which.
    fn in_zkd(line: &str) -> Option<SyncKind> {
        let (_, rest) = line.split_once("synchronised")?;
        [("kind=diff", SyncKind::Diff), ("kind=trunc", SyncKind::Trunc), ("kind=snap", SyncKind::Snap)]
            .iter()
            .find(|(w, _)| rest.contains(w))
            .map(|(_, k)| *k)
    }

    /// Java's words for it in a leader's log. (ref: LearnerHandler)
    fn sent_by_java(line: &str) -> Option<SyncKind> {
        const WORDS: [(&str, SyncKind); 3] = [
            ("Sending DIFF zxid", SyncKind::Diff),
            ("Sending TRUNC ", SyncKind::Trunc),
            ("Sending snapshot last zxid", SyncKind::Snap),
        ];
        WORDS.iter().find(|(w, _)| line.contains(w)).map(|(_, k)| *k)
    }
}

#[derive(Debug)]
struct Member {
    server: Server,
    spec: MemberSpec,
    place: Place,
    quorum_port: u16,
    election_port: u16,
    running: bool,
}

/// An ensemble with its directories. Dropping it ends all processes.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Member>,
}

/// The configuration that ensembles start from: quick ticks, and patience with
/// a busy machine where it costs nothing: who ends is missed at once, and only who
/// is halted for so long that the limits in ticks are used up.
pub fn config() -> Config {
    let mut config = Config::default()
        .line("initLimit", 40)
        .line("syncLimit", 40)
        .line("maxSessionTimeout", 120_000)
        .property("znode.container.checkIntervalMs", 500);
    config.verbose = vec!["org.apache.zookeeper.server.quorum"];
    config
}

impl Ensemble {
    /// Starts all members on empty directories so that the one with the largest
    /// id leads, and waits until all serve.
    pub fn start(specs: &[MemberSpec], config: Config) -> anyhow::Result<Ensemble> {
        let mut ensemble = Self::prepare(specs, config)?;
        ensemble.start_all()?;
        Ok(ensemble)
    }

    /// Makes the directories and starts nothing.
    pub fn prepare(specs: &[MemberSpec], config: Config) -> anyhow::Result<Ensemble> {
        Self::prepare_at(specs, config, &vec![Place::default(); specs.len()])
    }

    /// The same with a place for each member.
    pub fn prepare_at(specs: &[MemberSpec], config: Config, places: &[Place]) -> anyhow::Result<Ensemble> {
        ensure!(specs.len() == places.len(), "{} members in {} places", specs.len(), places.len());
        let mut members = Vec::new();
        for (i, (spec, place)) in specs.iter().zip(places).enumerate() {
            let mut own = config.clone();
            own.host = place.client;
            own.wrapper.clone_from(&place.wrapper);
            if spec.observer {
                own = own.line("peerType", "observer");
            }
            let mut server = Server::prepare(spec.launcher, own)?;
            server.set_port(free_port()?);
            fs::write(server.data_dir().join("myid"), format!("{}\n", i + 1))?;
            // Nothing was lost: zkd need not see all members before it forms an ensemble.
            fs::write(server.data_dir().join("initialize"), "")?;
            members.push(Member {
                server,
                spec: *spec,
                place: place.clone(),
                quorum_port: free_port()?,
                election_port: free_port()?,
                running: false,
            });
        }
        let mut ensemble = Ensemble { members };
        let all: Vec<usize> = (0..specs.len()).collect();
        ensemble.configure(&all)?;
        Ok(ensemble)
    }

    /// The line of a member in `zoo.cfg`: key and value.
    pub fn server_line(&self, i: usize) -> (String, String) {
        let m = &self.members[i];
        let kind = if m.spec.observer { "observer" } else { "participant" };
        let (peer, quorum, election) = (m.place.peer, m.quorum_port, m.election_port);
        (format!("server.{}", i + 1), format!("{peer}:{quorum}:{election}:{kind};{}", m.server.addr()))
    }

    /// Names these members in every member's `zoo.cfg` for the next start.
    pub fn configure(&mut self, members: &[usize]) -> anyhow::Result<()> {
        let lines: Vec<(String, String)> = members.iter().map(|i| self.server_line(*i)).collect();
        for m in &mut self.members {
            let config = m.server.config_mut();
            config.lines.retain(|(key, _)| !key.starts_with("server."));
            config.lines.extend(lines.iter().cloned());
        }
        Ok(())
    }

    /// Names these members in one member's `zoo.cfg` for its next start.
    pub fn configure_one(&mut self, i: usize, members: &[usize]) {
        let lines: Vec<(String, String)> = members.iter().map(|m| self.server_line(*m)).collect();
        let config = self.members[i].server.config_mut();
        config.lines.retain(|(key, _)| !key.starts_with("server."));
        config.lines.extend(lines);
    }

    /// Another part for a member, for its server line.
    pub fn set_observer(&mut self, i: usize, observer: bool) {
        self.members[i].spec.observer = observer;
    }

    /// Other ports for a member's server line, that of the clients among them.
    pub fn move_ports(&mut self, i: usize) -> anyhow::Result<()> {
        let m = &mut self.members[i];
        m.server.set_port(free_port()?);
        (m.quorum_port, m.election_port) = (free_port()?, free_port()?);
        Ok(())
    }

    /// Whether a member's next starts find `zoo.cfg` as it has left it.
    pub fn keep_config(&mut self, i: usize, keep: bool) {
        self.members[i].server.keep_config(keep);
    }

    /// Starts all members that do not run, the ones with the largest ids first,
    /// and waits until all serve.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        let voters = self.members.iter().filter(|m| !m.spec.observer).count();
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for i in (0..self.members.len()).rev().filter(|i| !self.members[*i].running) {
            let early = !self.members[i].spec.observer && first.len() <= voters / 2;
            if early { first.push(i) } else { later.push(i) }
        }
        first.iter().try_for_each(|i| self.spawn(*i))?;
        self.wait_leader(ELECTION)?;
        later.iter().try_for_each(|i| self.spawn(*i))?;
        self.wait_all_serving(ELECTION)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The server of a member.
    pub fn member(&self, i: usize) -> &Server {
        &self.members[i].server
    }

    /// The configuration for a member's next start.
    pub fn config_mut(&mut self, i: usize) -> &mut Config {
        self.members[i].server.config_mut()
    }

    /// Where clients of a member connect.
    pub fn addr(&self, i: usize) -> SocketAddr {
        self.members[i].server.addr()
    }

    /// Members that were started and not ended.
    pub fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|i| self.members[*i].running).collect()
    }

    /// Starts a member without waiting.
    pub fn spawn(&mut self, i: usize) -> anyhow::Result<()> {
        self.members[i].server.spawn()?;
        self.members[i].running = true;
        Ok(())
    }

    /// Starts a member and waits until it serves.
    pub fn restart(&mut self, i: usize) -> anyhow::Result<()> {
        self.spawn(i)?;
        self.wait_serving(i, ELECTION).map(drop)
    }

    /// Sends SIGKILL and waits, whether or not the member was halted.
    pub fn kill(&mut self, i: usize) -> anyhow::Result<()> {
        self.members[i].running = false;
        self.members[i].server.kill()
    }

    /// Sends SIGTERM and waits.
    pub fn stop(&mut self, i: usize) -> anyhow::Result<()> {
        self.members[i].running = false;
        self.members[i].server.stop().map(|_| ())
    }

    /// The program of a member, or of its next start.
    pub fn launcher(&self, i: usize) -> &'static dyn Launcher {
        self.members[i].spec.launcher
    }

    /// Another program for the next start, on the same directory.
    pub fn replace(&mut self, i: usize, launcher: &'static dyn Launcher) {
        self.members[i].spec.launcher = launcher;
        self.members[i].server.set_launcher(launcher);
    }

    /// Halts the process and waits until no thread of it runs any more, which is
    /// a moment after the signal was sent.
    pub fn sigstop(&self, i: usize) -> anyhow::Result<()> {
        let server = &self.members[i].server;
        server.signal(Signal::SIGSTOP)?;
        let pid = server.pid().context("the member does not run")?;
        let deadline = Instant::now() + PATIENCE;
        while !all_threads_stand(pid)? {
            ensure!(Instant::now() < deadline, "member {} goes on after SIGSTOP", i + 1);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a halted process go on.
    pub fn sigcont(&self, i: usize) -> anyhow::Result<()> {
        self.members[i].server.signal(Signal::SIGCONT)
    }

    /// What a member is; `None`: it does not serve, or has not said so within a moment.
    pub fn role(&self, i: usize) -> Option<Role> {
        match self.members[i].server.mode()?.as_str() {
            "leader" => Some(Role::Leader),
            "follower" => Some(Role::Follower),
            "observer" => Some(Role::Observer),
            _ => None,
        }
    }

    /// Waits for a serving leader among the running members.
    pub fn wait_leader(&mut self, within: Duration) -> anyhow::Result<usize> {
        let mut leader = None;
        self.wait("a leader", within, |e| {
            leader = e.running().into_iter().find(|i| e.role(*i) == Some(Role::Leader));
            leader.is_some()
        })?;
        leader.context("no leader")
    }

    /// Waits until a member serves; what it is then.
    pub fn wait_serving(&mut self, i: usize, within: Duration) -> anyhow::Result<Role> {
        let mut role = None;
        self.wait("a member that serves", within, |e| {
            role = e.role(i);
            role.is_some()
        })?;
        role.context("no role")
    }

    /// Waits until a member is this.
    pub fn wait_role(&mut self, i: usize, role: Role) -> anyhow::Result<()> {
        self.wait(&format!("member {} as {role:?}", i + 1), ELECTION, |e| e.role(i) == Some(role))
    }

    /// Waits until all running members say themselves that they do not serve.
    pub fn wait_none_serving(&mut self, within: Duration) -> anyhow::Result<()> {
        let says = |e: &Ensemble, i: usize| {
            e.member(i).word("srvr").is_ok_and(|text| text.contains("not currently serving requests"))
        };
        self.wait("members that do not serve", within, |e| e.running().into_iter().all(|i| says(e, i)))
    }

    /// Waits until every running member serves and one of them leads.
    pub fn wait_all_serving(&mut self, within: Duration) -> anyhow::Result<()> {
        self.roles(within).map(drop)
    }

    /// What each running member is, as soon as every one of them serves and one leads.
    pub fn roles(&mut self, within: Duration) -> anyhow::Result<BTreeMap<usize, Role>> {
        let mut roles = BTreeMap::new();
        self.wait("all members serving", within, |e| {
            let running = e.running();
            roles = running.iter().filter_map(|i| Some((*i, e.role(*i)?))).collect();
            roles.len() == running.len() && roles.values().filter(|r| **r == Role::Leader).count() == 1
        })?;
        Ok(roles)
    }

    /// Waits until this holds. A member that ended by itself fails it.
    pub fn wait(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Ensemble) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while !holds(self) {
            for i in self.running() {
                let server = &mut self.members[i].server;
                if let Some(status) = server.exited()? {
                    bail!("member {} ({}) ended: {status}", i + 1, server.name());
                }
            }
            ensure!(Instant::now() < deadline, "not within {within:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Output of all starts of a member.
    pub fn log(&self, i: usize) -> String {
        self.members[i].server.log()
    }

    /// Whether a member's output has this text.
    pub fn log_contains(&self, i: usize, text: &str) -> bool {
        self.log(i).contains(text)
    }

    /// The ends of the outputs of all members.
    pub fn log_tails(&self) -> String {
        let one = |(i, m): (usize, &Member)| {
            format!("--- member {} ({}) ---\n{}\n", i + 1, m.server.name(), m.server.log_tail())
        };
        self.members.iter().enumerate().map(one).collect()
    }

    /// How a member was synchronised as a learner, oldest first, over all its lives.
    pub fn sync_kinds(&self, i: usize) -> Vec<SyncKind> {
        let log = self.log(i);
        log.lines()
            .filter_map(|l| {
                let ours = SyncKind::in_zkd(l).filter(|_| !l.contains("role=leader"));
                SyncKind::in_java(l).or(ours)
            })
            .collect()
    }

    /// How a member synchronised others as their leader, oldest first.
    pub fn sent_kinds(&self, i: usize) -> Vec<SyncKind> {
        let log = self.log(i);
        log.lines()
            .filter_map(|l| {
                let ours = SyncKind::in_zkd(l).filter(|_| !l.contains("role=learner"));
                SyncKind::sent_by_java(l).or(ours)
            })
            .collect()
    }

    /// A session of the super user at a member, which may be between two leaders for a moment.
    pub fn super_user(&self, i: usize) -> anyhow::Result<Conn> {
        let deadline = Instant::now() + PATIENCE;
        let mut conn = loop {
            match Conn::open(self.addr(i), 60_000) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                other => break other?,
            }
        };
        ensure!(conn.auth("digest", SUPER.as_bytes())? == 0, "the super user is refused");
        Ok(conn)
    }

    /// What a client of a member can read after a sync.
    pub fn tree(&self, i: usize) -> anyhow::Result<Tree> {
        let mut conn = self.super_user(i)?;
        ensure!(conn.sync("/")?.err == 0, "sync failed");
        let tree = tree::read(&mut conn)?;
        conn.close()?;
        Ok(tree)
    }

    /// The tree that all running members have. What changes by itself, such as
    /// containers that are due, gets some time.
    pub fn same_tree(&self) -> anyhow::Result<Tree> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_same_tree() {
                Ok(tree) => return Ok(tree),
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn try_same_tree(&self) -> anyhow::Result<Tree> {
        let running = self.running();
        let (first, rest) = running.split_first().context("no member runs")?;
        let tree = self.tree(*first)?;
        for i in rest {
            let other = self.tree(*i)?;
            let differences = tree::compare(&tree, &other, local);
            ensure!(
                differences.is_empty(),
                "members {} and {} have different trees:\n{differences}",
                first + 1,
                i + 1
            );
        }
        Ok(tree)
    }

    /// Compares the digests that the running members remember. Returns how many
    /// zxids had a digest of more than one member.
    pub fn equal_digests(&self) -> anyhow::Result<usize> {
        let mut seen: BTreeMap<i64, (usize, String)> = BTreeMap::new();
        let mut shared = 0;
        for i in self.running() {
            for (zxid, digest) in digests(&self.member(i).word("hash")?)? {
                match seen.get(&zxid) {
                    Some((other, d)) => {
                        ensure!(
                            *d == digest,
                            "digest at {zxid:#x}: {d} at member {}, {digest} at member {}",
                            other + 1,
                            i + 1
                        );
                        shared += 1;
                    }
                    None => {
                        seen.insert(zxid, (i, digest));
                    }
                }
            }
        }
        Ok(shared)
    }

    /// How many mismatches of digests each running member has counted since it
    /// started; Java's members all count.
    pub fn digest_mismatches(&self) -> anyhow::Result<Vec<(usize, f64)>> {
        let mut counts = Vec::new();
        for i in self.running() {
            let deadline = Instant::now() + PATIENCE;
            // It is not told by a member that does not serve for a moment.
            let count = loop {
                match self.metric(i, "digest_mismatches_count")? {
                    None if self.member(i).name() == "java" && Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    other => break other,
                }
            };
            match count {
                Some(n) => counts.push((i, n)),
                None => ensure!(self.member(i).name() != "java", "mntr has no digest_mismatches_count"),
            }
        }
        Ok(counts)
    }

    /// [`Ensemble::equal_digests`], and nobody has counted a mismatch.
    pub fn same_digests(&self) -> anyhow::Result<usize> {
        let counts = self.digest_mismatches()?;
        ensure!(counts.iter().all(|(_, n)| *n == 0.0), "digest mismatches counted by member: {counts:?}");
        self.equal_digests()
    }

    /// A value from `mntr`, by its name without the prefix.
    pub fn metric(&self, i: usize, name: &str) -> anyhow::Result<Option<f64>> {
        let text = self.member(i).word("mntr")?;
        let line = text.lines().find_map(|l| l.strip_prefix("zk_")?.strip_prefix(name)?.strip_prefix('\t'));
        line.map(|v| v.trim().parse().with_context(|| format!("{name} is {v}"))).transpose()
    }

    /// The zxid that `srvr` tells.
    pub fn zxid(&self, i: usize) -> anyhow::Result<i64> {
        let text = raw::four_letter(self.addr(i), "srvr")?;
        let zxid = text.lines().find_map(|l| l.strip_prefix("Zxid: 0x")).context("no zxid")?;
        Ok(i64::from_str_radix(zxid, 16)?)
    }

    /// Whether these bytes stand in a log file of a member.
    pub fn logged(&self, i: usize, bytes: &[u8]) -> anyhow::Result<bool> {
        for entry in fs::read_dir(self.member(i).data_dir().join("version-2"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("log.") {
                let content = fs::read(entry.path())?;
                if content.windows(bytes.len()).any(|w| w == bytes) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn all_threads_stand(pid: u32) -> anyhow::Result<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        // The name in brackets may hold anything, the state stands behind it.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is each member's own. The statistics of quotas are kept in memory and
/// counted anew when a member starts; the configuration's node is written by each
/// member at its own time and as often as it joined a leader.
fn local(path: &str, a: &Node, b: &Node) -> bool {
    if path == "/zookeeper/config" {
        return a.data == b.data && a.acl == b.acl && a.stat.mzxid == b.stat.mzxid;
    }
    path.ends_with("/zookeeper_stats") && a.stat.mzxid == b.stat.mzxid && a.stat.version == b.stat.version
}

/// The lines of `hash`: zxid and digest.
fn digests(text: &str) -> anyhow::Result<Vec<(i64, String)>> {
    let line = |l: &str| {
        let (zxid, digest) = l.split_once(": ").with_context(|| format!("hash has a line {l}"))?;
        let zxid = zxid.trim_start_matches("0x");
        Ok((i64::from_str_radix(zxid, 16)?, digest.trim().to_owned()))
    };
    text.lines().filter(|l| !l.trim().is_empty()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_tell_the_kind_of_synchronisation() {
        let kind = SyncKind::in_java("12:00 INFO  Learner Getting a diff from the leader 0x1");
        assert_eq!(kind, Some(SyncKind::Diff));
        let kind = SyncKind::sent_by_java("x Sending TRUNC zxid=0x5  for peer sid: 2");
        assert_eq!(kind, Some(SyncKind::Trunc));
        let kind = SyncKind::in_zkd("INFO zab: synchronised kind=snap role=learner peer=3");
        assert_eq!(kind, Some(SyncKind::Snap));
        assert_eq!(SyncKind::in_zkd("kind=snap"), None);
    }

    #[test]
    fn compositions_are_lists_of_names() {
        let specs = composition("java,zkd, java:observer").unwrap();
        let seen: Vec<_> = specs.iter().map(|s| (s.launcher.name(), s.observer)).collect();
        assert_eq!(seen, [("java", false), ("zkd", false), ("java", true)]);
        assert!(composition("java,other").is_err());
    }

    #[test]
    fn digests_are_read_from_hash() {
        assert_eq!(
            digests("80: 16492991188\n100: -5\n").unwrap(),
            [(0x80, "16492991188".to_owned()), (0x100, "-5".to_owned())]
        );
    }
}
