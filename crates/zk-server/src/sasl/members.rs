//! Members that log in to each other: the exchange on a connection between two of them.
//!
//! The side that dials proves who it is, on the election port behind its hello, on the quorum port
//! before its first packet. Each of the three settings may be switched on in a round of restarts of
//! its own: who does not log in is let in until `serverRequireSasl`.
//!
//! ref: SaslQuorumAuthLearner, SaslQuorumAuthServer, SaslQuorumServerCallbackHandler.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zk_config::Secret;
use zk_config::config::{Door, Keytab, MemberLogin, QuorumSasl};
use zk_gssapi::Credentials;
use zk_proto::quorum::QuorumError;
use zk_proto::quorum::auth::{AuthStatus, QuorumAuthPacket};

use super::digest_md5::{self, MEMBERS};
use super::gssapi::{self, Acceptor, Initiator, Taken};
use super::names::Principal;
use super::pool::{Busy, Pool};
use super::{SetupError, nonce, service_key};
use crate::limits;
use crate::logs::Warnings;

/// How this member logs in to others, and whom it lets in. By default nobody says who he is.
#[derive(Debug, Default)]
pub struct MemberLogins {
    /// How those who dial are judged.
    judge: Option<Judge>,
    /// Who does not log in is turned away.
    required: bool,
    /// How this member logs in.
    dial: Option<Dial>,
    /// The hosts of all members.
    hosts: RwLock<Vec<String>>,
    warnings: Warnings,
}

#[derive(Debug)]
enum Judge {
    Digest(BTreeMap<String, Secret>),
    Kerberos { key: Arc<Credentials>, pool: Pool },
}

#[derive(Debug)]
enum Dial {
    Digest { user: String, password: Secret },
    Kerberos { keytab: Keytab, service: String, pool: Pool },
}

