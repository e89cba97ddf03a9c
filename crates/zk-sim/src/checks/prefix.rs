//! Prefix: what a member has applied is the beginning of what was committed.

use zk_proto::Epoch;

use super::committed::Entry;
use super::{Committed, Verdict};
use crate::state::{Chain, Link};

/// The n-th transaction of a member is the n-th one that was committed.
/// (Zab.tla: PrefixConsistency)
pub fn same_place(who: usize, entry: &Entry, link: &Link) -> Verdict {
    match entry.zxid == link.zxid {
        true => Ok(()),
        false => Err(format!("member {who} applied {} where {} was committed", link.zxid, entry.zxid)),
    }
}

/// A new leader begins with everything that was ever committed before its epoch. A later
/// epoch may have begun already: then this leader cannot commit anything.
pub fn leader_has_all(who: usize, epoch: Epoch, committed: &Committed, chain: &Chain) -> Verdict {
    let before = committed.last_before(epoch);
    match chain.last() >= before {
        true => Ok(()),
        false => Err(format!("member {who} leads with {}, {before} was committed", chain.last())),
    }
}
