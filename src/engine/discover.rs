//! Owns when a run's stacks are looked for.

use std::time::Duration;

use crate::domain::ids::Attempt;
use crate::domain::job::Work;
use crate::domain::run::Discovery;
use crate::engine::{Mint, Step};

/// After so many tries a discovery that cannot be done (the repository does not answer) fails, about an hour later.
pub const MOST_TRIES: i64 = 16;

/// How long each try waits; the last one is kept.
const PAUSES: &[Duration] = &[
    Duration::ZERO,
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

pub fn discover(step: &mut Step, mint: Mint) {
    let Some(run) = step.state.current_mut() else { return };
    let Discovery::Wanted(attempt) = run.discovery else {
        return;
    };
    if run.end.is_some() {
        return;
    }
    run.discovery = Discovery::Pending(attempt);
    let id = run.id;
    let tries = usize::try_from(attempt.0 - Attempt::FIRST.0).unwrap_or(usize::MAX);
    let pause = PAUSES[tries.min(PAUSES.len() - 1)];
    step.job(Work::Discover(id), attempt, mint.now.plus(pause));
}
