//! Total order: committed transactions follow each other without a hole.

use zk_proto::Zxid;

use super::Verdict;

/// The next committed transaction has the next counter or a later epoch.
/// (Zab.tla: TotalOrder, LocalPrimaryOrder, GlobalPrimaryOrder)
pub fn follows(who: usize, last: Zxid, next: Zxid) -> Verdict {
    match zab::history::follows(last, next) && (next.epoch() == last.epoch() || next.counter() == 1) {
        true => Ok(()),
        false => Err(format!("member {who} committed {next} behind {last}")),
    }
}
