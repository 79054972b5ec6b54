//! Owns root modules that serve several environments: a variable file for each, and what tells their states apart.

use std::collections::BTreeMap;

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::source::module::{Module, Modules};

/// One environment of a root module, which has a state of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Environment {
    pub name: String,
    pub var_file: RepoPath,
    pub state: OwnState,
}

/// What gives an environment a state of its own.
#[derive(Debug, PartialEq, Eq)]
pub enum OwnState {
    BackendFile(RepoPath),
    /// Whether it exists is asked before its first plan.
    Workspace,
}

/// What the files around a root module say of its environments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environments {
    pub stacks: Vec<Environment>,
    /// Variable and backend files that belong to no stack, each with what people should know.
    pub unclaimed: Vec<(RepoPath, Located)>,
    /// A backend file that names no environment, for a backend that is not configured in full.
    pub backend_file: Option<RepoPath>,
}

/// Directories below a root module in which variable files lie.
const PLACES: &[&str] = &["env", "envs", "environment", "environments", "vars", "tfvars"];
/// Directories below a root module that hold nothing but backend files.
const BACKENDS: &[&str] = &[
    "backend",
    "backends",
    "backend-config",
    "backend-configs",
    "backend_config",
    "backend_configs",
];
/// Names of variable files that are no environment, unless a backend file says so.
const COMMON: &[&str] = &[
    "all",
    "base",
    "common",
    "default",
    "defaults",
    "example",
    "examples",
    "global",
    "globals",
    "input",
    "inputs",
    "main",
    "sample",
    "secret",
    "secrets",
    "shared",
    "template",
    "terraform",
    "values",
    "variables",
    "vars",
];
/// Those of them that nobody means to be read.
const EXAMPLES: &[&str] = &["example", "examples", "sample", "template"];
/// Environments of one module that are told apart.
const MAX_ENVIRONMENTS: usize = 200;

/// Reads the names of the files around a root module.
pub fn environments(modules: &Modules<'_>, dir: &RepoPath, module: &Module) -> Environments {
    let files = Found::around(modules, dir);
    let mut found = Environments::default();
    // Without a backend block no file configures it.
    let backend = module.files.iter().flat_map(|(_, facts)| &facts.backends).next_back();
    let takes_files = backend.is_some_and(|backend| !matches!(backend.kind.as_str(), "cloud" | ""));
    if let (true, [only]) = (takes_files, files.shared.as_slice()) {
        found.backend_file = Some(only.clone());
    }
    let by_workspace = asks_workspace(module);
    let by_file = takes_files && files.variables.keys().any(|name| files.backends.contains_key(name));
    let mut alone = Vec::new();
    for (name, var_files) in &files.variables {
        let backends = files
            .backends
            .get(name)
            .filter(|_| takes_files)
            .map_or(&[][..], Vec::as_slice);
        let state = match (var_files.as_slice(), backends) {
            ([_], [only]) => OwnState::BackendFile(only.clone()),
            ([_], []) if !by_file && by_workspace && !COMMON.contains(&name.as_str()) => OwnState::Workspace,
            ([_], []) => {
                alone.push((name, var_files));
                continue;
            }
            (var_files, backends) => {
                let several = if var_files.len() > 1 { var_files } else { backends };
                found.unclaimed.extend(ambiguous(dir, name, several));
                continue;
            }
        };
        if found.stacks.len() >= MAX_ENVIRONMENTS {
            alone.push((name, var_files));
            continue;
        }
        found.stacks.push(Environment {
            name: name.clone(),
            var_file: var_files[0].clone(),
            state,
        });
    }
    for (name, var_files) in alone {
        match (COMMON.contains(&name.as_str()), found.stacks.is_empty()) {
            (false, _) => found
                .unclaimed
                .extend(var_files.iter().map(|file| stateless(dir, name, file))),
            // Beside environments it looks as if each of them were given it.
            (true, false) if !EXAMPLES.contains(&name.as_str()) => {
                found.unclaimed.extend(var_files.iter().map(|file| common(dir, file)));
            }
            (true, _) => {}
        }
    }
    for (name, backends) in files
        .backends
        .iter()
        .filter(|(name, _)| !files.variables.contains_key(*name))
    {
        found
            .unclaimed
            .extend(backends.iter().map(|file| without_variables(dir, name, file)));
    }
    found
}

/// Whether the code or its backend counts on workspaces.
fn asks_workspace(module: &Module) -> bool {
    module.files.iter().any(|(_, facts)| {
        let prefixed = |key: &str| key == "workspace_key_prefix";
        let backends = facts.backends.iter();
        facts.asks_workspace
            || backends
                .flat_map(|backend| backend.config.keys())
                .any(|key| prefixed(key))
    })
}

