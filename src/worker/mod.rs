//! Owns the doing: the loops that take work out of the store, and one file per job. The worker alone holds SQL,
//! GitHub, git, the tool and policy in its hands at once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::{RepoId, RunId, StackRunId, Timestamp};
use crate::git::Mirrors;
use crate::github::App;
use crate::policy::bundle::Directory;
use crate::process::OwnBinary;
use crate::source::kept::Kept;
use crate::store::Store;
use crate::store::artifact::Artifacts;
use crate::tool::site::Site;
use crate::worker::allow::Allow;
use crate::worker::link::Links;
use crate::worker::repository::Repository;

pub mod allow;
pub mod link;
pub mod tips;
pub mod repository;
pub mod trouble;
pub mod trees;
pub mod target;
pub mod moved;
pub mod generated;
pub mod seeding;
pub mod units;
pub mod intake;
pub mod gather;
pub mod lease;
pub mod decide;
pub mod discover;
pub mod place;
pub mod leftover;
pub mod shelf;
pub mod inputs;
pub mod judge;
pub mod cascade;
pub mod provisional;
pub mod plan;
pub mod apply;
pub mod publish;
pub mod sweep;
pub mod crash;
pub mod loops;

/// What time it is: made in cli, moved by hand in tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything a job needs. Made once, in cli.
pub struct Parts {
    pub store: Store,
    pub artifacts: Artifacts,
    pub github: App,
    pub mirrors: Mirrors,
    pub site: Arc<Site>,
    pub own: OwnBinary,
    /// The server's own policies.
    pub policies: Directory,
    pub judging: crate::policy::limits::Limits,
    pub clock: Clock,
    pub data: PathBuf,
    pub allow: Allow,
    pub links: Links,
    /// Tool processes at a time.
    pub parallel: usize,
    /// How long a stop waits for applies.
    pub drain: std::time::Duration,
    /// Named crash point (tests).
    pub die_at: Option<String>,
}

/// Cheap to clone; all clones share everything.
#[derive(Clone)]
pub struct Worker {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    repositories: Mutex<HashMap<RepoId, Repository>>,
    /// One checkout of a run is made at a time.
    checkouts: place::Gates<RunId>,
    /// One job works with the folders of a stack of a run at a time.
    turns: place::Gates<StackRunId>,
    /// What files said, and how base trees were read: shared by every run.
    kept: Arc<Kept>,
    /// What terragrunt said of trees.
    units: units::Answers,
    counters: Mutex<std::collections::BTreeMap<&'static str, u64>>,
}

impl Worker {
    pub fn new(parts: Parts) -> Self {
        let inner = Inner {
            parts,
            repositories: Mutex::default(),
            checkouts: place::Gates::default(),
            turns: place::Gates::default(),
            kept: Arc::default(),
            units: units::Answers::default(),
            counters: Mutex::default(),
        };
        Worker { inner: Arc::new(inner) }
    }

    pub fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    pub fn artifacts(&self) -> &Artifacts {
        &self.inner.parts.artifacts
    }

    pub fn github(&self) -> &App {
        &self.inner.parts.github
    }

    pub fn mirrors(&self) -> &Mirrors {
        &self.inner.parts.mirrors
    }

    pub fn site(&self) -> &Site {
        &self.inner.parts.site
    }

    pub fn now(&self) -> Timestamp {
        (self.inner.parts.clock)()
    }

    fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.inner.kept)
    }

    /// What was said of a repository through an installation that is there, as far as we know.
    fn known(&self, id: RepoId) -> Option<Repository> {
        let repositories = self.inner.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let known = repositories.get(&id).filter(|known| !known.github.is_unknown());
        known.cloned()
    }

    fn remember(&self, repository: Repository) {
        self.inner
            .repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(repository.id, repository);
    }

    /// Forgets a repository's name, address and installation, because a delivery says otherwise.
    fn forget(&self, id: RepoId) {
        self.inner
            .repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    /// Adds one to a counter of `/metrics`.
    pub fn count(&self, what: &'static str) {
        *self
            .inner
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(what)
            .or_default() += 1;
    }

    /// What was counted since the start.
    pub fn counted(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.inner
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A named crash point: the process ends itself there without warning, where a test asks for it.
    pub fn at(&self, point: &str) {
        crash::at(self.inner.parts.die_at.as_deref(), point);
    }
}
