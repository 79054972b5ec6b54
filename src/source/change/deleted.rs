//! Owns what a destroy plan of a deleted stack rests on: base's edges, the order, and what stands against it.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::{Edge, Graph, Reason};
use crate::domain::ids::StackName;
use crate::domain::layout::{Deleted, Stack, StateAt};
use crate::domain::located::Located;
use crate::source::change::Matching;
use crate::source::change::gone::{Fate, Fates, StillNeeded};
use crate::source::layout::{Layout, place_of};

/// Both trees, and which stacks of the merged one are changed.
pub struct Between<'a> {
    pub base: &'a Layout,
    pub merged: &'a Layout,
    pub matching: &'a Matching,
    pub changed: &'a BTreeSet<StackName>,
}

type ByStack<'a> = BTreeMap<&'a StackName, Vec<&'a Edge>>;

/// Each deleted stack, after those it comes after. Their reasons are taken out of `affected`.
pub fn deleted(
    fates: &Fates<'_>,
    between: &Between<'_>,
    affected: &mut BTreeMap<StackName, Vec<Reason>>,
) -> Vec<Deleted> {
    let Between {
        base,
        merged,
        matching,
        changed,
    } = between;
    let stacks: BTreeMap<StackName, Stack> = fates
        .of(Fate::Deleted)
        .map(|stack| (stack.name.clone(), stack.clone()))
        .collect();
    if stacks.is_empty() {
        return Vec::new();
    }
    let (mut needs, mut needed_by): (ByStack<'_>, ByStack<'_>) = Default::default();
    for edge in &base.edges {
        if stacks.contains_key(&edge.downstream) {
            needs.entry(&edge.downstream).or_default().push(edge);
        }
        if stacks.contains_key(&edge.upstream) {
            needed_by.entry(&edge.upstream).or_default().push(edge);
        }
    }
    let mut readers: BTreeMap<&StackName, Vec<&StillNeeded>> = BTreeMap::new();
    for needed in &fates.still_needed {
        readers.entry(&needed.edge.upstream).or_default().push(needed);
    }
    let order = Order::of(&stacks, &needs);
    let nowhere_known = changed.iter().find_map(|name| {
        let stack = merged.stacks.get(name)?;
        stack.state.key().is_none().then_some(stack)
    });
    let of = |name: &StackName| {
        let stack = stacks[name].clone();
        let edges: Vec<Edge> = needs
            .get(name)
            .into_iter()
            .flatten()
            .map(|edge| (*edge).clone())
            .collect();
        let upstreams = edges.iter().filter_map(|edge| base.stacks.get(&edge.upstream));
        let needed_by = needed_by.get(name).into_iter().flatten();
        let after = needed_by.flat_map(|edge| match stacks.contains_key(&edge.downstream) {
            true => vec![edge.downstream.clone()],
            false => matching.merged(&edge.downstream).to_vec(),
        });
        let broken = base.broken.get(name).into_iter().flatten();
        let mut broken: Vec<Located> = broken.map(|error| broken_at_base(&stack, error)).collect();
        broken.extend(order.against(name));
        broken.extend(stays_by_itself(&stack));
        let readers = readers.get(name).into_iter().flatten();
        broken.extend(readers.map(|needed| needed.told_upstream(&stack)));
        broken.extend(untold_state(&stack, nowhere_known));
        Deleted {
            reasons: affected.get(name).cloned().unwrap_or_default(),
            upstreams: upstreams.map(|stack| (stack.name.clone(), stack.clone())).collect(),
            after: after
                .filter(|other| other != name && affected.contains_key(other))
                .collect(),
            edges,
            broken,
            stack,
        }
    };
    let deleted = order.names.iter().map(of).collect();
    affected.retain(|name, _| !stacks.contains_key(name));
    deleted
}

/// The order in which they go.
struct Order {
    /// Downstream first.
    names: Vec<StackName>,
    circles: Vec<Located>,
    in_a_circle: BTreeSet<StackName>,
}

impl Order {
    fn of(stacks: &BTreeMap<StackName, Stack>, needs: &ByStack<'_>) -> Order {
        let inside = needs
            .values()
            .flatten()
            .filter(|edge| stacks.contains_key(&edge.upstream));
        let inside: BTreeSet<Edge> = inside.map(|edge| (*edge).clone()).collect();
        let (graph, circles) = Graph::build(stacks.clone(), inside.iter().cloned().collect());
        let kept: BTreeSet<&Edge> = graph.edges().iter().collect();
        let lost = inside.iter().filter(|edge| !kept.contains(edge));
        Order {
            names: graph.in_order().into_iter().rev().cloned().collect(),
            in_a_circle: lost
                .flat_map(|edge| [edge.downstream.clone(), edge.upstream.clone()])
                .collect(),
            circles,
        }
    }

    /// Why a stack has no place in it.
    fn against(&self, name: &StackName) -> Vec<Located> {
        match self.in_a_circle.contains(name) {
            true => self.circles.clone(),
            false => Vec::new(),
        }
    }
}

/// Its files go, so that nobody looks for the line in this pull request.
fn broken_at_base(gone: &Stack, error: &Located) -> Located {
    let problem = format!(
        "{} cannot be destroyed as base describes it: {}",
        gone.name, error.problem
    );
    let hint = "mend it in a pull request before this one, or exclude it there to let go of it without destroying it";
    match &error.place {
        Some(place) => Located::at(place.clone(), problem).hint(hint),
        None => Located::nowhere(problem).hint(hint),
    }
}

/// A terragrunt unit may say that it must not be destroyed.
fn stays_by_itself(gone: &Stack) -> Option<Located> {
    let place = gone.unit.as_ref()?.stays.as_ref()?;
    let problem = format!(
        "{} goes, and its terragrunt configuration says that it must not be destroyed",
        gone.name
    );
    let hint = "take `prevent_destroy` (or its `exclude`) out in a pull request before this one, or exclude the stack there \
                to let go of it without destroying it";
    Some(Located::at(place.clone(), problem).hint(hint))
}

/// "No stack has its state" must be known, not guessed.
fn untold_state(gone: &Stack, nowhere_known: Option<&Stack>) -> Option<Located> {
    let hint = "write the backend's configuration so that it can be read, or exclude the stack in a pull request before this one";
    if let StateAt::Unknown(why) = &gone.state {
        let problem = format!(
            "where {} keeps its state could not be told ({why}), so nobody knows whether another stack has it: nothing is \
             destroyed",
            gone.name
        );
        return Some(Located::at(place_of(gone), problem).hint(hint));
    }
    let other = nowhere_known?;
    let problem = format!(
        "{} changes here, and where it keeps its state could not be told: it may be that of {}, whose files go, so nothing is \
         destroyed",
        other.name, gone.name
    );
    Some(Located::at(place_of(other), problem).hint(hint))
}
