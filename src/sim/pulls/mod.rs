//! Owns pull requests: opening, editing, closing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Refused;
use super::git::{self, GitError, Signature};
use super::shape;
use super::state::{Happened, Label, Moment, Pull, Side, World};
use super::webhooks::{News, tell};

pub mod facts;
pub mod shown;
pub mod doors;

use shown::{full, label_json};

/// What a new pull request is made of.
pub struct New {
    pub title: String,
    pub body: Option<String>,
    /// Where the head branch is; a fork or the repository itself.
    pub head_repo: u64,
    pub head: String,
    pub base: String,
    pub draft: bool,
}

/// Opens a pull request and gives its number.
pub async fn open(world: &mut World, repo: u64, new: New, by: &str) -> Result<u64, Refused> {
    let invalid = |field: &str| Refused::invalid("PullRequest", field, "invalid", "");
    let head_sha = world
        .repo(new.head_repo)
        .branch(&new.head)
        .cloned()
        .ok_or_else(|| invalid("head"))?;
    let base_sha = world
        .repo(repo)
        .branch(&new.base)
        .cloned()
        .ok_or_else(|| invalid("base"))?;
    let same =
        |p: &&Pull| p.open && p.head.repo == new.head_repo && p.head.branch == new.head && p.base.branch == new.base;
    if world.repo(repo).pulls.values().any(|p| same(&p)) {
        let owner = &world.repo(new.head_repo).owner;
        let message = format!("A pull request already exists for {owner}:{}.", new.head);
        return Err(Refused::invalid("PullRequest", "", "custom", &message));
    }
    world.repo_mut(repo).last_number += 1;
    let number = world.repo(repo).last_number;
    bring_head(world, repo, new.head_repo, &head_sha, number).await?;
    let dir = world.repo(repo).dir.clone();
    if git::contains(&dir, &base_sha, &head_sha).await? {
        let message = format!("No commits between {} and {}", new.base, new.head);
        return Err(Refused::invalid("PullRequest", "", "custom", &message));
    }
    let (id, now) = (world.fresh(), world.now());
    let pull = Pull {
        id,
        number,
        author: by.to_owned(),
        title: new.title,
        body: new.body,
        open: true,
        draft: new.draft,
        merged: None,
        head: Side {
            repo: new.head_repo,
            branch: new.head,
            sha: head_sha,
        },
        base: Side {
            repo,
            branch: new.base,
            sha: base_sha,
        },
        labels: Vec::new(),
        requested_reviewers: Vec::new(),
        comments: BTreeMap::new(),
        reviews: BTreeMap::new(),
        reactions: Vec::new(),
        timeline: Vec::new(),
        test_merge: None,
        created: now,
        updated: now,
        closed: None,
    };
    world.repo_mut(repo).pulls.insert(number, pull);
    announce(world, repo, number, "opened", by, json!({})).await?;
    Ok(number)
}

/// Makes the head's commit known to the base repository as `refs/pull/N/head`.
pub async fn bring_head(world: &mut World, repo: u64, head_repo: u64, sha: &str, number: u64) -> Result<(), GitError> {
    let reference = format!("refs/pull/{number}/head");
    let dir = world.repo(repo).dir.clone();
    if head_repo == repo {
        git::set_ref(&dir, &reference, sha).await?;
    } else {
        git::bring(&dir, &world.repo(head_repo).dir, sha, &reference).await?;
    }
    world.repo_mut(repo).refs.insert(reference, sha.to_owned());
    Ok(())
}

pub fn find(world: &World, repo: u64, number: u64) -> Result<&Pull, Refused> {
    world.repo(repo).pulls.get(&number).ok_or_else(Refused::not_found)
}

pub fn find_mut(world: &mut World, repo: u64, number: u64) -> Result<&mut Pull, Refused> {
    world
        .repo_mut(repo)
        .pulls
        .get_mut(&number)
        .ok_or_else(Refused::not_found)
}

/// Adds a line to the page's conversation.
pub fn note(world: &mut World, repo: u64, number: u64, by: &str, what: Happened) {
    let (id, at) = (world.fresh(), world.now());
    if let Some(pull) = world.repo_mut(repo).pulls.get_mut(&number) {
        pull.updated = at;
        pull.timeline.push(Moment {
            id,
            at,
            by: by.to_owned(),
            what,
        });
    }
}

/// Sends a `pull_request` webhook.
pub async fn announce(
    world: &mut World,
    repo: u64,
    number: u64,
    action: &str,
    by: &str,
    more: Value,
) -> Result<(), Refused> {
    let pull = full(world, repo, number).await?;
    let mut body = json!({"number": number, "pull_request": pull});
    if let Value::Object(more) = more {
        for (key, value) in more {
            body[key.as_str()] = value;
        }
    }
    tell(
        world,
        News {
            event: "pull_request",
            action: Some(action),
            repo,
            sender: by,
            body,
        },
    );
    Ok(())
}

pub async fn close(world: &mut World, repo: u64, number: u64, by: &str) -> Result<(), Refused> {
    let now = world.now();
    let pull = find_mut(world, repo, number)?;
    if !pull.open {
        return Ok(());
    }
    pull.open = false;
    pull.closed = Some(now);
    note(world, repo, number, by, Happened::Closed);
    announce(world, repo, number, "closed", by, json!({})).await
}

