//! Ephemeral nodes end with their session.

use zk_proto::OpCode;
use zk_tree::Tree;

use super::{Committed, Verdict};

/// Right behind the end of a session it owns nothing.
pub fn ended_with_session(committed: &Committed) -> Verdict {
    match committed.newest() {
        Some(e) if e.op == OpCode::CloseSession => {
            let left = committed.tree.ephemerals_of(e.session);
            match left.is_empty() {
                true => Ok(()),
                false => Err(format!("session {} has ended in {} and owns {left:?}", e.session, e.zxid)),
            }
        }
        _ => Ok(()),
    }
}

/// Every owner is a session that lives.
pub fn owners_live(who: usize, tree: &Tree) -> Verdict {
    let dead = tree.sessions_with_ephemerals().find(|s| tree.session_timeout(*s).is_none());
    match dead {
        None => Ok(()),
        Some(session) => Err(format!("member {who} has {:?} of {session}", tree.ephemerals_of(session))),
    }
}
