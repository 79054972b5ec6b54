//! Owns the JSON of a pull request.

use serde_json::{Value, json};

use super::facts::{commits, files};
use super::find;
use crate::sim::call::Refused;
use crate::sim::shape;
use crate::sim::state::{Pull, Side, World};

pub fn label_json(world: &World, repo: u64, name: &str) -> Value {
    let it = world.repo(repo);
    let (id, color) = it
        .labels
        .get(name)
        .map_or((1, "ededed"), |label| (label.id, label.color.as_str()));
    json!({
        "id": id, "node_id": shape::node_id("Label", id), "name": name, "color": color, "default": false, "description": "",
        "url": format!("{}/repos/{}/labels/{}", world.api(), it.full_name(), shape::encode(name)),
    })
}

pub fn labels(world: &World, repo: u64, pull: &Pull) -> Vec<Value> {
    pull.labels.iter().map(|name| label_json(world, repo, name)).collect()
}

fn side(world: &World, side: &Side) -> Value {
    let repo = world.repo(side.repo);
    json!({
        "label": format!("{}:{}", repo.owner, side.branch), "ref": side.branch, "sha": side.sha,
        "user": shape::user(world, &repo.owner), "repo": shape::repo(world, repo),
    })
}

/// The short form, as in lists and review webhooks.
pub fn brief(world: &World, repo: u64, pull: &Pull) -> Value {
    let it = world.repo(repo);
    let full_name = it.full_name();
    let number = pull.number;
    let api = format!("{}/repos/{full_name}", world.api());
    let own = format!("{api}/pulls/{number}");
    let issue = format!("{api}/issues/{number}");
    let html = format!("{}/{full_name}/pull/{number}", world.url);
    let statuses = format!("{api}/statuses/{}", pull.head.sha);
    let merge_commit = pull
        .merged
        .as_ref()
        .map(|m| m.sha.clone())
        .or_else(|| pull.test_merge.clone());
    let link = |href: &str| json!({"href": href});
    json!({
        "url": own, "id": pull.id, "node_id": shape::node_id("PullRequest", pull.id), "html_url": html,
        "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "issue_url": issue, "number": number,
        "state": if pull.open { "open" } else { "closed" }, "locked": false, "title": pull.title,
        "user": shape::user(world, &pull.author), "body": pull.body, "created_at": shape::time(pull.created),
        "updated_at": shape::time(pull.updated), "closed_at": shape::maybe_time(pull.closed),
        "merged_at": shape::maybe_time(pull.merged.as_ref().map(|m| m.at)), "merge_commit_sha": merge_commit,
        "assignee": null, "assignees": [],
        "requested_reviewers": pull.requested_reviewers.iter().map(|one| shape::user(world, one)).collect::<Vec<_>>(),
        "requested_teams": [], "labels": labels(world, repo, pull), "milestone": null, "draft": pull.draft,
        "commits_url": format!("{own}/commits"), "review_comments_url": format!("{own}/comments"),
        "review_comment_url": format!("{api}/pulls/comments{{/number}}"), "comments_url": format!("{issue}/comments"),
        "statuses_url": statuses, "head": side(world, &pull.head), "base": side(world, &pull.base),
        "_links": {
            "self": link(&own), "html": link(&html), "issue": link(&issue), "comments": link(&format!("{issue}/comments")),
            "review_comments": link(&format!("{own}/comments")),
            "review_comment": link(&format!("{api}/pulls/comments{{/number}}")),
            "commits": link(&format!("{own}/commits")), "statuses": link(&statuses),
        },
        "author_association": shape::association(world, it, &pull.author), "auto_merge": null, "active_lock_reason": null,
    })
}

/// The form of webhooks; `mergeable` is not known there.
pub async fn full(world: &mut World, repo: u64, number: u64) -> Result<Value, Refused> {
    let files = files(world, repo, number).await?;
    let commits = commits(world, repo, number).await?.len();
    let pull = find(world, repo, number)?;
    let mut body = brief(world, repo, pull);
    let merged_by = pull.merged.as_ref().map(|m| shape::user(world, &m.by));
    let more = json!({
        "merged": pull.merged.is_some(), "mergeable": null, "rebaseable": null, "mergeable_state": "unknown",
        "merged_by": merged_by, "comments": pull.comments.len(), "review_comments": 0, "maintainer_can_modify": false,
        "commits": commits, "additions": files.iter().map(|f| f.additions).sum::<u64>(),
        "deletions": files.iter().map(|f| f.deletions).sum::<u64>(), "changed_files": files.len(),
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key.as_str()] = value.clone();
    }
    Ok(body)
}
