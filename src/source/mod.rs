//! Owns discovery: from the blobs of two trees to rules, stacks, edges, read sets and what a change affects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::graph::Graph;
use crate::domain::ids::{RepoId, RepoPath, StackName};
use crate::domain::layout::Discovered;
use crate::domain::located::{Located, Place};
use crate::domain::rules::Rules;
use crate::domain::unit::Units;
use crate::source::change::gone::{Fates, excluded_after_the_merge};
use crate::source::change::{Compared, Matching, effect, take_labels, touches};
use crate::source::config::{Config, FILE, Half};
use crate::source::facts::parse::{Flavour, text};
use crate::source::kept::{Asking, Kept, Older, Reading};
use crate::source::layout::before::Differences;
use crate::source::layout::{Definitions, Layout};
use crate::source::module::files::Files;
use crate::source::owners::{owners, states_at_base};
use crate::source::parallel::on_a_deep_stack;
use crate::source::unmatched::unmatched;

pub mod parallel;
pub mod config;
pub mod value;
pub mod facts;
pub mod module;
pub mod part;
pub mod terragrunt;
pub mod layout;
pub mod kept;
pub mod change;
pub mod owners;
pub mod unmatched;
pub mod survey;

/// What an entry of a git tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Executable,
    Symlink,
    Submodule,
}

/// One entry of a git tree; directories are implied by paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The object's name in hexadecimal.
    pub blob: String,
}

/// One commit's files: every entry, and the contents of those that are [`wanted`].
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Shared with whoever keeps the tree's reading.
    pub entries: Arc<BTreeMap<RepoPath, Entry>>,
    /// By object name. A wanted blob that is missing here (too large to read) is a located error where it matters.
    pub blobs: HashMap<String, Arc<[u8]>>,
    /// What the terragrunt program said of its units. `None`: it was not asked, and they are read lightly.
    pub units: Option<Arc<Units>>,
}

/// One file of the three-dot diff; a rename names both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub old: Option<RepoPath>,
    pub new: Option<RepoPath>,
}

/// What discovery looks at.
pub struct Input<'a> {
    /// Keeps local states of two repositories apart.
    pub repo: RepoId,
    pub base: &'a Tree,
    pub merged: &'a Tree,
    /// merge-base..head.
    pub changes: &'a [Change],
}

/// Whether discovery needs the contents of this entry. Links are always needed: their contents are where they lead.
pub fn wanted(path: &RepoPath, kind: Kind) -> bool {
    match kind {
        Kind::Symlink => true,
        Kind::Submodule => false,
        Kind::File | Kind::Executable => {
            let name = path.file_name();
            const ENDINGS: [&str; 4] = [".tfvars", ".tfvars.json", ".tfbackend", ".hcl"];
            let lock_file = name == ".terraform.lock.hcl";
            path.as_str() == FILE
                || Flavour::of(name).is_some()
                || (!lock_file && ENDINGS.iter().any(|ending| name.ends_with(ending)))
        }
    }
}

/// The gate at base. `Err`: what to mend in the base branch before anything may be applied.
pub fn rules(base: &Tree) -> Result<Rules, Vec<Located>> {
    gate(&configuration(base))
}

fn gate(config: &Config) -> Result<Rules, Vec<Located>> {
    match config.faults(&[Half::Gate, Half::Both]) {
        faults if faults.is_empty() => Ok(config.rules.clone()),
        faults => Err(faults),
    }
}

/// The tree's `lockkeeper.yaml`, or the defaults where there is none.
fn configuration(tree: &Tree) -> Config {
    let path = RepoPath::parse(FILE).expect("a plain name");
    let read = match tree.entries.get(&path) {
        None if is_a_directory(tree, &path) => Err("this is a directory".to_owned()),
        // Whoever wrote rules must not find that there were none.
        None => {
            return match misnamed(tree).next() {
                Some(other) => Config::unreadable(
                    Located::at(Place::file(other.clone()), "nobody reads a configuration of this name")
                        .hint(format!("call it {FILE}, at the root of the repository")),
                ),
                None => Config::default(),
            };
        }
        Some(entry) if entry.kind == Kind::Symlink => Err("the file is a link".to_owned()),
        Some(entry) if entry.kind == Kind::Submodule => Err("this is a submodule".to_owned()),
        Some(entry) => tree
            .blobs
            .get(&entry.blob)
            .ok_or_else(|| "the file is too large: at most 1 MiB is read".to_owned()),
    };
    let read = read.and_then(|bytes| text(bytes).map_err(|broken| broken.why));
    match read {
        Ok(text) => {
            let mut config = Config::parse(&path, text);
            config::policies::check(&mut config, tree);
            config
        }
        Err(why) => Config::unreadable(Located::at(Place::file(path), why).hint("make it a plain text file")),
    }
}