/// Files by the environment that their names name.
#[derive(Default)]
struct Found {
    variables: BTreeMap<String, Vec<RepoPath>>,
    backends: BTreeMap<String, Vec<RepoPath>>,
    /// Backend files beside the module that name no environment.
    shared: Vec<RepoPath>,
}

impl Found {
    fn around(modules: &Modules<'_>, dir: &RepoPath) -> Found {
        let mut found = Found::default();
        for path in modules.files.in_directory(dir) {
            let name = path.file_name();
            if let Some(environment) = environment_of_variables(name) {
                add(&mut found.variables, environment, path);
            }
            match backend_file(name, In::Module) {
                Some(Backend::Of(environment)) => add(&mut found.backends, environment, path),
                Some(Backend::Shared) => found.shared.push((*path).clone()),
                None => {}
            }
        }
        // Most root modules have nothing below them.
        if !modules.files.has_folders(dir) {
            return found;
        }
        for place in BACKENDS {
            for path in below(modules, dir, place) {
                if let Some(Backend::Of(environment)) = backend_file(path.file_name(), In::Backends) {
                    add(&mut found.backends, environment, path);
                }
            }
        }
        for place in PLACES {
            for path in below(modules, dir, place) {
                if let Some(environment) = environment_of_variables(path.file_name()) {
                    add(&mut found.variables, environment, path);
                }
                if let Some(Backend::Of(environment)) = backend_file(path.file_name(), In::Module) {
                    add(&mut found.backends, environment, path);
                }
            }
            found.folders(modules, dir, place);
        }
        found
    }

    /// `env/prod/terraform.tfvars` beside `env/prod/backend.hcl`.
    fn folders(&mut self, modules: &Modules<'_>, dir: &RepoPath, place: &str) {
        let Some(place) = dir.join(place) else { return };
        for folder in modules.files.folders_in(&place) {
            let environment = folder.file_name().to_owned();
            // A folder with code of its own is a root module of its own.
            if !is_environment(&environment) || modules.is_module(&folder) {
                continue;
            }
            for path in modules.files.in_directory(&folder) {
                let name = path.file_name();
                let is_variables = matches!(name, "terraform.tfvars" | "terraform.tfvars.json")
                    || environment_of_variables(name).is_some_and(|named| named == environment);
                if is_variables {
                    add(&mut self.variables, environment.clone(), path);
                }
                match backend_file(name, In::Module) {
                    Some(Backend::Shared) => add(&mut self.backends, environment.clone(), path),
                    Some(Backend::Of(named)) if named == environment => add(&mut self.backends, named, path),
                    Some(Backend::Of(_)) | None => {}
                }
            }
        }
    }
}

fn add(files: &mut BTreeMap<String, Vec<RepoPath>>, environment: String, path: &RepoPath) {
    files.entry(environment).or_default().push(path.clone());
}

/// The files of a directory below the module, unless it holds code of its own.
fn below<'f>(modules: &Modules<'f>, dir: &RepoPath, place: &str) -> &'f [&'f RepoPath] {
    match dir.join(place) {
        Some(place) if !modules.is_module(&place) => modules.files.in_directory(&place),
        Some(_) | None => &[],
    }
}

/// A word that may stand in a stack's and in a workspace's name.
fn is_environment(word: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !word.is_empty() && word.len() <= 64 && !word.starts_with(['-', '.']) && word.bytes().all(legal)
}

/// `prod.tfvars` → `prod`.
fn environment_of_variables(name: &str) -> Option<String> {
    let stem = name
        .strip_suffix(".tfvars")
        .or_else(|| name.strip_suffix(".tfvars.json"))?;
    let is_automatic = stem == "terraform" || stem.ends_with(".auto");
    (!is_automatic && !stem.contains("backend") && is_environment(stem)).then(|| stem.to_owned())
}

/// Where a file lies: in a directory of backend files every file is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Module,
    Backends,
}

#[derive(Debug, PartialEq, Eq)]
enum Backend {
    Of(String),
    Shared,
}

/// `prod.tfbackend`, `prod.s3.tfbackend`, `prod.backend.hcl`, `backend-prod.tfvars`; `backend.hcl` and
/// `config.s3.tfbackend` name nobody.
fn backend_file(name: &str, place: In) -> Option<Backend> {
    const KINDS: &[&str] = &[
        "azurerm",
        "consul",
        "cos",
        "gcs",
        "http",
        "kubernetes",
        "local",
        "oci",
        "oss",
        "pg",
        "remote",
        "s3",
    ];
    if name.starts_with("terragrunt") || name == ".terraform.lock.hcl" {
        return None;
    }
    let (stem, is_backend) = match name.strip_suffix(".tfbackend") {
        Some(stem) => {
            let kind = stem.rsplit_once('.').filter(|(_, kind)| KINDS.contains(kind));
            (kind.map_or(stem, |(stem, _)| stem), true)
        }
        None => (
            name.strip_suffix(".hcl").or_else(|| name.strip_suffix(".tfvars"))?,
            place == In::Backends,
        ),
    };
    if matches!(stem, "backend" | "config") && (is_backend || stem == "backend") {
        return Some(Backend::Shared);
    }
    const MARKS: &[&str] = &["backend-", "backend.", "backend_"];
    const ENDS: &[&str] = &["-backend", ".backend", "_backend"];
    let marked = MARKS.iter().find_map(|mark| stem.strip_prefix(mark));
    let marked = marked.or_else(|| ENDS.iter().find_map(|mark| stem.strip_suffix(mark)));
    let environment = marked.or_else(|| is_backend.then_some(stem))?;
    is_environment(environment).then(|| Backend::Of(environment.to_owned()))
}

