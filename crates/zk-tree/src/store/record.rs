//! The bytes of a node.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | hash of the path |
//! | 4 | parent's id |
//! | 4 | place among the parent's children |
//! | 4 | children: none, the only one's id, or the number of a list |
//! | 2 | flags: which of the numbers below differ from the usual |
//! | 1 + n | name; a long one is outside and has its number here |
//! | varints | czxid, ctime, then those that the flags name |
//! | n | data: length and bytes, or a number if it is outside |
//!
//! The first four are changed in place, so they have fixed places.

use zk_proto::StatPersisted;

use crate::acl::OPEN_ID;

pub(super) const HASH: usize = 0;
pub(super) const PARENT: usize = 4;
pub(super) const PLACE: usize = 8;
pub(super) const CHILDREN: usize = 12;
/// Bytes before the flags.
pub(super) const FIXED: usize = 16;

const MZXID: u16 = 1;
const PZXID: u16 = 1 << 1;
const MTIME: u16 = 1 << 2;
const VERSION: u16 = 1 << 3;
const CVERSION: u16 = 1 << 4;
const AVERSION: u16 = 1 << 5;
const OWNER: u16 = 1 << 6;
const ACL: u16 = 1 << 7;
const NAME_OUTSIDE: u16 = 1 << 8;
const DATA_INSIDE: u16 = 1 << 9;
const DATA_OUTSIDE: u16 = 1 << 10;

/// Bytes that are in the record or outside of it under a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Inside(&'a [u8]),
    Outside(u32),
}

/// Longest name inside.
pub(super) const MAX_NAME: usize = 255;
/// Longest data inside.
pub(super) const MAX_DATA: usize = 1024;

/// A record's numbers and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body<'a> {
    pub stat: StatPersisted,
    pub acl: i64,
    pub data: Option<Part<'a>>,
}

#[inline]
pub(super) fn get_u32(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn set_u32(record: &mut [u8], at: usize, value: u32) {
    record[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Appends a record. The fixed part is what `fixed` says.
pub(super) fn encode(out: &mut Vec<u8>, fixed: [u32; 4], name: Part<'_>, body: &Body<'_>) {
    let s = &body.stat;
    for value in fixed {
        out.extend_from_slice(&value.to_le_bytes());
    }
    let flags = [
        (s.mzxid != s.czxid, MZXID),
        (s.pzxid != s.czxid, PZXID),
        (s.mtime != s.ctime, MTIME),
        (s.version != 0, VERSION),
        (s.cversion != 0, CVERSION),
        (s.aversion != 0, AVERSION),
        (s.ephemeral_owner != 0, OWNER),
        (body.acl != OPEN_ID, ACL),
        (matches!(name, Part::Outside(_)), NAME_OUTSIDE),
        (matches!(body.data, Some(Part::Inside(_))), DATA_INSIDE),
        (matches!(body.data, Some(Part::Outside(_))), DATA_OUTSIDE),
    ];
    let flags = flags.into_iter().filter(|(set, _)| *set).fold(0, |sum, (_, flag)| sum | flag);
    out.extend_from_slice(&flags.to_le_bytes());
    match name {
        Part::Inside(name) => {
            out.push(u8::try_from(name.len()).expect("longer names are outside"));
            out.extend_from_slice(name);
        }
        Part::Outside(number) => out.extend_from_slice(&number.to_le_bytes()),
    }
    varint(out, s.czxid as u64);
    varint(out, s.ctime as u64);
    let signed = [
        (MZXID, s.mzxid.wrapping_sub(s.czxid)),
        (PZXID, s.pzxid.wrapping_sub(s.czxid)),
        (MTIME, s.mtime.wrapping_sub(s.ctime)),
        (VERSION, i64::from(s.version)),
        (CVERSION, i64::from(s.cversion)),
        (AVERSION, i64::from(s.aversion)),
        (ACL, body.acl),
    ];
    for (flag, value) in signed {
        if flags & flag != 0 {
            varint(out, ((value << 1) ^ (value >> 63)) as u64);
        }
    }
    if flags & OWNER != 0 {
        out.extend_from_slice(&s.ephemeral_owner.to_le_bytes());
    }
    match body.data {
        None => {}
        Some(Part::Inside(data)) => {
            varint(out, data.len() as u64);
            out.extend_from_slice(data);
        }
        Some(Part::Outside(number)) => out.extend_from_slice(&number.to_le_bytes()),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    #[inline]
    fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four bytes"))
    }

    #[inline]
    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        for (at, byte) in self.0.iter().enumerate() {
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return value;
            }
            shift += 7;
        }
        unreachable!("a number ends within its record")
    }

    #[inline]
    fn signed(&mut self, present: bool) -> i64 {
        if !present {
            return 0;
        }
        let v = self.varint();
        (v >> 1) as i64 ^ -((v & 1) as i64)
    }

    #[inline]
    fn small(&mut self, present: bool) -> i32 {
        i32::try_from(self.signed(present)).expect("it was written from 32 bits")
    }
}

#[inline]
fn start(record: &[u8]) -> (u16, Part<'_>, Cursor<'_>) {
    let flags = u16::from_le_bytes([record[FIXED], record[FIXED + 1]]);
    let mut c = Cursor(&record[FIXED + 2..]);
    let name = if flags & NAME_OUTSIDE == 0 {
        let len = c.take(1)[0];
        Part::Inside(c.take(usize::from(len)))
    } else {
        Part::Outside(c.number())
    };
    (flags, name, c)
}

/// A record's name.
#[inline]
pub(super) fn name(record: &[u8]) -> Part<'_> {
    start(record).1
}

