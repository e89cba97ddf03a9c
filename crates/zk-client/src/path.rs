use crate::{Error, Result};

/// Refuses what no server takes, before it is sent, with Java's words. `sequential`: the name
/// gets a number, so the path may end with a slash. ref: PathUtils.validatePath.
pub fn check_path(path: &str, sequential: bool) -> Result<()> {
    let fail = |text: &str| Err(Error::Path(text.to_owned()));
    let numbered = format!("{path}1");
    let path = if sequential { numbered.as_str() } else { path };
    if path.is_empty() {
        return fail("Path length must be > 0");
    }
    if !path.starts_with('/') {
        return fail("Path must start with / character");
    }
    if path == "/" {
        return Ok(());
    }
    if path.ends_with('/') {
        return fail("Path must not end with / character");
    }
    let units: Vec<u16> = path.encode_utf16().collect();
    let mut begin = 1;
    for (at, unit) in units.iter().copied().chain(std::iter::once(u16::from(b'/'))).enumerate().skip(1) {
        let name = units.get(begin..at).unwrap_or_default();
        let why = match unit {
            0 => Some((at, "null character not allowed")),
            0x2f if name.is_empty() => Some((at, "empty node name specified")),
            0x2f if name == [0x2e] || name == [0x2e, 0x2e] => Some((at - 1, "relative paths not allowed")),
            0x01..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => Some((at, "invalid character")),
            _ => None,
        };
        if let Some((at, why)) = why {
            return Err(Error::Path(format!("Invalid path string \"{path}\" caused by {why} @{at}")));
        }
        if unit == 0x2f {
            begin = at + 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_java() {
        let said = |p: &str| check_path(p, false).unwrap_err().to_string();
        assert_eq!(said("a"), "Path must start with / character");
        assert_eq!(said("/a/"), "Path must not end with / character");
        assert_eq!(said("/a//b"), "Invalid path string \"/a//b\" caused by empty node name specified @3");
        assert_eq!(
            said("/a/../b"),
            "Invalid path string \"/a/../b\" caused by relative paths not allowed @4"
        );
        assert_eq!(said("/a/."), "Invalid path string \"/a/.\" caused by relative paths not allowed @3");
        assert_eq!(said("/a\u{1}"), "Invalid path string \"/a\u{1}\" caused by invalid character @2");
        for fine in ["/", "/a", "/a/b", "/\u{e4}", "/.a", "/a.."] {
            assert!(check_path(fine, false).is_ok(), "{fine}");
        }
        assert!(check_path("/a/", true).is_ok());
    }
}
