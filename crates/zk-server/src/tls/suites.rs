//! Protocols and cipher suites by Java's names.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{SupportedProtocolVersion, version};

use super::TlsError;

const ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The versions that are offered. Those of the list that nobody should use any more are left
/// out with a warning; Java's own security settings turn them off too.
pub fn versions(
    prefix: &str,
    names: Option<&[String]>,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let Some(names) = names else { return Ok(ALL.to_vec()) };
    let mut versions = Vec::new();
    for name in names {
        match name.as_str() {
            "TLSv1.3" => versions.push(ALL[0]),
            "TLSv1.2" => versions.push(ALL[1]),
            "TLS" => versions.extend(ALL),
            "TLSv1.1" | "TLSv1" | "SSLv3" | "SSLv2Hello" => {
                tracing::warn!("{prefix}enabledProtocols: {name} is broken and left out");
            }
            _ => return Err(refuse(prefix, "enabledProtocols", name, "TLSv1.3 and TLSv1.2")),
        }
    }
    if versions.is_empty() {
        return Err(refuse(prefix, "enabledProtocols", &names.join(","), "TLSv1.3 and TLSv1.2"));
    }
    Ok(versions)
}

/// The provider with the suites of the list, in its order. Those that are not there are left out
/// with a warning, which never makes a connection weaker.
pub fn provider(prefix: &str, names: Option<&[String]>) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = rustls::crypto::ring::default_provider();
    let Some(names) = names else { return Ok(Arc::new(provider)) };
    let java = |suite: &rustls::SupportedCipherSuite| {
        suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
    };
    let all = provider.cipher_suites.clone();
    let allowed = || all.iter().map(java).collect::<Vec<_>>().join(", ");
    provider.cipher_suites.clear();
    for name in names {
        match all.iter().find(|s| java(s) == *name) {
            Some(suite) => provider.cipher_suites.push(*suite),
            // What a list may hold as well says nothing about how to connect.
            None if name == "TLS_EMPTY_RENEGOTIATION_INFO_SCSV" => {}
            None if name.starts_with("TLS_") || name.starts_with("SSL_") => {
                tracing::warn!("{prefix}ciphersuites: {name} is not there and left out");
            }
            None => return Err(refuse(prefix, "ciphersuites", name, &allowed())),
        }
    }
    if provider.cipher_suites.is_empty() {
        return Err(refuse(prefix, "ciphersuites", &names.join(","), &allowed()));
    }
    Ok(Arc::new(provider))
}

fn refuse(prefix: &str, key: &str, value: &str, allowed: &str) -> TlsError {
    TlsError::Setting { key: format!("{prefix}{key}"), value: value.to_owned(), allowed: allowed.to_owned() }
}
