//! Owns what GitHub and git answered, and which questions a decision still has.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::command::Command;
use crate::domain::event::Event;
use crate::domain::ids::{CommitSha, Login, RepoPath, StackName};
use crate::domain::located::Located;
use crate::domain::pull::{Mergeability, PullNow, PullState, Review, ReviewKind, Role};
use crate::domain::rules::Rules;
use crate::domain::state::State;

/// "No", "not yet" and "could not find out" are three things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Answer<T> {
    #[default]
    NotAsked,
    Known(T),
    /// Could not be found out, and why: refuses, and says so.
    Unknown(String),
}

impl<T> Answer<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Answer::Known(value) => Some(value),
            Answer::NotAsked | Answer::Unknown(_) => None,
        }
    }

    fn is_asked(&self) -> bool {
        !matches!(self, Answer::NotAsked)
    }
}

/// Who made the last push that changed the merged tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushedBy {
    One(Login),
    /// It could not be told apart: nobody who authored or committed since the merge base counts.
    AnyOf(BTreeSet<Login>),
}

/// Everything a decision may want to know, as far as it was asked.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub pull: Answer<PullNow>,
    /// The true tip of the base branch.
    pub base_tip: Answer<CommitSha>,
    pub roles: BTreeMap<Login, Answer<Role>>,
    pub reviews: Answer<Vec<Review>>,
    pub pushed_by: Answer<PushedBy>,
    pub mergeability: Answer<Mergeability>,
    /// The gate at the base's tip.
    pub rules: Answer<Result<Rules, Vec<Located>>>,
    /// The gate at the tip of the default branch, where the pull request wants into another one.
    pub default_rules: Answer<Result<Rules, Vec<Located>>>,
    /// Files that changed between the base the run was planned on and the base's tip.
    pub base_moved: Answer<BTreeSet<RepoPath>>,
    /// Whether merging that commit into the base gives the tree that merging the head gives.
    pub same_merge: BTreeMap<CommitSha, Answer<bool>>,
    /// Whether the run's merged tree contains that commit.
    pub contains: BTreeMap<CommitSha, Answer<bool>>,
    /// Whether the supervisor of a lost apply is alive.
    pub alive: BTreeMap<StackName, Answer<bool>>,
}

/// The questions that are open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    pub pull: bool,
    pub base_tip: bool,
    pub roles: BTreeSet<Login>,
    pub reviews: bool,
    pub pushed_by: bool,
    pub mergeability: bool,
    pub rules: bool,
    pub default_rules: bool,
    pub base_moved: bool,
    pub same_merge: BTreeSet<CommitSha>,
    pub contains: BTreeSet<CommitSha>,
    pub alive: BTreeSet<StackName>,
}

impl Needs {
    pub fn is_empty(&self) -> bool {
        *self == Needs::default()
    }
}

/// Which questions are still open; asked again after each round, because an answer can raise a question.
pub fn needs(state: &State, answers: &Answers, events: &[Event]) -> Needs {
    let mut needs = Needs::default();
    let about_the_pull = |event: &Event| matches!(event, Event::Pull(_) | Event::Command { .. } | Event::Look);
    needs.pull = !answers.pull.is_asked() && (state.pull.now.is_none() || events.iter().any(about_the_pull));
    for event in events {
        let Event::Command {
            id,
            by,
            command: Ok(command),
            ..
        } = event
        else {
            continue;
        };
        if state.commands.contains_key(id) {
            continue;
        }
        match command {
            Command::Help => {}
            Command::Plan { .. } => {
                ask_role(&mut needs, answers, by);
                needs.base_tip |= !answers.base_tip.is_asked();
            }
            Command::Unlock { .. } => {
                ask_role(&mut needs, answers, by);
                ask_alive(&mut needs, answers, state);
            }
            Command::Apply { .. } => {
                ask_role(&mut needs, answers, by);
                ask_for_apply(&mut needs, answers, state);
            }
        }
    }
    needs
}

fn ask_role(needs: &mut Needs, answers: &Answers, login: &Login) {
    if !answers.roles.contains_key(login) {
        needs.roles.insert(login.clone());
    }
}

fn ask_alive(needs: &mut Needs, answers: &Answers, state: &State) {
    let lost = state
        .runs
        .values()
        .flat_map(|run| run.stacks.iter())
        .filter(|(_, run)| run.state.is_lost());
    needs.alive.extend(
        lost.map(|(name, _)| name.clone())
            .filter(|name| !answers.alive.contains_key(name)),
    );
}

fn ask_for_apply(needs: &mut Needs, answers: &Answers, state: &State) {
    let open = |pull: &PullNow| pull.state == PullState::Open && !pull.draft && !pull.is_fork();
    match &answers.pull {
        // A refusal for these needs nothing further.
        Answer::Known(pull) if !open(pull) => return,
        Answer::Unknown(_) => return,
        Answer::Known(_) | Answer::NotAsked => {}
    }
    needs.base_tip |= !answers.base_tip.is_asked();
    needs.rules |= !answers.rules.is_asked();
    let elsewhere = |pull: &PullNow| pull.default_branch.as_ref().is_some_and(|it| *it != pull.base_ref);
    needs.default_rules |= !answers.default_rules.is_asked() && answers.pull.known().is_some_and(elsewhere);
    needs.base_moved |= !answers.base_moved.is_asked();
    needs.mergeability |= !answers.mergeability.is_asked();
    needs.reviews |= !answers.reviews.is_asked();
    needs.pushed_by |= !answers.pushed_by.is_asked();
    let head = answers.pull.known().map(|pull| &pull.head.sha);
    for review in answers.reviews.known().into_iter().flatten() {
        if !matches!(review.kind, ReviewKind::Approved | ReviewKind::ChangesRequested) {
            continue;
        }
        ask_role(needs, answers, &review.by);
        if let Some(commit) = &review.commit
            && review.kind == ReviewKind::Approved
            && Some(commit) != head
            && !answers.same_merge.contains_key(commit)
        {
            needs.same_merge.insert(commit.clone());
        }
    }
    let held = state.locks.values().filter_map(|lock| lock.held_by_other(state.id));
    let merged = held.filter_map(|holder| holder.merged.as_ref());
    needs
        .contains
        .extend(merged.filter(|commit| !answers.contains.contains_key(*commit)).cloned());
}
