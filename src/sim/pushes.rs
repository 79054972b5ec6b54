//! Owns what follows when a ref moves: activity, webhooks, and the pull requests it belongs to.

use serde_json::{Value, json};

use super::call::Refused;
use super::checks;
use super::git::{self, CommitInfo};
use super::pulls;
use super::reviews;
use super::shape;
use super::state::{Activity, Happened, Merged, NOTHING, Verdict, World};
use super::webhooks::{News, tell};

/// Takes note that a ref on disk now points elsewhere (or is gone), and tells everyone.
pub async fn moved(
    world: &mut World,
    repo: u64,
    reference: &str,
    after: Option<&str>,
    by: &str,
    merged: bool,
) -> Result<(), Refused> {
    let now = world.now();
    let it = world.repo_mut(repo);
    let before = match after {
        Some(after) => it.refs.insert(reference.to_owned(), after.to_owned()),
        None => it.refs.remove(reference),
    };
    if before.as_deref() == after {
        return Ok(());
    }
    it.pushed = now;
    let dir = it.dir.clone();
    let forced = match (&before, after) {
        (Some(before), Some(after)) => !git::contains(&dir, after, before).await?,
        _ => false,
    };
    let kind = match (&before, after) {
        (None, _) => "branch_creation",
        (_, None) => "branch_deletion",
        _ if merged => "pr_merge",
        _ if forced => "force_push",
        _ => "push",
    };
    let before = before.unwrap_or_else(|| NOTHING.to_owned());
    let id = world.fresh();
    let shown = after.unwrap_or(NOTHING).to_owned();
    let entry = Activity {
        id,
        before: before.clone(),
        after: shown,
        reference: reference.to_owned(),
        by: by.to_owned(),
        kind,
        at: now,
    };
    world.repo_mut(repo).activity.push(entry);
    let Some(branch) = reference.strip_prefix("refs/heads/").map(str::to_owned) else {
        return Ok(());
    };
    push_event(world, repo, reference, &before, after, forced, by).await?;
    if let Some(after) = after {
        checks::suite_for_push(world, repo, &branch, &before, after, by).await?;
    }
    synchronize(world, repo, &branch, &before, after, forced, by).await?;
    if let Some(after) = after {
        notice_merged(world, repo, &branch, after, by).await?;
    }
    Ok(())
}

async fn push_event(
    world: &mut World,
    repo: u64,
    reference: &str,
    before: &str,
    after: Option<&str>,
    forced: bool,
    by: &str,
) -> Result<(), Refused> {
    let it = world.repo(repo);
    let commits = match after {
        None => Vec::new(),
        Some(after) if before == NOTHING => {
            let tips: Vec<&str> = it
                .refs
                .iter()
                .filter(|(name, sha)| *name != reference && *sha != after)
                .map(|(_, s)| s.as_str())
                .collect();
            let not: Vec<String> = tips.iter().map(|sha| format!("^{sha}")).collect();
            let range: Vec<&str> = std::iter::once(after).chain(not.iter().map(String::as_str)).collect();
            git::log(&it.dir, &range, 20).await?
        }
        Some(after) => git::log(&it.dir, &[&format!("{before}..{after}")], 2_048).await?,
    };
    let head = match after {
        None => Value::Null,
        Some(after) => match commits.iter().find(|c| c.sha == after) {
            Some(found) => push_commit(world, repo, found),
            None => git::log(&it.dir, &[after], 1)
                .await?
                .first()
                .map_or(Value::Null, |c| push_commit(world, repo, c)),
        },
    };
    let it = world.repo(repo);
    let compare = format!(
        "{}/{}/compare/{:.12}...{:.12}",
        world.url,
        it.full_name(),
        before,
        after.unwrap_or(NOTHING)
    );
    let body = json!({
        "ref": reference, "before": before, "after": after.unwrap_or(NOTHING), "base_ref": null,
        "created": before == NOTHING, "deleted": after.is_none(), "forced": forced, "compare": compare,
        "commits": commits.iter().map(|c| push_commit(world, repo, c)).collect::<Vec<_>>(), "head_commit": head,
        "pusher": {"name": by, "email": format!("{by}@users.noreply.github.com")},
    });
    tell(
        world,
        News {
            event: "push",
            action: None,
            repo,
            sender: by,
            body,
        },
    );
    Ok(())
}

