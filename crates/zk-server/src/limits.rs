//! Named limits, each with its reason.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// One read of a socket, in bytes; a buffer of each worker, not of a connection.
/// It holds the requests of the deepest pipelines that clients use.
pub const READ_BUFFER: usize = 64 * KIB;

/// Requests answered under one hold of the tree's read lock: about 100 us, so
/// that the core does not wait longer than that for a worker.
pub const TURN_FRAMES: usize = 256;

/// Bytes of replies made in one turn; above it they are written before more are
/// made, so that a pipeline of large reads does not fill the memory.
pub const TURN_BYTES: usize = MIB;

/// Output that the client has not taken; above it the connection is not read.
/// A client that does not read its replies stops itself and nobody else.
pub const OUT_HIGH: usize = 256 * KIB;

/// Capacity that an idle connection may keep for its output and for a partial
/// frame, so that 100,000 idle connections stay below 400 MB.
pub const KEEP: usize = KIB;

/// Bytes of watch events that a connection has not taken. Events cannot be held
/// back as replies can; a client this far behind is closed and will set its
/// watches again. It is a storm on 600,000 watches of usual length.
pub const EVENT_BYTES: usize = 64 * MIB;

/// Reads of one connection that wait for its writes in the core. Their answers
/// are made before they can be sent, each up to the size of a node.
pub const DEFERRED_READS: usize = 64;

/// Requests of one connection in the core, beyond what `globalOutstandingLimit`
/// allows: deep enough for any client's pipeline.
pub const CONN_OUTSTANDING: usize = 1024;

/// Batches from the workers that the core has not taken. A batch holds at most
/// one read of a socket or one frame from each of a worker's connections.
pub const CORE_BATCHES: usize = 256;

/// Batches that the core takes before it looks at the log again.
pub const CORE_ROUND: usize = 64;

/// Time of preparing that is worth a write of the log of its own, while the next requests are
/// prepared. Smaller parts cost more than they gain: after every 32 requests of 100 B it was a tenth of the throughput.
pub const CORE_PART: Duration = Duration::from_micros(200);

/// Transactions between preparation and application; above it the core takes
/// nothing new. Reached only if `globalOutstandingLimit` is set higher.
pub const CORE_OUTSTANDING: usize = 100_000;

/// Bytes handed to the log that are not durable yet; above it the core takes
/// nothing new.
pub const UNSYNCED_BYTES: usize = 64 * MIB;

/// Requests to the core for its state, and wake-ups: by words, by who has written the log or read it for a
/// learner, by the mirror.
pub const CONTROL: usize = 64;

/// Pause of a worker between two lines about slow requests, or about long lists, ms.
pub const SLOW_PAUSE_MS: u64 = 1000;

/// Bytes of changes that the mirror has not written; above it the core only notes what
/// changed, and encodes it when there is room.
pub const MIRROR_BYTES: usize = 64 * MIB;

/// Batches on their way to the mirror thread; the core uses half of it for writes.
pub const MIRROR_BATCHES: usize = 4096;

/// Changed nodes that are noted before they are encoded for the mirror during its pause: encoding them
/// holds up the core for about half a millisecond.
pub const MIRROR_PATHS: usize = 2048;

/// Pause of the mirror between two writes: what changes several times is written once. A start
/// replays the log for what a crash kept from it.
pub const MIRROR_PAUSE: Duration = Duration::from_millis(50);

/// How long one application of committed transactions may hold the tree's write
/// lock: readers wait for it.
pub const APPLY_SLICE: Duration = Duration::from_micros(200);

/// Most transactions in one slice, whatever the measured speed says.
pub const APPLY_MAX: usize = 1024;

/// How long a four-letter word waits for the threads it asks.
pub const WORD_WAIT: Duration = Duration::from_secs(5);

/// How often it is looked whether another member leads after a hand-over, and how many times.
pub const HAND_OVER_LOOK: Duration = Duration::from_millis(50);
/// See [`HAND_OVER_LOOK`].
pub const HAND_OVER_LOOKS: u32 = 200;

