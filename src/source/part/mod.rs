//! Owns what the files say of one stack, whatever it is called.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{RepoId, RepoPath};
use crate::domain::layout::{Constraint, GitModule, ReadSet, StateAt, Tool};
use crate::domain::located::{Located, Place};
use crate::source::config::Declared;
use crate::source::facts::Backend;
use crate::source::facts::parse::text;
use crate::source::facts::{hcl, json};
use crate::source::module::files::{Files, What};
use crate::source::module::{Module, Modules, lost_error};
use crate::source::part::lookups::NamedAt;
use crate::source::part::walk::{Root, StateRead, Walked, walk};
use crate::source::value::{Scope, Value, Vars, resolve};

pub mod lookups;
pub mod inputs;
pub mod walk;
pub mod watch;
pub mod state;

/// All that a root module's files say, with these variable files and this backend.
pub struct Part {
    pub reads: ReadSet,
    /// Paths that were looked for besides, and are not there.
    pub probed: BTreeSet<RepoPath>,
    pub var_files: Vec<RepoPath>,
    pub backend_files: Vec<RepoPath>,
    pub local_modules: BTreeSet<RepoPath>,
    pub git_modules: Vec<GitModule>,
    pub required_version: Vec<Constraint>,
    pub state: StateAt,
    pub states: Vec<StateRead>,
    pub named: Vec<NamedAt>,
    pub errors: Vec<Located>,
    pub notices: Vec<Located>,
}

/// What of a stack's definition decides how its files are read.
#[derive(PartialEq, Eq, Hash)]
pub struct Asked {
    at: Place,
    dir: RepoPath,
    tool: Tool,
    workspace: String,
    var_files: Vec<(String, Place)>,
    backend_files: Vec<(String, Place)>,
    /// Variables that upstreams give.
    given: BTreeSet<String>,
}

impl Asked {
    pub fn of(declared: &Declared, tool: Tool) -> Asked {
        Asked {
            at: declared.at.clone(),
            dir: declared.dir.clone(),
            tool,
            workspace: declared.workspace.clone(),
            var_files: declared.var_files.clone(),
            backend_files: declared.backend_files.clone(),
            given: given(declared).cloned().collect(),
        }
    }
}

fn given(declared: &Declared) -> impl Iterator<Item = &String> {
    let dependencies = declared.depends_on.iter();
    dependencies.flat_map(|dependency| dependency.outputs.values())
}

impl Part {
    /// Reads them.
    pub fn read(
        repo: RepoId,
        modules: &Modules<'_>,
        looked_up: &BTreeSet<String>,
        declared: &Declared,
        tool: Tool,
    ) -> Part {
        let reader = Reader {
            repo,
            files: modules.files,
        };
        let dir = &declared.dir;
        let mut errors = Vec::new();
        let mut reads = ReadSet::default();
        let var_files = reader.named_files(dir, &declared.var_files, &mut reads, &mut errors);
        let backend_files = reader.named_files(dir, &declared.backend_files, &mut reads, &mut errors);
        let module = modules.at(dir, tool);
        let mut vars = reader.variables(dir, &var_files, &mut errors, &mut reads);
        // What an upstream's output gives is not what the files give.
        vars.extend(given(declared).map(|variable| (variable.clone(), None)));
        let root = Root {
            repo,
            dir,
            tool,
            workspace: &declared.workspace,
            vars: vars.clone(),
            looked_up,
        };
        let Walked {
            reads: walked_reads,
            probed,
            local_modules,
            git_modules,
            required_version,
            states,
            named,
            errors: walked_errors,
            notices,
        } = walk(modules, root);
        let state = reader.state(dir, &module, &backend_files, vars, declared, &mut errors);
        errors.extend(walked_errors);
        reads.dirs.extend(walked_reads.dirs);
        reads.files.extend(walked_reads.files);
        reads.patterns.extend(walked_reads.patterns);
        Part {
            reads,
            probed,
            var_files,
            backend_files,
            local_modules,
            git_modules,
            required_version,
            state,
            states,
            named,
            errors,
            notices,
        }
    }
}

/// Whether the backend block alone does not tell which state is meant.
pub fn is_partial(repo: RepoId, modules: &Modules<'_>, declared: &Declared, module: &Module) -> bool {
    let reader = Reader {
        repo,
        files: modules.files,
    };
    let vars = reader.variables(&declared.dir, &[], &mut Vec::new(), &mut ReadSet::default());
    let state = reader.state(&declared.dir, module, &[], vars, declared, &mut Vec::new());
    matches!(state, StateAt::Unknown(_))
}

/// The state of the backend block alone, without variable and backend files.
pub fn backend_state(
    repo: RepoId,
    modules: &Modules<'_>,
    declared: &Declared,
    module: &Module,
    errors: &mut Vec<Located>,
) -> StateAt {
    let reader = Reader {
        repo,
        files: modules.files,
    };
    reader.state(&declared.dir, module, &[], Vars::new(), declared, errors)
}

struct Reader<'a> {
    repo: RepoId,
    files: &'a Files<'a>,
}

impl Reader<'_> {
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
            match self.files.find(&path) {
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
    fn variables(
        &self,
        dir: &RepoPath,
        var_files: &[RepoPath],
        errors: &mut Vec<Located>,
        reads: &mut ReadSet,
    ) -> Vars {
        let in_directory = self.files.in_directory(dir);
        let is = |name: &str, wanted: &[&str]| wanted.contains(&name);
        let plain = in_directory
            .iter()
            .filter(|path| is(path.file_name(), &["terraform.tfvars", "terraform.tfvars.json"]));
        let auto = in_directory.iter().filter(|path| {
            let name = path.file_name();
            name.ends_with(".auto.tfvars") || name.ends_with(".auto.tfvars.json")
        });
        let mut vars = Vars::new();
        for path in plain.chain(auto).copied().chain(var_files) {
            match self.files.find(path) {
                Ok(found) => reads.files.extend(found.links),
                Err(lost) => errors.push(lost_error(&lost, Place::file(path.clone()), path.file_name())),
            }
            for (name, value) in self.attributes(path, errors) {
                vars.insert(name, resolve(&value, &Scope::default()).ok());
            }
        }
        vars
    }

    /// The attributes of a variable or backend file.
    fn attributes(&self, path: &RepoPath, errors: &mut Vec<Located>) -> BTreeMap<String, Value> {
        let real = match self.files.find(path) {
            Ok(found) => found.path,
            Err(_) => return BTreeMap::new(),
        };
        // Files of other endings are not read: their values are unknown, which is never guessed.
        let Some(bytes) = self.files.bytes(&real) else {
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

    fn state(
        &self,
        dir: &RepoPath,
        module: &Module,
        backend_files: &[RepoPath],
        vars: Vars,
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
        let scope = Scope {
            vars,
            defaults: Some(&module.variables),
            locals: Some(&module.locals),
            module_path: ".".to_owned(),
            workspace: declared.workspace.clone(),
            each: None,
        };
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
        match state::of_stack(self.repo, dir, kind, &config, &declared.workspace) {
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
}

fn shown(dir: &RepoPath) -> &str {
    if dir.is_root() { "." } else { dir.as_str() }
}
