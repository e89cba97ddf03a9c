//! Memory for records, in slots of some fifty sizes. Slots come from chunks of
//! one size each; a chunk that has become empty goes back.

/// Bytes of a chunk.
const CHUNK: usize = 64 << 10;
/// Slots begin at multiples of this many bytes.
const UNIT: usize = 8;
/// Units of a chunk; the low bits of a location.
const UNITS: u32 = (CHUNK / UNIT) as u32;
const NONE: u16 = u16::MAX;
const NO_PLACE: u32 = u32::MAX;

/// Longest record.
pub(crate) const MAX_LEN: usize = 1408;
const CLASSES: usize = class_of(MAX_LEN) + 1;

/// Which size of slot a record of this length takes: multiples of 8 up to 256,
/// of 32 up to 512, of 128 beyond.
const fn class_of(len: usize) -> usize {
    match len {
        0..=24 => 0,
        25..=256 => (len - 17) / 8,
        257..=512 => 30 + (len - 257) / 32,
        _ => 38 + (len - 513) / 128,
    }
}

const fn size_of(class: usize) -> usize {
    match class {
        0..30 => 24 + class * 8,
        30..38 => 288 + (class - 30) * 32,
        _ => 640 + (class - 38) * 128,
    }
}

/// Where a record is: number of the chunk and unit in it. 32 GiB in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loc(pub u32);

#[derive(Debug)]
struct Chunk {
    mem: Box<[u8]>,
    class: u8,
    live: u16,
    /// First unit that was never used.
    fresh: u16,
    /// First free slot; it holds the number of the next one.
    free: u16,
    /// Place in the list of chunks with room.
    place: u32,
}

#[derive(Debug)]
pub(crate) struct Slabs {
    chunks: Vec<Chunk>,
    /// Chunks without memory.
    empty: Vec<u32>,
    /// Chunks with room, by class.
    room: [Vec<u32>; CLASSES],
}

impl Slabs {
    pub fn new() -> Slabs {
        Slabs { chunks: Vec::new(), empty: Vec::new(), room: std::array::from_fn(|_| Vec::new()) }
    }

    /// The slot at a location; it may be longer than the record in it.
    #[inline]
    pub fn slot(&self, at: Loc) -> &[u8] {
        let chunk = &self.chunks[(at.0 / UNITS) as usize];
        let start = (at.0 % UNITS) as usize * UNIT;
        &chunk.mem[start..start + size_of(usize::from(chunk.class))]
    }

    #[inline]
    pub fn slot_mut(&mut self, at: Loc) -> &mut [u8] {
        let chunk = &mut self.chunks[(at.0 / UNITS) as usize];
        let start = (at.0 % UNITS) as usize * UNIT;
        &mut chunk.mem[start..start + size_of(usize::from(chunk.class))]
    }

    /// Puts a record into a new slot.
    pub fn put(&mut self, record: &[u8]) -> Loc {
        let at = self.take(class_of(record.len()));
        self.slot_mut(at)[..record.len()].copy_from_slice(record);
        at
    }

    /// Puts a new record in the place of an old one, or elsewhere if its size
    /// is another.
    pub fn replace(&mut self, at: Loc, record: &[u8]) -> Loc {
        if self.slot(at).len() == size_of(class_of(record.len())) {
            self.slot_mut(at)[..record.len()].copy_from_slice(record);
            return at;
        }
        self.free(at);
        self.put(record)
    }

    fn take(&mut self, class: usize) -> Loc {
        let units = (size_of(class) / UNIT) as u16;
        let number = match self.room[class].last() {
            Some(number) => *number,
            None => self.new_chunk(class),
        };
        let chunk = &mut self.chunks[number as usize];
        let unit = if chunk.free == NONE {
            let unit = chunk.fresh;
            chunk.fresh += units;
            unit
        } else {
            let unit = chunk.free;
            let start = usize::from(unit) * UNIT;
            chunk.free = u16::from_le_bytes([chunk.mem[start], chunk.mem[start + 1]]);
            unit
        };
        chunk.live += 1;
        if chunk.free == NONE && u32::from(chunk.fresh) + u32::from(units) > UNITS {
            chunk.place = NO_PLACE;
            self.room[class].pop();
        }
        Loc(number * UNITS + u32::from(unit))
    }

