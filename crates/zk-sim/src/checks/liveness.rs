//! With a healthy quorum everybody gets on.

use zk_proto::{PeerId, Zxid};

use super::{Committed, Verdict};
use crate::clients::Client;

/// How long after the last fault everybody has to be back, in ticks.
pub const TICKS: u64 = 60;

/// Every member serves.
pub fn all_serve(mut members: impl Iterator<Item = (PeerId, bool)>) -> Verdict {
    match members.find(|(_, serves)| !serves) {
        None => Ok(()),
        Some((who, _)) => Err(format!("member {who} does not serve")),
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
pub fn all_equal(committed: &Committed, members: impl Iterator<Item = (PeerId, Zxid)>) -> Verdict {
    for (who, last) in members {
        if last != committed.last() {
            return Err(format!("member {who} is at {last}, not at {}", committed.last()));
        }
    }
    Ok(())
}
