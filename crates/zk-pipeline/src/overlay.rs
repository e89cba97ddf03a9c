//! Nodes as they will be once the transactions in flight are applied.
//!
//! A node that is changed has a slot, found once by its path; what is in flight, and what is to be undone, then names
//! the slot. So a change looks a path up once, and what is applied looks up nothing.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use zk_proto::{StatPersisted, Zxid};
use zk_tree::{AclList, NodeId};

/// A node as it will be.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// Its number, if it is in the tree already.
    pub id: Option<NodeId>,
    pub stat: StatPersisted,
    pub children: usize,
    pub acl: AclList,
    /// `None`: as in the tree.
    pub data: Option<Option<Bytes>>,
    /// The node's part of the tree's digest.
    pub digest: u32,
}

/// What a path's last transaction in flight makes of it. No node: it will be gone.
#[derive(Debug)]
pub(crate) struct Change {
    pub zxid: Zxid,
    pub node: Option<Pending>,
}

/// Where a path is, or would be. It holds until something changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    hash: u64,
    slot: Option<u32>,
}

/// A path whose text is shared, or is to be.
pub(crate) trait Path: AsRef<str> + Into<Arc<str>> {}
impl<T: AsRef<str> + Into<Arc<str>>> Path for T {}

#[derive(Debug)]
struct Slot {
    hash: u64,
    path: Arc<str>,
    /// `None`: the slot is free.
    change: Option<Change>,
}

/// The changes in flight.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    hasher: RandomState,
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// In order, to drop them when they are applied. A slot is not another path's before all of a
    /// transaction are dropped.
    flight: VecDeque<(Zxid, u32)>,
    /// Slots that the request that is being prepared has changed, and whether something was there before.
    undo: Vec<(u32, bool)>,
    /// What was there, in the same order. Mostly there was nothing, so it need not be as long.
    replaced: Vec<Change>,
}

impl Overlay {
    /// Looks a path up.
    pub fn spot(&self, path: &str) -> Spot {
        let hash = self.hasher.hash_one(path);
        let is_it = |slot: &u32| {
            let slot = &self.slots[*slot as usize];
            slot.hash == hash && &*slot.path == path
        };
        Spot { hash, slot: self.index.find(hash, is_it).copied() }
    }

    /// What will be there. `None`: nothing in flight changes it.
    pub fn at(&self, spot: Spot) -> Option<&Change> {
        spot.slot.map(|slot| self.of(slot))
    }

    fn of(&self, slot: u32) -> &Change {
        self.slots[slot as usize].change.as_ref().expect("slots that are named are in use")
    }

    /// Takes a change of a path, which is at this spot. Gives the digest of what it replaces in
    /// flight, 0 for a node that would be gone; `None`: nothing in flight changed the path.
    #[inline]
    pub fn put(&mut self, spot: Spot, path: impl Path, change: Change) -> Option<u32> {
        let zxid = change.zxid;
        let (slot, digest) = match spot.slot {
            Some(slot) => {
                let old = self.slots[slot as usize]
                    .change
                    .replace(change)
                    .expect("slots that are named are in use");
                let digest = old.node.as_ref().map_or(0, |p| p.digest);
                self.replaced.push(old);
                (slot, Some(digest))
            }
            None => (self.add(spot.hash, path.into(), change), None),
        };
        self.flight.push_back((zxid, slot));
        self.undo.push((slot, digest.is_some()));
        digest
    }

    #[inline]
    fn add(&mut self, hash: u64, path: Arc<str>, change: Change) -> u32 {
        let new = Slot { hash, path, change: Some(change) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                u32::try_from(self.slots.len() - 1).expect("fewer than there are nodes")
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |slot| slots[*slot as usize].hash);
        slot
    }

    fn remove(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.change = None;
        // Its text may be long, and the slot may stay free for long.
        place.path = Arc::default();
        let entry = self.index.find_entry(place.hash, |other| *other == slot);
        entry.expect("slots in use are in the index").remove();
        self.free.push(slot);
    }

