//! Clients that log in by SASL: the exchange of one connection.
//!
//! ```text
//!  New --any token--> Challenged --response--> Over (in or refused)
//! ```
//! Who has logged in, or has failed, gets no second try on the connection.
//!
//! Members log in to each other in `members`. Not here: Kerberos (GSSAPI).
//!
//! ref: ZooKeeperSaslServer, ZooKeeperServer.processSasl.

pub mod digest_md5;
pub mod members;

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use zk_config::config::Sasl;
use zk_pipeline::auth::valid_principal;
use zk_proto::AuthId;

use digest_md5::{CLIENTS, MAX_TOKEN, Refused};

/// How far a connection has come with its login.
#[derive(Debug, Default)]
pub enum Exchange {
    /// Nothing was said.
    #[default]
    New,
    /// The challenge with this nonce was sent.
    Challenged(String),
    /// It was the last one, whatever came of it.
    Over,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The token for the client.
    pub token: Vec<u8>,
    /// Identities that the client has proven.
    pub proven: Vec<AuthId>,
}

/// Why a client is not let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Its token is longer than allowed.
    #[error("the token has more than {MAX_TOKEN} bytes")]
    TooLong,
    /// The exchange has ended before.
    #[error("the exchange is over")]
    Over,
    /// Its response is not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Its name can be nobody's: Java closes without an answer.
    #[error("the name of the user is not valid")]
    Name,
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(io::Error),
}

impl Exchange {
    /// Takes a token of the client.
    ///
    /// # Errors
    /// If the login has failed.
    pub fn take(&mut self, sasl: &Sasl, token: &[u8]) -> Result<Answer, LoginError> {
        if token.len() > MAX_TOKEN {
            return Err(LoginError::TooLong);
        }
        match std::mem::replace(self, Self::Over) {
            // A first response that came uncalled for is skipped. RFC 2831, 2.2.
            Self::New => {
                let nonce = nonce().map_err(LoginError::Random)?;
                let token = digest_md5::challenge(&CLIENTS, &nonce);
                *self = Self::Challenged(nonce);
                Ok(Answer { token, proven: Vec::new() })
            }
            Self::Challenged(nonce) => {
                let proven = digest_md5::judge(&CLIENTS, &nonce, &sasl.users, token)?;
                let ids = identities(sasl, proven.user).ok_or(LoginError::Name)?;
                Ok(Answer { token: proven.token, proven: ids })
            }
            Self::Over => Err(LoginError::Over),
        }
    }
}

/// Who a user is. `None`: his name is no valid principal.
///
/// differs: a user `name@REALM` keeps his whole name. Java shortens it by Kerberos' rules if the
/// realm is the machine's own, and without such a rule takes any name that the client asks for.
/// ref: SaslServerCallbackHandler.handleAuthorizeCallback, ZooKeeperServer.isSaslSuperUser.
fn identities(sasl: &Sasl, user: String) -> Option<Vec<AuthId>> {
    if !valid_principal(&user) {
        return None;
    }
    let is_super = sasl.super_users.contains(&user);
    let mut ids = vec![AuthId::new("sasl", &user)];
    if is_super {
        ids.push(AuthId::new("super", ""));
    }
    Some(ids)
}

/// 240 random bits, as Java makes them.
fn nonce() -> io::Result<String> {
    let mut bytes = [0; 30];
    OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use zk_config::Secret;

    use super::*;

    fn sasl() -> Sasl {
        Sasl {
            users: BTreeMap::from([("bob".to_owned(), Secret::new("pw"))]),
            super_users: BTreeSet::from(["kim".to_owned()]),
            allow_failed: false,
        }
    }

    #[test]
    fn there_is_one_try() {
        let mut e = Exchange::default();
        let first = e.take(&sasl(), b"").expect("a challenge");
        assert!(first.token.starts_with(b"realm=\"zk-sasl-md5\",nonce=\"") && first.proven.is_empty());
        assert!(matches!(e.take(&sasl(), b"realm=\"zk-sasl-md5\""), Err(LoginError::Refused(_))));
        assert!(matches!(e.take(&sasl(), b""), Err(LoginError::Over)));
    }

    #[test]
    fn no_nonce_comes_twice() {
        let challenge = || Exchange::default().take(&sasl(), b"uncalled for").expect("a challenge").token;
        assert_ne!(challenge(), challenge());
    }

    #[test]
    fn tokens_are_bounded() {
        let mut e = Exchange::default();
        assert!(matches!(e.take(&sasl(), &[0; MAX_TOKEN + 1]), Err(LoginError::TooLong)));
        assert!(e.take(&sasl(), &[0; MAX_TOKEN]).is_ok());
    }

    #[test]
    fn who_is_who() {
        let of = |user: &str| identities(&sasl(), user.to_owned());
        assert_eq!(of("bob"), Some(vec![AuthId::new("sasl", "bob")]));
        assert_eq!(of("kim"), Some(vec![AuthId::new("sasl", "kim"), AuthId::new("super", "")]));
        assert_eq!(of("a@b@c"), None);
    }
}
