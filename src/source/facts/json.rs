//! Owns the reading of one `.tf.json` file into facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::source::facts::hcl;
use crate::source::facts::json_text::{Entry, Json, Node, read};
use crate::source::facts::references::Found;
use crate::source::facts::{
    Backend, Broken, Call, Facts, FileRead, How, NAMING, Named, PATHS, RemoteState, Repeat, StateKind,
};
use crate::source::value::Value;

/// Facts of one file's text.
pub fn facts(text: &str) -> Facts {
    match read(text) {
        Ok(root) => {
            let mut reader = Reader {
                facts: Facts::default(),
            };
            for entry in entries(&root) {
                reader.block(&entry.key, &entry.value);
            }
            reader.facts
        }
        Err(broken) => Facts::guessed(text, broken),
    }
}

/// The entries of a `.tfvars.json` file, whose strings are no templates.
pub fn attributes(text: &str) -> Result<BTreeMap<String, Value>, Broken> {
    let root = read(text)?;
    let entries = entries(&root).into_iter();
    Ok(entries.map(|entry| (entry.key.clone(), plain(&entry.value))).collect())
}

/// The entries of an object, or of every object of a list: JSON's two ways to repeat a block.
fn entries(node: &Node) -> Vec<&Entry> {
    match &node.value {
        Json::Map(entries) => entries.iter().filter(|entry| entry.key != "//").collect(),
        Json::List(items) => items.iter().flat_map(entries).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => Vec::new(),
    }
}

fn plain(node: &Node) -> Value {
    match &node.value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Number(value.clone()),
        Json::Text(text) => Value::Text(text.clone()),
        Json::List(items) => Value::List(items.iter().map(plain).collect()),
        Json::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|entry| (Value::Text(entry.key.clone()), plain(&entry.value)))
                .collect(),
        ),
    }
}

struct Reader {
    facts: Facts,
}

impl Reader {
    fn block(&mut self, kind: &str, body: &Node) {
        match kind {
            "terraform" => entries(body).into_iter().for_each(|entry| self.setting(entry)),
            "provider" => {
                let blocks = entries(body);
                self.facts.providers.extend(blocks.iter().map(|entry| Some(entry.line)));
                self.value(body);
            }
            "variable" => {
                for variable in entries(body) {
                    let default = entries(&variable.value)
                        .into_iter()
                        .find(|entry| entry.key == "default");
                    let default = default.map(|entry| plain(&entry.value));
                    self.facts.variables.insert(variable.key.clone(), default);
                }
            }
            "output" => {
                let names = entries(body).into_iter().map(|entry| entry.key.clone());
                self.facts.outputs.extend(names);
                self.value(body);
            }
            "locals" => {
                for entry in entries(body) {
                    let value = Arc::new(self.value(&entry.value));
                    self.facts.locals.insert(entry.key.clone(), value);
                }
            }
            "module" => {
                self.facts.has_content = true;
                entries(body).into_iter().for_each(|entry| self.module(entry));
            }
            "data" | "resource" | "ephemeral" => {
                self.facts.has_content = true;
                for of_kind in entries(body) {
                    for entry in entries(&of_kind.value) {
                        self.object(kind, &of_kind.key, entry);
                    }
                }
            }
            _ => {
                self.value(body);
            }
        }
    }

    fn setting(&mut self, entry: &Entry) {
        match (entry.key.as_str(), &entry.value.value) {
            ("required_version", Json::Text(text)) => {
                self.facts.required_version.push((text.clone(), Some(entry.line)));
            }
            ("backend", _) => {
                for backend in entries(&entry.value) {
                    let config = self.attributes(&backend.value);
                    self.facts.backends.push(Backend {
                        kind: backend.key.clone(),
                        config,
                        line: Some(backend.line),
                    });
                }
            }
            ("cloud", _) => {
                let config = self.attributes(&entry.value);
                self.facts.backends.push(Backend {
                    kind: "cloud".to_owned(),
                    config,
                    line: Some(entry.line),
                });
            }
            _ => {}
        }
    }

    fn module(&mut self, entry: &Entry) {
        let source = entries(&entry.value).into_iter().find(|inner| inner.key == "source");
        let line = source.map_or(entry.line, |source| source.line);
        let mut arguments = self.attributes(&entry.value);
        self.facts.calls.push(Call {
            name: entry.key.clone(),
            source: arguments.remove("source"),
            repeat: Repeat::take(&mut arguments),
            arguments,
            line: Some(line),
        });
    }

