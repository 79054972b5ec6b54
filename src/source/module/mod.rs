//! Owns a module: the facts of all files in one directory, as one tool would load them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::domain::located::{Located, Place};
use crate::source::facts::parse::{Flavour, Known};
use crate::source::facts::{Call, Facts};
use crate::source::module::consumed::Mention;
use crate::source::module::files::{Files, Lost, What};
use crate::source::module::surveyed::Surveyed;
use crate::source::value::{Locals, Scope, Vars, resolve};

pub mod files;
pub mod surveyed;
pub mod consumed;

/// One directory's files, put together.
#[derive(Default)]
pub struct Module {
    pub files: Vec<(RepoPath, Arc<Facts>)>,
    /// Every variable, with its default where that is known.
    pub variables: Vars,
    pub locals: Locals,
    pub outputs: BTreeSet<String>,
    /// Targets of links that stand in for its files, and the links on the way.
    pub through_links: BTreeSet<RepoPath>,
    pub errors: Vec<Located>,
    /// What its expressions mention, once somebody asked.
    pub mentions: OnceLock<Vec<Mention>>,
    /// What they say of the directory, once somebody asked.
    surveyed: OnceLock<Surveyed>,
}

/// All modules of one tree, read once for each tool.
pub struct Modules<'a> {
    pub files: &'a Files<'a>,
    parsed: &'a Known<'a>,
    /// Of every directory that holds a file for a tool.
    known: HashMap<&'a str, Dir>,
    nothing: Arc<Module>,
    /// How many module calls may still be followed in this tree.
    fuel: AtomicU32,
}

/// The modules of a tree that is not at hand any more: by directory, as terraform and as tofu load them.
#[derive(Default)]
pub struct Assembled(HashMap<String, [Option<Arc<Module>>; 2]>);

#[derive(Default)]
struct Dir {
    /// As each tool loads it: terraform, then tofu.
    by_tool: [OnceLock<Arc<Module>>; 2],
    has_tofu_files: bool,
}

/// More calls than any repository has, and an end for one made to have more.
const CALLS: u32 = 500_000;

impl<'a> Modules<'a> {
    pub fn new(files: &'a Files<'a>, parsed: &'a Known<'a>) -> Self {
        let mut known = HashMap::new();
        for (dir, paths) in files.directories() {
            let mut flavours = paths.iter().filter_map(|path| Flavour::of(path.file_name())).peekable();
            if flavours.peek().is_some() {
                let has_tofu_files = flavours.any(Flavour::is_tofu);
                known.insert(
                    dir,
                    Dir {
                        has_tofu_files,
                        ..Dir::default()
                    },
                );
            }
        }
        Modules {
            files,
            parsed,
            known,
            nothing: Arc::default(),
            fuel: AtomicU32::new(CALLS),
        }
    }

    /// Takes over the modules of directories that are the same in another tree.
    pub fn keep(self, before: &Assembled, is_same: impl Fn(&str) -> bool) -> Self {
        for (dir, own) in self.known.iter().filter(|(dir, _)| is_same(dir)) {
            let others = before.0.get(*dir).into_iter().flatten();
            for (own, other) in own.by_tool.iter().zip(others) {
                if let Some(module) = other {
                    own.get_or_init(|| module.clone());
                }
            }
        }
        self
    }

    /// What was put together so far.
    pub fn assembled(&self) -> Assembled {
        let by_tool = |dir: &Dir| dir.by_tool.each_ref().map(|module| module.get().cloned());
        let dirs = self.known.iter();
        Assembled(dirs.map(|(dir, known)| ((*dir).to_owned(), by_tool(known))).collect())
    }

    /// Whether no call may be followed any more: then somebody may have been told less than there is.
    pub fn is_spent(&self) -> bool {
        self.fuel.load(Ordering::Relaxed) == 0
    }

    /// The module in a real directory; an empty one where there is none.
    pub fn at(&self, dir: &RepoPath, tool: Tool) -> Arc<Module> {
        let at = match tool {
            Tool::Terraform => 0,
            Tool::OpenTofu => 1,
        };
        match self.known.get(dir.as_str()) {
            Some(known) => known.by_tool[at].get_or_init(|| Arc::new(self.read(dir, tool))).clone(),
            None => self.nothing.clone(),
        }
    }

