//! Owns taking in what happened: each event changes what is known and adds no job.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::event::{Discovered, Event, PullEvent};
use crate::domain::ids::{Attempt, ContentDigest, Fence, LockKey, RunId, StackName, Timestamp};
use crate::domain::located::Located;
use crate::domain::plan::PlanSummary;
use crate::domain::run::{Compared, Discovery, Failure, Move, Phase, Run, StackEvent, StackRun, StackState};
use crate::domain::state::{AppliedHere, Asked, Lock, Outcome, Shown};
use crate::engine::answers::Answers;
use crate::engine::{Mint, Step, command, discover, plan};

/// How the pull request looks now.
pub fn pull(step: &mut Step, answers: &Answers) {
    if let Some(now) = answers.pull.known() {
        step.state.pull.now = Some(now.clone());
    }
    if let Some(tip) = answers.base_tip.known() {
        step.state.pull.base_tip = Some(tip.clone());
    }
}

pub fn event(step: &mut Step, answers: &Answers, event: &Event, mint: Mint) {
    match event {
        Event::Look | Event::Pull(PullEvent::Moved | PullEvent::Reviewed) => {}
        Event::Pull(PullEvent::Pushed { by, head }) => {
            step.state.pull.pushed.insert(head.clone(), by.clone());
        }
        Event::Command {
            id,
            by,
            text,
            command,
            about,
        } => {
            if !step.state.commands.contains_key(id) {
                let said = command::Said {
                    id,
                    by,
                    text,
                    command,
                    about: *about,
                };
                command::command(step, answers, said, mint);
            }
        }
        Event::Published { shows, at } => published(step, shows, *at),
        Event::Discovered { run, attempt, outcome } => discovered(step, *run, *attempt, outcome),
        Event::Stack {
            run,
            stack,
            attempt,
            event,
        } => learned(step, *run, stack, *attempt, event, mint),
    }
}

fn discovered(step: &mut Step, id: RunId, attempt: Attempt, outcome: &Discovered) {
    let Some(run) = step.state.runs.get_mut(&id) else {
        step.remarks
            .push(format!("discovery of run {id} ended, but nobody waits for it"));
        return;
    };
    if run.end.is_some() || run.discovery != Discovery::Pending(attempt) {
        step.remarks
            .push(format!("a late word of discovery attempt {attempt} was dropped"));
        return;
    }
    match outcome {
        Discovered::Found { found, stacks } => {
            run.discovery = Discovery::Done(found.clone());
            run.stacks = stacks.clone();
            // Whoever said `/plan` and got a new run for it asked for all of its stacks.
            let asked = |asked: &Asked| matches!(&asked.outcome, Outcome::Planning { run, stacks } if *run == id && stacks.is_empty());
            if step.state.commands.values().any(asked) {
                for stack in run.stacks.values_mut().filter(|stack| stack.state == StackState::Held) {
                    stack.state = StackState::Waiting;
                }
            }
        }
        Discovered::Failed(located) => run.discovery = Discovery::Failed(located.clone()),
        // A check that waits for a repository which never answers would hang for ever.
        Discovered::Again(why) if attempt.0 >= discover::MOST_TRIES => {
            let problem = format!("the repository could not be read: {}", why.trim_end_matches('.'));
            run.discovery = Discovery::Failed(vec![Located::nowhere(problem).hint("say `/plan` to try again")]);
        }
        Discovered::Again(_) => run.discovery = Discovery::Wanted(attempt.next()),
    }
}

fn learned(step: &mut Step, id: RunId, name: &StackName, attempt: Attempt, event: &StackEvent, mint: Mint) {
    let Some(stack) = step.state.runs.get_mut(&id).and_then(|run| run.stacks.get_mut(name)) else {
        step.remarks.push(format!(
            "a word about {name} in run {id} was dropped: nobody waits for it"
        ));
        return;
    };
    let before = stack.state.clone();
    let event = &as_begun(&step.state.locks, &before, event);
    match before.on(attempt, event) {
        Move::To(state) => stack.state = state,
        Move::Stale => {
            step.remarks
                .push(format!("a late word of attempt {attempt} about {name} was dropped"));
            return;
        }
        Move::Illegal => {
            step.remarks
                .push(format!("{name}: {event:?} makes no sense in {before:?}"));
            stack.state = without_its_job(&before);
            return;
        }
    }
    match event {
        StackEvent::Planned { plan, compared } => planned(step, id, name, plan, compared),
        StackEvent::Deferred { upstream, keys, why } => {
            keys_are(step, id, name, keys);
            deferred(step, id, name, upstream, why.as_ref(), before.made_against());
        }
        StackEvent::Pruned { upstreams, keys } => {
            keys_are(step, id, name, keys);
            pruned(step, id, name, upstreams, &before);
        }
        StackEvent::Applied | StackEvent::ApplyFailed(_) | StackEvent::NotStarted(_) | StackEvent::Outdated => {
            apply_ended(step, id, name, &before, event, mint);
        }
        StackEvent::PlanFailed(_) | StackEvent::Interrupted | StackEvent::ApplyLost => {}
    }
}