fn is_a_directory(tree: &Tree, path: &RepoPath) -> bool {
    let mut after = tree.entries.range(path.clone()..).map(|(path, _)| path);
    // `a-b` sorts between `a` and `a/b`.
    let beside = |other: &&RepoPath| other.as_str().starts_with(path.as_str());
    after.by_ref().take_while(beside).any(|other| other.is_within(path))
}

/// Stacks, edges and what the changes affect. Never panics on bad input; bounded in time.
pub fn discover(input: &Input<'_>) -> Discovered {
    discover_with(&Kept::default(), input)
}

/// The same with what is kept of other runs; it is found quicker, and nothing else.
pub fn discover_with(kept: &Kept, input: &Input<'_>) -> Discovered {
    on_a_deep_stack(|| discovered(kept, input)).unwrap_or_else(|error| Discovered {
        rules: rules(input.base),
        graph: Graph::default(),
        selected: BTreeMap::new(),
        changed: BTreeSet::new(),
        broken: BTreeMap::new(),
        errors: vec![
            Located::nowhere(format!("the server has no thread left to read the repository: {error}"))
                .hint("say `/plan`"),
        ],
        notices: Vec::new(),
        deleted: Vec::new(),
        at_base: BTreeMap::new(),
        owners: Vec::new(),
        unread: BTreeSet::new(),
    })
}

fn discovered(kept: &Kept, input: &Input<'_>) -> Discovered {
    let base = kept.base(input.repo, input.base);
    let at_base = &base.config;
    let at_merged = &configuration(input.merged);
    let file_differs = entry_of(input.base) != entry_of(input.merged);
    let files = Files::new(input.merged);
    // A file that cannot be read says nothing about stacks: with base's description the others stay what they are.
    let described = if at_merged.unreadable { at_base } else { at_merged };
    let definitions = match file_differs {
        true => Definitions::Wanted,
        false => Definitions::Unwanted,
    };
    let mut merged = merged_layout(kept, input.repo, &base, &files, described, definitions);
    let base = &base.layout;

    let mut notices = gate_notices(input, at_base, at_merged);
    let matching = Matching::of(base, &merged);
    notices.extend(take_labels(base, &mut merged, &matching));
    let fates = Fates::of_all(base, &merged, &matching, &described.layout, &files);
    let (old, new) = (&at_base.rules.exclude, &described.rules.exclude);
    notices.extend(excluded_after_the_merge(&merged, old, new, &described.layout));
    if file_differs {
        notices.extend(unmatched(at_merged, &merged, input.merged));
    }
    let mut edges = std::mem::take(&mut merged.edges);
    // An edge to a stack that goes is that stack's matter and its reader's: the others go on.
    fates.without_needed(&mut edges);
    let (graph, cycles) = Graph::build(merged.stacks.clone(), edges);
    let touches = touches(input.base, input.merged, input.changes);
    let effect = effect(&Compared {
        base,
        merged: &merged,
        graph: &graph,
        matching: &matching,
        fates: &fates,
        changes: input.changes,
        touches: &touches,
        file_differs,
    });

    let selected: BTreeSet<&StackName> = effect.selected.keys().collect();
    let states_at_base = states_at_base(base, &merged, &matching, &selected);
    let owners = owners(base, &merged, &selected);
    let mut errors = at_merged.faults(&[Half::Gate, Half::Description, Half::Both]);
    let (untold, not_planned) = terragrunt::generated::untold(input);
    errors.extend(untold);
    notices.extend(not_planned);
    let Layout {
        errors: layout_errors,
        mut broken,
        notices: stack_notices,
        unclaimed,
        ..
    } = merged;
    errors.extend(layout_errors);
    errors.extend(cycles);
    for (name, error) in effect.broken {
        broken.entry(name).or_default().push(error);
    }
    notices.extend(effect.notices);
    // What could not be told of a stack that is not here tonight is nobody's business tonight.
    let here = stack_notices
        .into_iter()
        .filter(|(name, _)| effect.selected.contains_key(name));
    notices.extend(here.flat_map(|(_, notices)| notices));
    let changed = unclaimed.into_iter().filter(|(path, _)| touches.contains_key(path));
    notices.extend(changed.map(|(_, notice)| notice));
    for list in broken.values_mut().chain([&mut errors, &mut notices]) {
        list.sort();
        list.dedup();
    }
    let policies = [at_base, at_merged].map(|config| config.rules.policies.dir.as_ref());
    let is_ours = |path: &RepoPath| path.as_str() == FILE || policies.iter().flatten().any(|dir| path.is_within(dir));
    let unread = effect.unread.into_iter().filter(|path| !is_ours(path)).collect();
    Discovered {
        rules: gate(at_base),
        graph,
        selected: effect.selected,
        changed: effect.changed,
        broken,
        errors,
        notices,
        deleted: effect.deleted,
        at_base: states_at_base,
        owners,
        unread,
    }
}

