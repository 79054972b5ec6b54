//! Owns what a provisional plan is given, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::domain::ids::{ContentDigest, StackName};
use crate::domain::plan::change::Plan;
use crate::domain::plan::{Counts, PlanJson, Provisional};
use crate::domain::run::Failure;
use crate::tool::cascade::feeds::Feeds;
use crate::tool::output::PlannedOutput;
use crate::tool::reading::Prior;
use crate::tool::redact::Secrets;

/// What a stack is given from upstreams that are planned and not applied.
pub struct Cascade {
    pub feeds: Feeds,
    /// Every output of each upstream that `feeds` names, as it is planned: an output that is not listed does not exist.
    pub upstreams: BTreeMap<StackName, BTreeMap<String, PlannedOutput>>,
    /// What the author declares to stand for an output where the tool refuses an unknown and nothing was ever applied.
    pub mocks: BTreeMap<(StackName, String), Json>,
    /// What the upstreams' own plans hide: a secret that an upstream passes on has lost its mark there.
    pub hidden: Secrets,
}

/// What came of a provisional plan. A tool's own "no" that is the author's to mend is an error instead.
pub enum Outcome {
    Planned(Box<ProvisionalPlan>),
    /// It cannot be planned before that upstream is applied.
    Deferred {
        upstream: StackName,
        failure: Failure,
    },
}

/// A plan that cannot be applied: there is no plan file. Nothing but `outputs` and `hidden` holds a sensitive value.
#[derive(Debug)]
pub struct ProvisionalPlan {
    pub content: ContentDigest,
    pub counts: Counts,
    /// As `show -json` says it, without the scaffold. What rests on a fallback is marked in `change.after_unreviewed` of
    /// resources and outputs, which has the form of `after_unknown`.
    pub json: PlanJson,
    /// What the tool prints, without the scaffold, redacted; at most 4 MiB.
    pub text: String,
    /// For the stacks downstream: what is unknown stays unknown.
    pub outputs: BTreeMap<String, PlannedOutput>,
    pub plan: Plan,
    /// Whether the state held anything before it.
    pub prior: Prior,
    pub hidden: Secrets,
    pub provisional: Provisional,
    /// Upstreams with a read that could not be rewritten, which read what is applied today.
    pub unread: BTreeSet<StackName>,
}
