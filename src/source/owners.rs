//! Owns whose states the two trees tell: where base has a stack's, and which stack has which.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{LockKey, StackName};
use crate::domain::layout::StateAt;
use crate::domain::owner::{Owner, Side};
use crate::source::change::Matching;
use crate::source::layout::{Layout, place_of};

/// For each of these stacks the states that base has it in and no other stack of the merged tree has.
pub fn states_at_base(
    base: &Layout,
    merged: &Layout,
    matching: &Matching,
    selected: &BTreeSet<&StackName>,
) -> BTreeMap<StackName, BTreeSet<LockKey>> {
    let mut had_by: BTreeMap<&LockKey, BTreeSet<&StackName>> = BTreeMap::new();
    for stack in merged.stacks.values() {
        if let Some(key) = stack.state.key() {
            had_by.entry(key).or_default().insert(&stack.name);
        }
    }
    let mut at_base = BTreeMap::new();
    for name in selected.iter().copied() {
        let keys = matching
            .bases(name)
            .iter()
            .filter_map(|old| base.stacks[old].state.key());
        let alone = |key: &&LockKey| {
            let others = had_by.get(key).into_iter().flatten();
            others.into_iter().all(|other| *other == name)
        };
        let keys: BTreeSet<LockKey> = keys.filter(alone).cloned().collect();
        if !keys.is_empty() {
            at_base.insert(name.clone(), keys);
        }
    }
    at_base
}

/// Every stack whose state is told, for a selected one whose state is not.
pub fn owners(base: &Layout, merged: &Layout, selected: &BTreeSet<&StackName>) -> Vec<Owner> {
    let untold = |name: &&StackName| {
        let stack = merged.stacks.get(*name);
        stack.is_some_and(|stack| matches!(stack.state, StateAt::Unknown(_)))
    };
    if !selected.iter().any(untold) {
        return Vec::new();
    }
    let of = |layout: &Layout, side: Side| -> Vec<Owner> {
        let stacks = layout.stacks.values();
        let told = stacks.filter_map(|stack| Some((stack, stack.state.key()?)));
        told.map(|(stack, key)| Owner {
            key: key.clone(),
            stack: stack.name.clone(),
            side,
            labels: match side {
                Side::Base => stack.labels.clone(),
                Side::Merged => BTreeMap::new(),
            },
            at: Some(place_of(stack)),
        })
        .collect()
    };
    let mut owners = of(base, Side::Base);
    owners.extend(of(merged, Side::Merged));
    owners
}
