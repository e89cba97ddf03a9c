//! From the configuration to a member of an ensemble.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Sender;
use zab::config::{Configs, EnsembleConfig};
use zab::history::Record;
use zab::leader::JOIN_BYTES;
use zk_admin::status::ConfMember;
use zk_config::config::Config;
use zk_config::members::{Membership, PeerType};
use zk_node::{Node, NodeConfig, Start};
use zk_pipeline::PipelineConfig;
use zk_proto::quorum::election::HelloVersion;
use zk_proto::quorum::snap::SnapItem;
use zk_proto::{Epoch, PeerId, Zxid};
use zk_storage::{EpochFile, SnapLoader};
use zk_tree::{Effects, Touched, Tree, TreeOptions};

use crate::core_loop::Control;
use crate::dynamic::DynamicFiles;
use crate::member::{Dial, Member, Rules};
use crate::meters::Meters;
use crate::peer::{self, PeerConfig, SnapSink};
use crate::recovery::{self, Recovered};
use crate::sasl::members::MemberLogins;
use crate::server::StartError;
use crate::tls::Members;
use crate::{clock, limits};

/// Who a member is, and with whom.
#[derive(Debug)]
pub struct Identity {
    me: PeerId,
    configs: Configs,
}

/// A member that is about to look for a leader.
#[derive(Debug)]
pub struct Joined {
    /// Its state machine.
    pub node: Node,
    /// Its means.
    pub member: Member,
    /// What its mirror lacks.
    pub held_back: Touched,
}

fn refuse(text: String) -> StartError {
    StartError::Unsupported(text)
}

/// The text in which members tell each other who they are. ref: QuorumMaj.toString.
pub fn text(membership: &Membership) -> String {
    let mut out = String::new();
    for (id, server) in &membership.servers {
        let _ = writeln!(out, "server.{id}={server}");
    }
    for (id, members) in &membership.groups {
        let members: Vec<String> = members.iter().map(i64::to_string).collect();
        let _ = writeln!(out, "group.{id}={}", members.join(":"));
    }
    for (id, weight) in &membership.weights {
        let _ = writeln!(out, "weight.{id}={weight}");
    }
    let _ = write!(out, "version={:x}", membership.version);
    out
}

/// What `conf` prints of a member.
pub fn conf(config: &Config) -> Option<ConfMember> {
    let e = &config.ensemble;
    if !e.is_distributed() {
        return None;
    }
    let mine = e.my_id.and_then(|id| e.membership.servers.get(&id));
    let addresses = mine.map(|s| s.addresses.clone()).unwrap_or_default();
    Some(ConfMember {
        init_limit: e.init_limit,
        sync_limit: e.sync_limit,
        election_ports: addresses.iter().map(|a| a.election_port).collect(),
        quorum_ports: addresses.iter().map(|a| a.quorum_port).collect(),
        observer: mine.is_some_and(|s| s.peer_type == PeerType::Observer),
        membership: EnsembleConfig::parse(&text(&e.membership)).ok().map(|c| c.to_text()),
    })
}

impl Identity {
    /// The member that a configuration describes; `None` for a server that stands alone.
    pub fn of(config: &Config) -> Result<Option<Self>, StartError> {
        let e = &config.ensemble;
        if !e.is_distributed() {
            return Ok(None);
        }
        let me = e.my_id.ok_or_else(|| {
            let dir = config.storage.data_dir.display();
            refuse(format!(
                "{dir}/myid is missing; write the number N of this member's server.N line into it"
            ))
        })?;
        // ref: QuorumPeer.start.
        if !e.membership.servers.contains_key(&me) {
            return Err(refuse(format!(
                "there is no server.{me} line for this member; add it, or correct myid in dataDir"
            )));
        }
        let parse = |m: &Membership| {
            EnsembleConfig::parse(&text(m)).map_err(|e| refuse(format!("the server lines do not fit: {e}")))
        };
        let last_seen = e.last_seen.as_ref().map(parse).transpose()?.map(Arc::new);
        let configs = Configs { last_seen, ..Configs::new(parse(&e.membership)?) };
        Ok(Some(Self { me: PeerId(me), configs }))
    }

