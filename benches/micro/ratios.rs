//! What the micro-benches do, in small and compared with itself: a cost must not grow with what
//! it has nothing to do with. A limit is several times what is seen, so that it says nothing of
//! a tenth more, but finds a scan in place of a look-up.
//!
//! Counted is the processor time of the own thread, and of several tries the shortest: other
//! work on the machine takes caches away and nothing else.

use std::hint::black_box;

use zk_proto::client::WriteRequest;
use zk_proto::txn::LogEntry;
use zkd_micro::log::Log;
use zkd_micro::pipeline::Member;
use zkd_micro::tree::Applying;
use zkd_micro::{codec, path, pipeline, processor_time, scattered, scattered_paths, tree, watches};

const TRIES: usize = 5;

/// What one of `many` takes in the best try, in ns. `prepare` is not counted.
fn each<T>(many: usize, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) -> f64 {
    let tries = (0..TRIES).map(|_| {
        let ready = prepare();
        let start = processor_time();
        run(ready);
        processor_time() - start
    });
    tries.min().expect("there are tries").as_nanos() as f64 / many as f64
}

/// `more` takes at most `limit` times what `less` takes.
#[track_caller]
fn check(what: &str, limit: f64, (less, more): (f64, f64)) {
    let ratio = more / less;
    println!("{what}: {less:.0} and {more:.0} ns each, {ratio:.2}x (limit {limit}x)");
    assert!(ratio <= limit, "{what}: {less:.0} and {more:.0} ns each, {ratio:.1}x is more than {limit}x");
}

#[test]
fn a_tree_of_any_size() {
    const MANY: usize = 1000;
    let of = |leaves: usize| {
        let mut applying = Applying::new(tree::deep(leaves));
        let paths = scattered_paths(MANY, leaves);
        let find = each(MANY, || (), |()| paths.iter().for_each(|p| tree::get(applying.tree(), p)));
        let entries = |make: fn(String) -> LogEntry, end: &str| -> Vec<LogEntry> {
            paths.iter().map(|p| make(format!("{p}{end}"))).collect()
        };
        let mut apply = |mut entries: Vec<LogEntry>| entries.iter_mut().for_each(|e| applying.apply(e));
        let set = each(MANY, || entries(tree::set_data, ""), &mut apply);
        let both = || {
            let creates = entries(tree::create, "+");
            creates.into_iter().chain(entries(tree::delete, "+")).collect()
        };
        [find, set, each(2 * MANY, both, &mut apply)]
    };
    // What is larger than the caches costs up to twenty times as much; a scan would cost two
    // hundred times as much.
    let (small, large) = (of(1000), of(200_000));
    let pairs = small.into_iter().zip(large);
    for (what, pair) in
        ["find in 1,000 and 200,000", "setData there", "create and delete there"].iter().zip(pairs)
    {
        check(what, 60.0, pair);
    }
}

#[test]
fn a_parent_of_any_size() {
    const MANY: usize = 500;
    let of = |children: usize| {
        let tree = tree::wide(children);
        let names = each(children, || (), |()| _ = tree::children(&tree));
        let mut applying = Applying::new(tree);
        let both = || {
            let new = || (children..children + MANY).map(tree::child);
            new().map(tree::create).chain(new().map(tree::delete)).collect::<Vec<_>>()
        };
        let change = each(2 * MANY, both, |mut all| all.iter_mut().for_each(|e| applying.apply(e)));
        [names, change]
    };
    let (small, large) = (of(1000), of(100_000));
    check("names of 1,000 and 100,000 children", 10.0, (small[0], large[0]));
    check("create and delete among them", 10.0, (small[1], large[1]));
}

fn sets(batch: usize) -> Vec<WriteRequest> {
    (0..batch).map(|i| pipeline::set_data(scattered(i, 50_000))).collect()
}

#[test]
fn a_batch_of_any_size() {
    let mut member = Member::new(50_000);
    let mut of = |many: usize, batch: usize| {
        let make = || -> Vec<_> { (0..many / batch).map(|_| sets(batch)).collect() };
        each(many, make, |all| all.into_iter().for_each(|batch| member.write(batch)))
    };
    let (one, some, all) = (of(4096, 1), of(4096, 256), of(16_384, 16_384));
    // All of a batch together is more than the nearest caches hold.
    check("setData alone and 256 at once", 3.0, (one, some));
    check("setData, 256 and 16,384 at once", 4.0, (some, all));
}

#[test]
fn a_multi_of_any_size() {
    const MANY: usize = 8000;
    let mut member = Member::new(10_000);
    let mut of = |parts: usize| {
        let make = || -> Vec<_> { (0..MANY / parts).map(|i| vec![pipeline::multi(i, parts)]).collect() };
        let write = each(MANY, make, |all| all.into_iter().for_each(|multi| member.write(multi)));
        let frame = codec::multi(parts);
        let decode = || (0..MANY / parts).for_each(|_| drop(black_box(codec::decode_write(&frame))));
        (write, each(MANY, || (), |()| decode()))
    };
    let (few, many) = (of(10), of(MANY));
    check("a part of a multi of 10 and of 8,000", 4.0, (few.0, many.0));
    check("a part, decoded", 4.0, (few.1, many.1));
}

#[test]
fn watches_of_any_number() {
    let fill = |nodes: usize| {
        let tables = 100_000 / nodes;
        let make = || -> Vec<_> { (0..tables).map(|_| watches::table()).collect() };
        each(100_000, make, |mut tables| tables.iter_mut().for_each(|t| watches::fill(t, nodes)))
    };
    check("set one of 1,000 and of 100,000", 5.0, (fill(1000), fill(100_000)));

    let fire = |nodes: usize, watchers: usize| {
        let changes = watches::changes(nodes);
        let make = || {
            let mut table = watches::table();
            watches::crowd(&mut table, nodes, watchers);
            table
        };
        each(nodes * watchers, make, |mut table| {
            assert_eq!(watches::fire(&mut table, &changes), nodes * watchers);
        })
    };
    check("tell one watcher, and one of 2,000", 0.5, (fire(2000, 1), fire(10, 2000)));

    // The others have watches as well, and keep them.
    let leave = |nodes: usize| {
        let mut table = watches::table();
        watches::crowd(&mut table, nodes, 10);
        let rounds = 20_000 / nodes;
        each(
            rounds * nodes,
            || (),
            |()| {
                for _ in 0..rounds {
                    watches::watch_all(&mut table, 10, nodes);
                    watches::leave(&mut table, 10);
                }
            },
        )
    };
    check("set and leave, 100 and 10,000 watches", 5.0, (leave(100), leave(10_000)));
}

#[test]
fn a_log_of_any_length() {
    let mut log = Log::new(100, false);
    let mut of = |records: usize, batch: usize| {
        each(records, || (), |()| (0..records / batch).for_each(|_| log.write(batch)))
    };
    // The file grows by 256 KiB a try between the first and the last.
    let (one, first, _, last) = (of(1024, 1), of(1024, 256), of(65_536, 256), of(1024, 256));
    check("a record alone and one of 256", 0.5, (one, first));
    check("a record of a short and of a long log", 8.0, (first, last));
}

#[test]
fn paths_are_of_the_production_shape() {
    assert_eq!(path(0).len(), 115);
    assert_eq!(path(0).rsplit('/').next().map(str::len), Some(24));
    let all: std::collections::BTreeSet<_> = scattered_paths(10_000, 10_000).into_iter().collect();
    assert_eq!(all.len(), 10_000, "each comes once");
}
