//! Owns the decisions: from what is known of one pull request, what was answered and what happened, the state
//! after and the jobs it makes necessary. Pure, so it runs inside the writing transaction.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::event::{CommandId, Event};
use crate::domain::ids::{Attempt, RunId, StackName, TicketId, Timestamp};
use crate::domain::job::{Job, Work};
use crate::domain::state::{PullRow, State};
use crate::engine::answers::Answers;

pub mod answers;
pub mod selection;
pub mod left;
pub mod destroy;
pub mod stage;
pub mod ended;
pub mod free;
pub mod review;
pub mod target;
pub mod require;
pub mod approval;
pub mod absorb;
pub mod command;
pub mod supersede;
pub mod discover;
pub mod plan;
pub mod apply;
pub mod release;
pub mod standing;

/// What a decision changes: the whole state after, and nothing else.
#[derive(Debug, Clone)]
pub struct Step {
    pub state: State,
    pub jobs: Vec<Job>,
    /// What people see that this step may have changed.
    pub touched: Touched,
    /// Sentences for the log: what was dropped, and illegal moves.
    pub remarks: Vec<String>,
}

/// The surfaces a step touched, so that their wanted revision is raised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// The sticky comment and the three checks.
    pub pull: bool,
    /// Somebody has to act, or the run has ended: publish at once.
    pub urgent: bool,
    /// One of the three checks is concluded or under way otherwise than before: those are published at once.
    pub stands: bool,
    pub replies: BTreeSet<CommandId>,
    /// Stacks whose own check has something new to say.
    pub stacks: BTreeSet<(RunId, StackName)>,
}

/// Fresh identifiers, made by the caller: a decision has no clock and no randomness.
#[derive(Debug, Clone, Copy)]
pub struct Mint {
    pub now: Timestamp,
    pub run: RunId,
    /// One for each command that could become a ticket, taken from the front.
    pub ticket: TicketId,
}

/// Absorbs every event, then advances once. `Mint` holds one fresh ticket, so at most one `/apply` of a batch is
/// granted; the worker hands commands over one at a time.
pub fn decide(state: &State, answers: &Answers, events: &[Event], mint: Mint) -> Step {
    let mut step = Step {
        state: state.clone(),
        jobs: Vec::new(),
        touched: Touched::default(),
        remarks: Vec::new(),
    };
    absorb::pull(&mut step, answers);
    // Before the events: a command speaks of the pull request as it is now.
    supersede::supersede(&mut step, mint);
    for event in events {
        absorb::event(&mut step, answers, event, mint);
    }

    for rule in RULES {
        rule(&mut step, mint);
    }
    ended::write_down(&mut step);

    step.touched = touched(state, &step.state, &step.touched);
    step
}

type Rule = fn(&mut Step, Mint);

/// Each looks at the whole state and adds what is missing, in this order.
const RULES: &[Rule] = &[supersede::supersede, discover::discover, waves, release::release];

/// Plans what is ready and applies what is authorised, until neither makes the other possible.
fn waves(step: &mut Step, mint: Mint) {
    loop {
        let planned = plan::plan(step, mint);
        let applied = apply::apply(step, mint);
        if !planned && !applied {
            return;
        }
    }
}

impl Step {
    /// Writes a job for work that this step made necessary.
    fn job(&mut self, work: Work, attempt: Attempt, not_before: Timestamp) {
        let job = Job {
            pull: self.state.id,
            not_before,
            attempt,
            work,
        };
        if !self.jobs.contains(&job) {
            self.jobs.push(job);
        }
    }
}

/// What people see is a function of the state: whatever differs is touched.
fn touched(before: &State, after: &State, already: &Touched) -> Touched {
    let mut touched = already.clone();
    // When something was shown is nothing that is shown.
    let seen = |state: &State| PullRow {
        shown: BTreeMap::new(),
        ..state.pull.clone()
    };
    touched.pull |= seen(before) != seen(after) || before.runs != after.runs || before.locks != after.locks;
    for (id, asked) in &after.commands {
        if before.commands.get(id) != Some(asked) {
            touched.replies.insert(id.clone());
        }
    }
    // Until its command has ended, a reply to /apply or /plan follows the stacks of its run.
    let moved = |id: RunId| before.runs.get(&id) != after.runs.get(&id);
    let moving = after
        .commands
        .iter()
        .filter(|(_, asked)| standing::follows(after, asked).is_some_and(moved));
    touched.replies.extend(moving.map(|(id, _)| id.clone()));
    for (id, run) in &after.runs {
        for (name, stack) in &run.stacks {
            let was = before.runs.get(id).and_then(|run| run.stacks.get(name));
            if was.map(|was| &was.state) != Some(&stack.state) && standing::has_a_check(stack) {
                touched.stacks.insert((*id, name.clone()));
            }
        }
    }
    let asks = |state: &State| standing::asks_for_a_person(state);
    touched.urgent |= asks(after) && !asks(before);
    touched.stands |= standing::standing(before) != standing::standing(after);
    touched
}
