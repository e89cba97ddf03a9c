//! What a member of an ensemble does with its disk and with the other members.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, Sender, bounded};
use zab::config::{Configs, EnsembleConfig, Member as MemberLine};
use zab::leader::LinkId;
use zab::sync::LogSpan;
use zk_node::node::proposal_and_commit;
use zk_node::{Input, Output};
use zk_proto::quorum::packet::{FromLeader, QuorumPacket};
use zk_proto::{Epoch, PeerId, Zxid};
use zk_storage::{EpochFile, LogWriter, Mirror, StorageConfig, StorageError};
use zk_tree::{Touched, Tree};

use crate::core_loop::Control;
use crate::disk::{LogHandle, MirrorHandle, give_up};
use crate::dynamic::DynamicFiles;
use crate::limits;
use crate::peer::{LeaderMessage, PeerAddresses, PeerCommand, PeerEvent, PeerHandle, StreamSource};
use crate::shared::Shared;

/// How long and how often a leader is dialled.
#[derive(Debug, Clone, Copy)]
pub struct Dial {
    /// For all tries. ref: `initLimit`, `connectToLearnerMasterLimit`.
    pub try_for: Duration,
    /// Between two. ref: `zookeeper.leaderConnectDelayDuringRetryMs`.
    pub retry_delay: Duration,
}

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether a leader takes clients. ref: `zookeeper.leaderServes`.
    pub leader_serves: bool,
    /// How much log is sent instead of a snapshot, in parts of the snapshot's size; below
    /// 0: none. ref: `zookeeper.snapshotSizeFactor`.
    pub log_share: f64,
    /// Where followers serve observers. ref: `observerMasterPort`.
    pub observer_port: Option<u16>,
}

/// The member's means.
pub struct Member {
    /// What the other members say; nothing after [`Member::stop`].
    pub events: Receiver<PeerEvent>,
    /// When the last PING was answered, monotonic ms.
    pub pinged: u64,
    peers: PeerHandle,
    commands: Vec<PeerCommand>,
    storage: StorageConfig,
    control: Sender<Control>,
    me: PeerId,
    /// Those in force and those that are proposed.
    members: BTreeMap<PeerId, MemberLine>,
    /// Where the election port is.
    election: Vec<(String, u16)>,
    files: DynamicFiles,
    dial: Dial,
    /// What an operator may set.
    pub rules: Rules,
    /// The tree that came with a SNAP, until it is installed.
    snapshot: Option<(Zxid, Box<Tree>)>,
    encoded: SharedSnapshot,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("me", &self.me).field("members", &self.members).finish_non_exhaustive()
    }
}

/// Why a stream of a snapshot ends early.
enum StreamEnd {
    /// The learner has gone.
    Gone,
    Failed(StorageError),
}

impl From<StorageError> for StreamEnd {
    fn from(e: StorageError) -> Self {
        Self::Failed(e)
    }
}

/// A tree's pieces, or why it has none.
type Encoded = Result<Vec<Bytes>, String>;

/// The tree that a leader without a quorum sends, in memory as long as some stream needs it.
#[derive(Default)]
struct SharedSnapshot {
    zxid: Zxid,
    encoded: Weak<Encoded>,
}

impl SharedSnapshot {
    fn of(&mut self, tree: &Tree) -> Arc<Encoded> {
        let zxid = tree.last_zxid();
        if let Some(encoded) = self.encoded.upgrade().filter(|_| self.zxid == zxid) {
            return encoded;
        }
        let mut pieces = Vec::new();
        let result = zk_storage::stream_tree(tree, &mut |piece| {
            pieces.push(piece);
            Ok::<_, StorageError>(())
        });
        let encoded = Arc::new(result.map(|()| pieces).map_err(|e| e.to_string()));
        (self.zxid, self.encoded) = (zxid, Arc::downgrade(&encoded));
        encoded
    }
}

/// A view of the mirror at `zxid`, which is what was handed to it last.
fn stream_mirror(zxid: Zxid, mirror: &MirrorHandle) -> StreamSource {
    let (sender, stream) = bounded(limits::STREAM_CHUNKS);
    let pieces = Pieces(sender);
    mirror.read_here(move |reader, taken| {
        let result = reader.view().map_err(StreamEnd::from).and_then(|view| {
            taken();
            assert_eq!(view.zxid(), zxid, "the mirror was held where the tree is");
            zk_storage::stream_mirror(&view, &mut |piece| pieces.send(piece))
        });
        pieces.end(result);
    });
    Box::new(move |out| {
        for chunk in stream {
            if !out(chunk?) {
                break;
            }
        }
        Ok(())
    })
}

