//! zkd-benches
