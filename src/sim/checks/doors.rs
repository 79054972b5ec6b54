//! Owns `…/check-runs…`, `…/check-suites…` and the checks of a commit.

use serde_json::{Value, json};

use super::fields::write;
use super::shown::{check_json, suite_json};
use super::{announce, find, latest, new_suite, rerequest, rerequest_suite, start};
use crate::sim::call::{Actor, Answered, Call, Need, Refused, created, empty, ok, reach};
use crate::sim::contents;
use crate::sim::git;
use crate::sim::pulls;
use crate::sim::state::{CheckRun, Role, World};

const READ: Need = Need::read(&["checks"]);
const WRITE: Need = Need::write(&["checks"], Role::Write);

/// `…/check-runs…`, `…/check-suites…`, `…/commits/{ref}/check-runs`
pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    let ["repos", owner, name, rest @ ..] = &path[..] else {
        return None;
    };
    let at = (*owner, *name);
    Some(match (method, rest) {
        ("POST", ["check-runs"]) => create(world, call, at).await,
        ("GET", ["check-runs", id]) => show(world, call, at, id),
        ("PATCH", ["check-runs", id]) => update(world, call, at, id),
        ("GET", ["check-runs", id, "annotations"]) => annotations(world, call, at, id),
        ("POST", ["check-runs", id, "rerequest"]) => again(world, call, at, id),
        ("GET", ["commits", reference @ .., "check-runs"]) => list(world, call, at, &reference.join("/")).await,
        ("GET", ["commits", reference @ .., "check-suites"]) => suites(world, call, at, &reference.join("/")).await,
        ("POST", ["check-suites"]) => create_suite(world, call, at).await,
        ("GET", ["check-suites", id]) => show_suite(world, call, at, id).await,
        ("GET", ["check-suites", id, "check-runs"]) => of_suite(world, call, at, id),
        ("POST", ["check-suites", id, "rerequest"]) => suite_again(world, call, at, id).await,
        _ => return None,
    })
}

/// Only an App writes checks.
fn writing_app(call: &Call) -> Result<u64, Refused> {
    match call.actor {
        Actor::Installation { app, .. } => Ok(app),
        _ => Err(Refused::new(403, "You must authenticate via a GitHub App.")),
    }
}

async fn create(world: &mut World, call: &Call, (owner, name): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let app = writing_app(call)?;
    let (title, sha) = (call.text("name")?, call.text("head_sha")?);
    let dir = world.repo(repo).dir.clone();
    // A commit has many checks: git is asked for it once.
    let has_checks = world.repo(repo).checks.values().any(|check| check.head_sha == sha);
    let known = has_checks || sha.len() == 40 && git::resolve(&dir, &sha).await?.as_deref() == Some(sha.as_str());
    if !known {
        return Err(Refused::new(422, format!("No commit found for SHA: {sha}")));
    }
    let id = start(world, repo, app, &title, &sha);
    if let Err(refused) = write(world, repo, id, &call.body) {
        world.repo_mut(repo).checks.remove(&id);
        return Err(refused);
    }
    let by = world.app_by_id(app).bot();
    announce(world, repo, id, "created", &by, json!({}))?;
    if find(world, repo, id)?.status == "completed" {
        announce(world, repo, id, "completed", &by, json!({}))?;
    }
    created(check_json(world, repo, find(world, repo, id)?))
}

fn show(world: &World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    ok(check_json(world, repo, find(world, repo, call.number(id)?)?))
}

fn update(world: &mut World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let app = writing_app(call)?;
    let id = call.number(id)?;
    let before = find(world, repo, id)?;
    if before.app != app {
        return Err(Refused::new(
            403,
            "Invalid app_id `Check run is owned by a different App`",
        ));
    }
    let was = before.status.clone();
    write(world, repo, id, &call.body)?;
    let by = world.app_by_id(app).bot();
    if was != "completed" && find(world, repo, id)?.status == "completed" {
        announce(world, repo, id, "completed", &by, json!({}))?;
    }
    ok(check_json(world, repo, find(world, repo, id)?))
}

