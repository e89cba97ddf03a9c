//! The tools in the binary: what operators call beside a server.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use zk_testkit::ensemble::{self, Ensemble, composition};
use zk_testkit::process::{Config, Java, Server, Zkd, zkd_binary};
use zk_testkit::raw::Conn;
use zk_testkit::request::{self, OPEN};
use zk_testkit::tree;

use crate::support::{both, env, eventually, until};

/// Nobody expires, however long a tool takes.
const SESSION_MS: i32 = 600_000;

fn config() -> Config {
    Config::default().line("maxSessionTimeout", SESSION_MS)
}

fn zkd(args: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(zkd_binary()?).args(args).env("TZ", "UTC").output()?)
}

fn lines(out: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect()
}

fn succeed(args: &[&str]) -> anyhow::Result<Output> {
    let out = zkd(args)?;
    ensure!(out.status.success(), "{args:?}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    Ok(out)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test directories have plain names")
}

/// Nodes in multis of 500, so that filling is quick.
fn fill(conn: &mut Conn, top: &str, nodes: usize) -> anyhow::Result<()> {
    conn.create(top, b"", OPEN, 0)?;
    for first in (0..nodes).step_by(500) {
        let path = |n: usize| format!("{top}/n{n:07}").into_bytes();
        let parts: Vec<_> = (first..nodes.min(first + 500))
            .map(|n| {
                (1, request::create(Some(&path(n)), Some(format!("data of {n}").as_bytes()), Some(OPEN), 0))
            })
            .collect();
        ensure!(conn.multi(&parts)?.iter().all(|p| p.op == 1));
    }
    Ok(())
}

fn zxid(server: &Server) -> anyhow::Result<String> {
    let text = server.word("srvr")?;
    Ok(text.lines().find_map(|l| l.strip_prefix("Zxid: ")).context("no zxid")?.to_owned())
}

/// Sets nodes until it is told to stop; returns how many.
fn load(server: &Server, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<anyhow::Result<u64>> {
    let (addr, stop) = (server.addr(), stop.clone());
    std::thread::spawn(move || {
        let mut conn = Conn::open(addr, SESSION_MS)?;
        let mut n = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            conn.set_data(&format!("/t/n{:07}", n % 1000), format!("again {n}").as_bytes(), -1)?;
            n += 1;
        }
        Ok(n)
    })
}

