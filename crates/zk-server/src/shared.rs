//! What the threads of a server share: the tree, the settings, a few counters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use zab::config::EnsembleConfig;
use zk_admin::Version;
use zk_config::{Config, Endpoint};
use zk_pipeline::{AuthPolicy, Input};
use zk_proto::{AuthId, PeerId, SessionId};
use zk_storage::Compression;
use zk_tree::Tree;
use zk_tree::watch::Interest;

use crate::core_loop::Control;
use crate::guard::Guard;
use crate::inbox::Inbox;
use crate::live::Live;
use crate::meters::{Meters, WorkerMeters};
use crate::sasl::Logins;
use crate::throttle::Throttle;
use crate::tls::ClientPort;
use crate::worker::ToWorker;

/// Settings that the threads read. See [`zk_config::Config`] for their keys.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `jute.maxbuffer`.
    pub max_frame: usize,
    /// Whether new sessions are local: `localSessionsEnabled`, in an ensemble.
    pub local_sessions: bool,
    /// `minSessionTimeout`, ms.
    pub min_timeout: i32,
    /// `maxSessionTimeout`, ms.
    pub max_timeout: i32,
    /// `nio.sessionlessCnxnTimeout`, ms.
    pub sessionless_ms: u64,
    /// `enforce.auth.schemes`; empty is off.
    pub enforced: BTreeSet<String>,
    /// How clients log in by SASL; `None`: they get an empty answer, as in Java.
    pub sasl: Option<Arc<Logins>>,
    /// `clientPortListenBacklog`.
    pub listen_backlog: Option<u32>,
    /// `clientTcpKeepAlive`.
    pub keep_alive: bool,
    /// How snapshots are packed.
    pub compression: Compression,
    /// Directories whose sizes `dirs` prints.
    pub data_dir: PathBuf,
    /// The same of the log.
    pub log_dir: PathBuf,
    /// `audit.enable`.
    pub audit: bool,
    /// What the words call the version.
    pub version: Version,
    /// Whether `mntr` prints what it prints in Java with the Prometheus provider.
    pub prometheus: bool,
    /// The text of the configuration file, without secrets.
    pub initial_configuration: Option<String>,
    /// The system properties, without secrets.
    pub properties: BTreeMap<String, String>,
}

/// Whether clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// They are.
    Yes,
    /// There is no leader at the moment; their requests wait in their sockets.
    Held,
    /// There has been no leader for too long: they should try another member.
    No,
    /// The same, but reads are answered to those that take that.
    ReadOnly,
}

impl Serving {
    /// For an atomic.
    pub fn to_u8(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::Held => 1,
            Self::No => 2,
            Self::ReadOnly => 3,
        }
    }

    /// Back from an atomic.
    pub fn from_u8(n: u8) -> Self {
        match n {
            0 => Self::Yes,
            1 => Self::Held,
            3 => Self::ReadOnly,
            _ => Self::No,
        }
    }
}

/// One worker as the others see it.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Messages for it.
    pub inbox: Arc<Inbox<ToWorker>>,
    /// What its connections wait for.
    pub interest: Arc<Interest>,
    /// What it measures.
    pub meters: Arc<WorkerMeters>,
}

/// Everything shared.
#[derive(Debug)]
pub struct Shared {
    /// The tree: the core writes, the workers read.
    pub tree: RwLock<Tree>,
    /// Its last zxid, for who needs nothing else of it.
    pub last_zxid: AtomicI64,
    /// Settings.
    pub settings: Settings,
    /// Settings that change while the server runs.
    pub live: Live,
    /// What `conf` prints.
    pub conf: RwLock<zk_admin::status::Conf>,
    /// Where clients connect.
    pub endpoint: watch::Sender<Endpoint>,
    /// Handshakes of clients, if some port has TLS.
    pub tls: Option<ClientPort>,
    /// How permissions are judged.
    pub policy: AuthPolicy,
    /// The workers.
    pub workers: Vec<WorkerHandle>,
    /// Requests of clients into the core, in batches.
    pub to_core: Sender<Vec<Input>>,
    /// Everything else for the core.
    pub control: Sender<Control>,
    /// What the other threads measure.
    pub meters: Arc<Meters>,
    /// Bytes of changes that the mirror has not written.
    pub mirror_lag: Arc<AtomicUsize>,
    /// Requests in the core. ref: ZooKeeperServer.requestsInProcess.
    pub outstanding: AtomicUsize,
    /// Bytes of large requests in the core.
    pub large_bytes: AtomicU64,
    /// Connections by address and in total.
    pub connections: Arc<Connections>,
    /// New sessions pass through it.
    pub throttle: Mutex<Throttle>,
    /// Who has failed to log in.
    pub guard: Guard,
    /// What `gtmk` prints.
    pub trace_mask: AtomicI64,
    /// [`Serving`], written by the core.
    pub serving: AtomicU8,
    /// Whether there are other members: a sync asks the leader then.
    pub ensemble: bool,
    /// When the server began to serve, monotonic ms.
    pub started: u64,
    /// No new connections, and the open ones close.
    pub stopping: AtomicBool,
}

