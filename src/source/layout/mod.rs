//! Owns the layout of one tree: which directories are stacks, and everything each of them is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::graph::Edge;
use crate::domain::ids::{RepoId, RepoPath, StackName};
use crate::domain::layout::{Pattern, Stack, Tool};
use crate::domain::located::{Located, Place};
use crate::domain::unit::Units;
use crate::source::config::{Declared, Description};
use crate::source::layout::before::Before;
use crate::source::layout::edges::{Looking, edges};
use crate::source::layout::environments::{Environment, Environments, OwnState, environments};
use crate::source::layout::roots::Roots;
use crate::source::module::Modules;
use crate::source::parallel;
use crate::source::part::lookups::{looked_up, suggestions};
use crate::source::part::watch::watched;
use crate::source::part::{Asked, Part, is_partial};
use crate::source::terragrunt::known::{run_by_units, units};
use crate::source::terragrunt::scan::Scans;
use crate::source::terragrunt::stack::Needed;

pub mod roots;
pub mod edges;
pub mod environments;
pub mod before;

/// What one tree says of its stacks.
#[derive(Default)]
pub struct Layout {
    pub stacks: Arc<BTreeMap<StackName, Stack>>,
    pub edges: Vec<Edge>,
    /// What is compared to tell whether a stack's definition changed.
    pub definitions: BTreeMap<StackName, Definition>,
    /// Where each stack's labels are written.
    pub labels_at: BTreeMap<StackName, Place>,
    /// Every state that is looked into, and by whom.
    pub looking: Vec<Looking>,
    /// What a terragrunt unit resolves to, where it reads files that only a run can name.
    pub resolved: BTreeMap<StackName, String>,
    pub errors: Vec<Located>,
    pub broken: BTreeMap<StackName, Vec<Located>>,
    pub notices: BTreeMap<StackName, Vec<Located>>,
    /// Those of the notices that are mere suggestions.
    pub suggested: BTreeSet<Located>,
    /// Files that look like a stack's and are none's, each with what to do about it.
    pub unclaimed: Vec<(RepoPath, Located)>,
    /// Directories that hold files for terraform or tofu.
    pub module_dirs: BTreeSet<RepoPath>,
    /// What the files say of each stack, by what was asked of them.
    pub parts: HashMap<Asked, Arc<Part>>,
    /// Types of objects that the tree looks up.
    pub looked_up: BTreeSet<String>,
}

/// The part of a stack's definition that decides what is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    name: StackName,
    dir: RepoPath,
    workspace: String,
    var_files: Vec<RepoPath>,
    backend_files: Vec<RepoPath>,
    tool: Tool,
    tool_version: Option<String>,
    watch: Vec<Pattern>,
    depends_on: BTreeSet<(StackName, BTreeMap<String, String>)>,
}

/// What a layout is read from.
pub struct Of<'a> {
    pub repo: RepoId,
    pub modules: &'a Modules<'a>,
    pub description: &'a Description,
    /// Base's `discover.exclude`.
    pub exclude: &'a [String],
    /// Directories that were stacks at base: a broken file does not make them vanish.
    pub known: &'a BTreeSet<RepoPath>,
    /// What was read of another tree.
    pub before: Option<&'a Before<'a>>,
    pub definitions: Definitions,
}

/// Whether definitions will be compared: only where the file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definitions {
    Wanted,
    Unwanted,
}

/// Reads a layout.
pub fn layout(of: &Of<'_>) -> Layout {
    let scans = Scans::default();
    let mut reader = Reader {
        of,
        modules: of.modules,
        units: units(of.modules.files, &scans),
        scans,
        out: Layout::default(),
        planned: Vec::new(),
        taken: BTreeMap::new(),
        parts: BTreeMap::new(),
        needed: BTreeMap::new(),
    };
    reader.read();
    reader.out
}

pub(in crate::source) struct Reader<'a> {
    pub of: &'a Of<'a>,
    pub modules: &'a Modules<'a>,
    pub units: Units,
    pub scans: Scans,
    pub out: Layout,
    /// Every stack, before its files are read.
    planned: Vec<Planned>,
    taken: BTreeMap<StackName, RepoPath>,
    parts: BTreeMap<StackName, Arc<Part>>,
    /// What each terragrunt unit needs.
    pub needed: BTreeMap<StackName, Vec<Needed>>,
}

/// A stack of which nothing but its definition is known.
pub(in crate::source) struct Planned {
    pub name: StackName,
    pub declared: Declared,
    pub defined_at: Option<Place>,
    tool: Tool,
}

