//! Owns when a lock ends: when everything its pull request changed in that stack is applied and merged, at close,
//! or by `/unlock`; never while its stack is applying or lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{LockKey, StackName};
use crate::domain::pull::PullState;
use crate::domain::run::StackState;
use crate::domain::state::{Holder, State};
use crate::engine::{Mint, Step, left};

pub fn release(step: &mut Step, _mint: Mint) {
    let Some(pull) = &step.state.pull.now else { return };
    let ending: Vec<LockKey> = match &pull.state {
        PullState::Open => return,
        PullState::Closed => held(&step.state).collect(),
        PullState::Merged { commit } => {
            let commit = commit.clone();
            let unfinished = unfinished(&step.state);
            // A stack may have had another name when its lock was taken.
            let is_unfinished = |key: &LockKey, holder: &Holder| {
                let own = |(name, keys): (&StackName, &BTreeSet<LockKey>)| *name == holder.stack || keys.contains(key);
                unfinished.iter().any(own)
            };
            let id = step.state.id;
            for (key, lock) in step.state.locks.iter_mut().filter(|(_, lock)| lock.held_by(id)) {
                if let Some(holder) = lock.holder.as_mut().filter(|holder| is_unfinished(key, holder)) {
                    // The fix is always a new pull request: a run whose tree contains this commit takes over.
                    holder.merged.get_or_insert_with(|| commit.clone());
                }
            }
            let done = |key: &LockKey| {
                let holder = step.state.locks.get(key).and_then(|lock| lock.holder.as_ref());
                holder.is_some_and(|holder| !is_unfinished(key, holder))
            };
            held(&step.state).filter(done).collect()
        }
    };
    for key in ending {
        end(&mut step.state, &key);
    }
}

/// The keys this pull request holds and the tool is not writing.
fn held(state: &State) -> impl Iterator<Item = LockKey> + '_ {
    let mine = state
        .locks
        .iter()
        .filter(|(_, lock)| lock.held_by(state.id) && lock.applying.is_none());
    mine.map(|(key, _)| key.clone())
}

/// Gives one lock up; the row and its fence stay.
pub fn end(state: &mut State, key: &LockKey) {
    if let Some(lock) = state.locks.get_mut(key) {
        lock.holder = None;
    }
}

/// The stacks of the last run that were not applied to the end, and their states.
fn unfinished(state: &State) -> BTreeMap<StackName, BTreeSet<LockKey>> {
    let Some(run) = state.current() else {
        return BTreeMap::new();
    };
    let stacks = run.stacks.iter();
    stacks
        .filter(|(name, stack)| match &stack.state {
            StackState::Applied(_) => false,
            // It may have been planned once more after its apply.
            StackState::Cancelled | StackState::Planned(_) | StackState::Pruned(_) => {
                let applied = state.pull.applied.get(*name);
                let here = applied.is_some_and(|applied| applied.head == run.head && !stack.tried);
                !here && left::was_left(stack)
            }
            StackState::Waiting
            | StackState::Held
            | StackState::Planning { .. }
            | StackState::Deferred(_)
            | StackState::Queued(_)
            | StackState::Replanning { .. }
            | StackState::Confirmed { .. }
            | StackState::Differs { .. }
            | StackState::Applying { .. }
            | StackState::Lost { .. }
            | StackState::Failed { .. }
            | StackState::Skipped(_)
            | StackState::Superseded => true,
        })
        .map(|(name, stack)| (name.clone(), stack.locked().cloned().collect()))
        .collect()
}
