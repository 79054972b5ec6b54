//! Owns what is left to apply in a run: which stacks an apply would take, and what each of them comes after.

use std::collections::BTreeSet;

use crate::domain::graph::Edge;
use crate::domain::ids::StackName;
use crate::domain::plan::PlanSummary;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Phase, Run, StackRun, StackState};
use crate::engine::selection::Selected;

/// Whether this stack has, or may yet have, something to apply.
pub fn has_something_to_apply(run: &Run, stack: &StackRun) -> bool {
    match &stack.state {
        StackState::Applied(_) | StackState::Superseded | StackState::Cancelled | StackState::Pruned(_) => false,
        // What goes is not another one after its upstreams' applies.
        StackState::Planned(plan) => !plan.counts.is_empty() || (!stack.goes() && depends_on_changes(run, stack)),
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
        | StackState::Skipped(_) => true,
    }
}

/// Whether an apply of what it comes after takes this stack along: also one that has nothing to do as long as its
/// inputs turn out as they are planned.
pub fn comes_along(run: &Run, stack: &StackRun) -> bool {
    match &stack.state {
        StackState::Pruned(_) => depends_on_changes(run, stack),
        _ => has_something_to_apply(run, stack),
    }
}

/// Whether an upstream in the run still has something to apply: then today's plan that changes nothing may change
/// something afterwards.
fn depends_on_changes(run: &Run, stack: &StackRun) -> bool {
    is_stale(run, stack)
        || upstreams(run, stack).any(|(_, upstream)| match &upstream.state {
            StackState::Planned(plan) => {
                !plan.counts.is_empty() || plan.provisional().is_some() || is_stale(run, upstream)
            }
            // What it comes after itself is asked too.
            StackState::Applied(_) | StackState::Pruned(_) => false,
            StackState::Deferred(_)
            | StackState::Differs { .. }
            | StackState::Queued(_)
            | StackState::Replanning { .. }
            | StackState::Confirmed { .. }
            | StackState::Applying { .. }
            | StackState::Lost { .. }
            | StackState::Failed { .. }
            | StackState::Skipped(_)
            | StackState::Waiting
            | StackState::Held
            | StackState::Planning { .. }
            | StackState::Superseded
            | StackState::Cancelled => true,
        })
}

/// Whether a stack that a close or a merge cut off was left unapplied: also one that was shown as nothing to do
/// while what it reads was still to be changed.
pub fn was_left(stack: &StackRun) -> bool {
    !stack.reviewed.as_ref().is_some_and(PlanSummary::is_nothing_for_good)
}

/// The stacks of the run that this one comes after.
pub fn upstreams<'a>(run: &'a Run, stack: &'a StackRun) -> impl Iterator<Item = (&'a StackName, &'a StackRun)> {
    stack
        .after
        .iter()
        .filter_map(|name| Some((name, run.stacks.get(name)?)))
}

/// Whether a plan, or the finding that none is needed, rests on outputs that an apply of this run has replaced since,
/// or on a plan of an upstream that is another one now.
pub fn is_stale(run: &Run, stack: &StackRun) -> bool {
    let of = |name: &StackName| run.stacks.get(name).map(|upstream| &upstream.state);
    let applied = |name: &StackName| matches!(of(name), Some(StackState::Applied(_)));
    // What it was given is the plan of a direct upstream.
    let planned_anew = |edge: &Edge| {
        let now = run.stacks.get(&edge.upstream).and_then(StackRun::reviewed_attempt);
        now.as_ref() != stack.given.get(&edge.upstream)
    };
    match &stack.state {
        StackState::Planned(plan) => {
            let given = |edge: &&Edge| {
                plan.provisional()
                    .is_some_and(|of| of.upstreams.contains(&edge.upstream))
            };
            plan.rests_on().iter().any(applied) || stack.edges.iter().filter(given).any(planned_anew)
        }
        StackState::Pruned(upstreams) => upstreams.iter().any(applied) || stack.edges.iter().any(planned_anew),
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
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => false,
    }
}

/// Whether it waits behind a stack that asks for a person: nothing moves it before that one is answered.
pub fn waits_behind_a_question(run: &Run, stack: &StackRun) -> bool {
    matches!(stack.state, StackState::Queued(_))
        && upstreams(run, stack).any(|(_, upstream)| matches!(upstream.state, StackState::Differs { .. }))
}

/// Whether it goes on under a ticket without anybody's help.
pub fn is_moving(run: &Run, stack: &StackRun) -> bool {
    match &stack.state {
        StackState::Queued(_) => !waits_behind_a_question(run, stack),
        StackState::Replanning { .. } | StackState::Confirmed { .. } | StackState::Applying { .. } => true,
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Planned(_)
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Differs { .. }
        | StackState::Lost { .. }
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => false,
    }
}

/// Whether it was left out because an upstream could not be *planned*; after a failed apply it still can be.
pub fn was_left_unplanned(run: &Run, stack: &StackRun) -> bool {
    let StackState::Skipped(upstream) = &stack.state else {
        return false;
    };
    run.stacks.get(upstream).is_some_and(|upstream| match &upstream.state {
        StackState::Failed { phase, .. } => matches!(phase, Phase::Discover | Phase::Plan),
        StackState::Skipped(_) => was_left_unplanned(run, upstream),
        _ => false,
    })
}