/// The job has ended with a word that it cannot have: a bug of ours, and still nobody may wait for it for ever.
fn without_its_job(state: &StackState) -> StackState {
    let sentence = "its job ended in a way that it should not have; the server's log has the details. Say `/plan`";
    let failed = |phase| StackState::Failed {
        phase,
        failure: Failure::saying(sentence),
    };
    match state.clone() {
        StackState::Planning { .. } => failed(Phase::Plan),
        StackState::Replanning { .. } => failed(Phase::Replan),
        StackState::Applying {
            ticket,
            attempt,
            fence,
            plan,
        } => StackState::Lost {
            ticket,
            attempt,
            fence,
            plan,
        },
        other => other,
    }
}

/// What a job learned, with the fences that were known when it was begun.
fn as_begun(locks: &BTreeMap<LockKey, Lock>, before: &StackState, event: &StackEvent) -> StackEvent {
    match event {
        StackEvent::Planned { plan, compared } => StackEvent::Planned {
            plan: PlanSummary {
                made_against: made_against(locks, before, plan),
                ..plan.clone()
            },
            compared: compared.clone(),
        },
        other => other.clone(),
    }
}

/// The fences of a plan's states when it was begun. A state that only the seed told is taken in where no apply of
/// it ever ended; else it is left out, and the plan looks older than it is.
fn made_against(
    locks: &BTreeMap<LockKey, Lock>,
    planning: &StackState,
    plan: &PlanSummary,
) -> BTreeMap<LockKey, Fence> {
    let mut known = planning.made_against().cloned().unwrap_or_default();
    for key in &plan.keys {
        if locks.get(key).is_none_or(|lock| lock.last_applied() == Fence::ZERO) {
            known.entry(key.clone()).or_insert(Fence::ZERO);
        }
    }
    known
}

/// It cannot be planned yet, and that is what people are shown.
fn deferred(
    step: &mut Step,
    id: RunId,
    name: &StackName,
    upstream: &StackName,
    why: Option<&Failure>,
    began: Option<&BTreeMap<LockKey, Fence>>,
) {
    let Some(run) = step.state.runs.get_mut(&id) else {
        return;
    };
    let applied = |state: &StackState| matches!(state, StackState::Applied(_));
    let was_applied = run.stacks.get(upstream).is_some_and(|run| applied(&run.state));
    let Some(stack) = run.stacks.get_mut(name) else { return };
    if !matches!(stack.state, StackState::Deferred(_)) {
        return;
    }
    if was_applied && began.is_some_and(|began| *began == plan::fences(&step.state.locks, stack)) {
        // It was planned after that apply, so waiting for it once more would never end.
        let sentence = format!("{upstream} was applied and still does not have an output this stack needs");
        stack.state = StackState::Failed {
            phase: Phase::Plan,
            failure: Failure::saying(sentence),
        };
        return;
    }
    stack.reviewed = None;
    stack.deferred_for = why.cloned();
    show(step, name, None);
}

/// Nobody was shown a plan: what a real one changes later is new to them.
fn pruned(step: &mut Step, id: RunId, name: &StackName, upstreams: &BTreeSet<StackName>, began: &StackState) {
    let Some(run) = step.state.runs.get_mut(&id) else {
        return;
    };
    let applied = |state: &StackState| matches!(state, StackState::Applied(_));
    let was_applied = upstreams
        .iter()
        .any(|upstream| run.stacks.get(upstream).is_some_and(|run| applied(&run.state)));
    let Some(stack) = run.stacks.get_mut(name) else { return };
    let saw_it = began.made_against() == Some(&plan::fences(&step.state.locks, stack));
    if was_applied && saw_it {
        // After that apply there is no plan to compare with, and to look once more would never end.
        step.remarks
            .push(format!("{name} was found to need no plan after an apply it rests on"));
        stack.state = without_its_job(began);
        return;
    }
    stack.reviewed = None;
    stack.became.clear();
    stack.tried = false;
    show(step, name, None);
}

