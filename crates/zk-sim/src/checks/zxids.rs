//! The zxid never goes back for a session.

use zk_proto::{SessionId, Zxid};

use super::Verdict;

/// A reply is not from before what the session has seen, on whatever server.
pub fn not_back(session: SessionId, seen: Zxid, zxid: Zxid) -> Verdict {
    match zxid >= seen || zxid <= Zxid::ZERO {
        true => Ok(()),
        false => Err(format!("session {session} saw {seen}, then {zxid}")),
    }
}
