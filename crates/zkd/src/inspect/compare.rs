//! `zkd inspect compare`: what differs between two states.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::json;
use zk_proto::{Acl, SessionId, StatPersisted};
use zk_storage::{Mirror, SnapshotSink, find_snapshots, read_snapshot};

use super::{feed, is_within, version_dir};
use crate::cli::InspectCompareArgs;
use crate::out::{Colour, Out};

/// What is kept of a node.
#[derive(PartialEq, Eq)]
struct Node {
    stat: StatPersisted,
    data: Option<Bytes>,
    acl: Option<Vec<Acl>>,
}

#[derive(Default)]
struct State {
    acls: BTreeMap<i64, Vec<Acl>>,
    sessions: BTreeMap<SessionId, i32>,
    nodes: BTreeMap<String, Node>,
}

impl SnapshotSink for State {
    fn session(&mut self, id: SessionId, timeout: i32) {
        self.sessions.insert(id, timeout);
    }
    fn acl(&mut self, id: i64, list: Vec<Acl>) {
        self.acls.insert(id, list);
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_id: i64,
        stat: StatPersisted,
    ) -> std::result::Result<(), String> {
        let path = if path.is_empty() { "/" } else { path };
        let acl = self.acls.get(&acl_id).cloned();
        self.nodes.insert(path.to_owned(), Node { stat, data, acl });
        Ok(())
    }
}

/// A snapshot file; or of a directory the mirror, without one the newest snapshot.
fn read(path: &Path) -> Result<State> {
    let mut state = State::default();
    if !path.is_dir() {
        read_snapshot(path, &mut state, &mut |_| {})?;
        return Ok(state);
    }
    let dir = version_dir(path);
    if Mirror::dir(&dir).is_dir() {
        let reader = Mirror::open_to_read(&dir)?;
        feed(&reader.view()?, &mut state)?;
        return Ok(state);
    }
    match find_snapshots(&dir)?.first() {
        Some((_, newest)) => {
            read_snapshot(newest, &mut state, &mut |_| {})?;
            Ok(state)
        }
        None => bail!("{} holds neither a mirror nor a complete snapshot", dir.display()),
    }
}

/// Lists the nodes that are in one only, or differ. True: nothing differs.
pub fn run(args: &InspectCompareArgs) -> Result<bool> {
    let (left, right) = (read(&args.left)?, read(&args.right)?);
    let mut out = Out::new();
    let top = args.node.as_deref().unwrap_or("/");
    let mut counts = (0, 0, 0);
    let paths = left.nodes.keys().chain(right.nodes.keys().filter(|p| !left.nodes.contains_key(*p)));
    let mut paths: Vec<_> = paths.filter(|p| is_within(p, top)).collect();
    paths.sort();
    for path in paths {
        let (what, colour) = match (left.nodes.get(path), right.nodes.get(path)) {
            (Some(_), None) => {
                counts.0 += 1;
                ("only in the left one".to_owned(), Colour::Red)
            }
            (None, _) => {
                counts.1 += 1;
                ("only in the right one".to_owned(), Colour::Green)
            }
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => {
                counts.2 += 1;
                (differences(a, b), Colour::Yellow)
            }
        };
        if args.json {
            out.json(&json!({ "path": path, "difference": what }))?;
        } else {
            out.line(&format!("{path}  {}", out.paint(colour, &what)))?;
        }
    }
    let sessions = left.sessions.iter().filter(|(id, t)| right.sessions.get(id) != Some(t)).count()
        + right.sessions.keys().filter(|id| !left.sessions.contains_key(id)).count();
    let (only_left, only_right, differ) = counts;
    if args.json {
        out.json(&json!({ "summary": {
            "left": left.nodes.len(), "right": right.nodes.len(), "only_left": only_left,
            "only_right": only_right, "differ": differ, "sessions_differ": sessions,
        }}))?;
    } else {
        let text = format!(
            "{} and {} nodes: {only_left} only in the left one, {only_right} only in the right one, {differ} differ; {sessions} sessions differ",
            left.nodes.len(),
            right.nodes.len()
        );
        out.line(&out.paint(Colour::Bold, &text))?;
    }
    out.flush().context("standard output")?;
    Ok(counts == (0, 0, 0) && sessions == 0)
}

fn differences(a: &Node, b: &Node) -> String {
    let mut out = Vec::new();
    if a.data != b.data {
        let len = |n: &Node| n.data.as_ref().map_or_else(|| "null".to_owned(), |d| d.len().to_string());
        out.push(format!("data ({} and {} bytes)", len(a), len(b)));
    }
    if a.acl != b.acl {
        out.push("acl".to_owned());
    }
    let (s, t) = (&a.stat, &b.stat);
    for (name, x, y) in [
        ("czxid", s.czxid, t.czxid),
        ("mzxid", s.mzxid, t.mzxid),
        ("pzxid", s.pzxid, t.pzxid),
        ("owner", s.ephemeral_owner, t.ephemeral_owner),
    ] {
        if x != y {
            out.push(format!("{name} {x:#x} and {y:#x}"));
        }
    }
    for (name, x, y) in [
        ("version", i64::from(s.version), i64::from(t.version)),
        ("cversion", i64::from(s.cversion), i64::from(t.cversion)),
        ("aversion", i64::from(s.aversion), i64::from(t.aversion)),
        ("ctime", s.ctime, t.ctime),
        ("mtime", s.mtime, t.mtime),
    ] {
        if x != y {
            out.push(format!("{name} {x} and {y}"));
        }
    }
    out.join(", ")
}