/// A record's numbers and data.
pub(super) fn body(record: &[u8]) -> Body<'_> {
    let (flags, _, mut c) = start(record);
    let has = |flag: u16| flags & flag != 0;
    let czxid = c.varint() as i64;
    let ctime = c.varint() as i64;
    let mzxid = czxid.wrapping_add(c.signed(has(MZXID)));
    let pzxid = czxid.wrapping_add(c.signed(has(PZXID)));
    let mtime = ctime.wrapping_add(c.signed(has(MTIME)));
    let version = c.small(has(VERSION));
    let cversion = c.small(has(CVERSION));
    let aversion = c.small(has(AVERSION));
    let acl = if has(ACL) { c.signed(true) } else { OPEN_ID };
    let ephemeral_owner =
        if has(OWNER) { i64::from_le_bytes(c.take(8).try_into().expect("eight bytes")) } else { 0 };
    let data = if has(DATA_INSIDE) {
        let len = c.varint() as usize;
        Some(Part::Inside(c.take(len)))
    } else {
        has(DATA_OUTSIDE).then(|| Part::Outside(c.number()))
    };
    let stat =
        StatPersisted { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid };
    Body { stat, acl, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slab::MAX_LEN;
    use proptest::prelude::*;

    fn encoded(name: Part<'_>, body: &Body<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, [1, 2, 3, 4], name, body);
        out
    }

    #[test]
    fn the_largest_record_fits_into_a_slot() {
        let (far, low) = (i64::MIN, i32::MIN);
        let stat = StatPersisted {
            czxid: -1,
            mzxid: far,
            ctime: -1,
            mtime: far,
            version: low,
            cversion: low,
            aversion: low,
            ephemeral_owner: -1,
            pzxid: far,
        };
        let body = Body { stat, acl: far, data: Some(Part::Inside(&[1; MAX_DATA])) };
        let record = encoded(Part::Inside(&[2; MAX_NAME]), &body);
        assert!(record.len() <= MAX_LEN, "{}", record.len());
        assert_eq!(super::body(&record), body);
    }

    #[test]
    fn a_usual_record_is_short() {
        let zxid = 0x7_1234_5678;
        let time = 1_760_000_000_000;
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            ..Default::default()
        };
        let body = Body { stat, acl: OPEN_ID, data: Some(Part::Inside(&[0; 47])) };
        assert_eq!(encoded(Part::Inside(&[0; 24]), &body).len(), 102);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            longs: [i64; 7], ints: [i32; 3], same: [bool; 8],
            name: Result<(), u32>, data: Option<Result<(), u32>>,
        ) {
            let pick = |i: usize, or: i64| if same[i] { or } else { longs[i] };
            let small = |i: usize| if same[i] { 0 } else { ints[i] };
            let stat = StatPersisted {
                czxid: longs[0],
                mzxid: pick(1, longs[0]),
                pzxid: pick(2, longs[0]),
                ctime: longs[3],
                mtime: pick(4, longs[3]),
                version: small(0), cversion: small(1), aversion: small(2),
                ephemeral_owner: pick(5, 0),
            };
            let inside = Part::Inside(&b"12345"[..]);
            let data = data.map(|d| d.map_or_else(Part::Outside, |_| inside));
            let body = Body { stat, acl: pick(6, OPEN_ID), data };
            let name = name.map_or_else(Part::Outside, |_| inside);
            let record = encoded(name, &body);
            prop_assert_eq!(super::body(&record), body);
            prop_assert_eq!(super::name(&record), name);
            prop_assert_eq!([HASH, PARENT, PLACE, CHILDREN].map(|at| get_u32(&record, at)), [1, 2, 3, 4]);
        }
    }
}
