//! Owns what is known of a terragrunt tree's units, whoever read it: the program, or we, lightly.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::domain::located::{Located, Place};

/// What was learned of one tree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Units {
    /// By directory.
    pub units: BTreeMap<RepoPath, Unit>,
    /// Directories with a `terragrunt.stack.hcl`.
    pub stacks: BTreeSet<RepoPath>,
    /// Files that those generated; the tree has them beside the commit's.
    pub generated: BTreeSet<RepoPath>,
    /// Directories that are only copied to generate units.
    pub templates: BTreeSet<RepoPath>,
    /// By directory, why nobody knows which units its stack file generates.
    pub untold: BTreeMap<RepoPath, Located>,
    /// What is to be said of the whole tree.
    pub notices: Vec<Located>,
}

/// A directory with a `terragrunt.hcl`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unit {
    pub needs: Vec<Need>,
    /// Files that it includes.
    pub includes: BTreeSet<RepoPath>,
    /// Files of the repository that its evaluation reads besides those.
    pub reads: BTreeSet<RepoPath>,
    /// It takes itself out of every plan (`exclude`, `skip`).
    pub excluded: bool,
    /// It says that it must not be destroyed (`prevent_destroy`, or `exclude` for `destroy`).
    pub stays: bool,
    pub source: Source,
    pub state: UnitState,
    /// As it says itself (`terraform_binary`).
    pub tool: Option<Tool>,
    /// All that the program resolved of it, as one digest: the same wherever the tree lies.
    pub resolved: Option<String>,
    /// The program lists it and could not resolve it: the light reading fills in what it can.
    pub unresolved: bool,
    /// What keeps it from being planned.
    pub errors: Vec<Located>,
    /// What could not be resolved.
    pub notices: Vec<Located>,
}

/// A unit needs another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub of: Where,
    /// The `dependency` block's name; `None`: it stands in `dependencies`, and no output passes.
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    Inside(RepoPath),
    /// Out of the repository, as it is written.
    Outside(String),
}

/// Where a unit's configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// From the unit's own directory.
    #[default]
    Own,
    /// A directory of the repository; terragrunt copies all of `copied` (what stands before `//`).
    Local { copied: RepoPath, dir: RepoPath },
    /// Fetched from elsewhere, as it is written.
    Remote(String),
    /// It has one, which could not be told.
    Unknown(String),
}

/// What the unit says of its state.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum UnitState {
    /// Nothing: the configuration that it runs says it.
    #[default]
    InSource,
    /// `remote_state`, with everything in it resolved.
    Remote {
        backend: String,
        config: serde_json::Map<String, serde_json::Value>,
    },
    /// The text of files that it generates, one of which holds the backend.
    Generated(String),
    Unknown(String),
}

/// The part of a unit that its stack carries to where it is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// The directory that terragrunt copies, where it is one of the repository.
    pub copied: Option<RepoPath>,
    /// The directory whose configuration runs, where it is one of the repository.
    pub dir: Option<RepoPath>,
    /// Units whose outputs it is given.
    pub needs: BTreeSet<RepoPath>,
    /// Its source, where git fetches it.
    #[serde(default)]
    pub source: Option<String>,
    /// Where it says that it must not be destroyed. Terragrunt itself looks at that only for its command `destroy`.
    #[serde(default)]
    pub stays: Option<Place>,
}
