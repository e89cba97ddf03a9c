//! One method an operation. Paths are checked, and get the chroot.

use zk_proto::client::{CreateMode, MultiHeader, WatcherKind};
use zk_proto::{Acl, AuthId, DecodeError, ErrorCode, OpCode, Reader, Stat, Writer};

use crate::path::check_path;
use crate::session::{Client, strip_chroot};
use crate::watches::{Event, WatchKind};
use crate::{Error, Result};

/// Longer than any reply may be.
const MAX: usize = 64 << 20;

fn reader(body: &[u8]) -> Reader<'_> {
    Reader::with_max_len(body, MAX)
}

fn names(r: &mut Reader<'_>) -> std::result::Result<Vec<String>, DecodeError> {
    Ok(r.vector(|r| Ok(r.str()?.into_owned()))?.unwrap_or_default())
}

fn body(fill: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut Writer::new(&mut out));
    out
}

impl Client {
    fn full(&self, path: &str) -> String {
        match (self.shared.options.chroot.as_str(), path) {
            ("", path) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    fn watch(&self, kind: WatchKind, full: String, wanted: bool) {
        if wanted {
            self.shared.lock().watches.set(kind).insert(full);
        }
    }

    /// Creates a node and returns its path. `ttl` in ms counts for modes with one.
    pub fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        mode: CreateMode,
        ttl: i64,
    ) -> Result<String> {
        check_path(path, mode.is_sequential())?;
        let op = match mode {
            CreateMode::Container => OpCode::CreateContainer,
            mode if mode.is_ttl() => OpCode::CreateTtl,
            _ => OpCode::Create,
        };
        let request = body(|w| {
            w.str(&self.full(path));
            w.buffer(data);
            Acl::write_list(Some(acl), w);
            w.int(mode as i32);
            if op == OpCode::CreateTtl {
                w.long(ttl);
            }
        });
        let reply = self.request(op, &request, path)?;
        let created = reader(&reply).str()?.into_owned();
        Ok(strip_chroot(&self.shared.options.chroot, &created).to_owned())
    }

    /// Deletes a node; version -1 is any.
    pub fn delete(&self, path: &str, version: i32) -> Result<()> {
        check_path(path, false)?;
        let request = body(|w| {
            w.str(&self.full(path));
            w.int(version);
        });
        self.request(OpCode::Delete, &request, path).map(drop)
    }

    /// Deletes nodes, all or none, in this order.
    pub fn delete_all(&self, paths: &[String]) -> Result<()> {
        let request = body(|w| {
            for path in paths {
                MultiHeader { op: OpCode::Delete.to_i32(), done: false, err: -1 }.write(w);
                w.str(&self.full(path));
                w.int(-1);
            }
            MultiHeader::END.write(w);
        });
        let reply = self.request(OpCode::Multi, &request, "")?;
        let mut r = reader(&reply);
        for path in paths {
            let header = MultiHeader::read(&mut r)?;
            if header.op == -1 {
                let code = ErrorCode::from_i32(r.int()?).unwrap_or(ErrorCode::SystemError);
                if code != ErrorCode::Ok && code != ErrorCode::RuntimeInconsistency {
                    return Err(Error::Refused { code, path: path.clone() });
                }
            }
        }
        Ok(())
    }

    /// Stat of a node; `None`: it is not there. A watch is set in both cases.
    pub fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>> {
        check_path(path, false)?;
        let full = self.full(path);
        let request = body(|w| {
            w.str(&full);
            w.bool(watch);
        });
        match self.request(OpCode::Exists, &request, path) {
            Ok(reply) => {
                self.watch(WatchKind::Data, full, watch);
                Ok(Some(Stat::read(&mut reader(&reply))?))
            }
            Err(Error::Refused { code: ErrorCode::NoNode, .. }) => {
                self.watch(WatchKind::Exist, full, watch);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Data and stat of a node.
    pub fn get_data(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        check_path(path, false)?;
        let full = self.full(path);
        self.data_of(path, full, watch)
    }

    /// The ensemble's configuration and the stat of its node, which no chroot hides.
    pub fn get_config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        let path = zk_proto::path::CONFIG;
        self.data_of(path, path.to_owned(), watch)
    }

    fn data_of(&self, path: &str, full: String, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        let request = body(|w| {
            w.str(&full);
            w.bool(watch);
        });
        let reply = self.request(OpCode::GetData, &request, path)?;
        self.watch(WatchKind::Data, full, watch);
        let mut r = reader(&reply);
        Ok((r.buffer()?.map(<[u8]>::to_vec), Stat::read(&mut r)?))
    }

    /// Sets a node's data; version -1 is any.
    pub fn set_data(&self, path: &str, data: Option<&[u8]>, version: i32) -> Result<Stat> {
        check_path(path, false)?;
        let request = body(|w| {
            w.str(&self.full(path));
            w.buffer(data);
            w.int(version);
        });
        let reply = self.request(OpCode::SetData, &request, path)?;
        Ok(Stat::read(&mut reader(&reply))?)
    }

    /// Names of a node's children, as the server orders them, and its stat.
    pub fn get_children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat)> {
        check_path(path, false)?;
        let full = self.full(path);
        let request = body(|w| {
            w.str(&full);
            w.bool(watch);
        });
        let reply = self.request(OpCode::GetChildren2, &request, path)?;
        self.watch(WatchKind::Child, full, watch);
        let mut r = reader(&reply);
        Ok((names(&mut r)?, Stat::read(&mut r)?))
    }

    /// A node's access control list and stat.
    pub fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat)> {
        check_path(path, false)?;
        let reply = self.request(OpCode::GetAcl, &body(|w| w.str(&self.full(path))), path)?;
        let mut r = reader(&reply);
        Ok((Acl::read_list(&mut r)?.unwrap_or_default(), Stat::read(&mut r)?))
    }

    /// Sets a node's access control list; aversion -1 is any.
    pub fn set_acl(&self, path: &str, acl: &[Acl], version: i32) -> Result<Stat> {
        check_path(path, false)?;
        let request = body(|w| {
            w.str(&self.full(path));
            Acl::write_list(Some(acl), w);
            w.int(version);
        });
        let reply = self.request(OpCode::SetAcl, &request, path)?;
        Ok(Stat::read(&mut reader(&reply))?)
    }

    /// Waits until this server has what the leader had committed.
    pub fn sync(&self, path: &str) -> Result<()> {
        check_path(path, false)?;
        self.request(OpCode::Sync, &body(|w| w.str(&self.full(path))), path).map(drop)
    }

    /// Number of nodes below a node.
    pub fn all_children_number(&self, path: &str) -> Result<i32> {
        check_path(path, false)?;
        let reply = self.request(OpCode::GetAllChildrenNumber, &body(|w| w.str(&self.full(path))), path)?;
        Ok(reader(&reply).int()?)
    }

    /// Paths of the session's ephemerals that begin with a text.
    pub fn ephemerals(&self, prefix: &str) -> Result<Vec<String>> {
        check_path(prefix, false)?;
        let reply = self.request(OpCode::GetEphemerals, &body(|w| w.str(&self.full(prefix))), prefix)?;
        let chroot = &self.shared.options.chroot;
        Ok(names(&mut reader(&reply))?.iter().map(|p| strip_chroot(chroot, p).to_owned()).collect())
    }

    /// Identities of the connection.
    pub fn who_am_i(&self) -> Result<Vec<AuthId>> {
        let reply = self.request(OpCode::WhoAmI, &[], "")?;
        let one = |r: &mut Reader<'_>| Ok(AuthId::new(&r.str()?, &r.string()?.unwrap_or_default()));
        Ok(reader(&reply).vector(one)?.unwrap_or_default())
    }

    /// Sets a persistent watch.
    pub fn add_watch(&self, path: &str, recursive: bool) -> Result<()> {
        check_path(path, false)?;
        let full = self.full(path);
        let request = body(|w| {
            w.str(&full);
            w.int(i32::from(recursive));
        });
        self.request(OpCode::AddWatch, &request, path)?;
        let kind = if recursive { WatchKind::Recursive } else { WatchKind::Persistent };
        self.watch(kind, full, true);
        Ok(())
    }

    /// Removes watches of a kind, and tells with an event for each. With `local` also when
    /// there is no connection. ref: ZooKeeper.removeAllWatches.
    pub fn remove_watches(&self, path: &str, kind: WatcherKind, local: bool) -> Result<()> {
        check_path(path, false)?;
        let full = self.full(path);
        let held = self.shared.lock().watches.held(&full, kind);
        if held.is_empty() {
            return Err(Error::Refused { code: ErrorCode::NoWatcher, path: path.to_owned() });
        }
        let number = match kind {
            WatcherKind::Children => 1,
            WatcherKind::Data => 2,
            WatcherKind::Any => 3,
            WatcherKind::Persistent => 4,
            WatcherKind::PersistentRecursive => 5,
        };
        let request = body(|w| {
            w.str(&full);
            w.int(number);
        });
        match self.request(OpCode::RemoveWatches, &request, path) {
            Err(Error::Refused { code: ErrorCode::ConnectionLoss, .. }) if local => {}
            done => drop(done?),
        }
        self.shared.lock().watches.remove(&full, &held, kind);
        for kind in held {
            self.shared.tell(Event { kind, state: "SyncConnected", path: Some(path.to_owned()), zxid: -1 });
        }
        Ok(())
    }

    /// Changes the ensemble's members, incrementally or as a whole; returns the new
    /// configuration. `base` -1 is any.
    pub fn reconfigure(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        base: i64,
    ) -> Result<(Option<Vec<u8>>, Stat)> {
        let request = body(|w| {
            w.string(joining);
            w.string(leaving);
            w.string(members);
            w.long(base);
        });
        let reply = self.request(OpCode::Reconfig, &request, "")?;
        let mut r = reader(&reply);
        Ok((r.buffer()?.map(<[u8]>::to_vec), Stat::read(&mut r)?))
    }
}
