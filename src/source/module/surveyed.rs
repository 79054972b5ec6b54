//! Owns what the files of a directory say of it as a whole: what makes it a root module, and whom it calls.

use std::collections::BTreeSet;

use crate::domain::ids::RepoPath;
use crate::domain::located::Place;
use crate::source::module::{Module, Modules};

/// What the files of one directory say of it.
pub struct Surveyed {
    /// The first backend block.
    pub backend: Option<Place>,
    /// The first provider block.
    pub provider: Option<Place>,
    pub has_content: bool,
    /// Directories that its module blocks name.
    pub calls: Vec<RepoPath>,
    /// Types of objects that its data sources look up.
    pub looks_up: BTreeSet<String>,
}

impl Surveyed {
    /// Looks at a directory's module.
    pub fn of(modules: &Modules<'_>, dir: &RepoPath, module: &Module) -> Surveyed {
        let mut surveyed = Surveyed {
            backend: None,
            provider: None,
            has_content: false,
            calls: Vec::new(),
            looks_up: BTreeSet::new(),
        };
        for (file, facts) in &module.files {
            let at = |line: &Option<u32>| Place {
                path: file.clone(),
                line: *line,
                column: None,
            };
            if let (None, Some(backend)) = (&surveyed.backend, facts.backends.first()) {
                surveyed.backend = Some(at(&backend.line));
            }
            if let (None, Some(line)) = (&surveyed.provider, facts.providers.first()) {
                surveyed.provider = Some(at(line));
            }
            surveyed.has_content |= facts.has_content;
            let calls = facts.calls.iter();
            surveyed
                .calls
                .extend(calls.filter_map(|call| Some(modules.called(dir, call)?.1)));
            let looked_up = facts.named.iter().filter(|named| named.is_data);
            surveyed.looks_up.extend(looked_up.map(|named| named.kind.clone()));
        }
        surveyed
    }
}
