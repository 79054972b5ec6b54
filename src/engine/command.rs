//! Owns what each command does to the state; its outcome is what the reply says.

use std::collections::BTreeSet;

use crate::domain::command::{Command, CommitText, Selector};
use crate::domain::event::CommandId;
use crate::domain::ids::{Attempt, LockKey, Login, RunId, StackName};
use crate::domain::pull::{PullState, Role};
use crate::domain::refusal::Refusal;
use crate::domain::run::{Discovery, Failure, Phase, Run, StackRun, StackState};
use crate::domain::state::{Asked, Holder, Lock, Outcome};
use crate::engine::answers::{Answer, Answers};
use crate::engine::selection::{Selected, select};
use crate::engine::{Mint, Step, approval, free, left, release, require, supersede};

/// A command as it was said.
pub struct Said<'a> {
    pub id: &'a CommandId,
    pub by: &'a Login,
    pub text: &'a str,
    pub command: &'a Result<Command, String>,
    /// Of a button: the run whose plan it stands beside.
    pub about: Option<RunId>,
}

pub fn command(step: &mut Step, answers: &Answers, said: Said<'_>, mint: Mint) {
    let outcome = outcome(step, answers, &said, mint).unwrap_or_else(Outcome::Refused);
    let remarks = remarks(step, answers, &outcome);
    let asked = Asked {
        remarks,
        by: said.by.clone(),
        at: mint.now,
        text: said.text.to_owned(),
        command: said.command.as_ref().ok().cloned(),
        outcome,
    };
    step.state.commands.insert(said.id.clone(), asked);
}

/// What the reply to a granted apply has to say besides.
fn remarks(step: &Step, answers: &Answers, outcome: &Outcome) -> Vec<String> {
    let Outcome::Applying(ticket) = outcome else {
        return Vec::new();
    };
    let asked = step.state.tickets.contains_key(ticket) && require::sees_too_little(answers);
    asked.then(|| require::UNSEEN.to_owned()).into_iter().collect()
}

fn outcome(step: &mut Step, answers: &Answers, said: &Said<'_>, mint: Mint) -> Result<Outcome, Refusal> {
    let command = match said.command {
        Ok(command) => command,
        Err(sentence) => {
            return Err(Refusal::new(
                sentence.clone(),
                "`/help` lists the commands and how they are written.",
            ));
        }
    };
    if *command == Command::Help {
        return Ok(Outcome::Helped);
    }
    may_write(answers, said.by)?;
    if let Command::Apply { .. } = command {
        shows_todays_plan(step, said.about)?;
    }
    match command {
        Command::Help => Ok(Outcome::Helped),
        Command::Plan { select, consent } => plan(step, answers, said.by, select, consent.as_ref(), mint),
        Command::Apply { select } => {
            let ask = approval::Ask {
                id: said.id,
                by: said.by,
                select,
            };
            let granted = approval::authorize(&step.state, answers, &ask, mint.now)?;
            Ok(match granted {
                approval::Granted::NothingToDo => Outcome::NothingToApply,
                approval::Granted::Ticket(ticket) => {
                    begin(step, ticket, mint);
                    Outcome::Applying(mint.ticket)
                }
            })
        }
        Command::Unlock { select } => unlock(step, answers, select),
    }
}

/// Whoever presses *Apply* has read the plan beside the button, and means that one.
fn shows_todays_plan(step: &Step, about: Option<RunId>) -> Result<(), Refusal> {
    match about {
        Some(run) if step.state.pull.current != Some(run) => Err(Refusal::new(
            "That check shows the plan of an older run, which is not applied any more.",
            "Read the newest plan in the comment above, then say `/apply` or press *Apply* on its check.",
        )),
        Some(_) | None => Ok(()),
    }
}

