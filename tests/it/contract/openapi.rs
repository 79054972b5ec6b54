//! Owns checking REST requests, answers and webhooks against GitHub's OpenAPI description.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::{Draft, Registry, Validator};
use lockkeeper::sim::server::Exchange;
use lockkeeper::sim::webhooks::Delivery;
use serde_json::{Value, json};

use super::description;

/// Where the description, not GitHub, is wrong: the start of a complaint, and why it is dropped.
const KNOWN: [(&str, &str); 3] = [
    (
        "GET /app/installations → 200 /0/account",
        "there the account is a user and an enterprise at once",
    ),
    (
        "GET /repositories/",
        "GitHub answers a repository by its id, and does not say so",
    ),
    (
        "webhook check-suite-rerequested /check_suite/app/events",
        "the list of events is older than merge_group",
    ),
];

/// Takes the complaints of the description's own mistakes out.
pub fn forgive(wrong: &mut BTreeSet<String>) {
    wrong.retain(|complaint| !KNOWN.iter().any(|(start, _)| complaint.starts_with(start)));
}

/// Parameters that may hold slashes.
const WIDE: [&str; 6] = ["ref", "path", "branch", "basehead", "sha", "commit_sha"];

/// The template a path fits best: the one with the most fixed segments.
fn template<'d>(paths: &'d Value, path: &str) -> Option<&'d str> {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let all = paths.as_object()?.keys();
    let fitting = all.filter(|template| {
        let parts: Vec<&str> = template.split('/').filter(|s| !s.is_empty()).collect();
        fits(&parts, &segments)
    });
    fitting
        .max_by_key(|template| template.split('/').filter(|part| !part.starts_with('{')).count())
        .map(String::as_str)
}

fn fits(parts: &[&str], segments: &[&str]) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return segments.is_empty();
    };
    match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        None => segments.first() == Some(part) && fits(rest, &segments[1..]),
        Some(name) if WIDE.contains(&name) => (1..=segments.len()).any(|n| fits(rest, &segments[n..])),
        Some(_) => !segments.is_empty() && fits(rest, &segments[1..]),
    }
}

fn pointer(parts: &[&str]) -> String {
    parts
        .iter()
        .map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// Validators are made once each: the same endpoint is called many times.
fn validator(at: &str) -> Arc<Validator> {
    static REGISTRY: OnceLock<Registry<'static>> = OnceLock::new();
    static MADE: OnceLock<Mutex<BTreeMap<String, Arc<Validator>>>> = OnceLock::new();
    let registry = REGISTRY.get_or_init(|| {
        let whole = description::rest().expect("asked only where it is there").clone();
        let registry = Registry::new()
            .draft(Draft::Draft4)
            .add("urn:github", whole)
            .expect("a name");
        registry.prepare().expect("the description refers only to itself")
    });
    let mut made = MADE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    made.entry(at.to_owned())
        .or_insert_with(|| {
            let fragment: String = at
                .bytes()
                .map(|byte| match byte {
                    b'{' | b'}' | b'%' | b' ' | b'"' => format!("%{byte:02X}"),
                    _ => char::from(byte).to_string(),
                })
                .collect();
            let schema = json!({"$ref": format!("urn:github#{fragment}")});
            let built = jsonschema::options()
                .with_draft(Draft::Draft4)
                .with_registry(registry)
                .build(&schema);
            Arc::new(built.unwrap_or_else(|error| panic!("{at}: {error}")))
        })
        .clone()
}

fn errors(at: &str, value: &Value) -> Vec<String> {
    let shown = |error: jsonschema::ValidationError<'_>| {
        // The message starts with the whole value, which is too much to read.
        let text = error.to_string();
        let end: String = text.chars().skip(text.chars().count().saturating_sub(160)).collect();
        format!("{}: …{end}", error.instance_path())
    };
    validator(at).iter_errors(value).map(shown).collect()
}

/// Follows one `$ref` of the description; gives where it stands and what it is.
fn resolved<'d>(whole: &'d Value, at: &str) -> (String, &'d Value) {
    let value = whole.pointer(at).unwrap_or(&Value::Null);
    match value["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        Some(other) => resolved(whole, other),
        None => (at.to_owned(), value),
    }
}

