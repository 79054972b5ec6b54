//! Owns the end of a command: when it has come, and what is kept of it for its reply.

use std::collections::BTreeSet;

use crate::domain::command::{Command, Selector};
use crate::domain::ended::{Came, Ended, Stage};
use crate::domain::event::CommandId;
use crate::domain::ids::{StackName, TicketId};
use crate::domain::run::{Discovery, Run, StackRun, StackState};
use crate::domain::state::{Asked, Outcome, State, Ticket};
use crate::engine::{Step, left, stage};

/// Writes down how each command that has come to its end did. From then on its reply follows nothing: what later
/// commands and pushes do is told by theirs.
pub fn write_down(step: &mut Step) {
    let ended: Vec<(CommandId, Ended)> = step
        .state
        .commands
        .iter()
        .filter_map(|(id, asked)| Some((id.clone(), ended(&step.state, asked)?)))
        .collect();
    for (id, ended) in ended {
        if let Some(asked) = step.state.commands.get_mut(&id) {
            asked.outcome = Outcome::Ended(ended);
        }
    }
}

/// How a command that is still followed has ended; `None` while something of it goes on by itself.
pub fn ended(state: &State, asked: &Asked) -> Option<Ended> {
    match &asked.outcome {
        Outcome::Planning { run, stacks } => planning(state.runs.get(run)?, stacks),
        Outcome::Applying(id) => {
            let ticket = state.tickets.get(id)?;
            applying(state.runs.get(&ticket.run())?, *id, ticket, asked)
        }
        Outcome::Refused(_)
        | Outcome::NothingToApply
        | Outcome::Unlocked(_)
        | Outcome::Helped
        | Outcome::Ended(_)
        | Outcome::Over(_) => None,
    }
}

/// `names`: none means all of the run.
fn planning(run: &Run, names: &BTreeSet<StackName>) -> Option<Ended> {
    match &run.discovery {
        Discovery::Held | Discovery::Wanted(_) | Discovery::Pending(_) => return None,
        Discovery::Failed(_) => return Some(Ended::Unplannable),
        Discovery::Done(_) => {}
    }
    let meant = |name: &StackName| names.is_empty() || names.contains(name);
    let stacks: Vec<&StackRun> = run
        .stacks
        .iter()
        .filter(|(name, _)| meant(name))
        .map(|(_, stack)| stack)
        .collect();
    let goes_on = |stack: &&StackRun| matches!(stack.state, StackState::Waiting | StackState::Planning { .. });
    if stacks.iter().any(goes_on) {
        return None;
    }
    Some(Ended::Plan(in_order(stacks, |stack| stage::stage(run, stack))))
}

fn applying(run: &Run, id: TicketId, ticket: &Ticket, asked: &Asked) -> Option<Ended> {
    let stacks: Vec<&StackRun> = ticket.stacks().keys().filter_map(|name| run.stacks.get(name)).collect();
    let is_anothers = |stack: &StackRun| stack.state.ticket().is_some_and(|other| other != id);
    let goes_on = |stack: &&StackRun| !is_anothers(stack) && left::is_moving(run, stack);
    if stacks.iter().any(goes_on) {
        return None;
    }
    let stacks = in_order(stacks, |stack| match is_anothers(stack) {
        true => Stage::TakenOver,
        false => stage::stage(run, stack),
    });
    Some(Ended::Apply {
        stacks,
        left_out: left_out(run, ticket, asked),
    })
}

/// What has to be named was left out of an apply that did not name it; in the order they are shown.
pub fn left_out(run: &Run, ticket: &Ticket, asked: &Asked) -> Vec<StackName> {
    let Some(Command::Apply { select }) = &asked.command else {
        return Vec::new();
    };
    if !select.is_empty() && select.iter().all(|said| matches!(said, Selector::Name(_))) {
        return Vec::new();
    }
    let destroys = |stack: &StackRun| {
        stack.needs_its_name() && stack.reviewed.as_ref().is_some_and(|plan| !plan.counts.is_empty())
    };
    let mut stacks: Vec<&StackRun> = run
        .stacks
        .iter()
        .filter(|(name, stack)| destroys(stack) && !ticket.stacks().contains_key(*name))
        .map(|(_, stack)| stack)
        .collect();
    stacks.sort_by_key(|stack| (stack.after.len(), &stack.stack.name));
    stacks.into_iter().map(|stack| stack.stack.name.clone()).collect()
}

/// What comes first in the waves is shown first.
fn in_order(mut stacks: Vec<&StackRun>, stage: impl Fn(&StackRun) -> Stage) -> Vec<Came> {
    stacks.sort_by_key(|stack| (stack.after.len(), &stack.stack.name));
    let came = stacks.into_iter().map(|stack| Came {
        stack: stack.stack.name.clone(),
        aim: stack.aim,
        counts: stage::plan(stack).map(|plan| plan.counts),
        provisional: stage::plan(stack).is_some_and(|plan| plan.provisional().is_some()),
        stage: stage(stack),
    });
    came.collect()
}
