//! Start, run, stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::{Mutex, RwLock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use zk_admin::Version;
use zk_admin::status::{Conf, DEFAULT_TRACE_MASK};
use zk_config::Endpoint;
use zk_config::config::{Config, DigestAlgorithm};
use zk_node::Node;
use zk_pipeline::auth::{DigestAlg, SuperDigest};
use zk_pipeline::{AuthPolicy, PipelineConfig};
use zk_proto::Zxid;
use zk_storage::{Progress, StorageError};
use zk_tree::watch::Interest;

use crate::accept::Door;
use crate::admin_http::AdminServer;
use crate::core_loop::{Alone, Control, Core, first_session};
use crate::crew::Crew;
use crate::disk::{LogHandle, MirrorHandle, Watch};
use crate::early::Early;
use crate::ensemble::{self, Links};
use crate::guard::Guard;
use crate::inbox::Inbox;
use crate::live::Live;
use crate::meters::{Meters, StartMeters};
use crate::recovery::Recovered;
use crate::sasl::members::MemberLogins;
use crate::sasl::{self, Logins, SetupError};
use crate::shared::{Connections, Serving, Settings, Shared, WorkerHandle};
use crate::throttle::Throttle;
use crate::tls::{ClientPort, Members, TlsError};
use crate::worker::{ToWorker, Worker};
use crate::{accept, admin_http, clock, limits, recovery};

/// The release of Apache ZooKeeper whose behaviour this is.
pub const COMPATIBLE_RELEASE: &str = "3.9.4";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration asks for what this version does not have.
    #[error("{0}")]
    Unsupported(String),
    /// The data cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The port cannot be opened.
    #[error("cannot listen on {address}: {source}; stop what uses the port, or set another clientPort")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be had as it is configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Logins cannot be had as they are configured.
    #[error(transparent)]
    Logins(#[from] SetupError),
    /// The operating system refused something else.
    #[error("cannot {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What is not in the configuration file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Threads for connections; `None`: one for each processor.
    pub workers: Option<usize>,
}

/// A server that listens. Nothing is accepted before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// Of `clientPort` and of `secureClientPort`, as far as they are set.
    listeners: Vec<(TcpListener, Door, watch::Receiver<Endpoint>)>,
    addresses: Vec<SocketAddr>,
    control: Sender<Control>,
    core: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    handshakes: Vec<JoinHandle<()>>,
    admin: AdminServer,
    nodes: usize,
    zxid: Zxid,
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let thread = std::thread::Builder::new().name(name).spawn(body);
    thread.map_err(|source| StartError::System { what: "start a thread", source })
}

