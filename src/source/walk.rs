//! Owns the way through a root module: its local modules, the files they read and the states they look into.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Reads;
use crate::domain::ids::RepoPath;
use crate::domain::layout::{Constraint, GitModule, Pattern, ReadSet, Tool};
use crate::domain::located::{Located, Place};
use crate::source::facts::{Call, Facts, FileRead, How, RemoteState};
use crate::source::files::{Lost, What};
use crate::source::module::{Module, Modules, lost_error};
use crate::source::value::{Lit, PathText, Scope, Value, Why, path_text, resolve};

/// What a root module and all it calls hold.
#[derive(Default)]
pub struct Walked {
    pub reads: ReadSet,
    /// Real directories of local modules, without the root's own.
    pub local_modules: BTreeSet<RepoPath>,
    pub git_modules: Vec<GitModule>,
    pub required_version: Vec<Constraint>,
    pub states: Vec<StateRead>,
    pub errors: Vec<Located>,
    pub notices: Vec<Located>,
}

/// One `data "terraform_remote_state"`, resolved as far as it can be.
pub struct StateRead {
    pub place: Place,
    pub name: String,
    pub at: Result<Target, Why>,
    pub reads: Reads,
}

/// The state that is looked into.
pub struct Target {
    pub backend: String,
    pub config: BTreeMap<String, Result<Lit, Why>>,
    pub workspace: String,
}

/// Where to begin.
pub struct Root<'a> {
    pub dir: &'a RepoPath,
    pub tool: Tool,
    pub workspace: &'a str,
    /// Values of the root module's variables that the repository tells.
    pub vars: BTreeMap<String, Lit>,
}

/// Instances of modules that one stack may have before we stop looking.
const MAX_INSTANCES: usize = 2_000;
const MAX_DEPTH: usize = 40;

/// Walks from a root module.
pub fn walk(modules: &Modules<'_>, root: Root<'_>) -> Walked {
    let Root {
        dir,
        tool,
        workspace,
        vars,
    } = root;
    let mut walk = Walk {
        modules,
        root: dir,
        tool,
        workspace,
        seen: BTreeSet::new(),
        path: Vec::new(),
        out: Walked::default(),
    };
    walk.module(dir, dir, vars);
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
    root: &'a RepoPath,
    tool: Tool,
    workspace: &'a str,
    /// Instances that were walked: the same module with the same values says the same.
    seen: BTreeSet<(RepoPath, BTreeMap<String, Lit>)>,
    /// Directories from the root to here.
    path: Vec<RepoPath>,
    out: Walked,
}

