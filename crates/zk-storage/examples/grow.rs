//! Writes a data directory with many nodes, on which Java and zkd can start: a
//! Java snapshot of nodes of the production shape (names of 24, paths of 115 and
//! data of 47 bytes, five levels, a hundred children a node).
//!
//! ```sh
//! cargo run --release -p zk-storage --example grow -- dataDir [nodes]
//! ```

use std::path::Path;

use zk_proto::{Acl, Perms, StatPersisted, Zxid};
use zk_storage::{Compression, SnapshotWriter};
use zk_tree::digest_part;

type Any = Result<(), Box<dyn std::error::Error>>;

/// An epoch, so that numbers are as long as in production.
const FIRST: i64 = 0x7_0000_0000;

struct Nodes {
    out: SnapshotWriter,
    zxid: i64,
    digest: u64,
}

impl Nodes {
    fn write(&mut self, path: &str, data: Option<&[u8]>, children: i32) -> Any {
        self.zxid += 1;
        let (zxid, time) = (FIRST + self.zxid, 1_760_000_000_000 + self.zxid);
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid + i64::from(children),
            ctime: time,
            mtime: time,
            cversion: children,
            ..StatPersisted::default()
        };
        self.digest = self.digest.wrapping_add(u64::from(digest_part(path, data, &stat)));
        Ok(self.out.node(path, data, 1, &stat)?)
    }
}

fn main() -> Any {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("which directory?")?;
    let leaves: usize = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = Path::new(&dir).join("version-2");
    std::fs::create_dir_all(&dir)?;
    let zxid = Zxid(FIRST + 2 * leaves as i64);
    let mut out = SnapshotWriter::create(&dir, zxid, Compression::None)?;
    out.sessions(&[])?;
    out.acls(&[(1, vec![Acl::new(Perms::ALL, "world", "anyone")])])?;
    let mut nodes = Nodes { out, zxid: 0, digest: 0 };
    nodes.write("", Some(b""), 2)?;
    nodes.write("/zookeeper", Some(b""), 2)?;
    nodes.write("/zookeeper/config", Some(b""), 0)?;
    nodes.write("/zookeeper/quota", Some(b""), 0)?;
    let top = "/production-cluster-01/service-registry-000001";
    nodes.write("/production-cluster-01", None, 1)?;
    nodes.write(top, None, leaves.div_ceil(10_000) as i32)?;
    for leaf in 0..leaves {
        let group = format!("{top}/group-{:015}", leaf / 10_000);
        if leaf % 10_000 == 0 {
            nodes.write(&group, None, (leaves - leaf).div_ceil(100).min(100) as i32)?;
        }
        let shard = format!("{group}/shard-{:015}", leaf / 100 % 100);
        if leaf % 100 == 0 {
            nodes.write(&shard, None, (leaves - leaf).min(100) as i32)?;
        }
        let path = format!("{shard}/instance-{:015}", leaf % 100);
        nodes.write(&path, Some(&[b'd'; 47]), 0)?;
    }
    println!("{} nodes in {}", nodes.zxid, nodes.out.finish(Some(nodes.digest))?.display());
    Ok(())
}
