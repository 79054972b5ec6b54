//! Owns the reading of one HCL file into facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body, Structure};

use crate::source::facts::references::{self, Found};
use crate::source::facts::{Backend, Broken, Call, Facts, NAMING, Named, RemoteState, Repeat, StateKind};
use crate::source::value::Value;
use crate::source::value::expression::Text;

/// Facts of one file's text. A file that does not parse has facts that say so.
pub fn facts(text: &str) -> Facts {
    match parsed(text) {
        Ok(body) => {
            let mut reader = Reader {
                text: Text::new(text),
                facts: Facts::default(),
            };
            reader.body(&body);
            // References stand anywhere: in resources, outputs, nested blocks.
            let Found {
                files,
                references,
                asks_workspace,
            } = references::of_body(&reader.text, &body);
            Facts {
                files,
                references,
                asks_workspace,
                ..reader.facts
            }
        }
        Err(broken) => Facts::guessed(text, broken),
    }
}

/// The attributes of a `.tfvars` or backend file.
pub fn attributes(text: &str) -> Result<BTreeMap<String, Value>, Broken> {
    let body = parsed(text)?;
    let text = Text::new(text);
    Ok(attributes_of(&text, &body))
}

/// A template's text, as JSON files hold it; what does not parse is text.
pub fn template(text: &str) -> (Value, Found) {
    match hcl_edit::parser::parse_template(text) {
        Ok(template) => {
            let text = Text::new(text);
            let value = text.template(&template);
            let mut found = references::of_template(&text, &template, &value);
            found.files.iter_mut().for_each(|file| file.line = None);
            (value, found)
        }
        Err(_) => (Value::Text(text.to_owned()), Found::default()),
    }
}

pub(in crate::source) fn parsed(text: &str) -> Result<Body, Broken> {
    // The parser bounds its own nesting (64 expressions, 128 operators), so it cannot exhaust the stack.
    hcl_edit::parser::parse_body(text).map_err(|error| Broken {
        line: u32::try_from(error.location().line()).ok(),
        column: u32::try_from(error.location().column()).ok(),
        why: error.message().lines().collect::<Vec<_>>().join("; "),
    })
}

fn attributes_of(text: &Text<'_>, body: &Body) -> BTreeMap<String, Value> {
    body.attributes()
        .map(|attr| (attr.key.to_string(), text.value(&attr.value)))
        .collect()
}

struct Reader<'s> {
    text: Text<'s>,
    facts: Facts,
}

