//! Each file of `scenarios/` is a bug that a server of this protocol had once.

use std::fs;
use std::path::Path;

#[test]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10);
    let mut failed = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (result, _) = zk_sim::scenario::run(&text, None, false);
        if let Err(why) = result {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            failed.push(format!(
                "{name}: {why}\n  cargo run -p zk-sim --release -- --scenario {} --trace",
                file.display()
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What a scenario is about must be what it tests: with the bug put back it fails.
#[test]
fn scenarios_fail_with_their_bug() {
    use zk_sim::Plant;
    for (file, plant) in [
        ("zookeeper_3023_diff_durable_before_ack", Plant::LazyHistory),
        ("zookeeper_3642_snapshot_durable_before_told", Plant::VolatileSnapshot),
        ("zookeeper_3911_history_of_a_quorum", Plant::LazyHistory),
        ("zookeeper_4643_epoch_behind_the_history", Plant::LazyHistory),
        ("zookeeper_4646_whole_ensemble_down", Plant::LazyHistory),
        ("wiped_member_waits", Plant::BlankVotes),
        ("leader_hands_over", Plant::LeaveAtOnce),
        ("leader_hands_over_while_clients_write", Plant::LeaveAtOnce),
        ("client_moves_to_an_old_leader", Plant::LetPastClientsIn),
        ("reconfig_follower_killed", Plant::ActivateEarly),
        ("reconfig_follower_killed", Plant::ForgetProposed),
        ("reconfig_names_who_has_it", Plant::DesignateAnybody),
        ("reconfig_waits_for_new_voters", Plant::OldQuorumOnly),
    ] {
        let path = format!("{}/scenarios/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).unwrap();
        assert!(zk_sim::scenario::run(&text, Some(plant), false).0.is_err(), "{file} with {plant:?}");
    }
}
