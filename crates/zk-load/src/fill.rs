//! Makes the nodes that a load needs.

use std::net::SocketAddr;
use std::thread;

use zk_proto::{ErrorCode, OpCode};

use crate::drive::SESSION_MS;
use crate::keys::Keys;
use crate::line::Line;
use crate::requests::{create, multi_header};
use crate::{Error, Result};

/// Nodes to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// Which ones; the directories above them are made, too, and empty.
    pub keys: Keys,
    /// Size of the data of those that have some.
    pub value: usize,
    /// How many of a hundred have data.
    pub percent: u64,
}

/// Creates in one multi.
const BATCH: u64 = 100;

/// Multis under way on each connection: at 250 B a node that is half a megabyte.
const DEPTH: usize = 16;

/// Connections that fill.
const LINES: u64 = 4;

/// Makes all that is not there yet.
pub fn fill(servers: &[SocketAddr], nodes: &[Nodes]) -> Result<()> {
    for nodes in nodes {
        for keys in nodes.keys.parents() {
            level(servers, &Nodes { keys, value: 0, percent: 0 })?;
        }
        level(servers, nodes)?;
    }
    Ok(())
}

/// Deletes nodes and the directories above them, as far as nothing else is in those.
pub fn clear(servers: &[SocketAddr], keys: &Keys) -> Result<()> {
    let server = *servers.first().ok_or_else(|| Error::Invalid("nodes are on a server".to_owned()))?;
    let mut line = Line::open(server, SESSION_MS)?;
    let levels = keys.parents().into_iter().chain([keys.clone()]).collect::<Vec<_>>();
    for keys in levels.iter().rev() {
        let mut at = 0;
        while at < keys.count() {
            let end = keys.count().min(at + BATCH);
            for i in at..end {
                line.push(OpCode::Delete, |w| {
                    w.str(&keys.path(i));
                    w.int(-1);
                });
            }
            line.flush()?;
            for i in at..end {
                let code = line.reply()?.err;
                if ![0, ErrorCode::NoNode.to_i32(), ErrorCode::NotEmpty.to_i32()].contains(&code) {
                    return Err(Error::Code { what: format!("delete {}", keys.path(i)), code });
                }
            }
            at = end;
        }
    }
    line.close()
}

/// Nodes of which none is above another.
fn level(servers: &[SocketAddr], nodes: &Nodes) -> Result<()> {
    let count = nodes.keys.count();
    let lines = LINES.min(count.div_ceil(BATCH));
    thread::scope(|scope| {
        let share = |n: u64| count * n / lines;
        let threads: Vec<_> = (0..lines)
            .map(|n| {
                let server = servers[n as usize % servers.len()];
                scope.spawn(move || range(server, nodes, share(n), share(n + 1)))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|t| t.join().map_err(|_| Error::Invalid("a thread that fills died".to_owned()))?)
    })
}

fn range(server: SocketAddr, nodes: &Nodes, from: u64, to: u64) -> Result<()> {
    let mut line = Line::open(server, SESSION_MS)?;
    let value = vec![b'v'; nodes.value];
    let (mut asked, mut answered, mut failed) = (from, from, Vec::new());
    while answered < to {
        while asked < to && asked - answered < BATCH * DEPTH as u64 {
            let batch = asked..to.min(asked + BATCH);
            line.push(OpCode::Multi, |w| {
                for i in batch.clone() {
                    let mut part = Vec::with_capacity(256);
                    multi_header(&mut part, OpCode::Create.to_i32(), false);
                    create(&mut jute::Writer::new(&mut part), &nodes.keys.path(i), data(&value, nodes, i));
                    w.raw(&part);
                }
                let mut end = Vec::new();
                multi_header(&mut end, -1, true);
                w.raw(&end);
            });
            asked = batch.end;
        }
        line.flush()?;
        if line.reply()?.err != 0 {
            failed.push(answered);
        }
        answered = to.min(answered + BATCH);
    }
    // Some of a batch were there already, so none of it was made.
    for first in failed {
        singly(&mut line, nodes, &value, first, to.min(first + BATCH))?;
    }
    line.close()
}

fn singly(line: &mut Line, nodes: &Nodes, value: &[u8], from: u64, to: u64) -> Result<()> {
    for i in from..to {
        line.push(OpCode::Create, |w| create(w, &nodes.keys.path(i), data(value, nodes, i)));
    }
    line.flush()?;
    for i in from..to {
        let code = line.reply()?.err;
        if code != 0 && code != ErrorCode::NodeExists.to_i32() {
            return Err(Error::Code { what: format!("create {}", nodes.keys.path(i)), code });
        }
    }
    Ok(())
}

/// A hundred nodes that follow each other have their share of values spread among them.
fn data<'a>(value: &'a [u8], nodes: &Nodes, i: u64) -> &'a [u8] {
    if i * 37 % 100 < nodes.percent { value } else { &[] }
}