/// A backup under load, brought up to date, verified, and restored to a chosen transaction:
/// the same tree, and the digest that the log has. `ZKD_BACKUP_NODES` sets the size.
#[test]
fn a_backup_under_load_is_restored_to_a_chosen_zxid() {
    let run = || -> anyhow::Result<()> {
        let nodes = env("ZKD_BACKUP_NODES", 20_000);
        let server = Server::start(&Zkd, config().line("preAllocSize", 4096))?;
        let dir = tempfile::tempdir()?;
        let (backup, target) = (dir.path().join("backup"), dir.path().join("restored"));
        let data = server.data_dir();
        let mut conn = Conn::open(server.addr(), SESSION_MS)?;
        fill(&mut conn, "/t", nodes)?;

        let stop = Arc::new(AtomicBool::new(false));
        let writer = load(&server, &stop);
        let take = ["backup", "--data-dir", text(&data), "--to", text(&backup), "--json"];
        let begin = Instant::now();
        let first = succeed(&take)?;
        let took = begin.elapsed();
        stop.store(true, Ordering::Relaxed);
        let before = writer.join().expect("the writer does not panic")?;

        // The state that is wanted later; then more load, and a second run of the backup.
        let chosen = zxid(&server)?;
        let due = tree::read(&mut conn)?;
        stop.store(false, Ordering::Relaxed);
        let writer = load(&server, &stop);
        let second = succeed(&take)?;
        stop.store(true, Ordering::Relaxed);
        let after = writer.join().expect("the writer does not panic")?;
        ensure!(lines(&second)[0]["snapshot"].is_null(), "the second run copies logs only: {second:?}");
        succeed(&["backup", "verify", text(&backup)])?;

        let begin = Instant::now();
        let restore =
            ["restore", "--from", text(&backup), "--data-dir", text(&target), "--zxid", &chosen, "--json"];
        let done = lines(&succeed(&restore)?).remove(0);
        eprintln!(
            "{nodes} nodes: backup {took:.1?} beside {before} writes, later {after}; {} of {} bytes; restored in {:.1?}: {done}",
            lines(&second)[0]["bytes"],
            lines(&first)[0]["bytes"],
            begin.elapsed()
        );
        ensure!(done["zxid"] == chosen && done["digest_confirmed"] == true, "{done}");
        let again = zkd(&restore)?;
        ensure!(again.status.code() == Some(3), "a directory with data is not written over");
        let later = zkd(&[
            "restore",
            "--from",
            text(&backup),
            "--data-dir",
            text(&dir.path().join("x")),
            "--zxid",
            "0x7fffffff",
        ])?;
        ensure!(String::from_utf8_lossy(&later.stderr).contains("available: "), "{later:?}");

        for launcher in both() {
            let mut restored = Server::prepare(launcher, Config::default())?;
            zk_testkit::process::copy_dir(&target, &restored.data_dir())?;
            restored.restart()?;
            let mut conn = Conn::open(restored.addr(), SESSION_MS)?;
            let found = tree::read(&mut conn)?;
            let differences = tree::compare(&due, &found, |_, _, _| false);
            ensure!(differences.is_empty(), "{} on the restored directory:\n{differences}", restored.name());
        }
        Ok(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// Logs, snapshots and the mirror of a running server are shown, and nothing is changed.
#[test]
fn inspect_shows_what_is_there_and_where_it_is_damaged() {
    let run = || -> anyhow::Result<()> {
        let mut server = Server::start(&Zkd, config())?;
        let mut conn = Conn::open(server.addr(), SESSION_MS)?;
        conn.create("/a", b"one", OPEN, 0)?;
        conn.create("/a/b", b"two", OPEN, 1)?;
        conn.set_data("/a", b"three", 0)?;
        let session = format!("{:#x}", conn.session.0);
        let data = server.data_dir();
        let before = listing(&data)?;
        let all = lines(&succeed(&["inspect", "log", text(&data), "--json"])?);
        let ops: Vec<_> = all.iter().filter_map(|l| l["op"].as_str()).collect();
        ensure!(ops == ["createSession", "create", "create", "setData"], "{ops:?}");
        ensure!(all[3]["data"] == "three" && all[3]["path"] == "/a" && all[3]["session"] == session.as_str());
        let some = lines(&succeed(&["inspect", "log", text(&data), "--json", "--path", "/a/b"])?);
        ensure!(some.len() == 2 && some[1]["summary"]["shown"] == 1, "{some:?}");
        let range =
            lines(&succeed(&["inspect", "log", text(&data), "--json", "--from", "0x2", "--to", "3"])?);
        ensure!(range.len() == 3, "{range:?}");
        let people = String::from_utf8(succeed(&["inspect", "log", text(&data)])?.stdout)?;
        ensure!(!people.contains('\x1b') && people.contains("/a 5 bytes version 1"), "{people}");
        ensure!(listing(&data)? == before, "inspect changed the directory");

        server.stop()?;
        let mirror = lines(&succeed(&["inspect", "mirror", text(&data), "--json", "--session", &session])?);
        ensure!(mirror.iter().any(|l| l["path"] == "/a/b" && l["data"] == "two"), "{mirror:?}");
        ensure!(
            mirror.iter().any(|l| l["session"] == session.as_str() && l["ephemerals"] == 1),
            "{mirror:?}"
        );
        ensure!(mirror.last().is_some_and(|l| l["summary"]["sound"] == true), "{mirror:?}");

        // One bit of the second transaction.
        let log = data.join("version-2/log.1");
        let mut bytes = std::fs::read(&log)?;
        let at = usize::try_from(all[1]["offset"].as_u64().context("no offset")?)? + 50;
        bytes[at] ^= 4;
        std::fs::write(&log, bytes)?;
        let out = zkd(&["inspect", "log", text(&log), "--json"])?;
        ensure!(out.status.code() == Some(3), "{out:?}");
        let found = lines(&out);
        let damage = found.iter().find(|l| l.get("damage").is_some()).context("no damage is told")?;
        ensure!(damage["offset"] == all[1]["offset"] && damage["resumes"] == all[2]["offset"], "{damage}");
        ensure!(found.iter().filter(|l| l["op"].is_string()).count() == 3, "the sound ones are shown");
        Ok(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// Names, sizes and times of all files.
fn listing(dir: &Path) -> anyhow::Result<Vec<(PathBuf, u64, std::time::SystemTime)>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            out.extend(listing(&entry.path())?);
        } else {
            out.push((entry.path(), meta.len(), meta.modified()?));
        }
    }
    out.sort();
    Ok(out)
}

#[test]
fn status_tells_by_its_exit_code() {
    for launcher in both() {
        let run = || -> anyhow::Result<()> {
            let mut server = Server::start(launcher, Config::default())?;
            let addr = server.addr().to_string();
            let good = succeed(&["status", &addr, "--json"])?;
            let member = lines(&good).remove(0);
            ensure!(member["role"] == "standalone" && member["healthy"] == true, "{member}");
            ensure!(member["version"].as_str().is_some_and(|v| !v.is_empty()), "{member}");
            let dead = format!("{addr},127.0.0.1:1");
            ensure!(zkd(&["status", &dead])?.status.code() == Some(5));
            server.stop()?;
            ensure!(zkd(&["status", &addr])?.status.code() == Some(6));
            Ok(())
        };
        run().unwrap_or_else(|e| panic!("{}: {e:#}", launcher.name()));
    }
}

/// A `zkd cli` that is fed line by line.
struct Cli {
    child: Child,
    input: ChildStdin,
    output: Arc<Mutex<String>>,
}

/// The answer to `printwatches`, which ends what a command printed.
const MARK: &str = "printwatches is ";

impl Cli {
    fn start(server: &Server) -> anyhow::Result<Cli> {
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" cli -waitforconnection -server \"$1\" 2>&1"])
            .arg(zkd_binary()?)
            .arg(server.addr().to_string())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, mut stdout) =
            (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let output = Arc::new(Mutex::new(String::new()));
        let seen = output.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..n]);
                let whole = String::from_utf8(std::mem::take(&mut bytes));
                match whole {
                    Ok(text) => seen.lock().expect("nobody panics").push_str(&text),
                    // In the middle of a character.
                    Err(e) => bytes = e.into_bytes(),
                }
            }
        });
        Ok(Cli { child, input, output })
    }

    fn send(&mut self, line: &str) -> anyhow::Result<String> {
        writeln!(self.input, "{line}")?;
        // Its event comes by itself.
        let event = "state:SyncConnected";
        if line == "connect" {
            until(event, || self.output.lock().expect("nobody panics").contains(event))?;
        }
        writeln!(self.input, "printwatches")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            {
                let mut all = self.output.lock().expect("nobody panics");
                let answer =
                    all.split_once(MARK).and_then(|(text, rest)| Some((text, rest.split_once('\n')?.1)));
                if let Some((text, rest)) = answer.map(|(t, r)| (t.to_owned(), r.to_owned())) {
                    *all = rest;
                    return Ok(text);
                }
            }
            ensure!(Instant::now() < deadline, "no answer to {line}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As `compat-tests/lib/zkcli.py` does with the same two files.
fn normal(line: &str, text: &str) -> String {
    let mut rows: Vec<String> = text
        .lines()
        .map(|row| match row.split_once(" = ") {
            Some((name @ ("ctime" | "mtime"), _)) => format!("{name} = TIME"),
            Some(("ephemeralOwner", owner)) if owner.len() > 12 => "ephemeralOwner = SESSION".to_owned(),
            _ => row.to_owned(),
        })
        .collect();
    if line.starts_with("getEphemerals")
        && let Some(row) = rows.first_mut()
    {
        let mut names: Vec<_> = row.trim_matches(['[', ']']).split(", ").collect();
        names.sort_unstable();
        *row = format!("[{}]", names.join(", "));
    }
    if line.starts_with('~') {
        rows.retain(|r| !r.is_empty() && r != "WATCHER::");
        rows.sort();
    }
    rows.iter().map(|r| format!("{r}\n")).collect()
}

/// Each command of the script that Java's zkCli was recorded with prints what zkCli printed.
#[test]
fn cli_prints_what_zkcli_prints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/zkcli");
    let run = || -> anyhow::Result<()> {
        let golden = std::fs::read_to_string(folder.join("golden.txt"))?;
        let script = std::fs::read_to_string(folder.join("script.txt"))?;
        let commands =
            script.lines().filter(|l| !l.is_empty() && !l.starts_with("# ") && !l.starts_with("//"));
        let config = Config::default().line("reconfigEnabled", true).line("enforceQuota", true).property(
            "zookeeper.DigestAuthenticationProvider.superDigest",
            "super:cSb4xmmOzLeDgnFemwS7PSKKYZc=",
        );
        let server = Server::start(&Zkd, config)?;
        let mut cli = Cli::start(&server)?;
        cli.send("version")?;
        let mut rest = golden.strip_prefix("> ").context("golden text begins with a command")?;
        let mut wrong = String::new();
        for command in commands {
            let (entry, behind) = rest.split_once("\n> ").unwrap_or((rest.trim_end_matches('\n'), ""));
            rest = behind;
            let (line, due) = match entry.split_once('\n') {
                Some((line, due)) => (line, format!("{due}\n")),
                None => (entry, String::new()),
            };
            ensure!(line == command, "golden text is of another script: {line} and {command}");
            let found = normal(command, &cli.send(command.trim_start_matches('~'))?);
            if found != due {
                wrong.push_str(&format!("> {command}\n--- zkCli\n{due}--- zkd\n{found}"));
            }
        }
        if !wrong.is_empty() {
            bail!("\n{wrong}");
        }
        Ok(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// One command, exit codes, JSON, a list of servers of which the first is down, and a chroot.
#[test]
fn cli_for_scripts() {
    let run = || -> anyhow::Result<()> {
        let server = Server::start(&Zkd, Config::default())?;
        let addr = server.addr();
        let servers = format!("127.0.0.1:1,{addr}");
        let cli = |args: &[&str]| zkd(&[&["cli", "-server", &servers, "--json"][..], args].concat());
        let made = cli(&["create", "/app", "x y"])?;
        ensure!(made.status.success(), "{made:?}");
        let got = cli(&["get", "/app"])?;
        let answer = lines(&got).into_iter().find(|l| l["command"] == "get").context("no answer")?;
        ensure!(answer["data"] == "x y" && answer["stat"]["version"] == 0, "{answer}");
        let missing = cli(&["get", "/missing"])?;
        ensure!(missing.status.code() == Some(1), "{missing:?}");
        ensure!(lines(&missing).iter().any(|l| l["code"] == "NoNode"), "{missing:?}");
        let chroot = format!("{addr}/app");
        succeed(&["cli", "-server", &chroot, "create", "/below", "1"])?;
        let out = succeed(&["cli", "-server", &addr.to_string(), "ls", "/app"])?;
        ensure!(String::from_utf8_lossy(&out.stdout).ends_with("[below]\n"), "{out:?}");
        let down = zkd(&["cli", "-server", "127.0.0.1:1", "ls", "/"])?;
        let said = String::from_utf8_lossy(&down.stderr).into_owned();
        ensure!(down.status.code() == Some(1) && said.contains("ConnectionLoss"), "{down:?}");
        Ok(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// A watch outlives the connection that it was set on.
#[test]
fn cli_sets_its_watches_again() {
    let run = || -> anyhow::Result<()> {
        let mut server = Server::start(&Zkd, Config::default())?;
        let mut cli = Cli::start(&server)?;
        cli.send("create /w 1")?;
        cli.send("get -w /w")?;
        server.stop()?;
        server.restart()?;
        let mut other = Conn::open(server.addr(), SESSION_MS)?;
        other.set_data("/w", b"2", -1)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = String::new();
        while !seen.contains("type:NodeDataChanged path:/w") {
            ensure!(Instant::now() < deadline, "no event:\n{seen}");
            std::thread::sleep(Duration::from_millis(50));
            seen.push_str(&cli.send("sync /w")?);
        }
        ensure!(seen.contains("state:Disconnected"), "{seen}");
        ensure!(cli.send("get /w")?.contains('2'));
        Ok(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// The shims: what scripts grep.
#[test]
fn scripts_find_zk_server_and_zk_cli() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let run = || -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let port = zk_testkit::process::free_port()?;
        let cfg = dir.path().join("zoo.cfg");
        let data = dir.path().join("data");
        std::fs::write(
            &cfg,
            format!("dataDir={}\nclientPort={port}\nadmin.enableServer=false\n", data.display()),
        )?;
        let call = |script: &str, args: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
            let out = Command::new(scripts.join(script))
                .args(args)
                .env("ZKD_BIN", zkd_binary()?)
                .env("ZOO_LOG_DIR", dir.path().join("logs"))
                .output()?;
            let text = [out.stdout, out.stderr].concat();
            Ok((out.status.code(), String::from_utf8(text)?))
        };
        let server = |command: &str| call("zkServer.sh", &["--config", text(dir.path()), command]);
        let expect = |command: &str, code: i32, says: &str| -> anyhow::Result<()> {
            let (found, said) = server(command)?;
            ensure!(found == Some(code) && said.contains(says), "{command}: {found:?}\n{said}");
            Ok(())
        };
        let checks = || -> anyhow::Result<()> {
            expect("status", 1, "Error contacting service. It is probably not running.")?;
            expect("start", 0, "Starting zookeeper ... STARTED")?;
            expect("start", 1, "already running as process")?;
            let deadline = Instant::now() + Duration::from_secs(30);
            while server("status")?.0 != Some(0) {
                ensure!(Instant::now() < deadline, "it does not serve");
            }
            expect("status", 0, "Mode: standalone")?;
            let (code, said) = call("zkCli.sh", &["-server", &format!("127.0.0.1:{port}"), "ls", "/"])?;
            ensure!(code == Some(0) && said.contains("[zookeeper]"), "{said}");
            expect("restart", 0, "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED")?;
            let log = std::fs::read_dir(dir.path().join("logs"))?.next().context("no log")??;
            ensure!(log.file_name().to_string_lossy().ends_with(".out"), "{log:?}");
            expect("print-cmd", 0, "serve")?;
            expect("version", 0, "zkd ")?;
            expect("nonsense", 1, "Usage: ")
        };
        let done = checks();
        expect("stop", 0, "Stopping zookeeper ... STOPPED")?;
        expect("stop", 0, "no zookeeper to stop")?;
        done
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// A backup of a Java server that runs, restored, is what Java has.
#[test]
fn a_java_server_is_backed_up_while_it_runs() {
    let run = || -> anyhow::Result<()> {
        let server = Server::start(&Java, config().line("snapCount", 50))?;
        let mut conn = Conn::open(server.addr(), SESSION_MS)?;
        fill(&mut conn, "/t", 1000)?;
        let stop = Arc::new(AtomicBool::new(false));
        let writer = load(&server, &stop);
        std::thread::sleep(Duration::from_millis(500));
        let dir = tempfile::tempdir()?;
        let (backup, target) = (dir.path().join("backup"), dir.path().join("restored"));
        let data = server.data_dir();
        let take = ["backup", "--data-dir", text(&data), "--to", text(&backup)];
        for _ in 0..3 {
            succeed(&[&take[..], &["--full"]].concat())?;
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")?;
        let due = tree::read(&mut conn)?;
        succeed(&take)?;
        succeed(&["backup", "verify", text(&backup)])?;
        let out = succeed(&["restore", "--from", text(&backup), "--data-dir", text(&target), "--json"])?;
        ensure!(lines(&out)[0]["digest_confirmed"] == true, "{out:?}");
        let mut restored = Server::prepare(&Zkd, Config::default())?;
        zk_testkit::process::copy_dir(&target, &restored.data_dir())?;
        restored.restart()?;
        let found = tree::read(&mut Conn::open(restored.addr(), SESSION_MS)?)?;
        let differences = tree::compare(&due, &found, |_, _, _| false);
        ensure!(differences.is_empty(), "{differences}");
        Ok(())
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// A backup of one member, restored on all members of a new ensemble, Java's too.
#[test]
fn an_ensemble_starts_from_a_backup() {
    let run = || -> anyhow::Result<()> {
        let old = Ensemble::start(&composition("zkd,zkd,zkd")?, ensemble::config())?;
        let dir = tempfile::tempdir()?;
        let (backup, target) = (dir.path().join("backup"), dir.path().join("restored"));
        let mut conn = Conn::open(old.addr(2), SESSION_MS)?;
        fill(&mut conn, "/t", 1000)?;
        let chosen = zxid(old.member(2))?;
        conn.set_data("/t", b"too late", -1)?;
        succeed(&["backup", "--data-dir", text(&old.member(2).data_dir()), "--to", text(&backup)])?;
        succeed(&["restore", "--from", text(&backup), "--data-dir", text(&target), "--zxid", &chosen])?;
        drop(old);
        let mut new = Ensemble::prepare(&composition("zkd,java,zkd")?, ensemble::config())?;
        for i in 0..new.len() {
            zk_testkit::process::copy_dir(&target, &new.member(i).data_dir())?;
        }
        new.start_all()?;
        let tree = new.same_tree()?;
        let node = |path: &str| tree.get(path).with_context(|| format!("{path} is missing"));
        ensure!(node("/t")?.data.as_deref() == Some(b"".as_slice()), "what came later is not there");
        node("/t/n0000999")?;
        let members = (0..new.len()).map(|i| new.addr(i).to_string()).collect::<Vec<_>>().join(",");
        eventually(|| {
            let status = lines(&succeed(&["status", &members, "--json"])?);
            let leaders = status.iter().filter(|l| l["role"] == "leader").count();
            let good = status.last().is_some_and(|l| l["summary"]["health"] == "good");
            ensure!(leaders == 1 && good, "{status:?}");
            Ok(())
        })
    };
    run().unwrap_or_else(|e| panic!("{e:#}"));
}

/// Every part of `zkd bench` against both servers: what it counts adds up, nothing is refused, and nothing
/// of it stays. Its speed is nobody's business here.
#[test]
fn bench_measures_and_leaves_nothing() {
    let run = |server: &Server| -> anyhow::Result<()> {
        let addr = server.addr().to_string();
        let before = server.word("srvr")?.lines().find(|l| l.starts_with("Node count")).map(str::to_owned);
        let svg = server.home().join("times.svg");
        let common = ["--json", "--svg", text(&svg)];
        let bench = |args: &[&str]| -> anyhow::Result<Value> {
            let out = succeed(&[&["bench", args[0], addr.as_str()], &args[1..], &common[..]].concat())?;
            let seen = lines(&out).pop().context("no JSON")?;
            ensure!(std::fs::read_to_string(&svg)?.starts_with("<svg"), "no chart");
            std::fs::remove_file(&svg)?;
            ensure!(seen["refused"] == 0 && seen["lost"] == 0, "{seen}");
            Ok(seen)
        };
        let count = |seen: &Value, kind: &str| seen[kind]["count"].as_u64().unwrap_or(0);
        let short = ["--time", "1", "--warm-up", "0", "--keys", "/zkd-bench/of-a-test/key-##"];
        let closed = bench(&[&["load", "--depth", "4", "--connections", "3"], &short[..]].concat())?;
        ensure!(count(&closed, "reads") > 0 && count(&closed, "writes") > 0, "{closed}");
        ensure!(count(&closed, "all") == count(&closed, "reads") + count(&closed, "writes"), "{closed}");
        let open = bench(&[&["load", "--rate", "200", "--mix", "get,set,multi"], &short[..]].concat())?;
        ensure!(count(&open, "all") == 200, "{open}");
        ensure!(count(&bench(&["sessions", "--at-once", "10", "--time", "0.2"])?, "all") >= 10);
        ensure!(count(&bench(&["watchers", "--watchers", "30", "--rounds", "3"])?, "all") == 3);
        let after = server.word("srvr")?.lines().find(|l| l.starts_with("Node count")).map(str::to_owned);
        ensure!(before.is_some() && before == after, "{before:?}, then {after:?}");
        Ok(())
    };
    for launcher in both() {
        let server = Server::start(launcher, Config::default()).expect("the server starts");
        run(&server).unwrap_or_else(|e| panic!("{}: {e:#}", launcher.name()));
    }
    assert_eq!(zkd(&["bench", "load", "--mix", "nothing"]).expect("zkd runs").status.code(), Some(2));
    // Nodes of others are not written to.
    for mix in ["get=70,set=30", "multi", "delete"] {
        let elsewhere = zkd(&["bench", "load", "127.0.0.1:1", "--keys", "/of-others/key-#", "--mix", mix]);
        assert_eq!(elsewhere.expect("zkd runs").status.code(), Some(2), "{mix}");
    }
}
