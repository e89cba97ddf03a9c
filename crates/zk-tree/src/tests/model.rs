//! The tree as a map from path to node, as simple as it can be.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::txn::{CreateTxn, LogEntry, Txn, TxnHeader};
use zk_proto::{Acl, ErrorCode, OpCode, StatPersisted};

use super::{Dump, Full};
use crate::owner;

#[derive(Debug, Clone)]
pub struct Model {
    pub nodes: Dump,
    pub sessions: BTreeMap<i64, i32>,
}

fn parent(path: &str) -> &str {
    zk_proto::path::split(path).unwrap().0
}

fn name(path: &str) -> String {
    path.rsplit_once('/').unwrap().1.to_owned()
}

impl Model {
    pub fn new() -> Model {
        let zero = StatPersisted::default();
        let full = |acl, stat, children: &[&str]| Full {
            data: Some(Vec::new()),
            acl,
            stat,
            children: children.iter().map(|c| (*c).to_owned()).collect(),
        };
        let nodes = Dump::from([
            ("/".to_owned(), full(Acl::open(), zero, &["zookeeper"])),
            ("/zookeeper".to_owned(), full(Acl::open(), zero, &["quota", "config"])),
            ("/zookeeper/quota".to_owned(), full(Acl::open(), zero, &[])),
            (
                "/zookeeper/config".to_owned(),
                full(Acl::read_only(), StatPersisted { aversion: -1, ..zero }, &[]),
            ),
        ]);
        Model { nodes, sessions: BTreeMap::new() }
    }

    /// Paths a session owns.
    pub fn owned(&self, session: i64) -> BTreeSet<String> {
        let owned = self.nodes.iter().filter(|(_, n)| n.stat.ephemeral_owner == session);
        owned.map(|(p, _)| p.clone()).collect()
    }

    pub fn apply(&mut self, e: &LogEntry) -> ErrorCode {
        let h = &e.header;
        match &e.txn {
            Txn::Multi(parts) => {
                if let Some(bad) = parts.iter().find_map(|p| match p.txn {
                    Txn::Error { err } if err != 0 => Some(err),
                    _ => None,
                }) {
                    return ErrorCode::from_i32(bad).unwrap();
                }
                let codes: Vec<_> = parts.iter().map(|p| self.one(h, p.op, &p.txn)).collect();
                codes.into_iter().find(|c| *c != ErrorCode::Ok).unwrap_or(ErrorCode::Ok)
            }
            txn => self.one(h, h.op, txn),
        }
    }

    fn one(&mut self, h: &TxnHeader, op: OpCode, txn: &Txn) -> ErrorCode {
        match txn {
            Txn::Create(c) => self.create(h, op, c),
            Txn::Delete { path } => self.delete(path, h.zxid.0),
            Txn::SetData { path, data, version } => {
                let Some(n) = self.nodes.get_mut(&**path) else { return ErrorCode::NoNode };
                n.data = data.as_ref().map(|d| d.to_vec());
                (n.stat.mzxid, n.stat.mtime, n.stat.version) = (h.zxid.0, h.time, *version);
                ErrorCode::Ok
            }
            Txn::SetAcl { path, acl, version } => {
                let Some(n) = self.nodes.get_mut(&**path) else { return ErrorCode::NoNode };
                n.acl = acl.clone().unwrap_or_else(Acl::open);
                n.stat.aversion = *version;
                ErrorCode::Ok
            }
            Txn::CreateSession { timeout } => {
                self.sessions.insert(h.session.0, *timeout);
                ErrorCode::Ok
            }
            Txn::CloseSession { paths } => {
                self.sessions.remove(&h.session.0);
                for path in paths.iter().flatten() {
                    self.delete(path, h.zxid.0);
                }
                for path in self.owned(h.session.0) {
                    self.delete(&path, h.zxid.0);
                }
                ErrorCode::Ok
            }
            Txn::Check { .. } => ErrorCode::Ok,
            Txn::Error { err } => ErrorCode::from_i32(*err).unwrap(),
            Txn::Multi(_) => panic!("no multi in a multi"),
        }
    }

    fn create(&mut self, h: &TxnHeader, op: OpCode, c: &CreateTxn) -> ErrorCode {
        let Some(above) = self.nodes.get_mut(parent(&c.path)) else { return ErrorCode::NoNode };
        if c.parent_cversion > above.stat.cversion {
            (above.stat.cversion, above.stat.pzxid) = (c.parent_cversion, h.zxid.0);
        }
        above.children.insert(name(&c.path));
        let acl = c.acl.clone().unwrap_or_else(Acl::open);
        if let Some(n) = self.nodes.get_mut(&*c.path) {
            n.acl = acl;
            return ErrorCode::NodeExists;
        }
        let z = h.zxid.0;
        let ephemeral_owner = match op {
            OpCode::CreateContainer => owner::CONTAINER,
            OpCode::CreateTtl => owner::ttl(c.ttl),
            _ if c.ephemeral => h.session.0,
            _ => 0,
        };
        let stat = StatPersisted {
            czxid: z,
            mzxid: z,
            pzxid: z,
            ctime: h.time,
            mtime: h.time,
            ephemeral_owner,
            ..Default::default()
        };
        let data = c.data.as_ref().map(|d| d.to_vec());
        self.nodes.insert(c.path.to_string(), Full { data, acl, stat, children: BTreeSet::new() });
        ErrorCode::Ok
    }

    fn delete(&mut self, path: &str, zxid: i64) -> ErrorCode {
        let Some(above) = self.nodes.get_mut(parent(path)) else { return ErrorCode::NoNode };
        above.stat.pzxid = above.stat.pzxid.max(zxid);
        above.children.remove(&name(path));
        if self.nodes.remove(path).is_none() {
            return ErrorCode::NoNode;
        }
        self.nodes.retain(|p, _| !p.starts_with(&format!("{path}/")));
        ErrorCode::Ok
    }
}
