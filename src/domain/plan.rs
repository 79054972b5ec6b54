//! Owns the plan: what the tool says would change, as a summary that is stored, as opaque JSON that is judged
//! and as a typed list that is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Attempt, CommitSha, ContentDigest, Fence, LockKey, PlanDigest, StackName, TreeSha};
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

/// What is stored of a plan that was made: digests and counts, never text, JSON or values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Which attempt made it.
    pub attempt: Attempt,
    pub kind: PlanKind,
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
    pub reads_todays: BTreeSet<StackName>,
}

/// Whether a plan can be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// A plan file is there: its digest.
    Final(PlanDigest),
    /// A cascade plan, made with outputs of upstreams as they are planned. There is no plan file, so nothing can be
    /// applied: after the upstreams' applies the real plan is made.
    Provisional(Provisional),
}

/// What is stored and shown of how a provisional plan was made; never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisional {
    /// Whose planned outputs it was given.
    pub upstreams: BTreeSet<StackName>,
    /// Which output something else stood in for.
    pub fallbacks: Vec<Fallback>,
    /// How many conditions the tool left out without a word, because they rest on what is not known yet.
    pub not_evaluated: u32,
    /// The addresses of the data sources that were read from today's infrastructure.
    pub read_today: Vec<String>,
}

/// An output that is not known yet, where the tool insists on a known value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    pub upstream: StackName,
    pub output: String,
    pub to: FallbackTo,
    /// What insists on a known value, for people.
    pub because: String,
    /// What rests on it, and so was not reviewed.
    pub attributes: Vec<String>,
}

/// What stands in for an output that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackTo {
    LastApplied,
    Mock,
}

impl PlanSummary {
    /// The upstreams after whose applies this stack is planned once more: their outputs were given as they are
    /// planned, or read as they are today.
    pub fn rests_on(&self) -> BTreeSet<StackName> {
        let mut all = self.reads_todays.clone();
        if let PlanKind::Provisional(provisional) = &self.kind {
            all.extend(provisional.upstreams.iter().cloned());
        }
        all
    }

    /// Whether nothing is to be done, and nothing that an upstream still does can make it something.
    pub fn is_nothing_for_good(&self) -> bool {
        match &self.kind {
            PlanKind::Final(_) => self.counts.is_empty() && self.reads_todays.is_empty(),
            PlanKind::Provisional(_) => false,
        }
    }

    /// How it was made, if it is a cascade plan.
    pub fn provisional(&self) -> Option<&Provisional> {
        match &self.kind {
            PlanKind::Final(_) => None,
            PlanKind::Provisional(provisional) => Some(provisional),
        }
    }
}

/// A plan that can be applied. It is made only out of a summary that names a plan file, also when it is read back, so
/// that a provisional plan gets no warrant, whatever else goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlanSummary", into = "PlanSummary")]
pub struct FinalPlan {
    file: PlanDigest,
    summary: PlanSummary,
}

/// A cascade plan stood where only one that can be applied may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a provisional plan has no plan file to apply")]
pub struct NotFinal;

impl FinalPlan {
    /// The digest of the plan file: what an apply takes.
    pub fn file(&self) -> &PlanDigest {
        &self.file
    }

    pub fn summary(&self) -> &PlanSummary {
        &self.summary
    }
}

impl TryFrom<PlanSummary> for FinalPlan {
    type Error = NotFinal;

    fn try_from(summary: PlanSummary) -> Result<Self, NotFinal> {
        match &summary.kind {
            PlanKind::Final(file) => Ok(FinalPlan {
                file: file.clone(),
                summary,
            }),
            PlanKind::Provisional(_) => Err(NotFinal),
        }
    }
}

impl From<FinalPlan> for PlanSummary {
    fn from(plan: FinalPlan) -> Self {
        plan.summary
    }
}

impl std::ops::Deref for FinalPlan {
    type Target = PlanSummary;

    fn deref(&self) -> &PlanSummary {
        &self.summary
    }
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
