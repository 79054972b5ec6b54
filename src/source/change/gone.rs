//! Owns what becomes of base's stacks that the merged tree does not have as they were: moved, deleted, or no longer
//! managed. Where that cannot be told, nothing is destroyed and the reason is said.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::{Because, Edge, Reads};
use crate::domain::ids::{LockKey, RepoPath, StackName};
use crate::domain::layout::Stack;
use crate::domain::located::{Located, Place};
use crate::source::Change;
use crate::source::change::Matching;
use crate::source::config::{Description, FILE};
use crate::source::facts::parse::Flavour;
use crate::source::layout::roots::takes;
use crate::source::layout::{Layout, place_of};
use crate::source::module::files::{Files, Lost, What};

/// What became of a stack of base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its files are gone from the merged tree, and no stack there has its state.
    Deleted,
    /// Its files are there, and it is no stack any more.
    Unmanaged,
    /// Its files are gone, and its name is that of another stack with another state.
    Replaced,
}

/// What became of each stack of base that did not stay.
pub struct Fates<'a> {
    fates: Vec<(&'a Stack, Fate)>,
    /// Why each unmanaged one left, in words.
    why: BTreeMap<&'a StackName, String>,
    /// Who still needs a deleted one in the merged tree.
    pub still_needed: Vec<StillNeeded>,
}

/// A stack of the merged tree needs one that goes.
pub struct StillNeeded {
    /// From the one that stays to the one that goes.
    pub edge: Edge,
}

impl<'a> Fates<'a> {
    /// Looks at every stack of base. `files` are the merged tree's.
    pub fn of_all(
        base: &'a Layout,
        merged: &Layout,
        matching: &Matching,
        description: &Description,
        files: &Files<'_>,
    ) -> Fates<'a> {
        let mut fates = Fates {
            fates: Vec::new(),
            why: BTreeMap::new(),
            still_needed: Vec::new(),
        };
        let left: Vec<&Stack> = base
            .stacks
            .values()
            .filter(|stack| was_there(stack, base) && !stays(stack, merged, matching))
            .collect();
        if left.is_empty() {
            return fates;
        }
        let elsewhere = Elsewhere::of(merged, description);
        for stack in left {
            let left = match elsewhere.lost_its_own_files(files, stack) {
                true => Left::Nothing,
                false => what_is_left(files, &stack.dir),
            };
            let fate = match (left, merged.stacks.contains_key(&stack.name)) {
                (Left::Nothing, false) => Fate::Deleted,
                (Left::Nothing, true) => Fate::Replaced,
                (left, _) => {
                    let why = elsewhere.why(stack, &left);
                    fates.why.insert(&stack.name, why);
                    Fate::Unmanaged
                }
            };
            fates.fates.push((stack, fate));
        }
        fates.still_needed = still_needed(&fates, merged);
        fates
    }

    /// The stacks with this fate, by name.
    pub fn of(&self, fate: Fate) -> impl Iterator<Item = &'a Stack> + '_ {
        let these = self.fates.iter().filter(move |(_, own)| *own == fate);
        these.map(|(stack, _)| *stack)
    }

    /// Takes out the edges of the merged tree that lead to a stack that goes.
    pub fn without_needed(&self, edges: &mut Vec<Edge>) {
        let gone: BTreeSet<&Edge> = self.still_needed.iter().map(|needed| &needed.edge).collect();
        edges.retain(|edge| !gone.contains(edge));
    }

    /// Errors on stacks of the merged tree.
    pub fn broken(&self, base: &Layout, merged: &Layout) -> Vec<(StackName, Located)> {
        let mut broken = Vec::new();
        for needed in &self.still_needed {
            let gone = &base.stacks[&needed.edge.upstream];
            broken.push((needed.edge.downstream.clone(), needed.told_downstream(gone)));
        }
        for old in self.of(Fate::Replaced) {
            let new = &merged.stacks[&old.name];
            let problem = format!(
                "{} keeps its state elsewhere than the stack of that name at base ({}), whose files go: whether it is moved \
                 or replaced cannot be told",
                new.name,
                place_of(old)
            );
            let hint = "to move it, keep its state; to replace it, give the new stack another name";
            broken.push((new.name.clone(), Located::at(place_of(new), problem).hint(hint)));
        }
        broken
    }

    /// What people should know: who is no longer managed, and who may have meant to move.
    pub fn notices(&self, merged: &Layout, changes: &[Change]) -> Vec<Located> {
        let left = self.of(Fate::Unmanaged).map(|stack| self.unmanaged(stack));
        let mut notices = shortened(left.collect());
        notices.extend(went_without_their_state(self, merged, changes));
        notices
    }

    fn unmanaged(&self, stack: &Stack) -> Located {
        let why = self.why.get(&stack.name).map(String::as_str).unwrap_or_default();
        let problem = format!(
            "{} is no longer managed after this pull request: {why}; nothing of it is destroyed",
            stack.name
        );
        // The line is base's, and the file may have no such line any more.
        let place = match is_declared(stack) {
            true => Place::file(RepoPath::parse(FILE).expect("a plain name")),
            false => Place::file(stack.dir.clone()),
        };
        Located::at(place, problem).hint("its files are still there: name it under `stacks` to keep it")
    }
}

