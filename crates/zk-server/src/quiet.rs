//! When a thread gives memory back: some time after a burst of work, and not between the requests of a busy minute.

use std::time::Duration;

/// How often [`Quiet::is_due`] is to be asked.
pub const EVERY: Duration = Duration::from_secs(1);

/// Turns between two questions that are no work to speak of: pings come all the time.
const FEW: u32 = 20;
/// Turns after which there is something to give back.
const MANY: u32 = 30;

/// Tells a thread that has worked much and has little to do now.
#[derive(Debug, Default)]
pub struct Quiet {
    turns: u32,
}

impl Quiet {
    /// Whether it will be due when nothing more comes; `turns` is how many there were since it was asked last.
    pub fn is_owing(&self, turns: u32) -> bool {
        self.turns.saturating_add(turns) >= MANY
    }

    /// Whether to give back now; `turns` is how many there were since it was asked last.
    pub fn is_due(&mut self, turns: u32) -> bool {
        self.turns = self.turns.saturating_add(turns);
        let due = turns <= FEW && self.turns >= MANY;
        if due {
            self.turns = 0;
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
        let due: Vec<bool> = [0, 9, 80, 20, 0, 20, 4000, 4000, 21, 20, 20].map(|n| quiet.is_due(n)).into();
        let at = |n: usize| due.iter().enumerate().filter(|(_, due)| **due).map(|(at, _)| at).nth(n);
        assert_eq!([at(0), at(1), at(2)], [Some(3), Some(9), None]);
    }
}
