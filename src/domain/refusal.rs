//! Owns the refusal: an expected "no" with a reason and a next step. Not an error.

use serde::{Deserialize, Serialize};

/// Two sentences a tired person understands: why not, and what to do. Markdown without markup of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub why: String,
    pub next: String,
}

impl Refusal {
    pub fn new(why: impl Into<String>, next: impl Into<String>) -> Self {
        Refusal {
            why: why.into(),
            next: next.into(),
        }
    }
}
