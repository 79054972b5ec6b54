//! Owns the way through a root module: its local modules, the files they read and the states they look into.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Reads;
use crate::domain::ids::{LockKey, RepoId, RepoPath};
use crate::domain::layout::{Constraint, GitModule, Pattern, ReadSet, Tool};
use crate::domain::located::{Located, Place};
use crate::source::facts::{Call, Facts, RemoteState, Repeat, StateKind};
use crate::source::module::consumed::consumed;
use crate::source::module::files::{Lost, What};
use crate::source::module::{Module, Modules, lost_error};
use crate::source::part::inputs::{Inputs, anchored};
use crate::source::part::lookups::NamedAt;
use crate::source::part::state::of_read;
use crate::source::value::{Each, Lit, Scope, Vars, Why, resolve, resolve_entries};

/// What a root module and all it calls hold.
#[derive(Default)]
pub struct Walked {
    pub reads: ReadSet,
    /// Paths that were looked for besides, and are not there.
    pub probed: BTreeSet<RepoPath>,
    /// Real directories of local modules, without the root's own.
    pub local_modules: BTreeSet<RepoPath>,
    pub git_modules: Vec<GitModule>,
    pub required_version: Vec<Constraint>,
    pub states: Vec<StateRead>,
    pub named: Vec<NamedAt>,
    pub errors: Vec<Located>,
    pub notices: Vec<Located>,
}

/// One look into another state, resolved as far as it can be.
pub struct StateRead {
    pub place: Place,
    pub kind: StateKind,
    pub name: String,
    pub key: Result<LockKey, Why>,
    /// By all instances of the block together.
    pub reads: Reads,
    pub is_repeated: bool,
}

/// The state that is looked into.
pub struct Target {
    pub backend: String,
    pub config: BTreeMap<String, Result<Lit, Why>>,
    pub workspace: String,
}

/// Where to begin.
pub struct Root<'a> {
    pub repo: RepoId,
    pub dir: &'a RepoPath,
    pub tool: Tool,
    pub workspace: &'a str,
    /// Values of the root module's variables that the repository tells.
    pub vars: Vars,
    /// Types of objects that somebody looks up: the only ones whose names matter.
    pub looked_up: &'a BTreeSet<String>,
}

/// Instances of modules that one stack may have before we stop looking.
const MAX_INSTANCES: usize = 2_000;
const MAX_DEPTH: usize = 40;
/// Links directly in one directory that are followed: more than anybody makes.
const MAX_LINKS: usize = 1_000;
/// Repetitions of one block that are told apart.
const MAX_REPEATS: usize = 200;

/// Walks from a root module.
pub fn walk(modules: &Modules<'_>, root: Root<'_>) -> Walked {
    let Root {
        repo,
        dir,
        tool,
        workspace,
        vars,
        looked_up,
    } = root;
    let mut walk = Walk {
        modules,
        repo,
        root: dir,
        tool,
        workspace,
        looked_up,
        seen: BTreeSet::new(),
        path: Vec::new(),
        out: Walked::default(),
    };
    walk.module(dir, dir, vars);
    walk.implied_mirror();
    walk.out.finished()
}

impl Walked {
    fn finished(mut self) -> Walked {
        for list in [&mut self.errors, &mut self.notices] {
            list.sort();
            list.dedup();
        }
        self.git_modules.sort();
        self.git_modules.dedup();
        self.required_version.sort();
        self.required_version.dedup();
        self.reads.patterns.sort();
        self.reads.patterns.dedup();
        self
    }
}

struct Walk<'a> {
    modules: &'a Modules<'a>,
    repo: RepoId,
    root: &'a RepoPath,
    tool: Tool,
    workspace: &'a str,
    looked_up: &'a BTreeSet<String>,
    /// Instances that were walked: the same module with the same values says the same.
    seen: BTreeSet<(RepoPath, Vars)>,
    /// Directories from the root to here.
    path: Vec<RepoPath>,
    out: Walked,
}