impl StillNeeded {
    fn told_downstream(&self, gone: &Stack) -> Located {
        let Edge {
            downstream, upstream, ..
        } = &self.edge;
        let problem = format!(
            "{downstream} still {} {upstream}, which is being removed ({})",
            self.verb(),
            place_of(gone)
        );
        Located::at(self.edge.because.place().clone(), problem).hint("remove this line, or keep that stack")
    }

    /// The same, on the one that goes.
    pub fn told_upstream(&self, gone: &Stack) -> Located {
        let Edge {
            downstream, upstream, ..
        } = &self.edge;
        let problem = format!(
            "{upstream} ({}) is being removed, and {downstream} still {} it",
            place_of(gone),
            self.verb()
        );
        Located::at(self.edge.because.place().clone(), problem).hint("remove this line, or keep that stack")
    }

    fn verb(&self) -> &'static str {
        match &self.edge.because {
            Because::RemoteState { .. } => "reads the state of",
            _ => "needs",
        }
    }
}

/// A line of base that names a directory without files describes nothing, so its removal takes nothing away.
fn was_there(stack: &Stack, base: &Layout) -> bool {
    base.module_dirs.contains(&stack.dir) || !base.broken.contains_key(&stack.name)
}

/// Whether the merged tree has this stack: its state, whoever has it; else its place; else its name, where nobody can
/// tell that the states are two.
fn stays(stack: &Stack, merged: &Layout, matching: &Matching) -> bool {
    matching.merged(&stack.name).iter().any(|name| {
        let other = &merged.stacks[name];
        let same_place = other.dir == stack.dir && other.workspace == stack.workspace;
        let may_be_the_same = match (stack.state.key(), other.state.key()) {
            (Some(old), Some(new)) => old == new,
            (None, _) | (_, None) => true,
        };
        same_place || may_be_the_same
    })
}

/// The stack of base that this one was, under another name or in another directory: it has its state.
pub fn moved_from<'a>(stack: &Stack, base: &'a Layout, bases: &[StackName]) -> Option<&'a Stack> {
    let key = stack.state.key()?;
    let has_it = |old: &&Stack| old.state.key() == Some(key);
    let mut had_it = bases.iter().filter_map(|name| base.stacks.get(name)).filter(has_it);
    let first = had_it.clone().next()?;
    let stayed = had_it.any(|old| old.name == stack.name && old.dir == stack.dir);
    (!stayed).then_some(first)
}

/// What the merged tree still has of a directory's code.
enum Left {
    Nothing,
    Files,
    /// Behind this link.
    Link(RepoPath),
    /// In a submodule or out of the repository, where nobody looks.
    Unseen(RepoPath),
}

fn what_is_left(files: &Files<'_>, dir: &RepoPath) -> Left {
    let is_code = |path: &&&RepoPath| {
        let name = path.file_name();
        const UNITS: [&str; 3] = ["terragrunt.hcl", "terragrunt.hcl.json", "terragrunt.stack.hcl"];
        Flavour::of(name).is_some() || UNITS.contains(&name)
    };
    match files.find(dir) {
        Ok(found) if found.what == What::Directory => {
            match (
                files.in_directory(&found.path).iter().find(is_code),
                found.links.into_iter().next(),
            ) {
                (None, _) => Left::Nothing,
                (Some(_), None) => Left::Files,
                (Some(_), Some(link)) => Left::Link(link),
            }
        }
        Ok(_) | Err(Lost::Missing) => Left::Nothing,
        Err(Lost::Leaves(at) | Lost::Submodule(at) | Lost::Circle(at)) => Left::Unseen(at),
    }
}

