//! Owns what the expressions of a file refer to: remote states, locals, variables and files.

use std::collections::BTreeSet;

use hcl_edit::expr::{Expression, ForExpr, FuncCall, Traversal, TraversalOperator};
use hcl_edit::structure::{Block, Body};
use hcl_edit::template::{StringTemplate, Template};
use hcl_edit::visit::{
    Visit, visit_block, visit_expr, visit_for_expr, visit_func_call, visit_string_template, visit_traversal_operator,
};

use crate::source::facts::{FileRead, How, MAX_STEPS, Origin, PATHS, READERS, Reference, StateKind, Use};
use crate::source::value::Value;
use crate::source::value::expression::Text;

/// What was found.
#[derive(Default)]
pub struct Found {
    pub files: Vec<FileRead>,
    pub references: BTreeSet<Reference>,
    pub asks_workspace: bool,
}

/// Everything that a file's expressions refer to.
pub fn of_body(text: &Text<'_>, body: &Body) -> Found {
    let mut visitor = Visitor::new(text);
    visitor.visit_body(body);
    visitor.found
}

/// Everything that a template refers to; `value` is what it says.
pub fn of_template(text: &Text<'_>, template: &Template, value: &Value) -> Found {
    let mut visitor = Visitor::new(text);
    visitor.mention(value, None);
    visitor.visit_template(template);
    visitor.found
}

type Steps = Vec<Option<String>>;

struct Visitor<'t, 's> {
    text: &'t Text<'s>,
    /// Names that a `for` gives to the elements of what it walks over.
    elements: Vec<(String, Origin, Steps)>,
    found: Found,
}

impl<'t, 's> Visitor<'t, 's> {
    fn new(text: &'t Text<'s>) -> Self {
        Visitor {
            text,
            elements: Vec::new(),
            found: Found::default(),
        }
    }

    /// What an expression is, if it is nothing but a mention.
    fn reference(&self, expr: &Expression) -> Option<(Origin, Steps)> {
        match expr {
            Expression::Parenthesis(inner) => self.reference(inner.inner()),
            Expression::Variable(name) => self.element(name.as_str()),
            Expression::FuncCall(call) => match (call.name.name.as_str(), call.args.iter().next()) {
                // They hand on what they are given, or all of its elements.
                ("values" | "one" | "nonsensitive" | "sensitive", Some(only)) if call.args.len() == 1 => {
                    self.reference(only)
                }
                _ => None,
            },
            Expression::Traversal(traversal) => {
                let mut steps = traversal.operators.iter().map(|operator| step(operator.value()));
                let (origin, mut known) = match &traversal.expr {
                    Expression::Variable(root) => match root.as_str() {
                        "data" => {
                            let kind = StateKind::of(&steps.next()??)?;
                            (Origin::State(kind, steps.next()??), Vec::new())
                        }
                        "local" => (Origin::Local(steps.next()??), Vec::new()),
                        "var" => (Origin::Var(steps.next()??), Vec::new()),
                        name => self.element(name)?,
                    },
                    other => self.reference(other)?,
                };
                known.extend(steps);
                known.truncate(MAX_STEPS);
                Some((origin, known))
            }
            _ => None,
        }
    }

    fn element(&self, name: &str) -> Option<(Origin, Steps)> {
        let (_, origin, steps) = self.elements.iter().rev().find(|(element, ..)| element == name)?;
        Some((origin.clone(), steps.clone()))
    }

    fn record(&mut self, (origin, steps): (Origin, Steps), what_for: Use) {
        self.found.references.insert(Reference {
            origin,
            steps,
            what_for,
        });
    }

    /// A value of its own name: what is nothing but a mention is followed, anything else is read.
    fn named(&mut self, expr: &Expression, what_for: Use) {
        match self.reference(expr) {
            Some(reference) => {
                self.record(reference, what_for);
                self.inside(expr);
            }
            None => self.visit_expr(expr),
        }
    }

    /// The indices of a mention, which may mention others.
    fn inside(&mut self, expr: &Expression) {
        match expr {
            Expression::Parenthesis(inner) => self.inside(inner.inner()),
            Expression::FuncCall(call) => call.args.iter().for_each(|argument| self.inside(argument)),
            Expression::Traversal(traversal) => {
                self.inside(&traversal.expr);
                for operator in &traversal.operators {
                    visit_traversal_operator(self, operator.value());
                }
            }
            _ => {}
        }
    }

