//! The security pass: the holes that were published for ZooKeeper, each with a test of its number,
//! and what else must not leave a server.
//!
//! The list is that of the project's security page. CVE-2018-8012 and CVE-2023-44981 are holes in
//! SASL between members.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zk_proto::OpCode;
use zk_testkit::http;
use zk_testkit::process::{Config, JavaWithAdmin, Launcher, SUPER, Server, Zkd, zkd_binary};
use zk_testkit::raw::{Conn, four_letter};
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN, RawAcl};

use crate::admin::with_admin;
use crate::support::{Row, check_rows};
use crate::tls::{self, Authority, USUAL, Wanted};

fn open(server: &Server) -> anyhow::Result<Conn> {
    Conn::open(server.addr(), 20_000)
}

/// A connection with an identity of the scheme `digest`.
fn known(server: &Server, who: &str) -> anyhow::Result<Conn> {
    let mut c = open(server)?;
    ensure!(c.auth("digest", who.as_bytes())? == 0);
    Ok(c)
}

fn acl<'a>(perms: i32, scheme: &'a str, id: &'a str) -> RawAcl<'a> {
    (perms, Some(scheme.as_bytes()), Some(id.as_bytes()))
}

/// `alice:pw` and `bob:pw` as lists have them.
const ALICE: &str = "alice:V55/p2T0OpjQ+low3NVAH4aLvm0=";
const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

const READ: i32 = 1;
const WRITE: i32 = 2;
const CREATE: i32 = 4;
const DELETE: i32 = 8;
const ADMIN: i32 = 16;
const ALL: i32 = 31;

/// Lists in the C shell that were copied into 1024 bytes. The tool takes a line of any length.
#[test]
fn cve_2016_5017_no_line_is_too_long_for_the_tool() -> anyhow::Result<()> {
    let server = Server::start(&Zkd, Config::default())?;
    let addr = server.addr().to_string();
    let long = |n: usize| "x".repeat(n);
    for n in [1023, 1024, 1025, 4096, 100_000] {
        let out = Command::new(zkd_binary()?)
            .args(["cli", "-server", &addr, "create", &format!("/{}", long(n)), &long(n)])
            .output()?;
        ensure!(out.status.code() == Some(0), "{n}: {} {}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    let errors = tempfile::NamedTempFile::new()?;
    let mut cli = Command::new(zkd_binary()?)
        .args(["cli", "-server", &addr])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(errors.reopen()?)
        .spawn()?;
    let mut input = cli.stdin.take().context("its input")?;
    for n in [1024, 4096, 70_000] {
        for command in ["", "ls", "get -w", "create", "set /a", "addauth", "setAcl /a", "\"", "é"] {
            writeln!(input, "{command} {}", long(n))?;
            writeln!(input, "{command}{}", long(n))?;
            writeln!(input, "{command} {}", "é ".repeat(n / 2))?;
        }
    }
    drop(input);
    let until = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = cli.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            cli.kill()?;
            bail!("the tool does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let errors = std::fs::read_to_string(errors.path())?;
    ensure!(status.code().is_some() && !errors.contains("panicked"), "{status}: {errors}");
    let mut c = open(&server)?;
    ensure!(c.exists(&format!("/{}", long(4096)), false)?.is_some());
    Ok(())
}

/// Lists of all watches cost as much as there are watches: strangers do not get them, and whoever
/// may have them does not stop the others.
#[test]
fn cve_2017_5637_lists_of_watches_are_not_for_everybody() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.lines.retain(|(key, _)| key != "4lw.commands.whitelist");
    let server = Server::start(&Zkd, config)?;
    for word in ["wchp", "wchc", "wchs", "dump", "cons", "mntr", "stat", "envi", "conf"] {
        let answer = four_letter(server.addr(), word)?;
        ensure!(
            answer == format!("{word} is not executed because it is not in the whitelist.\n"),
            "{answer}"
        );
    }
    drop(server);

    let server = Server::start(&Zkd, Config::default())?;
    let mut c = open(&server)?;
    const WATCHES: usize = 50_000;
    let paths = (0..WATCHES).map(|n| format!("/a-name-of-some-length/{n:08}").into_bytes());
    let mut lists = vec![Some(Vec::new()); 3];
    lists[1] = Some(paths.collect());
    // Nothing is there, so each is armed.
    for part in lists[1].clone().unwrap_or_default().chunks(10_000) {
        lists[1] = Some(part.to_vec());
        ensure!(c.call(OpCode::SetWatches, &request::set_watches(0, &lists))?.header.err == 0);
    }
    let mut other = open(&server)?;
    let until = Instant::now() + Duration::from_millis(1500);
    let (asked, slowest) = std::thread::scope(|scope| {
        let asking: Vec<_> = ["wchp", "wchc", "wchp"]
            .map(|word| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while Instant::now() < until {
                        let text = four_letter(server.addr(), word)?;
                        ensure!(text.len() > WATCHES * 30, "{} bytes", text.len());
                        asked += 1;
                    }
                    anyhow::Ok(asked)
                })
            })
            .into_iter()
            .collect();
        let mut slowest = Duration::ZERO;
        while Instant::now() < until {
            let begun = Instant::now();
            other.ping()?;
            slowest = slowest.max(begun.elapsed());
        }
        let mut asked = 0;
        for thread in asking {
            asked += thread.join().expect("no panic")?;
        }
        anyhow::Ok((asked, slowest))
    })?;
    println!("{asked} lists of {WATCHES} watches; the slowest ping beside them took {slowest:?}");
    ensure!(slowest < Duration::from_secs(5), "a ping took {slowest:?} beside {asked} lists");
    Ok(())
}

