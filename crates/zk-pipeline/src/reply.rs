//! Frames that go to a client.

use bytes::{BufMut, BytesMut};
use jute::Writer;
use zk_proto::client::{ConnectResponse, EventType, MultiHeader, MultiResult, ReplyHeader, WatcherEvent};
use zk_proto::{ErrorCode, OpCode, Xid, Zxid};
use zk_tree::{Fired, TxnResult};

/// Appends a frame: four bytes of length, then what `body` writes.
pub fn framed(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    let len = u32::try_from(out.len() - start - 4).expect("limits keep frames below 2^31");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a reply.
pub fn frame(
    out: &mut BytesMut,
    xid: Xid,
    zxid: Zxid,
    err: ErrorCode,
    body: impl FnOnce(&mut Writer<'_, BytesMut>),
) {
    framed(out, |out| {
        let mut w = Writer::new(out);
        ReplyHeader { xid, zxid, err: err.to_i32() }.write(&mut w);
        body(&mut w);
    });
}

/// Appends a reply without a body.
pub fn error(out: &mut BytesMut, xid: Xid, zxid: Zxid, err: ErrorCode) {
    frame(out, xid, zxid, err, |_| {});
}

/// Appends the event of a transaction. Its header carries the transaction's
/// zxid (since 3.9). ref: NIOServerCnxn.process.
pub fn event(out: &mut BytesMut, fired: &Fired) {
    watcher_event(out, fired.event, &fired.path, fired.zxid);
}

/// Appends an event.
pub fn watcher_event(out: &mut BytesMut, event: EventType, path: &str, zxid: Zxid) {
    frame(out, Xid::EVENT, zxid, ErrorCode::Ok, |w| WatcherEvent::new(event, path).write(w));
}

/// Appends the answer to a connect request.
pub fn connect(out: &mut BytesMut, response: &ConnectResponse) {
    framed(out, |out| response.encode(out));
}

/// Appends the reply to a write whose transaction was applied.
pub fn applied(out: &mut BytesMut, xid: Xid, zxid: Zxid, op: OpCode, result: &TxnResult) {
    if op == OpCode::Multi && result.op == OpCode::Multi {
        // A failed multi is a success in the header. ref: FinalRequestProcessor, multi.
        return frame(out, xid, zxid, ErrorCode::Ok, |w| {
            for r in &result.multi {
                multi_result(r).write(w);
            }
            MultiHeader::END.write(w);
        });
    }
    if result.err != ErrorCode::Ok {
        return error(out, xid, zxid, result.err);
    }
    frame(out, xid, zxid, ErrorCode::Ok, |w| match op {
        OpCode::Create => w.string(result.path.as_deref()),
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            w.string(result.path.as_deref());
            result.stat.unwrap_or_default().write(w);
        }
        OpCode::SetData | OpCode::SetAcl => result.stat.unwrap_or_default().write(w),
        _ => {}
    });
}

/// Appends the reply to a reconfig: what the members' node has now. ref:
/// FinalRequestProcessor, reconfig.
pub fn reconfigured(out: &mut BytesMut, xid: Xid, zxid: Zxid, config: Option<&[u8]>, result: &TxnResult) {
    frame(out, xid, zxid, ErrorCode::Ok, |w| {
        w.buffer(config);
        result.stat.unwrap_or_default().write(w);
    });
}

fn multi_result(r: &TxnResult) -> MultiResult {
    let path = || r.path.clone().unwrap_or_default();
    match r.op {
        _ if r.op == OpCode::Error || r.err != ErrorCode::Ok => MultiResult::Error(r.err),
        OpCode::Create => MultiResult::Create { path: path() },
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            MultiResult::Create2 { path: path(), stat: r.stat.unwrap_or_default() }
        }
        OpCode::SetData => MultiResult::SetData { stat: r.stat.unwrap_or_default() },
        OpCode::Check => MultiResult::Check,
        _ => MultiResult::Delete,
    }
}
