//! Whole ensembles in virtual time, with delay, loss, broken connections and
//! restarts. The roles behind an election are only sketched: a leader that finds
//! a quorum of followers begins an epoch, a learner takes over the leader's state.

use std::collections::BTreeMap;

use super::tests::ensemble;
use super::*;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

enum Event {
    Deliver {
        from: usize,
        to: usize,
        lives: (u32, u32),
        notification: Notification,
    },
    Reachable {
        at: usize,
        peer: usize,
        yes: bool,
    },
    Up(usize),
    /// A role looks after itself.
    Check(usize, u64),
}

struct Node {
    id: PeerId,
    up: bool,
    /// How often it was started.
    life: u32,
    /// How often it settled, so that checks of an earlier role are void.
    roles: u64,
    checks: u32,
    /// As a leader: its epoch has begun. As a learner: it has the leader's state.
    active: bool,
    election: Election,
    zxid: Zxid,
    epoch: Epoch,
}

struct World {
    now: u64,
    rng: Rng,
    nodes: Vec<Node>,
    configs: Configs,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// When the last message of a direction arrives: they stay in order.
    busy: BTreeMap<(usize, usize), u64>,
    last_sent: BTreeMap<(usize, usize), Notification>,
    /// Longest delay of a message in ms.
    delay: u64,
    /// Lost messages in a thousand.
    loss: u64,
    /// Whether transports tell that a connection is gone.
    tells: bool,
    /// The highest zxid that an established leader had.
    committed: Zxid,
    messages: u64,
    /// Members without data have no vote at first.
    careful: bool,
}

