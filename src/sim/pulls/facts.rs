//! Owns what git says of a pull request: its commits, its files, whether it merges.

use std::sync::Arc;

use super::{find, find_mut, signature};
use crate::sim::call::Refused;
use crate::sim::git::diff::FileDiff;
use crate::sim::git::{self, CommitInfo};
use crate::sim::state::{Pull, World};

/// Where the base is now: its branch while the pull request is open.
pub fn base_now(world: &World, pull: &Pull) -> String {
    let tip = world
        .repo(pull.base.repo)
        .branch(&pull.base.branch)
        .filter(|_| pull.open);
    tip.unwrap_or(&pull.base.sha).clone()
}

/// The commits of a pull request, oldest first.
pub async fn commits(world: &mut World, repo: u64, number: u64) -> Result<Arc<Vec<CommitInfo>>, Refused> {
    let pull = find(world, repo, number)?;
    let key = (base_now(world, pull), pull.head.sha.clone());
    if let Some(known) = world.repo(repo).logs.get(&key) {
        return Ok(known.clone());
    }
    let dir = world.repo(repo).dir.clone();
    let commits = Arc::new(git::log(&dir, &[&format!("{}..{}", key.0, key.1)], 10_000).await?);
    world.repo_mut(repo).logs.insert(key, commits.clone());
    Ok(commits)
}

/// The files of a pull request: three-dot diff.
pub async fn files(world: &mut World, repo: u64, number: u64) -> Result<Arc<Vec<FileDiff>>, Refused> {
    let pull = find(world, repo, number)?;
    let (base, head) = (base_now(world, pull), pull.head.sha.clone());
    three_dot(world, repo, base, head).await
}

pub async fn three_dot(
    world: &mut World,
    repo: u64,
    base: String,
    head: String,
) -> Result<Arc<Vec<FileDiff>>, Refused> {
    let key = (base, head);
    if let Some(known) = world.repo(repo).diffs.get(&key) {
        return Ok(known.clone());
    }
    let dir = world.repo(repo).dir.clone();
    let from = git::merge_base(&dir, &key.0, &key.1)
        .await?
        .unwrap_or_else(|| key.0.clone());
    let files = Arc::new(git::diff::diff(&dir, &from, &key.1).await?);
    world.repo_mut(repo).diffs.insert(key, files.clone());
    Ok(files)
}

/// Whether head merges into base; makes the test merge commit and `refs/pull/N/merge`.
pub async fn mergeable(world: &mut World, repo: u64, number: u64) -> Result<bool, Refused> {
    let pull = find(world, repo, number)?;
    let (base, head) = (base_now(world, pull), pull.head.sha.clone());
    let key = (base.clone(), head.clone());
    let dir = world.repo(repo).dir.clone();
    let known = world.repo(repo).merges.get(&key).cloned();
    let tree = match known {
        Some(tree) if tree.is_none() || find(world, repo, number)?.test_merge.is_some() => return Ok(tree.is_some()),
        Some(tree) => tree,
        None => git::merge_tree(&dir, &base, &head).await?,
    };
    world.repo_mut(repo).merges.insert(key, tree.clone());
    let Some(tree) = tree else {
        find_mut(world, repo, number)?.test_merge = None;
        return Ok(false);
    };
    let who = signature(world, "GitHub");
    let message = format!("Merge {head} into {base}");
    let sha = git::commit_tree(&dir, &tree, &[&base, &head], &who, &who, &message).await?;
    let reference = format!("refs/pull/{number}/merge");
    git::set_ref(&dir, &reference, &sha).await?;
    world.repo_mut(repo).refs.insert(reference, sha.clone());
    find_mut(world, repo, number)?.test_merge = Some(sha);
    Ok(true)
}
