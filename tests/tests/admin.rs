//! The admin port: snapshots in both directions between Java and zkd, who may ask for them, and
//! probes that tell the truth.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, composition};
use zk_testkit::http::{self, Answer};
use zk_testkit::process::{Config, JavaWithAdmin, Launcher, SUPER, Server, Zkd, free_port};
use zk_testkit::raw::{Conn, PATIENCE};
use zk_testkit::request::{OPEN, RawAcl};

use crate::support::{eventually, until};

/// A configuration whose server has an admin port, and where that is.
pub fn with_admin(config: Config) -> (Config, SocketAddr) {
    let port = free_port().expect("a port");
    let config = config
        .line("admin.enableServer", true)
        .line("admin.serverAddress", Ipv4Addr::LOCALHOST)
        .line("admin.serverPort", port)
        .line("admin.rateLimiterIntervalInMS", 1);
    (config, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn start(launcher: &'static dyn Launcher) -> (Server, SocketAddr) {
    let (config, admin) = with_admin(Config::default());
    (Server::start(launcher, config).expect("it starts"), admin)
}

fn ask(admin: SocketAddr, method: &str, command: &str, auth: Option<&str>, body: &[u8]) -> Answer {
    let headers: Vec<_> = auth.iter().map(|a| ("Authorization", *a)).collect();
    // The interval of the limiters has passed.
    std::thread::sleep(Duration::from_millis(5));
    http::request(admin, method, &format!("/commands/{command}"), &headers, body).expect("an answer")
}

fn acl<'a>(perms: i32, scheme: &'a str, id: &'a str) -> RawAcl<'a> {
    (perms, Some(scheme.as_bytes()), Some(id.as_bytes()))
}

fn super_auth() -> String {
    format!("digest {SUPER}")
}

#[test]
fn snapshots_go_from_one_to_the_other() {
    let auth = super_auth();
    for (from, to) in
        [(&JavaWithAdmin as &'static dyn Launcher, &Zkd as &dyn Launcher), (&Zkd, &JavaWithAdmin)]
    {
        let (source, source_admin) = start(from);
        let mut c = Conn::open(source.addr(), 30_000).unwrap();
        c.create("/kept", b"data", OPEN, 0).unwrap();
        c.create("/kept/e", b"", OPEN, 1).unwrap();
        let taken = ask(source_admin, "GET", "snapshot", Some(&auth), b"");
        assert_eq!((taken.status, taken.header("content-type")), (200, Some("application/octet-stream")));
        assert_eq!(taken.header("snapshot_size"), Some(taken.body.len().to_string().as_str()));
        assert_eq!(taken.header("last_zxid"), Some("0x3"));

        let launcher: &'static dyn Launcher = if to.name() == "java" { &JavaWithAdmin } else { &Zkd };
        let (target, target_admin) = start(launcher);
        let mut old = Conn::open(target.addr(), 30_000).unwrap();
        (0..5).for_each(|i| drop(old.create(&format!("/gone-{i}"), b"", OPEN, 0).unwrap()));
        let done = ask(target_admin, "POST", "restore", Some(&auth), &taken.body);
        assert_eq!(done.status, 200, "{}", done.text());
        assert!(done.text().contains("\"last_zxid\" : 3,"), "{}", done.text());
        let mut c = Conn::open(target.addr(), 30_000).unwrap();
        assert_eq!(c.get_data("/kept", false).unwrap().0.as_deref(), Some(&b"data"[..]));
        assert!(c.exists("/kept/e", false).unwrap().is_some(), "its session is open");
        assert!(c.exists("/gone-0", false).unwrap().is_none());
    }
}

#[test]
fn a_restored_server_goes_on_and_starts_again() {
    let auth = super_auth();
    let (mut server, admin) = start(&Zkd);
    let mut c = Conn::open(server.addr(), 30_000).unwrap();
    c.create("/a", b"1", OPEN, 0).unwrap();
    c.create("/e", b"", OPEN, 1).unwrap();
    let taken = ask(admin, "GET", "snap", Some(&auth), b"");
    c.set_data("/a", b"2", -1).unwrap();
    c.create("/later", b"", OPEN, 0).unwrap();
    // What is no snapshot changes nothing, and the client stays.
    let mut torn = taken.body.clone();
    torn[100] ^= 1;
    for bad in [&b"junk"[..], &taken.body[..taken.body.len() - 9], &torn] {
        assert_eq!(ask(admin, "POST", "restore", Some(&auth), bad).status, 500);
    }
    assert!(c.exists("/later", false).unwrap().is_some());

    let session = c.session;
    assert_eq!(ask(admin, "POST", "restore", Some(&auth), &taken.body).status, 200);
    assert!(c.closes_within(PATIENCE).unwrap(), "its client was closed");
    // The session is in the snapshot, so it goes on.
    let mut again = Conn::reopen(server.addr(), session, 30_000).unwrap();
    assert!(again.exists("/e", false).unwrap().is_some());
    let mut fresh = Conn::open(server.addr(), 30_000).unwrap();
    assert_ne!(fresh.session, session);
    assert_eq!(fresh.get_data("/a", false).unwrap().0.as_deref(), Some(&b"1"[..]));
    assert!(fresh.exists("/later", false).unwrap().is_none());
    fresh.create("/after", b"", OPEN, 0).unwrap();
    server.kill().unwrap();
    server.restart().unwrap();
    let mut c = Conn::open(server.addr(), 30_000).unwrap();
    assert_eq!(c.get_data("/a", false).unwrap().0.as_deref(), Some(&b"1"[..]));
    assert!(c.exists("/after", false).unwrap().is_some() && c.exists("/later", false).unwrap().is_none());
    assert!(server.word("mntr").unwrap().contains("zk_digest_mismatches_count\t0\n"));
}

#[test]
fn only_who_may_do_all_to_the_root_gets_a_snapshot() {
    for launcher in [&JavaWithAdmin as &'static dyn Launcher, &Zkd] {
        let (server, admin) = start(launcher);
        let mut c = Conn::open(server.addr(), 30_000).unwrap();
        assert_eq!(c.auth("digest", b"root:pw").unwrap(), 0);
        let all = acl(31, "auth", "");
        let most = acl(15, "digest", "some:Rd2oeOzoVZxJXkBBEHnUnzVGdqQ=");
        c.set_acl("/", &[all, most], -1).unwrap();
        let status = |auth: Option<&str>| ask(admin, "GET", "snapshot", auth, b"").status;
        let name = launcher.name();
        assert_eq!(status(None), 401, "{name}");
        assert_eq!(status(Some("digest")), 401, "{name}");
        assert_eq!(status(Some("digest a b")), 401, "{name}");
        assert_eq!(status(Some("kerberos x")), 401, "{name}");
        assert_eq!(status(Some("digest other:pw")), 403, "{name}");
        assert_eq!(status(Some("ip 127.0.0.1")), 403, "{name}");
        assert_eq!(status(Some("digest root:pw")), 200, "{name}");
        assert_eq!(status(Some(&super_auth())), 200, "{name}");
        assert_eq!(ask(admin, "POST", "restore", Some("digest other:pw"), b"").status, 403, "{name}");
    }
}

#[test]
fn a_root_that_is_open_to_all_permits_no_restore() {
    let (server, admin) = start(&Zkd);
    let taken = ask(admin, "GET", "snapshot", Some("digest a:b"), b"");
    assert_eq!(taken.status, 200, "as in Java");
    assert_eq!(ask(admin, "POST", "restore", Some("digest a:b"), &taken.body).status, 403);
    assert_eq!(ask(admin, "POST", "restore", Some("ip x"), &taken.body).status, 403);
    let forged = [("Authorization", "ip x"), ("X-Forwarded-For", "10.0.0.1")];
    let mut c = Conn::open(server.addr(), 30_000).unwrap();
    c.set_acl("/", &[acl(31, "ip", "10.0.0.1")], -1).unwrap();
    assert_eq!(http::request(admin, "GET", "/commands/snapshot", &forged, b"").unwrap().status, 403);
}

#[test]
fn probes_tell_the_truth_by_their_code() {
    let list = composition("zkd,zkd,zkd").unwrap();
    let mut e = Ensemble::prepare(&list, ensemble::config()).unwrap();
    let mut admins = Vec::new();
    for i in 0..3 {
        let (config, admin) = with_admin(e.config_mut(i).clone());
        *e.config_mut(i) = config;
        admins.push(admin);
    }
    e.start_all().unwrap();
    e.wait_all_serving(ELECTION).unwrap();
    let codes = |i: usize| {
        ["/livez", "/readyz", "/startupz", "/metrics", "/commands/ruok"]
            .map(|path| http::get(admins[i], path).map_or(0, |a| a.status))
    };
    for i in 0..3 {
        until(&format!("member {} is ready", i + 1), || codes(i) == [200; 5]).unwrap();
    }
    assert_eq!(ask(admins[0], "POST", "restore", Some(&super_auth()), b"").status, 409);
    e.stop(1).unwrap();
    e.stop(2).unwrap();
    // Java's command says 200 with an error in it, and so does ours.
    until("a member without a quorum is not ready", || codes(0) == [200, 503, 200, 200, 200]).unwrap();
    eventually(|| {
        let ruok = http::get(admins[0], "/commands/ruok")?.text();
        ensure!(ruok.contains("not currently serving"), "{ruok}");
        let page = http::get(admins[0], "/metrics")?.text();
        ensure!(page.contains("\nzkd_serving 0\n") && page.contains("\nzkd_ready 0\n"), "{page}");
        ensure!(!page.contains("\nznode_count ") && page.contains("\nlooking_count "), "{page}");
        Ok(())
    })
    .unwrap();
    e.restart(1).unwrap();
    until("it is ready again", || codes(0) == [200; 5]).unwrap();
}

#[test]
fn paths_and_methods() {
    let (_server, admin) = start(&Zkd);
    let status = |method: &str, path: &str| {
        let a = http::request(admin, method, path, &[], b"").with_context(|| path.to_owned());
        a.unwrap().status
    };
    assert_eq!(status("GET", "/"), 404);
    assert_eq!(status("GET", "/commandsx"), 404);
    assert_eq!(status("GET", "/commands/"), 200);
    assert_eq!(status("POST", "/commands"), 200);
    assert_eq!(status("GET", "/commands/no/such"), 200);
    assert_eq!(status("PUT", "/commands/conf"), 405);
    assert_eq!(status("TRACE", "/commands/conf"), 403);
    assert_eq!(status("PATCH", "/commands/conf"), 501);
    assert_eq!(status("OPTIONS", "/commands/conf"), 200);
    assert_eq!(status("POST", "/commands/conf"), 405);
    let head = http::request(admin, "HEAD", "/commands/conf", &[], b"").unwrap();
    assert!(head.status == 200 && head.body.is_empty());
    assert_eq!(status("GET", "/commands/stmk?traceMask=5"), 200);
    assert!(http::get(admin, "/commands/gtmk").unwrap().text().contains("\"tracemask\" : 5,"));
}
