//! A leader and its learners, joined by queues, under random scheduling,
//! crashes and changes of the leader. A seed gives the same run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zab::config::{Configs, EnsembleConfig, Member};
use zab::history::{History, Record};
use zab::leader::{Leader, LeaderConfig, LeaderInput, LeaderOutput, LinkId, Start};
use zab::learner::{Learner, LearnerConfig, LearnerInput, LearnerOutput, LearnerStart};
use zab::sync::LogSpan;
use zk_proto::quorum::packet::{FromLeader, FromLearner};
use zk_proto::{Epoch, PeerId, Zxid};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// A state, and up to where it is one.
#[derive(Clone, Default)]
struct State {
    records: Vec<Record>,
    zxid: Zxid,
}

enum Down {
    Message(FromLeader),
    Snapshot(State),
}

#[derive(Default)]
struct Pipe {
    up: VecDeque<FromLearner>,
    down: VecDeque<Down>,
}

#[derive(Default)]
struct Node {
    accepted: Epoch,
    current: Epoch,
    /// The durable state.
    base: State,
    log: Vec<Record>,
    /// As many of them are durable.
    durable: usize,
    /// The tree.
    tree: State,
    loaded: Option<State>,
    installing: bool,
    needs_snapshot: bool,
    learner: Option<(Learner, LinkId)>,
    up: bool,
}

impl Node {
    fn last(&self) -> Zxid {
        self.log.last().map_or(self.base.zxid, |r| r.zxid.max(self.base.zxid))
    }

    fn durable_zxid(&self) -> Zxid {
        self.log[..self.durable].last().map_or(self.base.zxid, |r| r.zxid)
    }

    fn fsync(&mut self) {
        self.durable = self.log.len();
    }

    fn append(&mut self, records: Vec<Record>) {
        for r in records {
            assert!(r.zxid > self.last());
            self.log.push(r);
        }
    }

    fn truncate(&mut self, to: Zxid) {
        self.log.retain(|r| r.zxid <= to);
        self.fsync();
        if self.tree.zxid > to {
            self.tree = self.base.clone();
        }
    }

    fn apply(&mut self, upto: Zxid, agreed: &mut Vec<Record>) {
        let from = self.tree.zxid;
        self.tree.records.extend(self.log.iter().filter(|r| r.zxid > from && r.zxid <= upto).cloned());
        self.tree.zxid = from.max(upto);
        for (n, r) in self.tree.records.iter().enumerate() {
            match agreed.get(n) {
                Some(a) => assert_eq!(a, r, "applied sequences are prefixes of one another"),
                None => agreed.push(r.clone()),
            }
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        let kept = self.durable + rng.below(self.log.len() - self.durable + 1);
        self.log.truncate(kept);
        self.fsync();
        (self.tree, self.learner, self.installing, self.up) = (self.base.clone(), None, false, false);
    }

    /// The learner's machine is gone and the process is not.
    fn leave(&mut self) {
        self.learner = None;
        self.fsync();
        if std::mem::take(&mut self.installing) {
            self.tree = self.base.clone();
        }
    }
}

struct World {
    rng: Rng,
    now: u64,
    config: EnsembleConfig,
    nodes: BTreeMap<PeerId, Node>,
    leader: Option<(PeerId, Leader, History)>,
    pipes: BTreeMap<LinkId, (PeerId, Pipe)>,
    next_link: u64,
    agreed: Vec<Record>,
    /// Said to be committed.
    promised: usize,
    /// Whether a learner may crash between two outputs.
    faults: bool,
    epochs: BTreeSet<Epoch>,
    stats: BTreeMap<&'static str, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let voters = 2 + rng.below(2) as i64 + rng.below(2) as i64;
        let mut config = EnsembleConfig::default();
        for id in 1..=voters + 1 {
            let member = Member { addresses: vec![], observer: id > voters, client: None };
            config.members.insert(PeerId(id), member);
        }
        let nodes = config.members.keys().map(|id| (*id, Node { up: true, ..Node::default() })).collect();
        Self {
            rng,
            now: 0,
            config,
            nodes,
            leader: None,
            pipes: BTreeMap::new(),
            next_link: 1,
            agreed: vec![],
            promised: 0,
            faults: true,
            epochs: BTreeSet::new(),
            stats: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.stats.entry(what).or_default() += 1;
    }

