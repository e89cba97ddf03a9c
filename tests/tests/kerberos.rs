//! Logins with Kerberos tickets of a KDC that the tests run on loopback: clients and members, with the
//! reference on the other side. Every row runs against the reference as well.
//!
//! The library knows one configuration a process, by its environment. So each test runs itself anew
//! with its own (see [`with_kdc`]).

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use zk_gssapi::{Context, Credentials};
use zk_proto::{ErrorCode, OpCode};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, composition};
use zk_testkit::process::{Config, Server, Zkd, free_port, zk_cli_with};
use zk_testkit::raw::{Conn, Incoming, PATIENCE};
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN};

use crate::sasl::{PROVIDER, create, expect_failure, identities, open, pair, say};
use crate::support::{Row, both, check_rows};

const REALM: &str = "ZKD.TEST";
/// One that the servers do not know, with the same names in it.
const OTHER: &str = "OTHER.TEST";
const SERVICE: &str = "zookeeper/localhost";

/// Where programs for administrators are, whoever runs the tests.
fn tool(name: &str) -> Command {
    Command::new(format!("/usr/sbin/{name}"))
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// A KDC for two realms, and keytabs.
struct Kdc {
    dir: PathBuf,
    process: Option<Child>,
}

impl Kdc {
    /// Starts one with its files in `dir`.
    fn start(dir: &Path) -> anyhow::Result<Self> {
        let mut kdc = Self::of(dir);
        let port = free_port()?;
        let realms = [REALM, OTHER];
        let here = dir.display();
        let clients: String = realms.map(|r| format!(" {r} = {{\n  kdc = 127.0.0.1:{port}\n }}\n")).concat();
        let conf = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_realm = false\n dns_lookup_kdc = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n[realms]\n{clients}"
        );
        std::fs::write(kdc.conf(), conf)?;
        let own = realms.map(|r| {
            format!(" {r} = {{\n  database_name = {here}/{r}\n  key_stash_file = {here}/{r}.stash\n }}\n")
        });
        let profile = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n{}",
            own.concat()
        );
        std::fs::write(dir.join("kdc.conf"), profile)?;
        for realm in realms {
            done(kdc.command("kdb5_util").args(["-r", realm, "create", "-s", "-P", "master"]))?;
            for name in [SERVICE, "other/localhost", "bob", "kim", "svc/host.a"] {
                kdc.add(realm, name)?;
            }
        }
        let log = std::fs::File::create(dir.join("log"))?;
        let mut command = kdc.command("krb5kdc");
        command.args(["-n", "-r", REALM, "-r", OTHER, "-P"]).arg(dir.join("pid"));
        kdc.process = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < deadline, "the KDC does not listen, see {here}/log");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(kdc)
    }

    /// The one with its files in `dir`, which somebody else runs.
    fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), process: None }
    }

    fn conf(&self) -> PathBuf {
        self.dir.join("krb5.conf")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = tool(name);
        command.env("KRB5_CONFIG", self.conf()).env("KRB5_KDC_PROFILE", self.dir.join("kdc.conf"));
        command
    }

    /// A principal with a random key, which is in its keytab.
    fn add(&self, realm: &str, name: &str) -> anyhow::Result<()> {
        let principal = format!("{name}@{realm}");
        self.admin(realm, &format!("addprinc -randkey {principal}"))?;
        self.admin(realm, &format!("ktadd -k {} {principal}", self.keytab(realm, name).display()))
    }

    fn admin(&self, realm: &str, query: &str) -> anyhow::Result<()> {
        done(self.command("kadmin.local").args(["-r", realm, "-q", query]))
    }

    fn keytab(&self, realm: &str, name: &str) -> PathBuf {
        self.dir.join(format!("{}.{realm}.keytab", name.replace('/', "-")))
    }

    /// A section of Java's file of logins.
    fn section(&self, section: &str, realm: &str, name: &str) -> String {
        format!(
            "{section} {{\n  com.sun.security.auth.module.Krb5LoginModule required\n  useKeyTab=true\n  \
             keyTab=\"{}\"\n  storeKey=true\n  useTicketCache=false\n  principal=\"{name}@{realm}\";\n}};\n",
            self.keytab(realm, name).display()
        )
    }

    fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// For a server.
    fn config(&self, config: Config, logins: &Path) -> Config {
        config
            .line("authProvider.1", PROVIDER)
            .property("java.security.auth.login.config", logins.display())
            .property("java.security.krb5.conf", self.conf().display())
    }

    fn server(&self) -> anyhow::Result<Config> {
        let logins = self.file("server.conf", &self.section("Server", REALM, SERVICE))?;
        Ok(self.config(Config::default(), &logins))
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Runs the test of this name once more, in a process whose Kerberos is that of a new KDC, and there
/// does the work.
fn with_kdc(name: &str, work: fn(&Kdc) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if let Some(dir) = std::env::var_os("ZKD_TEST_KDC") {
        return work(&Kdc::of(Path::new(&dir)));
    }
    let dir = TempDir::new()?;
    let kdc = Kdc::start(dir.path())?;
    let mut inside = Command::new(std::env::current_exe()?);
    inside.args([&format!("kerberos::{name}"), "--exact", "--nocapture"]);
    inside.env("ZKD_TEST_KDC", dir.path()).env("KRB5_CONFIG", kdc.conf());
    let output = inside.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && said.contains("1 passed"), "{said}");
    Ok(())
}

