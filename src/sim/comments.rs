//! Owns the conversation of a pull request: comments, and the issue they hang on.

use serde_json::{Value, json};

use super::call::{Answered, Call, Need, Refused, created, empty, ok, reach};
use super::pulls;
use super::reactions;
use super::shape;
use super::state::{Comment, Pull, Role, World};
use super::webhooks::{News, tell};

/// GitHub's limit, in characters.
pub const LONGEST: usize = 65_536;

/// A body GitHub takes.
pub fn checked(resource: &str, body: &str) -> Result<(), Refused> {
    if body.trim().is_empty() {
        return Err(Refused::invalid(resource, "body", "custom", "body can't be blank"));
    }
    if body.chars().count() > LONGEST {
        return Err(Refused::invalid(
            resource,
            "body",
            "custom",
            "body is too long (maximum is 65536 characters)",
        ));
    }
    Ok(())
}

pub async fn add(
    world: &mut World,
    repo: u64,
    number: u64,
    by: &str,
    via_app: Option<u64>,
    body: &str,
) -> Result<u64, Refused> {
    checked("IssueComment", body)?;
    pulls::find(world, repo, number)?;
    let (id, now) = (world.fresh(), world.now());
    let comment = Comment {
        id,
        by: by.to_owned(),
        via_app,
        body: body.to_owned(),
        reactions: Vec::new(),
        created: now,
        updated: now,
    };
    let pull = pulls::find_mut(world, repo, number)?;
    pull.comments.insert(id, comment);
    pull.updated = now;
    announce(world, repo, number, id, "created", by, json!({}))?;
    Ok(id)
}

pub fn edit(world: &mut World, repo: u64, id: u64, by: &str, body: &str) -> Result<(), Refused> {
    checked("IssueComment", body)?;
    let number = pull_of(world, repo, id)?;
    let now = world.now();
    let comment = comment_mut(world, repo, number, id)?;
    let from = std::mem::replace(&mut comment.body, body.to_owned());
    comment.updated = now;
    announce(
        world,
        repo,
        number,
        id,
        "edited",
        by,
        json!({"changes": {"body": {"from": from}}}),
    )
}

pub fn delete(world: &mut World, repo: u64, id: u64, by: &str) -> Result<(), Refused> {
    let number = pull_of(world, repo, id)?;
    announce(world, repo, number, id, "deleted", by, json!({}))?;
    pulls::find_mut(world, repo, number)?.comments.remove(&id);
    Ok(())
}

fn announce(
    world: &mut World,
    repo: u64,
    number: u64,
    id: u64,
    action: &str,
    by: &str,
    more: Value,
) -> Result<(), Refused> {
    let pull = pulls::find(world, repo, number)?;
    let comment = pull.comments.get(&id).ok_or_else(Refused::not_found)?;
    let mut body = json!({"issue": issue(world, repo, pull), "comment": comment_json(world, repo, number, comment)});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key.as_str()] = value.clone();
    }
    tell(
        world,
        News {
            event: "issue_comment",
            action: Some(action),
            repo,
            sender: by,
            body,
        },
    );
    Ok(())
}

pub fn pull_of(world: &World, repo: u64, id: u64) -> Result<u64, Refused> {
    let mut pulls = world.repo(repo).pulls.values();
    pulls
        .find(|pull| pull.comments.contains_key(&id))
        .map(|pull| pull.number)
        .ok_or_else(Refused::not_found)
}

pub fn comment_mut(world: &mut World, repo: u64, number: u64, id: u64) -> Result<&mut Comment, Refused> {
    pulls::find_mut(world, repo, number)?
        .comments
        .get_mut(&id)
        .ok_or_else(Refused::not_found)
}

fn comment_json(world: &World, repo: u64, number: u64, it: &Comment) -> Value {
    let full_name = world.repo(repo).full_name();
    let api = format!("{}/repos/{full_name}/issues", world.api());
    let url = format!("{api}/comments/{}", it.id);
    json!({
        "url": url, "html_url": format!("{}/{full_name}/pull/{number}#issuecomment-{}", world.url, it.id),
        "issue_url": format!("{api}/{number}"), "id": it.id, "node_id": shape::node_id("IssueComment", it.id),
        "user": shape::user(world, &it.by), "created_at": shape::time(it.created), "updated_at": shape::time(it.updated),
        "body": it.body, "author_association": shape::association(world, world.repo(repo), &it.by),
        "reactions": reactions::rollup(&it.reactions, &format!("{url}/reactions")),
        "performed_via_github_app": it.via_app.map(|app| shape::app(world, world.app_by_id(app))),
    })
}

/// The pull request as the issue it also is.
pub fn issue(world: &World, repo: u64, pull: &Pull) -> Value {
    let full_name = world.repo(repo).full_name();
    let api = format!("{}/repos/{full_name}", world.api());
    let url = format!("{api}/issues/{}", pull.number);
    let html = format!("{}/{full_name}/pull/{}", world.url, pull.number);
    json!({
        "url": url, "repository_url": api, "labels_url": format!("{url}/labels{{/name}}"),
        "comments_url": format!("{url}/comments"), "events_url": format!("{url}/events"), "html_url": html,
        "id": pull.id, "node_id": shape::node_id("PullRequest", pull.id), "number": pull.number, "title": pull.title,
        "user": shape::user(world, &pull.author), "labels": pulls::shown::labels(world, repo, pull),
        "state": if pull.open { "open" } else { "closed" }, "locked": false, "assignee": null, "assignees": [],
        "milestone": null, "comments": pull.comments.len(), "created_at": shape::time(pull.created),
        "updated_at": shape::time(pull.updated), "closed_at": shape::maybe_time(pull.closed),
        "author_association": shape::association(world, world.repo(repo), &pull.author), "active_lock_reason": null,
        "draft": pull.draft,
        "pull_request": {
            "url": format!("{api}/pulls/{}", pull.number), "html_url": html, "diff_url": format!("{html}.diff"),
            "patch_url": format!("{html}.patch"), "merged_at": shape::maybe_time(pull.merged.as_ref().map(|m| m.at)),
        },
        "body": pull.body, "reactions": reactions::rollup(&pull.reactions, &format!("{url}/reactions")),
        "timeline_url": format!("{url}/timeline"), "performed_via_github_app": null, "state_reason": null,
    })
}

