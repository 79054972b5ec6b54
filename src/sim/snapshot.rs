//! Owns what a person would see on a pull request, as plain data: what tests compare and the demo prints.

use serde::Serialize;

use super::Sim;
use super::call::Refused;
use super::checks;
use super::pulls;
use super::shape;
use super::state::World;
use super::statuses;

/// A pull request as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct PullShown {
    pub number: u64,
    pub title: String,
    pub author: String,
    /// open, closed or merged.
    pub state: &'static str,
    pub draft: bool,
    pub head: String,
    pub head_branch: String,
    pub base_branch: String,
    pub labels: Vec<String>,
    pub comments: Vec<CommentShown>,
    pub reviews: Vec<ReviewShown>,
    /// The latest of each App and name, of the head.
    pub checks: Vec<CheckShown>,
    pub statuses: Vec<(String, String)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct CommentShown {
    pub id: u64,
    pub by: String,
    pub body: String,
    /// Who and what, as `bob eyes`.
    pub reactions: Vec<String>,
    pub created: String,
    pub updated: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ReviewShown {
    pub id: u64,
    pub by: String,
    pub state: &'static str,
    pub body: String,
    pub commit: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct CheckShown {
    pub id: u64,
    pub app: String,
    pub name: String,
    pub head_sha: String,
    pub status: String,
    pub conclusion: Option<String>,
    pub external_id: String,
    pub details_url: Option<String>,
    pub title: Option<String>,
    pub summary: Option<String>,
    pub text: Option<String>,
    pub annotations: Vec<serde_json::Value>,
    /// The identifiers of its buttons.
    pub buttons: Vec<String>,
}

impl PullShown {
    /// The latest check with this name.
    pub fn check(&self, name: &str) -> Option<&CheckShown> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// The comments somebody wrote.
    pub fn comments_by(&self, login: &str) -> Vec<&CommentShown> {
        self.comments.iter().filter(|comment| comment.by == login).collect()
    }
}

impl Sim {
    /// A pull request as it stands.
    pub async fn pull(&self, full_name: &str, number: u64) -> Result<PullShown, Refused> {
        let world = self.world().await;
        let (owner, name) = full_name.split_once('/').ok_or_else(Refused::not_found)?;
        let repo = world.repo_id(owner, name).ok_or_else(Refused::not_found)?;
        shown(&world, repo, number)
    }

    /// The checks of any commit: the latest of each App and name.
    pub async fn checks_at(&self, full_name: &str, sha: &str) -> Result<Vec<CheckShown>, Refused> {
        let world = self.world().await;
        let (owner, name) = full_name.split_once('/').ok_or_else(Refused::not_found)?;
        let repo = world.repo_id(owner, name).ok_or_else(Refused::not_found)?;
        Ok(checks_shown(&world, repo, sha))
    }

    /// Every check run ever made in a repository, older ones too.
    pub async fn all_checks(&self, full_name: &str) -> Result<Vec<CheckShown>, Refused> {
        let world = self.world().await;
        let (owner, name) = full_name.split_once('/').ok_or_else(Refused::not_found)?;
        let repo = world.repo_id(owner, name).ok_or_else(Refused::not_found)?;
        Ok(world
            .repo(repo)
            .checks
            .values()
            .map(|c| check_shown(&world, c))
            .collect())
    }
}

fn check_shown(world: &World, c: &super::state::CheckRun) -> CheckShown {
    CheckShown {
        id: c.id,
        app: world.app_by_id(c.app).slug.clone(),
        name: c.name.clone(),
        head_sha: c.head_sha.clone(),
        status: c.status.clone(),
        conclusion: c.conclusion.clone(),
        external_id: c.external_id.clone(),
        details_url: c.details_url.clone(),
        title: c.title.clone(),
        summary: c.summary.clone(),
        text: c.text.clone(),
        annotations: c.annotations.clone(),
        buttons: c
            .actions
            .iter()
            .filter_map(|a| a["identifier"].as_str().map(str::to_owned))
            .collect(),
    }
}

fn checks_shown(world: &World, repo: u64, sha: &str) -> Vec<CheckShown> {
    let mut list: Vec<CheckShown> = checks::latest(world, repo, sha)
        .into_iter()
        .map(|c| check_shown(world, c))
        .collect();
    list.sort_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
    list
}

fn shown(world: &World, repo: u64, number: u64) -> Result<PullShown, Refused> {
    let pull = pulls::find(world, repo, number)?;
    let comments = pull.comments.values().map(|c| CommentShown {
        id: c.id,
        by: c.by.clone(),
        body: c.body.clone(),
        reactions: c.reactions.iter().map(|r| format!("{} {}", r.by, r.content)).collect(),
        created: shape::time(c.created),
        updated: shape::time(c.updated),
    });
    let reviews = pull.reviews.values().map(|r| ReviewShown {
        id: r.id,
        by: r.by.clone(),
        state: r.verdict.name(),
        body: r.body.clone(),
        commit: r.commit.clone(),
    });
    Ok(PullShown {
        number,
        title: pull.title.clone(),
        author: pull.author.clone(),
        state: match (&pull.merged, pull.open) {
            (Some(_), _) => "merged",
            (None, true) => "open",
            (None, false) => "closed",
        },
        draft: pull.draft,
        head: pull.head.sha.clone(),
        head_branch: pull.head.branch.clone(),
        base_branch: pull.base.branch.clone(),
        labels: pull.labels.clone(),
        comments: comments.collect(),
        reviews: reviews.collect(),
        checks: checks_shown(world, repo, &pull.head.sha),
        statuses: statuses::latest(world, repo, &pull.head.sha)
            .into_iter()
            .map(|s| (s.context, s.state))
            .collect(),
    })
}
