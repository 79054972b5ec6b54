//! Owns publishing: what people should see is rendered from the newest state and upserted where it differs.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

use crate::domain::event::{CommandSource, Event};
use crate::domain::ids::{CommentId, CommitSha, PullId, PullNumber, RepoId, RunId, StackName};
use crate::domain::pull::{CheckId, CheckWanted, PullState};
use crate::domain::run::{Run, StackState};
use crate::domain::state::State;
use crate::engine::review;
use crate::github::Prior;
use crate::github::comments::{CommentText, Reaction};
use crate::github::error::GithubError;
use crate::render::comment::Told;
use crate::render::{self, PullView, check};
use crate::store::artifact::ArtifactKind;
use crate::store::surface::{CheckKind, Owner, Published, Publishing, Surface, SurfaceKey};
use crate::worker::Worker;
use crate::worker::lease::renewed;
use crate::worker::link::Page;
use crate::worker::repository::Repository;
use crate::worker::shelf;
use crate::worker::trouble::in_log;

/// How long the surfaces of one owner are published by one loop alone; renewed while its calls go on.
pub const LEASE: Duration = Duration::from_secs(120);

/// An answer to a comment that GitHub refuses this often is given up.
const TRIES: u32 = 6;

/// The longest pause after a refusal; GitHub's mind can be changed by an owner at any time.
const RARELY: Duration = Duration::from_secs(3600);

/// What GitHub does not know after so many tries, which is three days, is gone: the repository was deleted, or the
/// commit, or the App was removed.
const LONG_GONE: u32 = 84;

/// After the first error of our own; then twice as long each time.
const AGAIN: Duration = Duration::from_secs(5);

/// Calls of one owner under way at a time.
const AT_A_TIME: usize = 4;

