//! Java's login configuration file (JAAS): named sections of login modules with options.
//!
//! ```text
//! Server {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     user_bob="his password";
//! };
//! ```
//! Comments and quoting are those of `java.io.StreamTokenizer`, by which Java reads it. Messages name
//! file and line, and never a value: values are passwords.
//!
//! (ref: sun.security.provider.ConfigFile, readConfig)

use std::{collections::BTreeMap, iter::Peekable, path::Path, str::Chars, sync::Arc};

use crate::{
    error::{ConfigError, Origin, Secret},
    properties::MAX_BYTES,
};

/// All sections of a file by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginFile {
    /// Their modules, in order.
    pub sections: BTreeMap<String, Vec<LoginModule>>,
}

/// One login module of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginModule {
    /// Its class.
    pub class: String,
    /// Where it stands.
    pub origin: Origin,
    /// What it is told. Of an option that is repeated the last one counts.
    pub options: BTreeMap<String, Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word or a quoted text.
    Text(String),
    /// One character that is neither.
    Mark(char),
}

/// Reads words, quoted texts and marks; knows the line.
struct Tokens<'a> {
    path: Arc<Path>,
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Tokens<'_> {
    fn origin(&self) -> Origin {
        Origin::File { path: Arc::clone(&self.path), line: self.line }
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, ConfigError> {
        Err(ConfigError::Syntax { origin: self.origin(), reason: reason.into() })
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    fn skip_line(&mut self) {
        while self.chars.peek().is_some_and(|&c| c != '\n') {
            self.bump();
        }
    }

    /// Behind a slash: `*` begins a comment that may span lines, anything else one up to the end
    /// of the line.
    fn skip_comment(&mut self) -> Result<(), ConfigError> {
        if self.chars.peek() != Some(&'*') {
            self.skip_line();
            return Ok(());
        }
        self.bump();
        let mut before = ' ';
        loop {
            match self.bump() {
                None => return self.error("a comment has no end"),
                Some('/') if before == '*' => return Ok(()),
                Some(c) => before = c,
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token>, ConfigError> {
        loop {
            let Some(c) = self.bump() else { return Ok(None) };
            match c {
                '\0'..=' ' => {}
                '/' => self.skip_comment()?,
                '"' => return self.quoted().map(|text| Some(Token::Text(text))),
                c if is_word(c) => return Ok(Some(Token::Text(self.word(c)))),
                c => return Ok(Some(Token::Mark(c))),
            }
        }
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.chars.next_if(|&c| is_word(c) || c == '.' || c.is_ascii_digit()) {
            word.push(c);
        }
        word
    }

    fn quoted(&mut self) -> Result<String, ConfigError> {
        let mut text = String::new();
        loop {
            match self.chars.peek() {
                None | Some('\n' | '\r') => return self.error("a quoted text has no end on its line"),
                Some(_) => {}
            }
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(c) => text.push(c),
                None => {}
            }
        }
    }

    /// Behind a backslash: up to three octal digits, a letter of C, or the character itself.
    fn escaped(&mut self) -> Result<char, ConfigError> {
        let Some(c) = self.bump() else { return self.error("a quoted text has no end on its line") };
        Ok(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => {
                let more = if c <= '3' { 2 } else { 1 };
                let mut code = c.to_digit(8).unwrap_or_default();
                for _ in 0..more {
                    let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    self.bump();
                    code = code * 8 + digit;
                }
                char::from_u32(code).expect("three octal digits are a Latin character")
            }
            c => c,
        })
    }

    /// A word or a quoted text; `what` says in a message what it should have been.
    fn text(&mut self, what: &str) -> Result<String, ConfigError> {
        match self.next()? {
            Some(Token::Text(text)) => Ok(text),
            Some(Token::Mark(c)) => self.error(format!("{what} is expected where {c:?} stands")),
            None => self.error(format!("{what} is expected where the file ends")),
        }
    }

    fn mark(&mut self, wanted: char) -> Result<(), ConfigError> {
        match self.next()? {
            Some(Token::Mark(c)) if c == wanted => Ok(()),
            // The text may be a password.
            Some(Token::Text(_)) => {
                self.error(format!("{wanted:?} is expected where a word or a text stands"))
            }
            Some(Token::Mark(c)) => self.error(format!("{wanted:?} is expected where {c:?} stands")),
            None => self.error(format!("{wanted:?} is expected where the file ends")),
        }
    }
}

/// What a word begins with. Digits may follow, but a word that begins with one is a number in Java,
/// and no number is allowed anywhere.
fn is_word(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '$' | '_' | '-' | '*') || c >= '\u{a0}'
}

impl LoginFile {
    /// Reads a file's content. `property` gives what `${name}` stands for.
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        property: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        if bytes.len() > MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.into(), limit: MAX_BYTES });
        }
        let text = String::from_utf8_lossy(bytes);
        let mut tokens = Tokens { path: path.into(), chars: text.chars().peekable(), line: 1 };
        let mut sections = BTreeMap::new();
        while let Some(token) = tokens.next()? {
            let Token::Text(name) = token else { return tokens.error("the name of a section is expected") };
            tokens.mark('{')?;
            let modules = modules(&mut tokens, property)?;
            tokens.mark(';')?;
            if sections.contains_key(&name) {
                return tokens.error(format!("there are two sections {name}"));
            }
            sections.insert(name, modules);
        }
        Ok(Self { sections })
    }
}