    /// Looks for a reconfiguration that was logged and whose file was lost.
    fn see(&mut self, tree: &Tree, files: &DynamicFiles) {
        let logged = tree.get(zk_proto::path::CONFIG).and_then(|n| n.data());
        if logged.is_some_and(|text| self.configs.logged(text))
            && let Some(logged) = &self.configs.last_seen
        {
            tracing::warn!(version = %logged.version, "the log has newer members than the configuration's files");
            files.proposed(logged);
        }
    }

    /// Makes the member out of what its disk has.
    pub fn join(
        mut self,
        config: &Config,
        links: Links,
        pipeline: PipelineConfig,
        recovered: &mut Recovered,
        control: Sender<Control>,
        meters: Arc<Meters>,
    ) -> Result<Joined, StartError> {
        let storage = recovery::storage_config(config);
        let last = recovered.tree.last_zxid();
        let (accepted, current) = epochs(&storage, last)?;
        let mut held_back = std::mem::take(&mut recovered.held_back);
        let files = DynamicFiles::of(config, self.me);
        if config.ensemble.reconfig_enabled {
            self.see(&recovered.tree, &files);
        }
        let configs = self.configs;
        held_back.merge(&mut write_config(&mut recovered.tree, &configs.active).touched);
        let e = &config.ensemble;
        let node_config = NodeConfig {
            me: self.me,
            tick_ms: pipeline.tick_ms,
            init_limit: e.init_limit,
            sync_limit: e.sync_limit,
            reconfig_enabled: e.reconfig_enabled,
            notification_ms: [
                number(config, "zookeeper.fastleader.minNotificationInterval"),
                number(config, "zookeeper.fastleader.maxNotificationInterval"),
            ],
            standalone_enabled: e.standalone_enabled,
            multi_address: e.multi_address,
            force_snap: property(config, "zookeeper.forceSnapshotSync") == Some("true"),
            commit_log_count: property(config, "zookeeper.commitLogCount").and_then(|n| n.parse().ok()),
            read_only: config.admin.read_only_mode,
            observer_master: e.observer_master_port.is_some(),
            reconnect_delay_ms: number(config, "zookeeper.observer.reconnectDelayMs").unwrap_or(0),
            join_bytes: JOIN_BYTES,
        };
        let recent = std::mem::take(&mut recovered.recent);
        let start = Start {
            accepted,
            current,
            last,
            recent: recent.into_iter().map(|(zxid, bytes)| Record { zxid, bytes }).collect(),
            may_vote: !recovered.empty_without_vote,
            initialized: recovered.initialized,
        };
        let node = Node::member(node_config, configs.clone(), pipeline, start, &recovered.tree);
        let peers = peer::start(
            PeerConfig {
                tls: Arc::new(links.tls),
                sasl: Arc::new(links.sasl),
                meters,
                ..peer_config(config, self.me)
            },
            sinks(recovered.tree.options()),
        );
        let ticks = |n: u32| config.sessions.tick_time.saturating_mul(n);
        let dial = Dial {
            try_for: ticks(if e.connect_limit > 0 { e.connect_limit } else { e.init_limit }),
            retry_delay: limits::LEADER_RETRY,
        };
        let rules = Rules {
            leader_serves: property(config, "zookeeper.leaderServes") != Some("no"),
            log_share: property(config, "zookeeper.snapshotSizeFactor")
                .and_then(|f| f.parse().ok())
                .filter(|f| *f <= 1.0)
                .unwrap_or(LOG_SHARE),
            observer_port: e.observer_master_port,
        };
        let member = Member::new(peers, storage, control, &configs, dial, files, rules);
        Ok(Joined { node, member, held_back })
    }
}

/// What connections between members are made of.
pub struct Links {
    /// Whether and how they use TLS.
    pub tls: Members,
    /// Whether and how members log in.
    pub sasl: MemberLogins,
}

