//! Owns the expressions that stand for planned outputs. Values and keys stand in variables only, never in the text:
//! nothing that a value holds can become a part of the language.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::tool::cascade::feeds::Given;
use crate::tool::cascade::names::Names;

/// An unknown of any type: while planning, `timestamp` is unknown to both tools, and what is decoded from an unknown may
/// become anything (tried: an index, an attribute, a `for` over it are unknown and no errors).
pub const UNKNOWN: &str = "jsondecode(timestamp())";

/// An output of more pieces than this that is unknown in some of them counts as unknown as a whole.
const MAX_PIECES: usize = 10_000;

/// What the root module and the generated module have to hold for the expressions that were made.
pub struct Values<'n> {
    names: &'n Names,
    /// Name of a root variable → type, value.
    pub variables: BTreeMap<String, (String, Json)>,
    /// Name of a variable of the generated module → type, expression in the root module.
    pub typed: BTreeMap<String, (String, String)>,
    numbers: usize,
}

impl<'n> Values<'n> {
    pub fn new(names: &'n Names) -> Values<'n> {
        Values {
            names,
            variables: BTreeMap::new(),
            typed: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// An object of every output that exists: its keys are values too.
    pub fn object(&mut self, outputs: &BTreeMap<String, Given>) -> String {
        // A root output that is null is removed from the state: nobody can read it.
        let is_there = |given: &Given| !matches!(given, Given::Absent | Given::Known { value: Json::Null, .. });
        let outputs: Vec<(&String, &Given)> = outputs.iter().filter(|(_, given)| is_there(given)).collect();
        let mut parts = Parts::default();
        let keys: Vec<usize> = outputs
            .iter()
            .map(|(name, _)| parts.put(Json::from(name.as_str())))
            .collect();
        let name = self.variable("any", Json::Null);
        let mut entries = Vec::new();
        for (key, (_, given)) in keys.into_iter().zip(outputs) {
            entries.push(format!("(var.{name}[{key}]) = {}", self.expression(given)));
        }
        self.fill(&name, parts);
        match entries.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{ {} }}", entries.join(", ")),
        }
    }

    /// One output, in the root module.
    pub fn expression(&mut self, given: &Given) -> String {
        match given {
            Given::Known { value, kind } => self.known(value, kind),
            Given::Partly { value, unknown, kind } => {
                if pieces(unknown, value).is_none_or(|pieces| pieces > MAX_PIECES) {
                    return UNKNOWN.to_owned();
                }
                // The type may be the one that was applied last, and is another now.
                let kind = if may_be(kind, value, unknown) {
                    kind
                } else {
                    &Json::Null
                };
                let name = self.variable("any", Json::Null);
                let mut parts = Parts::default();
                let made = self.partly(&name, &mut parts, (value, unknown, kind), Within::Structure);
                self.fill(&name, parts);
                made.unwrap_or_else(|| UNKNOWN.to_owned())
            }
            // Nothing refers to what does not exist; were it to, null is what an output that is not there has.
            Given::Absent => "null".to_owned(),
            Given::Unknown => UNKNOWN.to_owned(),
        }
    }

    fn known(&mut self, value: &Json, kind: &Json) -> String {
        let kind = if fits(kind, value) { kind } else { &Json::Null };
        match constraint(kind) {
            Some(constraint) => format!("var.{}", self.variable(&constraint, value.clone())),
            // An attribute that is no identifier cannot stand in a type: the object is made of its parts.
            None => {
                let name = self.variable("any", Json::Null);
                let mut parts = Parts::default();
                let made = self.partly(&name, &mut parts, (value, &Json::Bool(false), kind), Within::Structure);
                self.fill(&name, parts);
                made.unwrap_or_else(|| UNKNOWN.to_owned())
            }
        }
    }

    /// A value of which some parts are unknown, made of those that are not. `None`: it cannot be made.
    fn partly(
        &mut self,
        name: &str,
        parts: &mut Parts,
        (value, unknown, kind): (&Json, &Json, &Json),
        within: Within,
    ) -> Option<String> {
        if unknown == &Json::Bool(true) {
            return Some(UNKNOWN.to_owned());
        }
        let (of, inner) = shape(kind);
        let is_collection = matches!(of, "list" | "set" | "map");
        let is_expressible = constraint(kind).is_some();
        if !is_unknown_within(unknown) && (within == Within::Typed || is_plain(kind) || is_expressible) {
            return Some(match within == Within::Typed || is_plain(kind) {
                true => format!("var.{name}[{}]", parts.put(value.clone())),
                false => self.known(value, kind),
            });
        }
        if is_collection && within == Within::Structure {
            // Its type is given by a variable of the generated module, to which the parts are passed. Where no type can
            // be written, what is wholly known is left to the tool, which gives all elements one type.
            return match is_expressible {
                true => {
                    let made = self.partly(name, parts, (value, unknown, kind), Within::Typed)?;
                    let typed = self.names.typed(self.typed.len());
                    self.typed.insert(typed.clone(), (constraint(kind)?, made));
                    Some(format!("module.{}.{typed}", self.names.stem()))
                }
                false if is_unknown_within(unknown) => Some(UNKNOWN.to_owned()),
                false => Some(format!("var.{}", self.variable(&format!("{of}(any)"), value.clone()))),
            };
        }
        let entry = |key: &str| match of {
            "object" => inner.get(key).unwrap_or(&Json::Null),
            "map" => inner,
            _ => &Json::Null,
        };
        let item = |at: usize| match of {
            "tuple" => inner.get(at).unwrap_or(&Json::Null),
            "list" | "set" => inner,
            _ => &Json::Null,
        };
        let is_keyed = |json: &Json| matches!(json, Json::Object(_));
        if is_keyed(value) || (value.is_null() && is_keyed(unknown)) {
            let keys: BTreeSet<&String> = [value, unknown]
                .iter()
                .filter_map(|map| map.as_object())
                .flat_map(|map| map.keys())
                .collect();
            let mut entries = Vec::new();
            for key in keys {
                let at = parts.put(Json::from(key.as_str()));
                let part = (get(value, key), get(unknown, key), entry(key));
                entries.push(format!(
                    "(var.{name}[{at}]) = {}",
                    self.partly(name, parts, part, within)?
                ));
            }
            return Some(format!("{{ {} }}", entries.join(", ")));
        }
        let value = value.as_array()?;
        let mut items = Vec::new();
        for (at, part) in value.iter().enumerate() {
            let unknown = unknown.get(at).unwrap_or(&Json::Null);
            items.push(self.partly(name, parts, (part, unknown, item(at)), within)?);
        }
        Some(format!("[{}]", items.join(", ")))
    }

    fn variable(&mut self, constraint: &str, value: Json) -> String {
        let name = self.names.value(self.numbers);
        self.numbers += 1;
        self.variables.insert(name.clone(), (constraint.to_owned(), value));
        name
    }

    fn fill(&mut self, name: &str, Parts { list }: Parts) {
        match list.is_empty() {
            true => drop(self.variables.remove(name)),
            false => drop(
                self.variables
                    .insert(name.to_owned(), ("any".to_owned(), Json::Array(list))),
            ),
        }
    }
}

/// Pieces of one value, in a list: `var.x[3]`.
#[derive(Default)]
struct Parts {
    list: Vec<Json>,
}

impl Parts {
    fn put(&mut self, piece: Json) -> usize {
        self.list.push(piece);
        self.list.len() - 1
    }
}

/// Whether what is around a part gives it its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Structure,
    Typed,
}

