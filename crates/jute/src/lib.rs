//! The byte encoding of ZooKeeper's records
