//! The words. (ref: FourLetterCommands)

use std::fmt;

/// Four bytes that are no length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Settings.
    Conf,
    /// Connections in full.
    Cons,
    /// Resets the counters of connections.
    Crst,
    /// Sizes of the directories.
    Dirs,
    /// Sessions, ephemeral nodes, connections.
    Dump,
    /// The environment of the process.
    Envi,
    /// The trace mask.
    Gtmk,
    /// Whether the process lives.
    Ruok,
    /// Sets the trace mask.
    Stmk,
    /// Resets the counters of the server.
    Srst,
    /// The server.
    Srvr,
    /// The server and its connections.
    Stat,
    /// Data watches by connection.
    Wchc,
    /// Data watches by path.
    Wchp,
    /// How many data watches there are.
    Wchs,
    /// Metrics.
    Mntr,
    /// Read-only or not.
    Isro,
    /// Digests of the tree.
    Hash,
    /// What telnet sends when its user interrupts it: bytes `ff f4 ff fd`.
    TelnetClose,
}

/// Which expensive parts of a [`crate::Serving`] a word prints. The others may stay empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is a field of `Serving` or `Status`")]
pub struct Needs {
    pub clients: bool,
    pub sessions: bool,
    pub ephemerals: bool,
    pub watch_summary: bool,
    pub watches_by_session: bool,
    pub watches_by_path: bool,
    pub directories: bool,
    pub digests: bool,
    pub metrics: bool,
    pub environment: bool,
    pub last_snapshot: bool,
    pub member: bool,
}

impl Word {
    /// Every word.
    pub const ALL: [Self; 19] = [
        Self::Conf,
        Self::Cons,
        Self::Crst,
        Self::Dirs,
        Self::Dump,
        Self::Envi,
        Self::Gtmk,
        Self::Ruok,
        Self::Stmk,
        Self::Srst,
        Self::Srvr,
        Self::Stat,
        Self::Wchc,
        Self::Wchp,
        Self::Wchs,
        Self::Mntr,
        Self::Isro,
        Self::Hash,
        Self::TelnetClose,
    ];

    /// Looks the first four bytes of a connection up. `None`: they are a length.
    pub fn parse(bytes: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.bytes() == bytes)
    }

    fn bytes(self) -> [u8; 4] {
        match self {
            Self::Conf => *b"conf",
            Self::Cons => *b"cons",
            Self::Crst => *b"crst",
            Self::Dirs => *b"dirs",
            Self::Dump => *b"dump",
            Self::Envi => *b"envi",
            Self::Gtmk => *b"gtmk",
            Self::Ruok => *b"ruok",
            Self::Stmk => *b"stmk",
            Self::Srst => *b"srst",
            Self::Srvr => *b"srvr",
            Self::Stat => *b"stat",
            Self::Wchc => *b"wchc",
            Self::Wchp => *b"wchp",
            Self::Wchs => *b"wchs",
            Self::Mntr => *b"mntr",
            Self::Isro => *b"isro",
            Self::Hash => *b"hash",
            Self::TelnetClose => [0xff, 0xf4, 0xff, 0xfd],
        }
    }

    /// What the caller has to collect beyond the cheap values.
    pub fn needs(self) -> Needs {
        let none = Needs::default();
        match self {
            Self::Stat | Self::Cons => Needs { clients: true, ..none },
            Self::Conf | Self::Dirs => Needs { directories: true, ..none },
            Self::Dump => Needs { sessions: true, ephemerals: true, ..none },
            Self::Envi => Needs { environment: true, ..none },
            Self::Wchc => Needs { watches_by_session: true, ..none },
            Self::Wchp => Needs { watches_by_path: true, ..none },
            Self::Wchs => Needs { watch_summary: true, ..none },
            Self::Mntr => Needs { metrics: true, ..none },
            Self::Hash => Needs { digests: true, ..none },
            Self::Crst | Self::Gtmk | Self::Ruok | Self::Stmk => none,
            Self::Srst | Self::Srvr | Self::Isro | Self::TelnetClose => none,
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TelnetClose => f.write_str("telnet close"),
            word => word.bytes().iter().try_for_each(|&b| write!(f, "{}", char::from(b))),
        }
    }
}
