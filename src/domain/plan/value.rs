//! Owns the value of one attribute as a plan tells it: known, unknown until apply, or hidden.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// A value with its unknown and its sensitive parts in their places. Numbers keep the tool's digits. A set looks
/// like a list: the tool's JSON does not tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// Known only after the apply.
    Unknown,
    /// Sensitive: the keyed hash of the value, so that equality still works. The value itself is never here.
    Hidden(String),
}

/// The longest text of one value that is shown to people, in characters.
const SHOWN: usize = 200;

impl Value {
    pub fn text(text: &str) -> Self {
        Value::Text(text.to_owned())
    }

    pub fn is_unknown(&self) -> bool {
        *self == Value::Unknown
    }

    /// Whether any part of it is known only after the apply.
    pub fn has_unknown(&self) -> bool {
        match self {
            Value::Unknown => true,
            Value::List(items) => items.iter().any(Value::has_unknown),
            Value::Map(attributes) => attributes.values().any(Value::has_unknown),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Hidden(_) => false,
        }
    }

    /// An attribute of an object; null where there is none, as the tool does not tell these apart.
    pub fn attribute(&self, name: &str) -> &Value {
        match self {
            Value::Map(attributes) => attributes.get(name).unwrap_or(&Value::Null),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Unknown
            | Value::Hidden(_) => &Value::Null,
        }
    }

    /// For people, at most 200 characters: a hidden value says only that it is hidden.
    pub fn shown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        match out.char_indices().nth(SHOWN) {
            Some((end, _)) => {
                out.truncate(end);
                out.push('…');
                out
            }
            None => out,
        }
    }

    fn write(&self, out: &mut String) {
        if out.len() > SHOWN * 4 {
            return;
        }
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Number(digits) => out.push_str(digits),
            Value::Text(text) => {
                let short: String = text.chars().take(SHOWN + 1).collect();
                let _infallible = write!(out, "{short:?}");
            }
            Value::Unknown => out.push_str("(known after apply)"),
            Value::Hidden(_) => out.push_str("(hidden)"),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Map(attributes) => {
                out.push('{');
                for (index, (name, value)) in attributes.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    let _infallible = write!(out, "{name} = ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// One place where two values differ, e.g. `ingress[0].cidr`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Delta<'a> {
    pub path: String,
    pub before: &'a Value,
    pub after: &'a Value,
}

/// The smallest places where two values differ. Lists of different lengths differ as a whole, since no element
/// of one can be said to be the other's; an attribute that is null and one that is not there are the same.
pub fn deltas<'a>(before: &'a Value, after: &'a Value) -> Vec<Delta<'a>> {
    let mut found = Vec::new();
    collect(String::new(), before, after, &mut found);
    found
}

fn collect<'a>(path: String, before: &'a Value, after: &'a Value, found: &mut Vec<Delta<'a>>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Map(old), Value::Map(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let inner = match path.is_empty() {
                    true => name.clone(),
                    false => format!("{path}.{name}"),
                };
                collect(inner, before.attribute(name), after.attribute(name), found);
            }
        }
        (Value::List(old), Value::List(new)) if old.len() == new.len() => {
            for (index, (before, after)) in old.iter().zip(new).enumerate() {
                collect(format!("{path}[{index}]"), before, after, found);
            }
        }
        (before, after) => found.push(Delta { path, before, after }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(
            entries
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    #[test]
    fn a_difference_is_told_at_its_smallest_place() {
        let before = map(&[
            ("same", Value::text("x")),
            ("gone", Value::text("y")),
            ("list", Value::List(vec![Value::text("a"), Value::text("b")])),
        ]);
        let after = map(&[
            ("same", Value::text("x")),
            ("absent", Value::Null),
            ("list", Value::List(vec![Value::text("a"), Value::Unknown])),
        ]);
        let told: Vec<_> = deltas(&before, &after)
            .into_iter()
            .map(|delta| format!("{}: {} -> {}", delta.path, delta.before.shown(), delta.after.shown()))
            .collect();
        assert_eq!(told, ["gone: \"y\" -> null", "list[1]: \"b\" -> (known after apply)"]);
    }

    #[test]
    fn what_is_shown_is_bounded_and_never_a_hash() {
        let long = Value::List(vec![Value::text(&"é".repeat(500)); 500]);
        assert_eq!(long.shown().chars().count(), SHOWN + 1);
        assert_eq!(Value::Hidden("ab12".to_owned()).shown(), "(hidden)");
    }
}
