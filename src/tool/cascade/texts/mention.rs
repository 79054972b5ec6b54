//! Owns what an expression mentions (`data.x.y.z`, `var.a`, `each.key`), and the bytes at which it does.

use std::ops::Range;

use hcl_edit::Span;
use hcl_edit::expr::{
    BinaryOp, BinaryOperator, Conditional, Expression, ForExpr, FuncCall, Traversal, TraversalOperator,
};
use hcl_edit::template::{ForDirective, IfDirective, Template};
use hcl_edit::visit::{Visit, visit_binary_op, visit_conditional, visit_expr, visit_func_call, visit_if_directive};

/// Everything that a value mentions.
#[derive(Debug, Default)]
pub struct Mentions {
    pub all: Vec<Mention>,
    /// The value is nothing but the one mention.
    pub is_one: bool,
    /// In JSON: one of its strings is no template, so that what it mentions is not known.
    pub is_broken: bool,
}

#[derive(Debug, Clone)]
pub struct Mention {
    pub root: String,
    /// What follows the root: a name, or `None` for what is known only when it runs, and for splats.
    pub steps: Vec<Option<String>>,
    /// The byte at which the root begins, and those at which the root and the first steps end. In JSON they count from
    /// the beginning of the text that the string stands for.
    pub from: usize,
    pub ends: Vec<usize>,
    /// In JSON: the bytes of the string, quotes included.
    pub token: Option<Range<usize>>,
    pub line: u32,
    /// It may stay unevaluated or may fail without harm: in a `try`, a branch, the body of a `for`.
    pub is_guarded: bool,
}

/// No mention says more than its first steps; the rest is not looked at.
const MAX_STEPS: usize = 8;
const MAX_ENDS: usize = 4;

/// Lines of a text.
pub struct Lines {
    begins: Vec<usize>,
}

impl Lines {
    pub fn new(text: &str) -> Lines {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines {
            begins: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect(),
        }
    }

    /// From 1.
    pub fn of(&self, byte: usize) -> u32 {
        u32::try_from(self.begins.partition_point(|begin| *begin <= byte)).unwrap_or(u32::MAX)
    }
}

/// What an expression mentions; `hidden` are names that mean something else here.
pub fn of_expr(expr: &Expression, lines: &Lines, hidden: &[String]) -> Mentions {
    let mut reader = Reader::new(lines, hidden);
    reader.visit_expr(expr);
    Mentions {
        is_one: reader.all.len() == 1 && is_mention(expr),
        all: reader.all,
        is_broken: false,
    }
}

/// What a template mentions: a string of a JSON file.
pub fn of_template(template: &Template, token: &Range<usize>, line: u32) -> Mentions {
    let nowhere = Lines { begins: vec![0] };
    let mut reader = Reader::new(&nowhere, &[]);
    reader.visit_template(template);
    let only = template
        .as_single_element()
        .and_then(|element| element.as_interpolation());
    let mut mentions = Mentions {
        is_one: reader.all.len() == 1 && only.is_some_and(|only| is_mention(&only.expr)),
        all: reader.all,
        is_broken: false,
    };
    for mention in &mut mentions.all {
        mention.token = Some(token.clone());
        mention.line = line;
    }
    mentions
}

/// Whether an expression is nothing but a name and plain steps.
fn is_mention(expr: &Expression) -> bool {
    match expr {
        Expression::Parenthesis(inner) => is_mention(inner.inner()),
        Expression::Variable(_) => true,
        Expression::Traversal(traversal) => {
            let plain = |operator: &TraversalOperator| !matches!(step(operator), Step::Spread);
            matches!(traversal.expr, Expression::Variable(_))
                && traversal.operators.len() <= MAX_STEPS
                && traversal.operators.iter().all(|operator| plain(operator.value()))
        }
        _ => false,
    }
}

enum Step {
    Named(String),
    Computed,
    Spread,
}

fn step(operator: &TraversalOperator) -> Step {
    match operator {
        TraversalOperator::GetAttr(name) => Step::Named(name.to_string()),
        TraversalOperator::Index(Expression::String(name)) => Step::Named(name.value().clone()),
        TraversalOperator::Index(Expression::Number(at)) => Step::Named(at.value().to_string()),
        TraversalOperator::LegacyIndex(at) => Step::Named(at.value().to_string()),
        TraversalOperator::Index(_) => Step::Computed,
        TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => Step::Spread,
    }
}

struct Reader<'l> {
    lines: &'l Lines,
    hidden: Vec<String>,
    guards: u32,
    all: Vec<Mention>,
}