/// Hands the pieces of a snapshot to whoever sends them, and at the end why it failed.
struct Pieces(Sender<Result<Bytes, String>>);

impl Pieces {
    fn send(&self, piece: Bytes) -> Result<(), StreamEnd> {
        self.0.send(Ok(piece)).map_err(|_| StreamEnd::Gone)
    }

    fn end(self, result: Result<(), StreamEnd>) {
        if let Err(StreamEnd::Failed(e)) = result {
            let _ = self.0.send(Err(e.to_string()));
        }
    }
}

impl Member {
    /// Opens the election port and goes.
    pub fn new(
        peers: (PeerHandle, Receiver<PeerEvent>),
        storage: StorageConfig,
        control: Sender<Control>,
        configs: &Configs,
        dial: Dial,
        files: DynamicFiles,
        rules: Rules,
    ) -> Self {
        let mut member = Self {
            events: peers.1,
            pinged: 0,
            peers: peers.0,
            commands: Vec::new(),
            storage,
            control,
            me: files.me(),
            members: BTreeMap::new(),
            election: Vec::new(),
            files,
            dial,
            rules,
            snapshot: None,
            encoded: SharedSnapshot::default(),
        };
        member.configure(configs);
        member.flush();
        member
    }

    /// Members were proposed.
    pub fn proposed(&mut self, configs: &Configs, config: &EnsembleConfig) {
        self.files.proposed(config);
        self.configure(configs);
    }

    /// What was proposed never comes to be.
    pub fn withdrawn(&mut self, configs: &Configs) {
        self.files.withdrawn();
        self.configure(configs);
    }

    /// Members are in force.
    pub fn configured(&mut self, configs: &Configs) {
        self.files.activated(configs);
        self.configure(configs);
    }

    /// Whom to reach, and where to be reached: who is proposed may be needed for the quorum.
    /// ref: QuorumPeer.connectNewPeers, restartLeaderElection.
    fn configure(&mut self, configs: &Configs) {
        let mut members = configs.active.members.clone();
        for (id, member) in configs.last_seen.iter().flat_map(|c| &c.members) {
            members.entry(*id).or_insert_with(|| member.clone());
        }
        let addresses = |m: &MemberLine| PeerAddresses {
            addresses: m.addresses.iter().map(|a| (a.host.clone(), a.quorum_port, a.election_port)).collect(),
        };
        let all = members.iter().map(|(id, m)| (*id, addresses(m))).collect();
        self.commands.push(PeerCommand::Members(all));
        self.members = members;
        // Who is no member any more stays where it is.
        let mine = configs.active.members.get(&self.me).map(|m| m.addresses.as_slice()).unwrap_or_default();
        let election: Vec<_> = mine.iter().map(|a| (a.host.clone(), a.election_port)).collect();
        if !election.is_empty() && election != self.election {
            self.election.clone_from(&election);
            self.commands.push(PeerCommand::ElectionPort(election));
        }
    }

    /// Its own number.
    pub fn me(&self) -> PeerId {
        self.me
    }

    fn addresses(&self, id: PeerId) -> Vec<zab::config::MemberAddress> {
        self.members.get(&id).map(|m| m.addresses.clone()).unwrap_or_default()
    }

    fn quorum_ports(&self, id: PeerId) -> Vec<(String, u16)> {
        self.addresses(id).into_iter().map(|a| (a.host, a.quorum_port)).collect()
    }

    /// The port is the same at every member. ref: QuorumPeer.updateObserverMasterList.
    fn observer_ports(&self, id: PeerId) -> Vec<(String, u16)> {
        let port = self.rules.observer_port.expect("nobody serves observers without the key");
        self.addresses(id).into_iter().map(|a| (a.host, port)).collect()
    }

