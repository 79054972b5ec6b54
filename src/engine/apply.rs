//! Owns the wave: which authorised stack goes next, whether it is planned again first, and its warrant.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::ids::{LockKey, PullId, RunId, StackName, StackRunId, TicketId, Timestamp};
use crate::domain::job::Work;
use crate::domain::plan::{FinalPlan, NotFinal, PlanSummary};
use crate::domain::pull::PullNow;
use crate::domain::run::{Failure, Phase, Run, StackRun, StackState};
use crate::domain::state::{Lock, State, Ticket};
use crate::engine::{Mint, Step, approval, left, plan};

/// How long to wait before looking again at an apply that somebody else has under way upstream.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// How long a stack waits for an apply of another pull request, counted from its ticket: one whose end nobody knows
/// never ends.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Whether anything moved.
pub fn apply(step: &mut Step, mint: Mint) -> bool {
    let Some(run) = step.state.current().filter(|run| run.end.is_none()) else {
        return false;
    };
    let id = run.id;
    let mut any = false;
    loop {
        let moves = moves(&step.state, id, mint.now);
        let mut moved = false;
        for (name, next) in moves {
            moved |= go(step, id, &name, next, mint);
        }
        if !moved {
            return any;
        }
        any = true;
    }
}

enum Next {
    /// An upstream did not end well.
    Skip(StackName),
    /// It may not go on under this ticket: its reviewed plan stands again.
    PutBack,
    Replan(TicketId),
    Confirm(TicketId, FinalPlan),
    /// The real plan changes nothing: there is nothing to do.
    Done(TicketId),
    Warrant(TicketId, FinalPlan),
    /// Somebody else applies an upstream right now.
    LookAgain,
    /// And does so for too long.
    GiveUp(LockKey),
}

fn moves(state: &State, id: RunId, now: Timestamp) -> Vec<(StackName, Next)> {
    let Some(run) = state.runs.get(&id) else {
        return Vec::new();
    };
    run.stacks
        .iter()
        .filter_map(|(name, stack)| Some((name.clone(), next(state, run, stack, now)?)))
        .collect()
}

fn next(state: &State, run: &Run, stack: &StackRun, now: Timestamp) -> Option<Next> {
    match &stack.state {
        // Whoever makes it a draft again wants it to go no further.
        StackState::Confirmed { .. } | StackState::Queued(_) | StackState::Replanning { .. } if is_draft(state) => {
            Some(Next::PutBack)
        }
        StackState::Confirmed { ticket, plan } => confirmed(state, stack, *ticket, plan, now),
        StackState::Queued(ticket) => match turn(run, stack) {
            Turn::Now if is_still_read(run, stack) => None,
            Turn::Now => queued(state, stack, *ticket, now),
            Turn::Later => None,
            Turn::Skip(upstream) => Some(Next::Skip(upstream)),
            Turn::PutBack => Some(Next::PutBack),
        },
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Planned(_)
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Replanning { .. }
        | StackState::Differs { .. }
        | StackState::Applying { .. }
        | StackState::Lost { .. }
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => None,
    }
}

fn is_draft(state: &State) -> bool {
    state.pull.now.as_ref().is_some_and(|pull| pull.draft)
}

enum Turn {
    Now,
    Later,
    /// An upstream did not end well.
    Skip(StackName),
    /// An upstream is not of this apply any more.
    PutBack,
}

