//! Where a client's frames begin and end.

/// What stands at the front of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Not all of a frame.
    Partial,
    /// A length that is negative or beyond the limit: the connection closes.
    Bad,
    /// A frame whose content has this many bytes, behind the four of its length.
    Frame(usize),
}

/// Bytes of a frame's length.
pub const PREFIX: usize = 4;

/// Looks at the front of `bytes`. `max` is `jute.maxbuffer`.
pub fn cut(bytes: &[u8], max: usize) -> Cut {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Cut::Partial };
    match usize::try_from(i32::from_be_bytes(*prefix)) {
        Ok(len) if len <= max => {
            if bytes.len() - PREFIX >= len {
                Cut::Frame(len)
            } else {
                Cut::Partial
            }
        }
        _ => Cut::Bad,
    }
}

/// What to do with bytes that came over a connection: the frames are worked off
/// where they lie, only the rest is kept.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes what is kept; it has to be given back by [`Tail::keep_from`].
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Keeps more.
    pub fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// Gives taken bytes back without the first `consumed`. Large buffers go
    /// when they are empty.
    pub fn keep_from(&mut self, mut bytes: Vec<u8>, consumed: usize) {
        debug_assert!(self.bytes.is_empty());
        bytes.drain(..consumed);
        if !bytes.is_empty() || bytes.capacity() <= crate::limits::KEEP {
            self.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_22() {
        let max = 0xf_ffff;
        assert_eq!(cut(&[0, 0, 0], max), Cut::Partial);
        assert_eq!(cut(&[0, 0, 0, 0], max), Cut::Frame(0));
        assert_eq!(cut(&[0, 0, 0, 2, 1], max), Cut::Partial);
        assert_eq!(cut(&[0, 0, 0, 2, 1, 2, 3], max), Cut::Frame(2));
        assert_eq!(cut(&[0, 0x0f, 0xff, 0xff], max), Cut::Partial);
        assert_eq!(cut(&[0, 0x10, 0, 0], max), Cut::Bad);
        assert_eq!(cut(&[255, 255, 255, 255], max), Cut::Bad);
    }

    #[test]
    fn a_tail_forgets_what_was_consumed() {
        let mut t = Tail::default();
        t.extend(&[1, 2, 3]);
        let bytes = t.take();
        t.keep_from(bytes, 2);
        assert_eq!(t.bytes(), [3]);
        let bytes = t.take();
        t.keep_from(bytes, 1);
        assert!(t.is_empty());
    }
}