    /// What the module in a real directory says of it.
    pub fn surveyed<'m>(&self, dir: &RepoPath, module: &'m Module) -> &'m Surveyed {
        module.surveyed.get_or_init(|| Surveyed::of(self, dir, module))
    }

    /// Directories that hold a file for a tool, in no order.
    pub fn dirs(&self) -> impl Iterator<Item = &'a str> {
        self.known.keys().copied()
    }

    /// Whether one more call may be followed.
    pub fn follow(&self) -> bool {
        let spend = |fuel: u32| fuel.checked_sub(1);
        self.fuel
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }

    /// The directory of a module that is called by a literal path: as the tool sees it, and where links lead.
    pub fn called(&self, dir: &RepoPath, call: &Call) -> Option<(RepoPath, RepoPath)> {
        let source = resolve(call.source.as_ref()?, &Scope::default()).ok()?.text()?;
        let is_local = source.starts_with("./") || source.starts_with("../") || source == "." || source == "..";
        let target = dir.join(&source).filter(|_| is_local)?;
        let real = match self.files.find(&target) {
            Ok(found) => found.path,
            Err(_) => target.clone(),
        };
        Some((target, real))
    }

    /// Whether any file for terraform or tofu lies directly in this directory.
    pub fn is_module(&self, dir: &RepoPath) -> bool {
        self.known.contains_key(dir.as_str())
    }

    /// Whether only tofu would understand the directory in full.
    pub fn has_tofu_files(&self, dir: &RepoPath) -> bool {
        self.known.get(dir.as_str()).is_some_and(|dir| dir.has_tofu_files)
    }

    fn read(&self, dir: &RepoPath, tool: Tool) -> Module {
        let mut module = Module::default();
        let names: BTreeSet<&str> = self
            .files
            .in_directory(dir)
            .iter()
            .map(|path| path.file_name())
            .collect();
        let mut paths: Vec<(&RepoPath, Flavour)> = Vec::new();
        for path in self.files.in_directory(dir) {
            if let Some(flavour) = Flavour::of(path.file_name())
                && flavour.is_loaded(path.file_name(), tool, &names)
            {
                paths.push((path, flavour));
            }
        }
        // Override files are merged over the others, in the order of their names.
        paths.sort_by_key(|(path, _)| (is_override(path.file_name()), path.file_name()));
        for (path, flavour) in paths {
            self.add(&mut module, path, flavour);
        }
        module
    }

    fn add(&self, module: &mut Module, path: &RepoPath, flavour: Flavour) {
        let found = match self.files.find(path) {
            Ok(found) if found.what == What::File => found,
            Ok(_) => return,
            Err(lost) => {
                return module
                    .errors
                    .push(lost_error(&lost, Place::file(path.clone()), path.as_str()));
            }
        };
        if !found.links.is_empty() {
            module.through_links.extend(found.links.iter().cloned());
            module.through_links.insert(found.path.clone());
        }
        let facts = self
            .files
            .blob(&found.path)
            .and_then(|blob| self.parsed.facts(blob, flavour));
        let Some(facts) = facts else {
            let problem = "the file was not read: it is too large, or a link to a file of another kind";
            let error = Located::at(Place::file(path.clone()), problem).hint("split the file");
            return module.errors.push(error);
        };
        if let Some(broken) = &facts.broken {
            let place = Place {
                path: found.path.clone(),
                line: broken.line,
                column: broken.column,
            };
            module
                .errors
                .push(Located::at(place, format!("the file does not parse: {}", broken.why)).hint("mend the line"));
        }
        for (name, default) in &facts.variables {
            let default = default.as_ref().map(|value| resolve(value, &Scope::default()));
            module.variables.insert(name.clone(), default.and_then(Result::ok));
        }
        module.outputs.extend(facts.outputs.iter().cloned());
        for (name, value) in &facts.locals {
            module.locals.insert(name.clone(), value.clone());
        }
        module.files.push((found.path, facts));
    }
}

/// A path that leads nowhere, for people.
pub fn lost_error(lost: &Lost, place: Place, written: &str) -> Located {
    match lost {
        Lost::Missing => Located::at(place, format!("`{written}` does not exist")).hint("add it, or mend the path"),
        Lost::Leaves(link) => Located::at(
            place,
            format!("`{written}` leaves the repository through the link {link}"),
        )
        .hint("only what the repository holds can be planned: copy it in"),
        Lost::Submodule(submodule) => Located::at(place, format!("`{written}` lies in the git submodule {submodule}"))
            .hint("submodules are not fetched: use a module source, or copy it in"),
        Lost::Circle(link) => Located::at(place, format!("`{written}` follows links that lead back to {link}"))
            .hint("remove one of the links"),
    }
}

fn is_override(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    stem == "override" || stem.ends_with("_override")
}
