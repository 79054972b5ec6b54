//! Owns the reading of one HCL file into facts.

use std::collections::BTreeMap;

use hcl_edit::Span;
use hcl_edit::expr::{Expression, FuncCall, ObjectKey, Traversal, TraversalOperator};
use hcl_edit::structure::{Block, Body, Structure};
use hcl_edit::template::{Element, HeredocTemplate, StringTemplate, Template};
use hcl_edit::visit::{Visit, visit_func_call, visit_heredoc_template, visit_string_template, visit_traversal};

use crate::source::facts::{Backend, Broken, Call, Facts, FileRead, How, READERS, RemoteState};
use crate::source::value::Value;

/// Facts of one file's text. A file that does not parse has facts that say so.
pub fn facts(text: &str) -> Facts {
    match parsed(text) {
        Ok(body) => {
            let mut reader = Reader::new(text);
            reader.body(&body);
            reader.facts
        }
        Err(broken) => Facts::guessed(text, broken),
    }
}

/// The attributes of a `.tfvars` or backend file.
pub fn attributes(text: &str) -> Result<BTreeMap<String, Value>, Broken> {
    let body = parsed(text)?;
    let reader = Reader::new(text);
    Ok(body
        .attributes()
        .map(|attr| (attr.key.to_string(), reader.value(&attr.value)))
        .collect())
}

/// A template's text, as JSON files hold it; what does not parse is text.
pub fn template(text: &str) -> (Value, Facts) {
    let mut reader = Reader::new(text);
    match hcl_edit::parser::parse_template(text) {
        Ok(template) => {
            let value = reader.template(&template);
            reader.mention(&value, None);
            reader.visit_template(&template);
            reader.facts.files.iter_mut().for_each(|file| file.line = None);
            (value, reader.facts)
        }
        Err(_) => (Value::Text(text.to_owned()), Facts::default()),
    }
}

/// The syntax of a file.
pub(in crate::source) fn parsed(text: &str) -> Result<Body, Broken> {
    // The parser bounds its own nesting (64 expressions, 128 operators), so it cannot exhaust the stack.
    hcl_edit::parser::parse_body(text).map_err(|error| Broken {
        line: u32::try_from(error.location().line()).ok(),
        column: u32::try_from(error.location().column()).ok(),
        why: error.message().lines().collect::<Vec<_>>().join("; "),
    })
}

/// Reads expressions, and knows where they stand.
pub(in crate::source) struct Reader<'s> {
    text: &'s str,
    /// The byte at which each line begins.
    lines: Vec<usize>,
    facts: Facts,
}

impl<'s> Reader<'s> {
    pub(in crate::source) fn new(text: &'s str) -> Self {
        let breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Reader {
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            facts: Facts::default(),
        }
    }

    pub(in crate::source) fn line(&self, node: &impl Span) -> Option<u32> {
        let start = node.span()?.start;
        u32::try_from(self.lines.partition_point(|begin| *begin <= start)).ok()
    }

    fn source(&self, node: &impl Span) -> String {
        let text = node
            .span()
            .and_then(|span| self.text.get(span))
            .unwrap_or("an expression");
        let first = text.trim().lines().next().unwrap_or_default();
        first.chars().take(60).collect()
    }

    fn body(&mut self, body: &Body) {
        for structure in body {
            match structure {
                Structure::Block(block) => self.block(block),
                Structure::Attribute(_) => {}
            }
        }
        // References stand anywhere: in resources, outputs, nested blocks.
        self.visit_body(body);
    }

    fn block(&mut self, block: &Block) {
        let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
        match (block.ident.as_str(), labels.as_slice()) {
            ("terraform", []) => self.settings(&block.body),
            ("provider", [_]) => self.facts.providers.push(self.line(block)),
            ("variable", [name]) => {
                let default = block.body.get_attribute("default").map(|attr| self.value(&attr.value));
                self.facts.variables.insert((*name).to_owned(), default);
            }
            ("output", [name]) => {
                self.facts.outputs.insert((*name).to_owned());
            }
            ("locals", []) => {
                for attr in block.body.attributes() {
                    self.facts.locals.insert(attr.key.to_string(), self.value(&attr.value));
                }
            }
            ("module", [name]) => {
                self.facts.has_content = true;
                let mut arguments = self.attributes(&block.body);
                let source_line = block.body.get_attribute("source").and_then(|attr| self.line(attr));
                self.facts.calls.push(Call {
                    name: (*name).to_owned(),
                    source: arguments.remove("source"),
                    arguments,
                    line: source_line.or_else(|| self.line(block)),
                });
            }
            ("data", ["terraform_remote_state", name]) => {
                self.facts.has_content = true;
                let mut attributes = self.attributes(&block.body);
                self.facts.remote_states.push(RemoteState {
                    name: (*name).to_owned(),
                    backend: attributes.remove("backend").unwrap_or(Value::Null),
                    config: attributes.remove("config").unwrap_or(Value::Map(Vec::new())),
                    workspace: attributes.remove("workspace"),
                    line: self.line(block),
                });
            }
            ("data" | "resource" | "ephemeral", _) => self.facts.has_content = true,
            _ => {}
        }
    }

