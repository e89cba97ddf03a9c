//! How a node stands in the mirror.
//!
//! ```text
//! version=1 | flags | varints: czxid, mzxid, ctime, mtime, version, cversion,
//!                      aversion, owner, pzxid, ACL id | inline data
//! ```
//! Varints are little-endian base 128 of zigzag numbers; mzxid and pzxid are
//! differences from czxid, mtime from ctime. A typical node takes 25 bytes
//! where Java's form takes 68.

use zk_proto::StatPersisted;

const VERSION: u8 = 1;
const HAS_DATA: u8 = 1;
const EXTERNAL: u8 = 2;

/// Where a node's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data<'a> {
    /// It has none, which is not the empty one.
    Null,
    /// Behind the numbers.
    Inline(&'a [u8]),
    /// In the column family `data`, under the same key.
    External,
}

pub(super) fn encode(out: &mut Vec<u8>, stat: &StatPersisted, acl_id: i64, data: Data<'_>) {
    let flags = match data {
        Data::Null => 0,
        Data::Inline(_) => HAS_DATA,
        Data::External => HAS_DATA | EXTERNAL,
    };
    out.extend_from_slice(&[VERSION, flags]);
    for n in [
        stat.czxid,
        stat.mzxid.wrapping_sub(stat.czxid),
        stat.ctime,
        stat.mtime.wrapping_sub(stat.ctime),
        i64::from(stat.version),
        i64::from(stat.cversion),
        i64::from(stat.aversion),
        stat.ephemeral_owner,
        stat.pzxid.wrapping_sub(stat.czxid),
        acl_id,
    ] {
        put_varint(out, n);
    }
    if let Data::Inline(d) = data {
        out.extend_from_slice(d);
    }
}

/// `None`: not what `encode` writes.
pub(super) fn decode(mut bytes: &[u8]) -> Option<(StatPersisted, i64, Data<'_>)> {
    let (&[version, flags], rest) = bytes.split_first_chunk()?;
    if version != VERSION {
        return None;
    }
    bytes = rest;
    let b = &mut bytes;
    let czxid = take_varint(b)?;
    let mzxid = take_varint(b)?.wrapping_add(czxid);
    let ctime = take_varint(b)?;
    let mtime = take_varint(b)?.wrapping_add(ctime);
    let version = i32::try_from(take_varint(b)?).ok()?;
    let cversion = i32::try_from(take_varint(b)?).ok()?;
    let aversion = i32::try_from(take_varint(b)?).ok()?;
    let ephemeral_owner = take_varint(b)?;
    let pzxid = take_varint(b)?.wrapping_add(czxid);
    let acl_id = take_varint(b)?;
    let data = match flags {
        0 if b.is_empty() => Data::Null,
        HAS_DATA => Data::Inline(b),
        3 if b.is_empty() => Data::External,
        _ => return None,
    };
    let stat =
        StatPersisted { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid };
    Some((stat, acl_id, data))
}

fn put_varint(out: &mut Vec<u8>, n: i64) {
    let mut n = ((n << 1) ^ (n >> 63)).cast_unsigned();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some((n >> 1).cast_signed() ^ -(n & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(n: [i64; 7], v: [i32; 3], data: Option<Vec<u8>>) {
            let stat = StatPersisted {
                czxid: n[0], mzxid: n[1], ctime: n[2], mtime: n[3], version: v[0], cversion: v[1],
                aversion: v[2], ephemeral_owner: n[4], pzxid: n[5],
            };
            for data in [data.as_deref().map_or(Data::Null, Data::Inline), Data::External] {
                let mut out = Vec::new();
                encode(&mut out, &stat, n[6], data);
                prop_assert_eq!(decode(&out), Some((stat, n[6], data)));
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_usual_node_is_small() {
        let stat = StatPersisted {
            czxid: 0x1_0000_0002,
            mzxid: 0x1_0000_000f,
            ctime: 1_795_231_137_448,
            mtime: 1_795_231_137_674,
            version: 2,
            cversion: 1,
            pzxid: 0x1_0000_0005,
            ..Default::default()
        };
        let mut out = Vec::new();
        encode(&mut out, &stat, 2, Data::Inline(b""));
        assert_eq!(out.len(), 22);
    }
}
