//! What becomes of clients when the log cannot be cut where the leader wants it.

use bytes::Bytes;
use zab::config::{Configs, EnsembleConfig};
use zk_node::{Input, Node, NodeConfig, Output, Start};
use zk_pipeline::{ConnId, Now, PipelineConfig};
use zk_proto::quorum::election::{Form, Notification, PeerState};
use zk_proto::quorum::packet::FromLeader;
use zk_proto::{Epoch, PeerId, SessionId, Zxid};
use zk_tree::{Tree, TreeOptions};

const E1: i64 = 1 << 32;
const E2: i64 = 2 << 32;

struct Member {
    node: Node,
    tree: Tree,
    now: Now,
    /// Whether the log can be cut.
    cuts: bool,
    attempt: u64,
    served: u32,
    closed: Vec<ConnId>,
}

impl Member {
    fn new(cuts: bool) -> Self {
        let config = NodeConfig::new(PeerId(1), 200);
        let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=0";
        let configs = Configs::new(EnsembleConfig::parse(text).unwrap());
        let pipeline = PipelineConfig { local_sessions: true, ..PipelineConfig::default() };
        let tree = Tree::new(TreeOptions { extended_types: false, digest: true, hash_seed: 7 });
        let start = Start {
            accepted: Epoch(1),
            current: Epoch(1),
            last: Zxid(E1 + 5),
            recent: Vec::new(),
            may_vote: true,
            initialized: true,
        };
        let node = Node::member(config, configs, pipeline, start, &tree);
        let now = Now { mono: 0, wall: 0 };
        let mut member = Self { node, tree, now, cuts, attempt: 0, served: 0, closed: Vec::new() };
        member.poll();
        member
    }

    fn poll(&mut self) {
        while let Some(output) = self.node.poll(self.now, &self.tree) {
            match output {
                Output::Client(zk_pipeline::Output::Session { .. }) => self.served += 1,
                Output::Client(zk_pipeline::Output::Close { conn }) => self.closed.push(conn),
                Output::Follow { attempt, .. } => self.attempt = attempt,
                Output::Truncate { reload, .. } => {
                    assert!(!reload, "the tree does not show what is to go");
                    if !self.cuts {
                        self.node.reloaded(Zxid(E2 + 1), Vec::new(), true);
                        self.node.cannot_truncate();
                    }
                }
                _ => {}
            }
        }
    }

    fn takes(&mut self, input: Input) {
        self.node.handle(self.now, input, &self.tree);
        self.poll();
    }

    /// Follows 3, which leads in an epoch and sends this.
    fn follows(&mut self, epoch: i64, mode: FromLeader) {
        for (from, state) in [(2, PeerState::Following), (3, PeerState::Leading)] {
            let notification = Notification {
                state,
                leader: PeerId(3),
                zxid: Zxid(E1 + 5),
                round: epoch,
                peer_epoch: Epoch(epoch - 1),
                form: Form::Plain(Notification::VERSION),
                mark: None,
            };
            self.takes(Input::Notification { from: PeerId(from), notification });
        }
        self.takes(Input::Following { attempt: self.attempt });
        let zxid = Zxid::new(Epoch(epoch), 0);
        self.hears(FromLeader::LeaderInfo { epoch: Epoch(epoch), protocol_version: 0x1_0000 });
        for message in [mode, FromLeader::NewLeader { zxid, config: None }, FromLeader::UpToDate] {
            self.hears(message);
        }
    }

    fn hears(&mut self, message: FromLeader) {
        self.takes(Input::FromLeader { attempt: self.attempt, message });
    }
}

/// The state is read anew then, and its nodes have other numbers: those that watches are kept by.
#[test]
fn clients_are_closed_when_the_state_is_read_anew() {
    for cuts in [true, false] {
        let mut m = Member::new(cuts);
        m.follows(2, FromLeader::Diff { zxid: Zxid(E1 + 5) });
        assert!(m.node.serving());
        let (conn, session) = (ConnId(7), SessionId::NONE);
        m.takes(Input::Client(zk_pipeline::Input::Connect {
            conn,
            session,
            timeout: 4000,
            read_only: false,
        }));
        assert_eq!(m.served, 1);
        m.hears(FromLeader::Proposal { zxid: Zxid(E2 + 1), txn: Bytes::from_static(b"x") });
        m.takes(Input::LeaderLost { attempt: m.attempt });
        assert!(m.closed.is_empty(), "who only waits keeps its connection");
        m.follows(3, FromLeader::Trunc { zxid: Zxid(E1 + 4) });
        assert_eq!(m.node.serving(), cuts);
        assert_eq!(m.closed, if cuts { vec![] } else { vec![conn] });
    }
}
