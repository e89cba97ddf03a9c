//! Notes when a server writes its tree: Java a snapshot, zkd a part of its mirror.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sample::Sample;

/// Between two looks at the directories.
const LOOK: Duration = Duration::from_millis(50);

/// Looks at directories beside a load.
#[derive(Debug)]
pub struct SnapshotWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

impl SnapshotWatch {
    /// Begins to look.
    pub fn start(dirs: Vec<PathBuf>) -> SnapshotWatch {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = HashMap::new();
            dirs.iter().for_each(|dir| {
                grown(dir, &mut seen);
            });
            let mut times = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                // All are looked at, whatever the first ones say.
                if dirs.iter().filter(|dir| grown(dir, &mut seen)).count() > 0 {
                    times.push(Instant::now());
                }
            }
            times
        });
        SnapshotWatch { stop, thread }
    }

    /// Marks the tenths of a second in which something was written, and tells the longest times
    /// inside of them and outside. The load has just ended, and its last `time` counted.
    pub fn finish(self, time: Duration, sample: &mut Sample) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.thread.join().map_err(|_| anyhow::anyhow!("the thread that looks died"))?;
        let timeline = sample.timeline.as_mut().context("a load has a timeline")?;
        let begin = sample.begun.context("a load has a begin")?;
        for when in times.iter().filter_map(|t| t.checked_duration_since(begin)).filter(|t| *t < time) {
            let slot = (when.as_nanos() / zk_load::SLOT.as_nanos()) as usize;
            // It was written some time before it was seen, and the request that met it may be due earlier.
            for mark in timeline.marks.iter_mut().take(slot + 1).skip(slot.saturating_sub(1)) {
                *mark = true;
            }
        }
        let longest = |inside: bool| {
            let slots = timeline.worst_ms.iter().zip(&timeline.marks).filter(|(_, m)| **m == inside);
            slots.map(|(worst, _)| *worst).fold(0.0, f64::max)
        };
        let (inside, outside) = (longest(true), longest(false));
        ensure!(
            inside > 0.0 && outside > 0.0,
            "a turn needs snapshots and time between them: {inside}, {outside}"
        );
        let share = timeline.marks.iter().filter(|m| **m).count() as f64 / timeline.marks.len() as f64;
        sample.set("max_inside_us", inside * 1e3);
        sample.set("max_outside_us", outside * 1e3);
        sample.set("inside_to_outside", inside / outside);
        sample.set("snapshot_share", share);
        Ok(())
    }
}

/// Whether a file with a part of the tree has another size than before.
fn grown(dir: &Path, seen: &mut HashMap<PathBuf, u64>) -> bool {
    let mut any = false;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            any |= grown(&path, seen);
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snapshot.") || name.ends_with(".sst") {
            any |= seen.insert(path, meta.len()) != Some(meta.len());
        }
    }
    any
}
