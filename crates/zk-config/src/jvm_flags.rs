//! The `-Dname=value` tokens that people put into `SERVER_JVMFLAGS` and `JVMFLAGS`.
//!
//! `zkServer.sh` starts Java with `$SERVER_JVMFLAGS $JVMFLAGS`, and of two equal names the later one
//! counts. There is no JVM here, but the system properties among the flags configure ZooKeeper.

use std::collections::BTreeMap;

use crate::error::Origin;

/// The variables that are read, in the order of Java's command line. (ref: bin/zkServer.sh)
pub const VARIABLES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// Those of a client. (ref: bin/zkCli.sh)
pub const CLIENT_VARIABLES: [&str; 2] = ["CLIENT_JVMFLAGS", "JVMFLAGS"];

/// The part of the environment that a configuration depends on. The caller fills it, so that
/// everything here stays free of global state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    /// Name and value of each of [`VARIABLES`] or [`CLIENT_VARIABLES`] that is set.
    pub variables: Vec<(String, String)>,
}

impl Env {
    /// An environment in which nothing is set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Picks [`VARIABLES`] out of all variables of a process, in their order.
    pub fn pick(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self::of(&VARIABLES, lookup)
    }

    /// Picks [`CLIENT_VARIABLES`].
    pub fn pick_client(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self::of(&CLIENT_VARIABLES, lookup)
    }

    fn of(names: &[&str], lookup: impl Fn(&str) -> Option<String>) -> Self {
        let named = names.iter().filter_map(|&name| Some((name.to_owned(), lookup(name)?)));
        Self { variables: named.collect() }
    }
}

/// What the flags hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// System properties by full name.
    pub properties: BTreeMap<String, (String, Origin)>,
    /// Tokens for the JVM itself (`-Xmx1g`, `-XX:+UseG1GC`), which mean nothing here.
    pub ignored: Vec<String>,
}

impl Flags {
    /// Splits the variables of `env` and sorts their tokens.
    pub fn parse(env: &Env) -> Self {
        let mut flags = Self::default();
        for (variable, text) in &env.variables {
            for token in words(text) {
                let Some(property) = token.strip_prefix("-D").filter(|p| !p.is_empty()) else {
                    flags.ignored.push(token);
                    continue;
                };
                let (name, value) = property.split_once('=').unwrap_or((property, ""));
                let origin = Origin::Flag { variable: variable.clone() };
                flags.properties.insert(name.into(), (value.into(), origin));
            }
        }
        flags
    }
}

/// Splits as a shell does: blanks separate, `'…'` and `"…"` keep them, a backslash keeps the next
/// character (inside `"…"` only before `"` and `\`). An open quote ends at the end of the text.
fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(q), _) if q == c => quote = None,
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some('"'), '\\') => {
                let kept = chars.next_if(|&next| next == '"' || next == '\\').unwrap_or('\\');
                word.get_or_insert_default().push(kept);
            }
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(server: &str, common: &str) -> Flags {
        Flags::parse(&Env::pick(|name| match name {
            "SERVER_JVMFLAGS" => Some(server.into()),
            "JVMFLAGS" => Some(common.into()),
            _ => None,
        }))
    }

    fn value<'a>(flags: &'a Flags, name: &str) -> Option<&'a str> {
        flags.properties.get(name).map(|(value, _)| value.as_str())
    }

    #[test]
    fn properties_and_the_rest() {
        let f = flags("-Xmx512m -Djute.maxbuffer=4194304  -XX:+UseG1GC\t-Dzookeeper.skipACL=yes", "");
        assert_eq!(value(&f, "jute.maxbuffer"), Some("4194304"));
        assert_eq!(value(&f, "zookeeper.skipACL"), Some("yes"));
        assert_eq!(f.ignored, ["-Xmx512m", "-XX:+UseG1GC"]);
    }

    #[test]
    fn the_later_variable_wins() {
        let f = flags("-Da=1 -Da=2", "-Da=3");
        assert_eq!(value(&f, "a"), Some("3"));
        assert_eq!(f.properties["a"].1.to_string(), "-D in JVMFLAGS");
    }

    #[test]
    fn quotes_and_backslashes() {
        let f = flags(r#"-Da="b c" '-Dd=e f' -Dg=h\ i -Dj='"' -Dk="\"\\\n""#, "");
        let found: Vec<_> = f.properties.iter().map(|(k, (v, _))| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("a", "b c"), ("d", "e f"), ("g", "h i"), ("j", "\""), ("k", "\"\\\\n")]);
    }

    #[test]
    fn odd_tokens_never_fail() {
        let f = flags("-D -Dx -D=1 \"open 'x", "\\");
        assert_eq!(value(&f, "x"), Some(""));
        assert_eq!(value(&f, ""), Some("1"));
        assert_eq!(f.ignored, ["-D", "open 'x", ""]);
    }

    #[test]
    fn equals_signs_in_values_stay() {
        let f = flags("-Dzookeeper.DigestAuthenticationProvider.superDigest=super:a+b/c=", "");
        assert_eq!(value(&f, "zookeeper.DigestAuthenticationProvider.superDigest"), Some("super:a+b/c="));
    }
}
