//! Owns what one terragrunt file says by itself: its blocks, the files it names and the outputs it takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use hcl_edit::expr::{Expression, FuncCall, Traversal, TraversalOperator};
use hcl_edit::structure::{Block, Body};
use hcl_edit::visit::{Visit, visit_expr, visit_func_call, visit_traversal};

use crate::domain::graph::Reads;
use crate::source::facts::hcl;
use crate::source::facts::parse::text;
use crate::source::facts::{Broken, READERS};
use crate::source::value::Value;
use crate::source::value::expression::Text;

/// The blocks of one file, each with its line.
#[derive(Debug, Default)]
pub struct Scanned {
    pub locals: BTreeMap<String, Value>,
    pub includes: Vec<At<Value>>,
    pub dependencies: BTreeMap<String, At<Dependency>>,
    /// The paths of `dependencies`.
    pub order: Vec<At<Value>>,
    pub source: Option<At<Value>>,
    pub remote_state: Option<At<RemoteState>>,
    /// Lines of `generate` blocks.
    pub generates: Vec<Option<u32>>,
    /// `if` of `exclude`, or the old `skip`.
    pub excluded: Option<At<Value>>,
    /// What the `unit` and `stack` blocks of a stack file copy.
    pub sources: Vec<At<Value>>,
    /// It takes `values` that a stack file gives.
    pub values: bool,
    /// `prevent_destroy`.
    pub stays: Option<At<Value>>,
    /// Calls of functions that read the file they name.
    pub reads: Vec<At<Value>>,
    /// Which outputs of each dependency are taken.
    pub outputs: BTreeMap<String, Reads>,
    /// The outputs are also passed on as a whole, in a way that does not tell whose.
    pub outputs_of_any: bool,
}

/// A thing and the line it begins at.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub line: Option<u32>,
    pub what: T,
}

#[derive(Debug)]
pub struct Dependency {
    pub config_path: Option<Value>,
    /// `enabled`, where it is said.
    pub enabled: Option<Value>,
}

#[derive(Debug)]
pub struct RemoteState {
    pub backend: Option<Value>,
    pub config: Option<Value>,
}

/// Functions of terragrunt that read the file their first argument names.
const OWN_READERS: [&str; 4] = [
    "read_terragrunt_config",
    "read_tfvars_file",
    "sops_decrypt_file",
    "mark_as_read",
];

/// What files said, by git's name of their contents: hundreds of units include the same ones.
#[derive(Default)]
pub struct Scans(Mutex<HashMap<String, Result<Arc<Scanned>, Broken>>>);

impl Scans {
    /// Scans a file unless it was scanned before.
    pub fn of(&self, blob: &str, bytes: &[u8]) -> Result<Arc<Scanned>, Broken> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(blob) {
            Some(scanned) => scanned.clone(),
            None => {
                let scanned = text(bytes).and_then(scan).map(Arc::new);
                known.insert(blob.to_owned(), scanned.clone());
                scanned
            }
        }
    }
}

/// Scans a file's text.
pub fn scan(text: &str) -> Result<Scanned, Broken> {
    let body = hcl::parsed(text)?;
    let mut scan = Scan {
        reader: Text::new(text),
        out: Scanned::default(),
    };
    scan.blocks(&body);
    scan.visit_body(&body);
    Ok(scan.out)
}

struct Scan<'s> {
    reader: Text<'s>,
    out: Scanned,
}

