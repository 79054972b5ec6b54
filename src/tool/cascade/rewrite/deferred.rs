//! Owns data sources that rest on an output that changes: what they would read today is not what they will read.

use crate::domain::ids::RepoPath;
use crate::tool::cascade::feeds::{KIND, ModuleFiles};
use crate::tool::cascade::rests;
use crate::tool::cascade::rewrite::{Rewriting, depends};
use crate::tool::cascade::texts::{Argument, Block, File};

/// Makes each of them mention a resource that is to be created: the tool then reads them during the apply only.
pub(super) fn defer<'m, 't>(rewriting: &mut Rewriting<'m, 't>, modules: &[ModuleFiles]) {
    if rewriting.supply.changed.is_empty() {
        return;
    }
    let changed = |on: &rests::On| {
        let mut changed = rewriting.supply.changed.iter();
        changed.any(|(upstream, output)| on.iter().any(|fed| fed.may_be(upstream, output)))
    };
    let resting = rests::data_sources(modules, rewriting.root, rewriting.feeds);
    let resting: Vec<(RepoPath, String, String)> = resting
        .into_iter()
        .filter(|(_, on)| changed(on))
        .map(|(data, _)| data)
        .collect();
    for (dir, kind, name) in resting {
        let parsed = rewriting.modules;
        let Some(module) = parsed.get(&dir) else { continue };
        if rewriting.names.is_ours(&name) || is_rewritten(rewriting, &dir, &kind, &name) {
            continue;
        }
        let of_checks = module
            .of_kind("check", 1)
            .flat_map(|(file, check)| check.blocks.iter().map(move |block| (file, block)));
        let is_it = |block: &Block| block.is("data", 2) && block.label(0) == kind && block.label(1) == name;
        for (file, block) in module
            .of_kind("data", 2)
            .chain(of_checks)
            .filter(|(_, block)| is_it(block))
        {
            if one(rewriting, &dir, file, block) {
                rewriting.generated(&dir).defers = true;
            }
        }
    }
}

fn is_rewritten(rewriting: &Rewriting<'_, '_>, dir: &RepoPath, kind: &str, name: &str) -> bool {
    let stand_in = rewriting.names.state(name);
    kind == KIND
        && rewriting
            .generated
            .get(dir)
            .is_some_and(|own| own.locals.contains_key(&stand_in))
}

fn one<'m, 't>(rewriting: &mut Rewriting<'m, 't>, dir: &RepoPath, file: &'m File<'t>, block: &'m Block) -> bool {
    let resource = format!("terraform_data.{}", rewriting.names.stem());
    let deferred = rewriting.names.deferred();
    if file.json.is_some() {
        let edits = rewriting.edits(dir, file.name);
        match block.argument("depends_on") {
            Some(list) => depends::change(file, edits, list, &[], Some(&resource)),
            None => edits.replace(
                block.at.start..block.at.start + 1,
                format!("{{\"depends_on\": [\"{resource}\"], "),
            ),
        }
        return true;
    }
    match mentioning(block) {
        Some(argument) => {
            let at = argument.at.start;
            rewriting.edits(dir, file.name).replace(at..at, deferred);
            true
        }
        None => false,
    }
}

/// The argument that is to mention the resource.
fn mentioning(block: &Block) -> Option<&Argument> {
    let is_value = |argument: &&&Argument| {
        !matches!(
            argument.name.as_str(),
            "provider" | "depends_on" | "iterator" | "labels"
        )
    };
    let all = block.arguments.iter();
    let nested = block
        .blocks
        .iter()
        .filter(|inner| inner.kind != "lifecycle")
        .flat_map(Block::all_arguments);
    let all: Vec<&Argument> = all.chain(nested).collect();
    let is_repetition = |argument: &&&Argument| matches!(argument.name.as_str(), "count" | "for_each");
    let found = all.iter().filter(is_value).find(|argument| !is_repetition(argument));
    found.or_else(|| all.iter().find(is_value)).copied()
}
