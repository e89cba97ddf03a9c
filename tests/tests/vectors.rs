//! Every frame and every file captured from the reference decodes with the
//! types of `zk-proto` and encodes back to the same bytes.
//!
//! The snapshot files are read by the tests of `zk-storage`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use jute::{Reader, Writer};
use zk_proto::client::{
    AuthPacket, ConnectRequest, ConnectResponse, ReadRequest, ReplyHeader, RequestHeader, SetWatches,
    WatcherEvent, WriteRequest,
};
use zk_proto::quorum::auth::QuorumAuthPacket;
use zk_proto::quorum::election::{Form, Hello, HelloVersion, Notification, PeerState, take_frame};
use zk_proto::quorum::packet::{FromLeader, FromLearner, PacketKind, QuorumPacket};
use zk_proto::quorum::snap::SnapReader;
use zk_proto::txn::LogEntry;
use zk_proto::{Acl, OpCode, Xid, Zxid};
use zk_testkit::reply::Body;
use zk_testkit::vectors::{self, From, Line};
use zk_testkit::{raw, request};

#[test]
fn client_frames_come_back_to_the_byte() {
    let n = client_file("client.hex").unwrap();
    assert!(n >= 120, "only {n} frames");
}

#[test]
fn client_frames_of_a_reconfigured_ensemble_come_back_to_the_byte() {
    let n = client_file("client_reconfig.hex").unwrap();
    assert!(n >= 50, "only {n} frames");
}

fn client_file(name: &str) -> anyhow::Result<usize> {
    let mut asked: Vec<(Xid, i32)> = Vec::new();
    let lines = vectors::load(name)?;
    let mut connect = None;
    let mut frames = 0;
    for line in &lines {
        let Some(bytes) = &line.bytes else { continue };
        let at = || format!("{name}:{} ({})", line.number, line.note);
        let back = match line.from {
            From::Active if line.note.starts_with("ConnectRequest") => {
                let r = ConnectRequest::decode(line.payload()?).with_context(at)?;
                connect = Some(r.read_only);
                let mut out = Vec::new();
                r.encode(&mut out);
                out
            }
            From::Passive if line.note.starts_with("ConnectResponse") => {
                let r = ConnectResponse::decode(line.payload()?).with_context(at)?;
                ensure!(
                    Some(r.read_only.is_some()) == connect.map(|c| c.is_some()),
                    "{}: readOnly byte",
                    at()
                );
                ensure!(r.timeout == 0 || r.password == r.session.password(), "{}: password", at());
                let mut out = Vec::new();
                r.encode(&mut out);
                out
            }
            From::Active => request_line(line, &mut asked).with_context(at)?,
            From::Passive => reply_line(line, &mut asked).with_context(at)?,
        };
        let mut framed = Vec::new();
        raw::push_frame(&mut framed, &back);
        ensure!(framed == *bytes, "{}:\n{}\n{}", at(), vectors::hex(bytes), vectors::hex(&framed));
        frames += 1;
    }
    Ok(frames)
}

fn request_line(line: &Line, asked: &mut Vec<(Xid, i32)>) -> anyhow::Result<Vec<u8>> {
    let payload = line.payload()?;
    let mut r = Reader::new(payload);
    let header = RequestHeader::read(&mut r)?;
    asked.push((header.xid, header.op));
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    header.write(&mut w);
    let body = r.rest();
    match OpCode::from_i32(header.op) {
        // What must not decode does not.
        None => {
            ensure!(line.note.starts_with("unknown opcode"), "an opcode without a name");
            w.raw(body);
        }
        Some(op) if line.note.contains("malformed") && line.note.contains("getData") => {
            ensure!(ReadRequest::decode(op, &mut r).is_err(), "a malformed body decodes");
            w.raw(body);
        }
        Some(OpCode::Auth) => {
            let p = AuthPacket::read(&mut r)?;
            w.raw(&auth_bytes(&p));
        }
        Some(op) if ReadRequest::covers(op) => {
            let read = ReadRequest::decode(op, &mut r)?;
            w.raw(&read_bytes(op, &read));
        }
        Some(op) => WriteRequest::decode(op, &mut r)?.encode(&mut w),
    }
    Ok(out)
}

