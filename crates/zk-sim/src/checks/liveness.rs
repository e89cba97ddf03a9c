//! With a healthy quorum everybody gets on.

use zk_proto::Zxid;

use super::{Committed, Verdict};
use crate::clients::Client;

/// How long after the last fault everybody has to be back, in ticks.
pub const TICKS: u64 = 60;

/// Every member serves.
pub fn all_serve(serving: &[bool]) -> Verdict {
    match serving.iter().position(|s| !s) {
        None => Ok(()),
        Some(who) => Err(format!("member {} does not serve", who + 1)),
    }
}

/// Every client was answered since.
pub fn all_answered(clients: &[Client], before: &[u64]) -> Verdict {
    match clients.iter().zip(before).find(|(c, before)| c.count.answers < **before + 3) {
        None => Ok(()),
        Some((c, before)) => Err(format!("client {} got {} answers", c.id, c.count.answers - before)),
    }
}

/// Every member has everything.
pub fn all_equal(committed: &Committed, last: impl Iterator<Item = Zxid>) -> Verdict {
    for (who, last) in last.enumerate() {
        if last != committed.last() {
            return Err(format!("member {} is at {last}, not at {}", who + 1, committed.last()));
        }
    }
    Ok(())
}
