//! Everything that a client can read of a server's tree.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use zk_proto::{OpCode, Stat};

use crate::raw::Conn;
use crate::reply::{Body, Text};
use crate::request;

/// A node with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its data.
    pub data: Text,
    /// Its numbers.
    pub stat: Stat,
    /// Its access control list.
    pub acl: Option<Vec<(i32, Text, Text)>>,
}

/// All nodes by path.
pub type Tree = BTreeMap<String, Node>;

/// Requests in flight while a tree is read.
const WINDOW: usize = 100;

/// Reads the whole tree. The connection should be the super user's: what may
/// not be read is an error.
pub fn read(conn: &mut Conn) -> anyhow::Result<Tree> {
    read_below(conn, "/")
}

/// Reads a node and everything below it.
pub fn read_below(conn: &mut Conn, root: &str) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for paths in level.chunks(WINDOW) {
            let mut sent = Vec::new();
            for p in paths {
                let bytes = Some(p.as_bytes());
                sent.push((
                    p,
                    conn.send(OpCode::GetData, &request::path_bool(bytes, false))?,
                    conn.send(OpCode::GetAcl, &request::path(bytes))?,
                    conn.send(OpCode::GetChildren2, &request::path_bool(bytes, false))?,
                ));
            }
            for (p, data, acl, children) in sent {
                let data = conn.reply_to(data, OpCode::GetData)?.ok().with_context(|| p.clone())?;
                let acl = conn.reply_to(acl, OpCode::GetAcl)?.ok().with_context(|| p.clone())?;
                let children =
                    conn.reply_to(children, OpCode::GetChildren2)?.ok().with_context(|| p.clone())?;
                let (
                    Body::DataStat(data, stat),
                    Body::AclStat(acl, stat2),
                    Body::NamesStat(Some(names), stat3),
                ) = (data, acl, children)
                else {
                    bail!("unexpected bodies for {p}");
                };
                if stat != stat2 || stat != stat3 {
                    bail!("{p} has three stats: {stat:?} {stat2:?} {stat3:?}");
                }
                if usize::try_from(stat.num_children) != Ok(names.len()) {
                    bail!("{p} has {} children and says {}", names.len(), stat.num_children);
                }
                for name in names {
                    let name = String::from_utf8(name.context("null name")?)?;
                    below.push(if p == "/" { format!("/{name}") } else { format!("{p}/{name}") });
                }
                tree.insert(p.clone(), Node { data, stat, acl });
            }
        }
        level = below;
    }
    Ok(tree)
}

/// What differs, one line a node; empty: nothing. `same` may forgive a difference.
pub fn compare(a: &Tree, b: &Tree, same: impl Fn(&str, &Node, &Node) -> bool) -> String {
    let mut out = String::new();
    for path in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
        match (a.get(path), b.get(path)) {
            (Some(x), Some(y)) if x == y || same(path, x, y) => {}
            (x, y) => {
                let _ = writeln!(out, "{path}\n  {x:?}\n  {y:?}");
            }
        }
    }
    out
}
