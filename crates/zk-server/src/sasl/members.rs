//! Members that log in to each other: the exchange on a connection between two of them.
//!
//! The side that dials proves who it is, on the election port behind its hello, on the quorum port
//! before its first packet. Each of the three settings may be switched on in a round of restarts of
//! its own: who does not log in is let in until `serverRequireSasl`.
//!
//! ref: SaslQuorumAuthLearner, SaslQuorumAuthServer, SaslQuorumServerCallbackHandler.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zk_config::config::{Login, QuorumSasl};
use zk_proto::quorum::QuorumError;
use zk_proto::quorum::auth::{AuthStatus, QuorumAuthPacket};

use super::digest_md5::{self, MAX_TOKEN, MEMBERS, Refused};
use super::nonce;
use crate::limits;
use crate::logs::Warnings;

/// How this member logs in to others, and whom it lets in. By default nobody says who he is.
#[derive(Debug, Default)]
pub struct MemberLogins {
    settings: Option<QuorumSasl>,
    warnings: Warnings,
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
    #[error("user {0:?} wants to act under another name")]
    ActsAsOther(String),
    #[error("it has sent no token")]
    NoToken,
    #[error("its token has more than {MAX_TOKEN} bytes")]
    TooLong,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Packet(#[from] QuorumError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl MemberLogins {
    /// By what the configuration says.
    pub fn new(settings: Option<QuorumSasl>) -> Self {
        Self { settings, warnings: Warnings::default() }
    }

    /// The dialling side. `buf` takes what was read too far.
    ///
    /// # Errors
    /// If the other side does not let this one in, or does not prove that it is a member too.
    pub async fn connect(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buf: &mut BytesMut,
    ) -> io::Result<()> {
        let Some(login) = self.settings.as_ref().and_then(|s| s.login.as_ref()) else { return Ok(()) };
        log_in(login, stream, buf).await.map_err(|why| {
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
        let Some(settings) = &self.settings else { return Ok(()) };
        let Err(why) = let_in(settings, stream, buf).await else { return Ok(()) };
        let from = remote.ip();
        if settings.required {
            self.warnings.say(&format!("{from} is not let in as a member: {why}"));
            return Err(io::Error::other(why));
        }
        // Nobody has to log in yet: who has failed is who has not tried.
        self.warnings.say(&format!("{from} is let in as a member although it has not logged in: {why}"));
        Ok(())
    }
}

async fn log_in(
    login: &Login,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
) -> Result<(), AuthError> {
    send(stream, AuthStatus::InProgress, Some(b"")).await?;
    let (status, challenge) = receive(stream, buf).await?;
    expect(status, AuthStatus::InProgress)?;
    let answer = digest_md5::respond(&MEMBERS, (&login.user, &login.password), &nonce()?, &challenge)?;
    send(stream, AuthStatus::InProgress, Some(&answer.token)).await?;
    let (status, last) = receive(stream, buf).await?;
    expect(status, AuthStatus::Success)?;
    Ok(answer.check(&last)?)
}

fn expect(status: AuthStatus, wanted: AuthStatus) -> Result<(), AuthError> {
    match status {
        AuthStatus::Error => Err(AuthError::Failed),
        _ if status == wanted => Ok(()),
        _ => Err(AuthError::TooEarly),
    }
}

async fn let_in(
    settings: &QuorumSasl,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
) -> Result<(), AuthError> {
    if !tries(stream, buf).await? {
        return if settings.required { Err(AuthError::Silent) } else { Ok(()) };
    }
    let judged = judge(settings, stream, buf).await;
    match &judged {
        Ok(token) => send(stream, AuthStatus::Success, Some(token)).await?,
        // Whoever it is may be gone: what counts is why.
        Err(_) => drop(send(stream, AuthStatus::Error, Some(b"")).await),
    }
    judged.map(|_| ())
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

/// The last token for who has proven to be a member.
async fn judge(
    settings: &QuorumSasl,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
) -> Result<Vec<u8>, AuthError> {
    // A first response that came uncalled for is skipped. RFC 2831, 2.2.
    receive(stream, buf).await?;
    let nonce = nonce()?;
    send(stream, AuthStatus::InProgress, Some(&digest_md5::challenge(&MEMBERS, &nonce))).await?;
    let (_, response) = receive(stream, buf).await?;
    let proven = digest_md5::judge(&MEMBERS, &nonce, &settings.users, &response)?;
    if proven.acts_as_other {
        return Err(AuthError::ActsAsOther(proven.user));
    }
    tracing::debug!(user = proven.user, "a member has logged in");
    Ok(proven.token)
}

async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
) -> Result<(AuthStatus, Bytes), AuthError> {
    loop {
        if let Some(packet) = QuorumAuthPacket::decode(buf)? {
            let token = packet.token.ok_or(AuthError::NoToken)?;
            return if token.len() > MAX_TOKEN {
                Err(AuthError::TooLong)
            } else {
                Ok((packet.status, token))
            };
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
        let login = Login { user: "zk".to_owned(), password: password.clone() };
        let users = BTreeMap::from([("zk".to_owned(), password)]);
        MemberLogins::new(Some(QuorumSasl { users, required, login: dials.then_some(login) }))
    }

    /// What the dialling and what the accepting side think of it, and what the accepting side reads then.
    async fn meet(
        dialler: &MemberLogins,
        acceptor: &MemberLogins,
    ) -> (Result<(), String>, Result<(), String>, Vec<u8>) {
        let (mut a, mut b): (DuplexStream, DuplexStream) = duplex(1 << 16);
        let dial = async {
            let done = dialler.connect(&mut a, &mut BytesMut::new()).await;
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
            (vec![(AuthStatus::InProgress, vec![b' '; MAX_TOKEN + 1])], "its token has more than 4096 bytes"),
        ] {
            let (mut a, mut b) = duplex(1 << 16);
            for (status, token) in answers {
                send(&mut b, status, Some(&token)).await.expect("there is room");
            }
            let done = member("pw", true, true).connect(&mut a, &mut BytesMut::new()).await;
            assert_eq!(done.expect_err("an impostor").to_string(), expected);
        }
    }
}