fn auth_bytes(p: &AuthPacket<'_>) -> Vec<u8> {
    assert_eq!(p.kind, 0);
    request::auth(p.scheme.as_deref().map(str::as_bytes), p.auth)
}

/// A server never writes a read request, so that the encoder is the tests' own.
fn read_bytes(op: OpCode, read: &ReadRequest<'_>) -> Vec<u8> {
    let kind = |k: &zk_proto::client::WatcherKind| *k as i32 + 1;
    let list =
        |l: &[std::borrow::Cow<'_, str>]| Some(l.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>());
    match read {
        ReadRequest::Exists { path, watch }
        | ReadRequest::GetData { path, watch }
        | ReadRequest::GetChildren { path, watch, .. } => request::path_bool(Some(path.as_bytes()), *watch),
        ReadRequest::GetAcl { path } | ReadRequest::GetAllChildrenNumber { path } => {
            request::path(Some(path.as_bytes()))
        }
        ReadRequest::GetEphemerals { prefix } => request::path(prefix.as_deref().map(str::as_bytes)),
        ReadRequest::Sync { path } => request::path(path.as_deref().map(str::as_bytes)),
        ReadRequest::MultiRead { ops: parts, .. } => {
            let parts: Vec<(i32, Vec<u8>)> = parts
                .iter()
                .map(|p| {
                    let op = match p {
                        ReadRequest::GetData { .. } => OpCode::GetData,
                        _ => OpCode::GetChildren,
                    };
                    (op.to_i32(), read_bytes(op, p))
                })
                .collect();
            request::multi(&parts)
        }
        ReadRequest::WhoAmI | ReadRequest::Ping => Vec::new(),
        ReadRequest::SetWatches(SetWatches {
            relative_zxid: Zxid(z),
            data,
            exist,
            child,
            persistent,
            recursive,
            null_list,
        }) => {
            assert_eq!(*null_list, None);
            let mut lists = vec![list(data), list(exist), list(child)];
            if op == OpCode::SetWatches2 {
                lists.extend([list(persistent), list(recursive)]);
            }
            request::set_watches(*z, &lists)
        }
        ReadRequest::AddWatch { path, recursive } => {
            request::path_int(Some(path.as_bytes()), i32::from(*recursive))
        }
        ReadRequest::CheckWatches { path, kind: k } | ReadRequest::RemoveWatches { path, kind: k } => {
            request::path_int(Some(path.as_bytes()), kind(k))
        }
    }
}

fn reply_line(line: &Line, asked: &mut Vec<(Xid, i32)>) -> anyhow::Result<Vec<u8>> {
    let payload = line.payload()?;
    let mut r = Reader::new(payload);
    let header = ReplyHeader::read(&mut r)?;
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    header.write(&mut w);
    if header.xid == Xid::EVENT {
        let e = WatcherEvent::read(&mut r)?;
        ensure!(e.state == WatcherEvent::SYNC_CONNECTED && (1..=4).contains(&e.event), "an odd event");
        e.write(&mut w);
        return Ok(out);
    }
    let i = asked.iter().rposition(|(xid, _)| *xid == header.xid).context("a reply to nothing")?;
    let (_, op) = asked.remove(i);
    zk_proto::ErrorCode::from_i32(header.err).context("a code without a name")?;
    if header.err != 0 {
        ensure!(r.is_empty(), "an error with a body");
        return Ok(out);
    }
    let body = Body::decode(op, r.rest())?;
    w.raw(&body.encode());
    // Lists with the server's own type as well.
    if op == OpCode::GetAcl.to_i32() {
        let list = Acl::read_list(&mut r)?;
        let mut again = Vec::new();
        Acl::write_list(list.as_deref(), &mut Writer::new(&mut again));
        ensure!(payload[ReplyHeader::LEN..].starts_with(&again), "the list differs");
    }
    Ok(out)
}

#[test]
fn logged_transactions_come_back_to_the_byte() {
    for (name, records, first) in [
        ("log.100000001.bin", 50, 0x1_0000_0001),
        ("log.100000022.bin", 4, 0x1_0000_0022),
        ("log.200000001.before-trunc.bin", 6, 0x2_0000_0001),
        ("log.200000001.after-trunc.bin", 5, 0x2_0000_0001),
    ] {
        let log = vectors::log_records(&vectors::bytes(name).unwrap()).unwrap();
        assert_eq!(log.len(), records, "{name}");
        for (i, record) in log.iter().enumerate() {
            let entry = LogEntry::decode(&record.payload).unwrap();
            assert_eq!(entry.header.zxid, Zxid(first + i as i64), "{name}");
            assert_eq!(
                entry.digest.is_none(),
                entry.header.op == OpCode::Error,
                "{name} at {}",
                record.offset
            );
            let mut back = Vec::new();
            entry.encode(&mut back);
            assert_eq!(vectors::hex(&back), vectors::hex(&record.payload), "{name} at {}", record.offset);
        }
    }
}

#[test]
fn a_damaged_log_is_noticed() {
    let good = vectors::bytes("log.100000022.bin").unwrap();
    for at in [0, 23, 40, 27 + 49] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(vectors::log_records(&bad).is_err(), "flipped bit at {at}");
    }
}

