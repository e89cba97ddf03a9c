//! `zkd inspect`: what logs, snapshots and the mirror hold. Nothing is ever written.
//!
//! ref: TxnLogToolkit, SnapshotFormatter, SnapshotComparer, whose content this shows.

mod compare;
mod log;
mod state;
mod txn;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use bytes::Bytes;
use zk_proto::{SessionId, StatPersisted, Zxid};
use zk_storage::{MirrorView, SnapshotSink, StorageError};

use crate::cli::InspectCommand;
use crate::{Exit, Failure};

/// Runs one of the commands.
pub fn run(command: &InspectCommand) -> Result<(), Failure> {
    let sound = match command {
        InspectCommand::Log(args) => log::run(args),
        InspectCommand::Snapshot(args) => state::snapshot(args),
        InspectCommand::Mirror(args) => state::mirror(args),
        InspectCommand::Compare(args) => compare::run(args),
    };
    match sound {
        Ok(true) => Ok(()),
        Ok(false) if matches!(command, InspectCommand::Compare(_)) => {
            Err(Failure::new(Exit::Unexpected, anyhow!("the two differ")))
        }
        Ok(false) => Err(Failure::new(Exit::Data, anyhow!("not everything is sound, see above"))),
        Err(e) => Err(Failure::new(Exit::Data, e)),
    }
}

/// The directory that holds the files: a dataDir's `version-2`, or the directory itself.
fn version_dir(dir: &Path) -> PathBuf {
    let below = dir.join("version-2");
    if below.is_dir() { below } else { dir.to_owned() }
}

/// Hands all of the mirror on. A sink that fails ends it.
fn feed(state: &MirrorView<'_>, sink: &mut impl SnapshotSink) -> anyhow::Result<()> {
    for (id, timeout) in state.sessions()? {
        sink.session(id, timeout);
    }
    for (id, list) in state.acls()? {
        sink.acl(id, list);
    }
    let node = |path: &str, data: Option<&[u8]>, acl_id, stat: &StatPersisted| {
        let fed = sink.node(path, data.map(Bytes::copy_from_slice), acl_id, *stat);
        fed.map_err(anyhow::Error::msg).map_err(Stop)
    };
    state.for_each_node(node).map_err(|Stop(e)| e)
}

struct Stop(anyhow::Error);

impl From<StorageError> for Stop {
    fn from(e: StorageError) -> Stop {
        Stop(e.into())
    }
}

/// A zxid or a session as people write them: `0x1f`, or decimal.
pub fn number(text: &str) -> Result<i64, anyhow::Error> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).map(u64::cast_signed),
        None => text.parse::<i64>(),
    };
    parsed.map_err(|_| anyhow!("{text:?} is no number; write 0x1f, as servers print it, or 31"))
}

/// A zxid on the command line.
pub fn zxid(text: &str) -> Result<Zxid, anyhow::Error> {
    number(text).map(Zxid)
}

/// A session on the command line.
pub fn session(text: &str) -> Result<SessionId, anyhow::Error> {
    number(text).map(SessionId)
}

/// Whether a path is `top` or below it.
fn is_within(path: &str, top: &str) -> bool {
    let path = if path.is_empty() { "/" } else { path };
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_paths() {
        assert_eq!(zxid("0x100000001").unwrap(), Zxid(0x1_0000_0001));
        assert_eq!(session("0xff00000000000001").unwrap().0, -0x00ff_ffff_ffff_ffff);
        assert!(zxid("zz").is_err());
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("", "/"));
        assert!(!is_within("/ab", "/a") && !is_within("/", "/a"));
    }
}
