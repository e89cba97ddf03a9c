//! JSON as Jackson indents it: scripts match its lines.

use std::fmt::Write as _;

use crate::{java, status::Number};

/// A value. Keys keep their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; one that JSON does not know, such as NaN, is a text as in Java.
    Number(Number),
    /// A text.
    Text(String),
    /// Values in a row.
    List(Vec<Json>),
    /// Values by key.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object.
    pub fn object<const N: usize>(entries: [(&str, Json); N]) -> Self {
        Self::Object(entries.map(|(key, value)| (key.to_owned(), value)).to_vec())
    }

    /// A list.
    pub fn list(values: impl IntoIterator<Item = impl Into<Json>>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// The text, indented by two blanks a level.
    pub fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, level: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Self::Number(Number::Real(x)) if !x.is_finite() => quote(out, &java::double(*x)),
            Self::Number(n) => write!(out, "{n}").expect("a string takes all"),
            Self::Text(text) => quote(out, text),
            Self::List(values) => {
                out.push_str("[ ");
                for (i, value) in values.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    // Jackson begins no line for the elements of a list.
                    value.write(out, level);
                }
                out.push_str(if values.is_empty() { "]" } else { " ]" });
            }
            Self::Object(entries) if entries.is_empty() => out.push_str("{ }"),
            Self::Object(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    new_line(out, level + 1);
                    quote(out, key);
                    out.push_str(" : ");
                    value.write(out, level + 1);
                }
                new_line(out, level);
                out.push('}');
            }
        }
    }
}

fn new_line(out: &mut String, level: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", level));
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => write!(out, "\\u{:04X}", u32::from(c)).expect("a string takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<bool> for Json {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<Number> for Json {
    fn from(n: Number) -> Self {
        Self::Number(n)
    }
}

impl From<i64> for Json {
    fn from(n: i64) -> Self {
        Self::Number(n.into())
    }
}

impl From<u64> for Json {
    fn from(n: u64) -> Self {
        Self::Number(n.into())
    }
}

impl From<u32> for Json {
    fn from(n: u32) -> Self {
        i64::from(n).into()
    }
}

impl From<f64> for Json {
    fn from(x: f64) -> Self {
        Self::Number(x.into())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn it_looks_as_in_java() {
        let inner = || Json::object([("x", 1i64.into()), ("y", Json::list([2i64, 3]))]);
        let json = Json::object([
            ("list", Json::List(vec![inner(), inner()])),
            ("empty", Json::List(Vec::new())),
            ("none", Json::Object(Vec::new())),
            ("real", 2.0.into()),
            ("nan", f64::NAN.into()),
            ("text", "a\"b\\c\nd\u{1}é".into()),
            ("null", Json::Null),
        ]);
        expect![[r#"
            {
              "list" : [ {
                "x" : 1,
                "y" : [ 2, 3 ]
              }, {
                "x" : 1,
                "y" : [ 2, 3 ]
              } ],
              "empty" : [ ],
              "none" : { },
              "real" : 2.0,
              "nan" : "NaN",
              "text" : "a\"b\\c\nd\u0001é",
              "null" : null
            }"#]]
        .assert_eq(&json.print());
    }
}
