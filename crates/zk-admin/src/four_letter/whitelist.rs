//! Who may use which word.

use std::collections::BTreeSet;

use super::Word;

/// The words that are answered. (ref: FourLetterCommands.isEnabled)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whitelist {
    words: BTreeSet<Word>,
}

impl Whitelist {
    /// Reads `4lw.commands.whitelist`: words with commas between, or `*` for all. `srvr` is always
    /// among them because `zkServer.sh` uses it, and so is `isro` where read-only mode is enabled,
    /// because clients use it. Names that are no words are ignored.
    pub fn parse(list: Option<&str>, read_only_mode: bool) -> Self {
        let mut words = BTreeSet::from([Word::Srvr]);
        if read_only_mode {
            words.insert(Word::Isro);
        }
        for name in list.unwrap_or("").split(',').map(str::trim) {
            if name == "*" {
                words.extend(Word::ALL);
            }
            words.extend(Word::ALL.into_iter().filter(|word| word.to_string() == name));
        }
        Self { words }
    }

    /// Whether a word is answered.
    pub fn allows(&self, word: Word) -> bool {
        self.words.contains(&word)
    }
}
