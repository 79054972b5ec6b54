//! Owns checking GraphQL queries against GitHub's schema: every field, argument and fragment exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use lockkeeper::sim::graphql::query::{self, Field};
use lockkeeper::sim::server::Exchange;

use super::description;

/// Fields of one type: name → (type, arguments).
#[derive(Default, Debug)]
struct Type {
    fields: BTreeMap<String, (String, BTreeSet<String>)>,
    members: Vec<String>,
}

fn schema() -> Option<&'static BTreeMap<String, Type>> {
    static SCHEMA: OnceLock<Option<BTreeMap<String, Type>>> = OnceLock::new();
    SCHEMA.get_or_init(|| description::graphql().map(read)).as_ref()
}

/// Reads object types, interfaces and unions; descriptions and directives are skipped.
fn read(text: &str) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    let mut current: Option<(String, Type)> = None;
    let (mut in_text, mut in_arguments) = (false, false);
    let mut last_field = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("\"\"\"") || in_text {
            let quotes = line.matches("\"\"\"").count();
            in_text = if quotes % 2 == 1 { !in_text } else { in_text };
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&mut current, words.as_slice()) {
            (None, ["type" | "interface", name, ..]) if line.ends_with('{') => {
                current = Some(((*name).to_owned(), Type::default()))
            }
            (None, ["union", name, "=", members @ ..]) => {
                let members = members.iter().filter(|m| **m != "|").map(|m| (*m).to_owned()).collect();
                types.insert(
                    (*name).to_owned(),
                    Type {
                        members,
                        ..Type::default()
                    },
                );
            }
            (Some((_, it)), _) if in_arguments => {
                if let Some(kind) = line.strip_prefix("): ") {
                    in_arguments = false;
                    if let Some(field) = it.fields.get_mut(&last_field) {
                        field.0 = bare(kind);
                    }
                } else if let Some((argument, _)) = line.split_once(':')
                    && let Some(field) = it.fields.get_mut(&last_field)
                {
                    field.1.insert(argument.to_owned());
                }
            }
            (Some(_), ["}"]) => types.extend(current.take()),
            (Some((_, it)), _) => {
                if let Some(name) = line.strip_suffix('(') {
                    last_field = name.to_owned();
                    in_arguments = true;
                    it.fields.insert(name.to_owned(), Default::default());
                } else if let Some((name, kind)) = line.split_once(": ") {
                    it.fields.insert(name.to_owned(), (bare(kind), BTreeSet::new()));
                }
            }
            _ => {}
        }
    }
    types
}

/// `[Thing!]! @deprecated(…)` → `Thing`
fn bare(kind: &str) -> String {
    kind.trim_start_matches('[')
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

pub fn check(exchange: &Exchange, wrong: &mut BTreeSet<String>) {
    let Some(types) = schema() else { return };
    let text = exchange.request["query"].as_str().unwrap_or_default();
    match query::parse(text, &exchange.request["variables"]) {
        Err(message) => {
            wrong.insert(format!("GraphQL: {message}"));
        }
        Ok(fields) => fields.iter().for_each(|field| field_of(types, "Query", field, wrong)),
    }
    for error in exchange.response["errors"].as_array().into_iter().flatten() {
        if error["extensions"]["code"] == "undefinedField" {
            wrong.insert(format!("GraphQL: the simulator does not know: {}", error["message"]));
        }
    }
}

fn field_of(types: &BTreeMap<String, Type>, on: &str, field: &Field, wrong: &mut BTreeSet<String>) {
    if field.name == "__typename" {
        return;
    }
    let on = field.only_on.as_deref().unwrap_or(on);
    let Some((kind, arguments)) = types.get(on).and_then(|it| it.fields.get(&field.name)) else {
        wrong.insert(format!("GraphQL: {on} has no field {:?}", field.name));
        return;
    };
    for argument in field.arguments.keys().filter(|argument| !arguments.contains(*argument)) {
        wrong.insert(format!("GraphQL: {on}.{} has no argument {argument:?}", field.name));
    }
    let composite = types.contains_key(kind);
    if composite == field.selection.is_empty() {
        wrong.insert(format!(
            "GraphQL: {on}.{} of type {kind} is selected wrongly",
            field.name
        ));
    }
    for inner in &field.selection {
        field_of(types, kind, inner, wrong);
    }
}

#[test]
fn a_schema_is_read() {
    let text = "\"\"\"\nA pull\n\"\"\"\ntype Pull implements Node & X {\n  \"\"\"\n  text: no\n  \"\"\"\n  id: ID!\n\n  reviews(\n    \"\"\"\n    n\n    \"\"\"\n    first: Int\n  ): Reviews\n  list: [Review!]! @deprecated(reason: \"x\")\n}\n\nunion Both = Pull | Review\n";
    let types = read(text);
    assert_eq!(
        types["Pull"].fields.keys().collect::<Vec<_>>(),
        ["id", "list", "reviews"]
    );
    assert_eq!(
        types["Pull"].fields["reviews"],
        ("Reviews".to_owned(), BTreeSet::from(["first".to_owned()]))
    );
    assert_eq!(types["Pull"].fields["list"].0, "Review");
    assert_eq!(types["Both"].members, ["Pull", "Review"]);
}