impl Shared {
    /// The members of the ensemble are these now. This one serves its clients where its
    /// server line says, if it says it. ref: QuorumPeer.processReconfig.
    pub fn configured(&self, me: PeerId, config: &EnsembleConfig) {
        let mine = config.members.get(&me);
        let mut conf = self.conf.write();
        if let Some(member) = &mut conf.member {
            member.membership = Some(config.to_text());
            member.observer = mine.is_some_and(|m| m.observer);
            if let Some(m) = mine {
                member.election_ports = m.addresses.iter().map(|a| a.election_port).collect();
                member.quorum_ports = m.addresses.iter().map(|a| a.quorum_port).collect();
            }
        }
        let Some((host, port)) = mine.and_then(|m| m.client.clone()) else { return };
        conf.client_port = Some(port);
        let endpoint = Endpoint { host: Some(host).filter(|h| h != "0.0.0.0"), port };
        self.endpoint.send_if_modified(|now| {
            let moved = *now != endpoint;
            *now = endpoint;
            moved
        });
    }

    /// Takes over what may change without a restart.
    pub fn take(&self, config: &Config) {
        self.live.take(config);
        self.throttle.lock().configure(&config.connections.throttle);
        self.conf.write().max_client_cnxns = config.connections.max_per_address;
    }

    /// Whether clients are served.
    pub fn serving(&self) -> Serving {
        Serving::from_u8(self.serving.load(Ordering::Acquire))
    }
}

/// Open connections.
#[derive(Debug, Default)]
pub struct Connections {
    by_address: Mutex<HashMap<IpAddr, u32>>,
    total: AtomicUsize,
    rejected: AtomicU64,
}

impl Connections {
    /// Counts a connection, unless a limit says no. ref: NIOServerCnxnFactory.doAccept.
    pub fn admit(self: &Arc<Self>, address: IpAddr, per_address: u32, total: u32) -> Option<Admitted> {
        let admitted = self.try_admit(address, per_address, total);
        if admitted.is_none() {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn try_admit(self: &Arc<Self>, address: IpAddr, per_address: u32, total: u32) -> Option<Admitted> {
        if total > 0 && self.total.load(Ordering::Relaxed) >= total as usize {
            return None;
        }
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(address).or_default();
        if per_address > 0 && *count >= per_address {
            return None;
        }
        *count += 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        Some(Admitted { connections: Arc::clone(self), address })
    }

    /// How many were one too many.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

/// A counted connection; it is discounted when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Admitted {
    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut by_address = self.connections.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
        self.connections.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When a session was last heard of, monotonic ms. The worker of its connection
/// writes it, the core reads it before the session would expire.
pub type Heard = Arc<AtomicU64>;

/// What every connection is from the start. ref: NIOServerCnxn constructor.
pub fn address_identity(address: IpAddr) -> AuthId {
    let text = match address {
        IpAddr::V4(a) => a.to_string(),
        // Java prints all groups. ref: Inet6Address.getHostAddress.
        IpAddr::V6(a) => a.segments().map(|s| format!("{s:x}")).join(":"),
    };
    AuthId { scheme: "ip".to_owned(), id: text }
}

/// Whether a client's password opens its session. ref: ZooKeeperServer.checkPasswd.
pub fn password_opens(session: SessionId, password: Option<&[u8]>) -> bool {
    session != SessionId::NONE && password == Some(&session.password()[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_23() {
        let c = Arc::new(Connections::default());
        let a: IpAddr = [127, 0, 0, 1].into();
        let b: IpAddr = [127, 0, 0, 2].into();
        let first = c.admit(a, 1, 2);
        assert!(first.is_some());
        assert!(c.admit(a, 1, 2).is_none());
        let second = c.admit(b, 1, 2);
        assert!(second.is_some());
        assert!(c.admit([127, 0, 0, 3].into(), 1, 2).is_none());
        drop(first);
        assert_eq!(c.count(), 1);
        assert!(c.admit(a, 1, 2).is_some());
        assert!(c.by_address.lock().len() == 1);
    }
}
