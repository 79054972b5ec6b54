//! Owns the reading of a webhook's body, leniently: what we do not use may be anything.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::ids::{BadId, CommentId, CommitSha, InstallationId, Login, PullNumber, RepoId, RepoName};
use crate::domain::pull::RepoRef;
use crate::github::error::one_line;
use crate::github::webhook::{
    CheckAction, CheckAsked, Commented, Delivery, Fault, InstallationAction, InstallationMoved, Kind, MergeGroupAction,
    MergeGroupMoved, PullAction, PullMoved, Pushed, ReviewAction, Reviewed, SuiteAsked,
};

/// Reads a signed body. `event` is the event header's word. Events and actions we do not know are `Ignored`.
pub fn parse(event: &str, body: &[u8]) -> Result<Delivery, Fault> {
    let event = one_line(event);
    let envelope: Envelope = read(&event, body)?;
    let mut action = envelope.action.clone().unwrap_or_default();
    action.truncate(action.floor_char_boundary(60));
    let kind = match event.as_str() {
        "pull_request" => pull(&action, read(&event, body)?),
        "issue_comment" => comment(&action, read(&event, body)?, &envelope),
        "pull_request_review" => review(&action, read(&event, body)?),
        "check_run" => check(&action, read(&event, body)?, &envelope),
        "check_suite" => suite(&action, read(&event, body)?, &envelope),
        "merge_group" => merge_group(&action, read(&event, body)?),
        "push" => push(read(&event, body)?),
        "installation" | "installation_repositories" => installation(&action, read(&event, body)?),
        "ping" => Ok(Kind::Ping),
        _ => Ok(Kind::Ignored(format!("nothing depends on {event} events"))),
    };
    let bad = |why: BadId| Fault::Malformed {
        event: event.clone(),
        why: one_line(&why.to_string()),
    };
    let kind = match kind.map_err(bad)? {
        // The word of someone we cannot name is nobody's.
        Kind::Ignored(why) if why.is_empty() => Kind::Ignored(format!("nothing depends on {event}.{action}")),
        kind => kind,
    };
    let repo = envelope.repository.map(RepoJson::read).transpose();
    let sender = envelope.sender.map(|sender| Login::parse(&sender.login)).transpose();
    // An event that is ignored is ignored whatever it holds.
    let (repo, sender) = match &kind {
        Kind::Ignored(_) | Kind::Ping => (repo.unwrap_or(None), sender.unwrap_or(None)),
        _ => (repo.map_err(bad)?, sender.map_err(bad)?),
    };
    let installation = envelope
        .installation
        .map(|installation| InstallationId(installation.id));
    Ok(Delivery {
        repo,
        installation,
        sender,
        kind,
    })
}

/// "Nothing depends on this action": the caller puts in the words.
fn ignored() -> Kind {
    Kind::Ignored(String::new())
}

/// Reads one view of the body. The views are read one after the other: each skips what it does not name.
fn read<T: DeserializeOwned>(event: &str, body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Fault::Malformed {
            event: event.to_owned(),
            why: one_line(&error.to_string()),
        },
        _ => Fault::NotJson {
            why: one_line(&error.to_string()),
        },
    })
}

#[derive(Deserialize)]
struct Envelope {
    action: Option<String>,
    repository: Option<RepoJson>,
    installation: Option<NumberedJson>,
    sender: Option<UserJson>,
}

impl Envelope {
    fn sender(&self) -> Result<Login, BadId> {
        Login::parse(self.sender.as_ref().map_or("", |sender| &sender.login))
    }
}

#[derive(Deserialize)]
struct NumberedJson {
    id: i64,
}

#[derive(Deserialize)]
struct UserJson {
    login: String,
}

#[derive(Deserialize)]
struct RepoJson {
    id: i64,
    full_name: String,
}

impl RepoJson {
    fn read(self) -> Result<RepoRef, BadId> {
        let name = RepoName::parse(&self.full_name)?;
        let id = RepoId(self.id);
        Ok(RepoRef { id, name })
    }
}

#[derive(Deserialize)]
struct PullEvent {
    pull_request: PullJson,
    before: Option<String>,
    after: Option<String>,
    changes: Option<ChangesJson>,
}