/// ref: ZKDatabase.DEFAULT_SNAPSHOT_SIZE_FACTOR.
const LOG_SHARE: f64 = 0.33;

fn property<'c>(config: &'c Config, name: &str) -> Option<&'c str> {
    config.properties.get(name).map(|s| s.value.as_str())
}

/// Writes the members into their node, as each server does on its own.
pub fn write_config(tree: &mut Tree, config: &EnsembleConfig) -> Effects {
    let mut effects = Effects::default();
    tree.write_config(Bytes::from(config.to_text()), config.version.0, clock::wall(), &mut effects);
    effects
}

/// ref: QuorumPeer.loadDataBase.
fn epochs(storage: &zk_storage::StorageConfig, last: Zxid) -> Result<(Epoch, Epoch), StartError> {
    let dir = storage.snap_version_dir();
    let of_log = Epoch(last.epoch().0.max(0));
    let read = |file| zk_storage::read_epoch(&dir, file);
    let current = match read(EpochFile::Current)? {
        // differs: Java refuses to start. The log of an epoch begins only when all of its
        // leader's history is durable, just before the epoch is written.
        Some(epoch) if epoch < of_log => {
            tracing::warn!(%epoch, %of_log, "stopped between the log and currentEpoch; currentEpoch follows the log");
            None
        }
        found => found,
    };
    let current = match current {
        Some(epoch) => epoch,
        None => {
            zk_storage::write_epoch(&dir, EpochFile::Current, of_log)?;
            of_log
        }
    };
    let accepted = match read(EpochFile::Accepted)? {
        Some(epoch) if epoch >= current => epoch,
        Some(epoch) => {
            return Err(refuse(format!(
                "{}/acceptedEpoch is {} and currentEpoch is {}, which is later: one of them was changed by hand; \
                 set acceptedEpoch to the larger number",
                dir.display(),
                epoch.0,
                current.0
            )));
        }
        None => {
            zk_storage::write_epoch(&dir, EpochFile::Accepted, current)?;
            current
        }
    };
    Ok((accepted, current))
}

fn peer_config(config: &Config, me: PeerId) -> PeerConfig {
    let (e, limits) = (&config.ensemble, &config.limits);
    let mut peer = PeerConfig::new(me);
    peer.hello = if e.multi_address { HelloVersion::V2 } else { HelloVersion::V1 };
    peer.handshake_timeout = config.sessions.tick_time.saturating_mul(e.sync_limit);
    peer.listen_on_all = e.listen_on_all_addresses;
    peer.max_packet = max_packet(limits);
    let ms = |name| number(config, name).map(Duration::from_millis);
    peer.connect_timeout = ms("zookeeper.cnxTimeout").unwrap_or(peer.connect_timeout);
    peer.handshake_timeout = ms("zookeeper.quorumCnxnTimeoutMs").unwrap_or(peer.handshake_timeout);
    peer.keep_alive = property(config, "zookeeper.tcpKeepAlive") == Some("true");
    let tries = number(config, "zookeeper.electionPortBindRetry").and_then(|n| u32::try_from(n).ok());
    peer.bind_retry = tries.unwrap_or(peer.bind_retry);
    peer
}

/// A property that is a number; a negative one stands for the default.
fn number(config: &Config, name: &str) -> Option<u64> {
    property(config, name)?.parse().ok()
}

/// What a string or buffer between members may have.
fn max_packet(limits: &zk_config::config::Limits) -> usize {
    limits.jute_max_buffer.saturating_add(limits.jute_extra) as usize
}

struct Sink(SnapLoader);

impl SnapSink for Sink {
    fn item(&mut self, item: SnapItem) -> Result<(), String> {
        self.0.take(item).map_err(|e| e.to_string())
    }
    fn finish(self: Box<Self>, zxid: Zxid) -> Result<Tree, String> {
        self.0.finish(zxid).map_err(|e| e.to_string())
    }
}

fn sinks(options: TreeOptions) -> peer::SnapSinks {
    Arc::new(move || Box::new(Sink(SnapLoader::new(options))))
}
