use std::borrow::Cow;

use crate::{DEFAULT_MAX_LEN, DecodeError};

/// Reads fields from the front of a byte slice. Borrows, never copies.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    max_len: usize,
}

impl<'a> Reader<'a> {
    /// A reader with the default limit on lengths.
    pub fn new(input: &'a [u8]) -> Self {
        Self::with_max_len(input, DEFAULT_MAX_LEN)
    }

    /// A reader that refuses buffers and strings longer than `max_len` bytes.
    pub fn with_max_len(input: &'a [u8], max_len: usize) -> Self {
        Self { rest: input, max_len }
    }

    /// A reader of something else with the same limit.
    pub fn over<'b>(&self, input: &'b [u8]) -> Reader<'b> {
        Reader::with_max_len(input, self.max_len)
    }

    /// The bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes that were not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes as they are.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(DecodeError::Short { missing: n - self.rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(DecodeError::Short { missing: N - self.rest.len() }),
        }
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// One byte; any value but 0 is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.byte()? != 0)
    }

    /// Four bytes.
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A length-prefixed buffer; `None` is null, which is not the empty one.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            n => match usize::try_from(n) {
                Ok(len) if len <= self.max_len => self.take(len).map(Some),
                _ => Err(DecodeError::Length(n)),
            },
        }
    }

    /// A string; `None` is null. Bytes that are not UTF-8 become U+FFFD, as
    /// Java's decoder does. ref: BinaryInputArchive.readString.
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.buffer()?.map(lossy))
    }

    /// A string that must not be null.
    pub fn str(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.string()?.ok_or(DecodeError::Null)
    }

    /// A vector's count; `None` is null, other negative counts are an empty
    /// vector as in Java. The count is a claim: do not allocate by it.
    /// ref: BinaryInputArchive.startVector.
    pub fn count(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            n => Ok(Some(usize::try_from(n).unwrap_or(0))),
        }
    }

    /// A vector of `item`s; `None` is null. Memory grows with what was read,
    /// not with the claimed count.
    pub fn vector<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.count()? else { return Ok(None) };
        let mut out = Vec::with_capacity(count.min(self.remaining() / 4));
        for _ in 0..count {
            out.push(item(self)?);
        }
        Ok(Some(out))
    }
}

/// Like `String::from_utf8_lossy`, but a surrogate of three bytes is one U+FFFD
/// and not three. ref: java.lang.String, decodeUTF8.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(all) if out.is_empty() => return Cow::Borrowed(all),
            Ok(end) => {
                out.push_str(end);
                return Cow::Owned(out);
            }
            Err(e) => {
                let (good, bad) = rest.split_at(e.valid_up_to());
                out.push_str(std::str::from_utf8(good).expect("valid up to here"));
                out.push(char::REPLACEMENT_CHARACTER);
                let skip = match bad {
                    [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
                    _ => e.error_len().unwrap_or(bad.len()),
                };
                rest = &bad[skip..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;
    use proptest::prelude::*;

    #[test]
    fn null_and_empty_differ() {
        let mut r = Reader::new(&[255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(r.buffer(), Ok(None));
        assert_eq!(r.buffer(), Ok(Some(&[][..])));
    }

    #[test]
    fn lengths_are_checked_before_use() {
        assert_eq!(Reader::new(&[255, 255, 255, 254]).buffer(), Err(DecodeError::Length(-2)));
        assert_eq!(Reader::new(&[0x7f, 255, 255, 255]).buffer(), Err(DecodeError::Length(i32::MAX)));
        assert_eq!(Reader::new(&[0, 0, 0, 9, 1]).buffer(), Err(DecodeError::Short { missing: 8 }));
        assert_eq!(Reader::with_max_len(&[0, 0, 0, 3, 1, 2, 3], 2).buffer(), Err(DecodeError::Length(3)));
    }

    #[test]
    fn a_vector_allocates_by_what_is_there() {
        let mut r = Reader::new(&[0x7f, 255, 255, 255, 0, 0, 0, 1]);
        assert_eq!(r.vector(|r| r.int()), Err(DecodeError::Short { missing: 4 }));
        assert_eq!(Reader::new(&[255, 255, 255, 0]).vector(|r| r.int()), Ok(Some(vec![])));
        assert_eq!(Reader::new(&[255, 255, 255, 255]).vector(|r| r.int()), Ok(None));
    }

    #[test]
    fn strings_decode_like_java() {
        for (bytes, text) in [
            // A surrogate as Java's encoder writes it.
            (&b"a\xed\xa0\xbdb"[..], "a\u{fffd}b"),
            (b"\xed\xa0", "\u{fffd}\u{fffd}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"x\xe2\x82", "x\u{fffd}"),
            (b"\xc3\xa4", "\u{e4}"),
            (b"", ""),
        ] {
            assert_eq!(lossy(bytes), text, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut r = Reader::new(&bytes);
            while !r.is_empty() {
                let _ = r.clone().vector(|r| r.string().map(|_| ()));
                let _ = r.clone().long();
                r.byte().unwrap();
            }
        }

        #[test]
        fn what_is_written_is_read(a: i32, b: i64, c: bool, d: Option<Vec<u8>>, e: String, f: Vec<i32>) {
            let mut out = Vec::new();
            let mut w = Writer::new(&mut out);
            w.int(a);
            w.long(b);
            w.bool(c);
            w.buffer(d.as_deref());
            w.vector(Some(&f), |w, i| w.int(*i));
            let bmp: String = e.chars().filter(|c| (*c as u32) < 0x1_0000).collect();
            w.str(&bmp);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.int(), Ok(a));
            prop_assert_eq!(r.long(), Ok(b));
            prop_assert_eq!(r.bool(), Ok(c));
            prop_assert_eq!(r.buffer(), Ok(d.as_deref()));
            prop_assert_eq!(r.vector(|r| r.int()), Ok(Some(f)));
            prop_assert_eq!(r.str().unwrap(), bmp);
            prop_assert!(r.is_empty());
        }
    }
}
