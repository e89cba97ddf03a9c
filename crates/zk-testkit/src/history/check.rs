//! The checker: each rule is a function over the record, and adds what it finds.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::{ErrorCode, SessionId, Stat};

use super::{Call, History, Op, Outcome};
use crate::tree::Tree;

/// What kind of promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// Two writes have one zxid.
    SharedZxid,
    /// A write has a smaller zxid than one that was acknowledged before it was sent.
    WriteOrder,
    /// A version stands twice, goes back, or is not the one that the write asked for.
    Version,
    /// A version is missing, and no write of unknown fate can have been it.
    Gap,
    /// A value that nobody wrote, or not under these numbers.
    Foreign,
    /// A write that was refused took effect.
    RefusedWrite,
    /// A value was read before its write was sent.
    Future,
    /// The zxid of a session went back.
    SessionOrder,
    /// A session read a state older than one that it had seen, its own writes included.
    StaleRead,
    /// A read after a sync is older than a write acknowledged before the sync was sent.
    StaleSync,
    /// An acknowledged write, or an acknowledged deletion, is gone in the end.
    Lost,
    /// Members differ in the end.
    Diverged,
    /// An ephemeral outlived its session, or a living session lost one.
    Ephemeral,
    /// A session did something after its end.
    DeadSession,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub broken: Broken,
    /// Who did what.
    pub text: String,
}

/// How strict to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A stale read after a sync is a violation. Java answers a sync without a
    /// quorum, so that a leader cut off a moment ago may answer it too early.
    pub strict_sync: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Stale reads after a sync, where they are only counted.
    pub stale_syncs: usize,
    /// Writes whose place in the order is known.
    pub placed: usize,
    /// Of these, how many had no acknowledgement.
    pub placed_unknown: usize,
}

impl Report {
    /// The first violations as text; empty: there are none.
    pub fn text(&self) -> String {
        let lines: Vec<String> =
            self.violations.iter().take(10).map(|v| format!("{:?}: {}", v.broken, v.text)).collect();
        match self.violations.len() {
            0 => String::new(),
            n => format!("{n} violations\n{}", lines.join("\n")),
        }
    }
}

/// A write's place in the order.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    op: &'a Op,
    stat: Stat,
}

struct Checker<'a> {
    history: &'a History,
    options: Options,
    /// Writes by the value that they carry.
    writers: BTreeMap<&'a str, &'a Op>,
    placed: BTreeMap<&'a str, Placed<'a>>,
    /// The same by node, in the order of their zxids.
    by_key: BTreeMap<&'a str, Vec<Placed<'a>>>,
    deletes: BTreeMap<&'a str, Vec<&'a Op>>,
    report: Report,
}

/// Checks a record. `ends` are the trees of all members, read when nothing
/// happened any more; sessions that are not among the ended ones still live then.
pub fn check(history: &History, ends: &[Tree], options: Options) -> Report {
    let mut c = Checker {
        history,
        options,
        writers: BTreeMap::new(),
        placed: BTreeMap::new(),
        by_key: BTreeMap::new(),
        deletes: BTreeMap::new(),
        report: Report::default(),
    };
    c.collect();
    c.place(ends);
    c.write_order();
    c.versions();
    c.sessions();
    c.syncs();
    c.ends(ends);
    c.report
}

impl<'a> Checker<'a> {
    fn found(&mut self, broken: Broken, text: String) {
        self.report.violations.push(Violation { broken, text });
    }

    fn collect(&mut self) {
        for op in &self.history.ops {
            if let Some(value) = op.call.value() {
                self.writers.insert(value, op);
            }
            if let Call::Delete { key } = &op.call {
                // A deletion that found nothing deleted nothing.
                if !matches!(op.outcome, Outcome::Failed { .. }) {
                    self.deletes.entry(key).or_default().push(op);
                }
            }
        }
    }

