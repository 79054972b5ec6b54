//! Owns a piece of what `config show` shows: a value with its origins, keys or a list; as YAML and as JSON.

use serde_json::{Map, Value, json};

use crate::cli::config::origin::Origin;
use crate::cli::config::yaml::{Page, inline};

/// A piece of what is shown.
pub enum Part {
    /// `None`: it has no value, and is shown as a remark.
    Leaf(Option<Value>, Vec<Origin>),
    Keys(Vec<(&'static str, Part)>),
    List(Vec<Part>),
    /// What is no key of `lockkeeper.yaml`.
    Told(Value),
}

pub type Keys = Vec<(&'static str, Part)>;

/// Whether keys stand by themselves or are an item of a list, whose first key stands behind a dash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum As {
    Keys,
    Item,
}

/// Writes keys below each other, beginning at this column.
pub fn write_keys(keys: &Keys, indent: usize, written_as: As, page: &mut Page) {
    for (at, (key, part)) in keys.iter().enumerate() {
        let mark = match (written_as, at) {
            (As::Keys, _) => "",
            (As::Item, 0) => "- ",
            (As::Item, _) => "  ",
        };
        write_part(key, part, &format!("{}{mark}", " ".repeat(indent)), page);
    }
}

fn write_part(key: &str, part: &Part, lead: &str, page: &mut Page) {
    let below = lead.len() + 2;
    match part {
        Part::Leaf(Some(value), from) => {
            page.line(format!("{lead}{key}: {}", inline(value)), &joined(from));
        }
        Part::Leaf(None, from) => page.line(format!("{lead}# {key}: none"), &joined(from)),
        Part::Told(value) if value.as_array().is_some_and(Vec::is_empty) => {}
        Part::Told(value) => page.line(format!("{lead}# {key}: {}", inline(value)), ""),
        Part::Keys(keys) => {
            page.line(format!("{lead}{key}:"), "");
            write_keys(keys, below, As::Keys, page);
        }
        Part::List(items) if items.is_empty() => page.line(format!("{lead}{key}: []"), ""),
        Part::List(items) => {
            page.line(format!("{lead}{key}:"), "");
            for item in items {
                if let Part::Keys(keys) = item {
                    write_keys(keys, below, As::Item, page);
                }
            }
        }
    }
}

fn joined(from: &[Origin]) -> String {
    from.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// As JSON: each value beside its origins.
pub fn json_of(part: Part) -> Value {
    match part {
        Part::Leaf(value, from) => json!({
            "value": value,
            "from": from.iter().map(Origin::json).collect::<Vec<_>>(),
        }),
        Part::Keys(keys) => {
            let entries = keys.into_iter().map(|(key, part)| (key.to_owned(), json_of(part)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
        Part::List(items) => Value::Array(items.into_iter().map(json_of).collect()),
        Part::Told(value) => value,
    }
}

/// A value with one origin.
pub fn leaf(value: impl Into<Value>, from: Origin) -> Part {
    Part::Leaf(Some(value.into()), vec![from])
}
