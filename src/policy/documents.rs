//! Owns the data documents: `data.json` and `data.yaml` of the policy directories, and who sees which.

use regorus::Value;

use crate::policy::bundle::{File, Kind, Origin, Set, Text};

/// `data` as each origin sees it. `data.lockkeeper.config` is always an object, so that asking it is never undefined.
pub(super) struct Documents {
    /// `data.lockkeeper.config` alone: the repository's, overlaid by the server's.
    pub library: Value,
    /// The server's own.
    pub server: Value,
    /// The repository's own, its `data.lockkeeper.config` overlaid by the server's.
    pub repository: Value,
}

/// Reads every data file of the sets; what is wrong is named by policy and sentence.
pub(super) fn read(sets: &[Set]) -> (Documents, Vec<(String, String)>) {
    let mut problems = Vec::new();
    let mut of = |origin: Origin| {
        let mut whole = Value::new_object();
        for file in sets
            .iter()
            .filter(|set| set.origin == origin)
            .flat_map(|set| &set.files)
        {
            let Kind::Data(at) = &file.kind else { continue };
            match document(file, at) {
                Ok(document) => whole = overlay(whole, document),
                Err(problem) => problems.push((file.policy.clone(), format!("{}: {problem}", file.label))),
            }
        }
        whole
    };
    let server = of(Origin::Server);
    let repository = of(Origin::Repository);
    let config = overlay(config_of(&repository), config_of(&server));
    let documents = Documents {
        library: with_config(Value::new_object(), config.clone()),
        repository: with_config(repository, config),
        server: with_config(server.clone(), config_of(&server)),
    };
    (documents, problems)
}

/// The file's content, put where its folder says.
fn document(file: &File, at: &[String]) -> Result<Value, String> {
    let text = match &file.text {
        Text::Utf8(text) => text,
        Text::Unreadable(why) => return Err(format!("could not be read: {why}")),
    };
    let parsed = match file.label.ends_with(".json") {
        true => Value::from_json_str(text),
        false => Value::from_yaml_str(text),
    };
    let mut value = parsed.map_err(|error| crate::policy::said::clean(&format!("could not be read: {error}")))?;
    for part in at.iter().rev() {
        let mut outer = Value::new_object();
        outer
            .as_object_mut()
            .map_err(|error| error.to_string())?
            .insert(Value::from(part.as_str()), value);
        value = outer;
    }
    match (
        value.as_object(),
        inner(&value, "lockkeeper").map(|ours| (ours.as_object().is_ok(), inner(&ours, "config"))),
    ) {
        (Err(_), _) => Err("must hold an object".to_owned()),
        (_, Some((false, _))) => Err("`lockkeeper` must be an object".to_owned()),
        (_, Some((_, Some(config)))) if config.as_object().is_err() => {
            Err("`lockkeeper.config` must be an object".to_owned())
        }
        _ => Ok(value),
    }
}

fn inner(value: &Value, key: &str) -> Option<Value> {
    value.as_object().ok()?.get(&Value::from(key)).cloned()
}

fn config_of(data: &Value) -> Value {
    let config = inner(data, "lockkeeper").and_then(|ours| inner(&ours, "config"));
    config.unwrap_or_else(Value::new_object)
}

fn with_config(data: Value, config: Value) -> Value {
    let wrap = |key: &str, value: Value| {
        let mut outer = Value::new_object();
        if let Ok(object) = outer.as_object_mut() {
            object.insert(Value::from(key), value);
        }
        outer
    };
    overlay(data, wrap("lockkeeper", wrap("config", config)))
}

/// Objects are merged key by key, anything else of `top` takes the place of what `base` has.
fn overlay(base: Value, top: Value) -> Value {
    let mut merged = base;
    let (Ok(under), Ok(over)) = (merged.as_object_mut(), top.as_object()) else {
        return top;
    };
    for (key, value) in over.iter_sorted() {
        let value = match under.get(key) {
            Some(old) if old.as_object().is_ok() && value.as_object().is_ok() => overlay(old.clone(), value.clone()),
            _ => value.clone(),
        };
        under.insert(key.clone(), value);
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn set(origin: Origin, files: &[(&str, &[&str], &str)]) -> Set {
        let file = |(label, at, text): &(&str, &[&str], &str)| File {
            label: (*label).to_owned(),
            policy: (*label).to_owned(),
            kind: Kind::Data(at.iter().map(|part| (*part).to_owned()).collect()),
            text: Text::Utf8(Arc::from(*text)),
        };
        Set {
            origin,
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn deep_nesting_is_a_problem_and_not_a_crash() {
        let (open, close) = ("[".repeat(20_000), "]".repeat(20_000));
        for (label, text) in [
            ("data.json", format!("{{\"a\": {open}1{close}}}")),
            ("data.yaml", format!("a: {open}1{close}")),
        ] {
            let (_, problems) = read(&[set(Origin::Repository, &[(label, &[], &text)])]);
            assert_eq!(problems.len(), 1, "{label}");
        }
    }

    #[test]
    fn the_servers_configuration_stands_over_the_repositorys() {
        let repository = set(
            Origin::Repository,
            &[
                ("data.yaml", &[], "lockkeeper: {config: {a: {x: 1, y: 1}}}\nmine: true"),
                ("sub/data.json", &["sub"], "{\"k\": [1]}"),
            ],
        );
        let server = set(
            Origin::Server,
            &[("data.json", &["lockkeeper", "config"], "{\"a\": {\"x\": 2}}")],
        );
        let (documents, problems) = read(&[repository, server]);
        assert_eq!(problems, []);
        let text = |value: &Value| {
            value
                .to_json_str()
                .expect("JSON")
                .split_whitespace()
                .collect::<String>()
        };
        assert_eq!(
            text(&documents.library),
            r#"{"lockkeeper":{"config":{"a":{"x":2,"y":1}}}}"#
        );
        assert_eq!(text(&documents.server), r#"{"lockkeeper":{"config":{"a":{"x":2}}}}"#);
        assert_eq!(
            text(&documents.repository),
            r#"{"lockkeeper":{"config":{"a":{"x":2,"y":1}}},"mine":true,"sub":{"k":[1]}}"#
        );
    }

    #[test]
    fn a_broken_document_is_named() {
        let cases = ["[1]", "{", "{\"lockkeeper\": 1}", "{\"lockkeeper\": {\"config\": []}}"];
        for text in cases {
            let (documents, problems) = read(&[set(Origin::Repository, &[("policies/data.json", &[], text)])]);
            assert_eq!(problems.len(), 1, "{text}");
            assert!(problems[0].1.starts_with("policies/data.json: "), "{problems:?}");
            assert!(inner(&documents.library, "lockkeeper").is_some());
        }
    }
}
