//! Paths of nodes.

/// What is wrong with a path. ref: PathUtils.validatePath.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path has no characters.
    #[error("path is empty")]
    Empty,
    /// The first character is not `/`.
    #[error("path does not start with '/'")]
    NoSlash,
    /// The last character is `/` and the path is not the root.
    #[error("path ends with '/'")]
    EndsWithSlash,
    /// Two slashes in a row.
    #[error("path has an empty name in it")]
    EmptyName,
    /// A component `.` or `..`.
    #[error("path has a relative name in it")]
    Relative,
    /// A character that is not allowed.
    #[error("path has the character {0:?} in it, which is not allowed")]
    Character(char),
}

/// Whether a client may create this path.
///
/// The rules are over UTF-16 units, so every character beyond U+FFFF is
/// refused: its surrogates are. (ref: PathUtils.validatePath; behaviour row 67)
pub fn validate(path: &str) -> Result<(), PathError> {
    if is_plain(path.as_bytes()) { Ok(()) } else { validate_any(path) }
}

fn validate_any(path: &str) -> Result<(), PathError> {
    match path.as_bytes() {
        [] => return Err(PathError::Empty),
        [b'/'] => return Ok(()),
        [b'/', .., b'/'] => return Err(PathError::EndsWithSlash),
        [b'/', ..] => {}
        _ => return Err(PathError::NoSlash),
    }
    for name in path[1..].split('/') {
        match name {
            "" => return Err(PathError::EmptyName),
            "." | ".." => return Err(PathError::Relative),
            _ => {}
        }
    }
    match path.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(PathError::Character(c)),
        None => Ok(()),
    }
}

/// Whether it is a usual path: in ASCII, and no name begins with a point. Most are. Without a way out of the
/// loops they are done sixteen bytes at a time.
fn is_plain(path: &[u8]) -> bool {
    let ([b'/', names @ ..], [.., last]) = (path, path) else { return false };
    let in_ascii = path.iter().fold(true, |all, c| all & (b' '..0x7f).contains(c));
    let begins = |c: u8| (c == b'/') | (c == b'.');
    let in_order = path.iter().zip(names).fold(true, |all, (c, next)| all & !((*c == b'/') & begins(*next)));
    in_ascii & in_order & (*last != b'/')
}

fn allowed(c: char) -> bool {
    !matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// Parent and name of a path: the text before and after its last slash. The
/// parent of a top-level node is the root, `/`. `None`: the path has no slash.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    Some((if parent.is_empty() { "/" } else { parent }, name))
}

/// The root under the name that Java hashes it by and writes into snapshots:
/// the empty string. Other paths are unchanged.
pub fn java_name(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// Path of the node that holds the ensemble's configuration.
pub const CONFIG: &str = "/zookeeper/config";
/// Path below which quotas are kept.
pub const QUOTA: &str = "/zookeeper/quota";
/// Name of a quota's node with the limits.
pub const QUOTA_LIMITS: &str = "zookeeper_limits";
/// Name of a quota's node with the counts.
pub const QUOTA_STATS: &str = "zookeeper_stats";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_path_utils() {
        for ok in ["/", "/a", "/a/b", "/a b", "/.a", "/a..", "/ä", "/\u{d7ff}", "/\u{f900}", "/\u{ffef}"] {
            assert_eq!(validate(ok), Ok(()), "{ok:?}");
        }
        for (bad, why) in [
            ("", PathError::Empty),
            ("a", PathError::NoSlash),
            ("/a/", PathError::EndsWithSlash),
            ("//", PathError::EndsWithSlash),
            ("/a//b", PathError::EmptyName),
            ("/./a", PathError::Relative),
            ("/a/..", PathError::Relative),
            ("/a\0", PathError::Character('\0')),
            ("/\u{1f}", PathError::Character('\u{1f}')),
            ("/\u{7f}", PathError::Character('\u{7f}')),
            ("/\u{9f}", PathError::Character('\u{9f}')),
            ("/\u{e000}", PathError::Character('\u{e000}')),
            ("/\u{fff0}", PathError::Character('\u{fff0}')),
            ("/\u{1f600}", PathError::Character('\u{1f600}')),
        ] {
            assert_eq!(validate(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn usual_paths_break_no_rule() {
        let mut paths = vec![String::new()];
        for _ in 0..5 {
            let longer =
                paths.iter().flat_map(|p| "/.a~ \u{1f}\u{7f}\u{e9}".chars().map(move |c| format!("{p}{c}")));
            paths.extend(longer.collect::<Vec<_>>());
        }
        let plain: Vec<&String> = paths.iter().filter(|p| is_plain(p.as_bytes())).collect();
        assert!(plain.len() > 100);
        plain.into_iter().for_each(|p| assert_eq!(validate_any(p), Ok(()), "{p:?}"));
    }

    #[test]
    fn splitting() {
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a/"), Some(("/a", "")));
        assert_eq!(split("/"), Some(("/", "")));
        assert_eq!(split("a"), None);
    }
}
