//! Owns the words between the server and the judging child: one request in, one line of JSON for each thing learnt.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::verdict::Finding;
use crate::policy::bundle::Set;
use crate::policy::limits::Kept;

/// The first line of the child's input; what follows it are the bytes of the plan.
#[derive(Serialize, Deserialize)]
pub(super) struct Request<Input> {
    pub task: Task,
    pub sets: Arc<[Set]>,
    pub input: Option<Input>,
    /// What an earlier child already did, or died of.
    pub skip: BTreeSet<Stage>,
    pub kept: Kept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Task {
    Judge,
    Test,
}

/// A piece of the work that can be blamed, and left out by the next child.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Reading one file of a set.
    Read { set: usize, file: usize },
    /// Binding the files of a set together.
    Link { set: usize },
    /// Asking conftest's `exception` rules of a set.
    Exempt { set: usize },
    /// One rule, or all rules of one name where they cannot be told apart.
    Rule {
        set: usize,
        file: usize,
        line: u32,
        rule: String,
    },
}

/// One line of the child's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Said before each stage: if nothing follows, it is what the child died of.
    Begin(Stage),
    Found(Finding),
    Tested(Case),
    /// Said last. Without it the answer is not whole.
    End,
}

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    pub file: String,
    /// Counts from 1.
    pub line: u32,
    /// `test_…`, or `todo_test_…`.
    pub name: String,
    pub outcome: Outcome,
    /// What the test printed.
    pub printed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    /// Not true; says which line was the last that was reached.
    Failed(String),
    /// Could not be evaluated; says where.
    Error(String),
    /// Marked `todo_`: not run.
    Todo,
}
