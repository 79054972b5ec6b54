//! Owns where runs lie on disk: one read-only checkout per run, a tree, a scratch and a folder per attempt for each stack.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::domain::graph::Because;
use crate::domain::ids::{Attempt, Login, RepoId, RepoPath, RunId, StackName, TreeSha};
use crate::domain::layout::{Stack, StateAt};
use crate::domain::run::{Aim, Found, Run};
use crate::git::error::GitError;
use crate::git::stack_tree::StackTree;
use crate::tool::site::{LocalUpstream, Origin, StackAt};
use crate::tool::terragrunt::unit::Laid;
use crate::worker::Worker;
use crate::worker::repository::Repository;

/// One gate per run, so that its checkout is made once; one per stack of it, so that its jobs take turns.
pub struct Gates<T>(Mutex<HashMap<T, Arc<tokio::sync::Mutex<()>>>>);

impl<T> Default for Gates<T> {
    fn default() -> Self {
        Gates(Mutex::default())
    }
}

impl<T: Eq + Hash> Gates<T> {
    pub fn of(&self, run: T) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|other, gate| *other == run || Arc::strong_count(gate) > 1);
        gates.entry(run).or_default().clone()
    }
}

/// Everything of one run.
pub fn run_dir(worker: &Worker, run: RunId) -> PathBuf {
    worker.parts().data.join("runs").join(run.to_string())
}

/// Everything of one stack in one run; a name may hold what a path may not.
pub fn stack_dir(worker: &Worker, run: RunId, stack: &StackName) -> PathBuf {
    let digest = hex::encode(Sha256::digest(stack.as_str()));
    run_dir(worker, run).join("stacks").join(&digest[..24])
}

/// The folder of one attempt: the output of its programs and its plan file.
pub fn attempt_dir(worker: &Worker, run: RunId, stack: &StackName, attempt: Attempt) -> PathBuf {
    stack_dir(worker, run, stack).join(format!("attempt-{attempt}"))
}

/// Where the run's checkout for this aim is, or will be.
pub fn checkout_at(worker: &Worker, run: RunId, aim: Aim) -> PathBuf {
    crate::git::checkout::files_at(&checkout_dir(worker, run, aim))
}

fn checkout_dir(worker: &Worker, run: RunId, aim: Aim) -> PathBuf {
    run_dir(worker, run).join(match aim {
        Aim::Change => "checkout",
        Aim::Destroy => "base",
    })
}

/// The run's checkout for this aim, made if it is not there: what goes is described by base alone.
pub async fn checkout(
    worker: &Worker,
    repository: &Repository,
    run: RunId,
    found: &Found,
    aim: Aim,
) -> Result<PathBuf, GitError> {
    let tree = match aim {
        Aim::Change => found.tree.clone(),
        Aim::Destroy => match &found.base_tree {
            Some(tree) => tree.clone(),
            None => repository.mirror.tree_of(&found.base).await?,
        },
    };
    let gate = worker.inner.checkouts.of(run);
    let _turn = gate.lock().await;
    repository.mirror.checkout(&checkout_dir(worker, run, aim), &tree).await
}

/// The checkout of a plan that was made on another base than its run.
pub async fn checkout_on(
    worker: &Worker,
    repository: &Repository,
    run: RunId,
    tree: &TreeSha,
) -> Result<PathBuf, GitError> {
    let gate = worker.inner.checkouts.of(run);
    let _turn = gate.lock().await;
    repository
        .mirror
        .checkout(&checkout_on_dir(worker, run, tree), tree)
        .await
}

/// Where that one is, or will be.
pub fn checkout_on_at(worker: &Worker, run: RunId, tree: &TreeSha) -> PathBuf {
    crate::git::checkout::files_at(&checkout_on_dir(worker, run, tree))
}

fn checkout_on_dir(worker: &Worker, run: RunId, tree: &TreeSha) -> PathBuf {
    run_dir(worker, run).join(format!("checkout-{tree}"))
}

/// A stack's own tree over the run's checkout.
pub fn tree(worker: &Worker, checkout: &std::path::Path, run: RunId, stack: &Stack) -> StackTree {
    let at = stack_dir(worker, run, &stack.name).join("tree");
    StackTree::new(checkout, &at, real(stack))
}