impl Server {
    /// Recovers the data, opens the port, starts the threads. `progress` hears
    /// of long steps.
    pub fn start(
        config: &Config,
        options: Options,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Server, StartError> {
        let count = workers(options);
        let Plan { pipeline: pipeline_config, identity, tls, logins, members } = Plan::of(config, count)?;
        let mut progress = |p: Progress<'_>| {
            if let Progress::ReadingMirror { nodes } | Progress::ReadingSnapshot { nodes, .. } = p
                && nodes >= limits::HUGE_PAGES_NODES
            {
                huge_pages(true);
            }
            progress(p);
        };
        // The port comes first: a probe must not wait for the data to be read, and
        // a second server on the port must not touch the data.
        let plain = config.connections.client.as_ref().map(|e| listen(config, e)).transpose()?;
        let secure = config.connections.secure_client.as_ref().map(|e| listen(config, e)).transpose()?;
        let settings = settings(config, logins);
        let meters = Arc::new(Meters::default());
        let admin = AdminServer::start(config, Arc::clone(&meters))?;
        let live = Live::new(config);
        let early = plain
            .as_ref()
            .map(|(listener, _)| Early::start(listener.try_clone()?, live.words(), settings.version.clone()));
        let early = early
            .transpose()
            .map_err(|source| StartError::System { what: "answer while the data is read", source })?;
        let recovered = recover(config, &meters.start, &mut progress);
        if let Some(early) = early {
            early.stop();
        }
        let mut recovered = recovered?;

        let now = clock::now();
        let (to_core, inputs) = bounded(limits::CORE_BATCHES);
        let (control, controls) = bounded(limits::CONTROL);
        let (nodes, zxid) = (recovered.tree.node_count(), recovered.tree.last_zxid());
        let policy = pipeline_config.policy.clone();
        let (node, role) = match identity {
            None => {
                let storage = recovery::storage_config(config);
                let alone = Alone { storage, pipeline: pipeline_config.clone() };
                (Node::alone(pipeline_config, &recovered.tree, now), Err(alone))
            }
            Some(identity) => {
                let (control, meters) = (control.clone(), Arc::clone(&meters));
                let joined =
                    identity.join(config, members, pipeline_config, &mut recovered, control, meters)?;
                (joined.node, Ok((joined.member, joined.held_back)))
            }
        };
        let worker = |_| WorkerHandle {
            inbox: Inbox::new(),
            interest: Arc::new(Interest::with_seed(rand::random())),
            meters: Arc::default(),
        };
        let (to_listener, wanted) =
            watch::channel(config.connections.client.clone().unwrap_or(Endpoint { host: None, port: 0 }));
        let port = |bound: &Option<(TcpListener, SocketAddr)>| bound.as_ref().map(|(_, at)| at.port());
        let ports = (port(&plain), port(&secure));
        let shared = Arc::new(Shared {
            tree: RwLock::new(recovered.tree),
            last_zxid: AtomicI64::new(zxid.0),
            conf: RwLock::new(conf(config, &settings, ports)),
            endpoint: to_listener,
            settings,
            live,
            tls,
            policy,
            workers: (0..count).map(worker).collect(),
            to_core,
            control: control.clone(),
            outstanding: AtomicUsize::new(0),
            large_bytes: AtomicU64::new(0),
            connections: Arc::new(Connections::default()),
            throttle: Mutex::new(Throttle::new(&config.connections.throttle, now.mono)),
            guard: Guard::new(config.auth.login_wait),
            trace_mask: AtomicI64::new(DEFAULT_TRACE_MASK),
            meters: Arc::clone(&meters),
            mirror_lag: Arc::default(),
            serving: AtomicU8::new(if role.is_ok() { Serving::Held } else { Serving::Yes }.to_u8()),
            ensemble: role.is_ok(),
            started: now.mono,
            stopping: AtomicBool::new(false),
        });
        let watch = Watch { meters: Arc::clone(&meters), slow: config.storage.fsync_warning };
        let log = LogHandle::new(recovered.writer, zxid, watch);
        let lag = Arc::clone(&shared.mirror_lag);
        let mirror = MirrorHandle::start(recovered.mirror, recovered.purge, lag, meters, control.clone());
        let core = Core::new(Arc::clone(&shared), node, inputs.clone(), (log, mirror), role);
        let crew = Arc::new(Crew::new(core, inputs, controls, control.clone()));
        let mut core = Vec::new();
        for index in 0..Crew::THREADS {
            let crew = Arc::clone(&crew);
            core.push(spawn(format!("core-{index}"), move || crew.run())?);
        }
        let mut workers = Vec::new();
        for index in 0..u8::try_from(count).expect("few workers") {
            let shared = Arc::clone(&shared);
            workers.push(spawn(format!("worker-{index}"), move || Worker::run(index, shared))?);
        }
        let mut handshakes = Vec::new();
        for (index, body) in shared.tls.iter().flat_map(|tls| tls.threads(&shared)).enumerate() {
            handshakes.push(spawn(format!("tls-{index}"), body)?);
        }
        admin.serve(Arc::clone(&shared));
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        if let Some((listener, at)) = plain {
            listeners.push((listener, if config.tls.unified { Door::Either } else { Door::Plain }, wanted));
            addresses.push(at);
        }
        if let Some(((listener, at), endpoint)) = secure.zip(config.connections.secure_client.clone()) {
            listeners.push((listener, Door::Secure, watch::channel(endpoint).1));
            addresses.push(at);
        }
        Ok(Server { shared, listeners, addresses, control, core, workers, handshakes, admin, nodes, zxid })
    }

