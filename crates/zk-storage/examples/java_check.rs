//! Shows that Java 3.9.4 reads what this crate writes, and the other way
//! round: its tools accept our log and snapshots, its server starts on them
//! with the same tree, and we start on what that server wrote.
//!
//! ```sh
//! cargo run -p zk-storage --example java_check
//! ```
//! Needs `java` and a class path of ZooKeeper 3.9.4: the file named by
//! ZKD_JAVA_CLASSPATH, else the one that the compatibility tests keep in the
//! cache directory. Exits with 1 on the first difference.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow_lite::{Any, ensure};
use bytes::Bytes;
use zk_proto::txn::{CreateTxn, LogEntry, SubTxn, Txn, TxnDigest, TxnHeader};
use zk_proto::{Acl, OpCode, Perms, SessionId, Xid, Zxid};
use zk_storage::{Compression, Mirror, StorageConfig, export, load, recover};
use zk_tree::{Effects, Node, Tree};

/// Errors of this example.
mod anyhow_lite {
    pub type Any<T> = Result<T, Box<dyn std::error::Error>>;
    pub fn ensure(ok: bool, what: impl FnOnce() -> String) -> Any<()> {
        if ok { Ok(()) } else { Err(what().into()) }
    }
}

fn main() -> Any<()> {
    let java = Java { class_path: class_path()? };
    let dir = tempfile::tempdir()?;
    let ours = dir.path().join("ours");
    let tree = write_a_history(&ours)?;
    let want = contents(&tree);
    println!("wrote {} transactions, {} nodes", tree.last_zxid().0, tree.node_count() - 1);

    let log = ours.join("version-2/log.1");
    let dump = java.tool("persistence.TxnLogToolkit", &["-d", text(&log)])?;
    let lines = dump.lines().filter(|l| l.contains("session 0x")).count();
    ensure(lines == usize::try_from(tree.last_zxid().0)?, || {
        format!("TxnLogToolkit shows {lines} entries:\n{dump}")
    })?;
    ensure(!dump.contains("CRC"), || format!("TxnLogToolkit complains:\n{dump}"))?;
    println!("TxnLogToolkit reads {lines} entries of our log");

    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let out = dir.path().join(format!("export-{compression:?}"));
        let path = export(&config(&ours), &out, compression, &mut |_| {})?;
        let shown = java.tool("SnapshotFormatter", &["-d", text(&path)])?;
        let nodes = shown.lines().filter(|l| l.starts_with('/')).count();
        // SnapshotFormatter shows the root under the name "/".
        ensure(nodes == tree.node_count() - 1, || {
            format!("SnapshotFormatter shows {nodes} nodes:\n{shown}")
        })?;
        same(
            "tree of the exported snapshot",
            &want,
            &contents(&load(&path, config(&ours).tree, &mut |_| {})?),
        )?;
        println!("SnapshotFormatter shows {nodes} nodes of {}", path.display());
        java.serves(&out, &tree, &format!("our export, {compression:?}"))?;
    }
    // The directory itself: snapshot.0 and our log, beside the mirror.
    let copy = dir.path().join("copy");
    copy_dir(&ours, &copy)?;
    java.serves(&copy, &tree, "our directory")?;
    // And back: our server on what Java left.
    fs::remove_dir_all(copy.join("version-2/mirror"))?;
    let back = recover(&config(&copy), &mut |_| {})?;
    same("tree after Java", &want, &contents(&back.tree))?;
    ensure(back.report.digest_mismatches == 0, || format!("{:?}", back.report))?;
    println!("we start on what Java left: {:?}", back.report.base);
    println!("ok");
    Ok(())
}

