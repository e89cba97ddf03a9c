//! The operator: who takes machines in and out while everything else goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use zab::config::{Configs, EnsembleConfig, Member as Line};
use zk_proto::PeerId;
use zk_proto::client::WriteRequest;

use crate::member::CrashAt;
use crate::note;
use crate::sim::Sim;
use crate::world::Event;

/// The line of a machine in a configuration.
pub fn server_line(id: usize, quorum_port: u16, observer: bool) -> String {
    let role = if observer { "observer" } else { "participant" };
    format!("server.{id}=m{id}:{quorum_port}:3888:{role};0.0.0.0:2181")
}

/// A wish about the members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Who is to be a member, or another one than now: place and quorum port, and whether as an
    /// observer.
    pub joining: Vec<(usize, u16, bool)>,
    /// Who is to leave.
    pub leaving: Vec<usize>,
    /// Those that join are all members.
    pub all: bool,
}

impl Wish {
    /// What a client asks for.
    pub fn request(&self, base: i64) -> WriteRequest {
        let lines = self.joining.iter().map(|(m, port, observer)| server_line(m + 1, *port, *observer));
        let lines = Some(lines.collect::<Vec<_>>().join(","));
        let (joining, members) = if self.all { (None, lines) } else { (lines, None) };
        let leaving = self.leaving.iter().map(|m| (m + 1).to_string()).collect::<Vec<_>>().join(",");
        WriteRequest::Reconfig { joining, leaving: Some(leaving), members, base }
    }
}

/// What stands in a configuration about a machine.
fn line(config: &EnsembleConfig, m: usize) -> Option<(usize, u16, bool)> {
    let line = config.members.get(&peer(m))?;
    Some((m, line.addresses.first()?.quorum_port, line.observer))
}

fn peer(m: usize) -> PeerId {
    PeerId(i64::try_from(m).expect("few members") + 1)
}

impl Sim {
    /// One wish of the operator, and the time of the next.
    pub fn operate(&mut self) {
        self.w.disturb();
        let n = self.members.len();
        // In no configuration by which somebody who is up acts: who has just left may be needed
        // until the others know.
        let newest = self.w.checks.configs.newest();
        let up = self.members.iter().filter(|m| m.live.is_some()).map(|m| &*m.files.active);
        let known: Vec<_> = up.chain([newest]).collect();
        let stranger = |m: &usize| !known.iter().any(|c| c.members.contains_key(&peer(*m)));
        let strangers: Vec<_> = (0..n).filter(stranger).collect();
        let down = |m: &usize| self.members[*m].live.is_none();
        // Nobody adds a machine to an ensemble that does not serve.
        let serves = self.members.iter().any(|m| m.serves() && m.files.active.version == newest.version);
        let (idle, running): (Vec<_>, Vec<_>) = strangers.iter().partition(|m| down(m));
        match self.w.rng.below(100) {
            // It is brought up before it becomes a member, as it should be.
            0..35 if serves && !idle.is_empty() => {
                let m = *self.w.rng.pick(&idle);
                let observer = self.w.rng.chance(500);
                let blank = self.w.rng.chance(500);
                self.hire(m, observer, blank);
            }
            35..45 if !running.is_empty() => {
                let m = *self.w.rng.pick(&running);
                self.members[m].leave(&mut self.w, false);
            }
            _ => self.wish(&running),
        }
        let at = self.w.now + self.w.rng.between(20_000, self.calm);
        self.w.at(at, Event::Operate);
    }

    /// Some client asks for other members, and somebody may die of it.
    fn wish(&mut self, running: &[usize]) {
        let wish = self.some_wish(running);
        let newest = self.w.checks.configs.newest();
        let base = if self.w.rng.chance(200) { newest.version.0 } else { -1 };
        let open: Vec<_> = (0..self.clients.len()).filter(|c| self.clients[*c].open).collect();
        if open.is_empty() || wish == Wish::default() {
            return;
        }
        let c = *self.w.rng.pick(&open);
        let Some(conn) = self.clients[c].conn else { return };
        note!(self.w, "-- client {c} wishes {wish:?}");
        self.clients[c].write(&mut self.w, conn, "", wish.request(base));
        if self.w.rng.chance(250) {
            self.die_of_it();
        }
    }

    /// A crash between proposal, log, commit and activation.
    fn die_of_it(&mut self) {
        let leader = self.members.iter().position(crate::member::Member::leads);
        let who = match leader {
            Some(leader) if self.w.rng.chance(500) => leader,
            _ => self.w.rng.index(self.members.len()),
        };
        let output = (*self.w.rng.pick(&["Proposed", "Configuration"])).to_owned();
        let at = match self.w.rng.below(3) {
            0 => CrashAt::Before(output),
            1 => CrashAt::After(output),
            // Behind the proposal come the log, its sync and the acknowledgement.
            _ => CrashAt::Behind(output, u32::try_from(self.w.rng.between(1, 8)).expect("it is small")),
        };
        let how = self.some_unsynced();
        self.members[who].crash_at = Some((at, how));
    }

