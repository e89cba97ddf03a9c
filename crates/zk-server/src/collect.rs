//! Collects what operators are told: from each worker, from the core, and from what all threads
//! measure. The texts are zk-admin's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;
use std::{fs, slice};

use tokio::sync::oneshot;
use zk_admin::status::{
    Directories, Expiry, Gauges, Latency, LeaderGauges, MemberAddresses, MemberGauges, MemberView, Metric,
    Mode, Observer, Own, OwnValue, Seen, Serving, Sessions, Sizes, Snapshot, Watches,
};
use zk_admin::{Needs, Status, java, names};
use zk_proto::SessionId;

use crate::core_loop::{Control, CoreReport, MemberReport};
use crate::meters::{self, Counted, Histogram, LearnerMeters, WorkerMeters};
use crate::shared::Shared;
use crate::stats::{Totals, WorkerStats};
use crate::tls::Counts;
use crate::worker::{ToWorker, WorkerReport};
use crate::{clock, limits};

/// Sends the same to all workers.
pub fn tell_all(shared: &Shared, message: impl Fn() -> ToWorker) {
    shared.workers.iter().for_each(|w| w.inbox.push_one(message()));
}

/// Asks everybody at once, then waits for each.
async fn ask(shared: &Arc<Shared>, needs: Needs) -> (Vec<WorkerReport>, CoreReport) {
    let mut replies = Vec::new();
    for worker in &shared.workers {
        let (reply, report) = oneshot::channel();
        worker.inbox.push_one(ToWorker::Report { needs, reply });
        replies.push(report);
    }
    let core = match needs.sessions || needs.metrics || shared.ensemble {
        true => ask_core(shared, needs.sessions),
        false => None,
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

fn ask_core(shared: &Shared, sessions: bool) -> Option<oneshot::Receiver<CoreReport>> {
    let (reply, report) = oneshot::channel();
    shared.control.try_send(Control::Report { sessions, reply }).ok().map(|()| report)
}

async fn within<T: Default>(report: oneshot::Receiver<T>) -> T {
    tokio::time::timeout(limits::WORD_WAIT, report).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Whether what is collected makes sense without a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// It does not: words and commands.
    ARole,
    /// It does: metrics.
    Anything,
}

/// What the threads know. `None`: the server has no role, or lost it while it was asked.
pub async fn serving(shared: &Arc<Shared>, needs: Needs, wants: Wants) -> Option<Serving> {
    let (workers, core) = ask(shared, needs).await;
    if wants == Wants::ARole && core.status.as_ref().is_some_and(|s| !s.node.serving) {
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
        slow_syncs: shared.meters.log.slow.get(),
        prometheus: shared.settings.prometheus,
        ..Serving::default()
    };
    if let Some(status) = &core.status {
        serving.mode = mode(status.node.mode);
        serving.gauges.member = (status.node.mode != zk_node::Mode::ReadOnly).then(|| member(&status.node));
        if let Some(member) = serving.conf.member.as_mut().filter(|_| serving.gauges.member.is_none()) {
            member.membership = None;
        }
        if needs.member {
            serving.member = Some(member_view(status));
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
    if needs.last_snapshot {
        let dir = shared.settings.data_dir.clone();
        serving.last_snapshot = tokio::task::spawn_blocking(move || last_snapshot(&dir)).await.ok().flatten();
    }
    if needs.directories {
        let (data, log) = (shared.settings.data_dir.clone(), shared.settings.log_dir.clone());
        let sizes = tokio::task::spawn_blocking(move || Directories { data: size(&data), log: size(&log) });
        serving.directories = sizes.await.unwrap_or_default();
    }
    gauges(shared, &mut serving.gauges, &workers, &core, &stats);
    if needs.metrics {
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
    let watched: BTreeSet<_> = workers.iter().flat_map(|w| &w.watched).collect();
    let mut by_path: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (path, sessions) in workers.iter().flat_map(|w| &w.by_path) {
        by_path.entry(path).or_default().extend(sessions);
    }
    Watches {
        connections: workers.iter().map(|w| w.data.connections as u64).sum(),
        paths: watched.len() as u64,
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
    (g.open_file_descriptors, g.max_file_descriptors) = descriptors();
}

fn metrics(shared: &Shared, workers: &[WorkerReport], core: &CoreReport) -> Vec<Metric> {
    let mut totals = Totals::default();
    workers.iter().for_each(|w| totals.merge(&w.totals));
    let meters = &shared.meters;
    let (log, role, admin) = (&meters.log, &meters.core, &meters.admin);
    let counter =
        |name, value: u64| Metric::Counter { name, value: i64::try_from(value).unwrap_or(i64::MAX) };
    let of_tls = |of: fn(&Counts) -> &AtomicU64| {
        shared.tls.as_ref().map_or(0, |tls| of(&tls.counts).load(Ordering::Relaxed))
    };
    let mut list = vec![
        counter(names::UNSUCCESSFUL_HANDSHAKE, of_tls(|c| &c.failed)),
        counter(names::TLS_HANDSHAKE_EXCEEDED, of_tls(|c| &c.exceeded)),
        counter(names::BYTES_RECEIVED_COUNT, totals.received),
        counter(names::RESPONSE_BYTES, totals.replies),
        counter(names::WATCH_BYTES, totals.events),
        counter(names::CONNECTION_REQUEST_COUNT, totals.connections),
        counter(names::CONNECTION_REJECTED, shared.connections.rejected()),
        counter(names::CONNECTION_DROP_COUNT, totals.dropped),
        counter(names::CONNECTION_REVALIDATE_COUNT, totals.revalidated),
        counter(names::SESSIONLESS_CONNECTIONS_EXPIRED, totals.sessionless),
        counter(names::CNXN_CLOSED_WITHOUT_ZK_SERVER_RUNNING, totals.not_serving),
        counter(names::STALE_SESSIONS_EXPIRED, core.stats.expired),
        counter(names::STALE_REQUESTS_DROPPED, core.stats.dropped),
        counter(names::STALE_REPLIES, totals.stale_replies),
        counter(names::LARGE_REQUESTS_REJECTED, totals.large_rejected),
        counter(names::PREP_PROCESSOR_REQUEST_QUEUED, role.requests.get()),
        counter(names::SYNC_PROCESSOR_REQUEST_QUEUED, log.records.get()),
        counter(names::OUTSTANDING_CHANGES_QUEUED, core.stats.proposals),
        counter(
            names::OUTSTANDING_CHANGES_REMOVED,
            core.stats.proposals.saturating_sub(core.unapplied as u64),
        ),
        counter(names::PROPOSAL_COUNT, role.proposals.get()),
        counter(names::COMMIT_COUNT, role.commits.get()),
        counter(names::REQUEST_COMMIT_QUEUED, role.member_commits.get()),
        counter(names::LEARNER_PROPOSAL_RECEIVED_COUNT, role.learned_proposals.get()),
        counter(names::LEARNER_COMMIT_RECEIVED_COUNT, role.learned_commits.get()),
        counter(names::SNAP_COUNT, role.snapshots.get()),
        counter(names::DIFF_COUNT, role.diffs.get()),
        counter(names::REVALIDATE_COUNT, role.revalidations.get()),
        counter(names::LOOKING_COUNT, role.looking.get()),
        counter(names::DIGEST_MISMATCHES_COUNT, shared.tree.read().digest_mismatches()),
        // The first of them ends the process.
        counter(names::UNRECOVERABLE_ERROR_COUNT, 0),
        counter(names::SNAPSHOT_ERROR_COUNT, admin.snapshot_errors.get()),
        counter(names::SNAPSHOT_RATE_LIMITED_COUNT, admin.snapshot_limited.get()),
        counter(names::RESTORE_ERROR_COUNT, admin.restore_errors.get()),
        counter(names::RESTORE_RATE_LIMITED_COUNT, admin.restore_limited.get()),
        counter(names::INSECURE_ADMIN_COUNT, admin.insecure.get()),
        counter(names::ENSEMBLE_AUTH_SUCCESS, totals.ensemble_right),
        counter(names::ENSEMBLE_AUTH_FAIL, totals.ensemble_wrong),
        counter(names::ENSEMBLE_AUTH_SKIP, totals.ensemble_skipped),
    ];
    list.extend(summaries(shared));
    list.extend(quotas(shared));
    let refused = core.over_quota.iter();
    let refused = refused.map(|(key, n)| (key.clone(), i64::try_from(*n).unwrap_or(i64::MAX)));
    list.push(Metric::CounterSet {
        name: names::QUOTA_EXCEEDED_ERROR_PER_NAMESPACE,
        values: refused.collect(),
    });
    list
}

/// Times are measured in microseconds and printed in ms, as in Java.
fn summaries(shared: &Shared) -> Vec<Metric> {
    const MS: u64 = 1000;
    const ONE: u64 = 1;
    let meters = &shared.meters;
    let (log, core, start, admin) = (&meters.log, &meters.core, &meters.start, &meters.admin);
    let of_workers = |pick: &dyn Fn(&WorkerMeters) -> &[Histogram]| {
        let mut counted = Counted::default();
        shared.workers.iter().flat_map(|w| pick(&w.meters)).for_each(|h| counted.take(h));
        counted
    };
    let basic =
        |name, counted: Counted, unit| Metric::Summary { name, seen: counted.seen(unit), advanced: false };
    let advanced =
        |name, counted: Counted, unit| Metric::Summary { name, seen: counted.seen(unit), advanced: true };
    let by_learner = |name, advanced, of: &dyn Fn(&LearnerMeters) -> Seen| Metric::SummarySet {
        name,
        seen: meters.learners.seen(of),
        advanced,
    };
    let writes = meters::OPERATIONS.iter().filter(|op| op.is_write()).count();
    vec![
        advanced(names::READLATENCY, of_workers(&|w| &w.operations[writes..]), MS),
        advanced(names::UPDATELATENCY, of_workers(&|w| &w.operations[..writes]), MS),
        basic(names::NODE_CREATED_WATCH_COUNT, of_workers(&|w| slice::from_ref(&w.created)), ONE),
        basic(names::NODE_DELETED_WATCH_COUNT, of_workers(&|w| slice::from_ref(&w.deleted)), ONE),
        basic(names::NODE_CHANGED_WATCH_COUNT, of_workers(&|w| slice::from_ref(&w.changed)), ONE),
        basic(names::NODE_CHILDREN_WATCH_COUNT, of_workers(&|w| slice::from_ref(&w.children)), ONE),
        basic(names::FSYNCTIME, Counted::of(&log.sync), MS),
        basic(names::SYNC_PROCESS_TIME, Counted::of(&log.write), MS),
        advanced(names::SYNC_PROCESSOR_QUEUE_FLUSH_TIME_MS, Counted::of(&log.flush), MS),
        advanced(names::SYNC_PROCESSOR_QUEUE_TIME_MS, Counted::of(&log.queued), MS),
        advanced(names::SYNC_PROCESSOR_QUEUE_AND_FLUSH_TIME_MS, Counted::of(&log.queued_and_flushed), MS),
        basic(names::SYNC_PROCESSOR_BATCH_SIZE, Counted::of(&log.batch), ONE),
        basic(names::SYNC_PROCESSOR_QUEUE_SIZE, Counted::of(&log.queue), ONE),
        basic(names::PREP_PROCESSOR_QUEUE_SIZE, Counted::of(&core.round), ONE),
        basic(names::PREP_PROCESS_TIME, Counted::of(&core.prepare), MS),
        advanced(names::WRITE_FINAL_PROC_TIME_MS, Counted::of(&core.apply), MS),
        advanced(names::QUORUM_ACK_LATENCY, Counted::of(&core.quorum), MS),
        advanced(names::PROPAGATION_LATENCY, Counted::of(&core.propagation), MS),
        advanced(names::PROPOSAL_LATENCY, Counted::of(&core.proposal), MS),
        advanced(names::COMMIT_PROPAGATION_LATENCY, Counted::of(&core.commit_propagation), MS),
        advanced(names::PROPOSAL_ACK_CREATION_LATENCY, Counted::of(&core.acknowledged), MS),
        advanced(names::LOCAL_WRITE_COMMITTED_TIME_MS, Counted::of(&core.own_commit), MS),
        advanced(names::SERVER_WRITE_COMMITTED_TIME_MS, Counted::of(&core.others_commit), MS),
        basic(names::INFLIGHT_SNAP_COUNT, Counted::of(&core.snapshots_under_way), ONE),
        basic(names::INFLIGHT_DIFF_COUNT, Counted::of(&core.diffs_under_way), ONE),
        basic(names::CONNECTION_TOKEN_DEFICIT, of_workers(&|w| slice::from_ref(&w.token_deficit)), ONE),
        by_learner(names::ACK_LATENCY, true, &|m| Counted::of(&m.ack).seen(MS)),
        by_learner(names::LEARNER_HANDLER_QP_SIZE, false, &|m| Counted::of(&m.queue.lock().size).seen(ONE)),
        by_learner(names::LEARNER_HANDLER_QP_TIME_MS, true, &|m| Counted::of(&m.queue.lock().time).seen(MS)),
        basic(names::ELECTION_TIME, Counted::of(&core.election), MS),
        basic(names::UNAVAILABLE_TIME, Counted::of(&core.unavailable), MS),
        basic(names::LEADER_UNAVAILABLE_TIME, Counted::of(&core.leader_unavailable), MS),
        basic(names::FOLLOWER_SYNC_TIME, Counted::of(&core.follower_sync), MS),
        basic(names::OBSERVER_SYNC_TIME, Counted::of(&core.observer_sync), MS),
        basic(names::SNAPSHOTTIME, Counted::of(&admin.snapshot), MS),
        basic(names::RESTORE_TIME, Counted::of(&admin.restore), MS),
        basic(names::DBINITTIME, Counted::of(&start.database), MS),
        basic(names::STARTUP_SNAP_LOAD_TIME, Counted::of(&start.base), MS),
        basic(names::STARTUP_TXNS_LOAD_TIME, Counted::of(&start.replay), MS),
        basic(names::STARTUP_TXNS_LOADED, Counted::of(&start.replayed), ONE),
    ]
}

/// Of several quotas below one first component the last one counts, as in Java.
/// (ref: QuotaMetricsUtils)
fn quotas(shared: &Shared) -> Vec<Metric> {
    let mut values: [BTreeMap<String, i64>; 4] = Default::default();
    for quota in shared.tree.read().quotas() {
        let namespace = quota.prefix.split('/').nth(1).unwrap_or_default();
        let hard_or_soft = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
        let limits = &quota.limits;
        let row = [
            hard_or_soft(limits.count_hard, limits.count),
            hard_or_soft(limits.byte_hard, limits.bytes),
            quota.used.count,
            quota.used.bytes,
        ];
        for (map, value) in values.iter_mut().zip(row) {
            map.insert(namespace.to_owned(), value);
        }
    }
    let names = [
        names::QUOTA_COUNT_LIMIT_PER_NAMESPACE,
        names::QUOTA_BYTES_LIMIT_PER_NAMESPACE,
        names::QUOTA_COUNT_USAGE_PER_NAMESPACE,
        names::QUOTA_BYTES_USAGE_PER_NAMESPACE,
    ];
    let keyed = |name, map: BTreeMap<String, i64>| {
        map.into_iter().map(move |(key, value)| Metric::Keyed { name, key, value })
    };
    names.into_iter().zip(values).flat_map(|(name, map)| keyed(name, map)).collect()
}

/// Whether the server does its work, for probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The core answers.
    pub alive: bool,
    /// Clients are served.
    pub serving: bool,
    /// This member leads, or stands alone.
    pub leads: bool,
    /// Transactions that are not in the tree.
    pub unapplied: usize,
}

impl Health {
    /// Why it is not ready.
    pub fn trouble(&self) -> Option<&'static str> {
        if !self.alive {
            return Some("the core does not answer");
        }
        if !self.serving {
            return Some("no leader, or not in step with it");
        }
        (self.unapplied > limits::READY_UNAPPLIED).then_some("behind: too many transactions are not applied")
    }
}

/// What the member is, unless the core does not answer.
pub async fn role(shared: &Shared) -> Option<zk_node::Mode> {
    Some(within(ask_core(shared, false)?).await.status?.node.mode)
}

/// Asks the core, and believes nothing but its answer.
pub async fn health(shared: &Shared) -> Health {
    let report = match ask_core(shared, false) {
        Some(report) => tokio::time::timeout(limits::PROBE_WAIT, report).await.ok().and_then(Result::ok),
        None => None,
    };
    let status = report.as_ref().and_then(|r| r.status.as_ref());
    let in_quorum = status.is_none_or(|s| s.node.serving);
    Health {
        alive: report.is_some(),
        serving: report.is_some() && in_quorum && shared.serving() == crate::shared::Serving::Yes,
        leads: report.is_some() && status.is_none_or(|s| s.node.mode == zk_node::Mode::Leading),
        unapplied: report.map_or(0, |r| r.unapplied),
    }
}

/// What Java does not have.
pub fn own(shared: &Shared, health: Health) -> Vec<Own> {
    let meters = &shared.meters;
    let (log, core) = (&meters.log, &meters.core);
    let plain = |name, value| Own { name, label: None, value };
    let gauge = |name, value: f64| plain(name, OwnValue::Gauge(value));
    let counter = |name, value: u64| plain(name, OwnValue::Counter(value as f64));
    let yes = |b: bool| f64::from(u8::from(b));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let overflowed = shared.workers.iter().map(|w| w.meters.overflowed.get()).sum();
    let large_lists = shared.workers.iter().map(|w| w.meters.large_lists.get()).sum();
    let mut list = vec![
        Own { name: names::ZKD_INFO, label: Some(("version", version)), value: OwnValue::Gauge(1.0) },
        gauge(names::ZKD_SERVING, yes(health.serving)),
        gauge(names::ZKD_READY, yes(health.trouble().is_none())),
        gauge(names::ZKD_LEADS, yes(health.leads)),
        gauge(names::ZKD_UNAPPLIED_TRANSACTIONS, health.unapplied as f64),
        gauge(names::ZKD_MIRROR_LAG_BYTES, shared.mirror_lag.load(Ordering::Relaxed) as f64),
        plain(names::ZKD_MIRROR_WRITE_SECONDS, Counted::of(&meters.mirror.write).seconds()),
        plain(names::ZKD_LOG_SYNC_SECONDS, Counted::of(&log.sync).seconds()),
        plain(names::ZKD_LOG_BATCH_TRANSACTIONS, Counted::of(&log.batch).numbers()),
        counter(names::ZKD_LOG_BYTES_TOTAL, log.bytes.get()),
        counter(names::ZKD_LOG_SLOW_SYNCS_TOTAL, log.slow.get()),
        plain(names::ZKD_APPLY_BATCH_TRANSACTIONS, Counted::of(&core.slice).numbers()),
        plain(names::ZKD_CORE_BATCH_REQUESTS, Counted::of(&core.round).numbers()),
        counter(names::ZKD_CONNECTIONS_OVERFLOWED_TOTAL, overflowed),
        counter(names::ZKD_LOGINS_FAILED_TOTAL, shared.guard.failures()),
        counter(names::ZKD_LOGINS_REFUSED_TOTAL, shared.guard.closed()),
        counter(names::ZKD_LARGE_CHILD_LISTS_TOTAL, large_lists),
        counter(names::ZKD_ADMIN_REQUESTS_TOTAL, meters.admin.requests.get()),
    ];
    for i in 0..=meters::OPERATIONS.len() {
        let mut counted = Counted::default();
        shared.workers.iter().for_each(|w| counted.take(&w.meters.operations[i]));
        let op = meters::OPERATIONS.get(i).map_or("other", |op| op.name());
        let label = Some(("op", op.to_owned()));
        list.push(Own { name: names::ZKD_REQUEST_SECONDS, label, value: counted.seconds() });
    }
    list
}

/// What the process uses.
pub fn process() -> Vec<Own> {
    let gauge = |name, value| Own { name, label: None, value: OwnValue::Gauge(value) };
    let mut list = Vec::new();
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    if let Ok(usage) = usage {
        let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        let cpu = OwnValue::Counter(seconds(usage.user_time()) + seconds(usage.system_time()));
        list.push(Own { name: names::PROCESS_CPU_SECONDS_TOTAL, label: None, value: cpu });
    }
    let started = (clock::wall() as f64 - (clock::mono() - clock::START) as f64) / 1000.0;
    list.push(gauge(names::PROCESS_START_TIME_SECONDS, started));
    let (open, most) = descriptors();
    list.push(gauge(names::PROCESS_OPEN_FDS, open as f64));
    list.push(gauge(names::PROCESS_MAX_FDS, most as f64));
    let kib = |line: &str| memory(line).map(|kib| kib as f64 * 1024.0);
    list.extend(kib("VmSize:").map(|n| gauge(names::PROCESS_VIRTUAL_MEMORY_BYTES, n)));
    list.extend(kib("VmRSS:").map(|n| gauge(names::PROCESS_RESIDENT_MEMORY_BYTES, n)));
    list
}

/// Open files, and how many there may be.
fn descriptors() -> (u64, u64) {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    (fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64), limit.map_or(0, |(soft, _)| soft))
}

/// A line of the system's account of the process, KiB.
fn memory(line: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with(line))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What a member knows of the others.
fn member_view(status: &MemberReport) -> MemberView {
    let address = |m: &zab::config::Member| MemberAddresses {
        peer: m.addresses.iter().map(|a| (a.host.clone(), a.quorum_port, a.election_port)).collect(),
        client: m.client.clone(),
        observer: m.observer,
    };
    let observers = status.node.learners.iter().filter(|l| l.observer).map(|l| Observer {
        id: l.sid.map(|id| id.0),
        synced: l.synced,
        acked: l.acked.0,
    });
    MemberView {
        id: status.me.0,
        leads: status.node.mode == zk_node::Mode::Leading,
        leader: status.node.leader.map(|id| id.0),
        members: status.config.members.iter().map(|(id, m)| (id.0, address(m))).collect(),
        observers: observers.collect(),
    }
}

fn last_snapshot(dir: &Path) -> Option<Snapshot> {
    let (zxid, path) = zk_storage::find_snapshots(dir).ok()?.into_iter().next()?;
    let written = fs::metadata(path).and_then(|m| m.modified()).ok()?;
    let since = written.duration_since(UNIX_EPOCH).ok()?;
    Some(Snapshot { zxid: zxid.0, written: i64::try_from(since.as_secs()).unwrap_or(i64::MAX) })
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

/// Lines of `envi`.
pub fn environment() -> Vec<(String, String)> {
    Status::environment_from(environment_of)
}

/// There is no Java, but the keys are read by people.
fn environment_of(key: &str) -> Option<String> {
    let var = |name: &str| std::env::var(name).ok();
    let megabytes = || Some(format!("{}MB", memory("VmRSS:")? / 1024));
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
        "os.memory.max" | "os.memory.total" => megabytes(),
        _ => None,
    }
}