/// The KDC of the process.
fn kdc() -> Kdc {
    Kdc::of(Path::new(&std::env::var_os("ZKD_TEST_KDC").expect("rows run inside")))
}

/// The dialling side of one login.
struct Client {
    own: Credentials,
    context: Context,
    target: String,
}

impl Client {
    fn new(realm: &str, name: &str, service: &str) -> anyhow::Result<Self> {
        let own = Credentials::initiate(&format!("{name}@{realm}"), Some(&kdc().keytab(realm, name)))?;
        Ok(Self { own, context: Context::new()?, target: format!("{service}@{realm}") })
    }

    /// The ticket.
    fn first(&mut self) -> anyhow::Result<Vec<u8>> {
        Ok(self.context.initiate(&self.own, &self.target, b"")?.token)
    }

    /// The choice of a layer, behind the ticket, which was answered by `proof`.
    fn choice(&mut self, c: &mut Conn, proof: &[u8], choice: &[u8]) -> anyhow::Result<Vec<u8>> {
        let step = self.context.initiate(&self.own, &self.target, proof)?;
        ensure!(step.is_complete && step.token.is_empty(), "{step:?}");
        let offer = self.context.unwrap(&token(c, b"")?.context("no offer")?)?;
        ensure!(offer.len() == 4 && offer[0] == 1, "{offer:?}");
        Ok(self.context.wrap(choice)?)
    }
}

fn token(c: &mut Conn, said: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    match say(c, said)?.ok()? {
        Body::Token(token) => Ok(token),
        other => bail!("{other:?} is no token"),
    }
}

/// A connection on which this principal has logged in.
fn log_in_as(server: &Server, name: &str, choice: &[u8]) -> anyhow::Result<Conn> {
    let mut c = open(server)?;
    let mut client = Client::new(REALM, name, SERVICE)?;
    let proof = token(&mut c, &client.first()?)?.context("no proof")?;
    let choice = client.choice(&mut c, &proof, choice)?;
    ensure!(token(&mut c, &choice)?.is_none(), "there is something more to say");
    Ok(c)
}

fn log_in(server: &Server, name: &str) -> anyhow::Result<Conn> {
    log_in_as(server, name, &[1, 0, 0, 0])
}

fn is_refused(server: &Server, said: &[u8]) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let reply = say(&mut c, said)?;
    expect_failure(c, &reply, ErrorCode::AuthFailed)
}

#[test]
fn clients() -> anyhow::Result<()> {
    with_kdc("clients", |kdc| {
        let rows: &[Row] = &[
            ("a ticket", a_ticket),
            ("a name to act under", acting_under),
            ("a ticket once more", replay),
            ("tickets for others", tickets_for_others),
            ("a layer that was not offered", another_layer),
            ("what is no ticket", no_ticket),
            ("a second login on a connection", second_login),
            ("requests behind a login", requests_behind),
        ];
        check_rows(&kdc.server()?.line("superUser.1", format!("kim@{REALM}")), rows);
        Ok(())
    })
}