    /// Where it listens for clients: `clientPort`, then `secureClientPort`, as far as they are set.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Number of nodes at the start.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The last transaction at the start.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Serves until SIGTERM or SIGINT, then stops in good order. `hangup` says what SIGHUP means.
    pub fn run(mut self, mut hangup: impl FnMut() -> Hangup) -> Result<(), StartError> {
        let failed = |what| move |source| StartError::System { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        let listeners = std::mem::take(&mut self.listeners);
        let shared = Arc::clone(&self.shared);
        let ended = runtime.block_on(async {
            let mut term = signal(SignalKind::terminate())?;
            let mut int = signal(SignalKind::interrupt())?;
            let mut hup = signal(SignalKind::hangup())?;
            let mut doors = JoinSet::new();
            for (listener, door, endpoint) in listeners {
                doors.spawn(accept::accept(listener, door, endpoint, Arc::clone(&shared)));
            }
            loop {
                tokio::select! {
                    Some(r) = doors.join_next() => break r.map_err(io::Error::other).flatten(),
                    _ = term.recv() => break Ok(()),
                    _ = int.recv() => break Ok(()),
                    _ = hup.recv() => match hangup() {
                        Hangup::Stop => break Ok(()),
                        Hangup::Take(config) => shared.take(&config),
                        Hangup::Ignore => {}
                    },
                }
            }
        });
        drop(runtime);
        tracing::info!("stopping");
        self.stop();
        ended.map_err(failed("accept connections"))
    }

    /// Leaves the ensemble, closes the connections, brings everything to the disk, ends all
    /// threads.
    pub fn stop(self) {
        drop(self.listeners);
        if let Some(tls) = &self.shared.tls {
            tls.stop();
        }
        for thread in self.handshakes {
            thread.join().expect("a panic aborts the process");
        }
        if self.shared.ensemble {
            leave(&self.control);
        }
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.workers.iter().for_each(|w| w.inbox.push_one(ToWorker::Stop));
        for worker in self.workers {
            worker.join().expect("a panic aborts the process");
        }
        // The queue may be full of wake-ups, but the core reads it.
        self.control.send(Control::Stop).expect("the core ends only when it is told");
        for thread in self.core {
            thread.join().expect("a panic aborts the process");
        }
        self.admin.stop();
    }
}

/// Recovers the data and notes how long that took.
fn recover(
    config: &Config,
    meters: &StartMeters,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Recovered, StorageError> {
    let begun = Instant::now();
    let mut replay = None;
    let recovered = recovery::recover(config, &mut |p| {
        if matches!(p, Progress::ReplayingLog { .. }) {
            replay.get_or_insert_with(Instant::now);
        }
        progress(p);
    })?;
    let replay = replay.map_or(Duration::ZERO, |at| at.elapsed());
    meters.database.time(begun.elapsed());
    meters.base.time(begun.elapsed().saturating_sub(replay));
    meters.replay.time(replay);
    meters.replayed.record(recovered.replayed);
    Ok(recovered)
}

/// The others get what this member has, and a leader's place, before its clients go.
fn leave(core: &Sender<Control>) {
    let (reply, left) = oneshot::channel();
    core.send(Control::Leave(reply)).expect("the core ends only when it is told");
    let within = async { tokio::time::timeout(limits::LEAVE_WAIT, left).await };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    if runtime.map(|r| r.block_on(within)).is_ok_and(|r| r.is_err()) {
        tracing::warn!("the ensemble was not left in time");
    }
}

fn workers(options: Options) -> usize {
    let cores = || std::thread::available_parallelism().map_or(2, usize::from);
    options.workers.unwrap_or_else(cores).clamp(1, limits::WORKERS)
}

/// What SIGHUP means at the moment.
#[derive(Debug)]
pub enum Hangup {
    /// The terminal has gone: stop.
    Stop,
    /// Take over what of this may change without a restart: [`zk_config::keys::LIVE`].
    Take(Box<Config>),
    /// Nothing: what was read is not valid.
    Ignore,
}

/// Whether a server would start with a configuration, as far as that can be told without its data and
/// its ports. [`Server::start`] begins with the same.
pub fn check(config: &Config) -> Result<(), StartError> {
    Plan::of(config, 1).map(drop)
}

/// What a server would start without, although it is configured; as far as [`check`] can tell.
pub fn missing(config: &Config) -> Option<String> {
    admin_http::tls(&config.admin).err().map(|why| format!("no admin port, {why}"))
}

/// What a configuration makes of a server.
struct Plan {
    pipeline: PipelineConfig,
    identity: Option<ensemble::Identity>,
    tls: Option<ClientPort>,
    logins: Option<Arc<Logins>>,
    members: Links,
}

impl Plan {
    fn of(config: &Config, workers: usize) -> Result<Self, StartError> {
        has_port(config)?;
        sasl::configure(&config.auth)?;
        let logins = config.auth.sasl.as_ref().map(Logins::new).transpose()?;
        Ok(Self {
            pipeline: pipeline_config(config),
            identity: ensemble::Identity::of(config)?,
            tls: ClientPort::new(&config.tls, workers)?,
            logins: logins.map(Arc::new),
            members: Links {
                tls: Members::new(&config.tls)?,
                sasl: MemberLogins::new(config.ensemble.sasl.clone())?,
            },
        })
    }
}

/// Without a port there is nothing to do.
fn has_port(config: &Config) -> Result<(), StartError> {
    if config.connections.client.is_none() && config.connections.secure_client.is_none() {
        let text = "neither clientPort nor secureClientPort is set; set the port that clients connect to, usually 2181";
        return Err(StartError::Unsupported(text.to_owned()));
    }
    Ok(())
}

fn listen(config: &Config, endpoint: &Endpoint) -> Result<(TcpListener, SocketAddr), StartError> {
    let listening = |source| StartError::Listen { address: endpoint.to_string(), source };
    let listener = accept::listen(endpoint, config.connections.listen_backlog).map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    Ok((listener, address))
}

fn pipeline_config(config: &Config) -> PipelineConfig {
    let (auth, tree) = (&config.auth, &config.tree);
    let digest_alg = match auth.digest_algorithm {
        DigestAlgorithm::Md5 => DigestAlg::Md5,
        DigestAlgorithm::Sha1 => DigestAlg::Sha1,
        DigestAlgorithm::Sha224 => DigestAlg::Sha224,
        DigestAlgorithm::Sha256 => DigestAlg::Sha256,
        DigestAlgorithm::Sha384 => DigestAlg::Sha384,
        DigestAlgorithm::Sha512 => DigestAlg::Sha512,
        DigestAlgorithm::Sha3Bits224 => DigestAlg::Sha3_224,
        DigestAlgorithm::Sha3Bits256 => DigestAlg::Sha3_256,
        DigestAlgorithm::Sha3Bits384 => DigestAlg::Sha3_384,
        DigestAlgorithm::Sha3Bits512 => DigestAlg::Sha3_512,
        DigestAlgorithm::Sha512Half224 => DigestAlg::Sha512_224,
        DigestAlgorithm::Sha512Half256 => DigestAlg::Sha512_256,
    };
    let policy = AuthPolicy {
        skip_acl: auth.skip_acl,
        super_digest: auth.super_digest.as_ref().map(|s| SuperDigest(s.expose().to_owned())),
        digest_alg,
        digest_disabled: !auth.digest,
        x509: auth.providers.contains("x509"),
        sasl: auth.providers.contains("sasl"),
        ensemble: auth.ensemble.clone(),
        any_sasl_user: auth.any_sasl_user.clone(),
    };
    let never_used =
        tree.container_max_never_used.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    PipelineConfig {
        tick_ms: millis(config.sessions.tick_time),
        first_session: {
            let server = config.ensemble.my_id.filter(|_| config.ensemble.is_distributed()).unwrap_or(1);
            first_session(server.to_le_bytes()[0])
        },
        policy,
        local_sessions: config.sessions.local,
        local_upgrading: config.sessions.local_upgrading,
        extended_types: tree.extended_types,
        digest: tree.digests,
        close_session_txn: config.sessions.close_lists_paths,
        enforce_quota: tree.enforce_quota,
        reconfig_enabled: config.ensemble.reconfig_enabled,
        container_check_ms: millis(tree.container_check_interval),
        container_max_per_minute: tree.container_max_per_minute,
        container_max_never_used_ms: never_used,
    }
}

/// Whole milliseconds.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn settings(config: &Config, sasl: Option<Arc<Logins>>) -> Settings {
    let (connections, sessions) = (&config.connections, &config.sessions);
    let timeout = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX);
    let version_dir = |dir: &std::path::Path| {
        let dir = dir.join("version-2");
        std::path::absolute(&dir).unwrap_or(dir)
    };
    let (data_dir, log_dir) =
        (version_dir(&config.storage.data_dir), version_dir(&config.storage.data_log_dir));
    Settings {
        max_frame: config.limits.jute_max_buffer as usize,
        local_sessions: sessions.local && config.ensemble.is_distributed(),
        min_timeout: timeout(sessions.min_timeout),
        max_timeout: timeout(sessions.max_timeout),
        sessionless_ms: millis(connections.sessionless_timeout),
        enforced: config.auth.enforced_schemes.clone(),
        sasl,
        listen_backlog: connections.listen_backlog,
        keep_alive: connections.tcp_keep_alive,
        compression: recovery::compression(config),
        data_dir,
        log_dir,
        audit: config.log.audit,
        prometheus: config.admin.prometheus.is_some(),
        initial_configuration: config
            .file
            .as_ref()
            .filter(|_| !config.ensemble.is_distributed())
            .and_then(|file| std::fs::read_to_string(file).ok())
            .map(|text| zk_config::without_secrets(&text)),
        properties: config.properties.iter().map(|(k, s)| (k.clone(), s.shown().to_owned())).collect(),
        version: version(),
    }
}

