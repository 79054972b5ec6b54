//! Owns the graph of a run: its stacks and what they need directly, drawn where that helps.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Reason;
use crate::domain::ids::StackName;
use crate::domain::run::{Found, Run, StackRun};
use crate::render::comment::in_order;
use crate::render::markdown;
use crate::render::mermaid::{Arrow, Class, Node, flowchart};

/// One stack needs no picture, and nobody follows the arrows of more than these.
const STACKS: std::ops::RangeInclusive<usize> = 2..=40;

/// More arrows than these are a thicket; GitHub draws at most 500.
const MOST_ARROWS: usize = 200;

/// Bytes: the rest of the comment is made of what this leaves.
pub const MOST: usize = 14_000;

/// The folded drawing; `None` where it would not help: too few stacks or too many, or nothing that joins them.
pub fn graph(run: &Run, found: &Found) -> Option<String> {
    if !STACKS.contains(&run.stacks.len()) {
        return None;
    }
    let upstreams: BTreeSet<&StackName> = found
        .upstreams
        .keys()
        .filter(|name| !run.stacks.contains_key(*name))
        .collect();
    // Where what is only needed makes it too large, it is left out and counted.
    let with_all = drawn(run, &upstreams, 0);
    with_all.or_else(|| drawn(run, &BTreeSet::new(), upstreams.len()))
}

fn drawn(run: &Run, untouched: &BTreeSet<&StackName>, left_out: usize) -> Option<String> {
    let stacks = in_order(run);
    if stacks.len() + untouched.len() > *STACKS.end() {
        return None;
    }
    let above = untouched.iter().map(|name| (*name, Class::Untouched));
    let named: Vec<(&StackName, Class)> = above
        .chain(stacks.iter().map(|(name, stack)| (*name, class(stack))))
        .collect();
    let places: BTreeMap<&StackName, usize> = named.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let edges = stacks.iter().flat_map(|(_, stack)| &stack.edges);
    let pairs: BTreeSet<(usize, usize)> = edges
        .filter_map(|edge| Some((*places.get(&edge.upstream)?, *places.get(&edge.downstream)?)))
        .collect();
    if pairs.is_empty() || pairs.len() > MOST_ARROWS {
        return None;
    }
    let nodes: Vec<Node<'_>> = named
        .iter()
        .map(|(name, class)| Node {
            name: name.as_str(),
            class: *class,
        })
        .collect();
    let arrow = |(upstream, downstream)| Arrow {
        upstream,
        downstream,
        label: String::new(),
    };
    let arrows: Vec<Arrow> = pairs.into_iter().map(arrow).collect();
    let chart = flowchart(&nodes, &arrows);
    let mut legend = legend(&nodes);
    if left_out > 0 {
        let are = if left_out == 1 { "stack is" } else { "stacks are" };
        legend.push_str(&format!(" {left_out} more {are} needed by these."));
    }
    // A block that is cut is no drawing: it is whole or not there.
    let body = format!("{}\n{legend}", markdown::block("mermaid", &chart, usize::MAX));
    let part = markdown::folded("Graph", &body);
    (part.len() <= MOST).then_some(part)
}

/// Whatever made a stack's own inputs other than they were is a change; the rest is what follows of it.
fn class(stack: &StackRun) -> Class {
    let follows = |reason: &Reason| matches!(reason, Reason::Needs { .. });
    match stack.reasons.iter().all(follows) {
        true => Class::Affected,
        false => Class::Changed,
    }
}

fn legend(nodes: &[Node<'_>]) -> String {
    let has = |class| nodes.iter().any(|node| node.class == class);
    let words = [
        (Class::Changed, "yellow: changed"),
        (Class::Affected, "blue: affected"),
        (Class::Untouched, "dashed: not touched, needed by one that is"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter(|(class, _)| has(*class))
        .map(|(_, word)| word)
        .collect();
    let mut text = words.join(" · ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}