fn a_ticket(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in(server, "bob")?;
    ensure!(identities(&mut c)? == [pair("sasl", "bob@ZKD.TEST")]);
    let auth = (31, Some(b"auth".as_slice()), Some(b"".as_slice()));
    ensure!(create(&mut c, "/of-bob", &[auth])? == ErrorCode::Ok);
    let mut c = log_in(server, "svc/host.a")?;
    ensure!(identities(&mut c)? == [pair("sasl", "svc/host.a@ZKD.TEST")]);
    let get = |c: &mut Conn| {
        let body = request::path_bool(Some(b"/of-bob"), false);
        anyhow::Ok(c.call(OpCode::GetData, &body)?.code())
    };
    ensure!(get(&mut c)? == ErrorCode::NoAuth);
    let mut c = log_in(server, "kim")?;
    ensure!(identities(&mut c)? == [pair("sasl", "kim@ZKD.TEST"), pair("super", "")]);
    ensure!(get(&mut c)? == ErrorCode::Ok);
    Ok(())
}

fn acting_under(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in_as(server, "bob", b"\x01\0\0\0kim@ZKD.TEST")?;
    ensure!(identities(&mut c)? == [pair("sasl", "bob@ZKD.TEST")]);
    Ok(())
}

/// What was overheard opens nothing: neither the ticket nor what came behind it.
fn replay(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let mut client = Client::new(REALM, "bob", SERVICE)?;
    let ticket = client.first()?;
    let proof = token(&mut c, &ticket)?.context("no proof")?;
    client.choice(&mut c, &proof, &[1, 0, 0, 0])?;
    is_refused(server, &ticket).context("the ticket")?;

    let mut overheard = open(server)?;
    let mut client = Client::new(REALM, "bob", SERVICE)?;
    let proof = token(&mut overheard, &client.first()?)?.context("no proof")?;
    let choice = client.choice(&mut overheard, &proof, &[1, 0, 0, 0])?;
    let mut c = open(server)?;
    let mut client = Client::new(REALM, "bob", SERVICE)?;
    let proof = token(&mut c, &client.first()?)?.context("no proof")?;
    client.choice(&mut c, &proof, &[1, 0, 0, 0])?;
    let reply = say(&mut c, &choice)?;
    expect_failure(c, &reply, ErrorCode::AuthFailed)
}

fn tickets_for_others(server: &Server) -> anyhow::Result<()> {
    is_refused(server, &Client::new(REALM, "bob", "other/localhost")?.first()?).context("another service")?;
    // The KDC of the other realm has given it, for a service of the same name.
    is_refused(server, &Client::new(OTHER, "bob", SERVICE)?.first()?).context("another realm")
}

fn another_layer(server: &Server) -> anyhow::Result<()> {
    for choice in [b"\x02\0\0\0".as_slice(), b"\x04\0\x10\0", b"\0\0\0\0", b"\x01\0\0"] {
        let mut c = open(server)?;
        let mut client = Client::new(REALM, "bob", SERVICE)?;
        let proof = token(&mut c, &client.first()?)?.context("no proof")?;
        let choice = client.choice(&mut c, &proof, choice)?;
        // With less than four bytes the reference stumbles.
        c.send(OpCode::Sasl, &request::path(Some(&choice)))?;
        let mut closed = false;
        while !closed {
            match c.incoming(PATIENCE)? {
                Incoming::Closed => closed = true,
                Incoming::Frame(frame) => ensure!(!frame.ends_with(&[0; 4]), "{choice:?}: {frame:?}"),
                other => bail!("{choice:?}: {other:?}"),
            }
        }
    }
    Ok(())
}

fn no_ticket(server: &Server) -> anyhow::Result<()> {
    is_refused(server, b"").context("nothing")?;
    is_refused(server, b"charset=utf-8,username=\"bob\"").context("DIGEST-MD5")?;
    let mut cut = Client::new(REALM, "bob", SERVICE)?.first()?;
    cut.pop();
    is_refused(server, &cut).context("one byte less")?;
    is_refused(server, &[0x60; 10_000]).context("a long one")
}

fn second_login(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in(server, "bob")?;
    let reply = say(&mut c, &Client::new(REALM, "kim", SERVICE)?.first()?)?;
    expect_failure(c, &reply, ErrorCode::AuthFailed)
}