/// Whether a line under `stacks` describes it.
fn is_declared(stack: &Stack) -> bool {
    stack.defined_at.as_ref().is_some_and(|at| at.path.as_str() == FILE)
}

/// What the merged tree says of directories, to tell why a stack whose files are there is none any more.
struct Elsewhere<'a> {
    description: &'a Description,
    included: Box<dyn Fn(&RepoPath) -> bool>,
    declared: BTreeSet<&'a RepoPath>,
    stacks: BTreeSet<&'a RepoPath>,
    /// Backend files of its stacks.
    backend_files: BTreeSet<&'a RepoPath>,
    /// Modules, and a stack that calls each.
    called: BTreeMap<&'a RepoPath, &'a StackName>,
}

impl<'a> Elsewhere<'a> {
    fn of(merged: &'a Layout, description: &'a Description) -> Elsewhere<'a> {
        let calls = |stack: &'a Stack| stack.local_modules.iter().map(move |dir| (dir, &stack.name));
        Elsewhere {
            description,
            included: Box::new(takes(&description.include)),
            declared: description.stacks.iter().map(|declared| &declared.dir).collect(),
            stacks: merged.stacks.values().map(|stack| &stack.dir).collect(),
            backend_files: merged.stacks.values().flat_map(|stack| &stack.backend_files).collect(),
            called: merged.stacks.values().flat_map(calls).collect(),
        }
    }

    /// Whether an environment that was found, and not described, has lost its variable file and its backend file, while
    /// its directory would still be looked at for environments.
    fn lost_its_own_files(&self, files: &Files<'_>, stack: &Stack) -> bool {
        let Description { discover, include, .. } = self.description;
        let looked_at = *discover
            && (include.is_empty() || (self.included)(&stack.dir))
            && !self.declared.contains(&stack.dir)
            && !self.called.contains_key(&stack.dir);
        // A backend file without a name of its own serves the others too.
        let backend_files = stack.backend_files.iter();
        let own = stack
            .var_files
            .iter()
            .chain(backend_files.filter(|file| !self.backend_files.contains(file)));
        let is_gone =
            |file: &RepoPath| !files.tree.entries.contains_key(file) && matches!(files.find(file), Err(Lost::Missing));
        looked_at && !is_declared(stack) && !stack.var_files.is_empty() && own.into_iter().all(is_gone)
    }

    fn why(&self, stack: &Stack, left: &Left) -> String {
        match left {
            Left::Link(link) => return format!("its directory is behind the link {link} now"),
            Left::Unseen(at) => return format!("its directory is behind {at} now, where nobody looks"),
            Left::Files | Left::Nothing => {}
        }
        let Description { discover, include, .. } = self.description;
        let declared_at_base = is_declared(stack);
        if declared_at_base && self.declared.contains(&stack.dir) {
            "`stacks` describes another stack of its directory".to_owned()
        } else if declared_at_base && self.stacks.contains(&stack.dir) {
            "its line under `stacks` is gone, and its directory is found as another stack".to_owned()
        } else if !discover {
            "`discover.enabled` is off, and `stacks` does not name it".to_owned()
        } else if !include.is_empty() && !(self.included)(&stack.dir) {
            "`discover.include` does not take its directory".to_owned()
        } else if let Some(caller) = self.called.get(&stack.dir) {
            format!("its directory is a module that {caller} calls")
        } else if self.stacks.contains(&stack.dir) {
            "its directory is found as another stack".to_owned()
        } else if stack.unit.is_some() {
            "its terragrunt.hcl excludes it, is only there to be copied, or runs nothing any more".to_owned()
        } else {
            "its directory has neither a backend nor a provider block".to_owned()
        }
    }
}