/// What the merged tree says of its stacks, with what base's reading says still.
fn merged_layout(
    kept: &Kept,
    repo: RepoId,
    base: &Reading,
    files: &Files<'_>,
    config: &Config,
    definitions: Definitions,
) -> Layout {
    let differences = Differences::between(&base.seen, files);
    let known: BTreeSet<RepoPath> = base.layout.stacks.values().map(|stack| stack.dir.clone()).collect();
    let older = Older {
        reading: base,
        differences: &differences,
    };
    let asked = Asking {
        repo,
        files,
        config,
        exclude: &base.config.rules.exclude,
        known: &known,
        definitions,
    };
    kept.read(&asked, Some(&older), |layout, _| layout)
}

/// The files that somebody meant to be the configuration: of another ending, hidden, in capitals, or where GitHub and
/// other tools look for theirs.
fn misnamed(tree: &Tree) -> impl Iterator<Item = &RepoPath> {
    const STEMS: [&str; 4] = [
        "lockkeeper.",
        ".lockkeeper.",
        ".github/lockkeeper.",
        ".github/.lockkeeper.",
    ];
    const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
    let is_meant = |path: &&RepoPath| {
        // Looked for among tens of thousands.
        if path.as_str().len() > 32 {
            return false;
        }
        let name = path.as_str().to_ascii_lowercase();
        let ending = STEMS.iter().find_map(|stem| name.strip_prefix(stem));
        path.as_str() != FILE && ending.is_some_and(|ending| ENDINGS.contains(&ending))
    };
    tree.entries.keys().filter(is_meant)
}

/// What lies beside the file and looks like it.
fn unread_beside(tree: &Tree) -> impl Iterator<Item = Located> {
    let is_there = entry_of(tree).is_some();
    let unread = misnamed(tree).filter(move |_| is_there);
    unread.map(|path| {
        Located::at(
            Place::file(path.clone()),
            format!("nobody reads this file: {FILE} holds what counts"),
        )
        .hint("remove it")
    })
}

fn entry_of(tree: &Tree) -> Option<&Entry> {
    tree.entries.get(&RepoPath::parse(FILE).expect("a plain name"))
}

/// Changes to the gate that this pull request makes: they count after the merge.
fn gate_notices(input: &Input<'_>, base: &Config, merged: &Config) -> Vec<Located> {
    let file = || Place::file(RepoPath::parse(FILE).expect("a plain name"));
    let mut notices = Vec::new();
    let hint = "the base branch's rules judge this pull request";
    if base.rules != merged.rules && !merged.unreadable {
        let problem = "the change of the rules takes effect after the merge";
        notices.push(Located::at(file(), problem).hint(hint));
    }
    if let Some(dir) = &base.rules.policies.dir {
        let paths = input
            .changes
            .iter()
            .flat_map(|change| change.old.iter().chain(&change.new));
        if let Some(path) = paths.into_iter().find(|path| path.is_within(dir)) {
            let problem = "the change of policies takes effect after the merge";
            notices.push(Located::at(Place::file(path.clone()), problem).hint(hint));
        }
    }
    let written: BTreeSet<&RepoPath> = input.changes.iter().filter_map(|change| change.new.as_ref()).collect();
    let is_written = |unread: &Located| unread.place.as_ref().is_some_and(|place| written.contains(&place.path));
    notices.extend(unread_beside(input.merged).filter(is_written));
    notices
}

#[cfg(test)]
mod tests;