pub async fn reopen(world: &mut World, repo: u64, number: u64, by: &str) -> Result<(), Refused> {
    let pull = find(world, repo, number)?;
    if pull.open {
        return Ok(());
    }
    let refused = |message: &str| Refused::invalid("PullRequest", "state", "invalid", message);
    if pull.merged.is_some() {
        return Err(refused("state cannot be changed. The pull request was merged."));
    }
    let (head_repo, branch) = (pull.head.repo, pull.head.branch.clone());
    let base = pull.base.branch.clone();
    let Some(sha) = world.repo(head_repo).branch(&branch).cloned() else {
        return Err(refused(&format!(
            "state cannot be changed. The {branch} branch has been deleted."
        )));
    };
    let base_sha = world.repo(repo).branch(&base).cloned();
    bring_head(world, repo, head_repo, &sha, number).await?;
    let pull = find_mut(world, repo, number)?;
    pull.open = true;
    pull.closed = None;
    pull.head.sha = sha;
    pull.base.sha = base_sha.unwrap_or_else(|| pull.base.sha.clone());
    pull.test_merge = None;
    note(world, repo, number, by, Happened::Reopened);
    announce(world, repo, number, "reopened", by, json!({})).await
}

pub async fn retitle(world: &mut World, repo: u64, number: u64, title: &str, by: &str) -> Result<(), Refused> {
    let pull = find_mut(world, repo, number)?;
    let from = std::mem::replace(&mut pull.title, title.to_owned());
    announce(
        world,
        repo,
        number,
        "edited",
        by,
        json!({"changes": {"title": {"from": from}}}),
    )
    .await
}

pub async fn describe(
    world: &mut World,
    repo: u64,
    number: u64,
    body: Option<String>,
    by: &str,
) -> Result<(), Refused> {
    let pull = find_mut(world, repo, number)?;
    let from = std::mem::replace(&mut pull.body, body);
    announce(
        world,
        repo,
        number,
        "edited",
        by,
        json!({"changes": {"body": {"from": from.unwrap_or_default()}}}),
    )
    .await
}

/// Changes the base branch.
pub async fn retarget(world: &mut World, repo: u64, number: u64, base: &str, by: &str) -> Result<(), Refused> {
    let invalid = || {
        Refused::invalid(
            "PullRequest",
            "base",
            "invalid",
            &format!("Proposed base branch '{base}' was not found"),
        )
    };
    let sha = world.repo(repo).branch(base).cloned().ok_or_else(invalid)?;
    let pull = find_mut(world, repo, number)?;
    let from = std::mem::replace(
        &mut pull.base,
        Side {
            repo,
            branch: base.to_owned(),
            sha,
        },
    );
    pull.test_merge = None;
    let changes = json!({"changes": {"base": {"ref": {"from": from.branch}, "sha": {"from": from.sha}}}});
    note(
        world,
        repo,
        number,
        by,
        Happened::Retargeted {
            from: from.branch,
            to: base.to_owned(),
        },
    );
    announce(world, repo, number, "edited", by, changes).await
}

pub async fn set_draft(world: &mut World, repo: u64, number: u64, draft: bool, by: &str) -> Result<(), Refused> {
    let pull = find_mut(world, repo, number)?;
    if pull.draft == draft {
        return Ok(());
    }
    pull.draft = draft;
    let (what, action) = if draft {
        (Happened::Drafted, "converted_to_draft")
    } else {
        (Happened::Readied, "ready_for_review")
    };
    note(world, repo, number, by, what);
    announce(world, repo, number, action, by, json!({})).await
}

pub async fn label(world: &mut World, repo: u64, number: u64, name: &str, by: &str) -> Result<(), Refused> {
    let id = world.fresh();
    let color = format!(
        "{:06x}",
        name.bytes()
            .fold(0x00ab_cdefu32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)))
            & 0x00ff_ffff
    );
    let fresh = Label {
        id,
        name: name.to_owned(),
        color,
    };
    world.repo_mut(repo).labels.entry(name.to_owned()).or_insert(fresh);
    let pull = find_mut(world, repo, number)?;
    if pull.labels.iter().any(|label| label == name) {
        return Ok(());
    }
    pull.labels.push(name.to_owned());
    note(world, repo, number, by, Happened::Labeled(name.to_owned()));
    let label = label_json(world, repo, name);
    announce(world, repo, number, "labeled", by, json!({"label": label})).await
}

pub async fn unlabel(world: &mut World, repo: u64, number: u64, name: &str, by: &str) -> Result<(), Refused> {
    let pull = find_mut(world, repo, number)?;
    if !pull.labels.iter().any(|label| label == name) {
        return Err(Refused::new(404, "Label does not exist"));
    }
    pull.labels.retain(|label| label != name);
    note(world, repo, number, by, Happened::Unlabeled(name.to_owned()));
    let label = label_json(world, repo, name);
    announce(world, repo, number, "unlabeled", by, json!({"label": label})).await
}

/// Asks people for a review.
pub async fn request_review(world: &mut World, repo: u64, number: u64, of: &str, by: &str) -> Result<(), Refused> {
    let pull = find_mut(world, repo, number)?;
    if !pull.requested_reviewers.iter().any(|one| one == of) {
        pull.requested_reviewers.push(of.to_owned());
    }
    let reviewer = shape::user(world, of);
    announce(
        world,
        repo,
        number,
        "review_requested",
        by,
        json!({"requested_reviewer": reviewer}),
    )
    .await
}

/// How somebody signs a commit made through the site.
pub fn signature(world: &World, login: &str) -> Signature {
    let id = world.user(login).map_or(1, |user| user.id);
    Signature {
        name: login.to_owned(),
        email: format!("{id}+{login}@users.noreply.github.com"),
        at: world.now(),
    }
}