impl Walk<'_> {
    /// Where it is started the tool takes providers from `terraform.d/plugins`: what lies there is the stack's.
    fn implied_mirror(&mut self) {
        let files = self.modules.files;
        let dir = self.root.join("terraform.d").expect("a plain name");
        if files.has_folders(&dir) || !files.in_directory(&dir).is_empty() {
            let glob = anchored(&dir, "**");
            self.out.reads.patterns.push(Pattern { negated: false, glob });
        }
    }

    /// `dir` is where the tool thinks it is; `real` is where links lead.
    fn module(&mut self, dir: &RepoPath, real: &RepoPath, mut vars: Vars) {
        let module = self.modules.at(real, self.tool);
        // Values of what is no variable tell instances apart that are the same.
        vars.retain(|name, _| module.variables.contains_key(name));
        if !self.seen.insert((dir.clone(), vars.clone())) {
            return;
        }
        self.out.reads.dirs.insert(dir.clone());
        if real != dir {
            self.out.reads.dirs.insert(real.clone());
        }
        self.out.reads.files.extend(module.through_links.iter().cloned());
        self.linked(real);
        self.out.errors.extend(module.errors.iter().cloned());
        if real != self.root {
            self.out.local_modules.insert(real.clone());
        }
        let scope = Scope {
            vars,
            defaults: Some(&module.variables),
            locals: Some(&module.locals),
            module_path: relative(self.root, dir),
            workspace: self.workspace.to_owned(),
            each: None,
        };
        self.path.push(real.clone());
        for (file, facts) in &module.files {
            self.file(file, facts, &scope);
            for state in &facts.remote_states {
                self.state(file, state, dir, &module, &scope);
            }
            for call in &facts.calls {
                self.call(file, call, dir, &scope);
            }
        }
        self.path.pop();
    }

    /// What stands for another file is read with it.
    fn linked(&mut self, dir: &RepoPath) {
        for link in self.modules.files.links_in(dir).iter().take(MAX_LINKS) {
            if let Ok(found) = self.modules.files.find(link)
                && found.what == What::File
            {
                self.out.reads.files.extend(found.links);
                self.out.reads.files.insert(found.path);
            }
        }
    }

    fn file(&mut self, file: &RepoPath, facts: &Facts, scope: &Scope<'_>) {
        for (text, line) in &facts.required_version {
            let constraint = Constraint {
                text: text.clone(),
                place: place(file, *line),
            };
            self.out.required_version.push(constraint);
        }
        let mut inputs = Inputs {
            files: self.modules.files,
            root: self.root,
            path: &self.path,
            out: &mut self.out,
        };
        for read in &facts.files {
            inputs.read(place(file, read.line), read, scope);
        }
        for named in &facts.named {
            if named.is_data || self.looked_up.contains(&named.kind) {
                self.out
                    .named
                    .extend(NamedAt::of(named, place(file, named.line), scope));
            }
        }
    }

    fn state(&mut self, file: &RepoPath, state: &RemoteState, dir: &RepoPath, module: &Module, scope: &Scope<'_>) {
        let reads = consumed(self.modules, dir, module, self.tool, state.kind, &state.name);
        for each in instances(state.repeat.as_ref(), scope) {
            self.out.states.push(StateRead {
                place: place(file, state.line),
                kind: state.kind,
                name: state.name.clone(),
                key: state_at(state, &within(scope, each)).and_then(|target| of_read(self.repo, self.root, &target)),
                reads: reads.clone(),
                is_repeated: state.repeat.is_some(),
            });
        }
    }

    fn call(&mut self, file: &RepoPath, call: &Call, dir: &RepoPath, scope: &Scope<'_>) {
        let at = place(file, call.line);
        let Some(source) = &call.source else {
            return;
        };
        let source = match resolve(source, scope).map(|lit| lit.text()) {
            Ok(Some(source)) => source,
            Ok(None) => return,
            Err(why) => {
                let problem = format!("the source of module {} could not be told: {why}", call.name);
                return self
                    .out
                    .notices
                    .push(Located::at(at, problem).hint("name what it reads under `watch`"));
            }
        };
        if source.starts_with('/') {
            let problem = format!(
                "module {} has a source outside of the repository: `{source}`",
                call.name
            );
            let hint = "only what the repository holds can be planned: use a relative path";
            return self.out.errors.push(Located::at(at, problem).hint(hint));
        }
        if !source.starts_with("./") && !source.starts_with("../") && source != "." && source != ".." {
            if is_git(&source) {
                self.out.git_modules.push(GitModule { source, place: at });
            }
            return;
        }
        let Some(target) = dir.join(&source) else {
            let problem = format!("the source of module {} leaves the repository: `{source}`", call.name);
            let hint = "only what the repository holds can be planned: copy the module in, or use its git address";
            return self.out.errors.push(Located::at(at, problem).hint(hint));
        };
        let found = match self.modules.files.find(&target) {
            Ok(found) if found.what == What::Directory => found,
            Ok(_) => return self.out.errors.push(lost_error(&Lost::Missing, at, &source)),
            Err(lost) => {
                // What is missing today may be added, and a submodule may move: both are inputs.
                self.out.reads.dirs.insert(target);
                if let Lost::Submodule(submodule) = &lost {
                    self.out.reads.files.insert(submodule.clone());
                }
                return self.out.errors.push(lost_error(&lost, at, &source));
            }
        };
        self.out.reads.files.extend(found.links.iter().cloned());
        if self.path.len() > MAX_DEPTH && !self.path.contains(&found.path) {
            let problem = format!("module calls lie more than {MAX_DEPTH} deep at module {}", call.name);
            let hint = "call it from a module further up";
            return self.out.errors.push(Located::at(at, problem).hint(hint));
        }
        if self.path.contains(&found.path) {
            let problem = format!("module {} calls itself: {}", call.name, way(&self.path, &found.path));
            return self
                .out
                .errors
                .push(Located::at(at, problem).hint("remove one of the calls"));
        }
        if self.seen.len() >= MAX_INSTANCES || !self.modules.follow() {
            let problem = "too many module calls to follow them all";
            return self.out.errors.push(Located::at(at, problem).hint("split the stack"));
        }
        // A block that stands for none still has files that the tool loads.
        let instances = Some(instances(call.repeat.as_ref(), scope)).filter(|instances| !instances.is_empty());
        for each in instances.unwrap_or_else(|| vec![None]) {
            let scope = within(scope, each);
            let values = call
                .arguments
                .iter()
                .map(|(name, value)| (name.clone(), resolve(value, &scope).ok()));
            self.module(&target, &found.path, values.collect());
        }
    }
}