impl Reader<'_> {
    fn read(&mut self) {
        let dirs = self.modules.dirs().filter(|dir| {
            !dir.split('/')
                .any(|part| part == ".terraform" || part == ".terragrunt-cache")
        });
        let dirs = dirs.map(|dir| RepoPath::parse(dir).expect("a directory of a tree is a path"));
        self.out.module_dirs = dirs.collect();
        let description = self.of.description;
        let named: BTreeSet<&RepoPath> = description.stacks.iter().map(|declared| &declared.dir).collect();
        let found = match description.discover {
            true => self.roots(&named),
            false => Vec::new(),
        };
        let found_units = match self.of.description.discover {
            true => self.found_units(&named),
            false => Vec::new(),
        };
        // A unit's directory is there as long as its file is, whatever terraform finds in it.
        self.out.module_dirs.extend(self.units.units.keys().cloned());
        for declared in &description.stacks {
            self.declared(declared);
        }
        let found = by_their_own_name(found, |(dir, _)| dir);
        let environments = parallel::map(&found, |(dir, _)| self.environments(dir));
        for ((dir, place), environments) in found.into_iter().zip(environments) {
            self.discovered(dir, place, environments);
        }
        for dir in by_their_own_name(found_units, |dir| dir) {
            let name = self.free_name(name_of(&dir), &dir);
            self.plan(name, Declared::of(Place::file(dir.clone()), dir.clone()), None);
        }

        let looked_up = looked_up(self.modules, self.out.module_dirs.iter(), |dir| self.tool(dir, None));
        let before = self.of.before.filter(|before| *before.looked_up == looked_up);
        let is_unit = |planned: &Planned| self.units.units.contains_key(&planned.declared.dir);
        let (of_units, planned): (Vec<_>, Vec<_>) = std::mem::take(&mut self.planned).into_iter().partition(is_unit);
        let parts = parallel::map(&planned, |planned| {
            let asked = Asked::of(&planned.declared, planned.tool);
            let kept = before.and_then(|before| before.part(&asked));
            let read = || {
                Arc::new(Part::read(
                    self.of.repo,
                    self.modules,
                    &looked_up,
                    &planned.declared,
                    planned.tool,
                ))
            };
            (asked, kept.unwrap_or_else(read))
        });
        for (planned, (asked, part)) in planned.into_iter().zip(parts) {
            self.out.parts.insert(asked, part.clone());
            self.stack(planned, part);
        }
        for planned in of_units {
            self.unit(planned, &looked_up);
        }
        self.out.looked_up = looked_up;
        self.join();
    }

    pub fn tool(&self, dir: &RepoPath, declared: Option<Tool>) -> Tool {
        let by_files = || {
            if self.modules.has_tofu_files(dir) {
                Tool::OpenTofu
            } else {
                Tool::Terraform
            }
        };
        declared.or(self.of.description.tool).unwrap_or_else(by_files)
    }

    fn roots(&self, named: &BTreeSet<&RepoPath>) -> Vec<(RepoPath, Option<Place>)> {
        let roots = Roots {
            modules: self.modules,
            tool: &|dir| self.tool(dir, None),
            dirs: &self.out.module_dirs,
            named,
            run_by_units: &run_by_units(&self.units),
            known: self.of.known,
            include: &self.of.description.include,
            exclude: self.of.exclude,
        };
        roots.found()
    }

    fn environments(&self, dir: &RepoPath) -> Environments {
        let module = self.modules.at(dir, self.tool(dir, None));
        let mut found = environments(self.modules, dir, &module);
        if found.stacks.is_empty() && found.backend_file.is_some() {
            let declared = Declared::of(Place::file(dir.clone()), dir.clone());
            // What the block tells by itself no file has to tell.
            let is_partial = is_partial(self.of.repo, self.modules, &declared, &module);
            found.backend_file = found.backend_file.filter(|_| is_partial);
        }
        found
    }

    /// A root module that nobody named: one stack, or one for each environment with a state of its own.
    fn discovered(&mut self, dir: RepoPath, place: Option<Place>, environments: Environments) {
        let Environments {
            stacks,
            unclaimed,
            backend_file,
        } = environments;
        self.out.unclaimed.extend(unclaimed);
        if stacks.is_empty() {
            let mut declared = Declared::of(Place::file(dir.clone()), dir.clone());
            declared.backend_files = backend_file.iter().map(|file| relative_to(&dir, file)).collect();
            let name = self.free_name(name_of(&dir), &dir);
            return self.plan(name, declared, place);
        }
        for Environment { name, var_file, state } in stacks {
            let at = Place::file(var_file.clone());
            let mut declared = Declared::of(at.clone(), dir.clone());
            declared.var_files = vec![relative_to(&dir, &var_file)];
            match state {
                OwnState::BackendFile(file) => declared.backend_files = vec![relative_to(&dir, &file)],
                OwnState::Workspace => declared.workspace = name.clone(),
            }
            let base = name_of(&dir);
            let full = StackName::parse(&format!("{base}:{name}")).unwrap_or(base);
            let free = self.free_name(full, &dir);
            self.plan(free, declared, Some(at));
        }
    }

    fn declared(&mut self, declared: &Declared) {
        let dir = name_of(&declared.dir);
        let name = match (&declared.name, declared.workspace.as_str()) {
            (Some(name), _) => name.clone(),
            (None, "default") => dir,
            (None, workspace) => StackName::parse(&format!("{dir}:{workspace}")).unwrap_or(dir),
        };
        if let Some(other) = self.taken.get(&name) {
            let problem = format!("the name {name} is already that of the stack in {}", shown(other));
            let error = Located::at(declared.at.clone(), problem).hint("give each stack a `name` of its own");
            return self.out.errors.push(error);
        }
        self.plan(name, declared.clone(), Some(declared.at.clone()));
    }

    fn plan(&mut self, name: StackName, declared: Declared, defined_at: Option<Place>) {
        let tool = self.tool(&declared.dir, declared.tool);
        self.taken.insert(name.clone(), declared.dir.clone());
        self.planned.push(Planned {
            name,
            declared,
            defined_at,
            tool,
        });
    }

    /// This name, or the next that is free where another stack has it; then it is said which is which.
    fn free_name(&mut self, name: StackName, dir: &RepoPath) -> StackName {
        let Some(other) = self.taken.get(&name) else {
            return name;
        };
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut names = numbered.map(|text| StackName::parse(&text).unwrap_or_else(|_| name.clone()));
        let free = names.find(|name| !self.taken.contains_key(name));
        let free = free.unwrap_or_else(|| name.clone());
        let problem = format!(
            "this stack is called `{free}`: the name `{name}` is that of the stack in `{}`",
            shown(other)
        );
        let notice = Located::at(Place::file(dir.clone()), problem)
            .hint("give it a name of its own under `stacks` in lockkeeper.yaml");
        self.out.notices.entry(free.clone()).or_default().push(notice);
        free
    }

    /// Puts a stack together from its definition and from what its files say.
    fn stack(&mut self, planned: Planned, part: Arc<Part>) {
        let Planned {
            name,
            declared,
            defined_at,
            tool,
        } = planned;
        let description = self.of.description;
        let dir = &declared.dir;
        let mut errors = part.errors.clone();
        if !self.out.module_dirs.contains(dir) {
            let problem = format!("{} holds no file for {}", shown(dir), tool.word());
            errors.push(Located::at(declared.at.clone(), problem).hint("mend `dir`, or remove the stack"));
        }
        let watch = watched(dir, &declared.watch, &mut errors);
        let mut reads = part.reads.clone();
        reads.patterns.extend(watch.iter().cloned());
        let stack = Stack {
            name: name.clone(),
            dir: dir.clone(),
            workspace: declared.workspace.clone(),
            var_files: part.var_files.clone(),
            backend_files: part.backend_files.clone(),
            tool,
            tool_version: declared
                .tool_version
                .clone()
                .or_else(|| description.tool_version.clone()),
            required_version: part.required_version.clone(),
            labels: declared.labels.clone(),
            autoplan: declared.autoplan.unwrap_or(description.autoplan),
            reads,
            local_modules: part.local_modules.clone(),
            git_modules: part.git_modules.clone(),
            state: part.state.clone(),
            defined_at,
            unit: None,
        };
        self.keep(stack, &declared, watch, errors, part);
    }

    /// Adds a stack and what was said of it; the errors of its part are among `errors`.
    pub fn keep(
        &mut self,
        stack: Stack,
        declared: &Declared,
        watch: Vec<Pattern>,
        errors: Vec<Located>,
        part: Arc<Part>,
    ) {
        let name = stack.name.clone();
        if self.of.definitions == Definitions::Wanted {
            self.define(&stack, declared, watch);
        }
        if let Some(place) = &declared.labels_at {
            self.out.labels_at.insert(name.clone(), place.clone());
        }
        if !errors.is_empty() {
            self.out.broken.entry(name.clone()).or_default().extend(errors);
        }
        if !part.notices.is_empty() {
            let notices = self.out.notices.entry(name.clone()).or_default();
            notices.extend(part.notices.iter().cloned());
        }
        self.parts.insert(name.clone(), part);
        Arc::make_mut(&mut self.out.stacks).insert(name, stack);
    }

    fn define(&mut self, stack: &Stack, declared: &Declared, watch: Vec<Pattern>) {
        let depends_on = declared
            .depends_on
            .iter()
            .map(|dependency| (dependency.stack.clone(), dependency.outputs.clone()));
        let definition = Definition {
            name: stack.name.clone(),
            dir: stack.dir.clone(),
            workspace: stack.workspace.clone(),
            var_files: stack.var_files.clone(),
            backend_files: stack.backend_files.clone(),
            tool: stack.tool,
            tool_version: stack.tool_version.clone(),
            watch,
            depends_on: depends_on.collect(),
        };
        self.out.definitions.insert(stack.name.clone(), definition);
    }

    /// What can be said only once every stack is known: shared states and edges.
    fn join(&mut self) {
        for (name, error) in shared_states(&self.out.stacks) {
            self.out.broken.entry(name).or_default().push(error);
        }
        let root_module = |stack: &Stack| self.modules.at(&stack.dir, stack.tool);
        let joined = edges(&self.out.stacks, &self.of.description.stacks, &self.parts, &root_module);
        self.out.edges = joined.edges;
        self.unit_edges();
        self.out.looking = joined.looking;
        for (name, error) in joined.broken {
            self.out.broken.entry(name).or_default().push(error);
        }
        let suggested = suggestions(&self.parts, &self.out.edges);
        self.out.suggested = suggested.iter().map(|(_, suggestion)| suggestion.clone()).collect();
        for (name, notice) in joined.notices.into_iter().chain(suggested) {
            self.out.notices.entry(name).or_default().push(notice);
        }
    }
}

