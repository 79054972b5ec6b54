//! Owns the reads of a `data "terraform_remote_state"`: each mention becomes a local value, the block goes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::located::{Located, Place};
use crate::tool::cascade::feeds::{Given, KIND};
use crate::tool::cascade::rewrite::edits::breaks;
use crate::tool::cascade::rewrite::{Rewriting, depends};
use crate::tool::cascade::texts::json::entries;
use crate::tool::cascade::texts::mention::Mention;
use crate::tool::cascade::texts::{Argument, Block, File};

/// A data source whose reads are rewritten.
struct Read<'m, 't> {
    dir: RepoPath,
    name: &'m str,
    upstream: &'m StackName,
    file: &'m File<'t>,
    block: &'m Block,
}

pub(super) fn rewrite<'m, 't>(rewriting: &mut Rewriting<'m, 't>) {
    let mut reads = Vec::new();
    for ((dir, name), upstream) in &rewriting.feeds.states {
        if !rewriting.supply.outputs.contains_key(upstream) {
            continue;
        }
        match found(rewriting, dir, name, upstream) {
            Ok(read) => reads.push(read),
            Err(why) => rewriting.unread(upstream, format!("`data.{KIND}.{name}`{}: {why}", within(dir))),
        }
    }
    let upstreams: BTreeSet<&StackName> = reads.iter().map(|read| read.upstream).collect();
    let numbers: BTreeMap<&StackName, usize> = upstreams.into_iter().zip(0..).collect();
    let mut needed: BTreeMap<RepoPath, BTreeSet<usize>> = BTreeMap::new();
    for read in &reads {
        let Some(number) = numbers.get(read.upstream) else {
            continue;
        };
        needed.entry(read.dir.clone()).or_default().insert(*number);
        mentions(rewriting, read);
        stand_in(rewriting, read, *number);
    }
    depends_on(rewriting, &reads);
    for (upstream, number) in numbers {
        let outputs = rewriting.supply.outputs.get(upstream).cloned().unwrap_or_default();
        let object = rewriting.values.object(&outputs);
        let (name, root) = (rewriting.names.outputs(number), rewriting.root);
        rewriting.generated(root).locals.insert(name, object);
    }
    pass(rewriting, needed);
}

fn within(dir: &RepoPath) -> String {
    match dir.is_root() {
        true => String::new(),
        false => format!(" in {dir}"),
    }
}

/// The one block of a read. `Err`: why it is left as it is.
fn found<'m, 't>(
    rewriting: &Rewriting<'m, 't>,
    dir: &RepoPath,
    name: &'m str,
    upstream: &'m StackName,
) -> Result<Read<'m, 't>, String> {
    let calls = &rewriting.calls;
    let in_the_way = calls
        .broken
        .iter()
        .find(|file| dir != rewriting.root || file.parent() == *dir);
    if let Some(file) = in_the_way {
        return Err(format!("{file} could not be parsed"));
    }
    if dir != rewriting.root && !calls.of.contains_key(dir) {
        return Err("no call of its module was found that names its directory plainly".to_owned());
    }
    let modules = rewriting.modules;
    let module = modules.get(dir).ok_or("its module is not part of the repository")?;
    let is_it = |block: &Block| block.label(0) == KIND && block.label(1) == name;
    let mut found = module.of_kind("data", 2).filter(|(_, block)| is_it(block));
    let Some((file, block)) = found.next() else {
        return Err("it stands inside of another block".to_owned());
    };
    if found.next().is_some() || file.is_override {
        return Err("an override file changes it".to_owned());
    }
    if !is_name(name) {
        return Err("its name is no identifier".to_owned());
    }
    let each = |argument: &&Argument| {
        let mut roots = argument.mentions.all.iter().map(|mention| mention.root.as_str());
        roots.any(|root| matches!(root, "each" | "count" | "self"))
    };
    if block.arguments.iter().any(|argument| each(&argument)) {
        return Err("each of its instances reads another state".to_owned());
    }
    let dir = dir.clone();
    Ok(Read {
        dir,
        name,
        upstream,
        file,
        block,
    })
}

/// Whether a name may stand in a text of ours.
pub(super) fn is_name(name: &str) -> bool {
    hcl_edit::Ident::try_new(name).is_ok()
}

fn is_of(mention: &Mention, name: &str) -> bool {
    let [Some(kind), Some(of), ..] = mention.steps.as_slice() else {
        return false;
    };
    mention.root == "data" && kind == KIND && of == name && mention.ends.len() > 2
}

/// Blocks in which an address is no value.
fn is_about_addresses(block: &Block) -> bool {
    matches!(block.kind.as_str(), "moved" | "removed")
}

