//! Owns how a pull request stands: what its checks must say, derived from the state and stored nowhere.

use crate::domain::ids::RunId;
use crate::domain::pull::PullState;
use crate::domain::run::{Discovery, Phase, Run, StackRun, StackState};
use crate::domain::state::{Asked, Outcome, State, Ticket};
use crate::engine::left::{self, has_something_to_apply, waits_behind_a_question};

/// How one of the three checks stands. The order is from best to worst: of several pull requests with one head the
/// worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stands {
    Success,
    /// Nothing of it counts any more (superseded, closed).
    Cancelled,
    InProgress,
    /// A person must say something first.
    ActionRequired,
    Failure,
}

/// The three checks of one pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub plan: Stands,
    pub policy: Stands,
    pub apply: Stands,
}

/// How the pull request stands now.
pub fn standing(state: &State) -> Standing {
    let mut standing = of_current(state);
    // An older run's apply that nobody knows the end of is not forgotten over a newer plan.
    if state.lost_before().next().is_some() {
        standing.apply = Stands::Failure;
    }
    standing
}

fn of_current(state: &State) -> Standing {
    let Some(run) = state.current() else {
        return Standing {
            plan: Stands::InProgress,
            policy: Stands::InProgress,
            apply: Stands::InProgress,
        };
    };
    let open = state
        .pull
        .now
        .as_ref()
        .is_some_and(|pull| pull.state == PullState::Open);
    match &run.discovery {
        _ if !open => ended(run),
        Discovery::Held => Standing {
            plan: Stands::ActionRequired,
            policy: Stands::ActionRequired,
            apply: Stands::ActionRequired,
        },
        Discovery::Wanted(_) | Discovery::Pending(_) => Standing {
            plan: Stands::InProgress,
            policy: Stands::InProgress,
            apply: Stands::InProgress,
        },
        Discovery::Failed(_) => Standing {
            plan: Stands::Failure,
            policy: Stands::Failure,
            apply: Stands::Failure,
        },
        Discovery::Done(found) if found.rules.is_err() => Standing {
            plan: Stands::Failure,
            policy: worst(run, |stack| policy(run, stack)),
            apply: Stands::Failure,
        },
        Discovery::Done(_) => Standing {
            plan: worst(run, |stack| plan(run, stack)),
            policy: worst(run, |stack| policy(run, stack)),
            apply: after_the_plans(
                worst(run, |stack| plan(run, stack)),
                worst(run, |stack| apply(run, stack)),
            ),
        },
    }
}

/// Nobody is asked to apply while plans are running.
fn after_the_plans(plan: Stands, apply: Stands) -> Stands {
    match (plan, apply) {
        (Stands::InProgress, Stands::ActionRequired) => Stands::InProgress,
        (_, apply) => apply,
    }
}

/// A pull request that is not open any more ends every check: what passed stays passed.
fn ended(run: &Run) -> Standing {
    let end = |stands: Stands| match stands {
        Stands::InProgress | Stands::ActionRequired => Stands::Cancelled,
        Stands::Success | Stands::Cancelled | Stands::Failure => stands,
    };
    match &run.discovery {
        Discovery::Done(_) => Standing {
            plan: end(worst(run, |stack| plan(run, stack))),
            policy: end(worst(run, |stack| policy(run, stack))),
            apply: end(worst(run, |stack| apply(run, stack))),
        },
        Discovery::Held | Discovery::Wanted(_) | Discovery::Pending(_) | Discovery::Failed(_) => Standing {
            plan: Stands::Cancelled,
            policy: Stands::Cancelled,
            apply: Stands::Cancelled,
        },
    }
}

fn worst(run: &Run, of: impl Fn(&StackRun) -> Stands) -> Stands {
    run.stacks.values().map(of).max().unwrap_or(Stands::Success)
}

fn plan(run: &Run, stack: &StackRun) -> Stands {
    match &stack.state {
        StackState::Waiting | StackState::Planning { .. } => Stands::InProgress,
        StackState::Held => Stands::ActionRequired,
        StackState::Failed {
            phase: Phase::Discover | Phase::Plan,
            ..
        } => Stands::Failure,
        StackState::Skipped(_) if left::was_left_unplanned(run, stack) => Stands::Failure,
        StackState::Superseded | StackState::Cancelled if stack.reviewed.is_none() => Stands::Cancelled,
        StackState::Planned(_)
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Differs { .. }
        | StackState::Applying { .. }
        | StackState::Lost { .. }
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => Stands::Success,
    }
}

fn policy(run: &Run, stack: &StackRun) -> Stands {
    let judged = match &stack.state {
        // What is being planned again is judged again.
        StackState::Waiting | StackState::Planning { .. } => None,
        StackState::Planned(plan) | StackState::Differs { plan, .. } => Some(plan),
        StackState::Confirmed { plan, .. } => Some(plan.summary()),
        _ => stack.reviewed.as_ref(),
    };
    match judged {
        Some(judged) if judged.verdict.denied() => Stands::Failure,
        Some(_) => Stands::Success,
        None => match plan(run, stack) {
            // What could not be planned was not judged, and the plan check says so.
            Stands::Failure => Stands::Failure,
            stands => stands,
        },
    }
}

fn apply(run: &Run, stack: &StackRun) -> Stands {
    match &stack.state {
        StackState::Waiting | StackState::Planning { .. } => Stands::InProgress,
        StackState::Queued(_) if waits_behind_a_question(run, stack) => Stands::ActionRequired,
        StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Applying { .. } => Stands::InProgress,
        StackState::Failed { .. } | StackState::Lost { .. } | StackState::Skipped(_) => Stands::Failure,
        StackState::Applied(_) | StackState::Pruned(_) => Stands::Success,
        StackState::Planned(_) if !has_something_to_apply(run, stack) => Stands::Success,
        StackState::Planned(_) | StackState::Deferred(_) | StackState::Differs { .. } | StackState::Held => {
            Stands::ActionRequired
        }
        StackState::Superseded | StackState::Cancelled => match left::was_left(stack) {
            false => Stands::Success,
            true => Stands::Cancelled,
        },
    }
}

/// Whether the run has come to rest until somebody says something.
pub fn asks_for_a_person(state: &State) -> bool {
    let standing = standing(state);
    [standing.plan, standing.policy, standing.apply]
        .iter()
        .all(|stands| *stands != Stands::InProgress)
}

/// The run whose stacks a command's reply tells of, until the command has ended.
pub fn follows(state: &State, asked: &Asked) -> Option<RunId> {
    match &asked.outcome {
        Outcome::Planning { run, .. } => Some(*run),
        Outcome::Applying(ticket) => state.tickets.get(ticket).map(Ticket::run),
        Outcome::Refused(_)
        | Outcome::NothingToApply
        | Outcome::Unlocked(_)
        | Outcome::Helped
        | Outcome::Ended(_)
        | Outcome::Over(_) => None,
    }
}

/// Whether a stack has come so far that a check of its own says something: it is created once, concluded.
pub fn has_a_check(stack: &StackRun) -> bool {
    match &stack.state {
        StackState::Planned(_)
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Differs { .. }
        | StackState::Applied(_)
        | StackState::Lost { .. }
        | StackState::Failed { .. } => true,
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Applying { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => false,
    }
}
