//! What each word answers, to the byte.

use std::fmt::{Display, Write as _};

use crate::{
    four_letter::Word,
    java, monitor, names,
    status::{Client, Conf, ConfMember, Expiry, Mode, Serving, Sessions, Status},
};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The answer to an enabled word. For `crst` and `srst` it is what to say after the reset, for `stmk`
/// the mask that was set. (ref: CommandExecutor and the classes beside it)
pub fn render(word: Word, status: &Status) -> String {
    let mut out = Out(String::new());
    match word {
        Word::Ruok => out.put("imok"),
        Word::Gtmk | Word::Stmk => out.put(status.trace_mask),
        Word::Envi => environment(&mut out, status),
        Word::TelnetClose => {}
        _ => match &status.serving {
            Some(serving) => while_serving(&mut out, word, status, serving),
            None => not_serving(&mut out, word),
        },
    }
    out.0
}

fn not_serving(out: &mut Out, word: Word) {
    match word {
        Word::Isro => out.put("null"),
        // Java forgets the newline here.
        Word::Hash => out.put(NOT_SERVING),
        _ => out.line(NOT_SERVING),
    }
}

fn while_serving(out: &mut Out, word: Word, status: &Status, serving: &Serving) {
    match word {
        Word::Srvr | Word::Stat => server(out, word, status, serving),
        Word::Cons => {
            for client in &serving.clients {
                connection(out, client, true);
            }
            out.line("");
        }
        Word::Conf => conf(out, serving),
        Word::Mntr => monitor(out, status, serving),
        Word::Dump => dump(out, serving),
        Word::Wchs => {
            let watches = &serving.watches;
            out.line(format_args!("{} connections watching {} paths", watches.connections, watches.paths));
            out.line(format_args!("Total watches:{}", watches.total));
        }
        Word::Wchc => {
            for (session, paths) in &serving.watches.by_session {
                out.line(format_args!("{session:#x}"));
                paths.iter().for_each(|path| out.line(format_args!("\t{path}")));
            }
            out.line("");
        }
        Word::Wchp => {
            for (path, sessions) in &serving.watches.by_path {
                out.line(path);
                sessions.iter().for_each(|session| out.line(format_args!("\t{session:#x}")));
            }
            out.line("");
        }
        Word::Dirs => {
            out.line(format_args!("datadir_size: {}", serving.directories.data));
            out.line(format_args!("logdir_size: {}", serving.directories.log));
        }
        Word::Crst => out.line("Connection stats reset."),
        Word::Srst => out.line("Server stats reset."),
        Word::Isro => out.put(if serving.mode == Mode::ReadOnly { "ro" } else { "rw" }),
        Word::Hash => {
            for (zxid, digest) in &serving.digests {
                out.line(format_args!("{zxid:x}: {digest}"));
            }
        }
        Word::Ruok | Word::Gtmk | Word::Stmk | Word::Envi | Word::TelnetClose => {}
    }
}

/// Text in the making; lines end with `\n` as Java's do on Linux.
struct Out(String);

impl Out {
    fn put(&mut self, text: impl Display) {
        write!(self.0, "{text}").expect("a string takes all");
    }

    fn line(&mut self, text: impl Display) {
        self.put(text);
        self.0.push('\n');
    }
}

/// (ref: Environment.list)
fn environment(out: &mut Out, status: &Status) {
    out.line("Environment:");
    out.line(format_args!("zookeeper.version={}", status.version));
    for (key, value) in &status.environment {
        out.line(format_args!("{key}={value}"));
    }
}

/// (ref: StatCommand, ServerStats.toString)
fn server(out: &mut Out, word: Word, status: &Status, serving: &Serving) {
    out.line(format_args!("Zookeeper version: {}", status.version));
    if serving.mode == Mode::ReadOnly {
        out.line("READ-ONLY mode; serving only read-only clients");
    }
    if word == Word::Stat {
        out.line("Clients:");
        for client in &serving.clients {
            connection(out, client, false);
        }
        out.line("");
    }
    let latency = &serving.latency;
    let average = java::double(latency.average);
    out.line(format_args!("Latency min/avg/max: {}/{average}/{}", latency.min, latency.max));
    out.line(format_args!("Received: {}", serving.received));
    out.line(format_args!("Sent: {}", serving.sent));
    out.line(format_args!("Connections: {}", serving.connections));
    out.line(format_args!("Outstanding: {}", serving.outstanding));
    out.line(format_args!("Zxid: {:#x}", serving.zxid));
    out.line(format_args!("Mode: {}", serving.mode));
    out.line(format_args!("Node count: {}", serving.node_count));
    if serving.mode == Mode::Leader {
        let sizes = &serving.proposal_sizes;
        out.line(format_args!("Proposal sizes last/min/max: {}/{}/{}", sizes.last, sizes.min, sizes.max));
    }
}

