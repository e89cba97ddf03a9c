//! What is fuzzed: every reader of bytes that somebody else wrote.
//!
//! Each function takes any bytes and must come back, without a panic and within
//! the memory that the input's length allows. `tests/corpora.rs` runs the corpora
//! and thousands of mutations of them as plain tests; `libfuzzer/` runs the same
//! functions under libFuzzer for as long as one likes:
//! `cd fuzz/libfuzzer && cargo +nightly fuzz run request ../corpus/request`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::Reader;
use zk_pipeline::{ConnId, Input, Now, Pipeline, PipelineConfig};
use zk_proto::client::{
    AuthPacket, ConnectRequest, ConnectResponse, ReadRequest, RequestHeader, WriteRequest,
};
use zk_proto::quorum::auth::QuorumAuthPacket;
use zk_proto::quorum::election::{Hello, Notification, take_frame};
use zk_proto::quorum::packet::{FromLeader, FromLearner, PacketKind, QuorumPacket};
use zk_proto::quorum::snap::SnapReader;
use zk_proto::txn::LogEntry;
use zk_proto::{AuthId, OpCode, SessionId, Zxid, limits};
use zk_storage::LogReader;
use zk_tree::{Effects, Tree, TreeOptions};

const OPTIONS: TreeOptions = TreeOptions { extended_types: true, digest: true, hash_seed: 1 };

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("jute", jute_reader),
    ("request", request),
    ("txn", txn),
    ("log", log),
    ("snapshot", snapshot),
    ("zoo_cfg", zoo_cfg),
    ("quorum", quorum),
];

/// Fields in an order that the input itself chooses.
pub fn jute_reader(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    while let Ok(kind) = r.byte() {
        let _ = match kind % 7 {
            0 => r.int().map(|_| ()),
            1 => r.long().map(|_| ()),
            2 => r.bool().map(|_| ()),
            3 => r.buffer().map(|_| ()),
            4 => r.string().map(|_| ()),
            5 => r.vector(|r| r.str().map(|_| ())).map(|_| ()),
            _ => r.vector(|r| r.int()).map(|_| ()),
        };
    }
}

/// A client's frames, each behind a length of two bytes: decoded, and run
/// through a pipeline with a tree.
pub fn request(bytes: &[u8]) {
    let _ = ConnectRequest::decode(bytes);
    let _ = ConnectResponse::decode(bytes);
    let mut tree = Tree::new(OPTIONS);
    let now = Now { mono: 1, wall: 1 };
    let config = PipelineConfig { extended_types: true, enforce_quota: true, ..PipelineConfig::default() };
    let mut pipeline = Pipeline::new(config, &tree, now);
    let conn = ConnId(1);
    pipeline.handle(
        now,
        Input::Connect { conn, session: SessionId::NONE, timeout: 4000, read_only: false },
        &tree,
    );
    let Some(session) = pipeline.sessions().by_expiry(false).flat_map(|(_, s)| s).next() else { return };
    let ids: Arc<[AuthId]> = Arc::new([AuthId::new("digest", "a:b")]);
    let mut effects = Effects::default();
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (frame, tail) = tail.split_at(len);
        rest = tail;
        let mut r = Reader::new(frame);
        let Ok(header) = RequestHeader::read(&mut r) else { continue };
        let Some(op) = OpCode::from_i32(header.op).filter(|op| op.from_client()) else { continue };
        let body = Bytes::copy_from_slice(r.rest());
        let input = match op {
            OpCode::Auth => {
                let _ = AuthPacket::read(&mut r);
                continue;
            }
            op if op.is_write() => {
                let request = WriteRequest::decode(op, &mut r);
                if let Ok(decoded) = &request {
                    let mut again = BytesMut::new();
                    decoded.encode(&mut jute::Writer::new(&mut again));
                }
                match request {
                    Err(_) if op != OpCode::Multi => {
                        Input::Read { conn, session, header, body, ids: ids.clone() }
                    }
                    request => Input::Write { conn, session, xid: header.xid, request, ids: ids.clone() },
                }
            }
            op => {
                let _ = ReadRequest::decode(op, &mut r);
                Input::Read { conn, session, header, body, ids: ids.clone() }
            }
        };
        pipeline.handle(now, input, &tree);
        let appended: Vec<_> = pipeline.take_outputs();
        for o in appended {
            if let zk_pipeline::Output::Append(record) = o {
                LogEntry::decode(&record.bytes).expect("what is logged can be read");
                // Every third write waits for the next one.
                if record.zxid.0 % 3 != 0 {
                    pipeline.committed(record.zxid);
                    while pipeline.apply(now, &mut tree, &mut effects, 8) {}
                }
            }
        }
    }
    assert_eq!(tree.digest_mismatches(), 0, "a digest computed ahead was wrong");
}