impl Reader<'_> {
    fn body(&mut self, body: &Body) {
        for structure in body {
            match structure {
                Structure::Block(block) => self.block(block),
                Structure::Attribute(_) => {}
            }
        }
    }

    fn block(&mut self, block: &Block) {
        let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
        match (block.ident.as_str(), labels.as_slice()) {
            ("terraform", []) => self.settings(&block.body),
            ("provider", [_]) => self.facts.providers.push(self.text.line(block)),
            ("variable", [name]) => {
                let default = block.body.get_attribute("default");
                let default = default.map(|attr| self.text.value(&attr.value));
                self.facts.variables.insert((*name).to_owned(), default);
            }
            ("output", [name]) => {
                self.facts.outputs.insert((*name).to_owned());
            }
            ("locals", []) => {
                for attr in block.body.attributes() {
                    let value = Arc::new(self.text.value(&attr.value));
                    self.facts.locals.insert(attr.key.to_string(), value);
                }
            }
            ("module", [name]) => {
                self.facts.has_content = true;
                let mut arguments = attributes_of(&self.text, &block.body);
                let source_line = block.body.get_attribute("source").and_then(|attr| self.text.line(attr));
                self.facts.calls.push(Call {
                    name: (*name).to_owned(),
                    source: arguments.remove("source"),
                    repeat: Repeat::take(&mut arguments),
                    arguments,
                    line: source_line.or_else(|| self.text.line(block)),
                });
            }
            ("data", [kind, name]) => {
                self.facts.has_content = true;
                match StateKind::of(kind) {
                    Some(kind) => {
                        let attributes = attributes_of(&self.text, &block.body);
                        let line = self.text.line(block);
                        self.facts
                            .remote_states
                            .push(RemoteState::of(kind, name, attributes, line));
                    }
                    None => self.named(true, kind, name, block),
                }
            }
            ("resource", [kind, name]) => {
                self.facts.has_content = true;
                self.named(false, kind, name, block);
            }
            ("data" | "resource" | "ephemeral", _) => self.facts.has_content = true,
            // A check may hold a data source of its own.
            ("check", [_]) => block.body.blocks().for_each(|inner| self.block(inner)),
            _ => {}
        }
    }

    fn settings(&mut self, body: &Body) {
        if let Some(attr) = body.get_attribute("required_version")
            && let Value::Text(text) = self.text.value(&attr.value)
        {
            self.facts.required_version.push((text, self.text.line(attr)));
        }
        for block in body.blocks() {
            let kind = match (block.ident.as_str(), block.labels.first()) {
                ("backend", Some(label)) => label.as_str().to_owned(),
                ("cloud", None) => "cloud".to_owned(),
                _ => continue,
            };
            let mut config = attributes_of(&self.text, &block.body);
            for inner in block.body.blocks() {
                let inner_config = attributes_of(&self.text, &inner.body);
                let entries = inner_config
                    .into_iter()
                    .map(|(key, value)| (Value::Text(key), value))
                    .collect();
                config.insert(inner.ident.to_string(), Value::Map(entries));
            }
            self.facts.backends.push(Backend {
                kind,
                config,
                line: self.text.line(block),
            });
        }
    }

    /// Notes the names that a resource gives or a data source asks for.
    fn named(&mut self, is_data: bool, kind: &str, label: &str, block: &Block) {
        let mut values: Vec<(&'static str, Value)> = Vec::new();
        let mut add = |name: &str, expr: &Expression| {
            let naming = NAMING.iter().find(|naming| **naming == name);
            match (naming, self.text.value(expr)) {
                (None, _) | (_, Value::Opaque(_)) => {}
                (Some(naming), value) => values.push((naming, value)),
            }
        };
        for attr in block.body.attributes() {
            match (attr.key.as_str(), &attr.value) {
                ("tags", Expression::Object(tags)) => {
                    let tag = tags.iter().find(|(key, _)| is_name(key));
                    tag.into_iter().for_each(|(_, value)| add("tags.Name", value.expr()));
                }
                (name, expr) => add(name, expr),
            }
        }
        for filter in block
            .body
            .blocks()
            .filter(|inner| is_data && inner.ident.as_str() == "filter")
        {
            let attribute = |name| filter.body.get_attribute(name).map(|attr| &attr.value);
            if let (Some(Expression::String(name)), Some(Expression::Array(names))) =
                (attribute("name"), attribute("values"))
                && name.value() == "tag:Name"
                && let (Some(only), 1) = (names.iter().next(), names.len())
            {
                add("tags.Name", only);
            }
        }
        if !values.is_empty() {
            self.facts.named.push(Named {
                is_data,
                kind: kind.to_owned(),
                label: label.to_owned(),
                values,
                line: self.text.line(block),
            });
        }
    }
}