    /// A request begins: what was done before is not undone with it.
    pub fn begin(&mut self) {
        self.undo.clear();
        self.replaced.clear();
    }

    /// Undoes what the request has done.
    pub fn roll_back(&mut self) {
        while let Some((slot, was_there)) = self.undo.pop() {
            self.flight.pop_back();
            match was_there {
                true => self.slots[slot as usize].change = self.replaced.pop(),
                false => self.remove(slot),
            }
        }
    }

    /// The transaction `zxid` was applied: its changes are in the tree now.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some((z, slot)) = self.flight.pop_front_if(|(z, _)| *z <= zxid) {
            // It may be there twice, or a later one changes the path as well.
            if self.slots[slot as usize].change.as_ref().is_some_and(|c| c.zxid == z) {
                self.remove(slot);
            }
        }
    }

    /// Paths in flight in the order of their changes, with what will be there.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, Option<&Pending>)> {
        self.flight.iter().map(|(_, slot)| (&*self.slots[*slot as usize].path, self.of(*slot).node.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pending(digest: u32) -> Pending {
        let acl = AclList::new(Vec::new());
        Pending { id: None, stat: StatPersisted::default(), children: 0, acl, data: None, digest }
    }

    /// What is in flight, as a list; the last of a path counts.
    #[derive(Default)]
    struct Model(Vec<(i64, String, Option<u32>)>);

    impl Model {
        fn all(&self) -> BTreeMap<&str, Option<u32>> {
            self.0.iter().map(|(_, path, digest)| (path.as_str(), *digest)).collect()
        }
    }

    proptest! {
        #[test]
        fn it_is_the_last_change_of_each_path(steps in proptest::collection::vec((0..4u8, 0..6u8, any::<bool>()), 0..200)) {
            let (mut overlay, mut model) = (Overlay::default(), Model::default());
            let (mut last, mut applied, mut digest) = (0, 0, 0);
            for (what, path, goes) in steps {
                let path = format!("/{path}");
                match what {
                    // One change more of the request that is being prepared.
                    0 | 1 => {
                        if what == 0 || last == applied {
                            overlay.begin();
                            last += 1;
                        }
                        digest += 1;
                        let node = (!goes).then(|| pending(digest));
                        let spot = overlay.spot(&path);
                        let before = overlay.put(spot, path.as_str(), Change { zxid: Zxid(last), node });
                        prop_assert_eq!(before, model.all().get(&*path).map(|d| d.unwrap_or(0)));
                        model.0.push((last, path, (!goes).then_some(digest)));
                    }
                    2 if applied < last => {
                        applied += 1;
                        overlay.applied(Zxid(applied));
                        model.0.retain(|(z, ..)| *z > applied);
                        overlay.begin();
                        last = last.max(applied);
                    }
                    3 if applied < last => {
                        overlay.roll_back();
                        // Only the request's own: `begin` came with its number, or with an application behind it.
                        let undone = model.0.len() - overlay.flight.len();
                        prop_assert!(model.0[model.0.len() - undone..].iter().all(|(z, ..)| *z == last));
                        model.0.truncate(overlay.flight.len());
                    }
                    _ => {}
                }
                let all = model.all();
                prop_assert_eq!(overlay.index.len(), all.len());
                prop_assert_eq!(overlay.slots.len() - overlay.free.len(), all.len());
                for path in (0..6).map(|n| format!("/{n}")) {
                    let at = overlay.at(overlay.spot(&path));
                    let seen = at.map(|c| c.node.as_ref().map(|p| p.digest));
                    prop_assert_eq!(seen, all.get(&*path).copied());
                }
                let order: Vec<&str> = overlay.in_order().map(|(path, _)| path).collect();
                prop_assert_eq!(order, model.0.iter().map(|(_, path, _)| path.as_str()).collect::<Vec<_>>());
            }
        }
    }
}
