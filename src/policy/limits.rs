//! Owns the judge's limits: how much memory, time and room one judging may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::confine::Confine;

/// What a judging child may use. A policy that needs more is stopped and denies.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whether the child must be confined, or is as far as this kernel can.
    pub confine: Confine,
    /// Address space of the child, bytes: a plan takes about twelve times the size of its JSON.
    pub memory: u64,
    /// Stack of the child, bytes: bounds how deep functions may call each other.
    pub stack: u64,
    /// For one rule of one file, wall clock; kept by the interpreter, between its steps. Wide, because a busy server is
    /// no fault of the policy: a plan of 5 MB takes the slowest rule of the library 0.6 s.
    pub rule: Duration,
    /// For one child, wall clock: catches what the interpreter cannot stop (one builtin that does not end).
    pub child: Duration,
    /// For the whole judging, children that had to be started again included.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            confine: Confine::Auto,
            memory: 1 << 30,
            stack: 64 << 20,
            rule: Duration::from_secs(10),
            child: Duration::from_secs(60),
            total: Duration::from_secs(180),
        }
    }
}

/// The most that is kept of what one rule says; the rest is counted.
pub(super) const FINDINGS_PER_RULE: usize = 100;
/// Characters of one message.
pub(super) const MESSAGE: usize = 1_000;
/// Bytes of a child's answer.
pub(super) const ANSWER: usize = 32 << 20;
/// Lines and characters of what a test prints.
pub(super) const PRINTED: (usize, usize) = (50, 500);

/// The limits that the child itself keeps.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Kept {
    pub rule: Duration,
}
