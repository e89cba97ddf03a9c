//! No acknowledged write is lost.

use std::collections::BTreeSet;

use zab::history::Record;
use zk_proto::{PeerId, SessionId, Xid, Zxid};

use super::{Committed, Verdict};
use crate::disk::Disk;

/// What a client was told is committed, under its name.
pub fn is_committed(committed: &Committed, session: SessionId, xid: Xid, zxid: Zxid) -> Verdict {
    match committed.find(zxid) {
        Some(e) if e.session == session && e.cxid == xid => Ok(()),
        Some(e) => Err(format!("{zxid} is {} of {}, not {xid} of {session}", e.cxid, e.session)),
        None => Err(format!("{xid} of {session} was acknowledged as {zxid}, which is not committed")),
    }
}

/// What is committed is on the disks of a quorum.
pub fn on_a_quorum<'a>(
    committed: &Committed,
    n: usize,
    disks: impl Iterator<Item = (PeerId, &'a Disk)>,
    quorum: impl Fn(&BTreeSet<PeerId>) -> bool,
) -> Verdict {
    let Some(e) = committed.get(n) else { return Ok(()) };
    let record = Record { zxid: e.zxid, bytes: e.bytes.clone() };
    let have: BTreeSet<_> = disks.filter(|(_, d)| d.has_durable(&record)).map(|(id, _)| id).collect();
    match quorum(&have) {
        true => Ok(()),
        false => Err(format!("{} was committed and is durable on {have:?} only", e.zxid)),
    }
}
