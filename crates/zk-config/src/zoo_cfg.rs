//! From bytes to settings: which key counts, where it was set, and what to tell the operator.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use crate::{
    error::{ConfigError, Level, Note, Origin, is_secret},
    jvm_flags::{Env, Flags},
    keys::{self, Key, Kind, Place, Status},
    properties::Properties,
};

/// One setting as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key as written, before any alias or prefix.
    pub key: String,
    /// The value, trimmed.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Setting {
    /// The value for a message: its beginning, or dots when it is a password.
    pub fn shown(&self) -> &str {
        const LONGEST: usize = 200;
        if is_secret(&self.key) { "…" } else { &self.value[..self.value.floor_char_boundary(LONGEST)] }
    }

    pub(crate) fn invalid(&self, allowed: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            origin: self.origin.clone(),
            key: self.key.clone(),
            value: self.shown().into(),
            allowed: allowed.into(),
        }
    }

    pub(crate) fn refused(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Refused {
            origin: self.origin.clone(),
            key: self.key.clone(),
            value: self.shown().into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} ({})", self.key, self.shown(), self.origin)
    }
}

/// All settings of one start, by the name under which Java looks them up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Keys of the file itself.
    pub file: BTreeMap<String, Setting>,
    /// System properties by full name.
    pub properties: BTreeMap<String, Setting>,
    /// What stands in the dynamic file.
    pub members: Vec<Setting>,
    /// What was written and does not count, with the place of what does.
    pub replaced: Vec<(Setting, Origin)>,
    /// Remarks so far.
    pub notes: Vec<Note>,
}

impl Settings {
    /// Takes the flags of `env`, then the entries of the file: Java does it in this order, so the
    /// file wins over `-D`. (ref: QuorumPeerConfig.parseProperties, System.setProperty)
    pub fn gather(path: &Path, properties: &Properties, env: &Env) -> Self {
        let mut settings = Self::from_env(env);
        let path: Arc<Path> = path.into();
        if properties.reads_unlike_java {
            let text = "holds characters beyond ASCII, they are read as UTF-8 while Java reads ISO-8859-1";
            settings.warn(None, format!("{} {text}", path.display()));
        }
        for entry in &properties.entries {
            let origin = Origin::File { path: path.clone(), line: entry.line };
            settings.put(Setting { key: entry.key.clone(), value: entry.value.clone(), origin });
        }
        settings
    }

    /// Takes the flags of `env` alone.
    pub fn from_env(env: &Env) -> Self {
        let mut settings = Self::default();
        let flags = Flags::parse(env);
        if !flags.ignored.is_empty() {
            let text = format!("flags for a JVM have no effect: {}", flags.ignored.join(" "));
            settings.notes.push(Note { level: Level::Warn, origin: None, text });
        }
        for (name, (value, origin)) in flags.properties {
            let setting = Setting { key: name.clone(), value: value.trim().into(), origin };
            settings.put_property(name, setting);
        }
        settings
    }

    /// Adds one key as if it stood in the file.
    pub fn put(&mut self, setting: Setting) {
        let written = setting.key.as_str();
        let name =
            keys::ALIASES.iter().find(|(alias, _)| *alias == written).map_or(written, |(_, name)| name);
        if is_file_key(name) {
            let name = name.to_owned();
            self.put_file(name, setting);
            return;
        }
        let property = match keys::by_name(name) {
            Some(Key { place: Place::Bare, .. }) => name.to_owned(),
            known => {
                if known.is_none() {
                    self.warn_unknown(&setting, name);
                }
                format!("zookeeper.{name}")
            }
        };
        if let Some(before) = self.properties.remove(&property) {
            let text = format!("{} was also set at {}, this one counts", setting.key, before.origin);
            self.warn(Some(setting.origin.clone()), text);
            self.replaced.push((before, setting.origin.clone()));
        }
        self.properties.insert(property, setting);
    }

    fn put_file(&mut self, name: String, setting: Setting) {
        if let Some(before) = self.file.remove(&name) {
            let text = format!("{name} was also set at {}, this one counts", before.origin);
            self.warn(Some(setting.origin.clone()), text);
            self.replaced.push((before, setting.origin.clone()));
        }
        self.file.insert(name, setting);
    }

    /// A `-D`. The documented names without their prefix or under an alias are taken as well.
    fn put_property(&mut self, name: String, setting: Setting) {
        let bare = name.strip_prefix("zookeeper.").unwrap_or(&name);
        let alias = keys::ALIASES.iter().find(|(alias, _)| *alias == bare).map(|(_, name)| *name);
        let name = match alias {
            Some(name) => format!("zookeeper.{name}"),
            None if keys::by_property(&name).is_some() => name,
            None if keys::by_property(&format!("zookeeper.{name}")).is_some_and(|key| key.name == name) => {
                format!("zookeeper.{name}")
            }
            None => {
                if name.starts_with("zookeeper.") {
                    self.warn_unknown(&setting, &name);
                }
                name
            }
        };
        self.properties.insert(name, setting);
    }

