//! Owns variables of the root module that an upstream feeds. One that is (partly) unknown cannot be passed as a variable:
//! it goes through a generated module that holds the author's `variable` block.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::domain::ids::StackName;
use crate::domain::located::{Located, Place};
use crate::tool::cascade::feeds::Given;
use crate::tool::cascade::rewrite::edits::breaks;
use crate::tool::cascade::rewrite::states::is_name;
use crate::tool::cascade::rewrite::{Rewriting, validation};
use crate::tool::cascade::texts::mention::Mention;
use crate::tool::cascade::texts::{Block, File};

/// A variable whose `variable` block moves into the generated module.
pub(super) struct Moved<'m, 't> {
    pub name: &'m str,
    given: Given,
    pub file: &'m File<'t>,
    pub block: &'m Block,
}

pub(super) fn rewrite(rewriting: &mut Rewriting<'_, '_>) {
    let mut moved = Vec::new();
    for (name, (upstream, output)) in &rewriting.feeds.variables {
        let Some(given) = rewriting.given(upstream, output) else {
            continue;
        };
        let modules = rewriting.modules;
        let Some(module) = modules.get(rewriting.root) else {
            continue;
        };
        let blocks: Vec<_> = module
            .of_kind("variable", 1)
            .filter(|(_, block)| block.label(0) == name)
            .collect();
        match (&given, blocks.as_slice()) {
            // What the module does not ask for, the tool would warn of; and what a broken file declares is not known.
            (_, []) if module.broken.is_empty() => {}
            (_, []) => rewriting.unread(upstream, format!("`var.{name}`: a file could not be parsed")),
            (Given::Absent, [(file, block), ..]) => absent(rewriting, name, (upstream, output), file, block),
            (Given::Known { value, .. }, _) => drop(rewriting.done.variables.insert(name.clone(), value.clone())),
            (Given::Partly { .. } | Given::Unknown, [(file, block)]) => match in_the_way(rewriting, name, file) {
                Some(why) => rewriting.unread(upstream, format!("`var.{name}`: {why}")),
                None => moved.push(Moved {
                    name,
                    given,
                    file,
                    block,
                }),
            },
            (Given::Partly { .. } | Given::Unknown, _) => {
                rewriting.unread(upstream, format!("`var.{name}`: an override file changes it"));
            }
        }
    }
    for variable in &moved {
        mentions(rewriting, variable, &moved);
        let expression = rewriting.values.expression(&variable.given);
        let root = rewriting.root;
        rewriting
            .generated(root)
            .through
            .insert(variable.name.to_owned(), expression);
        leave(rewriting, variable);
    }
    if !moved.is_empty() {
        declare(rewriting, &moved);
    }
}

fn absent(
    rewriting: &mut Rewriting<'_, '_>,
    name: &str,
    (upstream, output): (&StackName, &str),
    file: &File<'_>,
    block: &Block,
) {
    let problem = format!("`{upstream}` has no output `{output}` (any more), which is passed to `var.{name}`");
    let problem = match rewriting.root.join(file.name) {
        Some(path) => Located::at(Place::line(path, block.line), problem),
        None => Located::nowhere(problem),
    };
    let hint = "give the output back, or stop passing it in the same change";
    rewriting.done.errors.push(problem.hint(hint));
}

fn is_of(mention: &Mention, name: &str) -> bool {
    mention.root == "var"
        && mention.steps.first().is_some_and(|step| step.as_deref() == Some(name))
        && mention.ends.len() > 1
}

/// Where the tool has to know a variable before it plans, nothing can stand for it. `None`: there is no such place.
fn in_the_way(rewriting: &Rewriting<'_, '_>, name: &str, file: &File<'_>) -> Option<String> {
    if file.is_override {
        return Some("an override file changes it".to_owned());
    }
    if !is_name(name) {
        return Some("its name is no identifier".to_owned());
    }
    let module = rewriting.modules.get(rewriting.root)?;
    if let Some(broken) = module.broken.first() {
        return Some(format!("{broken} could not be parsed"));
    }
    for (file, block) in module.blocks() {
        let is_early = |argument: &str| match block.kind.as_str() {
            "terraform" => true,
            "module" => matches!(argument, "source" | "version"),
            "provider" => matches!(argument, "for_each" | "alias"),
            _ => false,
        };
        let deep = block
            .blocks
            .iter()
            .flat_map(Block::all_arguments)
            .filter(|_| block.kind == "terraform");
        let early = block
            .arguments
            .iter()
            .filter(|argument| is_early(&argument.name))
            .chain(deep);
        for argument in early {
            if let Some(mention) = argument.mentions.all.iter().find(|mention| is_of(mention, name)) {
                return Some(format!(
                    "{}:{} has to be known before anything is planned",
                    file.name, mention.line
                ));
            }
        }
    }
    None
}

