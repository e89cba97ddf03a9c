//! One run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use zab::config::EnsembleConfig;
use zab::history::Record;
use zab::leader::LinkId;
use zk_node::Input;
use zk_proto::{Epoch, OpCode, PeerId, Zxid};

use crate::checks::{configs, durable, ephemerals, liveness};
use crate::clients::{Client, Mode, ToServer};
use crate::member::{Dial, Item, Member, Settings};
use crate::net::{Held, Link, ToLeader, ToLearner};
use crate::note;
use crate::operator::server_line;
use crate::plant::Plant;
use crate::world::{Event, World};

/// An ensemble with its clients.
#[derive(Debug)]
pub struct Sim {
    /// Time, network, checkers.
    pub w: World,
    /// The members.
    pub members: Vec<Member>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Whether faults go on, and who has crashed starts again by itself.
    pub faulty: bool,
    /// The longest time between two faults, us.
    pub calm: u64,
    /// Who is about to start again.
    restarting: Vec<bool>,
    /// Whether members that are down are started.
    pub restarts: bool,
    /// The disk of one member at a time may be lost.
    pub wipes: bool,
    /// Members that the operator had to help with the present members.
    pub helped: u64,
    /// Whether nobody may lead at the end.
    pub stood_still: bool,
    tick_us: u64,
}

/// What came out of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was violated.
    pub violation: Option<String>,
    /// Virtual time, us.
    pub simulated: u64,
    /// Committed transactions.
    pub committed: usize,
    /// Epochs that had a leader.
    pub epochs: usize,
    /// Configurations that came into force.
    pub reconfigs: usize,
    /// Leaders that were told to go and did.
    pub handovers: u64,
    /// Disks that were lost.
    pub wipes: u64,
    /// Members that found the others with the operator's help only.
    pub helped: u64,
    /// Whether it ended with members of whom none may lead.
    pub stood_still: bool,
    /// Answers that clients got.
    pub answers: u64,
    /// Watch events that clients got.
    pub events: u64,
    /// What happened, if that was wanted.
    pub trace: String,
}

/// The configuration with these voters, then observers.
fn configuration(voters: usize, observers: usize) -> EnsembleConfig {
    let line = |id: usize| server_line(id, 2888, id > voters) + "\n";
    let text: String = (1..=voters + observers).map(line).collect();
    EnsembleConfig::parse(&format!("{text}version=0")).expect("the text is fine")
}

/// What an ensemble is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Members that vote.
    pub voters: usize,
    /// Members that do not.
    pub observers: usize,
    /// Machines that are no members yet.
    pub spares: usize,
    /// `reconfigEnabled`.
    pub reconfig: bool,
    /// `tickTime` in ms.
    pub tick_ms: u64,
    /// Every learner gets a snapshot.
    pub force_snap: bool,
    /// Committed bytes that are queued at once for a learner that joins.
    pub join_bytes: usize,
    /// A thousandth of the slices after which the base follows the state.
    pub rebase: u64,
    /// Followers serve observers.
    pub observer_master: bool,
}

impl Sim {
    /// An ensemble that does not run yet.
    pub fn new(seed: u64, shape: Shape, trace: bool) -> Self {
        let first = shape.voters + shape.observers;
        let n = first + shape.spares;
        let config = configuration(shape.voters, shape.observers);
        let mut w = World::new(seed, n, trace);
        let settings = Settings {
            tick_ms: shape.tick_ms,
            init_limit: 10,
            sync_limit: 5,
            force_snap: shape.force_snap,
            join_bytes: shape.join_bytes,
            rebase: shape.rebase,
            observer_master: shape.observer_master,
            reconfig: shape.reconfig,
        };
        let mut members: Vec<_> = (0..n).map(|i| Member::new(i, settings.clone(), &mut w)).collect();
        for (n, m) in members.iter_mut().enumerate() {
            m.initialize = n < first;
            if n < first {
                m.files.active = config.clone().into();
            }
        }
        w.checks.configs.begin(config);
        Self {
            w,
            members,
            clients: Vec::new(),
            faulty: false,
            calm: 1_000_000,
            restarting: vec![false; n],
            restarts: false,
            wipes: false,
            helped: 0,
            stood_still: false,
            tick_us: shape.tick_ms * 1000,
        }
    }

