//! A state on its way from one member to another (zab.md 4): pieces of the
//! stream behind a SNAP packet from the mirror or from a tree, and back into a
//! tree. The bytes of a piece: `zk_proto::quorum::snap`.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use zk_proto::quorum::snap::{SnapItem, encode_node};
use zk_proto::{Acl, SessionId, Zxid, path};
use zk_tree::{Loader, Node, Tree, TreeOptions};

use crate::error::{Result, StorageError};
use crate::mirror::MirrorView;

/// Bytes that are handed over at a time, about.
const CHUNK: usize = 256 << 10;

/// Streams a state of the mirror, which goes on changing meanwhile, as the
/// bytes behind a SNAP packet of the view's zxid, signature included. An error
/// of `out` ends it. ref: ZKDatabase.serializeSnapshot, LearnerHandler.run.
pub fn stream_mirror<E: From<StorageError>>(
    view: &MirrorView<'_>,
    out: &mut dyn FnMut(Bytes) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut chunks = Chunks { buffer: BytesMut::new(), out };
    chunks.lists(view.sessions()?, view.acls()?)?;
    view.for_each_node(|path, data, acl, stat| {
        encode_node(path::java_name(path), data, acl, stat, &mut chunks.buffer);
        chunks.pass(CHUNK)
    })?;
    chunks.end()
}

/// Streams a tree, as [`stream_mirror`] does.
pub fn stream_tree<E: From<StorageError>>(
    tree: &Tree,
    out: &mut dyn FnMut(Bytes) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut chunks = Chunks { buffer: BytesMut::new(), out };
    let lists = tree.acl_lists().map(|(id, list)| (id, list.to_vec())).collect();
    chunks.lists(tree.sessions().collect(), lists)?;
    let mut open: Vec<Node<'_>> = vec![tree.root()];
    while let Some(node) = open.pop() {
        let path = node.path();
        encode_node(
            path::java_name(&path),
            node.data(),
            node.acl_id(),
            &node.persisted(),
            &mut chunks.buffer,
        );
        chunks.pass(CHUNK)?;
        open.extend(node.child_nodes());
    }
    chunks.end()
}

struct Chunks<'o, E> {
    buffer: BytesMut,
    out: &'o mut dyn FnMut(Bytes) -> std::result::Result<(), E>,
}

impl<E> Chunks<'_, E> {
    fn item(&mut self, item: &SnapItem) -> std::result::Result<(), E> {
        item.encode(&mut self.buffer);
        self.pass(CHUNK)
    }

    fn lists(
        &mut self,
        sessions: Vec<(SessionId, i32)>,
        acls: Vec<(i64, Vec<Acl>)>,
    ) -> std::result::Result<(), E> {
        self.item(&SnapItem::Sessions(sessions.len()))?;
        for (id, timeout) in sessions {
            self.item(&SnapItem::Session { id, timeout })?;
        }
        self.item(&SnapItem::Acls(acls.len()))?;
        for (id, list) in acls {
            self.item(&SnapItem::Acl { id, list })?;
        }
        Ok(())
    }

    fn pass(&mut self, from: usize) -> std::result::Result<(), E> {
        if self.buffer.len() < from {
            return Ok(());
        }
        (self.out)(self.buffer.split().freeze())
    }

    fn end(&mut self) -> std::result::Result<(), E> {
        SnapItem::End.encode(&mut self.buffer);
        self.pass(0)
    }
}

/// Builds a tree from the pieces of a stream.
#[derive(Debug)]
pub struct SnapLoader {
    loader: Loader,
    acls: BTreeSet<i64>,
    nodes: u64,
    ended: bool,
}

impl SnapLoader {
    /// Before the first piece.
    pub fn new(options: TreeOptions) -> SnapLoader {
        SnapLoader { loader: Tree::load_start(options), acls: BTreeSet::new(), nodes: 0, ended: false }
    }

    /// Takes the next piece. An error says that it cannot be part of a tree;
    /// the connection is to be closed then, and the state here is as before.
    pub fn take(&mut self, item: SnapItem) -> Result<()> {
        match item {
            SnapItem::Sessions(_) | SnapItem::Acls(_) => {}
            SnapItem::Session { id, timeout } => self.loader.session(id, timeout),
            SnapItem::Acl { id, list } => {
                // Ids are counted up from 1, one for each list.
                if !(0..i64::from(u32::MAX)).contains(&id) || !self.acls.insert(id) {
                    return Err(unusable(format!("the number {id} of an access control list")));
                }
                self.loader.define_acl(id, list);
            }
            SnapItem::Node { path, data, acl, stat } => {
                self.loader.node(&path, data, acl, stat).map_err(|e| unusable(e.to_string()))?;
                self.nodes += 1;
            }
            SnapItem::End => self.ended = true,
        }
        Ok(())
    }

    /// Nodes so far.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// The tree, as it was after `last_zxid`, which the SNAP packet named. What
    /// every tree has is added if it is missing, and counts of quotas are
    /// computed anew. ref: DataTree.deserialize.
    pub fn finish(self, last_zxid: Zxid) -> Result<Tree> {
        if !self.ended {
            return Err(unusable("it was cut off"));
        }
        if self.nodes == 0 {
            return Err(unusable("it has no nodes"));
        }
        let mut tree = self.loader.finish(last_zxid);
        tree.expect_later_transactions();
        Ok(tree)
    }
}

fn unusable(what: impl Into<String>) -> StorageError {
    StorageError::SnapStream { what: what.into() }
}