fn shown(dir: &RepoPath) -> &str {
    if dir.is_root() { "." } else { dir.as_str() }
}

fn below_dir(dir: &RepoPath, file: &RepoPath) -> String {
    let rest = file.as_str().strip_prefix(dir.as_str()).unwrap_or(file.as_str());
    rest.trim_start_matches('/').to_owned()
}

fn stateless(dir: &RepoPath, name: &str, file: &RepoPath) -> (RepoPath, Located) {
    let problem = format!(
        "nothing says that {name} has a state of its own in {}: the file belongs to no stack",
        shown(dir)
    );
    let hint = format!(
        "add its backend file `{name}.tfbackend`, or in lockkeeper.yaml \
         `- {{ name: NAME, dir: {}, workspace: {name}, var_files: [{}] }}`",
        shown(dir),
        below_dir(dir, file)
    );
    (file.clone(), Located::at(Place::file(file.clone()), problem).hint(hint))
}

fn common(dir: &RepoPath, file: &RepoPath) -> (RepoPath, Located) {
    let problem = format!(
        "this file names no environment, and no stack of {} is given it",
        shown(dir)
    );
    let hint = format!(
        "where each environment needs it, name the stacks in lockkeeper.yaml with \
         `var_files: [{}, NAME.tfvars]`, or have its name end in `.auto.tfvars`, which the tool reads by itself",
        below_dir(dir, file)
    );
    (file.clone(), Located::at(Place::file(file.clone()), problem).hint(hint))
}

fn without_variables(dir: &RepoPath, name: &str, file: &RepoPath) -> (RepoPath, Located) {
    let problem = format!(
        "there is no variable file for {name} in {}: the backend file belongs to no stack",
        shown(dir)
    );
    let hint = format!(
        "add `{name}.tfvars`, or in lockkeeper.yaml `- {{ name: NAME, dir: {}, backend_files: [{}] }}`",
        shown(dir),
        below_dir(dir, file)
    );
    (file.clone(), Located::at(Place::file(file.clone()), problem).hint(hint))
}

fn ambiguous(dir: &RepoPath, name: &str, files: &[RepoPath]) -> Vec<(RepoPath, Located)> {
    let located = |file: &RepoPath| {
        let problem = format!(
            "several files of one kind are named {name} in {}: it is no stack",
            shown(dir)
        );
        let hint = "remove one, or name the stack with its files in lockkeeper.yaml";
        (file.clone(), Located::at(Place::file(file.clone()), problem).hint(hint))
    };
    files.iter().map(located).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_tells_the_environment() {
        for (name, variables, backend) in [
            ("prod.tfvars", Some("prod"), None),
            ("prod.eu.tfvars.json", Some("prod.eu"), None),
            ("terraform.tfvars", None, None),
            ("x.auto.tfvars", None, None),
            ("prod.tfbackend", None, Some("prod")),
            ("prod.s3.tfbackend", None, Some("prod")),
            ("prod.backend.hcl", None, Some("prod")),
            ("backend-prod.hcl", None, Some("prod")),
            ("backend_prod.tfvars", None, Some("prod")),
            ("prod-backend.tfbackend", None, Some("prod")),
            ("config.s3.tfbackend", None, Some("shared")),
            ("backend.hcl", None, Some("shared")),
            ("prod.hcl", None, None),
            ("terragrunt.hcl", None, None),
            (".terraform.lock.hcl", None, None),
            ("a b.tfvars", None, None),
            ("-x.tfvars", None, None),
        ] {
            let found = backend_file(name, In::Module).map(|found| match found {
                Backend::Of(environment) => environment,
                Backend::Shared => "shared".to_owned(),
            });
            assert_eq!(environment_of_variables(name).as_deref(), variables, "{name}");
            assert_eq!(found.as_deref(), backend, "{name}");
        }
        assert_eq!(
            backend_file("prod.hcl", In::Backends),
            Some(Backend::Of("prod".to_owned()))
        );
    }
}