/// Puts the local value in the place of every mention; says which outputs are read that no longer exist.
fn mentions<'m, 't>(rewriting: &mut Rewriting<'m, 't>, read: &Read<'m, 't>) {
    let modules = rewriting.modules;
    let Some(module) = modules.get(&read.dir) else { return };
    let stand_in = format!("local.{}", rewriting.names.state(read.name));
    for (file, block) in module.blocks().filter(|(_, block)| !is_about_addresses(block)) {
        for argument in block
            .all_arguments()
            .into_iter()
            .filter(|argument| argument.name != "depends_on")
        {
            for mention in argument.mentions.all.iter().filter(|mention| is_of(mention, read.name)) {
                rewriting
                    .edits(&read.dir, file.name)
                    .mention(mention, 2, stand_in.clone());
                if let Some(gone) = gone(rewriting, read, block, mention) {
                    let place = read.dir.join(file.name).map(|path| Place::line(path, mention.line));
                    let problem = format!(
                        "`{}` has no output `{gone}` (any more), which is read here",
                        read.upstream
                    );
                    let problem = match place {
                        Some(place) => Located::at(place, problem),
                        None => Located::nowhere(problem),
                    };
                    let hint = "give the output back, or stop reading it in the same change";
                    rewriting.done.errors.push(problem.hint(hint));
                }
            }
        }
    }
}

/// The output that a mention is sure to fail for: it is read in any case, and does not exist.
fn gone(rewriting: &Rewriting<'_, '_>, read: &Read<'_, '_>, block: &Block, mention: &Mention) -> Option<String> {
    let [_, _, Some(outputs), Some(output), ..] = mention.steps.as_slice() else {
        return None;
    };
    let is_sure = !mention.is_guarded
        && read.dir == *rewriting.root
        && matches!(block.kind.as_str(), "resource" | "data" | "output" | "provider")
        && ["count", "for_each"].iter().all(|name| block.argument(name).is_none())
        && !block
            .blocks
            .iter()
            .any(|inner| matches!(inner.kind.as_str(), "dynamic" | "lifecycle"))
        && outputs == "outputs"
        && read.block.argument("defaults").is_none();
    let given = rewriting.given(read.upstream, output).filter(|_| is_sure)?;
    matches!(given, Given::Absent).then(|| output.to_owned())
}

/// Takes the data sources out of every `depends_on`: what stands in for them waits for nothing.
fn depends_on<'m, 't>(rewriting: &mut Rewriting<'m, 't>, reads: &[Read<'m, 't>]) {
    let modules = rewriting.modules;
    let dirs: BTreeSet<&RepoPath> = reads.iter().map(|read| &read.dir).collect();
    for dir in dirs {
        let Some(module) = modules.get(dir) else { continue };
        let names: Vec<&str> = reads
            .iter()
            .filter(|read| read.dir == *dir)
            .map(|read| read.name)
            .collect();
        for (file, block) in module.blocks() {
            for list in block
                .all_arguments()
                .into_iter()
                .filter(|argument| argument.name == "depends_on")
            {
                let of_ours = list
                    .mentions
                    .all
                    .iter()
                    .filter(|mention| names.iter().any(|name| is_of(mention, name)));
                let dropped: Vec<usize> = of_ours.map(begin).collect();
                if !dropped.is_empty() {
                    depends::change(file, rewriting.edits(dir, file.name), list, &dropped, None);
                }
            }
        }
    }
}

fn begin(mention: &Mention) -> usize {
    mention.token.as_ref().map_or(mention.from, |token| token.start)
}

/// Arguments that somebody may ask the data source itself for.
const ASKED: [&str; 4] = ["backend", "config", "workspace", "defaults"];