fn push_commit(world: &World, repo: u64, it: &CommitInfo) -> Value {
    let who = |s: &git::Signature| json!({"name": s.name, "email": s.email, "date": shape::time(s.at)});
    json!({
        "id": it.sha, "tree_id": it.tree, "distinct": true, "message": it.message, "timestamp": shape::time(it.committer.at),
        "url": format!("{}/{}/commit/{}", world.url, world.repo(repo).full_name(), it.sha),
        "author": who(&it.author), "committer": who(&it.committer), "added": [], "removed": [], "modified": [],
    })
}

/// Moves the pull requests whose head this branch is; without the branch they close.
async fn synchronize(
    world: &mut World,
    repo: u64,
    branch: &str,
    before: &str,
    after: Option<&str>,
    forced: bool,
    by: &str,
) -> Result<(), Refused> {
    let touched: Vec<(u64, u64)> = world
        .repos
        .values()
        .flat_map(|r| r.pulls.values().map(move |p| (r.id, p)))
        .filter(|(_, p)| p.open && p.head.repo == repo && p.head.branch == branch)
        .map(|(id, p)| (id, p.number))
        .collect();
    for (base_repo, number) in touched {
        let Some(after) = after else {
            pulls::close(world, base_repo, number, by).await?;
            continue;
        };
        pulls::bring_head(world, base_repo, repo, after, number).await?;
        let pull = pulls::find(world, base_repo, number)?;
        let base = pulls::facts::base_now(world, pull);
        let pull = pulls::find_mut(world, base_repo, number)?;
        pull.head.sha = after.to_owned();
        pull.base.sha = base;
        pull.test_merge = None;
        let what = Happened::Pushed {
            before: before.to_owned(),
            after: after.to_owned(),
            forced,
        };
        pulls::note(world, base_repo, number, by, what);
        let more = json!({"before": before, "after": after});
        pulls::announce(world, base_repo, number, "synchronize", by, more).await?;
        dismiss_stale(world, base_repo, number, by).await?;
    }
    Ok(())
}

/// A push voids approvals where the rules of the base branch say so.
async fn dismiss_stale(world: &mut World, repo: u64, number: u64, by: &str) -> Result<(), Refused> {
    let pull = pulls::find(world, repo, number)?;
    if !world
        .repo(repo)
        .rules
        .get(&pull.base.branch)
        .is_some_and(|rules| rules.dismiss_stale)
    {
        return Ok(());
    }
    let stale: Vec<u64> = pull
        .reviews
        .values()
        .filter(|r| r.verdict == Verdict::Approved)
        .map(|r| r.id)
        .collect();
    for review in stale {
        reviews::dismiss(world, repo, number, review, by).await?;
    }
    Ok(())
}

/// A pull request whose head has reached its base by a push counts as merged, as on GitHub.
async fn notice_merged(world: &mut World, repo: u64, branch: &str, after: &str, by: &str) -> Result<(), Refused> {
    let open: Vec<(u64, String)> = world
        .repo(repo)
        .pulls
        .values()
        .filter(|p| p.open && p.base.branch == branch)
        .map(|p| (p.number, p.head.sha.clone()))
        .collect();
    let dir = world.repo(repo).dir.clone();
    for (number, head) in open {
        if git::contains(&dir, after, &head).await? {
            let at = world.now();
            let pull = pulls::find_mut(world, repo, number)?;
            pull.open = false;
            pull.closed = Some(at);
            pull.merged = Some(Merged {
                by: by.to_owned(),
                at,
                sha: after.to_owned(),
            });
            pulls::note(
                world,
                repo,
                number,
                by,
                Happened::Merged {
                    sha: after.to_owned(),
                    into: branch.to_owned(),
                },
            );
            pulls::announce(world, repo, number, "closed", by, json!({})).await?;
        }
    }
    Ok(())
}
