//! Who waits for what. A worker has a [`WatchTable`] of its own connections and
//! an [`Interest`] beside it, by which the writer of the tree knows that a
//! change concerns nobody there. ref: WatchManager, DataTree.

mod interest;
mod table;

pub use interest::Interest;
pub use table::{WatchCounts, WatchTable};

/// The kinds of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Of getData and exists; told once.
    Data,
    /// Of getChildren; told once.
    Child,
    /// Both of them, and it stays.
    Persistent,
    /// Of a node and all below it, without changes of lists of children; stays.
    Recursive,
}

/// The paths above a path, nearest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut at = path;
    std::iter::from_fn(move || {
        if at.len() <= 1 {
            return None;
        }
        at = match at.rsplit_once('/')? {
            ("", _) => "/",
            (above, _) => above,
        };
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::ancestors;

    #[test]
    fn what_is_above() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        for top in ["/", "", "a"] {
            assert_eq!(ancestors(top).count(), 0, "{top:?}");
        }
    }
}
