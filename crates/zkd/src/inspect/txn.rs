//! A transaction in words.

use serde_json::{Map, Value, json};
use zk_proto::txn::{CreateTxn, LogEntry, Txn};
use zk_proto::{ErrorCode, OpCode};

use super::is_within;
use crate::out::{acl, put_data, quoted};

/// What it does, on one line; parts of a multi are separated by `; `.
pub fn text(txn: &Txn, with_data: bool) -> String {
    let data = |d: Option<&[u8]>| match d {
        None => "null".to_owned(),
        Some(d) if with_data => quoted(d),
        Some(d) => format!("{} bytes", d.len()),
    };
    match txn {
        Txn::CreateSession { timeout } => format!("time-out {timeout} ms"),
        Txn::CloseSession { paths: None } => "its ephemerals are not listed".to_owned(),
        Txn::CloseSession { paths: Some(paths) } => paths.join(" "),
        Txn::Create(CreateTxn { path, data: d, acl: list, ephemeral, ttl, .. }) => {
            let mut out = format!("{path} {}", data(d.as_deref()));
            out.push_str(&format!(" {}", acl(list.as_deref().unwrap_or_default())));
            if *ephemeral {
                out.push_str(" ephemeral");
            }
            if *ttl > 0 {
                out.push_str(&format!(" ttl {ttl} ms"));
            }
            out
        }
        Txn::Delete { path } => path.to_string(),
        Txn::SetData { path, data: d, version } => format!("{path} {} version {version}", data(d.as_deref())),
        Txn::SetAcl { path, acl: list, version } => {
            format!("{path} {} aversion {version}", acl(list.as_deref().unwrap_or_default()))
        }
        Txn::Check { path, version } => format!("{path} version {version}"),
        Txn::Error { err } => error(*err),
        Txn::Multi(subs) => {
            let one = |s: &zk_proto::txn::SubTxn| format!("{} {}", s.op.name(), text(&s.txn, with_data));
            subs.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}

fn error(err: i32) -> String {
    ErrorCode::from_i32(err).map_or_else(|| err.to_string(), |code| format!("{code:?} ({err})"))
}

/// The whole of it as an object.
pub fn json(entry: &LogEntry) -> Map<String, Value> {
    let h = &entry.header;
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("zxid", h.zxid.to_string().into());
    put("time", h.time.into());
    put("session", h.session.to_string().into());
    put("cxid", h.cxid.0.into());
    if let Some(d) = &entry.digest {
        put("digest", format!("{:#x}", d.tree).into());
    }
    out.append(&mut body(h.op, &entry.txn));
    out
}

fn body(op: OpCode, txn: &Txn) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("op".to_owned(), op.name().into());
    let lists = |list: &Option<Vec<zk_proto::Acl>>| acl(list.as_deref().unwrap_or_default());
    let more = match txn {
        Txn::CreateSession { timeout } => json!({ "timeout": timeout }),
        Txn::CloseSession { paths } => json!({ "paths": paths }),
        Txn::Create(c) => {
            put_data(&mut out, c.data.as_deref());
            json!({
                "path": *c.path, "acl": lists(&c.acl), "ephemeral": c.ephemeral,
                "parent_cversion": c.parent_cversion, "ttl": (c.ttl > 0).then_some(c.ttl),
            })
        }
        Txn::Delete { path } => json!({ "path": **path }),
        Txn::SetData { path, data, version } => {
            put_data(&mut out, data.as_deref());
            json!({ "path": **path, "version": version })
        }
        Txn::SetAcl { path, acl, version } => {
            json!({ "path": **path, "acl": lists(acl), "version": version })
        }
        Txn::Check { path, version } => json!({ "path": **path, "version": version }),
        Txn::Error { err } => json!({ "err": err }),
        Txn::Multi(subs) => json!({ "parts": subs.iter().map(|s| body(s.op, &s.txn)).collect::<Vec<_>>() }),
    };
    if let Value::Object(more) = more {
        out.extend(more);
    }
    out
}

/// Whether it names a node at or below `top`.
pub fn touches(txn: &Txn, top: &str) -> bool {
    match txn {
        Txn::Create(CreateTxn { path, .. })
        | Txn::Delete { path }
        | Txn::SetData { path, .. }
        | Txn::SetAcl { path, .. }
        | Txn::Check { path, .. } => is_within(path, top),
        Txn::CloseSession { paths } => paths.iter().flatten().any(|p| is_within(p, top)),
        Txn::Multi(subs) => subs.iter().any(|s| touches(&s.txn, top)),
        Txn::CreateSession { .. } | Txn::Error { .. } => false,
    }
}
