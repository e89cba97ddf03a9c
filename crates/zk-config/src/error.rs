//! Where a setting comes from, and what can be wrong with it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a setting was written. Every message about a setting starts with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file. A setting that spans lines is known by its first one.
    File {
        /// The file as the operator named it.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// A `-Dname=value` in an environment variable.
    Flag {
        /// Name of the variable, for example `SERVER_JVMFLAGS`.
        variable: String,
    },
    /// The command line of `zkd` in Java's `PORT DATADIR …` form.
    Argument,
    /// Written nowhere: what `zkd serve` takes when it gets no file.
    Builtin,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag { variable } => write!(f, "-D in {variable}"),
            Self::Argument => f.write_str("command line"),
            Self::Builtin => f.write_str("built in"),
        }
    }
}

/// Why there is no `Config`. Each message names the place, the key, the value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file system said no.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file that was to be read.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// No configuration is that large: more likely the wrong file was named.
    #[error("{path} is larger than {limit} bytes, is it a configuration file", path = path.display())]
    TooLarge {
        /// The file that was read.
        path: PathBuf,
        /// See [`crate::properties::MAX_BYTES`].
        limit: usize,
    },
    /// Not a Java `.properties` file.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The line.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
    /// The value cannot be read, or is out of range.
    #[error("{origin}: {key}={value} is not valid, allowed is {allowed}")]
    Value {
        /// Where it was set.
        origin: Origin,
        /// The key as written there.
        key: String,
        /// The value as written there; hidden when the key names a secret.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// The value is right for Java, and ignoring it here would be dangerous.
    #[error("{origin}: {key}={value} is refused: {reason}")]
    Refused {
        /// Where it was set.
        origin: Origin,
        /// The key as written there.
        key: String,
        /// The value as written there.
        value: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A setting that has to be there is not.
    #[error("{place}: {key} is not set: {allowed}")]
    Missing {
        /// The file, or what stands for it.
        place: String,
        /// The missing key.
        key: String,
        /// What it should look like.
        allowed: String,
    },
    /// Two settings contradict each other.
    #[error("{place}: {reason}")]
    Conflict {
        /// The file, or what stands for it.
        place: String,
        /// Both settings and the way out.
        reason: String,
    },
}

/// How much an operator should care about a [`Note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Info,
    /// Something that was written has no effect, or not the expected one.
    Warn,
}

/// One remark about a configuration that was accepted. The binary logs them at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// Where it was set, when it is about one setting.
    pub origin: Option<Origin>,
    /// The remark.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// A value that must not reach a log: passwords and the super digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value` from `Debug`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether values under this name are kept out of messages.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let password = name.contains("password") && !name.ends_with("passwordpath");
    password || name.ends_with("superdigest")
}

/// A configuration file's text as others may see it: values of secrets are dots, in comments too.
pub fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut hidden_goes_on = false;
    for line in text.lines() {
        let goes_on = line.ends_with('\\');
        if std::mem::take(&mut hidden_goes_on) {
            hidden_goes_on = goes_on;
            continue;
        }
        let end = line.find(['=', ':']).or_else(|| line.trim_end().rfind(' ')).unwrap_or(line.len());
        let key = &line[..end];
        if is_secret(key.trim()) {
            out.push_str(key.trim());
            out.push_str("=…");
            hidden_goes_on = goes_on;
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}