    /// Finds the place of each write: from its reply, or from what showed it.
    fn place(&mut self, ends: &[Tree]) {
        let history = self.history;
        for op in &history.ops {
            match (&op.call, &op.outcome) {
                (Call::Create { value, .. } | Call::Set { value, .. }, Outcome::Done { stat, zxid, .. }) => {
                    let Some(stat) = stat else { continue };
                    if stat.mzxid > *zxid {
                        self.found(Broken::Foreign, format!("a stat newer than its header: {op:?}"));
                    }
                    self.evidence(&op.call, value, *stat, u64::MAX);
                }
                (Call::Get { .. }, Outcome::Done { value: Some(value), stat: Some(stat), .. }) => {
                    self.evidence(&op.call, value, *stat, op.completed);
                }
                _ => {}
            }
        }
        let known: BTreeSet<String> =
            history.ops.iter().filter_map(|o| o.call.key()).map(str::to_owned).collect();
        for node in ends.iter().flatten().filter(|(path, _)| known.contains(*path)) {
            let value = String::from_utf8_lossy(node.1.data.as_deref().unwrap_or_default()).into_owned();
            self.evidence(&Call::Get { key: node.0.clone() }, &value, node.1.stat, u64::MAX);
        }
        for placed in self.placed.values() {
            let key = placed.op.call.key().expect("a write has a node");
            self.by_key.entry(key).or_default().push(*placed);
        }
        for writes in self.by_key.values_mut() {
            writes.sort_by_key(|w| w.stat.mzxid);
        }
        self.report.placed = self.placed.len();
        self.report.placed_unknown = self.placed.values().filter(|p| !p.op.done()).count();
    }

    /// The value was seen with these numbers.
    fn evidence(&mut self, by: &Call, value: &str, stat: Stat, completed: u64) {
        let Some((value, op)) = self.writers.get_key_value(value).map(|(v, o)| (*v, *o)) else {
            return self.found(Broken::Foreign, format!("nobody wrote {value:?} of {by:?}"));
        };
        if op.call.key() != by.key() {
            return self.found(Broken::Foreign, format!("{value:?} of {by:?} was written by {op:?}"));
        }
        if let Outcome::Failed { .. } = op.outcome {
            return self.found(Broken::RefusedWrite, format!("{op:?} was seen"));
        }
        if completed < op.invoked {
            return self.found(Broken::Future, format!("{op:?} was seen before it was sent"));
        }
        let numbers = |s: &Stat| (s.czxid, s.mzxid, s.version);
        match self.placed.get(value) {
            None => {
                self.placed.insert(value, Placed { op, stat });
            }
            Some(p) if numbers(&p.stat) == numbers(&stat) => {}
            Some(p) => {
                let text = format!("{op:?} stands at {:?} and at {:?}", numbers(&p.stat), numbers(&stat));
                self.found(Broken::Foreign, text);
            }
        }
    }

    /// Sorted by zxid, no write may come before one that was acknowledged before
    /// it was sent.
    fn write_order(&mut self) {
        let mut all: Vec<Placed<'a>> = self.placed.values().copied().collect();
        all.sort_by_key(|p| p.stat.mzxid);
        let mut later: Option<&Op> = None;
        for pair in all.windows(2) {
            if pair[0].stat.mzxid == pair[1].stat.mzxid {
                let text = format!("{:?} and {:?}", pair[0].op, pair[1].op);
                self.found(Broken::SharedZxid, text);
            }
        }
        for p in all.iter().rev() {
            if let Some(l) = later.filter(|l| l.completed < p.op.invoked) {
                let text = format!("{:?} at {:#x} was sent after {l:?}", p.op, p.stat.mzxid);
                self.found(Broken::WriteOrder, text);
            }
            if later.is_none_or(|l| p.op.completed < l.completed) {
                later = Some(p.op);
            }
        }
    }