    /// What an event of the transport means to the state machine; nothing after [`Member::stop`].
    pub fn inputs(&mut self, event: PeerEvent) -> Vec<Input> {
        if !self.peers.runs() {
            return Vec::new();
        }
        match event {
            PeerEvent::ElectionPort(Ok(at)) => {
                tracing::info!(?at, "election port open");
                Vec::new()
            }
            PeerEvent::ElectionPort(Err(why)) => {
                tracing::error!("cannot open the election port: {why}; the server stops");
                std::process::exit(EXIT_PORT)
            }
            PeerEvent::QuorumPort(Ok(_)) => Vec::new(),
            PeerEvent::Streamed { link } => vec![Input::Streamed(link)],
            PeerEvent::QuorumPort(Err(why)) => {
                tracing::error!("cannot open the quorum port: {why}");
                vec![Input::CannotLead]
            }
            PeerEvent::Notification { from, notification } => {
                vec![Input::Notification { from, notification }]
            }
            PeerEvent::Reachable { peer, yes } => vec![Input::Reachable { peer, yes }],
            PeerEvent::LinkUp { link, remote } => {
                tracing::info!(link = link.0, %remote, "learner connected");
                vec![Input::LinkUp(link)]
            }
            PeerEvent::FromLearner { link, messages } => {
                messages.into_iter().map(|m| Input::FromLearner(link, m)).collect()
            }
            PeerEvent::LinkDown { link } => vec![Input::LinkDown(link)],
            PeerEvent::Following { attempt } => vec![Input::Following { attempt }],
            PeerEvent::Loading { attempt } => vec![Input::Loading { attempt }],
            PeerEvent::FromLeader { attempt, messages } => {
                messages.into_iter().map(|m| self.leaders_message(attempt, m)).collect()
            }
            PeerEvent::LeaderLost { attempt, why } => {
                tracing::info!(attempt, "the leader's connection ended: {why}");
                vec![Input::LeaderLost { attempt }]
            }
        }
    }

    fn leaders_message(&mut self, attempt: u64, message: LeaderMessage) -> Input {
        let message = match message {
            LeaderMessage::Packet(message) => message,
            LeaderMessage::Snapshot { zxid, tree } => {
                self.snapshot = Some((zxid, tree));
                FromLeader::Snap { zxid }
            }
        };
        Input::FromLeader { attempt, message }
    }

    /// Performs what needs no more than the transport and small files.
    pub fn perform(&mut self, output: Output, shared: &Arc<Shared>, log: &LogHandle) {
        match output {
            Output::StoreAcceptedEpoch(epoch) => self.store(EpochFile::Accepted, epoch),
            Output::StoreCurrentEpoch(epoch) => self.store(EpochFile::Current, epoch),
            Output::Notify { to, notification } => {
                self.commands.push(PeerCommand::Notify { to, notification });
            }
            Output::Lead => {
                // The same zxid in another reign may be another state.
                self.encoded = SharedSnapshot::default();
                let ports = self.quorum_ports(self.me);
                self.commands.push(PeerCommand::Lead(ports));
            }
            Output::ServeObservers => {
                let ports = self.observer_ports(self.me);
                tracing::info!(?ports, "serves observers");
                self.commands.push(PeerCommand::ServeObservers(ports));
            }
            Output::StopLeading => self.commands.push(PeerCommand::StopLeading),
            Output::ToLearners { links, message } => self.queue(links, &message.to_packet()),
            Output::CloseLink { link, why } => {
                tracing::info!(link = link.0, why, "learner's connection closed");
                self.commands.push(PeerCommand::CloseLink(link));
            }
            Output::FindInLog { link, zxid } => self.find_in_log(link, zxid, shared, log.durable()),
            Output::StreamLog { link, after, upto, activate } => {
                self.stream_log(link, after, upto, activate, log);
            }
            Output::Follow { attempt, leader, observer_port } => {
                self.snapshot = None;
                let addresses = match observer_port {
                    true => self.observer_ports(leader),
                    false => self.quorum_ports(leader),
                };
                let Dial { try_for, retry_delay } = self.dial;
                self.commands.push(PeerCommand::Follow { attempt, leader, addresses, try_for, retry_delay });
            }
            Output::ToLeader { attempt, message } => {
                let packets = encode(&message.to_packet());
                self.commands.push(PeerCommand::ToLeader { attempt, packets });
            }
            Output::Unfollow => {
                self.snapshot = None;
                self.commands.push(PeerCommand::Unfollow);
            }
            Output::Client(_)
            | Output::Append(_)
            | Output::AppendSync(_)
            | Output::ApplyCommitted { .. }
            | Output::Truncate { .. }
            | Output::InstallSnapshot { .. }
            | Output::Persist
            | Output::Reload
            | Output::StreamSnapshot { .. }
            | Output::Ping { .. }
            | Output::Left
            | Output::ReadOnly
            | Output::Proposed { .. }
            | Output::Withdrawn
            | Output::Configuration { .. }
            | Output::Serving(_) => unreachable!("the core performs these itself"),
        }
    }

