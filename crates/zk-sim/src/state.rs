//! States of a tree that can be kept, sent and loaded again, and how a state came to be.

use std::rc::Rc;

use bytes::Bytes;
use zk_proto::{Acl, SessionId, StatPersisted, Zxid};
use zk_tree::{Tree, TreeOptions};

/// The transactions that made a tree, the newest first. Shared: a copy costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Chain(Option<Rc<Link>>);

/// A transaction that was applied.
#[derive(Debug)]
pub struct Link {
    /// Its place.
    pub zxid: Zxid,
    /// Header, record and digest.
    pub bytes: Bytes,
    /// The tree's digest behind it.
    pub digest: u64,
    /// How many there are with this one.
    pub len: usize,
    before: Chain,
}

impl Chain {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |l| l.len)
    }

    /// Whether nothing was applied.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The newest zxid.
    pub fn last(&self) -> Zxid {
        self.0.as_ref().map_or(Zxid::ZERO, |l| l.zxid)
    }

    /// Another one was applied.
    pub fn push(&mut self, zxid: Zxid, bytes: Bytes, digest: u64) {
        let before = std::mem::take(self);
        let len = before.len() + 1;
        self.0 = Some(Rc::new(Link { zxid, bytes, digest, len, before }));
    }

    /// From the newest to the oldest.
    pub fn newest_first(&self) -> impl Iterator<Item = &Link> {
        let mut at = self.0.as_deref();
        std::iter::from_fn(move || {
            let link = at?;
            at = link.before.0.as_deref();
            Some(link)
        })
    }
}

impl Drop for Chain {
    /// Without recursion: a chain is longer than a stack is deep.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut link) = next.and_then(|l| Rc::try_unwrap(l).ok()) {
            next = link.before.0.take();
        }
    }
}

/// A whole tree as it is sent to a learner or kept on a disk.
#[derive(Debug, Default)]
pub struct Image {
    /// The newest transaction in it.
    pub zxid: Zxid,
    /// What made it.
    pub chain: Chain,
    acls: Vec<(i64, Vec<Acl>)>,
    sessions: Vec<(SessionId, i32)>,
    nodes: Vec<(String, Option<Bytes>, i64, StatPersisted)>,
}

impl Image {
    /// The tree as it is now.
    pub fn of(tree: &Tree, chain: &Chain) -> Self {
        let mut nodes = Vec::with_capacity(tree.node_count());
        let mut open = vec![tree.root()];
        while let Some(node) = open.pop() {
            nodes.push((node.path(), node.data_bytes(), node.acl_id(), node.persisted()));
            open.extend(node.child_nodes());
        }
        Self {
            zxid: tree.last_zxid(),
            chain: chain.clone(),
            acls: tree.acl_lists().map(|(id, list)| (id, list.to_vec())).collect(),
            sessions: tree.sessions().collect(),
            nodes,
        }
    }

    /// The tree again.
    pub fn load(&self) -> Tree {
        if self.nodes.is_empty() {
            return Tree::new(TreeOptions::default());
        }
        let mut loader = Tree::load_start(TreeOptions::default());
        for (id, list) in &self.acls {
            loader.define_acl(*id, list.clone());
        }
        for (id, timeout) in &self.sessions {
            loader.session(*id, *timeout);
        }
        for (path, data, acl, stat) in &self.nodes {
            loader.node(path, data.clone(), *acl, *stat).expect("parents came before their children");
        }
        loader.finish(self.zxid)
    }
}
