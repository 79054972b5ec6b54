//! Owns the context of every tool run: what this server lets a tool have, and where one stack's attempt lives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{LockKey, RepoId, RepoPath};
use crate::domain::layout::{Stack, StateAt};
use crate::process::OwnBinary;
use crate::process::confine::Confine;
use crate::process::supervise::CrashPoint;
use crate::tool::error::Step;
use crate::tool::output::Output;
use crate::tool::program::Tools;
use crate::tool::redact::{HashKey, Secrets};

/// What becomes of a state that has no backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalState {
    /// Trees are thrown away, and such a state with them.
    Refuse,
    /// Kept in the data directory of this one server.
    Keep,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    pub init: Duration,
    pub plan: Duration,
    pub apply: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            init: Duration::from_secs(15 * 60),
            plan: Duration::from_secs(60 * 60),
            apply: Duration::from_secs(6 * 60 * 60),
        }
    }
}

/// What this server lets a tool have. One for all runs.
pub struct Site {
    pub own: OwnBinary,
    pub tools: Tools,
    /// Of it `seeds/`, `providers/`, `states/` and `workspaces/` are ours.
    pub data: PathBuf,
    pub confine: Confine,
    /// The allow-listed part of the server's environment, for tools.
    pub env: Vec<(OsString, OsString)>,
    /// The part of it that a fork's plan gets too.
    pub fork_env: Vec<(OsString, OsString)>,
    /// Further paths a tool may read; what a tool may write at an apply it may read at a plan.
    pub read: Vec<PathBuf>,
    /// Further paths an apply may write.
    pub write: Vec<PathBuf>,
    pub local_state: LocalState,
    /// Where the repositories are: `https://github.com`, or a loopback http address.
    pub github: url::Url,
    pub hash_key: HashKey,
    pub deadlines: Deadlines,
    /// After this a seed whose modules or providers were not pinned exactly is made anew.
    pub unpinned_seed_age: Duration,
    /// For crash tests.
    pub supervisors_die_at: Option<CrashPoint>,
    pub(crate) making: Making,
    pub(crate) starts: Starts,
}

/// How often each step of a tool was started.
#[derive(Default)]
pub(crate) struct Starts(Mutex<BTreeMap<&'static str, u64>>);

impl Starts {
    pub fn count(&self, step: Step) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(step.word()).or_default() += 1;
    }
}

/// Seeds that are being made, so that one is made and others wait for it.
#[derive(Default)]
pub(crate) struct Making(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Making {
    pub fn of(&self, digest: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, waiting| name == digest || Arc::strong_count(waiting) > 1);
        Arc::clone(all.entry(digest.to_owned()).or_default())
    }
}

/// Where a pull request's code comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Own,
    /// Its plans get no credentials: neither variables nor the folders of `TOOL_READ` and `TOOL_WRITE`.
    Fork,
}

/// The settings of [`Site`] that have no default.
pub struct Place {
    pub own: OwnBinary,
    pub tools: Tools,
    pub data: PathBuf,
    pub github: url::Url,
    pub hash_key: HashKey,
}

impl Site {
    /// A site that confines what it can, refuses local state and lets no variable through; change the fields as wanted.
    pub fn new(place: Place) -> Self {
        let Place {
            own,
            tools,
            data,
            github,
            hash_key,
        } = place;
        Site {
            own,
            tools,
            data,
            confine: Confine::Auto,
            env: Vec::new(),
            fork_env: Vec::new(),
            read: Vec::new(),
            write: Vec::new(),
            local_state: LocalState::Refuse,
            github,
            hash_key,
            deadlines: Deadlines::default(),
            unpinned_seed_age: Duration::from_secs(24 * 60 * 60),
            supervisors_die_at: None,
            making: Making::default(),
            starts: Starts::default(),
        }
    }

    /// How often each step (`init`, `plan`, `show` …) was started since the start of the server.
    pub fn started(&self) -> BTreeMap<&'static str, u64> {
        self.starts.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server's variables that a tool gets.
    pub(crate) fn env_for(&self, origin: Origin) -> &[(OsString, OsString)] {
        match origin {
            Origin::Own => &self.env,
            Origin::Fork => &self.fork_env,
        }
    }

    /// The operator's further paths that a tool may read.
    pub(crate) fn paths_for(&self, origin: Origin) -> impl Iterator<Item = &PathBuf> {
        let (read, write) = match origin {
            Origin::Own => (self.read.as_slice(), self.write.as_slice()),
            Origin::Fork => (&[][..], &[][..]),
        };
        read.iter().chain(write)
    }