    /// Hands over what was collected.
    pub fn flush(&mut self) {
        if !self.commands.is_empty() {
            self.peers.send(std::mem::take(&mut self.commands));
        }
    }

    /// Closes everything.
    pub fn stop(&mut self) {
        self.peers.stop();
        self.events = crossbeam_channel::never();
    }

    fn store(&self, file: EpochFile, epoch: Epoch) {
        let dir = self.storage.snap_version_dir();
        zk_storage::write_epoch(&dir, file, epoch).unwrap_or_else(|e| give_up(&e));
    }

    fn queue(&mut self, links: Vec<LinkId>, packet: &QuorumPacket) {
        self.commands.push(PeerCommand::ToLearners { links, packets: encode(packet) });
    }

    /// Reading the log takes a while: it is done elsewhere, and the answer comes as an input.
    fn find_in_log(&self, link: LinkId, zxid: Zxid, shared: &Arc<Shared>, durable: Zxid) {
        let (control, dir) = (self.control.clone(), self.storage.log_version_dir());
        let log_share = self.rules.log_share;
        let limit = {
            let tree = shared.tree.read();
            // About the size of a snapshot. ref: ZKDatabase.calculateTxnLogSizeLimit.
            let snapshot = tree.data_size() + tree.node_count() as u64 * SNAPSHOT_NODE_BYTES;
            MIN_LOG_LIMIT.max((snapshot as f64 * log_share) as u64)
        };
        std::thread::spawn(move || {
            let span = match zk_storage::find_in_log(&dir, zxid, durable) {
                Ok(p) => LogSpan {
                    at_or_before: p.at_or_before,
                    next: p.next,
                    usable: p.at_or_before.is_some() && log_share >= 0.0 && p.later_bytes <= limit,
                    durable,
                },
                Err(e) => {
                    tracing::warn!("the log cannot bring a learner up, it gets a snapshot: {e}");
                    LogSpan { at_or_before: None, next: None, usable: false, durable }
                }
            };
            // The core ends only with the process.
            let _ = control.send(Control::LogSpan(link, span));
        });
    }