    /// An ensemble and clients as a seed wants them.
    pub fn random(seed: u64, trace: bool) -> Self {
        let mut rng = crate::rng::Rng::new(seed ^ 0x5eed);
        // Apart from the other choices, so that a seed keeps those.
        let mut rng_of_joins = crate::rng::Rng::new(seed ^ 0x1013);
        let reconfig = rng.chance(500);
        let shape = Shape {
            voters: [3, 3, 3, 5, 4][rng.index(5)],
            observers: usize::from(rng.chance(300)),
            spares: if reconfig { 1 + rng.index(2) } else { 0 },
            reconfig,
            tick_ms: [100, 200, 500][rng.index(3)],
            force_snap: rng.chance(80),
            join_bytes: [100, 1000, zab::leader::JOIN_BYTES][rng_of_joins.index(3)],
            rebase: rng.between(5, 100),
            observer_master: seed.is_multiple_of(2),
        };
        let mut sim = Self::new(seed, shape, trace);
        sim.calm = rng.between(200_000, 4_000_000);
        sim.restarts = true;
        sim.faulty = true;
        sim.wipes = rng.chance(500);
        let initialize = rng.chance(500);
        for m in &mut sim.members {
            m.hurried = true;
            m.initialize &= initialize;
        }
        for i in 0..shape.voters + shape.observers {
            let at = sim.w.rng.below(300_000);
            sim.restarting[i] = true;
            sim.w.at(at, Event::Restart(i));
        }
        for i in 0..usize::try_from(rng.between(2, 4)).expect("few") {
            let timeout = i32::try_from(rng.between(2000, 6000)).expect("short");
            sim.add_client(i, timeout, Mode::Busy);
        }
        let at = sim.w.rng.between(500_000, 3_000_000);
        sim.w.at(at, Event::Fault);
        if reconfig {
            let at = sim.w.rng.between(500_000, 3_000_000);
            sim.w.at(at, Event::Operate);
        }
        sim
    }

    /// Whether there are machines to become members, and disks are lost.
    pub fn is_hard(&self) -> bool {
        self.wipes && !self.members.iter().all(Member::may_start)
    }

    /// Another client.
    pub fn add_client(&mut self, id: usize, timeout: i32, mode: Mode) {
        let client = Client::new(&mut self.w, id, timeout, mode);
        self.clients.push(client);
    }

    /// Whether nothing was violated until now.
    pub fn is_fine(&self) -> bool {
        self.w.checks.violation.is_none()
    }

    /// Lets time pass, until a violation.
    pub fn run_for(&mut self, us: u64) {
        let until = self.w.now + us;
        while self.is_fine()
            && let Some(event) = self.w.next(until)
        {
            self.step(event);
            self.look();
        }
    }

    fn step(&mut self, event: Event) {
        let w = &mut self.w;
        match event {
            Event::Wake(m, incarnation) => self.members[m].woken(w, incarnation),
            Event::Synced(m, incarnation, serial) => self.members[m].synced(w, incarnation, serial),
            Event::Dial(m, incarnation, attempt) => self.dial(m, incarnation, attempt),
            Event::Notify { from, to, generation, notification } => {
                let pair = w.net.at(from.min(to), from.max(to));
                if w.net.generation[pair] != generation {
                    return;
                }
                if w.net.is_cut(from, to) {
                    let at = w.net.at(from, to);
                    w.net.voices[at].unsent.get_or_insert(notification);
                    return;
                }
                let from = self.members[from].id;
                self.members[to].take(w, Item::Input(Input::Notification { from, notification }));
            }
            Event::Tell(m, incarnation, input) => {
                if self.members[m].incarnation == incarnation {
                    self.members[m].take(w, Item::Input(input));
                }
            }
            Event::ToLeader { link, sent, message } => self.reach_leader(link, sent, message),
            Event::ToLearner { link, sent, message } => self.reach_learner(link, sent, message),
            Event::Client(c, wake) => self.clients[c].wake(w, wake),
            Event::ToServer(conn, message) => {
                let c = &w.conns[conn];
                let m = &mut self.members[c.member];
                if c.at_server && m.incarnation == c.incarnation && m.live.is_some() {
                    m.take(w, Item::Client(conn, message));
                } else if !c.at_server && !matches!(message, ToServer::End) {
                    // A reset.
                    w.at(w.now + 100, Event::ToClient(conn, crate::clients::ToClient::End));
                }
            }
            Event::ToClient(conn, message) => {
                if w.conns[conn].at_client {
                    let client = w.conns[conn].client;
                    self.clients[client].hear(w, conn, message);
                }
            }
            Event::Pair(a, b) => self.pair(a, b),
            Event::LateEpoch(m, incarnation, current, epoch) => {
                let m = &mut self.members[m];
                if m.incarnation == incarnation && m.live.is_some() {
                    m.store_now(w, current, epoch);
                }
            }
            Event::Restart(m) => self.restart(m),
            Event::Kill(m, incarnation) => {
                if self.members[m].incarnation == incarnation {
                    self.members[m].stop(w);
                }
            }
            Event::Operate if self.faulty => self.operate(),
            Event::Operate => {}
            Event::Fault if self.faulty => self.fault(),
            Event::Fault => {}
            Event::Mend(mend) => self.mend(mend),
        }
    }

