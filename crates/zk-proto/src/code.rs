//! Error codes of replies. ref: KeeperException.Code.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $n:literal,)*) => {
        /// What a reply says went wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $n,)* }
        impl ErrorCode {
            /// The code with this number.
            pub fn from_i32(n: i32) -> Option<ErrorCode> {
                match n { $($n => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}
codes! {
    /// Success.
    Ok = 0,
    /// Trouble on the server's side.
    SystemError = -1,
    /// An operation of a multi that was not tried because an earlier one failed.
    RuntimeInconsistency = -2,
    /// Data contradicts itself.
    DataInconsistency = -3,
    /// Made by clients only.
    ConnectionLoss = -4,
    /// The request's body does not decode.
    MarshallingError = -5,
    /// No such operation here.
    Unimplemented = -6,
    /// The operation took too long.
    OperationTimeout = -7,
    /// An argument is invalid, paths above all.
    BadArguments = -8,
    /// The session is unknown.
    UnknownSession = -12,
    /// The new configuration has no connected quorum.
    NewConfigNoQuorum = -13,
    /// Another reconfiguration is under way.
    ReconfigInProgress = -14,
    /// Trouble with the call itself.
    ApiError = -100,
    /// The node does not exist.
    NoNode = -101,
    /// The caller lacks the permission.
    NoAuth = -102,
    /// The version differs from the expected one.
    BadVersion = -103,
    /// Ephemeral nodes have no children.
    NoChildrenForEphemerals = -108,
    /// The node exists.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session has ended.
    SessionExpired = -112,
    /// Made by clients only.
    InvalidCallback = -113,
    /// The access control list is invalid.
    InvalidAcl = -114,
    /// Authentication failed.
    AuthFailed = -115,
    /// The session lives on another server now.
    SessionMoved = -118,
    /// The server is read-only.
    NotReadOnly = -119,
    /// An ephemeral on a local session.
    EphemeralOnLocalSession = -120,
    /// There is no such watch.
    NoWatcher = -121,
    /// Made by clients only.
    RequestTimeout = -122,
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123,
    /// The session must authenticate first.
    SessionClosedRequireSaslAuth = -124,
    /// A quota's hard limit would be passed.
    QuotaExceeded = -125,
    /// The request waited too long and was not run.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn to_i32(self) -> i32 {
        self as i32
    }
}