    /// The best of a random quorum that is up leads.
    fn elect(&mut self) {
        let mut up: Vec<_> = self.nodes.iter().filter(|(_, n)| n.up).map(|(id, _)| *id).collect();
        up.retain(|id| self.config.is_voter(*id));
        while self.config.has_quorum(&up.iter().copied().collect()) {
            let gone = up.swap_remove(self.rng.below(up.len()));
            let rest = up.iter().copied().collect();
            if !self.config.has_quorum(&rest) || self.rng.below(2) == 0 {
                up.push(gone);
                break;
            }
        }
        if !self.config.has_quorum(&up.iter().copied().collect()) {
            return;
        }
        let best = |id: &PeerId| (self.nodes[id].current, self.nodes[id].last(), *id);
        let me = up.into_iter().max_by_key(best).unwrap();
        let node = self.nodes.get_mut(&me).unwrap();
        node.leave();
        node.fsync();
        let config = LeaderConfig {
            me,
            tick_ms: 100,
            init_limit: 1000,
            sync_limit: 500,
            force_snap: self.rng.below(8) == 0,
            max_snap_syncs: 10,
            max_diff_syncs: 10,
            join_bytes: self.rng.below(4),
            reconfig_enabled: false,
        };
        let (accepted, current, last) = (node.accepted, node.current, node.last());
        let applied = node.tree.zxid;
        let mut history = History::new();
        // Any run that ends with the log and holds what the tree does not show.
        let all: Vec<_> = node.log.iter().filter(|r| r.zxid > node.base.zxid || r.zxid <= applied).collect();
        let must = all.iter().position(|r| r.zxid > applied).unwrap_or(all.len());
        let from = self.rng.below(must + 1);
        all[from..].iter().for_each(|r| history.push((*r).clone()));
        let start = Start { accepted, current, last, applied };
        let leader = Leader::new(config, Configs::new(self.config.clone()), start, self.now);
        self.leader = Some((me, leader, history));
        self.count("elections");
        self.leader_outputs();
    }

    fn depose(&mut self) {
        self.leader = None;
        for (_, (id, _)) in std::mem::take(&mut self.pipes) {
            self.nodes.get_mut(&id).unwrap().leave();
        }
    }

    fn connect(&mut self, id: PeerId) {
        let Some((leader, ..)) = &self.leader else { return };
        let leader = *leader;
        let node = self.nodes.get_mut(&id).unwrap();
        if id == leader || !node.up || node.learner.is_some() {
            return;
        }
        node.fsync();
        let config = LearnerConfig {
            me: id,
            leader,
            observer: !self.config.is_voter(id),
            tick_ms: 100,
            init_limit: 1000,
            sync_limit: 500,
            reconfig_enabled: false,
        };
        let (accepted, current, last, applied) = (node.accepted, node.current, node.last(), node.tree.zxid);
        let start = LearnerStart { accepted, current, last, applied };
        let mut learner = Learner::new(config, Configs::new(self.config.clone()), start);
        if node.needs_snapshot {
            learner.ask_for_snapshot();
        }
        let link = LinkId(self.next_link);
        self.next_link += 1;
        node.learner = Some((learner, link));
        self.pipes.insert(link, (id, Pipe::default()));
        self.tell_leader(LeaderInput::LinkUp(link));
        self.tell_learner(id, LearnerInput::Connected);
    }

    fn disconnect(&mut self, link: LinkId) {
        if let Some((id, _)) = self.pipes.remove(&link) {
            self.nodes.get_mut(&id).unwrap().leave();
            self.tell_leader(LeaderInput::LinkDown(link));
        }
    }

    fn tell_leader(&mut self, input: LeaderInput) {
        if let Some((_, leader, history)) = &mut self.leader {
            leader.handle(self.now, input, history);
            self.leader_outputs();
        }
    }

    fn leader_outputs(&mut self) {
        while let Some((me, leader, _)) = &mut self.leader {
            let me = *me;
            let outputs = leader.take_outputs();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.leader_output(me, output);
            }
        }
    }

