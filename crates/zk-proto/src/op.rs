//! Opcodes. ref: ZooDefs.OpCode.

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $n:literal $text:literal,)*) => {
        /// What a request asks for, and the type of a transaction.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $n,)* }
        impl OpCode {
            /// The opcode with this number.
            pub fn from_i32(n: i32) -> Option<OpCode> {
                match n { $($n => Some(OpCode::$name),)* _ => None }
            }
            /// The name in Java's sources and logs.
            pub fn name(self) -> &'static str {
                match self { $(OpCode::$name => $text,)* }
            }
        }
    };
}
ops! {
    /// Create a node.
    Create = 1 "create",
    /// Delete a node.
    Delete = 2 "delete",
    /// Stat of a node.
    Exists = 3 "exists",
    /// Data and stat of a node.
    GetData = 4 "getData",
    /// Replace a node's data.
    SetData = 5 "setData",
    /// A node's access control list.
    GetAcl = 6 "getACL",
    /// Replace a node's access control list.
    SetAcl = 7 "setACL",
    /// Names of a node's children.
    GetChildren = 8 "getChildren",
    /// Wait for what the leader has committed.
    Sync = 9 "sync",
    /// Keep the session alive.
    Ping = 11 "ping",
    /// Names of a node's children, and its stat.
    GetChildren2 = 12 "getChildren2",
    /// Compare a version; only inside a multi.
    Check = 13 "check",
    /// Several writes as one transaction.
    Multi = 14 "multi",
    /// Create a node and answer its stat.
    Create2 = 15 "create2",
    /// Change the ensemble's members.
    Reconfig = 16 "reconfig",
    /// Whether a watch is set.
    CheckWatches = 17 "checkWatches",
    /// Remove watches.
    RemoveWatches = 18 "removeWatches",
    /// Create a container.
    CreateContainer = 19 "createContainer",
    /// Remove an empty container or an aged TTL node; the server's own.
    DeleteContainer = 20 "deleteContainer",
    /// Create a node with a time to live.
    CreateTtl = 21 "createTTL",
    /// Several reads.
    MultiRead = 22 "multiRead",
    /// Add an identity to the connection.
    Auth = 100 "auth",
    /// Set watches again after a reconnect.
    SetWatches = 101 "setWatches",
    /// One step of a SASL exchange.
    Sasl = 102 "sasl",
    /// Paths of the session's ephemerals.
    GetEphemerals = 103 "getEphemerals",
    /// Number of descendants.
    GetAllChildrenNumber = 104 "getAllChildrenNumber",
    /// Set watches again after a reconnect, persistent ones too.
    SetWatches2 = 105 "setWatches2",
    /// Add a persistent watch.
    AddWatch = 106 "addWatch",
    /// Identities of the connection.
    WhoAmI = 107 "whoAmI",
    /// Start a session; internal.
    CreateSession = -10 "createSession",
    /// End a session.
    CloseSession = -11 "closeSession",
    /// A write that failed, in the log and in results of a multi.
    Error = -1 "error",
}

impl OpCode {
    /// The number on the wire.
    pub fn to_i32(self) -> i32 {
        self as i32
    }

    /// Whether a client may send it as a request of its own. `check` exists
    /// only inside a multi; createSession and deleteContainer are internal and
    /// have no checks of permissions, so they must never come from a client.
    /// ref: Request.isValid; behaviour rows 20, 36, 48, 56.
    pub fn from_client(self) -> bool {
        !matches!(self, OpCode::Check | OpCode::DeleteContainer | OpCode::CreateSession | OpCode::Error)
    }

    /// Whether it takes a zxid.
    pub fn is_write(self) -> bool {
        matches!(
            self,
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::DeleteContainer
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Multi
                | OpCode::Reconfig
                | OpCode::CreateSession
                | OpCode::CloseSession
        )
    }
}
