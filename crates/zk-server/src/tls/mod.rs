//! TLS, by rustls: for clients and between members. The rest of the server sees bytes.
//!
//! A [`Side`] is one of the two, `ssl.*` or `ssl.quorum.*`: its files as a [`Context`], which is
//! replaced as a whole when they change. A handshake takes the context of its beginning.
//!
//! - Clients: handshakes run on threads of their own (`port`), a few, so that thousands of clients that
//!   come back at once do not hold up those that are connected. A connection comes to its worker when
//!   its handshake is over, and from then on the worker en- and decrypts (`session`). A connection
//!   without TLS never comes here, but for a glance at its first byte with `client.portUnification`.
//! - Members: a stream of either kind (`members`), made before the first byte of the protocol.
//! - The admin port: the files of the members' side, and streams like theirs (`admin`).
//! - Tools: they dial as clients do (`dialler`), with a client's settings.
//!
//! differs: sessions are not resumed, so that each connection is judged by the trust store and the
//! lists of today.
//!
//! Modules: `store` and `jks` (files), `suites` (Java's names), `trust` (chains), `names` (what is in
//! certificates), `crl` (revocation), `port`, `session`, `members`, `admin`, `dialler`.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use zk_config::config::{ClientAuth, Store, TlsSide};

use crate::limits;
use crl::Lists;
use trust::{OfClients, OfServers, Shown, Trust};

mod admin;
mod crl;
mod dialler;
mod jks;
mod members;
mod names;
mod port;
mod session;
mod store;
mod suites;
mod trust;

pub use admin::{AdminPort, AdminStream};
pub use dialler::Dialler;
pub use members::{Members, Stream};
pub use port::{Arrival, ClientPort, Counts};
pub use session::{Secured, Session};

/// The first byte of a handshake. Neither a client's first message, which begins with a length,
/// nor a word, nor what members say begins with it.
/// (ref: SslHandler.isEncrypted, NettyServerCnxnFactory.DualModeSslHandler)
pub const HANDSHAKE: u8 = 0x16;

/// Why TLS cannot be had as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file with keys or certificates.
    #[error("{key}: {file}: {why}", file = file.display())]
    Store {
        /// The key that names it.
        key: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A value that means nothing here.
    #[error("{key}={value} is refused: there is none of it here; allowed is {allowed}")]
    Setting {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// What was read does not go together.
    #[error("{prefix}*: {why}")]
    Setup {
        /// Beginning of the keys.
        prefix: &'static str,
        /// Why.
        why: String,
    },
}

/// What a handshake needs.
#[derive(Debug)]
pub struct Context {
    /// For who connects to this server.
    pub server: Arc<ServerConfig>,
    /// For who is dialled, if there is somebody to trust.
    pub client: Option<Arc<ClientConfig>>,
    trust: Option<Arc<Trust>>,
}

/// One side's files and settings.
#[derive(Debug)]
pub struct Side {
    settings: TlsSide,
    current: RwLock<Arc<Context>>,
    /// The files as they were when they were last read.
    seen: Mutex<Vec<Option<Stamp>>>,
    lists: Lists,
}

/// What changes when a file does.
type Stamp = (SystemTime, u64, u64);

impl Side {
    /// Reads the files.
    pub fn load(settings: TlsSide) -> Result<Arc<Self>, TlsError> {
        let seen = Mutex::new(stamps(&settings));
        let current = RwLock::new(Arc::new(context(&settings)?));
        Ok(Arc::new(Self { settings, current, seen, lists: Lists::default() }))
    }

    /// What new handshakes take.
    pub fn context(&self) -> Arc<Context> {
        Arc::clone(&self.current.read())
    }

    /// Its settings.
    pub fn settings(&self) -> &TlsSide {
        &self.settings
    }

    /// Reads the files again when they change, for ever, if that is wanted. What cannot be read
    /// changes nothing, and is tried again: a file may be half written.
    /// (ref: X509Util.handleWatchEvent)
    pub async fn watch(self: Arc<Self>) {
        if !self.settings.reload {
            return;
        }
        let mut warned = None;
        loop {
            tokio::time::sleep(limits::TLS_RELOAD).await;
            let side = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || side.read_if_changed()).await;
            match read {
                Ok(Ok(())) | Err(_) => warned = None,
                Ok(Err(e)) => {
                    let text = e.to_string();
                    if warned.as_ref() != Some(&text) {
                        tracing::warn!("the former certificates stay in use: {text}");
                        warned = Some(text);
                    }
                }
            }
        }
    }

    fn read_if_changed(&self) -> Result<(), TlsError> {
        let now = stamps(&self.settings);
        if *self.seen.lock() == now {
            return Ok(());
        }
        let context = context(&self.settings)?;
        // What changed while it was read is read again.
        *self.seen.lock() = now;
        *self.current.write() = Arc::new(context);
        tracing::info!("{}*: certificates were read again", self.settings.prefix);
        Ok(())
    }

    /// What the handshake could not see: whether something in the chain was revoked, which may
    /// need the network; and whether the certificate is for one of `hosts`, if it must be.
    pub async fn judge(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        shown: Shown,
        hosts: Option<&[String]>,
    ) -> Result<(), String> {
        let context = self.context();
        let lists = Some(&self.lists).filter(|_| self.settings.crl);
        judge(chain, shown, hosts, context.trust.as_deref().zip(lists)).await
    }
}

