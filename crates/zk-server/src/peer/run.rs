//! The thread's main loop.

use std::sync::Arc;

use crossbeam_channel::Sender;
use tokio::sync::mpsc;

use super::{PeerCommand, PeerConfig, PeerCounters, PeerEvent, SnapSinks};

/// Runs until [`PeerCommand::Stop`] or until the handle is gone.
pub fn run(
    _config: PeerConfig,
    _sinks: SnapSinks,
    mut commands: mpsc::Receiver<Vec<PeerCommand>>,
    _events: Sender<PeerEvent>,
    _counters: Arc<PeerCounters>,
) {
    while let Some(batch) = commands.blocking_recv() {
        if batch.iter().any(|c| matches!(c, PeerCommand::Stop)) {
            return;
        }
    }
}
