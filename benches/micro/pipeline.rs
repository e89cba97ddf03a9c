//! Writes through a stand-alone member: prepared, logged by nobody, committed, applied and
//! answered.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use zk_node::{Input, Node, Output};
use zk_pipeline::{ConnId, Identities, Now, PipelineConfig};
use zk_proto::client::WriteRequest;
use zk_proto::{AuthId, SessionId, Xid, Zxid};
use zk_tree::{Effects, Tree};

use crate::{DATA, TIME, path, tree};

const NOW: Now = Now { mono: 0, wall: TIME };
const CONN: ConnId = ConnId(1);
/// Most transactions that are applied under one write lock; about what the server comes to.
const SLICE: usize = 64;

/// A setData of the n-th leaf.
pub fn set_data(n: usize) -> WriteRequest {
    WriteRequest::SetData { path: Some(path(n).into()), data: Some(DATA), version: -1 }
}

/// A multi of so many setData, from the n-th leaf on.
pub fn multi(n: usize, parts: usize) -> WriteRequest {
    WriteRequest::Multi((n..n + parts).map(set_data).collect())
}

/// A stand-alone member with one client.
pub struct Member {
    node: Node,
    tree: Tree,
    effects: Effects,
    session: SessionId,
    ids: Identities,
    xid: i32,
}

impl Member {
    /// With so many leaves, see [`path`].
    pub fn new(leaves: usize) -> Member {
        let tree = tree::deep(leaves);
        let node = Node::alone(PipelineConfig::default(), &tree, NOW);
        let ids: Identities = Arc::new([AuthId::new("ip", "127.0.0.1")]);
        let mut member =
            Member { node, tree, effects: Effects::default(), session: SessionId::NONE, ids, xid: 0 };
        member.connect();
        member
    }

    fn connect(&mut self) {
        let session = SessionId::NONE;
        let connect = zk_pipeline::Input::Connect { conn: CONN, session, timeout: 30_000, read_only: false };
        self.node.handle(NOW, Input::Client(connect), &self.tree);
        let upto = self.appended();
        let outputs = self.commit(upto);
        self.session = outputs
            .iter()
            .find_map(|o| match o {
                zk_pipeline::Output::Session { session, .. } => Some(*session),
                _ => None,
            })
            .expect("a new session is always granted");
    }

    /// Takes what is to be logged; gives its end.
    fn appended(&mut self) -> Zxid {
        let mut last = None;
        while let Some(output) = self.node.poll(NOW, &self.tree) {
            if let Output::Append(records) = black_box(output) {
                last = records.last().map(|r| r.zxid);
            }
        }
        last.expect("every write becomes a transaction")
    }

    /// Prepares a batch of writes. Gives the zxid of the last one.
    pub fn prepare(&mut self, requests: Vec<WriteRequest>) -> Zxid {
        for request in requests {
            self.xid = self.xid.wrapping_add(1);
            let input = zk_pipeline::Input::Write {
                conn: CONN,
                session: self.session,
                xid: Xid(self.xid),
                request: Ok(request),
                ids: self.ids.clone(),
            };
            self.node.handle(NOW, Input::Client(input), &self.tree);
        }
        self.appended()
    }

    /// All up to here is durable: applies and answers it.
    pub fn commit(&mut self, upto: Zxid) -> Vec<zk_pipeline::Output> {
        self.node.handle(NOW, Input::Synced { upto }, &self.tree);
        let mut told = Vec::new();
        while self.node.pipeline().has_committed() {
            self.node.apply(NOW, &mut self.tree, &mut self.effects, SLICE);
            told.extend(std::iter::from_fn(|| self.node.poll_applied()));
            self.effects.clear();
        }
        told
    }

    /// Both.
    pub fn write(&mut self, requests: Vec<WriteRequest>) {
        let wanted = requests.len();
        let upto = self.prepare(requests);
        let told = self.commit(upto);
        // As a worker makes them.
        let (mut answers, mut frames) = (0, BytesMut::new());
        for output in told {
            if let zk_pipeline::Output::Applied(applied) = output {
                applied.encode(&mut frames);
                answers += 1;
            }
        }
        assert_eq!(answers, wanted, "each write is answered");
    }
}
