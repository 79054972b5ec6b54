//! Owns asking GitHub and git what a decision needs to know, outside any transaction.

use std::time::Duration;

use crate::domain::event::Event;
use crate::domain::ids::{CommitSha, StackName};
use crate::domain::pull::{Mergeability, Mergeable, PullNow};
use crate::domain::run::{Discovery, StackState};
use crate::domain::state::State;
use crate::engine::answers::{Answer, Answers, Needs, PushedBy, needs};
use crate::git::fetch::Want;
use crate::git::merge::Ancestry;
use crate::github::error::GithubError;
use crate::worker::repository::Repository;
use crate::worker::{Worker, apply, target, trees};

/// An answer can raise a question; after this many rounds what is open stays unknown.
const ROUNDS: usize = 4;

/// How often, and how long apart, GitHub is asked whether it has worked out mergeability: 30 s in all.
const MERGEABLE_PAUSES: &[Duration] = &[
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(14),
];

/// Whether what happened may wait for a GitHub that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    CanWait,
    /// It has waited often enough: what cannot be found out now is unknown.
    LastTime,
}

/// The answers, or `Err` where GitHub does not answer the first of all questions: the mailbox is put back.
pub async fn gather(
    worker: &Worker,
    state: &State,
    events: &[Event],
    patience: Patience,
) -> Result<Answers, GithubError> {
    let mut answers = Answers::default();
    for _ in 0..ROUNDS {
        let open = needs(state, &answers, events);
        if open.is_empty() {
            break;
        }
        let repository = match worker.repository(state.id.repo).await {
            Ok(repository) => repository,
            Err(error) if !may_wait(&error, patience) => {
                tracing::warn!(detail = %error.detail(), "the repository cannot be asked for");
                break;
            }
            Err(error) => return Err(error),
        };
        ask(worker, &repository, state, &open, &mut answers, patience).await?;
    }
    Ok(answers)
}

/// Without how the pull request looks nothing can be decided, and the events are worth waiting for.
fn may_wait(error: &GithubError, patience: Patience) -> bool {
    match error {
        GithubError::Transient { .. } | GithubError::RateLimited { .. } => true,
        GithubError::Refused { .. } | GithubError::Unexpected { .. } | GithubError::NotFound { .. } => {
            patience == Patience::CanWait
        }
    }
}

async fn ask(
    worker: &Worker,
    repository: &Repository,
    state: &State,
    open: &Needs,
    answers: &mut Answers,
    patience: Patience,
) -> Result<(), GithubError> {
    let github = &repository.github;
    if open.pull {
        answers.pull = match github.pull(&repository.name, state.id.number).await {
            Ok(pull) => Answer::Known(pull),
            Err(error) if may_wait(&error, patience) => return Err(error),
            Err(error) => unknown(&error),
        };
    }
    let pull = answers.pull.known().or(state.pull.now.as_ref()).cloned();
    for login in &open.roles {
        let role = github.role(&repository.name, login).await;
        answers
            .roles
            .insert(login.clone(), role.map_or_else(|error| unknown(&error), Answer::Known));
    }
    if open.reviews {
        let reviews = github.reviews(&repository.name, state.id.number).await;
        answers.reviews = reviews.map_or_else(|error| unknown(&error), Answer::Known);
    }
    let Some(pull) = pull else { return Ok(()) };
    if open.mergeability {
        answers.mergeability = mergeability(repository, &pull).await;
    }
    if open.base_tip || open.rules || open.base_moved || !open.same_merge.is_empty() || !open.contains.is_empty() {
        from_git(repository, state, &pull, open, answers).await;
    }
    if open.default_rules {
        answers.default_rules = match &pull.default_branch {
            Some(default) => match target::rules(repository, default).await {
                Ok(rules) => Answer::Known(rules),
                Err(error) => Answer::Unknown(error.sentence()),
            },
            None => Answer::Unknown("GitHub did not say which it is".to_owned()),
        };
    }
    if open.pushed_by {
        answers.pushed_by = pushed_by(repository, state, &pull, answers.base_tip.known()).await;
    }
    for name in &open.alive {
        answers.alive.insert(name.clone(), alive(worker, state, name).await);
    }
    Ok(())
}

fn unknown<T>(error: &GithubError) -> Answer<T> {
    tracing::warn!(detail = %error.detail(), "GitHub could not be asked");
    Answer::Unknown(error.to_string())
}

async fn mergeability(repository: &Repository, pull: &PullNow) -> Answer<Mergeability> {
    for pause in MERGEABLE_PAUSES {
        match repository
            .github
            .mergeability(&repository.name, pull.number, &pull.base_ref)
            .await
        {
            Ok(known) if known.mergeable != Mergeable::Unknown => return Answer::Known(known),
            Ok(_) => tokio::time::sleep(*pause).await,
            Err(error) => return unknown(&error),
        }
    }
    Answer::Unknown("GitHub is still working it out".to_owned())
}

