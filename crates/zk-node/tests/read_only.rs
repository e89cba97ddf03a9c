//! When a member without a leader serves reads, and what comes before and behind that.

use zab::config::{Configs, EnsembleConfig};
use zk_node::{Input, Mode, Node, NodeConfig, Output, Start};
use zk_pipeline::{ConnId, Now, PipelineConfig};
use zk_proto::quorum::election::{Form, Notification, PeerState};
use zk_proto::{Epoch, PeerId, SessionId, Zxid};
use zk_tree::{Tree, TreeOptions};

struct Member {
    node: Node,
    tree: Tree,
    now: u64,
}

impl Member {
    fn new(tick_ms: u64, read_only: bool, initialized: bool) -> Self {
        let config = NodeConfig { read_only, ..NodeConfig::new(PeerId(1), tick_ms) };
        let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=0";
        let configs = Configs::new(EnsembleConfig::parse(text).unwrap());
        let pipeline = PipelineConfig { local_sessions: true, ..PipelineConfig::default() };
        let tree = Tree::new(TreeOptions { extended_types: false, digest: true, hash_seed: 7 });
        let start = Start {
            accepted: Epoch(0),
            current: Epoch(0),
            last: Zxid::ZERO,
            recent: Vec::new(),
            may_vote: true,
            initialized,
        };
        let node = Node::member(config, configs, pipeline, start, &tree);
        Self { node, tree, now: 0 }
    }

    fn at(&self) -> Now {
        Now { mono: self.now, wall: 0 }
    }

    /// What is to be done for clients, and for whom this member is to follow.
    fn poll(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(output) = self.node.poll(self.at(), &self.tree) {
            match output {
                Output::Notify { .. } => {}
                Output::Client(zk_pipeline::Output::Session { read_only, .. }) => {
                    told.push(format!("session, read only: {read_only}"));
                }
                Output::Client(zk_pipeline::Output::Close { conn }) => told.push(format!("close {}", conn.0)),
                Output::Follow { leader, .. } => told.push(format!("follow {}", leader.0)),
                other => told.push(format!("{other:?}")),
            }
        }
        told
    }

    /// Until something is to be done, or this time.
    fn run(&mut self, until: u64) -> Vec<String> {
        loop {
            let told = self.poll();
            let next = self.node.deadline().filter(|at| *at <= until);
            let (Some(next), true) = (next, told.is_empty()) else { return told };
            self.now = self.now.max(next);
            self.node.tick(self.at(), &self.tree);
        }
    }

    fn hears(&mut self, from: i64, state: PeerState) {
        let notification = Notification {
            state,
            leader: PeerId(3),
            zxid: Zxid::ZERO,
            round: 1,
            peer_epoch: Epoch(0),
            form: Form::Plain(Notification::VERSION),
            mark: None,
        };
        self.node.handle(self.at(), Input::Notification { from: PeerId(from), notification }, &self.tree);
    }

    fn connects(&mut self, conn: u64, read_only: bool) -> Vec<String> {
        let (conn, session) = (ConnId(conn), SessionId::NONE);
        let input = zk_pipeline::Input::Connect { conn, session, timeout: 4000, read_only };
        self.node.handle(self.at(), Input::Client(input), &self.tree);
        self.poll()
    }
}

#[test]
fn reads_are_served_after_two_seconds_or_a_tick() {
    for (tick, after) in [(200, 2000), (3000, 3000)] {
        let mut m = Member::new(tick, true, true);
        assert_eq!(m.run(60_000), ["ReadOnly"]);
        assert_eq!(m.now, after);
        let status = m.node.status();
        assert_eq!((status.mode, status.serving, m.node.serving()), (Mode::ReadOnly, true, false));
    }
}

#[test]
fn reads_are_not_served_unless_wanted_or_from_a_blank_disk() {
    assert!(Member::new(200, false, true).run(60_000).is_empty());
    assert!(Member::new(200, true, false).run(60_000).is_empty());
}

#[test]
fn a_leader_ends_it_before_it_is_followed() {
    let mut m = Member::new(200, true, true);
    m.run(60_000);
    assert_eq!(m.connects(1, true), ["session, read only: true"]);
    assert_eq!(m.connects(2, false), ["close 2"]);
    m.hears(2, PeerState::Following);
    assert!(m.poll().is_empty());
    m.hears(3, PeerState::Leading);
    assert_eq!(m.poll(), ["Serving(false)", "close 1", "follow 3"]);
    assert_eq!((m.node.status().mode, m.node.status().serving), (Mode::Following, false));
    // Nothing is left of it, and it begins anew only with another election.
    assert_eq!(m.connects(3, true), ["close 3"]);
    m.node.handle(m.at(), Input::LeaderLost { attempt: 1 }, &m.tree);
    let ended = m.now;
    assert!(m.poll().contains(&"Serving(false)".to_owned()));
    assert_eq!(m.run(60_000), ["ReadOnly"]);
    assert_eq!(m.now, ended + 2000);
}

#[test]
fn who_leaves_ends_it() {
    let mut m = Member::new(200, true, true);
    m.run(60_000);
    m.connects(1, true);
    m.node.handle(m.at(), Input::Leave, &m.tree);
    let told = m.poll();
    assert!(told.contains(&"close 1".to_owned()) && told.contains(&"Left".to_owned()), "{told:?}");
    assert_eq!(m.node.status().mode, Mode::Looking);
    assert!(m.run(60_000).is_empty());
}