fn ids(list: Body) -> anyhow::Result<Vec<String>> {
    let Body::AclStat(Some(list), _) = list else { bail!("{list:?} is no list") };
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default());
    list.into_iter()
        .map(|(perms, scheme, id)| Ok(format!("{perms} {} {}", text(scheme)?, text(id)?)))
        .collect()
}

fn shown(c: &mut Conn, path: &str) -> anyhow::Result<Vec<String>> {
    ids(c.call(OpCode::GetAcl, &request::path(Some(path.as_bytes())))?.ok()?)
}

/// An unsalted hash of a password is as good as the password.
#[test]
fn cve_2019_0201_hashes_of_passwords_are_for_administrators() {
    let rows: &[Row] = &[("who is shown what by getACL", hashes)];
    check_rows(&Config::default(), rows);
}

fn hashes(server: &Server) -> anyhow::Result<()> {
    let (mut stranger, mut alice) = (open(server)?, known(server, "alice:pw")?);
    let mut bob = known(server, "bob:pw")?;
    let list = |of_world, of_alice, of_bob| {
        vec![acl(of_world, "world", "anyone"), acl(of_alice, "digest", ALICE), acl(of_bob, "digest", BOB)]
    };
    let create = |c: &mut Conn, path: &str, list: &[RawAcl<'_>]| c.create(path, b"", list, 0);
    create(&mut alice, "/readable", &list(READ, ALL, READ))?;
    create(&mut alice, "/private", &list(WRITE, ALL, READ))?;
    create(&mut alice, "/administered", &[acl(ADMIN, "digest", BOB), acl(READ, "digest", ALICE)])?;
    create(&mut alice, "/by-others", &[acl(WRITE | CREATE | DELETE, "world", "anyone")])?;

    let plain = |of_world: i32| {
        vec![format!("{of_world} world anyone"), format!("31 digest {ALICE}"), format!("1 digest {BOB}")]
    };
    let hidden = |of_world: i32| {
        vec![format!("{of_world} world anyone"), "31 digest alice:x".to_owned(), "1 digest bob:x".to_owned()]
    };
    ensure!(shown(&mut alice, "/readable")? == plain(READ));
    for c in [&mut stranger, &mut bob] {
        let seen = shown(c, "/readable")?;
        ensure!(seen == hidden(READ), "{seen:?}");
    }
    ensure!(shown(&mut bob, "/private")? == hidden(WRITE));
    let refused = |c: &mut Conn, path: &str| -> anyhow::Result<()> {
        let reply = c.call(OpCode::GetAcl, &request::path(Some(path.as_bytes())))?;
        ensure!(reply.header.err == -102 && reply.body.is_empty(), "{path}: {reply:?}");
        Ok(())
    };
    refused(&mut stranger, "/private")?;
    refused(&mut stranger, "/administered")?;
    refused(&mut stranger, "/by-others")?;
    // ADMIN without READ is enough, READ without ADMIN hides the administrator's.
    ensure!(shown(&mut bob, "/administered")? == [format!("16 digest {BOB}"), format!("1 digest {ALICE}")]);
    ensure!(shown(&mut alice, "/administered")? == ["16 digest bob:x", "1 digest alice:x"]);
    Ok(())
}

/// A watch on a parent must not tell of children that its owner may not read.
#[test]
fn cve_2024_23944_watches_tell_only_what_may_be_read() {
    let rows: &[Row] = &[("watches that stay", standing_watches), ("watches for once", single_watches)];
    check_rows(&Config::default(), rows);
}

/// Paths of the events so far.
fn told(c: &mut Conn) -> anyhow::Result<Vec<String>> {
    Ok(c.events_so_far()?.into_iter().map(|e| e.path).collect())
}

fn standing_watches(server: &Server) -> anyhow::Result<()> {
    let (mut stranger, mut alice) = (open(server)?, known(server, "alice:pw")?);
    let mine = [acl(ALL, "digest", ALICE)];
    alice.create("/top", b"", OPEN, 0)?;
    stranger.add_watch("/top", true)?;
    stranger.add_watch("/", true)?;
    stranger.add_watch("/top/secret", false)?;
    stranger.add_watch("/top/secret/deep", true)?;
    alice.create("/top/secret", b"", &mine, 0)?;
    alice.set_data("/top/secret", b"1", -1)?;
    alice.create("/top/secret/deep", b"", &mine, 0)?;
    alice.set_data("/top/secret/deep", b"1", -1)?;
    // What is open below what is not may be read by who knows its name.
    alice.create("/top/secret/open", b"", OPEN, 0)?;
    alice.delete("/top/secret/deep", -1)?;
    let multi = [
        (1, request::create(Some(b"/top/of-multi"), Some(b""), Some(&mine), 0)),
        (5, request::set_data(Some(b"/top/of-multi"), Some(b"1"), -1)),
        (2, request::path_int(Some(b"/top/of-multi"), -1)),
    ];
    alice.multi(&multi)?;
    let mut session = known(server, "alice:pw")?;
    session.create("/top/ephemeral", b"", &mine, 1)?;
    session.close()?;
    let seen = told(&mut stranger)?;
    ensure!(seen == ["/top/secret/open"], "{seen:?}");
    // And they do work.
    alice.set_acl("/top/secret", OPEN, -1)?;
    alice.set_data("/top/secret", b"2", -1)?;
    let seen = told(&mut stranger)?;
    ensure!(seen == ["/top/secret"], "{seen:?}");
    Ok(())
}

fn single_watches(server: &Server) -> anyhow::Result<()> {
    let (mut stranger, mut alice) = (open(server)?, known(server, "alice:pw")?);
    let mine = [acl(ALL, "digest", ALICE)];
    ensure!(stranger.exists("/once", true)?.is_none());
    alice.create("/once", b"", &mine, 0)?;
    let seen = told(&mut stranger)?;
    ensure!(seen.is_empty(), "{seen:?}");
    for op in [OpCode::GetData, OpCode::Exists, OpCode::GetChildren, OpCode::GetChildren2] {
        let reply = stranger.call(op, &request::path_bool(Some(b"/once"), true))?;
        ensure!(reply.header.err == -102 && reply.body.is_empty(), "{reply:?}");
    }
    alice.set_data("/once", b"1", -1)?;
    alice.create("/once/child", b"", OPEN, 0)?;
    alice.delete("/once/child", -1)?;
    alice.delete("/once", -1)?;
    let seen = told(&mut stranger)?;
    ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}

fn ask(at: std::net::SocketAddr, method: &str, command: &str, headers: &[(&str, &str)]) -> http::Answer {
    // The interval of the limiters has passed.
    std::thread::sleep(Duration::from_millis(5));
    http::request(at, method, &format!("/commands/{command}"), headers, b"").expect("an answer")
}

/// Whoever asks could write any address into a header.
#[test]
fn cve_2024_51504_a_forwarded_address_is_not_believed() -> anyhow::Result<()> {
    // Java believes it again with this.
    for config in
        [Config::default(), Config::default().line("IPAuthenticationProvider.usexforwardedfor", true)]
    {
        let (config, admin) = with_admin(config);
        let server = Server::start(&Zkd, config)?;
        let mut c = open(&server)?;
        c.set_acl("/", &[acl(ALL, "ip", "10.0.0.1")], -1)?;
        for forged in ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "X-Real-IP", "X-Client-IP", "Via"] {
            for value in ["10.0.0.1", "10.0.0.1, 127.0.0.1", "for=10.0.0.1"] {
                for scheme in ["ip", "ip 10.0.0.1"] {
                    let headers = [("Authorization", scheme), (forged, value)];
                    for (method, command) in [("GET", "snapshot"), ("POST", "restore")] {
                        let status = ask(admin, method, command, &headers).status;
                        ensure!(status == 403, "{command} with {forged}: {value} gets {status}");
                    }
                }
            }
        }
        // The socket's address counts.
        let mut root = known(&server, SUPER)?;
        root.set_acl("/", &[acl(ALL, "ip", "127.0.0.1")], -1)?;
        let headers = [("Authorization", "ip"), ("X-Forwarded-For", "10.0.0.1")];
        ensure!(ask(admin, "GET", "snapshot", &headers).status == 200);
    }
    Ok(())
}

