//! Who a connection is and what it may do.
//!
//! ref: ZooKeeperServer.checkACL, PrepRequestProcessor.fixupACL, the providers
//! in org.apache.zookeeper.server.auth; behaviour rows 79 to 87.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use zk_proto::{Acl, AuthId, Perms};

/// Identities of a connection. Cheap to clone.
pub type Identities = Arc<[AuthId]>;

/// Digest algorithm of the scheme `digest`.
/// ref: zookeeper.DigestAuthenticationProvider.digestAlg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigestAlg {
    /// Java's default.
    #[default]
    Sha1,
    /// MD5.
    Md5,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512_224,
    /// SHA-512/256.
    Sha512_256,
    /// SHA3-224.
    Sha3_224,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
}

impl DigestAlg {
    fn hash(self, input: &[u8]) -> Vec<u8> {
        use sha1::Digest as _;
        match self {
            Self::Sha1 => sha1::Sha1::digest(input).to_vec(),
            Self::Md5 => md5::Md5::digest(input).to_vec(),
            Self::Sha224 => sha2::Sha224::digest(input).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(input).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(input).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(input).to_vec(),
            Self::Sha512_224 => sha2::Sha512_224::digest(input).to_vec(),
            Self::Sha512_256 => sha2::Sha512_256::digest(input).to_vec(),
            Self::Sha3_224 => sha3::Sha3_224::digest(input).to_vec(),
            Self::Sha3_256 => sha3::Sha3_256::digest(input).to_vec(),
            Self::Sha3_384 => sha3::Sha3_384::digest(input).to_vec(),
            Self::Sha3_512 => sha3::Sha3_512::digest(input).to_vec(),
        }
    }
}

/// The super user with the hash of his password, which must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct SuperDigest(pub String);

impl fmt::Debug for SuperDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuperDigest(…)")
    }
}

