//! Owns YAML as a tree in which every key and value knows its place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::{Budget, BudgetBreach};
use serde_saphyr::{Location, Options, Spanned};

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};

/// Larger than any configuration people write.
const MAX_BYTES: usize = 1 << 20;
const MAX_EVENTS: usize = 300_000;
/// The configuration nests six deep; reading recurses, also on a small thread.
const MAX_DEPTH: usize = 24;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: At,
    pub value: Value,
}

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub line: u32,
    pub column: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As it is written: `1.10` stays `1.10`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub at: At,
    pub text: String,
}

/// Reads one document.
pub fn read(path: &RepoPath, text: &str) -> Result<Node, Located> {
    if text.len() > MAX_BYTES {
        return Err(Located::at(Place::file(path.clone()), "the file is larger than 1 MiB").hint("make it smaller"));
    }
    let mut options = Options::default();
    // `automerge: off` is a word, not a boolean.
    options.strict_booleans = true;
    // Aliases are copied wherever they are used: an end for files made to explode.
    let mut budget = Budget::default();
    budget.max_events = MAX_EVENTS;
    budget.max_depth = MAX_DEPTH;
    budget.flow_nesting_limit = MAX_DEPTH;
    options.budget = Some(budget);
    let read: Result<Spanned<Raw>, _> = serde_saphyr::from_str_with_options(text, options);
    match read {
        Ok(spanned) => Ok(node(spanned, text)),
        Err(error) => {
            let place = match error.location().filter(|location| location.line() > 0) {
                Some(location) => at(&location).place(path),
                None => Place::file(path.clone()),
            };
            Err(Located::at(
                place,
                format!("this is not the YAML it should be: {}", sentence(&error)),
            )
            .hint("mend the line; nothing of the file counts until then"))
        }
    }
}

/// The parser's message without its own idea of the place.
fn sentence(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("the key `{key}` stands here a second time");
        }
        Error::DuplicateMappingKey { .. } => return "a key stands here a second time".to_owned(),
        Error::Budget { breach, .. } => return too_much(breach),
        _ => {}
    }
    let text = error.to_string();
    // The parser's own words for its callers, where a bound is met on another way.
    if text.contains("budget breached") {
        return "it is larger than any configuration is".to_owned();
    }
    if text.contains("from_str_multiple") || text.contains("multiple YAML documents") {
        return "it holds more than one document".to_owned();
    }
    let first = text.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or(first);
    match first.contains("recursion limit exceeded") {
        // The scanner's own words for a flow sequence too deep: `recursion limit exceeded`.
        true => too_deep(),
        false => first.trim_start_matches("error: ").trim_end_matches('.').to_owned(),
    }
}

fn too_deep() -> String {
    format!("it nests deeper than {MAX_DEPTH} levels")
}

/// Which of our bounds the file is beyond.
fn too_much(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::Documents { .. } => "it holds more than one document".to_owned(),
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => {
            "with its aliases written out it has more parts than any configuration needs".to_owned()
        }
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            "it has more anchors and aliases than any configuration needs".to_owned()
        }
        _ => "it is larger than any configuration is".to_owned(),
    }
}

impl At {
    pub fn place(self, path: &RepoPath) -> Place {
        Place {
            path: path.clone(),
            line: Some(self.line),
            column: Some(self.column),
        }
    }
}

fn at(location: &Location) -> At {
    At {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

/// What serde hands over, before numbers get their spelling back.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(spanned: Spanned<Raw>, source: &str) -> Node {
    let Spanned {
        value,
        referenced,
        defined,
    } = spanned;
    let value = match value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Number(value) => Value::Number(spelling(&defined, source).unwrap_or(value)),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, source)).collect()),
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, Spanned<Raw>)| {
                let key = Key {
                    at: at(&key.referenced),
                    text: key.value,
                };
                (key, node(value, source))
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node {
        at: at(&referenced),
        value,
    }
}

/// A number as its author wrote it: the word that begins at its place.
fn spelling(defined: &Location, source: &str) -> Option<String> {
    let line = source
        .lines()
        .nth(usize::try_from(defined.line()).ok()?.checked_sub(1)?)?;
    let from = usize::try_from(defined.column()).ok()?.checked_sub(1)?;
    let word: String = line
        .chars()
        .skip(from)
        .take_while(|c| c.is_ascii_alphanumeric() || "+-._".contains(*c))
        .collect();
    (!word.is_empty()).then_some(word)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> RepoPath {
        RepoPath::parse("lockkeeper.yaml").expect("a path")
    }

    /// `1:1{1:1 version=1:10 1}`: every place beside its value.
    fn show(node: &Node) -> String {
        let inner = match &node.value {
            Value::Null => "~".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => format!("#{value}"),
            Value::Text(value) => format!("{value:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entry = |(key, value): &(Key, Node)| {
                    format!("{}:{} {}={}", key.at.line, key.at.column, key.text, show(value))
                };
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        };
        format!("{}:{} {inner}", node.at.line, node.at.column)
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let text = "version: 1\nstacks:\n  - name: a\n    v: 1.10\n  - {name: b, on: off}\n";
        let node = read(&path(), text).expect("valid");
        assert_eq!(
            show(&node),
            "1:1 {1:1 version=1:10 #1 2:1 stacks=3:3 [3:5 {3:5 name=3:11 \"a\" 4:5 v=4:8 #1.10} \
             5:5 {5:6 name=5:12 \"b\" 5:15 on=5:19 \"off\"}]}"
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_our_words() {
        let deep = "[".repeat(100);
        let bomb = format!("a: &a x\nb: [{}]\n", ["*a"; 200].join(", "));
        let many = format!("[{}]", ["x"; MAX_EVENTS].join(","));
        for (text, expected) in [
            (
                "a: 1\na: 2\n",
                "lockkeeper.yaml:2:1: this is not the YAML it should be: the key `a` stands here a second time",
            ),
            (&deep, "it nests deeper than 24 levels"),
            (&bomb, "more anchors and aliases"),
            (&many, "more parts than any"),
        ] {
            let said = read(&path(), text).expect_err("refused").to_string();
            assert!(said.contains(expected), "{said}");
            assert!(
                !said.contains("DuplicateKeyPolicy") && !said.contains("budget"),
                "{said}"
            );
        }
    }

    #[test]
    fn an_empty_file_is_null() {
        for text in ["", "\n", "# nothing\n"] {
            assert_eq!(read(&path(), text).expect("valid").value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_yaml_has_a_place() {
        for (text, line) in [
            ("a: [1\nb: 2\n", 2),
            ("a: 1\na: 2\n", 2),
            ("a: *x\n", 1),
            ("a: 1\n\tb: 2\n", 1),
        ] {
            let error = read(&path(), text).expect_err(text);
            let place = error.place.as_ref().expect("a place");
            assert_eq!(place.line, Some(line), "{error}");
        }
    }

    #[test]
    fn deep_nesting_and_many_aliases_are_refused_in_bounded_time() {
        let deep = "[".repeat(100_000);
        assert!(read(&path(), &deep).is_err());
        for depth in [16, 24, 100, 1_000] {
            let mut blocks = String::new();
            for level in 0..depth {
                blocks.push_str(&format!("{}a:\n", " ".repeat(level)));
            }
            assert_eq!(read(&path(), &blocks).is_ok(), depth <= 24, "{depth}");
        }
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
        }
        assert!(read(&path(), &bomb).is_err());
    }
}
