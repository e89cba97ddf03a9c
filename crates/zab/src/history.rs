//! Committed transactions that are kept in memory.