impl<'l> Reader<'l> {
    fn new(lines: &'l Lines, hidden: &[String]) -> Reader<'l> {
        Reader {
            lines,
            hidden: hidden.to_vec(),
            guards: 0,
            all: Vec::new(),
        }
    }

    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        self.guards += 1;
        work(self);
        self.guards -= 1;
    }

    fn hiding<'n>(&mut self, names: impl Iterator<Item = &'n str>, work: impl FnOnce(&mut Self)) {
        let before = self.hidden.len();
        self.hidden.extend(names.map(str::to_owned));
        self.guarded(work);
        self.hidden.truncate(before);
    }

    fn mention(&mut self, root: &str, at: Option<Range<usize>>) -> Option<&mut Mention> {
        let at = at?;
        if self.hidden.iter().any(|hidden| hidden == root) {
            return None;
        }
        self.all.push(Mention {
            root: root.to_owned(),
            steps: Vec::new(),
            from: at.start,
            ends: vec![at.end],
            token: None,
            line: self.lines.of(at.start),
            is_guarded: self.guards > 0,
        });
        self.all.last_mut()
    }

    fn traversal(&mut self, traversal: &Traversal) {
        match &traversal.expr {
            Expression::Variable(root) => {
                if let Some(mention) = self.mention(root.as_str(), root.span()) {
                    let mut steps = traversal.operators.iter().map(|operator| operator.value());
                    while let Some(operator) = steps.next().filter(|_| mention.steps.len() < MAX_STEPS) {
                        // Only what is joined by dots from the root on is part of an address; the bytes of anything
                        // else are not asked for.
                        if mention.ends.len() == mention.steps.len() + 1
                            && mention.ends.len() < MAX_ENDS
                            && let TraversalOperator::GetAttr(name) = operator
                            && let Some(at) = name.span()
                        {
                            mention.ends.push(at.end);
                        }
                        mention.steps.push(match step(operator) {
                            Step::Named(name) => Some(name),
                            Step::Computed | Step::Spread => None,
                        });
                    }
                }
            }
            other => self.visit_expr(other),
        }
        for operator in &traversal.operators {
            if let TraversalOperator::Index(expr) = operator.value() {
                self.visit_expr(expr);
            }
        }
    }
}

impl Visit for Reader<'_> {
    fn visit_expr(&mut self, expr: &Expression) {
        match expr {
            Expression::Variable(root) => {
                self.mention(root.as_str(), root.span());
            }
            Expression::Traversal(traversal) => self.traversal(traversal),
            other => visit_expr(self, other),
        }
    }

    fn visit_func_call(&mut self, call: &FuncCall) {
        let name = match call.name.is_namespaced() {
            true => "",
            false => call.name.name.as_str(),
        };
        match name {
            "try" | "can" => self.guarded(|reader| visit_func_call(reader, call)),
            "lookup" => {
                let before = self.all.len();
                visit_func_call(self, call);
                // `lookup(outputs, "name", default)` reads one of them.
                let arguments: Vec<&Expression> = call.args.iter().collect();
                if let [object, Expression::String(name), ..] = arguments.as_slice()
                    && is_mention(object)
                    && let Some(mention) = self.all.get_mut(before)
                {
                    mention.steps.push(Some(name.value().clone()));
                    mention.is_guarded |= arguments.len() > 2;
                }
            }
            _ => visit_func_call(self, call),
        }
    }

    fn visit_conditional(&mut self, choice: &Conditional) {
        self.guarded(|reader| visit_conditional(reader, choice));
    }

    fn visit_binary_op(&mut self, operation: &BinaryOp) {
        match operation.operator.value() {
            BinaryOperator::And | BinaryOperator::Or => self.guarded(|reader| visit_binary_op(reader, operation)),
            _ => visit_binary_op(self, operation),
        }
    }

    fn visit_for_expr(&mut self, expr: &ForExpr) {
        self.visit_expr(&expr.intro.collection_expr);
        let key = expr.intro.key_var.iter().map(|key| key.as_str());
        let names = key.chain(std::iter::once(expr.intro.value_var.as_str()));
        self.hiding(names, |reader| {
            expr.key_expr.iter().for_each(|key| reader.visit_expr(key));
            reader.visit_expr(&expr.value_expr);
            expr.cond.iter().for_each(|cond| reader.visit_expr(&cond.expr));
        });
    }

    fn visit_if_directive(&mut self, directive: &IfDirective) {
        self.guarded(|reader| visit_if_directive(reader, directive));
    }

    fn visit_for_directive(&mut self, directive: &ForDirective) {
        let of = &directive.for_expr;
        self.visit_expr(&of.collection_expr);
        let key = of.key_var.iter().map(|key| key.as_str());
        let names = key.chain(std::iter::once(of.value_var.as_str()));
        self.hiding(names, |reader| reader.visit_template(&of.template));
    }
}
