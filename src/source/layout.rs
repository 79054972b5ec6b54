//! Owns the layout of one tree: which directories are stacks, and everything each of them is.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Edge;
use crate::domain::ids::{RepoId, RepoPath, StackName};
use crate::domain::layout::{Pattern, ReadSet, Stack, StateAt, Tool};
use crate::domain::located::{Located, Place};
use crate::domain::unit::Units;
use crate::source::config::{Declared, Description};
use crate::source::edges::{Looking, edges};
use crate::source::facts::Backend;
use crate::source::files::{Files, What};
use crate::source::module::{Module, Modules, lost_error};
use crate::source::parse::{Parsed, text};
use crate::source::roots::Roots;
use crate::source::state;
use crate::source::terragrunt::stack::{Needed, run_by_units, units};
use crate::source::value::{Lit, Scope, Value, resolve};
use crate::source::walk::{Root, StateRead, Walked, walk};
use crate::source::watch::watched;
use crate::source::{Tree, hcl, json};

/// What one tree says of its stacks.
#[derive(Default)]
pub struct Layout {
    pub stacks: BTreeMap<StackName, Stack>,
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
    /// Directories that hold files for terraform or tofu.
    pub module_dirs: BTreeSet<RepoPath>,
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
    pub tree: &'a Tree,
    pub parsed: &'a Parsed,
    pub description: &'a Description,
    /// Base's `discover.exclude`.
    pub exclude: &'a [String],
    /// Directories that were stacks at base: a broken file does not make them vanish.
    pub known: &'a BTreeSet<RepoPath>,
}

/// Reads a layout.
pub fn layout(of: &Of<'_>) -> Layout {
    let files = Files::new(of.tree);
    let modules = Modules::new(&files, of.parsed);
    let mut reader = Reader {
        of,
        modules: &modules,
        units: units(of.tree, &files),
        out: Layout::default(),
        states: BTreeMap::new(),
        needed: BTreeMap::new(),
    };
    reader.read();
    reader.out
}

pub(in crate::source) struct Reader<'a> {
    pub of: &'a Of<'a>,
    pub modules: &'a Modules<'a>,
    pub units: Units,
    pub out: Layout,
    pub states: BTreeMap<StackName, Vec<StateRead>>,
    /// What each terragrunt unit needs.
    pub needed: BTreeMap<StackName, Vec<Needed>>,
}

