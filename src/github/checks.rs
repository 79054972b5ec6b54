//! Owns our checks on commits: made once, found again by name and external id, concluded.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::ids::{CommitSha, RepoName};
use crate::domain::pull::{Annotation, AnnotationLevel, Button, CheckConclusion, CheckId, CheckStatus, CheckWanted};
use crate::github::error::{GithubError, one_line};
use crate::github::wire::Reply;
use crate::github::wire::call::Call;
use crate::github::{Installation, Prior};

/// GitHub takes this many annotations with one request.
const ANNOTATIONS: usize = 50;
const LONGEST_NAME: usize = 255;
const LONGEST_TEXT: usize = 65_535;

/// A check of ours as GitHub has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSeen {
    pub id: CheckId,
    pub name: String,
    pub external_id: String,
    pub head: CommitSha,
    pub status: CheckStatus,
    /// How many annotations it has; they can only be added to.
    pub annotations: usize,
}

impl Installation {
    /// Makes the check stand as wanted, whether it is there or not; gives its number. `Transient` where it had to
    /// be made means: nobody knows, so the next try is `Prior::Unsure`. One request; one more for each fifty
    /// annotations after the first fifty, or where there are annotations and the check was there.
    pub async fn upsert_check(
        &self,
        repo: &RepoName,
        prior: Prior<CheckId>,
        wanted: &CheckWanted,
    ) -> Result<CheckId, GithubError> {
        let known = match prior {
            Prior::Fresh => None,
            Prior::Unsure => self.find_check(repo, wanted).await?.map(|seen| seen.id),
            Prior::Known(id) => Some(id),
        };
        match known {
            None => self.create_check(repo, wanted).await,
            Some(id) => match self.update_check(repo, id, wanted).await {
                Err(GithubError::NotFound { .. }) => self.create_check(repo, wanted).await,
                Err(error) => Err(error),
                Ok(()) => Ok(id),
            },
        }
    }

    /// Never repeated by us.
    pub async fn create_check(&self, repo: &RepoName, wanted: &CheckWanted) -> Result<CheckId, GithubError> {
        let first = &wanted.annotations[..wanted.annotations.len().min(ANNOTATIONS)];
        let mut body = body(wanted, first);
        body["head_sha"] = json!(wanted.head);
        let call = Call::post("/repos/{owner}/{repo}/check-runs", body).repo(repo);
        within_limits(&call, wanted)?;
        let seen = self.send(&call).await?;
        let seen: CheckJson = seen.json()?;
        let id = CheckId(seen.id);
        self.annotate(repo, id, wanted, seen.annotations().max(first.len()))
            .await?;
        Ok(id)
    }

    /// Sends everything but the annotations, then those that are not there yet: an update adds to them, so sending
    /// all again would show each twice.
    pub async fn update_check(&self, repo: &RepoName, id: CheckId, wanted: &CheckWanted) -> Result<(), GithubError> {
        let call = update(repo, id, body(wanted, &[]));
        within_limits(&call, wanted)?;
        let reply = self.send(&call).await?;
        if wanted.annotations.is_empty() {
            return Ok(());
        }
        let seen: CheckJson = reply.json()?;
        self.annotate(repo, id, wanted, seen.annotations()).await
    }

    async fn annotate(
        &self,
        repo: &RepoName,
        id: CheckId,
        wanted: &CheckWanted,
        there: usize,
    ) -> Result<(), GithubError> {
        let rest = wanted.annotations.get(there..).unwrap_or_default();
        for chunk in rest.chunks(ANNOTATIONS) {
            self.send(&update(repo, id, body(wanted, chunk)).once()).await?;
        }
        Ok(())
    }

    /// Our checks on a commit, newest first: one request for each hundred.
    pub async fn checks_on(&self, repo: &RepoName, head: &CommitSha) -> Result<Vec<CheckSeen>, GithubError> {
        let call = checks_on(repo, head).with("app_id", self.app().id());
        self.seen(call).await
    }

    /// Our check with this name and external id on this commit, the newest if there are two.
    pub async fn find_check(&self, repo: &RepoName, wanted: &CheckWanted) -> Result<Option<CheckSeen>, GithubError> {
        let call = checks_on(repo, &wanted.head)
            .with("app_id", self.app().id())
            .with("check_name", &wanted.name);
        let seen = self.seen(call).await?;
        let same = |seen: &CheckSeen| seen.name == wanted.name && seen.external_id == wanted.external_id;
        Ok(seen.into_iter().find(same))
    }

    async fn seen(&self, call: Call) -> Result<Vec<CheckSeen>, GithubError> {
        let mut checks = Vec::new();
        for reply in self.send_all(call).await? {
            let ListJson { check_runs } = reply.json()?;
            for check in check_runs {
                // An older server may not know the filter.
                let ours = check.app.as_ref().is_none_or(|app| app.id == self.app().id());
                if ours {
                    checks.push(check.read(&reply)?);
                }
            }
        }
        checks.sort_by_key(|check| std::cmp::Reverse(check.id));
        Ok(checks)
    }
}

fn checks_on(repo: &RepoName, head: &CommitSha) -> Call {
    Call::get("/repos/{owner}/{repo}/commits/{commit}/check-runs")
        .repo(repo)
        .fill("commit", head)
        .with("filter", "all")
}