/// What `conf` prints.
fn conf(config: &Config, settings: &Settings, (plain, secure): (Option<u16>, Option<u16>)) -> Conf {
    let (connections, sessions) = (&config.connections, &config.sessions);
    Conf {
        client_port: plain,
        secure_client_port: secure,
        listen_backlog: connections.listen_backlog,
        data_dir: settings.data_dir.display().to_string(),
        data_log_dir: settings.log_dir.display().to_string(),
        tick_time: millis(sessions.tick_time),
        max_client_cnxns: connections.max_per_address,
        min_session_timeout: millis(sessions.min_timeout),
        max_session_timeout: millis(sessions.max_timeout),
        server_id: config.ensemble.my_id.filter(|_| config.ensemble.is_distributed()).unwrap_or(0),
        member: ensemble::conf(config),
    }
}

/// Whether the process may have large pages. A system without them is no error.
pub fn huge_pages(wanted: bool) {
    if let Err(e) = nix::sys::prctl::set_thp_disable(!wanted) {
        tracing::debug!("large pages stay as they are: {e}");
    }
}

/// What the words call the version: tools compare the release.
pub fn version() -> Version {
    let revision = option_env!("ZKD_REVISION").unwrap_or("0000000000000000000000000000000000000000");
    let built = option_env!("ZKD_BUILT").and_then(|s| s.parse().ok()).unwrap_or(1_767_225_600);
    Version::new(COMPATIBLE_RELEASE, revision, built)
}
