//! Numbers that must not be mixed up.

use std::fmt;

/// Position in the total order of transactions: epoch in the high half,
/// counter in the low half. Printed as Java prints it: `0x1f`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Zxid(pub i64);

impl Zxid {
    const COUNTER: i64 = 0xffff_ffff;
    /// Before the first transaction.
    pub const ZERO: Zxid = Zxid(0);

    /// The zxid with this epoch and counter.
    pub fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(epoch.0 << 32 | i64::from(counter))
    }
    /// The epoch of the leader that proposed it.
    pub fn epoch(self) -> Epoch {
        Epoch(self.0 >> 32)
    }
    /// Position within the epoch.
    pub fn counter(self) -> u32 {
        (self.0 & Self::COUNTER) as u32
    }
    /// The next one of the same epoch. `None`: the counter is used up and the
    /// leader must start a new epoch.
    pub fn next(self) -> Option<Zxid> {
        (self.0 & Self::COUNTER != Self::COUNTER).then_some(Zxid(self.0 + 1))
    }
}

/// A leader's term of office.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(pub i64);

/// A client's session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SessionId(pub i64);

impl SessionId {
    /// Stands for no session: a client asks for a new one with it, and the
    /// server's own requests carry it.
    pub const NONE: SessionId = SessionId(0);

    /// The password with which a client moves its session to another server.
    /// All members must derive the same 16 bytes, Java ones too:
    /// `java.util.Random` seeded with `id ^ 0xB3415C00`, then `nextBytes`.
    /// (ref: ZooKeeperServer.generatePasswd)
    pub fn password(self) -> [u8; 16] {
        const MUL: u64 = 0x5_DEEC_E66D;
        const MASK: u64 = (1 << 48) - 1;
        let mut state = ((self.0 as u64 ^ 0xB341_5C00) ^ MUL) & MASK;
        let mut out = [0; 16];
        for group in out.chunks_exact_mut(4) {
            state = state.wrapping_mul(MUL).wrapping_add(0xB) & MASK;
            group.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
        }
        out
    }

    /// The first id that a server hands out. `millis` is a clock whose origin
    /// does not matter; ids stay unique as long as it does not run backwards
    /// between two starts. (ref: SessionTrackerImpl.initializeNextSessionId)
    pub fn first(server: u8, millis: u64) -> SessionId {
        let id = (((millis << 24) >> 8) | u64::from(server) << 56) as i64;
        SessionId(if id == i64::MIN { id + 1 } else { id })
    }

    /// The server that has handed it out, see [`SessionId::first`].
    pub fn server(self) -> u8 {
        self.0.to_be_bytes()[0]
    }
}

/// A member's number in the ensemble (`myid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PeerId(pub i64);

/// A client's number for a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Xid(pub i32);

impl Xid {
    /// Watch events.
    pub const EVENT: Xid = Xid(-1);
    /// Pings.
    pub const PING: Xid = Xid(-2);
    /// Auth packets.
    pub const AUTH: Xid = Xid(-4);
    /// setWatches and setWatches2.
    pub const SET_WATCHES: Xid = Xid(-8);
}

macro_rules! hex {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:#x}", self.0) }
        }
        impl fmt::LowerHex for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::LowerHex::fmt(&self.0, f) }
        }
    )*};
}
hex!(Zxid, Epoch, SessionId);

macro_rules! decimal {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&self.0, f) }
        }
    )*};
}
decimal!(PeerId, Xid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_java() {
        for (id, password) in [
            (0x0100_0012_667d_0000_i64, "d9f1a448f220250edf3e81448b67ba36"),
            (0x0100_0012_667d_0001, "ec129f48926c0453d481e86f5ff0ce03"),
            (0x0200_0012_667f_0006, "d900730604cda300344e651554373cbf"),
            (0x0200_0012_667f_0007, "ec216d06a41883452991cc4028c0508c"),
            (0x0200_0012_667f_0008, "4cc74f06c492df9df3dfd0194a6cb78d"),
            (0x0400_0012_80d2_0000, "5c431ce3b987f2c49acbc0f52a559dad"),
            (0x0300_0012_6683_0000, "df20bb36808a5ee955c4b0a3c93ea6cc"),
        ] {
            let hex: String = SessionId(id).password().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, password, "{id:x}");
        }
    }

    #[test]
    fn first_session_id_has_the_server_in_its_top_byte() {
        assert_eq!(SessionId::first(1, 0x12_667d), SessionId(0x0100_0012_667d_0000));
        assert_eq!(SessionId::first(0x80, 0), SessionId(i64::MIN + 1));
        assert_eq!(SessionId::first(1, u64::MAX).0 as u64 >> 48, 0x01ff);
    }

    #[test]
    fn the_counter_ends() {
        assert_eq!(Zxid(0x1_ffff_fffe).next(), Some(Zxid(0x1_ffff_ffff)));
        assert_eq!(Zxid(0x1_ffff_ffff).next(), None);
        assert_eq!(Zxid::new(Epoch(2), 5), Zxid(0x2_0000_0005));
        assert_eq!(Zxid(0x2_0000_0005).to_string(), "0x200000005");
    }
}