fn config(dir: &Path) -> StorageConfig {
    let mut c = StorageConfig::new(dir);
    c.tree.extended_types = true;
    c
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Each kind of transaction, through the log and the mirror.
fn write_a_history(dir: &Path) -> Any<Tree> {
    let mut s = recover(&config(dir), &mut |_| {})?;
    let mut w = History { tree: s.tree, entries: Vec::new() };
    let (a, b) = (SessionId(0x100_0000_0000_0001), SessionId(0x100_0000_0000_0002));
    for session in [a, b] {
        w.put(session, OpCode::CreateSession, Txn::CreateSession { timeout: 40_000 });
    }
    let digest_acl = vec![Acl::new(Perms::ALL, "digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")];
    w.create(a, OpCode::Create, "/plain", Some(b"data"), Acl::open(), false);
    w.create(a, OpCode::Create2, "/null", None, Acl::open(), false);
    w.create(a, OpCode::Create, "/\u{e4}\u{20ac}", Some(b""), digest_acl, false);
    w.create(a, OpCode::CreateContainer, "/container", Some(b"c"), Acl::open(), false);
    w.create(a, OpCode::CreateTtl, "/ttl", Some(b"t"), Acl::open(), false);
    w.create(a, OpCode::Create, "/eph-a", Some(b"e"), Acl::open(), true);
    w.create(b, OpCode::Create, "/eph-b", Some(b"e"), Acl::open(), true);
    w.create(a, OpCode::Create, "/big", Some(&vec![7; 300_000]), Acl::open(), false);
    for i in 0..300 {
        w.create(a, OpCode::Create, &format!("/plain/{i}"), Some(b"child"), Acl::open(), false);
    }
    w.put(a, OpCode::Error, Txn::Error { err: -101 });
    w.put(a, OpCode::Delete, Txn::Delete { path: "/plain/7".into() });
    let data = Some(Bytes::from_static(b"new"));
    w.put(a, OpCode::SetData, Txn::SetData { path: "/plain".into(), data: data.clone(), version: 1 });
    let acl = Some(vec![Acl::new(Perms::READ, "world", "anyone"), Acl::new(Perms::ALL, "ip", "127.0.0.1")]);
    w.put(a, OpCode::SetAcl, Txn::SetAcl { path: "/plain".into(), acl, version: 1 });
    let set = Txn::SetData { path: "/big".into(), data, version: 1 };
    let check = Txn::Check { path: "/big".into(), version: 1 };
    let subs =
        vec![SubTxn { op: OpCode::Check, txn: check }, SubTxn { op: OpCode::SetData, txn: set.clone() }];
    w.put(a, OpCode::Multi, Txn::Multi(subs));
    let failed = vec![
        SubTxn { op: OpCode::SetData, txn: set },
        SubTxn { op: OpCode::Error, txn: Txn::Error { err: -101 } },
    ];
    w.put(a, OpCode::Multi, Txn::Multi(failed));
    w.put(b, OpCode::CloseSession, Txn::CloseSession { paths: Some(vec!["/eph-b".to_owned()]) });
    let mut effects = Effects::default();
    s.tree = Tree::new(w.tree.options());
    for entry in &w.entries {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        s.writer.append(entry.header.zxid, &payload)?;
        s.writer.sync()?;
        s.tree.apply(entry, &mut effects);
    }
    s.mirror.write(&[Mirror::encode_batch(&s.tree, &effects.touched)])?;
    s.mirror.flush()?;
    Ok(s.tree)
}

struct History {
    tree: Tree,
    entries: Vec<LogEntry>,
}

impl History {
    fn put(&mut self, session: SessionId, op: OpCode, txn: Txn) {
        let n = i64::try_from(self.entries.len()).unwrap_or_default() + 1;
        let header = TxnHeader { session, cxid: Xid(1), zxid: Zxid(n), time: 1_795_231_137_448 + n, op };
        let mut entry = LogEntry { header, txn, digest: None };
        self.tree.apply(&entry, &mut Effects::default());
        if op != OpCode::Error {
            entry.digest = Some(TxnDigest { version: TxnDigest::VERSION, tree: self.tree.digest() });
        }
        self.entries.push(entry);
    }

    fn create(
        &mut self,
        s: SessionId,
        op: OpCode,
        path: &str,
        data: Option<&[u8]>,
        acl: Vec<Acl>,
        ephemeral: bool,
    ) {
        let parent = zk_proto::path::split(path).map_or("/", |(p, _)| p);
        let cversion = self.tree.get(parent).map_or(0, |n| n.persisted().cversion);
        let txn = CreateTxn {
            path: path.into(),
            data: data.map(Bytes::copy_from_slice),
            acl: Some(acl),
            ephemeral,
            parent_cversion: cversion + 1,
            ttl: if op == OpCode::CreateTtl { 600_000 } else { 0 },
        };
        self.put(s, op, Txn::Create(txn));
    }
}

/// All that a tree holds, but for what differs between members.
fn contents(tree: &Tree) -> Vec<String> {
    let mut out: Vec<String> = tree.sessions().map(|(s, t)| format!("session {s} {t}")).collect();
    let mut open: Vec<Node<'_>> = vec![tree.root()];
    while let Some(n) = open.pop() {
        let data = n.data().map(|d| (d.len(), simd_adler32::adler32(&d)));
        out.push(format!("{} {data:?} {:?} {:?}", n.path(), &n.acl()[..], n.persisted()));
        open.extend(n.child_nodes());
    }
    out.push(format!("zxid {} digest {:#x}", tree.last_zxid(), tree.digest()));
    out.sort();
    out
}

fn same(what: &str, want: &[String], got: &[String]) -> Any<()> {
    for (w, g) in want.iter().zip(got) {
        ensure(w == g, || format!("{what} differs:\nwanted {w}\n   got {g}"))?;
    }
    ensure(want.len() == got.len(), || format!("{what}: {} lines, wanted {}", got.len(), want.len()))
}

struct Java {
    class_path: String,
}

impl Java {
    fn command(&self, class: &str) -> Command {
        let mut c = Command::new("java");
        c.args(["-Xmx256m", "-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.admin.enableServer=false"]);
        c.args(["-Dzookeeper.4lw.commands.whitelist=*", "-cp", &self.class_path]);
        c.arg(format!("org.apache.zookeeper.server.{class}"));
        c
    }

    fn tool(&self, class: &str, args: &[&str]) -> Any<String> {
        let out = self.command(class).args(args).output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure(out.status.success(), || format!("{class} failed: {text}\n{error}"))?;
        Ok(text)
    }

    /// Starts a server on a directory, compares its zxid, and the snapshot
    /// that it writes at start with the tree.
    fn serves(&self, dir: &Path, tree: &Tree, what: &str) -> Any<()> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = fs::File::create(dir.join("java.log"))?;
        let child = self
            .command("ZooKeeperServerMain")
            .args([&port.to_string(), text(dir)])
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        let child = Running(child);
        let answer = wait_for(port).map_err(|e| {
            format!("{what}: {e}\n{}", fs::read_to_string(dir.join("java.log")).unwrap_or_default())
        })?;
        let zxid = format!("Zxid: {}", tree.last_zxid());
        ensure(answer.contains(&zxid), || format!("{what}: Java says\n{answer}wanted {zxid}"))?;
        let mntr = word(port, b"mntr")?;
        let mismatches = mntr.lines().find(|l| l.contains("digest_mismatches_count")).unwrap_or("none");
        ensure(!mismatches.trim_end().ends_with(|c: char| ('1'..='9').contains(&c)), || {
            mismatches.to_owned()
        })?;
        drop(child);
        // The snapshot of the start is plain, whatever we exported.
        let path = dir.join(format!("version-2/snapshot.{:x}", tree.last_zxid().0));
        let java = load(&path, tree.options(), &mut |_| {})?;
        same(what, &contents(tree), &contents(&java))?;
        println!("Java serves {what}: {zxid}, digest {:#x}, {mismatches}", java.digest());
        Ok(())
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn word(port: u16, word: &[u8; 4]) -> Any<String> {
    let mut s = TcpStream::connect(("127.0.0.1", port))?;
    s.set_read_timeout(Some(Duration::from_secs(5)))?;
    s.write_all(word)?;
    let mut out = String::new();
    s.read_to_string(&mut out)?;
    let _ = s.shutdown(Shutdown::Both);
    Ok(out)
}

fn wait_for(port: u16) -> Any<String> {
    let begin = Instant::now();
    loop {
        match word(port, b"srvr") {
            Ok(text) if text.contains("Zxid") => return Ok(text),
            _ if begin.elapsed() > Duration::from_secs(60) => return Err("no answer in 60 s".into()),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn class_path() -> Any<String> {
    let named = std::env::var_os("ZKD_JAVA_CLASSPATH").map(PathBuf::from);
    let cache = || {
        let home = || std::env::var_os("HOME").map(|h| Path::new(&h).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(cache.join("zkd/compat/zookeeper-3.9.4.classpath"))
    };
    let path = named.or_else(cache).ok_or("set ZKD_JAVA_CLASSPATH")?;
    let text =
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}; set ZKD_JAVA_CLASSPATH", path.display()))?;
    Ok(text.trim().to_owned())
}

fn copy_dir(from: &Path, to: &Path) -> Any<()> {
    fs::create_dir_all(to)?;
    for e in fs::read_dir(from)? {
        let e = e?;
        let target = to.join(e.file_name());
        if e.file_type()?.is_dir() {
            copy_dir(&e.path(), &target)?;
        } else {
            fs::copy(e.path(), target)?;
        }
    }
    Ok(())
}
