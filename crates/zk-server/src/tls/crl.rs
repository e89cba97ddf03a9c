//! Lists of revoked certificates, from where the certificates say that they are.
//! (ref: X509Util.createTrustManager, com.sun.security.enableCRLDP)

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::names;

/// How long a list is taken for new. (ref: URICertStore.CHECK_INTERVAL)
const FRESH: Duration = Duration::from_secs(30);
/// Longest time to get one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest list.
const MAX_BYTES: u64 = 16 << 20;
/// Most lists that are kept. Only trusted authorities can name more.
const MAX_LISTS: usize = 1024;

/// A list, ready for use.
pub type List = Arc<CertRevocationList<'static>>;

/// The lists that were asked for so far.
#[derive(Debug, Default)]
pub struct Lists(Mutex<HashMap<String, (Instant, List)>>);

impl Lists {
    /// The lists of a chain that is trusted, since they are fetched from where it says. One that
    /// cannot be had is missing, or an old one as long as it is in date; whoever checks the chain
    /// finds out.
    pub async fn of(&self, chain: &[CertificateDer<'_>]) -> Vec<List> {
        let mut found = Vec::new();
        for address in chain.iter().flat_map(|c| names::revocation_lists(c)) {
            found.extend(self.get(&address).await);
        }
        found
    }

    async fn get(&self, address: &str) -> Option<List> {
        let known = self.0.lock().get(address).cloned();
        if let Some((at, list)) = &known
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(list));
        }
        match fetch(address).await {
            Ok(list) => {
                let list = Arc::new(list);
                let mut lists = self.0.lock();
                if lists.len() < MAX_LISTS || lists.contains_key(address) {
                    lists.insert(address.to_owned(), (Instant::now(), Arc::clone(&list)));
                }
                Some(list)
            }
            Err(e) => {
                tracing::warn!(address, "cannot get a list of revoked certificates: {e}");
                known.map(|(_, list)| list)
            }
        }
    }
}

async fn fetch(address: &str) -> io::Result<CertRevocationList<'static>> {
    let get = async {
        match address.split_once(':') {
            Some(("file", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path).to_owned();
                tokio::task::spawn_blocking(move || std::fs::read(path)).await.map_err(io::Error::other)?
            }
            Some(("http", rest)) => http(rest.trim_start_matches('/')).await,
            _ => Err(io::Error::other("only http and file addresses are followed")),
        }
    };
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    let bytes = tokio::time::timeout(PATIENCE, get).await.unwrap_or_else(late)?;
    let der = match rustls_pki_types::pem::from_buf(&mut &*bytes) {
        Ok(Some((rustls_pki_types::pem::SectionKind::Crl, der))) => der,
        _ => bytes,
    };
    let list = OwnedCertRevocationList::from_der(&der).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(list.into())
}

/// Asks in HTTP/1.0, which has no pieces and ends with the connection.
async fn http(rest: &str) -> io::Result<Vec<u8>> {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if rest.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut stream = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && !name.ends_with(':') => {
            TcpStream::connect(host).await?
        }
        _ => TcpStream::connect((host, 80)).await?,
    };
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let body = bytes.split_off(end + 4);
    let status = String::from_utf8_lossy(&bytes);
    let status = status.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body),
        _ => Err(io::Error::other(format!("the answer is {status}"))),
    }
}
