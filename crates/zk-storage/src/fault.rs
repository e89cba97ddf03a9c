//! Places where the disk may fail.
//!
//! Every call that changes a log, an epoch file or a snapshot goes through
//! `disk`, which asks here first. In a normal build the question is an empty
//! inline function. With the feature `fault-points` the environment variable
//! `ZKD_FAULT=<k>:<kind>` makes the k-th call fail; kinds are `eio`, `enospc`,
//! `short` (half of a write, then an error) and `abort` (the process ends
//! there). Unit tests install a plan a thread, which can also cut the power:
//! everything that was not synced is gone.

use std::io;
use std::path::Path;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Open,
    Create,
    CreateDir,
    Write,
    SetLen,
    Sync,
    SyncDir,
    Rename,
    Remove,
}

/// What to do instead. Only tests and the feature ever make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "fault-points")), allow(dead_code))]
pub(crate) enum Verdict {
    /// Go on.
    Pass,
    /// Write half, then fail.
    Short,
}

#[cfg(not(any(test, feature = "fault-points")))]
#[inline(always)]
pub(crate) fn before(_op: Op, _path: &Path) -> io::Result<Verdict> {
    Ok(Verdict::Pass)
}

#[cfg(not(any(test, feature = "fault-points")))]
#[inline(always)]
pub(crate) fn after(_op: Op, _path: &Path, _from: Option<&Path>) {}

#[cfg(test)]
pub(crate) use on::{Kind, with_plan};
#[cfg(any(test, feature = "fault-points"))]
pub(crate) use on::{after, before};

