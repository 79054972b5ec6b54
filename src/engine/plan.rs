//! Owns when a stack is planned: as soon as all it comes after has been planned, and again when that was applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{Attempt, Fence, LockKey, RunId, StackName, StackRunId};
use crate::domain::job::Work;
use crate::domain::run::{Phase, Run, StackRun, StackState};
use crate::domain::state::{Lock, State};
use crate::engine::{Mint, Step, left};

/// Whether anything moved.
pub fn plan(step: &mut Step, mint: Mint) -> bool {
    let Some(run) = step.state.current().filter(|run| run.end.is_none()) else {
        return false;
    };
    let id = run.id;
    let mut moved = false;
    // A failure upstream can skip one stack after the other, so go on until nothing moves.
    loop {
        let moves = moves(&step.state, id);
        if moves.is_empty() {
            return moved;
        }
        // Who has to be planned again is known before anybody begins who comes after it.
        let first: Vec<_> = match moves.iter().any(|(_, next)| matches!(next, Next::Wait)) {
            true => moves
                .into_iter()
                .filter(|(_, next)| matches!(next, Next::Wait))
                .collect(),
            false => moves,
        };
        for (name, next) in first {
            start(step, id, &name, next, mint);
        }
        moved = true;
    }
}

enum Next {
    Plan,
    Skip(StackName),
    /// What its last plan rested on, or what kept it from one, is another now.
    Wait,
}

fn moves(state: &State, id: RunId) -> Vec<(StackName, Next)> {
    let Some(run) = state.runs.get(&id) else {
        return Vec::new();
    };
    let next = |name: &StackName, stack: &StackRun| match &stack.state {
        StackState::Waiting => next(state, run, name, stack),
        _ => is_to_be_planned_again(run, stack).then_some(Next::Wait),
    };
    run.stacks
        .iter()
        .filter_map(|(name, stack)| Some((name.clone(), next(name, stack)?)))
        .collect()
}

/// Deferred until an apply that has ended; planned before an apply whose outputs it reads, or with outputs of a plan
/// that is made again; left out because of an upstream that goes on now.
fn is_to_be_planned_again(run: &Run, stack: &StackRun) -> bool {
    let of = |name: &StackName| run.stacks.get(name).map(|upstream| &upstream.state);
    match &stack.state {
        StackState::Deferred(upstream) => matches!(of(upstream), Some(StackState::Applied(_))),
        StackState::Planned(_) | StackState::Pruned(_) => left::is_stale(run, stack),
        StackState::Skipped(upstream) => !matches!(
            of(upstream),
            Some(StackState::Failed { .. } | StackState::Skipped(_) | StackState::Lost { .. })
        ),
        _ => false,
    }
}

fn next(state: &State, run: &Run, name: &StackName, stack: &StackRun) -> Option<Next> {
    if older_run_applies(state, run.id, name, &stack.keys) {
        return None;
    }
    for upstream in &stack.after {
        let Some(upstream_run) = run.stacks.get(upstream) else {
            continue;
        };
        match &upstream_run.state {
            StackState::Waiting | StackState::Planning { .. } => return None,
            // Its outputs are about to be others, unless it waits for a person itself.
            _ if left::is_moving(run, upstream_run) => return None,
            StackState::Failed { phase: Phase::Plan, .. } => return Some(Next::Skip(upstream.clone())),
            StackState::Skipped(_) if left::was_left_unplanned(run, upstream_run) => {
                return Some(Next::Skip(upstream.clone()));
            }
            StackState::Replanning { .. }
            | StackState::Applying { .. }
            | StackState::Queued(_)
            | StackState::Confirmed { .. }
            | StackState::Held
            | StackState::Planned(_)
            | StackState::Deferred(_)
            | StackState::Pruned(_)
            | StackState::Differs { .. }
            | StackState::Lost { .. }
            | StackState::Applied(_)
            | StackState::Failed { .. }
            | StackState::Skipped(_)
            | StackState::Superseded
            | StackState::Cancelled => {}
        }
    }
    Some(Next::Plan)
}

/// A push during an apply: the stack under way finishes, and the new run plans it only afterwards.
fn older_run_applies(state: &State, current: RunId, name: &StackName, keys: &BTreeSet<LockKey>) -> bool {
    let older = state.runs.values().filter(|run| run.id != current);
    older.flat_map(|run| run.stacks.iter()).any(|(other, stack)| {
        matches!(stack.state, StackState::Applying { .. }) && (other == name || !stack.keys.is_disjoint(keys))
    })
}

fn start(step: &mut Step, id: RunId, name: &StackName, next: Next, mint: Mint) {
    let Some(run) = step.state.runs.get_mut(&id) else {
        return;
    };
    let given = run.stacks.get(name).map(|stack| plans_of_upstreams(run, stack));
    let (Some(given), Some(stack)) = (given, run.stacks.get_mut(name)) else {
        return;
    };
    match next {
        Next::Skip(upstream) => stack.state = StackState::Skipped(upstream),
        Next::Wait => stack.state = StackState::Waiting,
        Next::Plan => {
            stack.given = given;
            stack.deferred_for = None;
            let attempt = stack.next_attempt();
            let made_against = fences(&step.state.locks, stack);
            stack.state = StackState::Planning { attempt, made_against };
            step.job(
                Work::Plan(StackRunId {
                    run: id,
                    stack: name.clone(),
                }),
                attempt,
                mint.now,
            );
        }
    }
}

/// Which plans a cascade plan that begins now is made with.
fn plans_of_upstreams(run: &Run, stack: &StackRun) -> BTreeMap<StackName, Attempt> {
    let plan = |name: &StackName| Some((name.clone(), run.stacks.get(name)?.reviewed_attempt()?));
    stack.edges.iter().filter_map(|edge| plan(&edge.upstream)).collect()
}

/// For its own state and each direct upstream's the fence of the last apply, read before the plan begins: an apply
/// that ends meanwhile makes the plan look older than it is, which costs one more plan and hides nothing.
pub fn fences(locks: &BTreeMap<LockKey, Lock>, stack: &StackRun) -> BTreeMap<LockKey, Fence> {
    let fence = |key: &LockKey| locks.get(key).map_or(Fence::ZERO, Lock::last_applied);
    stack
        .upstream_keys
        .values()
        .flatten()
        .chain(&stack.keys)
        .map(|key| (key.clone(), fence(key)))
        .collect()
}
