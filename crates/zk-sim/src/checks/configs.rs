//! Configurations: they follow each other, none is lost, and who is no voter commits nothing.

use zab::config::EnsembleConfig;
use zk_proto::{Epoch, PeerId, Zxid};

use super::Verdict;

/// All that were ever in force, in the order in which they came.
#[derive(Debug, Default)]
pub struct Configurations {
    /// With the epoch of the member that was the first to act by it.
    all: Vec<(Epoch, EnsembleConfig)>,
}

impl Configurations {
    /// The one that an ensemble begins with.
    pub fn begin(&mut self, config: EnsembleConfig) {
        self.all.push((Epoch(0), config));
    }

    /// How many changes there were, without the version that the first leader gives.
    pub fn changes(&self) -> usize {
        self.all.iter().filter(|(_, c)| c.version.counter() > 0).count()
    }

    /// The newest one.
    pub fn newest(&self) -> &EnsembleConfig {
        self.all.last().map(|(_, c)| c).expect("an ensemble begins with one")
    }

    /// A member acts by a configuration. If it is the first one to do so: the one before.
    pub fn activated(
        &mut self,
        epoch: Epoch,
        config: &EnsembleConfig,
    ) -> Result<Option<EnsembleConfig>, String> {
        let known = self.all.iter().find(|(_, c)| c.version == config.version);
        if let Some((_, known)) = known {
            return match known == config {
                true => Ok(None),
                false => Err(format!("there are two configurations {}", config.version)),
            };
        }
        let newest = self.newest().clone();
        if config.version < newest.version {
            return Err(format!("{} comes into force behind {}", config.version, newest.version));
        }
        self.all.push((epoch, config.clone()));
        Ok(Some(newest))
    }

    /// A leader knows what came into force before its epoch. A later one may have begun.
    pub fn not_lost(&self, who: usize, epoch: Epoch, active: &EnsembleConfig) -> Verdict {
        let before = self.all.iter().rev().find(|(e, _)| *e < epoch).map(|(_, c)| c.version);
        match before.is_none_or(|v| active.version >= v) {
            true => Ok(()),
            false => Err(format!("member {who} leads by {}, {before:?} was in force", active.version)),
        }
    }

    /// Who commits has a vote: in the last configuration before what it commits.
    pub fn may_commit(&self, who: PeerId, zxid: Zxid) -> Verdict {
        let then = self.all.iter().rev().map(|(_, c)| c).find(|c| c.version < zxid);
        match then.is_none_or(|c| c.is_voter(who)) {
            true => Ok(()),
            false => Err(format!("member {who} commits {zxid} and has no vote")),
        }
    }
}

/// A member does not go back to an older one.
pub fn goes_on(who: usize, before: &EnsembleConfig, config: &EnsembleConfig) -> Verdict {
    match config.version > before.version {
        true => Ok(()),
        false => Err(format!("member {who} acts by {} behind {}", config.version, before.version)),
    }
}

/// A configuration is in force when quorums of the one before and of itself know it for good.
pub fn known_to_quorums(
    before: &EnsembleConfig,
    config: &EnsembleConfig,
    know: &std::collections::BTreeSet<PeerId>,
) -> Verdict {
    match before.has_quorum(know) && config.has_quorum(know) {
        true => Ok(()),
        false => Err(format!("{} is in force and known to {know:?} only", config.version)),
    }
}