/// How long a probe waits for the core. Probes give up after a second by default.
pub const PROBE_WAIT: Duration = Duration::from_millis(900);

/// Transactions on their way into the tree with which a server still counts as ready: what is
/// applied in about 50 ms.
pub const READY_UNAPPLIED: usize = 10_000;

/// Connections to the admin port, and as many to the page of Prometheus. What comes beyond waits.
pub const ADMIN_CONNECTIONS: usize = 32;

/// Parts of a snapshot on their way to who asked for it, each of [`ADMIN_CHUNK`] bytes.
pub const ADMIN_CHUNKS: usize = 4;

/// Bytes read of a snapshot file at once.
pub const ADMIN_CHUNK: usize = 256 * KIB;

/// How long a stop waits for the member to leave its ensemble. The member itself waits a
/// second for the others; the rest is for a disk that is busy.
pub const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// How long a stop waits for connections to take what was written to them.
pub const STOP_WAIT: Duration = Duration::from_secs(1);

/// Pause after `accept` fails for want of descriptors or memory: the listener
/// stays readable, and trying again at once would only burn the processor.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Backlog of the listener when the configuration has none. ref: Java's default of 50.
pub const BACKLOG: i32 = 1024;

/// Workers at most: the number of a worker is a byte of a connection's id.
pub const WORKERS: usize = 64;

/// Nodes from which the memory is taken in pages of 2 MiB where the system
/// allows it. They make look-ups in a large tree faster, and an empty server
/// several times larger: it would touch a few bytes in each of them.
pub const HUGE_PAGES_NODES: u64 = 100_000;

/// How long clients' requests wait for a leader in their sockets, ms, before their connections
/// are closed as Java closes them at once: a third of the shortest session that a usual
/// `tickTime` allows, so that a client which moves on still finds its session.
pub const HELD_MS: u64 = 1_300;

/// How late the core's clock may be before the process counts as halted, ms: more than a
/// busy machine lets a thread wait as a rule, less than the shortest time-outs.
pub const LATE_MS: u64 = 500;

/// What a process that was halted waits for the threads that read the sockets, before
/// it counts anybody as silent.
pub const LATE_PAUSE: Duration = Duration::from_millis(50);

/// Batches of commands that the thread between the members has not taken.
pub const PEER_COMMANDS: usize = 256;

/// Events of the thread between the members that the core has not taken, each
/// at most one read of a socket or one packet.
pub const PEER_EVENTS: usize = 256;

/// What connections and helpers of the thread between the members tell its main
/// loop. It waits for nothing, so the queue is short.
pub const PEER_NEWS: usize = 64;

/// How often a reader looks whether a full queue of events has room again.
pub const PEER_EVENTS_PAUSE: Duration = Duration::from_millis(1);

/// Connections of a port that have not said who they are. One more closes the
/// oldest: silent strangers cannot keep a member out.
pub const HANDSHAKES: usize = 128;

/// Failed logins of an address that are answered at once: people mistype, and several clients
/// stand behind one address.
pub const LOGIN_FREE: u32 = 5;

/// How long the answer to the next one waits, ms; the wait doubles with each.
pub const LOGIN_FIRST_WAIT_MS: u64 = 100;

/// Failed logins of one address whose answers wait. With the longest wait these are six guesses
/// a second from one address, and as many clients with a wrong password behind it disturb nobody.
pub const LOGIN_WAITING: usize = 64;

/// After so long without a failure an address begins anew, ms.
pub const LOGIN_FORGET_MS: u64 = 60_000;

/// Addresses with failed logins that are remembered: about a MiB.
pub const LOGIN_ADDRESSES: usize = 10_000;

/// Bytes of a reply to getChildren from which it is warned of: three quarters of what Java's
/// clients take by default (`jute.maxbuffer`, 1 MiB). A client that gets more than it takes
/// closes, comes again, and asks again.
pub const LARGE_LIST: usize = 3 * MIB / 4;

/// Identities of a connection. Clients have a few; each is looked at with each request.
pub const IDENTITIES: usize = 100;

