//! Which nodes a load touches.

use crate::{Error, Result};

/// Paths that differ only in digits: each `#` of the pattern is one digit of a node's number, the
/// first `#` the most significant. `/a/b-##/c-##` with 10,000 nodes has 100 directories of 100.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pattern: String,
    count: u64,
}

impl Keys {
    /// The first `count` nodes of a pattern.
    pub fn new(pattern: &str, count: u64) -> Result<Keys> {
        let digits = pattern.bytes().filter(|b| *b == b'#').count();
        let most = u32::try_from(digits).ok().and_then(|d| 10u64.checked_pow(d));
        if !pattern.starts_with('/') || pattern.len() < 2 || pattern.ends_with('/') || pattern.contains("//")
        {
            return Err(Error::Invalid(format!("{pattern} is no path")));
        }
        match most {
            Some(most) if (1..=most).contains(&count) => Ok(Keys { pattern: pattern.to_owned(), count }),
            _ => Err(Error::Invalid(format!("{pattern} has not digits (#) for {count} nodes"))),
        }
    }

    /// As many nodes as the digits can tell apart.
    pub fn all(pattern: &str) -> Result<Keys> {
        let digits = pattern.bytes().filter(|b| *b == b'#').count();
        let most = u32::try_from(digits).ok().and_then(|d| 10u64.checked_pow(d));
        Keys::new(pattern, most.unwrap_or(0))
    }

    /// How many nodes there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The path with its digits not filled in.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Where in the path the digits are, most significant first.
    pub(crate) fn holes(&self) -> Vec<usize> {
        self.pattern.bytes().enumerate().filter(|(_, b)| *b == b'#').map(|(i, _)| i).collect()
    }

    /// The path of node `i`.
    pub fn path(&self, i: u64) -> String {
        let mut path = self.pattern.clone().into_bytes();
        fill(&mut path, &self.holes(), i);
        String::from_utf8(path).expect("digits for # keep UTF-8 valid")
    }

    /// The directories above the nodes, those near the root first, without the root.
    pub fn parents(&self) -> Vec<Keys> {
        let digits = self.holes().len();
        let slashes = self.pattern.char_indices().skip(1).filter(|(_, c)| *c == '/');
        slashes
            .map(|(end, _)| {
                let pattern = &self.pattern[..end];
                let left = digits - pattern.bytes().filter(|b| *b == b'#').count();
                let each = 10u64.pow(u32::try_from(left).expect("at most 19 digits"));
                Keys { pattern: pattern.to_owned(), count: self.count.div_ceil(each) }
            })
            .collect()
    }
}

/// Writes a number's digits at these places.
pub(crate) fn fill(bytes: &mut [u8], holes: &[usize], mut number: u64) {
    for hole in holes.iter().rev() {
        bytes[*hole] = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_go_over_all_names() {
        let keys = Keys::new("/a/b-##/c-##", 1234).unwrap();
        assert_eq!(keys.path(0), "/a/b-00/c-00");
        assert_eq!(keys.path(1233), "/a/b-12/c-33");
        let parents = keys.parents();
        assert_eq!(parents.len(), 2);
        assert_eq!((parents[0].pattern(), parents[0].count()), ("/a", 1));
        assert_eq!((parents[1].pattern(), parents[1].count()), ("/a/b-##", 13));
        assert_eq!(parents[1].path(12), "/a/b-12");
        assert_eq!(Keys::all("/x-###").unwrap().count(), 1000);
        assert_eq!(Keys::all("/x").unwrap().path(0), "/x");
    }

    #[test]
    fn what_is_no_pattern() {
        for (pattern, count) in [("a-#", 1), ("/", 1), ("/a/", 1), ("/a//b", 1), ("/a-#", 11), ("/a-#", 0)] {
            assert!(Keys::new(pattern, count).is_err(), "{pattern} {count}");
        }
    }
}
