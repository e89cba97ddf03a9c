//! When a thread gives memory back: some time after a burst of work, and not between the requests of a busy minute.

use std::time::Duration;

/// How often [`Quiet::is_due`] is to be asked.
pub const EVERY: Duration = Duration::from_secs(1);

/// Work between two questions that is none to speak of: pings come all the time.
const FEW: u32 = 40;
/// Work after which there is something to give back.
const MANY: u32 = 60;

/// Tells a thread that has worked much and has little to do now. Work is the number of its turns and of the requests
/// in them: on a busy machine much comes in few turns.
#[derive(Debug, Default)]
pub struct Quiet {
    work: u32,
}

impl Quiet {
    /// Whether it will be due when nothing more comes; `work` is what there was since it was asked last.
    pub fn is_owing(&self, work: u32) -> bool {
        self.work.saturating_add(work) >= MANY
    }

    /// Whether to give back now; `work` is what there was since it was asked last.
    pub fn is_due(&mut self, work: u32) -> bool {
        self.work = self.work.saturating_add(work);
        let due = work <= FEW && self.work >= MANY;
        if due {
            self.work = 0;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_after_each_burst() {
        let mut quiet = Quiet::default();
        let due: Vec<bool> = [0, 19, 160, 40, 0, 40, 4000, 4000, 41, 40, 40].map(|n| quiet.is_due(n)).into();
        let at = |n: usize| due.iter().enumerate().filter(|(_, due)| **due).map(|(at, _)| at).nth(n);
        assert_eq!([at(0), at(1), at(2)], [Some(3), Some(9), None]);
    }
}