    /// What has to hold behind every event.
    fn look(&mut self) {
        self.look_at_disks();
        if self.restarts {
            for m in 0..self.members.len() {
                let down = self.members[m].live.is_none() && self.members[m].may_start();
                if down && !self.restarting[m] {
                    self.restarting[m] = true;
                    let at = self.w.now + self.w.rng.between(10_000, 3_000_000);
                    self.w.at(at, Event::Restart(m));
                }
            }
        }
    }

    fn look_at_disks(&mut self) {
        let (checks, members, now) = (&mut self.w.checks, &self.members, self.w.now);
        let which = |has: &dyn Fn(&Member) -> bool| -> BTreeSet<PeerId> {
            members.iter().filter(|m| has(m)).map(|m| m.id).collect()
        };
        let having = |record: &Record| which(&|m| m.has_durable(record));
        for (before, config) in std::mem::take(&mut checks.unknown) {
            let know = which(&|m| m.knows(config.version));
            checks.note(now, "configurations", configs::known_to_quorums(&before, &config, &know));
        }
        for n in std::mem::take(&mut checks.undurable) {
            let Some(e) = checks.committed.get(n) else { continue };
            let record = Record { zxid: e.zxid, bytes: e.bytes.clone() };
            let verdict = durable::on_a_quorum(e.zxid, &having(&record), checks.configs.newest());
            checks.note(now, "no acknowledged write lost", verdict);
        }
        for (next, record) in std::mem::take(&mut checks.designated) {
            let verdict = durable::designated(next, &record, &having(&record));
            checks.note(now, "hand-over", verdict);
        }
        for (who, last) in std::mem::take(&mut checks.handed_over) {
            let verdict = durable::handed_over(who, &last, &having(&last), checks.configs.newest());
            checks.note(now, "hand-over", verdict);
        }
    }

    /// Starts a member that does not run and may.
    pub fn restart(&mut self, m: usize) {
        self.restarting[m] = false;
        if self.members[m].live.is_some() || !self.members[m].may_start() {
            return;
        }
        for other in 0..self.members.len() {
            let (mine, theirs) = (self.w.net.at(m, other), self.w.net.at(other, m));
            self.w.net.voices[mine] = Default::default();
            self.w.net.told_down[mine] = false;
            if other != m {
                self.w.net.generation[mine.min(theirs)] += 1;
                let at = self.w.now + self.w.rng.between(500, 50_000);
                self.w.at(at, Event::Pair(other, m));
                self.w.at(at, Event::Pair(m, other));
            }
        }
        self.members[m].start(&mut self.w);
    }

    /// Stops a member for a time, as SIGSTOP does.
    pub fn pause(&mut self, m: usize, us: u64) {
        note!(self.w, "-- {} pauses for {us} us", self.members[m].id);
        if let Some(live) = &mut self.members[m].live {
            live.busy_until = live.busy_until.max(self.w.now + us);
        }
    }

    fn tell(&mut self, m: usize, input: Input) {
        self.members[m].take(&mut self.w, Item::Input(input));
    }