/// Whether everything it comes after is applied, or had nothing to apply.
fn turn(run: &Run, stack: &StackRun) -> Turn {
    let mut turn = Turn::Now;
    for (name, upstream) in left::upstreams(run, stack) {
        match &upstream.state {
            StackState::Failed { .. } | StackState::Skipped(_) | StackState::Lost { .. } => {
                return Turn::Skip(name.clone());
            }
            StackState::Queued(_)
            | StackState::Replanning { .. }
            | StackState::Confirmed { .. }
            | StackState::Differs { .. }
            | StackState::Applying { .. } => turn = Turn::Later,
            // Somebody took it out of this apply (`/plan`, `/unlock`): whoever comes after it may not overtake it.
            _ if left::comes_along(run, upstream) => return Turn::PutBack,
            StackState::Applied(_)
            | StackState::Planned(_)
            | StackState::Waiting
            | StackState::Held
            | StackState::Planning { .. }
            | StackState::Deferred(_)
            | StackState::Pruned(_)
            | StackState::Superseded
            | StackState::Cancelled => {}
        }
    }
    turn
}

/// Whether a stack that goes, and reads this one's state as base does, is on its way: the outputs it reads may not be
/// there afterwards. Only one that waits for nobody is let past, so that two never wait for each other.
fn is_still_read(run: &Run, stack: &StackRun) -> bool {
    let reads = |other: &StackRun| other.upstream_keys.values().any(|keys| !keys.is_disjoint(&stack.keys));
    let is_on_its_way = |other: &StackRun| match &other.state {
        StackState::Replanning { .. } | StackState::Confirmed { .. } | StackState::Applying { .. } => true,
        StackState::Queued(_) => matches!(turn(run, other), Turn::Now),
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
    };
    let mut others = run.stacks.values();
    !stack.goes() && others.any(|other| other.goes() && reads(other) && is_on_its_way(other))
}

fn queued(state: &State, stack: &StackRun, ticket: TicketId, now: Timestamp) -> Option<Next> {
    if let Some(key) = under_way(state, stack) {
        return Some(wait(state, ticket, key, now));
    }
    let stands = |reviewed: &PlanSummary| {
        !stack.tried
            && !stack.outdated
            && knows_its_upstreams(stack)
            && is_fresh(state, stack, reviewed)
            && is_judged(state, reviewed)
    };
    let as_it_is = stack.reviewed.clone().filter(stands);
    // A provisional one is never applied: the real one comes now.
    Some(match as_it_is.map(FinalPlan::try_from) {
        Some(Ok(plan)) => Next::Confirm(ticket, plan),
        Some(Err(NotFinal)) | None => Next::Replan(ticket),
    })
}

/// Somebody may have applied an upstream while this was planned for real.
fn confirmed(state: &State, stack: &StackRun, ticket: TicketId, plan: &FinalPlan, now: Timestamp) -> Option<Next> {
    Some(if let Some(key) = under_way(state, stack) {
        wait(state, ticket, key, now)
    } else if !is_fresh(state, stack, plan) || !is_judged(state, plan) {
        Next::Replan(ticket)
    } else if plan.counts.is_empty() {
        Next::Done(ticket)
    } else {
        Next::Warrant(ticket, plan.clone())
    })
}

fn under_way<'a>(state: &State, stack: &'a StackRun) -> Option<&'a LockKey> {
    let under_way = |key: &&LockKey| state.locks.get(*key).is_some_and(|lock| lock.applying.is_some());
    stack.upstream_keys.values().flatten().find(under_way)
}

/// No apply has ended since the plan was begun, neither of its own state nor of what it reads.
fn is_fresh(state: &State, stack: &StackRun, plan: &PlanSummary) -> bool {
    plan::fences(&state.locks, stack) == plan.made_against
}

/// The policies saw the pull request as it is now: a label may have gone since.
pub fn is_judged(state: &State, plan: &PlanSummary) -> bool {
    let now = state.pull.now.as_ref().map(PullNow::facts);
    plan.facts.is_none() || plan.facts == now
}

/// Where an upstream keeps its state may be known to nobody (it is not in the run, and its backend is made of
/// variables): then nobody knows whether it was applied since, and the plan is made again.
fn knows_its_upstreams(stack: &StackRun) -> bool {
    let known = |name: &StackName| stack.upstream_keys.get(name).is_some_and(|keys| !keys.is_empty());
    stack.edges.iter().all(|edge| known(&edge.upstream))
}

