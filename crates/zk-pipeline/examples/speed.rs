//! What a write and a read cost in the core, without IO:
//! `cargo run --release -p zk-pipeline --example speed`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use zk_pipeline::read::{ReadContext, Watches, answer};
use zk_pipeline::{AuthPolicy, ConnId, Identities, Input, Now, Output, Pipeline, PipelineConfig};
use zk_proto::client::{CreateRequest, WatcherKind, WriteRequest};
use zk_proto::{Acl, AuthId, OpCode, SessionId, Writer, Xid};
use zk_tree::watch::{Place, WatchKind};
use zk_tree::{Effects, Tree, TreeOptions};

const NODES: usize = 100_000;
const BATCH: usize = 256;

struct NoWatches;
impl Watches for NoWatches {
    fn add(&mut self, _: WatchKind, _: Place<'_>) {}
    fn contains(&mut self, _: WatcherKind, _: Place<'_>) -> bool {
        false
    }
    fn remove(&mut self, _: WatcherKind, _: Place<'_>) -> bool {
        false
    }
}

fn main() {
    let mut tree = Tree::new(TreeOptions { extended_types: false, digest: true, hash_seed: 3 });
    let now = Now { mono: 0, wall: 1_700_000_000_000 };
    let mut pipeline = Pipeline::new(PipelineConfig::default(), &tree, now);
    let ids: Identities = Arc::new([AuthId::new("ip", "127.0.0.1")]);
    let mut effects = Effects::default();
    let conn = ConnId(1);
    pipeline.handle(
        now,
        Input::Connect { conn, session: SessionId::NONE, timeout: 30_000, read_only: false },
        &tree,
    );
    let session = pipeline.sessions().by_expiry(false).flat_map(|(_, s)| s).next().expect("one session");

    let mut round = |pipeline: &mut Pipeline, tree: &mut Tree, requests: Vec<WriteRequest>| {
        for (i, request) in requests.into_iter().enumerate() {
            let xid = Xid(i as i32);
            let input = Input::Write { conn, session, xid, request: Ok(request), ids: ids.clone() };
            pipeline.handle(now, input, tree);
        }
        let last = pipeline.take_outputs().into_iter().rev().find_map(|o| match o {
            Output::Append(r) => Some(r.zxid),
            _ => None,
        });
        pipeline.committed(last.expect("writes were made"));
        while pipeline.apply(now, tree, &mut effects, 64) {}
        effects.clear();
        black_box(pipeline.take_outputs());
    };

    let path = |i: usize| format!("/d{:03}/node-name-of-24-bytes{i:05}", i / 1000);
    let create = |path: String| {
        WriteRequest::Create(CreateRequest {
            op: OpCode::Create,
            path: Some(path.into()),
            data: Some(Bytes::from_static(&[b'x'; 100])),
            acl: Some(Acl::open()),
            flags: 0,
            ttl: -1,
        })
    };
    round(&mut pipeline, &mut tree, (0..NODES / 1000).map(|d| create(format!("/d{d:03}"))).collect());
    let start = Instant::now();
    for from in (0..NODES).step_by(BATCH) {
        let batch = (from..(from + BATCH).min(NODES)).map(|i| create(path(i))).collect();
        round(&mut pipeline, &mut tree, batch);
    }
    println!("create   {:>6.0} ns", start.elapsed().as_nanos() as f64 / NODES as f64);

    let start = Instant::now();
    for from in (0..NODES).step_by(BATCH) {
        let batch = (from..(from + BATCH).min(NODES))
            .map(|i| WriteRequest::SetData {
                path: Some(path(i * 7919 % NODES).into()),
                data: Some(Bytes::from_static(&[b'y'; 100])),
                version: -1,
            })
            .collect();
        round(&mut pipeline, &mut tree, batch);
    }
    println!("setData  {:>6.0} ns", start.elapsed().as_nanos() as f64 / NODES as f64);

    let policy = AuthPolicy::default();
    let ctx = ReadContext { tree: &tree, policy: &policy, ids: &ids, session };
    let bodies: Vec<Vec<u8>> = (0..NODES)
        .map(|i| {
            let mut body = Vec::new();
            let mut w = Writer::new(&mut body);
            w.str(&path(i * 7919 % NODES));
            w.bool(false);
            body
        })
        .collect();
    let mut out = BytesMut::new();
    let start = Instant::now();
    for body in &bodies {
        answer(&ctx, Xid(1), OpCode::GetData, body, &mut NoWatches, &mut out);
        if out.len() > 60_000 {
            out.clear();
        }
    }
    println!("getData  {:>6.0} ns", start.elapsed().as_nanos() as f64 / NODES as f64);
}
