//! Digests are equal at equal zxid.

use super::Verdict;
use super::committed::Entry;
use crate::state::Link;

/// The same transactions made the same tree.
pub fn same_digest(who: usize, entry: &Entry, link: &Link) -> Verdict {
    match entry.digest == link.digest {
        true => Ok(()),
        false => Err(format!("member {who} has {:x} at {}, not {:x}", link.digest, link.zxid, entry.digest)),
    }
}