    /// Notes a text that begins with a path of the repository.
    fn mention(&mut self, value: &Value, line: Option<u32>) {
        let Value::Join(parts) = value else { return };
        if matches!(parts.first(), Some(Value::ModulePath | Value::RootPath)) {
            self.found.files.push(FileRead {
                how: How::Mention,
                path: value.clone(),
                pattern: None,
                line,
            });
        }
    }

    fn reader(&mut self, call: &FuncCall) {
        let how = match call.name.name.as_str() {
            "fileset" => How::Set,
            name if READERS.contains(&name) => How::Function,
            _ => return,
        };
        let mut arguments = call.args.iter().map(|argument| self.text.value(argument));
        if let Some(path) = arguments.next() {
            let pattern = arguments.next().filter(|_| how == How::Set);
            self.found.files.push(FileRead {
                how,
                path,
                pattern,
                line: self.text.line(call),
            });
        }
    }

    /// `lookup(outputs, "name", default)` reads one output; anything else that takes the outputs reads them all.
    fn lookup(&mut self, call: &FuncCall) -> Option<()> {
        let arguments: Vec<&Expression> = call.args.iter().collect();
        let [object, Expression::String(name), defaults @ ..] = arguments.as_slice() else {
            return None;
        };
        let (origin, mut steps) = self.reference(object)?;
        steps.push(Some(name.value().clone()));
        self.record((origin, steps), Use::Read);
        self.inside(object);
        defaults.iter().for_each(|default| self.visit_expr(default));
        Some(())
    }
}

impl Visit for Visitor<'_, '_> {
    fn visit_block(&mut self, block: &Block) {
        match (block.ident.as_str(), block.labels.first()) {
            ("locals", None) => {
                for attr in block.body.attributes() {
                    self.named(&attr.value, Use::Local(attr.key.to_string()));
                }
            }
            ("module", Some(call)) => {
                for attr in block.body.attributes() {
                    let what_for = Use::Argument {
                        call: call.as_str().to_owned(),
                        name: attr.key.to_string(),
                    };
                    self.named(&attr.value, what_for);
                }
            }
            ("resource" | "data", Some(_)) => {
                let named = |key: &str| PATHS.contains(&key);
                for attr in block.body.attributes().filter(|attr| named(attr.key.as_str())) {
                    self.found.files.push(FileRead {
                        how: How::Attribute,
                        path: self.text.value(&attr.value),
                        pattern: None,
                        line: self.text.line(attr),
                    });
                }
                visit_block(self, block);
            }
            _ => visit_block(self, block),
        }
    }

    fn visit_expr(&mut self, expr: &Expression) {
        match self.reference(expr) {
            Some(reference) => {
                self.record(reference, Use::Read);
                self.inside(expr);
            }
            None => visit_expr(self, expr),
        }
    }

    fn visit_for_expr(&mut self, expr: &ForExpr) {
        let Some((origin, mut steps)) = self.reference(&expr.intro.collection_expr) else {
            return visit_for_expr(self, expr);
        };
        self.inside(&expr.intro.collection_expr);
        steps.push(None);
        steps.truncate(MAX_STEPS);
        let element = (expr.intro.value_var.as_str().to_owned(), origin, steps);
        self.elements.push(element);
        expr.key_expr.iter().for_each(|key| self.visit_expr(key));
        self.visit_expr(&expr.value_expr);
        expr.cond.iter().for_each(|cond| self.visit_expr(&cond.expr));
        self.elements.pop();
    }

    fn visit_func_call(&mut self, call: &FuncCall) {
        if !call.name.is_namespaced() {
            self.reader(call);
            if call.name.name.as_str() == "lookup" && self.lookup(call).is_some() {
                return;
            }
        }
        visit_func_call(self, call);
    }

    fn visit_traversal(&mut self, traversal: &Traversal) {
        if let Expression::Variable(root) = &traversal.expr
            && matches!(root.as_str(), "terraform" | "tofu")
            && let Some(TraversalOperator::GetAttr(name)) = traversal.operators.first().map(|first| first.value())
        {
            self.found.asks_workspace |= name.as_str() == "workspace";
        }
        hcl_edit::visit::visit_traversal(self, traversal);
    }