    /// What `a` knows of its election connection to `b`.
    fn pair(&mut self, a: usize, b: usize) {
        let (there, back) = (self.w.net.at(a, b), self.w.net.at(b, a));
        let up = self.w.running[b].is_some() && self.w.net.is_open(a, b);
        let told_down = self.w.net.told_down[there];
        if self.w.running[a].is_none() || !up && told_down {
            return;
        }
        self.w.net.told_down[there] = !up;
        let peer = self.members[b].id;
        if !up {
            return self.tell(a, Input::Reachable { peer, yes: false });
        }
        let pair = self.w.net.at(a.min(b), a.max(b));
        self.w.net.generation[pair] += 1;
        for (at, from, to) in [(there, a, b), (back, b, a)] {
            let voice = &mut self.w.net.voices[at];
            voice.unsent = voice.unsent.take().or(voice.last.clone());
            voice.arrives = 0;
            self.w.speak(from, to, 0);
        }
        if told_down {
            self.tell(a, Input::Reachable { peer, yes: true });
        }
    }

    /// Cuts directions.
    pub fn cut(&mut self, cuts: &[(usize, usize)]) {
        note!(self.w, "-- cut {cuts:?}");
        for (a, b) in cuts {
            self.w.net.set_cut(*a, *b, true);
            if self.w.rng.chance(500) {
                let at = self.w.now + self.w.rng.between(100_000, 3_000_000);
                self.w.at(at, Event::Pair(*a, *b));
                self.w.at(at, Event::Pair(*b, *a));
            }
        }
    }

    /// Makes all directions whole.
    pub fn heal(&mut self) {
        note!(self.w, "-- network whole");
        let n = self.members.len();
        for a in 0..n {
            for b in 0..n {
                if !self.w.net.is_cut(a, b) {
                    continue;
                }
                self.w.net.set_cut(a, b, false);
                let at = self.w.now + self.w.rng.between(1_000, 200_000);
                self.w.at(at, Event::Pair(a, b));
                self.w.at(at, Event::Pair(b, a));
            }
        }
        for link in 0..self.w.net.links.len() {
            let l = &mut self.w.net.links[link];
            let held: Vec<_> = l.held.iter_mut().flat_map(std::mem::take).collect();
            if held.is_empty() {
                continue;
            }
            if self.w.rng.chance(500) {
                self.break_link(link);
                continue;
            }
            // At once: what is under way must not overtake it.
            for message in held {
                let sent = self.w.now;
                match message {
                    Held::Leader(message) => self.reach_leader(link, sent, message),
                    Held::Learner(message) => self.reach_learner(link, sent, message),
                }
            }
        }
    }

    /// A learner's connection breaks: each side sees it in its own time.
    pub fn break_link(&mut self, link: usize) {
        note!(self.w, "-- link {link} breaks");
        let lost = self.w.rng.below(3_000);
        let l = &mut self.w.net.links[link];
        l.lost_before = [self.w.now.saturating_sub(lost); 2];
        l.held = Default::default();
        for to_leader in [true, false] {
            let at = self.w.now + self.w.rng.between(100, 1_500_000);
            let event = match to_leader {
                true => Event::ToLeader { link, sent: u64::MAX, message: ToLeader::End },
                false => Event::ToLearner { link, sent: u64::MAX, message: ToLearner::End },
            };
            self.w.at(at, event);
        }
        // What is sent from now on is lost as well.
        self.w.net.links[link].lost_before = [u64::MAX; 2];
    }

    fn dial(&mut self, m: usize, incarnation: u64, attempt: u64) {
        if self.members[m].incarnation != incarnation {
            return;
        }
        let Some(live) = &self.members[m].live else { return };
        let Some(dial) = live.dial.filter(|d| d.attempt == attempt) else { return };
        let Dial { leader, port, until, .. } = dial;
        let listens = self.members[leader].live.as_ref().is_some_and(|l| l.listening == Some(port));
        if !listens || !self.w.net.is_open(m, leader) {
            if self.w.now >= until {
                return self.tell(m, Input::LeaderLost { attempt });
            }
            return self.w.at(self.w.now + 100_000, Event::Dial(m, incarnation, attempt));
        }
        let (a, b) = (self.w.now + self.w.delay(), self.w.now + self.w.delay());
        let link = self.w.net.links.len();
        self.w.net.links.push(Link {
            leader: (leader, self.members[leader].incarnation),
            learner: (m, incarnation),
            attempt,
            at_leader: true,
            at_learner: true,
            arrives: [a, b],
            lost_before: [0; 2],
            held: Default::default(),
        });
        let live = self.members[m].live.as_mut().expect("it runs");
        live.dial = None;
        live.leader_link = Some((attempt, link));
        self.members[leader].linked(link);
        let of_leader = self.members[leader].incarnation;
        self.w.at(a, Event::Tell(leader, of_leader, Input::LinkUp(LinkId(link as u64))));
        self.w.at(b, Event::Tell(m, incarnation, Input::Following { attempt }));
    }

