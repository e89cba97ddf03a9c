//! Where nodes live.

use std::collections::HashMap;

use bytes::Bytes;
use zk_proto::StatPersisted;

use crate::NodeId;

/// The root's id.
pub(crate) const ROOT: NodeId = NodeId(0);

/// New data of a node.
pub(crate) enum NewData<'a> {
    Keep,
    Set(Option<&'a [u8]>),
}

#[derive(Debug)]
struct Slot {
    parent: u32,
    slot: u32,
    name: String,
    data: Option<Bytes>,
    stat: StatPersisted,
    acl: i64,
    children: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Store {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashMap<String, u32>,
}

impl Store {
    /// A store with nothing but the root.
    pub fn new(_seed: u64, stat: &StatPersisted, acl: i64, data: Option<&[u8]>) -> Store {
        let root = Slot {
            parent: 0,
            slot: 0,
            name: String::new(),
            data: data.map(Bytes::copy_from_slice),
            stat: *stat,
            acl,
            children: Vec::new(),
        };
        Store { slots: vec![Some(root)], free: Vec::new(), index: HashMap::from([("/".to_owned(), 0)]) }
    }

    fn slot(&self, id: NodeId) -> &Slot {
        self.slots[id.0 as usize].as_ref().expect("ids of removed nodes are not kept")
    }
    fn slot_mut(&mut self, id: NodeId) -> &mut Slot {
        self.slots[id.0 as usize].as_mut().expect("ids of removed nodes are not kept")
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn find(&self, path: &str) -> Option<NodeId> {
        let path = if path.is_empty() { "/" } else { path };
        self.index.get(path).map(|i| NodeId(*i))
    }

    pub fn insert(
        &mut self,
        path: &str,
        parent: NodeId,
        name: &str,
        stat: &StatPersisted,
        acl: i64,
        data: Option<&[u8]>,
    ) -> NodeId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let siblings = &mut self.slot_mut(parent).children;
        let slot = siblings.len() as u32;
        siblings.push(id);
        self.slots[id as usize] = Some(Slot {
            parent: parent.0,
            slot,
            name: name.to_owned(),
            data: data.map(Bytes::copy_from_slice),
            stat: *stat,
            acl,
            children: Vec::new(),
        });
        assert!(self.index.insert(path.to_owned(), id).is_none(), "a path has one node");
        NodeId(id)
    }

    /// Removes a node without children.
    pub fn remove(&mut self, id: NodeId, path: &str) {
        let slot = self.slots[id.0 as usize].take().expect("ids of removed nodes are not kept");
        assert!(slot.children.is_empty(), "children go first");
        let siblings = &mut self.slot_mut(NodeId(slot.parent)).children;
        siblings.swap_remove(slot.slot as usize);
        if let Some(&moved) = siblings.get(slot.slot as usize) {
            self.slot_mut(NodeId(moved)).slot = slot.slot;
        }
        self.index.remove(path);
        self.free.push(id.0);
    }

    pub fn update(&mut self, id: NodeId, stat: &StatPersisted, acl: i64, data: NewData<'_>) {
        let slot = self.slot_mut(id);
        slot.stat = *stat;
        slot.acl = acl;
        if let NewData::Set(data) = data {
            slot.data = data.map(Bytes::copy_from_slice);
        }
    }

    pub fn stat(&self, id: NodeId) -> StatPersisted {
        self.slot(id).stat
    }
    pub fn acl(&self, id: NodeId) -> i64 {
        self.slot(id).acl
    }
    pub fn data(&self, id: NodeId) -> Option<&[u8]> {
        self.slot(id).data.as_deref()
    }
    pub fn data_bytes(&self, id: NodeId) -> Option<Bytes> {
        self.slot(id).data.clone()
    }
    /// CRC-32 of data that is large enough for it to be kept.
    pub fn data_crc(&self, _id: NodeId) -> Option<u32> {
        None
    }
    pub fn name(&self, id: NodeId) -> &str {
        &self.slot(id).name
    }
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        (id != ROOT).then(|| NodeId(self.slot(id).parent))
    }
    pub fn children(&self, id: NodeId) -> impl ExactSizeIterator<Item = NodeId> + Clone + '_ {
        self.slot(id).children.iter().map(|i| NodeId(*i))
    }
}