    fn warn_unknown(&mut self, setting: &Setting, name: &str) {
        let hint = match name.strip_prefix("zookeeper.") {
            Some(short) if keys::by_name(short).is_some_and(|k| k.place == Place::File) => {
                format!(", it is {short} and belongs into the file")
            }
            Some(short) if keys::by_name(short).is_some() => format!(", in the file it is written {short}"),
            _ => similar(name).map_or_else(String::new, |key| format!(", is {} meant", key.name)),
        };
        let text = format!("{} is not a key that ZooKeeper knows, it has no effect{hint}", setting.key);
        self.warn(Some(setting.origin.clone()), text);
    }

    pub(crate) fn warn(&mut self, origin: Option<Origin>, text: impl Into<String>) {
        self.notes.push(Note { level: Level::Warn, origin, text: text.into() });
    }

    pub(crate) fn info(&mut self, origin: Option<Origin>, text: impl Into<String>) {
        self.notes.push(Note { level: Level::Info, origin, text: text.into() });
    }

    /// Says of each known setting that differs from its default whether it has an effect. What
    /// concerns ensembles only is left out for a server that stands alone.
    pub(crate) fn note_effects(&mut self) {
        let in_file = self.file.iter().map(|(name, s)| (keys::by_name(name), s));
        let as_property = self.properties.iter().map(|(name, s)| (keys::by_property(name), s));
        let mut notes = Vec::new();
        for (key, setting) in in_file.chain(as_property) {
            let Some(key) = key else { continue };
            if let Some(text) = unreadable(key, &setting.value) {
                let text = format!("{}={} {text}", setting.key, setting.shown());
                notes.push(Note { level: Level::Warn, origin: Some(setting.origin.clone()), text });
            }
            if setting.value == key.default {
                continue;
            }
            let (level, text) = match key.status {
                Status::Used | Status::Ensemble => continue,
                Status::Later(what) => {
                    (Level::Warn, format!("{} has no effect yet: {what} is missing", setting.key))
                }
                Status::Nothing(why) => (Level::Info, format!("{} has no effect: {why}", setting.key)),
            };
            notes.push(Note { level, origin: Some(setting.origin.clone()), text });
        }
        self.notes.append(&mut notes);
    }
}

/// Keys that `QuorumPeerConfig` takes by name; it takes group and weight keys without a dot, too.
fn is_file_key(name: &str) -> bool {
    let member = ["server.", "group", "weight"].iter().any(|family| name.starts_with(family));
    member || keys::by_name(name).is_some_and(|key| key.place == Place::File)
}

/// What Java makes of a property that it cannot read: never an error, so not one here either.
fn unreadable(key: &Key, value: &str) -> Option<String> {
    if key.place == Place::File {
        return None;
    }
    let readable = match key.kind {
        Kind::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
        Kind::YesNo => value == "yes" || value == "no",
        Kind::Number | Kind::Millis | Kind::Port => decode_number(value).is_some(),
        Kind::Fraction => value.parse::<f64>().is_ok_and(f64::is_finite),
        Kind::Text => true,
    };
    let text = match key.kind {
        _ if readable => return None,
        Kind::Bool => "is neither true nor false".into(),
        Kind::YesNo => "is neither yes nor no".into(),
        _ if key.default.is_empty() => "is not a number, it is ignored as Java does".into(),
        _ => format!("is not a number, the default {} is taken as Java does", key.default),
    };
    Some(text)
}

/// `Long.decode`: decimal, `0x` or `#` for hexadecimal, a leading 0 for octal.
pub(crate) fn decode_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// A known key that differs in the case of letters or in one character.
fn similar(name: &str) -> Option<&'static Key> {
    let close = |key: &&Key| key.name.eq_ignore_ascii_case(name) || one_edit_apart(key.name, name);
    keys::KEYS.iter().find(close)
}