/// A scope inside one repetition of a block.
fn within<'s, 'a>(scope: &'s Scope<'a>, each: Option<Each>) -> Cow<'s, Scope<'a>> {
    match each {
        None => Cow::Borrowed(scope),
        each => Cow::Owned(Scope { each, ..scope.clone() }),
    }
}

/// What a block stands for. One `None`: itself, or a number of times that only a plan knows.
fn instances(repeat: Option<&Repeat>, scope: &Scope<'_>) -> Vec<Option<Each>> {
    let told: Option<Vec<Each>> = match repeat {
        None => None,
        Some(Repeat::ForEach(value)) => match resolve_entries(value, scope) {
            Ok(entries) => {
                let each = |(key, value): (String, Result<Lit, Why>)| Each::Key(Lit::Text(key), value.ok());
                Some(entries.into_iter().map(each).collect())
            }
            Err(_) => match resolve(value, scope) {
                Ok(Lit::List(items)) => Some(
                    items
                        .into_iter()
                        .map(|item| Each::Key(item.clone(), Some(item)))
                        .collect(),
                ),
                _ => None,
            },
        },
        Some(Repeat::Count(value)) => {
            let count = resolve(value, scope)
                .ok()
                .and_then(|lit| lit.text()?.parse::<usize>().ok());
            count
                .filter(|count| *count <= MAX_REPEATS)
                .map(|count| (0..count).map(Each::Index).collect())
        }
    };
    match told.filter(|told| told.len() <= MAX_REPEATS) {
        Some(told) => told.into_iter().map(Some).collect(),
        None => vec![None],
    }
}

fn state_at(state: &RemoteState, scope: &Scope<'_>) -> Result<Target, Why> {
    let text = |lit: Lit| lit.text().ok_or_else(|| "it is not text".to_owned());
    let backend = resolve(&state.backend, scope).and_then(text)?;
    let config = resolve_entries(&state.config, scope)?;
    let workspace = match &state.workspace {
        Some(value) => resolve(value, scope).and_then(text)?,
        None => "default".to_owned(),
    };
    Ok(Target {
        backend,
        config,
        workspace,
    })
}

/// A line of a file.
pub fn place(file: &RepoPath, line: Option<u32>) -> Place {
    Place {
        path: file.clone(),
        line,
        column: None,
    }
}

fn way(path: &[RepoPath], back_to: &RepoPath) -> String {
    let names = path.iter().skip_while(|dir| *dir != back_to).chain([back_to]);
    names
        .map(|dir| if dir.is_root() { "." } else { dir.as_str() })
        .collect::<Vec<_>>()
        .join(" → ")
}

/// The way from one directory to another, as a module source would write it.
fn relative(from: &RepoPath, to: &RepoPath) -> String {
    let parts = |path: &RepoPath| -> Vec<String> {
        path.as_str()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (from, to) = (parts(from), parts(to));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut steps = vec![".."; from.len() - shared];
    steps.extend(to[shared..].iter().map(String::as_str));
    match steps.is_empty() {
        true => ".".to_owned(),
        false => steps.join("/"),
    }
}

/// Whether the tool would fetch this module source by git.
/// Whether the tools fetch a source with git.
pub fn is_git(source: &str) -> bool {
    let source = source.split('?').next().unwrap_or(source);
    source.starts_with("git::")
        || source.starts_with("git@")
        || source.starts_with("github.com/")
        || source.starts_with("bitbucket.org/")
        || source.starts_with("ssh://")
        || source.contains(".git//")
        || source.ends_with(".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    #[test]
    fn the_way_between_directories_is_what_a_source_would_say() {
        for (from, to, expected) in [
            ("a/b", "a/b", "."),
            ("a/b", "a/c", "../c"),
            ("", "m", "m"),
            ("a", "", ".."),
            ("a/b", "m/x", "../../m/x"),
        ] {
            let (from, to) = (path(from), path(to));
            let relative = relative(&from, &to);
            assert_eq!(relative, expected);
            assert_eq!(from.join(&relative), Some(to));
        }
    }

    #[test]
    fn git_sources_are_told_from_the_others() {
        for (source, expected) in [
            ("git::https://github.com/acme/m.git?ref=v1", true),
            ("github.com/acme/m//sub", true),
            ("git@github.com:acme/m.git", true),
            ("https://example.com/m.git//sub?ref=1", true),
            ("terraform-aws-modules/vpc/aws", false),
            ("https://example.com/m.zip", false),
            ("s3::https://s3.amazonaws.com/b/m.zip", false),
        ] {
            assert_eq!(is_git(source), expected, "{source}");
        }
    }
}
