use super::numbers::{decode, encode, longest};
use crate::NodeId;
use crate::store::Numbered;
use crate::store::slab::{Loc, MAX_LEN, Slabs};

/// Nodes of a chunk.
const WIDTH: u32 = 1 << 10;
/// Numbers that are written in one piece; more are written in several, so that one more
/// does not cost the writing of all.
const PIECE: usize = 256;
const _: () = assert!(longest(PIECE) <= MAX_LEN);

/// Sets of numbers, by node: mostly one number, seldom very many. A set of one takes 6 bytes,
/// and a larger one what [`encode`] makes of it and 6 to 14 bytes.
#[derive(Debug)]
pub(super) struct Sets {
    /// Those nodes that have a set, in ascending order, by the upper bits of their ids.
    chunks: Vec<Vec<Entry>>,
    slabs: Slabs,
    many: Numbered<Vec<Piece>>,
    numbers: Vec<u32>,
    bytes: Vec<u8>,
}

/// Without alignment: the lower bits of a node's id, and its [`Set`].
#[derive(Debug, Clone, Copy)]
struct Entry {
    low: [u8; 2],
    set: [u8; 4],
}

#[derive(Debug, Clone, Copy)]
enum Set {
    One(u32),
    Few(Loc),
    /// The number of a list of pieces.
    Many(u32),
}

/// Part of a set.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: u32,
    at: Loc,
}

const VALUE: u32 = (1 << 30) - 1;
const FEW: u32 = 1 << 30;
const MANY: u32 = 2 << 30;

impl Set {
    fn pack(self) -> [u8; 4] {
        let (tag, value) = match self {
            Set::One(number) => (0, number),
            Set::Few(at) => (FEW, at.0),
            Set::Many(number) => (MANY, number),
        };
        assert!(value <= VALUE, "watches take less than 8 GiB");
        (tag | value).to_le_bytes()
    }

    fn unpack(bytes: [u8; 4]) -> Set {
        let packed = u32::from_le_bytes(bytes);
        let value = packed & VALUE;
        match packed & !VALUE {
            0 => Set::One(value),
            FEW => Set::Few(Loc(value)),
            _ => Set::Many(value),
        }
    }
}

impl Entry {
    fn new(node: NodeId, set: Set) -> Entry {
        Entry { low: ((node.0 % WIDTH) as u16).to_le_bytes(), set: set.pack() }
    }

    fn low(&self) -> u32 {
        u32::from(u16::from_le_bytes(self.low))
    }

    fn set(&self) -> Set {
        Set::unpack(self.set)
    }
}