fn get<'j>(map: &'j Json, key: &str) -> &'j Json {
    map.get(key).unwrap_or(&Json::Null)
}

/// `["set", "string"]` → `set` and `"string"`; a primitive has nothing inside.
fn shape(kind: &Json) -> (&str, &Json) {
    match kind {
        Json::String(name) => (name, &Json::Null),
        Json::Array(parts) => match parts.as_slice() {
            [Json::String(name), inner, ..] => (name, inner),
            _ => ("dynamic", &Json::Null),
        },
        _ => ("dynamic", &Json::Null),
    }
}

/// Whether the tool gives a value of this type the very type when it reads it as JSON.
fn is_plain(kind: &Json) -> bool {
    match shape(kind) {
        ("list" | "set" | "map", _) => false,
        ("object", inner) => inner.as_object().is_none_or(|map| map.values().all(is_plain)),
        ("tuple", inner) => inner.as_array().is_none_or(|list| list.iter().all(is_plain)),
        _ => true,
    }
}

/// The language's own text for a type; `None`: it has no text.
pub fn constraint(kind: &Json) -> Option<String> {
    Some(match shape(kind) {
        (name @ ("string" | "number" | "bool"), Json::Null) => name.to_owned(),
        (name @ ("list" | "set" | "map"), inner) => format!("{name}({})", constraint(inner)?),
        ("tuple", Json::Array(items)) => {
            let items = items.iter().map(constraint).collect::<Option<Vec<_>>>()?;
            format!("tuple([{}])", items.join(", "))
        }
        ("object", Json::Object(map)) => {
            let entry = |(name, kind): (&String, &Json)| {
                is_identifier(name).then_some(())?;
                Some(format!("{name} = {}", constraint(kind)?))
            };
            let entries = map.iter().map(entry).collect::<Option<Vec<_>>>()?;
            format!("object({{ {} }})", entries.join(", "))
        }
        _ => "any".to_owned(),
    })
}

