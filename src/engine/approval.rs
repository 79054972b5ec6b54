//! Owns who may apply what: the one function that comment and button use, the ticket it grants, and the warrant
//! that each stack needs when its turn comes.

use std::collections::BTreeMap;

use crate::domain::command::Selector;
use crate::domain::event::CommandId;
use crate::domain::ids::{Fence, LockKey, Login, PullId, StackName, StackRunId, TicketId, Timestamp};
use crate::domain::plan::FinalPlan;
use crate::domain::pull::{PullNow, PullState};
use crate::domain::refusal::Refusal;
use crate::domain::rules::Rules;
use crate::domain::run::{Discovery, Run, StackRun};
use crate::domain::state::{Lock, State, Ticket, TicketParts, Warrant};
use crate::engine::answers::{Answer, Answers};
use crate::engine::command::unknown;
use crate::engine::require::{Case, requirements};
use crate::engine::selection::select;
use crate::engine::target::Target;
use crate::engine::{destroy, free, left};

/// Who asks to apply what.
pub struct Ask<'a> {
    pub id: &'a CommandId,
    pub by: &'a Login,
    pub select: &'a [Selector],
}

/// What an entitled person gets.
pub enum Granted {
    Ticket(Ticket),
    /// Nothing of the selection is left to apply.
    NothingToDo,
}

/// Whether this may be applied now. The commenter's permission was judged before.
pub fn authorize(state: &State, answers: &Answers, ask: &Ask<'_>, now: Timestamp) -> Result<Granted, Refusal> {
    let pull = pull_now(state, answers)?;
    may_be_applied_at_all(pull)?;
    let target = Target {
        base_ref: &pull.base_ref,
        default_branch: pull.default_branch.as_deref(),
        default_rules: &answers.default_rules,
    };
    target.may_be_applied()?;
    let run = planned_run(state, pull)?;
    let rules = rules(answers)?;
    let selected = select(run, ask.select)?;

    // An older run's apply that nobody knows the end of comes before anything of the same state.
    if let Some((_, name)) = state.lost_before().find(|(_, name)| selected.contains(name)) {
        return Err(left::lost(name));
    }
    let taken = destroy::taken(run, &selected, ask);
    let stacks = left::to_apply(run, &taken)?;
    if stacks.is_empty() {
        destroy::nothing_but_the_unnamed(run, &selected, &taken)?;
        return Ok(Granted::NothingToDo);
    }
    left::in_order(run, &stacks)?;
    destroy::may_be_destroyed(answers, pull, run, &stacks)?;
    free::free(state, answers, run, &stacks)?;
    requirements(
        state,
        answers,
        &Case {
            pull,
            run,
            rules,
            stacks: &stacks,
        },
    )?;

    let reviewed = |name: &StackName| run.stacks.get(name).and_then(StackRun::reviewed_content).cloned();
    Ok(Granted::Ticket(Ticket::issue(TicketParts {
        by: ask.by.clone(),
        command: ask.id.clone(),
        head: pull.head.sha.clone(),
        run: run.id,
        stacks: stacks.iter().map(|name| (name.clone(), reviewed(name))).collect(),
        at: now,
    })))
}

/// The pull request as GitHub answered just now; what it was last time does not count for an apply.
pub fn pull_now<'a>(state: &'a State, answers: &'a Answers) -> Result<&'a PullNow, Refusal> {
    match &answers.pull {
        Answer::Known(pull) => Ok(pull),
        Answer::Unknown(why) => Err(unknown("how this pull request looks now", why)),
        Answer::NotAsked => state
            .pull
            .now
            .as_ref()
            .ok_or_else(|| unknown("how this pull request looks now", "it was not asked")),
    }
}

fn may_be_applied_at_all(pull: &PullNow) -> Result<(), Refusal> {
    match pull.state {
        PullState::Open => {}
        PullState::Closed => {
            return Err(Refusal::new(
                "This pull request is closed.",
                "Reopen it first; its stacks are then planned again.",
            ));
        }
        PullState::Merged { .. } => {
            return Err(Refusal::new(
                "This pull request is merged.",
                "What is not applied yet is applied from a new pull request that contains this merge.",
            ));
        }
    }
    if pull.is_fork() {
        let why = "Nothing is applied from a fork.";
        return Err(Refusal::new(
            why,
            "Push the branch to this repository and open the pull request from there.",
        ));
    }
    if pull.draft {
        return Err(Refusal::new(
            "This pull request is a draft.",
            "Mark it as ready for review first.",
        ));
    }
    Ok(())
}

