//! The framing of snappy-java's streams: 8 bytes magic, version 1, compatible
//! version 1, then blocks of a length and raw snappy.
//! ref: org.xerial.snappy.SnappyOutputStream, SnappyCodec.

use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Java's block size. ref: SnappyOutputStream.DEFAULT_BLOCK_SIZE.
const BLOCK: usize = 32 << 10;
/// A block is never larger; a length beyond it is damage.
const MAX_BLOCK: usize = 16 << 20;

pub(super) fn is_magic(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

pub(super) struct SnappyReader<R> {
    input: R,
    begun: bool,
    packed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> SnappyReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, begun: false, packed: Vec::new(), block: Vec::new(), at: 0 }
    }

    /// Reads the next block. `false`: the stream ends here.
    fn next_block(&mut self) -> io::Result<bool> {
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        if !self.begun {
            let mut head = [0; 16];
            self.input.read_exact(&mut head)?;
            if !is_magic(&head) {
                return Err(bad("not a snappy stream"));
            }
            self.begun = true;
        }
        let mut len = [0; 4];
        if self.input.by_ref().take(1).read(&mut len)? == 0 {
            return Ok(false);
        }
        let (_, rest) = len.split_at_mut(1);
        self.input.read_exact(rest)?;
        let len = u32::from_be_bytes(len);
        if len as usize > MAX_BLOCK {
            return Err(bad("unreasonable length of a snappy block"));
        }
        self.packed.clear();
        self.input.by_ref().take(u64::from(len)).read_to_end(&mut self.packed)?;
        if self.packed.len() != len as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = snap::raw::decompress_len(&self.packed).map_err(io::Error::other)?;
        if size > MAX_BLOCK {
            return Err(bad("unreasonable size of a snappy block"));
        }
        self.block = snap::raw::Decoder::new().decompress_vec(&self.packed).map_err(io::Error::other)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let mut rest = self.block.get(self.at..).unwrap_or_default();
        let n = rest.read(buf)?;
        self.at += n;
        Ok(n)
    }
}

pub(super) struct SnappyWriter<W: Write> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> SnappyWriter<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self { out, block: Vec::with_capacity(BLOCK) })
    }

    fn put_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = snap::raw::Encoder::new().compress_vec(&self.block).map_err(io::Error::other)?;
        let len = u32::try_from(packed.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_be_bytes())?;
        self.out.write_all(&packed)?;
        self.block.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.put_block()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for SnappyWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(buf.get(..n).unwrap_or_default());
        if self.block.len() == BLOCK {
            self.put_block()?;
        }
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
