//! Answers to requests that change nothing in the tree.
//!
//! The same function serves a connection's own thread, under the tree's read
//! lock, and the pipeline, for a read that waited for a write. It appends
//! complete frames and never fails: a body that does not decode is answered -5.
//! ref: FinalRequestProcessor.processRequest.

use bytes::BytesMut;
use jute::{Reader, Writer};
use zk_proto::client::{EventType, MultiHeader, ReadRequest, SetWatches, WatcherKind};
use zk_proto::{Acl, AuthId, ErrorCode, OpCode, Perms, SessionId, Xid, Zxid};
use zk_tree::watch::{Place, WatchKind};
use zk_tree::{Node, Tree};

use crate::auth::{self, AuthPolicy};
use crate::reply;

/// Where a read sets watches.
pub trait Watches {
    /// Sets a watch.
    fn add(&mut self, kind: WatchKind, at: Place<'_>);
    /// Whether a watch of the kind is set there.
    fn contains(&mut self, kind: WatcherKind, at: Place<'_>) -> bool;
    /// Removes watches. False: there was none.
    fn remove(&mut self, kind: WatcherKind, at: Place<'_>) -> bool;
}

/// What a read is answered from.
#[derive(Clone, Copy)]
pub struct ReadContext<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// How permissions are judged.
    pub policy: &'a AuthPolicy,
    /// On whose behalf.
    pub ids: &'a [AuthId],
    /// The connection's session.
    pub session: SessionId,
}

/// Appends the answer to a request, events of setWatches before it.
pub fn answer(
    ctx: &ReadContext<'_>,
    xid: Xid,
    op: OpCode,
    body: &[u8],
    watches: &mut impl Watches,
    out: &mut BytesMut,
) {
    let zxid = ctx.tree.last_zxid();
    let Ok(request) = ReadRequest::decode(op, &mut Reader::new(body)) else {
        return reply::error(out, xid, zxid, ErrorCode::MarshallingError);
    };
    let at = out.len();
    if let Err(code) = ctx.run(xid, zxid, &request, watches, out) {
        if !matches!(request, ReadRequest::SetWatches(_)) {
            out.truncate(at);
        }
        reply::error(out, xid, zxid, code);
    }
}

impl<'a> ReadContext<'a> {
    fn may(&self, node: Node<'a>, wanted: Perms) -> Result<(), ErrorCode> {
        let acl = node.acl();
        if zk_tree::is_open(acl) || self.policy.allows(acl, wanted, self.ids) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn readable(&self, path: &str) -> Result<Node<'a>, ErrorCode> {
        let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
        self.may(node, Perms::READ)?;
        Ok(node)
    }

    fn place<'p>(&self, path: &'p str) -> Place<'p> {
        Place::new(path, self.tree.get(path))
    }

    fn run(
        &self,
        xid: Xid,
        zxid: Zxid,
        request: &ReadRequest<'_>,
        watches: &mut impl Watches,
        out: &mut BytesMut,
    ) -> Result<(), ErrorCode> {
        let ok = ErrorCode::Ok;
        match request {
            ReadRequest::GetData { path, watch } => {
                let node = self.readable(path)?;
                if *watch {
                    watches.add(WatchKind::Data, Place::new(path, Some(node)));
                }
                reply::frame(out, xid, zxid, ok, |w| {
                    w.buffer(node.data());
                    node.stat().write(w);
                });
            }
            ReadRequest::Exists { path, watch } => {
                if path.contains('\0') {
                    return Err(ErrorCode::BadArguments);
                }
                let node = self.tree.get(path);
                if let Some(node) = node {
                    self.may(node, Perms::READ)?;
                }
                // A missing node is watched as well. ref: DataTree.statNode.
                if *watch {
                    watches.add(WatchKind::Data, Place::new(path, node));
                }
                let node = node.ok_or(ErrorCode::NoNode)?;
                reply::frame(out, xid, zxid, ok, |w| node.stat().write(w));
            }
            ReadRequest::GetChildren { path, watch, with_stat } => {
                let node = self.readable(path)?;
                if *watch {
                    watches.add(WatchKind::Child, Place::new(path, Some(node)));
                }
                reply::frame(out, xid, zxid, ok, |w| {
                    children(node, w);
                    if *with_stat {
                        node.stat().write(w);
                    }
                });
            }
            ReadRequest::GetAcl { path } => {
                let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
                self.may(node, Perms::READ | Perms::ADMIN)?;
                let plain = self.may(node, Perms::ADMIN).is_ok();
                reply::frame(out, xid, zxid, ok, |w| {
                    w.vector(
                        Some(node.acl()),
                        |w, a: &Acl| if plain { a.write(w) } else { auth::masked(a).write(w) },
                    );
                    node.stat().write(w);
                });
            }
            ReadRequest::MultiRead { ops, null_path } => {
                let err = if *null_path { ErrorCode::MarshallingError } else { ok };
                reply::frame(out, xid, zxid, err, |w| self.multi_read(ops, w));
            }
            ReadRequest::GetAllChildrenNumber { path } => {
                self.readable(path)?;
                let n = self.tree.descendants(path).ok_or(ErrorCode::NoNode)?;
                // Java looks for names that begin with `/`, and finds the root's
                // second name among them. ref: DataTree.getAllChildrenNumber.
                let n = if path.is_empty() { n + 1 } else { n };
                reply::frame(out, xid, zxid, ok, |w| w.len(n));
            }
            ReadRequest::GetEphemerals { prefix } => {
                let prefix = prefix.as_deref().unwrap_or_default();
                // ref: String.trim, which takes control characters away as well.
                let all = matches!(prefix.trim_matches(|c| c <= ' '), "" | "/");
                let mut paths = self.tree.ephemerals_of(self.session);
                paths.retain(|p| all || p.starts_with(prefix));
                reply::frame(out, xid, zxid, ok, |w| w.vector(Some(&paths), |w, p| w.str(p)));
            }
            ReadRequest::WhoAmI => reply::frame(out, xid, zxid, ok, |w| {
                w.vector(Some(self.ids), |w, id| {
                    w.str(&id.scheme);
                    w.str(self.policy.user(id));
                });
            }),
            ReadRequest::SetWatches(s) => {
                self.set_watches(s, watches, out)?;
                reply::error(out, xid, zxid, ok);
            }
            ReadRequest::AddWatch { path, recursive } => {
                let kind = if *recursive { WatchKind::Recursive } else { WatchKind::Persistent };
                watches.add(kind, self.place(path));
                reply::frame(out, xid, zxid, ok, |w| w.int(0));
            }
            ReadRequest::CheckWatches { path, kind } => {
                watch_answer(out, xid, zxid, watches.contains(*kind, self.place(path)));
            }
            ReadRequest::RemoveWatches { path, kind } => {
                watch_answer(out, xid, zxid, watches.remove(*kind, self.place(path)));
            }
            ReadRequest::Sync { path } => {
                reply::frame(out, xid, zxid, ok, |w| w.string(path.as_deref()));
            }
            // A ping's answer has a number of its own.
            ReadRequest::Ping => reply::error(out, Xid::PING, zxid, ok),
        }
        Ok(())
    }