/// The local value that stands for the data source, and what stays of its block.
fn stand_in<'m, 't>(rewriting: &mut Rewriting<'m, 't>, read: &Read<'m, 't>, number: usize) {
    let Read {
        dir, name, file, block, ..
    } = read;
    let names = rewriting.names;
    let is_whole = rewriting.modules.get(dir).is_some_and(|module| {
        let blocks = module.blocks().filter(|(_, block)| !is_about_addresses(block));
        let mut arguments = blocks.flat_map(|(_, block)| block.all_arguments());
        arguments.any(|argument| {
            let mut mentions = argument.mentions.all.iter().filter(|mention| is_of(mention, name));
            argument.name != "depends_on" && mentions.any(|mention| !asks_for_outputs(mention))
        })
    });
    let is_kept = |argument: &&Argument| match argument.name.as_str() {
        "count" | "for_each" | "defaults" => true,
        asked => is_whole && ASKED.contains(&asked),
    };
    let kept: Vec<&Argument> = block.arguments.iter().filter(is_kept).collect();
    let outputs = match *dir == *rewriting.root {
        true => format!("local.{}", names.outputs(number)),
        false => format!("var.{}", names.outputs(number)),
    };
    let has = |name: &str| kept.iter().any(|argument| argument.name == name);
    let local = |argument: &str| format!("local.{}", names.argument(argument, name));
    let mut entries = vec![match has("defaults") {
        true => format!("outputs = merge({}, {outputs})", local("defaults")),
        false => format!("outputs = {outputs}"),
    }];
    for asked in ASKED.iter().filter(|_| is_whole) {
        entries.push(match has(asked) {
            true => format!("{asked} = {}", local(asked)),
            false => format!("{asked} = null"),
        });
    }
    let one = format!("{{ {} }}", entries.join(", "));
    let each = format!("{}_each", names.stem());
    let stand_in = match (has("count"), has("for_each")) {
        (true, _) => format!("[for {each} in range({}) : {one}]", local("count")),
        (_, true) => format!(
            "{{ for {each}, {each}_value in {} : {each} => {one} }}",
            local("for_each")
        ),
        (false, false) => one,
    };
    rewriting.generated(dir).locals.insert(names.state(name), stand_in);
    match &file.json {
        None => leave_lines(rewriting, read, &kept),
        Some(_) => leave_json(rewriting, read, &kept),
    }
}

/// `data.t.n.outputs…`, also of an instance, and of all instances.
fn asks_for_outputs(mention: &Mention) -> bool {
    let is_outputs = |at: usize| {
        mention
            .steps
            .get(at)
            .is_some_and(|step| step.as_deref() == Some("outputs"))
    };
    is_outputs(2) || is_outputs(3)
}

/// The block becomes `locals` of what is kept, each on its line; or empty lines.
fn leave_lines<'m, 't>(rewriting: &mut Rewriting<'m, 't>, read: &Read<'m, 't>, kept: &[&Argument]) {
    let (names, file) = (rewriting.names, read.file);
    let edits = rewriting.edits(&read.dir, file.name);
    let mut text = String::new();
    let mut at = read.block.at.start;
    for argument in kept {
        if text.is_empty() {
            text.push_str("locals {");
        }
        text.push_str(&"\n".repeat(breaks(file.text, at..argument.at.start)));
        text.push_str(&format!(" {} = ", names.argument(&argument.name, read.name)));
        text.push_str(&edits.applied(file.text, argument.at.clone()));
        at = argument.at.end;
    }
    if !kept.is_empty() {
        text.push_str(&"\n".repeat(breaks(file.text, at..read.block.at.end)));
        text.push_str(" }");
    }
    edits.replace(read.block.at.clone(), text);
}

/// The name stays, with no block of it: the tools want at least one name in an object of blocks. What is kept becomes
/// `locals` of a file of ours.
fn leave_json<'m, 't>(rewriting: &mut Rewriting<'m, 't>, read: &Read<'m, 't>, kept: &[&Argument]) {
    let (names, file) = (rewriting.names, read.file);
    let Some(node) = &file.json else { return };
    let edits = rewriting.edits(&read.dir, file.name);
    let raw = |range: Range<usize>| edits.applied(file.text, range).replace('\n', " ");
    let kept: Vec<(String, String)> = kept
        .iter()
        .map(|argument| (names.argument(&argument.name, read.name), raw(argument.at.clone())))
        .collect();
    for data in entries(node).into_iter().filter(|entry| entry.key == "data") {
        for kind in entries(&data.value).into_iter().filter(|entry| entry.key == KIND) {
            for named in entries(&kind.value).into_iter().filter(|entry| entry.key == read.name) {
                edits.replace(named.value.at.clone(), "[]");
            }
        }
    }
    rewriting.generated(&read.dir).json_locals.extend(kept);
}

/// Hands the outputs down to every module that reads them, through every call on the way.
fn pass(rewriting: &mut Rewriting<'_, '_>, needed: BTreeMap<RepoPath, BTreeSet<usize>>) {
    let mut open: Vec<(RepoPath, usize)> = Vec::new();
    for (dir, numbers) in needed {
        open.extend(numbers.into_iter().map(|number| (dir.clone(), number)));
    }
    while let Some((dir, number)) = open.pop() {
        let name = rewriting.names.outputs(number);
        if dir == *rewriting.root || !rewriting.generated(&dir).passed.insert(name.clone()) {
            continue;
        }
        let callers = rewriting.calls.of.get(&dir).cloned().unwrap_or_default();
        for (caller, call) in callers.into_iter().filter(|(_, call)| is_name(call)) {
            let given = match caller == *rewriting.root {
                true => format!("local.{name}"),
                false => format!("var.{name}"),
            };
            let arguments = &mut rewriting.generated(&caller).arguments;
            arguments.entry(call).or_default().insert(name.clone(), given);
            open.push((caller, number));
        }
    }
}
