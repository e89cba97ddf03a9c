//! The security pass: the holes that were published for ZooKeeper, each with a test of its number,
//! and what else must not leave a server.
//!
//! The list is that of the project's security page. Two of its holes are in SASL between members
//! and have their tests where the logins are: CVE-2018-8012, anybody may join, is
//! `member_logins::cve_2018_8012_members_without_the_password_stay_outside`; CVE-2023-44981, a
//! principal without a host passes, is `kerberos::cve_2023_44981_members_have_tickets_for_their_hosts`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zk_proto::OpCode;
use zk_testkit::http;
use zk_testkit::process::{Config, JavaWithAdmin, Launcher, SUPER, Server, Zkd, zkd_binary};
use zk_testkit::raw::{Conn, PATIENCE, four_letter};
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
    ensure!(slowest < Duration::from_secs(20), "a ping took {slowest:?} beside {asked} lists");
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

/// Whoever asks for watches again is told of nothing that he may not read. Java tells.
#[test]
fn watches_set_again_tell_nothing_of_the_unreadable() -> anyhow::Result<()> {
    let server = Server::start(&Zkd, Config::default())?;
    let (mut stranger, mut alice) = (open(&server)?, known(&server, "alice:pw")?);
    let mine = [acl(ALL, "digest", ALICE)];
    alice.create("/hidden", b"", &mine, 0)?;
    alice.create("/hidden/child", b"", &mine, 0)?;
    alice.create("/open", b"", OPEN, 0)?;
    let both = || Some(vec![b"/hidden".to_vec(), b"/open".to_vec()]);
    for c in [&mut stranger, &mut alice] {
        let reply = c.call(OpCode::SetWatches, &request::set_watches(0, &[both(), both(), both()]))?;
        ensure!(reply.header.err == 0);
    }
    let seen = told(&mut stranger)?;
    ensure!(seen == ["/open"; 3], "{seen:?}");
    ensure!(told(&mut alice)?.len() == 6);
    Ok(())
}

/// Codes of requests, so that their order of checks tells no more than Java's.
#[test]
fn errors_tell_no_more_than_javas() {
    let rows: &[Row] = &[("codes for who may do nothing", codes)];
    check_rows(&Config::default(), rows);
}

fn codes(server: &Server) -> anyhow::Result<()> {
    let (mut stranger, mut alice) = (open(server)?, known(server, "alice:pw")?);
    let mine = [acl(ALL, "digest", ALICE)];
    alice.create("/codes", b"", &mine, 0)?;
    alice.create("/codes/there", b"", &mine, 0)?;
    let mut code = |op: OpCode, body: Vec<u8>| anyhow::Ok(stranger.call(op, &body)?.header.err);
    let there = Some(&b"/codes/there"[..]);
    let none = Some(&b"/codes/none"[..]);
    // What is below a node that nobody else may read or write.
    for path in [there, none] {
        let made = code(OpCode::Create, request::create(path, Some(b""), Some(OPEN), 0))?;
        let gone = code(OpCode::Delete, request::path_int(path, 99))?;
        ensure!((made, gone) == (-102, -102), "{path:?}: {made} {gone}");
    }
    // A version that is wrong is not told from one that is right.
    for version in [-1, 0, 99] {
        let set = code(OpCode::SetData, request::set_data(there, Some(b""), version))?;
        let acl = code(OpCode::SetAcl, request::set_acl(there, Some(OPEN), version))?;
        ensure!((set, acl) == (-102, -102), "{version}: {set} {acl}");
    }
    for op in [OpCode::Exists, OpCode::GetData, OpCode::GetChildren, OpCode::GetChildren2] {
        let (a, b) =
            (code(op, request::path_bool(there, false))?, code(op, request::path_bool(none, false))?);
        ensure!((a, b) == (-102, -101), "{op:?}: {a} {b}");
    }
    for op in [OpCode::GetAcl, OpCode::GetAllChildrenNumber] {
        let (a, b) = (code(op, request::path(there))?, code(op, request::path(none))?);
        ensure!((a, b) == (-102, -101), "{op:?}: {a} {b}");
    }
    // In a multi the first error stands alone, whatever is behind it.
    let parts = [
        (13, request::path_int(there, 99)),
        (5, request::set_data(none, Some(b""), -1)),
        (2, request::path_int(there, -1)),
    ];
    let results: Vec<i32> = stranger.multi(&parts)?.iter().map(|p| p.err).collect();
    ensure!(results == [-1, -1, -1] || results.first() == Some(&-102), "{results:?}");
    Ok(())
}

