//! The audit log: who changed what, one line each, in Java's form. ref: AuditHelper, AuditEvent.
//!
//! The member that a client talks to logs its requests; every member logs the nodes that go with a session.
//! Lines have the target `audit`; what failed has the level `error`, everything else `info`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use zk_pipeline::auth::masked;
use zk_proto::client::{CreateMode, WriteRequest};
use zk_proto::{Acl, AuthId, DecodeError, OpCode, Perms, Reader, SessionId};

use crate::shared::address_identity;

/// Who asked.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The session.
    pub session: SessionId,
    /// On whose behalf.
    pub ids: &'a [AuthId],
    /// From where.
    pub address: IpAddr,
}

/// What a request will be called, noted when it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    operation: &'static str,
    path: Option<Arc<str>>,
    kind: Option<&'static str>,
    acl: Option<String>,
    /// Of a multi.
    parts: Vec<Asked>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done; the final path of what was created, of each part.
    Done(Vec<Option<String>>),
    /// It was refused.
    Failed,
    /// Whoever asked did not wait for the answer.
    Invoked,
}

impl Asked {
    /// What to note; `None` for what is not audited. A multi that does not decode is, other requests
    /// that do not decode change nothing.
    pub fn of(op: OpCode, request: Option<&WriteRequest>) -> Option<Self> {
        let plain = |operation, path: &Option<Arc<str>>| {
            Some(Self { operation, path: path.clone(), kind: None, acl: None, parts: Vec::new() })
        };
        match request {
            Some(WriteRequest::Create(r)) => {
                Some(Self { kind: CreateMode::from_flags(r.flags).map(mode), ..plain("create", &r.path)? })
            }
            Some(WriteRequest::Delete { path, .. }) => plain("delete", path),
            Some(WriteRequest::SetData { path, .. }) => plain("setData", path),
            Some(WriteRequest::SetAcl { path, acl, .. }) => {
                let acl = acl.as_ref().map(|list| list.iter().map(entry).collect());
                Some(Self { acl, ..plain("setAcl", path)? })
            }
            Some(WriteRequest::Check { path, .. }) => plain("check", path),
            Some(WriteRequest::Multi(parts)) => {
                let parts = parts.iter().filter_map(|p| Self::of(p.op(), Some(p))).collect();
                Some(Self { parts, ..plain("multiOperation", &None)? })
            }
            Some(WriteRequest::Reconfig { .. }) => plain("reconfig", &None),
            None if op == OpCode::Multi => plain("multiOperation", &None),
            None
            | Some(
                WriteRequest::CloseSession
                | WriteRequest::CreateSession { .. }
                | WriteRequest::DeleteContainer { .. },
            ) => None,
        }
    }

    /// Writes the line, or those of the parts of a multi that was done.
    pub fn log(&self, who: &Who<'_>, outcome: Outcome) {
        for (result, line) in self.lines(who, outcome) {
            write(result, &line);
        }
    }

    fn lines(&self, who: &Who<'_>, outcome: Outcome) -> Vec<(Result, String)> {
        match outcome {
            Outcome::Failed => vec![self.line(who, self.path.as_deref(), Result::Failure)],
            Outcome::Invoked => vec![self.line(who, self.path.as_deref(), Result::Invoked)],
            Outcome::Done(paths) if self.operation == "multiOperation" => {
                let parts = self.parts.iter().zip(paths).filter(|(part, _)| part.operation != "check");
                // differs: Java loses the kind of a sequential node here, and of one with a time to live.
                parts
                    .map(|(p, path)| p.line(who, path.as_deref().or(p.path.as_deref()), Result::Success))
                    .collect()
            }
            Outcome::Done(paths) => {
                let created = paths.first().and_then(Option::as_deref);
                vec![self.line(who, created.or(self.path.as_deref()), Result::Success)]
            }
        }
    }

    fn line(&self, who: &Who<'_>, path: Option<&str>, result: Result) -> (Result, String) {
        let users: Vec<&str> = who.ids.iter().filter_map(user).collect();
        let users = users.join(",");
        let fields = [
            ("session", Some(who.session.to_string())),
            ("user", Some(users).filter(|u| !u.is_empty())),
            ("ip", Some(address_identity(who.address).id)),
            ("operation", Some(self.operation.to_owned())),
            ("znode", path.map(str::to_owned)),
            ("znode_type", self.kind.map(str::to_owned)),
            ("acl", self.acl.clone()),
        ];
        (result, text(&fields, result))
    }
}

impl Outcome {
    /// What the reply says.
    pub fn of(asked: &Asked, reply: &[u8]) -> Self {
        read(asked, reply).unwrap_or(Self::Failed)
    }
}