    fn settings(&mut self, body: &Body) {
        if let Some(attr) = body.get_attribute("required_version")
            && let Value::Text(text) = self.value(&attr.value)
        {
            self.facts.required_version.push((text, self.line(attr)));
        }
        for block in body.blocks() {
            let kind = match (block.ident.as_str(), block.labels.first()) {
                ("backend", Some(label)) => label.as_str().to_owned(),
                ("cloud", None) => "cloud".to_owned(),
                _ => continue,
            };
            let mut config = self.attributes(&block.body);
            for inner in block.body.blocks() {
                let inner_config = self.attributes(&inner.body);
                let entries = inner_config
                    .into_iter()
                    .map(|(key, value)| (Value::Text(key), value))
                    .collect();
                config.insert(inner.ident.to_string(), Value::Map(entries));
            }
            self.facts.backends.push(Backend {
                kind,
                config,
                line: self.line(block),
            });
        }
    }

    fn attributes(&self, body: &Body) -> BTreeMap<String, Value> {
        body.attributes()
            .map(|attr| (attr.key.to_string(), self.value(&attr.value)))
            .collect()
    }

    pub(in crate::source) fn value(&self, expr: &Expression) -> Value {
        match expr {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Bool(*value.value()),
            Expression::Number(value) => Value::Number(value.value().to_string()),
            Expression::String(value) => Value::Text(value.value().clone()),
            Expression::Array(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            Expression::Object(object) => {
                let key = |key: &ObjectKey| match key {
                    ObjectKey::Ident(ident) => Value::Text(ident.to_string()),
                    ObjectKey::Expression(expr) => self.value(expr),
                };
                Value::Map(
                    object
                        .iter()
                        .map(|(name, value)| (key(name), self.value(value.expr())))
                        .collect(),
                )
            }
            Expression::StringTemplate(template) => self.template(template),
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template),
            Expression::Parenthesis(inner) => self.value(inner.inner()),
            Expression::Traversal(traversal) => self.traversal(traversal),
            Expression::FuncCall(call) if !call.name.is_namespaced() && !call.args.expand_final() => {
                let arguments = call.args.iter().map(|argument| self.value(argument)).collect();
                Value::Call(call.name.name.to_string(), arguments)
            }
            other => Value::Opaque(self.source(other)),
        }
    }

    fn template(&self, template: &Template) -> Value {
        let part = |element: &Element| match element {
            Element::Literal(literal) => Value::Text(literal.value().clone()),
            Element::Interpolation(interpolation) => self.value(&interpolation.expr),
            Element::Directive(_) => Value::Opaque("a template directive".to_owned()),
        };
        let mut parts: Vec<Value> = template.iter().map(part).collect();
        match (parts.len(), parts.pop()) {
            (0, _) | (_, None) => Value::Text(String::new()),
            (1, Some(only)) => only,
            (_, Some(last)) => {
                parts.push(last);
                Value::Join(parts)
            }
        }
    }

    fn traversal(&self, traversal: &Traversal) -> Value {
        let Expression::Variable(root) = &traversal.expr else {
            return Value::Opaque(self.source(traversal));
        };
        let mut operators = traversal.operators.iter().map(|operator| operator.value());
        let first = match operators.next() {
            Some(TraversalOperator::GetAttr(name)) => name.as_str(),
            _ => return Value::Opaque(self.source(traversal)),
        };
        let mut value = match (root.as_str(), first) {
            ("var", name) => Value::Var(name.to_owned()),
            ("local", name) => Value::Local(name.to_owned()),
            ("path", "module") => Value::ModulePath,
            ("path", "root" | "cwd") => Value::RootPath,
            ("terraform" | "tofu", "workspace") => Value::Workspace,
            _ => return Value::Opaque(self.source(traversal)),
        };
        for operator in operators {
            let key = match operator {
                TraversalOperator::GetAttr(name) => Value::Text(name.to_string()),
                TraversalOperator::Index(expr) => self.value(expr),
                TraversalOperator::LegacyIndex(at) => Value::Number(at.value().to_string()),
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                    return Value::Opaque(self.source(traversal));
                }
            };
            value = Value::Attr(Box::new(value), Box::new(key));
        }
        value
    }

    /// Notes a text that begins with a path of the repository.
    fn mention(&mut self, value: &Value, line: Option<u32>) {
        let Value::Join(parts) = value else { return };
        if matches!(parts.first(), Some(Value::ModulePath | Value::RootPath)) {
            self.facts.files.push(FileRead {
                how: How::Mention,
                path: value.clone(),
                pattern: None,
                line,
            });
        }
    }
}