fn is_name(key: &hcl_edit::expr::ObjectKey) -> bool {
    use hcl_edit::expr::ObjectKey;
    match key {
        ObjectKey::Ident(ident) => ident.as_str() == "Name",
        ObjectKey::Expression(Expression::String(text)) => text.value() == "Name",
        ObjectKey::Expression(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::facts::How;
    use crate::source::parallel::on_a_deep_stack;

    #[test]
    fn a_file_gives_its_blocks_and_references() {
        let facts = facts(
            r#"
terraform {
  required_version = ">= 1.5"
  backend "s3" {
    bucket = "acme"
    key    = "app.tfstate"
  }
}
provider "aws" {}
variable "env" { default = "prod" }
locals { prefix = "${var.env}-x" }
module "vpc" {
  source = "../modules/vpc"
  cidr   = "10.0.0.0/16"
}
data "terraform_remote_state" "network" {
  backend = "s3"
  config = { bucket = "acme", key = "network.tfstate" }
}
resource "terraform_data" "x" {
  input = [
    data.terraform_remote_state.network.outputs.subnets[0],
    data.terraform_remote_state.network.outputs["vpc_id"],
    file("${path.module}/policy.json"),
    templatefile("init.tpl", { a = 1 }),
  ]
}
"#,
        );
        assert_eq!(facts.broken, None);
        assert_eq!(facts.required_version, [(">= 1.5".to_owned(), Some(3))]);
        assert_eq!(facts.backends[0].kind, "s3");
        assert_eq!(facts.backends[0].line, Some(4));
        assert_eq!(facts.providers, [Some(9)]);
        assert_eq!(facts.calls[0].source, Some(Value::Text("../modules/vpc".to_owned())));
        assert_eq!(facts.calls[0].line, Some(13));
        assert_eq!(facts.remote_states[0].line, Some(16));
        let reads = facts.references.iter().map(|reference| reference.steps.get(1).cloned());
        let outputs: Vec<_> = reads.flatten().flatten().collect();
        assert_eq!(outputs, ["subnets", "vpc_id"]);
        let reads: Vec<_> = facts.files.iter().map(|file| (file.how, file.line)).collect();
        assert_eq!(
            reads,
            [
                (How::Function, Some(24)),
                (How::Mention, Some(24)),
                (How::Function, Some(25))
            ]
        );
    }

    #[test]
    fn a_broken_file_has_a_place_and_a_guess() {
        let facts = facts("terraform {\n  backend \"s3\" {\n  }\n}\nresource \"a\" \"b\" {\n  x = = 1\n}\n");
        let broken = facts.broken.expect("it is broken");
        assert_eq!(broken.line, Some(6));
        assert_eq!(facts.backends.len(), 1);
    }

    #[test]
    fn nesting_within_the_bound_does_not_explode() {
        let shapes = [
            ("[", "]"),
            ("(", ")"),
            ("{a=", "}"),
            ("{(\"a\")=", "}"),
            ("\"${", "}\""),
            ("f(", ")"),
            ("a ? b : (", ")"),
            ("[for x in ", " : x]"),
            ("a[", "]"),
            ("\"%{if ", "}a%{endif}\""),
            ("!(", ")"),
            ("-[", "][0]"),
            ("{for k, v in ", " : k => v}"),
        ];
        let began = std::time::Instant::now();
        let parse = || {
            for (open, close) in shapes {
                for depth in [10, 20, 40, 60] {
                    let whole = format!("x = {}1{}\n", open.repeat(depth), close.repeat(depth));
                    let half = format!("x = {}1{}\n", open.repeat(depth), close.repeat(depth - 1));
                    let _ = (facts(&whole), facts(&half), template(&whole), attributes(&whole));
                    assert!(began.elapsed().as_secs() < 30, "{open} {depth}: {:?}", began.elapsed());
                }
            }
        };
        on_a_deep_stack(parse).expect("a thread");
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        for (open, close) in [
            ("[", "]"),
            ("(", ")"),
            ("{a=", "}"),
            ("\"${", "}\""),
            ("-", ""),
            ("a ? b : ", ""),
            ("1+", ""),
        ] {
            let text = format!("x = {}1{}\n", open.repeat(20_000), close.repeat(20_000));
            assert!(attributes(&text).is_err(), "{open}");
        }
        let blocks = format!("{}{}", "a {\n".repeat(20_000), "}\n".repeat(20_000));
        assert!(facts(&blocks).broken.is_some());
    }
}
