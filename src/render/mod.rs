//! Owns the views: from the state to what people read. Pure, so that each is a table in a test.

use std::collections::BTreeMap;

use crate::domain::ids::StackName;
use crate::domain::state::State;

pub mod markdown;
pub mod mermaid;
pub mod stack;
pub mod provisional;
pub mod summary;
pub mod graph;
pub mod comment;
pub mod check;
pub mod reply;

/// Everything one pull request's surfaces are made of.
pub struct PullView<'a> {
    pub state: &'a State,
    /// The tool's text of the plan that stands for each stack, or what an apply or a failure printed; redacted.
    pub texts: &'a BTreeMap<StackName, comment::Told>,
    /// The stack's run page, a signed link that ends; `None` where no public address is set.
    pub page: &'a (dyn Fn(&StackName) -> Option<String> + Sync),
}