/// (ref: ServerCnxn.dumpConnectionInfo)
fn connection(out: &mut Out, client: &Client, full: bool) {
    let address = client.address.map_or_else(|| "null".into(), java::socket_address);
    out.put(format_args!(" {address}[{:x}](queued={},", client.interest, client.queued));
    out.put(format_args!("recved={},sent={}", client.received, client.sent));
    if let Some(session) = client.session.as_ref().filter(|_| full) {
        out.put(format_args!(",sid={:#x},lop={}", session.id, session.last_operation));
        out.put(format_args!(",est={},to={}", session.established, session.timeout));
        if let Some(xid) = session.last_xid {
            out.put(format_args!(",lcxid={xid:#x}"));
        }
        out.put(format_args!(",lzxid={:#x},lresp={}", session.last_zxid, session.last_response));
        out.put(format_args!(",llat={},minlat={}", session.last_latency, session.min_latency));
        out.put(format_args!(",avglat={},maxlat={}", session.average_latency, session.max_latency));
    }
    out.line(")");
}

/// (ref: ZooKeeperServer.dumpConf)
fn conf(out: &mut Out, serving: &Serving) {
    let Conf { client_port, secure_client_port, listen_backlog, .. } = serving.conf;
    let conf = &serving.conf;
    let or_minus_one = |n: Option<u32>| n.map_or(-1, i64::from);
    out.line(format_args!("clientPort={}", or_minus_one(client_port.map(u32::from))));
    out.line(format_args!("secureClientPort={}", or_minus_one(secure_client_port.map(u32::from))));
    out.line(format_args!("dataDir={}", conf.data_dir));
    out.line(format_args!("dataDirSize={}", serving.directories.data));
    out.line(format_args!("dataLogDir={}", conf.data_log_dir));
    out.line(format_args!("dataLogSize={}", serving.directories.log));
    out.line(format_args!("tickTime={}", conf.tick_time));
    out.line(format_args!("maxClientCnxns={}", conf.max_client_cnxns));
    out.line(format_args!("minSessionTimeout={}", conf.min_session_timeout));
    out.line(format_args!("maxSessionTimeout={}", conf.max_session_timeout));
    out.line(format_args!("clientPortListenBacklog={}", or_minus_one(listen_backlog)));
    out.line(format_args!("serverId={}", conf.server_id));
    if let Some(member) = &conf.member {
        conf_member(out, member);
    }
}

/// (ref: QuorumZooKeeperServer.dumpConf, ReadOnlyZooKeeperServer.dumpConf)
fn conf_member(out: &mut Out, member: &ConfMember) {
    let join = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|");
    out.line(format_args!("initLimit={}", member.init_limit));
    out.line(format_args!("syncLimit={}", member.sync_limit));
    out.line("electionAlg=3");
    out.line(format_args!("electionPort={}", join(&member.election_ports)));
    out.line(format_args!("quorumPort={}", join(&member.quorum_ports)));
    out.line(format_args!("peerType={}", u8::from(member.observer)));
    if let Some(membership) = &member.membership {
        out.line("membership: ");
        out.put(membership);
    }
}

/// (ref: DumpCommand)
fn dump(out: &mut Out, serving: &Serving) {
    out.line("SessionTracker dump:");
    if let Some(local) = &serving.local_sessions {
        out.put("Local Session ");
        buckets(out, local, |session| format!("{session:#x}"));
    }
    match &serving.sessions {
        Sessions::Tracked(expiry) => {
            out.put(if serving.local_sessions.is_some() { "Global Session " } else { "Session " });
            buckets(out, expiry, |session| format!("{session:#x}"));
        }
        Sessions::Global(sessions) => {
            out.line(format_args!("Global Sessions({}):", sessions.len()));
            for (session, timeout) in sessions {
                out.line(format_args!("{session:#x}\t{timeout}ms"));
            }
        }
    }
    out.line("ephemeral nodes dump:");
    out.line(format_args!("Sessions with Ephemerals ({}):", serving.ephemerals.len()));
    for (session, paths) in &serving.ephemerals {
        out.line(format_args!("{session:#x}:"));
        paths.iter().for_each(|path| out.line(format_args!("\t{path}")));
    }
    out.line("Connections dump:");
    out.put("Connections ");
    buckets(out, &serving.connection_expiry, |client| {
        format!("ip: {} sessionId: {:#x}", java::socket_address(client.address), client.session)
    });
}

/// (ref: ExpiryQueue.dump)
fn buckets<T>(out: &mut Out, expiry: &Expiry<T>, print: impl Fn(&T) -> String) {
    out.line(format_args!("Sets ({})/({}):", expiry.buckets.len(), expiry.known));
    for (time, members) in &expiry.buckets {
        out.line(format_args!("{} expire at {}:", members.len(), java::date(*time)));
        members.iter().for_each(|member| out.line(format_args!("\t{}", print(member))));
    }
}

/// (ref: MonitorCommand)
fn monitor(out: &mut Out, status: &Status, serving: &Serving) {
    out.line(format_args!("zk_{}\t{}", names::VERSION, status.version));
    out.line(format_args!("zk_{}\t{}", names::SERVER_STATE, serving.mode));
    if let Some(member) = &serving.gauges.member {
        out.line(format_args!("zk_{}\t{}", names::PEER_STATE, member.peer_state));
        if let Some(id) = member.observer_master_id {
            out.line(format_args!("zk_{}\t{id}", names::OBSERVER_MASTER_ID));
        }
    }
    for (name, value) in monitor::lines(serving) {
        out.line(format_args!("zk_{name}\t{value}"));
    }
}
