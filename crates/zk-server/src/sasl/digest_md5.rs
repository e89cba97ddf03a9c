//! The mechanism DIGEST-MD5, both sides (RFC 2831), with quality of protection `auth` alone.
//!
//! Two messages of the server: a challenge with a nonce that is used once, and, if the response to
//! it is right, the proof that the server knows the password too. Nothing here is random or keeps
//! anything: the caller makes the nonces and asks [`judge`] at most once with its own, which is what
//! makes a response worthless when it is sent again.
//!
//! ref: com.sun.security.sasl.digest.DigestMD5Server, DigestMD5Client, DigestMD5Base.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use md5::{Digest, Md5};
use zk_config::Secret;

/// What both sides know before they begin.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// Sent to the client, which must name it again.
    pub realm: &'a str,
    /// `digest-uri` of the client: the protocol, a slash, and what it takes for the server's name.
    pub uri: &'a str,
}

/// Whom clients log in to.
/// ref: ZooKeeperSaslServer, SaslClientCallbackHandler.
pub const CLIENTS: Service<'static> = Service { realm: "zk-sasl-md5", uri: "zookeeper/zk-sasl-md5" };

/// Whom members log in to. ref: QuorumAuth.
pub const MEMBERS: Service<'static> =
    Service { realm: "zk-quorum-sasl-md5", uri: "zookeeper-quorum/zk-quorum-sasl-md5" };

/// Longest token, in bytes, as in Java.
pub const MAX_TOKEN: usize = 4096;

/// Who proved to know his password.
#[derive(Debug, PartialEq, Eq)]
pub struct Proven {
    /// The user.
    pub user: String,
    /// Whether he wants to act under another name (`authzid`).
    pub acts_as_other: bool,
    /// The last token for the client: proof of the server's.
    pub token: Vec<u8>,
}