    fn stream_log(
        &mut self,
        link: LinkId,
        after: Zxid,
        upto: Zxid,
        activate: Option<PeerId>,
        log: &LogHandle,
    ) {
        let (durable, dir) = (log.durable_mark(), self.storage.log_version_dir());
        let source = move |out: &mut dyn FnMut(Bytes) -> bool| {
            while durable.load(Ordering::Acquire) < upto.0 {
                // Without the link nobody waits for this.
                if !out(Bytes::new()) {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut chunk = BytesMut::new();
            for record in zk_storage::read_range(&dir, after, upto).map_err(|e| e.to_string())? {
                let record = record.map_err(|e| e.to_string())?;
                let record = zab::history::Record { zxid: record.zxid, bytes: record.payload.into() };
                for message in proposal_and_commit(record, activate) {
                    message.to_packet().encode(&mut chunk);
                }
                if chunk.len() >= STREAM_CHUNK && !out(chunk.split().freeze()) {
                    return Ok(());
                }
            }
            if !chunk.is_empty() {
                out(chunk.freeze());
            }
            Ok(())
        };
        self.commands.push(PeerCommand::Stream { link, source: Box::new(source) });
    }

    /// The tree as it is now. While the mirror does not have it (nothing is applied then
    /// until a quorum is there), it is encoded once for all that need it at the same time; else
    /// the mirror is read beside the writes.
    pub fn stream_snapshot(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        settled: bool,
        shared: &Arc<Shared>,
        mirror: &MirrorHandle,
    ) {
        self.queue(vec![link], &FromLeader::Snap { zxid }.to_packet());
        let source: StreamSource = if settled {
            stream_mirror(zxid, mirror)
        } else {
            let encoded = self.encoded.of(&shared.tree.read());
            Box::new(move |out| {
                let _ =
                    encoded.as_ref().as_ref().map_err(String::clone)?.iter().all(|chunk| out(chunk.clone()));
                Ok(())
            })
        };
        self.commands.push(PeerCommand::Stream { link, source });
    }

    /// The tree that came with a SNAP.
    pub fn take_snapshot(&mut self, zxid: Zxid) -> Tree {
        let (at, tree) = self.snapshot.take().expect("the tree comes before the packet");
        assert_eq!(at, zxid, "one SNAP at a time");
        *tree
    }

    /// Cuts the log. With `reload`, the state before the cut and what the mirror lacks of it;
    /// an error says that the base of the state is newer, and everything is stopped then.
    pub fn truncate(
        &mut self,
        to: Zxid,
        reload: bool,
        shared: &Arc<Shared>,
        log: &mut LogHandle,
        mirror: &mut MirrorHandle,
    ) -> Result<Option<(Tree, Touched)>, StorageError> {
        log.stop();
        let rewound = if reload {
            drop(mirror.stop());
            let r = match zk_storage::rewind(&self.storage, to, &mut |_| {}) {
                Ok(r) => r,
                Err(e) if asks_too_much(&e) => return Err(e),
                Err(e) => cannot_go_on(&e),
            };
            self.restart(r.writer, to, r.mirror, log, mirror);
            Some((r.tree, r.held_back))
        } else {
            let dir = self.storage.log_version_dir();
            let base = shared.tree.read().last_zxid();
            match zk_storage::truncate(&dir, to, base) {
                Ok(()) => {}
                Err(e) if asks_too_much(&e) => return Err(e),
                Err(e) => cannot_go_on(&e),
            }
            log.restart(LogWriter::new(&dir, to, self.storage.log.clone()), to);
            None
        };
        tracing::info!(%to, reload, "log truncated");
        Ok(rewound)
    }

    /// The state as the disk has it: a snapshot was given up.
    pub fn reload(&mut self, log: &mut LogHandle, mirror: &mut MirrorHandle) -> zk_storage::Recovered {
        log.stop();
        if mirror.runs() {
            drop(mirror.stop());
        }
        zk_storage::recover(&self.storage, &mut |_| {}).unwrap_or_else(|e| cannot_go_on(&e))
    }

    /// The state becomes the base that the next start reads.
    pub fn persist(&mut self, shared: &Arc<Shared>, log: &mut LogHandle, mirror: &mut MirrorHandle) {
        log.stop();
        let old = mirror.stop();
        let tree = shared.tree.read();
        let (writer, new) =
            zk_storage::install(&self.storage, old, &tree, &mut |_| {}).unwrap_or_else(|e| cannot_go_on(&e));
        self.restart(writer, tree.last_zxid(), new, log, mirror);
    }

    /// The threads of the disk go on.
    pub fn restart(
        &self,
        writer: LogWriter,
        last: Zxid,
        new: Mirror,
        log: &mut LogHandle,
        mirror: &mut MirrorHandle,
    ) {
        mirror.restart(new);
        log.restart(writer, last);
    }
}

/// Exit code when a port of the ensemble cannot be opened.
/// ref: ExitCode.UNABLE_TO_BIND_QUORUM_PORT.
pub const EXIT_PORT: i32 = 14;

/// Exit code when the state cannot be brought to the leader's.
/// ref: ExitCode.QUORUM_PACKET_ERROR, of which a failed truncation is Java's case.
pub const EXIT_SYNC: i32 = 13;

/// Bytes of a node in a snapshot besides its data: path, numbers, lengths.
const SNAPSHOT_NODE_BYTES: u64 = 140;

/// Log that is sent instead of a snapshot however small that would be.
const MIN_LOG_LIMIT: u64 = 1 << 20;

/// Bytes handed to a learner's queue at once.
const STREAM_CHUNK: usize = 256 << 10;

/// Whether the leader wants the log cut where it cannot be: then it has to send a snapshot.
fn asks_too_much(e: &StorageError) -> bool {
    matches!(e, StorageError::BaseNewer { .. } | StorageError::NotReached { .. } | StorageError::Gap { .. })
}

fn cannot_go_on(error: &StorageError) -> ! {
    tracing::error!("cannot follow the leader: {error}; the server stops");
    std::process::exit(EXIT_SYNC)
}

fn encode(packet: &QuorumPacket) -> Bytes {
    let mut out = BytesMut::new();
    packet.encode(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use zk_tree::TreeOptions;

    use super::*;

    #[test]
    fn links_share_the_tree_that_is_sent_without_a_quorum() {
        let (mut shared, tree) = (SharedSnapshot::default(), Tree::new(TreeOptions::default()));
        let (first, second) = (shared.of(&tree), shared.of(&tree));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!first.as_ref().as_ref().expect("it can be encoded").is_empty());
        drop((first, second));
        assert!(shared.encoded.upgrade().is_none(), "nobody needs it any more");
    }
}
