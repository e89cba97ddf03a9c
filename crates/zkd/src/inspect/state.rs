//! `zkd inspect snapshot` and `zkd inspect mirror`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use zk_proto::{Acl, SessionId, StatPersisted};
use zk_storage::{Mirror, SnapshotEnd, SnapshotSink, find_snapshots, read_snapshot};
use zk_tree::owner::{OwnerKind, classify};
use zk_tree::{counts_in_digest, node_digest};

use super::{feed, is_within, version_dir};
use crate::cli::InspectStateArgs;
use crate::out::{Colour, Out, acl, put_data, quoted};
use crate::times;

/// Shows a snapshot: the file, or the newest one of a directory. True: it is sound.
pub fn snapshot(args: &InspectStateArgs) -> Result<bool> {
    let path = if args.path.is_dir() { newest(&version_dir(&args.path))? } else { args.path.clone() };
    let mut view = View::new(args, path.display().to_string());
    let end = match read_snapshot(&path, &mut view, &mut |_| {}) {
        Ok(end) => end,
        Err(e) => {
            view.out.flush()?;
            return Err(e.into());
        }
    };
    let SnapshotEnd { zxid, digest, last_zxid } = end;
    // While Java writes, the tree changes: only the state at the name's zxid can be summed up.
    let exact = digest.is_some_and(|d| d.zxid == zxid) && last_zxid.is_none_or(|z| z == zxid);
    let mut facts = Map::new();
    facts.insert("zxid".to_owned(), zxid.to_string().into());
    facts.insert("last_zxid".to_owned(), last_zxid.map(|z| z.to_string()).into());
    facts.insert("digest_zxid".to_owned(), digest.map(|d| d.zxid.to_string()).into());
    facts.insert("digest".to_owned(), digest.map(|d| format!("{:#x}", d.tree)).into());
    let stored = digest.filter(|d| exact && d.zxid.0 > 0 && d.version == 2).map(|d| d.tree);
    view.end(facts, stored)
}

fn newest(dir: &Path) -> Result<PathBuf> {
    match find_snapshots(dir)?.into_iter().next() {
        Some((_, path)) => Ok(path),
        None => bail!("{} holds no complete snapshot; name a snapshot file, or a dataDir", dir.display()),
    }
}

/// Shows what of the mirror is on the disk. A server may be at work on it.
pub fn mirror(args: &InspectStateArgs) -> Result<bool> {
    let dir = version_dir(&args.path);
    let reader = Mirror::open_to_read(&dir).with_context(|| {
        format!("{} has no mirror that can be read; name the dataDir of a zkd", dir.display())
    })?;
    let state = reader.view()?;
    let mut view = View::new(args, Mirror::dir(&dir).display().to_string());
    feed(&state, &mut view)?;
    let mut facts = Map::new();
    facts.insert("zxid".to_owned(), state.zxid().to_string().into());
    facts.insert("digest".to_owned(), state.digest().map(|d| format!("{d:#x}")).into());
    view.end(facts, state.digest())
}

/// Shows nodes as they come, and counts.
struct View<'a> {
    args: &'a InspectStateArgs,
    name: String,
    out: Out,
    acls: BTreeMap<i64, Vec<Acl>>,
    /// Time-out and number of ephemerals.
    sessions: BTreeMap<SessionId, (Option<i32>, u64)>,
    nodes: u64,
    shown: u64,
    bytes: u64,
    digest: u64,
    titled: bool,
}

