//! Owns whether every lock that an apply needs can be taken: all or none.

use std::collections::BTreeSet;

use crate::domain::ids::{LockKey, StackName};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, StackState};
use crate::domain::state::{Holder, Lock, State};
use crate::engine::answers::{Answer, Answers};
use crate::engine::command::unknown;
use crate::engine::left;

/// Refuses, naming who is in the way, where a lock of these stacks or an apply of their upstreams is another's.
pub fn free(state: &State, answers: &Answers, run: &Run, stacks: &BTreeSet<StackName>) -> Result<(), Refusal> {
    for (name, stack) in stacks.iter().filter_map(|name| Some((name, run.stacks.get(name)?))) {
        if stack.keys.is_empty() {
            let why = format!("Where `{name}` keeps its state is not known yet.");
            return Err(Refusal::new(why, format!("Say `/plan {name}`, then `/apply` again.")));
        }
        for (key, lock) in stack.locked().filter_map(|key| Some((key, state.locks.get(key)?))) {
            match lock.held_by_other(state.id) {
                Some(holder) => other_holds(state, answers, name, lock, holder)?,
                None if lock.applying.is_some() => return Err(still_writing(state, name, key)),
                None => {}
            }
        }
        for (upstream, key) in keys_of_upstreams(stack) {
            let Some(lock) = state.locks.get(key).filter(|lock| lock.applying.is_some()) else {
                continue;
            };
            match lock.held_by_other(state.id) {
                Some(holder) => {
                    let who = pull_name(state, holder);
                    let why = format!("`{upstream}`, which `{name}` needs, is being applied from {who}.");
                    return Err(Refusal::new(why, "Say `/apply` again when that has ended."));
                }
                // Our own apply of it ends by itself and is waited for; one that is lost does not end.
                None if is_lost(state, key) => return Err(left::lost(upstream)),
                None => {}
            }
        }
    }
    Ok(())
}

fn keys_of_upstreams(stack: &crate::domain::run::StackRun) -> impl Iterator<Item = (&StackName, &LockKey)> {
    stack
        .upstream_keys
        .iter()
        .flat_map(|(name, keys)| keys.iter().map(move |key| (name, key)))
}

fn other_holds(
    state: &State,
    answers: &Answers,
    name: &StackName,
    lock: &Lock,
    holder: &Holder,
) -> Result<(), Refusal> {
    let who = pull_name(state, holder);
    let why = format!("`{name}` is locked by {who}.");
    let Some(merged) = &holder.merged else {
        let next = format!(
            "Apply and merge {who}, close it, or say `/unlock {}` there.",
            holder.stack
        );
        return Err(Refusal::new(why, next));
    };
    if lock.applying.is_some() {
        let next = format!("Its apply has not ended, or nobody knows how: look at {who}.");
        return Err(Refusal::new(why, next));
    }
    match answers.contains.get(merged) {
        Some(Answer::Known(true)) => Ok(()),
        Some(Answer::Unknown(cause)) => Err(unknown(
            &format!("whether this branch contains the merge of {who}"),
            cause,
        )),
        Some(Answer::Known(false) | Answer::NotAsked) | None => {
            let next = format!(
                "{who} was merged before all of it was applied. Update this branch to continue it here, \
                 or say `/unlock {}` there.",
                holder.stack
            );
            Err(Refusal::new(why, next))
        }
    }
}

/// Our own lock, and an apply under it has not ended.
fn still_writing(state: &State, name: &StackName, key: &LockKey) -> Refusal {
    if is_lost(state, key) {
        return left::lost(name);
    }
    let why = format!("An earlier run is still applying `{name}`.");
    Refusal::new(why, "Say `/apply` again when that has ended and the new plan is there.")
}

fn is_lost(state: &State, key: &LockKey) -> bool {
    let mut stacks = state.runs.values().flat_map(|run| run.stacks.values());
    stacks.any(|stack| matches!(stack.state, StackState::Lost { .. }) && stack.keys.contains(key))
}

/// A lock's holder, for people.
pub fn pull_name(state: &State, holder: &Holder) -> String {
    match holder.pull.repo == state.id.repo {
        true => format!("#{}", holder.pull.number),
        false => format!(
            "pull request {} of another repository with the same state",
            holder.pull.number
        ),
    }
}