    fn new_chunk(&mut self, class: usize) -> u32 {
        let place = self.room[class].len() as u32;
        let mem = vec![0; CHUNK].into_boxed_slice();
        let chunk = Chunk { mem, class: class as u8, live: 0, fresh: 0, free: NONE, place };
        let number = match self.empty.pop() {
            Some(number) => {
                self.chunks[number as usize] = chunk;
                number
            }
            None => {
                self.chunks.push(chunk);
                let number = self.chunks.len() - 1;
                assert!(number < (1 << 32) / UNITS as usize, "nodes take more than 32 GiB");
                number as u32
            }
        };
        self.room[class].push(number);
        number
    }

    /// Gives a slot back.
    pub fn free(&mut self, at: Loc) {
        let number = at.0 / UNITS;
        let unit = (at.0 % UNITS) as u16;
        let chunk = &mut self.chunks[number as usize];
        let start = usize::from(unit) * UNIT;
        chunk.mem[start..start + 2].copy_from_slice(&chunk.free.to_le_bytes());
        chunk.free = unit;
        chunk.live -= 1;
        let room = &mut self.room[usize::from(chunk.class)];
        if chunk.place == NO_PLACE {
            chunk.place = room.len() as u32;
            room.push(number);
        }
        // The last chunk of a class stays, so that one node that comes and goes
        // does not take 64 KiB each time.
        if chunk.live == 0 && room.len() > 1 {
            chunk.mem = Box::default();
            let place = chunk.place as usize;
            room.swap_remove(place);
            if let Some(&moved) = room.get(place) {
                self.chunks[moved as usize].place = place as u32;
            }
            self.empty.push(number);
        }
    }

    /// Bytes of memory in chunks.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|c| c.mem.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_fit_and_ascend() {
        for len in 0..=MAX_LEN {
            let class = class_of(len);
            assert!(size_of(class) >= len && (class == 0 || size_of(class - 1) < len), "{len}");
            assert_eq!(class_of(size_of(class)), class);
        }
        assert!((0..CLASSES).all(|c| size_of(c).is_multiple_of(UNIT)));
    }

    #[test]
    fn emptied_chunks_go_back() {
        let mut s = Slabs::new();
        let slots: Vec<Loc> = (0..5000).map(|_| s.put(&[7; 104])).collect();
        assert_eq!(s.bytes(), 8 * CHUNK);
        slots.iter().for_each(|at| s.free(*at));
        assert_eq!(s.bytes(), CHUNK);
        let slots: Vec<Loc> = (0..500).map(|_| s.put(&[7; 1024])).collect();
        assert_eq!(s.bytes(), 9 * CHUNK);
        assert_eq!(s.chunks.len(), 9, "numbers are used again");
        assert!(slots.iter().all(|at| s.slot(*at) == [7; 1024]));
    }

    proptest! {
        #[test]
        fn slots_keep_what_is_put_in(steps in proptest::collection::vec((0..3_u8, 1..MAX_LEN, any::<usize>()), 1..400)) {
            let mut s = Slabs::new();
            let mut held: Vec<(Loc, Vec<u8>)> = Vec::new();
            for (n, (what, len, at)) in steps.into_iter().enumerate() {
                let record = vec![n as u8; len];
                if what == 0 && !held.is_empty() {
                    let (loc, _) = held.swap_remove(at % held.len());
                    s.free(loc);
                } else if what == 1 && !held.is_empty() {
                    let at = at % held.len();
                    held[at] = (s.replace(held[at].0, &record), record);
                } else {
                    held.push((s.put(&record), record));
                }
                for (loc, record) in &held {
                    prop_assert_eq!(&s.slot(*loc)[..record.len()], &record[..]);
                }
            }
        }
    }
}