/// Publishes all that was due of one owner when it was claimed.
pub async fn publish(worker: &Worker, publishing: Publishing) -> anyhow::Result<()> {
    worker.at("publish.claimed");
    let Publishing { owner, lease, rows } = publishing;
    let published = async {
        match &owner {
            Owner::Pull(pull) => of_pull(worker, *pull, &lease, &rows).await,
            Owner::Commit(repo, head) => of_commit(worker, *repo, head, &lease, &rows).await,
        }
    };
    let renew = || worker.store().extend_publishing(&lease, worker.now(), LEASE);
    let result = renewed(LEASE, renew, published).await;
    if let Err(error) = result {
        put_off(worker, &owner, &lease, &rows, &error).await?;
    }
    match worker.store().done(&lease).await {
        Ok(()) | Err(crate::store::error::StoreError::Conflict) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

type Lease = crate::store::surface::PublishLease;

/// Nothing of an owner could be published.
async fn put_off(
    worker: &Worker,
    owner: &Owner,
    lease: &Lease,
    rows: &[Surface],
    error: &anyhow::Error,
) -> anyhow::Result<()> {
    let github = error.downcast_ref::<GithubError>();
    if github.is_none_or(|error| rows.iter().any(|row| is_said(error, row.tries))) {
        tracing::warn!(owner = %owner, error = %in_log(error), "nothing of it could be published now");
    }
    for row in rows {
        match github {
            Some(error) => refused(worker, lease, row, error, is_long_gone(error, row.tries)).await?,
            None => {
                let later = worker.now().plus(longer(row.tries));
                worker.store().publish_later(lease, &row.key, later).await?;
            }
        }
    }
    Ok(())
}

/// What becomes of a surface that GitHub did not take: a check that somebody waits for is never given up, as long as
/// there is something that it is about.
async fn refused(
    worker: &Worker,
    lease: &Lease,
    row: &Surface,
    error: &GithubError,
    is_over: bool,
) -> anyhow::Result<()> {
    let store = worker.store();
    match error {
        GithubError::RateLimited { until, .. } => store.publish_later(lease, &row.key, *until).await?,
        GithubError::Transient { .. } => {
            let later = worker.now().plus(pause(row.tries));
            store.publish_later(lease, &row.key, later).await?;
        }
        GithubError::NotFound { .. } | GithubError::Refused { .. } | GithubError::Unexpected { .. } if is_over => {
            tracing::info!(surface = %row.key, detail = %error.detail(), "given up: what this belongs to is gone");
            settle(worker, lease, row, row.github_id, None).await?;
        }
        GithubError::NotFound { .. } | GithubError::Refused { .. } | GithubError::Unexpected { .. } => {
            let later = worker.now().plus(rarely(row.tries));
            store.publish_unless_urgent(lease, &row.key, later).await?;
        }
    }
    Ok(())
}

/// Whether the log says it: of what is tried for days, the first time and then once an hour.
fn is_said(error: &GithubError, tries: u32) -> bool {
    match error {
        GithubError::RateLimited { .. } | GithubError::Transient { .. } => true,
        GithubError::NotFound { .. } | GithubError::Refused { .. } | GithubError::Unexpected { .. } => {
            tries == 0 || rarely(tries) == RARELY
        }
    }
}

/// Nobody knows it any more (404), or nothing can be made for it (422, of an unknown commit).
fn is_long_gone(error: &GithubError, tries: u32) -> bool {
    tries >= LONG_GONE && matches!(error.detail().status, Some(404 | 410 | 422))
}

async fn of_pull(worker: &Worker, pull: PullId, lease: &Lease, rows: &[Surface]) -> anyhow::Result<()> {
    let repository = worker.repository(pull.repo).await?;
    let state = worker.store().peek(pull).await?;
    let texts = texts(worker, &state, rows).await?;
    let current = state.pull.current;
    let page = |name: &StackName| {
        worker.parts().links.to(
            &Page {
                pull,
                run: current?,
                stack: name.clone(),
            },
            worker.now(),
        )
    };
    let view = PullView {
        state: &state,
        texts: &texts,
        page: &page,
    };
    let mut work: Vec<BoxFuture<'_, anyhow::Result<()>>> = Vec::with_capacity(rows.len());
    for row in rows {
        let done = one(worker, &repository, &view, lease, row);
        work.push(Box::pin(alone(worker, lease, row, done)));
    }
    let mut work = futures_util::stream::iter(work).buffer_unordered(AT_A_TIME);
    while let Some(result) = work.next().await {
        result?;
    }
    Ok(())
}

/// What went wrong on our side with one surface puts off that one, and not its neighbours.
async fn alone(
    worker: &Worker,
    lease: &Lease,
    row: &Surface,
    done: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Err(error) = done.await else { return Ok(()) };
    tracing::error!(surface = %row.key, error = %in_log(&error), "could not be rendered or sent; it is tried again");
    let later = worker.now().plus(longer(row.tries));
    worker.store().publish_later(lease, &row.key, later).await?;
    Ok(())
}

async fn one(
    worker: &Worker,
    repository: &Repository,
    view: &PullView<'_>,
    lease: &Lease,
    row: &Surface,
) -> anyhow::Result<()> {
    let number = view.state.id.number;
    match &row.key {
        SurfaceKey::Comment => {
            let text = CommentText::new("status", &render::comment::comment(view))?;
            let sent = comment(worker, repository, number, lease, row, &text).await?;
            let shows = review::unconfirmed(view.state);
            if sent == Sent::Confirmed && !shows.is_empty() {
                let at = worker.now();
                let event = Event::Published { shows, at };
                worker.store().post(view.state.id, &event, at).await?;
            }
            Ok(())
        }
        SurfaceKey::Reply(command) => match view.state.commands.get(command) {
            Some(asked) => {
                let text = CommentText::new(&format!("reply-{command}"), &render::reply::reply(view.state, asked))?;
                comment(worker, repository, number, lease, row, &text).await.map(drop)
            }
            None => settle(worker, lease, row, None, None).await,
        },
        SurfaceKey::Reaction(command) => {
            if let CommandSource::Comment(id) = command.source {
                let done = repository
                    .github
                    .react(&repository.name, CommentId(id), Reaction::Eyes)
                    .await;
                return sent(worker, lease, row, done.map(|()| id), "reaction").await.map(drop);
            }
            settle(worker, lease, row, None, None).await
        }
        SurfaceKey::Stack(run, stack) => {
            let mark = mark(number, *run, stack);
            let wanted = match view.state.runs.get(run) {
                Some(run) => {
                    let mut shown = shown(worker, view.state.id, run, stack).await?;
                    shown.is_there = row.github_id.is_some();
                    check::of_stack(run, stack, &mark, shown)
                }
                None => None,
            };
            match wanted {
                Some(wanted) => one_check(worker, repository, lease, row, &wanted).await,
                None => settle(worker, lease, row, None, None).await,
            }
        }
        // Those belong to commits.
        SurfaceKey::Check(_) | SurfaceKey::GroupCheck(_) => settle(worker, lease, row, None, None).await,
    }
}

async fn of_commit(
    worker: &Worker,
    repo: RepoId,
    head: &CommitSha,
    lease: &Lease,
    rows: &[Surface],
) -> anyhow::Result<()> {
    let repository = worker.repository(repo).await?;
    let mut states = Vec::new();
    for known in worker.store().pulls_with_head(repo, head).await? {
        states.push(worker.store().peek(known.pull).await?);
    }
    let open = |state: &State| {
        state
            .pull
            .now
            .as_ref()
            .is_some_and(|pull| pull.state == PullState::Open)
    };
    if states.iter().any(open) {
        states.retain(open);
    }
    let texts = BTreeMap::new();
    let no_page = |_: &StackName| None;
    let views: Vec<PullView<'_>> = states
        .iter()
        .map(|state| PullView {
            state,
            texts: &texts,
            page: &no_page,
        })
        .collect();
    let (aggregate, group) = (check::aggregate(head, &views), check::merge_group(head));
    for row in rows {
        let (kind, checks) = match &row.key {
            SurfaceKey::Check(kind) => (kind, &aggregate),
            SurfaceKey::GroupCheck(kind) => (kind, &group),
            _ => continue,
        };
        let at = match kind {
            CheckKind::Plan => 0,
            CheckKind::Policy => 1,
            CheckKind::Apply => 2,
        };
        let done = one_check(worker, &repository, lease, row, &checks[at]);
        alone(worker, lease, row, done).await?;
    }
    Ok(())
}

/// What a stack's check shows beside the state; of its own run, which need not be the newest.
async fn shown(worker: &Worker, pull: PullId, run: &Run, name: &StackName) -> anyhow::Result<check::Shown> {
    let text = match run.stacks.get(name) {
        Some(stack) => text(worker, run.id, name, stack).await?,
        None => None,
    };
    let page = Page {
        pull,
        run: run.id,
        stack: name.clone(),
    };
    let page = worker.parts().links.to(&page, worker.now());
    Ok(check::Shown {
        text,
        page,
        is_there: false,
    })
}

/// The texts that the comment shows, one after the other: of each only what it may show is kept.
async fn texts(worker: &Worker, state: &State, rows: &[Surface]) -> anyhow::Result<BTreeMap<StackName, Told>> {
    let mut texts = BTreeMap::new();
    let Some(run) = state
        .current()
        .filter(|_| rows.iter().any(|row| row.key == SurfaceKey::Comment))
    else {
        return Ok(texts);
    };
    for (name, stack) in &run.stacks {
        if let Some(text) = text(worker, run.id, name, stack).await? {
            texts.insert(name.clone(), Told::new(&text));
        }
    }
    Ok(texts)
}

/// What the tool said last about a stack.
pub async fn text(
    worker: &Worker,
    run: RunId,
    name: &StackName,
    stack: &crate::domain::run::StackRun,
) -> anyhow::Result<Option<String>> {
    if matches!(stack.state, StackState::Applied(_) | StackState::Failed { .. }) {
        let key = shelf::of(run, name, stack.attempt);
        if let Some(log) = shelf::text(worker, ArtifactKind::ApplyLog, &key).await? {
            return Ok(Some(log));
        }
    }
    match render::stack::plan(stack) {
        Some(plan) => shelf::text(worker, ArtifactKind::PlanText, &shelf::of(run, name, plan.attempt)).await,
        None => Ok(None),
    }
}

fn digest(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(hex::encode(Sha256::digest(serde_json::to_vec(value)?)))
}

fn prior<Id>(row: &Surface, id: fn(i64) -> Id) -> Prior<Id> {
    match row.github_id {
        Some(known) => Prior::Known(id(known)),
        None if row.tries > 0 => Prior::Unsure,
        None => Prior::Fresh,
    }
}

/// Whether GitHub has what was rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Confirmed,
    NotYet,
}

async fn comment(
    worker: &Worker,
    repository: &Repository,
    number: PullNumber,
    lease: &Lease,
    row: &Surface,
    text: &CommentText,
) -> anyhow::Result<Sent> {
    let digest = digest(&text.body())?;
    if row.digest.as_ref() == Some(&digest) {
        settle(worker, lease, row, row.github_id, Some(digest)).await?;
        return Ok(Sent::Confirmed);
    }
    let prior = prior(row, CommentId);
    let done = repository
        .github
        .upsert_comment(&repository.name, number, prior, text)
        .await;
    worker.at("publish.performed");
    sent(worker, lease, row, done.map(|id| id.0), &digest).await
}

async fn one_check(
    worker: &Worker,
    repository: &Repository,
    lease: &Lease,
    row: &Surface,
    wanted: &CheckWanted,
) -> anyhow::Result<()> {
    let digest = digest(wanted)?;
    if row.digest.as_ref() == Some(&digest) {
        return settle(worker, lease, row, row.github_id, Some(digest)).await;
    }
    let done = repository
        .github
        .upsert_check(&repository.name, prior(row, CheckId), wanted)
        .await;
    worker.at("publish.performed");
    sent(worker, lease, row, done.map(|id| id.0), &digest).await.map(drop)
}

/// Notes what GitHub answered.
async fn sent(
    worker: &Worker,
    lease: &Lease,
    row: &Surface,
    answer: Result<i64, GithubError>,
    digest: &str,
) -> anyhow::Result<Sent> {
    let error = match answer {
        Ok(id) => {
            worker.count("published");
            settle(worker, lease, row, Some(id), Some(digest.to_owned())).await?;
            return Ok(Sent::Confirmed);
        }
        Err(error) => error,
    };
    if is_said(&error, row.tries) {
        tracing::warn!(surface = %row.key, detail = %error.detail(), "could not be published now");
    }
    let is_over = match is_for_a_comment(&row.key) && error.detail().route.starts_with(IN_A_REPOSITORY) {
        true => match &error {
            GithubError::NotFound { .. } => row.tries >= GONE,
            _ => row.tries >= TRIES,
        },
        false => is_long_gone(&error, row.tries),
    };
    refused(worker, lease, row, &error, is_over).await?;
    Ok(Sent::NotYet)
}

/// What GitHub does not find this often is gone: what was made a moment ago, it sometimes does not find once.
const GONE: u32 = 2;

/// Not the route of the token: whoever refuses that says nothing about a comment.
const IN_A_REPOSITORY: &str = "/repos/";

/// Whether it ends with the comment or conversation that it answers.
fn is_for_a_comment(key: &SurfaceKey) -> bool {
    match key {
        SurfaceKey::Reaction(_) | SurfaceKey::Reply(_) => true,
        SurfaceKey::Comment | SurfaceKey::Stack(..) | SurfaceKey::Check(_) | SurfaceKey::GroupCheck(_) => false,
    }
}

fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(6))
}

