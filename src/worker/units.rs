//! Owns what terragrunt says of a tree: asked once per tree and program, on a private copy.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::{RepoId, RepoPath, RunId, TreeSha};
use crate::domain::located::Located;
use crate::domain::unit::Units;
use crate::git::error::GitError;
use crate::git::stack_tree::StackTree;
use crate::source::Tree;
use crate::source::terragrunt::is_unit_file;
use crate::tool::terragrunt::ask::{Bounds, Place, ask};
use crate::worker::repository::Repository;
use crate::worker::{Worker, place};

/// Answers by repository, tree and program. It says the same of the same tree, whoever asks: it has no credentials.
#[derive(Default)]
pub struct Answers(Mutex<HashMap<Key, Arc<Units>>>);

type Key = (RepoId, TreeSha, String);

/// A few megabytes of answers at the most; then the shelf is emptied.
const MOST_KEPT: usize = 200;

impl Answers {
    fn known(&self, key: &Key) -> Option<Arc<Units>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: Key, units: Arc<Units>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_KEPT {
            all.clear();
        }
        all.insert(key, units);
    }
}

/// The units of one tree. `None`: it has none, or terragrunt is not installed.
pub async fn of(
    worker: &Worker,
    repository: &Repository,
    run: RunId,
    id: &TreeSha,
    tree: &Tree,
) -> Result<Option<Arc<Units>>, GitError> {
    let Some(mark) = worker.site().tools.terragrunt_mark() else {
        return Ok(None);
    };
    if !tree.entries.keys().any(is_unit_file) {
        return Ok(None);
    }
    let key = (repository.id, id.clone(), mark);
    if let Some(known) = worker.inner.units.known(&key) {
        return Ok(Some(known));
    }
    let dir = place::run_dir(worker, run).join(format!("units-{id}"));
    let asked = asked(worker, repository, &dir, id).await;
    // Nothing of it is needed again; what is left is swept with the run.
    let _ = StackTree::new(&dir, &dir, std::iter::empty::<&RepoPath>())
        .remove()
        .await;
    let Some(units) = asked? else { return Ok(None) };
    let units = Arc::new(units);
    // An answer that failed as a whole may be better the next time.
    if units.notices.is_empty() {
        worker.inner.units.keep(key, Arc::clone(&units));
    }
    Ok(Some(units))
}

async fn asked(worker: &Worker, repository: &Repository, dir: &Path, id: &TreeSha) -> Result<Option<Units>, GitError> {
    let checkout = repository.mirror.checkout(dir, id).await?;
    let copy = dir.join("tree");
    let root = RepoPath::root();
    // All of it real: the program writes beside the units.
    StackTree::new(&checkout, &copy, [&root]).lay().await?;
    let place = Place {
        tree: copy,
        scratch: dir.join("scratch"),
    };
    let units = ask(worker.site(), &place, &Bounds::default()).await;
    if let Some(Located { problem, .. }) = units.as_ref().and_then(|units| units.notices.first()) {
        tracing::warn!(tree = %id, "{problem}");
    }
    Ok(units)
}
