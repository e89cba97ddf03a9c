//! zkd-tests
