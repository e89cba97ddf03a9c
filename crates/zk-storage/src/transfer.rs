//! Data directories to and from Java.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::StorageConfig;
use crate::disk;
use crate::epoch::EpochFile;
use crate::error::{Result, StorageError};
use crate::mirror::{self, DirLock};
use crate::names::{self, VERSION_DIR};
use crate::progress::Progress;
use crate::recovery::{Report, load_state, recover};
use crate::snapshot_file::{self, Compression};

/// Writes a directory that Java starts on: one snapshot with all its sections,
/// epoch files and myid, no logs. The server of `config` must not run. Returns
/// the snapshot's path.
pub fn export(
    config: &StorageConfig,
    out_dir: &Path,
    compression: Compression,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let version_dir = config.snap_version_dir();
    if !version_dir.is_dir() {
        return Err(StorageError::NoDirectory { path: version_dir });
    }
    config.check_directories()?;
    let lock = DirLock::take(&version_dir)?;
    let state = load_state(config, Some(lock), progress)?;
    let out = new_directory(out_dir)?;
    copy_small(&config.data_dir, out_dir)?;
    snapshot_file::write_tree(&state.tree, &out, compression, progress)
}

/// Fills an empty directory from one of Java's (or of this server's), which is
/// only read. `from.log_dir` is its dataLogDir. The Java server must not run.
pub fn import(
    from: &StorageConfig,
    config: &StorageConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Report> {
    let source = from.snap_version_dir();
    if !source.is_dir() {
        return Err(StorageError::NoDirectory { path: source });
    }
    from.check_directories()?;
    // A Java directory is not touched, not even by a lock of ours.
    let lock = if mirror::exists(&source) { Some(DirLock::take(&source)?) } else { None };
    let state = load_state(from, lock, progress)?;
    let out = new_directory(&config.data_dir)?;
    let log = config.log_version_dir();
    disk::create_dir_all(&log)?;
    if !names::list(&log, names::LOG)?.is_empty() {
        return Err(StorageError::NotEmpty { path: log });
    }
    snapshot_file::write_tree(&state.tree, &out, Compression::None, progress)?;
    copy_small(&from.data_dir, &config.data_dir)?;
    let mut report = state.report;
    drop(state.tree);
    report.orphans = recover(config, progress)?.report.orphans;
    Ok(report)
}

/// Makes `<dir>/version-2`, which must hold nothing yet.
fn new_directory(dir: &Path) -> Result<PathBuf> {
    let out = dir.join(VERSION_DIR);
    if !names::entries(&out)?.is_empty() {
        return Err(StorageError::NotEmpty { path: out });
    }
    disk::create_dir_all(&out)?;
    Ok(out)
}

/// Copies epochs and myid.
fn copy_small(from: &Path, to: &Path) -> Result<()> {
    let version = |name: &str| Path::new(VERSION_DIR).join(name);
    for name in
        [version(EpochFile::Current.name()), version(EpochFile::Accepted.name()), PathBuf::from("myid")]
    {
        let (source, target) = (from.join(&name), to.join(&name));
        let bytes = match fs::read(&source) {
            Ok(b) => b,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(StorageError::io("read", &source, e)),
        };
        disk::replace(&target, &target.with_extension("tmp"), &bytes)?;
    }
    Ok(())
}
