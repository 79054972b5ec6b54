//! Owns the JSON of check runs and suites.

use serde_json::{Value, json};

use crate::sim::call::Refused;
use crate::sim::git;
use crate::sim::shape;
use crate::sim::state::{CheckRun, Side, World};

fn minimal_pulls(world: &World, repo: u64, sha: &str) -> Vec<Value> {
    let it = world.repo(repo);
    let side = |side: &Side| {
        let of = world.repo(side.repo);
        let url = format!("{}/repos/{}", world.api(), of.full_name());
        json!({"ref": side.branch, "sha": side.sha, "repo": {"id": of.id, "url": url, "name": of.name}})
    };
    // GitHub leaves out pull requests from forks.
    let pulls = it
        .pulls
        .values()
        .filter(|p| p.open && p.head.sha == sha && p.head.repo == repo);
    let shown = pulls.map(|p| {
        let url = format!("{}/repos/{}/pulls/{}", world.api(), it.full_name(), p.number);
        json!({"url": url, "id": p.id, "number": p.number, "head": side(&p.head), "base": side(&p.base)})
    });
    shown.collect()
}

pub fn check_json(world: &World, repo: u64, it: &CheckRun) -> Value {
    let full_name = world.repo(repo).full_name();
    let url = format!("{}/repos/{full_name}/check-runs/{}", world.api(), it.id);
    let html = format!("{}/{full_name}/runs/{}", world.url, it.id);
    json!({
        "id": it.id, "name": it.name, "node_id": shape::node_id("CheckRun", it.id), "head_sha": it.head_sha,
        "external_id": it.external_id, "url": url, "html_url": html,
        "details_url": it.details_url.clone().unwrap_or_else(|| "https://example.com".into()),
        "status": it.status, "conclusion": it.conclusion, "started_at": shape::time(it.started),
        "completed_at": shape::maybe_time(it.completed),
        "output": {
            "title": it.title, "summary": it.summary, "text": it.text, "annotations_count": it.annotations.len(),
            "annotations_url": format!("{url}/annotations"),
        },
        "check_suite": {"id": it.suite}, "app": shape::app(world, world.app_by_id(it.app)),
        "pull_requests": minimal_pulls(world, repo, &it.head_sha),
    })
}

/// Status and conclusion of a suite: of the checks in it.
fn standing(world: &World, repo: u64, suite: u64) -> (&'static str, Option<String>) {
    let checks: Vec<&CheckRun> = world.repo(repo).checks.values().filter(|c| c.suite == suite).collect();
    if checks.is_empty() {
        return ("queued", None);
    }
    if checks.iter().any(|c| c.status != "completed") {
        return ("in_progress", None);
    }
    let worst = [
        "failure",
        "timed_out",
        "cancelled",
        "action_required",
        "stale",
        "neutral",
        "success",
        "skipped",
    ];
    let found = worst
        .iter()
        .find(|w| checks.iter().any(|c| c.conclusion.as_deref() == Some(**w)));
    ("completed", found.map(|w| (*w).to_owned()))
}

pub fn brief_suite(world: &World, repo: u64, id: u64) -> Value {
    let it = world.repo(repo);
    let Some(suite) = it.suites.get(&id) else {
        return json!({"id": id});
    };
    let (status, conclusion) = standing(world, repo, id);
    json!({
        "id": id, "node_id": shape::node_id("CheckSuite", id), "head_branch": suite.head_branch, "head_sha": suite.head_sha,
        "status": status, "conclusion": conclusion, "before": suite.before, "after": suite.head_sha,
        "url": format!("{}/repos/{}/check-suites/{id}", world.api(), it.full_name()),
        "pull_requests": minimal_pulls(world, repo, &suite.head_sha), "app": shape::app(world, world.app_by_id(suite.app)),
        "created_at": shape::time(suite.created), "updated_at": shape::time(suite.updated),
    })
}

pub async fn suite_json(world: &mut World, repo: u64, id: u64) -> Result<Value, Refused> {
    let suite = world.repo(repo).suites.get(&id).ok_or_else(Refused::not_found)?.clone();
    let mut body = brief_suite(world, repo, id);
    let dir = world.repo(repo).dir.clone();
    let head = git::log(&dir, &[&suite.head_sha], 1).await?;
    let head = head.first().ok_or_else(Refused::not_found)?;
    let it = world.repo(repo);
    let who = |s: &git::Signature| json!({"name": s.name, "email": s.email});
    body["head_commit"] = json!({
        "id": head.sha, "tree_id": head.tree, "message": head.message, "timestamp": shape::time(head.committer.at),
        "author": who(&head.author), "committer": who(&head.committer),
    });
    body["latest_check_runs_count"] = json!(it.checks.values().filter(|c| c.suite == id).count());
    body["check_runs_url"] = json!(format!(
        "{}/repos/{}/check-suites/{id}/check-runs",
        world.api(),
        it.full_name()
    ));
    body["rerequestable"] = json!(true);
    body["runs_rerequestable"] = json!(true);
    body["repository"] = shape::repo(world, it);
    Ok(body)
}