    fn queue(&mut self, link: LinkId, down: Down) {
        if let Some((_, pipe)) = self.pipes.get_mut(&link) {
            pipe.down.push_back(down);
        }
    }

    fn leader_output(&mut self, me: PeerId, output: LeaderOutput) {
        let node = self.nodes.get_mut(&me).unwrap();
        match output {
            LeaderOutput::StoreAcceptedEpoch(e) => {
                assert!(e > node.accepted);
                node.accepted = e;
            }
            LeaderOutput::StoreCurrentEpoch(e) => node.current = e,
            LeaderOutput::Send { links, message } => {
                if let FromLeader::Trunc { .. } = message {
                    self.count("trunc");
                }
                for link in links {
                    self.queue(link, Down::Message(message.clone()));
                }
            }
            LeaderOutput::Close { link, why } => {
                assert_ne!(why, "packet out of place");
                self.count(why);
                if let Some((id, _)) = self.pipes.remove(&link) {
                    self.nodes.get_mut(&id).unwrap().leave();
                }
            }
            LeaderOutput::FindInLog { link, zxid } => {
                let log = || node.log.iter().map(|r| r.zxid);
                let span = LogSpan {
                    at_or_before: log().filter(|z| *z <= zxid).max(),
                    next: log().filter(|z| *z > zxid).min(),
                    usable: true,
                    durable: node.durable_zxid(),
                };
                self.tell_leader_only(LeaderInput::LogSpan { link, span });
            }
            LeaderOutput::StreamLog { link, after, upto, .. } => {
                let records = node.log.iter().filter(|r| r.zxid > after && r.zxid <= upto).cloned();
                for Record { zxid, bytes: txn } in records.collect::<Vec<_>>() {
                    self.queue(link, Down::Message(FromLeader::Proposal { zxid, txn }));
                    self.queue(link, Down::Message(FromLeader::Commit { zxid }));
                }
                self.count("from log");
                self.tell_leader_only(LeaderInput::Streamed(link));
            }
            LeaderOutput::StreamSnapshot { link, zxid } => {
                let state = State { zxid, ..node.tree.clone() };
                // The model notes the begin of an epoch in its trees; the protocol does not count it.
                let begins = node.tree.zxid.counter() == 0 && zxid <= node.tree.zxid;
                assert!(node.tree.zxid == zxid || begins);
                self.queue(link, Down::Snapshot(state));
                self.count("snap");
                self.tell_leader_only(LeaderInput::Streamed(link));
            }
            LeaderOutput::Established { epoch } => {
                assert!(self.epochs.insert(epoch), "an epoch has one leader");
                node.apply(Zxid::new(epoch, 0), &mut self.agreed);
                assert!(node.tree.records.len() >= self.promised, "what is committed survives");
                self.count("established");
            }
            LeaderOutput::Committed { upto } => {
                node.apply(upto, &mut self.agreed);
                self.promised = self.promised.max(node.tree.records.len());
                self.count("committed");
            }
            LeaderOutput::Resign { .. } => {
                self.count("resigned");
                self.depose();
            }
            other => panic!("{other:?}"),
        }
    }

    /// The outputs are taken by the loop that is running.
    fn tell_leader_only(&mut self, input: LeaderInput) {
        if let Some((_, leader, history)) = &mut self.leader {
            leader.handle(self.now, input, history);
        }
    }

