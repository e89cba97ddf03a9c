//! What becomes of a Kerberos principal in ACLs: `service/host@REALM`, shortened by rules.
//!
//! ref: KerberosName, SaslServerCallbackHandler.handleAuthorizeCallback.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};
use zk_config::config::PrincipalNames;

/// A principal in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal<'a> {
    /// The user, or the service.
    pub service: &'a str,
    /// The machine of a service.
    pub host: Option<&'a str>,
    /// Who vouches for it.
    pub realm: &'a str,
}

impl<'a> Principal<'a> {
    /// `None`: it has more parts, or none, or characters that the library had to escape.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (left, realm) = name.split_once('@')?;
        let (service, host) = match left.split_once('/') {
            Some((service, host)) => (service, Some(host)),
            None => (left, None),
        };
        let is_plain = |part: &str| !part.is_empty() && !part.contains(['/', '@', '\\']);
        let parts = [Some(service), host, Some(realm)];
        parts.into_iter().flatten().all(is_plain).then_some(Self { service, host, realm })
    }
}

/// Why rules are not taken.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// It is no rule.
    #[error("{0:?} is neither DEFAULT nor RULE:[n:format](match)s/from/to/g")]
    Syntax(String),
    /// Its format names a part that a principal with so many does not have.
    #[error("the format {0:?} of a rule names a part that is not there")]
    Format(String),
    /// Its expression is none, or is one that only Java knows.
    #[error("the expression of a rule is not understood: {0}")]
    Expression(#[from] regex::Error),
}

/// How principals become names. (ref: zookeeper.security.auth_to_local, zookeeper.kerberos.remove*)
#[derive(Debug)]
pub struct Names {
    settings: PrincipalNames,
    default_realm: String,
    rules: Vec<Rule>,
}

#[derive(Debug)]
enum Rule {
    /// Who is of the default realm has his own name.
    Default,
    Format(Format),
}

#[derive(Debug)]
struct Format {
    /// How many parts before the realm.
    parts: usize,
    format: String,
    matches: Option<Regex>,
    /// What is replaced, by what, and whether everywhere.
    replaces: Option<(Regex, Vec<u8>, bool)>,
}

impl Names {
    /// Reads the rules.
    ///
    /// # Errors
    /// If one of them is none. differs: Java fails at the first login.
    pub fn new(settings: PrincipalNames, default_realm: String) -> Result<Self, RuleError> {
        let rules = rules(settings.rules.as_deref().unwrap_or("DEFAULT"))?;
        Ok(Self { settings, default_realm, rules })
    }

    /// The name of a principal in ACLs. `None`: it can be nobody's.
    ///
    /// differs: a principal that no rule applies to keeps its whole name; Java then takes any name
    /// that the client asks for, which is the same with an honest one.
    pub fn of(&self, principal: &str) -> Option<String> {
        let parts = Principal::parse(principal)?;
        let Some(mut name) = self.rules.iter().find_map(|rule| rule.apply(&parts, &self.default_realm))
        else {
            return Some(principal.to_owned());
        };
        // It is no short name.
        if name.is_empty() || name.contains(['/', '@']) {
            return Some(principal.to_owned());
        }
        if let Some(host) = parts.host.filter(|_| !self.settings.remove_host) {
            name.push('/');
            name.push_str(host);
        }
        if !self.settings.remove_realm {
            name.push('@');
            name.push_str(parts.realm);
        }
        Some(name)
    }
}

impl Rule {
    /// The short name; `None`: the rule is not about such a principal.
    fn apply(&self, of: &Principal<'_>, default_realm: &str) -> Option<String> {
        let rule = match self {
            Self::Default => return (of.realm == default_realm).then(|| of.service.to_owned()),
            Self::Format(rule) => rule,
        };
        let values: Vec<&str> = [Some(of.realm), Some(of.service), of.host].into_iter().flatten().collect();
        if values.len() != rule.parts + 1 {
            return None;
        }
        let base = filled(&rule.format, &values)?;
        if rule.matches.as_ref().is_some_and(|regex| !regex.is_match(base.as_bytes())) {
            return None;
        }
        let Some((from, to, everywhere)) = &rule.replaces else { return Some(base) };
        let replaced: Cow<'_, [u8]> = from.replacen(base.as_bytes(), usize::from(!everywhere), to.as_slice());
        String::from_utf8(replaced.into_owned()).ok()
    }
}

/// The format with its parts in place. `None`: one is not there.
fn filled(format: &str, values: &[&str]) -> Option<String> {
    let mut pieces = format.split('$');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = piece.split_at(digits);
        out.push_str(values.get(number.parse::<usize>().ok()?)?);
        out.push_str(rest);
    }
    Some(out)
}

/// As Java's: classes of characters are ASCII's.
fn expression(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).build()
}

/// Java's form of a replacement as this library has it: `$1` ends behind its digit, a backslash takes
/// the next character as it is.
fn replacement(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('$') => out.push_str("$$"),
                Some(c) => out.push(c),
                None => {}
            },
            '$' => {
                out.push('$');
                match chars.next() {
                    Some(d) if d.is_ascii_digit() => out.push_str(&format!("{{{d}}}")),
                    Some(c) => out.push(c),
                    None => {}
                }
            }
            c => out.push(c),
        }
    }
    out.into_bytes()
}

