//! The data tree: applies transactions, answers look-ups; and the tables of
//! watches.
//!
//! Nothing here checks a permission, a version or a quota's limit: that is done
//! before a transaction is made. What was agreed on is applied, in order, the
//! same everywhere; a transaction that does not fit the tree is recorded in its
//! result and otherwise ignored, because a log is replayed over a state that
//! may contain later transactions already. No clock, no thread, no file.
//!
//! Modules in reading order: [`Tree`] and [`Node`] (look-ups), `apply` (how a
//! transaction changes the tree), `load` (trees from snapshots and from the
//! mirror), `store` (nodes in memory), [`owner`] (ephemerals, containers, times
//! to live), `acl`, `digest`, [`quota`], [`watch`].
//!
//! ```
//! use zk_proto::txn::{CreateTxn, LogEntry, Txn, TxnHeader};
//! use zk_proto::{OpCode, SessionId, Xid, Zxid};
//! use zk_tree::{Effects, Tree, TreeOptions};
//!
//! let mut tree = Tree::new(TreeOptions::default());
//! let mut effects = Effects::default();
//! let create = LogEntry {
//!     header: TxnHeader { session: SessionId(7), cxid: Xid(1), zxid: Zxid(1), time: 0, op: OpCode::Create },
//!     txn: Txn::Create(CreateTxn {
//!         path: "/a".into(), data: None, acl: None, ephemeral: false, parent_cversion: 1, ttl: 0,
//!     }),
//!     digest: None,
//! };
//! tree.apply(&create, &mut effects);
//! assert_eq!(tree.get("/a").unwrap().stat().czxid, 1);
//! assert_eq!(effects.fired.len(), 2, "of /a and of its parent");
//! ```

mod acl;
mod apply;
mod digest;
mod load;
pub mod owner;
pub mod quota;
mod store;
#[cfg(test)]
mod tests;
mod tree;
pub mod watch;

pub use acl::{AclList, OPEN_ID, is_open};
pub use apply::{Effects, Fired, Places, Touched, TxnResult};
pub use digest::{counts_in_digest, digest_part, node_digest};
pub use load::{LoadError, Loader};
pub use quota::{Quota, QuotaLimits, QuotaUsed};
pub use tree::{Node, NodeContents, NodeId, Tree, TreeOptions};
