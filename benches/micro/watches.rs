//! One worker's table of watches.

use std::sync::Arc;

use zk_proto::client::EventType;
use zk_proto::{Acl, Zxid};
use zk_tree::watch::{Interest, Place, WatchKind, WatchTable};
use zk_tree::{AclList, Fired, NodeId};

/// An empty table.
pub fn table() -> WatchTable {
    WatchTable::new(Arc::new(Interest::new()))
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("a bench has fewer")
}

fn set(table: &mut WatchTable, conn: usize, node: usize) {
    let place = Place { path: "/somewhere", node: Some(NodeId(number(node))) };
    assert!(table.add(number(conn), WatchKind::Data, place), "each watch is set once");
}

/// Sets a watch on each of so many nodes, for a thousand connections without a pattern.
pub fn fill(table: &mut WatchTable, nodes: usize) {
    for node in 0..nodes {
        set(table, node.wrapping_mul(2_654_435_761) % 1000, node);
    }
}

/// Sets watches of `conns` connections on each of `nodes` nodes.
pub fn crowd(table: &mut WatchTable, nodes: usize, conns: usize) {
    for node in 0..nodes {
        (0..conns).for_each(|conn| set(table, conn, node));
    }
}

/// Sets watches of one connection on so many nodes.
pub fn watch_all(table: &mut WatchTable, conn: usize, nodes: usize) {
    (0..nodes).for_each(|node| set(table, conn, node));
}

/// Changes of the data of so many nodes.
pub fn changes(nodes: usize) -> Vec<Fired> {
    let acl = AclList::new(Acl::open());
    (0..nodes)
        .map(|node| Fired {
            event: EventType::NodeDataChanged,
            path: "/somewhere".into(),
            node: NodeId(number(node)),
            zxid: Zxid(1),
            acl: acl.clone(),
        })
        .collect()
}

/// Tells everybody; gives how many were told.
pub fn fire(table: &mut WatchTable, changes: &[Fired]) -> usize {
    let mut told = 0;
    changes.iter().for_each(|fired| table.fire(fired, |_| told += 1));
    told
}

/// A connection leaves.
pub fn leave(table: &mut WatchTable, conn: usize) {
    table.drop_conn(number(conn));
}