/// One transaction, applied to a tree.
pub fn txn(bytes: &[u8]) {
    let Ok(entry) = LogEntry::decode(bytes) else { return };
    let mut again = Vec::new();
    entry.encode(&mut again);
    assert_eq!(again.len(), entry.encoded_len(), "a part of a multi would not be where it says");
    let mut tree = Tree::new(OPTIONS);
    let mut effects = Effects::default();
    tree.apply(&entry, &mut effects);
    tree.apply(&entry, &mut effects);
}

/// `zoo.cfg`.
pub fn zoo_cfg(bytes: &[u8]) {
    let _ = zk_config::parse_bytes(bytes);
}

/// A file of the transaction log, read and replayed.
///
/// # Panics
/// If the temporary directory cannot be written.
pub fn log(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = bytes.get(48..56).and_then(|b| b.first_chunk::<8>()).map_or(1, |b| i64::from_be_bytes(*b));
    std::fs::write(dir.path().join(format!("log.{:x}", first.max(1))), bytes).expect("a small file");
    let Ok(reader) = LogReader::after(dir.path(), Zxid(first.max(1) - 1), None) else { return };
    let mut tree = Tree::new(OPTIONS);
    let mut effects = Effects::default();
    for record in reader {
        let Ok(record) = record else { return };
        let Ok(entry) = record.decode() else { return };
        tree.apply(&entry, &mut effects);
    }
}

/// A snapshot, plain, gz or snappy by its first bytes.
///
/// # Panics
/// If the temporary directory cannot be written.
pub fn snapshot(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let extension = match bytes {
        [0x1f, ..] => ".gz",
        [0x82, ..] => ".snappy",
        _ => "",
    };
    let path = dir.path().join(format!("snapshot.100000039{extension}"));
    std::fs::write(&path, bytes).expect("a small file");
    let _ = zk_storage::read_snapshot(&path, &mut Tree::load_start(OPTIONS), &mut |_| {});
}

/// What one side of a connection between servers sends, behind one byte that
/// says on which port: 0 the election port, else the quorum port.
///
/// # Panics
/// If what was decoded does not survive being encoded.
pub fn quorum(bytes: &[u8]) {
    let Some((port, stream)) = bytes.split_first() else { return };
    let mut stream = BytesMut::from(stream);
    if *port == 0 { election_port(&mut stream) } else { quorum_port(&mut stream) }
}

/// SASL, if there is any.
fn authentication(stream: &mut BytesMut) {
    while QuorumAuthPacket::is_next(stream) == Some(true) {
        let Ok(Some(p)) = QuorumAuthPacket::decode(stream) else { return };
        let mut again = BytesMut::new();
        p.encode(&mut again);
        assert_eq!(QuorumAuthPacket::decode(&mut again), Ok(Some(p)));
    }
}

fn election_port(stream: &mut BytesMut) {
    // The accepting side sends no first message: its stream begins with SASL or
    // with a frame, which reads as an id.
    let mut first = stream.clone();
    if let Ok(Some(hello)) = Hello::decode(&mut first)
        && !hello.addresses.is_empty()
    {
        let mut again = BytesMut::new();
        hello.encode(&mut again);
        // Bytes that are not UTF-8 become longer when they are decoded.
        if again.len() <= 20 + limits::MAX_HELLO_TEXT {
            assert_eq!(Hello::decode(&mut again), Ok(Some(hello)));
        }
        *stream = first;
    }
    authentication(stream);
    while let Ok(Some(body)) = take_frame(stream) {
        let Ok(n) = Notification::decode(&body) else { continue };
        let mut again = BytesMut::new();
        n.encode_body(&mut again);
        assert!(body.starts_with(&again), "a notification comes back as another");
    }
}

fn quorum_port(stream: &mut BytesMut) {
    authentication(stream);
    while let Ok(Some(packet)) = QuorumPacket::decode(stream, jute::DEFAULT_MAX_LEN) {
        if let Ok(m) = FromLearner::from_packet(&packet) {
            assert_eq!(FromLearner::from_packet(&m.to_packet()), Ok(m));
        }
        if let Ok(m) = FromLeader::from_packet(&packet) {
            assert_eq!(FromLeader::from_packet(&m.to_packet()), Ok(m));
        }
        if packet.kind == PacketKind::Snap.to_i32() {
            let mut snap = SnapReader::new(jute::DEFAULT_MAX_LEN);
            while let Ok(Some(item)) = snap.next(stream) {
                item.encode(&mut BytesMut::new());
            }
            if !snap.is_done() {
                return;
            }
        }
    }
}