    /// A resource or a data source.
    fn object(&mut self, block: &str, kind: &str, entry: &Entry) {
        let attributes = self.attributes(&entry.value);
        if let Some(state) = StateKind::of(kind).filter(|_| block == "data") {
            let state = RemoteState::of(state, &entry.key, attributes, Some(entry.line));
            return self.facts.remote_states.push(state);
        }
        for inner in entries(&entry.value) {
            if PATHS.contains(&inner.key.as_str())
                && let Some(path) = attributes.get(&inner.key)
            {
                self.facts.files.push(FileRead {
                    how: How::Attribute,
                    path: path.clone(),
                    pattern: None,
                    line: Some(inner.line),
                });
            }
        }
        let values: Vec<(&'static str, Value)> = NAMING
            .iter()
            .filter_map(|naming| Some((*naming, named(&attributes, naming)?)))
            .collect();
        if !values.is_empty() && block != "ephemeral" {
            self.facts.named.push(Named {
                is_data: block == "data",
                kind: kind.to_owned(),
                label: entry.key.clone(),
                values,
                line: Some(entry.line),
            });
        }
    }

    fn attributes(&mut self, body: &Node) -> BTreeMap<String, Value> {
        entries(body)
            .into_iter()
            .map(|entry| (entry.key.clone(), self.value(&entry.value)))
            .collect()
    }

    /// A value whose strings are templates; what they refer to is noted.
    fn value(&mut self, node: &Node) -> Value {
        match &node.value {
            Json::Text(text) => {
                let (value, found) = hcl::template(text);
                let Found {
                    files,
                    references,
                    asks_workspace,
                } = found;
                let on_this_line = |file: FileRead| FileRead {
                    line: Some(node.line),
                    ..file
                };
                self.facts.files.extend(files.into_iter().map(on_this_line));
                self.facts.references.extend(references);
                self.facts.asks_workspace |= asks_workspace;
                value
            }
            Json::List(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            Json::Map(entries) => {
                let entry = |entry: &Entry| (Value::Text(entry.key.clone()), self.value(&entry.value));
                Value::Map(entries.iter().map(entry).collect())
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => plain(node),
        }
    }
}

/// A naming attribute's value, also of a dotted one.
fn named(attributes: &BTreeMap<String, Value>, naming: &str) -> Option<Value> {
    let Some((outer, inner)) = naming.split_once('.') else {
        return attributes.get(naming).cloned();
    };
    let Value::Map(entries) = attributes.get(outer)? else {
        return None;
    };
    let is = |key: &Value| matches!(key, Value::Text(text) if text == inner);
    entries.iter().find(|(key, _)| is(key)).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_gives_the_same_facts_as_hcl() {
        let json = facts(
            r#"{
  "terraform": [{ "backend": { "s3": { "bucket": "acme", "key": "a" } }, "required_version": ">= 1" }],
  "provider": { "aws": [{}, {"alias": "x"}] },
  "variable": { "env": { "default": "prod" }, "none": {} },
  "locals": { "p": "${var.env}-x" },
  "module": { "vpc": { "source": "./vpc" } },
  "data": { "terraform_remote_state": { "n": { "backend": "s3", "config": { "key": "${local.p}" } } } },
  "output": { "x": { "value": "${data.terraform_remote_state.n.outputs.id} ${file(\"${path.module}/x\")}" } }
}"#,
        );
        let hcl = hcl::facts(
            r#"
terraform {
  required_version = ">= 1"
  backend "s3" {
    bucket = "acme"
    key = "a"
  }
}
variable "env" { default = "prod" }
variable "none" {}
locals { p = "${var.env}-x" }
module "vpc" { source = "./vpc" }
data "terraform_remote_state" "n" {
  backend = "s3"
  config = { key = local.p }
}
output "x" { value = "${data.terraform_remote_state.n.outputs.id} ${file("${path.module}/x")}" }
"#,
        );
        assert_eq!(json.providers, [Some(3)]);
        assert_eq!(json.backends[0].line, Some(2));
        assert_eq!(json.required_version, [(">= 1".to_owned(), Some(2))]);
        assert_eq!(json.calls[0].line, Some(6));
        assert_eq!(json.remote_states[0].line, Some(7));
        assert!(json.files.iter().all(|file| file.line == Some(8)), "{:?}", json.files);
        assert_eq!(json.variables, hcl.variables);
        assert_eq!(json.locals, hcl.locals);
        assert_eq!(json.backends[0].config, hcl.backends[0].config);
        assert_eq!(json.calls[0].source, hcl.calls[0].source);
        assert_eq!(json.remote_states[0].config, hcl.remote_states[0].config);
        assert_eq!(json.references, hcl.references);
        let paths = |facts: &Facts| {
            facts
                .files
                .iter()
                .map(|file| (file.how, file.path.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(&json), paths(&hcl));
    }

    #[test]
    fn deep_nesting_is_an_error_in_every_file_that_is_json() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{{\n\"locals\": {}1{}}}", open.repeat(200_000), close.repeat(200_000));
            let why = "at most 64 nested levels";
            let broken = facts(&text).broken.expect("it is broken");
            assert_eq!(broken.line, Some(2));
            assert!(broken.why.ends_with(why), "{}", broken.why);
            assert!(attributes(&text).expect_err("it is broken").why.ends_with(why));
        }
    }

    #[test]
    fn broken_json_has_a_place() {
        for (text, line) in [("{\n \"a\": \n}", 3), ("[]", 1), ("", 1)] {
            let broken = facts(text).broken.expect("it is broken");
            assert_eq!(broken.line.unwrap_or(1), line, "{text:?}");
        }
    }
}
