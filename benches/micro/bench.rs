//! `cargo bench` measures what a request is made of, piece by piece, without sockets.
//!
//! `cargo bench -- tree/` runs some; `-- --save-baseline before`, then `-- --baseline before`
//! compares two versions; `--verbose` prints medians. Counted is processor time of the own thread,
//! so that other work on the machine does not matter much, and for the log with its syncs the
//! time that passes. `ratios.rs` is what `./test` runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use zk_proto::Stat;
use zk_proto::txn::LogEntry;
use zk_tree::node_digest;
use zkd_micro::log::Log;
use zkd_micro::pipeline::Member;
use zkd_micro::tree::Applying;
use zkd_micro::{codec, path, pipeline, processor_time, scattered, scattered_paths, tree, watches};

/// A tree that is larger than any cache.
const LARGE: usize = 1_000_000;
/// Paths and transactions that are gone through again and again: more than the nearest caches
/// remember of a large tree.
const MANY: usize = 1 << 16;

criterion_main!(micro, disk);
criterion_group! {
    name = micro;
    config = config().with_measurement(ProcessorTime);
    targets = codec_benches, tree_benches, pipeline_benches, watch_benches, log_benches
}
criterion_group! {
    name = disk;
    config = config();
    targets = sync_benches
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
}

/// Counts [`processor_time`], and shows it as time.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        processor_time()
    }

    fn end(&self, start: Duration) -> Duration {
        processor_time() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

type Bench = Criterion<ProcessorTime>;

fn elements<M: Measurement>(group: &mut BenchmarkGroup<'_, M>, many: usize) {
    group.throughput(Throughput::Elements(u64::try_from(many).expect("a bench has fewer")));
}

fn codec_benches(c: &mut Bench) {
    let mut group = c.benchmark_group("codec");
    elements(&mut group, 1);
    let frame = codec::get_data();
    group.bench_function("getData, decode", |b| b.iter(|| drop(black_box(codec::decode_read(&frame)))));
    let stat = Stat::default();
    let mut out = BytesMut::new();
    group.bench_function("getData, encode reply", |b| {
        b.iter(|| {
            out.clear();
            codec::encode_get_data_reply(black_box(&stat), &mut out);
        });
    });
    let frame = codec::set_data();
    group.bench_function("setData, decode", |b| b.iter(|| codec::decode_write(black_box(&frame))));
    let frame = codec::multi(10);
    group.bench_function("multi of 10, decode", |b| b.iter(|| codec::decode_write(black_box(&frame))));
    let entry = codec::log_entry();
    let mut record = Vec::new();
    codec::encode_entry(&entry, &mut record);
    let mut out = Vec::new();
    group.bench_function("record of the log, encode", |b| {
        b.iter(|| {
            out.clear();
            codec::encode_entry(black_box(&entry), &mut out);
        });
    });
    group.bench_function("record of the log, decode", |b| b.iter(|| codec::decode_entry(black_box(&record))));
}

/// Gives one after the other, for ever.
struct Cycle<T>(Vec<T>, usize);

impl<T> Cycle<T> {
    fn new(all: Vec<T>) -> Self {
        Self(all, 0)
    }

    fn next(&mut self) -> &mut T {
        self.1 = (self.1 + 1) % self.0.len();
        &mut self.0[self.1]
    }
}

fn tree_benches(c: &mut Bench) {
    let mut group = c.benchmark_group("tree");
    elements(&mut group, 1);
    for leaves in [1000, LARGE] {
        let tree = tree::deep(leaves);
        let mut paths = Cycle::new(scattered_paths(MANY.min(leaves), leaves));
        group.bench_function(format!("find by path, {leaves}"), |b| {
            b.iter(|| tree.get(paths.next()).is_some());
        });
        group.bench_function(format!("getData with stat, {leaves}"), |b| {
            b.iter(|| tree::get(&tree, paths.next()));
        });
        let mut applying = Applying::new(tree);
        let sets: Vec<LogEntry> = paths.0.iter().cloned().map(tree::set_data).collect();
        let mut sets = Cycle::new(sets);
        group.bench_function(format!("apply setData, {leaves}"), |b| b.iter(|| applying.apply(sets.next())));
        let pair = |p: &String| (tree::create(format!("{p}+")), tree::delete(format!("{p}+")));
        let mut pairs = Cycle::new(paths.0.iter().map(pair).collect());
        group.bench_function(format!("apply create and delete, {leaves}"), |b| {
            b.iter(|| {
                let (create, delete) = pairs.next();
                applying.apply(create);
                applying.apply(delete);
            });
        });
    }
    let (leaf, stat) = (path(0), tree::stat());
    group.bench_function("digest of a node", |b| {
        b.iter(|| node_digest(black_box(&leaf), Some(&[b'd'; 100]), &stat));
    });
    let tree = tree::wide(10_000);
    elements(&mut group, 10_000);
    group.bench_function("names of 10,000 children", |b| b.iter(|| tree::children(&tree)));
}

/// `each` sets of `batch` setData of leaves without a pattern.
fn sets(from: usize, batch: usize) -> Vec<zk_proto::client::WriteRequest> {
    (from..from + batch).map(|i| pipeline::set_data(scattered(i, LARGE / 10))).collect()
}

fn pipeline_benches(c: &mut Bench) {
    let mut group = c.benchmark_group("pipeline");
    let mut member = Member::new(LARGE / 10);
    for batch in [1, 16, 256] {
        elements(&mut group, batch);
        let mut from = 0;
        // Requests are made ahead, about 256 of them at once.
        let ahead = BatchSize::NumIterations(256 / batch as u64);
        group.bench_function(format!("setData, {batch} at once"), |b| {
            let more = || {
                from += batch;
                sets(from, batch)
            };
            b.iter_batched(more, |requests| member.write(requests), ahead);
        });
    }
    group.bench_function("setData, 256 at once, prepare", |b| {
        b.iter_custom(|rounds| phases(&mut member, rounds).0);
    });
    group.bench_function("setData, 256 at once, commit and apply", |b| {
        b.iter_custom(|rounds| phases(&mut member, rounds).1);
    });
    elements(&mut group, 10);
    let mut from = 0;
    group.bench_function("multi of 10 setData", |b| {
        let more = || {
            from += 1;
            vec![pipeline::multi(scattered(from, LARGE / 10 - 10), 10)]
        };
        b.iter_batched(more, |request| member.write(request), BatchSize::NumIterations(32));
    });
}

/// Both halves of rounds of 256 writes.
fn phases(member: &mut Member, rounds: u64) -> (Duration, Duration) {
    let mut took = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let requests = sets(round as usize * 256, 256);
        let start = processor_time();
        let upto = member.prepare(requests);
        let prepared = processor_time();
        let told = member.commit(upto);
        took.0 += prepared - start;
        took.1 += processor_time() - prepared;
        drop(told);
    }
    took
}

