//! Owns JSON as a tree in which every key and value knows its line.

use serde::de::IgnoredAny;

use crate::source::facts::Broken;

/// A value and the line on which it begins, from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: u32,
    pub value: Json,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Of the key.
    pub line: u32,
    pub key: String,
    pub value: Node,
}

/// Reads one document, whose outermost value has to be an object.
pub fn read(text: &str) -> Result<Node, Broken> {
    // The reader of the language itself says what is wrong, and bounds the nesting at 128.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let why = error.to_string();
        return Err(Broken {
            line: u32::try_from(error.line()).ok().filter(|line| *line > 0),
            column: u32::try_from(error.column()).ok(),
            why: why.split(" at line ").next().unwrap_or(&why).to_owned(),
        });
    }
    let mut scan = Scan { text, at: 0, line: 1 };
    match scan.node() {
        Some(
            node @ Node {
                value: Json::Map(_), ..
            },
        ) => Ok(node),
        Some(_) | None => Err(Broken {
            line: Some(1),
            column: Some(1),
            why: "expected an object".to_owned(),
        }),
    }
}

/// Walks over a text that is known to be JSON; `None` would mean that it is not.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    line: u32,
}

impl<'t> Scan<'t> {
    fn node(&mut self) -> Option<Node> {
        let first = self.peek()?;
        let line = self.line;
        let value = match first {
            b'{' => self.map()?,
            b'[' => self.list()?,
            b'"' => Json::Text(self.string()?),
            _ => match self.word() {
                "null" => Json::Null,
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                number => Json::Number(number.to_owned()),
            },
        };
        Some(Node { line, value })
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            match byte {
                b'\n' => self.line = self.line.saturating_add(1),
                b' ' | b'\t' | b'\r' => {}
                _ => return Some(byte),
            }
            self.at += 1;
        }
    }

    fn map(&mut self) -> Option<Json> {
        let mut entries = Vec::new();
        self.at += 1;
        loop {
            match self.peek()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let line = self.line;
                    let key = self.string()?;
                    // The colon.
                    self.peek()?;
                    self.at += 1;
                    let value = self.node()?;
                    entries.push(Entry { line, key, value });
                }
            }
        }
        self.at += 1;
        Some(Json::Map(entries))
    }

    fn list(&mut self) -> Option<Json> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            match self.peek()? {
                b']' => break,
                b',' => self.at += 1,
                _ => items.push(self.node()?),
            }
        }
        self.at += 1;
        Some(Json::List(items))
    }

    fn string(&mut self) -> Option<String> {
        let begin = self.at;
        let mut escaped = false;
        for (at, byte) in self.text.as_bytes().get(begin..)?.iter().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = begin + at + 1;
                    return serde_json::from_str(self.text.get(begin..self.at)?).ok();
                }
                _ => {}
            }
        }
        None
    }

    fn word(&mut self) -> &'t str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let inner = match &node.value {
            Json::Null => "~".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Number(text) => format!("#{text}"),
            Json::Text(text) => format!("{text:?}"),
            Json::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Json::Map(entries) => {
                let entry = |entry: &Entry| format!("{}:{}={}", entry.line, entry.key, show(&entry.value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        };
        format!("{}{inner}", node.line)
    }

    #[test]
    fn every_key_and_value_knows_its_line() {
        let text = "{\n \"a\": [1.50, true,\n null], \"b\\n\\\"\"\n : {\"c\": \"\\u00e9\\n\"},\n \"a\": -2e3, \"e\": {}, \"f\": [ ]\n}\n";
        assert_eq!(
            show(&read(text).expect("JSON")),
            "1{2:a=2[2#1.50 2true 3~] 3:b\n\"=4{4:c=4\"é\\n\"} 5:a=5#-2e3 5:e=5{} 5:f=5[]}"
        );
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["[]", "1", "\"x\"", "", "{\"a\": }", "{} {}", &"[".repeat(10_000)] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
