//! TLS for clients and between members, with Java and OpenSSL on the other side.
//!
//! A tunnel speaks TLS for the tests' own clients, so that they are the same as elsewhere.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CrlDistributionPoint, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use zk_testkit::ensemble::{self, ELECTION, Ensemble, composition};
use zk_testkit::history::History;
use zk_testkit::history::check::{self, Options};
use zk_testkit::history::load::Load;
use zk_testkit::http;
use zk_testkit::process::{
    Config, Java, JavaWithAdmin, Launcher, Server, Zkd, free_port, zk_cli_with, zkd_binary,
};
use zk_testkit::raw::{self, Conn};
use zk_testkit::request::OPEN;

use crate::admin::with_admin;
use crate::support::{eventually, until};

pub const PASSWORD: &str = "hush-4711";

/// An authority with the files that it has made.
pub struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate is made of.
#[derive(Clone)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub hosts: &'a [&'a str],
    pub until: i32,
    pub serial: u64,
    pub listed: bool,
}

pub const USUAL: Wanted<'_> =
    Wanted { name: "", hosts: &["127.0.0.1", "localhost"], until: 2099, serial: 7, listed: false };

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(dir.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { dir, issuer })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `<name>.pem`: key and certificate.
    pub fn make(&self, wanted: &Wanted<'_>) -> anyhow::Result<PathBuf> {
        let mut params =
            CertificateParams::new(wanted.hosts.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = subject(wanted.name);
        params.not_after = date_time_ymd(wanted.until, 1, 1);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        if wanted.listed {
            let list = format!("file://{}", self.file("revoked.crl").display());
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![list] }];
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let path = self.file(&format!("{}.pem", wanted.name.replace(' ', "-")));
        replace(&path, format!("{}{}", key.serialize_pem(), certificate.pem()).as_bytes())?;
        Ok(path)
    }

    /// The list that certificates with `listed` name.
    fn revoke(&self, serials: &[u64]) -> anyhow::Result<()> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(self.file("revoked.crl"), list.signed_by(&self.issuer)?.der())?;
        Ok(())
    }

    /// From `<name>.pem` its `.p12`, `.jks` and one with an encrypted key, and the trust
    /// stores of all kinds.
    pub fn stores(&self, name: &str) -> anyhow::Result<()> {
        let at = |end: &str| self.file(&format!("{name}{end}")).display().to_string();
        let (pem, p12, jks, sealed) = (at(".pem"), at(".p12"), at(".jks"), at("-sealed.pem"));
        let password = format!("pass:{PASSWORD}");
        run(
            "openssl",
            &["pkcs12", "-export", "-in", &pem, "-out", &p12, "-passout", &password, "-name", "me"],
        )?;
        run(
            "openssl",
            &["pkcs8", "-topk8", "-in", &pem, "-out", &sealed, "-v2", "aes256", "-passout", &password],
        )?;
        let certificate = fs::read_to_string(&pem)?;
        let certificate =
            certificate.split_at(certificate.find("-----BEGIN CERT").context("a certificate")?).1;
        fs::OpenOptions::new().append(true).open(&sealed)?.write_all(certificate.as_bytes())?;
        run(
            "keytool",
            &[
                "-importkeystore",
                "-noprompt",
                "-srckeystore",
                &p12,
                "-srcstoretype",
                "PKCS12",
                "-srcstorepass",
                PASSWORD,
                "-destkeystore",
                &jks,
                "-deststoretype",
                "JKS",
                "-deststorepass",
                PASSWORD,
            ],
        )?;
        for (kind, end) in [("JKS", "jks"), ("PKCS12", "p12")] {
            let (ca, trust) = (self.file("ca.pem"), self.file(&format!("trust.{end}")));
            if !trust.exists() {
                let (ca, trust) = (ca.display().to_string(), trust.display().to_string());
                let args = [
                    "-importcert",
                    "-noprompt",
                    "-alias",
                    "ca",
                    "-file",
                    &ca,
                    "-keystore",
                    &trust,
                    "-storetype",
                    kind,
                ];
                run("keytool", &[&args[..], &["-storepass", PASSWORD]].concat())?;
            }
        }
        Ok(())
    }

    /// What a client of ours knows and shows.
    pub fn client(&self, shows: Option<&Path>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.pem"))?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(Arc::new(match shows {
            None => config.with_no_client_auth(),
            Some(pem) => config.with_client_auth_cert(
                CertificateDer::pem_file_iter(pem)?.collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_file(pem)?,
            )?,
        }))
    }
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "zkd, tests");
    subject.push(DnType::CommonName, name);
    subject
}

