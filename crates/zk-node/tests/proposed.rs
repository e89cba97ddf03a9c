//! What a member knows of a proposed configuration goes with its place in the history.

use zab::config::{Configs, EnsembleConfig};
use zk_node::{Node, NodeConfig, Output, Start};
use zk_pipeline::{Now, PipelineConfig};
use zk_proto::{Epoch, PeerId, Zxid};
use zk_tree::{Tree, TreeOptions};

/// Whether the members that were proposed at `proposed` are forgotten at a start.
fn is_forgotten(proposed: &str, current: i64, last: i64) -> bool {
    let config = NodeConfig { reconfig_enabled: true, ..NodeConfig::new(PeerId(1), 200) };
    let parse = |text: String| EnsembleConfig::parse(&text).unwrap();
    let active = parse("server.1=a:1:2\nserver.2=b:1:2\nversion=100000001".to_owned());
    let next = parse(format!("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion={proposed}"));
    let configs = Configs { last_seen: Some(next.into()), ..Configs::new(active) };
    let tree = Tree::new(TreeOptions { extended_types: false, digest: true, hash_seed: 7 });
    let start = Start {
        accepted: Epoch(current),
        current: Epoch(current),
        last: Zxid(last),
        recent: Vec::new(),
        may_vote: true,
        initialized: false,
    };
    let mut node = Node::member(config, configs, PipelineConfig::default(), start, &tree);
    let now = Now { mono: 0, wall: 0 };
    let (mut withdrawn, mut asked) = (false, Vec::new());
    while let Some(output) = node.poll(now, &tree) {
        match output {
            Output::Withdrawn => {
                assert!(asked.is_empty(), "the election does not count them");
                withdrawn = true;
            }
            Output::Notify { to, .. } => asked.push(to.0),
            _ => {}
        }
    }
    assert_eq!(node.configs().last_seen.is_none(), withdrawn);
    assert_eq!(asked.contains(&3), !withdrawn);
    withdrawn
}

#[test]
fn proposed_members_count_as_long_as_they_are_in_the_history() {
    assert!(is_forgotten("100000007", 1, 0x1_0000_0006));
    assert!(!is_forgotten("100000007", 1, 0x1_0000_0007));
    assert!(!is_forgotten("100000007", 2, 0x1_0000_0006));
    // A blank disk may have lost it.
    assert!(!is_forgotten("100000007", 0, 0));
}