impl Visit for Reader<'_> {
    fn visit_func_call(&mut self, call: &FuncCall) {
        if !call.name.is_namespaced() {
            let line = self.line(call);
            let mut arguments = call.args.iter().map(|argument| self.value(argument));
            let how = match call.name.name.as_str() {
                "fileset" => Some(How::Set),
                name if READERS.contains(&name) => Some(How::Function),
                _ => None,
            };
            if let (Some(how), Some(path)) = (how, arguments.next()) {
                let pattern = arguments.next().filter(|_| how == How::Set);
                self.facts.files.push(FileRead {
                    how,
                    path,
                    pattern,
                    line,
                });
            }
        }
        visit_func_call(self, call);
    }

    fn visit_string_template(&mut self, template: &StringTemplate) {
        let value = self.template(template);
        let line = self.line(template);
        self.mention(&value, line);
        visit_string_template(self, template);
    }

    fn visit_heredoc_template(&mut self, heredoc: &HeredocTemplate) {
        visit_heredoc_template(self, heredoc);
    }

    fn visit_traversal(&mut self, traversal: &Traversal) {
        if let Some(read) = state_read(traversal) {
            self.facts.state_reads.push(read);
        }
        visit_traversal(self, traversal);
    }
}

/// `data.terraform_remote_state.NAME.outputs.OUTPUT`, with an index after NAME where the block is repeated.
fn state_read(traversal: &Traversal) -> Option<(String, Option<String>)> {
    let Expression::Variable(root) = &traversal.expr else {
        return None;
    };
    if root.as_str() != "data" {
        return None;
    }
    let mut names = Vec::new();
    for operator in &traversal.operators {
        match operator.value() {
            TraversalOperator::GetAttr(name) => names.push(Some(name.to_string())),
            // After the data block's own name an index tells its instances apart; later it is an output's name.
            TraversalOperator::Index(_) | TraversalOperator::LegacyIndex(_) if names.len() == 2 => {}
            TraversalOperator::Index(Expression::String(name)) => names.push(Some(name.value().clone())),
            TraversalOperator::Index(_)
            | TraversalOperator::LegacyIndex(_)
            | TraversalOperator::AttrSplat(_)
            | TraversalOperator::FullSplat(_) => names.push(None),
        }
    }
    let mut names = names.into_iter();
    if names.next()?? != "terraform_remote_state" {
        return None;
    }
    let name = names.next()??;
    match names.next() {
        Some(Some(word)) if word == "outputs" => Some((name, names.next().flatten())),
        _ => Some((name, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::parse::on_a_deep_stack;

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
        let outputs: Vec<_> = facts
            .state_reads
            .iter()
            .map(|(_, output)| output.clone().unwrap_or_default())
            .collect();
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
    fn the_output_of_a_read_is_told_or_not() {
        for (expr, expected) in [
            ("data.terraform_remote_state.n.outputs.a.b", Some(Some("a"))),
            ("data.terraform_remote_state.n[0].outputs.a", Some(Some("a"))),
            (
                "data.terraform_remote_state.n[each.key].outputs[\"a\"]",
                Some(Some("a")),
            ),
            ("data.terraform_remote_state.n.outputs", Some(None)),
            ("data.terraform_remote_state.n.outputs[var.x]", Some(None)),
            ("data.terraform_remote_state.n[*].outputs.a", Some(None)),
            ("data.aws_vpc.n.id", None),
        ] {
            let facts = facts(&format!("locals {{\n  x = {expr}\n}}\n"));
            let expected: Vec<_> = expected
                .into_iter()
                .map(|output: Option<&str>| ("n".to_owned(), output.map(str::to_owned)))
                .collect();
            assert_eq!(facts.state_reads, expected, "{expr}");
        }
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