impl<'a> View<'a> {
    fn new(args: &'a InspectStateArgs, name: String) -> View<'a> {
        View {
            args,
            name,
            out: Out::new(),
            acls: BTreeMap::new(),
            sessions: BTreeMap::new(),
            nodes: 0,
            shown: 0,
            bytes: 0,
            digest: 0,
            titled: false,
        }
    }

    fn title(&mut self) -> std::io::Result<()> {
        if self.titled || self.args.json {
            return Ok(());
        }
        self.titled = true;
        self.out.line(&self.out.paint(Colour::Bold, &self.name))?;
        let columns = format!(
            "{:<23}  {:<13}  {:>8}  {:>8}  {:>8}  {:<18}  PATH",
            "MODIFIED", "MZXID", "VERSION", "CVERSION", "BYTES", "OWNER"
        );
        self.out.line(&self.out.paint(Colour::Dim, &columns))
    }

    fn show(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> std::io::Result<()> {
        self.title()?;
        let owner = match classify(stat.ephemeral_owner, true) {
            OwnerKind::Persistent => "-".to_owned(),
            OwnerKind::Container => "container".to_owned(),
            OwnerKind::Ttl(ms) => format!("ttl {ms} ms"),
            OwnerKind::Session(id) => id.to_string(),
        };
        // Null stands for the open list. ref: ReferenceCountedACLCache.OPEN_UNSAFE_ACL_ID.
        let list = self.acls.get(&acl_id).map(|l| acl(l));
        let list = list.or_else(|| (acl_id == zk_tree::OPEN_ID).then(|| acl(&Acl::open())));
        if self.args.json {
            let mut object = Map::new();
            object.insert("path".to_owned(), path.into());
            put_data(&mut object, data);
            if let Value::Object(more) = json!({
                "bytes": data.map_or(0, <[u8]>::len), "acl": list, "owner": owner,
                "czxid": format!("{:#x}", stat.czxid), "mzxid": format!("{:#x}", stat.mzxid),
                "pzxid": format!("{:#x}", stat.pzxid), "ctime": stat.ctime, "mtime": stat.mtime,
                "version": stat.version, "cversion": stat.cversion, "aversion": stat.aversion,
                "ephemeral_owner": format!("{:#x}", stat.ephemeral_owner),
            }) {
                object.extend(more);
            }
            return self.out.json(&object.into());
        }
        let bytes = data.map_or_else(|| "null".to_owned(), |d| d.len().to_string());
        self.out.line(&format!(
            "{}  {}  {:>8}  {:>8}  {bytes:>8}  {owner:<18}  {path}",
            self.out.paint(Colour::Dim, &times::show(stat.mtime)),
            self.out.paint(Colour::Cyan, &format!("{:<13}", format!("{:#x}", stat.mzxid))),
            stat.version,
            stat.cversion,
        ))?;
        if self.args.data {
            let list = list.unwrap_or_else(|| format!("list {acl_id}, which is missing"));
            let data = data.map_or_else(|| "null".to_owned(), quoted);
            self.out.line(&format!("    {data}  {list}"))?;
        }
        Ok(())
    }

    /// Sessions and sums. True: the digest that was stored, if any, is that of the nodes.
    fn end(mut self, facts: Map<String, Value>, stored: Option<u64>) -> Result<bool> {
        let sound = stored.is_none_or(|d| d == self.digest);
        let wanted = |id: &SessionId| self.args.session.is_none_or(|s| s == *id);
        let sessions: Vec<_> = self.sessions.iter().filter(|(id, _)| wanted(id)).collect();
        if self.args.json {
            for (id, (timeout, ephemerals)) in sessions {
                self.out.json(&json!({
                    "session": id.to_string(), "timeout": timeout, "ephemerals": ephemerals,
                }))?;
            }
            let mut summary = facts;
            summary.insert("file".to_owned(), self.name.into());
            summary.insert("nodes".to_owned(), self.nodes.into());
            summary.insert("bytes".to_owned(), self.bytes.into());
            summary.insert("sessions".to_owned(), self.sessions.len().into());
            summary.insert("sound".to_owned(), sound.into());
            self.out.json(&json!({ "summary": summary }))?;
            self.out.flush()?;
            return Ok(sound);
        }
        if self.titled {
            self.out.line("")?;
        }
        if !sessions.is_empty() {
            let columns = format!("{:<18}  {:>10}  {:>10}", "SESSION", "TIME-OUT", "EPHEMERALS");
            self.out.line(&self.out.paint(Colour::Dim, &columns))?;
        }
        for (id, (timeout, ephemerals)) in sessions {
            let timeout = timeout.map_or_else(|| "not open".to_owned(), |t| format!("{t} ms"));
            self.out.line(&format!("{:<18}  {timeout:>10}  {ephemerals:>10}", id.to_string()))?;
        }
        let facts: Vec<_> = facts
            .iter()
            .filter_map(|(name, value)| Some(format!("{} {}", name.replace('_', " "), value.as_str()?)))
            .collect();
        let sums = format!(
            "{}: {}; {} nodes, {} bytes of data, {} sessions",
            self.name,
            facts.join(", "),
            self.nodes,
            self.bytes,
            self.sessions.len()
        );
        self.out.line(&self.out.paint(Colour::Bold, &sums))?;
        if !sound {
            let text = format!("DAMAGED: the nodes have digest {:#x}", self.digest);
            self.out.line(&self.out.paint(Colour::Red, &text))?;
        }
        self.out.flush()?;
        Ok(sound)
    }
}

impl SnapshotSink for View<'_> {
    fn session(&mut self, id: SessionId, timeout: i32) {
        self.sessions.entry(id).or_default().0 = Some(timeout);
    }

    fn acl(&mut self, id: i64, list: Vec<Acl>) {
        self.acls.insert(id, list);
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_id: i64,
        stat: StatPersisted,
    ) -> std::result::Result<(), String> {
        let path = if path.is_empty() { "/" } else { path };
        self.nodes += 1;
        self.bytes += data.as_ref().map_or(0, |d| d.len() as u64);
        if counts_in_digest(path) {
            self.digest = self.digest.wrapping_add(u64::from(node_digest(path, data.as_deref(), &stat)));
        }
        let owner = match classify(stat.ephemeral_owner, true) {
            OwnerKind::Session(id) => {
                self.sessions.entry(id).or_default().1 += 1;
                Some(id)
            }
            _ => None,
        };
        let args = self.args;
        let range = &args.range;
        let wanted = !args.summary
            && args.node.as_deref().is_none_or(|top| is_within(path, top))
            && args.session.is_none_or(|s| owner == Some(s))
            && range.from.is_none_or(|z| z.0 <= stat.mzxid)
            && range.to.is_none_or(|z| stat.mzxid <= z.0)
            && range.since.is_none_or(|t| t <= stat.mtime)
            && range.until.is_none_or(|t| stat.mtime <= t);
        if wanted && !self.out.is_closed() {
            self.shown += 1;
            self.show(path, data.as_deref(), acl_id, &stat).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}
