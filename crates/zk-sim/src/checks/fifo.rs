//! Session FIFO: answers and effects come in the order of the requests.

use zk_proto::{ErrorCode, OpCode, Xid};

use super::{Committed, Verdict};

/// A reply answers the oldest request.
pub fn reply(client: usize, expected: Option<Xid>, xid: Xid) -> Verdict {
    match expected == Some(xid) {
        true => Ok(()),
        false => Err(format!("client {client} got the reply to {xid}, not to {expected:?}")),
    }
}

/// The newest committed write of a session was asked for behind all before it, and once.
/// A request that came the old way after the session had moved is refused in its place.
pub fn writes_in_order(committed: &mut Committed) -> Verdict {
    let Some(e) = committed.newest() else { return Ok(()) };
    let refused = e.error == Some(ErrorCode::SessionMoved.to_i32())
        || e.error == Some(ErrorCode::SessionExpired.to_i32());
    // A session may be ended from where it has been before, as in Java.
    if e.cxid.0 <= 0 || refused || e.op == OpCode::CloseSession {
        return Ok(());
    }
    let (session, cxid, zxid) = (e.session, e.cxid, e.zxid);
    match committed.numbers.insert(session, cxid) {
        Some(before) if before >= cxid => {
            Err(format!("write {cxid} of {session} was committed behind {before}, as {zxid}"))
        }
        _ => Ok(()),
    }
}
