//! Owns the mirrors: one bare repository per repository on GitHub, where it lies and who may write to it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::{CommitSha, RepoId};
use crate::git::error::GitError;
use crate::git::program::Git;
use crate::git::remote::Remote;

/// All mirrors of one data directory. Cheap to clone; clones share the gates that serialise fetches.
#[derive(Clone)]
pub struct Mirrors {
    git: Git,
    root: PathBuf,
    gates: Arc<Mutex<HashMap<RepoId, Arc<Gate>>>>,
}

/// One repository's mirror. It is created on disk by its first fetch; until then every question answers `NotFound`.
#[derive(Clone)]
pub struct Mirror {
    git: Git,
    path: PathBuf,
    remote: Remote,
    gate: Arc<Gate>,
}

/// What users of one mirror in this process share.
#[derive(Default)]
struct Gate {
    /// Held by whoever fetches or repacks.
    writing: tokio::sync::Mutex<()>,
    /// Held by whoever lays out a checkout: sixty stack runs of one run ask for it at once.
    laying: tokio::sync::Mutex<()>,
    /// Commits seen in the mirror: it never loses an object, so nobody needs to look twice.
    known: Mutex<HashSet<CommitSha>>,
}

/// How many commits a gate remembers before it forgets them all: a bound on memory, not on correctness.
const MOST_KNOWN: usize = 20_000;

impl Mirrors {
    /// `root` is absolute and ours alone, e.g. `<data>/mirrors`.
    pub fn new(git: Git, root: &Path) -> Self {
        Mirrors {
            git,
            root: root.to_owned(),
            gates: Arc::default(),
        }
    }

    /// The mirror of `repo`, which GitHub serves at `url` (https, or http on this machine). Touches neither disk nor network.
    pub fn open(&self, repo: RepoId, url: &str) -> Result<Mirror, GitError> {
        let remote = Remote::parse(url)?;
        let gate = self
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(repo)
            .or_default()
            .clone();
        Ok(Mirror {
            git: self.git.clone(),
            path: self.root.join(format!("{repo}.git")),
            remote,
            gate,
        })
    }
}

impl Mirror {
    /// Where the bare repository lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Gate {
    fn knows(&self, commit: &CommitSha) -> bool {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(commit)
    }

    fn remember<'a>(&self, commits: impl IntoIterator<Item = &'a CommitSha>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST_KNOWN {
            known.clear();
        }
        known.extend(commits.into_iter().cloned());
    }

    fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

pub mod error;
pub mod program;
pub mod remote;
pub mod fetch;
pub mod borrow;
pub mod merge;
pub mod changes;
pub mod listing;
pub mod checkout;
pub mod stack_tree;
pub mod made;
pub mod overlay;
pub mod remove;
mod folder;
mod output;
