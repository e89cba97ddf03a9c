//! What became of each line that somebody wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::Origin;
use crate::keys::{self, Key, LIVE, Status};
use crate::meaning;
use crate::zoo_cfg::{Setting, Settings};

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What it does in Java.
    Used,
    /// Nothing, and nothing is lost by it.
    None,
    /// Nothing: this version does not have it.
    Missing,
    /// Nothing: no ZooKeeper knows the key.
    Unknown,
    /// Nothing: the key was written again.
    Replaced,
}

impl Effect {
    /// One word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::None => "no effect",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Replaced => "replaced",
        }
    }
}

/// One line of a file, or one `-D`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it was written.
    pub origin: Origin,
    /// The key as written.
    pub key: String,
    /// The value, unless it is a secret.
    pub value: String,
    /// What it does.
    pub effect: Effect,
    /// The same in words.
    pub text: String,
    /// Whether a new value counts without a restart.
    pub live: bool,
}

/// All lines: flags first, then files in the order of their lines. `alone` says that the server has no ensemble.
pub(crate) fn of(settings: &Settings, alone: bool) -> Vec<Line> {
    let in_file = settings.file.iter().map(|(name, s)| (keys::by_name(name), s));
    let properties = settings.properties.iter().map(|(name, s)| (keys::by_property(name), s));
    let members = settings.members.iter().map(|s| (keys::by_name(&s.key), s));
    let counting = in_file.chain(properties).chain(members).map(|(key, s)| line(s, key, alone));
    let replaced = settings.replaced.iter().map(|(s, by)| Line {
        effect: Effect::Replaced,
        text: format!("{by} counts"),
        live: false,
        ..line(s, None, alone)
    });
    let mut lines: Vec<Line> = counting.chain(replaced).collect();
    lines.sort_by_cached_key(|l| place(&l.origin));
    lines
}

fn place(origin: &Origin) -> (u8, Option<Arc<Path>>, usize) {
    match origin {
        Origin::File { path, line } => (1, Some(Arc::clone(path)), *line),
        Origin::Flag { .. } | Origin::Argument | Origin::Builtin => (0, None, 0),
    }
}

fn line(setting: &Setting, key: Option<&Key>, alone: bool) -> Line {
    let (effect, text) = match key {
        None => (Effect::Unknown, "no ZooKeeper knows this key".to_owned()),
        Some(key) => match key.status {
            Status::Later(what) => (Effect::Missing, format!("this version does not have {what}")),
            Status::Nothing(why) => (Effect::None, why.to_owned()),
            Status::Ensemble if alone => (Effect::None, "the server stands alone".to_owned()),
            Status::Used | Status::Ensemble => (Effect::Used, meaning::of(key).to_owned()),
        },
    };
    Line {
        origin: setting.origin.clone(),
        key: setting.key.clone(),
        value: setting.shown().to_owned(),
        effect,
        text,
        live: key.is_some_and(|k| LIVE.contains(&k.name)),
    }
}

/// Keys that differ between two configurations and count only after a restart. Members that change while
/// the server runs leave their traces in the file, and are in force.
pub fn need_restart(before: &[Line], after: &[Line]) -> Vec<String> {
    let settled = |lines: &[Line]| -> BTreeMap<String, String> {
        let counting = lines.iter().filter(|l| !l.live && matches!(l.effect, Effect::Used | Effect::Missing));
        counting.map(|l| (l.key.clone(), l.value.clone())).collect()
    };
    let (before, after) = (settled(before), settled(after));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    if after.contains_key("dynamicConfigFile") {
        let members = ["server.", "group", "weight", "dynamicConfigFile", "peerType", "clientPort"];
        keys.retain(|k| !members.iter().any(|m| k.starts_with(m)));
    }
    keys.retain(|k| before.get(k) != after.get(k));
    keys
}