fn may_write(answers: &Answers, by: &Login) -> Result<(), Refusal> {
    match answers.roles.get(by) {
        Some(Answer::Known(role)) if role.can_write() => Ok(()),
        Some(Answer::Known(role)) => {
            let has = match role {
                Role::None => "no access",
                Role::Read => "read access",
                Role::Triage => "triage access",
                Role::Write | Role::Maintain | Role::Admin => "write access",
            };
            let why = format!("This needs write access to the repository; {by} has {has}.");
            Err(Refusal::new(why, "Ask someone with write access to say it."))
        }
        Some(Answer::Unknown(why)) => Err(unknown("your permission in this repository", why)),
        Some(Answer::NotAsked) | None => Err(unknown("your permission in this repository", "it was not asked")),
    }
}

/// "Could not find out" refuses, and says so.
pub fn unknown(what: &str, why: &str) -> Refusal {
    Refusal::new(
        format!("Could not find out {what} ({why})."),
        "Say it again in a minute.",
    )
}

fn plan(
    step: &mut Step,
    answers: &Answers,
    by: &Login,
    selectors: &[Selector],
    consent: Option<&CommitText>,
    mint: Mint,
) -> Result<Outcome, Refusal> {
    let pull = approval::pull_now(&step.state, answers)?.clone();
    if pull.state != PullState::Open {
        return Err(Refusal::new(
            "This pull request is not open.",
            "Reopen it, or open a new one.",
        ));
    }
    if let Some(commit) = consent
        && !commit.names(&pull.head.sha)
    {
        let why = format!("`{}` is not the head of this pull request any more.", commit.as_str());
        let next = format!("Read what changed, then say `/plan {}`.", pull.head.sha);
        return Err(Refusal::new(why, next));
    }
    if let Some(commit) = consent
        && !commit.is_whole()
    {
        let why = format!(
            "`{}` is only the beginning of a commit, and more than one can begin so.",
            commit.as_str()
        );
        return Err(Refusal::new(why, format!("Say `/plan {}`.", pull.head.sha)));
    }
    if pull.is_fork() {
        if consent.is_none() && !step.state.pull.consents.contains_key(&pull.head.sha) {
            let why = "This comes from a fork, and planning it runs its code on the server.";
            let next = format!("Read the changes, then say `/plan {}`.", pull.head.sha);
            return Err(Refusal::new(why, next));
        }
        step.state
            .pull
            .consents
            .entry(pull.head.sha.clone())
            .or_insert_with(|| by.clone());
    }
    again(step, answers, selectors, mint)
}

/// Opens a new attempt of the selected stacks, or a new run where the base has moved or nothing was found yet.
fn again(step: &mut Step, answers: &Answers, selectors: &[Selector], mint: Mint) -> Result<Outcome, Refusal> {
    let Some(run) = step.state.current_mut() else {
        return Err(unknown("what this pull request changes", "its first run has not begun"));
    };
    let fresh = match &mut run.discovery {
        Discovery::Held => {
            run.discovery = Discovery::Wanted(Attempt::FIRST);
            return Ok(Outcome::Planning {
                run: run.id,
                stacks: BTreeSet::new(),
            });
        }
        Discovery::Wanted(_) | Discovery::Pending(_) => {
            return Ok(Outcome::Planning {
                run: run.id,
                stacks: BTreeSet::new(),
            });
        }
        Discovery::Failed(_) => true,
        Discovery::Done(found) => {
            selectors.is_empty() && answers.base_tip.known().is_some_and(|tip| *tip != found.base)
        }
    };
    if fresh {
        if let Some(name) = run
            .stacks
            .iter()
            .find(|(_, stack)| left::is_moving(run, stack))
            .map(|(name, _)| name)
        {
            return Err(busy(format!("`{name}` is being applied.")));
        }
        supersede::open(step, mint);
        return Ok(Outcome::Planning {
            run: mint.run,
            stacks: BTreeSet::new(),
        });
    }
    let selected = select(run, selectors)?;
    let id = run.id;
    let mut stacks = BTreeSet::new();
    for (name, stack) in run.stacks.iter().filter(|(name, _)| selected.contains(name)) {
        if is_planned_again(run, name, stack, &selected)? {
            stacks.insert(name.clone());
        }
    }
    let Some(run) = step.state.runs.get_mut(&id) else {
        return Err(unknown("what this pull request changes", "its run is gone"));
    };
    for name in &stacks {
        if let Some(stack) = run.stacks.get_mut(name) {
            stack.state = StackState::Waiting;
        }
    }
    Ok(Outcome::Planning { run: id, stacks })
}