impl Sets {
    pub fn new() -> Sets {
        Sets {
            chunks: Vec::new(),
            slabs: Slabs::new(),
            many: Numbered::new(),
            numbers: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Chunk of a node, and its place there, or where it would be.
    fn place(&self, node: NodeId) -> (usize, Result<usize, usize>) {
        let chunk = (node.0 / WIDTH) as usize;
        let place = match self.chunks.get(chunk) {
            Some(entries) => entries.binary_search_by_key(&(node.0 % WIDTH), Entry::low),
            None => Err(0),
        };
        (chunk, place)
    }

    fn get(&self, node: NodeId) -> Option<Set> {
        match self.place(node) {
            (chunk, Ok(at)) => Some(self.chunks[chunk][at].set()),
            _ => None,
        }
    }

    /// Gives a node this set, or none.
    fn put(&mut self, node: NodeId, set: Option<Set>) {
        let (chunk, place) = self.place(node);
        match (place, set) {
            (Ok(at), Some(set)) => self.chunks[chunk][at].set = set.pack(),
            (Ok(at), None) => {
                let entries = &mut self.chunks[chunk];
                entries.remove(at);
                if entries.len() < entries.capacity() / 2 {
                    entries.shrink_to_fit();
                }
            }
            (Err(at), Some(set)) => {
                if self.chunks.len() <= chunk {
                    self.chunks.resize_with(chunk + 1, Vec::new);
                }
                let entries = &mut self.chunks[chunk];
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(1 + entries.len() / 8);
                }
                entries.insert(at, Entry::new(node, set));
            }
            (Err(_), None) => {}
        }
    }

    /// Whether a node's set has a number.
    pub fn contains(&self, node: NodeId, number: u32) -> bool {
        let mut numbers = Vec::new();
        match self.get(node) {
            None => {}
            Some(Set::One(one)) => numbers.push(one),
            Some(Set::Few(at)) => decode(self.slabs.slot(at), &mut numbers),
            Some(Set::Many(list)) => {
                let pieces = self.many.get(list);
                decode(self.slabs.slot(pieces[piece_of(pieces, number)].at), &mut numbers);
            }
        }
        numbers.binary_search(&number).is_ok()
    }

    /// Puts a number into a node's set; false: it is there.
    pub fn add(&mut self, node: NodeId, number: u32) -> bool {
        match self.get(node) {
            None => self.put(node, Some(Set::One(number))),
            Some(Set::One(one)) if one == number => return false,
            Some(Set::One(one)) => {
                let at = self.write(None, &[one.min(number), one.max(number)]);
                self.put(node, Some(Set::Few(at)));
            }
            Some(Set::Few(at)) => {
                let pieces = self.change(at, |numbers| match numbers.binary_search(&number) {
                    Ok(_) => false,
                    Err(place) => {
                        numbers.insert(place, number);
                        true
                    }
                });
                let Some(pieces) = pieces else { return false };
                let set = match pieces[..] {
                    [Piece { at, .. }] => Set::Few(at),
                    _ => Set::Many(self.many.add(pieces)),
                };
                self.put(node, Some(set));
            }
            Some(Set::Many(list)) => {
                let pieces = self.many.get(list);
                let place = piece_of(pieces, number);
                let changed = self.change(pieces[place].at, |numbers| match numbers.binary_search(&number) {
                    Ok(_) => false,
                    Err(place) => {
                        numbers.insert(place, number);
                        true
                    }
                });
                let Some(changed) = changed else { return false };
                self.many.get_mut(list).splice(place..=place, changed);
            }
        }
        true
    }

    /// Takes a number out of a node's set; false: it is not there.
    pub fn remove(&mut self, node: NodeId, number: u32) -> bool {
        let take = |numbers: &mut Vec<u32>| match numbers.binary_search(&number) {
            Ok(place) => {
                numbers.remove(place);
                true
            }
            Err(_) => false,
        };
        match self.get(node) {
            Some(Set::One(one)) if one == number => self.put(node, None),
            None | Some(Set::One(_)) => return false,
            Some(Set::Few(at)) => {
                let Some(left) = self.change(at, take) else { return false };
                let set = left.first().map(|piece| Set::Few(piece.at));
                self.put(node, set);
            }
            Some(Set::Many(list)) => {
                let pieces = self.many.get(list);
                let place = piece_of(pieces, number);
                let Some(changed) = self.change(pieces[place].at, take) else { return false };
                let pieces = self.many.get_mut(list);
                pieces.splice(place..=place, changed);
                if pieces.is_empty() {
                    self.many.remove(list);
                    self.put(node, None);
                }
            }
        }
        true
    }

    /// Changes what is written somewhere, unless `change` says that it did nothing. Gives the
    /// pieces that it is now: none, one, or two if it has become too long.
    fn change(&mut self, at: Loc, change: impl FnOnce(&mut Vec<u32>) -> bool) -> Option<Vec<Piece>> {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.clear();
        decode(self.slabs.slot(at), &mut numbers);
        let pieces = change(&mut numbers).then(|| match numbers.len() {
            0 => {
                self.slabs.free(at);
                Vec::new()
            }
            1..=PIECE => vec![Piece { first: numbers[0], at: self.write(Some(at), &numbers) }],
            _ => {
                let (low, high) = numbers.split_at(PIECE / 2);
                vec![
                    Piece { first: low[0], at: self.write(Some(at), low) },
                    Piece { first: high[0], at: self.write(None, high) },
                ]
            }
        });
        self.numbers = numbers;
        pieces
    }

    /// Writes numbers, in the place of what is somewhere or in a new one.
    fn write(&mut self, at: Option<Loc>, numbers: &[u32]) -> Loc {
        self.bytes.clear();
        encode(numbers, &mut self.bytes);
        match at {
            Some(at) => self.slabs.replace(at, &self.bytes),
            None => self.slabs.put(&self.bytes),
        }
    }

    fn read(&self, set: Set, numbers: &mut Vec<u32>) {
        match set {
            Set::One(number) => numbers.push(number),
            Set::Few(at) => decode(self.slabs.slot(at), numbers),
            Set::Many(list) => {
                self.many.get(list).iter().for_each(|piece| decode(self.slabs.slot(piece.at), numbers));
            }
        }
    }

    fn free(&mut self, set: Set) {
        match set {
            Set::One(_) => {}
            Set::Few(at) => self.slabs.free(at),
            Set::Many(list) => {
                self.many.remove(list).iter().for_each(|piece| self.slabs.free(piece.at));
            }
        }
    }

    /// Takes a node's whole set, in ascending order, behind what is in `numbers`.
    pub fn take(&mut self, node: NodeId, numbers: &mut Vec<u32>) {
        let Some(set) = self.get(node) else { return };
        self.read(set, numbers);
        self.free(set);
        self.put(node, None);
    }

    /// Number of chunks, some of them empty.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Takes numbers out of all sets of a chunk, and tells of how many of which node. Gives how
    /// many were looked at.
    pub fn retain(
        &mut self,
        chunk: usize,
        keep: impl Fn(u32) -> bool,
        mut gone: impl FnMut(NodeId, u32),
    ) -> usize {
        let mut numbers = Vec::new();
        let mut seen = 0;
        let entries = std::mem::take(&mut self.chunks[chunk]);
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            let (node, set) = (NodeId(chunk as u32 * WIDTH + entry.low()), entry.set());
            numbers.clear();
            self.read(set, &mut numbers);
            let before = numbers.len();
            seen += before;
            numbers.retain(|number| keep(*number));
            if numbers.len() == before {
                kept.push(entry);
                continue;
            }
            gone(node, (before - numbers.len()) as u32);
            self.free(set);
            kept.extend(self.make(&numbers).map(|set| Entry::new(node, set)));
        }
        kept.shrink_to_fit();
        self.chunks[chunk] = kept;
        seen
    }