/// The stack whose failure kept this one and others between them from their turn.
pub fn culprit<'a>(run: &'a Run, stack: &'a StackRun) -> Option<&'a StackName> {
    let StackState::Skipped(upstream) = &stack.state else {
        return None;
    };
    run.stacks
        .get(upstream)
        .and_then(|upstream| culprit(run, upstream))
        .or(Some(upstream))
}

/// A stack without its ticket: its reviewed plan stands again, or it is planned.
pub fn put_back(stack: &mut StackRun) {
    stack.state = match &stack.reviewed {
        Some(plan) => StackState::Planned(plan.clone()),
        None => StackState::Waiting,
    };
}

/// The stacks of the selection that something is left to do for.
pub fn to_apply(run: &Run, selected: &Selected) -> Result<BTreeSet<StackName>, Refusal> {
    let chosen = || run.stacks.iter().filter(|(name, _)| selected.contains(name));
    let running =
        chosen().filter(|(_, stack)| matches!(stack.state, StackState::Waiting | StackState::Planning { .. }));
    match running.count() {
        0 => {}
        1 => {
            let why = "1 plan is still running.";
            return Err(Refusal::new(
                why,
                "Read it in the comment above, then say `/apply` again.",
            ));
        }
        many => {
            let why = format!("{many} plans are still running.");
            return Err(Refusal::new(
                why,
                "Read them in the comment above, then say `/apply` again.",
            ));
        }
    }
    let mut stacks = BTreeSet::new();
    for (name, stack) in chosen() {
        if is_chosen(run, name, stack)? {
            stacks.insert(name.clone());
        }
    }
    Ok(stacks)
}

/// Whether an apply takes this stack, or why the whole apply is refused because of it.
fn is_chosen(run: &Run, name: &StackName, stack: &StackRun) -> Result<bool, Refusal> {
    match &stack.state {
        StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Applying { .. } => {
            // Those behind a wave that asks again are taken along by the new ticket.
            if waits_behind_a_question(run, stack) {
                return Ok(true);
            }
            let why = format!("`{name}` is being applied already.");
            Err(Refusal::new(why, "Wait for it: its own reply says how it ends."))
        }
        StackState::Lost { .. } => Err(lost(name)),
        StackState::Held => {
            let why = format!("`{name}` is not planned yet.");
            Err(Refusal::new(why, format!("Say `/plan {name}` first.")))
        }
        StackState::Failed {
            phase: Phase::Discover | Phase::Plan,
            ..
        } => {
            let why = format!("`{name}` could not be planned.");
            let next = "The comment above says why: mend it and push, or apply the others by name: `/apply NAME`.";
            Err(Refusal::new(why, next))
        }
        StackState::Skipped(upstream) if was_left_unplanned(run, stack) => {
            let upstream = culprit(run, stack).unwrap_or(upstream);
            let why = format!("`{name}` was not planned, because `{upstream}` could not be.");
            let next = format!("Mend `{upstream}` and push, or apply the others by name: `/apply NAME`.");
            Err(Refusal::new(why, next))
        }
        StackState::Planned(_) | StackState::Pruned(_) => Ok(comes_along(run, stack)),
        StackState::Deferred(_)
        | StackState::Differs { .. }
        | StackState::Failed {
            phase: Phase::Replan | Phase::Apply,
            ..
        }
        | StackState::Skipped(_) => Ok(true),
        StackState::Applied(_)
        | StackState::Waiting
        | StackState::Planning { .. }
        | StackState::Superseded
        | StackState::Cancelled => Ok(false),
    }
}

/// What to do about an apply whose end nobody knows.
pub fn lost(name: &StackName) -> Refusal {
    let why = format!("Nobody knows what the last apply of `{name}` did.");
    let next = format!("Look at what is really there, then say `/unlock {name}` and `/plan {name}`.");
    Refusal::new(why, next)
}

/// `/apply app` while `network` is changed and unapplied refuses.
pub fn in_order(run: &Run, stacks: &BTreeSet<StackName>) -> Result<(), Refusal> {
    for name in stacks {
        let Some(stack) = run.stacks.get(name) else { continue };
        let missing: Vec<(&StackName, &StackRun)> = upstreams(run, stack)
            .filter(|(upstream, _)| !stacks.contains(*upstream))
            .filter(|(_, upstream)| comes_along(run, upstream))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let names: Vec<String> = missing.iter().map(|(name, _)| format!("`{name}`")).collect();
        let why = format!("`{name}` waits for {}.", names.join(", "));
        // What cannot be applied along with it is said at once, not at the second try.
        for (upstream, run_of) in &missing {
            if matches!(run_of.state, StackState::Waiting | StackState::Planning { .. }) {
                let next = format!("`{upstream}` is still being planned: read its plan, then say `/apply` again.");
                return Err(Refusal::new(why, next));
            }
            if let Err(refusal) = is_chosen(run, upstream, run_of) {
                return Err(Refusal::new(format!("{why} {}", refusal.why), refusal.next));
            }
        }
        let all: BTreeSet<&StackName> = missing.into_iter().map(|(name, _)| name).chain(stacks).collect();
        let all: Vec<&str> = all.into_iter().map(StackName::as_str).collect();
        return Err(Refusal::new(why, format!("Say `/apply {}`.", all.join(" "))));
    }
    Ok(())
}
