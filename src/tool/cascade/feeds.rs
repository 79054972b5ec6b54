//! Owns what a rewrite is given: the texts, which reads are fed by which upstream, and what the upstreams plan.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::domain::ids::{RepoPath, StackName};

/// One directory of configuration: the root module, or a local module that it calls, directly or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFiles {
    pub dir: RepoPath,
    /// By name, whole texts: the files that the tool in question loads from this directory, and no others (see
    /// `source::facts::parse::Flavour::is_loaded`).
    pub files: BTreeMap<String, String>,
}

/// The data source whose reads are rewritten.
pub const KIND: &str = "terraform_remote_state";

/// Which reads are fed by which upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feeds {
    /// The directory of a module and the name of a `data "terraform_remote_state"` in it. One that reads another state
    /// from each of its module's calls is left out, and its upstreams are read as they are today.
    pub states: BTreeMap<(RepoPath, String), StackName>,
    /// A variable of the root module: upstream and output.
    pub variables: BTreeMap<String, (StackName, String)>,
}

/// What stands in for one output of an upstream.
#[derive(Clone, PartialEq)]
pub enum Given {
    /// `kind`: the tool's own type, e.g. `["set", "string"]`; null if it did not say.
    Known {
        value: Json,
        kind: Json,
    },
    /// `unknown` mirrors the value with `true` in the places that are unknown.
    Partly {
        value: Json,
        unknown: Json,
        kind: Json,
    },
    Unknown,
    /// There is no such output (any more).
    Absent,
}

/// What the upstreams would give.
#[derive(Clone, Default, PartialEq)]
pub struct Supply {
    /// Every output of each upstream whose reads are to be rewritten; an output that is not listed does not exist.
    pub outputs: BTreeMap<StackName, BTreeMap<String, Given>>,
    /// Outputs that change: a data source that rests on one of them is not read before the apply.
    pub changed: BTreeSet<(StackName, String)>,
}

impl std::fmt::Debug for Given {
    /// Shows no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Given::Known { .. } => "Known",
            Given::Partly { .. } => "Partly",
            Given::Unknown => "Unknown",
            Given::Absent => "Absent",
        })
    }
}

impl std::fmt::Debug for Supply {
    /// Shows no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Supply { outputs, changed } = self;
        f.debug_struct("Supply")
            .field("outputs", outputs)
            .field("changed", changed)
            .finish()
    }
}
