//! Clients that log in by SASL with DIGEST-MD5: outcomes of an exchange byte by byte, ACLs of such
//! users, and what is enforced. Every row runs against the reference as well.
//!
//! Not here: Kerberos, SASL between members.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};
use md5::{Digest, Md5};
use tempfile::TempDir;
use zk_proto::{ErrorCode, OpCode, Xid};
use zk_testkit::ensemble::{self, ELECTION, Ensemble, composition};
use zk_testkit::process::{Config, Server, zk_cli_with};
use zk_testkit::raw::{Conn, Incoming, PATIENCE, Reply};
use zk_testkit::reply::Body;
use zk_testkit::request::{self, OPEN, RawAcl};

use crate::support::{Row, both, check_rows, ensembles};

pub const PROVIDER: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

/// Logins of the servers and of Java's client, in a directory that goes with this.
struct Logins(TempDir);

impl Logins {
    fn new() -> anyhow::Result<Self> {
        let logins = Self(tempfile::tempdir()?);
        let section = |name: &str, options: &str| {
            format!(
                "{name} {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n{options};\n}};\n"
            )
        };
        let users = "// Comments are taken.\n  user_super=\"of super\" user_bob=\"bob's \\\"secret\\\"\"\n  \
                     user_eve=evepw user_kim=\"kimpw\" \"user_bob@REALM\"=\"r\" \"user_a@b@c\"=\"r\" user_zoë=\"€ë\"";
        std::fs::write(logins.server(), section("Server", users))?;
        for (name, password) in [("bob", "bob's \\\"secret\\\""), ("eve", "wrong")] {
            let options = format!("username={name} password=\"{password}\"");
            std::fs::write(logins.client(name), section("Client", &options))?;
        }
        Ok(logins)
    }

    fn server(&self) -> PathBuf {
        self.0.path().join("server.conf")
    }

    fn client(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.conf"))
    }

    fn config(&self) -> Config {
        Config::default().property("java.security.auth.login.config", self.server().display())
    }
}

const BOB: (&str, &str) = ("bob", "bob's \"secret\"");

/// What a client says in the second step. RFC 2831, 2.1.2.
struct Response {
    user: &'static str,
    password: &'static str,
    realm: &'static str,
    nonce: String,
    uri: &'static str,
    qop: &'static str,
    authzid: Option<&'static str>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// ISO 8859-1 where it is possible.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(u8::try_from).collect::<Result<_, _>>().unwrap_or_else(|_| text.as_bytes().to_vec())
}

impl Response {
    fn new((user, password): (&'static str, &'static str), nonce: &str) -> Self {
        let (realm, uri) = ("zk-sasl-md5", "zookeeper/zk-sasl-md5");
        Self { user, password, realm, nonce: nonce.to_owned(), uri, qop: "auth", authzid: None }
    }

    fn value(&self, method: &str) -> String {
        let who = [latin(self.user), latin(self.realm), latin(self.password)].join(&b':');
        let mut a1 = Md5::digest(who).to_vec();
        a1.extend(format!(":{}:cnonce", self.nonce).bytes());
        if let Some(id) = self.authzid {
            a1.extend(format!(":{id}").bytes());
        }
        let (a1, a2) = (hex(&Md5::digest(a1)), hex(&Md5::digest(format!("{method}:{}", self.uri))));
        hex(&Md5::digest(format!("{a1}:{}:00000001:cnonce:{}:{a2}", self.nonce, self.qop)))
    }

    fn text(&self) -> String {
        let authzid = self.authzid.map(|id| format!(",authzid=\"{id}\"")).unwrap_or_default();
        format!(
            "charset=utf-8,username=\"{}\",realm=\"{}\",nonce=\"{}\",nc=00000001,cnonce=\"cnonce\",digest-uri=\"{}\",\
             maxbuf=65536,response={},qop={}{authzid}",
            self.user,
            self.realm,
            self.nonce,
            self.uri,
            self.value("AUTHENTICATE"),
            self.qop
        )
    }
}

