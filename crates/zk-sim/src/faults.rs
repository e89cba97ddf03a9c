//! What goes wrong, and when.

use zab::config::Configs;

use crate::disk::Unsynced;
use crate::member::CrashAt;
use crate::net::USUAL_DELAY;
use crate::note;
use crate::sim::Sim;
use crate::world::Event;

/// The end of a fault.
#[derive(Debug)]
pub enum Mend {
    /// All cuts are whole again.
    Network,
    /// A member's disk is as fast as the others.
    Disk(usize),
    /// Messages are as fast as usual.
    Delay,
}

impl Sim {
    pub(crate) fn some_unsynced(&mut self) -> Unsynced {
        [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn][self.w.rng.index(3)]
    }

    /// One fault, and the time of the next.
    pub fn fault(&mut self) {
        let n = self.members.len();
        let who = match self.members.iter().position(crate::member::Member::leads) {
            Some(leader) if self.w.rng.chance(400) => leader,
            _ => self.w.rng.index(n),
        };
        self.w.disturb();
        match self.w.rng.below(112) {
            100..107 => {
                let calm = self.is_calm();
                match self.w.rng.chance(300) {
                    true => self.members[who].abdicate(&mut self.w, calm),
                    false => self.members[who].leave(&mut self.w, calm),
                }
            }
            107.. => self.lose_disk(who),
            0..12 => {
                let how = self.some_unsynced();
                self.members[who].crash(&mut self.w, how);
            }
            12..34 => {
                let n = u32::try_from(self.w.rng.between(1, 60)).expect("it is small");
                let how = self.some_unsynced();
                self.members[who].crash_at = Some((CrashAt::Output(n), how));
            }
            34..40 => {
                let how = self.some_unsynced();
                for m in &mut self.members {
                    m.crash(&mut self.w, how);
                }
            }
            40..62 => self.cut_something(who),
            62..70 => {
                let for_us = self.w.rng.between(50_000, 4_000_000);
                self.pause(who, for_us);
            }
            70..78 => {
                self.members[who].disk_factor = self.w.rng.between(5, 200);
                let at = self.w.now + self.w.rng.between(100_000, 4_000_000);
                self.w.at(at, Event::Mend(Mend::Disk(who)));
            }
            78..86 => {
                let open = |l: &&usize| self.w.net.links[**l].at_leader || self.w.net.links[**l].at_learner;
                let links: Vec<_> = (0..self.w.net.links.len()).collect();
                let links: Vec<_> = links.iter().filter(open).copied().collect();
                if !links.is_empty() {
                    let link = *self.w.rng.pick(&links);
                    self.break_link(link);
                }
            }
            86..90 => {
                let off = i64::try_from(self.w.rng.below(7_200_000)).expect("it is small");
                self.members[who].wall_offset = off - 3_600_000;
            }
            90..95 => {
                self.w.net.delay = [(100, 50_000), (5_000, 20_000), (100, 200_000)][self.w.rng.index(3)];
                self.w.net.slow = self.w.rng.below(10);
                let at = self.w.now + self.w.rng.between(100_000, 4_000_000);
                self.w.at(at, Event::Mend(Mend::Delay));
            }
            _ => {
                let client = self.w.rng.index(self.clients.len());
                if let Some(conn) = self.clients[client].conn {
                    self.clients[client].leave(&mut self.w, conn);
                }
            }
        }
        let at = self.w.now + self.w.rng.between(20_000, self.calm);
        self.w.at(at, Event::Fault);
    }

    /// At most one disk has lost what it acknowledged: a second one could be the last that had
    /// something, and nobody promises anything then.
    fn lose_disk(&mut self, who: usize) {
        if !self.wipes || !self.members[who].may_start() || self.members.iter().any(|m| m.lost.is_some()) {
            return;
        }
        self.members[who].wipe(&mut self.w);
        // Another machine takes its place, and knows who belongs to the ensemble now.
        let newest = self.w.checks.configs.newest();
        if self.w.rng.chance(300) && newest.members.contains_key(&self.members[who].id) {
            self.members[who].files = Configs::new(newest.clone());
        }
    }

    fn cut_something(&mut self, who: usize) {
        let n = self.members.len();
        let mut cuts = Vec::new();
        match self.w.rng.below(6) {
            // One alone.
            0 | 1 => (0..n).filter(|o| *o != who).for_each(|o| cuts.extend([(who, o), (o, who)])),
            // One does not hear, or is not heard.
            2 => (0..n).filter(|o| *o != who).for_each(|o| cuts.push((who, o))),
            3 => (0..n).filter(|o| *o != who).for_each(|o| cuts.push((o, who))),
            // One direction of one pair.
            4 => cuts.push((who, (who + 1 + self.w.rng.index(n - 1)) % n)),
            // Two sides.
            _ => {
                let side: Vec<_> = (0..n).map(|_| self.w.rng.chance(500)).collect();
                for a in 0..n {
                    cuts.extend((0..n).filter(|b| side[a] != side[*b]).map(|b| (a, b)));
                }
            }
        }
        self.cut(&cuts);
        let at = self.w.now + self.w.rng.between(10_000, 5_000_000);
        self.w.at(at, Event::Mend(Mend::Network));
    }

    /// A fault ends.
    pub fn mend(&mut self, mend: Mend) {
        self.w.disturb();
        match mend {
            Mend::Network => self.heal(),
            Mend::Disk(who) => self.members[who].disk_factor = 1,
            Mend::Delay => {
                self.w.net.delay = USUAL_DELAY;
                self.w.net.slow = 0;
            }
        }
    }

    /// Everything is well from now on.
    pub fn mend_all(&mut self) {
        note!(self.w, "-- all is well");
        self.faulty = false;
        self.heal();
        self.mend(Mend::Delay);
        for m in &mut self.members {
            m.crash_at = None;
            m.disk_factor = 1;
            m.disk_held = false;
        }
    }
}
