//! The transaction log, the RocksDB mirror of the tree, Java snapshots in and out, recovery