/// Threads for handshakes of clients: with as many a core makes about a thousand in a second with
/// RSA, and the cores are the workers' as well.
pub const TLS_THREADS: usize = 4;

/// Connections that such a thread has not looked at. One more is closed.
pub const TLS_ARRIVALS: usize = 1024;

/// Handshakes of clients under way without `netty.server.outstandingHandshake.limit`: 10,000
/// clients that come back at once, with about 20 KiB each.
pub const TLS_HANDSHAKES: u64 = 10_000;

/// Time for a client's handshake. (ref: Netty's SslHandler, 10 s)
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// How often files with keys and certificates are looked at.
pub const TLS_RELOAD: Duration = Duration::from_secs(1);

/// Threads that judge tickets of clients, and as many for members: it is work for the processor, with a
/// lock on the file of the replay cache.
pub const LOGIN_THREADS: usize = 2;

/// Tickets that wait for such a thread. Each has a connection, which takes nothing more meanwhile, and
/// its token, some kB. One too many is closed without an answer, so that its client
/// tries again.
pub const LOGINS: usize = 1024;

/// How long the same warning about a connection between members is not repeated.
pub const WARN_AGAIN: Duration = Duration::from_secs(10);

/// Election connections and addresses of peers that are no members: servers that
/// want to join, one or two at a time.
pub const STRANGERS: usize = 256;

/// Links to learners: the 255 members that ids allow, each twice while it
/// connects again before the former link's end is noticed.
pub const LINKS: usize = 512;

/// Bytes queued for one link; above it the link is closed: the other side takes
/// nothing, and what it missed is told shorter when it comes back. It is some
/// seconds of the largest write load, and a hundredth of a large server.
/// A learner that is being synchronised has nothing here but `zab::leader::JOIN_BYTES` and
/// what is proposed.
pub const LINK_BYTES: usize = 256 * MIB;

/// Pieces of a stream to a link that are not written, and pieces of a snapshot
/// from the leader that are not loaded.
pub const STREAM_CHUNKS: usize = 8;

/// One read of a link while it delivers a snapshot.
pub const SNAP_CHUNK: usize = 256 * KIB;

/// Tries of each of a leader's addresses: together with [`LEADER_RETRY`] as long as Java
/// tries, and the 200 ms that a leader of Java waits for better votes when this member did
/// not. ref: Learner.LeaderConnector, 5 tries; FastLeaderElection.finalizeWait.
pub const LEADER_TRIES: u32 = 75;

/// Pause between two tries. A leader of ours opens its port within milliseconds of its
/// election. differs: Java waits 100 ms. ref: zookeeper.leaderConnectDelayDuringRetryMs.
pub const LEADER_RETRY: Duration = Duration::from_millis(10);

/// Half of the first of these pauses; each is twice the one before, up to [`LEADER_RETRY`].
pub const LEADER_FIRST_RETRY: Duration = Duration::from_micros(500);

/// Head start of one address of a peer over the next.
pub const DIAL_STAGGER: Duration = Duration::from_millis(250);

/// Pause after a dial of an election peer has failed: it doubles with each
/// failure in a row up to [`DIAL_PAUSE_MAX`]. An election needs quick retries;
/// Java dials at each message.
pub const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two dials of an election peer.
pub const DIAL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Pause between two tries to bind the election port.
/// ref: QuorumCnxManager.Listener.ListenerHandler.run.
pub const BIND_PAUSE: Duration = Duration::from_secs(1);

/// Tries to bind the quorum port, [`LEAD_BIND_PAUSE`] apart: the sockets of the
/// time before may be a moment from closing.
pub const LEAD_BIND_TRIES: u32 = 10;

/// See [`LEAD_BIND_TRIES`].
pub const LEAD_BIND_PAUSE: Duration = Duration::from_millis(50);

/// How often the loading of a snapshot is told.
pub const LOADING_PAUSE: Duration = Duration::from_millis(500);

/// How long a client may take for the last words of a connection that closes.
pub const LAST_WORDS: Duration = Duration::from_secs(10);
