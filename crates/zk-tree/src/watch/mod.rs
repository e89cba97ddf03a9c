//! Who waits for what. A worker has a [`WatchTable`] of its own connections and
//! an [`Interest`] beside it, by which the writer of the tree knows that a
//! change concerns nobody there. ref: WatchManager, DataTree.
//!
//! Modules in reading order: `table` (what workers see), `nodes` and `sets` (watches that are
//! told once, by the node's id), `numbers` (how a set is written), `paths` (the others),
//! `interest`.

mod interest;
mod nodes;
mod numbers;
mod paths;
mod sets;
mod table;

pub use interest::Interest;
pub use table::{WatchCounts, WatchTable, Watched};

use crate::{Node, NodeId};

/// What a watch is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its path, as the client has it.
    pub path: &'a str,
    /// The node there, if there is one.
    pub node: Option<NodeId>,
}

impl<'a> Place<'a> {
    /// A path, and what the tree has there now. The root's other name stays a path: nothing
    /// is fired under it.
    pub fn new(path: &'a str, node: Option<Node<'_>>) -> Place<'a> {
        Place { path, node: node.filter(|_| !path.is_empty()).map(Node::id) }
    }
}

/// The kinds of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Of getData and exists; told once.
    Data,
    /// Of getChildren; told once.
    Child,
    /// Both of them, and it stays.
    Persistent,
    /// Of a node and all below it, without changes of lists of children; stays.
    Recursive,
}

impl WatchKind {
    /// Whether it is told once.
    pub(crate) fn is_once(self) -> bool {
        matches!(self, WatchKind::Data | WatchKind::Child)
    }
}

/// The paths above a path, nearest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut at = path;
    std::iter::from_fn(move || {
        if at.len() <= 1 {
            return None;
        }
        at = match at.rsplit_once('/')? {
            ("", _) => "/",
            (above, _) => above,
        };
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::ancestors;

    #[test]
    fn what_is_above() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        for top in ["/", "", "a"] {
            assert_eq!(ancestors(top).count(), 0, "{top:?}");
        }
    }
}