/// Why a token is not taken. For the own log alone; the other side hears that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not a list of directives, or longer than allowed.
    #[error("its token is malformed")]
    Malformed,
    /// A directive that must be there is not.
    #[error("its token has no {0}")]
    Missing(&'static str),
    /// A directive does not say what it must.
    #[error("its token has another {0}")]
    Mismatch(&'static str),
    /// There is no such user, or his password is another one.
    #[error("the user or his password is wrong")]
    Wrong,
    /// The other side let this one in without the password.
    #[error("it does not know the password either")]
    Unproven,
}

/// The first token for the client.
pub fn challenge(service: &Service<'_>, nonce: &str) -> Vec<u8> {
    let realm = service.realm;
    format!("realm=\"{realm}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess").into_bytes()
}

/// Judges the client's response to the challenge with this nonce.
///
/// # Errors
/// If it is not the response of one of `users`.
pub fn judge(
    service: &Service<'_>,
    nonce: &str,
    users: &BTreeMap<String, Secret>,
    response: &[u8],
) -> Result<Proven, Refused> {
    if response.len() > MAX_TOKEN {
        return Err(Refused::Malformed);
    }
    let said = Directives::parse(response, &OF_RESPONSE)?;
    said.expect("charset", "utf-8")?;
    if said.need("realm")? != service.realm.as_bytes() {
        return Err(Refused::Mismatch("realm"));
    }
    if said.need("nonce")? != nonce.as_bytes() {
        return Err(Refused::Mismatch("nonce"));
    }
    // A nonce is used once. differs: Java does not look at it, since it looks for another word.
    said.expect("nc", NONCE_COUNT)?;
    said.expect("qop", "auth")?;
    let uri = said.need("digest-uri")?;
    if !uri.eq_ignore_ascii_case(service.uri.as_bytes()) {
        return Err(Refused::Mismatch("digest-uri"));
    }
    let user = String::from_utf8_lossy(said.need("username")?).into_owned();
    let given = said.need("response")?;
    let password = users.get(&user);
    let signed = Signed {
        user: &user,
        realm: service.realm,
        password: password.map_or("", Secret::expose),
        nonce: nonce.as_bytes(),
        cnonce: said.need("cnonce")?,
        authzid: said.get("authzid"),
        uri,
    };
    // Who is not there takes as long as a wrong password.
    let is_right = same(given, signed.response("AUTHENTICATE").as_bytes());
    if !is_right || password.is_none() {
        return Err(Refused::Wrong);
    }
    let token = format!("rspauth={}", signed.response("")).into_bytes();
    let acts_as_other = signed.authzid.is_some_and(|id| !id.is_empty() && id != user.as_bytes());
    Ok(Proven { user: user.clone(), acts_as_other, token })
}

/// The answer to a challenge.
#[derive(Debug)]
pub struct Response {
    /// The token for the server.
    pub token: Vec<u8>,
    /// What the server will say if it knows the password.
    proof: String,
}

/// Answers the server's challenge. `cnonce` is this side's own nonce.
///
/// # Errors
/// If it is not the challenge of this service.
pub fn respond(
    service: &Service<'_>,
    (user, password): (&str, &Secret),
    cnonce: &str,
    challenge: &[u8],
) -> Result<Response, Refused> {
    if challenge.len() > MAX_TOKEN {
        return Err(Refused::Malformed);
    }
    let said = Directives::parse(challenge, &OF_CHALLENGE)?;
    said.expect("charset", "utf-8")?;
    said.expect("algorithm", "md5-sess")?;
    // differs: Java logs in to whatever realm is offered.
    if said.need("realm")? != service.realm.as_bytes() {
        return Err(Refused::Mismatch("realm"));
    }
    if said.get("qop").is_some_and(|qop| !qop.split(|&b| b == b',').any(|q| q.trim_ascii() == b"auth")) {
        return Err(Refused::Mismatch("qop"));
    }
    let nonce = said.need("nonce")?;
    let signed = Signed {
        user,
        realm: service.realm,
        password: password.expose(),
        nonce,
        cnonce: cnonce.as_bytes(),
        authzid: Some(user.as_bytes()),
        uri: service.uri.as_bytes(),
    };
    let (realm, uri, nonce) = (service.realm, service.uri, quoted(&String::from_utf8_lossy(nonce)));
    let (user, response) = (quoted(user), signed.response("AUTHENTICATE"));
    let token = format!(
        "charset=utf-8,username={user},realm=\"{realm}\",nonce={nonce},nc={NONCE_COUNT},cnonce=\"{cnonce}\",\
         digest-uri=\"{uri}\",maxbuf=65536,response={response},qop=auth,authzid={user}"
    );
    Ok(Response { token: token.into_bytes(), proof: signed.response("") })
}

impl Response {
    /// Judges the server's last token.
    ///
    /// # Errors
    /// If it does not prove that the server knows the password.
    pub fn check(&self, last: &[u8]) -> Result<(), Refused> {
        let said = Directives::parse(last, &["rspauth"])?;
        match same(said.need("rspauth")?, self.proof.as_bytes()) {
            true => Ok(()),
            false => Err(Refused::Unproven),
        }
    }
}

/// Between quotation marks.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

const NONCE_COUNT: &str = "00000001";

/// Whether two texts are the same, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

/// What a response is computed from.
struct Signed<'a> {
    user: &'a str,
    realm: &'a str,
    password: &'a str,
    nonce: &'a [u8],
    cnonce: &'a [u8],
    authzid: Option<&'a [u8]>,
    uri: &'a [u8],
}