/// How the name is written in an ACL.
fn written(name: &str) -> String {
    format!("CN={name},O=zkd\\, tests")
}

fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, path)?)
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let out = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

/// Bytes to it go on to a server through TLS. It ends with the test's process.
pub fn tunnel(server: SocketAddr, config: Arc<rustls::ClientConfig>) -> anyhow::Result<SocketAddr> {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            told.send(listener.local_addr().expect("an address")).expect("it is waited for");
            while let Ok((mut near, _)) = listener.accept().await {
                let connector = TlsConnector::from(Arc::clone(&config));
                tokio::spawn(async move {
                    let far = TcpStream::connect(server).await?;
                    far.set_nodelay(true)?;
                    let name = ServerName::from(server.ip());
                    let mut far = connector.connect(name, far).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
    });
    Ok(address.recv()?)
}

/// The certificate that a server shows.
fn shown(server: SocketAddr, config: &Arc<rustls::ClientConfig>) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connector = TlsConnector::from(Arc::clone(config));
    runtime.block_on(async {
        let stream = TcpStream::connect(server).await?;
        let stream = connector.connect(ServerName::from(server.ip()), stream).await?;
        let chain = stream.get_ref().1.peer_certificates().context("it shows a certificate")?;
        Ok(chain[0].to_vec())
    })
}

/// The settings of a server with a TLS port, from `<server>.pem`.
pub fn secure(authority: &Authority, port: u16) -> Config {
    Config::default()
        .line("secureClientPort", port)
        .line("secureClientPortAddress", Ipv4Addr::LOCALHOST)
        .line("ssl.keyStore.location", authority.file("server.pem").display())
        .line("ssl.trustStore.location", authority.file("ca.pem").display())
}