pub fn check(exchange: &Exchange, wrong: &mut BTreeSet<String>) {
    let Some(whole) = description::rest() else { return };
    let Exchange {
        method, path, status, ..
    } = exchange;
    let Some(template) = template(&whole["paths"], path) else {
        wrong.insert(format!("{method} {path}: GitHub has no such endpoint"));
        return;
    };
    let name = format!("{method} {template}");
    let operation_at = pointer(&["paths", template, &method.to_lowercase()]);
    let operation = &whole.pointer(&operation_at).unwrap_or(&Value::Null);
    if operation.is_null() {
        wrong.insert(format!("{name}: GitHub knows the path but not the method"));
        return;
    }
    check_query(whole, operation, &operation_at, exchange, &name, wrong);
    check_request(whole, operation, &operation_at, exchange, &name, wrong);
    if *status >= 400 {
        if !exchange.response["message"].is_string() {
            wrong.insert(format!(
                "{name} → {status}: a refusal has a message, this has {}",
                exchange.response
            ));
        }
        return;
    }
    if *status == 304 {
        return;
    }
    let Some(_) = operation["responses"].get(status.to_string()) else {
        wrong.insert(format!("{name} → {status}: GitHub does not answer so"));
        return;
    };
    let (at, answer) = resolved(whole, &format!("{operation_at}/responses/{status}"));
    let media = "/content/application~1json/schema";
    if answer.pointer(media).is_some() {
        for error in errors(&format!("{at}{media}"), &exchange.response) {
            wrong.insert(format!("{name} → {status} {error}"));
        }
    }
}

fn check_query(
    whole: &Value,
    operation: &Value,
    at: &str,
    exchange: &Exchange,
    name: &str,
    wrong: &mut BTreeSet<String>,
) {
    let count = operation["parameters"].as_array().map_or(0, Vec::len);
    let parameters: Vec<(String, &Value)> = (0..count)
        .map(|n| resolved(whole, &format!("{at}/parameters/{n}")))
        .collect();
    for pair in exchange.query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some((_, parameter)) = parameters.iter().find(|(_, p)| p["in"] == "query" && p["name"] == key) else {
            wrong.insert(format!("{name}: the query has {key:?}, which GitHub ignores"));
            continue;
        };
        let allowed = parameter["schema"]["enum"].as_array();
        if allowed.is_some_and(|allowed| !allowed.iter().any(|one| one == value)) {
            wrong.insert(format!(
                "{name}: the query has {key}={value}, which is none of {:?}",
                parameter["schema"]["enum"]
            ));
        }
        if parameter["schema"]["type"] == "integer" && value.parse::<u64>().is_err() {
            wrong.insert(format!("{name}: the query has {key}={value}, which is not a number"));
        }
    }
}

fn check_request(
    whole: &Value,
    operation: &Value,
    at: &str,
    exchange: &Exchange,
    name: &str,
    wrong: &mut BTreeSet<String>,
) {
    let media = format!("{at}/requestBody/content/application~1json/schema");
    let schema = whole.pointer(&media);
    let sent = &*exchange.request;
    // A refused request may be wrong on purpose.
    if exchange.status >= 400 && exchange.status != 404 {
        return;
    }
    match schema {
        None if !sent.is_null() && sent != &json!({}) => {
            wrong.insert(format!("{name}: a body is sent, GitHub takes none"));
        }
        None => {}
        Some(_) if sent.is_null() && operation["requestBody"]["required"] != true => {}
        Some(_) => {
            for error in errors(&media, sent) {
                wrong.insert(format!("{name} request {error}"));
            }
            let (_, schema) = resolved(whole, &media);
            let known = schema["properties"].as_object();
            for field in sent.as_object().into_iter().flatten().map(|(field, _)| field) {
                if known.is_some_and(|known| !known.contains_key(field)) {
                    wrong.insert(format!("{name} request has {field:?}, which GitHub ignores"));
                }
            }
        }
    }
}

pub fn check_webhook(delivery: &Delivery, wrong: &mut BTreeSet<String>) {
    let Some(whole) = description::rest() else { return };
    let mut name = delivery.event.replace('_', "-");
    if let Some(action) = &delivery.action {
        name += &format!("-{}", action.replace('_', "-"));
    }
    let at = format!("/x-webhooks/{name}/post/requestBody/content/application~1json/schema");
    if whole.pointer(&at).is_none() {
        wrong.insert(format!("webhook {name}: GitHub sends no such thing"));
        return;
    }
    for error in errors(&at, &delivery.payload) {
        wrong.insert(format!("webhook {name} {error}"));
    }
}

#[test]
fn a_path_finds_its_template() {
    let paths = json!({
        "/repos/{owner}/{repo}/commits/{ref}": {}, "/repos/{owner}/{repo}/commits/{ref}/check-runs": {},
        "/repos/{owner}/{repo}/issues/{n}/comments": {}, "/repos/{owner}/{repo}/issues/comments/{id}": {},
    });
    for (path, expected) in [
        (
            "/repos/a/b/commits/feature/x/check-runs",
            Some("/repos/{owner}/{repo}/commits/{ref}/check-runs"),
        ),
        (
            "/repos/a/b/commits/feature/x",
            Some("/repos/{owner}/{repo}/commits/{ref}"),
        ),
        (
            "/repos/a/b/issues/comments/7",
            Some("/repos/{owner}/{repo}/issues/comments/{id}"),
        ),
        (
            "/repos/a/b/issues/7/comments",
            Some("/repos/{owner}/{repo}/issues/{n}/comments"),
        ),
        ("/repos/a/b/unknown", None),
    ] {
        assert_eq!(template(&paths, path), expected, "{path}");
    }
}