impl Walk<'_> {
    /// `dir` is where the tool thinks it is; `real` is where links lead.
    fn module(&mut self, dir: &RepoPath, real: &RepoPath, mut vars: BTreeMap<String, Lit>) {
        let module = self.modules.at(real, self.tool);
        for (name, default) in &module.variables {
            if !vars.contains_key(name)
                && let Some(Ok(lit)) = default.as_ref().map(|value| resolve(value, &Scope::default()))
            {
                vars.insert(name.clone(), lit);
            }
        }
        vars.retain(|_, lit| *lit != Lit::Null);
        if !self.seen.insert((dir.clone(), vars.clone())) {
            return;
        }
        self.out.reads.dirs.insert(dir.clone());
        self.out.reads.dirs.insert(real.clone());
        self.out.reads.files.extend(module.through_links.iter().cloned());
        self.out.errors.extend(module.errors.iter().cloned());
        if real != self.root {
            self.out.local_modules.insert(real.clone());
        }
        let scope = Scope {
            vars,
            locals: Some(&module.locals),
            module_path: relative(self.root, dir),
            workspace: self.workspace.to_owned(),
        };
        self.path.push(real.clone());
        let reads = state_reads(&module);
        for (file, facts) in &module.files {
            self.file(file, facts, &scope, &reads);
            for call in &facts.calls {
                self.call(file, call, dir, &scope);
            }
        }
        self.path.pop();
    }

    fn file(&mut self, file: &RepoPath, facts: &Facts, scope: &Scope<'_>, reads: &BTreeMap<&str, Reads>) {
        for (text, line) in &facts.required_version {
            let constraint = Constraint {
                text: text.clone(),
                place: place(file, *line),
            };
            self.out.required_version.push(constraint);
        }
        for state in &facts.remote_states {
            let none = Reads::Named(BTreeSet::new());
            self.out.states.push(StateRead {
                place: place(file, state.line),
                name: state.name.clone(),
                at: self.state_at(state, scope),
                reads: reads.get(state.name.as_str()).cloned().unwrap_or(none),
            });
        }
        for read in &facts.files {
            self.read(file, read, scope);
        }
    }

    fn state_at(&self, state: &RemoteState, scope: &Scope<'_>) -> Result<Target, Why> {
        let text = |lit: Lit| lit.text().ok_or_else(|| "it is not text".to_owned());
        let backend = resolve(&state.backend, scope).and_then(text)?;
        let mut config = BTreeMap::new();
        match &state.config {
            // Each attribute by itself: a region that only the plan knows does not hide the bucket.
            Value::Map(entries) => {
                for (name, value) in entries {
                    config.insert(resolve(name, scope).and_then(text)?, resolve(value, scope));
                }
            }
            value => match resolve(value, scope)? {
                Lit::Map(map) => config.extend(map.into_iter().map(|(name, lit)| (name, Ok(lit)))),
                _ => return Err("its config is not a map".to_owned()),
            },
        }
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
        if self.path.contains(&found.path) || self.path.len() > MAX_DEPTH {
            let problem = format!("module {} calls itself: {}", call.name, way(&self.path, &found.path));
            return self
                .out
                .errors
                .push(Located::at(at, problem).hint("remove one of the calls"));
        }
        if self.seen.len() >= MAX_INSTANCES || self.modules.fuel.get() == 0 {
            let problem = "too many module calls to follow them all";
            return self.out.errors.push(Located::at(at, problem).hint("split the stack"));
        }
        self.modules.fuel.set(self.modules.fuel.get() - 1);
        let values = call
            .arguments
            .iter()
            .map(|(name, value)| (name.clone(), resolve(value, scope).unwrap_or(Lit::Null)));
        self.module(&target, &found.path, values.collect());
    }

    fn read(&mut self, file: &RepoPath, read: &FileRead, scope: &Scope<'_>) {
        let at = place(file, read.line);
        let (text, known) = match path_text(&read.path, scope) {
            PathText::Whole(text) => (text, Ok(())),
            PathText::Beginning(text, why) => (text, Err(why)),
        };
        if read.how != How::Mention && known.is_ok() && text.starts_with('/') {
            let problem = format!("`{text}` lies outside of the repository");
            let hint = "a plan can read only what the repository holds: copy the file in";
            return self.out.errors.push(Located::at(at, problem).hint(hint));
        }
        match known {
            Ok(()) => self.read_known(read, &text, at, scope),
            Err(why) => self.read_below(read, &text, &why, at),
        }
    }

    fn read_known(&mut self, read: &FileRead, text: &str, at: Place, scope: &Scope<'_>) {
        let Some(target) = self.root.join(text) else {
            if read.how != How::Mention && !text.starts_with('~') {
                let problem = format!("`{text}` leaves the repository");
                let hint = "a plan can read only what the repository holds: copy the file in";
                self.out.errors.push(Located::at(at, problem).hint(hint));
            }
            return;
        };
        match (self.modules.files.find(&target), read.how) {
            (Ok(found), How::Function | How::Mention) => {
                self.out.reads.files.extend(found.links.iter().cloned());
                match found.what {
                    What::File => {
                        self.out.reads.files.insert(found.path);
                        self.out.reads.files.insert(target);
                    }
                    // A mention of a directory: whatever is packed or served from there.
                    What::Directory => self.below(&found.path, "**"),
                }
            }
            (Ok(found), How::Set) => {
                self.out.reads.files.extend(found.links.iter().cloned());
                let pattern = read
                    .pattern
                    .as_ref()
                    .and_then(|value| resolve(value, scope).ok())
                    .and_then(|lit| lit.text());
                match pattern {
                    Some(pattern) if !pattern.contains("..") => self.below(&found.path, &pattern),
                    _ => self.below(&found.path, "**"),
                }
            }
            // Not there yet: whoever adds it changes what the stack reads (`fileexists`, `try(file())`).
            (Err(Lost::Missing), How::Function | How::Mention) => {
                self.out.reads.files.insert(target);
            }
            (Err(Lost::Missing), How::Set) => self.below(&target, "**"),
            (Err(_), How::Mention) => {}
            (Err(lost), How::Function | How::Set) => self.out.errors.push(lost_error(&lost, at, text)),
        }
    }

    /// A path of which only the beginning is known: everything below the directory that it names.
    fn read_below(&mut self, read: &FileRead, beginning: &str, why: &str, at: Place) {
        let named = beginning
            .rsplit_once('/')
            .map(|(dir, _)| dir)
            .filter(|dir| !dir.is_empty());
        let dir = named.and_then(|dir| self.root.join(dir));
        match dir.filter(|dir| !self.root.is_within(dir) && !self.path.iter().any(|module| module.is_within(dir))) {
            Some(dir) => self.below(&dir, "**"),
            None if read.how == How::Mention => {}
            None => {
                let problem = format!("which file is read here could not be told: {why}");
                let hint = "name further inputs under `watch` in lockkeeper.yaml";
                self.out.notices.push(Located::at(at, problem).hint(hint));
            }
        }
    }

    fn below(&mut self, dir: &RepoPath, pattern: &str) {
        // The whole tree, or all that lies around the stack, is no input anybody meant.
        if self.root.is_within(dir) && pattern == "**" && self.root != dir {
            return;
        }
        let pattern = Pattern {
            negated: false,
            glob: anchored(dir, pattern),
        };
        self.out.reads.patterns.push(pattern);
    }
}

/// A pattern below a directory, anchored at the repository root; the directory's own name is taken literally.
pub fn anchored(dir: &RepoPath, pattern: &str) -> String {
    let mut glob = String::from("/");
    for character in dir.as_str().chars() {
        if "*?[]{}!\\ ".contains(character) {
            glob.push('\\');
        }
        glob.push(character);
    }
    if !dir.is_root() {
        glob.push('/');
    }
    glob.push_str(pattern.trim_start_matches('/'));
    glob
}

/// Which outputs each remote state's reads name, over all files of a module.
fn state_reads(module: &Module) -> BTreeMap<&str, Reads> {
    let mut reads: BTreeMap<&str, Reads> = BTreeMap::new();
    for (name, output) in module.files.iter().flat_map(|(_, facts)| &facts.state_reads) {
        let entry = reads.entry(name).or_insert_with(|| Reads::Named(BTreeSet::new()));
        match (output, entry) {
            (Some(output), Reads::Named(outputs)) => {
                outputs.insert(output.clone());
            }
            (None, entry @ Reads::Named(_)) => *entry = Reads::Unknown,
            (_, Reads::Unknown) => {}
        }
    }
    reads
}

fn place(file: &RepoPath, line: Option<u32>) -> Place {
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
fn is_git(source: &str) -> bool {
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
