//! Owns the plan: what the tool says would change, as a summary that is stored, as opaque JSON that is judged
//! and as a typed list that is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Attempt, CommitSha, ContentDigest, Fence, LockKey, PlanDigest, TreeSha};
use crate::domain::pull::FactsDigest;
use crate::domain::verdict::Verdict;

pub mod change;
pub mod compare;
pub mod refine;
pub mod value;
#[cfg(test)]
mod tests;

/// How many managed resource instances would be …; a replacement counts as one add and one destroy, as the tool counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub add: u32,
    pub change: u32,
    pub destroy: u32,
    pub import: u32,
    /// Outputs of the root module whose value would change.
    pub outputs: u32,
    /// Instances that only the state knows anew: moved to another address, or forgotten.
    #[serde(default)]
    pub state_only: u32,
}

impl Counts {
    /// Whether applying would change nothing at all, outputs included.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }
}

/// What is stored of a final plan that was made: digests and counts, never text, JSON or values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Which attempt made it.
    pub attempt: Attempt,
    /// The plan file.
    pub digest: PlanDigest,
    /// The canonical content.
    pub content: ContentDigest,
    pub counts: Counts,
    pub verdict: Verdict,
    /// The true state(s), as the seed says.
    pub keys: BTreeSet<LockKey>,
    /// For each direct upstream's state: the fence of its last apply when this plan was made.
    pub made_against: BTreeMap<LockKey, Fence>,
    /// What the policies saw of the pull request when they judged it; none where no policy counts.
    #[serde(default)]
    pub facts: Option<FactsDigest>,
    /// What it was made on, where that is not the run's own merged tree any more.
    #[serde(default)]
    pub on: Option<On>,
    /// Upstreams planned in this run too, whose last applied outputs this plan reads.
    pub reads_todays: BTreeSet<crate::domain::ids::StackName>,
}

/// A base and what merging the head into it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct On {
    pub base: CommitSha,
    pub tree: TreeSha,
}

/// The plan as JSON, scaffold removed and sensitive values replaced by keyed hashes (equality still works).
/// Only `tool/` makes one and only the judge parses it again.
#[derive(Clone)]
pub struct PlanJson {
    bytes: Arc<[u8]>,
}

impl PlanJson {
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        PlanJson { bytes: bytes.into() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for PlanJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlanJson({} bytes)", self.bytes.len())
    }
}

/// How a real plan differs from the reviewed one, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub lines: Vec<String>,
}

impl Difference {
    pub fn first_plan() -> Self {
        Difference {
            lines: vec!["this is its first plan: nobody has reviewed it yet".to_owned()],
        }
    }
}

/// What something that was unknown when it was reviewed has become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Became {
    /// A resource's address, or `output.NAME`.
    pub subject: String,
    /// `None`: the whole of it.
    pub attribute: Option<String>,
    /// For people, as `Value::shown` says it: never a hidden value.
    pub value: String,
}