/// One fetch, then every question to the mirror.
async fn from_git(repository: &Repository, state: &State, pull: &PullNow, open: &Needs, answers: &mut Answers) {
    let mut wants = vec![Want::Branch(pull.base_ref.clone()), Want::Commit(pull.head.sha.clone())];
    wants.extend(open.same_merge.iter().cloned().map(Want::Commit));
    let fetched = match repository.fetch(&wants).await {
        Ok(fetched) => fetched,
        // An approved commit may be gone after a force push; without it the rest can still be answered.
        Err(_) => match repository.fetch(&wants[..2]).await {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(error = %error, "git could not be asked");
                return all_unknown(open, answers, &error.sentence());
            }
        },
    };
    let Some(tip) = fetched.tips.get(&wants[0]).cloned() else {
        return all_unknown(open, answers, "the base branch has no commit");
    };
    answers.base_tip = Answer::Known(tip.clone());
    let mirror = &repository.mirror;
    if open.rules {
        answers.rules = match trees::read(mirror, &tip).await {
            Ok(tree) => Answer::Known(crate::source::rules(&tree)),
            Err(error) => Answer::Unknown(error.sentence()),
        };
    }
    let found = state.current().and_then(|run| match &run.discovery {
        Discovery::Done(found) => Some(found),
        _ => None,
    });
    if open.base_moved {
        answers.base_moved = match found {
            None => Answer::Known(Default::default()),
            Some(found) => match mirror.changed_paths(&found.base, &tip).await {
                Ok(moved) => Answer::Known(moved),
                Err(error) => Answer::Unknown(error.sentence()),
            },
        };
    }
    for commit in &open.same_merge {
        let same = mirror.same_merge(commit, &pull.head.sha, &tip).await;
        let same = match same {
            Ok(same) => Answer::Known(same),
            // A commit that a force push removed is no longer what the branch says.
            Err(crate::git::error::GitError::NotFound { .. }) => Answer::Known(false),
            Err(error) => Answer::Unknown(error.sentence()),
        };
        answers.same_merge.insert(commit.clone(), same);
    }
    for commit in &open.contains {
        let contains = contains(repository, commit, &tip, &pull.head.sha, found.map(|found| &found.base)).await;
        answers.contains.insert(commit.clone(), contains);
    }
}

/// The merged tree contains a commit if the base it was planned on or its head does.
async fn contains(
    repository: &Repository,
    commit: &CommitSha,
    tip: &CommitSha,
    head: &CommitSha,
    planned_on: Option<&CommitSha>,
) -> Answer<bool> {
    for place in [planned_on.unwrap_or(tip), head] {
        match repository.mirror.is_ancestor(commit, place).await {
            Ok(Ancestry::Ancestor) => return Answer::Known(true),
            Ok(Ancestry::Elsewhere) => {}
            Err(error) => return Answer::Unknown(error.sentence()),
        }
    }
    Answer::Known(false)
}

fn all_unknown(open: &Needs, answers: &mut Answers, why: &str) {
    let why = || why.to_owned();
    if open.base_tip {
        answers.base_tip = Answer::Unknown(why());
    }
    if open.rules {
        answers.rules = Answer::Unknown(why());
    }
    if open.base_moved {
        answers.base_moved = Answer::Unknown(why());
    }
    for commit in &open.same_merge {
        answers.same_merge.insert(commit.clone(), Answer::Unknown(why()));
    }
    for commit in &open.contains {
        answers.contains.insert(commit.clone(), Answer::Unknown(why()));
    }
}

/// Who made the latest push that changed the merged tree, so that a reviewer's *Update branch* does not void their
/// own approval.
async fn pushed_by(
    repository: &Repository,
    state: &State,
    pull: &PullNow,
    base: Option<&CommitSha>,
) -> Answer<PushedBy> {
    if pull.is_fork() {
        return match state.pull.pushed.get(&pull.head.sha) {
            Some(login) => Answer::Known(PushedBy::One(login.clone())),
            None => contributors(repository, pull).await,
        };
    }
    let pushes = match repository.github.pushes(&repository.name, &pull.head.name).await {
        Ok(pushes) => pushes,
        Err(GithubError::NotFound { .. } | GithubError::Refused { .. }) => return contributors(repository, pull).await,
        Err(error) => return unknown(&error),
    };
    let mut after = pull.head.sha.clone();
    for push in pushes {
        if push.after.as_ref() != Some(&after) {
            continue;
        }
        let same = match (&push.before, base) {
            (Some(before), Some(base)) => {
                // The old head is needed to compare; where it is gone the push counts as a change.
                let _ = repository.fetch(&[Want::Commit(before.clone())]).await;
                repository
                    .mirror
                    .same_merge(before, &after, base)
                    .await
                    .unwrap_or(false)
            }
            _ => false,
        };
        match (same, push.before, push.by) {
            (true, Some(before), _) => after = before,
            (_, _, Some(login)) => return Answer::Known(PushedBy::One(login)),
            (_, _, None) => return contributors(repository, pull).await,
        }
    }
    contributors(repository, pull).await
}

/// The careful answer: whoever authored or committed a commit of the pull request, and its author.
async fn contributors(repository: &Repository, pull: &PullNow) -> Answer<PushedBy> {
    match repository.github.contributors(&repository.name, pull.number).await {
        Ok(mut logins) => {
            logins.insert(pull.author.clone());
            Answer::Known(PushedBy::AnyOf(logins))
        }
        Err(error) => unknown(&error),
    }
}

/// Whether the supervisor of a lost apply is still there.
async fn alive(worker: &Worker, state: &State, name: &StackName) -> Answer<bool> {
    for run in state.runs.values() {
        let Some(stack) = run.stacks.get(name) else { continue };
        if let StackState::Lost { attempt, .. } = &stack.state {
            return Answer::Known(apply::is_alive(worker, run.id, name, *attempt));
        }
    }
    Answer::Known(false)
}
