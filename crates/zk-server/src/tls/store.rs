//! Files with keys and certificates. (ref: FileKeyStoreLoader and what extends it, PemReader)
//!
//! Which format a file of Java has is told by its content, as Java does: a keytool of today writes
//! PKCS12 whatever the file is called. No message holds a password.

use std::fs;
use std::path::Path;

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls_pki_types::pem::{self, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zk_config::config::{Store, StoreKind};

use super::TlsError;
use super::jks;

/// Largest file that is read: the certificates of all public authorities are a quarter of it.
const MAX_BYTES: u64 = 4 << 20;

/// A key with its certificate and those between it and an authority.
pub struct Identity {
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// The certificate, then the others.
    pub chain: Vec<CertificateDer<'static>>,
}

/// This server's keys.
pub fn identities(store: &Store) -> Result<Vec<Identity>, TlsError> {
    let (bytes, password) = contents(store)?;
    let found = match store.kind {
        StoreKind::Pem => vec![pem_identity(&bytes, &password).map_err(|why| bad(store, why))?],
        StoreKind::Java => java(&bytes, &password).map_err(|why| bad(store, why))?.0,
    };
    if found.is_empty() {
        return Err(bad(store, "it holds no private key"));
    }
    Ok(found)
}

/// Certificates that are trusted.
pub fn trusted(store: &Store) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (bytes, password) = contents(store)?;
    let found = match store.kind {
        StoreKind::Pem => pem_sections(&bytes)
            .map_err(|why| bad(store, why))?
            .into_iter()
            .filter(|(kind, _)| *kind == SectionKind::Certificate)
            .map(|(_, der)| CertificateDer::from(der))
            .collect(),
        StoreKind::Java => java(&bytes, &password).map_err(|why| bad(store, why))?.1,
    };
    if found.is_empty() {
        return Err(bad(store, "it holds no trusted certificate (keytool -importcert makes such entries)"));
    }
    Ok(found)
}

fn bad(store: &Store, why: impl Into<String>) -> TlsError {
    TlsError::Store { key: store.key.clone(), file: store.location.clone(), why: why.into() }
}

fn contents(store: &Store) -> Result<(Vec<u8>, String), TlsError> {
    let read = |path: &Path| {
        let length = fs::metadata(path)?.len();
        if length > MAX_BYTES {
            return Err(std::io::Error::other("it is far larger than a file with keys"));
        }
        fs::read(path)
    };
    let bytes = read(&store.location).map_err(|e| bad(store, format!("it cannot be read: {e}")))?;
    let password = match &store.password_path {
        None => store.password.as_ref().map(|p| p.expose().to_owned()).unwrap_or_default(),
        Some(path) => {
            let text = read(path).map_err(|e| {
                bad(store, format!("its password cannot be read from {}: {e}", path.display()))
            })?;
            let text = String::from_utf8_lossy(&text).into_owned();
            // One line end goes. ref: SecretUtils.readSecret.
            text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
        }
    };
    Ok((bytes, password))
}

type Entries = (Vec<Identity>, Vec<CertificateDer<'static>>);

fn java(bytes: &[u8], password: &str) -> Result<Entries, String> {
    if bytes.starts_with(&jks::MAGIC) {
        let content = jks::read(bytes, password).map_err(|e| e.to_string())?;
        let identity = |(key, chain): (Vec<u8>, Vec<Vec<u8>>)| Identity {
            key: PrivatePkcs8KeyDer::from(key).into(),
            chain: chain.into_iter().map(CertificateDer::from).collect(),
        };
        let trusted = content.trusted.into_iter().map(|(_, der)| CertificateDer::from(der)).collect();
        return Ok((content.keys.into_iter().map(identity).collect(), trusted));
    }
    if !bytes.starts_with(&[0x30]) {
        return Err("it is neither JKS nor PKCS12; for a text file set the type to PEM".to_owned());
    }
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Strict)
        .map_err(|e| format!("as PKCS12 it cannot be opened, is the password right: {e}"))?;
    let mut entries = Entries::default();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(chain) => entries.0.push(Identity {
                key: PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec()).into(),
                chain: chain.certs().iter().map(|c| CertificateDer::from(c.as_der().to_vec())).collect(),
            }),
            KeyStoreEntry::Certificate(certificate) => {
                entries.1.push(CertificateDer::from(certificate.as_der().to_vec()));
            }
            KeyStoreEntry::Secret(_) => {}
        }
    }
    Ok(entries)
}

fn pem_sections(bytes: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, String> {
    let mut rest = bytes;
    let mut sections = Vec::new();
    while let Some(section) =
        pem::from_buf(&mut rest).map_err(|e| format!("as PEM it cannot be read: {e:?}"))?
    {
        sections.push(section);
    }
    Ok(sections)
}

const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY";

/// The key and its certificate in one file; the key may be behind the password.
fn pem_identity(bytes: &[u8], password: &str) -> Result<Identity, String> {
    let (mut key, mut chain) = (None, Vec::new());
    for (kind, der) in pem_sections(bytes)? {
        match kind {
            SectionKind::Certificate => chain.push(CertificateDer::from(der)),
            SectionKind::PrivateKey => key = Some(PrivatePkcs8KeyDer::from(der).into()),
            SectionKind::RsaPrivateKey => key = Some(PrivateKeyDer::Pkcs1(der.into())),
            SectionKind::EcPrivateKey => key = Some(PrivateKeyDer::Sec1(der.into())),
            _ => {}
        }
    }
    if key.is_none()
        && let Some(der) = encrypted_key(bytes)
    {
        let sealed = EncryptedPrivateKeyInfoRef::try_from(&*der)
            .map_err(|e| format!("its encrypted key cannot be read: {e}"))?;
        let opened = sealed.decrypt(password).map_err(|_| {
            "its encrypted key does not open, is the password right (what openssl pkcs8 -topk8 -v2 aes256 \
             writes can be read, the old PBES1 cannot)"
                .to_owned()
        })?;
        key = Some(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into());
    }
    let key = key.ok_or("it holds no private key")?;
    if chain.is_empty() {
        return Err("it holds no certificate; key and certificates belong into the same file".to_owned());
    }
    Ok(Identity { key, chain })
}

/// The bytes of a section that the reader of PEM passes over.
fn encrypted_key(bytes: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = String::from_utf8_lossy(bytes);
    let label = String::from_utf8_lossy(ENCRYPTED);
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}