pub fn open(server: &Server) -> anyhow::Result<Conn> {
    Conn::open(server.addr(), 10_000)
}

pub fn say(c: &mut Conn, token: &[u8]) -> anyhow::Result<Reply> {
    let reply = c.call(OpCode::Sasl, &request::path(Some(token)))?;
    ensure!(reply.header.zxid.0 == 0, "{reply:?}");
    Ok(reply)
}

fn token(reply: &Reply) -> anyhow::Result<Option<String>> {
    match reply.ok()? {
        Body::Token(None) => Ok(None),
        Body::Token(Some(bytes)) => Ok(Some(String::from_utf8(bytes)?)),
        other => bail!("{other:?} is no token"),
    }
}

/// The nonce of the server's challenge.
fn challenged(c: &mut Conn) -> anyhow::Result<String> {
    let text = token(&say(c, b"")?)?.context("no token")?;
    let (before, rest) = text.split_once("nonce=\"").with_context(|| text.clone())?;
    let (nonce, after) = rest.split_once('"').with_context(|| text.clone())?;
    ensure!((before, after) == ("realm=\"zk-sasl-md5\",", ",charset=utf-8,algorithm=md5-sess"), "{text}");
    ensure!(nonce.len() == 40, "{text}");
    Ok(nonce.to_owned())
}

/// A connection on which this user has logged in.
fn log_in(server: &Server, who: (&'static str, &'static str)) -> anyhow::Result<Conn> {
    let mut c = open(server)?;
    let response = Response::new(who, &challenged(&mut c)?);
    let proof = token(&say(&mut c, response.text().as_bytes())?)?;
    ensure!(proof == Some(format!("rspauth={}", response.value(""))), "{proof:?}");
    Ok(c)
}

/// The reply says that the login failed, with an empty token, and the connection closes.
pub fn expect_failure(mut c: Conn, reply: &Reply, code: ErrorCode) -> anyhow::Result<()> {
    ensure!(reply.code() == code && reply.body == [0xff; 4], "{reply:?}");
    match c.incoming(PATIENCE)? {
        Incoming::Closed => Ok(()),
        other => bail!("{other:?} instead of a close"),
    }
}

/// The scheme and the name of each identity but the address.
pub fn identities(c: &mut Conn) -> anyhow::Result<Vec<(String, String)>> {
    let Body::Clients(Some(list)) = c.call(OpCode::WhoAmI, &[])?.ok()? else { bail!("no list") };
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default());
    let mut found = BTreeMap::new();
    for (scheme, name) in list {
        found.insert(text(scheme)?, text(name)?);
    }
    found.remove("ip");
    Ok(found.into_iter().collect())
}

pub fn pair(scheme: &str, name: &str) -> (String, String) {
    (scheme.to_owned(), name.to_owned())
}

fn acl(perms: i32, scheme: &'static str, id: &'static str) -> RawAcl<'static> {
    (perms, Some(scheme.as_bytes()), Some(id.as_bytes()))
}

