//! Requests, encoded once: sending one copies its bytes and fills in number and digits.

use jute::Writer;
use zk_proto::client::RequestHeader;
use zk_proto::{Acl, OpCode, Xid};

use crate::keys::{Keys, fill};
use crate::line::seal;
use crate::{Error, Result};

/// What a request of a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// getData.
    Get,
    /// exists.
    Exists,
    /// getChildren.
    Children,
    /// setData with any version.
    Set,
    /// create; it may be there already.
    Create,
    /// delete with any version; it may be gone already.
    Delete,
    /// A multi of setData.
    Multi,
}

impl Verb {
    const ALL: [(Verb, &'static str, OpCode); 7] = [
        (Verb::Get, "get", OpCode::GetData),
        (Verb::Exists, "exists", OpCode::Exists),
        (Verb::Children, "children", OpCode::GetChildren),
        (Verb::Set, "set", OpCode::SetData),
        (Verb::Create, "create", OpCode::Create),
        (Verb::Delete, "delete", OpCode::Delete),
        (Verb::Multi, "multi", OpCode::Multi),
    ];

    fn op(self) -> OpCode {
        Self::ALL.iter().find(|(v, ..)| *v == self).map(|(.., op)| *op).expect("all verbs are in the table")
    }
}

/// How often each kind of request comes: verbs with weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<(Verb, u32)>);

impl Mix {
    /// Reads `get=70,set=30`. A verb alone has the weight 1.
    pub fn parse(text: &str) -> Result<Mix> {
        let wrong = |what: &str| {
            let verbs: Vec<&str> = Verb::ALL.iter().map(|(_, name, _)| *name).collect();
            Error::Invalid(format!("{what} in a mix; say VERB=WEIGHT,... with {}", verbs.join(", ")))
        };
        let mut shares = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let verb = Verb::ALL.iter().find(|(_, n, _)| *n == name).ok_or_else(|| wrong(part))?.0;
            let weight: u32 = weight.parse().map_err(|_| wrong(part))?;
            if weight == 0 || weight > 1_000_000 {
                return Err(wrong(part));
            }
            shares.push((verb, weight));
        }
        Ok(Mix(shares))
    }

    /// Whether anything is written.
    pub fn writes(&self) -> bool {
        self.0.iter().any(|(v, _)| v.op().is_write())
    }

    /// Whether requests may fail without anything being wrong, because the load itself races.
    pub fn may_refuse(&self) -> bool {
        self.0.iter().any(|(v, _)| matches!(v, Verb::Create | Verb::Delete))
    }
}

/// The requests of a load, ready to be copied.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    templates: Vec<Template>,
    /// Sums of weights.
    up_to: Vec<u64>,
    count: u64,
}

#[derive(Debug, Clone)]
struct Template {
    frame: Vec<u8>,
    /// For each path in the frame, where its digits are.
    paths: Vec<Vec<usize>>,
    is_write: bool,
}

impl Requests {
    /// Encodes the requests of a mix. `value` is the size of data that is written, `parts` the length of a multi.
    pub(crate) fn new(mix: &Mix, keys: &Keys, value: usize, parts: usize) -> Requests {
        let value = vec![b'v'; value];
        let mut sum = 0;
        let up_to = mix.0.iter().map(|(_, weight)| {
            sum += u64::from(*weight);
            sum
        });
        Requests {
            up_to: up_to.collect(),
            templates: mix.0.iter().map(|(verb, _)| Template::new(*verb, keys, &value, parts)).collect(),
            count: keys.count(),
        }
    }

    /// Appends a request and tells whether it is a write.
    pub(crate) fn push(&self, out: &mut Vec<u8>, xid: i32, dice: &mut Dice) -> bool {
        let total = self.up_to.last().copied().unwrap_or(1);
        let at = if self.up_to.len() == 1 { 0 } else { dice.below(total) };
        let which = self.up_to.iter().position(|up_to| at < *up_to).unwrap_or(0);
        let template = &self.templates[which];
        let start = out.len();
        out.extend_from_slice(&template.frame);
        let frame = &mut out[start..];
        frame[4..8].copy_from_slice(&xid.to_be_bytes());
        for path in template.paths.iter().filter(|p| !p.is_empty()) {
            fill(frame, path, dice.below(self.count));
        }
        template.is_write
    }
}

