//! Owns the reading of one `.tf.json` file into facts.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::source::facts::{Backend, Broken, Call, Facts, RemoteState};
use crate::source::hcl;
use crate::source::value::Value;

/// Facts of one file's text. JSON keeps no lines, so only an error has a place.
pub fn facts(text: &str) -> Facts {
    match parsed(text) {
        Ok(root) => {
            let mut reader = Reader {
                facts: Facts::default(),
            };
            for (kind, body) in objects(&root) {
                reader.block(kind, body);
            }
            reader.facts
        }
        Err(broken) => Facts::guessed("", broken),
    }
}

/// The entries of a `.tfvars.json` file, whose strings are no templates.
pub fn attributes(text: &str) -> Result<BTreeMap<String, Value>, Broken> {
    let root = parsed(text)?;
    Ok(objects(&root)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), plain(value)))
        .collect())
}

fn parsed(text: &str) -> Result<Json, Broken> {
    let broken = |line: usize, column: usize, why: String| Broken {
        line: u32::try_from(line).ok().filter(|line| *line > 0),
        column: u32::try_from(column).ok(),
        why,
    };
    match serde_json::from_str(text) {
        Ok(root @ Json::Object(_)) => Ok(root),
        Ok(_) => Err(broken(1, 1, "expected an object".to_owned())),
        Err(error) => {
            let text = error.to_string();
            let why = text.split(" at line ").next().unwrap_or(&text).to_owned();
            Err(broken(error.line(), error.column(), why))
        }
    }
}

/// The entries of an object, or of every object of a list: JSON's two ways to repeat a block.
fn objects(value: &Json) -> Vec<(&str, &Json)> {
    match value {
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .filter(|(key, _)| *key != "//")
            .collect(),
        Json::Array(items) => items.iter().flat_map(objects).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Vec::new(),
    }
}

fn plain(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Number(value.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(plain).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| (Value::Text(key.clone()), plain(value)))
                .collect(),
        ),
    }
}

struct Reader {
    facts: Facts,
}

impl Reader {
    fn block(&mut self, kind: &str, body: &Json) {
        match kind {
            "terraform" => objects(body)
                .into_iter()
                .for_each(|(key, value)| self.setting(key, value)),
            "provider" => {
                let blocks = objects(body).len();
                self.facts.providers.extend(std::iter::repeat_n(None, blocks));
                self.value(body);
            }
            "variable" => {
                for (name, body) in objects(body) {
                    let default = objects(body)
                        .into_iter()
                        .find(|(key, _)| *key == "default")
                        .map(|(_, value)| plain(value));
                    self.facts.variables.insert(name.to_owned(), default);
                }
            }
            "output" => {
                self.facts
                    .outputs
                    .extend(objects(body).into_iter().map(|(name, _)| name.to_owned()));
                self.value(body);
            }
            "locals" => {
                for (name, value) in objects(body) {
                    let value = self.value(value);
                    self.facts.locals.insert(name.to_owned(), value);
                }
            }
            "module" => {
                self.facts.has_content = true;
                for (name, body) in objects(body) {
                    let mut arguments = self.attributes(body);
                    self.facts.calls.push(Call {
                        name: name.to_owned(),
                        source: arguments.remove("source"),
                        arguments,
                        line: None,
                    });
                }
            }
            "data" => {
                self.facts.has_content = true;
                for (data_kind, named) in objects(body) {
                    for (name, body) in objects(named) {
                        self.data(data_kind, name, body);
                    }
                }
            }
            "resource" | "ephemeral" => {
                self.facts.has_content = true;
                self.value(body);
            }
            _ => {
                self.value(body);
            }
        }
    }

    fn setting(&mut self, key: &str, value: &Json) {
        match key {
            "required_version" => {
                if let Json::String(text) = value {
                    self.facts.required_version.push((text.clone(), None));
                }
            }
            "backend" => {
                for (kind, config) in objects(value) {
                    let config = self.attributes(config);
                    self.facts.backends.push(Backend {
                        kind: kind.to_owned(),
                        config,
                        line: None,
                    });
                }
            }
            "cloud" => {
                let config = self.attributes(value);
                self.facts.backends.push(Backend {
                    kind: "cloud".to_owned(),
                    config,
                    line: None,
                });
            }
            _ => {}
        }
    }

    fn data(&mut self, kind: &str, name: &str, body: &Json) {
        let mut attributes = self.attributes(body);
        if kind == "terraform_remote_state" {
            self.facts.remote_states.push(RemoteState {
                name: name.to_owned(),
                backend: attributes.remove("backend").unwrap_or(Value::Null),
                config: attributes.remove("config").unwrap_or(Value::Map(Vec::new())),
                workspace: attributes.remove("workspace"),
                line: None,
            });
        }
    }

    fn attributes(&mut self, body: &Json) -> BTreeMap<String, Value> {
        objects(body)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), self.value(value)))
            .collect()
    }

    /// A value whose strings are templates; what they refer to is noted.
    fn value(&mut self, value: &Json) -> Value {
        match value {
            Json::String(text) => {
                let (value, found) = hcl::template(text);
                self.facts.files.extend(found.files);
                self.facts.state_reads.extend(found.state_reads);
                value
            }
            Json::Array(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            Json::Object(map) => {
                let entry = |(key, value): (&String, &Json)| (Value::Text(key.clone()), self.value(value));
                Value::Map(map.iter().map(entry).collect())
            }
            other => plain(other),
        }
    }
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
        assert_eq!(json.providers.len(), 1);
        assert_eq!(json.variables, hcl.variables);
        assert_eq!(json.locals, hcl.locals);
        assert_eq!(json.backends[0].config, hcl.backends[0].config);
        assert_eq!(json.calls[0].source, hcl.calls[0].source);
        assert_eq!(json.remote_states[0].config, hcl.remote_states[0].config);
        assert_eq!(json.state_reads, hcl.state_reads);
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
    fn broken_json_has_a_place() {
        for (text, line) in [("{\n \"a\": \n}", 3), ("[]", 1), ("", 1)] {
            let broken = facts(text).broken.expect("it is broken");
            assert_eq!(broken.line.unwrap_or(1), line, "{text:?}");
        }
    }
}