/// A file as a stack's definition would name it.
fn relative_to(dir: &RepoPath, file: &RepoPath) -> (String, Place) {
    let rest = file.as_str().strip_prefix(dir.as_str()).unwrap_or(file.as_str());
    (rest.trim_start_matches('/').to_owned(), Place::file(file.clone()))
}

/// One state belongs to one stack: an error on each that shares.
fn shared_states(stacks: &BTreeMap<StackName, Stack>) -> Vec<(StackName, Located)> {
    let mut by_key: BTreeMap<&str, Vec<&Stack>> = BTreeMap::new();
    for stack in stacks.values() {
        if let Some(key) = stack.state.key() {
            by_key.entry(key.as_str()).or_default().push(stack);
        }
    }
    let mut errors = Vec::new();
    for (key, sharing) in by_key.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        for stack in &sharing {
            let others = sharing.iter().filter(|other| other.name != stack.name).take(3);
            let others: Vec<String> = others
                .map(|other| format!("{} ({})", other.name, place_of(other)))
                .collect();
            let problem = format!("{} keeps its state where {} does: {key}", stack.name, others.join(", "));
            let hint = format!(
                "give one of them another state: its own `key`, `prefix` or `path` in its backend, or in lockkeeper.yaml \
                 `- name: {}`, `dir: {}`, `workspace: NAME`",
                stack.name,
                shown(&stack.dir)
            );
            errors.push((stack.name.clone(), Located::at(place_of(stack), problem).hint(hint)));
        }
    }
    errors
}

