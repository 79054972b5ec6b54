//! Owns what has moved under a plan since it was made: files of the base branch that its stack reads, or that gate it.

use crate::domain::ids::{CommitSha, RepoPath};
use crate::domain::located::Located;
use crate::domain::plan::On;
use crate::domain::run::{Found, Run, StackRun};
use crate::git::error::GitError;
use crate::worker::Worker;
use crate::worker::discover::{Sides, compare};
use crate::worker::plan::PlanError;
use crate::worker::repository::Repository;
use crate::worker::units::Asking;

/// How the base branch is beside the one that a plan was made on.
pub enum Moved {
    /// Not in what the stack reads.
    No,
    /// The stack reads this file: it is planned again.
    Reads(RepoPath),
    /// This file gates: only a new run reads it.
    Gate(RepoPath),
    /// There is no such branch any more.
    Gone,
}

/// The base a plan was made on.
pub fn base_of<'a>(on: Option<&'a On>, found: &'a Found) -> &'a CommitSha {
    on.map_or(&found.base, |on| &on.base)
}

/// What moved since that commit, and the base branch's tip now.
pub async fn since(
    repository: &Repository,
    run: &Run,
    found: &Found,
    stack: &StackRun,
    planned_on: &CommitSha,
) -> Result<(CommitSha, Moved), GitError> {
    let Some(tip) = repository.tip(&run.base_ref).await? else {
        return Ok((planned_on.clone(), Moved::Gone));
    };
    if tip == *planned_on {
        return Ok((tip, Moved::No));
    }
    let paths = repository.mirror.changed_paths(planned_on, &tip).await?;
    let policies = found.rules.as_ref().ok().and_then(|rules| rules.policies.dir.as_ref());
    let gates = |path: &&RepoPath| {
        path.as_str() == crate::source::config::FILE || policies.is_some_and(|dir| path.is_within(dir))
    };
    let moved = match (
        paths.iter().find(gates),
        paths.iter().find(|path| stack.stack.reads.reads(path)),
    ) {
        (Some(path), _) => Moved::Gate(path.clone()),
        (None, Some(path)) => Moved::Reads(path.clone()),
        (None, None) => Moved::No,
    };
    Ok((tip, moved))
}

/// What people are told where only a new run can go on.
pub fn sentence(run: &Run, path: &RepoPath) -> String {
    format!(
        "{} has changed `{path}` since this was planned: say `/plan`",
        run.base_ref
    )
}

/// The merged tree that a stack's real plan is made on, where that is not the run's own any more. The stack has to be
/// the same one there: what it is and needs was found out once.
pub async fn again(
    worker: &Worker,
    repository: &Repository,
    run: &Run,
    found: &Found,
    stack: &StackRun,
) -> Result<Option<On>, PlanError> {
    let before = stack.reviewed.as_ref().and_then(|plan| plan.on.clone());
    let planned_on = base_of(before.as_ref(), found).clone();
    let refused = |problem: String| PlanError::Refused(Located::nowhere(problem));
    let (base, path) = match since(repository, run, found, stack, &planned_on).await? {
        (_, Moved::No) => return Ok(before),
        (base, Moved::Reads(path)) => (base, path),
        (_, Moved::Gate(path)) => return Err(refused(sentence(run, &path))),
        (_, Moved::Gone) => return Err(refused(format!("the base branch {} is gone", run.base_ref))),
    };
    let sides = Sides {
        base: &base,
        head: &run.head,
        base_ref: &run.base_ref,
    };
    let asking = Asking::Run {
        worker,
        repository,
        run: run.id,
    };
    let compared = compare(&repository.mirror, repository.id, worker.kept(), &sides, Some(asking)).await?;
    let compared = match compared {
        Ok(compared) => compared,
        Err(located) => {
            let first = located.into_iter().next();
            return Err(first.map_or_else(|| refused(sentence(run, &path)), PlanError::Refused));
        }
    };
    let name = &stack.stack.name;
    let graph = &compared.discovered.graph;
    let same = graph.stack(name) == Some(&stack.stack) && graph.needs(name).eq(&stack.edges);
    match same && compared.discovered.errors.is_empty() && !compared.discovered.broken.contains_key(name) {
        true => Ok(Some(On {
            base,
            tree: compared.tree,
        })),
        false => Err(refused(sentence(run, &path))),
    }
}