/// Stacks of the merged tree that head's `discover.exclude` will take once it is base's.
pub fn excluded_after_the_merge(
    merged: &Layout,
    old: &[String],
    new: &[String],
    description: &Description,
) -> Vec<Located> {
    if old == new {
        return Vec::new();
    }
    let declared: BTreeSet<&RepoPath> = description.stacks.iter().map(|declared| &declared.dir).collect();
    let taken_by = takes(new);
    let taken = merged
        .stacks
        .values()
        .filter(|stack| !declared.contains(&stack.dir) && taken_by(&stack.dir));
    let notice = |stack: &Stack| {
        let problem = format!(
            "{} is no longer managed after the merge: `discover.exclude` takes its directory; nothing of it is destroyed",
            stack.name
        );
        Located::at(Place::file(RepoPath::parse(FILE).expect("a plain name")), problem)
            .hint("until then it is planned as ever")
    };
    shortened(taken.map(notice).collect())
}

/// More stacks that leave than anybody reads of.
const MOST_NOTICES: usize = 50;

/// The first ones and the number of the others.
fn shortened(mut notices: Vec<Located>) -> Vec<Located> {
    if let Some(more) = notices.len().checked_sub(MOST_NOTICES).filter(|more| *more > 0) {
        notices.truncate(MOST_NOTICES);
        notices.push(Located::nowhere(format!(
            "and {more} more stacks are no longer managed"
        )));
    }
    notices
}

/// Who reads the state of a stack that goes, or names it.
fn still_needed(fates: &Fates<'_>, merged: &Layout) -> Vec<StillNeeded> {
    let names: BTreeSet<&StackName> = fates.of(Fate::Deleted).map(|gone| &gone.name).collect();
    let keys: BTreeMap<&LockKey, &StackName> = fates
        .of(Fate::Deleted)
        .filter_map(|gone| Some((gone.state.key()?, &gone.name)))
        .collect();
    let named = merged.edges.iter().filter(|edge| names.contains(&edge.upstream));
    let named = named.map(|edge| StillNeeded { edge: edge.clone() });
    let looking = merged.looking.iter().filter_map(|looking| {
        let edge = Edge {
            downstream: looking.stack.clone(),
            upstream: (*keys.get(&looking.key)?).clone(),
            outputs: BTreeMap::new(),
            reads: Reads::Unknown,
            because: Because::RemoteState {
                place: looking.place.clone(),
                data_name: String::new(),
            },
        };
        Some(StillNeeded { edge })
    });
    named.chain(looking).collect()
}

/// Stacks whose files moved to another stack's directory (environments: whose variable file became another's), and whose state did not: somebody who moves a directory may
/// not mean to destroy what it made.
fn went_without_their_state(fates: &Fates<'_>, merged: &Layout, changes: &[Change]) -> Vec<Located> {
    let gone: BTreeMap<&RepoPath, &Stack> = fates.of(Fate::Deleted).map(|stack| (&stack.dir, stack)).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let heirs: BTreeMap<&RepoPath, &Stack> = merged.stacks.values().map(|stack| (&stack.dir, stack)).collect();
    fn by_file<'s>(stacks: impl Iterator<Item = &'s Stack>) -> BTreeMap<&'s RepoPath, &'s Stack> {
        stacks
            .flat_map(|stack| stack.var_files.iter().map(move |file| (file, stack)))
            .collect()
    }
    let (gone_files, heirs_files) = (by_file(fates.of(Fate::Deleted)), by_file(merged.stacks.values()));
    let mut moved: BTreeMap<&StackName, Located> = BTreeMap::new();
    for change in changes {
        let (Some(old), Some(new)) = (&change.old, &change.new) else {
            continue;
        };
        let by_dir = gone.get(&old.parent()).zip(heirs.get(&new.parent()));
        let by_dir = by_dir.filter(|(gone, heir)| gone.dir != heir.dir);
        if let Some((gone, heir)) = gone_files.get(old).zip(heirs_files.get(new)).or(by_dir)
            && gone.state.key().is_some()
        {
            let problem = format!(
                "the files of {} moved to {}, and its state did not: what it made would be destroyed, and made anew by {}",
                gone.name, heir.name, heir.name
            );
            let hint = format!(
                "if it is only to move, have {} keep its state where {} does: {}",
                heir.name,
                gone.name,
                gone.state.shown()
            );
            let located = || Located::at(place_of(heir), problem).hint(hint);
            moved.entry(&gone.name).or_insert_with(located);
        }
    }
    moved.into_values().collect()
}