/// What stands behind a token in the same bytes waits for what comes of it.
fn requests_behind(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let mut client = Client::new(REALM, "bob", SERVICE)?;
    let proof = token(&mut c, &client.first()?)?.context("no proof")?;
    let choice = client.choice(&mut c, &proof, &[1, 0, 0, 0])?;
    let login = c.send(OpCode::Sasl, &request::path(Some(&choice)))?;
    let question = c.send(OpCode::WhoAmI, &[])?;
    ensure!(matches!(c.reply_to(login, OpCode::Sasl)?.ok()?, Body::Token(None)));
    let Body::Clients(Some(list)) = c.reply_to(question, OpCode::WhoAmI)?.ok()? else { bail!("no list") };
    ensure!(list.iter().any(|(_, name)| name.as_deref() == Some(b"bob@ZKD.TEST")), "{list:?}");
    Ok(())
}

#[test]
fn names() -> anyhow::Result<()> {
    with_kdc("names", |kdc| {
        // It has the realm of the configuration.
        let text = kdc.section("Server", REALM, SERVICE).replace(&format!("{SERVICE}@{REALM}"), SERVICE);
        let logins = kdc.file("short.conf", &text)?;
        let short = kdc
            .config(Config::default(), &logins)
            .property("zookeeper.kerberos.removeHostFromPrincipal", true)
            .property("zookeeper.kerberos.removeRealmFromPrincipal", true);
        let rule = "RULE:[2:$1-at-$2](.*host.*)s/host/machine/DEFAULT";
        let ruled = kdc.server()?.property("zookeeper.security.auth_to_local", rule);
        for launcher in both() {
            for (config, bob, service) in
                [(&short, "bob", "svc"), (&ruled, "bob@ZKD.TEST", "svc-at-machine.a/host.a@ZKD.TEST")]
            {
                let server = Server::start(launcher, config.clone())?;
                for (principal, name) in [("bob", bob), ("svc/host.a", service)] {
                    let found = identities(&mut log_in(&server, principal)?)?;
                    ensure!(found == [pair("sasl", name)], "{}: {found:?}", launcher.name());
                }
            }
        }
        Ok(())
    })
}

#[test]
fn logins_that_are_required() -> anyhow::Result<()> {
    with_kdc("logins_that_are_required", |kdc| {
        let rows: &[Row] = &[("with and without a ticket", required)];
        check_rows(&kdc.server()?.property("zookeeper.sessionRequireClientSASLAuth", true), rows);
        Ok(())
    })
}

fn required(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let reply = c.call(OpCode::Exists, &request::path_bool(Some(b"/"), false))?;
    ensure!(reply.code() == ErrorCode::SessionClosedRequireSaslAuth, "{reply:?}");
    let mut c = open(server)?;
    let reply = say(&mut c, b"x")?;
    expect_failure(c, &reply, ErrorCode::SessionClosedRequireSaslAuth)?;
    ensure!(create(&mut log_in(server, "bob")?, "/required", OPEN)? == ErrorCode::Ok);
    Ok(())
}

/// The reference's own client, with its own file of logins: with the right key and with an old one.
#[test]
fn the_references_client() -> anyhow::Result<()> {
    with_kdc("the_references_client", |kdc| {
        kdc.add(REALM, "eve")?;
        let eve = kdc.keytab(REALM, "eve");
        let old = eve.with_extension("old");
        std::fs::copy(&eve, &old)?;
        kdc.admin(REALM, &format!("cpw -randkey eve@{REALM}"))?;
        let text = kdc.section("Client", REALM, "eve");
        let wrong = kdc.file("eve.conf", &text.replace(&*eve.to_string_lossy(), &old.to_string_lossy()))?;
        let right = kdc.file("bob.conf", &kdc.section("Client", REALM, "bob"))?;
        let properties = |logins: &Path| {
            vec![
                format!("java.security.auth.login.config={}", logins.display()),
                format!("java.security.krb5.conf={}", kdc.conf().display()),
                format!("zookeeper.server.principal={SERVICE}"),
            ]
        };
        let lines = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        for launcher in both() {
            let server = Server::start(launcher, kdc.server()?)?;
            let said = lines(&[
                "create /mine secret sasl:bob@ZKD.TEST:cdrwa",
                "getAcl /mine",
                "get /mine",
                "whoami",
            ]);
            let text = zk_cli_with(server.addr(), &properties(&right), &said)?;
            for expected in ["Created /mine", "'sasl,'bob@ZKD.TEST", "\nsecret", "sasl: bob@ZKD.TEST"] {
                ensure!(text.contains(expected), "{}: no {expected} in\n{text}", launcher.name());
            }
            let text = zk_cli_with(server.addr(), &properties(&wrong), &lines(&["whoami"]))?;
            ensure!(!text.contains("sasl: "), "{}:\n{text}", launcher.name());
        }
        Ok(())
    })
}

