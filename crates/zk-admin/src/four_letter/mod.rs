//! The words on the client port: which there are, who may use them, and what they answer.
//!
//! The first four bytes of a connection are looked up by [`Word::parse`]; with a word they are no
//! length, and [`answer`] gives what to send before the connection is closed. Before it the caller
//! counts a received packet and collects what [`Word::needs`] names; for `crst` and `srst` it resets
//! the counters when it serves and the word is enabled; for `stmk` it reads 8 more bytes, the new mask.

mod render;
mod whitelist;
mod word;

#[cfg(test)]
mod tests;

pub use render::render;
pub use whitelist::Whitelist;
pub use word::{Needs, Word};

use crate::status::Status;

/// What to do with a connection that sent a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this, then close.
    Text(String),
    /// Close.
    Close,
}

/// The answer to a word. (ref: NIOServerCnxn.checkFourLetterWord)
pub fn answer(word: Word, whitelist: &Whitelist, status: &Status) -> Answer {
    if !whitelist.allows(word) {
        return Answer::Text(format!("{word} is not executed because it is not in the whitelist.\n"));
    }
    match word {
        Word::TelnetClose => Answer::Close,
        word => Answer::Text(render(word, status)),
    }
}
