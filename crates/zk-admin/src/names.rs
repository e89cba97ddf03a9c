//! What each metric is called. `mntr` puts `zk_` in front. (ref: ServerMetrics,
//! ZooKeeperServer.registerMetrics, LeaderZooKeeperServer.registerMetrics)

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: &str = $name;)*

        /// All names of this module.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

names! {
    // Not metrics, but the first lines of `mntr`.
    /// Release, revision and build date.
    VERSION = "version";
    /// `standalone`, `leader`, `follower`, `observer` or `read-only`.
    SERVER_STATE = "server_state";
    /// What a member of an ensemble does, for example `following - broadcast`.
    PEER_STATE = "peer_state";
    /// Id of the member that an observer follows.
    OBSERVER_MASTER_ID = "observer_master_id";

    // Gauges of every server.
    /// Ephemeral nodes.
    EPHEMERALS_COUNT = "ephemerals_count";
    /// Client connections, this one included.
    NUM_ALIVE_CONNECTIONS = "num_alive_connections";
    /// Mean time of a request, ms with a fraction.
    AVG_LATENCY = "avg_latency";
    /// Requests in the pipeline.
    OUTSTANDING_REQUESTS = "outstanding_requests";
    /// Nodes, the root counted twice.
    ZNODE_COUNT = "znode_count";
    /// Sessions known to the ensemble.
    GLOBAL_SESSIONS = "global_sessions";
    /// Connections from other machines without a client certificate.
    NON_MTLS_REMOTE_CONN_COUNT = "non_mtls_remote_conn_count";
    /// Size of the last reply, bytes; -1 before the first.
    LAST_CLIENT_RESPONSE_SIZE = "last_client_response_size";
    /// Packets sent, four-letter words included.
    PACKETS_SENT = "packets_sent";
    /// Packets received, four-letter words included.
    PACKETS_RECEIVED = "packets_received";
    /// Size of the largest reply, bytes; -1 before the first.
    MAX_CLIENT_RESPONSE_SIZE = "max_client_response_size";
    /// Chance that a new connection is refused, 0 to 1.
    CONNECTION_DROP_PROBABILITY = "connection_drop_probability";
    /// Watches of every kind.
    WATCH_COUNT = "watch_count";
    /// Refused client certificates.
    AUTH_FAILED_COUNT = "auth_failed_count";
    /// Shortest time of a request, ms.
    MIN_LATENCY = "min_latency";
    /// Limit of open files.
    MAX_FILE_DESCRIPTOR_COUNT = "max_file_descriptor_count";
    /// Lengths of all paths and data, bytes.
    APPROXIMATE_DATA_SIZE = "approximate_data_size";
    /// Open files.
    OPEN_FILE_DESCRIPTOR_COUNT = "open_file_descriptor_count";
    /// Sessions known to this server alone.
    LOCAL_SESSIONS = "local_sessions";
    /// Time since the start, ms.
    UPTIME = "uptime";
    /// Longest time of a request, ms.
    MAX_LATENCY = "max_latency";
    /// TLS handshakes under way.
    OUTSTANDING_TLS_HANDSHAKE = "outstanding_tls_handshake";
    /// Size of the smallest reply, bytes; -1 before the first.
    MIN_CLIENT_RESPONSE_SIZE = "min_client_response_size";
    /// Connections from this machine without a client certificate.
    NON_MTLS_LOCAL_CONN_COUNT = "non_mtls_local_conn_count";

    // Gauges of a member of an ensemble.
    /// Voters.
    QUORUM_SIZE = "quorum_size";
    /// Observers in step.
    SYNCED_OBSERVERS = "synced_observers";
    /// Connected followers and observers.
    LEARNERS = "learners";
    /// Voters in step.
    SYNCED_FOLLOWERS = "synced_followers";
    /// Followers in step without a vote.
    SYNCED_NON_VOTING_FOLLOWERS = "synced_non_voting_followers";
    /// Sync requests that wait for commits.
    PENDING_SYNCS = "pending_syncs";
    /// Time since it leads, ms.
    LEADER_UPTIME = "leader_uptime";
    /// Size of the last proposal, bytes; -1 before the first.
    LAST_PROPOSAL_SIZE = "last_proposal_size";
    /// Size of the largest proposal, bytes; -1 before the first.
    MAX_PROPOSAL_SIZE = "max_proposal_size";
    /// Size of the smallest proposal, bytes; -1 before the first.
    MIN_PROPOSAL_SIZE = "min_proposal_size";

    // Gauge sets; the key is the first component of a path.
    /// Hard, else soft limit of nodes.
    QUOTA_COUNT_LIMIT_PER_NAMESPACE = "quota_count_limit_per_namespace";
    /// Hard, else soft limit of bytes.
    QUOTA_BYTES_LIMIT_PER_NAMESPACE = "quota_bytes_limit_per_namespace";
    /// Nodes under a quota.
    QUOTA_COUNT_USAGE_PER_NAMESPACE = "quota_count_usage_per_namespace";
    /// Bytes under a quota.
    QUOTA_BYTES_USAGE_PER_NAMESPACE = "quota_bytes_usage_per_namespace";

    // Counters.
    /// Bytes received from clients.
    BYTES_RECEIVED_COUNT = "bytes_received_count";
    /// Bytes of replies.
    RESPONSE_BYTES = "response_bytes";
    /// Bytes of watch events.
    WATCH_BYTES = "watch_bytes";
    /// Connect requests.
    CONNECTION_REQUEST_COUNT = "connection_request_count";
    /// Connections refused by a limit.
    CONNECTION_REJECTED = "connection_rejected";
    /// Connections that the server closed.
    CONNECTION_DROP_COUNT = "connection_drop_count";
    /// Connect requests that name a session.
    CONNECTION_REVALIDATE_COUNT = "connection_revalidate_count";
    /// Sessions that a learner had checked by the leader.
    REVALIDATE_COUNT = "revalidate_count";
    /// Connections dropped because they never asked for a session.
    SESSIONLESS_CONNECTIONS_EXPIRED = "sessionless_connections_expired";
    /// Sessions that expired.
    STALE_SESSIONS_EXPIRED = "stale_sessions_expired";
    /// Connections closed while the server was not serving.
    CNXN_CLOSED_WITHOUT_ZK_SERVER_RUNNING = "cnxn_closed_without_zk_server_running";
    /// Requests of closed connections.
    STALE_REQUESTS = "stale_requests";
    /// Requests of closed connections that were dropped.
    STALE_REQUESTS_DROPPED = "stale_requests_dropped";
    /// Replies to closed connections.
    STALE_REPLIES = "stale_replies";
    /// Requests that the throttle held up.
    REQUEST_THROTTLE_WAIT_COUNT = "request_throttle_wait_count";
    /// Requests that failed because they waited too long.
    THROTTLED_OPS = "throttled_ops";
    /// Requests refused for their size.
    LARGE_REQUESTS_REJECTED = "large_requests_rejected";
    /// Requests that entered prep.
    PREP_PROCESSOR_REQUEST_QUEUED = "prep_processor_request_queued";
    /// Requests that entered the log.
    SYNC_PROCESSOR_REQUEST_QUEUED = "sync_processor_request_queued";
    /// Changes put in flight by prep.
    OUTSTANDING_CHANGES_QUEUED = "outstanding_changes_queued";
    /// Changes that were applied.
    OUTSTANDING_CHANGES_REMOVED = "outstanding_changes_removed";
    /// Proposals of the leader.
    PROPOSAL_COUNT = "proposal_count";
    /// Commits of the leader.
    COMMIT_COUNT = "commit_count";
    /// Snapshots sent to learners.
    SNAP_COUNT = "snap_count";
    /// Diffs sent to learners.
    DIFF_COUNT = "diff_count";
    /// Elections entered.
    LOOKING_COUNT = "looking_count";
    /// Trees whose digest differed from the leader's.
    DIGEST_MISMATCHES_COUNT = "digest_mismatches_count";
    /// Failures that stop the server.
    UNRECOVERABLE_ERROR_COUNT = "unrecoverable_error_count";
    /// Failed TLS handshakes.
    UNSUCCESSFUL_HANDSHAKE = "unsuccessful_handshake";
    /// TLS handshakes refused by their limit.
    TLS_HANDSHAKE_EXCEEDED = "tls_handshake_exceeded";

    // Summaries.
    /// Time of a write, ms.
    UPDATELATENCY = "updatelatency";
    /// Time of a read, ms.
    READLATENCY = "readlatency";
    /// Time of a sync of the log, ms.
    FSYNCTIME = "fsynctime";
    /// Time of a snapshot, ms.
    SNAPSHOTTIME = "snapshottime";
    /// Time to load the database at start, ms.
    DBINITTIME = "dbinittime";
    /// Txns replayed at start.
    STARTUP_TXNS_LOADED = "startup_txns_loaded";
    /// Time of that replay, ms.
    STARTUP_TXNS_LOAD_TIME = "startup_txns_load_time";
    /// Time to load the snapshot at start, ms.
    STARTUP_SNAP_LOAD_TIME = "startup_snap_load_time";
    /// Txns in one sync of the log.
    SYNC_PROCESSOR_BATCH_SIZE = "sync_processor_batch_size";
    /// Txns that wait for the log.
    SYNC_PROCESSOR_QUEUE_SIZE = "sync_processor_queue_size";
    /// Requests that wait for prep.
    PREP_PROCESSOR_QUEUE_SIZE = "prep_processor_queue_size";
    /// Time of prep, ms.
    PREP_PROCESS_TIME = "prep_process_time";
    /// Watches fired by a created node.
    NODE_CREATED_WATCH_COUNT = "node_created_watch_count";
    /// Watches fired by a deleted node.
    NODE_DELETED_WATCH_COUNT = "node_deleted_watch_count";
    /// Watches fired by changed data.
    NODE_CHANGED_WATCH_COUNT = "node_changed_watch_count";
    /// Watches fired by changed children.
    NODE_CHILDREN_WATCH_COUNT = "node_children_watch_count";
    /// Time without a leader, ms.
    UNAVAILABLE_TIME = "unavailable_time";
    /// Time of an election, ms.
    ELECTION_TIME = "election_time";
    /// The same of a member that leads in the end, ms.
    LEADER_UNAVAILABLE_TIME = "leader_unavailable_time";
    /// Time from an election to the leader's state, of a follower, ms.
    FOLLOWER_SYNC_TIME = "follower_sync_time";
    /// The same of an observer, ms.
    OBSERVER_SYNC_TIME = "observer_sync_time";
    /// Time of writing to the log without its sync, ms.
    SYNC_PROCESS_TIME = "sync_process_time";
    /// Time of a txn in the queue to the log, ms.
    SYNC_PROCESSOR_QUEUE_TIME_MS = "sync_processor_queue_time_ms";
    /// Time of a txn from there until it is durable, ms.
    SYNC_PROCESSOR_QUEUE_AND_FLUSH_TIME_MS = "sync_processor_queue_and_flush_time_ms";
    /// Time of a write and sync of the log, ms.
    SYNC_PROCESSOR_QUEUE_FLUSH_TIME_MS = "sync_processor_queue_flush_time_ms";
    /// Time of an application of a write, ms.
    WRITE_FINAL_PROC_TIME_MS = "write_final_proc_time_ms";
    /// Time from a proposal to its commit, ms.
    QUORUM_ACK_LATENCY = "quorum_ack_latency";
    /// Time from the preparation of a txn to its application, ms.
    PROPAGATION_LATENCY = "propagation_latency";
    /// Time from the preparation of a txn to its arrival at a follower, ms.
    PROPOSAL_LATENCY = "proposal_latency";
    /// Time from a proposal's arrival at a learner to its commit, ms.
    COMMIT_PROPAGATION_LATENCY = "commit_propagation_latency";
    /// Time of a restore, ms.
    RESTORE_TIME = "restore_time";

    /// Time from the preparation of a txn to its acknowledgement by a member, ms; the key is its id.
    ACK_LATENCY = "ack_latency";
    /// Time from the preparation of a txn to its being durable at this member, ms.
    PROPOSAL_ACK_CREATION_LATENCY = "proposal_ack_creation_latency";
    /// Time from a commit to its application for a client of this member, ms.
    LOCAL_WRITE_COMMITTED_TIME_MS = "local_write_committed_time_ms";
    /// The same for a client of another member, ms.
    SERVER_WRITE_COMMITTED_TIME_MS = "server_write_committed_time_ms";
    /// Snapshots under way to learners when one begins or ends.
    INFLIGHT_SNAP_COUNT = "inflight_snap_count";
    /// Diffs under way to learners when one begins or ends.
    INFLIGHT_DIFF_COUNT = "inflight_diff_count";
    /// Packets that wait for a learner; the key is its id.
    LEARNER_HANDLER_QP_SIZE = "learner_handler_qp_size";
    /// How long packets wait for a learner, ms; the key is its id.
    LEARNER_HANDLER_QP_TIME_MS = "learner_handler_qp_time_ms";
    /// Tokens that the throttle of connections lacks when one has passed it.
    CONNECTION_TOKEN_DEFICIT = "connection_token_deficit";

    // More counters.
    /// Writes refused because a quota is used up; the key is the first component of its path.
    QUOTA_EXCEEDED_ERROR_PER_NAMESPACE = "quota_exceeded_error_per_namespace";
    /// Commits that reached the request path of a member.
    REQUEST_COMMIT_QUEUED = "request_commit_queued";
    /// Proposals that a learner was sent.
    LEARNER_PROPOSAL_RECEIVED_COUNT = "learner_proposal_received_count";
    /// Commits that a learner was sent.
    LEARNER_COMMIT_RECEIVED_COUNT = "learner_commit_received_count";
    /// Connections without TLS on an admin port that takes both kinds.
    INSECURE_ADMIN_COUNT = "insecure_admin_count";
    /// Snapshot commands that failed.
    SNAPSHOT_ERROR_COUNT = "snapshot_error_count";
    /// Snapshot commands that came too soon.
    SNAPSHOT_RATE_LIMITED_COUNT = "snapshot_rate_limited_count";
    /// Restore commands that failed.
    RESTORE_ERROR_COUNT = "restore_error_count";
    /// Restore commands that came too soon.
    RESTORE_RATE_LIMITED_COUNT = "restore_rate_limited_count";
    /// Clients that know what the ensemble is called.
    ENSEMBLE_AUTH_SUCCESS = "ensemble_auth_success";
    /// Clients that mean another ensemble.
    ENSEMBLE_AUTH_FAIL = "ensemble_auth_fail";
    /// Clients that said no name, or could say any.
    ENSEMBLE_AUTH_SKIP = "ensemble_auth_skip";

    // Of the process, with the names that every Prometheus client library uses.
    /// Processor time, seconds.
    PROCESS_CPU_SECONDS_TOTAL = "process_cpu_seconds_total";
    /// When the process started, seconds since 1970.
    PROCESS_START_TIME_SECONDS = "process_start_time_seconds";
    /// Open files.
    PROCESS_OPEN_FDS = "process_open_fds";
    /// Limit of open files.
    PROCESS_MAX_FDS = "process_max_fds";
    /// Address space, bytes.
    PROCESS_VIRTUAL_MEMORY_BYTES = "process_virtual_memory_bytes";
    /// Memory in use, bytes.
    PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes";

    // Own ones.
    /// 1 with the version as a label.
    ZKD_INFO = "zkd_info";
    /// 1 if clients are served.
    ZKD_SERVING = "zkd_serving";
    /// 1 if the server is ready as `/readyz` says it.
    ZKD_READY = "zkd_ready";
    /// 1 if this member leads or stands alone.
    ZKD_LEADS = "zkd_leads";
    /// Transactions that are in the log and not in the tree.
    ZKD_UNAPPLIED_TRANSACTIONS = "zkd_unapplied_transactions";
    /// Bytes of changes that the mirror has not written.
    ZKD_MIRROR_LAG_BYTES = "zkd_mirror_lag_bytes";
    /// Time of a write to the mirror, seconds.
    ZKD_MIRROR_WRITE_SECONDS = "zkd_mirror_write_seconds";
    /// Time of a sync of the log, seconds.
    ZKD_LOG_SYNC_SECONDS = "zkd_log_sync_seconds";
    /// Transactions in one sync of the log.
    ZKD_LOG_BATCH_TRANSACTIONS = "zkd_log_batch_transactions";
    /// Bytes written to the log.
    ZKD_LOG_BYTES_TOTAL = "zkd_log_bytes_total";
    /// Syncs above `fsync.warningthresholdms`.
    ZKD_LOG_SLOW_SYNCS_TOTAL = "zkd_log_slow_syncs_total";
    /// Transactions applied under one hold of the tree's lock.
    ZKD_APPLY_BATCH_TRANSACTIONS = "zkd_apply_batch_transactions";
    /// Requests of one round of the core.
    ZKD_CORE_BATCH_REQUESTS = "zkd_core_batch_requests";
    /// Time of requests by operation, seconds.
    ZKD_REQUEST_SECONDS = "zkd_request_seconds";
    /// Connections closed because they did not take their events.
    ZKD_CONNECTIONS_OVERFLOWED_TOTAL = "zkd_connections_overflowed_total";
    /// Logins that have failed, of clients and on the admin port.
    ZKD_LOGINS_FAILED_TOTAL = "zkd_logins_failed_total";
    /// Logins that nobody looked at because too many of their address had failed.
    ZKD_LOGINS_REFUSED_TOTAL = "zkd_logins_refused_total";
    /// Replies with lists of children that have nearly outgrown what clients take.
    ZKD_LARGE_CHILD_LISTS_TOTAL = "zkd_large_child_lists_total";
    /// Requests of the admin port and the page of Prometheus.
    ZKD_ADMIN_REQUESTS_TOTAL = "zkd_admin_requests_total";
}

