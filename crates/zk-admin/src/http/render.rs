//! What each command says.

use super::{Command, Json};
use crate::{
    java, monitor, names,
    status::{Client, Conf, MemberAddresses, MemberView, Mode, Serving, Sessions, Sizes, Snapshot, Status},
};

type Entries = Vec<(String, Json)>;

fn entries_of<const N: usize>(entries: [(&str, Json); N]) -> Entries {
    entries.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

/// The keys of an answer but for `command` and `error`.
pub fn entries(command: Command, mask: Option<&str>, status: &Status, serving: Option<&Serving>) -> Entries {
    match command {
        Command::GetTraceMask => entries_of([("tracemask", status.trace_mask.into())]),
        Command::SetTraceMask => set_trace_mask(mask, status),
        Command::Environment => environment(status),
        Command::SystemProperties => {
            status.properties.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect()
        }
        _ => match serving {
            Some(serving) => while_serving(command, status, serving),
            // Only this one is left of those that need no server.
            None => zabstate(None, 0),
        },
    }
}

fn while_serving(command: Command, status: &Status, serving: &Serving) -> Entries {
    match command {
        Command::Configuration => configuration(&serving.conf),
        Command::Connections => connections(&serving.clients, true),
        Command::Dirs => entries_of([
            ("datadir_size", serving.directories.data.into()),
            ("logdir_size", serving.directories.log.into()),
        ]),
        Command::Dump => dump(serving),
        Command::Hash => entries_of([("digests", Json::List(serving.digests.iter().map(digest).collect()))]),
        Command::InitialConfiguration => {
            entries_of([("initial_configuration", status.initial_configuration.as_deref().into())])
        }
        Command::IsReadOnly => entries_of([("read_only", read_only(serving))]),
        Command::LastSnapshot => last_snapshot(serving.last_snapshot),
        Command::Leader => leader(serving.member.as_ref()),
        Command::Monitor => monitor(status, serving),
        Command::Observers => observers(serving),
        Command::ServerStats => server_stats(status, serving),
        Command::Stats => {
            let mut entries = server_stats(status, serving);
            entries.extend(connections(&serving.clients, false));
            entries
        }
        Command::VotingView => voting_view(serving.member.as_ref()),
        Command::WatchSummary => entries_of([
            ("num_connections", serving.watches.connections.into()),
            ("num_paths", serving.watches.paths.into()),
            ("num_total_watches", serving.watches.total.into()),
        ]),
        Command::Watches => {
            let by_session = serving.watches.by_session.iter();
            let rows = by_session.map(|(id, paths)| (id.to_string(), texts(paths))).collect();
            entries_of([("session_id_to_watched_paths", Json::Object(rows))])
        }
        Command::WatchesByPath => {
            let by_path = serving.watches.by_path.iter();
            let rows = by_path.map(|(path, ids)| (path.clone(), Json::list(ids.iter().copied()))).collect();
            entries_of([("path_to_session_ids", Json::Object(rows))])
        }
        Command::Zabstate => zabstate(serving.member.as_ref(), serving.zxid),
        // The caller has done what they ask for, or nothing is to be told.
        Command::ConnectionStatReset
        | Command::StatReset
        | Command::ObserverConnectionStatReset
        | Command::Ruok
        | Command::Snapshot
        | Command::Restore
        | Command::GetTraceMask
        | Command::SetTraceMask
        | Command::Environment
        | Command::SystemProperties => Vec::new(),
    }
}

fn texts(list: &[String]) -> Json {
    Json::list(list.iter().map(String::as_str))
}

fn set_trace_mask(mask: Option<&str>, status: &Status) -> Entries {
    let needs = "setTraceMask requires long traceMask argument";
    match mask.map(|text| (text, text.parse::<i64>())) {
        None => entries_of([("error", needs.into())]),
        Some((text, Err(_))) => entries_of([("error", format!("{needs}, got {text}").into())]),
        Some((_, Ok(_))) => entries_of([("tracemask", status.trace_mask.into())]),
    }
}

fn environment(status: &Status) -> Entries {
    let mut entries = entries_of([("zookeeper.version", status.version.to_string().into())]);
    entries.extend(status.environment.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
    entries
}

/// (ref: ZooKeeperServerConf.toMap)
fn configuration(conf: &Conf) -> Entries {
    entries_of([
        ("client_port", conf.client_port.map_or(-1, i64::from).into()),
        ("data_dir", conf.data_dir.as_str().into()),
        ("data_log_dir", conf.data_log_dir.as_str().into()),
        ("tick_time", conf.tick_time.into()),
        ("max_client_cnxns", conf.max_client_cnxns.into()),
        ("min_session_timeout", conf.min_session_timeout.into()),
        ("max_session_timeout", conf.max_session_timeout.into()),
        ("server_id", conf.server_id.into()),
        ("client_port_listen_backlog", conf.listen_backlog.map_or(-1, i64::from).into()),
    ])
}

fn connections(clients: &[Client], full: bool) -> Entries {
    entries_of([
        ("connections", Json::List(clients.iter().map(|c| connection(c, full)).collect())),
        ("secure_connections", Json::List(Vec::new())),
    ])
}

/// (ref: ServerCnxn.getConnectionInfo)
fn connection(client: &Client, full: bool) -> Json {
    let mut entries = entries_of([
        ("remote_socket_address", client.address.map(address).into()),
        ("interest_ops", u32::from(client.interest).into()),
        ("outstanding_requests", client.queued.into()),
        ("packets_received", client.received.into()),
        ("packets_sent", client.sent.into()),
    ]);
    if let Some(session) = client.session.as_ref().filter(|_| full) {
        entries.extend(entries_of([
            ("session_id", session.id.into()),
            ("last_operation", session.last_operation.into()),
            ("established", session.established.into()),
            ("session_timeout", session.timeout.into()),
            ("last_cxid", session.last_xid.unwrap_or(-1).into()),
            ("last_zxid", session.last_zxid.into()),
            ("last_response_time", session.last_response.into()),
            ("last_latency", session.last_latency.into()),
            ("min_latency", session.min_latency.into()),
            ("avg_latency", session.average_latency.into()),
            ("max_latency", session.max_latency.into()),
        ]));
    }
    Json::Object(entries)
}

/// As Jackson prints an `InetSocketAddress`: without the slash of its text.
fn address(address: std::net::SocketAddr) -> String {
    java::socket_address(address).trim_start_matches('/').to_owned()
}

/// differs: expiry is a time of day in ms, for Java's is that of a clock that nobody can read.
fn dump(serving: &Serving) -> Entries {
    let expiry = match &serving.sessions {
        Sessions::Tracked(expiry) => {
            let buckets = expiry.buckets.iter();
            buckets.map(|(at, ids)| (at.to_string(), Json::list(ids.iter().copied()))).collect()
        }
        Sessions::Global(_) => Vec::new(),
    };
    let ephemerals = serving.ephemerals.iter().map(|(id, paths)| (id.to_string(), texts(paths))).collect();
    entries_of([
        ("expiry_time_to_session_ids", Json::Object(expiry)),
        ("session_id_to_ephemeral_paths", Json::Object(ephemerals)),
    ])
}

/// (ref: ZxidDigest)
fn digest((zxid, digest): &(i64, i64)) -> Json {
    let version = i64::from(DIGEST_VERSION);
    Json::object([("zxid", (*zxid).into()), ("digest", (*digest).into()), ("digest_version", version.into())])
}

/// (ref: DigestCalculator.DIGEST_VERSION)
const DIGEST_VERSION: u8 = 2;

fn read_only(serving: &Serving) -> Json {
    (serving.mode == Mode::ReadOnly).into()
}

/// (ref: LastSnapshotCommand)
fn last_snapshot(snapshot: Option<Snapshot>) -> Entries {
    let Snapshot { zxid, written } = snapshot.unwrap_or(Snapshot { zxid: -1, written: -1 });
    entries_of([("zxid", format!("{zxid:x}").into()), ("timestamp", written.into())])
}

/// (ref: LeaderCommand)
fn leader(member: Option<&MemberView>) -> Entries {
    let Some(member) = member else { return entries_of([("error", "server is not initialized".into())]) };
    let at = member.leader.and_then(|id| member.members.get(&id)).and_then(|m| m.peer.first());
    let mut entries =
        entries_of([("is_leader", member.leads.into()), ("leader_id", member.leader.unwrap_or(-1).into())]);
    entries.extend(at.map(|(host, ..)| ("leader_ip".to_owned(), host.as_str().into())));
    entries
}

/// (ref: MonitorCommand)
fn monitor(status: &Status, serving: &Serving) -> Entries {
    let mut entries = entries_of([
        (names::VERSION, status.version.to_string().into()),
        (names::SERVER_STATE, serving.mode.to_string().into()),
    ]);
    if let Some(member) = &serving.gauges.member {
        entries.push((names::PEER_STATE.to_owned(), member.peer_state.as_str().into()));
        entries.extend(member.observer_master_id.map(|id| (names::OBSERVER_MASTER_ID.to_owned(), id.into())));
    }
    entries.extend(monitor::lines(serving).into_iter().map(|(name, value)| (name, value.into())));
    entries
}

/// differs: what Java counts for each observer's connection is not kept: no address, no queue and no
/// packets, but the last zxid that it acknowledged.
fn observers(serving: &Serving) -> Entries {
    let list = serving.member.iter().flat_map(|m| &m.observers);
    let synced = list.clone().filter(|o| o.synced).count() as u64;
    let observer = |o: &crate::status::Observer| {
        Json::object([("sid", o.id.into()), ("last_zxid", format!("0x{:x}", o.acked).into())])
    };
    entries_of([("synced_observers", synced.into()), ("observers", Json::List(list.map(observer).collect()))])
}

/// (ref: BufferStats)
fn sizes(sizes: Sizes) -> Json {
    Json::object([
        ("last_buffer_size", sizes.last.into()),
        ("min_buffer_size", sizes.min.into()),
        ("max_buffer_size", sizes.max.into()),
    ])
}

/// Jackson prints what `ServerStats` has getters for. (ref: SrvrCommand)
fn server_stats(status: &Status, serving: &Serving) -> Entries {
    let Serving { gauges, latency, .. } = serving;
    let replies = gauges.client_response_sizes;
    let stats = Json::object([
        ("packets_sent", serving.sent.into()),
        ("packets_received", serving.received.into()),
        ("fsync_threshold_exceed_count", serving.slow_syncs.into()),
        ("client_response_stats", sizes(replies)),
        ("provider_null", false.into()),
        ("data_dir_size", serving.directories.data.into()),
        ("log_dir_size", serving.directories.log.into()),
        ("last_processed_zxid", serving.zxid.into()),
        ("outstanding_requests", serving.outstanding.into()),
        ("server_state", serving.mode.to_string().into()),
        ("avg_latency", latency.average.into()),
        ("max_latency", latency.max.into()),
        ("min_latency", latency.min.into()),
        ("num_alive_client_connections", serving.connections.into()),
        ("uptime", gauges.uptime.into()),
        ("auth_failed_count", gauges.auth_failed.into()),
        ("non_mtlsremote_conn_count", gauges.non_mtls_remote_connections.into()),
        ("non_mtlslocal_conn_count", gauges.non_mtls_local_connections.into()),
    ]);
    let mut entries = entries_of([
        ("version", status.version.to_string().into()),
        ("read_only", read_only(serving)),
        ("server_stats", stats),
        ("client_response", sizes(replies)),
    ]);
    if serving.mode == Mode::Leader {
        entries.push(("proposal_stats".to_owned(), sizes(serving.proposal_sizes)));
    }
    entries.push(("node_count".to_owned(), serving.node_count.into()));
    entries
}

/// (ref: VotingViewCommand)
fn voting_view(member: Option<&MemberView>) -> Entries {
    let voters = member.iter().flat_map(|m| &m.members).filter(|(_, m)| !m.observer);
    let view = |m: &MemberAddresses| {
        let client = m.client.as_ref().map_or_else(String::new, |(host, port)| format!("{host}:{port}"));
        Json::object([
            ("server_addresses", Json::list(m.peer.iter().map(|(host, port, _)| format!("{host}:{port}")))),
            ("election_addresses", Json::list(m.peer.iter().map(|(host, _, port)| format!("{host}:{port}")))),
            ("client_address", client.into()),
            ("learner_type", "participant".into()),
        ])
    };
    let rows = voters.map(|(id, m)| (id.to_string(), view(m))).collect();
    entries_of([("current_config", Json::Object(rows))])
}

/// (ref: ZabStateCommand)
fn zabstate(member: Option<&MemberView>, zxid: i64) -> Entries {
    let Some((view, me)) = member.and_then(|m| Some((m, m.members.get(&m.id)?))) else {
        return entries_of([("voting", false.into()), ("zabstate", "".into())]);
    };
    let quorum = me.peer.iter().map(|(host, port, _)| (host.as_str(), *port)).collect::<Vec<_>>();
    let election = me.peer.iter().map(|(host, _, port)| (host.as_str(), *port)).collect::<Vec<_>>();
    entries_of([
        ("myid", view.id.into()),
        ("is_leader", view.leads.into()),
        ("quorum_address", addresses(&quorum)),
        ("election_address", addresses(&election)),
        ("client_address", me.client.as_ref().map(|(host, port)| format!("{host}:{port}")).into()),
        ("voting", (!me.observer).into()),
        ("last_zxid", format!("0x{zxid:x}").into()),
        ("zab_epoch", (zxid >> 32).into()),
        ("zab_counter", (zxid & 0xffff_ffff).into()),
        // Whoever serves is in the last phase.
        ("zabstate", "broadcast".into()),
    ])
}

/// differs: Java tries to reach each address to tell which are reachable; here the first is named.
/// (ref: MultipleAddresses, whose getters Jackson prints)
fn addresses(list: &[(&str, u16)]) -> Json {
    let all = || Json::list(list.iter().map(|(host, port)| format!("{host}:{port}")));
    let first = || Json::from(list.first().map(|(host, port)| format!("{host}:{port}")));
    Json::object([
        ("empty", list.is_empty().into()),
        ("all_addresses", all()),
        ("wildcard_addresses", Json::list(list.iter().map(|(_, port)| format!("0.0.0.0:{port}")))),
        ("all_ports", Json::list(list.iter().map(|(_, port)| u32::from(*port)))),
        ("all_host_strings", Json::list(list.iter().map(|(host, _)| *host))),
        ("reachable_address", first()),
        ("all_reachable_addresses", all()),
        ("all_reachable_addresses_or_all", all()),
        ("reachable_or_one", first()),
        ("one", first()),
    ])
}
