//! Four-letter words: collects what they print. The texts are zk-admin's.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use zk_admin::status::{
    Directories, Expiry, Gauges, Latency, LeaderGauges, MemberGauges, Metric, Mode, Serving, Sessions, Sizes,
    Watches,
};
use zk_admin::{Answer, Status, Word, answer, java, names};
use zk_proto::SessionId;

use crate::conn::Conn;
use crate::core_loop::{Control, CoreReport};
use crate::shared::Shared;
use crate::stats::{Totals, WorkerStats};
use crate::tls::Counts;
use crate::worker::{ToWorker, Worker, WorkerReport};
use crate::{clock, limits};

/// Answers a word, then closes. `mask` comes with `stmk`.
pub fn start(worker: Rc<Worker>, conn: Rc<Conn>, word: Word, mask: Option<i64>) {
    tokio::task::spawn_local(async move {
        let text = match collect(&worker.shared, word, mask).await {
            Answer::Text(text) => text,
            Answer::Close => String::new(),
        };
        // ref: NIOServerCnxn.sendBuffer, which counts every answer.
        worker.count_sent(u64::from(!text.is_empty()));
        let mut i = conn.inner.borrow_mut();
        i.out.extend_from_slice(text.as_bytes());
        i.closing = true;
        drop(i);
        conn.flush();
    });
}

async fn collect(shared: &Arc<Shared>, word: Word, mask: Option<i64>) -> Answer {
    use crate::shared::Serving::{Held, No, ReadOnly};
    let whitelist = &shared.settings.words;
    let mut status = Status::not_serving(shared.settings.version.clone());
    if !whitelist.allows(word) {
        return answer(word, whitelist, &status);
    }
    match word {
        Word::Stmk => shared.trace_mask.store(mask.unwrap_or_default(), Ordering::Relaxed),
        Word::Crst => tell_all(shared, || ToWorker::ResetConnections),
        Word::Srst => tell_all(shared, || ToWorker::ResetServer),
        _ => {}
    }
    status.trace_mask = shared.trace_mask.load(Ordering::Relaxed);
    if word.needs().environment {
        status.environment = Status::environment_from(environment);
    }
    status.serving = match word {
        Word::Ruok | Word::Envi | Word::Gtmk | Word::Stmk | Word::TelnetClose => None,
        _ if matches!(shared.serving(), Held | No) => None,
        Word::Crst | Word::Srst => Some(Serving::default()),
        Word::Isro if shared.serving() == ReadOnly => {
            Some(Serving { mode: Mode::ReadOnly, ..Serving::default() })
        }
        Word::Isro => Some(Serving::default()),
        _ => serving(shared, word).await,
    };
    answer(word, whitelist, &status)
}

fn tell_all(shared: &Shared, message: impl Fn() -> ToWorker) {
    shared.workers.iter().for_each(|w| w.inbox.push_one(message()));
}

/// Asks everybody at once, then waits for each.
async fn ask(shared: &Arc<Shared>, word: Word) -> (Vec<WorkerReport>, CoreReport) {
    let needs = word.needs();
    let mut replies = Vec::new();
    for worker in &shared.workers {
        let (reply, report) = oneshot::channel();
        worker.inbox.push_one(ToWorker::Report { needs, reply });
        replies.push(report);
    }
    let core = if needs.sessions || needs.metrics || shared.ensemble {
        let (reply, report) = oneshot::channel();
        shared.control.try_send(Control::Report(reply)).ok().map(|()| report)
    } else {
        None
    };
    let mut workers = Vec::new();
    for report in replies {
        workers.push(within(report).await);
    }
    let core = match core {
        Some(report) => within(report).await,
        None => CoreReport::default(),
    };
    (workers, core)
}