fn watch_benches(c: &mut Bench) {
    let mut group = c.benchmark_group("watches");
    group.sample_size(10);
    elements(&mut group, LARGE);
    group.bench_function("set 1,000,000", |b| {
        b.iter_batched_ref(watches::table, |table| watches::fill(table, LARGE), BatchSize::PerIteration);
    });
    for (nodes, watchers) in [(2000, 1), (10, 2000)] {
        let mut table = watches::table();
        let changes = watches::changes(nodes);
        elements(&mut group, nodes * watchers);
        group.bench_function(format!("tell {watchers} of a change"), |b| {
            b.iter_custom(|rounds| {
                let each = (0..rounds).map(|_| {
                    watches::crowd(&mut table, nodes, watchers);
                    let start = processor_time();
                    assert_eq!(watches::fire(&mut table, &changes), nodes * watchers);
                    processor_time() - start
                });
                each.sum()
            });
        });
    }
    elements(&mut group, 10_000);
    let mut table = watches::table();
    watches::crowd(&mut table, 10_000, 10);
    group.bench_function("a connection with 10,000 of 110,000 leaves", |b| {
        b.iter_custom(|rounds| {
            let each = (0..rounds).map(|_| {
                watches::watch_all(&mut table, 10, 10_000);
                let start = processor_time();
                watches::leave(&mut table, 10);
                processor_time() - start
            });
            each.sum()
        });
    });
}

fn log_benches(c: &mut Bench) {
    log(c, "log without sync", false, processor_time);
}

fn sync_benches(c: &mut Criterion) {
    let start = Instant::now();
    log(c, "log with fdatasync", true, move || start.elapsed());
}

fn log<M: Measurement<Value = Duration>>(
    c: &mut Criterion<M>,
    name: &str,
    synced: bool,
    now: impl Fn() -> Duration,
) {
    let mut group = c.benchmark_group(name);
    for bytes in [100, 1024] {
        for batch in [1, 16, 256] {
            let mut log = Log::new(bytes, synced);
            elements(&mut group, batch);
            group.bench_function(format!("{bytes} B, {batch} at once"), |b| {
                b.iter_custom(|rounds| {
                    let start = now();
                    let mut purging = Duration::ZERO;
                    for _ in 0..rounds {
                        if log.is_full() {
                            let start = now();
                            log.purge();
                            purging += now() - start;
                        }
                        log.write(batch);
                    }
                    now() - start - purging
                });
            });
        }
    }
}
