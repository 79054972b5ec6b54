//! Owns what terragrunt says of a tree: asked once per tree and program, on a private copy.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::{RepoId, RepoPath, RunId, TreeSha};
use crate::domain::located::Located;
use crate::domain::unit::Units;
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::made::MadeLimits;
use crate::git::stack_tree::StackTree;
use crate::source::Tree;
use crate::source::terragrunt::generated::{StackFiles, of_tree};
use crate::source::terragrunt::is_unit_file;
use crate::tool::site::Site;
use crate::tool::terragrunt::ask::{Bounds, Place, ask};
use crate::tool::terragrunt::generate::generate;
use crate::worker::generated::Generated;
use crate::worker::repository::Repository;
use crate::worker::{Worker, place};

/// Who asks terragrunt, and in which folder.
pub enum Asking<'a> {
    /// A run of the server: the answer is kept for others.
    Run {
        worker: &'a Worker,
        repository: &'a Repository,
        run: RunId,
    },
    /// Somebody once, in an empty folder that is theirs.
    Once { site: &'a Site, dir: &'a Path },
}

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

/// What the program said of one tree.
pub struct Told {
    pub units: Arc<Units>,
    /// The tree with the files that its stack files generate.
    pub tree: TreeSha,
}

/// The units of one tree. `None`: it has none, or terragrunt is not installed.
pub async fn of(asking: &Asking<'_>, mirror: &Mirror, id: &TreeSha, tree: &Tree) -> Result<Option<Told>, GitError> {
    let stack_files = of_tree(tree);
    if stack_files.generating.is_empty() && !tree.entries.keys().any(is_unit_file) {
        return Ok(None);
    }
    let asked = |site, dir| Question { site, mirror, dir, id };
    match *asking {
        Asking::Run {
            worker,
            repository,
            run,
        } => {
            let dir = place::run_dir(worker, run).join(format!("units-{id}"));
            let question = asked(worker.site(), &dir);
            kept(worker, repository, &question, tree, &stack_files).await
        }
        Asking::Once { site, dir } => {
            let dir = dir.join(format!("units-{id}"));
            asked(site, &dir).told(tree, &stack_files).await
        }
    }
}

async fn kept(
    worker: &Worker,
    repository: &Repository,
    question: &Question<'_>,
    tree: &Tree,
    stack_files: &StackFiles,
) -> Result<Option<Told>, GitError> {
    let Some(mark) = worker.site().tools.terragrunt_mark() else {
        return Ok(None);
    };
    let key = (repository.id, question.id.clone(), mark);
    if let Some(units) = worker.inner.units.known(&key) {
        let tree = question.id.clone();
        return Ok(Some(Told { units, tree }));
    }
    let told = question.told(tree, stack_files).await;
    // Nothing of it is needed again; what is left is swept with the run.
    let _ = StackTree::new(question.dir, question.dir, std::iter::empty::<&RepoPath>())
        .remove()
        .await;
    let told = told?;
    // An answer that failed as a whole may be better the next time; and a tree that was written for one may be gone
    // from the mirror by then.
    if let Some(told) = &told
        && stack_files.generating.is_empty()
        && told.units.notices.is_empty()
    {
        worker.inner.units.keep(key, Arc::clone(&told.units));
    }
    Ok(told)
}

/// What is asked about, and in a folder of its own.
struct Question<'a> {
    site: &'a Site,
    mirror: &'a Mirror,
    dir: &'a Path,
    id: &'a TreeSha,
}

impl Question<'_> {
    async fn told(&self, tree: &Tree, stack_files: &StackFiles) -> Result<Option<Told>, GitError> {
        let StackFiles { generating, templates } = stack_files;
        let (site, mirror) = (self.site, self.mirror);
        let checkout = mirror.checkout(self.dir, self.id).await?;
        let place = Place {
            tree: self.dir.join("tree"),
            scratch: self.dir.join("scratch"),
        };
        // All of it real: the program writes beside the units.
        let copy = StackTree::new(&checkout, &place.tree, [&RepoPath::root()]);
        copy.lay().await?;
        let mut generated = Generated::default();
        if !generating.is_empty()
            && let Some(untold) = generate(site, &place, &Bounds::default(), generating).await
        {
            let made = copy.made(&MadeLimits::default()).await?;
            generated = Generated::of(tree, generating, made, untold, &place.tree);
        }
        let with = mirror
            .with_files(self.id, &generated.files, &self.dir.join("objects"))
            .await?;
        let Some(mut units) = ask(site, &place, &Bounds::default(), templates).await else {
            return Ok(None);
        };
        if let Some(Located { problem, .. }) = units.notices.first() {
            tracing::warn!(tree = %self.id, "{problem}");
        }
        units.generated = generated.files.into_iter().map(|file| file.path).collect();
        units.untold = generated.untold;
        let units = Arc::new(units);
        Ok(Some(Told { units, tree: with }))
    }
}