async fn within<T: Default>(report: oneshot::Receiver<T>) -> T {
    tokio::time::timeout(limits::WORD_WAIT, report).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// `None`: it has lost its role while it was asked.
async fn serving(shared: &Arc<Shared>, word: Word) -> Option<Serving> {
    let needs = word.needs();
    let (workers, core) = ask(shared, word).await;
    if core.status.as_ref().is_some_and(|s| !s.node.serving) {
        return None;
    }
    let mut stats = WorkerStats::default();
    workers.iter().for_each(|w| stats.merge(&w.stats));
    let mut serving = Serving {
        latency: Latency {
            min: stats.latency.min,
            average: java::average(stats.latency.total, stats.latency.count),
            max: stats.latency.max,
        },
        received: stats.received,
        sent: stats.sent,
        connections: shared.connections.count() as u64,
        outstanding: i64::try_from(shared.outstanding.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
        conf: shared.conf.read().clone(),
        ..Serving::default()
    };
    if let Some(status) = &core.status {
        serving.mode = mode(status.node.mode);
        serving.gauges.member = (status.node.mode != zk_node::Mode::ReadOnly).then(|| member(&status.node));
        if let Some(member) = serving.conf.member.as_mut().filter(|_| serving.gauges.member.is_none()) {
            member.membership = None;
        }
        serving.proposal_sizes = status.node.proposals.map_or_else(Sizes::default, |p| {
            let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            Sizes { last: size(p.last), min: size(p.min), max: size(p.max) }
        });
    }
    if needs.sessions {
        serving.sessions = sessions(&core);
        serving.local_sessions = shared.settings.local_sessions.then(|| tracked(&core.local_by_expiry));
        let mut connections: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (at, client) in workers.iter().flat_map(|w| w.expiry.iter().cloned()) {
            // ref: NIOServerCnxnFactory, buckets of 10 s.
            connections.entry((at / 10_000 + 1) * 10_000).or_default().push(client);
        }
        serving.connection_expiry = by_time(connections.into_iter());
    }
    {
        let tree = shared.tree.read();
        serving.zxid = tree.last_zxid().0;
        serving.node_count = tree.node_count() as u64;
        if needs.ephemerals {
            serving.ephemerals =
                tree.sessions_with_ephemerals().map(|s| (s.0, tree.ephemerals_of(s))).collect();
        }
        if needs.digests {
            // The text has Java's signed numbers.
            serving.digests =
                tree.digest_log().map(|(zxid, digest)| (zxid.0, digest.cast_signed())).collect();
        }
        if needs.metrics {
            serving.gauges.ephemerals = tree.ephemerals_count() as u64;
            serving.gauges.approximate_data_size = tree.data_size();
        }
    }
    if needs.directories {
        let (data, log) = (shared.settings.data_dir.clone(), shared.settings.log_dir.clone());
        let sizes = tokio::task::spawn_blocking(move || Directories { data: size(&data), log: size(&log) });
        serving.directories = sizes.await.unwrap_or_default();
    }
    if needs.metrics {
        gauges(shared, &mut serving.gauges, &workers, &core, &stats);
        serving.metrics = metrics(shared, &workers, &core);
    }
    serving.watches = watches(&workers);
    serving.clients = workers.into_iter().flat_map(|w| w.clients).collect();
    Some(serving)
}

/// A learner does not know when sessions expire. ref: LearnerSessionTracker.dumpSessions.
fn sessions(core: &CoreReport) -> Sessions {
    match &core.status {
        Some(s) if !matches!(s.node.mode, zk_node::Mode::Leading | zk_node::Mode::Alone) => {
            Sessions::Global(s.known.iter().map(|(id, ms)| (id.0, u32::try_from(*ms).unwrap_or(0))).collect())
        }
        _ => Sessions::Tracked(tracked(&core.by_expiry)),
    }
}

fn tracked(buckets: &[(u64, Vec<SessionId>)]) -> Expiry<i64> {
    by_time(buckets.iter().map(|(at, ids)| (*at, ids.iter().map(|id| id.0).collect())))
}

fn mode(mode: zk_node::Mode) -> Mode {
    match mode {
        zk_node::Mode::Alone | zk_node::Mode::Looking => Mode::Standalone,
        zk_node::Mode::ReadOnly => Mode::ReadOnly,
        zk_node::Mode::Leading => Mode::Leader,
        zk_node::Mode::Following => Mode::Follower,
        zk_node::Mode::Observing => Mode::Observer,
    }
}

/// Whoever is asked serves: the last phase of a role is the only one that is seen.
/// ref: MonitorCommand, LeaderZooKeeperServer.registerMetrics.
fn member(status: &zk_node::Status) -> MemberGauges {
    let state = match status.mode {
        zk_node::Mode::Leading => "leading - broadcast",
        zk_node::Mode::Observing => "observing - broadcast",
        _ => "following - broadcast",
    };
    let observes = status.mode == zk_node::Mode::Observing;
    let leader = (status.mode == zk_node::Mode::Leading).then(|| leader(status));
    MemberGauges {
        peer_state: state.to_owned(),
        observer_master_id: status.leader.filter(|_| observes).map(|id| id.0),
        quorum_size: status.voters as u64,
        synced_observers: (leader.is_some() || status.serves_observers)
            .then(|| status.learners.iter().filter(|l| l.synced && l.observer).count() as u64),
        leader,
    }
}

fn leader(status: &zk_node::Status) -> LeaderGauges {
    let followers = |voters: bool| {
        status.learners.iter().filter(|l| l.synced && !l.observer && l.voter == voters).count()
    };
    LeaderGauges {
        learners: status.learners.len() as u64,
        synced_followers: followers(true) as u64,
        synced_non_voting_followers: followers(false) as u64,
        pending_syncs: status.pending_syncs as u64,
        uptime: clock::mono().saturating_sub(status.since),
    }
}

/// Monotonic times become times of the day.
fn by_time<T>(buckets: impl Iterator<Item = (u64, Vec<T>)>) -> Expiry<T> {
    let (mono, wall) = (clock::mono(), clock::wall());
    let to_wall = |at: u64| wall + i64::try_from(at).unwrap_or(i64::MAX) - i64::try_from(mono).unwrap_or(0);
    let buckets: Vec<_> = buckets.map(|(at, members)| (to_wall(at), members)).collect();
    Expiry { known: buckets.iter().map(|(_, members)| members.len()).sum(), buckets }
}

fn watches(workers: &[WorkerReport]) -> Watches {
    let paths: HashSet<u64> = workers.iter().flat_map(|w| w.paths.iter().copied()).collect();
    let mut by_path: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (path, sessions) in workers.iter().flat_map(|w| &w.by_path) {
        by_path.entry(path).or_default().extend(sessions);
    }
    Watches {
        connections: workers.iter().map(|w| w.data.connections as u64).sum(),
        paths: paths.len() as u64,
        total: workers.iter().map(|w| w.data.watches as u64).sum(),
        by_session: workers.iter().flat_map(|w| w.by_session.iter().cloned()).collect(),
        by_path: by_path.into_iter().map(|(path, sessions)| (path.to_owned(), sessions)).collect(),
    }
}

fn gauges(shared: &Shared, g: &mut Gauges, workers: &[WorkerReport], core: &CoreReport, stats: &WorkerStats) {
    let size = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    g.global_sessions = core.sessions as u64;
    g.local_sessions = core.local_sessions as u64;
    if let Some(tls) = &shared.tls {
        g.auth_failed = tls.counts.failed.load(Ordering::Relaxed);
        g.outstanding_tls_handshakes = tls.counts.outstanding.load(Ordering::Relaxed);
    }
    g.non_mtls_remote_connections = workers.iter().map(|w| w.remote).sum();
    g.non_mtls_local_connections = workers.iter().map(|w| w.local).sum();
    if let Some(last) = stats.replies.last {
        g.client_response_sizes =
            Sizes { last: size(last), min: size(stats.replies.min), max: size(stats.replies.max) };
    }
    g.connection_drop_probability = shared.throttle.lock().drop_chance();
    g.watches = workers.iter().map(|w| w.watches as u64).sum();
    g.uptime = clock::mono() - shared.started;
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    g.max_file_descriptors = limit.map_or(0, |(soft, _)| soft);
    g.open_file_descriptors = fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64);
}

fn metrics(shared: &Shared, workers: &[WorkerReport], core: &CoreReport) -> Vec<Metric> {
    let mut totals = Totals::default();
    workers.iter().for_each(|w| totals.merge(&w.totals));
    let counter =
        |name, value: u64| Metric::Counter { name, value: i64::try_from(value).unwrap_or(i64::MAX) };
    let of_tls = |of: fn(&Counts) -> &AtomicU64| {
        shared.tls.as_ref().map_or(0, |tls| of(&tls.counts).load(Ordering::Relaxed))
    };
    vec![
        counter(names::BYTES_RECEIVED_COUNT, totals.received),
        counter(names::RESPONSE_BYTES, totals.replies),
        counter(names::WATCH_BYTES, totals.events),
        counter(names::CONNECTION_REQUEST_COUNT, totals.connections),
        counter(names::CONNECTION_REJECTED, shared.connections.rejected()),
        counter(names::UNSUCCESSFUL_HANDSHAKE, of_tls(|c| &c.failed)),
        counter(names::TLS_HANDSHAKE_EXCEEDED, of_tls(|c| &c.exceeded)),
        counter(names::CONNECTION_DROP_COUNT, totals.dropped),
        counter(names::CONNECTION_REVALIDATE_COUNT, totals.revalidated),
        counter(names::SESSIONLESS_CONNECTIONS_EXPIRED, totals.sessionless),
        counter(names::STALE_SESSIONS_EXPIRED, core.stats.expired),
        counter(names::STALE_REQUESTS_DROPPED, core.stats.dropped),
        counter(names::LARGE_REQUESTS_REJECTED, totals.large_rejected),
        counter(names::PROPOSAL_COUNT, core.stats.proposals),
        counter(names::COMMIT_COUNT, core.stats.applied),
        counter(names::DIGEST_MISMATCHES_COUNT, shared.tree.read().digest_mismatches()),
    ]
}

/// Bytes of the files in a directory, with those below it.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => size(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Values of `envi`. There is no Java, but the keys are read by people.
fn environment(key: &str) -> Option<String> {
    let var = |name: &str| std::env::var(name).ok();
    let memory = || {
        let text = fs::read_to_string("/proc/self/status").ok()?;
        let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{}MB", kib / 1024))
    };
    match key {
        "host.name" => nix::unistd::gethostname().ok()?.into_string().ok(),
        "java.version" | "java.vendor" | "java.home" => Some("n/a".to_owned()),
        "java.class.path" | "java.library.path" => Some(String::new()),
        "java.io.tmpdir" => Some(std::env::temp_dir().display().to_string()),
        "os.name" => Some("Linux".to_owned()),
        "os.arch" => Some(match std::env::consts::ARCH {
            "x86_64" => "amd64".to_owned(),
            other => other.to_owned(),
        }),
        "os.version" => fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|s| s.trim().to_owned()),
        "user.name" => nix::unistd::User::from_uid(nix::unistd::getuid()).ok()?.map(|u| u.name),
        "user.home" => var("HOME"),
        "user.dir" => std::env::current_dir().ok().map(|d| d.display().to_string()),
        "os.memory.free" => Some("0MB".to_owned()),
        "os.memory.max" | "os.memory.total" => memory(),
        _ => None,
    }
}
