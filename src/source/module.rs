//! Owns a module: the facts of all files in one directory, as one tool would load them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::domain::located::{Located, Place};
use crate::source::facts::Facts;
use crate::source::files::{Files, Lost, What};
use crate::source::parse::{Flavour, Parsed};
use crate::source::value::Value;

/// One directory's files, put together.
pub struct Module {
    pub files: Vec<(RepoPath, Arc<Facts>)>,
    pub variables: BTreeMap<String, Option<Value>>,
    pub locals: BTreeMap<String, Value>,
    /// Targets of links that stand in for its files, and the links on the way.
    pub through_links: BTreeSet<RepoPath>,
    pub errors: Vec<Located>,
}

/// All modules of one tree, read once for each tool.
pub struct Modules<'a> {
    pub files: &'a Files<'a>,
    parsed: &'a Parsed,
    known: RefCell<HashMap<(RepoPath, Tool), Arc<Module>>>,
    /// How many module calls may still be followed in this tree.
    pub fuel: Cell<u32>,
}

/// More calls than any repository has, and an end for one made to have more.
const CALLS: u32 = 500_000;

impl<'a> Modules<'a> {
    pub fn new(files: &'a Files<'a>, parsed: &'a Parsed) -> Self {
        Modules {
            files,
            parsed,
            known: RefCell::default(),
            fuel: Cell::new(CALLS),
        }
    }

    /// The module in a real directory.
    pub fn at(&self, dir: &RepoPath, tool: Tool) -> Arc<Module> {
        let key = (dir.clone(), tool);
        if let Some(module) = self.known.borrow().get(&key) {
            return module.clone();
        }
        let module = Arc::new(self.read(dir, tool));
        self.known.borrow_mut().insert(key, module.clone());
        module
    }

    /// Whether any file for terraform or tofu lies directly in this directory.
    pub fn is_module(&self, dir: &RepoPath) -> bool {
        self.files
            .in_directory(dir)
            .iter()
            .any(|path| Flavour::of(path.file_name()).is_some())
    }

    /// Whether only tofu would understand the directory in full.
    pub fn has_tofu_files(&self, dir: &RepoPath) -> bool {
        self.files
            .in_directory(dir)
            .iter()
            .any(|path| Flavour::of(path.file_name()).is_some_and(Flavour::is_tofu))
    }

    fn read(&self, dir: &RepoPath, tool: Tool) -> Module {
        let mut module = Module {
            files: Vec::new(),
            variables: BTreeMap::new(),
            locals: BTreeMap::new(),
            through_links: BTreeSet::new(),
            errors: Vec::new(),
        };
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
            module.variables.insert(name.clone(), default.clone());
        }
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