/// What is real in a stack's tree: terragrunt does not follow links where it copies.
fn real(stack: &Stack) -> impl Iterator<Item = &RepoPath> {
    let copied = stack.unit.iter().filter_map(|runs| runs.copied.as_ref());
    std::iter::once(&stack.dir).chain(&stack.local_modules).chain(copied)
}

/// Nothing that an earlier step left in its home or among its temporary files reaches a later one: a file there can
/// configure the tool.
pub async fn fresh_scratch(at: &StackAt<'_>) -> Result<(), GitError> {
    crate::git::remove::remove(&at.scratch).await
}

fn upstream_dir(worker: &Worker, run: RunId, reader: &StackName, upstream: &StackName) -> PathBuf {
    let digest = hex::encode(Sha256::digest(upstream.as_str()));
    stack_dir(worker, run, reader).join("upstreams").join(&digest[..24])
}

/// The tree of an upstream that is only asked for its outputs.
pub fn upstream_tree(
    worker: &Worker,
    checkout: &std::path::Path,
    run: RunId,
    reader: &StackName,
    upstream: &Stack,
) -> StackTree {
    let at = upstream_dir(worker, run, reader, &upstream.name).join("tree");
    StackTree::new(checkout, &at, real(upstream))
}

/// What terragrunt put together for a unit, over what it was before any tool ran in it.
pub fn unit_tree(laid: &Laid) -> StackTree {
    StackTree::new(&laid.pristine, &laid.downloads, [&RepoPath::root()])
}

/// Where one attempt at a stack happens.
pub struct Attempting<'a> {
    pub repo: RepoId,
    /// Whose read access counts for private modules.
    pub author: Option<&'a Login>,
    pub origin: Origin,
    pub run: &'a Run,
    pub found: &'a Found,
    pub aim: Aim,
    pub stack: &'a Stack,
    pub attempt: Attempt,
    pub checkout: PathBuf,
    pub stop: CancellationToken,
}

impl<'a> Attempting<'a> {
    /// The tool's view of it.
    pub fn at(&self, worker: &Worker, tree: &StackTree) -> StackAt<'a> {
        let stack_dir = stack_dir(worker, self.run.id, &self.stack.name);
        StackAt {
            repo: self.repo,
            origin: self.origin,
            stack: self.stack,
            tree: tree.path_of(&crate::domain::ids::RepoPath::root()),
            checkout: self.checkout.clone(),
            scratch: stack_dir.join("scratch"),
            attempt: attempt_dir(worker, self.run.id, &self.stack.name, self.attempt),
            local_upstreams: self.local_upstreams(),
            held: BTreeMap::new(),
            stop: self.stop.clone(),
        }
    }

    /// The same for an upstream that is only asked for its outputs: its folders lie in its reader's.
    pub fn upstream_at(&self, worker: &Worker, tree: &StackTree, reader: &StackName) -> StackAt<'a> {
        let within = upstream_dir(worker, self.run.id, reader, &self.stack.name);
        StackAt {
            scratch: within.join("scratch"),
            attempt: within.join(format!("attempt-{}", self.attempt)),
            ..self.at(worker, tree)
        }
    }

    /// Upstreams whose state this server keeps in a file.
    fn local_upstreams(&self) -> Vec<LocalUpstream> {
        let edges = self
            .run
            .stacks
            .get(&self.stack.name)
            .map(|run| run.edges.as_slice())
            .unwrap_or_default();
        // A unit is given outputs, never a state.
        let by_state = edges
            .iter()
            .filter(|edge| !matches!(edge.because, Because::Terragrunt { .. }));
        let stacks = by_state.filter_map(|edge| self.definition(&edge.upstream));
        stacks
            .filter_map(|stack| match &stack.state {
                StateAt::Local { file, key } => Some(LocalUpstream {
                    file: file.clone(),
                    key: key.clone(),
                    workspace: stack.workspace.clone(),
                }),
                StateAt::Key(_) | StateAt::Absolute { .. } | StateAt::Cloud { .. } | StateAt::Unknown(_) => None,
            })
            .collect()
    }

    /// A stack of the run, or a direct upstream outside it; of base where the stack itself is base's.
    pub fn definition(&self, name: &StackName) -> Option<&'a Stack> {
        match self.aim {
            Aim::Change => self
                .run
                .stacks
                .get(name)
                .map(|run| &run.stack)
                .or_else(|| self.found.upstreams.get(name)),
            Aim::Destroy => self.found.base_upstreams.get(name),
        }
    }
}