impl Signed<'_> {
    /// RFC 2831, 2.1.2.1; the method is empty for the server's own proof.
    fn response(&self, method: &str) -> String {
        let secret = md5(&[&latin(self.user), b":", &latin(self.realm), b":", &latin(self.password)]);
        let (sep, authzid): (&[u8], _) = match self.authzid {
            Some(id) => (b":", id),
            None => (b"", b"".as_slice()),
        };
        let a1 = md5(&[&secret, b":", self.nonce, b":", self.cnonce, sep, authzid]);
        let a2 = md5(&[method.as_bytes(), b":", self.uri]);
        let (a1, a2) = (hex(&a1), hex(&a2));
        let parts: [&[u8]; 9] = [
            a1.as_bytes(),
            b":",
            self.nonce,
            b":",
            NONCE_COUNT.as_bytes(),
            b":",
            self.cnonce,
            b":auth:",
            a2.as_bytes(),
        ];
        hex(&md5(&parts))
    }
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// ISO 8859-1 if every character has a place there, else UTF-8: so old servers could share the
/// hashes that they stored.
fn latin(text: &str) -> Vec<u8> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    bytes.unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// The directives of a response that matter here; others are skipped.
const OF_RESPONSE: [&str; 10] =
    ["username", "realm", "nonce", "cnonce", "nc", "qop", "digest-uri", "response", "charset", "authzid"];

/// Those of a challenge.
const OF_CHALLENGE: [&str; 5] = ["realm", "nonce", "qop", "charset", "algorithm"];

/// `name=value` or `name="value"`, with commas between.
struct Directives(BTreeMap<&'static str, Vec<u8>>);

impl Directives {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    fn need(&self, name: &'static str) -> Result<&[u8], Refused> {
        self.get(name).ok_or(Refused::Missing(name))
    }

    /// It says `value` or is not there.
    fn expect(&self, name: &'static str, value: &str) -> Result<(), Refused> {
        match self.get(name) {
            Some(said) if said != value.as_bytes() => Err(Refused::Mismatch(name)),
            _ => Ok(()),
        }
    }

    /// ref: DigestMD5Base.parseDirectives, extractDirective.
    fn parse(bytes: &[u8], matter: &[&'static str]) -> Result<Self, Refused> {
        let mut found = BTreeMap::new();
        let mut rest = skip(bytes, |b| b == b',' || is_space(b));
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'=' || b == b',' || is_space(b));
            let (name, behind) = rest.split_at(end.ok_or(Refused::Malformed)?);
            let behind = skip(behind, is_space).strip_prefix(b"=").ok_or(Refused::Malformed)?;
            if name.is_empty() {
                return Err(Refused::Malformed);
            }
            let (value, behind) = value(skip(behind, is_space))?;
            if behind.first().is_some_and(|&b| b != b',' && !is_space(b)) {
                return Err(Refused::Malformed);
            }
            let known = matter.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
            if let Some(known) = known
                && found.insert(*known, value).is_some()
            {
                return Err(Refused::Malformed);
            }
            rest = skip(behind, |b| b == b',' || is_space(b));
        }
        Ok(Self(found))
    }
}

/// A value, quoted or not, and what stands behind it.
fn value(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Refused> {
    let Some(quoted) = bytes.strip_prefix(b"\"") else {
        let end = bytes.iter().position(|&b| b == b',' || is_space(b)).unwrap_or(bytes.len());
        let (value, behind) = bytes.split_at(end);
        return if bytes.is_empty() { Err(Refused::Malformed) } else { Ok((value.to_vec(), behind)) };
    };
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        rest = match rest {
            [b'"', behind @ ..] => return Ok((value, behind)),
            [b'\\', b, behind @ ..] | [b, behind @ ..] => {
                value.push(*b);
                behind
            }
            [] => return Err(Refused::Malformed),
        };
    }
}