/// Where a stack is defined, as far as that is a line.
pub fn place_of(stack: &Stack) -> Place {
    stack
        .defined_at
        .clone()
        .unwrap_or_else(|| Place::file(stack.dir.clone()))
}

/// Whoever is called as its directory is comes first, so that no new directory takes the name of another one.
fn by_their_own_name<T>(mut found: Vec<T>, dir: impl Fn(&T) -> &RepoPath) -> Vec<T> {
    found.sort_by_cached_key(|found| !dir(found).is_root() && name_of(dir(found)).as_str() != dir(found).as_str());
    found
}

/// A stack that nobody named is called by its directory, as far as a name may hold it (docs/config.md).
fn name_of(dir: &RepoPath) -> StackName {
    let legal = |c: char| if StackName::allows(c) { c } else { '_' };
    let mut text: String = dir.as_str().chars().map(legal).collect();
    if text.starts_with('-') {
        text.replace_range(..1, "_");
    }
    // A longer path keeps its end, which tells more than its beginning.
    while text.len() > 180 {
        text.remove(0);
    }
    StackName::parse(&text).unwrap_or_else(|_| StackName::parse("root").expect("a plain word"))
}

pub(in crate::source) fn shown(dir: &RepoPath) -> &str {
    if dir.is_root() { "." } else { dir.as_str() }
}