#[derive(Deserialize)]
struct PullJson {
    number: i64,
    head: HeadJson,
}

#[derive(Deserialize)]
struct HeadJson {
    sha: String,
}

#[derive(Deserialize)]
struct ChangesJson {
    base: Option<serde::de::IgnoredAny>,
}

fn pull(action: &str, event: PullEvent) -> Result<Kind, BadId> {
    let action = match action {
        "opened" => PullAction::Opened,
        "reopened" => PullAction::Reopened,
        "synchronize" => PullAction::Pushed {
            before: commit(event.before.as_deref())?,
            after: commit(event.after.as_deref())?,
        },
        "edited" if event.changes.is_some_and(|changes| changes.base.is_some()) => PullAction::Retargeted,
        "ready_for_review" => PullAction::ReadyForReview,
        "converted_to_draft" => PullAction::ConvertedToDraft,
        "labeled" => PullAction::Labeled,
        "unlabeled" => PullAction::Unlabeled,
        "enqueued" => PullAction::Enqueued,
        "dequeued" => PullAction::Dequeued,
        "closed" => PullAction::Closed,
        _ => return Ok(ignored()),
    };
    Ok(Kind::Pull(PullMoved {
        number: PullNumber(event.pull_request.number),
        action,
        head: CommitSha::parse(&event.pull_request.head.sha)?,
    }))
}

/// The zeros by which git says "none" are none.
fn commit(text: Option<&str>) -> Result<Option<CommitSha>, BadId> {
    match text {
        None => Ok(None),
        Some(text) if text.bytes().all(|byte| byte == b'0') => Ok(None),
        Some(text) => CommitSha::parse(text).map(Some),
    }
}

#[derive(Deserialize)]
struct CommentEvent {
    issue: IssueJson,
    comment: CommentJson,
}