/// The messages that one side of a connection between servers sends.
enum Side {
    /// Election port, before the first message.
    Hello,
    /// Election port, behind it.
    Election,
    /// Quorum port, from this side.
    Quorum(From),
    /// Quorum port, inside a snapshot.
    Snapshot(SnapReader),
}

/// What was taken from a stream: a name for it, what it is encoded to, and
/// whether it ends a line of the capture.
struct Taken {
    name: String,
    back: Vec<u8>,
    ends: bool,
}

impl Side {
    /// Takes the next message; `None`: the stream holds no complete one.
    fn take(&mut self, stream: &mut BytesMut) -> anyhow::Result<Option<Taken>> {
        let mut back = Vec::new();
        let done = |name: &str, back| Ok(Some(Taken { name: name.to_owned(), back, ends: true }));
        if !matches!(self, Side::Snapshot(_) | Side::Hello) {
            match QuorumAuthPacket::is_next(stream) {
                None => return Ok(None),
                Some(false) => {}
                Some(true) => {
                    let Some(p) = QuorumAuthPacket::decode(stream)? else { return Ok(None) };
                    p.encode(&mut back);
                    return done(&format!("SASL packet status {}", p.status as i32), back);
                }
            }
        }
        match self {
            Side::Hello => {
                let Some(hello) = Hello::decode(stream)? else { return Ok(None) };
                ensure!(hello.version == HelloVersion::V1 && hello.addresses.len() == 1, "{hello:?}");
                hello.encode(&mut back);
                *self = Side::Election;
                done("initial message", back)
            }
            Side::Election => {
                let Some(body) = take_frame(stream)? else { return Ok(None) };
                let n = Notification::decode(&body)?;
                ensure!(n.version() == Notification::VERSION, "{n:?}");
                ensure!(
                    matches!(&n.form, Form::Config { config, .. } if config.ends_with(b"\nversion=0")),
                    "{n:?}"
                );
                ensure!(!matches!(n.state, PeerState::Unknown(_)), "{n:?}");
                n.encode(&mut back);
                done("notification", back)
            }
            Side::Snapshot(reader) => {
                let Some(item) = reader.next(stream)? else { return Ok(None) };
                item.encode(&mut back);
                let ends = reader.is_done();
                if ends {
                    *self = Side::Quorum(From::Passive);
                }
                Ok(Some(Taken { name: "SNAPSHOT-STREAM".to_owned(), back, ends }))
            }
            Side::Quorum(from) => {
                let Some(packet) = QuorumPacket::decode(stream, jute::DEFAULT_MAX_LEN)? else {
                    return Ok(None);
                };
                let typed = match from {
                    From::Active => FromLearner::from_packet(&packet)?.to_packet(),
                    From::Passive => match FromLeader::from_packet(&packet)? {
                        FromLeader::Proposal { zxid, txn }
                        | FromLeader::Inform { zxid, txn }
                        | FromLeader::InformAndActivate { zxid, txn, .. }
                            if LogEntry::decode(&txn)?.header.zxid != zxid =>
                        {
                            anyhow::bail!("a transaction of another zxid than its packet's")
                        }
                        message => message.to_packet(),
                    },
                };
                ensure!(typed == packet, "{typed:?} of {packet:?}");
                if packet.kind == PacketKind::Snap.to_i32() {
                    *self = Side::Snapshot(SnapReader::new(jute::DEFAULT_MAX_LEN));
                }
                typed.encode(&mut back);
                done(PacketKind::from_i32(packet.kind).context("a type without a name")?.name(), back)
            }
        }
    }
}

