//! Cuts a stream of replies. Only their headers are looked at; a body is counted and passed over,
//! so that lists of a hundred thousand names cost no copy.

use crate::{Error, Result};

/// Length, xid, zxid and error: what comes before the body.
const HEAD: usize = 20;

/// What is known of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Number of the request, or -1 for an event.
    pub xid: i32,
    /// 0 or an error's number.
    pub err: i32,
}

impl Head {
    /// Whether it is an event.
    pub(crate) fn is_event(self) -> bool {
        self.xid == -1
    }
}

/// Where in a stream a connection is.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    have: usize,
    /// Bytes of the body that are still to come, once the head is complete.
    missing: usize,
}

impl Frames {
    /// Takes the next bytes and tells of each reply that ends in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(Head) -> Result<()>) -> Result<()> {
        loop {
            if self.have == HEAD {
                let n = self.missing.min(bytes.len());
                bytes = &bytes[n..];
                self.missing -= n;
                if self.missing > 0 {
                    return Ok(());
                }
                self.have = 0;
                on(Head { xid: self.int(4), err: self.int(16) })?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let n = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have < HEAD {
                return Ok(());
            }
            let len = self.int(0);
            self.missing = usize::try_from(len)
                .ok()
                .and_then(|len| len.checked_sub(HEAD - 4))
                .ok_or_else(|| Error::Protocol(format!("a reply of {len} bytes")))?;
        }
    }

    fn int(&self, at: usize) -> i32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.head[at..at + 4]);
        i32::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(xid: i32, err: i32, body: usize) -> Vec<u8> {
        let mut out = (16 + body as i32).to_be_bytes().to_vec();
        out.extend(xid.to_be_bytes());
        out.extend(7i64.to_be_bytes());
        out.extend(err.to_be_bytes());
        out.resize(20 + body, 0xff);
        out
    }

    #[test]
    fn any_cut_gives_the_same() {
        let heads = [(1, 0, 0), (2, -101, 0), (-1, 0, 33), (3, 0, 1000)];
        let stream: Vec<u8> = heads.iter().flat_map(|(x, e, b)| frame(*x, *e, *b)).collect();
        for step in [1, 2, 7, 19, 20, 21, 100, stream.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for chunk in stream.chunks(step) {
                frames
                    .feed(chunk, |h| {
                        seen.push((h.xid, h.err));
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, [(1, 0), (2, -101), (-1, 0), (3, 0)], "in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_reply() {
        for len in [15i32, 0, -1] {
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.resize(40, 0);
            assert!(Frames::default().feed(&bytes, |_| Ok(())).is_err());
        }
    }
}
