//! Owns the discover job: which stacks a pull request changes and affects, on what will be true after the merge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::event::{Discovered, Event};
use crate::domain::graph::Edge;
use crate::domain::ids::{Attempt, CommitSha, LockKey, PullId, RepoId, RunId, StackName, TreeSha};
use crate::domain::layout::{self, Deleted, Stack, StateAt};
use crate::domain::located::Located;
use crate::domain::pull::PullNow;
use crate::domain::rules::Rules;
use crate::domain::run::{Aim, Failure, Found, Phase, StackRun, StackState};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::fetch::Want;
use crate::git::merge::Merged;
use crate::source;
use crate::source::kept::Kept;
use crate::source::terragrunt::{generated, read_lightly};
use crate::tool::site::LocalState;
use crate::worker::repository::Repository;
use crate::worker::units::{Asking, Told};
use crate::worker::{Worker, target, trees, units};

pub async fn discover(worker: &Worker, pull: PullId, run: RunId, attempt: Attempt) -> anyhow::Result<Event> {
    let state = worker.store().peek(pull).await?;
    let outcome = match state.runs.get(&run) {
        None => Discovered::Again("the run is gone".to_owned()),
        Some(opened) => match worker.repository(pull.repo).await {
            Err(error) => {
                tracing::warn!(detail = %error.detail(), "the repository could not be asked for");
                Discovered::Again(error.to_string())
            }
            Ok(repository) => {
                let at = At {
                    run,
                    head: &opened.head,
                    base_ref: &opened.base_ref,
                    pull: state.pull.now.as_ref(),
                };
                match look(worker, &repository, &at).await {
                    Ok(outcome) => outcome,
                    Err(error) if error.may_pass() => {
                        tracing::warn!(error = %error, "discovery is tried again");
                        Discovered::Again(error.sentence())
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "discovery failed");
                        Discovered::Failed(vec![Located::nowhere(error.sentence())])
                    }
                }
            }
        },
    };
    Ok(Event::Discovered { run, attempt, outcome })
}

struct At<'a> {
    run: RunId,
    head: &'a CommitSha,
    base_ref: &'a str,
    pull: Option<&'a PullNow>,
}

async fn look(worker: &Worker, repository: &Repository, at: &At<'_>) -> Result<Discovered, GitError> {
    let branch = Want::Branch(at.base_ref.to_owned());
    let fetched = repository
        .fetch(&[branch.clone(), Want::Commit(at.head.clone())])
        .await?;
    let Some(base) = fetched.tips.get(&branch).cloned() else {
        return Ok(failed(
            format!("the base branch {} is gone", at.base_ref),
            "choose another base branch",
        ));
    };
    let sides = Sides {
        base: &base,
        head: at.head,
        base_ref: at.base_ref,
    };
    let asking = Asking::Run {
        worker,
        repository,
        run: at.run,
    };
    let compared = compare(&repository.mirror, repository.id, worker.kept(), &sides, Some(asking)).await?;
    let compared = match compared {
        Ok(compared) => compared,
        Err(located) => return Ok(Discovered::Failed(located)),
    };
    let mut discovered = found(worker, compared, base);
    if let (Discovered::Found { found, .. }, Some(pull)) = (&mut discovered, at.pull) {
        found.not_applied = target::refused(repository, pull, at.base_ref).await?;
    }
    Ok(discovered)
}

/// Two commits as a pull request would join them.
pub struct Sides<'a> {
    /// The base branch's tip.
    pub base: &'a CommitSha,
    pub head: &'a CommitSha,
    /// What people call the base.
    pub base_ref: &'a str,
}

/// What the pull request does to the stacks, and the merged tree that says so.
pub struct Compared {
    pub discovered: layout::Discovered,
    pub tree: TreeSha,
    /// Of base, where it is another than the commit's.
    pub base_tree: Option<TreeSha>,
    /// Why less is known of the units of a tree than terragrunt knows.
    pub lightly: Option<Located>,
}

