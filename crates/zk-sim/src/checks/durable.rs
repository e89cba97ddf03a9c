//! No acknowledged write is lost.

use std::collections::BTreeSet;

use zab::config::EnsembleConfig;
use zab::history::Record;
use zk_proto::{PeerId, SessionId, Xid, Zxid};

use super::{Committed, Verdict};

/// What a client was told is committed, under its name.
pub fn is_committed(committed: &Committed, session: SessionId, xid: Xid, zxid: Zxid) -> Verdict {
    match committed.find(zxid) {
        Some(e) if e.session == session && e.cxid == xid => Ok(()),
        Some(e) => Err(format!("{zxid} is {} of {}, not {xid} of {session}", e.cxid, e.session)),
        None => Err(format!("{xid} of {session} was acknowledged as {zxid}, which is not committed")),
    }
}

/// What is committed is on the disks of a quorum, or was when these were not lost. The members
/// are those in force now: who votes in a new configuration has had everything before it.
pub fn on_a_quorum(zxid: Zxid, have: &BTreeSet<PeerId>, members: &EnsembleConfig) -> Verdict {
    match members.has_quorum(have) {
        true => Ok(()),
        false => Err(format!("{zxid} was committed and is durable on {have:?} only")),
    }
}

/// Who leaves the office in its time leaves nothing behind that only it has.
pub fn handed_over(who: PeerId, last: &Record, have: &BTreeSet<PeerId>, members: &EnsembleConfig) -> Verdict {
    match members.has_quorum(have) {
        true => Ok(()),
        false => Err(format!("leader {who} has gone, and {} is durable on {have:?} only", last.zxid)),
    }
}

/// Whom a reconfiguration names as the next leader has it.
pub fn designated(next: PeerId, reconfig: &Record, have: &BTreeSet<PeerId>) -> Verdict {
    match have.contains(&next) {
        true => Ok(()),
        false => {
            Err(format!("{next} is to lead behind {}, which is durable on {have:?} only", reconfig.zxid))
        }
    }
}