fn annotations(world: &World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let check = find(world, repo, call.number(id)?)?;
    let blob = format!("{}/{}/blob/{}", world.url, world.repo(repo).full_name(), check.head_sha);
    let shown = check.annotations.iter().map(|one| {
        json!({
            "path": one["path"], "start_line": one["start_line"], "end_line": one["end_line"],
            "start_column": one["start_column"], "end_column": one["end_column"], "annotation_level": one["annotation_level"],
            "title": one["title"], "message": one["message"], "raw_details": one["raw_details"],
            "blob_href": format!("{blob}/{}", one["path"].as_str().unwrap_or_default()),
        })
    });
    call.page(world, shown.collect())
}

fn again(world: &mut World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let by = call.writer(world)?;
    rerequest(world, repo, call.number(id)?, &by)?;
    let mut answer = empty(201)?;
    answer.body = json!({});
    Ok(answer)
}

fn filtered<'w>(call: &Call, checks: impl Iterator<Item = &'w CheckRun>) -> Vec<&'w CheckRun> {
    let app: Option<u64> = call.query("app_id").and_then(|id| id.parse().ok());
    let wanted = checks.filter(|c| {
        call.query("check_name").is_none_or(|name| name == c.name)
            && call.query("status").is_none_or(|status| status == c.status)
            && app.is_none_or(|app| app == c.app)
    });
    let mut list: Vec<&CheckRun> = wanted.collect();
    list.sort_by_key(|c| std::cmp::Reverse(c.id));
    list
}

async fn list(world: &mut World, call: &Call, (owner, name): (&str, &str), reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let sha = contents::commit_id(world, repo, reference).await?;
    let all = call.query("filter") == Some("all");
    let checks = if all {
        filtered(call, world.repo(repo).checks.values().filter(|c| c.head_sha == sha))
    } else {
        filtered(call, latest(world, repo, &sha).into_iter())
    };
    call.page_in(
        world,
        "check_runs",
        checks.into_iter().map(|c| check_json(world, repo, c)).collect(),
    )
}

fn of_suite(world: &World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let id = call.number(id)?;
    let checks = filtered(call, world.repo(repo).checks.values().filter(|c| c.suite == id));
    call.page_in(
        world,
        "check_runs",
        checks.into_iter().map(|c| check_json(world, repo, c)).collect(),
    )
}

async fn suites(world: &mut World, call: &Call, (owner, name): (&str, &str), reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let sha = contents::commit_id(world, repo, reference).await?;
    let ids: Vec<u64> = world
        .repo(repo)
        .suites
        .values()
        .filter(|s| s.head_sha == sha)
        .map(|s| s.id)
        .collect();
    let mut list = Vec::new();
    for id in ids {
        list.push(suite_json(world, repo, id).await?);
    }
    call.page_in(world, "check_suites", list)
}

async fn create_suite(world: &mut World, call: &Call, (owner, name): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let app = writing_app(call)?;
    let sha = call.text("head_sha")?;
    let known = world
        .repo(repo)
        .suites
        .values()
        .find(|s| s.app == app && s.head_sha == sha)
        .map(|s| s.id);
    match known {
        Some(id) => ok(suite_json(world, repo, id).await?),
        None => {
            let id = new_suite(world, repo, app, &sha, None, None);
            created(suite_json(world, repo, id).await?)
        }
    }
}

async fn show_suite(world: &mut World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    ok(suite_json(world, repo, call.number(id)?).await?)
}

async fn suite_again(world: &mut World, call: &Call, (owner, name): (&str, &str), id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let by = call.writer(world)?;
    rerequest_suite(world, repo, call.number(id)?, &by).await?;
    let mut answer = empty(201)?;
    answer.body = json!({});
    Ok(answer)
}

/// `GET …/commits/{sha}/pulls`: the open pull requests a commit is the head of, then merged ones it came by.
pub fn pulls_of(world: &World, repo: u64, sha: &str) -> Vec<Value> {
    let it = world.repo(repo);
    let with = it
        .pulls
        .values()
        .filter(|p| p.head.sha == sha || p.merged.as_ref().is_some_and(|m| m.sha == sha));
    with.map(|p| pulls::shown::brief(world, repo, p)).collect()
}
