use zk_proto::OpCode;
use zk_proto::txn::Txn;

use super::{Script, check_sums, dump, round_trip};
use crate::{Quota, QuotaLimits, QuotaUsed};

const LIMITS: &str = "/zookeeper/quota/q/zookeeper_limits";
const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

fn with_quota() -> Script {
    let mut s = Script::new();
    s.create("/q", "12345");
    s.create("/q/a", "678");
    s.create("/zookeeper/quota/q", "");
    s.create(LIMITS, "count=5,bytes=100=;byteHardLimit=200");
    s.create(STATS, "count=0,bytes=0");
    s
}

#[test]
fn counts_are_booked_in_place() {
    let mut s = with_quota();
    assert_eq!(s.data(STATS), "count=2,bytes=8", "recomputed when it is created");
    let stat = s.tree.get(STATS).unwrap().persisted();
    s.create("/q/b", "x");
    s.create("/quite/other", "");
    s.create("/qq", "not below");
    assert_eq!(s.data(STATS), "count=3,bytes=9");
    s.set("/q/b", "xyz");
    s.set("/q", "");
    assert_eq!(s.data(STATS), "count=3,bytes=6");
    s.fx.clear();
    s.delete("/q/a");
    assert_eq!(s.data(STATS), "count=2,bytes=3");
    assert_eq!(s.tree.get(STATS).unwrap().persisted(), stat);
    assert!(!s.fx.touched.has(&s.tree, STATS));
    assert_eq!(
        s.tree.quota_prefix("/q/b/c"),
        Some(Quota {
            prefix: "/q".to_owned(),
            limits: QuotaLimits { count: 5, bytes: 100, count_hard: -1, byte_hard: 200 },
            used: QuotaUsed { count: 2, bytes: 3 },
        })
    );
    assert_eq!(s.tree.quota_prefix("/qq"), None);
    check_sums(&s.tree, &dump(&s.tree));
}

#[test]
fn the_longest_prefix_is_charged_alone() {
    let mut s = with_quota();
    s.create("/zookeeper/quota/q/a", "");
    s.create("/zookeeper/quota/q/a/zookeeper_limits", "count=1,bytes=-1");
    let inner = "/zookeeper/quota/q/a/zookeeper_stats";
    s.create(inner, "");
    assert_eq!(s.data(inner), "count=1,bytes=3");
    s.create("/q/a/x", "4444");
    assert_eq!((s.data(inner).as_str(), s.data(STATS).as_str()), ("count=2,bytes=7", "count=2,bytes=8"));
    s.delete("/zookeeper/quota/q/a/zookeeper_limits");
    s.delete("/q/a/x");
    assert_eq!((s.data(inner).as_str(), s.data(STATS).as_str()), ("count=2,bytes=7", "count=1,bytes=4"));
}

#[test]
fn ephemerals_leave_the_quota_with_their_session() {
    let mut s = with_quota();
    s.create_as(9, OpCode::Create, "/q/e", "22");
    assert_eq!(s.data(STATS), "count=3,bytes=10");
    s.close(9, Some(&["/q/e"]));
    assert_eq!(s.data(STATS), "count=2,bytes=8");
}

#[test]
fn odd_nodes_do_no_harm() {
    let mut s = Script::new();
    s.create("/zookeeper/quota/zookeeper_limits", "count=1");
    s.create("/zookeeper/quota/zookeeper_stats", "");
    s.create("/zookeeper/quota/q", "");
    s.create(LIMITS, "garbage");
    s.create("/q", "no counts' node");
    s.create(STATS, "x");
    assert_eq!(s.data(STATS), "count=1,bytes=15");
    s.set(STATS, "garbage");
    s.create("/q/a", "");
    assert_eq!(s.data(STATS), "garbage");
    assert_eq!(s.tree.quota_prefix("/q").unwrap().limits.count, -1);
    s.run(0, OpCode::SetData, Txn::SetData { path: STATS.into(), data: None, version: 2 });
    s.create("/q/b", "");
    assert_eq!(s.data(STATS), "count=0,bytes=-1");
    check_sums(&s.tree, &dump(&s.tree));
}

#[test]
fn loading_counts_anew() {
    let mut s = with_quota();
    s.set(STATS, "count=77,bytes=77");
    let mut s = Script { tree: round_trip(&s.tree), ..s };
    assert_eq!(s.data(STATS), "count=2,bytes=8");
    s.create("/q/n", "");
    assert_eq!(s.data(STATS), "count=3,bytes=8");
    s.delete(LIMITS);
    s.create("/q/m", "");
    assert_eq!(s.data(STATS), "count=3,bytes=8");
}