impl Scan<'_> {
    fn blocks(&mut self, body: &Body) {
        for block in body.blocks() {
            let label = block.labels.first().map(|label| label.as_str().to_owned());
            let line = self.reader.line(block);
            match (block.ident.as_str(), label) {
                ("locals", None) => {
                    for attribute in block.body.attributes() {
                        let value = self.reader.value(&attribute.value);
                        self.out.locals.insert(attribute.key.to_string(), value);
                    }
                }
                ("include", _) => self.out.includes.extend(self.at(block, "path")),
                ("dependency", Some(name)) => {
                    let what = Dependency {
                        config_path: self.at(block, "config_path").map(|at| at.what),
                        enabled: self.at(block, "enabled").map(|at| at.what),
                    };
                    self.out.dependencies.insert(name, At { line, what });
                }
                ("dependencies", None) => {
                    if let Some(At { line, what }) = self.at(block, "paths") {
                        match what {
                            Value::List(paths) => {
                                let each = paths.into_iter().map(|what| At { line, what });
                                self.out.order.extend(each);
                            }
                            what => self.out.order.push(At { line, what }),
                        }
                    }
                }
                ("unit" | "stack", Some(_)) => self.out.sources.extend(self.at(block, "source")),
                ("terraform", None) => self.out.source = self.at(block, "source"),
                ("remote_state", None) => {
                    let what = RemoteState {
                        backend: self.at(block, "backend").map(|at| at.what),
                        config: self.at(block, "config").map(|at| at.what),
                    };
                    self.out.remote_state = Some(At { line, what });
                }
                ("generate", Some(_)) => self.out.generates.push(line),
                ("exclude", None) => self.out.excluded = self.at(block, "if"),
                _ => {}
            }
        }
        for attribute in body.attributes() {
            let at = || {
                let (line, what) = (self.reader.line(attribute), self.reader.value(&attribute.value));
                Some(At { line, what })
            };
            match attribute.key.as_str() {
                "skip" => self.out.excluded = at(),
                "prevent_destroy" => self.out.stays = at(),
                _ => {}
            }
        }
    }

    fn at(&self, block: &Block, name: &str) -> Option<At<Value>> {
        let attribute = block.body.get_attribute(name)?;
        Some(At {
            line: self.reader.line(attribute).or_else(|| self.reader.line(block)),
            what: self.reader.value(&attribute.value),
        })
    }

    /// Notes a read of `dependency.NAME.outputs.OUTPUT`.
    fn output(&mut self, traversal: &Traversal) {
        let names = |operator: &TraversalOperator| match operator {
            TraversalOperator::GetAttr(name) => Some(name.to_string()),
            TraversalOperator::Index(Expression::String(name)) => Some(name.value().clone()),
            TraversalOperator::Index(_)
            | TraversalOperator::LegacyIndex(_)
            | TraversalOperator::AttrSplat(_)
            | TraversalOperator::FullSplat(_) => None,
        };
        let mut operators = traversal.operators.iter().map(|operator| names(operator.value()));
        let Some(Some(dependency)) = operators.next() else {
            self.out.outputs_of_any = true;
            return;
        };
        let reads = self
            .out
            .outputs
            .entry(dependency)
            .or_insert_with(|| Reads::Named(BTreeSet::new()));
        match (operators.next(), operators.next()) {
            (Some(Some(outputs)), Some(Some(output))) if outputs == "outputs" => {
                if let Reads::Named(names) = reads {
                    names.insert(output);
                }
            }
            // Its `inputs`, or the outputs as a whole.
            _ => *reads = Reads::Unknown,
        }
    }
}

impl Visit for Scan<'_> {
    fn visit_func_call(&mut self, call: &FuncCall) {
        let name = call.name.name.as_str();
        if !call.name.is_namespaced() && (READERS.contains(&name) || OWN_READERS.contains(&name)) {
            let line = self.reader.line(call);
            // `mark_as_read` and the like name one file; `read_terragrunt_config` may have a value for when it is not there.
            let first = call.args.iter().next().map(|argument| self.reader.value(argument));
            self.out.reads.extend(first.map(|what| At { line, what }));
        }
        visit_func_call(self, call);
    }

    fn visit_traversal(&mut self, traversal: &Traversal) {
        match &traversal.expr {
            Expression::Variable(root) if root.as_str() == "dependency" => {
                self.output(traversal);
                for operator in &traversal.operators {
                    if let TraversalOperator::Index(index) = operator.value() {
                        self.visit_expr(index);
                    }
                }
            }
            _ => visit_traversal(self, traversal),
        }
    }

    fn visit_expr(&mut self, expr: &Expression) {
        if let Expression::Variable(name) = expr {
            self.out.outputs_of_any |= name.as_str() == "dependency";
            self.out.values |= name.as_str() == "values";
        }
        visit_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_where_the_text_names_them() {
        let text = r#"
inputs = {
  a = dependency.network.outputs.id
  b = "x-${dependency.network.outputs["zone"].name}"
  c = dependency.db.outputs
  d = try(dependency.cache.outputs[local.key], null)
  e = [for x in dependency.dns.outputs.names : x]
}
"#;
        let found = scan(text).expect("it parses");
        let named = |names: &[&str]| Reads::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found.outputs["network"], named(&["id", "zone"]));
        assert_eq!(found.outputs["db"], Reads::Unknown);
        assert_eq!(found.outputs["cache"], Reads::Unknown);
        assert_eq!(found.outputs["dns"], named(&["names"]));
        assert!(!found.outputs_of_any);
        assert!(
            scan("locals {\n  all = dependency\n}\n")
                .expect("it parses")
                .outputs_of_any
        );
    }

    #[test]
    fn blocks_have_their_lines() {
        let text = "include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\n\ndependency \"a\" {\n  config_path = \"../a\"\n}\n\
                    dependencies {\n  paths = [\"../b\", \"../c\"]\n}\nterraform {\n  source = \"../m\"\n}\nlocals {\n  x = file(\"x.txt\")\n}\n";
        let found = scan(text).expect("it parses");
        assert_eq!(found.includes[0].line, Some(2));
        assert_eq!(found.dependencies["a"].line, Some(5));
        assert_eq!(
            found.order.iter().map(|at| at.line).collect::<Vec<_>>(),
            [Some(9), Some(9)]
        );
        assert_eq!(found.source.map(|at| at.line), Some(Some(12)));
        assert_eq!(found.reads[0].line, Some(15));
        assert_eq!(scan("x = \n").expect_err("broken").line, Some(1));
    }
}