    /// Secrets of the environment, which must not stand in any text.
    pub(crate) fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        for (name, value) in &self.env {
            secrets.add_env(&name.to_string_lossy(), &value.to_string_lossy());
        }
        secrets
    }

    pub(crate) fn seeds(&self) -> PathBuf {
        self.data.join("seeds")
    }

    pub(crate) fn workspaces(&self) -> PathBuf {
        self.data.join("workspaces")
    }

    pub(crate) fn providers(&self) -> PathBuf {
        self.data.join("providers")
    }

    /// Where providers of the operator's own may lie: no pull request can write there.
    pub(crate) fn mirrors(&self, origin: Origin) -> Vec<PathBuf> {
        let read = match origin {
            Origin::Own => self.read.as_slice(),
            Origin::Fork => &[],
        };
        read.iter().cloned().chain([PathBuf::from("/usr")]).collect()
    }

    /// The tool's configuration where the operator gives none.
    pub(crate) fn tool_config(&self) -> PathBuf {
        self.data.join("tool.tfrc")
    }

    /// The folder of a state that is kept on this server: one per repository and lock key.
    pub fn state_folder(&self, repo: RepoId, key: &LockKey) -> PathBuf {
        let digest = hex::encode(Sha256::digest(key.as_str()));
        self.data.join("states").join(repo.to_string()).join(&digest[..32])
    }
}

/// A stack whose state is kept on this server and which another one reads.
#[derive(Debug, Clone)]
pub struct LocalUpstream {
    /// The repository path where the reader looks for it.
    pub file: RepoPath,
    pub key: LockKey,
    pub workspace: String,
}

/// One attempt at one stack: its tree and its folders. All paths are absolute and resolved.
#[derive(Debug, Clone)]
pub struct StackAt<'a> {
    pub repo: RepoId,
    pub origin: Origin,
    pub stack: &'a Stack,
    /// The stack's own tree; the tool may write to what is not a link in it.
    pub tree: PathBuf,
    /// The run's read-only checkout, which the tree's links lead into.
    pub checkout: PathBuf,
    /// The tool's home and temporary files; made if missing.
    pub scratch: PathBuf,
    /// Ours alone: the output of each program of this attempt, plan files. Made if missing; never used by two attempts.
    pub attempt: PathBuf,
    /// Stacks of this repository whose local state this one may read.
    pub local_upstreams: Vec<LocalUpstream>,
    /// What is known of the units that this one needs, by directory. One that is missing is not asked for.
    pub held: BTreeMap<RepoPath, BTreeMap<String, Output>>,
    /// When it is cancelled, the running tool is interrupted. Never for an apply.
    pub stop: CancellationToken,
}

impl StackAt<'_> {
    /// Where the tool is started.
    pub(crate) fn cwd(&self) -> PathBuf {
        self.tree.join(self.stack.dir.as_str())
    }

    pub(crate) fn in_dir(&self, name: &str) -> PathBuf {
        Path::new(self.stack.dir.as_str()).join(name)
    }

    /// The directory of the repository that the tool's places are in.
    pub(crate) fn config_dir(&self) -> &RepoPath {
        let runs = self.stack.unit.as_ref().and_then(|runs| runs.dir.as_ref());
        runs.unwrap_or(&self.stack.dir)
    }

    /// A unit that this one takes outputs of, and whose outputs nobody knows.
    pub(crate) fn not_held(&self) -> Option<&RepoPath> {
        let mut needs = self.stack.unit.iter().flat_map(|runs| &runs.needs);
        needs.find(|dir| !self.held.contains_key(*dir))
    }

    /// Adds the sensitive values that it is given.
    pub(crate) fn add_held(&self, secrets: &mut Secrets) {
        let outputs = self.held.values().flat_map(BTreeMap::values);
        outputs
            .filter(|output| output.sensitive)
            .for_each(|output| secrets.add(&output.value));
    }

    /// The folder and the file of its state, if this server keeps it.
    pub(crate) fn kept_state(&self, site: &Site) -> Option<KeptState> {
        match &self.stack.state {
            StateAt::Local { file: _, key } => Some(KeptState::of(site, self.repo, key, &self.stack.workspace)),
            StateAt::Key(_) | StateAt::Absolute { .. } | StateAt::Cloud { .. } | StateAt::Unknown(_) => None,
        }
    }

    pub(crate) fn kept_upstreams(&self, site: &Site) -> Vec<(&RepoPath, KeptState)> {
        let kept = |up: &LocalUpstream| KeptState::of(site, self.repo, &up.key, &up.workspace);
        self.local_upstreams.iter().map(|up| (&up.file, kept(up))).collect()
    }
}

/// Where this server keeps one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptState {
    pub folder: PathBuf,
    pub file: PathBuf,
}

impl KeptState {
    fn of(site: &Site, repo: RepoId, key: &LockKey, workspace: &str) -> Self {
        let folder = site.state_folder(repo, key);
        let file = match workspace {
            "default" => folder.join("terraform.tfstate"),
            workspace => folder.join("workspaces").join(workspace).join("terraform.tfstate"),
        };
        KeptState { folder, file }
    }
}