/// Merges, reads both trees and compares them; without `asking` units are read lightly. `Err` within: what its author has to do before anything can be told.
pub async fn compare(
    mirror: &Mirror,
    repo: RepoId,
    kept: Arc<Kept>,
    sides: &Sides<'_>,
    asking: Option<Asking<'_>>,
) -> Result<Result<Compared, Vec<Located>>, GitError> {
    let Sides { base, head, base_ref } = *sides;
    let (merged, fork_point) = tokio::try_join!(mirror.merge_tree(base, head), mirror.merge_base(base, head))?;
    let unrelated = || {
        let problem = format!("this shares no history with {base_ref}");
        Ok(Err(vec![
            Located::nowhere(problem).hint("rebase it on the base branch"),
        ]))
    };
    let mut tree = match merged {
        Merged::Clean(tree) => tree,
        Merged::Conflict(paths) => {
            let conflict = |path| {
                let place = crate::domain::located::Place::file(path);
                Located::at(place, format!("this conflicts with {base_ref}")).hint("merge the base branch and push")
            };
            return Ok(Err(paths.into_iter().take(50).map(conflict).collect()));
        }
        Merged::Unrelated => return unrelated(),
    };
    let Some(fork_point) = fork_point else {
        return unrelated();
    };
    let mut base_tree = mirror.tree_of(base).await?;
    let of_base = base_tree.clone();
    let (changes, (mut base_files, mut merged_files)) = tokio::try_join!(
        mirror.changes(&fork_point, head),
        trees::both(mirror, &base_tree, &tree)
    )?;
    let mut changes: Vec<source::Change> = changes
        .into_iter()
        .map(|change| source::Change {
            old: change.old,
            new: change.new,
        })
        .collect();
    if let Some(asking) = &asking {
        let at_base = units::of(asking, mirror, &base_tree, &base_files).await?;
        let at_merged = units::of(asking, mirror, &tree, &merged_files).await?;
        let with = |told: &Option<Told>, tree: &TreeSha| told.as_ref().map_or(tree.clone(), |told| told.tree.clone());
        let generated = (with(&at_base, &base_tree), with(&at_merged, &tree));
        if generated != (base_tree.clone(), tree.clone()) {
            (base_tree, tree) = generated;
            (base_files, merged_files) = trees::both(mirror, &base_tree, &tree).await?;
        }
        base_files.units = at_base.map(|told| told.units);
        merged_files.units = at_merged.map(|told| told.units);
        changes.extend(generated::changes(&base_files, &merged_files));
    }
    let lightly = read_lightly(&base_files).or_else(|| read_lightly(&merged_files));
    // Parsing thousands of files is work for a thread of its own.
    let parsed = tokio::task::spawn_blocking(move || {
        let input = source::Input {
            repo,
            base: &base_files,
            merged: &merged_files,
            changes: &changes,
        };
        source::discover_with(&kept, &input)
    });
    let discovered = parsed
        .await
        .map_err(|panic| GitError::broken("look for stacks", &panic.to_string()))?;
    Ok(Ok(Compared {
        discovered,
        tree,
        base_tree: (base_tree != of_base).then_some(base_tree),
        lightly,
    }))
}

fn failed(problem: String, hint: &str) -> Discovered {
    Discovered::Failed(vec![Located::nowhere(problem).hint(hint)])
}