/// What an own metric means, for the page of Prometheus.
pub fn help(name: &str) -> &'static str {
    match name {
        ZKD_INFO => "1, with the version as a label.",
        ZKD_SERVING => "1 if clients are served.",
        ZKD_READY => "1 if the server is ready as /readyz says it.",
        ZKD_LEADS => "1 if this member leads or stands alone.",
        ZKD_UNAPPLIED_TRANSACTIONS => "Transactions that are in the log and not in the tree.",
        ZKD_MIRROR_LAG_BYTES => "Bytes of changes that the mirror has not written.",
        ZKD_MIRROR_WRITE_SECONDS => "Time of a write to the mirror.",
        ZKD_LOG_SYNC_SECONDS => "Time of a sync of the transaction log.",
        ZKD_LOG_BATCH_TRANSACTIONS => "Transactions in one sync of the log.",
        ZKD_LOG_BYTES_TOTAL => "Bytes of transactions written to the log.",
        ZKD_LOG_SLOW_SYNCS_TOTAL => "Syncs of the log above fsync.warningthresholdms.",
        ZKD_APPLY_BATCH_TRANSACTIONS => "Transactions applied under one hold of the tree's lock.",
        ZKD_CORE_BATCH_REQUESTS => "Requests of one round of the core.",
        ZKD_REQUEST_SECONDS => "Time of requests from their arrival to their reply.",
        ZKD_CONNECTIONS_OVERFLOWED_TOTAL => "Connections closed because they did not take their events.",
        ZKD_LOGINS_FAILED_TOTAL => "Logins that have failed, of clients and on the admin port.",
        ZKD_LOGINS_REFUSED_TOTAL => {
            "Logins that were not looked at because too many of their address had failed."
        }
        ZKD_LARGE_CHILD_LISTS_TOTAL => "Lists of children above three quarters of what clients take.",
        ZKD_ADMIN_REQUESTS_TOTAL => "Requests of the admin port and of this page.",
        PROCESS_CPU_SECONDS_TOTAL => "Total user and system CPU time spent in seconds.",
        PROCESS_START_TIME_SECONDS => "Start time of the process since unix epoch in seconds.",
        PROCESS_OPEN_FDS => "Number of open file descriptors.",
        PROCESS_MAX_FDS => "Maximum number of open file descriptors.",
        PROCESS_VIRTUAL_MEMORY_BYTES => "Virtual memory size in bytes.",
        PROCESS_RESIDENT_MEMORY_BYTES => "Resident memory size in bytes.",
        _ => "",
    }
}

/// What `cons` shows as `lop` after a request with this opcode that succeeded; `NA` for others, and
/// after a write that failed. (ref: FinalRequestProcessor.processRequest)
pub fn last_operation(opcode: i32) -> &'static str {
    match opcode {
        1 | 15 | 19 | 21 => "CREA",
        2 | 20 => "DELE",
        3 => "EXIS",
        4 => "GETD",
        5 => "SETD",
        6 => "GETA",
        7 => "SETA",
        8 | 12 => "GETC",
        9 => "SYNC",
        11 => "PING",
        13 => "CHEC",
        14 => "MULT",
        16 => "RECO",
        17 => "CHKW",
        18 => "REMW",
        22 => "MLTR",
        101 => "SETW",
        103 => "GETE",
        104 => "GETACN",
        105 => "STW2",
        106 => "ADDW",
        107 => "HOMI",
        -10 => "SESS",
        -11 => "CLOS",
        _ => "NA",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names = ALL.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