fn wait(state: &State, ticket: TicketId, key: &LockKey, now: Timestamp) -> Next {
    let since = state.tickets.get(&ticket).map(Ticket::at);
    match since.is_some_and(|since| since.plus(PATIENCE) <= now) {
        true => Next::GiveUp(key.clone()),
        false => Next::LookAgain,
    }
}

/// Carries a move out; says whether others may be possible now.
fn go(step: &mut Step, id: RunId, name: &StackName, next: Next, mint: Mint) -> bool {
    let at = StackRunId {
        run: id,
        stack: name.clone(),
    };
    let id_of = step.state.id;
    let Some(stack) = step.state.runs.get_mut(&id).and_then(|run| run.stacks.get_mut(name)) else {
        return false;
    };
    match next {
        Next::Skip(upstream) => stack.state = StackState::Skipped(upstream),
        Next::PutBack => left::put_back(stack),
        Next::GiveUp(key) => stack.state = failed(given_up(&step.state.locks, id_of, stack, &key)),
        Next::Confirm(ticket, plan) => stack.state = StackState::Confirmed { ticket, plan },
        Next::Done(ticket) => stack.state = StackState::Applied(ticket),
        Next::Replan(ticket) => {
            let attempt = stack.next_attempt();
            let made_against = plan::fences(&step.state.locks, stack);
            stack.state = StackState::Replanning {
                ticket,
                attempt,
                made_against,
            };
            step.job(Work::Plan(at), attempt, mint.now);
        }
        Next::LookAgain => {
            let attempt = stack.attempt;
            step.job(Work::Wake, attempt, mint.now.plus(LOOK_AGAIN));
            return false;
        }
        Next::Warrant(ticket, plan) => return warrant(step, at, ticket, plan, mint),
    }
    true
}

/// Writes the intent and its job together, before the tool starts.
fn warrant(step: &mut Step, at: StackRunId, ticket: TicketId, plan: FinalPlan, mint: Mint) -> bool {
    let state = &mut step.state;
    let held = state.tickets.get(&ticket);
    let Some(stack) = state
        .runs
        .get_mut(&at.run)
        .and_then(|run| run.stacks.get_mut(&at.stack))
    else {
        return false;
    };
    match approval::warrant(held, ticket, &at, stack, &plan, &state.locks, state.id) {
        Ok(warrant) => {
            for key in &stack.keys {
                let lock = state.locks.entry(key.clone()).or_default();
                lock.fence = warrant.fence().0;
                lock.applying = Some(warrant.fence().0);
            }
            let attempt = stack.next_attempt();
            stack.state = StackState::Applying {
                ticket,
                attempt,
                fence: warrant.fence(),
                plan,
            };
            step.job(Work::Apply(at), attempt, mint.now);
        }
        Err(refusal) => {
            let next = refusal.next.trim_end_matches('.');
            stack.state = failed(format!("{} {next}", refusal.why));
        }
    }
    true
}

/// Nothing was begun: `/apply` goes on from here.
fn failed(sentence: String) -> StackState {
    StackState::Failed {
        phase: Phase::Replan,
        failure: Failure::saying(sentence),
    }
}

fn given_up(locks: &BTreeMap<LockKey, Lock>, own: PullId, stack: &StackRun, key: &LockKey) -> String {
    let upstream = stack.upstream_keys.iter().find(|(_, keys)| keys.contains(key));
    let upstream = upstream.map_or_else(|| key.to_string(), |(name, _)| name.to_string());
    let holder = locks.get(key).and_then(|lock| lock.held_by_other(own));
    let place = match holder {
        Some(holder) => format!("pull request #{}", holder.pull.number),
        None => "an earlier run".to_owned(),
    };
    format!(
        "{upstream} is still being applied from {place}, or nobody knows how that ended. Look there, then say `/apply`"
    )
}
