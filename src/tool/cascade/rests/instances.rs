//! Owns the tree of module calls, from the root module on, and what each module declares.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::RepoPath;
use crate::tool::cascade::texts::{Argument, Block, File, Module};

/// One call of a module; the root module is the first.
pub struct Instance<'m, 't> {
    /// `module.a.module.b.`; empty: the root.
    pub path: String,
    pub module: &'m Module<'t>,
    pub index: usize,
    /// The caller and the name of the call.
    pub parent: Option<(usize, &'m str)>,
    pub children: HashMap<&'m str, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    Managed,
    Data,
    Ephemeral,
}

/// The blocks of one name, each with its file.
pub type Declared<'m, 't> = Vec<(&'m File<'t>, &'m Block)>;

/// What a module declares, by name; an override file declares the same once more.
#[derive(Default)]
pub struct Index<'m, 't> {
    pub locals: BTreeMap<&'m str, Vec<&'m Argument>>,
    pub outputs: BTreeMap<&'m str, Vec<&'m Block>>,
    pub calls: BTreeMap<&'m str, Declared<'m, 't>>,
    pub objects: BTreeMap<(Mode, &'m str, &'m str), Declared<'m, 't>>,
}

pub struct Instances<'m, 't> {
    pub all: Vec<Instance<'m, 't>>,
    pub indices: Vec<Index<'m, 't>>,
    /// Every file could be parsed, and every call was followed.
    pub is_whole: bool,
}

/// A tree of more calls than this is not looked at any further.
const MAX_INSTANCES: usize = 2_000;

impl<'m, 't> Instances<'m, 't> {
    pub fn of(modules: &'m BTreeMap<&'t RepoPath, Module<'t>>, root: &RepoPath) -> Self {
        let mut found = Instances {
            all: Vec::new(),
            indices: Vec::new(),
            is_whole: true,
        };
        let Some(module) = modules.get(root) else {
            found.is_whole = false;
            return found;
        };
        let mut known: HashMap<&RepoPath, usize> = HashMap::new();
        found.add(module, String::new(), None, &mut known);
        let mut at = 0;
        while let Some(instance) = found.all.get(at) {
            let (module, path) = (instance.module, instance.path.clone());
            for (call, dir) in module.local_calls() {
                let Some(called) = modules.get(&dir) else { continue };
                // A module that calls itself would have no end.
                if found.all.len() >= MAX_INSTANCES {
                    found.is_whole = false;
                    break;
                }
                let child = found.add(called, format!("{path}module.{call}."), Some((at, call)), &mut known);
                if let Some(instance) = found.all.get_mut(at) {
                    instance.children.insert(call, child);
                }
            }
            at += 1;
        }
        found
    }

    fn add(
        &mut self,
        module: &'m Module<'t>,
        path: String,
        parent: Option<(usize, &'m str)>,
        known: &mut HashMap<&'m RepoPath, usize>,
    ) -> usize {
        self.is_whole &= module.broken.is_empty();
        let index = *known.entry(module.dir).or_insert_with(|| {
            self.indices.push(Index::of(module));
            self.indices.len() - 1
        });
        self.all.push(Instance {
            path,
            module,
            index,
            parent,
            children: HashMap::new(),
        });
        self.all.len() - 1
    }

    pub fn index(&self, instance: usize) -> Option<&Index<'m, 't>> {
        self.indices.get(self.all.get(instance)?.index)
    }
}

impl<'m, 't> Index<'m, 't> {
    fn of(module: &'m Module<'t>) -> Self {
        let mut index = Index::default();
        for (file, block) in module.blocks() {
            index.note(file, block);
            // A check may hold a data source of its own.
            if block.is("check", 1) {
                block.blocks.iter().for_each(|inner| index.note(file, inner));
            }
        }
        index
    }

    fn note(&mut self, file: &'m File<'t>, block: &'m Block) {
        let mode = match block.kind.as_str() {
            "resource" => Mode::Managed,
            "data" => Mode::Data,
            "ephemeral" => Mode::Ephemeral,
            "locals" => {
                for argument in &block.arguments {
                    self.locals.entry(&argument.name).or_default().push(argument);
                }
                return;
            }
            "output" => return self.outputs.entry(block.label(0)).or_default().push(block),
            "module" => return self.calls.entry(block.label(0)).or_default().push((file, block)),
            _ => return,
        };
        let name = (mode, block.label(0), block.label(1));
        self.objects.entry(name).or_default().push((file, block));
    }
}
