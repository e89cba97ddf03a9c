use bytes::BufMut;

/// How many bytes [`Writer::str`] writes behind the length.
pub fn text_len(s: &str) -> usize {
    // Those of four bytes take six.
    let far = if s.is_ascii() { 0 } else { s.as_bytes().iter().filter(|b| **b >= 0xf0).count() };
    s.len() + 2 * far
}

/// Appends fields to a buffer.
#[derive(Debug)]
pub struct Writer<'a, B: BufMut> {
    out: &'a mut B,
}

impl<'a, B: BufMut> Writer<'a, B> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut B) -> Self {
        Self { out }
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// One byte.
    pub fn byte(&mut self, v: u8) {
        self.out.put_u8(v);
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, v: bool) {
        self.out.put_u8(u8::from(v));
    }

    /// Four bytes.
    pub fn int(&mut self, v: i32) {
        self.out.put_i32(v);
    }

    /// Eight bytes.
    pub fn long(&mut self, v: i64) {
        self.out.put_i64(v);
    }

    /// A length or a count.
    ///
    /// # Panics
    /// If `n` does not fit the format's 31 bits: limits on requests and on
    /// trees keep every length far below that.
    pub fn len(&mut self, n: usize) {
        self.int(i32::try_from(n).expect("limits keep lengths below 2^31"));
    }

    /// A buffer; `None` is null.
    pub fn buffer(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.int(-1),
            Some(b) => {
                self.len(b.len());
                self.raw(b);
            }
        }
    }

    /// A string. A character beyond U+FFFF is written as two surrogates of
    /// three bytes each, as Java's encoder does. ref: BinaryOutputArchive.stringToByteBuffer.
    pub fn str(&mut self, s: &str) {
        let len = text_len(s);
        self.len(len);
        if len == s.len() {
            return self.raw(s.as_bytes());
        }
        let mut units = [0u16; 2];
        let mut utf8 = [0u8; 4];
        for c in s.chars() {
            if c.len_utf8() < 4 {
                self.raw(c.encode_utf8(&mut utf8).as_bytes());
            } else {
                for u in c.encode_utf16(&mut units) {
                    let [hi, lo] = u.to_be_bytes();
                    self.raw(&[0xe0 | hi >> 4, 0x80 | (hi & 0x0f) << 2 | lo >> 6, 0x80 | lo & 0x3f]);
                }
            }
        }
    }

    /// A string or null.
    pub fn string(&mut self, s: Option<&str>) {
        match s {
            None => self.int(-1),
            Some(s) => self.str(s),
        }
    }

    /// A vector; `None` is null.
    pub fn vector<T>(&mut self, items: Option<&[T]>, mut item: impl FnMut(&mut Self, &T)) {
        match items {
            None => self.int(-1),
            Some(v) => {
                self.len(v.len());
                for i in v {
                    item(self, i);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bmp_is_two_surrogates() {
        let mut out = Vec::new();
        Writer::new(&mut out).str("a\u{1f600}");
        assert_eq!(out, [0, 0, 0, 7, b'a', 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
    }
}
