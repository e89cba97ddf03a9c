//! Agreement: a zxid stands for the same transaction everywhere.

use super::Verdict;
use super::committed::Entry;
use crate::state::Link;

/// A member applied what the others did. (Zab.tla: Agreement, Integrity)
pub fn same_bytes(who: usize, entry: &Entry, link: &Link) -> Verdict {
    match entry.bytes == link.bytes {
        true => Ok(()),
        false => Err(format!("member {who} has another transaction at {}", link.zxid)),
    }
}
