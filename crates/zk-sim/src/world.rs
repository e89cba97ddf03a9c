//! Time, what is under way, and what everybody shares.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;

use zk_node::Input;
use zk_proto::quorum::election::Notification;

use crate::checks::Checks;
use crate::clients::{ToClient, ToServer};
use crate::net::{Net, ToLeader, ToLearner};
use crate::plant::Plant;
use crate::rng::Rng;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// A member has something to do: a deadline, or it is busy no more.
    Wake(usize, u64),
    /// A member's log has been synced up to this many records ever appended.
    Synced(usize, u64, u64),
    /// A member dials its leader.
    Dial(usize, u64, u64),
    /// A message of the election.
    Notify {
        /// Who sent it.
        from: usize,
        /// To whom.
        to: usize,
        /// On which connection of the pair.
        generation: u64,
        /// What.
        notification: Notification,
    },
    /// Something happened to a member.
    Tell(usize, u64, Input),
    /// A packet for a leader.
    ToLeader {
        /// On which connection.
        link: usize,
        /// When it was sent, us; the end of a broken connection has no such time.
        sent: u64,
        /// What.
        message: ToLeader,
    },
    /// A packet for a learner.
    ToLearner {
        /// On which connection.
        link: usize,
        /// When it was sent, us; the end of a broken connection has no such time.
        sent: u64,
        /// What.
        message: ToLearner,
    },
    /// A client does something.
    Client(usize, u64),
    /// From a client, on a connection.
    ToServer(usize, ToServer),
    /// To a client, on a connection.
    ToClient(usize, ToClient),
    /// Whether a pair's election connection changes.
    Pair(usize, usize),
    /// An epoch is written late.
    LateEpoch(usize, u64, bool, zk_proto::Epoch),
    /// A member starts again.
    Restart(usize),
    /// A member that was told to stop has had its time.
    Kill(usize, u64),
    /// The operator does something.
    Operate,
    /// The next fault.
    Fault,
    /// A fault ends.
    Mend(crate::faults::Mend),
}

#[derive(Debug)]
struct Entry {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// The earliest is the greatest: the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// Everything but the members and the clients.
#[derive(Debug)]
pub struct World {
    /// Virtual time in us.
    pub now: u64,
    /// The only chance.
    pub rng: Rng,
    /// The network.
    pub net: Net,
    /// The checkers.
    pub checks: Checks,
    /// A bug on purpose.
    pub plant: Option<Plant>,
    /// Clients' connections.
    pub conns: Vec<crate::clients::Conn>,
    /// Which members run, and in which incarnation.
    pub running: Vec<Option<u64>>,
    /// Sync of the log in us, from and to.
    pub disk: (u64, u64),
    /// How many faults, ends of faults and wishes of the operator there were.
    pub faults: u64,
    /// When the last one was, us.
    pub last_fault: u64,
    /// What happened, if that is wanted.
    pub trace: Option<String>,
    sequence: u64,
    queue: BinaryHeap<Entry>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, members: usize, trace: bool) -> Self {
        Self {
            now: 0,
            rng: Rng::new(seed),
            net: Net::new(members),
            checks: Checks::default(),
            plant: None,
            conns: Vec::new(),
            running: vec![None; members],
            disk: (200, 4000),
            faults: 0,
            last_fault: 0,
            trace: trace.then(String::new),
            sequence: 0,
            queue: BinaryHeap::new(),
        }
    }

    /// Lets an event happen at a time, not before now.
    pub fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Entry { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// The next event not behind `until`; time goes on to it.
    pub fn next(&mut self, until: u64) -> Option<Event> {
        if self.queue.peek().is_none_or(|e| e.at > until) {
            self.now = self.now.max(until);
            return None;
        }
        let entry = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Something is going to be other than usual.
    pub fn disturb(&mut self) {
        self.faults += 1;
        self.last_fault = self.now;
    }

    /// Whether a bug was put back.
    pub fn planted(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// How long a message is under way.
    pub fn delay(&mut self) -> u64 {
        let (from, to) = self.net.delay;
        let delay = self.rng.between(from, to);
        if self.net.slow > 0 && self.rng.chance(self.net.slow) { delay * 50 } else { delay }
    }

    /// How long the disk takes.
    pub fn disk_time(&mut self) -> u64 {
        let (from, to) = self.disk;
        self.rng.between(from, to)
    }

    /// Writes a line of the trace.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        use fmt::Write;
        let now = self.now;
        if let Some(t) = &mut self.trace {
            writeln!(t, "{:>4}.{:06} {line}", now / 1_000_000, now % 1_000_000).expect("a string takes all");
        }
    }

    /// Whether lines are written.
    pub fn traces(&self) -> bool {
        self.trace.is_some()
    }

    /// Sends on a learner's connection towards the leader.
    pub fn to_leader(&mut self, link: usize, from: u64, message: ToLeader) {
        let at = (from.max(self.now) + self.delay()).max(self.net.links[link].arrives[0]);
        self.net.links[link].arrives[0] = at;
        let sent = self.now;
        self.at(at, Event::ToLeader { link, sent, message });
    }

    /// Sends on a learner's connection towards the learner.
    pub fn to_learner(&mut self, link: usize, from: u64, message: ToLearner) {
        let at = (from.max(self.now) + self.delay()).max(self.net.links[link].arrives[1]);
        self.net.links[link].arrives[1] = at;
        let sent = self.now;
        self.at(at, Event::ToLearner { link, sent, message });
    }

    /// Sends to a client.
    pub fn to_client(&mut self, conn: usize, from: u64, message: ToClient) {
        let c = &self.conns[conn];
        if !c.at_server {
            return;
        }
        let floor = c.arrives[1];
        let at = (from.max(self.now) + self.delay()).max(floor);
        self.conns[conn].arrives[1] = at;
        self.at(at, Event::ToClient(conn, message));
    }

    /// Sends to a server.
    pub fn to_server(&mut self, conn: usize, message: ToServer) {
        let at = (self.now + self.delay()).max(self.conns[conn].arrives[0]);
        self.conns[conn].arrives[0] = at;
        self.at(at, Event::ToServer(conn, message));
    }

    /// Sends what is unsent between a pair, as far as it is connected.
    pub fn speak(&mut self, from: usize, to: usize, departs: u64) {
        let at = self.net.at(from, to);
        if self.net.is_cut(from, to) || self.net.told_down[at] {
            return;
        }
        let Some(notification) = self.net.voices[at].unsent.take() else { return };
        let arrives = (departs.max(self.now) + self.delay()).max(self.net.voices[at].arrives);
        let generation = self.net.generation[self.net.at(from.min(to), from.max(to))];
        let voice = &mut self.net.voices[at];
        voice.arrives = arrives;
        voice.last = Some(notification.clone());
        self.at(arrives, Event::Notify { from, to, generation, notification });
    }
}

/// Writes a line of the trace, if there is one.
#[macro_export]
macro_rules! note {
    ($world:expr, $($arg:tt)*) => {
        if $world.traces() {
            $world.note(format_args!($($arg)*));
        }
    };
}
