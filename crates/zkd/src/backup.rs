//! `zkd backup` and `zkd restore`.

use serde_json::json;
use zk_config::Config;
use zk_storage::{Backup, BackupKind, Point, Range, StorageConfig, StorageError};

use crate::cli::{BackupArgs, BackupCommand, RestoreArgs};
use crate::out::{Colour, Out};
use crate::progress::Terminal;
use crate::{Exit, Failure, serve, times, transfer};

/// Takes a backup, or looks at one.
pub fn run(args: &BackupArgs) -> Result<(), Failure> {
    match &args.command {
        Some(BackupCommand::Verify { dir, json }) => verify(dir, *json),
        Some(BackupCommand::List { dir, json }) => {
            let backup = zk_storage::read_backup(dir).map_err(unusable)?;
            show(&backup, *json)
        }
        None => take(args),
    }
}

fn take(args: &BackupArgs) -> Result<(), Failure> {
    let Some(to) = &args.to else {
        let what = anyhow::anyhow!("say where the backup is: --to DIR");
        return Err(Failure::new(Exit::Invalid, what));
    };
    let source = transfer::storage(&args.data)?;
    let mut terminal = Terminal::new();
    let done = zk_storage::backup(&source, to, args.full, &mut |p| terminal.show(p)).map_err(unusable)?;
    drop(terminal);
    for note in &done.notes {
        eprintln!("zkd: note: {note}");
    }
    let mut out = Out::new();
    let Range { from, to: reach, to_ms, .. } = done.newest;
    if args.json {
        let value = json!({
            "backup": to.display().to_string(), "from": from.to_string(), "to": reach.to_string(),
            "to_time": to_ms, "snapshot": done.snapshot.map(|z| z.to_string()), "logs": done.logs,
            "bytes": done.bytes,
        });
        out.json(&value).map_err(unwritten)?;
    } else {
        let state = done.snapshot.map_or_else(String::new, |z| format!("a snapshot at {z} and "));
        out.line(&format!(
            "{}: {state}{} log files, {} bytes copied; restorable from {from} to {reach}{}",
            to.display(),
            done.logs,
            done.bytes,
            to_ms.map_or_else(String::new, |t| format!(" ({})", times::show(t)))
        ))
        .map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)
}

fn verify(dir: &std::path::Path, as_json: bool) -> Result<(), Failure> {
    let mut terminal = Terminal::new();
    let backup = zk_storage::verify_backup(dir, &mut |p| terminal.show(p)).map_err(unusable)?;
    drop(terminal);
    show(&backup, as_json)?;
    if !as_json {
        println!("{} files are sound", backup.files.len());
    }
    Ok(())
}

fn show(backup: &Backup, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::new();
    show_in(backup, as_json, &mut out).map_err(unwritten)
}

fn show_in(backup: &Backup, as_json: bool, out: &mut Out) -> std::io::Result<()> {
    for file in &backup.files {
        let (from, to, time) = match file.kind {
            BackupKind::Snapshot { zxid, settled } => (zxid, settled, None),
            BackupKind::Log { first, last, last_ms, .. } => (first, last, Some(last_ms)),
        };
        if as_json {
            out.json(&json!({
                "file": file.name, "bytes": file.bytes, "sha256": file.sha256, "from": from.to_string(),
                "to": to.to_string(), "to_time": time,
            }))?;
        } else {
            out.line(&format!(
                "{:<28} {:>12} bytes  {:<13} {:<13} {}",
                file.name,
                file.bytes,
                from.to_string(),
                to.to_string(),
                time.map_or_else(String::new, times::show)
            ))?;
        }
    }
    for Range { base, from, to, to_ms } in backup.ranges() {
        if as_json {
            out.json(&json!({ "range": {
                "snapshot": base.to_string(), "from": from.to_string(), "to": to.to_string(), "to_time": to_ms,
            }}))?;
        } else {
            let time = to_ms.map_or_else(String::new, |t| format!(" ({})", times::show(t)));
            out.line(&out.paint(Colour::Bold, &format!("restorable from {from} to {to}{time}")))?;
        }
    }
    out.flush()
}

/// Fills an empty data directory from a backup.
pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let mut target = StorageConfig::new(&args.data_dir);
    target.log_dir.clone_from(&args.log_dir);
    target.tree.extended_types = true;
    // Only the environment says whether digests are in use.
    if let Ok(loaded) = Config::standalone(&serve::env()) {
        target.tree.digest = zk_server::storage_config(&loaded.config).tree.digest;
    }
    let point = match (args.zxid, args.time) {
        (Some(zxid), _) => Point::Zxid(zxid),
        (None, Some(ms)) => Point::Time(ms),
        (None, None) => Point::Latest,
    };
    let mut terminal = Terminal::new();
    let done =
        zk_storage::restore(&args.from, &target, point, &mut |p| terminal.show(p)).map_err(unusable)?;
    drop(terminal);
    let mut out = Out::new();
    let digest = if done.confirmed { "confirmed by the log" } else { "not in the log" };
    if args.json {
        out.json(&json!({
            "data_dir": args.data_dir.display().to_string(), "zxid": done.zxid.to_string(), "time": done.time,
            "nodes": done.nodes, "replayed": done.replayed, "digest": format!("{:#x}", done.digest),
            "digest_confirmed": done.confirmed,
        }))
        .map_err(unwritten)?;
    } else {
        let time = done.time.map_or_else(String::new, |t| format!(" ({})", times::show(t)));
        out.line(&format!(
            "{}: the state at {}{time}, {} nodes, {} transactions replayed, digest {:#x} ({digest}); start with it as dataDir",
            args.data_dir.display(),
            done.zxid,
            done.nodes,
            done.replayed,
            done.digest
        ))
        .map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)
}

fn unusable(error: StorageError) -> Failure {
    Failure::new(Exit::Data, error)
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(Exit::Unexpected, error)
}