fn busy(why: String) -> Refusal {
    Refusal::new(why, "Say `/plan` again when that has ended.")
}

/// Whether `/plan` opens a new attempt of this stack, or why it refuses. An apply that goes on is not cut off
/// unasked: nothing of it, nor what its next stacks come after, is planned meanwhile.
fn is_planned_again(run: &Run, name: &StackName, stack: &StackRun, selected: &Selected) -> Result<bool, Refusal> {
    if left::is_moving(run, stack) {
        return Err(busy(format!("`{name}` is being applied.")));
    }
    let behind = run
        .downstream_of(name)
        .find(|other| run.stacks.get(*other).is_some_and(|other| left::is_moving(run, other)));
    if let Some(other) = behind {
        return Err(busy(format!(
            "`{other}`, which comes after `{name}`, is being applied."
        )));
    }
    match &stack.state {
        StackState::Lost { .. } => match selected {
            Selected::All => Ok(false),
            Selected::These(_) => Err(left::lost(name)),
        },
        StackState::Failed {
            phase: Phase::Discover, ..
        } => match selected {
            Selected::All => Ok(false),
            Selected::These(_) => {
                let why = format!("`{name}` cannot be planned as it is written.");
                Err(Refusal::new(
                    why,
                    "The comment above shows the lines: mend them and push.",
                ))
            }
        },
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Planned(_)
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Differs { .. }
        | StackState::Applying { .. }
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => Ok(true),
    }
}

/// The ticket's stacks wait for their turn, and every lock of theirs is taken in the same step.
fn begin(step: &mut Step, ticket: crate::domain::state::Ticket, mint: Mint) {
    let state = &mut step.state;
    let id = state.id;
    let Some(run) = state.runs.get_mut(&ticket.run()) else {
        return;
    };
    for name in ticket.stacks().keys() {
        let Some(stack) = run.stacks.get_mut(name) else {
            continue;
        };
        stack.state = StackState::Queued(mint.ticket);
        for key in stack.locked() {
            let lock = state.locks.entry(key.clone()).or_default();
            if !lock.held_by(id) {
                lock.fence += 1;
            }
            let since = lock
                .holder
                .as_ref()
                .filter(|holder| holder.pull == id)
                .map_or(mint.now, |holder| holder.since);
            lock.holder = Some(Holder {
                pull: id,
                stack: name.clone(),
                since,
                merged: None,
            });
        }
    }
    state.tickets.insert(mint.ticket, ticket);
}

fn unlock(step: &mut Step, answers: &Answers, selectors: &[Selector]) -> Result<Outcome, Refusal> {
    let state = &step.state;
    let held: Vec<(LockKey, StackName)> = state
        .locks
        .iter()
        .filter(|(_, lock)| lock.held_by(state.id))
        .filter_map(|(key, lock)| Some((key.clone(), lock.holder.as_ref()?.stack.clone())))
        .collect();
    let names: BTreeSet<StackName> = match selectors {
        [] => held.iter().map(|(_, name)| name.clone()).collect(),
        selectors => {
            let named = selectors.iter().map(|selector| named(step, selector));
            let named: Vec<BTreeSet<StackName>> = named.collect::<Result<_, _>>()?;
            named.into_iter().flatten().collect()
        }
    };
    for name in &names {
        may_unlock(step, answers, name, selectors.is_empty())?;
    }
    let mut unlocked = Vec::new();
    for (key, name) in held.iter().filter(|(_, name)| names.contains(name)) {
        release::end(&mut step.state, key);
        if let Some(lock) = step.state.locks.get_mut(key) {
            // What a lost apply did is unknown: to every plan made before, the state is another one now.
            if lock.applying.take().is_some() {
                lock.applied = lock.fence;
            }
        }
        unlocked.push(name.clone());
    }
    unlocked.dedup();
    for run in step.state.runs.values_mut() {
        for (_, stack) in run.stacks.iter_mut().filter(|(name, _)| names.contains(name)) {
            void(stack);
        }
    }
    Ok(Outcome::Unlocked(unlocked))
}