pub fn start(config: impl Fn(u16) -> Config) -> anyhow::Result<(Server, SocketAddr)> {
    let port = free_port()?;
    let server = Server::start(&Zkd, config(port))?;
    Ok((server, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

pub fn is_let_in(authority: &Authority, server: SocketAddr, shows: Option<&Path>) -> anyhow::Result<bool> {
    let through = tunnel(server, authority.client(shows)?)?;
    let mut conn = Conn::dial(through)?;
    Ok(matches!(conn.handshake(&raw::hello(10_000)), Ok(Some(r)) if r.timeout > 0))
}

#[test]
fn java_clients_and_stores_of_each_kind() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    for name in ["server", "client"] {
        authority.make(&Wanted { name, ..USUAL })?;
        authority.stores(name)?;
    }
    fs::write(authority.file("password"), format!("{PASSWORD}\n"))?;
    let kinds = [("jks", "jks", "jks"), ("p12", "p12", "p12"), ("pem", "-sealed.pem", "pem")];
    std::thread::scope(|scope| {
        let runs = kinds.map(|(kind, server, client)| {
            let authority = &authority;
            scope.spawn(move || one_java_client(authority, kind, server, client).context(kind))
        });
        runs.into_iter().try_for_each(|run| run.join().expect("no panic"))
    })
}

fn one_java_client(authority: &Authority, kind: &str, server: &str, client: &str) -> anyhow::Result<()> {
    let trust = if kind == "pem" { "ca.pem".to_owned() } else { format!("trust.{kind}") };
    let (trust, dot) = (authority.file(&trust), if server.starts_with('-') { "" } else { "." });
    let (_server, at) = start(|port| {
        let config = secure(authority, port)
            .line("ssl.keyStore.location", authority.file(&format!("server{dot}{server}")).display())
            .line("ssl.keyStore.passwordPath", authority.file("password").display())
            .line("ssl.trustStore.location", trust.display());
        if kind == "pem" { config } else { config.line("ssl.trustStore.password", PASSWORD) }
    })?;
    let mut properties = vec![
        "zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty".to_owned(),
        "zookeeper.client.secure=true".to_owned(),
        format!("zookeeper.ssl.keyStore.location={}", authority.file(&format!("client.{client}")).display()),
        format!("zookeeper.ssl.trustStore.location={}", trust.display()),
    ];
    if kind != "pem" {
        properties.extend(["key", "trust"].map(|s| format!("zookeeper.ssl.{s}Store.password={PASSWORD}")));
    }
    let lines =
        ["create /mine secret auth:me:cdrwa", "getAcl /mine", "get /mine", "whoami"].map(str::to_owned);
    let text = zk_cli_with(at, &properties, &lines)?;
    // In lists the tool writes a comma as a number.
    for expected in ["'x509,'CN=client%2CO=zkd\\%2C tests", "secret", "x509: CN=client,O=zkd\\, tests"] {
        ensure!(text.contains(expected), "no {expected} in\n{text}");
    }
    Ok(())
}

#[test]
fn who_is_let_in() -> anyhow::Result<()> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let good = authority.make(&Wanted { name: "good", listed: true, ..USUAL })?;
    let away = &["10.0.0.1"];
    let elsewhere = authority.make(&Wanted { name: "elsewhere", hosts: away, listed: true, ..USUAL })?;
    let expired = authority.make(&Wanted { name: "expired", until: 2024, ..USUAL })?;
    let revoked = authority.make(&Wanted { name: "revoked", serial: 66, listed: true, ..USUAL })?;
    let stranger = other.make(&Wanted { name: "stranger", ..USUAL })?;
    authority.revoke(&[66])?;

    let (server, at) = start(|port| secure(&authority, port))?;
    let check = |at, cases: &[(&str, Option<&Path>, bool)]| {
        for (what, shows, expected) in cases {
            ensure!(is_let_in(&authority, at, *shows)? == *expected, "{what} is not {expected}");
        }
        Ok(())
    };
    check(
        at,
        &[
            ("good", Some(&good), true),
            ("expired", Some(&expired), false),
            ("of a stranger", Some(&stranger), false),
            ("none", None, false),
            // Neither names nor lists are looked at.
            ("elsewhere", Some(&elsewhere), true),
            ("revoked", Some(&revoked), true),
        ],
    )?;
    // Without TLS nothing is said on that port.
    let mut plain = Conn::dial(at)?;
    plain.patience = Duration::from_secs(2);
    ensure!(!matches!(plain.handshake(&raw::hello(10_000)), Ok(Some(_))), "a plain client is let in");
    // They are counted a moment after the socket closes.
    let counts = ["zk_unsuccessful_handshake\t4\n", "zk_auth_failed_count\t4\n"];
    eventually(|| {
        let words = raw::four_letter(server.addr(), "mntr")?;
        ensure!(counts.iter().all(|count| words.contains(count)), "{words}");
        Ok(())
    })?;
    let words = raw::four_letter(server.addr(), "conf")?;
    ensure!(words.contains(&format!("secureClientPort={}\n", at.port())), "{words}");
    drop(server);

    let strict =
        |port| secure(&authority, port).line("ssl.clientHostnameVerification", true).line("ssl.crl", true);
    let (_server, at) = start(strict)?;
    check(
        at,
        &[
            ("good", Some(&good), true),
            ("elsewhere", Some(&elsewhere), false),
            ("revoked", Some(&revoked), false),
        ],
    )?;
    let (_server, at) = start(|port| secure(&authority, port).line("ssl.clientAuth", "want"))?;
    check(at, &[("none", None, true), ("good", Some(&good), true), ("expired", Some(&expired), false)])?;
    let (_server, at) = start(|port| secure(&authority, port).line("ssl.clientAuth", "none"))?;
    check(at, &[("none", None, true)])
}

#[test]
fn one_port_takes_both_kinds() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let good = authority.make(&Wanted { name: "good", ..USUAL })?;
    let config = secure(&authority, 0);
    let lines = config.lines.iter().filter(|(key, _)| !key.starts_with("secure")).cloned().collect();
    let server = Server::start(&Zkd, Config { lines, ..config }.line("client.portUnification", true))?;
    ensure!(raw::four_letter(server.addr(), "ruok")? == "imok", "a word without TLS");
    Conn::open(server.addr(), 10_000)?;
    ensure!(is_let_in(&authority, server.addr(), Some(&good))?, "a client with TLS");
    ensure!(!is_let_in(&authority, server.addr(), None)?, "a client without certificate");
    // OpenSSL, and an answer that is longer than one record.
    let at = server.addr().to_string();
    let (ca, good) = (authority.file("ca.pem").display().to_string(), good.display().to_string());
    // The connections from before have closed, which the server notices by itself.
    eventually(|| {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-connect", &at, "-CAfile", &ca])
            .args(["-cert", &good, "-key", &good])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        openssl.stdin.as_mut().context("no standard input")?.write_all(b"mntr")?;
        let out = openssl.wait_with_output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        ensure!(text.contains("zk_version") && text.contains("zk_non_mtls_local_conn_count\t0\n"), "{text}");
        Ok(())
    })
}

