//! Owns the files that the rewrite adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::domain::ids::RepoPath;
use crate::tool::cascade::rewrite::{GeneratedModule, Rewriting};

/// What is added to one directory.
#[derive(Debug, Default)]
pub struct Generated {
    /// Variables that take an upstream's outputs from the caller.
    pub passed: BTreeSet<String>,
    /// Name → expression.
    pub locals: BTreeMap<String, String>,
    /// Name → raw JSON: what was an argument in a JSON file.
    pub json_locals: BTreeMap<String, String>,
    /// Call → argument → expression.
    pub arguments: BTreeMap<String, BTreeMap<String, String>>,
    /// There are data sources that are not to be read.
    pub defers: bool,
    /// Arguments of the generated module's call.
    pub through: BTreeMap<String, String>,
}

/// Adds the files of every directory, and the generated module.
pub(super) fn add(rewriting: &mut Rewriting<'_, '_>) {
    let root = rewriting.root.clone();
    let names = rewriting.names;
    let typed: Vec<(String, (String, String))> = rewriting.values.typed.clone().into_iter().collect();
    let mut own = String::new();
    for (name, (constraint, expression)) in typed {
        // Infallible: a String.
        let _ = write!(
            own,
            "variable \"{name}\" {{\n  type = {constraint}\n}}\noutput \"{name}\" {{\n  value = var.{name}\n}}\n"
        );
        rewriting.generated(&root).through.insert(name, expression);
    }
    let module = root.join(names.stem());
    if let Some(dir) = module.filter(|_| {
        rewriting
            .generated
            .get(&root)
            .is_some_and(|own| !own.through.is_empty())
    }) {
        if let Some(path) = dir.join(&names.file()) {
            rewriting.done.files.entry(path).or_default().push_str(&own);
        }
        rewriting.done.modules.push(GeneratedModule {
            key: names.stem().to_owned(),
            source: format!("./{}", names.stem()),
            dir,
        });
    }
    let variables = std::mem::take(&mut rewriting.values.variables);
    let mut declared = String::new();
    for (name, (constraint, value)) in variables {
        let _ = write!(declared, "variable \"{name}\" {{\n  type = {constraint}\n}}\n");
        rewriting.done.variables.insert(name, value);
    }
    if !declared.is_empty() {
        rewriting.generated(&root);
    }
    for (dir, generated) in std::mem::take(&mut rewriting.generated) {
        let mut text = if dir == root {
            std::mem::take(&mut declared)
        } else {
            String::new()
        };
        text.push_str(&hcl(&generated, names.stem()));
        let json = generated
            .json_locals
            .iter()
            .map(|(name, raw)| format!("\"{name}\": {raw}"));
        let json: Vec<String> = json.collect();
        let json = match json.is_empty() {
            true => String::new(),
            false => format!("{{\"locals\": {{{}}}}}\n", json.join(", ")),
        };
        let mut arguments = String::new();
        for (call, given) in &generated.arguments {
            let _ = writeln!(arguments, "module \"{call}\" {{");
            for (name, expression) in given {
                let _ = writeln!(arguments, "  {name} = {expression}");
            }
            arguments.push_str("}\n");
        }
        for (name, text) in [
            (names.file(), text),
            (names.json_file(), json),
            (names.override_file(), arguments),
        ] {
            put(rewriting, &dir, &name, text);
        }
    }
}

fn put(rewriting: &mut Rewriting<'_, '_>, dir: &RepoPath, name: &str, text: String) {
    if let Some(path) = dir.join(name).filter(|_| !text.is_empty()) {
        rewriting.done.files.insert(path, text);
    }
}

fn hcl(generated: &Generated, stem: &str) -> String {
    let mut text = String::new();
    for name in &generated.passed {
        // Not required: the arguments stand in an override file, and a call is checked before these are merged into it.
        let _ = write!(text, "variable \"{name}\" {{\n  type    = any\n  default = null\n}}\n");
    }
    if generated.defers {
        let _ = write!(text, "resource \"terraform_data\" \"{stem}\" {{\n  input = \"\"\n}}\n");
    }
    if !generated.locals.is_empty() {
        text.push_str("locals {\n");
        for (name, expression) in &generated.locals {
            let _ = writeln!(text, "  {name} = {expression}");
        }
        text.push_str("}\n");
    }
    if !generated.through.is_empty() {
        let _ = write!(text, "module \"{stem}\" {{\n  source = \"./{stem}\"\n");
        for (name, expression) in &generated.through {
            let _ = writeln!(text, "  {name} = {expression}");
        }
        text.push_str("}\n");
    }
    text
}