    /// The versions of each node go up one by one.
    fn versions(&mut self) {
        let mut found = Vec::new();
        for (key, writes) in &self.by_key {
            let mut gaps = 0;
            let mut creations = 0;
            for (i, w) in writes.iter().enumerate() {
                if let Call::Set { expected, .. } = &w.op.call
                    && *expected >= 0
                    && w.stat.version != expected + 1
                {
                    found.push((Broken::Version, format!("{:?} made {}", w.op, w.stat.version)));
                }
                if matches!(w.op.call, Call::Create { .. }) {
                    creations += 1;
                    if w.stat.version != 0 || w.stat.czxid != w.stat.mzxid {
                        found.push((Broken::Version, format!("{:?} made {:?}", w.op, w.stat)));
                    }
                }
                let before = i.checked_sub(1).and_then(|i| writes.get(i));
                let Some(before) = before.filter(|b| b.stat.czxid == w.stat.czxid) else {
                    gaps += i64::from(w.stat.version);
                    continue;
                };
                if w.stat.version <= before.stat.version {
                    let text = format!("{key}: {:?} after {:?}", w, before);
                    found.push((Broken::Version, text));
                } else {
                    gaps += i64::from(w.stat.version - before.stat.version - 1);
                }
            }
            let unknown = self.unplaced_sets(key);
            if gaps > unknown {
                found
                    .push((Broken::Gap, format!("{key}: {gaps} versions, {unknown} writes of unknown fate")));
            }
            let deletes = self.deletes.get(key).map_or(0, Vec::len);
            let ephemeral = writes.iter().any(|w| matches!(w.op.call, Call::Create { ephemeral: true, .. }));
            if creations > deletes + 1 && !ephemeral {
                let text = format!("{key} was made {creations} times and deleted {deletes} times");
                found.push((Broken::Version, text));
            }
        }
        found.into_iter().for_each(|(b, t)| self.found(b, t));
    }

    fn unplaced_sets(&self, key: &str) -> i64 {
        let of_key = |o: &&Op| o.outcome == Outcome::Unknown && o.call.key() == Some(key);
        let hidden =
            |o: &Op| matches!(&o.call, Call::Set { value, .. } if !self.placed.contains_key(value.as_str()));
        self.history.ops.iter().filter(of_key).filter(|o| hidden(o)).count() as i64
    }

    /// What each session saw never goes back.
    fn sessions(&mut self) {
        let mut seen: BTreeMap<SessionId, i64> = BTreeMap::new();
        let mut found = Vec::new();
        for op in &self.history.ops {
            let Some(zxid) = op.zxid() else { continue };
            if let Some(end) = self.history.ended.get(&op.session)
                && op.invoked > *end
                && op.done()
            {
                found.push((Broken::DeadSession, format!("{op:?} after the end of its session")));
            }
            let newest = seen.entry(op.session).or_insert(0);
            if zxid < *newest {
                found.push((Broken::SessionOrder, format!("{op:?} after {newest:#x} was seen")));
            }
            if let Call::Get { key } = &op.call
                && let Some(text) = self.stale(op, key, *newest)
            {
                found.push((Broken::StaleRead, text));
            }
            *newest = (*newest).max(zxid);
        }
        found.into_iter().for_each(|(b, t)| self.found(b, t));
    }

    /// Whether a read shows less than the state at `due`.
    fn stale(&self, op: &Op, key: &str, due: i64) -> Option<String> {
        let writes = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        let deletes = self.deletes.get(key).map(Vec::as_slice).unwrap_or_default();
        match &op.outcome {
            Outcome::Done { stat: Some(stat), zxid, .. } => {
                if stat.mzxid > *zxid {
                    return Some(format!("{op:?}: a stat newer than its header"));
                }
                let next = writes.iter().find(|w| w.stat.mzxid > stat.mzxid && w.stat.mzxid <= due);
                if let Some(w) = next {
                    return Some(format!("{op:?} at {due:#x} does not show {:?}", w.op));
                }
                let once = writes.iter().all(|w| w.stat.czxid == stat.czxid);
                let deleted = deletes.iter().find(|d| d.done() && d.zxid().is_some_and(|z| z <= due));
                deleted.filter(|_| once).map(|d| format!("{op:?} at {due:#x} does not show {d:?}"))
            }
            Outcome::Failed { code, .. } if *code == ErrorCode::NoNode.to_i32() => {
                let made = writes.iter().find(|w| w.stat.czxid <= due)?;
                let may_go = !deletes.is_empty()
                    || writes.iter().any(|w| matches!(w.op.call, Call::Create { ephemeral: true, .. }));
                (!may_go).then(|| format!("{op:?} at {due:#x} does not show {:?}", made.op))
            }
            _ => None,
        }
    }