fn mentions<'m, 't>(rewriting: &mut Rewriting<'m, 't>, variable: &Moved<'m, 't>, moved: &[Moved<'m, 't>]) {
    let (modules, root) = (rewriting.modules, rewriting.root);
    let Some(module) = modules.get(root) else { return };
    let stand_in = format!("module.{}.{}", rewriting.names.stem(), variable.name);
    for (file, block) in module.blocks() {
        // The block itself moves, and so do those of the others.
        let moves = moved
            .iter()
            .any(|moved| moved.block.at == block.at && moved.file.name == file.name);
        if moves || matches!(block.kind.as_str(), "moved" | "removed") {
            continue;
        }
        for argument in block
            .all_arguments()
            .into_iter()
            .filter(|argument| argument.name != "depends_on")
        {
            for mention in argument
                .mentions
                .all
                .iter()
                .filter(|mention| is_of(mention, variable.name))
            {
                rewriting.edits(root, file.name).mention(mention, 1, stand_in.clone());
            }
        }
    }
}

/// What stays is a variable that may have any value, or none: nothing reads it.
fn leave<'m, 't>(rewriting: &mut Rewriting<'m, 't>, variable: &Moved<'m, 't>) {
    let text = match &variable.file.json {
        Some(_) => "{ \"default\": null }".to_owned(),
        None => format!("variable \"{}\" {{ default = null }}", variable.name),
    };
    let root = rewriting.root;
    rewriting
        .edits(root, variable.file.name)
        .replace(variable.block.at.clone(), text);
}

/// The generated module: each block on the line that it has in the author's file, in a file of the same name.
fn declare<'m, 't>(rewriting: &mut Rewriting<'m, 't>, moved: &[Moved<'m, 't>]) {
    let (modules, root) = (rewriting.modules, rewriting.root);
    let (Some(dir), Some(module)) = (root.join(rewriting.names.stem()), modules.get(root)) else {
        return;
    };
    let mut asked = BTreeMap::new();
    let mut files: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    let mut in_order: Vec<&Moved<'_, '_>> = moved.iter().collect();
    in_order.sort_by_key(|variable| (variable.file.name, variable.block.at.start));
    for variable in in_order {
        let kept = validation::moved(variable, &mut asked);
        let (text, line) = files
            .entry(variable.file.name)
            .or_insert_with(|| match &variable.file.json {
                Some(_) => ("{\"variable\": [".to_owned(), 1),
                None => (String::new(), 1),
            });
        let at = usize::try_from(variable.block.line).unwrap_or(1);
        let comma = if text.ends_with('}') && variable.file.json.is_some() {
            ","
        } else {
            ""
        };
        let empty = "\n".repeat(at.saturating_sub(*line));
        let _ = match &variable.file.json {
            // Infallible: a String.
            Some(_) => write!(text, "{comma}{empty}{{\"{}\": {kept}}}", variable.name),
            None => write!(text, "{empty}{kept}"),
        };
        *line = at.max(*line) + breaks(&kept, 0..kept.len());
        if variable.file.json.is_none() {
            text.push('\n');
            *line += 1;
        }
    }
    for (name, (mut text, _)) in files {
        if text.starts_with('{') {
            text.push_str("]}\n");
        }
        if let Some(path) = dir.join(name) {
            rewriting.done.files.insert(path, text);
        }
    }
    let mut own = String::new();
    for variable in moved {
        let ephemeral = ephemeral(variable.file, variable.block);
        let _ = write!(
            own,
            "output \"{0}\" {{\n  value = var.{0}{ephemeral}\n}}\n",
            variable.name
        );
    }
    // A validation may look at other variables, which are passed on as they are.
    for name in asked
        .into_keys()
        .filter(|name: &String| is_name(name) && moved.iter().all(|moved| moved.name != name))
    {
        let declared = module.of_kind("variable", 1).find(|(_, block)| block.label(0) == name);
        let ephemeral = declared.map(|(file, block)| ephemeral(file, block)).unwrap_or_default();
        let _ = write!(own, "variable \"{name}\" {{\n  type = any{ephemeral}\n}}\n");
        rewriting
            .generated(root)
            .through
            .insert(name.clone(), format!("var.{name}"));
    }
    if let Some(path) = dir.join(&rewriting.names.file()) {
        rewriting.done.files.insert(path, own);
    }
}

fn ephemeral(file: &File<'_>, block: &Block) -> &'static str {
    let given = block
        .argument("ephemeral")
        .and_then(|argument| file.text.get(argument.at.clone()));
    match given {
        Some("true") => "\n  ephemeral = true",
        _ => "",
    }
}
