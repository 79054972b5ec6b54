//! Owns the question which directories are root modules that nobody had to name.

use std::collections::{BTreeSet, HashSet};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::domain::located::Place;
use crate::source::module::Modules;
use crate::source::parallel;

/// Where to look, and for what.
pub struct Roots<'a> {
    pub modules: &'a Modules<'a>,
    pub tool: &'a (dyn Fn(&RepoPath) -> Tool + Sync),
    /// Directories that hold files for terraform or tofu.
    pub dirs: &'a BTreeSet<RepoPath>,
    /// Directories that the configuration names.
    pub named: &'a BTreeSet<&'a RepoPath>,
    /// Directories that terragrunt runs.
    pub run_by_units: &'a BTreeSet<RepoPath>,
    /// Directories that were stacks at base.
    pub known: &'a BTreeSet<RepoPath>,
    pub include: &'a [String],
    pub exclude: &'a [String],
}

impl Roots<'_> {
    /// Root modules that nothing names, each with the line that makes it one.
    pub fn found(&self) -> Vec<(RepoPath, Option<Place>)> {
        let dirs: Vec<&RepoPath> = self.dirs.iter().collect();
        // Most of the time of a discovery goes into putting modules together, and each stands alone.
        let modules = parallel::map(&dirs, |dir| {
            let module = self.modules.at(dir, (self.tool)(dir));
            self.modules.surveyed(dir, &module);
            module
        });
        let surveyed = |dir: &RepoPath, module| self.modules.surveyed(dir, module);
        let mut called: HashSet<&RepoPath> = HashSet::new();
        for (dir, module) in dirs.iter().zip(&modules) {
            called.extend(&surveyed(dir, module).calls);
        }
        let wanted = Wanted::new(self.include, self.exclude);
        let included = !wanted.include.is_empty();
        let mut roots = Vec::new();
        for (dir, module) in dirs.into_iter().zip(&modules) {
            if self.named.contains(dir) || self.run_by_units.contains(dir) || !wanted.takes(dir) {
                continue;
            }
            let surveyed = surveyed(dir, module);
            let is_called = called.contains(dir);
            let was_stack = !module.errors.is_empty() && self.known.contains(dir);
            let provider = surveyed.provider.as_ref().filter(|_| !is_called);
            if let Some(place) = surveyed.backend.as_ref().or(provider) {
                roots.push((dir.clone(), Some(place.clone())));
            } else if (included && surveyed.has_content && !is_called) || was_stack {
                roots.push((dir.clone(), None));
            }
        }
        roots
    }
}

/// `discover.include` and base's `discover.exclude`.
pub(in crate::source) struct Wanted {
    include: Gitignore,
    exclude: Gitignore,
}

impl Wanted {
    pub fn new(include: &[String], exclude: &[String]) -> Self {
        Wanted {
            include: compiled(include),
            exclude: compiled(exclude),
        }
    }

    /// Whether stacks are looked for in this directory.
    pub fn takes(&self, dir: &RepoPath) -> bool {
        !matches(&self.exclude, dir) && (self.include.is_empty() || matches(&self.include, dir))
    }
}

/// Whether these patterns of `discover` take a directory; compiled once for all that are asked.
pub fn takes(globs: &[String]) -> impl Fn(&RepoPath) -> bool + use<> {
    let globs = compiled(globs);
    move |dir| matches(&globs, dir)
}

fn compiled(globs: &[String]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for glob in globs {
        // A glob that does not compile was reported when the file was read.
        let _ = builder.add_line(None, glob);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Whether the patterns take a directory: as itself, by one above it, or by the files it holds (`infra/**`).
fn matches(globs: &Gitignore, dir: &RepoPath) -> bool {
    if globs.is_empty() {
        return false;
    }
    let file = dir.join("main.tf").expect("a name below a directory");
    match globs.matched_path_or_any_parents(file.as_str(), false) {
        ignore::Match::Ignore(_) => true,
        ignore::Match::Whitelist(_) | ignore::Match::None => false,
    }
}