fn found(worker: &Worker, compared: Compared, base: CommitSha) -> Discovered {
    let Compared {
        discovered,
        tree,
        base_tree,
        lightly: _,
    } = compared;
    let layout::Discovered {
        rules,
        graph,
        selected,
        changed: _,
        broken,
        errors,
        notices,
        deleted,
        mut at_base,
        owners,
        unread: _,
    } = discovered;
    if !errors.is_empty() {
        return Discovered::Failed(errors);
    }
    let names: BTreeSet<StackName> = selected.keys().cloned().collect();
    let mut stacks: BTreeMap<StackName, StackRun> = BTreeMap::new();
    let mut upstreams = BTreeMap::new();
    for (name, reasons) in selected {
        let Some(stack) = graph.stack(&name) else { continue };
        let edges: Vec<_> = graph.needs(&name).cloned().collect();
        for upstream in edges.iter().filter_map(|edge| graph.stack(&edge.upstream)) {
            if !names.contains(&upstream.name) {
                upstreams.insert(upstream.name.clone(), upstream.clone());
            }
        }
        let key_of = |name: &StackName| graph.stack(name).and_then(|stack| stack.state.key()).cloned();
        let upstream_keys = graph
            .upstreams(&name)
            .into_iter()
            .filter_map(|upstream| Some((upstream.clone(), BTreeSet::from([key_of(upstream)?]))))
            .collect();
        let state = first_state(
            worker,
            &rules,
            stack,
            broken.get(&name).map(Vec::as_slice).unwrap_or_default(),
        );
        let keys: BTreeSet<LockKey> = stack.state.key().cloned().into_iter().collect();
        let after = graph.waits_for(&name, &names);
        let run = StackRun {
            aim: Aim::Change,
            stack: stack.clone(),
            edges,
            after,
            reasons,
            keys,
            at_base: at_base.remove(&name).unwrap_or_default(),
            upstream_keys,
            reviewed: None,
            real: None,
            tried: false,
            outdated: false,
            became: Vec::new(),
            deferred_for: None,
            given: BTreeMap::new(),
            attempt: Attempt(0),
            state,
        };
        stacks.insert(name, run);
    }
    let mut base_upstreams = BTreeMap::new();
    let names = deleted.iter().map(|deleted| deleted.stack.name.clone()).collect();
    for mut gone in deleted {
        base_upstreams.append(&mut gone.upstreams);
        let state = first_state(worker, &rules, &gone.stack, &gone.broken);
        let run = to_be_destroyed(gone, &stacks, &base_upstreams, state);
        stacks.insert(run.stack.name.clone(), run);
    }
    let found = Found {
        base,
        tree,
        known: graph.stacks().len(),
        notices,
        rules,
        not_applied: None,
        owners,
        deleted: names,
        upstreams,
        base_upstreams,
        base_tree,
    };
    Discovered::Found { found, stacks }
}

/// A stack that goes comes after whoever needed it at base, and after all that those come after; `stacks` has them.
fn to_be_destroyed(
    gone: Deleted,
    stacks: &BTreeMap<StackName, StackRun>,
    base_upstreams: &BTreeMap<StackName, Stack>,
    state: StackState,
) -> StackRun {
    let Deleted {
        stack,
        reasons,
        edges,
        upstreams: _,
        after: before,
        broken: _,
    } = gone;
    let mut after = before.clone();
    for name in &before {
        after.extend(stacks.get(name).into_iter().flat_map(|run| run.after.iter().cloned()));
    }
    let key_of = |edge: &Edge| {
        let upstream = base_upstreams.get(&edge.upstream)?;
        Some((edge.upstream.clone(), BTreeSet::from([upstream.state.key()?.clone()])))
    };
    StackRun {
        aim: Aim::Destroy,
        keys: stack.state.key().cloned().into_iter().collect(),
        upstream_keys: edges.iter().filter_map(key_of).collect(),
        at_base: BTreeSet::new(),
        stack,
        edges,
        after,
        reasons,
        reviewed: None,
        real: None,
        tried: false,
        outdated: false,
        became: Vec::new(),
        deferred_for: None,
        given: BTreeMap::new(),
        attempt: Attempt(0),
        state,
    }
}

fn first_state(worker: &Worker, rules: &Result<Rules, Vec<Located>>, stack: &Stack, broken: &[Located]) -> StackState {
    let refused = |sentence: String, located: Vec<Located>| StackState::Failed {
        phase: Phase::Discover,
        failure: Failure {
            sentence,
            excerpt: String::new(),
            located,
        },
    };
    if let Some(first) = broken.first() {
        return refused(first.problem.clone(), broken.to_vec());
    }
    match &stack.state {
        StateAt::Local { .. } if worker.site().local_state == LocalState::Refuse => {
            let located = stack.defined_at.clone().map(|place| {
                Located::at(place, "this stack keeps its state in a file of its own directory")
                    .hint("give it a backend")
            });
            let sentence = "its state would be thrown away with the working tree: give it a backend, or have the operator \
                            set LOCKKEEPER_LOCAL_STATE=keep";
            refused(sentence.to_owned(), located.into_iter().collect())
        }
        StateAt::Cloud { workspace, .. } => {
            let sentence = format!("the workspace {workspace} runs its plans in HCP Terraform, which is not supported");
            refused(sentence, Vec::new())
        }
        StateAt::Key(_) | StateAt::Local { .. } | StateAt::Absolute { .. } | StateAt::Unknown(_) => {
            // Without rules nobody knows whether a plan is wanted, and none may be applied: still, showing it harms nobody.
            let wanted = rules.as_ref().map_or(true, |rules| rules.autoplan) && stack.autoplan;
            if wanted { StackState::Waiting } else { StackState::Held }
        }
    }
}
