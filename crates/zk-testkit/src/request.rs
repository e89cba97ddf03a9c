//! Bodies of requests, as any client would write them. Strings are bytes here:
//! what is not UTF-8 can be sent as well.

use jute::Writer;
use zk_proto::OpCode;

/// An entry of an access control list before anybody has looked at it.
pub type RawAcl<'a> = (i32, Option<&'a [u8]>, Option<&'a [u8]>);

/// Everybody may do everything.
pub const OPEN: &[RawAcl<'static>] = &[(31, Some(b"world"), Some(b"anyone"))];
/// Everybody may read.
pub const READ_ONLY: &[RawAcl<'static>] = &[(1, Some(b"world"), Some(b"anyone"))];

fn body(write: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn acls(w: &mut Writer<'_, Vec<u8>>, acl: Option<&[RawAcl<'_>]>) {
    w.vector(acl, |w, (perms, scheme, id)| {
        w.int(*perms);
        w.buffer(*scheme);
        w.buffer(*id);
    });
}

/// A frame's content: header and body.
pub fn frame(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + body.len());
    out.extend_from_slice(&xid.to_be_bytes());
    out.extend_from_slice(&op.to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// create, create2 and createContainer.
pub fn create(path: Option<&[u8]>, data: Option<&[u8]>, acl: Option<&[RawAcl<'_>]>, flags: i32) -> Vec<u8> {
    body(|w| {
        w.buffer(path);
        w.buffer(data);
        acls(w, acl);
        w.int(flags);
    })
}

/// createTTL.
pub fn create_ttl(
    path: Option<&[u8]>,
    data: Option<&[u8]>,
    acl: Option<&[RawAcl<'_>]>,
    flags: i32,
    ttl: i64,
) -> Vec<u8> {
    let mut out = create(path, data, acl, flags);
    out.extend_from_slice(&ttl.to_be_bytes());
    out
}

/// delete, check, checkWatches, removeWatches and addWatch: a path and a number.
pub fn path_int(path: Option<&[u8]>, n: i32) -> Vec<u8> {
    body(|w| {
        w.buffer(path);
        w.int(n);
    })
}

/// exists, getData, getChildren and getChildren2: a path and whether to watch.
pub fn path_bool(path: Option<&[u8]>, watch: bool) -> Vec<u8> {
    body(|w| {
        w.buffer(path);
        w.bool(watch);
    })
}

/// getACL, sync, getEphemerals and getAllChildrenNumber: a path.
pub fn path(path: Option<&[u8]>) -> Vec<u8> {
    body(|w| w.buffer(path))
}

/// setData.
pub fn set_data(path: Option<&[u8]>, data: Option<&[u8]>, version: i32) -> Vec<u8> {
    body(|w| {
        w.buffer(path);
        w.buffer(data);
        w.int(version);
    })
}

/// setACL.
pub fn set_acl(path: Option<&[u8]>, acl: Option<&[RawAcl<'_>]>, version: i32) -> Vec<u8> {
    body(|w| {
        w.buffer(path);
        acls(w, acl);
        w.int(version);
    })
}

/// multi and multiRead: each part is an opcode with its body.
pub fn multi(parts: &[(i32, Vec<u8>)]) -> Vec<u8> {
    body(|w| {
        for (op, part) in parts {
            w.int(*op);
            w.bool(false);
            w.int(-1);
            w.raw(part);
        }
        w.int(-1);
        w.bool(true);
        w.int(-1);
    })
}

/// reconfig.
pub fn reconfig(
    joining: Option<&[u8]>,
    leaving: Option<&[u8]>,
    members: Option<&[u8]>,
    base: i64,
) -> Vec<u8> {
    body(|w| {
        w.buffer(joining);
        w.buffer(leaving);
        w.buffer(members);
        w.long(base);
    })
}

/// setWatches (three lists) and setWatches2 (five lists).
pub fn set_watches(zxid: i64, lists: &[Option<Vec<Vec<u8>>>]) -> Vec<u8> {
    body(|w| {
        w.long(zxid);
        for list in lists {
            w.vector(list.as_deref(), |w, p| w.buffer(Some(p)));
        }
    })
}

/// auth.
pub fn auth(scheme: Option<&[u8]>, data: Option<&[u8]>) -> Vec<u8> {
    body(|w| {
        w.int(0);
        w.buffer(scheme);
        w.buffer(data);
    })
}

/// Whether an opcode asks for a write, by the server's own table.
pub fn is_write(op: i32) -> bool {
    OpCode::from_i32(op).is_some_and(OpCode::is_write)
}

/// What a person reads: the decoded request, or its bytes.
pub fn describe(op: i32, body: &[u8]) -> String {
    use zk_proto::client::{AuthPacket, ReadRequest, WriteRequest};
    let Some(code) = OpCode::from_i32(op) else {
        return format!("opcode {op} {}", crate::vectors::hex(body));
    };
    let mut r = jute::Reader::new(body);
    let text = if code == OpCode::Auth {
        AuthPacket::read(&mut r).map(|p| format!("{p:?}"))
    } else if ReadRequest::covers(code) {
        ReadRequest::decode(code, &mut r).map(|q| format!("{q:?}"))
    } else {
        WriteRequest::decode(code, &mut r).map(|q| format!("{q:?}"))
    };
    let mut text = match text {
        Ok(t) => format!("{} {t}", code.name()),
        Err(e) => format!("{} undecodable ({e}) {}", code.name(), crate::vectors::hex(body)),
    };
    if text.len() > 2000 {
        let cut = (0..=2000).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}