#[test]
fn names_in_certificates_are_identities() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let (_server, at) = start(|port| {
        // A backslash in the file is an escape.
        let root = written("root").replace('\\', "\\\\");
        secure(&authority, port).line("X509AuthenticationProvider.superUser", root)
    })?;
    let open = |name: &str| {
        let pem = authority.make(&Wanted { name, ..USUAL })?;
        Conn::open(tunnel(at, authority.client(Some(&pem))?)?, 20_000)
    };
    let (mut alice, mut bob, mut root) = (open("alice")?, open("bob")?, open("root")?);
    let name = written("alice");
    let hers = [(31, Some(&b"x509"[..]), Some(name.as_bytes()))];
    alice.create("/alice", b"1", &hers, 0)?;
    ensure!(alice.get_data("/alice", false)?.0.as_deref() == Some(b"1"), "her own");
    ensure!(bob.get_data("/alice", false).is_err(), "not his");
    ensure!(root.get_data("/alice", false)?.0.as_deref() == Some(b"1"), "the super user's");
    let invalid = [(31, Some(&b"x509"[..]), Some(&b"alice"[..]))];
    ensure!(alice.create("/invalid", b"", &invalid, 0).is_err(), "no name");
    ensure!(alice.auth("x509", b"")? == 0, "she is who she is");
    // More than a record, both ways.
    let large = vec![7; 900_000];
    alice.create("/large", &large, OPEN, 0)?;
    ensure!(bob.get_data("/large", false)?.0 == Some(large), "the same");
    Ok(())
}

#[test]
fn certificates_are_renewed_under_load() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let good = authority.make(&Wanted { name: "good", ..USUAL })?;
    let (server, at) = start(|port| secure(&authority, port).line("client.certReload", true))?;
    let client = authority.client(Some(&good))?;
    let load = Load::new(vec![tunnel(at, Arc::clone(&client))?], 1);
    let clock = Instant::now();
    let mut history = load.prepare(clock)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run(clock, &stop));
        let renewed = renew(&authority, &server, at, &client);
        stop.store(true, Ordering::Relaxed);
        history.extend(running.join().expect("no panic"));
        renewed
    })?;
    is_without_holes(&history)
}

fn renew(
    authority: &Authority,
    server: &Server,
    at: SocketAddr,
    client: &Arc<rustls::ClientConfig>,
) -> anyhow::Result<()> {
    let before = shown(at, client)?;
    std::thread::sleep(Duration::from_millis(300));
    // What is half written changes nothing.
    replace(&authority.file("server.pem"), b"-----BEGIN PRIVATE KEY-----\nAAAA")?;
    let warning = "the former certificates stay in use";
    until(warning, || server.log().contains(warning))?;
    ensure!(shown(at, client)? == before, "the former is still shown");
    authority.make(&Wanted { name: "server", serial: 8, ..USUAL })?;
    until("the new one is shown", || shown(at, client).is_ok_and(|now| now != before))
}