#[derive(Deserialize)]
struct IssueJson {
    number: i64,
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct CommentJson {
    id: i64,
    body: Option<String>,
}

fn comment(action: &str, event: CommentEvent, envelope: &Envelope) -> Result<Kind, BadId> {
    if action != "created" {
        return Ok(ignored());
    }
    if event.issue.pull_request.is_none() {
        return Ok(Kind::Ignored(
            "a comment on an issue that is no pull request".to_owned(),
        ));
    }
    Ok(Kind::Comment(Commented {
        pull: PullNumber(event.issue.number),
        comment: CommentId(event.comment.id),
        by: envelope.sender()?,
        body: event.comment.body.unwrap_or_default(),
    }))
}

#[derive(Deserialize)]
struct ReviewEvent {
    pull_request: NumberJson,
}

#[derive(Deserialize)]
struct NumberJson {
    number: i64,
}

fn review(action: &str, event: ReviewEvent) -> Result<Kind, BadId> {
    let action = match action {
        "submitted" => ReviewAction::Submitted,
        "dismissed" => ReviewAction::Dismissed,
        _ => return Ok(ignored()),
    };
    let pull = PullNumber(event.pull_request.number);
    Ok(Kind::Review(Reviewed { pull, action }))
}

#[derive(Deserialize)]
struct CheckEvent {
    check_run: CheckJson,
    requested_action: Option<ButtonJson>,
}

#[derive(Deserialize)]
struct ButtonJson {
    identifier: String,
}

#[derive(Deserialize)]
struct CheckJson {
    name: Option<String>,
    external_id: Option<String>,
    head_sha: String,
    app: Option<NumberedJson>,
    pull_requests: Option<Vec<NumberJson>>,
}

fn check(action: &str, event: CheckEvent, envelope: &Envelope) -> Result<Kind, BadId> {
    let action = match (action, event.requested_action) {
        ("rerequested", _) => CheckAction::Rerequested,
        ("requested_action", Some(button)) => CheckAction::Button(button.identifier),
        _ => return Ok(ignored()),
    };
    let check = event.check_run;
    Ok(Kind::Check(CheckAsked {
        action,
        name: check.name.unwrap_or_default(),
        external_id: check.external_id.unwrap_or_default(),
        head: CommitSha::parse(&check.head_sha)?,
        app: check.app.map(|app| app.id),
        by: envelope.sender()?,
        pulls: numbers(check.pull_requests),
    }))
}

fn numbers(pulls: Option<Vec<NumberJson>>) -> Vec<PullNumber> {
    let pulls = pulls.unwrap_or_default();
    pulls.into_iter().map(|pull| PullNumber(pull.number)).collect()
}

#[derive(Deserialize)]
struct SuiteEvent {
    check_suite: SuiteJson,
}

#[derive(Deserialize)]
struct SuiteJson {
    head_sha: String,
    pull_requests: Option<Vec<NumberJson>>,
}

fn suite(action: &str, event: SuiteEvent, envelope: &Envelope) -> Result<Kind, BadId> {
    // `requested` comes with every push, of which the pull request's own event says more.
    if action != "rerequested" {
        return Ok(ignored());
    }
    Ok(Kind::Suite(SuiteAsked {
        head: CommitSha::parse(&event.check_suite.head_sha)?,
        by: envelope.sender()?,
        pulls: numbers(event.check_suite.pull_requests),
    }))
}

#[derive(Deserialize)]
struct MergeGroupEvent {
    merge_group: MergeGroupJson,
}

#[derive(Deserialize)]
struct MergeGroupJson {
    head_sha: String,
    base_ref: String,
}

fn merge_group(action: &str, event: MergeGroupEvent) -> Result<Kind, BadId> {
    let action = match action {
        "checks_requested" => MergeGroupAction::ChecksRequested,
        "destroyed" => MergeGroupAction::Destroyed,
        _ => return Ok(ignored()),
    };
    let base = event.merge_group.base_ref;
    Ok(Kind::MergeGroup(MergeGroupMoved {
        action,
        head: CommitSha::parse(&event.merge_group.head_sha)?,
        base: base.strip_prefix("refs/heads/").unwrap_or(&base).to_owned(),
    }))
}

#[derive(Deserialize)]
struct PushEvent {
    #[serde(rename = "ref")]
    name: String,
    before: Option<String>,
    after: Option<String>,
    #[serde(default)]
    forced: bool,
}

fn push(event: PushEvent) -> Result<Kind, BadId> {
    let Some(branch) = event.name.strip_prefix("refs/heads/") else {
        return Ok(Kind::Ignored("a push of a tag, which no plan reads".to_owned()));
    };
    Ok(Kind::Push(Pushed {
        branch: branch.to_owned(),
        before: commit(event.before.as_deref())?,
        after: commit(event.after.as_deref())?,
        forced: event.forced,
    }))
}

#[derive(Deserialize)]
struct InstallationEvent {
    installation: InstallationJson,
    repositories: Option<Vec<RepoJson>>,
    repositories_added: Option<Vec<RepoJson>>,
    repositories_removed: Option<Vec<RepoJson>>,
}

#[derive(Deserialize)]
struct InstallationJson {
    account: Option<AccountJson>,
}

/// A user or organisation has a login, an enterprise a slug.
#[derive(Deserialize)]
struct AccountJson {
    login: Option<String>,
    slug: Option<String>,
}

fn installation(action: &str, event: InstallationEvent) -> Result<Kind, BadId> {
    let (action, repos) = match action {
        "created" => (InstallationAction::Created, event.repositories),
        "deleted" => (InstallationAction::Deleted, event.repositories),
        "suspend" => (InstallationAction::Suspended, event.repositories),
        "unsuspend" => (InstallationAction::Unsuspended, event.repositories),
        "new_permissions_accepted" => (InstallationAction::PermissionsAccepted, event.repositories),
        "added" => (InstallationAction::ReposAdded, event.repositories_added),
        "removed" => (InstallationAction::ReposRemoved, event.repositories_removed),
        _ => return Ok(ignored()),
    };
    let account = event.installation.account;
    let account = account.and_then(|account| account.login.or(account.slug));
    let repos: Result<Vec<RepoRef>, BadId> = repos.unwrap_or_default().into_iter().map(RepoJson::read).collect();
    Ok(Kind::Installation(InstallationMoved {
        action,
        account: account.as_deref().map(Login::parse).transpose()?,
        repos: repos?,
    }))
}

#[cfg(test)]
mod tests;