fn update(repo: &RepoName, id: CheckId, body: Value) -> Call {
    Call::patch("/repos/{owner}/{repo}/check-runs/{check}", body)
        .repo(repo)
        .fill("check", id)
}

#[derive(Deserialize)]
struct ListJson {
    check_runs: Vec<CheckJson>,
}

#[derive(Deserialize)]
struct CheckJson {
    id: i64,
    name: String,
    external_id: Option<String>,
    head_sha: String,
    status: String,
    conclusion: Option<String>,
    output: Option<OutputJson>,
    app: Option<AppJson>,
}

#[derive(Deserialize)]
struct OutputJson {
    #[serde(default)]
    annotations_count: usize,
}

#[derive(Deserialize)]
struct AppJson {
    id: i64,
}

impl CheckJson {
    fn annotations(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.annotations_count)
    }

    fn read(self, reply: &Reply) -> Result<CheckSeen, GithubError> {
        let status = match self.status.as_str() {
            "completed" => CheckStatus::Completed(conclusion(self.conclusion.as_deref())),
            "in_progress" => CheckStatus::InProgress,
            _ => CheckStatus::Queued,
        };
        let annotations = self.annotations();
        Ok(CheckSeen {
            id: CheckId(self.id),
            name: self.name,
            external_id: self.external_id.unwrap_or_default(),
            head: CommitSha::parse(&self.head_sha).map_err(|bad| reply.unreadable(bad))?,
            status,
            annotations,
        })
    }
}

/// GitHub itself may also say `stale`, after two weeks without an end: that is a failure to answer.
fn conclusion(word: Option<&str>) -> CheckConclusion {
    match word {
        Some("success") => CheckConclusion::Success,
        Some("neutral") => CheckConclusion::Neutral,
        Some("cancelled") => CheckConclusion::Cancelled,
        Some("skipped") => CheckConclusion::Skipped,
        Some("timed_out") => CheckConclusion::TimedOut,
        Some("action_required") => CheckConclusion::ActionRequired,
        _ => CheckConclusion::Failure,
    }
}

fn word(conclusion: CheckConclusion) -> &'static str {
    match conclusion {
        CheckConclusion::Success => "success",
        CheckConclusion::Failure => "failure",
        CheckConclusion::Neutral => "neutral",
        CheckConclusion::Cancelled => "cancelled",
        CheckConclusion::Skipped => "skipped",
        CheckConclusion::TimedOut => "timed_out",
        CheckConclusion::ActionRequired => "action_required",
    }
}

/// The request's body, without the head, which only a creation names.
fn body(wanted: &CheckWanted, annotations: &[Annotation]) -> Value {
    let mut output = json!({ "title": wanted.title, "summary": wanted.summary });
    if let Some(text) = &wanted.text {
        output["text"] = json!(text);
    }
    if !annotations.is_empty() {
        output["annotations"] = annotations.iter().map(annotation).collect();
    }
    let mut body = json!({
        "name": wanted.name,
        "external_id": wanted.external_id,
        "output": output,
        "actions": wanted.buttons.iter().map(button).collect::<Vec<_>>(),
    });
    match wanted.status {
        CheckStatus::Queued => body["status"] = json!("queued"),
        CheckStatus::InProgress => body["status"] = json!("in_progress"),
        CheckStatus::Completed(conclusion) => {
            body["status"] = json!("completed");
            body["conclusion"] = json!(word(conclusion));
        }
    }
    if let Some(url) = &wanted.details_url {
        body["details_url"] = json!(url);
    }
    body
}

fn annotation(annotation: &Annotation) -> Value {
    let level = match annotation.level {
        AnnotationLevel::Notice => "notice",
        AnnotationLevel::Warning => "warning",
        AnnotationLevel::Failure => "failure",
    };
    let mut value = json!({
        "path": annotation.path,
        "start_line": annotation.start_line.max(1),
        "end_line": annotation.end_line.max(annotation.start_line).max(1),
        "annotation_level": level,
        "message": annotation.message,
    });
    if let Some(title) = &annotation.title {
        value["title"] = json!(title.chars().take(255).collect::<String>());
    }
    value
}

fn button(button: &Button) -> Value {
    json!({ "label": button.label(), "description": button.description(), "identifier": button.identifier() })
}

/// What GitHub would refuse is our bug: said before it is sent, with the field's name.
fn within_limits(call: &Call, wanted: &CheckWanted) -> Result<(), GithubError> {
    let text = wanted.text.as_deref().unwrap_or_default();
    let fields = [
        ("name", &*wanted.name, LONGEST_NAME),
        ("title", &*wanted.title, LONGEST_NAME),
        ("summary", &*wanted.summary, LONGEST_TEXT),
        ("text", text, LONGEST_TEXT),
    ];
    for (field, value, limit) in fields {
        let length = value.chars().count();
        if length > limit {
            let name = one_line(&wanted.name);
            let why = format!("the {field} of check {name} has {length} characters, GitHub takes {limit}");
            return Err(GithubError::unexpected(call, why));
        }
    }
    match wanted.buttons.len() > Button::MOST {
        true => Err(GithubError::unexpected(call, "a check has at most three buttons")),
        false => Ok(()),
    }
}