    fn reach_leader(&mut self, link: usize, sent: u64, message: ToLeader) {
        let l = &self.w.net.links[link];
        let (leader, incarnation) = l.leader;
        if !l.at_leader || self.members[leader].incarnation != incarnation || sent < l.lost_before[0] {
            return;
        }
        if sent != u64::MAX && (!l.held[0].is_empty() || self.w.net.is_cut(l.learner.0, leader)) {
            let l = &mut self.w.net.links[link];
            return l.held[0].push_back(Held::Leader(message));
        }
        let id = LinkId(link as u64);
        match message {
            ToLeader::Packet(packet) => self.tell(leader, Input::FromLearner(id, packet)),
            ToLeader::End => {
                self.w.net.links[link].at_leader = false;
                self.tell(leader, Input::LinkDown(id));
            }
        }
    }

    fn reach_learner(&mut self, link: usize, sent: u64, message: ToLearner) {
        let l = &self.w.net.links[link];
        let (learner, incarnation) = l.learner;
        if !l.at_learner || self.members[learner].incarnation != incarnation || sent < l.lost_before[1] {
            return;
        }
        if sent != u64::MAX && (!l.held[1].is_empty() || self.w.net.is_cut(l.leader.0, learner)) {
            let l = &mut self.w.net.links[link];
            return l.held[1].push_back(Held::Learner(message));
        }
        if self.members[learner].live.is_some() {
            self.members[learner].from_leader(&mut self.w, link, message);
        }
    }

    /// Whether every member of the newest configuration serves, and somebody leads: followers
    /// serve for a while behind a leader that is gone.
    pub fn all_serve(&self) -> Result<(), String> {
        if !self.members.iter().any(Member::leads) {
            return Err("nobody leads".to_owned());
        }
        liveness::all_serve(self.expected().map(|m| (m.id, m.serves())))
    }

    /// The members of the newest configuration.
    fn expected(&self) -> impl Iterator<Item = &Member> {
        let members = &self.w.checks.configs.newest().members;
        self.members.iter().filter(|m| members.contains_key(&m.id))
    }

    /// Whether nothing is amiss and everybody serves.
    pub fn is_calm(&self) -> bool {
        let well = |m: &Member| {
            let quick = m.disk_factor == 1 && !m.disk_held && m.crash_at.is_none();
            let idle = m.live.as_ref().is_none_or(|l| l.busy_until < self.w.now + 20_000);
            let changes = m.files.last_seen.as_ref().is_some_and(|c| c.version > m.files.active.version);
            quick && idle && !changes
        };
        let operator = |c: &Client| c.pending.iter().any(|p| p.op == OpCode::Reconfig);
        let leaders = self.members.iter().filter(|m| m.leads()).count();
        self.w.now >= self.w.last_fault + 3_000_000
            && self.w.net.is_well()
            && leaders == 1
            && self.members.iter().all(well)
            && !self.clients.iter().any(operator)
            && self.all_serve().is_ok()
    }

