//! Names in certificates: who a client is, and which hosts a certificate is for.

use std::fmt::Write as _;
use std::net::IpAddr;

use x509_parser::prelude::{
    DistributionPointName, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name,
};

/// The subject as Java's X500Principal.getName prints it, which is the id of the scheme x509:
/// RFC 2253, last part first. `None`: it is no certificate.
/// (ref: X509AuthenticationProvider.getClientId, sun.security.x509.AVA.toRFC2253String)
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(rfc2253(certificate.subject()))
}

fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for rdn in name.iter_rdn() {
        let pairs = rdn.iter().map(|pair| {
            let value = pair.attr_value();
            pair_text(&pair.attr_type().to_id_string(), value.header.tag().0, value.data)
        });
        parts.push(pairs.collect::<Vec<_>>().join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// Those that RFC 2253 names; others are written as numbers with their bytes.
const KEYWORDS: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// Tags of UTF8String, PrintableString, T61String, IA5String, GeneralString, UniversalString, BMPString.
const TEXT: [u32; 7] = [12, 19, 20, 22, 27, 28, 30];

fn pair_text(oid: &str, tag: u32, value: &[u8]) -> String {
    let keyword = KEYWORDS.iter().find(|(known, _)| *known == oid).map(|(_, word)| *word);
    match keyword {
        Some(word) if TEXT.contains(&tag) => format!("{word}={}", escaped(&String::from_utf8_lossy(value))),
        word => {
            let mut out = format!("{}=#", word.unwrap_or(oid));
            for byte in encoded(tag, value) {
                let _ = write!(out, "{byte:02x}");
            }
            out
        }
    }
}

fn encoded(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(tag).unwrap_or(0)];
    let length = value.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|b| **b == 0).count()..];
    match digits {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            out.extend(long);
        }
    }
    out.extend(value);
    out
}

fn escaped(value: &str) -> String {
    let mut inner = String::new();
    for c in value.chars() {
        match c {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => inner.extend(['\\', c]),
            '\0' => inner.push_str("\\00"),
            _ => inner.push(c),
        }
    }
    let blank = |c: char| c == ' ' || c == '\r';
    let (rest, core) = (inner.trim_start_matches(blank), inner.trim_matches(blank));
    let mut out = String::new();
    let (lead, trail) = (&inner[..inner.len() - rest.len()], &rest[core.len()..]);
    lead.chars().for_each(|c| out.extend(['\\', c]));
    out.push_str(core);
    trail.chars().for_each(|c| out.extend(['\\', c]));
    out
}

/// Whether a certificate is for this host: one of its alternative names, or the common name if
/// there are none. An address is an address: it is never resolved to a name.
///
/// differs: Java also accepts the name that reverse DNS gives for an address, which whoever rules
/// that zone can choose. A `*` stands for the whole first part of a name.
/// (ref: ZKHostnameVerifier, ZKTrustManager.performHostVerification)
pub fn is_for(certificate: &[u8], host: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let address: Option<IpAddr> = host.parse().ok();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    if let Some(names) = alternatives.map(|e| &e.value.general_names).filter(|n| !n.is_empty()) {
        return names.iter().any(|name| match (name, address) {
            (GeneralName::IPAddress(bytes), Some(IpAddr::V4(a))) => **bytes == a.octets(),
            (GeneralName::IPAddress(bytes), Some(IpAddr::V6(a))) => **bytes == a.octets(),
            (GeneralName::DNSName(pattern), None) => name_matches(pattern, host),
            _ => false,
        });
    }
    let common = certificate.subject().iter_common_name().last();
    common.and_then(|c| c.as_str().ok()).is_some_and(|pattern| name_matches(pattern, host))
}

fn name_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.trim_end_matches('.'), host.trim_end_matches('.'));
    match pattern.strip_prefix("*.") {
        Some(rest) => {
            rest.contains('.') && host.split_once('.').is_some_and(|(_, h)| h.eq_ignore_ascii_case(rest))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

/// Where the lists of revoked certificates are that a certificate names.
pub fn revocation_lists(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let mut found = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else { continue };
        for point in points.iter() {
            let Some(DistributionPointName::FullName(names)) = &point.distribution_point else { continue };
            found.extend(names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_java_writes_them() {
        let text = |value: &str| pair_text("2.5.4.3", 12, value.as_bytes());
        assert_eq!(text("zk client"), "CN=zk client");
        assert_eq!(text("a,b+c\"d\\e<f>g;h=i#j"), r#"CN=a\,b\+c\"d\\e\<f\>g\;h\=i\#j"#);
        assert_eq!(text(" a  "), r"CN=\ a\ \ ");
        assert_eq!(text("  "), r"CN=\ \ ");
        assert_eq!(text("Zoë"), "CN=Zoë");
        assert_eq!(pair_text("1.2.840.113549.1.9.1", 22, b"a@b"), "1.2.840.113549.1.9.1=#1603614062");
        assert_eq!(pair_text("2.5.4.6", 3, b"x"), "C=#030178");
        assert_eq!(encoded(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn hosts() {
        assert!(name_matches("Zk1.Example.com", "zk1.example.COM."));
        assert!(name_matches("*.example.com", "zk1.example.com"));
        for (pattern, host) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.com", "example.com"),
            ("zk1.example.com", "zk2.example.com"),
            ("*", "localhost"),
        ] {
            assert!(!name_matches(pattern, host), "{pattern} {host}");
        }
    }
}
