//! How far a long piece of work is, on one line of a terminal.

use std::io::{IsTerminal, Write as _, stderr};
use std::time::{Duration, Instant};

use zk_storage::Progress;

/// Writes to a terminal only, and not more often than a reader can follow.
#[derive(Debug)]
pub struct Terminal {
    is_terminal: bool,
    last: Option<Instant>,
}

const PAUSE: Duration = Duration::from_millis(100);

impl Terminal {
    /// On standard error.
    pub fn new() -> Self {
        Self { is_terminal: stderr().is_terminal(), last: None }
    }

    /// Shows a step.
    pub fn show(&mut self, progress: Progress<'_>) {
        if !self.is_terminal || self.last.is_some_and(|l| l.elapsed() < PAUSE) {
            return;
        }
        self.last = Some(Instant::now());
        let _ = write!(stderr(), "\r\x1b[K{}", text(progress));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn text(progress: Progress<'_>) -> String {
    let share = |nodes: u64, total: u64| match total {
        0 => format!("{nodes} nodes"),
        total => format!("{nodes} of {total} nodes, {} %", nodes * 100 / total),
    };
    match progress {
        Progress::ReadingMirror { nodes } => format!("reading the data, {nodes} nodes"),
        Progress::ReadingSnapshot { path, nodes } => format!("reading {}, {nodes} nodes", path.display()),
        Progress::ReplayingLog { transactions, zxid } => {
            format!("reading the log, {transactions} transactions, at {zxid}")
        }
        Progress::WritingMirror { nodes, total } => format!("writing the data, {}", share(nodes, total)),
        Progress::WritingSnapshot { nodes, total } => {
            format!("writing the snapshot, {}", share(nodes, total))
        }
        Progress::Copying { path, bytes, total } => {
            format!("copying {}, {}", path.display(), part(bytes, total))
        }
        Progress::Checking { path, bytes, total } => {
            format!("checking {}, {}", path.display(), part(bytes, total))
        }
        _ => String::new(),
    }
}

fn part(bytes: u64, total: u64) -> String {
    format!("{} of {} MB", bytes >> 20, total.div_ceil(1 << 20))
}