#[test]
fn what_cannot_be_used_is_said_without_secrets() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    authority.stores("server")?;
    let file = |name: &str| authority.file(name).display().to_string();
    let wrong =
        |name: &str| vec![("keyStore.location", file(name)), ("keyStore.password", "hush-wrong".to_owned())];
    let cases = [
        (wrong("server.jks"), "the password is wrong"),
        (wrong("server.p12"), "is the password right"),
        (wrong("server-sealed.pem"), "is the password right"),
        (vec![("keyStore.location", file("none.pem"))], "cannot be read"),
        (vec![("keyStore.location", file("ca.pem"))], "no private key"),
        (vec![("trustStore.location", file("password"))], "JKS, PEM or PKCS12"),
        (vec![("keyStore.type", "BCFKS".to_owned())], "JKS, PEM or PKCS12"),
        (vec![("trustStore.location", String::new())], "ssl.trustStore.location is not set"),
        (vec![("ocsp", "true".to_owned())], "refused"),
        (vec![("enabledProtocols", "TLSv1.1".to_owned())], "allowed is TLSv1.3 and TLSv1.2"),
        (vec![("ciphersuites", "TLS_RSA_WITH_AES_128_CBC_SHA".to_owned())], "TLS_AES_256_GCM_SHA384"),
    ];
    for (lines, expected) in cases {
        let config = lines.iter().fold(secure(&authority, free_port()?), |config, (key, value)| {
            config.line(&format!("ssl.{key}"), value)
        });
        let mut server = Server::prepare(&Zkd, config)?;
        server.spawn()?;
        server.wait_exit(ELECTION).with_context(|| format!("with {lines:?}"))?;
        let log = server.log();
        ensure!(log.contains(expected) && log.contains("ssl."), "{lines:?}: no {expected} in {log}");
        ensure!(!log.contains("hush"), "a password in {log}");
    }
    Ok(())
}

fn is_without_holes(history: &History) -> anyhow::Result<()> {
    let report = check::check(history, &[], Options { strict_sync: false });
    let (done, failed, unknown) = history.counts();
    println!("{done} requests acknowledged, {failed} refused, {unknown} of unknown fate");
    ensure!(done > 100, "{done} requests are no load");
    ensure!(report.violations.is_empty(), "{}", report.text());
    Ok(())
}

/// Settings of members; each has the same certificate, as with one for a whole domain.
fn members(authority: &Authority) -> Config {
    let pem = |name: &str| authority.file(name).display().to_string();
    ensemble::config()
        .property("zookeeper.ssl.quorum.keyStore.location", pem("server.pem"))
        .property("zookeeper.ssl.quorum.trustStore.location", pem("ca.pem"))
        // Names are checked, in both directions.
        .property("zookeeper.fips-mode", false)
}

/// What is written at one member is there at all others.
pub fn is_seen_by_all(ensemble: &Ensemble, path: &str) -> anyhow::Result<()> {
    Conn::open(ensemble.addr(0), 20_000)?.create(path, b"x", OPEN, 0)?;
    for i in 0..ensemble.len() {
        let mut conn = Conn::open(ensemble.addr(i), 20_000)?;
        conn.sync(path)?;
        ensure!(conn.get_data(path, false)?.0.as_deref() == Some(b"x"), "member {} sees {path}", i + 1);
    }
    Ok(())
}

#[test]
fn members_of_both_kinds_with_tls() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    // The last one leads: each kind once.
    for list in ["zkd,zkd,java", "java,zkd,zkd"] {
        let config = members(&authority).line("sslQuorum", true);
        let ensemble = Ensemble::start(&composition(list)?, config).context(list)?;
        is_seen_by_all(&ensemble, "/with-tls").context(list)?;
    }
    Ok(())
}

