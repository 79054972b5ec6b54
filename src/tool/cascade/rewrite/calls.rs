//! Owns who calls which local module, from the root module on.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::RepoPath;
use crate::tool::cascade::texts::Module;

#[derive(Debug, Default)]
pub struct Calls {
    /// A module that is called, directly or not, from the root → every call of it: caller and name.
    pub of: BTreeMap<RepoPath, BTreeSet<(RepoPath, String)>>,
    /// Files of reached modules that cannot be parsed: there may be calls, and reads, that are not known.
    pub broken: BTreeSet<RepoPath>,
}

impl Calls {
    pub fn of(modules: &BTreeMap<&RepoPath, Module<'_>>, root: &RepoPath) -> Calls {
        let mut calls = Calls::default();
        let mut open = vec![root.clone()];
        let mut seen = BTreeSet::from([root.clone()]);
        while let Some(dir) = open.pop() {
            let Some(module) = modules.get(&dir) else { continue };
            calls
                .broken
                .extend(module.broken.iter().filter_map(|name| dir.join(name)));
            for (name, called) in module.local_calls() {
                calls
                    .of
                    .entry(called.clone())
                    .or_default()
                    .insert((dir.clone(), name.to_owned()));
                if seen.insert(called.clone()) {
                    open.push(called);
                }
            }
        }
        calls
    }
}
