//! Owns commit statuses.

use serde_json::{Value, json};

use super::call::{Answered, Call, Need, Refused, created, ok, reach};
use super::git;
use super::shape;
use super::state::{Role, Status, World};
use super::webhooks::{News, tell};

/// A status as somebody sets it.
pub struct New {
    pub sha: String,
    pub context: String,
    pub state: String,
    pub description: Option<String>,
    pub target_url: Option<String>,
}

pub async fn set(world: &mut World, repo: u64, new: New, by: &str) -> Result<u64, Refused> {
    if !["error", "failure", "pending", "success"].contains(&new.state.as_str()) {
        return Err(Refused::invalid(
            "Status",
            "state",
            "custom",
            "state is not included in the list",
        ));
    }
    if new.description.as_ref().is_some_and(|text| text.chars().count() > 140) {
        return Err(Refused::invalid(
            "Status",
            "description",
            "custom",
            "description is too long (maximum is 140 characters)",
        ));
    }
    let dir = world.repo(repo).dir.clone();
    let commit = git::log(&dir, &[&new.sha], 1)
        .await
        .ok()
        .and_then(|mut list| list.pop());
    let commit = commit.filter(|c| c.sha == new.sha);
    let commit = commit.ok_or_else(|| Refused::new(422, format!("No commit found for SHA: {}", new.sha)))?;
    let (id, at) = (world.fresh(), world.now());
    let New {
        sha,
        context,
        state,
        description,
        target_url,
    } = new;
    let status = Status {
        id,
        sha,
        context,
        state,
        description,
        target_url,
        by: by.to_owned(),
        at,
    };
    world.repo_mut(repo).statuses.push(status.clone());
    let it = world.repo(repo);
    let body = json!({
        "id": id, "sha": status.sha, "name": it.full_name(), "target_url": status.target_url, "avatar_url": null,
        "context": status.context, "description": status.description, "state": status.state,
        "commit": shape::commit(world, it, &commit), "branches": [], "created_at": shape::time(at), "updated_at": shape::time(at),
    });
    tell(
        world,
        News {
            event: "status",
            action: None,
            repo,
            sender: by,
            body,
        },
    );
    Ok(id)
}

/// The latest status of each context, of one commit.
pub fn latest(world: &World, repo: u64, sha: &str) -> Vec<Status> {
    let mut latest: Vec<Status> = Vec::new();
    for status in world.repo(repo).statuses.iter().filter(|s| s.sha == sha) {
        latest.retain(|other| other.context != status.context);
        latest.push(status.clone());
    }
    latest
}

fn status_json(world: &World, repo: u64, it: &Status) -> Value {
    json!({
        "url": format!("{}/repos/{}/statuses/{}", world.api(), world.repo(repo).full_name(), it.sha),
        "avatar_url": format!("{}/avatars/u/1", world.url), "id": it.id, "node_id": shape::node_id("Status", it.id),
        "state": it.state, "description": it.description, "target_url": it.target_url, "context": it.context,
        "created_at": shape::time(it.at), "updated_at": shape::time(it.at), "creator": shape::user(world, &it.by),
    })
}

const READ: Need = Need::read(&["statuses"]);

/// `…/statuses/{sha}`, `…/commits/{ref}/status`, `…/commits/{ref}/statuses`
pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    Some(match (method, &path[..]) {
        ("POST", ["repos", owner, name, "statuses", sha]) => create(world, call, owner, name, sha).await,
        ("GET", ["repos", owner, name, "commits", reference @ .., "status"]) => {
            combined(world, call, owner, name, &reference.join("/")).await
        }
        ("GET", ["repos", owner, name, "commits", reference @ .., "statuses"]) => {
            list(world, call, owner, name, &reference.join("/")).await
        }
        _ => return None,
    })
}

async fn create(world: &mut World, call: &Call, owner: &str, name: &str, sha: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["statuses"], Role::Write))?;
    let by = call.writer(world)?;
    let new = New {
        sha: sha.to_owned(),
        context: call.maybe_text("context")?.unwrap_or_else(|| "default".into()),
        state: call.text("state")?,
        description: call.maybe_text("description")?,
        target_url: call.maybe_text("target_url")?,
    };
    let id = set(world, repo, new, &by).await?;
    let status = world
        .repo(repo)
        .statuses
        .iter()
        .find(|s| s.id == id)
        .ok_or_else(Refused::not_found)?;
    created(status_json(world, repo, status))
}

async fn list(world: &mut World, call: &Call, owner: &str, name: &str, reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let sha = super::contents::commit_id(world, repo, reference).await?;
    let statuses = world.repo(repo).statuses.iter().rev().filter(|s| s.sha == sha);
    call.page(world, statuses.map(|s| status_json(world, repo, s)).collect())
}

async fn combined(world: &mut World, call: &Call, owner: &str, name: &str, reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let sha = super::contents::commit_id(world, repo, reference).await?;
    let statuses = latest(world, repo, &sha);
    let any = |states: &[&str]| statuses.iter().any(|s| states.contains(&s.state.as_str()));
    let state = match () {
        () if any(&["error", "failure"]) => "failure",
        () if any(&["pending"]) || statuses.is_empty() => "pending",
        () => "success",
    };
    let it = world.repo(repo);
    let api = format!("{}/repos/{}/commits/{sha}", world.api(), it.full_name());
    let list: Vec<Value> = statuses.iter().map(|s| status_json(world, repo, s)).collect();
    ok(json!({
        "state": state, "statuses": list, "sha": sha, "total_count": statuses.len(), "repository": shape::repo(world, it),
        "commit_url": api, "url": format!("{api}/status"),
    }))
}
