//! Access control lists.

use bytes::BufMut;
use jute::{DecodeError, Reader, Writer};

/// A set of permissions. ref: ZooDefs.Perms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Perms(pub i32);

impl Perms {
    /// Read a node's data and list its children.
    pub const READ: Perms = Perms(1);
    /// Set a node's data.
    pub const WRITE: Perms = Perms(2);
    /// Create children.
    pub const CREATE: Perms = Perms(4);
    /// Delete children.
    pub const DELETE: Perms = Perms(8);
    /// Set the access control list.
    pub const ADMIN: Perms = Perms(16);
    /// All of them.
    pub const ALL: Perms = Perms(31);

    /// Whether the sets have a bit in common.
    pub fn overlaps(self, other: Perms) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for Perms {
    type Output = Perms;
    fn bitor(self, other: Perms) -> Perms {
        Perms(self.0 | other.0)
    }
}

/// One entry: who may do what.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Acl {
    /// What is allowed.
    pub perms: Perms,
    /// `world`, `auth`, `digest`, `ip`, `sasl`, `x509`.
    pub scheme: String,
    /// Who, in the scheme's own form.
    pub id: String,
}

impl Acl {
    /// An entry.
    pub fn new(perms: Perms, scheme: &str, id: &str) -> Acl {
        Acl { perms, scheme: scheme.to_owned(), id: id.to_owned() }
    }

    /// Everybody may do everything. ref: ZooDefs.Ids.OPEN_ACL_UNSAFE.
    pub fn open() -> Vec<Acl> {
        vec![Acl::new(Perms::ALL, "world", "anyone")]
    }

    /// Everybody may read. ref: ZooDefs.Ids.READ_ACL_UNSAFE.
    pub fn read_only() -> Vec<Acl> {
        vec![Acl::new(Perms::READ, "world", "anyone")]
    }

    /// Reads one entry.
    pub fn read(r: &mut Reader<'_>) -> Result<Acl, DecodeError> {
        Ok(Acl {
            perms: Perms(r.int()?),
            scheme: r.string()?.unwrap_or_default().into_owned(),
            id: r.string()?.unwrap_or_default().into_owned(),
        })
    }

    /// Writes one entry.
    pub fn write<B: BufMut>(&self, w: &mut Writer<'_, B>) {
        w.int(self.perms.0);
        w.str(&self.scheme);
        w.str(&self.id);
    }

    /// Reads a list, null as `None`.
    pub fn read_list(r: &mut Reader<'_>) -> Result<Option<Vec<Acl>>, DecodeError> {
        r.vector(Acl::read)
    }

    /// Writes a list, `None` as null.
    pub fn write_list<B: BufMut>(list: Option<&[Acl]>, w: &mut Writer<'_, B>) {
        w.vector(list, |w, a| a.write(w));
    }
}

/// An identity of a connection, for example `("digest", "user:hash")`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AuthId {
    /// The scheme that vouches for it.
    pub scheme: String,
    /// The identity in the scheme's form.
    pub id: String,
}

impl AuthId {
    /// An identity.
    pub fn new(scheme: &str, id: &str) -> AuthId {
        AuthId { scheme: scheme.to_owned(), id: id.to_owned() }
    }
}
