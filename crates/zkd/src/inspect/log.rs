//! `zkd inspect log`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::json;
use zk_proto::{OpCode, Zxid};
use zk_storage::{LogFlaw, LogRecord, LogScan, Scanned, find_logs, follows};

use super::{txn, version_dir};
use crate::cli::InspectLogArgs;
use crate::out::{Colour, Out};
use crate::times;

/// What was seen so far.
#[derive(Default)]
struct Seen {
    shown: u64,
    records: u64,
    first: Option<Zxid>,
    last: Option<Zxid>,
    damaged: u64,
    torn: u64,
}

/// Shows one file, or all logs of a directory. True: nothing is damaged or missing.
pub fn run(args: &InspectLogArgs) -> Result<bool> {
    let mut out = Out::new();
    let mut seen = Seen::default();
    for path in files(&args.path)? {
        file(args, &path, &mut seen, &mut out)?;
        if out.is_closed() {
            return Ok(true);
        }
    }
    let Seen { shown, records, first, last, damaged, torn } = seen;
    let range = match (first, last) {
        (Some(a), Some(b)) => format!("{a} to {b}"),
        _ => "none".to_owned(),
    };
    if args.json {
        let (first, last) = (first.map(|z| z.to_string()), last.map(|z| z.to_string()));
        out.json(&json!({ "summary": {
            "records": records, "shown": shown, "first": first, "last": last, "damaged": damaged, "torn": torn,
        }}))?;
    } else {
        let text = format!("{records} transactions ({range}), {shown} shown, {damaged} damaged places");
        let text = if torn > 0 { format!("{text}, {torn} torn ends") } else { text };
        out.line(&out.paint(if damaged > 0 { Colour::Red } else { Colour::Bold }, &text))?;
    }
    out.flush()?;
    Ok(damaged == 0)
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let dir = version_dir(path);
    let logs = find_logs(&dir)?;
    if logs.is_empty() {
        bail!(
            "{} holds no log files; name a log file, or a dataLogDir (dataDir if there is none)",
            dir.display()
        );
    }
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

fn file(args: &InspectLogArgs, path: &Path, seen: &mut Seen, out: &mut Out) -> Result<()> {
    if !args.json {
        out.line(&out.paint(Colour::Bold, &path.display().to_string()))?;
    }
    for item in LogScan::open(path)? {
        match item? {
            Scanned::Flaw(flaw) => show_flaw(args, &flaw, seen, out)?,
            Scanned::Record(record) => {
                check_order(args, &record, seen, out)?;
                seen.records += 1;
                seen.first.get_or_insert(record.zxid);
                seen.last = Some(record.zxid);
                show_record(args, &record, seen, out)?;
            }
        }
        if out.is_closed() {
            break;
        }
    }
    Ok(())
}

fn show_flaw(args: &InspectLogArgs, flaw: &LogFlaw, seen: &mut Seen, out: &mut Out) -> Result<()> {
    let LogFlaw { path, offset, what, torn, resumes } = flaw;
    if *torn {
        seen.torn += 1;
    } else {
        seen.damaged += 1;
    }
    if args.json {
        let file = path.display().to_string();
        out.json(
            &json!({ "damage": what, "file": file, "offset": offset, "torn": torn, "resumes": resumes }),
        )?;
        return Ok(());
    }
    let end = match (torn, resumes) {
        (true, _) => "; a write that was cut short: a server leaves it out".to_owned(),
        (_, Some(at)) => format!("; sound again at {at}. A server refuses this file"),
        (_, None) => "; nothing sound follows. A server refuses this file".to_owned(),
    };
    let text = format!("{} at {offset}: {what}{end}", if *torn { "torn" } else { "DAMAGED" });
    out.line(&out.paint(if *torn { Colour::Yellow } else { Colour::Red }, &text))?;
    Ok(())
}

/// Says where transactions are missing or come in another order.
fn check_order(args: &InspectLogArgs, record: &LogRecord, seen: &mut Seen, out: &mut Out) -> Result<()> {
    let Some(last) = seen.last else { return Ok(()) };
    let zxid = record.zxid;
    // Java gives a request that it cannot decode the zxid of the one before.
    let repeated = zxid == last && record.header()?.op == OpCode::Error;
    if repeated || follows(last, zxid) {
        return Ok(());
    }
    seen.damaged += 1;
    let (file, offset) = (record.path.display().to_string(), record.offset);
    let what = match zxid > last {
        true => format!("transactions between {last} and {zxid} are missing"),
        false => format!("{zxid} comes after {last}"),
    };
    if args.json {
        out.json(
            &json!({ "damage": what, "file": file, "offset": offset, "torn": false, "resumes": offset }),
        )?;
    } else {
        out.line(&out.paint(Colour::Red, &format!("DAMAGED at {offset}: {what}")))?;
    }
    Ok(())
}

fn show_record(args: &InspectLogArgs, record: &LogRecord, seen: &mut Seen, out: &mut Out) -> Result<()> {
    let header = record.header()?;
    let range = &args.range;
    let wanted = range.from.is_none_or(|z| z <= record.zxid)
        && range.to.is_none_or(|z| record.zxid <= z)
        && range.since.is_none_or(|t| t <= header.time)
        && range.until.is_none_or(|t| header.time <= t)
        && args.session.is_none_or(|s| s == header.session);
    if !wanted {
        return Ok(());
    }
    let entry = match record.decode() {
        Ok(entry) => entry,
        Err(e) => {
            seen.damaged += 1;
            let text = e.to_string();
            match args.json {
                true => out.json(&json!({ "damage": text, "offset": record.offset, "torn": false }))?,
                false => {
                    out.line(&out.paint(Colour::Red, &format!("DAMAGED at {}: {text}", record.offset)))?
                }
            }
            return Ok(());
        }
    };
    if args.node.as_deref().is_some_and(|top| !txn::touches(&entry.txn, top)) {
        return Ok(());
    }
    seen.shown += 1;
    if args.json {
        let mut object = txn::json(&entry);
        object.insert("file".to_owned(), record.path.display().to_string().into());
        object.insert("offset".to_owned(), record.offset.into());
        out.json(&object.into())?;
        return Ok(());
    }
    let op = header.op.name();
    let op = if header.op == OpCode::Error {
        out.paint(Colour::Yellow, &format!("{op:<15}"))
    } else {
        format!("{op:<15}")
    };
    out.line(&format!(
        "{}  {}  {:<18}  {:>10}  {op} {}",
        out.paint(Colour::Dim, &times::show(header.time)),
        out.paint(Colour::Cyan, &format!("{:<13}", header.zxid.to_string())),
        header.session.to_string(),
        format!("{:#x}", header.cxid.0),
        txn::text(&entry.txn, args.data),
    ))?;
    Ok(())
}
