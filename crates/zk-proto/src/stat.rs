//! A node's numbers.

use bytes::BufMut;
use jute::{DecodeError, Reader, Writer};

/// What is kept of a node. ref: StatPersisted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct StatPersisted {
    /// zxid of the create.
    pub czxid: i64,
    /// zxid of the last setData.
    pub mzxid: i64,
    /// Wall-clock ms of the create.
    pub ctime: i64,
    /// Wall-clock ms of the last setData.
    pub mtime: i64,
    /// Number of setData.
    pub version: i32,
    /// Number of children ever created; not what clients see.
    pub cversion: i32,
    /// Number of setACL.
    pub aversion: i32,
    /// 0, a session, or a mark: see `zk_tree::owner`.
    pub ephemeral_owner: i64,
    /// zxid of the last create or delete of a child.
    pub pzxid: i64,
}

impl StatPersisted {
    /// Reads the 60 bytes.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: r.long()?,
            mzxid: r.long()?,
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            pzxid: r.long()?,
        })
    }

    /// Writes the 60 bytes.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.long(self.czxid);
        w.long(self.mzxid);
        w.long(self.ctime);
        w.long(self.mtime);
        w.int(self.version);
        w.int(self.cversion);
        w.int(self.aversion);
        w.long(self.ephemeral_owner);
        w.long(self.pzxid);
    }
}

/// What a client sees of a node: 68 bytes on the wire. ref: Stat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stat {
    /// zxid of the create.
    pub czxid: i64,
    /// zxid of the last setData.
    pub mzxid: i64,
    /// Wall-clock ms of the create.
    pub ctime: i64,
    /// Wall-clock ms of the last setData.
    pub mtime: i64,
    /// Number of setData.
    pub version: i32,
    /// Number of children created and deleted.
    pub cversion: i32,
    /// Number of setACL.
    pub aversion: i32,
    /// The owning session of an ephemeral, else 0.
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// zxid of the last create or delete of a child.
    pub pzxid: i64,
}

impl Stat {
    /// Reads the 68 bytes.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: r.long()?,
            mzxid: r.long()?,
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: r.long()?,
        })
    }

    /// Writes the 68 bytes.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        // In one piece: a buffer that grows looks for room at each field.
        let mut all = [0; 68];
        let mut rest = &mut all[..];
        let mut fields = Writer::new(&mut rest);
        fields.long(self.czxid);
        fields.long(self.mzxid);
        fields.long(self.ctime);
        fields.long(self.mtime);
        fields.int(self.version);
        fields.int(self.cversion);
        fields.int(self.aversion);
        fields.long(self.ephemeral_owner);
        fields.int(self.data_length);
        fields.int(self.num_children);
        fields.long(self.pzxid);
        w.raw(&all);
    }
}
