use std::collections::BTreeSet;
use std::fmt;

use zk_proto::client::WatcherKind;
use zk_proto::{Writer, Zxid};

/// What an event tells. ref: Watcher.Event.EventType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The session's state changed.
    None,
    /// A node was created.
    NodeCreated,
    /// A node was deleted.
    NodeDeleted,
    /// A node's data was set.
    NodeDataChanged,
    /// A child was created or deleted.
    NodeChildrenChanged,
    /// A watch of data was removed.
    DataWatchRemoved,
    /// A watch of children was removed.
    ChildWatchRemoved,
    /// A persistent watch was removed.
    PersistentWatchRemoved,
}

/// Something that a watch or the session tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// State of the session in Java's words: `SyncConnected`, `Disconnected`, `Expired`, ….
    pub state: &'static str,
    /// The node.
    pub path: Option<String>,
    /// When it happened; -1 for what is no change of the tree.
    pub zxid: i64,
}

impl Event {
    pub(crate) fn of_session(state: &'static str) -> Event {
        Event { kind: EventKind::None, state, path: None, zxid: -1 }
    }
}

impl fmt::Display for Event {
    /// ref: WatchedEvent.toString.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or("null");
        write!(f, "WatchedEvent state:{} type:{:?} path:{path} zxid: {}", self.state, self.kind, self.zxid)
    }
}

/// The kinds of watches that a client sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchKind {
    /// By getData, or exists on a node that is there.
    Data,
    /// By exists on a node that is not there.
    Exist,
    /// By getChildren.
    Child,
    /// By addWatch.
    Persistent,
    /// By addWatch, with everything below.
    Recursive,
}

/// Watches that are set, by the paths that the server knows.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

/// Bytes of paths in one setWatches. ref: ClientCnxn.SET_WATCHES_MAX_LENGTH.
const SET_BYTES: usize = 128 << 10;

impl Watches {
    pub(crate) fn set(&mut self, kind: WatchKind) -> &mut BTreeSet<String> {
        match kind {
            WatchKind::Data => &mut self.data,
            WatchKind::Exist => &mut self.exist,
            WatchKind::Child => &mut self.child,
            WatchKind::Persistent => &mut self.persistent,
            WatchKind::Recursive => &mut self.recursive,
        }
    }

    /// An event uses up the watches that it fires. ref: ZKWatchManager.materialize.
    pub(crate) fn fired(&mut self, kind: EventKind, path: &str) {
        let lists: &mut [&mut BTreeSet<String>] = match kind {
            EventKind::NodeCreated | EventKind::NodeDataChanged => &mut [&mut self.data, &mut self.exist],
            EventKind::NodeChildrenChanged => &mut [&mut self.child],
            EventKind::NodeDeleted => &mut [&mut self.data, &mut self.exist, &mut self.child],
            _ => &mut [],
        };
        for list in lists {
            list.remove(path);
        }
    }

    /// What removing this kind of watches would take away. ref: ZKWatchManager.removeWatcher.
    pub(crate) fn held(&self, path: &str, kind: WatcherKind) -> Vec<EventKind> {
        use WatcherKind as K;
        let data = self.data.contains(path) || self.exist.contains(path);
        let persistent = (self.persistent.contains(path) && kind != K::PersistentRecursive)
            || (self.recursive.contains(path) && kind != K::Persistent);
        [
            (EventKind::ChildWatchRemoved, self.child.contains(path), matches!(kind, K::Children | K::Any)),
            (EventKind::DataWatchRemoved, data, matches!(kind, K::Data | K::Any)),
            (
                EventKind::PersistentWatchRemoved,
                persistent,
                matches!(kind, K::Persistent | K::PersistentRecursive | K::Any),
            ),
        ]
        .into_iter()
        .filter(|(_, held, asked)| *held && *asked)
        .map(|(event, ..)| event)
        .collect()
    }

    pub(crate) fn remove(&mut self, path: &str, removed: &[EventKind], kind: WatcherKind) {
        for event in removed {
            match event {
                EventKind::ChildWatchRemoved => {
                    self.child.remove(path);
                }
                EventKind::DataWatchRemoved => {
                    self.data.remove(path);
                    self.exist.remove(path);
                }
                _ => {
                    if kind != WatcherKind::PersistentRecursive {
                        self.persistent.remove(path);
                    }
                    if kind != WatcherKind::Persistent {
                        self.recursive.remove(path);
                    }
                }
            }
        }
    }

    /// Bodies of setWatches2 that set them all again.
    pub(crate) fn requests(&self, seen: Zxid) -> Vec<Vec<u8>> {
        let lists = [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive];
        let mut all = lists.iter().enumerate().flat_map(|(i, l)| l.iter().map(move |p| (i, p))).peekable();
        let mut out = Vec::new();
        while all.peek().is_some() {
            let mut parts: [Vec<&String>; 5] = Default::default();
            let mut bytes = 0;
            while bytes < SET_BYTES
                && let Some((i, path)) = all.next()
            {
                bytes += path.len() + 4;
                if let Some(part) = parts.get_mut(i) {
                    part.push(path);
                }
            }
            let mut body = Vec::new();
            let mut w = Writer::new(&mut body);
            w.long(seen.0);
            for part in &parts {
                w.vector(Some(part), |w, p| w.str(p));
            }
            out.push(body);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_use_up_watches() {
        let mut w = Watches::default();
        for kind in [WatchKind::Data, WatchKind::Child, WatchKind::Persistent] {
            w.set(kind).insert("/a".to_owned());
        }
        assert_eq!(w.held("/a", WatcherKind::Any).len(), 3);
        w.fired(EventKind::NodeDataChanged, "/a");
        assert_eq!(w.held("/a", WatcherKind::Data), []);
        w.fired(EventKind::NodeDeleted, "/a");
        assert_eq!(w.held("/a", WatcherKind::Any), [EventKind::PersistentWatchRemoved]);
        assert_eq!(w.held("/a", WatcherKind::PersistentRecursive), []);
        w.remove("/a", &[EventKind::PersistentWatchRemoved], WatcherKind::Any);
        assert!(w.requests(Zxid(1)).is_empty());
    }

    #[test]
    fn many_watches_are_set_in_parts() {
        let mut w = Watches::default();
        w.set(WatchKind::Child).extend((0..20_000).map(|i| format!("/a/long/path/of/node/{i}")));
        let parts = w.requests(Zxid(7));
        assert!(parts.len() > 3 && parts.iter().all(|p| p.len() < 200 << 10), "{}", parts.len());
    }
}