fn read(asked: &Asked, reply: &[u8]) -> std::result::Result<Outcome, DecodeError> {
    const STAT: usize = 68;
    let mut r = Reader::new(reply);
    // The length, the number and the zxid.
    r.take(16)?;
    if r.int()? != 0 {
        return Ok(Outcome::Failed);
    }
    if asked.operation == "create" {
        return Ok(Outcome::Done(vec![r.string()?.map(Into::into)]));
    }
    let mut paths = Vec::new();
    for part in &asked.parts {
        let op = r.int()?;
        r.take(5)?;
        let mut path = None;
        match OpCode::from_i32(op) {
            Some(OpCode::Create) => path = r.string()?.map(Into::into),
            Some(OpCode::Create2) => {
                path = r.string()?.map(Into::into);
                r.take(STAT)?;
            }
            Some(OpCode::SetData) => drop(r.take(STAT)?),
            Some(OpCode::Delete | OpCode::Check) => {}
            _ => return Ok(Outcome::Failed),
        }
        debug_assert!(path.is_none() || part.operation == "create");
        paths.push(path);
    }
    Ok(Outcome::Done(paths))
}

/// ref: AuditEvent.Result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Result {
    Success,
    Failure,
    Invoked,
}

/// The server starts, or could not.
pub fn start(done: bool) {
    server("serverStart", if done { Result::Success } else { Result::Failure });
}

/// The server stops.
pub fn stop() {
    server("serverStop", Result::Invoked);
}

fn server(operation: &str, result: Result) {
    let fields = [("user", Some(own_name())), ("operation", Some(operation.to_owned()))];
    write(result, &text(&fields, result));
}

/// A node went with its session. ref: DataTree.deleteNodes.
pub fn ephemeral(session: SessionId, path: &str, deleted: bool) {
    let result = if deleted { Result::Success } else { Result::Failure };
    let fields = [
        ("session", Some(session.to_string())),
        ("user", Some(own_name())),
        ("operation", Some("ephemeralZNodeDeletionOnSessionCloseOrExpire".to_owned())),
        ("znode", Some(path.to_owned())),
    ];
    write(result, &text(&fields, result));
}

fn write(result: Result, line: &str) {
    match result {
        Result::Failure => tracing::error!(target: "audit", "audit: {line}"),
        Result::Success | Result::Invoked => tracing::info!(target: "audit", "audit: {line}"),
    }
}

/// The user of the process. ref: ServerCnxnFactory.getUserName.
fn own_name() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid());
    user.ok().flatten().map_or_else(|| "<NA>".to_owned(), |u| u.name)
}

/// Fields with tabs between. differs: a control character of a refused path is written as its escape, so
/// that nobody forges a line.
fn text(fields: &[(&str, Option<String>)], result: Result) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let Some(value) = value else { continue };
        let _ = write!(out, "{name}=");
        for c in value.chars() {
            match c.is_control() {
                true => out.extend(c.escape_default()),
                false => out.push(c),
            }
        }
        out.push('\t');
    }
    let result = match result {
        Result::Success => "success",
        Result::Failure => "failure",
        Result::Invoked => "invoked",
    };
    let _ = write!(out, "result={result}");
    out
}

/// ref: AuthenticationProvider.getUserName; a scheme without provider has no users.
fn user(id: &AuthId) -> Option<&str> {
    match id.scheme.as_str() {
        "digest" => Some(id.id.split_once(':').map_or(id.id.as_str(), |(name, _)| name)),
        "ip" | "sasl" | "x509" | "world" => Some(&id.id),
        _ => None,
    }
}

/// ref: CreateMode.
fn mode(mode: CreateMode) -> &'static str {
    match mode {
        CreateMode::Persistent => "persistent",
        CreateMode::Ephemeral => "ephemeral",
        CreateMode::PersistentSequential => "persistent_sequential",
        CreateMode::EphemeralSequential => "ephemeral_sequential",
        CreateMode::Container => "container",
        CreateMode::Ttl => "persistent_with_ttl",
        CreateMode::TtlSequential => "persistent_sequential_with_ttl",
    }
}