fn one_edit_apart(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 1 || a.len() < 4 {
        return false;
    }
    let start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let room = a.len().min(b.len()) - start;
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count().min(room);
    a.len().max(b.len()) - start - end <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(text: &str, flags: &str) -> Settings {
        let properties = Properties::parse(Path::new("zoo.cfg"), text.as_bytes()).expect("valid");
        let env = Env { variables: vec![("SERVER_JVMFLAGS".into(), flags.into())] };
        Settings::gather(Path::new("zoo.cfg"), &properties, &env)
    }

    fn notes(text: &str, flags: &str) -> Vec<String> {
        gather(text, flags).notes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_go_where_java_looks_for_them() {
        let s =
            gather("tickTime=1\nsnapCount=2\njute.maxbuffer=3\nmultiAddress.enabled=true\nserver.1=x", "");
        assert_eq!(s.file.keys().collect::<Vec<_>>(), ["multiAddress.enabled", "server.1", "tickTime"]);
        assert_eq!(s.properties.keys().collect::<Vec<_>>(), ["jute.maxbuffer", "zookeeper.snapCount"]);
    }

    #[test]
    fn the_file_wins_over_flags() {
        let s = gather("snapCount=2", "-Dzookeeper.snapCount=3 -Dzookeeper.preAllocSize=4");
        assert_eq!(s.properties["zookeeper.snapCount"].value, "2");
        assert_eq!(s.properties["zookeeper.preAllocSize"].value, "4");
        assert_eq!(
            s.notes[0].to_string(),
            "zoo.cfg:1: snapCount was also set at -D in SERVER_JVMFLAGS, this one counts"
        );
    }

    #[test]
    fn documented_spellings_are_taken() {
        let s = gather(
            "connectionMaxTokens=5",
            "-Dzookeeper.requestThrottleLimit=6 -Dleader.closeSocketAsync=true",
        );
        assert_eq!(s.properties["zookeeper.connection_throttle_tokens"].value, "5");
        assert_eq!(s.properties["zookeeper.request_throttle_max_requests"].value, "6");
        assert_eq!(s.properties["zookeeper.leader.closeSocketAsync"].value, "true");
        assert!(s.notes.is_empty());
    }

    #[test]
    fn unknown_keys_warn_with_a_hint() {
        assert_eq!(
            notes(
                "ticktime=1\nsnapCont=1\nzookeeper.snapCount=1\nfoo.bar=1",
                "-Dzookeeper.tickTime=5 -Dother=1"
            ),
            [
                "-D in SERVER_JVMFLAGS: zookeeper.tickTime is not a key that ZooKeeper knows, it has no effect, \
                 it is tickTime and belongs into the file",
                "zoo.cfg:1: ticktime is not a key that ZooKeeper knows, it has no effect, is tickTime meant",
                "zoo.cfg:2: snapCont is not a key that ZooKeeper knows, it has no effect, is snapCount meant",
                "zoo.cfg:3: zookeeper.snapCount is not a key that ZooKeeper knows, it has no effect, \
                 in the file it is written snapCount",
                "zoo.cfg:4: foo.bar is not a key that ZooKeeper knows, it has no effect",
            ]
        );
    }

    #[test]
    fn repeated_keys_warn() {
        assert_eq!(
            notes("tickTime=1\ntickTime=2", ""),
            ["zoo.cfg:2: tickTime was also set at zoo.cfg:1, this one counts"]
        );
    }

    #[test]
    fn flags_of_a_jvm_are_one_warning() {
        assert_eq!(
            notes("", "-Xmx1g -XX:+UseG1GC -Djava.awt.headless=true"),
            ["flags for a JVM have no effect: -Xmx1g -XX:+UseG1GC"]
        );
    }

    #[test]
    fn numbers_as_java_decodes_them() {
        let cases = [
            ("10", Some(10)),
            ("+10", Some(10)),
            ("-5", Some(-5)),
            ("0x10", Some(16)),
            ("#f", Some(15)),
            ("010", Some(8)),
            ("08", None),
            (" 7", None),
            ("-0x1", Some(-1)),
            ("", None),
            ("--1", None),
            ("0", Some(0)),
            ("0x-1", None),
            ("99999999999999999999", None),
        ];
        for (text, number) in cases {
            assert_eq!(decode_number(text), number, "{text:?}");
        }
    }

    #[test]
    fn effects() {
        let mut s = gather(
            "flushDelay=20\nadmin.forceHttps=maybe\nSASLAuthenticationProvider.superPassword=pw\nnio.numWorkerThreads=x\nsnapCount=ten\n\
             initLimit=5\nmaxResponseCacheSize=400",
            "",
        );
        s.note_effects();
        let found: Vec<_> = s.notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "zoo.cfg:2: admin.forceHttps=maybe is neither true nor false",
                "zoo.cfg:1: flushDelay has no effect: a batch is what gathered during the last sync, no timer is involved",
                "zoo.cfg:4: nio.numWorkerThreads=x is not a number, it is ignored as Java does",
                "zoo.cfg:4: nio.numWorkerThreads has no effect: zkd sizes its threads itself",
                "zoo.cfg:5: snapCount=ten is not a number, the default 100000 is taken as Java does",
                "zoo.cfg:5: snapCount has no effect: the mirror is always near the log, no snapshots are taken by number or size of transactions",
            ]
        );
        assert!(!format!("{s:?}").contains("pw"));
    }
}
