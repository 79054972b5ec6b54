//! Owns how a stack run stands, as far as a line about it says so.

use crate::domain::ended::Stage;
use crate::domain::ids::StackName;
use crate::domain::plan::PlanSummary;
use crate::domain::run::{Phase, Run, StackRun, StackState};
use crate::engine::left;

/// The plan that stands for a stack now.
pub fn plan(stack: &StackRun) -> Option<&PlanSummary> {
    match &stack.state {
        StackState::Planned(plan) | StackState::Differs { plan, .. } => Some(plan),
        StackState::Confirmed { plan, .. } | StackState::Applying { plan, .. } | StackState::Lost { plan, .. } => {
            Some(plan.summary())
        }
        // What was applied is the real plan. A provisional one that was reviewed counts other things than were done.
        StackState::Applied(_)
        | StackState::Failed {
            phase: Phase::Apply, ..
        } => {
            let reviewed = stack.reviewed.as_ref().filter(|plan| plan.provisional().is_none());
            stack.real.as_ref().or(reviewed)
        }
        // What stood before is not what this failed on.
        StackState::Failed {
            phase: Phase::Discover | Phase::Plan,
            ..
        } => None,
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Failed {
            phase: Phase::Replan, ..
        }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => stack.reviewed.as_ref(),
    }
}

/// How it stands now.
pub fn stage(run: &Run, stack: &StackRun) -> Stage {
    match &stack.state {
        StackState::Waiting => match stack.after.iter().find(|name| not_planned_yet(run, name)) {
            Some(upstream) => Stage::After(upstream.clone()),
            None => Stage::Waiting,
        },
        StackState::Held => Stage::Held,
        StackState::Planning { .. } => Stage::Planning,
        StackState::Planned(plan) => match plan.provisional() {
            Some(provisional) => Stage::RealPlanAfter {
                given: provisional.upstreams.clone(),
                today: plan.reads_todays.clone(),
            },
            None if !plan.reads_todays.is_empty() => Stage::PlannedAgainAfter(plan.reads_todays.clone()),
            None if plan.counts.is_empty() => Stage::NothingToDo,
            None => Stage::Planned,
        },
        StackState::Deferred(upstream) => Stage::Deferred(upstream.clone()),
        StackState::Pruned(upstreams) => Stage::Pruned(upstreams.clone()),
        StackState::Queued(_) => match waits_for(run, stack) {
            Some(upstream) => Stage::WaitsFor(upstream.clone()),
            None => Stage::Queued,
        },
        StackState::Replanning { .. } => Stage::Replanning,
        StackState::Confirmed { .. } => Stage::Confirmed,
        StackState::Differs { .. } => Stage::Differs,
        StackState::Applying { .. } => Stage::Applying,
        StackState::Lost { .. } => Stage::Lost,
        StackState::Applied(_) => Stage::Applied,
        StackState::Failed { phase, .. } => Stage::Failed(*phase),
        StackState::Skipped(upstream) => {
            let culprit = left::culprit(run, stack).unwrap_or(upstream).clone();
            match left::was_left_unplanned(run, stack) {
                true => Stage::Unplanned(culprit),
                false => Stage::Skipped(culprit),
            }
        }
        StackState::Superseded => Stage::Superseded,
        StackState::Cancelled => match left::was_left(stack) {
            true => Stage::NotApplied,
            false => Stage::NothingToDo,
        },
    }
}

/// The upstream that asks for a person, or that is on its way.
fn waits_for<'a>(run: &'a Run, stack: &'a StackRun) -> Option<&'a StackName> {
    let of = |test: fn(&StackState) -> bool| left::upstreams(run, stack).find(|(_, upstream)| test(&upstream.state));
    of(|state| matches!(state, StackState::Differs { .. }))
        .or_else(|| of(|state| state.ticket().is_some() && !matches!(state, StackState::Applied(_))))
        .map(|(name, _)| name)
}

fn not_planned_yet(run: &Run, name: &StackName) -> bool {
    run.stacks.get(name).is_some_and(|upstream| {
        matches!(
            upstream.state,
            StackState::Waiting | StackState::Planning { .. } | StackState::Applying { .. }
        )
    })
}