/// Both sides of each connection of a capture.
type Sides = BTreeMap<(usize, bool), (Side, BytesMut)>;

fn side<'a>(sides: &'a mut Sides, line: &Line, election: bool) -> &'a mut (Side, BytesMut) {
    sides.entry((line.connection, line.from == From::Active)).or_insert_with(|| {
        let side = match (election, line.from) {
            (true, From::Active) => Side::Hello,
            (true, From::Passive) => Side::Election,
            (false, from) => Side::Quorum(from),
        };
        (side, BytesMut::new())
    })
}

/// Decodes a capture line by line, and once more byte by byte.
fn quorum_file(name: &str) -> anyhow::Result<usize> {
    let election = name.starts_with("election");
    let lines = vectors::load(name)?;
    let (mut whole, mut bytewise) = (Sides::new(), Sides::new());
    for line in &lines {
        let at = || format!("{name}:{} ({})", line.number, line.note);
        let bytes = line.bytes.as_ref().with_context(at)?;
        let (state, stream) = side(&mut whole, line, election);
        stream.extend_from_slice(bytes);
        let (mut back, mut ends) = (Vec::new(), 0);
        while let Some(taken) = state.take(stream).with_context(at)? {
            // One note names the message after its content.
            let named = line.note.contains(&taken.name) || line.note.contains("first notification");
            ensure!(named, "{}: a {}", at(), taken.name);
            back.extend(taken.back);
            ends += usize::from(taken.ends);
        }
        ensure!(back == *bytes, "{}:\n{}\n{}", at(), vectors::hex(bytes), vectors::hex(&back));
        ensure!(ends == 1 && stream.is_empty(), "{}: {ends} messages, {} bytes left", at(), stream.len());

        let (state, stream) = side(&mut bytewise, line, election);
        let mut pieces = Vec::new();
        for b in bytes {
            stream.extend_from_slice(&[*b]);
            while let Some(taken) = state.take(stream).with_context(at)? {
                pieces.extend(taken.back);
            }
        }
        ensure!(pieces == *bytes, "{}: another result byte by byte", at());
    }
    Ok(lines.len())
}

#[test]
fn election_messages_come_back_to_the_byte() {
    for (name, messages) in [("election.hex", 39), ("election_sasl.hex", 7)] {
        assert_eq!(quorum_file(name).unwrap(), messages, "{name}");
    }
}

#[test]
fn quorum_packets_come_back_to_the_byte() {
    for (name, messages) in [
        ("learner_follower_diff.hex", 31),
        ("learner_follower_first_start.hex", 119),
        ("learner_follower_snap_cross_epoch.hex", 29),
        ("learner_follower_trunc.hex", 24),
        ("learner_observer_diff.hex", 39),
        ("learner_observer_snap.hex", 22),
        ("learner_observermaster_sasl.hex", 33),
        ("learner_reconfig_demoted.hex", 13),
        ("learner_reconfig_follower.hex", 83),
        ("learner_reconfig_follower2.hex", 85),
        ("learner_reconfig_observer.hex", 28),
        ("learner_reconfig_removed.hex", 29),
    ] {
        assert_eq!(quorum_file(name).unwrap(), messages, "{name}");
    }
}
