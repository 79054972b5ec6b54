//! Owns what is kept of a command that has ended: as data, enough to say the same words again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::ids::StackName;
use crate::domain::plan::Counts;
use crate::domain::run::{Aim, Phase};

/// How a command ended. Written once, when it ends, and never changed: the conversation is the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// `/plan`, and the stacks could not be found.
    Unplannable,
    /// `/plan`: how each of its stacks stood then, in the order they are shown.
    Plan(Vec<Came>),
    /// `/apply`: how each stack of its ticket stood then, in the order they are shown.
    Apply {
        stacks: Vec<Came>,
        /// What would have been destroyed, and was not named.
        left_out: Vec<StackName>,
    },
}

/// How far one stack had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    pub stack: StackName,
    #[serde(default)]
    pub aim: Aim,
    /// Of the plan that stood for it; none where none did.
    pub counts: Option<Counts>,
    /// Whether that plan was a provisional one.
    #[serde(default)]
    pub provisional: bool,
    pub stage: Stage,
}

/// How a stack stands, as far as a line about it says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Waiting,
    /// Planned after that one is.
    After(StackName),
    Held,
    Planning,
    /// Nothing to apply, and nothing that could become something.
    NothingToDo,
    Planned,
    /// Planned once more after these are applied, whose values of today it read.
    PlannedAgainAfter(BTreeSet<StackName>),
    /// Planned with what some upstreams would give, and with what others hold today; the real plan is made after all
    /// of them are applied.
    RealPlanAfter {
        given: BTreeSet<StackName>,
        today: BTreeSet<StackName>,
    },
    Deferred(StackName),
    /// Not planned, because nothing that it takes from these changes.
    Pruned(BTreeSet<StackName>),
    Queued,
    WaitsFor(StackName),
    Replanning,
    Confirmed,
    Differs,
    Applying,
    Lost,
    Applied,
    Failed(Phase),
    /// Not planned, because that one could not be.
    Unplanned(StackName),
    Skipped(StackName),
    Superseded,
    NotApplied,
    /// A later command has taken it up.
    TakenOver,
}
