//! A watch event comes before the reply that shows the change.

use std::collections::BTreeMap;

use zk_proto::Zxid;

use super::{Committed, Verdict};

/// A client that sees `zxid` has heard of all changes of what it watches.
pub fn none_overdue(
    committed: &Committed,
    client: usize,
    watches: &BTreeMap<String, Zxid>,
    zxid: Zxid,
) -> Verdict {
    for (path, set) in watches {
        if let Some(change) = committed.change(path, *set, zxid) {
            return Err(format!(
                "client {client} sees {zxid} and was not told that {path} changed in {change}"
            ));
        }
    }
    Ok(())
}

/// An event is of the first change behind the state that its watch was set on.
pub fn first_change(
    committed: &Committed,
    client: usize,
    path: &str,
    zxid: Zxid,
    set: Option<Zxid>,
) -> Verdict {
    let Some(set) = set else {
        return Err(format!("client {client} is told of {path}, which it does not watch"));
    };
    match committed.change(path, set, zxid) {
        Some(change) if change == zxid => Ok(()),
        first => Err(format!(
            "client {client} is told that {path} changed in {zxid}; since {set} it was {first:?}"
        )),
    }
}
