//! Protocols and cipher suites by Java's names.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{SupportedProtocolVersion, version};
use zk_config::config::TlsSide;

use super::TlsError;

const ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The versions that are offered. Those of the list that nobody should use any more are left
/// out with a warning; Java's own security settings turn them off too.
pub fn versions(side: &TlsSide) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let Some(names) = &side.protocols else { return Ok(ALL.to_vec()) };
    let mut versions = Vec::new();
    for name in names {
        match name.as_str() {
            "TLSv1.3" => versions.push(ALL[0]),
            "TLSv1.2" => versions.push(ALL[1]),
            "TLS" => versions.extend(ALL),
            "TLSv1.1" | "TLSv1" | "SSLv3" | "SSLv2Hello" => {
                tracing::warn!("{}enabledProtocols: {name} is broken and left out", side.prefix);
            }
            _ => return Err(refuse(side, "enabledProtocols", name, "TLSv1.3 and TLSv1.2")),
        }
    }
    if versions.is_empty() {
        return Err(refuse(side, "enabledProtocols", &names.join(","), "TLSv1.3 and TLSv1.2"));
    }
    Ok(versions)
}

/// The provider with the suites of the list, in its order. Those that are not there are left out
/// with a warning, which never makes a connection weaker.
pub fn provider(side: &TlsSide) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = rustls::crypto::ring::default_provider();
    let Some(names) = &side.cipher_suites else { return Ok(Arc::new(provider)) };
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
                tracing::warn!("{}ciphersuites: {name} is not there and left out", side.prefix);
            }
            None => return Err(refuse(side, "ciphersuites", name, &allowed())),
        }
    }
    if provider.cipher_suites.is_empty() {
        return Err(refuse(side, "ciphersuites", &names.join(","), &allowed()));
    }
    Ok(Arc::new(provider))
}

fn refuse(side: &TlsSide, key: &str, value: &str, allowed: &str) -> TlsError {
    TlsError::Setting {
        key: format!("{}{key}", side.prefix),
        value: value.to_owned(),
        allowed: allowed.to_owned(),
    }
}
