//! Every frame and every file captured from the reference decodes with the
//! types of `zk-proto` and encodes back to the same bytes.
//!
//! Not covered yet, because their types come with the ensemble: `election*.hex`
//! and `learner_*.hex` (quorum packets) are only cut into lines here; the
//! snapshots are read by the tests of `zk-storage`.

use anyhow::{Context, ensure};
use jute::{Reader, Writer};
use zk_proto::client::{
    AuthPacket, ConnectRequest, ConnectResponse, ReadRequest, ReplyHeader, RequestHeader, SetWatches,
    WatcherEvent, WriteRequest,
};
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

#[test]
fn captures_of_the_ensemble_are_at_least_cut() {
    for name in [
        "election.hex",
        "election_sasl.hex",
        "learner_follower_diff.hex",
        "learner_follower_first_start.hex",
        "learner_follower_snap_cross_epoch.hex",
        "learner_follower_trunc.hex",
        "learner_observer_diff.hex",
        "learner_observer_snap.hex",
        "learner_observermaster_sasl.hex",
        "learner_reconfig_demoted.hex",
        "learner_reconfig_follower.hex",
        "learner_reconfig_follower2.hex",
        "learner_reconfig_observer.hex",
        "learner_reconfig_removed.hex",
    ] {
        let n = vectors::load(name).unwrap().len();
        assert!(n > 0, "{name}");
        println!("{name}: {n} lines, packets not decoded yet");
    }
}
