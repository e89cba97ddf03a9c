//! The data tree: applies transactions, answers reads