const READ: Need = Need::read(&["issues", "pull_requests"]);
/// Anyone who sees a pull request may comment on it.
const WRITE: Need = Need::write(&["issues", "pull_requests"], Role::Read);
const LABEL: Need = Need::write(&["issues", "pull_requests"], Role::Triage);

/// `/repos/{owner}/{repo}/issues…`
pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    let ["repos", owner, name, "issues", rest @ ..] = &path[..] else {
        return None;
    };
    Some(match (method, rest) {
        ("GET", ["comments", id]) => show(world, call, owner, name, id),
        // GitHub takes POST for PATCH here, and octocrab sends it.
        ("PATCH" | "POST", ["comments", id]) => update(world, call, owner, name, id),
        ("DELETE", ["comments", id]) => remove(world, call, owner, name, id),
        ("GET", [n]) => show_issue(world, call, owner, name, n),
        ("GET", [n, "comments"]) => list(world, call, owner, name, n),
        ("POST", [n, "comments"]) => create(world, call, owner, name, n).await,
        ("GET", [n, "labels"]) => label_list(world, call, owner, name, n),
        ("POST", [n, "labels"]) => add_labels(world, call, owner, name, n).await,
        ("DELETE", [n, "labels", label]) => remove_label(world, call, owner, name, n, label).await,
        _ => return None,
    })
}

fn show(world: &World, call: &Call, owner: &str, name: &str, id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let id = call.number(id)?;
    let number = pull_of(world, repo, id)?;
    let comment = pulls::find(world, repo, number)?
        .comments
        .get(&id)
        .ok_or_else(Refused::not_found)?;
    ok(comment_json(world, repo, number, comment))
}

/// Authors edit their own; people with write access everybody's; an App only its own.
fn may_change(world: &World, call: &Call, repo: u64, id: u64) -> Result<(), Refused> {
    let number = pull_of(world, repo, id)?;
    let by = &pulls::find(world, repo, number)?
        .comments
        .get(&id)
        .ok_or_else(Refused::not_found)?
        .by;
    let writer = call.writer(world)?;
    let strong = call.app().is_none() && world.role(repo, &writer) >= Role::Write;
    if *by == writer || strong {
        Ok(())
    } else {
        Err(Refused::new(403, "Resource not accessible by integration"))
    }
}

fn update(world: &mut World, call: &Call, owner: &str, name: &str, id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let id = call.number(id)?;
    may_change(world, call, repo, id)?;
    let by = call.writer(world)?;
    edit(world, repo, id, &by, &call.text("body")?)?;
    let number = pull_of(world, repo, id)?;
    let comment = comment_mut(world, repo, number, id)?.clone();
    ok(comment_json(world, repo, number, &comment))
}

fn remove(world: &mut World, call: &Call, owner: &str, name: &str, id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let id = call.number(id)?;
    may_change(world, call, repo, id)?;
    let by = call.writer(world)?;
    delete(world, repo, id, &by)?;
    empty(204)
}

fn show_issue(world: &World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    ok(issue(world, repo, pulls::find(world, repo, call.number(number)?)?))
}

fn list(world: &World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let number = call.number(number)?;
    let since = call.query("since").and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let comments = pulls::find(world, repo, number)?.comments.values();
    let comments = comments.filter(|c| since.is_none_or(|since| c.updated >= since));
    call.page(world, comments.map(|c| comment_json(world, repo, number, c)).collect())
}

async fn create(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let number = call.number(number)?;
    let by = call.writer(world)?;
    let id = add(world, repo, number, &by, call.app(), &call.text("body")?).await?;
    let comment = comment_mut(world, repo, number, id)?.clone();
    let body = comment_json(world, repo, number, &comment);
    let mut answer = created(body)?;
    let location = answer.body["url"].as_str().unwrap_or_default().to_owned();
    answer.headers.push(("location", location));
    Ok(answer)
}

fn label_list(world: &World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    call.page(
        world,
        pulls::shown::labels(world, repo, pulls::find(world, repo, call.number(number)?)?),
    )
}

async fn add_labels(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &LABEL)?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    let list = call.body["labels"]
        .as_array()
        .or_else(|| call.body.as_array())
        .cloned()
        .unwrap_or_default();
    for label in list.iter().filter_map(|l| l.as_str().or_else(|| l["name"].as_str())) {
        pulls::label(world, repo, number, label, &by).await?;
    }
    ok(Value::Array(pulls::shown::labels(
        world,
        repo,
        pulls::find(world, repo, number)?,
    )))
}

async fn remove_label(world: &mut World, call: &Call, owner: &str, name: &str, number: &str, label: &str) -> Answered {
    let repo = reach(world, call, owner, name, &LABEL)?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    pulls::unlabel(world, repo, number, label, &by).await?;
    ok(Value::Array(pulls::shown::labels(
        world,
        repo,
        pulls::find(world, repo, number)?,
    )))
}
