//! Words of a line, and options among them, as zkCli reads them.

use std::collections::BTreeMap;

/// Splits a line into words. Quotes hold words together where they open one.
/// ref: ZooKeeperMain.MyCommandOptions.parseCommand.
pub fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = match first {
            '"' | '\'' => rest.get(1..).and_then(|r| r.split_once(first)),
            _ => None,
        };
        let (word, behind) = match quoted {
            Some((word, behind)) => (word, behind),
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        out.push(word.to_owned());
        rest = behind.trim_start();
    }
    out
}

/// An option of a command, and whether a value follows it.
pub type OptionSpec = (&'static str, bool);

/// A command's line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    options: BTreeMap<&'static str, Option<String>>,
    /// What is no option, without the command's name.
    pub arguments: Vec<String>,
}

impl Parsed {
    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The value of an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.as_deref()
    }
}

/// Takes options out of the words, wherever they stand. The error is Java's text.
/// ref: org.apache.commons.cli.DefaultParser.
pub fn parse(specs: &[OptionSpec], words: &[String]) -> Result<Parsed, String> {
    let mut out = Parsed::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            out.arguments.extend(rest.cloned());
            break;
        }
        let is_option = word.len() > 1 && word.starts_with('-') && word.parse::<f64>().is_err();
        if !is_option {
            out.arguments.push(word.clone());
            continue;
        }
        let name = word.trim_start_matches('-');
        let (name, given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let found = specs.iter().find(|(n, _)| *n == name);
        match (found, given) {
            (Some((name, false)), None) => {
                out.options.insert(name, None);
            }
            (Some((name, true)), Some(value)) => {
                out.options.insert(name, Some(value));
            }
            (Some((name, true)), None) => {
                let value = rest.next().filter(|v| !is_known(specs, v));
                let Some(value) = value else {
                    return Err(format!(
                        "org.apache.commons.cli.MissingArgumentException: Missing argument for option: {name}"
                    ));
                };
                out.options.insert(name, Some(value.clone()));
            }
            _ => joined(specs, word, &mut out)?,
        }
    }
    Ok(out)
}

fn is_known(specs: &[OptionSpec], word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|w| specs.iter().any(|(n, _)| *n == w.trim_start_matches('-')))
}

/// Options of one letter in one word: `-sw`, `-v3`.
fn joined(specs: &[OptionSpec], word: &str, out: &mut Parsed) -> Result<(), String> {
    let unknown =
        || format!("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {word}");
    let mut letters = word.get(1..).unwrap_or_default();
    while let Some(letter) = letters.chars().next() {
        let behind = letters.get(letter.len_utf8()..).unwrap_or_default();
        let mut buffer = [0; 4];
        let name: &str = letter.encode_utf8(&mut buffer);
        match specs.iter().find(|(n, _)| *n == name) {
            Some((name, true)) if !behind.is_empty() => {
                out.options.insert(name, Some(behind.to_owned()));
                return Ok(());
            }
            Some((name, false)) => {
                out.options.insert(name, None);
            }
            _ => return Err(unknown()),
        }
        letters = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        assert_eq!(words(r#"  set "/a b" 'x "y"' z"w "#), ["set", "/a b", "x \"y\"", "z\"w"]);
        assert_eq!(words(r#"set /a """#), ["set", "/a", ""]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn options_stand_anywhere() {
        let of =
            |line: &str| parse(&[("s", false), ("w", false), ("v", true), ("members", true)], &words(line));
        let p = of("/a -s -v 2 -w x").unwrap();
        assert!(p.has("s") && p.has("w") && p.value("v") == Some("2"));
        assert_eq!(p.arguments, ["/a", "x"]);
        assert_eq!(of("-sw -v3 -v=-1 /a").unwrap().value("v"), Some("-1"));
        assert_eq!(of("-v -1 /a").unwrap().value("v"), Some("-1"));
        assert_eq!(of("--members a,b").unwrap().value("members"), Some("a,b"));
        assert_eq!(of("- -- -s").unwrap().arguments, ["-", "-s"]);
        assert!(of("-q").unwrap_err().ends_with("Unrecognized option: -q"));
        assert!(of("/a -v").unwrap_err().ends_with("Missing argument for option: v"));
        assert!(of("-v -s").unwrap_err().ends_with("Missing argument for option: v"));
    }
}