fn metric(server: &Server, admin: std::net::SocketAddr, name: &str) -> anyhow::Result<f64> {
    let page = http::get(admin, "/metrics")?.text();
    let line = page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.with_context(|| format!("{} has no {name}: {page}", server.name()))?.parse().context("a number")
}

/// Guesses of one address are slower and slower, and bounded; right logins of it never wait.
#[test]
fn guesses_are_slowed_down_and_right_logins_are_not() -> anyhow::Result<()> {
    let (config, admin) = with_admin(Config::default().line("zkd.login.longestWaitMs", 1000));
    let server = Server::start(&Zkd, config)?;
    let guess = || -> anyhow::Result<(i32, Duration)> {
        let mut c = open(&server)?;
        let begun = Instant::now();
        Ok((c.auth("nothing", b"guess-4711")?, begun.elapsed()))
    };
    for _ in 0..5 {
        ensure!(guess()?.0 == -115);
    }
    for least in [100, 200, 400, 800, 1000] {
        let (code, took) = guess()?;
        ensure!(code == -115 && took >= Duration::from_millis(least), "{took:?} instead of {least} ms");
    }
    // Somebody who says that he is super, and is not.
    let mut c = open(&server)?;
    let begun = Instant::now();
    ensure!(c.auth("digest", b"super:guess")? == 0 && begun.elapsed() >= Duration::from_millis(1000));
    c.ping()?;
    // Many at once, which do not wait for the answers: all but a few are closed.
    let mut flood: Vec<Conn> = (0..300).map(|_| open(&server)).collect::<anyhow::Result<_>>()?;
    for c in &mut flood {
        c.send(OpCode::Auth, &request::auth(Some(b"nothing"), Some(b"guess-4711")))?;
    }
    let begun = Instant::now();
    let mut honest = open(&server)?;
    honest.create("/honest", b"", OPEN, 0)?;
    let alone = begun.elapsed();
    drop(flood);
    let until = Instant::now() + Duration::from_secs(30);
    while metric(&server, admin, "zkd_logins_refused_total")? < 1.0 {
        ensure!(Instant::now() < until, "none of 300 was refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(metric(&server, admin, "zkd_logins_failed_total")? >= 75.0);
    // The wait of the last of them is over.
    std::thread::sleep(Duration::from_millis(1500));
    ensure!(guess()?.1 >= Duration::from_millis(1000));
    let begun = Instant::now();
    let mut bob = known(&server, "bob:pw")?;
    bob.create("/bob", b"", &[acl(ALL, "auth", "")], 0)?;
    let mut root = known(&server, SUPER)?;
    root.get_data("/bob", false)?;
    println!(
        "beside 300 guesses a write took {alone:?}; after them a login and a write {:?}",
        begun.elapsed()
    );
    // The admin port counts in the same way.
    let begun = Instant::now();
    root.set_acl("/", &[acl(ALL, "digest", BOB), acl(READ, "world", "anyone")], -1)?;
    ensure!(ask(admin, "GET", "snapshot", &[("Authorization", "digest bob:wrong")]).status == 403);
    ensure!(begun.elapsed() >= Duration::from_millis(1000), "{:?}", begun.elapsed());
    ensure!(ask(admin, "GET", "snapshot", &[("Authorization", "digest bob:pw")]).status == 200);
    // A connection has not as many identities as it likes.
    let mut many = open(&server)?;
    let refused = (0..200).find_map(|n| match many.auth("digest", format!("u{n}:p").as_bytes()) {
        Ok(0) => None,
        other => Some((n, other.ok())),
    });
    ensure!(refused == Some((99, Some(-115))), "{refused:?}");
    Ok(())
}

/// Clients hear that a login has failed before they take their server for dead: else they would connect
/// and fail for ever. Who is closed without an answer waits all the same.
#[test]
fn an_answer_waits_no_longer_than_its_client() -> anyhow::Result<()> {
    let config = Config::default().line("authProvider.1", ENSEMBLE).line("ensembleAuthName", "blue");
    let server = Server::start(&Zkd, config.line("zkd.login.longestWaitMs", 60_000))?;
    let (least, most) = (Duration::from_millis(900), Duration::from_secs(25));
    let short = || Conn::open(server.addr(), 4000);
    let mut many: Vec<Conn> = (0..16).map(|_| short()).collect::<anyhow::Result<_>>()?;
    for c in &mut many {
        c.send(OpCode::Auth, &request::auth(Some(b"nothing"), Some(b"guess")))?;
    }
    for c in &mut many {
        ensure!(c.next_reply()?.is_some_and(|(header, _)| header.err == -115));
    }
    let mut c = short()?;
    let begun = Instant::now();
    let code = c.auth("nothing", b"guess")?;
    let took = begun.elapsed();
    ensure!(code == -115 && (least..most).contains(&took), "{code} after {took:?}");
    let mut c = short()?;
    let begun = Instant::now();
    c.send(OpCode::Auth, &request::auth(Some(b"ensemble"), Some(b"red")))?;
    ensure!(c.next_reply()?.is_none(), "another ensemble is answered");
    let took = begun.elapsed();
    ensure!((least..most).contains(&took), "closed after {took:?}");
    Ok(())
}

const ENSEMBLE: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";

/// A client that means another ensemble is closed without an answer.
#[test]
fn the_scheme_ensemble() {
    let rows: &[Row] = &[("names of the ensemble", ensemble_names)];
    let config = Config::default().line("authProvider.1", ENSEMBLE).line("ensembleAuthName", "blue, green");
    check_rows(&config, rows);
}

fn ensemble_names(server: &Server) -> anyhow::Result<()> {
    let counters = || -> anyhow::Result<Vec<String>> {
        let text = server.word("mntr")?;
        let of = |kind: &str| {
            let name = format!("zk_ensemble_auth_{kind}\t");
            text.lines().find_map(|l| l.strip_prefix(&name)).map(str::to_owned).context(name.clone())
        };
        ["success", "fail", "skip"].into_iter().map(of).collect()
    };
    for name in ["blue", "green"] {
        let mut c = open(server)?;
        ensure!(c.auth("ensemble", name.as_bytes())? == 0, "{name}");
        let Body::Clients(Some(ids)) = c.call(OpCode::WhoAmI, &[])?.ok()? else { bail!("no list") };
        ensure!(ids.len() == 1, "{ids:?}");
        let body = request::create(Some(b"/e"), Some(b""), Some(&[acl(ALL, "ensemble", "blue")]), 0);
        ensure!(c.call(OpCode::Create, &body)?.header.err == -114);
        let body = request::create(Some(b"/e"), Some(b""), Some(&[acl(ALL, "auth", "")]), 0);
        ensure!(c.call(OpCode::Create, &body)?.header.err == -114);
    }
    let mut c = open(server)?;
    ensure!(c.auth("ensemble", b"")? == 0);
    for name in ["red", " blue", "blue,green"] {
        let mut c = open(server)?;
        c.send(OpCode::Auth, &request::auth(Some(b"ensemble"), Some(name.as_bytes())))?;
        ensure!(c.next_reply()?.is_none(), "{name} is answered");
    }
    let until = Instant::now() + Duration::from_secs(60);
    while counters()? != ["2", "3", "1"] {
        ensure!(Instant::now() < until, "{:?}", counters()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A list of children is warned of before it is more than clients take.
#[test]
fn long_lists_of_children_are_warned_of() -> anyhow::Result<()> {
    let (config, admin) = with_admin(Config::default());
    let server = Server::start(&Zkd, config)?;
    let mut c = open(&server)?;
    c.create("/long", b"", OPEN, 0)?;
    let name = "n".repeat(200_000);
    let mut add = |n: usize| {
        c.create(&format!("/long/{name}{n}"), b"", OPEN, 0)?;
        c.children("/long", false)?;
        metric(&server, admin, "zkd_large_child_lists_total")
    };
    for n in 0..3 {
        ensure!(add(n)? == 0.0, "{n} names");
    }
    ensure!(add(3)? == 1.0 && add(4)? == 2.0);
    let log = server.log();
    ensure!(log.contains("list of children is near the size") && log.contains("bytes=800"), "{log}");
    ensure!(!log.contains("nnnn"), "names in {log}");
    // One that waited for a write is seen as well.
    let list = request::path_bool(Some(b"/long"), false);
    c.send(OpCode::SetData, &request::set_data(Some(b"/long"), Some(b""), -1))?;
    c.send(OpCode::GetChildren, &list)?;
    c.next_reply()?;
    c.next_reply()?;
    ensure!(metric(&server, admin, "zkd_large_child_lists_total")? == 3.0);
    Ok(())
}

/// What must be seen nowhere. Each is found in any text, whatever is around it.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn are_not_in(&self, place: &str, text: &str) -> anyhow::Result<()> {
        for (what, secret) in &self.0 {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].lines().count();
                let around: String = text[at.saturating_sub(60)..].chars().take(160).collect();
                bail!("{what} is in {place}, line {line}: …{around}");
            }
        }
        Ok(())
    }
}

/// Passwords of stores were logged at INFO in CVE-2026-24308, and those of users before that.
/// Here everything that is secret is unlike anything else, everything is asked for, and nothing of
/// it is found: in logs at the finest level, words, commands, pages, errors, or the check.
#[test]
fn cve_2026_24308_and_2014_0085_no_secret_is_shown() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    authority.stores("server")?;
    let file = |name: &str| authority.file(name).display().to_string();
    std::fs::write(
        authority.file("jaas.conf"),
        "Server {\n org.apache.zookeeper.server.auth.DigestLoginModule required\n \
         user_super=\"hidden-jaas-super\" user_bob=\"hidden-jaas-bob\";\n};\n",
    )?;
    for format in ["text", "json"] {
        let (config, admin) = with_admin(Config::default());
        let (page, secure) = (zk_testkit::process::free_port()?, zk_testkit::process::free_port()?);
        let config = config
            .line("secureClientPort", secure)
            .line("secureClientPortAddress", "127.0.0.1")
            .line("ssl.keyStore.location", file("server.p12"))
            .line("ssl.keyStore.password", tls::PASSWORD)
            .line("ssl.trustStore.location", file("trust.jks"))
            .line("ssl.trustStore.password", tls::PASSWORD)
            .line("ssl.quorum.keyStore.password", "hidden-of-quorum")
            .line("metricsProvider.ssl.keyStore.password", "hidden-of-metrics")
            .line("# ssl.keyStore.password", "hidden-old-one")
            .line("my.own.Password", "hidden-of-nobody")
            .line(
                "metricsProvider.className",
                "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
            )
            .line("metricsProvider.httpHost", "127.0.0.1")
            .line("metricsProvider.httpPort", page)
            .line("audit.enable", true)
            .line("authProvider.1", "org.apache.zookeeper.server.auth.SASLAuthenticationProvider")
            .line("zkd.log.level", "trace")
            .line("zkd.log.format", format)
            .property("java.security.auth.login.config", file("jaas.conf"))
            .property("zookeeper.SASLAuthenticationProvider.superPassword", "hidden-sasl-super")
            .property("javax.net.ssl.keyStorePassword", "hidden-of-jvm");
        let mut server = Server::start(&Zkd, config)?;
        let mut alice = known(&server, "alice:hidden-alice")?;
        let session = alice.session.password();
        let hex: String = session.iter().map(|b| format!("{b:02x}")).collect();
        let secrets = Secrets(vec![
            ("a password", "hidden-".to_owned()),
            ("the password of the stores", tls::PASSWORD.to_owned()),
            ("the super user's password", SUPER.to_owned()),
            ("the super digest", "lK75jTNcA+U9vtVEw5vB51mj/w4=".to_owned()),
            ("alice's hash", "QoqywkkdMQyP8FeB2+qkPcb9c+k=".to_owned()),
            ("bob's hash", BOB.to_owned()),
            ("the data of a node", "node-data-4711".to_owned()),
            ("a session's password", hex.clone()),
            ("a session's password", hex.to_uppercase()),
            ("a session's password", format!("{session:?}").trim_matches(['[', ']']).to_owned()),
        ]);

        // Clients in every way that a secret comes in.
        alice.create("/a", b"node-data-4711", &[acl(ALL, "auth", ""), acl(READ, "digest", BOB)], 0)?;
        alice.set_data("/a", b"node-data-4711", -1)?;
        alice.get_data("/a", true)?;
        ensure!(alice.set_acl("/a", &[acl(ALL, "digest", "no-hash")], -1).is_err());
        alice.set_acl("/a", &[acl(ALL, "auth", ""), acl(READ, "digest", "carol:hidden-hash=")], -1)?;
        let mut root = known(&server, SUPER)?;
        root.get_data("/a", false)?;
        for (scheme, data) in
            [("nothing", "hidden-guess"), ("x509", "hidden-guess"), ("sasl", "hidden-guess")]
        {
            let mut c = open(&server)?;
            c.auth(scheme, data.as_bytes())?;
        }
        let mut c = open(&server)?;
        c.call(OpCode::Sasl, &request::path(Some(b"")))?;
        c.send(OpCode::Sasl, &request::path(Some(b"username=\"bob\",response=hidden-response")))?;
        c.closes_within(PATIENCE)?;
        Conn::reopen(server.addr(), alice.session, 20_000)?;
        let mut wrong = Conn::dial(server.addr())?;
        let mut hello = zk_testkit::raw::hello_again(root.session, 20_000);
        hello.password = Some(b"hidden-session-pw".to_vec());
        wrong.handshake(&hello)?;
        ensure!(tls::is_let_in(
            &authority,
            (server.addr().ip(), secure).into(),
            Some(&authority.file("server.pem"))
        )?);

        // Everything that is said.
        for word in [
            "conf", "cons", "dump", "envi", "ruok", "srvr", "stat", "mntr", "wchs", "wchc", "wchp", "dirs",
            "isro", "gtmk", "hash", "crst", "srst", "lsnp", "icfg",
        ] {
            secrets.are_not_in(word, &four_letter(server.addr(), word).unwrap_or_default())?;
        }
        let index = http::get(admin, "/commands")?.text();
        secrets.are_not_in("the list of commands", &index)?;
        let basic = format!("digest {SUPER}");
        for command in [
            "configuration",
            "connections",
            "dirs",
            "dump",
            "environment",
            "get_trace_mask",
            "hash",
            "initial_configuration",
            "is_read_only",
            "last_snapshot",
            "leader",
            "monitor",
            "observers",
            "ruok",
            "server_stats",
            "stats",
            "system_properties",
            "voting_view",
            "watch_summary",
            "watches",
            "watches_by_path",
            "zabstate",
            "no/such?x=1",
        ] {
            let answer = ask(admin, "GET", command, &[("Authorization", &basic)]);
            ensure!(answer.status == 200, "{command}");
            secrets.are_not_in(command, &answer.text())?;
        }
        for (method, command, auth) in [
            ("POST", "restore", "digest super:hidden-guess"),
            ("GET", "snapshot", "sasl hidden-guess"),
            ("POST", "restore", &basic),
            ("GET", "hidden", "hidden-guess"),
        ] {
            let answer = ask(admin, method, command, &[("Authorization", auth)]);
            // A command's name comes back, that is not one.
            secrets.are_not_in(command, &answer.text().replace("hidden\"", "\""))?;
        }
        for (at, path) in
            [(admin, "/metrics"), ((server.addr().ip(), page).into(), "/metrics"), (admin, "/readyz")]
        {
            secrets.are_not_in(path, &http::get(at, path)?.text())?;
        }
        let zoo_cfg = server.home().join("zoo.cfg").display().to_string();
        for args in [&["config", "check", &zoo_cfg][..], &["config", "check", "--json", &zoo_cfg]] {
            let out = Command::new(zkd_binary()?)
                .args(args)
                .env("SERVER_JVMFLAGS", "-Dzookeeper.SASLAuthenticationProvider.superPassword=hidden-flag -Djavax.net.ssl.trustStorePassword=hidden-flag")
                .output()?;
            let text = [out.stdout, out.stderr].concat();
            ensure!(text.len() > 500, "{}", String::from_utf8_lossy(&text));
            secrets.are_not_in(&args.join(" "), &String::from_utf8_lossy(&text))?;
        }
        server.signal(nix::sys::signal::Signal::SIGHUP)?;
        alice.close().ok();
        server.stop()?;
        let log = server.log();
        ensure!(log.contains("operation=") && log.contains("DEBUG"), "{log}");
        secrets.are_not_in("the log", &log)?;
    }
    Ok(())
}
