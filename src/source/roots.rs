//! Owns the question which directories are root modules that nobody had to name.

use std::collections::BTreeSet;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::domain::located::Place;
use crate::source::module::Modules;

/// Where to look, and for what.
pub struct Roots<'a> {
    pub modules: &'a Modules<'a>,
    pub tool: &'a dyn Fn(&RepoPath) -> Tool,
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
        let called = self.called();
        let wanted = Wanted::new(self.include, self.exclude);
        let mut roots = Vec::new();
        for dir in self.dirs {
            if self.named.contains(dir) || self.run_by_units.contains(dir) || !wanted.takes(dir) {
                continue;
            }
            let included = !wanted.include.is_empty();
            let module = self.modules.at(dir, (self.tool)(dir));
            let place = |file: &RepoPath, line: Option<u32>| Place {
                path: file.clone(),
                line,
                column: None,
            };
            let mut backends = module
                .files
                .iter()
                .flat_map(|(file, facts)| facts.backends.iter().map(move |b| (file, b.line)));
            let mut providers = module
                .files
                .iter()
                .flat_map(|(file, facts)| facts.providers.iter().map(move |line| (file, *line)));
            let is_called = called.contains(dir);
            let has_content = module.files.iter().any(|(_, facts)| facts.has_content);
            let was_stack = !module.errors.is_empty() && self.known.contains(dir);
            if let Some((file, line)) = backends.next() {
                roots.push((dir.clone(), Some(place(file, line))));
            } else if let Some((file, line)) = providers.next().filter(|_| !is_called) {
                roots.push((dir.clone(), Some(place(file, line))));
            } else if (included && has_content && !is_called) || was_stack {
                roots.push((dir.clone(), None));
            }
        }
        roots
    }

    /// Directories that a module block of this repository names.
    fn called(&self) -> BTreeSet<RepoPath> {
        let mut called = BTreeSet::new();
        for dir in self.dirs {
            let module = self.modules.at(dir, (self.tool)(dir));
            let calls = module.files.iter().flat_map(|(_, facts)| &facts.calls);
            called.extend(calls.filter_map(|call| Some(self.modules.called(dir, call)?.1)));
        }
        called
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
    let file = dir.join("main.tf").expect("a name below a directory");
    match globs.matched_path_or_any_parents(file.as_str(), false) {
        ignore::Match::Ignore(_) => true,
        ignore::Match::Whitelist(_) | ignore::Match::None => false,
    }
}
