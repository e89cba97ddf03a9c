//! Where messages go: standard error, as text or JSON, with a level that can change.

use std::io::{IsTerminal as _, stderr};
use std::sync::OnceLock;
use std::time::Instant;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};
use zk_config::config::LogFormat;

use crate::limits;

/// The process has one set of messages, and so one level.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Begins to log. `level` is a level, or directives such as `info,zab=debug`; what is neither counts as
/// `info`. To be called once.
pub fn start(format: LogFormat, level: &str) {
    let first = filter(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (layer, handle) = reload::Layer::new(first);
    let registry = tracing_subscriber::registry().with(layer);
    let lines = fmt::layer().with_writer(stderr);
    match format {
        LogFormat::Text => registry.with(lines.with_target(false).with_ansi(stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_current_span(false)).init(),
    }
    let _ = FILTER.set(handle);
}

/// Another level from now on: the hook for whoever may change it. What it takes is what [`start`] takes.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let handle = FILTER.get().ok_or("nothing is logged by this process")?;
    handle.reload(filter).map_err(|e| e.to_string())
}

/// Whether the audit log is written is not a matter of the level.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let level = level.trim().to_ascii_lowercase();
    EnvFilter::try_new(format!("{level},audit=info")).map_err(|e| format!("{level} is no level: {e}"))
}

/// Warnings about what others try again all the time: the same text is not repeated for a while.
#[derive(Debug, Default)]
pub struct Warnings {
    last: Mutex<Option<(String, Instant)>>,
}

impl Warnings {
    /// Warns, unless it has just done so.
    pub fn say(&self, text: &str) {
        let mut last = self.last.lock();
        if last.as_ref().is_none_or(|(said, at)| said != text || at.elapsed() > limits::WARN_AGAIN) {
            tracing::warn!("{text}");
            *last = Some((text.to_owned(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        for level in ["info", "DEBUG", "warn,zab=debug", " error "] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("zab=loud").is_err());
        assert!(set_level("debug").is_err(), "no start");
    }
}