/// The certificate must be for one of `hosts`, and nothing on its way to who is trusted may stand
/// on a list, if these are given.
async fn judge(
    chain: Option<&[CertificateDer<'_>]>,
    shown: Shown,
    hosts: Option<&[String]>,
    lists: Option<(&Trust, &Lists)>,
) -> Result<(), String> {
    let Some((certificate, others)) = chain.and_then(<[_]>::split_first) else { return Ok(()) };
    if let Some(hosts) = hosts
        && !hosts.iter().any(|host| names::is_for(certificate, host))
    {
        return Err(format!("its certificate is for none of {}", hosts.join(", ")));
    }
    if let Some((trust, lists)) = lists {
        let now = UnixTime::now();
        let path = trust.verify(certificate, others, shown, now, None).map_err(|e| e.to_string())?;
        if path.is_empty() {
            return Ok(());
        }
        let lists = lists.of(&path).await;
        let lists: Vec<_> = lists.iter().map(|l| &**l).collect();
        let checked = trust.verify(certificate, others, shown, now, Some(&lists));
        checked.map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn stamps(settings: &TlsSide) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt as _;
    let stores = [Some(&settings.key_store), settings.trust_store.as_ref()];
    let files =
        stores.into_iter().flatten().flat_map(|s: &Store| [Some(&s.location), s.password_path.as_ref()]);
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len(), meta.ino()))
    };
    files.flatten().map(stamp).collect()
}

fn context(settings: &TlsSide) -> Result<Context, TlsError> {
    let setup = |why: String| TlsError::Setup { prefix: settings.prefix, why };
    let provider = suites::provider(settings.prefix, settings.cipher_suites.as_deref())?;
    let versions = suites::versions(settings.prefix, settings.protocols.as_deref())?;
    let keys = Arc::new(Keys::load(&settings.key_store, &provider)?);
    let trust = match &settings.trust_store {
        None => None,
        Some(store) => Some(trusted(store, &provider)?),
    };
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| setup(format!("enabledProtocols and ciphersuites do not go together: {e}")))?;
    let server = match trust.as_ref().filter(|_| settings.client_auth != ClientAuth::None) {
        None => server.with_no_client_auth(),
        Some(trust) => {
            let mandatory = settings.client_auth == ClientAuth::Need;
            server.with_client_cert_verifier(Arc::new(OfClients { trust: Arc::clone(trust), mandatory }))
        }
    };
    let mut server = server.with_cert_resolver(Arc::clone(&keys) as Arc<dyn ResolvesServerCert>);
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let client = match &trust {
        None => None,
        Some(trust) => {
            let client = client(provider, &versions, trust, Some(keys)).map_err(|e| setup(e.to_string()))?;
            Some(Arc::new(client))
        }
    };
    Ok(Context { server: Arc::new(server), client, trust })
}

fn trusted(store: &Store, provider: &CryptoProvider) -> Result<Arc<Trust>, TlsError> {
    let bad = |why| TlsError::Store { key: store.key.clone(), file: store.location.clone(), why };
    Ok(Arc::new(Trust::new(store::trusted(store)?, provider).map_err(bad)?))
}

/// For the side that dials. Host names are compared behind the handshake.
fn client(
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    trust: &Arc<Trust>,
    keys: Option<Arc<Keys>>,
) -> Result<ClientConfig, rustls::Error> {
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OfServers(Arc::clone(trust))));
    let mut client = match keys {
        None => client.with_no_client_auth(),
        Some(keys) => client.with_client_cert_resolver(keys),
    };
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// This server's keys: the first that the other side can work with is shown.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl Keys {
    fn load(store: &Store, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let bad = |why| TlsError::Store { key: store.key.clone(), file: store.location.clone(), why };
        let mut keys = Vec::new();
        for identity in store::identities(store)? {
            let key = CertifiedKey::from_der(identity.chain, identity.key, provider);
            let key = key.map_err(|e| bad(format!("its key and certificate cannot be used: {e}")))?;
            keys.push(Arc::new(key));
        }
        Ok(Self(keys))
    }

    fn choose(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|k| k.key.choose_scheme(schemes).is_some()).cloned()
    }
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.signature_schemes())
    }
}

impl ResolvesClientCert for Keys {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.choose(schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