fn planned_run<'a>(state: &'a State, pull: &PullNow) -> Result<&'a Run, Refusal> {
    let run = state.current().ok_or_else(|| {
        Refusal::new(
            "Nothing is planned yet.",
            "Wait for the plans, then say `/apply` again.",
        )
    })?;
    if run.head != pull.head.sha {
        let why = format!(
            "The plans are of {}, and the head is {} now.",
            run.head.short(),
            pull.head.sha.short()
        );
        return Err(Refusal::new(why, "Wait for the new plans, then say `/apply` again."));
    }
    match &run.discovery {
        Discovery::Held => Err(Refusal::new("Nothing is planned yet.", "Say `/plan` first.")),
        Discovery::Wanted(_) | Discovery::Pending(_) => Err(Refusal::new(
            "The stacks of this pull request are still being looked for.",
            "Wait for the plans, then say `/apply` again.",
        )),
        Discovery::Failed(_) => Err(Refusal::new(
            "Nothing of this pull request can be planned.",
            "The comment above says what to mend.",
        )),
        Discovery::Done(_) => Ok(run),
    }
}

fn rules(answers: &Answers) -> Result<&Rules, Refusal> {
    match &answers.rules {
        Answer::Known(Ok(rules)) => Ok(rules),
        Answer::Known(Err(located)) => {
            let first = located.first().map(ToString::to_string).unwrap_or_default();
            let why = format!("The configuration of the base branch cannot be used: {first}.");
            Err(Refusal::new(why, "Mend it there first: its rules say who may apply."))
        }
        Answer::Unknown(why) => Err(unknown("the rules of the base branch", why)),
        Answer::NotAsked => Err(unknown("the rules of the base branch", "it was not asked")),
    }
}

/// Leave to apply one stack: the plan is what the ticket speaks of or was found to be the same or to refine it, and
/// the lock is ours.
pub fn warrant(
    held: Option<&Ticket>,
    ticket: TicketId,
    at: &StackRunId,
    stack: &StackRun,
    plan: &FinalPlan,
    locks: &BTreeMap<LockKey, Lock>,
    pull: PullId,
) -> Result<Warrant, Refusal> {
    let again = "Say `/plan`, look at it, and say `/apply`.";
    let held = held.ok_or_else(|| Refusal::new("The permission for this apply is gone.", again))?;
    if held.run() != at.run || !held.stacks().contains_key(&at.stack) {
        return Err(Refusal::new(
            "The permission for this apply is for something else.",
            again,
        ));
    }
    if plan.keys != stack.keys {
        return Err(Refusal::new(
            "The real plan is for another state than the reviewed one.",
            again,
        ));
    }
    let reviewed = stack.reviewed.as_ref();
    let allowed = held.stacks().get(&at.stack).and_then(Option::as_ref);
    if allowed.is_none() || reviewed.map(|plan| &plan.content) != allowed {
        return Err(Refusal::new("The plan is not the one that was reviewed.", again));
    }
    if plan.verdict.denied() && reviewed.is_some_and(|reviewed| plan.verdict.is_worse_than(&reviewed.verdict)) {
        return Err(Refusal::new("A policy denies the real plan.", "Change it and push."));
    }
    let mut fence = Fence::ZERO;
    for key in &stack.keys {
        match locks
            .get(key)
            .filter(|lock| lock.held_by(pull) && lock.applying.is_none())
        {
            Some(lock) => fence = fence.max(Fence(lock.fence)),
            None => return Err(Refusal::new("The lock of this state is not held any more.", again)),
        }
    }
    let held = |key: &LockKey| locks.get(key).is_some_and(|lock| lock.held_by(pull));
    if !stack.leaves().all(held) {
        return Err(Refusal::new(
            "The lock of the state that the base branch has it in is not held any more.",
            again,
        ));
    }
    Ok(Warrant::issue(ticket, at.clone(), plan, fence.next()))
}
