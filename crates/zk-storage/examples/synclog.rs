//! Measures the storage: append and sync of the log, and starts from a mirror.
//!
//! ```sh
//! cargo run --release -p zk-storage --example synclog -- [dir] [nodes]
//! ```
//! Without a directory one below the system's temporary one is used, and
//! removed. The figures are of the disk that holds the directory.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zk_proto::{StatPersisted, Zxid};
use zk_storage::{LogOptions, LogWriter, Mirror, StorageConfig, recover};
use zk_tree::{Tree, TreeOptions};

type Any = Result<(), Box<dyn std::error::Error>>;

fn main() -> Any {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, Into::into);
    let nodes: u32 = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = tempfile::tempdir_in(base)?;
    empty(&dir.path().join("empty"))?;
    println!("log in {}, 200 B a transaction", dir.path().display());
    println!("{:>6} {:>10} {:>10} {:>12}", "batch", "p50 us", "p99 us", "txn/s");
    for batch in [1, 16, 256] {
        log(&dir.path().join(format!("log{batch}")), batch)?;
    }
    mirror(&dir.path().join("data"), nodes)?;
    Ok(())
}

fn empty(dir: &Path) -> Any {
    for what in ["made", "started again"] {
        let start = Watch::start();
        let server = recover(&StorageConfig::new(dir), &mut |_| {})?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let memory = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
        println!("empty directory {what} in {}, {memory}", start.read());
        drop(server);
    }
    Ok(())
}

fn log(dir: &Path, batch: i64) -> Any {
    std::fs::create_dir_all(dir)?;
    let payload = payload();
    let mut writer = LogWriter::new(dir, Zxid(0), LogOptions::default());
    let mut zxid = 0;
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        let start = Instant::now();
        for _ in 0..batch {
            zxid += 1;
            writer.append(Zxid(zxid), &payload)?;
        }
        writer.sync()?;
        times.push(start.elapsed());
    }
    let rate = zxid as f64 / begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6;
    println!("{batch:>6} {:>10.1} {:>10.1} {rate:>12.0}", at(0.5), at(0.99));
    Ok(())
}

/// A setData of 200 bytes in all.
fn payload() -> Vec<u8> {
    let mut p = vec![0; 32];
    p[19] = 1; // zxid
    p[31] = 5; // setData
    p.extend([0, 0, 0, 2, b'/', b'a', 0, 0, 0, 150]);
    p.resize(200, 7);
    p
}

fn mirror(dir: &Path, nodes: u32) -> Any {
    std::fs::create_dir_all(dir.join("version-2"))?;
    let start = Watch::start();
    let tree = tree(nodes)?;
    println!("tree of {nodes} nodes made in memory in {}", start.read());
    let digest = tree.digest();
    let start = Watch::start();
    let mut m = Mirror::open(&dir.join("version-2"), Default::default())?;
    m.rebuild(&tree, &mut |_| {})?;
    println!("mirror of {nodes} nodes written in {}", start.read());
    drop(tree);
    drop(m);
    for _ in 0..3 {
        let start = Watch::start();
        let s = recover(&StorageConfig::new(dir), &mut |_| {})?;
        println!("started from it in {}", start.read());
        assert_eq!(s.tree.digest(), digest);
    }
    let start = Watch::start();
    let out = dir.join("out");
    let path = zk_storage::export(&StorageConfig::new(dir), &out, Default::default(), &mut |_| {})?;
    println!("exported in {}", start.read());
    let start = Watch::start();
    let tree = zk_storage::load(&path, TreeOptions::default(), &mut |_| {})?;
    println!("Java snapshot read in {}", start.read());
    assert_eq!(tree.digest(), digest);
    Ok(())
}

/// A stopwatch that also counts CPU time of all threads: the machine may have
/// other work.
struct Watch(Instant, f64);

impl Watch {
    fn start() -> Watch {
        Watch(Instant::now(), cpu())
    }

    fn read(&self) -> String {
        format!("{:.3} s ({:.2} s of CPU)", self.0.elapsed().as_secs_f64(), cpu() - self.1)
    }
}

/// User and system time of this process, from fields 14 and 15 of its stat.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The production shape: names of 24 bytes, paths of 115, data of 47.
fn tree(nodes: u32) -> Result<Tree, Box<dyn std::error::Error>> {
    let mut loader = Tree::load_start(TreeOptions::default());
    let stat = |z: i64| StatPersisted {
        czxid: z,
        mzxid: z + 5,
        pzxid: z,
        ctime: 1_795_231_137_448 + z,
        mtime: 1_795_231_138_448 + z,
        version: 3,
        ..Default::default()
    };
    let data = Bytes::from(vec![b'd'; 47]);
    loader.node("/", Some(Bytes::new()), -1, stat(0))?;
    let mut path = String::new();
    for (i, len) in [22, 22, 22, 20].into_iter().enumerate() {
        path = format!("{path}/{i:0len$}");
        loader.node(&path, None, -1, stat(1))?;
    }
    for i in 0..nodes {
        loader.node(&format!("{path}/{i:024}"), Some(data.clone()), -1, stat(i.into()))?;
    }
    Ok(loader.finish(Zxid(i64::from(nodes) + 10)))
}
