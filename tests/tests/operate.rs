//! What an operator does: a configuration is checked and read again, the audit log, the image's entry point.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zk_proto::OpCode;
use zk_testkit::http;
use zk_testkit::process::{Config, Java, Launcher, SUPER, Server, Zkd, free_port, zkd_binary};
use zk_testkit::raw::{Conn, four_letter};
use zk_testkit::request::{self, OPEN};

use crate::support::until;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a check refuses no server starts with, and the other way round.
#[test]
fn a_check_says_what_a_start_does() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("myid"), "7\n")?;
    let members = "initLimit=5\nsyncLimit=2\nserver.1=localhost:1:2\nserver.2=localhost:1:2\n";
    let refused = [
        "clientPort=http",
        "",
        "secureClientPort=0",
        "clientPort=0\nauthProvider.1=com.example.Mine",
        "clientPort=0\nDigestAuthenticationProvider.digestAlg=MD2",
        "clientPort=0\nzkd.log.level=loud",
        &format!("clientPort=0\n{members}"),
        &format!("clientPort=0\n{members}server.7=localhost:1:2:observer\nsslQuorum=true"),
    ];
    let file = dir.path().join("zoo.cfg");
    let program = zkd_binary()?;
    for lines in refused {
        fs::write(&file, format!("dataDir={}\n{lines}\n", data.display()))?;
        let run = |words: &[&str]| Command::new(&program).args(words).arg(&file).output();
        let (check, serve) = (run(&["config", "check"])?, run(&["serve"])?);
        let error = |out: &std::process::Output| {
            let text = String::from_utf8_lossy(&out.stderr);
            text.lines().find(|l| l.starts_with("zkd: ")).map(str::to_owned)
        };
        ensure!(check.status.code() == Some(2), "{lines:?} is checked: {check:?}");
        ensure!(serve.status.code() == Some(2), "{lines:?} starts: {serve:?}");
        let (said, does) = (error(&check).context("no error")?, error(&serve).context("no error")?);
        let reason = does.trim_start_matches("zkd: ");
        ensure!(said.ends_with(reason), "a check says {said:?}, a start {does:?}");
    }
    let valid = ["clientPort=0", "clientPort=0\nDigestAuthenticationProvider.digestAlg=SHA-512/256"];
    for lines in valid {
        fs::write(&file, format!("dataDir={}\n{lines}\n", data.display()))?;
        let check = Command::new(&program).args(["config", "check", "--json"]).arg(&file).output()?;
        ensure!(check.status.success(), "{check:?}");
        let json: serde_json::Value = serde_json::from_slice(&check.stdout)?;
        ensure!(json["valid"] == true && json["lines"][0]["effect"] == "used", "{json}");
        let mut child = Command::new(&program).arg("serve").arg(&file).stderr(Stdio::piped()).spawn()?;
        let mut log = std::io::BufReader::new(child.stderr.take().context("no output")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(std::io::BufRead::read_line(&mut log, &mut line)? > 0, "{lines:?} does not start");
        }
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

#[test]
fn limits_words_and_level_change_without_a_restart() -> anyhow::Result<()> {
    let config = Config::default().line("4lw.commands.whitelist", "conf").line("maxClientCnxns", 60);
    let mut server = Server::start(&Zkd, config)?;
    let addr = server.addr();
    let pid = server.pid();
    let mut kept = Conn::open(addr, 20_000)?;
    ensure!(four_letter(addr, "ruok")?.contains("not in the whitelist"));
    let file = server.home().join("zoo.cfg");
    let before = fs::read_to_string(&file)?;
    let again = |text: String| -> anyhow::Result<()> {
        fs::write(&file, text)?;
        server.signal(Signal::SIGHUP)
    };
    let changed = before
        .replace("whitelist=conf", "whitelist=ruok,conf")
        .replace("maxClientCnxns=60", "maxClientCnxns=3");
    again(format!("{changed}zkd.log.level=debug\nsyncLimit=9\ntickTime=700\n"))?;
    until("the whitelist", || four_letter(addr, "ruok").is_ok_and(|a| a == "imok"))?;
    until("the limit", || four_letter(addr, "conf").is_ok_and(|a| a.contains("\nmaxClientCnxns=3\n")))?;
    until("the next start", || server.log().contains("count from the next start on: tickTime\n"))?;
    kept.create("/kept", b"", OPEN, 0)?;
    let mut open = Vec::new();
    until("three connections", || {
        if let Ok(conn) = Conn::open(addr, 20_000) {
            open.push(conn);
        }
        open.len() == 2
    })?;
    ensure!(Conn::open(addr, 20_000).is_err(), "a fourth connection is kept");
    // Messages of the level debug are there now.
    drop(open.pop());
    let mut bad = Conn::dial(addr)?;
    bad.send_bytes(&[0x7f, 0xff, 0xff, 0xff])?;
    // What is wrong leaves everything as it is.
    again(format!("{changed}maxClientCnxns=many\n"))?;
    until("the refusal", || server.log().contains("the configuration stays as it is"))?;
    // Connections that have closed count for a moment.
    until("a word", || four_letter(addr, "ruok").is_ok_and(|a| a == "imok"))?;
    kept.create("/kept2", b"", OPEN, 0)?;
    ensure!(server.exited()?.is_none() && server.pid() == pid);
    ensure!(server.stop()?.success());
    Ok(())
}

#[test]
fn messages_as_json() -> anyhow::Result<()> {
    let mut server = Server::start(&Zkd, Config::default().line("zkd.log.format", "json"))?;
    server.stop()?;
    let log = server.log();
    let lines: Result<Vec<serde_json::Value>, _> = log.lines().map(serde_json::from_str).collect();
    let lines = lines.with_context(|| format!("not JSON: {log}"))?;
    ensure!(
        lines.iter().any(|l| l["message"].as_str().is_some_and(|m| m.starts_with("listening on "))),
        "{log}"
    );
    ensure!(lines.iter().all(|l| l["level"].is_string() && l["timestamp"].is_string()), "{log}");
    Ok(())
}

/// The audit log line by line against Java's, and `conf` with nothing but defaults.
#[test]
fn row_126_audit_log_and_defaults() -> anyhow::Result<()> {
    let java = audited(&Java)?;
    let zkd = audited(&Zkd)?;
    ensure!(java.0.len() > 12, "Java's audit log: {:#?}", java.0);
    for (n, (a, b)) in java.0.iter().zip(&zkd.0).enumerate() {
        ensure!(a == b, "line {n}\njava {a:?}\nzkd  {b:?}");
    }
    ensure!(java.0.len() == zkd.0.len(), "java {:#?}\nzkd {:#?}", java.0, zkd.0);
    ensure!(java.1 == zkd.1, "conf of java\n{}\nof zkd\n{}", java.1, zkd.1);
    Ok(())
}

/// Lines of the audit log with sessions numbered by their first line, and `conf` without what differs.
fn audited(launcher: &'static dyn Launcher) -> anyhow::Result<(Vec<String>, String)> {
    let mut config =
        Config { verbose: vec!["org.apache.zookeeper.audit.Slf4jAuditLogger"], ..Config::default() };
    config.lines.retain(|(key, _)| key == "admin.enableServer" || key == "4lw.commands.whitelist");
    // The members' directories differ, and so do their ports.
    let config = config.line("audit.enable", true).line("extendedTypesEnabled", true);
    let mut server = Server::start(launcher, config)?;
    let conf = server.word("conf")?;
    let same = |l: &&str| !["clientPort=", "dataDir", "dataLog"].iter().any(|k| l.starts_with(k));
    let conf: String = conf.lines().filter(same).map(|l| format!("{l}\n")).collect();

    let mut c = Conn::open(server.addr(), 20_000)?;
    c.create("/a", b"x", OPEN, 0)?;
    c.create("/a/s-", b"", OPEN, 2)?;
    c.create("/a/e", b"", OPEN, 1)?;
    let body = request::create(Some(b"/a/c"), Some(b""), Some(OPEN), 4);
    c.call(OpCode::CreateContainer, &body)?.ok()?;
    let body = request::create_ttl(Some(b"/a/t"), Some(b""), Some(OPEN), 5, 100_000);
    c.call(OpCode::CreateTtl, &body)?.ok()?;
    ensure!(c.create("/a", b"", OPEN, 0).is_err() && c.delete("/none", -1).is_err());
    c.set_data("/a", b"y", -1)?;
    ensure!(c.set_data("/a", b"y", 77).is_err());
    ensure!(c.auth("digest", b"bob:pw")? == 0);
    c.set_acl("/a", OPEN, -1)?;
    ensure!(c.set_acl("/none", OPEN, -1).is_err());
    c.get_data("/a", false)?;
    let create = |path: &str| {
        (OpCode::Create.to_i32(), request::create(Some(path.as_bytes()), Some(b""), Some(OPEN), 0))
    };
    let delete = |path: &str| (OpCode::Delete.to_i32(), request::path_int(Some(path.as_bytes()), -1));
    c.multi(&[create("/m"), delete("/m"), create("/n")])?;
    c.multi(&[create("/o"), delete("/none")])?;
    c.delete("/n", -1)?;
    c.close()?;
    until("the end of the session", || {
        server.log().contains("ephemeralZNodeDeletionOnSessionCloseOrExpire")
    })?;
    server.stop()?;

    let log = server.log();
    let mut sessions: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for line in log.lines().filter(|l| l.contains("operation=")) {
        let at = line.find("session=").or_else(|| line.find("user=")).context("no audit line")?;
        let fields: Vec<String> = line[at..]
            .split('\t')
            .map(|field| match field.strip_prefix("session=") {
                Some(id) => {
                    if !sessions.iter().any(|s| s == id) {
                        sessions.push(id.to_owned());
                    }
                    format!("session={}", sessions.iter().position(|s| s == id).unwrap_or_default())
                }
                None => match field.strip_prefix("user=") {
                    // Java keeps them in a hash map.
                    Some(users) => {
                        let mut users: Vec<_> = users.split(',').collect();
                        users.sort_unstable();
                        format!("user={}", users.join(","))
                    }
                    None => field.to_owned(),
                },
            })
            .collect();
        let level = if line.contains("ERROR") { "error" } else { "info" };
        lines.push(format!("{level} {}", fields.join("\t")));
    }
    Ok((lines, conf))
}

/// A server as the image starts it.
struct Contained {
    child: Child,
    addr: SocketAddr,
}

impl Contained {
    fn start(home: &Path, port: u16, variables: &[(&str, String)]) -> anyhow::Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log"))?;
        let mut command = Command::new(zkd_binary()?);
        command.args(["docker-entry", "--", "zkServer.sh", "start-foreground"]).env_clear();
        command.env("ZOO_CONF_DIR", home.join("conf")).env("ZOO_DATA_DIR", home.join("data"));
        command.env("ZOO_DATA_LOG_DIR", home.join("datalog")).env("ZOO_ADMINSERVER_ENABLED", "false");
        command.envs(variables.iter().map(|(k, v)| (k, v)));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    fn serves(&self) -> bool {
        four_letter(self.addr, "srvr").is_ok_and(|a| a.contains("\nMode: "))
    }

    fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "it ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("SIGTERM does not stop it")
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of a directory whose names begin like this.
fn files(dir: &Path, start: &str) -> usize {
    let names = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    names.filter(|e| e.file_name().to_string_lossy().starts_with(start)).count()
}

/// Each variable of the official image, by what the server then says and does.
#[test]
fn each_variable_of_the_image_does_what_it_says() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let at = |name: &str| home.path().join(name);
    ["conf", "data", "datalog"].iter().try_for_each(|d| fs::create_dir(at(d)))?;
    let (port, quorum, election, admin) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let super_digest =
        "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=";
    let variables = [
        ("ZOO_MY_ID", "5".to_owned()),
        ("ZOO_SERVERS", format!("server.5=localhost:{quorum}:{election};{port}")),
        ("ZOO_STANDALONE_ENABLED", "false".to_owned()),
        ("ZOO_TICK_TIME", "700".to_owned()),
        ("ZOO_INIT_LIMIT", "31".to_owned()),
        ("ZOO_SYNC_LIMIT", "17".to_owned()),
        ("ZOO_MAX_CLIENT_CNXNS", "4".to_owned()),
        ("ZOO_4LW_COMMANDS_WHITELIST", "srvr,conf".to_owned()),
        ("ZOO_ADMINSERVER_ENABLED", "true".to_owned()),
        ("ZOO_CFG_EXTRA", format!("admin.serverPort={admin} maxSessionTimeout=12345 preAllocSize=1024")),
        ("ZOO_LOG4J_PROP", "DEBUG,CONSOLE".to_owned()),
        ("JVMFLAGS", "-Dzookeeper.extendedTypesEnabled=true".to_owned()),
        ("SERVER_JVMFLAGS", super_digest.to_owned()),
    ];
    let server = Contained::start(home.path(), port, &variables)?;
    until("a member that serves", || server.serves())?;
    // An ensemble of one, since ZOO_STANDALONE_ENABLED says so.
    ensure!(four_letter(server.addr, "srvr")?.contains("\nMode: leader\n"));
    let conf = four_letter(server.addr, "conf")?;
    let due = [
        format!("clientPort={port}"),
        format!("dataDir={}/version-2", at("data").display()),
        format!("dataLogDir={}/version-2", at("datalog").display()),
        "tickTime=700".to_owned(),
        "maxClientCnxns=4".to_owned(),
        "maxSessionTimeout=12345".to_owned(),
        "serverId=5".to_owned(),
        "initLimit=31".to_owned(),
        "syncLimit=17".to_owned(),
    ];
    for line in due {
        ensure!(conf.lines().any(|l| l == line), "no {line} in\n{conf}");
    }
    ensure!(conf.contains(&format!("server.5=localhost:{quorum}:{election}:participant;")), "{conf}");
    ensure!(four_letter(server.addr, "ruok")?.contains("not in the whitelist"));
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    until("the admin port", || http::get(admin, "/commands/ruok").is_ok_and(|a| a.status == 200))?;
    ensure!(at("conf/zoo.cfg").is_file() && fs::read_to_string(at("data/myid"))? == "5\n");

    let mut open = Vec::new();
    until("four connections", || {
        open.extend(Conn::open(server.addr, 10_000).ok());
        open.len() == 4
    })?;
    ensure!(Conn::open(server.addr, 10_000).is_err(), "a fifth connection is kept");
    let c = &mut open[0];
    let body = request::create_ttl(Some(b"/ttl"), Some(b""), Some(OPEN), 5, 100_000);
    c.call(OpCode::CreateTtl, &body)?.ok().context("a node with a time to live")?;
    c.create("/locked", b"", &[(31, Some(b"digest"), Some(b"of:nobody"))], 0)?;
    ensure!(c.get_data("/locked", false).is_err());
    ensure!(c.auth("digest", SUPER.as_bytes())? == 0);
    c.get_data("/locked", false).context("as the super user")?;
    drop(open);
    ensure!(files(&at("datalog/version-2"), "log.") == 1 && files(&at("data/version-2"), "log.") == 0);
    ensure!(fs::read_to_string(at("log"))?.contains(" DEBUG "), "no message of the level debug");
    server.stop()?;

    // What is off by default, or off here: no admin port, and nothing is purged.
    ["conf/zoo.cfg", "data/myid"].iter().try_for_each(|f| fs::remove_file(at(f)))?;
    let servers = ("ZOO_SERVERS", format!("server.1=localhost:{quorum}:{election};{port}"));
    let purge = |keep: &str| {
        let every = if keep.is_empty() { "0" } else { "1" };
        vec![
            servers.clone(),
            ("ZOO_CFG_EXTRA", format!("admin.serverPort={}", admin.port())),
            ("ZOO_AUTOPURGE_PURGEINTERVAL", every.to_owned()),
            ("ZOO_AUTOPURGE_SNAPRETAINCOUNT", keep.to_owned()),
        ]
    };
    let life = |variables: &[(&str, String)], snapshots: Option<usize>| -> anyhow::Result<()> {
        let _ = fs::remove_file(at("conf/zoo.cfg"));
        let server = Contained::start(home.path(), port, variables)?;
        until("a server alone", || {
            four_letter(server.addr, "srvr").is_ok_and(|a| a.contains("\nMode: standalone\n"))
        })?;
        ensure!(http::get(admin, "/commands/ruok").is_err(), "there is an admin port");
        // The purge of a start writes the state of this start, then removes what is too old.
        if let Some(due) = snapshots {
            until("the purge", || files(&at("data/version-2"), "snapshot.") == due)?;
        }
        Conn::open(server.addr, 10_000)?.create("/s-", b"", OPEN, 2)?;
        server.stop()
    };
    life(&purge(""), None)?;
    let before = files(&at("data/version-2"), "snapshot.");
    life(&purge(""), None)?;
    ensure!(files(&at("data/version-2"), "snapshot.") == before, "a snapshot without a purge");
    for n in 1..=6 {
        life(&purge("4"), Some((before + n).min(4)))?;
    }
    Ok(())
}

/// Three members by their names, from variables alone; all stop and start again, with a configuration
/// directory that cannot be written to, as on a root file system that is read-only.
#[test]
fn an_ensemble_from_variables_keeps_sessions_and_data() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let ports: Vec<[u16; 3]> =
        (0..3).map(|_| Ok([free_port()?, free_port()?, free_port()?])).collect::<anyhow::Result<_>>()?;
    let lines = ports.iter().zip(1..).map(|([q, e, c], n)| format!("server.{n}=localhost:{q}:{e};{c}"));
    let servers = lines.collect::<Vec<_>>().join(" ");
    let start = |n: usize| -> anyhow::Result<Contained> {
        let dir = home.path().join(n.to_string());
        fs::create_dir_all(dir.join("data"))?;
        fs::create_dir_all(dir.join("datalog"))?;
        let variables = [
            ("ZOO_MY_ID", (n + 1).to_string()),
            ("ZOO_SERVERS", servers.clone()),
            ("ZOO_TICK_TIME", "500".to_owned()),
            ("ZOO_INIT_LIMIT", "20".to_owned()),
            ("ZOO_CFG_EXTRA", "maxSessionTimeout=60000 preAllocSize=1024".to_owned()),
            ("JVMFLAGS", "-Dzookeeper.extendedTypesEnabled=true".to_owned()),
        ];
        Contained::start(&dir, ports[n][2], &variables)
    };
    let up = || -> anyhow::Result<Vec<Contained>> {
        let all = (0..3).map(start).collect::<anyhow::Result<Vec<_>>>()?;
        until("three members", || all.iter().all(Contained::serves))?;
        Ok(all)
    };
    let all = up()?;
    ensure!(home.path().join("0/data/zoo.cfg.made").is_file(), "there is no directory for zoo.cfg");
    let mut conn = Conn::open(all[0].addr, 60_000)?;
    let session = conn.session;
    conn.create("/kept", b"value", OPEN, 0)?;
    conn.create("/mine", b"", OPEN, 1)?;
    let health = Command::new(zkd_binary()?)
        .arg("docker-health")
        .env("ZOO_CONF_DIR", home.path().join("0/conf"))
        .env("ZOO_DATA_DIR", home.path().join("0/data"))
        .status()?;
    ensure!(health.success(), "a server that serves is called ill");
    // What probes of others call.
    let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/zkServer.sh"))
        .arg("status")
        .env("ZKD_BIN", zkd_binary()?)
        .env("ZOOCFGDIR", home.path().join("0/conf"))
        .env("ZOO_DATA_DIR", home.path().join("0/data"))
        .output()?;
    ensure!(status.status.success(), "{status:?}");
    let said = String::from_utf8_lossy(&status.stdout);
    ensure!(said.contains("Mode: leader\n") || said.contains("Mode: follower\n"), "{said}");
    all.into_iter().try_for_each(Contained::stop)?;
    let all = up()?;
    let mut conn = Conn::reopen(all[1].addr, session, 60_000)?;
    ensure!(conn.session == session, "the session is lost");
    ensure!(conn.get_data("/kept", false)?.0.as_deref() == Some(&b"value"[..]));
    ensure!(conn.exists("/mine", false)?.is_some(), "the ephemeral node is lost");
    all.into_iter().try_for_each(Contained::stop)
}
