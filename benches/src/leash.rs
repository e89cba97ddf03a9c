//! Turns that end.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Does a turn. If it is not through within `limit`, the processes are killed: a server that has lost its disk
/// or its memory may never answer, and the rows behind this one are to be measured all the same.
///
/// # Errors
/// Those of the turn, or that it took too long. A process that the turn itself starts is not known here.
pub fn within<T>(limit: Duration, pids: Vec<u32>, turn: impl FnOnce() -> Result<T>) -> Result<T> {
    let (through, end) = channel::<()>();
    let watch = thread::spawn(move || {
        let late = end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()).filter(|_| late) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        late
    });
    let result = turn();
    drop(through);
    if watch.join().expect("the watch does not panic") {
        let why = result.err().map_or(String::new(), |e| format!(": {e:#}"));
        bail!("it took more than {} s and was killed{why}", limit.as_secs());
    }
    result
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeps(seconds: &str, limit: Duration) -> Result<bool> {
        let mut child = Command::new("sleep").arg(seconds).stdin(Stdio::null()).spawn()?;
        within(limit, vec![child.id()], || Ok(child.wait()?.success()))
    }

    #[test]
    fn a_turn_without_end_is_ended() {
        let why = sleeps("600", Duration::from_millis(50)).expect_err("it takes ten minutes").to_string();
        assert!(why.contains("was killed"), "{why}");
    }

    #[test]
    fn others_are_let_be() {
        assert!(sleeps("0.1", Duration::from_secs(600)).expect("it ends by itself"));
    }
}