/// A member whose certificate is for another host stays outside, and one without TLS.
#[test]
fn members_that_are_none_stay_outside() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let wrong = authority.make(&Wanted { name: "elsewhere", hosts: &["zk.example"], ..USUAL })?;
    let mut ensemble =
        Ensemble::prepare(&composition("zkd,zkd,zkd")?, members(&authority).line("sslQuorum", true))?;
    ensemble.config_mut(0).lines.retain(|(key, _)| key != "sslQuorum");
    ensemble.spawn(1)?;
    ensemble.spawn(2)?;
    ensemble.wait_leader(ELECTION)?;
    let stays_out = |ensemble: &mut Ensemble, why: &str| {
        ensemble.spawn(0)?;
        ensemble.wait(why, ELECTION, |e| (1..3).any(|i| e.log(i).contains(why)))?;
        std::thread::sleep(Duration::from_secs(2));
        ensure!(ensemble.role(0).is_none(), "it serves: {why}");
        ensemble.kill(0)
    };
    stays_out(&mut ensemble, "without TLS")?;
    let config = ensemble.config_mut(0).clone();
    *ensemble.config_mut(0) =
        config.line("sslQuorum", true).property("zookeeper.ssl.quorum.keyStore.location", wrong.display());
    stays_out(&mut ensemble, "its certificate is for none of")?;
    let config = ensemble.config_mut(0).clone();
    *ensemble.config_mut(0) =
        config.property("zookeeper.ssl.quorum.keyStore.location", authority.file("server.pem").display());
    ensemble.restart(0)?;
    is_seen_by_all(&ensemble, "/at-last")
}

/// Rolling switch-on: first both kinds are taken, then TLS is spoken, then nothing else is taken.
#[test]
fn members_switch_to_tls_one_by_one() -> anyhow::Result<()> {
    if std::env::var_os("SLOW").is_none() {
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.make(&Wanted { name: "server", ..USUAL })?;
    let mut ensemble = Ensemble::start(&composition("zkd,java,zkd")?, members(&authority))?;
    let load = Load::new((0..3).map(|i| ensemble.addr(i)).collect(), 1);
    let clock = Instant::now();
    let mut history = load.prepare(clock)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run(clock, &stop));
        let switched = switch(&mut ensemble);
        stop.store(true, Ordering::Relaxed);
        history.extend(running.join().expect("no panic"));
        switched
    })?;
    is_without_holes(&history)
}

fn switch(ensemble: &mut Ensemble) -> anyhow::Result<()> {
    let steps = [("false", "true"), ("true", "true"), ("true", "false")];
    for (step, (tls, both)) in steps.into_iter().enumerate() {
        for i in 0..3 {
            let config = ensemble.config_mut(i).clone();
            *ensemble.config_mut(i) = config.line("sslQuorum", tls).line("portUnification", both);
            ensemble.stop(i)?;
            ensemble.restart(i).with_context(|| format!("step {step}, member {}", i + 1))?;
            ensemble.wait_all_serving(ELECTION)?;
        }
        is_seen_by_all(ensemble, &format!("/step-{step}"))?;
    }
    Ok(())
}

/// The settings of a server whose admin port has TLS, with the files of members, and where it is.
fn with_secure_admin(authority: &Authority, key: &str) -> (Config, SocketAddr) {
    let (config, admin) = with_admin(Config::default());
    let config = config
        .line(key, true)
        .line("ssl.quorum.keyStore.location", authority.file("server.pem").display())
        .line("ssl.quorum.trustStore.location", authority.file("ca.pem").display());
    (config, admin)
}

/// An answer of an admin port behind TLS.
fn ask(
    authority: &Authority,
    admin: SocketAddr,
    shows: Option<&Path>,
    command: &str,
) -> anyhow::Result<http::Answer> {
    http::get(tunnel(admin, authority.client(shows)?)?, &format!("/commands/{command}"))
}