    fn visit_string_template(&mut self, template: &StringTemplate) {
        let value = self.text.template(template);
        let line = self.text.line(template);
        self.mention(&value, line);
        visit_string_template(self, template);
    }
}

fn step(operator: &TraversalOperator) -> Option<String> {
    match operator {
        TraversalOperator::GetAttr(name) => Some(name.to_string()),
        TraversalOperator::Index(Expression::String(name)) => Some(name.value().clone()),
        TraversalOperator::Index(Expression::Number(at)) => Some(at.value().to_string()),
        TraversalOperator::LegacyIndex(at) => Some(at.value().to_string()),
        TraversalOperator::Index(_) | TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `net.outputs.a`, `local.x.*`: each mention, `=>` what it becomes.
    fn references(text: &str) -> Vec<String> {
        let body = hcl_edit::parser::parse_body(text).expect("HCL");
        let found = of_body(&Text::new(text), &body);
        let show = |reference: &Reference| {
            let Reference {
                origin,
                steps,
                what_for,
            } = reference;
            let mut shown = match origin {
                Origin::State(StateKind::RemoteState, name) => name.clone(),
                Origin::State(StateKind::TfeOutputs, name) => format!("tfe:{name}"),
                Origin::Local(name) => format!("local.{name}"),
                Origin::Var(name) => format!("var.{name}"),
            };
            for step in steps {
                shown.push('.');
                shown.push_str(step.as_deref().unwrap_or("*"));
            }
            match what_for {
                Use::Read => shown,
                Use::Local(name) => format!("{shown} => local.{name}"),
                Use::Argument { call, name } => format!("{shown} => {call}({name})"),
            }
        };
        found.references.iter().map(show).collect()
    }

    #[test]
    fn every_way_to_mention_a_state_is_followed_or_seen_as_a_whole() {
        for (expr, expected) in [
            ("data.terraform_remote_state.n.outputs.a.b", &["n.outputs.a.b"][..]),
            ("data.terraform_remote_state.n[0].outputs[\"a\"]", &["n.0.outputs.a"]),
            ("data.terraform_remote_state.n[each.key].outputs.a", &["n.*.outputs.a"]),
            ("data.terraform_remote_state.n[*].outputs.a", &["n.*.outputs.a"]),
            ("data.terraform_remote_state.n.*.outputs.a", &["n.*.outputs.a"]),
            ("values(data.terraform_remote_state.n)[*].outputs.a", &["n.*.outputs.a"]),
            (
                "[for k, s in data.terraform_remote_state.n : s.outputs.a if s.outputs.b]",
                &["n.*.outputs.a", "n.*.outputs.b"],
            ),
            ("[for s in [1] : s.outputs.a]", &[]),
            (
                "lookup(data.terraform_remote_state.n.outputs, \"a\", local.b)",
                &["n.outputs.a", "local.b"],
            ),
            ("merge(data.terraform_remote_state.n.outputs, {})", &["n.outputs"]),
            ("(data.terraform_remote_state.n.outputs).a", &["n.outputs.a"]),
            (
                "data.terraform_remote_state.n.outputs[var.x]",
                &["n.outputs.*", "var.x"],
            ),
            (
                "\"${data.terraform_remote_state.n.outputs.a}-%{if local.x}b%{endif}\"",
                &["n.outputs.a", "local.x"],
            ),
            ("data.tfe_outputs.n.values.a", &["tfe:n.values.a"]),
            ("data.aws_vpc.n.id", &[]),
        ] {
            let found = references(&format!("resource \"x\" \"y\" {{\n  x = {expr}\n}}\n"));
            assert_eq!(found, expected, "{expr}");
        }
    }

    #[test]
    fn what_is_handed_on_as_a_whole_is_not_read_there() {
        let text = "locals {\n  n = data.terraform_remote_state.n.outputs\n  m = [local.n]\n}\n\
                    module \"m\" {\n  source = \"./m\"\n  net = local.n\n  id = \"${local.n.id}\"\n}\n";
        assert_eq!(
            references(text),
            ["n.outputs => local.n", "local.n", "local.n => m(net)", "local.n.id"]
        );
    }
}