impl World {
    /// `voters` voters with the ids from 1, then `observers`, then one member that
    /// is in no configuration.
    fn new(seed: u64, voters: i64, observers: i64) -> Self {
        let all: Vec<i64> = (1..=voters + observers).collect();
        let (v, o) = all.split_at(usize::try_from(voters).unwrap());
        let configs = Configs::new(ensemble(0, v, o));
        let mut rng = Rng::new(seed);
        let node = |id: i64, rng: &mut Rng| Node {
            id: PeerId(id),
            up: false,
            life: 0,
            roles: 0,
            checks: 0,
            active: false,
            election: Election::new(ElectionConfig::new(PeerId(id)), configs.clone()),
            zxid: Zxid(i64::try_from(rng.below(3)).unwrap()),
            epoch: Epoch(i64::try_from(rng.below(2)).unwrap()),
        };
        let nodes = (1..=voters + observers + 1).map(|id| node(id, &mut rng)).collect();
        Self {
            now: 0,
            delay: 1 + rng.below(60),
            loss: 0,
            tells: rng.below(2) == 0,
            rng,
            nodes,
            configs,
            events: BTreeMap::new(),
            next_event: 0,
            busy: BTreeMap::new(),
            last_sent: BTreeMap::new(),
            committed: Zxid::ZERO,
            careful: false,
            messages: 0,
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    fn up(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if node.up {
            return;
        }
        node.up = true;
        node.life += 1;
        let first_question = i64::from(node.life) << 32;
        let config = ElectionConfig { first_question, ..ElectionConfig::new(node.id) };
        node.election = Election::new(config, self.configs.clone());
        self.look(i);
        for peer in 0..self.nodes.len() {
            // A new connection begins with the last message of the old one.
            if let Some(stale) = self.last_sent.get(&(peer, i)).cloned().filter(|_| self.nodes[peer].up) {
                self.send(peer, i, stale);
            }
            self.tell(peer, i, true);
        }
    }

    fn down(&mut self, i: usize) {
        self.nodes[i].up = false;
        self.nodes[i].roles += 1;
        for peer in 0..self.nodes.len() {
            self.tell(peer, i, false);
        }
    }

    /// The transport of `at` notices within a few ms that `peer` went or came.
    fn tell(&mut self, at: usize, peer: usize, yes: bool) {
        if self.tells {
            let when = self.now + 1 + self.rng.below(5);
            self.at(when, Event::Reachable { at, peer, yes });
        }
    }

    fn look(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        node.roles += 1;
        node.active = false;
        match (node.zxid, node.epoch) {
            (Zxid::ZERO, Epoch(0)) if self.careful => node.election.start_blank(self.now),
            (zxid, epoch) => node.election.start(self.now, zxid, epoch),
        }
        self.outputs(i);
    }

    fn outputs(&mut self, i: usize) {
        for output in self.nodes[i].election.take_outputs() {
            match output {
                ElectionOutput::Send { to, notification } => {
                    let to = usize::try_from(to.0 - 1).unwrap();
                    self.last_sent.insert((i, to), notification.clone());
                    self.send(i, to, notification);
                }
                ElectionOutput::Elected { .. } => {
                    let node = &mut self.nodes[i];
                    (node.roles, node.checks, node.active) = (node.roles + 1, 0, false);
                    let (at, roles) = (self.now, self.nodes[i].roles);
                    self.at(at, Event::Check(i, roles));
                }
                ElectionOutput::AdoptConfig(_) => panic!("reconfiguration is off"),
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, notification: Notification) {
        self.messages += 1;
        if self.rng.below(1000) < self.loss {
            self.tell(from, to, false);
            self.tell(from, to, true);
            return;
        }
        let at = self.now + 1 + self.rng.below(self.delay);
        let busy = self.busy.entry((from, to)).or_default();
        *busy = at.max(*busy);
        let at = *busy;
        let lives = (self.nodes[from].life, self.nodes[to].life);
        self.at(at, Event::Deliver { from, to, lives, notification });
    }

    fn run(&mut self, until: u64) {
        loop {
            let timer = (0..self.nodes.len())
                .filter(|i| self.nodes[*i].up)
                .filter_map(|i| Some((self.nodes[i].election.deadline()?, i)))
                .min();
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            match (timer, event) {
                (Some((at, i)), _) if at <= until && event.is_none_or(|e| at < e) => {
                    self.now = self.now.max(at);
                    self.nodes[i].election.tick(self.now);
                    self.outputs(i);
                }
                (_, Some(at)) if at <= until => {
                    self.now = self.now.max(at);
                    let (_, event) = self.events.pop_first().expect("one was seen");
                    self.event(event);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, lives, notification } => {
                let id = self.nodes[from].id;
                if self.nodes[to].up && lives == (self.nodes[from].life, self.nodes[to].life) {
                    self.nodes[to].election.handle(self.now, id, &notification);
                    self.outputs(to);
                }
            }
            Event::Reachable { at, peer, yes } => {
                let id = self.nodes[peer].id;
                if self.nodes[at].up {
                    let yes = yes && self.nodes[peer].up;
                    self.nodes[at].election.reachable(self.now, id, yes);
                    self.outputs(at);
                }
            }
            Event::Up(i) => self.up(i),
            Event::Check(i, roles) => {
                if self.nodes[i].up && self.nodes[i].roles == roles {
                    self.check(i);
                }
            }
        }
    }

    fn check(&mut self, i: usize) {
        let good = match self.nodes[i].election.state() {
            PeerState::Leading => self.check_leader(i),
            _ => self.check_learner(i),
        };
        self.nodes[i].checks += 1;
        if good {
            let (at, roles) = (self.now + 100, self.nodes[i].roles);
            self.at(at, Event::Check(i, roles));
        } else {
            self.look(i);
        }
    }

    /// Who settled for this leader and has no more than it has.
    fn followers(&self, leader: usize) -> BTreeSet<PeerId> {
        let l = &self.nodes[leader];
        let follows = |n: &&Node| n.up && n.election.vote().is_some_and(|v| v.leader == l.id);
        let behind = |n: &&Node| (n.epoch, n.zxid) <= (l.epoch, l.zxid);
        self.nodes.iter().filter(follows).filter(behind).map(|n| n.id).collect()
    }

    fn check_leader(&mut self, i: usize) -> bool {
        let followers = self.followers(i);
        if !self.configs.has_quorum(&followers) {
            return !self.nodes[i].active && self.nodes[i].checks < 10;
        }
        if !self.nodes[i].active {
            let of_quorum = self.nodes.iter().filter(|n| followers.contains(&n.id)).map(|n| n.epoch.0).max();
            let epoch = Epoch(of_quorum.expect("a quorum is not empty") + 1);
            // What a quorum has cannot be lost, whoever was elected.
            assert!(self.nodes[i].zxid >= self.committed, "committed transactions are lost");
            let zxid = Zxid::new(epoch, 0);
            self.committed = zxid;
            for n in self.nodes.iter_mut().filter(|n| followers.contains(&n.id)) {
                (n.epoch, n.zxid, n.active) = (epoch, zxid, true);
                n.election.set_peer_epoch(epoch);
            }
        }
        true
    }

    fn check_learner(&mut self, i: usize) -> bool {
        let Some(vote) = self.nodes[i].election.vote() else { return false };
        let Some(l) = self.nodes.iter().find(|n| n.id == vote.leader) else { return false };
        if !l.up || l.election.state() != PeerState::Leading {
            return !self.nodes[i].active && self.nodes[i].checks < 5;
        }
        let (epoch, zxid) = (l.epoch, l.zxid);
        if l.active && !self.nodes[i].active {
            let n = &mut self.nodes[i];
            if (n.epoch, n.zxid) > (epoch, zxid) {
                return false;
            }
            (n.epoch, n.zxid, n.active) = (epoch, zxid, true);
            n.election.set_peer_epoch(epoch);
        }
        self.nodes[i].active || self.nodes[i].checks < 10
    }

    /// The leader, if it is the only one and everybody who is up follows it.
    fn settled(&self) -> Option<PeerId> {
        let up = || self.nodes.iter().filter(|n| n.up);
        let leader = up().find(|n| n.active && n.election.state() == PeerState::Leading)?;
        let role = |n: &Node| match self.configs.active.members.get(&n.id) {
            _ if n.id == leader.id => PeerState::Leading,
            Some(m) if m.observer => PeerState::Observing,
            _ => PeerState::Following,
        };
        let follows = |n: &Node| {
            let vote = n.election.vote();
            n.active
                && n.election.state() == role(n)
                && vote.is_some_and(|v| (v.leader, v.peer_epoch) == (leader.id, leader.epoch))
        };
        up().all(follows).then_some(leader.id)
    }

    /// Runs until it is settled; how long that took.
    fn settle(&mut self, limit: u64) -> Option<(PeerId, u64)> {
        let begin = self.now;
        while self.now < begin + limit {
            if let Some(leader) = self.settled() {
                return Some((leader, self.now - begin));
            }
            self.run(self.now + 10);
        }
        None
    }

    /// The best of the voters that are up.
    fn best(&self) -> PeerId {
        let voters = self.nodes.iter().filter(|n| n.up && self.configs.is_voter(n.id));
        voters.max_by_key(|n| (n.epoch, n.zxid, n.id)).expect("a voter is up").id
    }

    fn storm(&mut self, ms: u64) {
        self.loss = self.rng.below(300);
        let end = self.now + ms;
        while self.now < end {
            let i = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap();
            if self.nodes[i].up {
                self.down(i);
            }
            let back = self.now + self.rng.below(800);
            self.at(back, Event::Up(i));
            let pause = self.rng.below(600);
            self.run(self.now + pause);
        }
        self.loss = 0;
    }
}

const SIZES: [(i64, i64); 4] = [(3, 0), (3, 2), (5, 1), (7, 2)];

#[test]
fn the_best_leads_when_nothing_is_lost() {
    for seed in 0..200 {
        for (voters, observers) in SIZES {
            let mut w = World::new(seed, voters, observers);
            // A minority stays down.
            let down = usize::try_from(w.rng.below(u64::try_from(voters + 1).unwrap() / 2)).unwrap();
            for i in (0..w.nodes.len()).skip(down) {
                w.up(i);
            }
            let best = w.best();
            let result = w.settle(5000);
            assert_eq!(result.map(|r| r.0), Some(best), "seed {seed}, {voters} voters");
        }
    }
}

#[test]
fn faults_end_and_one_leader_is_left() {
    let mut longest = 0;
    for seed in 0..150 {
        for (voters, observers) in SIZES {
            let mut w = World::new(seed, voters, observers);
            for i in 0..w.nodes.len() {
                w.up(i);
            }
            w.storm(4000);
            w.run(w.now + 800);
            let result = w.settle(60_000);
            let (_, took) = result.unwrap_or_else(|| panic!("seed {seed}, {voters} voters: no leader"));
            longest = longest.max(took);
            // It stays so, and nobody talks any more.
            w.run(w.now + 500);
            let messages = w.messages;
            w.run(w.now + 60_000);
            assert!(w.settled().is_some() && w.messages == messages, "seed {seed}, {voters} voters");
        }
    }
    println!("{longest}");
    assert!(longest < 10_000, "{longest} ms");
}

#[test]
fn a_leader_that_is_known_to_be_gone_is_replaced_without_a_wait() {
    for seed in 0..100 {
        for (voters, observers) in SIZES {
            let mut w = World::new(seed, voters, observers);
            (w.delay, w.tells) = (3, true);
            for i in 0..w.nodes.len() {
                w.up(i);
            }
            let (old, _) = w.settle(5000).expect("a leader");
            w.run(w.now + 300);
            let old = usize::try_from(old.0 - 1).unwrap();
            w.down(old);
            let best = w.best();
            for i in 0..w.nodes.len() {
                let delay = w.rng.below(5);
                w.run(w.now + delay);
                if i != old {
                    w.look(i);
                }
            }
            let begin = w.now;
            while w.nodes.iter().any(|n| n.up && n.election.is_looking()) && w.now < begin + 1000 {
                w.run(w.now + 1);
            }
            let took = w.now - begin;
            assert!(took < 30, "seed {seed}, {voters} voters: {took} ms");
            let (new, _) = w.settle(5000).expect("another leader");
            assert_eq!(new, best, "seed {seed}, {voters} voters");
        }
    }
}

#[test]
fn a_seed_gives_the_same_run() {
    let run = || {
        let mut w = World::new(7, 5, 1);
        for i in 0..w.nodes.len() {
            w.up(i);
        }
        w.storm(3000);
        (w.messages, w.next_event, w.settle(60_000))
    };
    assert_eq!(run(), run());
}

/// All but one voter have lost their disks. They come back in any order, while
/// messages are lost, and the one with data leads, whenever it comes.
#[test]
fn blank_members_wait_for_the_one_with_data() {
    for seed in 0..150 {
        for (voters, observers) in SIZES {
            let mut w = World::new(seed, voters, observers);
            w.careful = true;
            w.loss = w.rng.below(300);
            let keeper = usize::try_from(w.rng.below(u64::try_from(voters).unwrap())).unwrap();
            for i in 0..w.nodes.len() {
                let keeps = i == keeper;
                let epoch = if keeps { Epoch(1) } else { Epoch(0) };
                (w.nodes[i].zxid, w.nodes[i].epoch) = (Zxid(if keeps { 5 } else { 0 }), epoch);
                let at = w.rng.below(6000);
                w.at(at, Event::Up(i));
            }
            // A leader without it is noticed.
            w.committed = Zxid(5);
            w.run(7000);
            w.loss = 0;
            let result = w.settle(60_000);
            assert!(result.is_some(), "seed {seed}, {voters} voters: no leader");
        }
    }
}

/// Nobody has anything: they agree once all are there, and not before.
#[test]
fn blank_members_form_an_ensemble() {
    for seed in 0..150 {
        for (voters, observers) in SIZES {
            let mut w = World::new(seed, voters, observers);
            w.careful = true;
            for n in &mut w.nodes {
                (n.zxid, n.epoch) = (Zxid::ZERO, Epoch(0));
            }
            let last = usize::try_from(w.rng.below(u64::try_from(voters).unwrap())).unwrap();
            for i in (0..w.nodes.len()).filter(|i| *i != last) {
                w.up(i);
            }
            assert_eq!(w.settle(8000), None, "seed {seed}, {voters} voters");
            w.up(last);
            let result = w.settle(5000);
            assert!(result.is_some(), "seed {seed}, {voters} voters: no leader");
        }
    }
}