    fn make(&mut self, numbers: &[u32]) -> Option<Set> {
        match numbers {
            [] => None,
            [one] => Some(Set::One(*one)),
            few if few.len() <= PIECE => Some(Set::Few(self.write(None, few))),
            many => {
                let pieces = many.chunks(PIECE / 2);
                let pieces = pieces.map(|p| Piece { first: p[0], at: self.write(None, p) }).collect();
                Some(Set::Many(self.many.add(pieces)))
            }
        }
    }

    /// All sets, in ascending order of their nodes.
    pub fn for_each(&self, mut each: impl FnMut(NodeId, &[u32])) {
        let mut numbers = Vec::new();
        for (chunk, entries) in self.chunks.iter().enumerate() {
            for entry in entries {
                numbers.clear();
                self.read(entry.set(), &mut numbers);
                each(NodeId(chunk as u32 * WIDTH + entry.low()), &numbers);
            }
        }
    }
}

/// The piece that has a number or would have it.
fn piece_of(pieces: &[Piece], number: u32) -> usize {
    pieces.partition_point(|piece| piece.first <= number).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn listed(sets: &Sets) -> BTreeMap<u32, Vec<u32>> {
        let mut out = BTreeMap::new();
        sets.for_each(|node, numbers| assert!(out.insert(node.0, numbers.to_vec()).is_none()));
        out
    }

    #[test]
    fn sets_of_thousands() {
        let mut sets = Sets::new();
        let node = NodeId(5000);
        // Neither ascending nor descending.
        let numbers: Vec<u32> = (0..5000).map(|i| i * 7919 % 5000).collect();
        for number in &numbers {
            assert!(sets.add(node, *number) && !sets.add(node, *number));
        }
        assert_eq!(listed(&sets)[&5000], (0..5000).collect::<Vec<_>>());
        for number in numbers.iter().filter(|n| **n % 3 > 0) {
            assert!(sets.remove(node, *number) && !sets.remove(node, *number));
        }
        assert_eq!(listed(&sets)[&5000], (0..5000).step_by(3).collect::<Vec<_>>());
        assert!(sets.contains(node, 3) && !sets.contains(node, 4));
        let mut gone = Vec::new();
        let seen = sets.retain(4, |n| n % 2 == 0, |node, count| gone.push((node.0, count)));
        assert_eq!((seen, gone), (1667, vec![(5000, 833)]));
        assert_eq!(listed(&sets)[&5000], (0..5000).step_by(6).collect::<Vec<_>>());
        for number in (0..5000).step_by(6) {
            assert!(sets.remove(node, number));
        }
        assert_eq!((listed(&sets).len(), sets.many.len()), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u32, u32),
        Remove(u32, u32),
        Take(u32),
        Retain(usize, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let node = || prop::sample::select(vec![0_u32, 1, 1023, 1024, 70_000]);
        prop_oneof![
            8 => (node(), 0..40_u32).prop_map(|(node, n)| Step::Add(node, n)),
            3 => (node(), 0..40_u32).prop_map(|(node, n)| Step::Remove(node, n)),
            1 => node().prop_map(Step::Take),
            1 => (0..69_usize, 0..40_u32).prop_map(|(chunk, n)| Step::Retain(chunk, n)),
        ]
    }

    proptest! {
        #[test]
        fn sets_are_sets(steps in prop::collection::vec(step(), 1..300)) {
            let mut sets = Sets::new();
            let mut model: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Add(node, n) => {
                        let is_new = model.entry(node).or_default().insert(n);
                        prop_assert_eq!(sets.add(NodeId(node), n), is_new);
                    }
                    Step::Remove(node, n) => {
                        let was_there = model.entry(node).or_default().remove(&n);
                        prop_assert_eq!(sets.contains(NodeId(node), n), was_there);
                        prop_assert_eq!(sets.remove(NodeId(node), n), was_there);
                    }
                    Step::Take(node) => {
                        let mut out = Vec::new();
                        sets.take(NodeId(node), &mut out);
                        let set = model.remove(&node).unwrap_or_default();
                        prop_assert_eq!(out, set.into_iter().collect::<Vec<_>>());
                    }
                    Step::Retain(chunk, n) => {
                        if chunk >= sets.chunks() {
                            continue;
                        }
                        sets.retain(chunk, |number| number != n, |_, count| assert_eq!(count, 1));
                        for (node, set) in &mut model {
                            if *node as usize / WIDTH as usize == chunk {
                                set.remove(&n);
                            }
                        }
                    }
                }
                model.retain(|_, set| !set.is_empty());
                let expected: BTreeMap<u32, Vec<u32>> =
                    model.iter().map(|(node, set)| (*node, set.iter().copied().collect())).collect();
                prop_assert_eq!(listed(&sets), expected);
            }
        }
    }
}