/// ref: ZKUtil.aclToString, which puts nothing between entries.
///
/// differs: the hash of a password is not shown, as getACL does not show it.
fn entry(acl: &Acl) -> String {
    let acl = masked(acl);
    let letters = [
        (Perms::CREATE, 'c'),
        (Perms::DELETE, 'd'),
        (Perms::READ, 'r'),
        (Perms::WRITE, 'w'),
        (Perms::ADMIN, 'a'),
    ];
    let perms: String = letters.iter().filter(|(p, _)| acl.perms.0 & p.0 != 0).map(|(_, c)| c).collect();
    format!("{}:{}:{perms}", acl.scheme, acl.id)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use zk_pipeline::reply;
    use zk_proto::client::CreateRequest;
    use zk_proto::{ErrorCode, Xid, Zxid};

    use super::*;

    fn create(path: &str, flags: i32) -> WriteRequest {
        let path = Some(path.into());
        WriteRequest::Create(CreateRequest {
            op: OpCode::Create,
            path,
            data: None,
            acl: None,
            flags,
            ttl: -1,
        })
    }

    fn lines(request: &WriteRequest, outcome: impl FnOnce(&Asked) -> Outcome) -> Vec<String> {
        let asked = Asked::of(request.op(), Some(request)).expect("audited");
        let id = |scheme: &str, id: &str| AuthId { scheme: scheme.into(), id: id.into() };
        let ids = [id("ip", "10.0.0.9"), id("super", ""), id("digest", "bob:xyz=")];
        let who = Who { session: SessionId(0x10), ids: &ids, address: [10, 0, 0, 9].into() };
        let outcome = outcome(&asked);
        asked.lines(&who, outcome).into_iter().map(|(_, line)| line).collect()
    }

    const WHO: &str = "session=0x10\tuser=10.0.0.9,bob\tip=10.0.0.9";

    #[test]
    fn fields_are_those_of_java() {
        let done = |path: &str| Outcome::Done(vec![Some(path.to_owned())]);
        assert_eq!(
            lines(&create("/a-", 3), |_| done("/a-0000000001")),
            [format!(
                "{WHO}\toperation=create\tznode=/a-0000000001\tznode_type=ephemeral_sequential\tresult=success"
            )]
        );
        let acl =
            |perms, scheme: &str, id: &str| Acl { perms: Perms(perms), scheme: scheme.into(), id: id.into() };
        let list = vec![acl(31, "world", "anyone"), acl(1, "ip", "127.0.0.1")];
        let set = WriteRequest::SetAcl { path: Some("/a".into()), acl: Some(list), version: -1 };
        assert_eq!(
            lines(&set, |_| Outcome::Failed),
            [format!(
                "{WHO}\toperation=setAcl\tznode=/a\tacl=world:anyone:cdrwaip:127.0.0.1:r\tresult=failure"
            )]
        );
    }

    #[test]
    fn nobody_forges_a_line() {
        let delete =
            WriteRequest::Delete { path: Some("/a\nsession=0x1\tresult=success".into()), version: -1 };
        let line = lines(&delete, |_| Outcome::Failed).remove(0);
        assert!(line.contains("znode=/a\\nsession=0x1\\tresult=success\tresult=failure"), "{line}");
    }

    #[test]
    fn a_multi_is_as_many_lines_as_it_has_changes() {
        let check = WriteRequest::Check { path: Some("/a".into()), version: 1 };
        let delete = WriteRequest::Delete { path: Some("/b".into()), version: -1 };
        let multi = WriteRequest::Multi(vec![create("/a", 0), check, delete]);
        let paths = vec![Some("/a".to_owned()), None, None];
        assert_eq!(
            lines(&multi, |_| Outcome::Done(paths)),
            [
                format!("{WHO}\toperation=create\tznode=/a\tznode_type=persistent\tresult=success"),
                format!("{WHO}\toperation=delete\tznode=/b\tresult=success"),
            ]
        );
        assert_eq!(
            lines(&multi, |_| Outcome::Failed),
            [format!("{WHO}\toperation=multiOperation\tresult=failure")]
        );
    }

    #[test]
    fn the_reply_tells_the_outcome() {
        let mut out = BytesMut::new();
        reply::error(&mut out, Xid(1), Zxid(2), ErrorCode::NoNode);
        let request = create("/a", 0);
        let asked = Asked::of(OpCode::Create, Some(&request)).expect("audited");
        assert_eq!(Outcome::of(&asked, &out), Outcome::Failed);
        out.clear();
        reply::frame(&mut out, Xid(1), Zxid(2), ErrorCode::Ok, |w| w.str("/a"));
        assert_eq!(Outcome::of(&asked, &out), Outcome::Done(vec![Some("/a".into())]));
        assert_eq!(Outcome::of(&asked, &[]), Outcome::Failed);
    }

    #[test]
    fn what_changes_nothing_is_not_audited() {
        assert_eq!(Asked::of(OpCode::CloseSession, Some(&WriteRequest::CloseSession)), None);
        assert_eq!(Asked::of(OpCode::Create, None), None);
        assert!(Asked::of(OpCode::Multi, None).is_some());
    }
}