/// 1 s, 2 s, 4 s … an hour.
fn rarely(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(12)).min(RARELY)
}

/// Up to five minutes and a little.
fn longer(tries: u32) -> Duration {
    AGAIN * (1 << tries.min(6))
}

async fn settle(
    worker: &Worker,
    lease: &Lease,
    row: &Surface,
    github_id: Option<i64>,
    digest: Option<String>,
) -> anyhow::Result<()> {
    let published = Published {
        wanted: row.wanted,
        github_id,
        digest,
    };
    match worker
        .store()
        .published(lease, &row.key, &published, worker.now())
        .await
    {
        // Another publisher has taken over; it renders something newer.
        Ok(()) | Err(crate::store::error::StoreError::Conflict) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Our own mark on a stack's check: what a button comes back with.
fn mark(pull: PullNumber, run: RunId, stack: &StackName) -> String {
    format!("{pull}/{run}/{stack}")
}

/// The pull request, the run and the stack that a check's mark names.
pub fn read_mark(mark: &str) -> Option<(PullNumber, RunId, StackName)> {
    let (pull, rest) = mark.split_once('/')?;
    let (run, stack) = rest.split_once('/')?;
    let run = RunId(uuid::Uuid::parse_str(run).ok()?);
    Some((PullNumber(pull.parse().ok()?), run, StackName::parse(stack).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_tried_for_three_days_and_said_once_an_hour() {
        let all: u64 = (0..LONG_GONE).map(|tries| rarely(tries).as_secs()).sum();
        let days = 3 * 24 * 3600;
        assert!((days..days + 2 * 3600).contains(&all), "{all} s");
        let error = GithubError::unsaid("no");
        let said = (0..LONG_GONE).filter(|tries| is_said(&error, *tries)).count();
        assert!(said <= 74, "{said} lines in three days");
        assert!(is_said(&error, 0) && !is_said(&error, 1) && is_said(&error, LONG_GONE));
        assert!(
            !is_long_gone(&error, LONG_GONE),
            "a refusal says nothing about what is there"
        );
    }

    #[test]
    fn a_mark_names_its_stack_and_nothing_else_does() {
        let run = RunId(uuid::Uuid::nil());
        let stack = StackName::parse("infra/app:prod").expect("a name");
        assert_eq!(
            read_mark(&mark(PullNumber(12), run, &stack)),
            Some((PullNumber(12), run, stack))
        );
        for other in ["", "lockkeeper/plan", "12/x/app", "12", "x/y/z"] {
            assert_eq!(read_mark(other), None, "{other}");
        }
    }
}