    /// The second half of a run: nothing fails any more, so everybody has to get on.
    fn recover(&mut self) {
        self.mend_all();
        let wait = self.tick_us * liveness::TICKS + 20_000_000;
        for all in [false, true] {
            self.help(all);
            let deadline = self.w.now + wait;
            while self.is_fine() && self.w.now < deadline && self.all_serve().is_err() {
                self.help(false);
                self.run_for(100_000);
            }
        }
        let verdict = self.all_serve();
        if verdict.is_err() && self.nobody_may_lead() {
            self.stood_still = true;
            return;
        }
        self.w.checks.note(self.w.now, "liveness", verdict);
        let before: Vec<_> = self.clients.iter().map(|c| c.count.answers).collect();
        let deadline = self.w.now + 20_000_000;
        while self.is_fine()
            && self.w.now < deadline
            && liveness::all_answered(&self.clients, &before).is_err()
        {
            self.run_for(100_000);
        }
        let verdict = liveness::all_answered(&self.clients, &before);
        self.w.checks.note(self.w.now, "liveness", verdict);
        self.clients.iter_mut().for_each(|c| c.mode = Mode::Quiet);
        let deadline = self.w.now + 10_000_000;
        self.run_for(500_000);
        while self.is_fine() && self.w.now < deadline && self.equal().is_err() {
            self.help(false);
            self.run_for(100_000);
        }
        let verdict = self.equal();
        self.w.checks.note(self.w.now, "no acknowledged write lost", verdict);
        for m in &self.members {
            if let Some(live) = &m.live {
                let verdict = ephemerals::owners_live(m.index, &live.tree);
                self.w.checks.note(self.w.now, "ephemerals", verdict);
                let wrong = live.tree.digest_mismatches();
                self.w
                    .checks
                    .require(self.w.now, "digests", wrong == 0, || format!("{wrong} differ on {}", m.id));
            }
        }
    }

    /// Whether a quorum of a proposed configuration is ahead of every voter of the one in force, or
    /// has lost its disk and may have been: whoever may lead would undo what that quorum can have
    /// committed, and they may not lead themselves. Only lost disks lead there.
    fn nobody_may_lead(&self) -> bool {
        let newest = self.w.checks.configs.newest();
        let pending = self.members.iter().filter_map(|m| m.files.last_seen.as_ref());
        let Some(pending) = pending.filter(|c| c.version > newest.version).max_by_key(|c| c.version) else {
            return false;
        };
        let blank = (Epoch(0), Zxid::ZERO);
        let up = || self.members.iter().filter(|m| m.live.is_some());
        let history = |m: &Member| (m.disk.current, m.disk.last());
        let best = up().filter(|m| newest.is_voter(m.id)).map(history).max().unwrap_or(blank);
        let may_be_ahead = |m: &&Member| history(m) > best || history(m) == blank;
        let ahead: BTreeSet<_> = up().filter(may_be_ahead).map(|m| m.id).collect();
        self.w.checks.wipes > 0 && pending.has_quorum(&ahead)
    }

    /// Whether everybody has everything.
    pub fn equal(&self) -> Result<(), String> {
        let last = |m: &Member| m.live.as_ref().map_or_else(Default::default, |l| l.chain.last());
        let last = self.expected().map(|m| (m.id, last(m)));
        liveness::all_equal(&self.w.checks.committed, last)
    }

    fn report(&mut self, seed: u64, panic: Option<String>) -> Report {
        let checks = &self.w.checks;
        let at = format!(" (at {}.{:06} s)", self.w.now / 1_000_000, self.w.now % 1_000_000);
        Report {
            seed,
            violation: panic.map(|p| format!("panic: {p}{at}")).or(checks.violation.clone()),
            simulated: self.w.now,
            committed: checks.committed.len(),
            epochs: checks.leaders.len(),
            reconfigs: checks.configs.changes(),
            handovers: checks.handovers,
            wipes: checks.wipes,
            helped: self.helped,
            stood_still: self.stood_still,
            answers: self.clients.iter().map(|c| c.count.answers).sum(),
            events: self.clients.iter().map(|c| c.count.events).sum(),
            trace: self.w.trace.take().unwrap_or_default(),
        }
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static CATCHING: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs something and gives the text of its panic, if it panics.
pub fn catch(f: impl FnOnce()) -> Option<String> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match CATCHING.with_borrow(|c| *c) {
            true => PANIC.set(Some(info.to_string().replace('\n', " "))),
            false => before(info),
        }));
    });
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(false);
    result.err().map(|_| PANIC.take().unwrap_or_else(|| "without a word".to_owned()))
}

/// Runs a seed: faults for a while, then health.
pub fn run_seed(seed: u64, plant: Option<Plant>, trace: bool) -> Report {
    let mut sim = Sim::random(seed, trace);
    sim.w.plant = plant;
    let panic = catch(|| {
        let faults = sim.w.rng.between(5_000_000, 40_000_000);
        sim.run_for(faults);
        if sim.is_fine() {
            sim.recover();
        }
    });
    sim.report(seed, panic)
}