pub fn create(c: &mut Conn, path: &str, acl: &[RawAcl<'_>]) -> anyhow::Result<ErrorCode> {
    let body = request::create(Some(path.as_bytes()), Some(b"data"), Some(acl), 0);
    Ok(c.call(OpCode::Create, &body)?.code())
}

fn get(c: &mut Conn, path: &str) -> anyhow::Result<ErrorCode> {
    Ok(c.call(OpCode::GetData, &request::path_bool(Some(path.as_bytes()), false))?.code())
}

#[test]
fn logins_and_acls() {
    let rows: &[Row] = &[
        ("the right password", right_password),
        ("whatever else is said", refused),
        ("a response once more", replay),
        ("an uncalled first response", uncalled),
        ("a second login on a connection", second_login),
        ("null instead of a token", null_token),
        ("the scheme sasl in an auth packet", auth_packet),
        ("a name to act under", acting_under),
        ("names with a realm", realms),
        ("row 85: ACLs", acls),
        ("super users", super_users),
    ];
    let logins = Logins::new().unwrap();
    let config = logins
        .config()
        .line("authProvider.1", PROVIDER)
        .line("superUser.1", "kim")
        .property("zookeeper.SASLAuthenticationProvider.superPassword", "other")
        .property("zookeeper.letAnySaslUserDoX", "anybody");
    check_rows(&config, rows);
}

fn right_password(server: &Server) -> anyhow::Result<()> {
    for (who, scheme) in [(BOB, "bob"), (("eve", "evepw"), "eve"), (("zoë", "€ë"), "zoë")] {
        let mut c = log_in(server, who)?;
        ensure!(identities(&mut c)? == [pair("sasl", scheme)], "{scheme}");
        c.close()?;
    }
    // A login is the connection's and not the session's.
    let c = log_in(server, BOB)?;
    let mut c = Conn::reopen(server.addr(), c.session, 10_000)?;
    ensure!(identities(&mut c)?.is_empty());
    Ok(())
}

/// What it is, and what makes it of bob's right response.
type Change = (&'static str, fn(&mut Response));

fn refused(server: &Server) -> anyhow::Result<()> {
    // Right in itself, but for another server, user or password.
    let changed: [Change; 10] = [
        ("wrong password", |r| r.password = "wrong"),
        ("empty password", |r| r.password = ""),
        ("unknown user", |r| r.user = "nobody"),
        ("unknown user, empty password", |r| (r.user, r.password) = ("nobody", "")),
        ("wrong realm", |r| r.realm = "zk-quorum-sasl-md5"),
        ("empty realm", |r| r.realm = ""),
        ("wrong service", |r| r.uri = "zookeeper-quorum/zk-sasl-md5"),
        ("wrong nonce", |r| r.nonce = "x".repeat(40)),
        ("protection that was not offered", |r| r.qop = "auth-int"),
        ("super by his password in the file", |r| (r.user, r.password) = ("super", "of super")),
    ];
    for (what, change) in changed {
        is_refused(server, |mut response| {
            change(&mut response);
            response.text()
        })
        .context(what)?;
    }
    let edited = [
        ("no cnonce", "cnonce=", "c="),
        ("no user", "username=", "name="),
        ("two realms", "qop=auth", "qop=auth,realm=\"zk-sasl-md5\""),
        ("another charset", "charset=utf-8", "charset=latin"),
    ];
    for (what, from, to) in edited {
        is_refused(server, |response| response.text().replacen(from, to, 1)).context(what)?;
    }
    is_refused(server, |_| String::new()).context("nothing")?;
    is_refused(server, |_| "x".to_owned()).context("no directives")?;
    is_refused(server, |r| format!("{},x={}", r.text(), "x".repeat(4096))).context("too much")?;
    // What is too long is not taken in the first step either.
    let mut c = open(server)?;
    let reply = say(&mut c, &[b'x'; 4097])?;
    expect_failure(c, &reply, ErrorCode::AuthFailed)
}

/// What `say_instead` makes of bob's right response is not taken.
fn is_refused(server: &Server, say_instead: impl Fn(Response) -> String) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let response = Response::new(BOB, &challenged(&mut c)?);
    let (session, reply) = (c.session, say(&mut c, say_instead(response).as_bytes())?);
    expect_failure(c, &reply, ErrorCode::AuthFailed)?;
    // The session survives.
    Conn::reopen(server.addr(), session, 10_000)?.close()?;
    Ok(())
}

fn replay(server: &Server) -> anyhow::Result<()> {
    let mut first = open(server)?;
    let response = Response::new(BOB, &challenged(&mut first)?).text();
    token(&say(&mut first, response.as_bytes())?)?.context("no proof")?;
    let reply = say(&mut first, response.as_bytes())?;
    expect_failure(first, &reply, ErrorCode::AuthFailed)?;
    let mut second = open(server)?;
    challenged(&mut second)?;
    let reply = say(&mut second, response.as_bytes())?;
    expect_failure(second, &reply, ErrorCode::AuthFailed)
}

fn uncalled(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let text = token(&say(&mut c, b"anything")?)?;
    ensure!(text.as_deref().is_some_and(|t| t.starts_with("realm=\"zk-sasl-md5\"")), "{text:?}");
    Ok(())
}

fn second_login(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in(server, BOB)?;
    let reply = say(&mut c, b"")?;
    expect_failure(c, &reply, ErrorCode::AuthFailed)
}

fn null_token(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    c.send(OpCode::Sasl, &request::path(None))?;
    ensure!(matches!(c.incoming(PATIENCE)?, Incoming::Closed));
    Ok(())
}

fn auth_packet(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let reply = c.call(OpCode::Auth, &request::auth(Some(b"sasl"), Some(b"bob")))?;
    ensure!(reply.code() == ErrorCode::AuthFailed && reply.body.is_empty(), "{reply:?}");
    Ok(())
}

fn acting_under(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let response = Response { authzid: Some("kim"), ..Response::new(BOB, &challenged(&mut c)?) };
    token(&say(&mut c, response.text().as_bytes())?)?.context("no proof")?;
    ensure!(identities(&mut c)? == [pair("sasl", "bob")]);
    Ok(())
}

fn realms(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in(server, ("bob@REALM", "r"))?;
    ensure!(identities(&mut c)? == [pair("sasl", "bob@REALM")]);
    // A name that is no principal: closed without a word.
    let mut c = open(server)?;
    let response = Response::new(("a@b@c", "r"), &challenged(&mut c)?);
    c.send(OpCode::Sasl, &request::path(Some(response.text().as_bytes())))?;
    let next = c.incoming(PATIENCE)?;
    ensure!(matches!(next, Incoming::Closed), "{next:?}");
    Ok(())
}

fn acls(server: &Server) -> anyhow::Result<()> {
    let sasl = |perms, id: &'static str| acl(perms, "sasl", id);
    let mut bob = log_in(server, BOB)?;
    let mut eve = log_in(server, ("eve", "evepw"))?;
    let mut nobody = open(server)?;
    ensure!(create(&mut bob, "/acls", OPEN)? == ErrorCode::Ok);
    ensure!(create(&mut bob, "/acls/bob", &[sasl(31, "bob")])? == ErrorCode::Ok);
    // Who is not bob may give something to him.
    ensure!(create(&mut nobody, "/acls/given", &[sasl(1, "bob")])? == ErrorCode::Ok);
    ensure!(create(&mut nobody, "/acls/any", &[sasl(1, "anybody")])? == ErrorCode::Ok);
    let auth = acl(31, "auth", "");
    ensure!(create(&mut bob, "/acls/auth", &[auth])? == ErrorCode::Ok);
    ensure!(create(&mut nobody, "/acls/none", &[auth])? == ErrorCode::InvalidAcl);
    ensure!(create(&mut bob, "/acls/bad", &[sasl(31, "a@b@c")])? == ErrorCode::InvalidAcl);
    for (path, readers) in [
        ("bob", [true, false, false]),
        ("given", [true, false, false]),
        ("auth", [true, false, false]),
        ("any", [true, true, false]),
    ] {
        let path = format!("/acls/{path}");
        for (c, may) in [&mut bob, &mut eve, &mut nobody].into_iter().zip(readers) {
            let expected = if may { ErrorCode::Ok } else { ErrorCode::NoAuth };
            ensure!(get(c, &path)? == expected, "{path}");
        }
    }
    let Body::AclStat(Some(list), _) = bob.call(OpCode::GetAcl, &request::path(Some(b"/acls/auth")))?.ok()?
    else {
        bail!("no list");
    };
    ensure!(list == [(31, Some(b"sasl".to_vec()), Some(b"bob".to_vec()))], "{list:?}");
    bob.set_acl("/acls/bob", &[sasl(31, "eve")], -1)?;
    ensure!(get(&mut bob, "/acls/bob")? == ErrorCode::NoAuth && get(&mut eve, "/acls/bob")? == ErrorCode::Ok);
    Ok(())
}

fn super_users(server: &Server) -> anyhow::Result<()> {
    let mut bob = log_in(server, BOB)?;
    ensure!(create(&mut bob, "/super-sasl", &[acl(31, "sasl", "bob")])? == ErrorCode::Ok);
    ensure!(create(&mut bob, "/super-digest", &[acl(31, "digest", "a:b")])? == ErrorCode::Ok);
    // The user super passes every ACL of the scheme, a super user every one.
    let mut c = log_in(server, ("super", "other"))?;
    ensure!(identities(&mut c)? == [pair("sasl", "super")]);
    ensure!(
        get(&mut c, "/super-sasl")? == ErrorCode::Ok && get(&mut c, "/super-digest")? == ErrorCode::NoAuth
    );
    let mut c = log_in(server, ("kim", "kimpw"))?;
    ensure!(identities(&mut c)? == [pair("sasl", "kim"), pair("super", "")]);
    ensure!(get(&mut c, "/super-sasl")? == ErrorCode::Ok && get(&mut c, "/super-digest")? == ErrorCode::Ok);
    Ok(())
}

#[test]
fn logins_that_are_required() {
    let rows: &[Row] = &[("without a login", required), ("with a login", required_and_done)];
    let logins = Logins::new().unwrap();
    // What makes them optional does not, and neither does another scheme.
    let config = logins
        .config()
        .line("authProvider.1", PROVIDER)
        .property("zookeeper.sessionRequireClientSASLAuth", true)
        .property("zookeeper.enforce.auth.enabled", true)
        .property("zookeeper.enforce.auth.schemes", "digest")
        .property("zookeeper.allowSaslFailedClients", true);
    check_rows(&config, rows);
}

fn required(server: &Server) -> anyhow::Result<()> {
    for (op, body) in
        [(OpCode::Exists, request::path_bool(Some(b"/"), false)), (OpCode::CloseSession, vec![])]
    {
        let mut c = open(server)?;
        c.auth("digest", b"a:b")?;
        let reply = c.call(op, &body)?;
        ensure!(
            reply.code() == ErrorCode::SessionClosedRequireSaslAuth && reply.body.is_empty(),
            "{reply:?}"
        );
        ensure!(matches!(c.incoming(PATIENCE)?, Incoming::Closed));
    }
    let mut c = open(server)?;
    c.send_frame(&request::frame(Xid::PING.0, OpCode::Ping.to_i32(), &[]))?;
    let Incoming::Frame(frame) = c.incoming(PATIENCE)? else { bail!("no frame") };
    ensure!(frame.ends_with(&(-124_i32).to_be_bytes()), "{frame:?}");
    let mut c = open(server)?;
    let response = Response { password: "wrong", ..Response::new(BOB, &challenged(&mut c)?) };
    let reply = say(&mut c, response.text().as_bytes())?;
    expect_failure(c, &reply, ErrorCode::SessionClosedRequireSaslAuth)
}

fn required_and_done(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in(server, BOB)?;
    c.ping()?;
    ensure!(create(&mut c, "/required", OPEN)? == ErrorCode::Ok);
    Ok(())
}

#[test]
fn logins_that_may_fail_and_do_not_count() {
    let rows: &[Row] = &[("who fails stays", may_fail), ("without the provider", no_provider)];
    let logins = Logins::new().unwrap();
    check_rows(&logins.config().property("zookeeper.allowSaslFailedClients", true), rows);
}

fn may_fail(server: &Server) -> anyhow::Result<()> {
    let mut c = open(server)?;
    let response = Response { password: "wrong", ..Response::new(BOB, &challenged(&mut c)?) };
    ensure!(token(&say(&mut c, response.text().as_bytes())?)?.is_none());
    ensure!(token(&say(&mut c, b"")?)?.is_none(), "a second try");
    ensure!(identities(&mut c)?.is_empty());
    Ok(())
}

fn no_provider(server: &Server) -> anyhow::Result<()> {
    let mut c = log_in(server, BOB)?;
    for (scheme, id) in [("sasl", "bob"), ("auth", "")] {
        ensure!(create(&mut c, "/none", &[acl(31, scheme, id)])? == ErrorCode::InvalidAcl, "{scheme}");
    }
    ensure!(identities(&mut c)? == [pair("sasl", "")]);
    Ok(())
}

/// Who has logged in at one member is the same to the leader that judges his writes, and to all
/// others. The last member leads.
#[test]
fn logins_in_an_ensemble() -> anyhow::Result<()> {
    let logins = Logins::new()?;
    let config = Config {
        properties: logins.config().properties,
        ..ensemble::config().line("authProvider.1", PROVIDER)
    };
    for list in ensembles("ZKD_SASL_ONLY", "java,java,java", &["java,zkd,zkd", "zkd,zkd,java"]) {
        let mut e = Ensemble::start(&composition(&list)?, config.clone())?;
        let checked = e.wait_all_serving(ELECTION).and_then(|()| at_each_member(&e));
        checked.map_err(|error| anyhow!("{list}: {error:#}\n{}", e.log_tails()))?;
    }
    Ok(())
}

fn at_each_member(e: &Ensemble) -> anyhow::Result<()> {
    for i in 0..e.len() {
        let path = format!("/of-{i}");
        let mut bob = log_in(e.member(i), BOB)?;
        ensure!(create(&mut bob, &path, &[acl(31, "auth", "")])? == ErrorCode::Ok, "create at {i}");
        for j in 0..e.len() {
            let set = |c: &mut Conn| {
                c.sync("/")?;
                let body = request::set_data(Some(path.as_bytes()), Some(b"new"), -1);
                anyhow::Ok(c.call(OpCode::SetData, &body)?.code())
            };
            ensure!(set(&mut log_in(e.member(j), BOB)?)? == ErrorCode::Ok, "{path} by bob at {j}");
            let eve = set(&mut log_in(e.member(j), ("eve", "evepw"))?)?;
            ensure!(eve == ErrorCode::NoAuth, "{path} by eve at {j}: {eve:?}");
            let nobody = set(&mut open(e.member(j))?)?;
            ensure!(nobody == ErrorCode::NoAuth, "{path} by nobody at {j}: {nobody:?}");
        }
    }
    Ok(())
}

/// The reference's own client, with its own file of logins.
#[test]
fn the_references_client() -> anyhow::Result<()> {
    let logins = Logins::new()?;
    let lines = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
    let properties = |who: &str| {
        vec![
            format!("java.security.auth.login.config={}", logins.client(who).display()),
            // With it on the client knows no MD5.
            "zookeeper.fips-mode=false".to_owned(),
        ]
    };
    for launcher in both() {
        let server = Server::start(launcher, logins.config().line("authProvider.1", PROVIDER))?;
        let said = lines(&["create /mine secret sasl:bob:cdrwa", "getAcl /mine", "get /mine", "whoami"]);
        let text = zk_cli_with(server.addr(), &properties("bob"), &said)?;
        for expected in ["Created /mine", "'sasl,'bob", "\nsecret", "sasl: bob"] {
            ensure!(text.contains(expected), "{}: no {expected} in\n{text}", launcher.name());
        }
        let text = zk_cli_with(server.addr(), &properties("eve"), &lines(&["get /mine"]))?;
        ensure!(text.contains("AuthFailed") && !text.contains("\nsecret"), "{}:\n{text}", launcher.name());
    }
    Ok(())
}