/// Members that log in to each other by tickets, each kind as the leader once; and who may not.
/// CVE-2023-44981: in Java a principal without a host passed.
#[test]
fn cve_2023_44981_members_have_tickets_for_their_hosts() -> anyhow::Result<()> {
    with_kdc("cve_2023_44981_members_have_tickets_for_their_hosts", |kdc| {
        for name in ["zkquorum/127.0.0.1", "learner/127.0.0.1", "learner/elsewhere", "eve"] {
            kdc.add(REALM, name)?;
        }
        let logins = |learner: &str| {
            let server = kdc.section("QuorumServer", REALM, "zkquorum/127.0.0.1");
            let file = format!("{}.conf", learner.replace('/', "-"));
            kdc.file(&file, &(server + &kdc.section("QuorumLearner", REALM, learner)))
        };
        let mut config = kdc.config(ensemble::config(), &logins("learner/127.0.0.1")?);
        for switch in ["enableSasl", "learnerRequireSasl", "serverRequireSasl"] {
            config = config.line(&format!("quorum.auth.{switch}"), true);
        }
        let config = config.line("quorum.auth.kerberos.servicePrincipal", "zkquorum/_HOST");
        for list in ["java,zkd,zkd", "zkd,zkd,java"] {
            let ensemble = Ensemble::start(&composition(list)?, config.clone()).context(list)?;
            Conn::open(ensemble.addr(0), 20_000)?.create("/tickets", b"x", OPEN, 0)?;
            for i in 0..3 {
                let mut conn = Conn::open(ensemble.addr(i), 20_000)?;
                conn.sync("/tickets")?;
                ensure!(conn.get_data("/tickets", false)?.0.as_deref() == Some(b"x"), "{list}: {}", i + 1);
            }
        }
        let mut ensemble = Ensemble::prepare(&composition("zkd,zkd,zkd")?, config)?;
        ensemble.spawn(1)?;
        ensemble.spawn(2)?;
        ensemble.wait_leader(ELECTION)?;
        // One without a host, one from elsewhere, one whose ticket is not for a member.
        for (learner, service, why) in [
            ("eve", "zkquorum/_HOST", "eve@ZKD.TEST is not at the host of a member"),
            (
                "learner/elsewhere",
                "zkquorum/_HOST",
                "learner/elsewhere@ZKD.TEST is not at the host of a member",
            ),
            ("learner/127.0.0.1", "other/localhost", "take the ticket"),
        ] {
            let own = ensemble.config_mut(0);
            *own = own
                .clone()
                .line("quorum.auth.kerberos.servicePrincipal", service)
                .property("java.security.auth.login.config", logins(learner)?.display());
            let seen = |e: &Ensemble| (1..3).any(|i| e.log(i).contains(why));
            ensemble.spawn(0)?;
            ensemble.wait(why, ELECTION, seen)?;
            ensure!(ensemble.role(0).is_none(), "it serves: {why}");
            ensemble.kill(0)?;
        }
        Ok(())
    })
}

/// What is wrong with a server's own key is said at the start.
#[test]
fn a_server_without_its_key() -> anyhow::Result<()> {
    with_kdc("a_server_without_its_key", |kdc| {
        let missing = kdc.section("Server", REALM, "nobody/localhost");
        let other = missing.replace("nobody-localhost", "bob");
        for (text, why) in
            [(missing, "nobody/localhost@ZKD.TEST: read the keytab"), (other, "No key table entry")]
        {
            let logins = kdc.file("wrong.conf", &text)?;
            let mut server = Server::prepare(&Zkd, kdc.config(Config::default(), &logins))?;
            server.spawn()?;
            let status = server.wait_exit(Duration::from_secs(60))?;
            ensure!(status.code() == Some(2) && server.log().contains(why), "{status}: {}", server.log());
        }
        Ok(())
    })
}
