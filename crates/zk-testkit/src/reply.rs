//! Bodies of replies by the opcode they answer; strings stay bytes, so that
//! what was decoded is written back exactly.

use jute::{DecodeError, Reader, Writer};
use zk_proto::client::MultiHeader;
use zk_proto::{OpCode, Stat};

/// A string as it came; `None` is null.
pub type Text = Option<Vec<u8>>;

/// Body of a reply without error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// create and sync.
    Path(Text),
    /// create2, createContainer, createTTL.
    PathStat(Text, Stat),
    /// exists, setData, setACL.
    Stat(Stat),
    /// getData and reconfig.
    DataStat(Text, Stat),
    /// getACL: permissions, scheme, id.
    AclStat(Option<Vec<(i32, Text, Text)>>, Stat),
    /// getChildren and getEphemerals.
    Names(Option<Vec<Text>>),
    /// getChildren2.
    NamesStat(Option<Vec<Text>>, Stat),
    /// multi and multiRead.
    Multi(Vec<Part>),
    /// getAllChildrenNumber; addWatch, where it is an error code.
    Int(i32),
    /// whoAmI: scheme and user.
    Clients(Option<Vec<(Text, Text)>>),
    /// sasl.
    Token(Text),
}

/// One result of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The header's type.
    pub op: i32,
    /// The header's code.
    pub err: i32,
    /// What follows.
    pub body: Body,
}

fn text(r: &mut Reader<'_>) -> Result<Text, DecodeError> {
    Ok(r.buffer()?.map(<[u8]>::to_vec))
}

impl Body {
    /// Reads the body that answers `op`. Everything must be used up.
    pub fn decode(op: i32, bytes: &[u8]) -> Result<Body, DecodeError> {
        let mut r = Reader::with_max_len(bytes, usize::MAX);
        let body = Self::read(op, &mut r)?;
        if r.is_empty() { Ok(body) } else { Err(DecodeError::Length(r.remaining() as i32)) }
    }

    fn read(op: i32, r: &mut Reader<'_>) -> Result<Body, DecodeError> {
        use OpCode::*;
        Ok(match OpCode::from_i32(op) {
            Some(Create | Sync) => Self::Path(text(r)?),
            Some(Create2 | CreateContainer | CreateTtl) => Self::PathStat(text(r)?, Stat::read(r)?),
            Some(Exists | SetData | SetAcl) => Self::Stat(Stat::read(r)?),
            Some(GetData | Reconfig) => Self::DataStat(text(r)?, Stat::read(r)?),
            Some(GetAcl) => Self::AclStat(r.vector(|r| Ok((r.int()?, text(r)?, text(r)?)))?, Stat::read(r)?),
            Some(GetChildren | GetEphemerals) => Self::Names(r.vector(text)?),
            Some(GetChildren2) => Self::NamesStat(r.vector(text)?, Stat::read(r)?),
            Some(Multi | MultiRead) => {
                let mut parts = Vec::new();
                loop {
                    let h = MultiHeader::read(r)?;
                    if h.done {
                        if h != MultiHeader::END {
                            return Err(DecodeError::Variant(h.op));
                        }
                        return Ok(Self::Multi(parts));
                    }
                    let body = if h.op == -1 { Self::Int(r.int()?) } else { Self::read(h.op, r)? };
                    parts.push(Part { op: h.op, err: h.err, body });
                }
            }
            Some(GetAllChildrenNumber | AddWatch) => Self::Int(r.int()?),
            Some(WhoAmI) => Self::Clients(r.vector(|r| Ok((text(r)?, text(r)?)))?),
            Some(Sasl) => Self::Token(text(r)?),
            _ => Self::Empty,
        })
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut Writer::new(&mut out));
        out
    }

    fn write(&self, w: &mut Writer<'_, Vec<u8>>) {
        let names = |w: &mut Writer<'_, Vec<u8>>, n: &Option<Vec<Text>>| {
            w.vector(n.as_deref(), |w, t| w.buffer(t.as_deref()));
        };
        match self {
            Self::Empty => {}
            Self::Path(t) | Self::Token(t) => w.buffer(t.as_deref()),
            Self::PathStat(t, s) | Self::DataStat(t, s) => {
                w.buffer(t.as_deref());
                s.write(w);
            }
            Self::Stat(s) => s.write(w),
            Self::AclStat(acl, s) => {
                w.vector(acl.as_deref(), |w, (p, scheme, id)| {
                    w.int(*p);
                    w.buffer(scheme.as_deref());
                    w.buffer(id.as_deref());
                });
                s.write(w);
            }
            Self::Names(n) => names(w, n),
            Self::NamesStat(n, s) => {
                names(w, n);
                s.write(w);
            }
            Self::Multi(parts) => {
                for p in parts {
                    MultiHeader { op: p.op, done: false, err: p.err }.write(w);
                    p.body.write(w);
                }
                MultiHeader::END.write(w);
            }
            Self::Int(n) => w.int(*n),
            Self::Clients(c) => w.vector(c.as_deref(), |w, (scheme, user)| {
                w.buffer(scheme.as_deref());
                w.buffer(user.as_deref());
            }),
        }
    }

    /// All stats in it.
    pub fn stats_mut(&mut self) -> Vec<&mut Stat> {
        match self {
            Self::PathStat(_, s)
            | Self::Stat(s)
            | Self::DataStat(_, s)
            | Self::AclStat(_, s)
            | Self::NamesStat(_, s) => vec![s],
            Self::Multi(parts) => parts.iter_mut().flat_map(|p| p.body.stats_mut()).collect(),
            _ => Vec::new(),
        }
    }

    /// The stat, if it has just one.
    pub fn stat(&self) -> Option<Stat> {
        match self {
            Self::PathStat(_, s)
            | Self::Stat(s)
            | Self::DataStat(_, s)
            | Self::AclStat(_, s)
            | Self::NamesStat(_, s) => Some(*s),
            _ => None,
        }
    }
}
