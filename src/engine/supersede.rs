//! Owns the life of runs: which one is current, and how one ends when the pull request moves on.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::event::CommandId;
use crate::domain::ids::{Attempt, RunId, StackName};
use crate::domain::pull::PullState;
use crate::domain::run::{Discovery, Run, RunEnd, StackState};
use crate::domain::state::{Asked, AskedFor, Outcome, Over, State};
use crate::engine::{Mint, Step, absorb, standing};

/// A new head or base branch opens a new run; a close ends the current one.
pub fn supersede(step: &mut Step, mint: Mint) {
    let Some(pull) = step.state.pull.now.clone() else {
        return;
    };
    let stands = step
        .state
        .current()
        .map(|run| run.end.is_none() && run.head == pull.head.sha && run.base_ref == pull.base_ref);
    match (pull.state, stands) {
        (PullState::Open, Some(true)) => {}
        (PullState::Open, Some(false) | None) => open(step, mint),
        (PullState::Closed, _) => end(step, RunEnd::Closed, &StackState::Cancelled),
        (PullState::Merged { .. }, _) => end(step, RunEnd::Merged, &StackState::Cancelled),
    }
    forget(step);
}

/// Opens a new run in place of the current one.
pub fn open(step: &mut Step, mint: Mint) {
    end(step, RunEnd::Superseded(mint.run), &StackState::Superseded);
    let state = &mut step.state;
    let Some(pull) = &state.pull.now else { return };
    if state.runs.contains_key(&mint.run) {
        // One run per decision: a second reason to open one finds it already open.
        return;
    }
    state.pull.opened += 1;
    state.pull.current = Some(mint.run);
    let held = pull.is_fork() && !state.pull.consents.contains_key(&pull.head.sha);
    let run = Run {
        id: mint.run,
        number: state.pull.opened,
        head: pull.head.sha.clone(),
        base_ref: pull.base_ref.clone(),
        discovery: if held {
            Discovery::Held
        } else {
            Discovery::Wanted(Attempt::FIRST)
        },
        stacks: BTreeMap::new(),
        end: None,
    };
    state.runs.insert(run.id, run);
}

fn end(step: &mut Step, why: RunEnd, to: &StackState) {
    let Some(run) = step.state.current_mut() else { return };
    if run.end.is_some() || why == RunEnd::Superseded(run.id) {
        return;
    }
    run.end = Some(why);
    absorb::end_quietly(run, to);
}

/// Older runs are kept only while something of theirs may still be writing a state. What was said about a run that
/// goes is written down first: its reply stays as true as it was.
fn forget(step: &mut Step) {
    let state = &mut step.state;
    let current = state.pull.current;
    let gone: BTreeSet<RunId> = state
        .runs
        .iter()
        .filter(|(id, run)| Some(**id) != current && !run.holds_a_state())
        .map(|(id, _)| *id)
        .collect();
    if gone.is_empty() {
        return;
    }
    let over: Vec<(CommandId, Over)> = state
        .commands
        .iter()
        .filter_map(|(id, asked)| {
            let run = standing::follows(state, asked).filter(|run| gone.contains(run))?;
            Some((id.clone(), over(state, asked, state.runs.get(&run)?)?))
        })
        .collect();
    for (id, over) in over {
        if let Some(asked) = state.commands.get_mut(&id) {
            asked.outcome = Outcome::Over(over);
        }
    }
    state.runs.retain(|id, _| !gone.contains(id));
    state.tickets.retain(|_, ticket| !gone.contains(&ticket.run()));
}

fn over(state: &State, asked: &Asked, run: &Run) -> Option<Over> {
    let (asked_for, names) = match &asked.outcome {
        Outcome::Applying(ticket) => {
            let ticket = state.tickets.get(ticket)?;
            (AskedFor::Apply, ticket.stacks().keys().cloned().collect())
        }
        Outcome::Planning { stacks, .. } if stacks.is_empty() => {
            (AskedFor::Plan, run.stacks.keys().cloned().collect::<BTreeSet<_>>())
        }
        Outcome::Planning { stacks, .. } => (AskedFor::Plan, stacks.clone()),
        _ => return None,
    };
    let is_done = |name: &StackName| {
        let stack = run.stacks.get(name);
        stack.is_some_and(|stack| match asked_for {
            AskedFor::Plan => stack.reviewed.is_some() || !matches!(stack.state, StackState::Superseded),
            AskedFor::Apply => {
                let applied = state.pull.applied.get(name);
                matches!(stack.state, StackState::Applied(_))
                    || applied.is_some_and(|applied| applied.head == run.head && !stack.tried)
            }
        })
    };
    let (done, left) = names.into_iter().partition(is_done);
    Some(Over { asked_for, done, left })
}
