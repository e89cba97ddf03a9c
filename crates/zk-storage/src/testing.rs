//! What the tests of several modules need.

use std::fs;
use std::path::Path;

/// A file captured from Java 3.9.4.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zk-testkit/vectors").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
