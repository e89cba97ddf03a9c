//! A read shows the state that its reply names.

use bytes::Bytes;
use zk_proto::{Stat, Zxid};

use super::{Committed, Verdict};

/// Data and stat are those of the committed state `zxid`.
pub fn as_committed(
    committed: &Committed,
    client: usize,
    path: &str,
    zxid: Zxid,
    data: Option<&Bytes>,
    stat: Option<&Stat>,
) -> Verdict {
    let versions = committed.versions(path);
    let n = versions.partition_point(|v| v.zxid <= zxid);
    let then = n.checked_sub(1).and_then(|n| versions[n].node.as_ref());
    let same = match (then, stat) {
        (None, None) => true,
        (Some((value, was)), Some(is)) => {
            (was.czxid, was.mzxid, was.version, was.ephemeral_owner)
                == (is.czxid, is.mzxid, is.version, is.ephemeral_owner)
                && data.is_none_or(|d| d == value)
        }
        _ => false,
    };
    match same {
        true => Ok(()),
        false => Err(format!("client {client} read {path} at {zxid}: {data:?} {stat:?}, not {then:?}")),
    }
}
