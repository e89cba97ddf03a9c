//! Logins by SASL: the exchange of one client's connection.
//!
//! ```text
//!  DIGEST-MD5:  New --any token--> Challenged --response--> Over (in or refused)
//!  GSSAPI:      New --token--> Working --> Tickets --token--> Working ... --> Over (in or refused)
//! ```
//! Who has logged in, or has failed, gets no second try on the connection. Kerberos works on threads of
//! its own; the connection takes nothing more meanwhile.
//!
//! Mechanisms are in `digest_md5` and `gssapi`, Kerberos' names in `names`, its threads in `pool`. Members
//! log in to each other in `members`.
//!
//! ref: ZooKeeperSaslServer, ZooKeeperServer.processSasl.

pub mod digest_md5;
pub mod gssapi;
pub mod members;
pub mod names;
pub mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use zk_config::Secret;
use zk_config::config::{Auth, Door, Keytab, Login, Sasl};
use zk_gssapi::Credentials;
use zk_pipeline::auth::valid_principal;
use zk_proto::AuthId;

use digest_md5::CLIENTS;
use gssapi::Acceptor;
use names::{Names, Principal, RuleError};
use pool::{Busy, Pool};

/// Why logins cannot be had as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Kerberos has no key, or is not there.
    #[error("Kerberos as {principal}: {source}")]
    Kerberos {
        /// As whom.
        principal: String,
        /// What it says.
        source: zk_gssapi::Error,
    },
    /// A rule is none.
    #[error("security.auth_to_local: {0}")]
    Rules(#[from] RuleError),
    /// Too late for the file.
    #[error("java.security.krb5.conf cannot be set once there are threads: set KRB5_CONFIG instead")]
    Configuration,
    /// There are no threads for it.
    #[error("cannot start threads for logins: {0}")]
    Threads(#[from] io::Error),
}

/// Tells Kerberos where its configuration is. Before anything else that has to do with logins.
///
/// # Errors
/// If there are other threads already.
pub fn configure(auth: &Auth) -> Result<(), SetupError> {
    match &auth.krb5_conf {
        Some(path) if !zk_gssapi::configure(path) => Err(SetupError::Configuration),
        _ => Ok(()),
    }
}

/// The key of a service.
fn service_key(keytab: &Keytab) -> Result<Credentials, SetupError> {
    let failed = |source| SetupError::Kerberos { principal: keytab.principal.clone(), source };
    Credentials::accept(&keytab.principal, keytab.path.as_deref()).map_err(failed)
}

/// How clients log in.
#[derive(Debug)]
pub struct Logins {
    mechanism: Mechanism,
    super_users: BTreeSet<String>,
    /// Who fails stays, without an identity.
    pub allow_failed: bool,
}

#[derive(Debug)]
enum Mechanism {
    Digest(BTreeMap<String, Secret>),
    Kerberos { key: Credentials, names: Names, pool: Pool },
}

impl Logins {
    /// By what the configuration says.
    ///
    /// # Errors
    /// If Kerberos is asked for and has no key, or rules are wrong.
    pub fn new(sasl: &Sasl) -> Result<Self, SetupError> {
        let mechanism = match &sasl.door {
            Door::Digest(users) => Mechanism::Digest(users.clone()),
            Door::Kerberos(keytab) => {
                let key = service_key(keytab)?;
                // Without one in the configuration nobody has the default realm.
                let own = zk_gssapi::full_name("nobody").unwrap_or_default();
                let realm = Principal::parse(&own).map(|p| p.realm.to_owned()).unwrap_or_default();
                let names = Names::new(sasl.names.clone(), realm)?;
                Mechanism::Kerberos { key, names, pool: Pool::start("logins")? }
            }
        };
        Ok(Self { mechanism, super_users: sasl.super_users.clone(), allow_failed: sasl.allow_failed })
    }

    /// Who a user is. `None`: his name is no valid principal.
    ///
    /// differs: a user of DIGEST-MD5 named `name@REALM` keeps his whole name. Java shortens it by
    /// Kerberos' rules if the realm is the machine's own, and without such a rule takes any name that
    /// the client asks for.
    /// ref: SaslServerCallbackHandler.handleAuthorizeCallback, ZooKeeperServer.isSaslSuperUser.
    fn identities(&self, user: &str) -> Option<Vec<AuthId>> {
        if !valid_principal(user) {
            return None;
        }
        let mut ids = vec![AuthId::new("sasl", user)];
        if self.super_users.contains(user) {
            ids.push(AuthId::new("super", ""));
        }
        Some(ids)
    }
}

/// How far a connection has come with its login.
#[derive(Debug, Default)]
pub enum Exchange {
    /// Nothing was said.
    #[default]
    New,
    /// The challenge of DIGEST-MD5 with this nonce was sent.
    Challenged(String),
    /// A token of GSSAPI was answered.
    Tickets(Box<Acceptor>),
    /// A token of GSSAPI is being judged.
    Working,
    /// It was the last one, whatever came of it.
    Over,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The token for the client. `None`: GSSAPI has nothing more to say.
    pub token: Option<Vec<u8>>,
    /// Identities that the client has proven.
    pub proven: Vec<AuthId>,
}

/// What comes of a token.
#[derive(Debug)]
pub enum Taken {
    /// It is answered at once.
    Answer(Answer),
    /// It has to be worked on.
    Work(Work),
}

/// Why a client is not let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Its token is longer than allowed.
    #[error("the token is too long")]
    TooLong,
    /// The exchange has ended before.
    #[error("the exchange is over")]
    Over,
    /// Its response is not taken.
    #[error(transparent)]
    Digest(#[from] digest_md5::Refused),
    /// Its ticket is not taken.
    #[error(transparent)]
    Kerberos(#[from] gssapi::Refused),
    /// Its name can be nobody's: Java closes without an answer.
    #[error("the name of the user is not valid")]
    Name,
    /// Others are before it.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(io::Error),
}

impl LoginError {
    /// Whether the client is to blame, and not this server.
    pub fn is_of_client(&self) -> bool {
        !matches!(self, Self::Busy(_) | Self::Random(_))
    }
}

impl Exchange {
    /// Whether the connection has to wait.
    pub fn is_working(&self) -> bool {
        matches!(self, Self::Working)
    }

    /// Takes a token of the client.
    ///
    /// # Errors
    /// If the login has failed.
    pub fn take(&mut self, logins: &Arc<Logins>, token: &[u8]) -> Result<Taken, LoginError> {
        let longest = match logins.mechanism {
            Mechanism::Digest(_) => digest_md5::MAX_TOKEN,
            Mechanism::Kerberos { .. } => gssapi::MAX_TOKEN,
        };
        if token.len() > longest {
            return Err(LoginError::TooLong);
        }
        match (std::mem::replace(self, Self::Over), &logins.mechanism) {
            // A first response that came uncalled for is skipped. RFC 2831, 2.2.
            (Self::New, Mechanism::Digest(_)) => {
                let nonce = nonce().map_err(LoginError::Random)?;
                let token = Some(digest_md5::challenge(&CLIENTS, &nonce));
                *self = Self::Challenged(nonce);
                Ok(Taken::Answer(Answer { token, proven: Vec::new() }))
            }
            (Self::Challenged(nonce), Mechanism::Digest(users)) => {
                let proven = digest_md5::judge(&CLIENTS, &nonce, users, token)?;
                // The name that it wants to act under counts for nothing, as in Java's ZooKeeper.
                let ids = logins.identities(&proven.user).ok_or(LoginError::Name)?;
                Ok(Taken::Answer(Answer { token: Some(proven.token), proven: ids }))
            }
            (Self::New, Mechanism::Kerberos { .. }) => {
                Ok(self.work(logins, Box::new(Acceptor::new()?), token))
            }
            (Self::Tickets(acceptor), Mechanism::Kerberos { .. }) => Ok(self.work(logins, acceptor, token)),
            _ => Err(LoginError::Over),
        }
    }

    fn work(&mut self, logins: &Arc<Logins>, acceptor: Box<Acceptor>, token: &[u8]) -> Taken {
        *self = Self::Working;
        Taken::Work(Work { logins: Arc::clone(logins), acceptor, token: token.to_vec() })
    }
}

/// A token of GSSAPI on its way to the threads that judge it.
#[derive(Debug)]
pub struct Work {
    logins: Arc<Logins>,
    acceptor: Box<Acceptor>,
    token: Vec<u8>,
}

impl Work {
    /// Has it judged: how far the exchange is then, and what to answer.
    pub async fn done(self) -> (Exchange, Result<Answer, LoginError>) {
        let Self { logins, mut acceptor, token } = self;
        let Mechanism::Kerberos { pool, .. } = &logins.mechanism else {
            return (Exchange::Over, Err(LoginError::Over));
        };
        let shared = Arc::clone(&logins);
        let judged = pool.run(move || {
            let Mechanism::Kerberos { key, .. } = &shared.mechanism else { return Err(LoginError::Over) };
            let taken = acceptor.take(key, &token)?;
            Ok((acceptor, taken))
        });
        match judged.await.map_err(LoginError::Busy).flatten() {
            Ok((acceptor, gssapi::Taken::Token(token))) => {
                (Exchange::Tickets(acceptor), Ok(Answer { token: Some(token), proven: Vec::new() }))
            }
            Ok((_, gssapi::Taken::Proven(proven))) => (Exchange::Over, logins.named(&proven.principal)),
            Err(e) => (Exchange::Over, Err(e)),
        }
    }
}

/// One login of a tool that connects as a client.
/// ref: ZooKeeperSaslClient.
#[derive(Debug)]
pub struct Caller {
    login: Login,
    step: Step,
}

/// How far a [`Caller`] has come.
#[derive(Debug)]
enum Step {
    New,
    Asked,
    Answered(digest_md5::Response),
    Over,
}

impl Caller {
    /// Somebody who has said nothing yet.
    pub fn new(login: Login) -> Self {
        Self { login, step: Step::New }
    }

    /// What to say to a token of the server's; the first one is empty, since the client begins. `None`:
    /// the server has proven that it knows the password too, and there is nothing more to say.
    ///
    /// # Errors
    /// If the server's token is not taken.
    pub fn answer(&mut self, token: &[u8]) -> Result<Option<Vec<u8>>, LoginError> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::New => {
                self.step = Step::Asked;
                Ok(Some(Vec::new()))
            }
            Step::Asked => {
                let own = nonce().map_err(LoginError::Random)?;
                let who = (self.login.user.as_str(), &self.login.password);
                let response = digest_md5::respond(&CLIENTS, who, &own, token)?;
                let said = response.token.clone();
                self.step = Step::Answered(response);
                Ok(Some(said))
            }
            Step::Answered(response) => {
                response.check(token)?;
                Ok(None)
            }
            Step::Over => Err(LoginError::Over),
        }
    }
}

