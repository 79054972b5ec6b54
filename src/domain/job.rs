//! Owns what Lockkeeper can be asked to do later, and whether it may be done twice.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Attempt, PullId, RunId, StackName, StackRunId, Timestamp};

/// A row written in the transaction that makes it necessary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub pull: PullId,
    pub not_before: Timestamp,
    pub attempt: Attempt,
    pub work: Work,
}

/// Everything a worker can do; publishing is a surface row, not a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Discover(RunId),
    Plan(StackRunId),
    Apply(StackRunId),
    /// Comes back as `Event::Look`.
    Wake,
    /// The same, once GitHub shows the pull request: something was decided that could not be seen.
    See,
}

/// Which permits a job needs: fifty queued plans must not starve the light ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Tool,
    Light,
}

/// Whether a job whose worker died is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Freely,
    /// What cannot be found out becomes *lost*.
    Never,
}

impl Work {
    pub fn repeat(&self) -> Repeat {
        match self {
            Work::Discover(_) | Work::Plan(_) | Work::Wake | Work::See => Repeat::Freely,
            Work::Apply(_) => Repeat::Never,
        }
    }

    pub fn lane(&self) -> Lane {
        match self {
            Work::Plan(_) | Work::Apply(_) => Lane::Tool,
            Work::Discover(_) | Work::Wake | Work::See => Lane::Light,
        }
    }

    /// The kind's name in logs, metrics and crash points.
    pub fn kind(&self) -> &'static str {
        match self {
            Work::Discover(_) => "discover",
            Work::Plan(_) => "plan",
            Work::Apply(_) => "apply",
            Work::Wake => "wake",
            Work::See => "see",
        }
    }

    /// At most one job waits per key.
    pub fn key(&self, pull: PullId) -> String {
        match self {
            Work::Discover(run) => format!("discover:{run}"),
            Work::Plan(at) => format!("plan:{at}"),
            Work::Apply(at) => format!("apply:{at}"),
            Work::Wake => format!("wake:{pull}"),
            Work::See => format!("see:{pull}"),
        }
    }

    /// The stack it is about.
    pub fn stack(&self) -> Option<(RunId, &StackName)> {
        match self {
            Work::Plan(at) | Work::Apply(at) => Some((at.run, &at.stack)),
            Work::Discover(_) | Work::Wake | Work::See => None,
        }
    }
}

/// A heartbeat's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    GoOn,
    /// The state no longer names this attempt.
    Stop,
    /// Another worker has the job.
    LeaseLost,
}
