//! Access control lists, each kept once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use zk_proto::{Acl, Perms};

/// Id of the list that lets everybody do everything and that no snapshot
/// defines. ref: ReferenceCountedACLCache.OPEN_UNSAFE_ACL_ID.
pub const OPEN_ID: i64 = -1;

/// A list, shared by all nodes that have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclList(Arc<Inner>);

#[derive(PartialEq, Eq, Debug)]
struct Inner {
    open: bool,
    list: Vec<Acl>,
}

impl AclList {
    /// Shares a list.
    pub fn new(list: Vec<Acl>) -> AclList {
        let open = matches!(&list[..], [a] if a.perms.0 & Perms::ALL.0 == Perms::ALL.0
            && a.scheme == "world" && a.id == "anyone");
        AclList(Arc::new(Inner { open, list }))
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.0.open
    }
}

impl Deref for AclList {
    type Target = [Acl];
    fn deref(&self) -> &[Acl] {
        &self.0.list
    }
}

/// Whether everybody may do everything.
pub fn is_open(list: &AclList) -> bool {
    list.is_open()
}

/// The lists in use, by id. Ids are local to a server and never reused while
/// it runs. ref: ReferenceCountedACLCache.
#[derive(Debug)]
pub(crate) struct AclCache {
    open: AclList,
    by_id: BTreeMap<i64, Entry>,
    by_list: HashMap<Arc<[Acl]>, i64, foldhash::fast::FixedState>,
    last_id: i64,
}

#[derive(Debug)]
struct Entry {
    list: AclList,
    uses: u64,
}

impl AclCache {
    pub fn new(seed: u64) -> AclCache {
        AclCache {
            open: AclList::new(Acl::open()),
            by_id: BTreeMap::new(),
            by_list: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            last_id: 0,
        }
    }

    /// The list with this id.
    pub fn get(&self, id: i64) -> Option<&AclList> {
        if id == OPEN_ID { Some(&self.open) } else { self.by_id.get(&id).map(|e| &e.list) }
    }

    /// All lists but the open one.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &AclList)> {
        self.by_id.iter().map(|(id, e)| (*id, &e.list))
    }

    /// Counts one more use of a list; the flag tells whether its id is new.
    /// Null is the open list, and only null: a client's own
    /// `world:anyone:cdrwa` gets an id. ref: ReferenceCountedACLCache.convertAcls.
    pub fn take(&mut self, list: Option<&[Acl]>) -> (i64, bool) {
        let Some(list) = list else { return (OPEN_ID, false) };
        if let Some(&id) = self.by_list.get(list) {
            self.by_id.get_mut(&id).expect("both maps hold the same ids").uses += 1;
            return (id, false);
        }
        let id = self.last_id + 1;
        self.define(id, list.to_vec());
        self.by_id.get_mut(&id).expect("just defined").uses = 1;
        (id, true)
    }

    /// Gives a list its id, as a snapshot says. It is not used yet.
    pub fn define(&mut self, id: i64, list: Vec<Acl>) {
        if id == OPEN_ID {
            return;
        }
        self.last_id = self.last_id.max(id);
        self.by_list.insert(list.clone().into(), id);
        self.by_id.insert(id, Entry { list: AclList::new(list), uses: 0 });
    }

    /// Counts one more use of an id. False: there is no such list.
    pub fn take_id(&mut self, id: i64) -> bool {
        if id == OPEN_ID {
            return true;
        }
        self.by_id.get_mut(&id).map(|e| e.uses += 1).is_some()
    }

    /// Counts one use less; true if that was the last one and the id is gone.
    pub fn release(&mut self, id: i64) -> bool {
        if id == OPEN_ID {
            return false;
        }
        let entry = self.by_id.get_mut(&id).expect("a node's list is in the cache");
        assert!(entry.uses > 0, "a list is released as often as it was taken");
        entry.uses -= 1;
        if entry.uses > 0 {
            return false;
        }
        self.forget(id);
        true
    }

    /// Drops what no node uses. ref: ReferenceCountedACLCache.purgeUnused.
    pub fn purge(&mut self) {
        let unused: Vec<i64> = self.by_id.iter().filter(|(_, e)| e.uses == 0).map(|(id, _)| *id).collect();
        for id in unused {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: i64) {
        let entry = self.by_id.remove(&id).expect("the caller looked it up");
        // Two ids with one list can come from a snapshot; only one is in by_list.
        if self.by_list.get(&entry.list[..]) == Some(&id) {
            self.by_list.remove(&entry.list[..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted() {
        let mut c = AclCache::new(0);
        assert_eq!(c.take(None), (OPEN_ID, false));
        assert_eq!(c.take(Some(&Acl::open())), (1, true), "only null is the open list");
        assert!(c.get(1).unwrap().is_open());
        assert_eq!(c.take(Some(&Acl::read_only())), (2, true));
        assert_eq!(c.take(Some(&Acl::open())), (1, false));
        assert!(!c.release(1));
        assert!(c.release(1));
        assert!(c.get(1).is_none());
        assert_eq!(c.take(Some(&Acl::open())), (3, true));
        assert!(!c.get(2).unwrap().is_open());
        assert_eq!(c.take(Some(&[])), (4, true), "an empty list is not null");
    }
}
