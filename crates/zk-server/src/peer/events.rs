//! The way to the core.

use crossbeam_channel::{Sender, TrySendError};

use super::PeerEvent;
use crate::limits;

/// The core does not listen any more: the thread is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Where events go.
#[derive(Debug, Clone)]
pub struct Events(pub Sender<PeerEvent>);

impl Events {
    /// Sends an event; waits while there is no room. The core's side of the
    /// channel can wake nobody here, so this looks again and again.
    pub async fn send(&self, event: PeerEvent) -> Result<(), Gone> {
        let mut event = event;
        loop {
            event = match self.0.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(event)) => event,
                Err(TrySendError::Disconnected(_)) => return Err(Gone),
            };
            tokio::time::sleep(limits::PEER_EVENTS_PAUSE).await;
        }
    }

    /// Sends an event if there is room. False: there is none.
    pub fn offer(&self, event: PeerEvent) -> bool {
        !matches!(self.0.try_send(event), Err(TrySendError::Full(_)))
    }
}