    fn tell_learner(&mut self, id: PeerId, input: LearnerInput) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some((mut learner, link)) = node.learner.take() else { return };
        learner.handle(self.now, input);
        let outputs = learner.take_outputs();
        node.learner = Some((learner, link));
        for output in outputs {
            if self.faults && self.rng.below(400) == 0 {
                return self.crash(id);
            }
            if !self.learner_output(id, link, output) {
                return;
            }
        }
    }

    /// `false`: the learner is gone.
    fn learner_output(&mut self, id: PeerId, link: LinkId, output: LearnerOutput) -> bool {
        let node = self.nodes.get_mut(&id).unwrap();
        match output {
            LearnerOutput::Send(message) => {
                if let Some((_, pipe)) = self.pipes.get_mut(&link) {
                    pipe.up.push_back(message);
                }
            }
            LearnerOutput::StoreAcceptedEpoch(e) => {
                assert!(e > node.accepted);
                node.accepted = e;
            }
            LearnerOutput::StoreCurrentEpoch(e) => {
                assert!(e >= node.current && node.durable == node.log.len());
                node.current = e;
            }
            LearnerOutput::Truncate { to } => {
                if to < node.base.zxid {
                    node.needs_snapshot = true;
                    self.count("snapshot asked for");
                    self.disconnect(link);
                    return false;
                }
                node.truncate(to);
                assert_eq!(node.last(), to, "the target is there");
            }
            LearnerOutput::InstallSnapshot { zxid } => {
                node.tree = node.loaded.take().unwrap();
                assert_eq!(node.tree.zxid, zxid);
                node.installing = true;
            }
            LearnerOutput::Persist => {
                assert!(std::mem::take(&mut node.installing));
                node.base = node.tree.clone();
                node.log.clear();
                node.fsync();
                node.needs_snapshot = false;
            }
            LearnerOutput::AppendSync(records) => {
                node.append(records);
                node.fsync();
            }
            LearnerOutput::Append(records) => node.append(records),
            LearnerOutput::Commit { upto } => node.apply(upto, &mut self.agreed),
            LearnerOutput::Inform(r) => {
                let upto = r.zxid;
                node.append(vec![r]);
                node.apply(upto, &mut self.agreed);
            }
            LearnerOutput::Serve { .. } => {
                assert!(!node.installing);
                let (tree, last) = (node.tree.records.len(), self.agreed.len());
                assert!(tree <= last);
            }
            // It has promised more to a leader that came to nothing.
            LearnerOutput::Leave { why } => {
                assert_eq!(why, "the leader's epoch is older than the promised one");
                self.count("promised more");
                self.disconnect(link);
                return false;
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn deliver_down(&mut self, link: LinkId) {
        let Some((id, pipe)) = self.pipes.get_mut(&link) else { return };
        let id = *id;
        let message = match pipe.down.pop_front() {
            None => return,
            Some(Down::Message(FromLeader::Ping { .. })) => return,
            Some(Down::Message(message)) => message,
            Some(Down::Snapshot(state)) => {
                let zxid = state.zxid;
                self.nodes.get_mut(&id).unwrap().loaded = Some(state);
                FromLeader::Snap { zxid }
            }
        };
        self.tell_learner(id, LearnerInput::Packet(message));
    }

    fn deliver_up(&mut self, link: LinkId) {
        if let Some(message) = self.pipes.get_mut(&link).and_then(|(_, p)| p.up.pop_front()) {
            self.tell_leader(LeaderInput::Packet(link, message));
        }
    }

    fn fsync(&mut self, id: PeerId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.fsync();
        let upto = node.durable_zxid();
        match &self.leader {
            Some((me, ..)) if *me == id => self.tell_leader(LeaderInput::Synced { upto }),
            _ => self.tell_learner(id, LearnerInput::Synced { upto }),
        }
    }

    fn propose(&mut self) {
        let Some((me, leader, _)) = &mut self.leader else { return };
        let Some(zxid) = leader.next_zxid().filter(|_| leader.is_established()) else { return };
        let bytes = format!("{me} {zxid}").into();
        let record = Record { zxid, bytes };
        self.nodes.get_mut(me).unwrap().append(vec![record.clone()]);
        assert!(leader.propose(self.now, record, None));
        self.leader_outputs();
    }

    /// The durable state follows the tree, behind the log.
    fn flush(&mut self, id: PeerId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.installing && node.durable_zxid() >= node.tree.zxid {
            node.base = node.tree.clone();
        }
    }

    fn some_link(&mut self) -> LinkId {
        let n = self.rng.below(self.pipes.len().max(1));
        self.pipes.keys().nth(n).copied().unwrap_or(LinkId(0))
    }

    fn some_node(&mut self) -> PeerId {
        let n = self.rng.below(self.nodes.len());
        *self.nodes.keys().nth(n).unwrap()
    }

    fn crash(&mut self, id: PeerId) {
        if self.leader.as_ref().is_some_and(|(me, ..)| *me == id) {
            self.depose();
        } else if let Some(link) = self.nodes[&id].learner.as_ref().map(|(_, link)| *link) {
            // The packets that it has sent may still come.
            if self.rng.below(2) == 0 {
                while self.pipes.get(&link).is_some_and(|(_, p)| !p.up.is_empty()) {
                    self.deliver_up(link);
                }
            }
            self.pipes.remove(&link);
            // A crashed process does not leave in order.
            self.nodes.get_mut(&id).unwrap().learner = None;
            self.tell_leader(LeaderInput::LinkDown(link));
        }
        let (node, rng) = (self.nodes.get_mut(&id).unwrap(), &mut self.rng);
        node.crash(rng);
        self.count("crashes");
    }

    fn step(&mut self) {
        let (link, id) = (self.some_link(), self.some_node());
        match self.rng.below(200) {
            0..60 => self.deliver_down(link),
            60..120 => self.deliver_up(link),
            120..150 => self.fsync(id),
            150..165 => self.propose(),
            165..185 => self.connect(id),
            185..188 => self.flush(id),
            188 => self.disconnect(link),
            189 => self.crash(id),
            190..195 => self.nodes.get_mut(&id).unwrap().up = true,
            195 if self.rng.below(4) == 0 => self.depose(),
            _ if self.leader.is_none() => self.elect(),
            _ => {
                self.now += 1;
                if let Some((_, leader, _)) = &mut self.leader {
                    leader.tick(self.now);
                }
                self.leader_outputs();
            }
        }
    }

    /// A healthy ensemble comes to one state.
    fn heal(&mut self) {
        self.depose();
        self.faults = false;
        self.nodes.values_mut().for_each(|n| n.up = true);
        self.elect();
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for round in 0..12 {
            // A leader whose followers have all promised its epoch before gets
            // no quorum; its time is over at some point. Who has promised more
            // waits for the next one.
            let promised = self.nodes.values().map(|n| n.accepted).max();
            let leads = |l: &Leader| l.is_established() && l.epoch() >= promised;
            if round % 2 == 0 && !self.leader.as_ref().is_some_and(|(_, l, _)| leads(l)) {
                self.depose();
                self.elect();
            }
            ids.iter().for_each(|id| self.connect(*id));
            if round == 10 {
                self.propose();
            }
            for _ in 0..20 {
                for link in self.pipes.keys().copied().collect::<Vec<_>>() {
                    while self.pipes.get(&link).is_some_and(|(_, p)| !p.down.is_empty()) {
                        self.deliver_down(link);
                    }
                    while self.pipes.get(&link).is_some_and(|(_, p)| !p.up.is_empty()) {
                        self.deliver_up(link);
                    }
                }
                ids.iter().for_each(|id| self.fsync(*id));
            }
        }
        let leader = self.leader.as_ref().map(|(_, l, _)| (l.epoch(), l.followers().collect::<Vec<_>>()));
        for (id, node) in &self.nodes {
            let has_all = node.tree.records.len() == self.agreed.len();
            assert!(has_all, "{id} has all: {leader:?}, {:?} {:?}", node.current, node.last());
        }
        assert!(!self.agreed.is_empty());
    }
}

fn run(seed: u64, stats: &mut BTreeMap<&'static str, usize>) {
    let mut world = World::new(seed);
    for _ in 0..1500 {
        world.step();
    }
    world.heal();
    for (what, n) in world.stats {
        *stats.entry(what).or_default() += n;
    }
}

#[test]
fn nothing_committed_is_lost_and_all_apply_the_same() {
    let (first, last) = match std::env::var("SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => (seed, seed),
        None => (1, if std::env::var_os("SLOW").is_some() { 50_000 } else { 2000 }),
    };
    let mut stats: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in first..=last {
        let done = std::panic::catch_unwind(|| {
            let mut stats = BTreeMap::new();
            run(seed, &mut stats);
            stats
        });
        let Ok(one) = done else { panic!("replay with SEED={seed}") };
        for (what, n) in one {
            *stats.entry(what).or_default() += n;
        }
    }
    println!("{stats:?}");
    if first != last {
        for what in ["trunc", "snap", "from log", "established", "committed", "crashes"] {
            assert!(stats.get(what).is_some_and(|n| *n > 50), "{what} happens: {stats:?}");
        }
    }
}