/// The modules of a section, up to its closing brace.
fn modules(
    tokens: &mut Tokens<'_>,
    property: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<LoginModule>, ConfigError> {
    let mut modules = Vec::new();
    loop {
        let class = match tokens.next()? {
            Some(Token::Mark('}')) => return Ok(modules),
            Some(Token::Text(class)) => class,
            _ => return tokens.error("the class of a login module or '}' is expected"),
        };
        let origin = tokens.origin();
        let flag = tokens.text("required, requisite, sufficient or optional")?;
        let known = ["required", "requisite", "sufficient", "optional"];
        if !known.iter().any(|k| k.eq_ignore_ascii_case(&flag)) {
            return tokens.error("behind a class stands required, requisite, sufficient or optional");
        }
        let mut options = BTreeMap::new();
        loop {
            let key = match tokens.next()? {
                Some(Token::Mark(';')) => break,
                Some(Token::Text(key)) => key,
                _ => return tokens.error("an option or ';' is expected"),
            };
            tokens.mark('=')?;
            let value = tokens.text("the value of an option")?;
            let value = match expanded(&value, property) {
                Ok(value) => value,
                Err(name) => return tokens.error(format!("there is no property for ${{{name}}}")),
            };
            options.insert(key, Secret::new(value));
        }
        modules.push(LoginModule { class, origin, options });
    }
}

/// Replaces each `${name}`; `${/}` is a slash and `${{…}}` stays as it is. The error is the name of
/// a property that is not set. (ref: sun.security.util.PropertyExpander)
fn expanded(value: &str, property: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let double = after.starts_with('{');
        let Some((name, behind)) = after.split_once(if double { "}}" } else { "}" }) else {
            out.push_str("${");
            rest = after;
            continue;
        };
        match name {
            _ if double => out.push_str(&format!("${{{name}}}}}")),
            "/" => out.push('/'),
            name => out.push_str(&property(name).ok_or(name)?),
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LoginFile, String> {
        let property = |name: &str| (name == "pw").then(|| "from outside".to_owned());
        LoginFile::parse(Path::new("jaas.conf"), text.as_bytes(), &property).map_err(|e| e.to_string())
    }

    fn option(file: &LoginFile, section: &str, key: &str) -> Option<String> {
        file.sections[section][0].options.get(key).map(|s| s.expose().to_owned())
    }

    #[test]
    fn what_people_have() {
        let file = parse(
            "// A comment.\n/* Another,\n on two lines. */\nServer {\n  \
             org.apache.zookeeper.server.auth.DigestLoginModule required\n  user_super=\"adminsecret\"\n  \
             user_bob=bob-secret / the rest of a line\n  \"user_o'neill x\"=\"a\\\"b\\\\c\\101\\n\" user_e=\"\";\n};\n\
             Client { a.B REQUIRED; c.D optional k=\"${pw}/${/}${{x}}$\"; };\nEmpty{};",
        )
        .expect("valid");
        assert_eq!(file.sections.keys().collect::<Vec<_>>(), ["Client", "Empty", "Server"]);
        let server = &file.sections["Server"];
        assert_eq!(server.len(), 1);
        assert_eq!(server[0].class, "org.apache.zookeeper.server.auth.DigestLoginModule");
        assert_eq!(server[0].origin.to_string(), "jaas.conf:5");
        assert_eq!(option(&file, "Server", "user_super").as_deref(), Some("adminsecret"));
        assert_eq!(option(&file, "Server", "user_bob").as_deref(), Some("bob-secret"));
        assert_eq!(option(&file, "Server", "user_o'neill x").as_deref(), Some("a\"b\\cA\n"));
        assert_eq!(option(&file, "Server", "user_e").as_deref(), Some(""));
        let second = &file.sections["Client"][1];
        assert_eq!(second.options["k"].expose(), "from outside//${{x}}$");
        assert!(file.sections["Empty"].is_empty());
        assert!(!format!("{file:?}").contains("secret"));
    }

    #[test]
    fn what_is_wrong_and_where() {
        for (text, expected) in [
            ("Server\n{ a.B required\nuser_x \"hush\"; };", "jaas.conf:3: '=' is expected where a word"),
            ("Server { a.B required user_x=\"hush\" }; };", "jaas.conf:1: an option or ';' is expected"),
            ("Server { a.B\nhush user_x=\"hush\"; };", "jaas.conf:2: behind a class stands required"),
            (
                "Server { a.B required user_x=\"hush\n\"; };",
                "jaas.conf:1: a quoted text has no end on its line",
            ),
            (
                "Server { a.B required user_x=1hush; };",
                "jaas.conf:1: the value of an option is expected where '1'",
            ),
            ("Server { a.B required user_x='hush'; };", "jaas.conf:1: the value of an option is expected"),
            ("Server { a.B required; }", "jaas.conf:1: ';' is expected where the file ends"),
            ("\n\nServer { a.B required;", "jaas.conf:3: the class of a login module or '}' is expected"),
            ("A { };\nA { };", "jaas.conf:2: there are two sections A"),
            ("{ }", "jaas.conf:1: the name of a section is expected"),
            ("/* hush", "jaas.conf:1: a comment has no end"),
            ("A { b.C required d=\"${nosuch}\"; };", "jaas.conf:1: there is no property for ${nosuch}"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn nothing_and_too_much() {
        assert_eq!(parse("").map(|f| f.sections.len()), Ok(0));
        assert!(parse(&" ".repeat(MAX_BYTES)).is_ok());
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).expect_err("too large").contains("is larger than"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends(text in "([a-z]|[ \n\"\\\\{};=/*$.0-9]){0,40}") {
            let _ = parse(&text);
            let _ = parse(&format!("Server {{ a.B required {text}; }};"));
        }
    }
}
