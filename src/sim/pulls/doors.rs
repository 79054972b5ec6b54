//! Owns `/repos/{owner}/{repo}/pulls…`, as far as it is the pull request itself.

use serde_json::{Value, json};

use super::facts::{commits, files, mergeable};
use super::shown::{brief, full};
use super::{New, close, describe, find, open, reopen, request_review, retarget, retitle};
use crate::sim::call::{Answered, Call, Need, Refused, created, ok, reach};
use crate::sim::merge;
use crate::sim::shape;
use crate::sim::state::{Pull, Role, World};

const READ: Need = Need::read(&["pull_requests"]);
const WRITE: Need = Need::write(&["pull_requests"], Role::Write);

/// `/repos/{owner}/{repo}/pulls…` as far as it is the pull request itself.
pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    let ["repos", owner, name, "pulls", rest @ ..] = &path[..] else {
        return None;
    };
    Some(match (method, rest) {
        ("GET", []) => list(world, call, owner, name),
        ("POST", []) => create(world, call, owner, name).await,
        ("GET", [n]) => show(world, call, owner, name, n).await,
        ("PATCH", [n]) => update(world, call, owner, name, n).await,
        ("GET", [n, "commits"]) => commit_list(world, call, owner, name, n).await,
        ("GET", [n, "files"]) => file_list(world, call, owner, name, n).await,
        ("POST", [n, "requested_reviewers"]) => ask_reviewers(world, call, owner, name, n).await,
        _ => return None,
    })
}

fn list(world: &World, call: &Call, owner: &str, name: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let state = call.query("state").unwrap_or("open");
    let head = call.query("head");
    let base = call.query("base");
    let mut pulls: Vec<&Pull> = world.repo(repo).pulls.values().collect();
    pulls.retain(|pull| {
        let label = format!("{}:{}", world.repo(pull.head.repo).owner, pull.head.branch);
        // GitHub ignores a head that does not name its owner.
        let head = head
            .filter(|h| h.contains(':'))
            .is_none_or(|h| h.eq_ignore_ascii_case(&label));
        (state == "all" || (state == "open") == pull.open) && head && base.is_none_or(|b| b == pull.base.branch)
    });
    let newest_first = call
        .query("direction")
        .map_or(call.query("sort").is_none_or(|s| s == "created"), |d| d == "desc");
    match call.query("sort") {
        Some("updated") => pulls.sort_by_key(|pull| (pull.updated, pull.number)),
        _ => pulls.sort_by_key(|pull| pull.number),
    }
    if newest_first {
        pulls.reverse();
    }
    call.page(world, pulls.into_iter().map(|pull| brief(world, repo, pull)).collect())
}

async fn create(world: &mut World, call: &Call, owner: &str, name: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["pull_requests"], Role::Read))?;
    let by = call.writer(world)?;
    let head = call.text("head")?;
    let (head_repo, head) = match head.split_once(':') {
        Some((fork_owner, branch)) => {
            let fork = world
                .repos
                .values()
                .find(|r| r.owner.eq_ignore_ascii_case(fork_owner) && (r.id == repo || r.fork_of == Some(repo)));
            let fork = fork.ok_or_else(|| Refused::invalid("PullRequest", "head", "invalid", ""))?;
            (fork.id, branch.to_owned())
        }
        None => (repo, head),
    };
    let draft = call.body["draft"].as_bool().unwrap_or(false);
    let new = New {
        title: call.text("title")?,
        body: call.maybe_text("body")?,
        head_repo,
        head,
        base: call.text("base")?,
        draft,
    };
    let number = open(world, repo, new, &by).await?;
    created(full(world, repo, number).await?)
}

async fn show(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let number = call.number(number)?;
    ok(detailed(world, repo, number).await?)
}

/// The form of `GET`: with what is known about merging.
pub async fn detailed(world: &mut World, repo: u64, number: u64) -> Result<Value, Refused> {
    let open = find(world, repo, number)?.open;
    let known = if open && world.mergeable_unknown > 0 {
        world.mergeable_unknown -= 1;
        None
    } else if open {
        Some(mergeable(world, repo, number).await?)
    } else {
        None
    };
    let state = merge::mergeable_state(world, repo, number, known).await?;
    let mut body = full(world, repo, number).await?;
    body["mergeable"] = json!(known);
    body["rebaseable"] = json!(known);
    body["mergeable_state"] = json!(state);
    Ok(body)
}

async fn update(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    find(world, repo, number)?;
    if let Some(title) = call.maybe_text("title")? {
        retitle(world, repo, number, &title, &by).await?;
    }
    if let Some(body) = call.maybe_text("body")? {
        describe(world, repo, number, Some(body), &by).await?;
    }
    if let Some(base) = call.maybe_text("base")? {
        retarget(world, repo, number, &base, &by).await?;
    }
    match call.maybe_text("state")?.as_deref() {
        Some("closed") => close(world, repo, number, &by).await?,
        Some("open") => reopen(world, repo, number, &by).await?,
        None => {}
        Some(_) => return Err(Refused::invalid("PullRequest", "state", "invalid", "")),
    }
    ok(detailed(world, repo, number).await?)
}

async fn commit_list(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let commits = commits(world, repo, call.number(number)?).await?;
    // GitHub lists 250 commits of a pull request and no more.
    let list = commits
        .iter()
        .take(250)
        .map(|c| shape::commit(world, world.repo(repo), c))
        .collect();
    call.page(world, list)
}

async fn file_list(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let number = call.number(number)?;
    let files = files(world, repo, number).await?;
    let head = find(world, repo, number)?.head.sha.clone();
    // GitHub lists 3,000 files of a pull request and says nothing about the rest.
    let list = files
        .iter()
        .take(3_000)
        .map(|f| shape::file(world, world.repo(repo), &head, f))
        .collect();
    call.page(world, list)
}

async fn ask_reviewers(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    let people: Vec<String> = call.body["reviewers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect();
    for one in people {
        request_review(world, repo, number, &one, &by).await?;
    }
    created(brief(world, repo, find(world, repo, number)?))
}