    /// After a sync a read shows all that was acknowledged before it was sent.
    fn syncs(&mut self) {
        let due = self.acknowledged();
        let mut synced: BTreeMap<SessionId, u64> = BTreeMap::new();
        let mut stale = Vec::new();
        for op in self.history.ops.iter().filter(|o| o.zxid().is_some()) {
            match &op.call {
                Call::Sync if op.done() => {
                    synced.insert(op.session, op.invoked);
                }
                Call::Get { key } => {
                    let Some(at) = synced.get(&op.session) else { continue };
                    let writes = due.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
                    let before = writes.partition_point(|(completed, _)| completed < at);
                    let newest = before.checked_sub(1).and_then(|i| writes.get(i)).map(|(_, z)| *z);
                    if let Some(text) = newest.and_then(|z| self.stale(op, key, z)) {
                        stale.push(text);
                    }
                }
                _ => {}
            }
        }
        if self.options.strict_sync {
            stale.into_iter().for_each(|text| self.found(Broken::StaleSync, text));
        } else {
            self.report.stale_syncs = stale.len();
        }
    }

    /// For each node: when a write was acknowledged, and the largest zxid until then.
    fn acknowledged(&self) -> BTreeMap<&'a str, Vec<(u64, i64)>> {
        let mut out: BTreeMap<&str, Vec<(u64, i64)>> = BTreeMap::new();
        for (key, writes) in &self.by_key {
            let mut list: Vec<(u64, i64)> =
                writes.iter().filter(|w| w.op.done()).map(|w| (w.op.completed, w.stat.mzxid)).collect();
            list.sort_unstable();
            let mut newest = 0;
            for (_, zxid) in &mut list {
                newest = newest.max(*zxid);
                *zxid = newest;
            }
            out.insert(key, list);
        }
        out
    }

    fn ends(&mut self, ends: &[Tree]) {
        let mut found = Vec::new();
        for (member, tree) in ends.iter().enumerate() {
            for (key, writes) in &self.by_key {
                let shown = tree.get(*key).map(|n| n.stat);
                if let Some((broken, text)) = self.end(key, writes, shown) {
                    found.push((broken, format!("member {}: {text}", member + 1)));
                }
            }
        }
        for (key, writes) in &self.by_key {
            let mut shown = ends.iter().map(|t| t.get(*key));
            let first = shown.next();
            if shown.any(|s| Some(s) != first) {
                let text = format!("{key} differs among members, written by {:?}", writes.last());
                found.push((Broken::Diverged, text));
            }
        }
        found.into_iter().for_each(|(b, t)| self.found(b, t));
    }

    /// What is wrong with a node at the end.
    fn end(&self, key: &str, writes: &[Placed<'_>], shown: Option<Stat>) -> Option<(Broken, String)> {
        let deletes = self.deletes.get(key).map(Vec::as_slice).unwrap_or_default();
        let owner = writes.iter().find_map(|w| match w.op.call {
            Call::Create { ephemeral: true, .. } => Some(w.op.session),
            _ => None,
        });
        match shown {
            Some(stat) => {
                if owner.is_some_and(|o| self.history.ended.contains_key(&o)) {
                    return Some((Broken::Ephemeral, format!("{key} outlived {owner:?}")));
                }
                let newer = writes.iter().find(|w| w.op.done() && w.stat.mzxid > stat.mzxid);
                if let Some(w) = newer {
                    return Some((Broken::Lost, format!("{key} is at {:#x}, lost: {:?}", stat.mzxid, w.op)));
                }
                let once = writes.iter().all(|w| w.stat.czxid == stat.czxid);
                let deleted = deletes.iter().find(|d| d.done()).filter(|_| once);
                deleted.map(|d| (Broken::Lost, format!("{key} is there, lost: {d:?}")))
            }
            None if !deletes.is_empty() => None,
            None => match owner {
                Some(o) if self.history.ended.contains_key(&o) => None,
                Some(o) => Some((Broken::Ephemeral, format!("{key} is gone and {o} lives"))),
                None => {
                    let lost = writes.iter().find(|w| w.op.done())?;
                    Some((Broken::Lost, format!("{key} is gone, lost: {:?}", lost.op)))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;