/// What the configuration says about permissions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthPolicy {
    /// `zookeeper.skipACL=yes`: nothing is checked.
    pub skip_acl: bool,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`.
    pub super_digest: Option<SuperDigest>,
    /// `zookeeper.DigestAuthenticationProvider.digestAlg`.
    pub digest_alg: DigestAlg,
    /// `zookeeper.DigestAuthenticationProvider.enabled`.
    pub digest_disabled: bool,
    /// Whether there is the scheme `x509`: names in the certificates of clients.
    pub x509: bool,
    /// Whether there is the scheme `sasl` in ACLs: without its provider an identity of a login
    /// counts for nothing there.
    pub sasl: bool,
    /// `zookeeper.letAnySaslUserDoX`.
    pub any_sasl_user: Option<String>,
    /// `zookeeper.ensembleAuthName`, if there is the scheme `ensemble`; empty: any name is right.
    pub ensemble: Option<BTreeSet<String>>,
}

/// What a client's name for the ensemble is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnsembleName {
    /// It says none, or any is right.
    Any,
    /// It is one of those.
    Right,
    /// It is not: the client has come to the wrong place.
    Wrong,
}

/// The authentication failed: the reply is -115 and the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct AuthFailed;

/// The list is no valid access control list: -114.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("access control list is invalid")]
pub struct InvalidAcl;

impl AuthPolicy {
    /// `user:base64(hash(user:password))`.
    /// ref: DigestAuthenticationProvider.generateDigest.
    pub fn digest_id(&self, user_and_password: &str) -> String {
        let user = user_and_password.split(':').next().unwrap_or_default();
        let hash = self.digest_alg.hash(user_and_password.as_bytes());
        format!("{user}:{}", base64::engine::general_purpose::STANDARD.encode(hash))
    }

    /// Judges an auth packet; gives the identities to add.
    ///
    /// # Errors
    /// If the scheme is unknown here or refuses. ref: ZooKeeperServer.processPacket.
    pub fn authenticate(&self, scheme: &str, auth: Option<&[u8]>) -> Result<Vec<AuthId>, AuthFailed> {
        match scheme {
            "digest" if !self.digest_disabled => {
                let text = String::from_utf8_lossy(auth.ok_or(AuthFailed)?);
                let id = self.digest_id(&text);
                let is_super = self.super_digest.as_ref().is_some_and(|d| d.0 == id);
                let mut ids = Vec::new();
                if is_super {
                    ids.push(AuthId::new("super", ""));
                }
                ids.push(AuthId { scheme: "digest".to_owned(), id });
                Ok(ids)
            }
            // The address is an identity from the start; asking adds nothing.
            "ip" => Ok(Vec::new()),
            _ => Err(AuthFailed),
        }
    }

    /// Whether these are of somebody who gives himself the super user's name without his password.
    /// The identity counts, as in Java, but it was a guess.
    pub fn misses_super(&self, ids: &[AuthId]) -> bool {
        let user = |id: &str| id.split(':').next().unwrap_or_default().to_owned();
        self.super_digest.as_ref().is_some_and(|of_super| {
            let close = |id: &AuthId| id.scheme == "digest" && id.id != of_super.0;
            ids.iter().any(|id| close(id) && user(&id.id) == user(&of_super.0))
        })
    }

    /// Judges what a client calls this ensemble, so that nobody talks to another one by mistake.
    /// ref: EnsembleAuthenticationProvider.handleAuthentication.
    pub fn is_ensemble(&self, name: Option<&[u8]>) -> EnsembleName {
        let name = name.filter(|name| !name.is_empty()).map(String::from_utf8_lossy);
        match (name, &self.ensemble) {
            (Some(name), Some(names)) if !names.is_empty() => match names.contains(&*name) {
                true => EnsembleName::Right,
                false => EnsembleName::Wrong,
            },
            _ => EnsembleName::Any,
        }
    }

    /// Whether `ids` may do one of `wanted` under `acl`.
    pub fn allows(&self, acl: &[Acl], wanted: Perms, ids: &[AuthId]) -> bool {
        if self.skip_acl || acl.is_empty() {
            return true;
        }
        let open = |a: &Acl| a.scheme == "world" && a.id == "anyone";
        if acl.iter().any(|a| a.perms.overlaps(wanted) && open(a)) {
            return true;
        }
        ids.iter().any(|i| i.scheme == "super")
            || acl.iter().any(|a| {
                a.perms.overlaps(wanted)
                    && ids.iter().any(|i| i.scheme == a.scheme && self.matches(&a.scheme, &i.id, &a.id))
            })
    }

    /// The list as it is stored: duplicates go, `auth` becomes the caller's
    /// identities, everything else must be valid in its scheme.
    ///
    /// # Errors
    /// If nothing is left or an entry is invalid.
    pub fn fix_up(&self, acl: Option<&[Acl]>, ids: &[AuthId]) -> Result<Vec<Acl>, InvalidAcl> {
        let mut out: Vec<Acl> = Vec::new();
        let mut seen: Vec<&Acl> = Vec::new();
        for a in acl.unwrap_or_default() {
            if seen.contains(&a) {
                continue;
            }
            seen.push(a);
            match a.scheme.as_str() {
                "world" if a.id == "anyone" => out.push(a.clone()),
                "auth" => {
                    let before = out.len();
                    out.extend(ids.iter().filter(|i| self.authenticates(&i.scheme)).map(|i| Acl {
                        perms: a.perms,
                        scheme: i.scheme.clone(),
                        id: i.id.clone(),
                    }));
                    if out.len() == before {
                        return Err(InvalidAcl);
                    }
                }
                "digest" if !self.digest_disabled && valid_digest(&a.id) => out.push(a.clone()),
                "ip" if valid_ip(&a.id) => out.push(a.clone()),
                "x509" if self.x509 && valid_name(&a.id) => out.push(a.clone()),
                "sasl" if self.sasl && valid_principal(&a.id) => out.push(a.clone()),
                _ => return Err(InvalidAcl),
            }
        }
        if out.is_empty() { Err(InvalidAcl) } else { Ok(out) }
    }

    /// How whoAmI shows an identity. ref: AuthUtil.getUser.
    pub fn user<'a>(&self, id: &'a AuthId) -> &'a str {
        match id.scheme.as_str() {
            "digest" => id.id.split(':').next().unwrap_or_default(),
            // The provider knows the name.
            "sasl" if !self.sasl => "",
            _ => &id.id,
        }
    }

    /// Whether a scheme vouches for who somebody is, as `auth` needs it.
    /// ref: AuthenticationProvider.isAuthenticated.
    fn authenticates(&self, scheme: &str) -> bool {
        match scheme {
            "sasl" => self.sasl,
            _ => matches!(scheme, "digest" | "x509"),
        }
    }

    fn matches(&self, scheme: &str, id: &str, acl: &str) -> bool {
        match scheme {
            "ip" => ip_matches(id, acl),
            "sasl" => self.sasl && (id == "super" || id == acl || self.any_sasl_user.as_deref() == Some(acl)),
            "digest" | "x509" => id == acl,
            _ => false,
        }
    }
}

/// Whether a text is the name of a user, or a principal: `name[/host]@REALM`.
/// ref: KerberosName constructor, SASLAuthenticationProvider.isValid.
pub fn valid_principal(name: &str) -> bool {
    match name.split_once('@') {
        None => true,
        Some((user, realm)) => !realm.contains(['/', '@']) && user.matches('/').count() <= 1,
    }
}

/// Java splits at ':' and drops empty parts at the end; two must be left.
/// ref: DigestAuthenticationProvider.isValid; behaviour row 82.
fn valid_digest(id: &str) -> bool {
    let mut parts: Vec<&str> = id.split(':').collect();
    while parts.last().is_some_and(|p| p.is_empty()) {
        parts.pop();
    }
    parts.len() == 2
}

/// Kinds of parts of a name that Java knows by a word.
/// ref: sun.security.x509.AVAKeyword.
const NAME_PARTS: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// Whether a text is a distinguished name: parts with `,`, `;` or `+` between, each a kind, `=` and
/// a value. The empty name is one. ref: X509AuthenticationProvider.isValid, X500Principal(String).
fn valid_name(id: &str) -> bool {
    if id.trim().is_empty() {
        return true;
    }
    let (mut escaped, mut quoted) = (false, false);
    let parts: Vec<&str> = id
        .split(|c: char| {
            let ends = !escaped && !quoted && matches!(c, ',' | ';' | '+');
            quoted ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })
        .collect();
    let part = |text: &&str| {
        let Some((kind, _)) = text.split_once('=') else { return false };
        let kind = kind.trim();
        let number = kind.strip_prefix("OID.").unwrap_or(kind);
        let digits = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
        NAME_PARTS.iter().any(|known| known.eq_ignore_ascii_case(kind))
            || (number.contains('.') && number.split('.').all(digits))
    };
    !quoted && !escaped && parts.iter().all(part)
}

/// Bytes of a textual address as Java's provider parses it.
/// ref: IPAuthenticationProvider.addr2Bytes.
fn ip_bytes(text: &str) -> Option<Vec<u8>> {
    match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(a) => Some(a.octets().to_vec()),
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => None,
        IpAddr::V6(a) => Some(a.octets().to_vec()),
    }
}

fn ip_and_bits(acl: &str) -> Option<(Vec<u8>, usize)> {
    let mut parts = acl.splitn(2, '/');
    let bytes = ip_bytes(parts.next()?)?;
    let all = bytes.len() * 8;
    let bits = match parts.next() {
        None => all,
        Some(b) => b.parse::<usize>().ok().filter(|b| *b <= all)?,
    };
    Some((bytes, bits))
}

fn valid_ip(acl: &str) -> bool {
    ip_and_bits(acl).is_some()
}

fn ip_matches(id: &str, acl: &str) -> bool {
    let (Some(mine), Some((net, bits))) = (ip_bytes(id), ip_and_bits(acl)) else { return false };
    if mine.len() != net.len() {
        return false;
    }
    mine.iter().zip(&net).enumerate().all(|(i, (a, b))| {
        let left = bits.saturating_sub(i * 8).min(8);
        let mask = if left == 0 { 0 } else { 0xffu8 << (8 - left) };
        a & mask == b & mask
    })
}

/// How getACL shows an identity to somebody without ADMIN: the hash of a digest
/// is hidden. ref: FinalRequestProcessor, getACL; CVE-2019-0201.
pub fn masked(acl: &Acl) -> Acl {
    let mut out = acl.clone();
    if out.scheme == "digest"
        && let Some(colon) = out.id.find(':')
    {
        out.id.truncate(colon);
        out.id.push_str(":x");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[(&str, &str)]) -> Vec<AuthId> {
        list.iter().map(|(s, i)| AuthId::new(s, i)).collect()
    }

    #[test]
    fn digest_of_java() {
        // snapshot.100000039 holds u:p's hash as Java stored it.
        let p = AuthPolicy::default();
        assert_eq!(p.digest_id("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    }

    #[test]
    fn digest_ids_of_row_82() {
        for ok in ["a:b", ":b", "a:b:"] {
            assert!(valid_digest(ok), "{ok}");
        }
        for bad in ["a", "a:", ":", "a:b:c", ""] {
            assert!(!valid_digest(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_of_row_83() {
        assert!(ip_matches("127.0.0.1", "127.0.0.0/8"));
        assert!(!ip_matches("128.0.0.1", "127.0.0.0/8"));
        assert!(ip_matches("127.0.0.1", "127.0.0.1/0"));
        assert!(ip_matches("10.1.2.3", "127.0.0.1/0"));
        assert!(!valid_ip("::ffff:127.0.0.1"));
        assert!(valid_ip("::1/128"));
        assert!(!valid_ip("127.0.0.1/33"));
        assert!(!valid_ip("localhost"));
        assert!(ip_matches("10.1.2.131", "10.1.2.128/25"));
        assert!(!ip_matches("10.1.2.127", "10.1.2.128/25"));
    }

    #[test]
    fn evaluation_of_rows_80_and_81() {
        let p = AuthPolicy::default();
        let acl = [Acl::new(Perms::READ, "digest", "a:h"), Acl::new(Perms::WRITE, "ip", "127.0.0.1")];
        assert!(p.allows(&acl, Perms::READ, &ids(&[("digest", "a:h")])));
        assert!(!p.allows(&acl, Perms::WRITE, &ids(&[("digest", "a:h")])));
        assert!(p.allows(&acl, Perms::WRITE, &ids(&[("ip", "127.0.0.1")])));
        assert!(p.allows(&acl, Perms::ADMIN, &ids(&[("super", "")])));
        assert!(p.allows(&[], Perms::ADMIN, &[]));
        assert!(p.allows(&acl, Perms::READ | Perms::ADMIN, &ids(&[("digest", "a:h")])));
    }

    #[test]
    fn principals_of_row_85() {
        for ok in ["bob", "", "a/b/c", "bob@REALM", "zk/host@REALM", "@", "a/@b"] {
            assert!(valid_principal(ok), "{ok}");
        }
        for bad in ["a@b@c", "a/b/c@d", "a@b/c"] {
            assert!(!valid_principal(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_the_ensemble() {
        let of = |names: &[&str]| AuthPolicy {
            ensemble: Some(names.iter().map(|n| (*n).to_owned()).collect()),
            ..AuthPolicy::default()
        };
        let two = of(&["a", "b"]);
        assert_eq!(two.is_ensemble(Some(b"b")), EnsembleName::Right);
        assert_eq!(two.is_ensemble(Some(b"c")), EnsembleName::Wrong);
        assert_eq!(two.is_ensemble(Some(b"")), EnsembleName::Any);
        assert_eq!(two.is_ensemble(None), EnsembleName::Any);
        assert_eq!(of(&[]).is_ensemble(Some(b"c")), EnsembleName::Any);
    }

    #[test]
    fn guesses_of_the_super_user() {
        let super_digest = Some(SuperDigest("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned()));
        let p = AuthPolicy { super_digest, ..AuthPolicy::default() };
        let log_in =
            |p: &AuthPolicy, who: &str| p.authenticate("digest", Some(who.as_bytes())).expect("an id");
        assert!(!p.misses_super(&log_in(&p, "super:test")));
        assert!(p.misses_super(&log_in(&p, "super:tst")));
        assert!(!p.misses_super(&log_in(&p, "bob:test")));
        let without = AuthPolicy::default();
        assert!(!without.misses_super(&log_in(&without, "super:tst")));
    }

    #[test]
    fn users_of_sasl_in_row_85() {
        let on = AuthPolicy { sasl: true, any_sasl_user: Some("any".to_owned()), ..AuthPolicy::default() };
        let off = AuthPolicy { sasl: false, ..on.clone() };
        let acl = |id| [Acl::new(Perms::READ, "sasl", id)];
        let bob = ids(&[("ip", "127.0.0.1"), ("sasl", "bob")]);
        for (who, id, expected) in
            [("bob", "bob", true), ("bob", "eve", false), ("super", "eve", true), ("bob", "any", true)]
        {
            let who = ids(&[("sasl", who)]);
            assert_eq!(on.allows(&acl(id), Perms::READ, &who), expected, "{who:?} {id}");
            assert!(!off.allows(&acl(id), Perms::READ, &who), "{who:?} {id}");
        }
        assert!(!on.allows(&acl("any"), Perms::READ, &ids(&[("digest", "any")])));
        assert_eq!(on.fix_up(Some(&acl("bob")), &[]), Ok(acl("bob").to_vec()));
        assert_eq!(on.fix_up(Some(&acl("a@b@c")), &[]), Err(InvalidAcl));
        assert_eq!(off.fix_up(Some(&acl("bob")), &[]), Err(InvalidAcl));
        let auth = [Acl::new(Perms::READ, "auth", "")];
        assert_eq!(on.fix_up(Some(&auth), &bob), Ok(acl("bob").to_vec()));
        assert_eq!(off.fix_up(Some(&auth), &bob), Err(InvalidAcl));
    }

    #[test]
    fn fix_up_of_row_81() {
        let p = AuthPolicy::default();
        let me = ids(&[("ip", "127.0.0.1"), ("digest", "a:h"), ("super", "")]);
        let auth = Acl::new(Perms::ALL, "auth", "whatever");
        assert_eq!(
            p.fix_up(Some(std::slice::from_ref(&auth)), &me),
            Ok(vec![Acl::new(Perms::ALL, "digest", "a:h")])
        );
        assert_eq!(p.fix_up(Some(&[auth]), &me[..1]), Err(InvalidAcl));
        assert_eq!(p.fix_up(None, &me), Err(InvalidAcl));
        assert_eq!(p.fix_up(Some(&[Acl::new(Perms::ALL, "world", "foo")]), &me), Err(InvalidAcl));
        let twice = [Acl::open(), Acl::open()].concat();
        assert_eq!(p.fix_up(Some(&twice), &me), Ok(Acl::open()));
    }
}