fn skip(bytes: &[u8], what: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().position(|&b| !what(b)).unwrap_or(bytes.len());
    bytes.split_at(end).1
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2831, section 4.
    const IMAP: Service<'static> = Service { realm: "elwood.innosoft.com", uri: "imap/elwood.innosoft.com" };
    const NONCE: &str = "OA6MG9tEQGm2hh";
    const RESPONSE: &str = "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",\
        nonce=\"OA6MG9tEQGm2hh\",nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",digest-uri=\"imap/elwood.innosoft.com\",\
        response=d388dad90d4bbd760a152321f2143af7,qop=auth";

    fn users(list: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        list.iter().map(|(user, password)| ((*user).to_owned(), Secret::new(*password))).collect()
    }

    fn check(response: &str) -> Result<Proven, Refused> {
        judge(&IMAP, NONCE, &users(&[("chris", "secret"), ("fred", "secret")]), response.as_bytes())
    }

    #[test]
    fn the_rfcs_example() {
        let token = b"rspauth=ea40f60335c427b5527b84dbabcdfffd".to_vec();
        assert_eq!(check(RESPONSE), Ok(Proven { user: "chris".to_owned(), acts_as_other: false, token }));
    }

    #[test]
    fn spaces_case_and_escapes_of_directives() {
        for (from, to) in [
            (",", " , "),
            ("charset", ",, x=y,\t charset"),
            ("username=", "UserName = "),
            ("chris", "\\ch\\ris"),
            ("=00000001", "=\"00000001\""),
            ("digest-uri=\"imap/", "auth-param=\"a,b=c\",digest-uri=\"imap/"),
        ] {
            assert!(check(&RESPONSE.replace(from, to)).is_ok(), "{to}");
        }
    }

    #[test]
    fn each_part_counts() {
        use Refused::{Malformed, Mismatch, Missing, Wrong};
        for (from, to, expected) in [
            ("d388", "d389", Wrong),
            ("d388", "D388", Wrong),
            ("af7,", "af,", Wrong),
            ("chris", "nobody", Wrong),
            ("chris", "fred", Wrong),
            ("OA6MHXh6VqTrRk", "OA6MHXh6VqTrRl", Wrong),
            (",qop", ",authzid=\"fred\",qop", Wrong),
            ("nonce=\"OA6MG9", "nonce=\"OA6MG8", Mismatch("nonce")),
            ("realm=\"elwood", "realm=\"edwood", Mismatch("realm")),
            ("imap/", "smtp/", Mismatch("digest-uri")),
            ("00000001", "00000002", Mismatch("nc")),
            ("qop=auth", "qop=auth-int", Mismatch("qop")),
            ("utf-8", "latin-1", Mismatch("charset")),
            ("username", "user", Missing("username")),
            ("realm=", "r=", Missing("realm")),
            (",nonce", ",n", Missing("nonce")),
            ("cnonce", "c", Missing("cnonce")),
            ("digest-uri", "uri", Missing("digest-uri")),
            ("response", "r", Missing("response")),
            ("qop=auth", "nc=00000001", Malformed),
            ("qop=auth", "qop", Malformed),
            ("qop=auth", "qop=", Malformed),
            ("qop=auth", "=auth", Malformed),
            ("qop=auth", "qop=\"auth", Malformed),
            ("qop=auth", "qop=\"auth\\", Malformed),
            ("qop=auth", "qop=\"auth\"x", Malformed),
            ("qop=auth", "qop auth", Malformed),
        ] {
            assert_eq!(check(&RESPONSE.replacen(from, to, 1)), Err(expected), "{from} -> {to}");
        }
        assert_eq!(check(""), Err(Missing("realm")));
        assert_eq!(check(&format!("{RESPONSE},x={}", "x".repeat(MAX_TOKEN))), Err(Malformed));
    }

    #[test]
    fn no_user_has_no_password() {
        // The response of an empty password, which is what somebody unknown is compared with.
        let signed = Signed {
            user: "nobody",
            realm: IMAP.realm,
            password: "",
            nonce: NONCE.as_bytes(),
            cnonce: b"OA6MHXh6VqTrRk",
            authzid: None,
            uri: IMAP.uri.as_bytes(),
        };
        let response = RESPONSE
            .replace("chris", "nobody")
            .replace("d388dad90d4bbd760a152321f2143af7", &signed.response("AUTHENTICATE"));
        let judged = |users| judge(&IMAP, NONCE, &users, response.as_bytes());
        assert_eq!(judged(users(&[("chris", "secret")])), Err(Refused::Wrong));
        assert!(judged(users(&[("nobody", "")])).is_ok());
    }

    /// All texts of seven characters that mean something to the parser.
    #[test]
    fn any_text_ends() {
        let marks = b"a=\"\\, ";
        let mut text = [0; 7];
        let mut lists = 0;
        for n in 0..marks.len().pow(7) {
            let mut n = n;
            for place in &mut text {
                *place = marks[n % marks.len()];
                n /= marks.len();
            }
            lists += usize::from(Directives::parse(&text, &OF_RESPONSE).is_ok());
        }
        assert!(lists > 0);
    }

    /// What one of Java's members said to another. (ref: the vector election_sasl.hex)
    #[test]
    fn a_member_of_javas() {
        const NONCE: &str = "xKxe/gFGpbj/dUHM8ocvWB/XM3oCiphBF1IGafQl";
        let first =
            format!("realm=\"zk-quorum-sasl-md5\",nonce=\"{NONCE}\",charset=utf-8,algorithm=md5-sess");
        assert_eq!(challenge(&MEMBERS, NONCE), first.as_bytes());
        let cnonce = "w+LU8n51Ua3MpjsDyZPHCtvBujGaW7tZZmXrfjvF";
        let password = Secret::new("pw");
        let answer = respond(&MEMBERS, ("zk", &password), cnonce, first.as_bytes()).expect("an answer");
        let text = String::from_utf8(answer.token.clone()).expect("text");
        assert!(text.contains("response=c08391828cb137ff06f3b4d7dd65d79c,qop=auth,authzid=\"zk\""), "{text}");
        let proof = b"rspauth=4c207a19b77098be99fac55f565ab225";
        assert_eq!(answer.check(proof), Ok(()));
        let judged = judge(&MEMBERS, NONCE, &users(&[("zk", "pw")]), &answer.token).expect("right");
        assert_eq!((judged.token.as_slice(), judged.acts_as_other), (proof.as_slice(), false));
    }

    #[test]
    fn what_an_initiator_does_not_take() {
        let password = Secret::new("pw");
        let said = |user: &str, text: &str| respond(&MEMBERS, (user, &password), "c", text.as_bytes());
        let first = "realm=\"zk-quorum-sasl-md5\",nonce=\"n\\\"\",charset=utf-8,algorithm=md5-sess,qop=\"auth-int, auth\"";
        let answer = said("a\\b\"c", first).expect("an answer");
        let judged = judge(&MEMBERS, "n\"", &users(&[("a\\b\"c", "pw")]), &answer.token);
        assert!(answer.check(&judged.expect("right").token).is_ok());
        for (from, to, expected) in [
            ("zk-quorum", "zk", Refused::Mismatch("realm")),
            ("realm", "r", Refused::Missing("realm")),
            ("nonce", "n", Refused::Missing("nonce")),
            ("utf-8", "latin", Refused::Mismatch("charset")),
            ("md5-sess", "md5", Refused::Mismatch("algorithm")),
            (", auth", ", auth-conf", Refused::Mismatch("qop")),
            ("nonce", "realm", Refused::Malformed),
        ] {
            assert_eq!(said("zk", &first.replacen(from, to, 1)).expect_err(to), expected);
        }
        for (last, expected) in [
            ("rspauth=4c207a19b77098be99fac55f565ab225", Refused::Unproven),
            ("rspauth=\"\"", Refused::Unproven),
            ("", Refused::Missing("rspauth")),
            ("rspauth", Refused::Malformed),
        ] {
            assert_eq!(answer.check(last.as_bytes()), Err(expected), "{last}");
        }
    }

    #[test]
    fn letters_beyond_ascii() {
        assert_eq!(latin("zo\u{eb}"), b"zo\xeb");
        assert_eq!(latin("\u{20ac}\u{eb}"), "\u{20ac}\u{eb}".as_bytes());
    }

    #[test]
    fn the_challenge_of_java() {
        let text = String::from_utf8(challenge(&CLIENTS, "abc")).expect("ASCII");
        assert_eq!(text, "realm=\"zk-sasl-md5\",nonce=\"abc\",charset=utf-8,algorithm=md5-sess");
    }
}