/// ref: KerberosName.parseRules.
fn rules(text: &str) -> Result<Vec<Rule>, RuleError> {
    let mut rules = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let syntax = || RuleError::Syntax(rest.to_owned());
        if let Some(behind) = rest.strip_prefix("DEFAULT") {
            rules.push(Rule::Default);
            rest = behind.trim_start();
            continue;
        }
        let inside = rest.strip_prefix("RULE:[").ok_or_else(syntax)?;
        let (head, behind) = inside.split_once(']').ok_or_else(syntax)?;
        let (parts, format) = head.split_once(':').ok_or_else(syntax)?;
        let parts: usize = parts.parse().map_err(|_| syntax())?;
        let (matches, behind) = match behind.strip_prefix('(') {
            Some(inside) => {
                let (inside, behind) = inside.split_once(')').ok_or_else(syntax)?;
                (Some(expression(&format!("\\A(?:{inside})\\z"))?), behind)
            }
            None => (None, behind),
        };
        let (replaces, behind) = match behind.strip_prefix("s/") {
            Some(inside) => {
                let (from, inside) = inside.split_once('/').ok_or_else(syntax)?;
                let (to, behind) = inside.split_once('/').ok_or_else(syntax)?;
                let everywhere = behind.starts_with('g');
                let replaces = (expression(from)?, replacement(to), everywhere);
                (Some(replaces), behind.strip_prefix('g').unwrap_or(behind))
            }
            None => (None, behind),
        };
        if filled(format, &vec![""; parts.min(MOST_PARTS) + 1]).is_none() {
            return Err(RuleError::Format(format.to_owned()));
        }
        rules.push(Rule::Format(Format { parts, format: format.to_owned(), matches, replaces }));
        rest = behind.trim_start();
    }
    Ok(rules)
}

/// A user or a service, and its host.
const MOST_PARTS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: Option<&str>, remove_host: bool, remove_realm: bool) -> Result<Names, RuleError> {
        let settings = PrincipalNames { remove_host, remove_realm, rules: rules.map(str::to_owned) };
        Names::new(settings, "EXAMPLE.COM".to_owned())
    }

    fn check(rules: &str, principal: &str, expected: &str) {
        let names = names(Some(rules), true, true).expect(rules);
        assert_eq!(names.of(principal).as_deref(), Some(expected), "{rules} on {principal}");
    }

    #[test]
    fn hosts_and_realms() {
        for (host, realm, expected) in [
            (false, false, ["bob@EXAMPLE.COM", "zk/a.b@EXAMPLE.COM"]),
            (true, false, ["bob@EXAMPLE.COM", "zk@EXAMPLE.COM"]),
            (false, true, ["bob", "zk/a.b"]),
            (true, true, ["bob", "zk"]),
        ] {
            let names = names(None, host, realm).expect("DEFAULT");
            let of = |principal: &str| names.of(principal).expect("a name");
            assert_eq!([of("bob@EXAMPLE.COM"), of("zk/a.b@EXAMPLE.COM")], expected);
            // Nobody of another realm gets the name of one of this.
            assert_eq!(of("bob@OTHER.COM"), "bob@OTHER.COM");
        }
    }

    #[test]
    fn rules_as_javas() {
        check("RULE:[1:$1]", "bob@OTHER.COM", "bob");
        check("RULE:[1:$1]", "bob/a@OTHER.COM", "bob/a@OTHER.COM");
        check("RULE:[2:$1;$2](^.*;admin$)s/;admin$// DEFAULT", "bob/admin@EXAMPLE.COM", "bob");
        check("RULE:[2:$1;$2](^.*;admin$)s/;admin$// DEFAULT", "bob/user@EXAMPLE.COM", "bob");
        check("RULE:[1:$1@$0](.*@OTHER\\.COM)s/@.*//\nDEFAULT", "bob@OTHER.COM", "bob");
        check("RULE:[1:$1@$0](.*@OTHER\\.COM)s/@.*//\nDEFAULT", "bob@OTHERXCOM", "bob@OTHERXCOM");
        check("RULE:[1:$1]s/o/0/DEFAULT", "bobo@A.B", "b0bo");
        check("RULE:[1:$1]s/o/0/g", "bobo@A.B", "b0b0");
        check("RULE:[1:$1]s/b(.)b/$1x\\$/", "bob@A.B", "ox$");
        check("RULE:[2:$1-of-$2]", "zk/h@A.B", "zk-of-h");
        // The whole has to match.
        check("RULE:[1:$1](bo)", "bob@A.B", "bob@A.B");
        // No short name.
        check("RULE:[1:$1@$0]", "bob@A.B", "bob@A.B");
        check("RULE:[1:$1]s/.*//", "bob@A.B", "bob@A.B");
    }

    #[test]
    fn what_is_no_rule() {
        for text in [
            "default",
            "RULE:[1:$1",
            "RULE:[x:$1]",
            "RULE:[1]",
            "RULE:[1:$1](x",
            "RULE:[1:$1]s/x/y",
            "DEFAULT x",
        ] {
            assert!(matches!(names(Some(text), false, false), Err(RuleError::Syntax(_))), "{text}");
        }
        for text in ["RULE:[1:$2]", "RULE:[1:$]", "RULE:[2:$1$3]"] {
            assert!(matches!(names(Some(text), false, false), Err(RuleError::Format(_))), "{text}");
        }
        for text in ["RULE:[1:$1]((?=x))", "RULE:[1:$1]s/[/x/"] {
            assert!(
                matches!(
                    names(Some(text), false, false),
                    Err(RuleError::Expression(_) | RuleError::Syntax(_))
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn whose_name_it_cannot_be() {
        for name in ["bob", "@A", "bob@", "a/b/c@A", "a@b@A", "/h@A", "a/@A", "a\\/b@A", ""] {
            assert_eq!(Principal::parse(name), None, "{name}");
        }
        let whole = Principal::parse("zk/h@A").expect("whole");
        assert_eq!((whole.service, whole.host, whole.realm), ("zk", Some("h"), "A"));
    }
}
