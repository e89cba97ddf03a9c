//! The old format of Java's key stores. The public description is the JDK's own source
//! (sun.security.provider.JavaKeyStore, KeyProtector); keytool's files are the tests.
//!
//! ```text
//! feedfeed version count { tag alias date entry }* SHA-1
//! ```
//! Everything is big-endian, text is a length of two bytes and UTF-8. The hash at the end covers
//! the password, two words and all before it; so it tells a wrong password.

use sha1::{Digest, Sha1};

/// How a file of this format begins.
pub const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

/// Why a file could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JksError {
    /// It ends early, or a field makes no sense.
    #[error("it is damaged, or no JKS file")]
    Damaged,
    /// The hash at the end, or that of a key, is another one.
    #[error("the password is wrong, or it was changed")]
    Password,
}

/// What a file holds, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Private keys in PKCS#8, each with its chain of certificates in X.509.
    pub keys: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    /// Trusted certificates with their alias.
    pub trusted: Vec<(String, Vec<u8>)>,
}

/// Reads a file whose keys have the password of the file, as ZooKeeper's must.
pub fn read(bytes: &[u8], password: &str) -> Result<Content, JksError> {
    let password: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let at = bytes.len().checked_sub(20).ok_or(JksError::Damaged)?;
    let (body, hash) = bytes.split_at(at);
    let mut content = Content::default();
    let mut sealed = Vec::new();
    let mut r = Reader(body);
    let version = match (r.take(4)? == MAGIC, r.number()?) {
        (true, version @ (1 | 2)) => version,
        _ => return Err(JksError::Damaged),
    };
    for _ in 0..r.number()? {
        let (tag, alias) = (r.number()?, r.text()?);
        r.take(8)?;
        match tag {
            1 => {
                let key = r.long()?;
                let mut chain = Vec::new();
                for _ in 0..r.number()? {
                    chain.push(r.certificate(version)?);
                }
                sealed.push((key, chain));
            }
            2 => content.trusted.push((alias, r.certificate(version)?)),
            _ => return Err(JksError::Damaged),
        }
    }
    let whole = Sha1::new().chain_update(&password).chain_update(b"Mighty Aphrodite").chain_update(body);
    if !r.0.is_empty() {
        return Err(JksError::Damaged);
    }
    if whole.finalize()[..] != *hash {
        return Err(JksError::Password);
    }
    for (key, chain) in sealed {
        content.keys.push((open(key, &password)?, chain));
    }
    Ok(content)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], JksError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(JksError::Damaged)?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u32, JksError> {
        let bytes = self.take(4)?.first_chunk::<4>().ok_or(JksError::Damaged)?;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn text(&mut self) -> Result<String, JksError> {
        let length = self.take(2)?.first_chunk::<2>().ok_or(JksError::Damaged)?;
        let bytes = self.take(u16::from_be_bytes(*length).into())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn long(&mut self) -> Result<&'a [u8], JksError> {
        let length = usize::try_from(self.number()?).map_err(|_| JksError::Damaged)?;
        self.take(length)
    }

    fn certificate(&mut self, version: u32) -> Result<Vec<u8>, JksError> {
        if version == 2 && self.text()? != "X.509" {
            return Err(JksError::Damaged);
        }
        Ok(self.long()?.to_vec())
    }
}

/// The DER identifier of the protection that Java invented, 1.3.6.1.4.1.42.2.17.1.1.
const PROTECTION: [u8; 12] = [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// A key is a salt, the key itself under a stream of hashes, and a hash of it.
fn open(sealed: &[u8], password: &[u8]) -> Result<Vec<u8>, JksError> {
    let (_, whole) = der(sealed, 0x30).ok_or(JksError::Damaged)?;
    let (rest, algorithm) = der(whole, 0x30).ok_or(JksError::Damaged)?;
    if !algorithm.starts_with(&PROTECTION) {
        return Err(JksError::Damaged);
    }
    let (_, data) = der(rest, 0x04).ok_or(JksError::Damaged)?;
    let (salt, data) = data.split_at_checked(20).ok_or(JksError::Damaged)?;
    let at = data.len().checked_sub(20).ok_or(JksError::Damaged)?;
    let (hidden, hash) = data.split_at(at);
    let mut key = Vec::with_capacity(hidden.len());
    let mut stream: [u8; 20] = salt.try_into().map_err(|_| JksError::Damaged)?;
    for piece in hidden.chunks(20) {
        stream = Sha1::new().chain_update(password).chain_update(stream).finalize().into();
        key.extend(piece.iter().zip(stream).map(|(a, b)| a ^ b));
    }
    let found = Sha1::new().chain_update(password).chain_update(&key).finalize();
    if found[..] == *hash { Ok(key) } else { Err(JksError::Password) }
}

/// Takes one element with this tag from the front; what is behind it, and what is in it.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        n @ 0..=0x7f => (usize::from(*n), rest),
        n @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(n & 0x7f))?;
            (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
        }
        _ => return None,
    };
    let (inner, rest) = rest.split_at_checked(length)?;
    (*found == tag).then_some((rest, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_an_error() {
        // One trusted certificate of three bytes.
        let mut file = MAGIC.to_vec();
        file.extend([0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, b'a']);
        file.extend([0; 8]);
        file.extend([0, 5, b'X', b'.', b'5', b'0', b'9', 0, 0, 0, 3, 1, 2, 3]);
        let hash = |file: &[u8]| {
            let password: Vec<u8> = "pw".encode_utf16().flat_map(u16::to_be_bytes).collect();
            Sha1::new().chain_update(password).chain_update("Mighty Aphrodite").chain_update(file).finalize()
        };
        let end = hash(&file);
        file.extend(end);
        let expected = Content { keys: Vec::new(), trusted: vec![("a".to_owned(), vec![1, 2, 3])] };
        assert_eq!(read(&file, "pw"), Ok(expected));
        assert_eq!(read(&file, "pv"), Err(JksError::Password));
        for cut in 0..file.len() {
            assert!(read(&file[..cut], "pw").is_err(), "{cut}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x81;
            assert!(read(&changed, "pw").is_err(), "{at}");
        }
    }
}