impl Logins {
    /// As in Java the name that the client wants to act under counts for nothing.
    fn named(&self, principal: &str) -> Result<Answer, LoginError> {
        let Mechanism::Kerberos { names, .. } = &self.mechanism else { return Err(LoginError::Over) };
        let ids = names.of(principal).and_then(|name| self.identities(&name)).ok_or(LoginError::Name)?;
        Ok(Answer { token: None, proven: ids })
    }
}

/// 240 random bits, as Java makes them.
fn nonce() -> io::Result<String> {
    let mut bytes = [0; 30];
    OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins() -> Arc<Logins> {
        Arc::new(Logins {
            mechanism: Mechanism::Digest(BTreeMap::from([("bob".to_owned(), Secret::new("pw"))])),
            super_users: BTreeSet::from(["kim".to_owned()]),
            allow_failed: false,
        })
    }

    fn answer(taken: Result<Taken, LoginError>) -> Answer {
        match taken {
            Ok(Taken::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_caller_is_let_in_by_his_server() {
        let mut c = Caller::new(Login { user: "bob".to_owned(), password: Secret::new("pw") });
        let mut e = Exchange::default();
        let first = c.answer(b"").expect("it begins").expect("a token");
        let challenge = answer(e.take(&logins(), &first)).token.expect("a challenge");
        let response = c.answer(&challenge).expect("taken").expect("a response");
        let done = answer(e.take(&logins(), &response));
        assert_eq!(done.proven, [AuthId::new("sasl", "bob")]);
        assert_eq!(c.answer(&done.token.expect("a proof")).expect("the proof is right"), None);
        assert!(matches!(c.answer(b""), Err(LoginError::Over)));
    }

    #[test]
    fn there_is_one_try() {
        let mut e = Exchange::default();
        let first = answer(e.take(&logins(), b""));
        let token = first.token.expect("a challenge");
        assert!(token.starts_with(b"realm=\"zk-sasl-md5\",nonce=\"") && first.proven.is_empty());
        assert!(matches!(e.take(&logins(), b"realm=\"zk-sasl-md5\""), Err(LoginError::Digest(_))));
        assert!(matches!(e.take(&logins(), b""), Err(LoginError::Over)));
    }

    #[test]
    fn no_nonce_comes_twice() {
        let challenge = || answer(Exchange::default().take(&logins(), b"uncalled for")).token;
        assert_ne!(challenge(), challenge());
    }

    #[test]
    fn tokens_are_bounded() {
        let mut e = Exchange::default();
        assert!(matches!(e.take(&logins(), &[0; digest_md5::MAX_TOKEN + 1]), Err(LoginError::TooLong)));
        assert!(e.take(&logins(), &[0; digest_md5::MAX_TOKEN]).is_ok());
    }

    #[test]
    fn who_is_to_blame() {
        assert!(LoginError::Over.is_of_client() && !LoginError::Busy(Busy).is_of_client());
    }

    #[test]
    fn who_is_who() {
        let of = |user: &str| logins().identities(user);
        assert_eq!(of("bob"), Some(vec![AuthId::new("sasl", "bob")]));
        assert_eq!(of("kim"), Some(vec![AuthId::new("sasl", "kim"), AuthId::new("super", "")]));
        assert_eq!(of("a@b@c"), None);
    }
}