    fn some_wish(&mut self, running: &[usize]) -> Wish {
        let n = self.members.len();
        let newest = self.w.checks.configs.newest().clone();
        let members: Vec<_> = (0..n).filter_map(|m| line(&newest, m)).collect();
        let leader = self.members.iter().position(crate::member::Member::leads);
        let one = match leader.and_then(|l| line(&newest, l)) {
            Some(leader) if self.w.rng.chance(400) => leader,
            _ => *self.w.rng.pick(&members),
        };
        let another = (!running.is_empty()).then(|| *self.w.rng.pick(running));
        let joining: Vec<_> = another.map(|m| (m, 2888, self.w.rng.chance(250))).into_iter().collect();
        // Below three voters nothing may fail: that is tried now and then.
        let few = newest.voters().count() <= if self.w.rng.chance(100) { 2 } else { 3 };
        match self.w.rng.below(100) {
            0..30 => Wish { joining, ..Wish::default() },
            30..45 if one.2 || !few => Wish { leaving: vec![one.0], ..Wish::default() },
            45..60 if one.2 || !few => Wish { joining: vec![(one.0, one.1, !one.2)], ..Wish::default() },
            60..70 => Wish { joining: vec![(one.0, one.1 ^ 1, one.2)], ..Wish::default() },
            70..85 if another.is_some() => Wish { joining, leaving: vec![one.0], all: false },
            _ => self.any_members(),
        }
    }

    /// All members at once, whoever they are.
    fn any_members(&mut self) -> Wish {
        let n = self.members.len();
        let up: BTreeSet<_> = (0..n).filter(|m| self.members[*m].live.is_some()).collect();
        let mut joining = Vec::new();
        for m in up {
            if self.w.rng.chance(800) {
                joining.push((m, 2888, self.w.rng.chance(100)));
            }
        }
        let voters = joining.iter().filter(|(.., observer)| !observer).count();
        if voters < 2 { Wish::default() } else { Wish { joining, all: true, ..Wish::default() } }
    }

    /// A machine gets a configuration file with the present members and itself, and starts.
    pub fn hire(&mut self, m: usize, observer: bool, blank: bool) {
        let newest = self.w.checks.configs.newest();
        let mut config = EnsembleConfig { version: Default::default(), ..newest.clone() };
        let own = server_line(m + 1, 2888, observer);
        let own = own.split_once('=').and_then(|(_, value)| Line::parse(value)).expect("the line is fine");
        config.members.insert(peer(m), own);
        note!(self.w, "-- {} is hired, as an observer: {observer}, blank: {blank}", peer(m));
        // Its old disk may be the one that has what others have lost.
        let has_some = self.members[m].disk.accepted > zk_proto::Epoch(0);
        if blank && has_some && self.wipes && self.members.iter().all(|m| m.lost.is_none()) {
            self.members[m].wipe(&mut self.w);
        }
        self.members[m].files = Configs::new(config);
        self.restart(m);
    }

    /// Who is a member, or is to be one, is up: a member that could not start by what its files
    /// say gets the present members. With `all`, who does not find the others by them gets these
    /// and those that are proposed.
    pub fn help(&mut self, all: bool) {
        let newest = Arc::new(self.w.checks.configs.newest().clone());
        let pending = self.members.iter().filter_map(|m| m.files.last_seen.clone());
        let pending = pending.filter(|c| c.version > newest.version).max_by_key(|c| c.version);
        for m in 0..self.members.len() {
            let (own, member) = (peer(m), &self.members[m]);
            let Some(line) = newest.members.get(&own).or(pending.as_ref().and_then(|c| c.members.get(&own)))
            else {
                continue;
            };
            let can = member.may_start() || member.live.is_some();
            let old = member.files.active.version < newest.version || member.files.last_seen != pending;
            if member.serves() || can && !(all && old) {
                continue;
            }
            note!(self.w, "-- {own} is helped");
            self.helped += u64::from(can);
            let mut active = (*newest).clone();
            if active.members.insert(own, line.clone()).is_none() {
                active.version = Default::default();
            }
            self.members[m].stop(&mut self.w);
            self.members[m].files = Configs::new(active);
            self.members[m].files.last_seen = pending.clone().filter(|_| all);
            self.restart(m);
        }
    }
}
