//! Memory and time of watches that are told once: one on each of a million
//! nodes, and a hundred of a thousand connections on each of ten thousand. For one
//! worker, with the system's allocator.
//!
//! `cargo run --release -p zk-tree --example watches`
//!
//! Each case has a process of its own, so that none uses memory of another.

use std::sync::Arc;

use zk_proto::client::EventType;
use zk_proto::{Acl, Zxid};
use zk_tree::watch::{Interest, Place, WatchKind, WatchTable};
use zk_tree::{AclList, Fired, NodeId};

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("the second number");
    pages * 4096
}

/// Time on a processor in ns; the machine may have other work.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("the first number")
}

/// `each` of `conns` connections on every `step`th node of `nodes`.
fn measure(what: &str, (nodes, step): (u32, usize), (conns, each): (u32, u32)) {
    let mut table = WatchTable::new(Arc::new(Interest::new()));
    let before = resident();
    let begun = cpu();
    let mut count = 0_u32;
    let nodes = || (0..nodes).step_by(step);
    for node in nodes() {
        // Which ones it are has no pattern.
        for i in 0..each {
            let conn = (node.wrapping_mul(2_654_435_761) >> 7).wrapping_add(i * 7919) % conns;
            let place = Place { path: "/somewhere", node: Some(NodeId(node)) };
            count += u32::from(table.add(conn, WatchKind::Data, place));
        }
    }
    let took = cpu() - begun;
    let per = |n: f64| n / f64::from(count);
    println!(
        "{what}: {count} watches, {:.2} bytes and {:.0} ns each",
        per((resident() - before) as f64),
        per(took as f64)
    );
    let begun = cpu();
    (0..conns / 2).for_each(|conn| table.drop_conn(conn));
    println!("  every second connection leaves: {:.0} ns a watch", per((cpu() - begun) as f64 * 2.0));
    let acl = AclList::new(Acl::open());
    let begun = cpu();
    let mut told = 0;
    for node in nodes() {
        let path = "/somewhere".into();
        let event = EventType::NodeDataChanged;
        let fired = Fired { event, path, node: NodeId(node), zxid: Zxid(1), acl: acl.clone() };
        table.fire(&fired, |_| told += 1);
    }
    println!("  {told} are told: {:.0} ns a node", (cpu() - begun) as f64 / nodes().len() as f64);
}

type Case = (&'static str, (u32, usize), (u32, u32));

const CASES: [Case; 6] = [
    ("sparse, one on each node", (1_000_000, 1), (1000, 1)),
    ("sparse, one on every hundredth node", (10_000_000, 100), (1000, 1)),
    ("dense, 100 of 1,000", (10_000, 1), (1000, 100)),
    ("dense, 500 of 1,000", (10_000, 1), (1000, 500)),
    ("few of many, 100 of 50,000", (10_000, 1), (50_000, 100)),
    ("one node, all of 50,000", (1, 1), (50_000, 50_000)),
];

fn main() {
    if let Some(case) = std::env::args().nth(1) {
        let (what, nodes, conns) = CASES[case.parse::<usize>().expect("a number")];
        return measure(what, nodes, conns);
    }
    let program = std::env::current_exe().expect("Linux knows it");
    for case in 0..CASES.len() {
        let status = std::process::Command::new(&program).arg(case.to_string()).status();
        assert!(status.expect("it can be started").success());
    }
}