fn show(step: &mut Step, name: &StackName, content: Option<ContentDigest>) {
    let shown = step.state.pull.shown.entry(name.clone()).or_default();
    if shown.last().map(|shown| &shown.content) != Some(&content) {
        shown.push(Shown { at: None, content });
    }
}

/// Only what is still the newest counts from then on: of what was replaced meanwhile nobody knows who saw it.
fn published(step: &mut Step, shows: &BTreeMap<StackName, Option<ContentDigest>>, at: Timestamp) {
    for (name, content) in shows {
        let newest = step.state.pull.shown.get_mut(name).and_then(|shown| shown.last_mut());
        if let Some(newest) = newest.filter(|newest| newest.content == *content) {
            newest.at.get_or_insert(at);
        }
    }
}

/// The seed told the true states of a stack: whoever is downstream of it learns them too.
fn keys_are(step: &mut Step, id: RunId, name: &StackName, keys: &BTreeSet<LockKey>) {
    let Some(run) = step.state.runs.get_mut(&id) else {
        return;
    };
    let named_goes = run.stacks.get(name).is_some_and(StackRun::goes);
    // The edges of what goes name base's stacks: who is called so now may be another.
    let needs_it =
        |stack: &StackRun| (named_goes || !stack.goes()) && stack.edges.iter().any(|edge| edge.upstream == *name);
    for (other, stack) in &mut run.stacks {
        if other == name {
            stack.keys = keys.clone();
        } else if needs_it(stack) {
            stack.upstream_keys.insert(name.clone(), keys.clone());
        }
    }
}

fn planned(step: &mut Step, id: RunId, name: &StackName, plan: &PlanSummary, compared: &Compared) {
    keys_are(step, id, name, &plan.keys);
    let Some(stack) = step.state.runs.get_mut(&id).and_then(|run| run.stacks.get_mut(name)) else {
        return;
    };
    stack.outdated = false;
    stack.became.clear();
    stack.real = None;
    match compared {
        // A real plan that is what was reviewed needs no second look: people were shown the reviewed one.
        Compared::Same => {
            stack.real = Some(plan.clone());
            return;
        }
        Compared::Refines(became) => {
            stack.became.clone_from(became);
            stack.real = Some(plan.clone());
            return;
        }
        Compared::First | Compared::Differs(_) => {}
    }
    let content = plan.content.clone();
    stack.reviewed = Some(plan.clone());
    stack.tried = false;
    show(step, name, Some(content));
}

fn apply_ended(step: &mut Step, id: RunId, name: &StackName, was: &StackState, event: &StackEvent, mint: Mint) {
    let (StackState::Applying { ticket, fence, .. } | StackState::Lost { ticket, fence, .. }) = was else {
        return;
    };
    let started = !matches!(event, StackEvent::NotStarted(_) | StackEvent::Outdated);
    let Some(run) = step.state.runs.get_mut(&id) else {
        return;
    };
    let head = run.head.clone();
    let Some(stack) = run.stacks.get_mut(name) else { return };
    stack.outdated |= *event == StackEvent::Outdated;
    if started {
        stack.tried = *event != StackEvent::Applied;
    }
    for key in &stack.keys {
        let Some(lock) = step.state.locks.get_mut(key) else {
            continue;
        };
        if lock.applying == Some(fence.0) {
            lock.applying = None;
        }
        // However it ended, the state may be another one now.
        if started {
            lock.applied = lock.applied.max(fence.0);
        }
    }
    let aim = stack.aim;
    if *event == StackEvent::Applied
        && let Some(ticket) = step.state.tickets.get(ticket)
    {
        let applied = AppliedHere {
            aim,
            head,
            at: mint.now,
            by: ticket.by().clone(),
        };
        step.state.pull.applied.insert(name.clone(), applied);
    }
}

/// Ends what has not begun; what the tool is doing ends by itself.
pub fn end_quietly(run: &mut Run, to: &StackState) {
    for stack in run.stacks.values_mut() {
        match &stack.state {
            StackState::Applying { .. } | StackState::Lost { .. } => {}
            // There was nothing to begin.
            StackState::Pruned(_) => {}
            StackState::Applied(_)
            | StackState::Failed { .. }
            | StackState::Skipped(_)
            | StackState::Superseded
            | StackState::Cancelled => {}
            StackState::Waiting
            | StackState::Held
            | StackState::Planning { .. }
            | StackState::Planned(_)
            | StackState::Deferred(_)
            | StackState::Queued(_)
            | StackState::Replanning { .. }
            | StackState::Confirmed { .. }
            | StackState::Differs { .. } => stack.state = to.clone(),
        }
    }
}
