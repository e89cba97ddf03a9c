//! zkd from outside: what a client, an operator and the reference see of it.
//!
//! The binary under test is the one in `ZKD_BIN`, or the one that cargo built
//! beside this test. Its absence, and that of the reference (see
//! `compat-tests/run --setup-only`), fails the tests that need it.

mod crash;
mod vectors;

/// A number or a word from the environment.
fn env<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not what it should be")),
        Err(_) => default,
    }
}
