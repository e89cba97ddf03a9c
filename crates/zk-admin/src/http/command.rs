//! The commands. (ref: Commands)

use crate::four_letter::{Needs, Word};

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $primary:literal $(| $alias:literal)*,)*) => {
        /// What the admin port is asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Command { $($(#[$doc])* $name,)* }

        impl Command {
            /// Every command, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name that answers carry.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $primary,)* }
            }

            /// The command with this name or short name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($primary $(| $alias)* => Some(Self::$name),)* _ => None }
            }
        }
    };
}

commands! {
    /// Settings.
    Configuration = "configuration" | "conf" | "config",
    /// Resets the counters of connections.
    ConnectionStatReset = "connection_stat_reset" | "crst",
    /// Connections in full.
    Connections = "connections" | "cons",
    /// Sizes of the directories.
    Dirs = "dirs",
    /// Sessions and ephemeral nodes.
    Dump = "dump",
    /// The environment of the process.
    Environment = "environment" | "env" | "envi",
    /// The trace mask.
    GetTraceMask = "get_trace_mask" | "gtmk",
    /// Digests of the tree.
    Hash = "hash",
    /// The configuration file as it was at the start.
    InitialConfiguration = "initial_configuration" | "icfg",
    /// Read-only or not.
    IsReadOnly = "is_read_only" | "isro",
    /// The newest snapshot file.
    LastSnapshot = "last_snapshot" | "lsnp",
    /// Who leads.
    Leader = "leader" | "lead",
    /// Metrics.
    Monitor = "monitor" | "mntr",
    /// Resets the counters of observers' connections.
    ObserverConnectionStatReset = "observer_connection_stat_reset" | "orst",
    /// A leader's observers.
    Observers = "observers" | "obsr",
    /// Another state takes the place of this one.
    Restore = "restore" | "rest",
    /// Whether the process lives.
    Ruok = "ruok",
    /// The server.
    ServerStats = "server_stats" | "srvr",
    /// Sets the trace mask.
    SetTraceMask = "set_trace_mask" | "stmk",
    /// The state as a file.
    Snapshot = "snapshot" | "snap",
    /// Resets the counters of the server.
    StatReset = "stat_reset" | "srst",
    /// The server and its connections.
    Stats = "stats" | "stat",
    /// Properties of the process.
    SystemProperties = "system_properties" | "sysp",
    /// Who votes.
    VotingView = "voting_view",
    /// How many data watches there are.
    WatchSummary = "watch_summary" | "wchs",
    /// Data watches by connection.
    Watches = "watches" | "wchc",
    /// Data watches by path.
    WatchesByPath = "watches_by_path" | "wchp",
    /// What the member does in the ensemble.
    Zabstate = "zabstate",
}

impl Command {
    /// Whether it is answered only by a server that serves; `ruok` is, unlike the word.
    /// (ref: Command.isServerRequired)
    ///
    /// differs: Java counts `monitor` among those that are always answered and stumbles over it.
    pub fn needs_server(self) -> bool {
        !matches!(
            self,
            Self::Environment
                | Self::GetTraceMask
                | Self::SetTraceMask
                | Self::SystemProperties
                | Self::Zabstate
        )
    }

    /// Whether the caller must have every permission on the root. (ref: Command.getAuthRequest)
    pub fn needs_permission(self) -> bool {
        matches!(self, Self::Snapshot | Self::Restore)
    }

    /// What the caller has to collect beyond the cheap values.
    pub fn needs(self) -> Needs {
        let none = Needs::default();
        match self {
            Self::Connections => Word::Cons.needs(),
            Self::Stats => Needs { clients: true, directories: true, ..none },
            Self::Dirs | Self::ServerStats => Word::Dirs.needs(),
            Self::Dump => Word::Dump.needs(),
            Self::Environment => Word::Envi.needs(),
            Self::Hash => Word::Hash.needs(),
            Self::Monitor => Word::Mntr.needs(),
            Self::WatchSummary => Word::Wchs.needs(),
            Self::Watches => Word::Wchc.needs(),
            Self::WatchesByPath => Word::Wchp.needs(),
            Self::LastSnapshot => Needs { last_snapshot: true, ..none },
            Self::Leader | Self::VotingView | Self::Zabstate | Self::Observers => {
                Needs { member: true, ..none }
            }
            Self::Configuration
            | Self::ConnectionStatReset
            | Self::GetTraceMask
            | Self::InitialConfiguration
            | Self::IsReadOnly
            | Self::ObserverConnectionStatReset
            | Self::Restore
            | Self::Ruok
            | Self::SetTraceMask
            | Self::Snapshot
            | Self::StatReset
            | Self::SystemProperties => none,
        }
    }
}
