//! Owns JSON as a tree in which every key and value knows its line.

use std::ops::Range;

use serde::de::IgnoredAny;

use crate::source::facts::Broken;

/// A value and the line on which it begins, from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: u32,
    /// The bytes of the value in the text.
    pub at: Range<usize>,
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
    /// The bytes of the key, quotes included.
    pub key_at: Range<usize>,
    pub key: String,
    pub value: Node,
}

/// What is read here is walked recursively, and anybody may have written it. As many levels as HCL's parser allows;
/// more than a thread's ordinary stack holds many times over.
const MOST_LEVELS: usize = 64;

/// Reads one document, whose outermost value has to be an object.
pub fn read(text: &str) -> Result<Node, Broken> {
    // The reader of the language itself says what is wrong. It skips values without recursing, so it bounds no nesting.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let why = error.to_string();
        return Err(Broken {
            line: u32::try_from(error.line()).ok().filter(|line| *line > 0),
            column: u32::try_from(error.column()).ok(),
            why: why.split(" at line ").next().unwrap_or(&why).to_owned(),
        });
    }
    let mut scan = Scan {
        text,
        at: 0,
        line: 1,
        levels: 0,
    };
    match scan.node() {
        Some(
            node @ Node {
                value: Json::Map(_), ..
            },
        ) => Ok(node),
        None if scan.levels > MOST_LEVELS => Err(Broken {
            line: Some(scan.line),
            column: None,
            why: format!("invalid nesting depth; expected at most {MOST_LEVELS} nested levels"),
        }),
        Some(_) | None => Err(Broken {
            line: Some(1),
            column: Some(1),
            why: "expected an object".to_owned(),
        }),
    }
}

/// Walks over a text that is known to be JSON; `None` means that it nests too deep.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    /// Of objects and lists that are open.
    levels: usize,
}

impl<'t> Scan<'t> {
    fn node(&mut self) -> Option<Node> {
        let first = self.peek()?;
        let (line, from) = (self.line, self.at);
        let value = match first {
            b'{' | b'[' => {
                self.levels += 1;
                if self.levels > MOST_LEVELS {
                    return None;
                }
                let value = if first == b'{' { self.map()? } else { self.list()? };
                self.levels -= 1;
                value
            }
            b'"' => Json::Text(self.string()?),
            _ => match self.word() {
                "null" => Json::Null,
                "true" => Json::Bool(true),
                "false" => Json::Bool(false),
                number => Json::Number(number.to_owned()),
            },
        };
        let at = from..self.at;
        Some(Node { line, at, value })
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
                    let (line, from) = (self.line, self.at);
                    let key = self.string()?;
                    let key_at = from..self.at;
                    // The colon.
                    self.peek()?;
                    self.at += 1;
                    let value = self.node()?;
                    entries.push(Entry {
                        line,
                        key_at,
                        key,
                        value,
                    });
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
    fn deep_nesting_is_an_error_with_its_line_and_not_a_crash() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let levels = open.matches(['[', '{']).count();
            let nested = |depth: usize| {
                let (open, close) = (open.repeat(depth), close.repeat(depth));
                format!("{{\n\"x\": 1,\n\"y\": {open}1{close}}}")
            };
            let most = (MOST_LEVELS - 1) / levels;
            assert!(read(&nested(most)).is_ok(), "{open}");
            for depth in [most + 1, 200_000] {
                let broken = read(&nested(depth)).expect_err("it nests too deep");
                assert_eq!(broken.line, Some(3), "{open}");
                assert!(broken.why.ends_with("at most 64 nested levels"), "{}", broken.why);
            }
        }
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["[]", "1", "\"x\"", "", "{\"a\": }", "{} {}", &"[".repeat(10_000)] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