/// A stack without its lock has no ticket either.
fn void(stack: &mut StackRun) {
    match &stack.state {
        StackState::Queued(_)
        | StackState::Differs { .. }
        | StackState::Confirmed { .. }
        | StackState::Replanning { .. } => left::put_back(stack),
        StackState::Lost { .. } => {
            stack.tried = true;
            let sentence = "nobody knows what its apply did, and its lock was given up";
            stack.state = StackState::Failed {
                phase: Phase::Apply,
                failure: Failure::saying(sentence),
            };
        }
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Planned(_)
        | StackState::Deferred(_)
        | StackState::Pruned(_)
        | StackState::Applying { .. }
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => {}
    }
}

/// The stacks that a selector of `/unlock` means: a directory may mean several.
fn named(step: &Step, selector: &Selector) -> Result<BTreeSet<StackName>, Refusal> {
    let state = &step.state;
    if let Selector::Name(name) = selector {
        let of_lock = |lock: &Lock| {
            lock.holder
                .as_ref()
                .is_some_and(|holder| holder.stack == *name && holder.pull == state.id)
        };
        if state.locks.values().any(of_lock) {
            return Ok(BTreeSet::from([name.clone()]));
        }
    }
    let Some(run) = state.current() else {
        return Err(Refusal::new(
            "This pull request holds no lock.",
            "There is nothing to unlock.",
        ));
    };
    let Selected::These(names) = select(run, std::slice::from_ref(selector))? else {
        return Err(Refusal::new(
            "This pull request holds no lock.",
            "There is nothing to unlock.",
        ));
    };
    for name in &names {
        let keys = run.stacks.get(name).into_iter().flat_map(|stack| &stack.keys);
        let other = keys
            .filter_map(|key| state.locks.get(key)?.held_by_other(state.id))
            .next();
        if let Some(holder) = other {
            let why = format!("`{name}` is locked by {}.", free::pull_name(state, holder));
            let next = format!("Say `/unlock {}` there.", holder.stack);
            return Err(Refusal::new(why, next));
        }
    }
    Ok(names)
}

fn may_unlock(step: &Step, answers: &Answers, name: &StackName, all: bool) -> Result<(), Refusal> {
    let runs = step
        .state
        .runs
        .values()
        .filter_map(|run| Some((run, run.stacks.get(name)?)));
    for (run, stack) in runs {
        match &stack.state {
            StackState::Applying { .. } => {
                let why = format!("`{name}` is being applied by run {}.", run.number);
                return Err(Refusal::new(
                    why,
                    "A lock does not end under a running apply; say it again when it has ended.",
                ));
            }
            StackState::Lost { .. } if all => {
                let why = format!("Nobody knows what the apply of `{name}` did.");
                let next = format!("Look at its state first, then say `/unlock {name}`.");
                return Err(Refusal::new(why, next));
            }
            StackState::Lost { .. } => match answers.alive.get(name) {
                Some(Answer::Known(false)) => {}
                Some(Answer::Known(true)) => {
                    let why = format!("The apply of `{name}` is still running.");
                    return Err(Refusal::new(why, "Say it again when it has ended."));
                }
                Some(Answer::Unknown(why)) => return Err(unknown("whether its apply is still running", why)),
                Some(Answer::NotAsked) | None => {
                    return Err(unknown("whether its apply is still running", "it was not asked"));
                }
            },
            _ => {}
        }
    }
    Ok(())
}