#[cfg(any(test, feature = "fault-points"))]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// How the call fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Kind {
        /// Input/output error.
        Eio,
        /// No space left on device.
        Enospc,
        /// Half of a write happens; other calls fail.
        Short,
        /// The process ends before the call.
        Abort,
        /// The process ends before the call; all that was written stays.
        #[cfg(test)]
        Kill,
        /// The power goes before the call; what was not synced is lost.
        #[cfg(test)]
        PowerCut,
        /// As `PowerCut`, but half of the bytes that were not synced stay.
        #[cfg(test)]
        PowerCutTorn,
        /// As `PowerCut`, but of the bytes that were not synced only the first
        /// whole sector is lost.
        #[cfg(test)]
        PowerCutHole,
    }

    /// The plan of the process. ref: module text.
    fn from_env() -> Option<&'static (u64, Kind)> {
        static PLAN: OnceLock<Option<(u64, Kind)>> = OnceLock::new();
        PLAN.get_or_init(|| {
            let text = std::env::var("ZKD_FAULT").ok()?;
            let (k, kind) = text.split_once(':')?;
            let kind = match kind {
                "eio" => Kind::Eio,
                "enospc" => Kind::Enospc,
                "short" => Kind::Short,
                "abort" => Kind::Abort,
                _ => return None,
            };
            Some((k.parse().ok()?, kind))
        })
        .as_ref()
    }

    static CALLS: AtomicU64 = AtomicU64::new(0);

    pub(crate) fn before(op: Op, path: &Path) -> io::Result<Verdict> {
        #[cfg(test)]
        if let Some(verdict) = plan::before(op, path) {
            return verdict;
        }
        let Some((k, kind)) = from_env() else { return Ok(Verdict::Pass) };
        if CALLS.fetch_add(1, Ordering::Relaxed) + 1 != *k {
            return Ok(Verdict::Pass);
        }
        tracing::warn!(k, ?kind, ?op, path = %path.display(), "fault point");
        fail(*kind, op)
    }

    pub(crate) fn after(_op: Op, _path: &Path, _from: Option<&Path>) {
        #[cfg(test)]
        plan::after(_op, _path, _from);
    }

    fn fail(kind: Kind, op: Op) -> io::Result<Verdict> {
        match kind {
            Kind::Short if op == Op::Write => Ok(Verdict::Short),
            Kind::Eio | Kind::Short => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            Kind::Enospc => Err(io::Error::from_raw_os_error(nix::libc::ENOSPC)),
            Kind::Abort => std::process::abort(),
            #[cfg(test)]
            _ => Err(io::Error::other("the machine is off")),
        }
    }

    #[cfg(test)]
    pub(crate) use plan::with_plan;

    #[cfg(test)]
    mod plan {
        use std::cell::RefCell;
        use std::collections::BTreeMap;
        use std::fs;
        use std::path::PathBuf;

        use super::*;

        /// What a power cut leaves, by path. A name is durable when its
        /// directory was synced after it came or went, bytes when the file was.
        #[derive(Default)]
        struct Shadow {
            durable: BTreeMap<PathBuf, Option<Vec<u8>>>,
            synced: BTreeMap<PathBuf, Vec<u8>>,
        }

        struct Plan {
            fail_at: u64,
            kind: Kind,
            calls: u64,
            off: bool,
            shadow: Shadow,
        }

        thread_local! {
            static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
        }

        /// Runs `f` with the `fail_at`-th call failing (1 is the first), and
        /// says how many calls there were.
        pub(crate) fn with_plan<T>(fail_at: u64, kind: Kind, f: impl FnOnce() -> T) -> (T, u64) {
            let plan = Plan { fail_at, kind, calls: 0, off: false, shadow: Shadow::default() };
            PLAN.with(|p| *p.borrow_mut() = Some(plan));
            let out = f();
            let plan = PLAN.with(|p| p.borrow_mut().take()).expect("installed above");
            if plan.off {
                plan.shadow.apply(kind);
            }
            (out, plan.calls)
        }

        pub(super) fn before(op: Op, path: &Path) -> Option<io::Result<Verdict>> {
            PLAN.with(|p| {
                let mut p = p.borrow_mut();
                let plan = p.as_mut()?;
                plan.calls += 1;
                let cut = matches!(
                    plan.kind,
                    Kind::Kill | Kind::PowerCut | Kind::PowerCutTorn | Kind::PowerCutHole
                );
                if plan.off || (plan.calls == plan.fail_at && cut) {
                    plan.off = true;
                    return Some(fail(plan.kind, op));
                }
                if plan.calls == plan.fail_at {
                    return Some(fail(plan.kind, op));
                }
                if !matches!(op, Op::SyncDir | Op::CreateDir) {
                    plan.shadow.meet(path);
                }
                Some(Ok(Verdict::Pass))
            })
        }

        pub(super) fn after(op: Op, path: &Path, from: Option<&Path>) {
            PLAN.with(|p| {
                let mut p = p.borrow_mut();
                let Some(plan) = p.as_mut() else { return };
                plan.shadow.after(op, path, from);
            });
        }

        impl Shadow {
            /// Takes what is there before the first change as durable.
            fn meet(&mut self, path: &Path) {
                if !self.durable.contains_key(path) && !path.is_dir() {
                    let bytes = fs::read(path).ok();
                    if let Some(b) = &bytes {
                        self.synced.insert(path.to_owned(), b.clone());
                    }
                    self.durable.insert(path.to_owned(), bytes);
                }
            }

            fn after(&mut self, op: Op, path: &Path, from: Option<&Path>) {
                match op {
                    Op::Create => {
                        self.synced.insert(path.to_owned(), Vec::new());
                    }
                    Op::Sync => {
                        let bytes = fs::read(path).unwrap_or_default();
                        self.synced.insert(path.to_owned(), bytes.clone());
                        if let Some(Some(d)) = self.durable.get_mut(path) {
                            *d = bytes;
                        }
                    }
                    Op::Rename => {
                        let from = from.expect("a rename has a source");
                        let bytes = self.synced.remove(from).unwrap_or_else(|| {
                            // Nobody changed it before: it was durable.
                            let bytes = fs::read(path).unwrap_or_default();
                            self.durable.insert(from.to_owned(), Some(bytes.clone()));
                            bytes
                        });
                        self.synced.insert(path.to_owned(), bytes);
                        self.durable.entry(path.to_owned()).or_insert(None);
                    }
                    Op::SyncDir => {
                        for (file, durable) in &mut self.durable {
                            if file.parent() == Some(path) {
                                *durable =
                                    file.exists().then(|| self.synced.get(file).cloned().unwrap_or_default());
                            }
                        }
                    }
                    Op::Open | Op::CreateDir | Op::Write | Op::SetLen | Op::Remove => {}
                }
            }

            fn apply(self, kind: Kind) {
                for (path, durable) in self.durable {
                    match (kind, durable) {
                        (Kind::PowerCut | Kind::PowerCutTorn | Kind::PowerCutHole, None) => {
                            let _ = fs::remove_file(&path);
                        }
                        (Kind::PowerCut, Some(bytes)) => fs::write(&path, bytes).expect("test directory"),
                        (Kind::PowerCutTorn, Some(old)) => {
                            // A name comes or goes as a whole.
                            let kept = fs::read(&path).map_or(old.clone(), |new| torn(&old, &new));
                            fs::write(&path, kept).expect("test directory");
                        }
                        (Kind::PowerCutHole, Some(old)) => {
                            let kept = fs::read(&path).map_or(old.clone(), |new| holed(&old, new));
                            fs::write(&path, kept).expect("test directory");
                        }
                        _ => {}
                    }
                }
            }
        }

        /// `new` without the first whole sector of what it changed in `old`.
        fn holed(old: &[u8], mut new: Vec<u8>) -> Vec<u8> {
            let at = |b: &[u8], i: usize| b.get(i).copied().unwrap_or(0);
            let first = (0..new.len()).find(|i| at(old, *i) != at(&new, *i)).unwrap_or(new.len());
            let from = first.next_multiple_of(512).min(new.len());
            let to = (from + 512).min(new.len());
            for (i, b) in new[from..to].iter_mut().enumerate() {
                *b = at(old, from + i);
            }
            new
        }

        /// `old` with the first half of what `new` changed. A cut is done or not.
        fn torn(old: &[u8], new: &[u8]) -> Vec<u8> {
            if new.len() < old.len() && old.starts_with(new) {
                return old.to_vec();
            }
            let at = |b: &[u8], i: usize| b.get(i).copied().unwrap_or(0);
            let n = old.len().max(new.len());
            let changed: Vec<usize> = (0..n).filter(|i| at(old, *i) != at(new, *i)).collect();
            let mut out: Vec<u8> = (0..n).map(|i| at(old, i)).collect();
            for i in &changed[..changed.len() / 2] {
                out[*i] = at(new, *i);
            }
            out
        }
    }
}
