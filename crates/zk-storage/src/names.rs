//! Which files of a directory are ours, and their order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zk_proto::Zxid;

use crate::error::{Result, StorageError};

/// The directory below dataDir and dataLogDir that holds everything.
/// ref: FileTxnSnapLog.version, VERSION.
pub(crate) const VERSION_DIR: &str = "version-2";
pub(crate) const LOG: &str = "log";
pub(crate) const SNAPSHOT: &str = "snapshot";
/// Before a name while the file is being written. Its first part is not
/// `snapshot`, so Java does not see it.
pub(crate) const TMP_PREFIX: &str = "tmp.";

/// The zxid of a name such as `log.1f` or `snapshot.1f.gz`. Further parts are
/// allowed. ref: Util.getZxidFromName.
pub(crate) fn zxid(name: &str, prefix: &str) -> Option<Zxid> {
    let mut parts = name.split('.');
    if parts.next() != Some(prefix) {
        return None;
    }
    i64::from_str_radix(parts.next()?, 16).ok().map(Zxid)
}

/// Whether a name begins as files of this kind do, sound or not.
pub(crate) fn is_kind(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

/// Files of one kind, oldest first. A directory that is not there is empty.
pub(crate) fn list(dir: &Path, prefix: &str) -> Result<Vec<(Zxid, PathBuf)>> {
    let mut out = Vec::new();
    for (name, path) in entries(dir)? {
        // A directory by that name is nothing that a server wrote.
        if let Some(z) = zxid(&name, prefix)
            && path.is_file()
        {
            out.push((z, path));
        }
    }
    out.sort();
    Ok(out)
}

/// Names in a directory that are text.
pub(crate) fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let fail = |e| StorageError::io("list", dir, e);
    let listing = match fs::read_dir(dir) {
        Ok(l) => l,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut out = Vec::new();
    for entry in listing {
        let entry = entry.map_err(fail)?;
        if let Ok(name) = entry.file_name().into_string() {
            out.push((name, entry.path()));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_java_does() {
        assert_eq!(zxid("log.1f", LOG), Some(Zxid(0x1f)));
        assert_eq!(zxid("snapshot.100000039.gz", SNAPSHOT), Some(Zxid(0x1_0000_0039)));
        for bad in [
            "log",
            "log.",
            "log.x",
            "snapshot.1",
            "tmp.log.1",
            "log.1ffffffffffffffff",
            "logs.1",
            "log.\u{e4}",
        ] {
            assert_eq!(zxid(bad, LOG), None, "{bad}");
        }
    }
}