/// Why a member is not let in, or another one is not taken for a member.
#[derive(Debug, thiserror::Error)]
enum AuthError {
    #[error("it does not log in, and quorum.auth.serverRequireSasl is on")]
    Silent,
    #[error("it says that the login has failed")]
    Failed,
    #[error("it is content before the exchange is over")]
    TooEarly,
    #[error("{0:?} wants to act under another name")]
    ActsAsOther(String),
    #[error("{0} is not at the host of a member, or is of another realm")]
    NoMember(String),
    #[error(transparent)]
    Digest(#[from] digest_md5::Refused),
    #[error(transparent)]
    Kerberos(#[from] gssapi::Refused),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Packet(#[from] QuorumError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl MemberLogins {
    /// By what the configuration says.
    ///
    /// # Errors
    /// If Kerberos is asked for and has no key.
    pub fn new(settings: Option<QuorumSasl>) -> Result<Self, SetupError> {
        let Some(QuorumSasl { door, required, login }) = settings else { return Ok(Self::default()) };
        let judge = match door {
            Door::Digest(users) => Judge::Digest(users),
            Door::Kerberos(keytab) => {
                Judge::Kerberos { key: Arc::new(service_key(&keytab)?), pool: Pool::start("member-logins")? }
            }
        };
        let dial = match login {
            None => None,
            Some(MemberLogin::Digest { user, password }) => Some(Dial::Digest { user, password }),
            Some(MemberLogin::Kerberos { keytab, service }) => {
                // A ticket can wait for its KDC, but not a key.
                service_key(&keytab)?;
                Some(Dial::Kerberos { keytab, service, pool: Pool::start("member-tickets")? })
            }
        };
        Ok(Self { judge: Some(judge), required, dial, ..Self::default() })
    }

    /// Where all members are.
    pub fn set_hosts(&self, hosts: Vec<String>) {
        *self.hosts.write() = hosts;
    }

    /// The dialling side, to the member at `host`. `buf` takes what was read too far.
    ///
    /// # Errors
    /// If the other side does not let this one in, or does not prove that it is a member too.
    pub async fn connect(
        &self,
        host: &str,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buf: &mut BytesMut,
    ) -> io::Result<()> {
        let done = match &self.dial {
            None => return Ok(()),
            Some(Dial::Digest { user, password }) => log_in_by_digest((user, password), stream, buf).await,
            Some(Dial::Kerberos { keytab, service, pool }) => {
                log_in_by_kerberos(keytab, &target(service, host), pool, stream, buf).await
            }
        };
        done.map_err(|why| {
            self.warnings.say(&format!("cannot log in to a member: {why}"));
            io::Error::other(why)
        })
    }

    /// The accepting side. `buf` holds what was read already, and takes what was read too far.
    ///
    /// # Errors
    /// If the other side fails to log in, and has to.
    pub async fn accept(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buf: &mut BytesMut,
        remote: SocketAddr,
    ) -> io::Result<()> {
        let Some(judge) = &self.judge else { return Ok(()) };
        let Err(why) = self.let_in(judge, stream, buf).await else { return Ok(()) };
        let from = remote.ip();
        if self.required {
            self.warnings.say(&format!("{from} is not let in as a member: {why}"));
            return Err(io::Error::other(why));
        }
        // Nobody has to log in yet: who has failed is who has not tried.
        self.warnings.say(&format!("{from} is let in as a member although it has not logged in: {why}"));
        Ok(())
    }

    async fn let_in(
        &self,
        judge: &Judge,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buf: &mut BytesMut,
    ) -> Result<(), AuthError> {
        if !tries(stream, buf).await? {
            return if self.required { Err(AuthError::Silent) } else { Ok(()) };
        }
        let judged = match judge {
            Judge::Digest(users) => judge_digest(users, stream, buf).await,
            Judge::Kerberos { key, pool } => self.judge_kerberos(key, pool, stream, buf).await,
        };
        match &judged {
            Ok(token) => send(stream, AuthStatus::Success, token.as_deref()).await?,
            // Whoever it is may be gone: what counts is why.
            Err(_) => drop(send(stream, AuthStatus::Error, Some(b"")).await),
        }
        judged.map(|_| ())
    }

    async fn judge_kerberos(
        &self,
        key: &Arc<Credentials>,
        pool: &Pool,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buf: &mut BytesMut,
    ) -> Result<Option<Vec<u8>>, AuthError> {
        let mut acceptor = Acceptor::new()?;
        loop {
            let (_, token) = receive(stream, buf).await?;
            let shared = Arc::clone(key);
            let judged = pool.run(move || {
                let taken = acceptor.take(&shared, &token);
                (acceptor, taken)
            });
            let (next, taken) = judged.await?;
            acceptor = next;
            match taken? {
                Taken::Token(token) => send(stream, AuthStatus::InProgress, Some(&token)).await?,
                Taken::Proven(proven) if proven.acts_as_other => {
                    return Err(AuthError::ActsAsOther(proven.principal));
                }
                Taken::Proven(proven) if !self.is_member(key.principal(), &proven.principal) => {
                    return Err(AuthError::NoMember(proven.principal));
                }
                Taken::Proven(proven) => {
                    tracing::debug!(principal = proven.principal, "a member has logged in");
                    return Ok(None);
                }
            }
        }
    }

    /// Whether a principal may be a member: a service at the host of one. A user, who has no host, may
    /// not (CVE-2023-44981).
    ///
    /// differs: Java takes a service of any realm that its own one trusts, and knows no hosts but those
    /// that were members when it started.
    fn is_member(&self, own: &str, principal: &str) -> bool {
        let (Some(own), Some(other)) = (Principal::parse(own), Principal::parse(principal)) else {
            return false;
        };
        let hosts = self.hosts.read();
        own.realm == other.realm
            && other.host.is_some_and(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
    }
}

/// Whom to log in to: `_HOST` is the other member's. ref: SecurityUtils.getServerPrincipal.
fn target(service: &str, host: &str) -> String {
    let (principal, realm) = match service.split_once('@') {
        Some((principal, realm)) => (principal, Some(realm)),
        None => (service, None),
    };
    let principal = match principal.strip_suffix("/_HOST") {
        Some(name) => format!("{name}/{}", host.to_lowercase()),
        None => principal.to_owned(),
    };
    match realm {
        Some(realm) => format!("{principal}@{realm}"),
        None => principal,
    }
}

async fn log_in_by_digest(
    (user, password): (&str, &Secret),
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
) -> Result<(), AuthError> {
    send(stream, AuthStatus::InProgress, Some(b"")).await?;
    let (status, challenge) = receive(stream, buf).await?;
    expect(status, AuthStatus::InProgress)?;
    let answer = digest_md5::respond(&MEMBERS, (user, password), &nonce()?, &challenge)?;
    send(stream, AuthStatus::InProgress, Some(&answer.token)).await?;
    let (status, last) = receive(stream, buf).await?;
    expect(status, AuthStatus::Success)?;
    Ok(answer.check(&last)?)
}

async fn log_in_by_kerberos(
    keytab: &Keytab,
    target: &str,
    pool: &Pool,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
) -> Result<(), AuthError> {
    let keytab = keytab.clone();
    let read = move || Credentials::initiate(&keytab.principal, keytab.path.as_deref());
    let own = Arc::new(pool.run(read).await?.map_err(gssapi::Refused::from)?);
    let mut initiator = Initiator::new()?;
    let mut token = Bytes::new();
    loop {
        let (own, target) = (Arc::clone(&own), target.to_owned());
        let asked = pool.run(move || {
            let answer = initiator.take(&own, &target, &token);
            (initiator, answer)
        });
        let (next, answer) = asked.await?;
        initiator = next;
        send(stream, AuthStatus::InProgress, Some(&answer?)).await?;
        let (status, next) = receive(stream, buf).await?;
        match initiator.is_over() {
            true => return expect(status, AuthStatus::Success),
            false => expect(status, AuthStatus::InProgress)?,
        }
        token = next;
    }
}

fn expect(status: AuthStatus, wanted: AuthStatus) -> Result<(), AuthError> {
    match status {
        AuthStatus::Error => Err(AuthError::Failed),
        _ if status == wanted => Ok(()),
        _ => Err(AuthError::TooEarly),
    }
}
/// Whether the other side logs in: what comes next shows it. One that only asks to be called back
/// leaves without a word.
async fn tries(stream: &mut (impl AsyncRead + Unpin), buf: &mut BytesMut) -> Result<bool, AuthError> {
    loop {
        if let Some(tries) = QuorumAuthPacket::is_next(buf) {
            return Ok(tries);
        }
        if stream.read_buf(buf).await? == 0 {
            return Ok(false);
        }
    }
}

/// The last token for who has proven to be a member, if there is one.
async fn judge_digest(
    users: &BTreeMap<String, Secret>,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
) -> Result<Option<Vec<u8>>, AuthError> {
    // A first response that came uncalled for is skipped. RFC 2831, 2.2.
    receive(stream, buf).await?;
    let nonce = nonce()?;
    send(stream, AuthStatus::InProgress, Some(&digest_md5::challenge(&MEMBERS, &nonce))).await?;
    let (_, response) = receive(stream, buf).await?;
    let proven = digest_md5::judge(&MEMBERS, &nonce, users, &response)?;
    if proven.acts_as_other {
        return Err(AuthError::ActsAsOther(proven.user));
    }
    tracing::debug!(user = proven.user, "a member has logged in");
    Ok(Some(proven.token))
}

async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
) -> Result<(AuthStatus, Bytes), AuthError> {
    loop {
        if let Some(packet) = QuorumAuthPacket::decode(buf)? {
            return Ok((packet.status, packet.token.unwrap_or_default()));
        }
        buf.reserve(limits::KEEP);
        if stream.read_buf(buf).await? == 0 {
            return Err(AuthError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// In one write, as Java's buffer does.
async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    status: AuthStatus,
    token: Option<&[u8]>,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    QuorumAuthPacket { status, token: token.map(Bytes::copy_from_slice) }.encode(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use tokio::io::{DuplexStream, duplex};
    use zk_config::Secret;

    use super::*;

    fn member(password: &str, dials: bool, required: bool) -> MemberLogins {
        let password = Secret::new(password);
        let login = MemberLogin::Digest { user: "zk".to_owned(), password: password.clone() };
        let door = Door::Digest(BTreeMap::from([("zk".to_owned(), password)]));
        MemberLogins::new(Some(QuorumSasl { door, required, login: dials.then_some(login) }))
            .expect("no Kerberos")
    }

    /// What the dialling and what the accepting side think of it, and what the accepting side reads then.
    async fn meet(
        dialler: &MemberLogins,
        acceptor: &MemberLogins,
    ) -> (Result<(), String>, Result<(), String>, Vec<u8>) {
        let (mut a, mut b): (DuplexStream, DuplexStream) = duplex(1 << 16);
        let dial = async {
            let done = dialler.connect("a", &mut a, &mut BytesMut::new()).await;
            if done.is_ok() {
                a.write_all(b"the first packet").await.expect("there is room");
            }
            drop(a);
            done.map_err(|e| e.to_string())
        };
        let accept = async {
            let mut buf = BytesMut::new();
            let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let done = acceptor.accept(&mut b, &mut buf, remote).await.map_err(|e| e.to_string());
            let mut rest = buf.to_vec();
            if done.is_ok() {
                b.read_to_end(&mut rest).await.expect("an end");
            }
            drop(b);
            (done, rest)
        };
        let (dialled, (accepted, rest)) = tokio::join!(dial, accept);
        (dialled, accepted, rest)
    }

    #[tokio::test]
    async fn who_lets_whom_in() {
        let none = MemberLogins::default();
        let may = member("pw", false, false);
        let dials = member("pw", true, false);
        let must = member("pw", true, true);
        for (dialler, acceptor) in
            [(&none, &none), (&none, &may), (&may, &may), (&dials, &may), (&dials, &must)]
        {
            let met = meet(dialler, acceptor).await;
            assert_eq!(met, (Ok(()), Ok(()), b"the first packet".to_vec()));
        }
        let (_, accepted, _) = meet(&may, &must).await;
        assert!(accepted.expect_err("silent").starts_with("it does not log in"));
        for (password, required) in [("other", true), ("", true), ("other", false)] {
            let (dialled, accepted, rest) = meet(&dials, &member(password, true, required)).await;
            assert_eq!(dialled, Err("it says that the login has failed".to_owned()));
            let expected =
                if required { Err("the user or his password is wrong".to_owned()) } else { Ok(()) };
            assert_eq!((accepted, rest), (expected, Vec::new()));
        }
    }

    /// Who only says that all is well does not know the password.
    #[tokio::test]
    async fn an_impostor_is_not_followed() {
        for (answers, expected) in [
            (vec![(AuthStatus::Success, b"".to_vec())], "it is content before the exchange is over"),
            (
                vec![
                    (AuthStatus::InProgress, digest_md5::challenge(&MEMBERS, "n")),
                    (AuthStatus::Success, format!("rspauth={}", "0".repeat(32)).into_bytes()),
                ],
                "it does not know the password either",
            ),
            (
                vec![(AuthStatus::InProgress, digest_md5::challenge(&digest_md5::CLIENTS, "n"))],
                "its token has another realm",
            ),
            (vec![(AuthStatus::InProgress, vec![b' '; digest_md5::MAX_TOKEN + 1])], "its token is malformed"),
        ] {
            let (mut a, mut b) = duplex(1 << 16);
            for (status, token) in answers {
                send(&mut b, status, Some(&token)).await.expect("there is room");
            }
            let done = member("pw", true, true).connect("a", &mut a, &mut BytesMut::new()).await;
            assert_eq!(done.expect_err("an impostor").to_string(), expected);
        }
    }

    #[test]
    fn whom_to_log_in_to() {
        for (service, expected) in [
            ("zkquorum/localhost", "zkquorum/localhost"),
            ("zk/_HOST", "zk/node-1.a"),
            ("zk/_HOST@R", "zk/node-1.a@R"),
            ("zk/x_HOST@R", "zk/x_HOST@R"),
        ] {
            assert_eq!(target(service, "Node-1.a"), expected);
        }
    }

    #[test]
    fn who_may_be_a_member() {
        let logins = MemberLogins::default();
        logins.set_hosts(vec!["node-1.a".to_owned(), "10.0.0.2".to_owned()]);
        let is_member = |principal: &str| logins.is_member("zkquorum/node-1.a@R", principal);
        for member in ["zkquorum/node-1.a@R", "learner/NODE-1.A@R", "zk/10.0.0.2@R"] {
            assert!(is_member(member), "{member}");
        }
        // The first ones were let in by Java before 3.9.1.
        for other in [
            "eve@R",
            "node-1.a@R",
            "zk/@R",
            "zk/node-3.a@R",
            "zk/node-1.a@S",
            "zk/node-1.a",
            "zk/node-1.a/x@R",
            "zk/node-1.a@R@R",
            "",
        ] {
            assert!(!is_member(other), "{other}");
        }
    }
}
