//! TLS for tools that dial a server as its clients do. (ref: ClientX509Util)

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use zk_config::config::TlsClient;

use super::crl::Lists;
use super::trust::{Shown, Trust};
use super::{Keys, TlsError, client, judge, suites, trusted};

const PREFIX: &str = "zookeeper.ssl.";

/// A client's files and settings, read once.
#[derive(Debug)]
pub struct Dialler {
    config: Arc<ClientConfig>,
    trust: Arc<Trust>,
    /// Lists of revoked certificates, if they count.
    lists: Option<Lists>,
    host_names: bool,
}

impl Dialler {
    /// Reads the files.
    pub fn load(settings: &TlsClient) -> Result<Self, TlsError> {
        let provider = suites::provider(PREFIX, settings.cipher_suites.as_deref())?;
        let versions = suites::versions(PREFIX, settings.protocols.as_deref())?;
        let trust = trusted(&settings.trust_store, &provider)?;
        let keys = settings.key_store.as_ref().map(|store| Keys::load(store, &provider).map(Arc::new));
        let config = client(provider, &versions, &trust, keys.transpose()?);
        let config = config.map_err(|e| TlsError::Setup { prefix: PREFIX, why: e.to_string() })?;
        let lists = settings.crl.then(Lists::default);
        Ok(Self { config: Arc::new(config), trust, lists, host_names: settings.host_names })
    }

    /// The handshake with the server that was dialled as `host`. It blocks, as long as the stream's own limits
    /// let it.
    ///
    /// differs: a certificate that is for the name which reverse DNS gives for an address is not taken, see
    /// `names`; Java takes it with `fips-mode=false`.
    pub fn shake(&self, stream: &mut TcpStream, host: &str) -> io::Result<ClientConnection> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(stream)?;
        }
        let hosts = self.host_names.then(|| vec![host.to_owned()]);
        let lists = self.lists.as_ref().map(|lists| (&*self.trust, lists));
        let judged = judge(session.peer_certificates(), Shown::ByServer, hosts.as_deref(), lists);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(judged).map_err(io::Error::other)?;
        Ok(session)
    }
}
