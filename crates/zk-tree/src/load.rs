//! Trees from snapshots and from the mirror.

use bytes::Bytes;
use zk_proto::path::QUOTA;
use zk_proto::{Acl, Perms, SessionId, StatPersisted, Zxid};

use crate::acl::AclCache;
use crate::quota::{self, QuotaNode};
use crate::store::ROOT;
use crate::tree::{NodeId, Tree, TreeOptions};

/// Why a node cannot be part of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A node came before the node above it, or that is missing.
    #[error("no parent for {0}")]
    NoParent(String),
    /// A path came twice.
    #[error("{0} is there twice")]
    Duplicate(String),
    /// Not the path of a node.
    #[error("bad path {0:?}")]
    BadPath(String),
}

/// Builds a tree from its parts. Lists first, then nodes, parents before their
/// children, the root (under either name) before all.
#[derive(Debug)]
pub struct Loader {
    options: TreeOptions,
    tree: Option<Tree>,
    acls: Option<AclCache>,
    sessions: Vec<(SessionId, i32)>,
    /// Siblings mostly come together: the last parent's path and id.
    last_parent: (String, NodeId),
    /// The last path of [`Loader::ascending`].
    last: String,
}

impl Loader {
    pub(crate) fn new(options: TreeOptions) -> Loader {
        Loader {
            options,
            tree: None,
            acls: Some(AclCache::new(options.hash_seed)),
            sessions: Vec::new(),
            last_parent: (String::new(), ROOT),
            last: String::new(),
        }
    }

    fn acls(&mut self) -> &mut AclCache {
        match &mut self.tree {
            Some(tree) => &mut tree.acls,
            None => self.acls.as_mut().expect("the cache moves into the tree with the root"),
        }
    }

    /// An access control list and its id.
    pub fn define_acl(&mut self, id: i64, list: Vec<Acl>) {
        self.acls().define(id, list);
    }

    /// An open session and its time-out in ms.
    pub fn session(&mut self, id: SessionId, timeout: i32) {
        self.sessions.push((id, timeout));
    }

    /// The node above a path, and the path's last part.
    fn above<'p>(&mut self, path: &'p str) -> Result<(NodeId, &'p str), LoadError> {
        let bad = || LoadError::BadPath(path.to_owned());
        let (above, name) = path.rsplit_once('/').ok_or_else(bad)?;
        if name.is_empty() || above.ends_with('/') {
            return Err(bad());
        }
        let no_parent = || LoadError::NoParent(path.to_owned());
        let tree = self.tree.as_ref().ok_or_else(no_parent)?;
        if self.last_parent.0 != above {
            let id = tree.store.find(above).ok_or_else(no_parent)?;
            self.last_parent = (above.to_owned(), id);
        }
        Ok((self.last_parent.1, name))
    }

    fn take_list(&mut self, path: &str, acl_id: i64) {
        if !self.acls().take_id(acl_id) {
            tracing::error!(path, acl_id, "access control list is missing; the node is closed to everybody");
            self.acls().define(acl_id, vec![Acl::new(Perms(0), "world", "anyone")]);
            self.acls().take_id(acl_id);
        }
    }

    /// A node. A list that was not defined closes the node to everybody: that
    /// is the safe side, and replaying the log mostly repairs it, since Java
    /// writes lists before nodes while both change.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_id: i64,
        stat: StatPersisted,
    ) -> Result<(), LoadError> {
        let is_root = path.is_empty() || path == "/";
        let parent = if is_root {
            if self.tree.is_some() {
                return Err(LoadError::Duplicate("/".to_owned()));
            }
            None
        } else {
            let above = self.above(path)?;
            if self.tree.as_ref().is_some_and(|tree| tree.store.find(path).is_some()) {
                return Err(LoadError::Duplicate(path.to_owned()));
            }
            Some(above)
        };
        self.take_list(path, acl_id);
        match (parent, &mut self.tree) {
            (Some((parent, name)), Some(tree)) => {
                tree.place(path, parent, name, &stat, acl_id, data.as_deref());
            }
            _ => {
                let acls = self.acls.take().expect("there is one root");
                self.tree = Some(Tree::with_root(self.options, acls, &stat, acl_id, data.as_deref()));
            }
        }
        Ok(())
    }

    /// Makes room for about so many nodes, once the root is there.
    pub fn reserve(&mut self, nodes: usize) {
        if let Some(tree) = &mut self.tree {
            tree.store.reserve(nodes);
        }
    }

    /// The same as [`Loader::node`] for a source that has its paths in ascending order of their
    /// bytes, all of them, the root as `/`; and the node's digest is known:
    /// [`digest_part`](crate::digest_part). So no path is looked for, but that of a parent.
    pub fn ascending(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
        digest: u32,
    ) -> Result<(), LoadError> {
        if path <= self.last.as_str() {
            return Err(LoadError::Duplicate(path.to_owned()));
        }
        self.last.clear();
        self.last.push_str(path);
        if path == "/" {
            return self.node(path, data.map(Bytes::copy_from_slice), acl_id, *stat);
        }
        let (parent, name) = self.above(path)?;
        self.take_list(path, acl_id);
        let tree = self.tree.as_mut().expect("a parent was found in it");
        tree.enter(path, parent, name, stat, acl_id, data);
        if tree.options.digest {
            tree.digest = tree.digest.wrapping_add(u64::from(digest));
        }
        Ok(())
    }

    /// The tree, as it was after `last_zxid`. What every tree has is added if it
    /// is missing, counts of quotas are computed anew, and lists that no node
    /// has are dropped. ref: DataTree.deserialize, setupQuota.
    pub fn finish(mut self, last_zxid: Zxid) -> Tree {
        let Some(mut tree) = self.tree.take() else {
            let sessions = std::mem::take(&mut self.sessions);
            let mut tree = Tree::new(self.options);
            tree.sessions.extend(sessions);
            tree.last_zxid = last_zxid;
            return tree;
        };
        tree.add_system_nodes();
        tree.sessions.extend(self.sessions);
        tree.last_zxid = last_zxid;
        tree.set_up_quotas();
        tree.acls.purge();
        tree.store.trim();
        tree
    }
}

impl Tree {
    /// Registers the quotas whose limits are in the tree.
    fn set_up_quotas(&mut self) {
        let Some(top) = self.get(QUOTA) else { return };
        let mut prefixes = Vec::new();
        let mut open: Vec<_> = top.child_nodes().collect();
        while let Some(node) = open.pop() {
            open.extend(node.child_nodes());
            if node.num_children() == 0
                && let Some(QuotaNode::Limits(prefix)) = quota::role(&node.path())
            {
                prefixes.push(prefix.to_owned());
            }
        }
        prefixes.sort_unstable();
        for prefix in prefixes {
            self.quotas.add(&prefix);
            self.recount_quota(&prefix);
        }
    }
}