impl Reader<'_> {
    fn read(&mut self) {
        let dirs = self.modules.files.directories().map(|(dir, _)| dir);
        let dirs = dirs.filter(|dir| {
            !dir.split('/')
                .any(|part| part == ".terraform" || part == ".terragrunt-cache")
        });
        let dirs = dirs.map(|dir| RepoPath::parse(dir).expect("a directory of a tree is a path"));
        self.out.module_dirs = dirs.filter(|dir| self.modules.is_module(dir)).collect();

        let declared: Vec<Declared> = self.of.description.stacks.clone();
        let named: BTreeSet<&RepoPath> = declared.iter().map(|declared| &declared.dir).collect();
        let found = match self.of.description.discover {
            true => self.roots(&named),
            false => Vec::new(),
        };
        let found_units = match self.of.description.discover {
            true => self.found_units(&named),
            false => Vec::new(),
        };
        // A unit's directory is there as long as its file is, whatever terraform finds in it.
        self.out.module_dirs.extend(self.units.units.keys().cloned());
        for declared in &declared {
            self.declared(declared);
        }
        for (dir, place) in found {
            self.discovered(&dir, place);
        }
        for dir in found_units {
            self.discovered(&dir, None);
        }
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

    fn discovered(&mut self, dir: &RepoPath, place: Option<Place>) {
        let declared = Declared::of(Place::file(dir.clone()), dir.clone());
        let name = self.free_name(dir);
        self.stack(name, &declared, place);
    }

    fn declared(&mut self, declared: &Declared) {
        let dir = name_of(&declared.dir);
        let name = match (&declared.name, declared.workspace.as_str()) {
            (Some(name), _) => name.clone(),
            (None, "default") => dir,
            (None, workspace) => StackName::parse(&format!("{dir}:{workspace}")).unwrap_or(dir),
        };
        if let Some(other) = self.out.stacks.get(&name) {
            let problem = format!("the name {name} is already that of the stack in {}", shown(&other.dir));
            let error = Located::at(declared.at.clone(), problem).hint("give each stack a `name` of its own");
            return self.out.errors.push(error);
        }
        self.stack(name, declared, Some(declared.at.clone()));
    }

    /// A directory's name, or the next that is free where a declared stack took it.
    fn free_name(&self, dir: &RepoPath) -> StackName {
        let name = name_of(dir);
        let taken = |name: &StackName| self.out.stacks.contains_key(name);
        if !taken(&name) {
            return name;
        }
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut names = numbered.map(|text| StackName::parse(&text).unwrap_or_else(|_| name.clone()));
        names.find(|name| !taken(name)).unwrap_or(name)
    }

    fn stack(&mut self, name: StackName, declared: &Declared, defined_at: Option<Place>) {
        if let Some(unit) = self.units.units.get(&declared.dir).cloned() {
            return self.unit(name, declared, &unit, defined_at);
        }
        let description = self.of.description;
        let dir = &declared.dir;
        let tool = self.tool(dir, declared.tool);
        let mut errors = Vec::new();
        if !self.out.module_dirs.contains(dir) {
            let problem = format!("{} holds no file for {}", shown(dir), tool.word());
            errors.push(Located::at(declared.at.clone(), problem).hint("mend `dir`, or remove the stack"));
        }
        let mut reads = ReadSet::default();
        let var_files = self.named_files(dir, &declared.var_files, &mut reads, &mut errors);
        let backend_files = self.named_files(dir, &declared.backend_files, &mut reads, &mut errors);
        let module = self.modules.at(dir, tool);
        let mut vars = self.variables(dir, &var_files, &mut errors);
        // What an upstream's output gives is not what the files give.
        for variable in declared
            .depends_on
            .iter()
            .flat_map(|dependency| dependency.outputs.values())
        {
            vars.insert(variable.clone(), Lit::Null);
        }
        let root = Root {
            dir,
            tool,
            workspace: &declared.workspace,
            vars: vars.clone(),
        };
        let walked = walk(self.modules, root);
        let state = self.state(dir, &module, &backend_files, vars, declared, &mut errors);
        let watch = watched(dir, &declared.watch, &mut errors);
        let Walked {
            reads: walked_reads,
            local_modules,
            git_modules,
            required_version,
            states,
            errors: walked_errors,
            notices,
        } = walked;
        errors.extend(walked_errors);
        reads.dirs.extend(walked_reads.dirs);
        reads.files.extend(walked_reads.files);
        reads.patterns.extend(walked_reads.patterns);
        reads.patterns.extend(watch.iter().cloned());
        let stack = Stack {
            name: name.clone(),
            dir: dir.clone(),
            workspace: declared.workspace.clone(),
            var_files,
            backend_files,
            tool,
            tool_version: declared
                .tool_version
                .clone()
                .or_else(|| description.tool_version.clone()),
            required_version,
            labels: declared.labels.clone(),
            autoplan: declared.autoplan.unwrap_or(description.autoplan),
            reads,
            local_modules,
            git_modules,
            state,
            defined_at,
            unit: None,
        };
        self.keep(stack, declared, watch, errors, notices, states);
    }

    /// Adds a stack and what was said of it.
    pub fn keep(
        &mut self,
        stack: Stack,
        declared: &Declared,
        watch: Vec<Pattern>,
        errors: Vec<Located>,
        notices: Vec<Located>,
        states: Vec<StateRead>,
    ) {
        let name = stack.name.clone();
        let depends_on = declared
            .depends_on
            .iter()
            .map(|dependency| (dependency.stack.clone(), dependency.outputs.clone()));
        let definition = Definition {
            name: name.clone(),
            dir: stack.dir.clone(),
            workspace: stack.workspace.clone(),
            var_files: stack.var_files.clone(),
            backend_files: stack.backend_files.clone(),
            tool: stack.tool,
            tool_version: stack.tool_version.clone(),
            watch,
            depends_on: depends_on.collect(),
        };
        self.out.definitions.insert(name.clone(), definition);
        if let Some(place) = &declared.labels_at {
            self.out.labels_at.insert(name.clone(), place.clone());
        }
        if !errors.is_empty() {
            self.out.broken.entry(name.clone()).or_default().extend(errors);
        }
        if !notices.is_empty() {
            self.out.notices.entry(name.clone()).or_default().extend(notices);
        }
        self.states.insert(name.clone(), states);
        self.out.stacks.insert(name, stack);
    }

    /// Files that the configuration names, relative to the stack's directory.
    fn named_files(
        &self,
        dir: &RepoPath,
        named: &[(String, Place)],
        reads: &mut ReadSet,
        errors: &mut Vec<Located>,
    ) -> Vec<RepoPath> {
        let mut found_files = Vec::new();
        for (written, place) in named {
            let Some(path) = dir.join(written) else {
                let error = Located::at(place.clone(), format!("`{written}` leaves the repository"));
                errors.push(error.hint("write a path relative to the stack's directory"));
                continue;
            };
            // Also what is missing is read: whoever adds it changes the stack.
            reads.files.insert(path.clone());
            match self.modules.files.find(&path) {
                Ok(found) if found.what == What::File => {
                    reads.files.extend(found.links);
                    reads.files.insert(found.path);
                    found_files.push(path);
                }
                Ok(_) => {
                    errors.push(Located::at(place.clone(), format!("`{written}` is a directory")).hint("name a file"))
                }
                Err(lost) => {
                    let error = lost_error(&lost, place.clone(), written);
                    errors.push(error.hint(format!("the path is relative to {}", shown(dir))));
                }
            }
        }
        found_files
    }

    /// The values that variable files give, in the tool's order.
    fn variables(&self, dir: &RepoPath, var_files: &[RepoPath], errors: &mut Vec<Located>) -> BTreeMap<String, Lit> {
        let in_directory = self.modules.files.in_directory(dir);
        let is = |name: &str, wanted: &[&str]| wanted.contains(&name);
        let plain = in_directory
            .iter()
            .filter(|path| is(path.file_name(), &["terraform.tfvars", "terraform.tfvars.json"]));
        let auto = in_directory.iter().filter(|path| {
            let name = path.file_name();
            name.ends_with(".auto.tfvars") || name.ends_with(".auto.tfvars.json")
        });
        let mut vars = BTreeMap::new();
        for path in plain.chain(auto).copied().chain(var_files) {
            for (name, value) in self.attributes(path, errors) {
                match resolve(&value, &Scope::default()) {
                    Ok(lit) => vars.insert(name, lit),
                    Err(_) => vars.insert(name, Lit::Null),
                };
            }
        }
        vars
    }

    /// The attributes of a variable or backend file.
    fn attributes(&self, path: &RepoPath, errors: &mut Vec<Located>) -> BTreeMap<String, Value> {
        let real = match self.modules.files.find(path) {
            Ok(found) => found.path,
            Err(_) => return BTreeMap::new(),
        };
        // Files of other endings are not read: their values are unknown, which is never guessed.
        let Some(bytes) = self.modules.files.bytes(&real) else {
            return BTreeMap::new();
        };
        let read = text(bytes).and_then(|text| match real.file_name().ends_with(".json") {
            true => json::attributes(text),
            false => hcl::attributes(text),
        });
        match read {
            Ok(attributes) => attributes,
            Err(broken) => {
                let place = Place {
                    path: real,
                    line: broken.line,
                    column: broken.column,
                };
                let problem = format!("the file does not parse: {}", broken.why);
                errors.push(Located::at(place, problem).hint("mend the line"));
                BTreeMap::new()
            }
        }
    }

    pub fn state(
        &self,
        dir: &RepoPath,
        module: &Module,
        backend_files: &[RepoPath],
        vars: BTreeMap<String, Lit>,
        declared: &Declared,
        errors: &mut Vec<Located>,
    ) -> StateAt {
        let backends = module
            .files
            .iter()
            .flat_map(|(file, facts)| facts.backends.iter().map(move |backend| (file, backend)));
        let last: Option<(&RepoPath, &Backend)> = backends.last();
        // A file that does not parse may hold the backend: then nothing is known.
        if last.is_none() && !module.errors.is_empty() {
            return StateAt::Unknown("a file of the stack does not parse".to_owned());
        }
        let mut scope = Scope {
            vars,
            locals: Some(&module.locals),
            module_path: ".".to_owned(),
            workspace: declared.workspace.clone(),
        };
        for (name, default) in &module.variables {
            if !scope.vars.contains_key(name)
                && let Some(Ok(lit)) = default.as_ref().map(|value| resolve(value, &Scope::default()))
            {
                scope.vars.insert(name.clone(), lit);
            }
        }
        let mut config: state::Config = BTreeMap::new();
        if let Some((_, backend)) = last {
            config.extend(
                backend
                    .config
                    .iter()
                    .map(|(name, value)| (name.clone(), resolve(value, &scope))),
            );
        }
        for file in backend_files {
            let attributes = self.attributes(file, errors);
            config.extend(
                attributes
                    .into_iter()
                    .map(|(name, value)| (name, resolve(&value, &Scope::default()))),
            );
        }
        let kind = last.map_or("local", |(_, backend)| backend.kind.as_str());
        match state::of_stack(self.of.repo, dir, kind, &config, &declared.workspace) {
            Ok(at) => at,
            Err(problem) => {
                let place = last.map_or(declared.at.clone(), |(file, backend)| Place {
                    path: file.clone(),
                    line: backend.line,
                    column: None,
                });
                errors.push(Located::at(place, problem.clone()).hint("use a path inside the repository, or a backend"));
                StateAt::Unknown(problem)
            }
        }
    }

    /// What can be said only once every stack is known: shared states and edges.
    fn join(&mut self) {
        for (name, error) in shared_states(&self.out.stacks) {
            self.out.broken.entry(name).or_default().push(error);
        }
        let outputs = |stack: &Stack| {
            let module = self.modules.at(&stack.dir, stack.tool);
            let outputs = module
                .files
                .iter()
                .flat_map(|(_, facts)| facts.outputs.iter().cloned())
                .collect();
            let variables = module.variables.keys().cloned().collect();
            module.errors.is_empty().then_some((outputs, variables))
        };
        let joined = edges(
            self.of.repo,
            &self.out.stacks,
            &self.of.description.stacks,
            &self.states,
            &outputs,
        );
        self.out.edges = joined.edges;
        self.unit_edges();
        self.out.looking = joined.looking;
        for (name, error) in joined.broken {
            self.out.broken.entry(name).or_default().push(error);
        }
        for (name, notice) in joined.notices {
            self.out.notices.entry(name).or_default().push(notice);
        }
    }
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

fn place_of(stack: &Stack) -> Place {
    stack
        .defined_at
        .clone()
        .unwrap_or_else(|| Place::file(stack.dir.clone()))
}

/// A stack that nobody named is called by its directory.
fn name_of(dir: &RepoPath) -> StackName {
    let legal = |character: char| match character {
        c if c.is_whitespace() || c.is_control() || "`|<>,\"'\\".contains(c) => '_',
        c => c,
    };
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
