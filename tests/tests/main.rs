//! zkd from outside: what a client, an operator and the reference see of it.
//!
//! The binary under test is the one in `ZKD_BIN`, or the one that cargo built
//! beside this test. Its absence, and that of the reference (see
//! `compat-tests/run --setup-only`), fails the tests that need it.

mod admin;
mod consistency;
mod crash;
mod differential;
mod disk;
mod ensemble;
mod faults;
mod files;
mod handover;
mod joining;
mod kerberos;
mod limits;
mod local_sessions;
mod member_logins;
mod member_words;
mod observers;
mod operate;
mod parity;
mod read_only;
mod reconfig;
mod rolling;
mod sasl;
mod security;
mod support;
mod timers;
mod tls;
mod tools;
mod vectors;
mod watches;
mod wire;