/// A name that means itself where it stands: words that the language reads otherwise are none.
fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-')
        && !matches!(name, "true" | "false" | "null" | "for" | "in" | "if" | "else")
}

/// Whether a value can be of a type; what cannot is left to the tool to judge.
fn fits(kind: &Json, value: &Json) -> bool {
    match (shape(kind), value) {
        (_, Json::Null) => true,
        (("string", _), Json::String(_)) => true,
        (("number", _), Json::Number(_)) => true,
        (("bool", _), Json::Bool(_)) => true,
        (("list" | "set", inner), Json::Array(items)) => items.iter().all(|item| fits(inner, item)),
        (("map", inner), Json::Object(map)) => map.values().all(|item| fits(inner, item)),
        (("tuple", Json::Array(kinds)), Json::Array(items)) => {
            kinds.len() == items.len() && kinds.iter().zip(items).all(|(kind, item)| fits(kind, item))
        }
        (("object", Json::Object(kinds)), Json::Object(map)) => {
            kinds.len() == map.len()
                && kinds
                    .iter()
                    .all(|(name, kind)| map.get(name).is_some_and(|item| fits(kind, item)))
        }
        (("dynamic", _), _) => true,
        _ => false,
    }
}

/// Whether a value of which some parts are unknown (and left out, or null) can be of a type.
fn may_be(kind: &Json, value: &Json, unknown: &Json) -> bool {
    if unknown == &Json::Bool(true) {
        return true;
    }
    let within = |at: usize| unknown.get(at).unwrap_or(&Json::Null);
    match (shape(kind), value) {
        (("list" | "set", inner), Json::Array(items)) => items
            .iter()
            .enumerate()
            .all(|(at, item)| may_be(inner, item, within(at))),
        (("tuple", Json::Array(kinds)), Json::Array(items)) => {
            let mut pairs = kinds.iter().zip(items).enumerate();
            kinds.len() == items.len() && pairs.all(|(at, (kind, item))| may_be(kind, item, within(at)))
        }
        (("map", inner), Json::Object(map)) => map.iter().all(|(key, item)| may_be(inner, item, get(unknown, key))),
        (("object", Json::Object(kinds)), Json::Object(map)) => {
            map.keys().all(|key| kinds.contains_key(key))
                && kinds.iter().all(|(key, kind)| match map.get(key) {
                    Some(item) => may_be(kind, item, get(unknown, key)),
                    None => get(unknown, key) == &Json::Bool(true),
                })
        }
        _ if !is_unknown_within(unknown) => fits(kind, value),
        _ => shape(kind).0 == "dynamic",
    }
}

fn is_unknown_within(unknown: &Json) -> bool {
    match unknown {
        Json::Bool(is) => *is,
        Json::Array(items) => items.iter().any(is_unknown_within),
        Json::Object(map) => map.values().any(is_unknown_within),
        Json::Null | Json::Number(_) | Json::String(_) => false,
    }
}

/// How many pieces a partly unknown value falls into; `None`: more than anyone counts.
fn pieces(unknown: &Json, value: &Json) -> Option<usize> {
    if !is_unknown_within(unknown) || unknown == &Json::Bool(true) {
        return Some(1);
    }
    let mut count = 1_usize;
    match unknown {
        Json::Array(items) => {
            let values = value.as_array().map_or(0, Vec::len);
            count = count.checked_add(values.max(items.len()))?;
            for (at, item) in items.iter().enumerate() {
                count = count.checked_add(pieces(item, value.get(at).unwrap_or(&Json::Null))?)?;
            }
        }
        Json::Object(map) => {
            count = count.checked_add(
                value
                    .as_object()
                    .map_or(0, serde_json::Map::len)
                    .max(map.len())
                    .checked_mul(2)?,
            )?;
            for (key, item) in map {
                count = count.checked_add(pieces(item, get(value, key))?)?;
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
    Some(count)
}