/// The reference takes the members' files for its admin port, lets those without TLS pass by one of the two
/// switches, and then asks only those with TLS for a certificate.
#[test]
fn the_admin_port_takes_both_kinds() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    for name in ["server", "client"] {
        authority.make(&Wanted { name, ..USUAL })?;
    }
    let client = authority.file("client.pem");
    for launcher in [&JavaWithAdmin as &'static dyn Launcher, &Zkd] {
        let who = launcher.name();
        let (config, admin) = with_secure_admin(&authority, "admin.portUnification");
        let _server = Server::start(launcher, config.line("admin.needClientAuth", true))?;
        let plain = http::get(admin, "/commands/ruok")?;
        ensure!(
            plain.status == 200 && plain.header("strict-transport-security").is_none(),
            "{who}: {plain:?}"
        );
        ensure!(ask(&authority, admin, None, "ruok").is_err(), "{who}: without a certificate");
        let answer = ask(&authority, admin, Some(&client), "ruok")?;
        ensure!((answer.status, &answer.body) == (200, &plain.body), "{who}: {answer:?}");
        let strict = answer.header("strict-transport-security");
        ensure!(strict == Some("max-age=86400; includeSubDomains"), "{who}: {answer:?}");
        eventually(|| {
            let monitor = ask(&authority, admin, Some(&client), "monitor")?.text();
            ensure!(monitor.contains("\"insecure_admin_count\" : 1,"), "{who}: {monitor}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_admin_port_takes_tls_alone() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let key_store = authority.make(&Wanted { name: "server", ..USUAL })?;
    let (config, admin) = with_secure_admin(&authority, "admin.forceHttps");
    let _server = Server::start(&Zkd, config.line("sslQuorumReloadCertFiles", true))?;
    ensure!(http::get(admin, "/commands/ruok").is_err(), "an answer without TLS");
    ensure!(ask(&authority, admin, None, "ruok")?.status == 200, "no answer with TLS");
    let config = authority.client(None)?;
    let before = shown(admin, &config)?;
    authority.make(&Wanted { name: "server", serial: 8, ..USUAL })?;
    until("the certificate is renewed", || shown(admin, &config).is_ok_and(|now| now != before))?;
    // Without its files it stays closed, and the server runs, as with the reference.
    fs::remove_file(key_store)?;
    let (config, admin) = with_secure_admin(&authority, "admin.forceHttps");
    let server = Server::start(&Zkd, config)?;
    ensure!(std::net::TcpStream::connect(admin).is_err(), "there is a port");
    let expected = "no admin port, it cannot have TLS: ssl.quorum.keyStore.location";
    until(expected, || server.log().contains(expected))?;
    let (good, text) = tool(&[], &["config", "check", &server.home().join("zoo.cfg").display().to_string()])?;
    ensure!(good && text.contains(expected), "{text}");
    Ok(())
}

/// `zkd` with what stands in an environment for Java's tools.
fn tool(flags: &[String], args: &[&str]) -> anyhow::Result<(bool, String)> {
    let out = Command::new(zkd_binary()?)
        .args(args)
        .env("CLIENT_JVMFLAGS", flags.join(" "))
        .env_remove("JVMFLAGS")
        .output()?;
    let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((out.status.success(), text))
}

/// `zkd cli` and `zkd status` with TLS and a login, at servers of both kinds.
#[test]
fn tools_take_the_environment_of_javas() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    for name in ["server", "client"] {
        authority.make(&Wanted { name, ..USUAL })?;
    }
    authority.stores("client")?;
    fs::write(authority.file("password"), format!("{PASSWORD}\n"))?;
    let section = |name: &str, options: &str| {
        format!("{name} {{ org.apache.zookeeper.server.auth.DigestLoginModule required {options}; }};\n")
    };
    let logins = section("Server", "user_bob=\"hush \\\"4711\"")
        + &section("Client", "username=bob password=\"hush \\\"4711\"")
        + &section("Wrong", "username=bob password=\"hush-0815\"");
    fs::write(authority.file("jaas.conf"), logins)?;
    let file = |name: &str| authority.file(name).display().to_string();
    let property = |name: &str, value: &str| format!("-D{name}={value}");
    let jaas = property("java.security.auth.login.config", &file("jaas.conf"));
    let flags = vec![
        "-Xmx256m".to_owned(),
        property("zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNetty"),
        property("zookeeper.client.secure", "true"),
        property("zookeeper.ssl.keyStore.location", &file("client.jks")),
        property("zookeeper.ssl.keyStore.passwordPath", &file("password")),
        property("zookeeper.ssl.trustStore.location", &file("trust.p12")),
        property("zookeeper.ssl.trustStore.password", PASSWORD),
        jaas,
    ];
    for launcher in [&Java as &'static dyn Launcher, &Zkd] {
        let port = free_port()?;
        let config = secure(&authority, port)
            .line("authProvider.1", "org.apache.zookeeper.server.auth.SASLAuthenticationProvider")
            .property("java.security.auth.login.config", file("jaas.conf"))
            .property("zookeeper.serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory");
        let server = Server::start(launcher, config)?;
        let at = format!("localhost:{port}");
        one_environment(&flags, &at)
            .with_context(|| format!("{}: {}", launcher.name(), server.log_tail()))?;
    }
    one_that_is_not_trusted(&authority, &flags)
}

/// The server's certificate is for another host; then it is revoked.
fn one_that_is_not_trusted(authority: &Authority, flags: &[String]) -> anyhow::Result<()> {
    let with = |name: &str, value: &str| [flags, &[format!("-Dzookeeper.ssl.{name}={value}")]].concat();
    let elsewhere = Wanted { hosts: &["elsewhere.example"], ..USUAL };
    let revoked = Wanted { serial: 9, listed: true, ..USUAL };
    authority.revoke(&[9])?;
    let cases = [
        (elsewhere, flags.to_vec(), "is for none of localhost", with("hostnameVerification", "false")),
        (revoked, with("crl", "true"), "revoked", flags.to_vec()),
    ];
    for (wanted, refuses, expected, takes) in cases {
        authority.make(&Wanted { name: "server", ..wanted })?;
        let (_server, at) = start(|port| secure(authority, port))?;
        let at = format!("localhost:{}", at.port());
        let (good, text) = tool(&refuses, &["status", &at])?;
        ensure!(!good && text.to_lowercase().contains(expected), "no {expected} in {text}");
        let (good, text) = tool(&refuses, &["cli", "-server", &at, "-timeout", "30000", "get", "/"])?;
        ensure!(!good && text.to_lowercase().contains(expected), "no {expected} in {text}");
        let (good, text) = tool(&takes, &["status", &at])?;
        ensure!(good, "{text}");
    }
    Ok(())
}

fn one_environment(flags: &[String], at: &str) -> anyhow::Result<()> {
    let cli = |flags: &[String], args: &[&str]| tool(flags, &[&["cli", "-server", at], args].concat());
    let (good, text) = cli(flags, &["create", "/mine", "secret", "sasl:bob:cdrwa"])?;
    ensure!(good && text.contains("Created /mine"), "{text}");
    let (good, text) = cli(flags, &["get", "/mine"])?;
    ensure!(good && text.contains("secret"), "{text}");
    let (good, text) = cli(flags, &["whoami"])?;
    ensure!(good && text.contains("sasl: bob") && text.contains("x509: CN=client,O=zkd\\, tests"), "{text}");
    // A node larger than many records, in both directions.
    let large = "x".repeat(100_000);
    ensure!(cli(flags, &["create", "/large", &large])?.0, "a large node");
    let (good, text) = cli(flags, &["get", "/large"])?;
    ensure!(good && text.contains(&large), "{} bytes came", text.len());
    let (good, text) = tool(flags, &["status", at])?;
    ensure!(text.contains("standalone") && good, "{text}");

    let with = |name: &str, value: &str| [flags, &[format!("-D{name}={value}")]].concat();
    let refused = [
        (with("zookeeper.sasl.clientconfig", "Wrong"), "the server refuses the login"),
        (with("zookeeper.sasl.client", "false"), "NoAuth"),
        (with("zookeeper.sasl.clientconfig", "Nobody"), "NoAuth"),
        (with("zookeeper.ssl.keyStore.location", ""), "the connection was not taken"),
        (with("zookeeper.client.secure", "false"), "the connection was not taken"),
        (with("zookeeper.ssl.trustStore.password", "hush-0"), "is the password right"),
    ];
    for (flags, expected) in refused {
        let (good, text) = cli(&flags, &["-timeout", "30000", "get", "/mine"])?;
        let text = text.replace("Insufficient permission", "NoAuth");
        ensure!(!good && text.contains(expected) && !text.contains("secret"), "no {expected} in {text}");
        ensure!(!text.contains("hush"), "a password in {text}");
    }
    Ok(())
}
