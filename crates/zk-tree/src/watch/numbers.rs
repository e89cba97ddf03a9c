//! Ascending numbers in few bytes: who watches a node.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | form of the gaps |
//! | varints | how many numbers there are, the first one |
//! | n | gaps: how many numbers each of the others leaves out before it |
//!
//! A gap is, in the form that is shortest for these numbers: so many zeros and a one
//! (`BITS`), digits of four bits that add up, of which 15 goes on (`NIBBLES`), or
//! a varint. One of a thousand connections takes a bit if all of them are there, five
//! bits if every tenth is, and a byte if there are a few.

const BITS: u8 = 0;
const NIBBLES: u8 = 1;
const VARINTS: u8 = 2;

/// Bytes that so many numbers take at most.
pub(super) const fn longest(count: usize) -> usize {
    1 + 5 * (count + 1)
}

/// Appends numbers, of which there is at least one.
pub(super) fn encode(numbers: &[u32], out: &mut Vec<u8>) {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return };
    let gaps = || numbers.windows(2).map(|pair| pair[1] - pair[0] - 1);
    let bits = ((last - first) as usize).div_ceil(8);
    let nibbles = gaps().map(|gap| gap as usize / 15 + 1).sum::<usize>().div_ceil(2);
    let varints = gaps().map(varint_len).sum::<usize>();
    let form = match bits.min(nibbles).min(varints) {
        least if least == bits => BITS,
        least if least == nibbles => NIBBLES,
        _ => VARINTS,
    };
    out.push(form);
    varint(out, numbers.len() as u32);
    varint(out, *first);
    match form {
        BITS => {
            let at = out.len();
            out.resize(at + bits, 0);
            for number in &numbers[1..] {
                let bit = (number - first - 1) as usize;
                out[at + bit / 8] |= 1 << (bit % 8);
            }
        }
        NIBBLES => {
            let mut half = None;
            let mut push = |digit: u8| match half.take() {
                None => half = Some(digit),
                Some(low) => out.push(low | digit << 4),
            };
            for gap in gaps() {
                (0..gap / 15).for_each(|_| push(15));
                push((gap % 15) as u8);
            }
            out.extend(half);
        }
        _ => gaps().for_each(|gap| varint(out, gap)),
    }
}

/// Appends the numbers that [`encode`] wrote; whatever is behind them does not matter.
pub(super) fn decode(bytes: &[u8], numbers: &mut Vec<u32>) {
    let (form, mut at) = (bytes[0], 1);
    let count = read_varint(bytes, &mut at);
    let mut last = read_varint(bytes, &mut at);
    numbers.push(last);
    let wanted = numbers.len() + count as usize - 1;
    match form {
        BITS => {
            let first = last;
            for (place, byte) in bytes[at..].iter().enumerate() {
                let mut left = *byte;
                while left != 0 && numbers.len() < wanted {
                    numbers.push(first + 1 + place as u32 * 8 + left.trailing_zeros());
                    left &= left - 1;
                }
                if numbers.len() == wanted {
                    break;
                }
            }
        }
        NIBBLES => {
            let mut digits = bytes[at..].iter().flat_map(|byte| [byte & 15, byte >> 4]);
            while numbers.len() < wanted {
                last += 1;
                for digit in digits.by_ref() {
                    last += u32::from(digit);
                    if digit < 15 {
                        break;
                    }
                }
                numbers.push(last);
            }
        }
        _ => {
            while numbers.len() < wanted {
                last += 1 + read_varint(bytes, &mut at);
                numbers.push(last);
            }
        }
    }
}

fn varint_len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &[u8], at: &mut usize) -> u32 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn written(numbers: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(numbers, &mut out);
        out
    }

    #[test]
    fn many_take_less_than_a_byte_each() {
        let all: Vec<u32> = (0..1000).collect();
        assert_eq!(written(&all).len(), 1 + 2 + 1 + 125);
        let tenth: Vec<u32> = (0..1000).step_by(10).collect();
        assert_eq!(written(&tenth).len(), 1 + 1 + 1 + 50);
        let few: Vec<u32> = (0..1000).step_by(100).collect();
        assert_eq!(written(&few).len(), 1 + 1 + 1 + 9);
        assert_eq!(written(&[7]).len(), 3);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            set in prop_oneof![
                prop::collection::btree_set(0..64_u32, 1..60),
                prop::collection::btree_set(0..2000_u32, 1..300),
                prop::collection::btree_set(any::<u32>(), 1..30),
            ],
            behind: Vec<u8>,
        ) {
            let numbers: Vec<u32> = set.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            let mut bytes = written(&numbers);
            prop_assert!(bytes.len() <= longest(numbers.len()));
            bytes.extend(behind);
            let mut read = vec![1];
            decode(&bytes, &mut read);
            prop_assert_eq!(&read[1..], &numbers[..]);
        }
    }
}
