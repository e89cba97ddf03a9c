//! A member's files of who belongs to the ensemble. See [`zk_config::dynamic`].
//!
//! A failure is told and the member goes on, as in Java: what is in force is what a
//! quorum has agreed on, and a member that comes back with an older configuration hears
//! of the newer one in its election.

use std::path::{Path, PathBuf};

use zab::config::{Configs, EnsembleConfig};
use zk_config::config::Config;
use zk_config::dynamic;
use zk_proto::PeerId;

/// Where one member keeps them.
#[derive(Debug)]
pub struct DynamicFiles {
    me: PeerId,
    /// `None`: they are not kept, because nothing changes or there is no `zoo.cfg`.
    zoo_cfg: Option<PathBuf>,
}

impl DynamicFiles {
    /// Those of the member that a configuration describes. A `zoo.cfg` that still holds the
    /// members is copied before it is ever changed. ref: QuorumPeerConfig.parseProperties.
    pub fn of(config: &Config, me: PeerId) -> Self {
        let e = &config.ensemble;
        let zoo_cfg = config.file.clone().filter(|_| e.reconfig_enabled);
        if let Some(file) = zoo_cfg.as_ref().filter(|_| e.dynamic_file.is_none()) {
            let copied = read(file).and_then(|bytes| write(&dynamic::backup_file(file), &bytes));
            told("keep a copy of the configuration file", copied);
        }
        Self { me, zoo_cfg }
    }

    /// Whose they are.
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// A configuration was proposed. ref: QuorumPeer.setLastSeenQuorumVerifier.
    pub fn proposed(&self, config: &EnsembleConfig) {
        let Some(zoo_cfg) = &self.zoo_cfg else { return };
        let text = dynamic::dynamic_text(&config.to_text(), true);
        told("keep the proposed members", write(&dynamic::next_file(zoo_cfg), text.as_bytes()));
    }

    /// A configuration is in force: its file comes first, then what leads to it, and what was
    /// proposed goes last. ref: QuorumPeer.setQuorumVerifier.
    pub fn activated(&self, configs: &Configs) {
        let Some(zoo_cfg) = &self.zoo_cfg else { return };
        told("keep the members", self.write_active(zoo_cfg, &configs.active));
        if configs.last_seen.is_none() {
            self.withdrawn();
        }
    }

    /// What was proposed is no more.
    pub fn withdrawn(&self) {
        let Some(zoo_cfg) = &self.zoo_cfg else { return };
        let removed = zk_storage::remove_file(&dynamic::next_file(zoo_cfg)).map_err(|e| e.to_string());
        told("remove the proposed members", removed);
    }

    fn write_active(&self, zoo_cfg: &Path, active: &EnsembleConfig) -> Result<(), String> {
        let file = dynamic::version_file(zoo_cfg, active.version.0);
        write(&file, dynamic::dynamic_text(&active.to_text(), false).as_bytes())?;
        let target = std::fs::canonicalize(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let erase_client = active.members.get(&self.me).is_some_and(|m| m.client.is_some());
        write(zoo_cfg, &dynamic::static_text(&read(zoo_cfg)?, &target, erase_client))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    zk_storage::replace_file(file, bytes).map_err(|e| e.to_string())
}

fn told(what: &str, result: Result<(), String>) {
    if let Err(e) = result {
        tracing::error!(
            "cannot {what}: {e}; after a restart this server has older members until it hears of these"
        );
    }
}
