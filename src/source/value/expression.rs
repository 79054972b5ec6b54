//! Owns the reading of HCL expressions into values.

use hcl_edit::Span;
use hcl_edit::expr::{BinaryOperator, Expression, ObjectKey, Traversal, TraversalOperator, UnaryOperator};
use hcl_edit::template::{Element, Template};

use crate::source::value::{Operator, Value};

/// One file's text, which knows its lines.
pub struct Text<'s> {
    text: &'s str,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl<'s> Text<'s> {
    pub fn new(text: &'s str) -> Self {
        let breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Text {
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// The line on which a node begins, from 1.
    pub fn line(&self, node: &impl Span) -> Option<u32> {
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

    pub fn value(&self, expr: &Expression) -> Value {
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
            Expression::Conditional(choice) => Value::If(Box::new([
                self.value(&choice.cond_expr),
                self.value(&choice.true_expr),
                self.value(&choice.false_expr),
            ])),
            Expression::UnaryOp(operation) if *operation.operator.value() == UnaryOperator::Not => {
                Value::Operation(Operator::Not, vec![self.value(&operation.expr)])
            }
            Expression::BinaryOp(operation) => match operator(*operation.operator.value()) {
                Some(operator) => {
                    let sides = vec![self.value(&operation.lhs_expr), self.value(&operation.rhs_expr)];
                    Value::Operation(operator, sides)
                }
                None => Value::Opaque(self.source(expr)),
            },
            other => Value::Opaque(self.source(other)),
        }
    }

    pub fn template(&self, template: &Template) -> Value {
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
        let mut operators = traversal.operators.iter().map(|operator| operator.value());
        let mut value = match &traversal.expr {
            Expression::Variable(root) => {
                let first = match operators.next() {
                    Some(TraversalOperator::GetAttr(name)) => name.as_str(),
                    _ => return Value::Opaque(self.source(traversal)),
                };
                match (root.as_str(), first) {
                    ("var", name) => Value::Var(name.to_owned()),
                    ("local", name) => Value::Local(name.to_owned()),
                    ("path", "module") => Value::ModulePath,
                    ("path", "root" | "cwd") => Value::RootPath,
                    ("terraform" | "tofu", "workspace") => Value::Workspace,
                    ("each", "key") => Value::EachKey,
                    ("each", "value") => Value::EachValue,
                    ("count", "index") => Value::CountIndex,
                    _ => return Value::Opaque(self.source(traversal)),
                }
            }
            Expression::FuncCall(_) | Expression::Parenthesis(_) | Expression::Object(_) | Expression::Array(_) => {
                self.value(&traversal.expr)
            }
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
}

fn operator(operator: BinaryOperator) -> Option<Operator> {
    match operator {
        BinaryOperator::Eq => Some(Operator::Equal),
        BinaryOperator::NotEq => Some(Operator::Differs),
        BinaryOperator::And => Some(Operator::And),
        BinaryOperator::Or => Some(Operator::Or),
        BinaryOperator::LessEq
        | BinaryOperator::GreaterEq
        | BinaryOperator::Less
        | BinaryOperator::Greater
        | BinaryOperator::Plus
        | BinaryOperator::Minus
        | BinaryOperator::Mul
        | BinaryOperator::Div
        | BinaryOperator::Mod => None,
    }
}
