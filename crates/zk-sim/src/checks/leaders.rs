//! One leader an epoch.

use std::collections::BTreeMap;

use zk_proto::Epoch;

use super::Verdict;

/// Nobody else has led in this epoch. (Zab.tla: Leadership)
pub fn only_one(leaders: &mut BTreeMap<Epoch, usize>, who: usize, epoch: Epoch) -> Verdict {
    match leaders.insert(epoch, who) {
        None => Ok(()),
        Some(other) => Err(format!("epoch {} of member {who} was led by member {other}", epoch.0)),
    }
}
