//! The network between members: what is connected to what, and what is cut.
//!
//! A direction that is cut drops nothing at first: like TCP it keeps what was sent. When it
//! is whole again the connection goes on, or it breaks and loses what it kept.

use std::collections::VecDeque;

use zk_proto::Zxid;
use zk_proto::quorum::election::Notification;
use zk_proto::quorum::packet::{FromLeader, FromLearner};

use std::rc::Rc;

use crate::state::Image;

/// What a leader sends to a learner.
#[derive(Debug, Clone)]
pub enum ToLearner {
    /// A packet.
    Packet(FromLeader),
    /// SNAP and the tree behind it.
    Snapshot(Zxid, Rc<Image>),
    /// A part of a tree is coming.
    Loading,
    /// The end of the connection.
    End,
}

/// What a learner sends to its leader.
#[derive(Debug, Clone)]
pub enum ToLeader {
    /// A packet.
    Packet(FromLearner),
    /// The end of the connection.
    End,
}

/// A connection of a learner to a leader. Its index is its number.
#[derive(Debug)]
pub struct Link {
    /// Who leads, and its incarnation.
    pub leader: (usize, u64),
    /// Who learns, and its incarnation.
    pub learner: (usize, u64),
    /// The learner's attempt.
    pub attempt: u64,
    /// Whether the leader still has it.
    pub at_leader: bool,
    /// Whether the learner still has it.
    pub at_learner: bool,
    /// When the last message to the leader and to the learner arrives: they keep their order.
    pub arrives: [u64; 2],
    /// What was sent before this is lost.
    pub lost_before: [u64; 2],
    /// What waits behind a cut.
    pub held: [VecDeque<Held>; 2],
}

/// A message behind a cut.
#[derive(Debug)]
pub enum Held {
    /// To the leader.
    Leader(ToLeader),
    /// To the learner.
    Learner(ToLearner),
}

/// The election's connection of a pair, in one direction.
#[derive(Debug, Default)]
pub struct Voice {
    /// Not sent yet; a newer one takes its place.
    pub unsent: Option<Notification>,
    /// Sent again when there is a new connection.
    pub last: Option<Notification>,
    /// When the last one arrives.
    pub arrives: u64,
}

/// How long a message takes, us.
pub const USUAL_DELAY: (u64, u64) = (100, 1000);

/// All of it.
#[derive(Debug)]
pub struct Net {
    n: usize,
    cut: Vec<bool>,
    /// Election messages by sender and receiver.
    pub voices: Vec<Voice>,
    /// Number of the pair's connection; messages of an older one are lost.
    pub generation: Vec<u64>,
    /// Whether the one has been told that the other cannot be reached.
    pub told_down: Vec<bool>,
    /// Learners' connections.
    pub links: Vec<Link>,
    /// Delay of a message in us, from and to.
    pub delay: (u64, u64),
    /// A thousandth of messages that take much longer.
    pub slow: u64,
}

impl Net {
    /// A network of `n` members.
    pub fn new(n: usize) -> Self {
        Self {
            n,
            cut: vec![false; n * n],
            voices: (0..n * n).map(|_| Voice::default()).collect(),
            generation: vec![0; n * n],
            told_down: vec![false; n * n],
            links: Vec::new(),
            delay: USUAL_DELAY,
            slow: 0,
        }
    }

    /// The place of a direction in the tables.
    pub fn at(&self, from: usize, to: usize) -> usize {
        from * self.n + to
    }

    /// Whether nothing arrives in this direction.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[self.at(from, to)]
    }

    /// Cuts a direction, or makes it whole.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        let at = self.at(from, to);
        self.cut[at] = cut;
    }

    /// Whether nothing is cut, slow or about to break.
    pub fn is_well(&self) -> bool {
        let broken = |l: &Link| l.at_leader && l.at_learner && l.lost_before[0] == u64::MAX;
        self.delay == USUAL_DELAY
            && self.slow == 0
            && !self.cut.contains(&true)
            && !self.links.iter().any(broken)
    }

    /// Whether both can talk.
    pub fn is_open(&self, a: usize, b: usize) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }
}