/// Each permission on the root is needed for a command that gives or takes everything.
#[test]
fn cve_2025_58457_every_permission_is_needed() -> anyhow::Result<()> {
    for launcher in [&JavaWithAdmin as &'static dyn Launcher, &Zkd] {
        let (config, admin) = with_admin(Config::default());
        let server = Server::start(launcher, config)?;
        let mut root = known(&server, SUPER)?;
        let bob = [("Authorization", "digest bob:pw")];
        for missing in [READ, WRITE, CREATE, DELETE, ADMIN] {
            root.set_acl("/", &[acl(ALL, "digest", ALICE), acl(ALL ^ missing, "digest", BOB)], -1)?;
            for (method, command) in [("GET", "snapshot"), ("POST", "restore")] {
                let status = ask(admin, method, command, &bob).status;
                ensure!(status == 403, "{}: {command} without {missing} gets {status}", launcher.name());
            }
        }
        root.set_acl("/", &[acl(ALL, "digest", ALICE), acl(ALL, "digest", BOB)], -1)?;
        ensure!(ask(admin, "GET", "snapshot", &bob).status == 200, "{}", launcher.name());
        for (method, command) in [("GET", "snapshot"), ("POST", "restore")] {
            let status = ask(admin, method, command, &[]).status;
            ensure!(status == 401, "{}: {command} of nobody gets {status}", launcher.name());
        }
    }
    Ok(())
}

/// A certificate for a name is none for an address, whatever the zone of the address says.
#[test]
fn cve_2026_24281_addresses_are_not_looked_up() -> anyhow::Result<()> {
    let hosts = std::fs::read_to_string("/etc/hosts")?;
    ensure!(hosts.lines().any(|l| l.starts_with("127.0.0.1") && l.contains("localhost")), "{hosts}");
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let by_name = authority.make(&Wanted { name: "by-name", hosts: &["localhost"], ..USUAL })?;
    let by_common_name = authority.make(&Wanted { name: "localhost", hosts: &[], ..USUAL })?;
    let by_address = authority.make(&Wanted { name: "by-address", hosts: &["127.0.0.1"], ..USUAL })?;
    let (_server, at) = tls::start(|port| {
        tls::secure(&authority, port)
            .line("fips-mode", false)
            .line("ssl.hostnameVerification", true)
            .line("ssl.clientHostnameVerification", true)
    })?;
    ensure!(tls::is_let_in(&authority, at, Some(&by_address))?, "the address itself");
    ensure!(!tls::is_let_in(&authority, at, Some(&by_name))?, "a name that the address may have");
    ensure!(!tls::is_let_in(&authority, at, Some(&by_common_name))?, "the same as common name");
    Ok(())
}