    /// Each part by itself: an error does not stop the others, and watches are
    /// not set. ref: FinalRequestProcessor, multiRead; behaviour row 47.
    fn multi_read(&self, ops: &[ReadRequest<'_>], w: &mut Writer<'_, BytesMut>) {
        for op in ops {
            let (code, path) = match op {
                ReadRequest::GetData { path, .. } => (OpCode::GetData, path),
                ReadRequest::GetChildren { path, .. } => (OpCode::GetChildren, path),
                other => unreachable!("decoding lets no {other:?} into a multiRead"),
            };
            match self.readable(path) {
                Ok(node) => {
                    MultiHeader { op: code.to_i32(), done: false, err: 0 }.write(w);
                    if code == OpCode::GetData {
                        w.buffer(node.data());
                        node.stat().write(w);
                    } else {
                        children(node, w);
                    }
                }
                Err(err) => {
                    let err = err.to_i32();
                    MultiHeader { op: OpCode::Error.to_i32(), done: false, err }.write(w);
                    w.int(err);
                }
            }
        }
        MultiHeader::END.write(w);
    }

    /// Tells what changed since the client's zxid and arms the rest. The events
    /// carry zxid -1. ref: DataTree.setWatches; row 52.
    ///
    /// differs: of a node that the client may not read nothing is told and the watch is used up,
    /// as if the change itself had met it. Java tells here of any change of any node.
    fn set_watches(
        &self,
        s: &SetWatches<'_>,
        watches: &mut impl Watches,
        out: &mut BytesMut,
    ) -> Result<(), ErrorCode> {
        let rel = s.relative_zxid.0;
        let mut tell = |event, path: &str, node: Option<Node<'_>>| {
            let hidden = node.is_some_and(|n| {
                let acl = n.acl();
                !zk_tree::is_open(acl) && !self.policy.allows(acl, Perms::READ, self.ids)
            });
            if !hidden {
                reply::watcher_event(out, event, path, Zxid(-1));
            }
        };
        let null_at = |i: u8| if s.null_list == Some(i) { Err(ErrorCode::MarshallingError) } else { Ok(()) };
        null_at(0)?;
        for p in &s.data {
            match self.tree.get(p) {
                None => tell(EventType::NodeDeleted, p, None),
                Some(n) if n.persisted().mzxid > rel => tell(EventType::NodeDataChanged, p, Some(n)),
                node => watches.add(WatchKind::Data, Place::new(p, node)),
            }
        }
        null_at(1)?;
        for p in &s.exist {
            match self.tree.get(p) {
                Some(n) => tell(EventType::NodeCreated, p, Some(n)),
                None => watches.add(WatchKind::Data, Place::new(p, None)),
            }
        }
        null_at(2)?;
        for p in &s.child {
            match self.tree.get(p) {
                None => tell(EventType::NodeDeleted, p, None),
                Some(n) if n.persisted().pzxid > rel => tell(EventType::NodeChildrenChanged, p, Some(n)),
                node => watches.add(WatchKind::Child, Place::new(p, node)),
            }
        }
        null_at(3)?;
        s.persistent.iter().for_each(|p| watches.add(WatchKind::Persistent, self.place(p)));
        null_at(4)?;
        s.recursive.iter().for_each(|p| watches.add(WatchKind::Recursive, self.place(p)));
        Ok(())
    }
}

fn children(node: Node<'_>, w: &mut Writer<'_, BytesMut>) {
    w.len(node.num_children());
    for name in node.children() {
        w.str(name);
    }
}

/// Appends the reply to checkWatches or removeWatches.
pub fn watch_answer(out: &mut BytesMut, xid: Xid, zxid: Zxid, found: bool) {
    reply::error(out, xid, zxid, if found { ErrorCode::Ok } else { ErrorCode::NoWatcher });
}