impl Template {
    fn new(verb: Verb, keys: &Keys, value: &[u8], parts: usize) -> Template {
        let mut frame = vec![0; 4];
        let mut starts = Vec::new();
        let mut w = Writer::new(&mut frame);
        RequestHeader { xid: Xid(0), op: verb.op().to_i32() }.write(&mut w);
        if verb == Verb::Multi {
            for _ in 0..parts {
                multi_header(&mut frame, OpCode::SetData.to_i32(), false);
                body(&mut frame, &mut starts, Verb::Set, keys, value);
            }
            multi_header(&mut frame, -1, true);
        } else {
            body(&mut frame, &mut starts, verb, keys, value);
        }
        seal(&mut frame, 0);
        let holes = keys.holes();
        let paths = starts.iter().map(|start| holes.iter().map(|h| start + h).collect()).collect();
        Template { frame, paths, is_write: verb.op().is_write() }
    }
}

/// The header of a multi's part, or of its end. ref: MultiHeader.
pub(crate) fn multi_header(out: &mut Vec<u8>, op: i32, done: bool) {
    let mut w = Writer::new(out);
    w.int(op);
    w.bool(done);
    w.int(-1);
}

/// The body of a create of an open, persistent node.
pub(crate) fn create(w: &mut Writer<'_, Vec<u8>>, path: &str, data: &[u8]) {
    w.str(path);
    w.buffer(Some(data));
    Acl::write_list(Some(&Acl::open()), w);
    w.int(0);
}

fn body(out: &mut Vec<u8>, starts: &mut Vec<usize>, verb: Verb, keys: &Keys, value: &[u8]) {
    starts.push(out.len() + 4);
    let mut w = Writer::new(out);
    let path = keys.pattern();
    match verb {
        Verb::Create => create(&mut w, path, value),
        Verb::Get | Verb::Exists | Verb::Children => {
            w.str(path);
            w.bool(false);
        }
        Verb::Set | Verb::Multi => {
            w.str(path);
            w.buffer(Some(value));
            w.int(-1);
        }
        Verb::Delete => {
            w.str(path);
            w.int(-1);
        }
    }
}

/// A small generator (xorshift64*): which node is next must cost nothing and be the same in every run.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let product = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(n);
        (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jute::Reader;
    use zk_proto::client::{ReadRequest, WriteRequest};

    fn decode(frame: &[u8]) -> String {
        assert_eq!(u32::from_be_bytes(*frame.first_chunk().unwrap()) as usize, frame.len() - 4);
        let mut r = Reader::new(&frame[4..]);
        let header = RequestHeader::read(&mut r).unwrap();
        let op = OpCode::from_i32(header.op).unwrap();
        let text = if ReadRequest::covers(op) {
            format!("{:?}", ReadRequest::decode(op, &mut r).unwrap())
        } else {
            format!("{:?}", WriteRequest::decode(op, &mut r).unwrap())
        };
        assert!(r.is_empty(), "bytes behind {text}");
        format!("{} {} {text}", header.xid.0, op.name())
    }

    #[test]
    fn every_request_decodes() {
        let keys = Keys::new("/bench/key-##", 37).unwrap();
        for (verb, name, op) in Verb::ALL {
            let requests = Requests::new(&Mix::parse(name).unwrap(), &keys, 9, 3);
            let mut dice = Dice::new(5);
            for xid in 1..50 {
                let mut out = Vec::new();
                let is_write = requests.push(&mut out, xid, &mut dice);
                assert_eq!(is_write, op.is_write());
                let text = decode(&out);
                assert!(text.starts_with(&format!("{xid} {} ", op.name())), "{text}");
                let named = text.matches("/bench/key-").count();
                assert_eq!(named, if verb == Verb::Multi { 3 } else { 1 }, "{text}");
                let number: u64 = text.split("key-").nth(1).unwrap()[..2].parse().unwrap();
                assert!(number < 37);
            }
        }
    }

    #[test]
    fn weights_are_kept() {
        let mix = Mix::parse("get=70, set=30").unwrap();
        let requests = Requests::new(&mix, &Keys::all("/a-##").unwrap(), 1, 1);
        let (mut dice, mut out) = (Dice::new(1), Vec::new());
        let writes = (0..10_000).filter(|_| requests.push(&mut out, 1, &mut dice)).count();
        assert!((2800..3200).contains(&writes), "{writes}");
        for wrong in ["", "get=", "put", "get=0", "get=1,,"] {
            assert!(Mix::parse(wrong).is_err(), "{wrong}");
        }
    }
}
