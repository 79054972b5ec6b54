//! Owns seeds: the data directory that `init` made, published once, read-only, shared by every run that needs the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::ids::{LockKey, RepoPath};
use crate::domain::layout::StateAt;
use crate::tool::error::{Step, ToolError};
use crate::tool::inputs::{self, Config, Inputs, LOCK_FILE};
use crate::tool::program::Installed;
use crate::tool::run::{Command, redactor_for};
use crate::tool::site::{KeptState, LocalState, Site, StackAt};
use crate::tool::terragrunt::shim::Phase;
use crate::tool::terragrunt::unit::{self, Laid};
use crate::tool::{backend, beneath, fetch, providers};

/// Folders with states that this stack's steps read, beside those that a remote backend holds.
pub(crate) fn states(site: &Site, at: &StackAt<'_>) -> Vec<PathBuf> {
    let own = at.kept_state(site);
    let all = own
        .into_iter()
        .chain(at.kept_upstreams(site).into_iter().map(|(_, kept)| kept));
    all.map(|kept| kept.folder).collect()
}

/// A seed, ready for plan, apply and output.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Read-only.
    pub data_dir: PathBuf,
    /// Of what `init` read.
    pub digest: String,
    /// The true states, as the resolved backend says.
    pub keys: BTreeSet<LockKey>,
    pub installed: Installed,
    /// Of a terragrunt unit.
    pub unit: Option<Laid>,
}

/// What a published seed's pointer file says.
#[derive(Serialize, Deserialize)]
struct Pointer {
    /// The folder's name, beside the pointer.
    dir: String,
    /// Whether it stays the same however often it is made.
    pinned: bool,
}

/// The name of ours that is read last of all overrides.
const OVERRIDE: &str = "zz_lockkeeper_state_override.tf.json";
/// A link to the folder of a kept state. The backend is configured with a path through it, which is the same for every
/// stack: so stacks that differ in nothing else that `init` reads share one seed.
const STATE_LINK: &str = ".lockkeeper-state";
/// A lock file that `init` had to make, in the seed.
const MADE_LOCK_FILE: &str = "lockkeeper.lock.hcl";

/// Makes a stack's tree and seed ready, and says which state it writes. Starts `init` only where no published seed
/// fits; `token` is used by `get` alone, and only for git modules (and the source of a unit) on the site's host.
pub async fn prepare(site: &Site, at: &StackAt<'_>, token: Option<&SecretString>) -> Result<Seed, ToolError> {
    let installed = site.tools.allowed_for(at.stack).await?;
    let kept = check_state(site, at)?;
    name_is_free(at, kept.as_ref())?;
    let unit = match &at.stack.unit {
        Some(runs) => Some(unit::lay(site, at, runs, &installed, token).await?),
        None => None,
    };
    let own = Own::of(at, unit.as_ref());
    inputs::brings_no_providers(&own.config(at), at.config_dir())?;
    link_states(site, at, &own, kept.as_ref()).map_err(ToolError::io("put the states into a tree"))?;
    let inputs = inputs::read(at, &own.config(at), &installed, kept.is_some())?;
    fs::create_dir_all(site.seeds()).map_err(ToolError::io("make a folder"))?;

    let making = site.making.of(&inputs.digest);
    let _one = making.lock().await;
    let data_dir = match published(site, &inputs)? {
        Some(data_dir) => data_dir,
        None => make(site, at, &own, &installed, &inputs, token).await?,
    };
    put_lock_file(&own, &inputs, &data_dir)?;
    let keys = BTreeSet::from([key(site, at, &data_dir, kept.as_ref())?]);
    Ok(Seed {
        data_dir,
        digest: inputs.digest,
        keys,
        installed,
        unit,
    })
}

impl Seed {
    /// The command as it runs for this stack: a unit's through terragrunt.
    pub(crate) fn run(&self, site: &Site, at: &StackAt<'_>, command: Command) -> Result<Command, ToolError> {
        match &self.unit {
            Some(laid) => laid.through(site, at, command, Phase::Run),
            None => Ok(command),
        }
    }

    /// The same for what needs neither a unit's inputs nor its hooks.
    pub(crate) fn beside(&self, command: Command) -> Command {
        match &self.unit {
            Some(laid) => laid.beside(command),
            None => command,
        }
    }
}

/// Where a stack's own files are, for reading and writing.
struct Own<'a> {
    root: PathBuf,
    dir: RepoPath,
    unit: Option<&'a Laid>,
}

impl<'a> Own<'a> {
    fn of(at: &StackAt<'_>, unit: Option<&'a Laid>) -> Self {
        match unit {
            Some(laid) => Own {
                root: laid.downloads.clone(),
                dir: laid.dir.clone(),
                unit,
            },
            None => Own {
                root: at.tree.clone(),
                dir: at.stack.dir.clone(),
                unit,
            },
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.dir.as_str()).join(name)
    }

    fn config(&self, at: &StackAt<'_>) -> Config {
        match self.unit {
            Some(laid) => Config {
                root: laid.pristine.clone(),
                dir: laid.dir.clone(),
                init: Some(laid.init.clone()),
            },
            None => Config {
                root: at.checkout.clone(),
                dir: self.dir.clone(),
                init: None,
            },
        }
    }
}

/// Makes a seed anew though a published one fits: for [`ToolError::needs_init`], which happens when a state needs a
/// provider that the configuration needs no more.
pub async fn renew(
    site: &Site,
    at: &StackAt<'_>,
    token: Option<&SecretString>,
    seed: &Seed,
) -> Result<Seed, ToolError> {
    let own = Own::of(at, seed.unit.as_ref());
    let inputs = inputs::read(at, &own.config(at), &seed.installed, at.kept_state(site).is_some())?;
    let making = site.making.of(&inputs.digest);
    let _one = making.lock().await;
    let data_dir = make(site, at, &own, &seed.installed, &inputs, token).await?;
    put_lock_file(&own, &inputs, &data_dir)?;
    Ok(Seed {
        data_dir,
        ..seed.clone()
    })
}

/// Whether this server may hold, reach or run this state at all; the folder of one that it keeps.
fn check_state(site: &Site, at: &StackAt<'_>) -> Result<Option<KeptState>, ToolError> {
    let stack = &at.stack.name;
    match &at.stack.state {
        StateAt::Key(_) | StateAt::Unknown(_) => Ok(None),
        StateAt::Cloud { workspace, key: _ } => Err(ToolError::refused(
            format!(
                "stack {stack} is the workspace {workspace:?} of HCP Terraform, whose plans run there and not here"
            ),
            "exclude it, or move its state to another backend",
        )),
        StateAt::Absolute { file, key: _ } => match site.write.iter().any(|dir| Path::new(file).starts_with(dir)) {
            true => Ok(None),
            false => Err(ToolError::refused(
                format!("the state of stack {stack} is the file {file}, which this server does not let tools write"),
                "its operator can list the folder in LOCKKEEPER_TOOL_WRITE; or use a remote backend",
            )),
        },
        StateAt::Local { .. } => match site.local_state {
            LocalState::Keep => Ok(at.kept_state(site)),
            LocalState::Refuse => Err(refused_local(at)),
        },
    }
}

fn refused_local(at: &StackAt<'_>) -> ToolError {
    ToolError::refused(
        format!(
            "stack {} has no backend: its state would be thrown away with its working tree",
            at.stack.name
        ),
        "add a backend block; or this server's operator sets LOCKKEEPER_LOCAL_STATE=keep",
    )
}

/// A folder of the commit cannot become the link.
fn name_is_free(at: &StackAt<'_>, kept: Option<&KeptState>) -> Result<(), ToolError> {
    let taken = at.checkout.join(at.in_dir(STATE_LINK)).symlink_metadata().is_ok();
    match kept {
        Some(_) if taken => Err(ToolError::refused(
            format!(
                "stack {} has a file or folder {STATE_LINK}, a name that Lockkeeper uses itself",
                at.stack.name
            ),
            "give it another name",
        )),
        Some(_) | None => Ok(()),
    }
}

/// An override moves the stack's own state out of its tree; links stand where it reads those of others.
fn link_states(site: &Site, at: &StackAt<'_>, own: &Own<'_>, kept: Option<&KeptState>) -> std::io::Result<()> {
    beneath::remove(&own.root, &own.file(OVERRIDE))?;
    if let Some(kept) = kept {
        // the tool makes the workspace's folder while it plans, and must not write there then
        fs::create_dir_all(kept.file.parent().unwrap_or(&kept.folder))?;
        beneath::link(&own.root, &own.file(STATE_LINK), &kept.folder)?;
        let backend = serde_json::json!({ "path": format!("{STATE_LINK}/terraform.tfstate"), "workspace_dir": format!("{STATE_LINK}/workspaces") });
        let text = serde_json::json!({ "terraform": { "backend": { "local": backend } } }).to_string();
        beneath::write(&own.root, &own.file(OVERRIDE), text.as_bytes(), 0o644)?;
    }
    for (file, kept) in at.kept_upstreams(site) {
        let path = Path::new(file.as_str());
        fs::create_dir_all(&kept.folder)?;
        beneath::real_dir(&at.tree, path.parent().unwrap_or(Path::new("")), &at.checkout)?;
        beneath::link(&at.tree, path, &kept.file)?;
    }
    Ok(())
}

/// The data directory of a published seed that still holds.
fn published(site: &Site, inputs: &Inputs) -> Result<Option<PathBuf>, ToolError> {
    let file = site.seeds().join(&inputs.digest);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(ToolError::io("read a seed's pointer")(cause)),
    };
    let Ok(pointer) = serde_json::from_slice::<Pointer>(&bytes) else {
        return Ok(None);
    };
    let age = file
        .metadata()
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|made| made.elapsed().ok());
    let holds = pointer.pinned || age.is_some_and(|age| age < site.unpinned_seed_age);
    let data_dir = site.seeds().join(&pointer.dir);
    Ok((holds && data_dir.is_dir()).then_some(data_dir))
}

/// Runs `init` into a folder of its own, and publishes that if it succeeds.
async fn make(
    site: &Site,
    at: &StackAt<'_>,
    own: &Own<'_>,
    installed: &Installed,
    inputs: &Inputs,
    token: Option<&SecretString>,
) -> Result<PathBuf, ToolError> {
    // the path is final: `modules.json` records it
    let name = format!("{}-{}", inputs.digest, Uuid::now_v7().simple());
    let folders = Folders {
        data_dir: site.seeds().join(&name),
        private: site.seeds().join(format!("{name}.providers")),
    };
    let Folders { data_dir, private } = &folders;
    for dir in [data_dir, private, &site.providers()] {
        fs::create_dir_all(dir).map_err(ToolError::io("make a seed's folder"))?;
    }
    let made = fill(site, at, own, installed, inputs, token, &folders).await;
    let finished = made.and_then(|()| {
        let lock_file =
            beneath::read(&own.root, &own.file(LOCK_FILE), 1 << 20).map_err(ToolError::io("read the lock file"))?;
        if let (None, Some(bytes)) = (&inputs.lock_file, &lock_file) {
            beneath::write(data_dir, Path::new(MADE_LOCK_FILE), bytes, 0o444)
                .map_err(ToolError::io("keep the lock file"))?;
        }
        let pinned = inputs.modules_pinned && (inputs.lock_file.is_some() || lock_file.is_none());
        providers::adopt(&site.providers(), private, data_dir).map_err(ToolError::io("share the providers"))?;
        stays_inside(site, at, data_dir)?;
        read_only(data_dir).map_err(ToolError::io("make a seed read-only"))?;
        publish(site, &inputs.digest, &Pointer { dir: name, pinned }).map_err(ToolError::io("publish a seed"))
    });
    let _gone = fs::remove_dir_all(private);
    match finished {
        Ok(()) => Ok(folders.data_dir),
        Err(why) => {
            let _gone = writable(data_dir).and_then(|()| fs::remove_dir_all(data_dir));
            Err(why)
        }
    }
}

/// A seed is everybody's: what it links to must be ours or the operator's, never a tree of somebody's run.
fn stays_inside(site: &Site, at: &StackAt<'_>, data_dir: &Path) -> Result<(), ToolError> {
    let resolved = |dir: PathBuf| dir.canonicalize().ok();
    let mut allowed: Vec<PathBuf> = [data_dir.to_owned(), site.providers()]
        .into_iter()
        .chain(site.mirrors(at.origin))
        .filter_map(resolved)
        .collect();
    // an operator may name the whole disk: what runs leave is nobody's mirror
    let data = site
        .data
        .canonicalize()
        .map_err(ToolError::io("find the data directory"))?;
    allowed.retain(|dir| !data.starts_with(dir));
    match beneath::link_that_leaves(data_dir, &allowed).map_err(ToolError::io("look through a seed"))? {
        None => Ok(()),
        Some(link) => Err(ToolError::refused(
            format!(
                "init of stack {} made a link that leads out of its data directory: {}",
                at.stack.name,
                link.display()
            ),
            "remove what made it: a module or provider that is a link to somewhere else",
        )),
    }
}

/// Where a seed is made.
struct Folders {
    data_dir: PathBuf,
    /// Providers of this seed alone, until they are shared.
    private: PathBuf,
}

async fn fill(
    site: &Site,
    at: &StackAt<'_>,
    own: &Own<'_>,
    installed: &Installed,
    inputs: &Inputs,
    token: Option<&SecretString>,
    folders: &Folders,
) -> Result<(), ToolError> {
    let Folders { data_dir, private } = folders;
    let mut secrets = site.secrets();
    at.add_held(&mut secrets);
    let redactor = redactor_for(site, at, &secrets);
    let mut write = vec![data_dir.clone(), private.clone()];
    let mut modules = Modules::Fetch;
    match &inputs.lock_file {
        Some(bytes) => {
            providers::link_known(&site.providers(), private, bytes).map_err(ToolError::io("link known providers"))?;
        }
        // it makes a lock file beside the configuration
        None => write.push(own.root.join(own.dir.as_str())),
    }
    if let Some(token) = token.filter(|_| fetch::has_modules_on(at.stack, &site.github)) {
        fs::create_dir_all(&at.attempt).map_err(ToolError::io("make a folder"))?;
        let credentials = fetch::Credentials::write(&at.attempt, &site.github, token)?;
        let args = vec!["get".into(), "-no-color".into()];
        let mut get = Command::new(Step::Fetch, &installed.file, args, data_dir);
        get.env = credentials.env();
        get.read = vec![credentials.file()];
        get.write = write.clone();
        get.deadline = site.deadlines.init;
        let get = match own.unit {
            Some(laid) => laid.beside(get),
            None => get,
        };
        get.run(site, at).await?.expect(&[0], at, &redactor)?;
        modules = Modules::AreThere;
    }
    let mut args = init_args(site, at, inputs, modules);
    if let Some(laid) = own.unit {
        // ours come last, and win
        args.splice(1..1, laid.init.args.iter().map(Into::into));
    }
    let mut init = Command::new(Step::Init, &installed.file, args, data_dir);
    init.env = vec![("TF_PLUGIN_CACHE_DIR".into(), private.into())];
    init.write = write;
    // providers that only the state still needs are installed too
    init.read = states(site, at);
    init.deadline = site.deadlines.init;
    if let Some(laid) = own.unit {
        // where its configuration was hashed, and not where the unit's code would have it
        init = laid.beside(init);
        init.env
            .extend(laid.init.env.iter().map(|(name, value)| (name.into(), value.into())));
    }
    init.run(site, at).await?.expect(&[0], at, &redactor)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Modules {
    Fetch,
    /// `get` has fetched them: `init` needs no token.
    AreThere,
}

fn init_args(site: &Site, at: &StackAt<'_>, inputs: &Inputs, modules: Modules) -> Vec<std::ffi::OsString> {
    let mut args = vec!["init".into(), "-input=false".into(), "-no-color".into()];
    // never asks, and never moves a state, whatever a backend was before
    args.push("-reconfigure".into());
    if inputs.lock_file.is_some() {
        // what was reviewed is what is used: a lock file that does not fit is an error
        args.push("-lockfile=readonly".into());
    }
    if modules == Modules::AreThere {
        args.push("-get=false".into());
    }
    // what an argument says is stronger than the override that says where this server keeps the state
    let backend_files = at.stack.backend_files.iter().filter(|_| at.kept_state(site).is_none());
    for file in backend_files {
        let mut arg = std::ffi::OsString::from("-backend-config=");
        arg.push(at.tree.join(file.as_str()));
        args.push(arg);
    }
    args
}

/// Removes seeds that no pointer names, `age` after a newer one took their place (or after `init` failed half-way): longer
/// than any plan or apply that may still use one.
pub fn sweep(site: &Site, age: std::time::Duration) -> Result<(), ToolError> {
    let swept = || -> std::io::Result<()> {
        let (mut named, mut dirs) = (BTreeSet::new(), Vec::new());
        for entry in fs::read_dir(site.seeds())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry);
            } else if let Ok(pointer) = serde_json::from_slice::<Pointer>(&fs::read(entry.path())?) {
                named.insert(pointer.dir);
            }
        }
        for entry in dirs {
            let old = entry.metadata()?.modified()?.elapsed().is_ok_and(|been| been > age);
            let name = entry.file_name();
            if old && !named.contains(&*name.to_string_lossy()) {
                writable(&entry.path())?;
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    };
    match swept() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(ToolError::io("sweep seeds")),
    }
}

/// What stands in a read-only folder cannot be removed, but by root.
fn writable(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            writable(&entry.path())?;
        }
    }
    Ok(())
}

/// For people who look into the folder, and for a site without confinement; the confinement is what holds.
fn read_only(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_only(&entry.path())?;
        } else if kind.is_file() {
            let mode = entry.metadata()?.permissions().mode() & 0o555;
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o555))
}

fn publish(site: &Site, digest: &str, pointer: &Pointer) -> std::io::Result<()> {
    replaced_now(site, digest)?;
    let bytes = serde_json::to_vec(pointer)?;
    let new = site.seeds().join(format!("{}.pointer", pointer.dir));
    fs::write(&new, bytes)?;
    fs::rename(new, site.seeds().join(digest))
}

const REPLACED_NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// From now on nobody begins with the seed that stood there; whoever has it may use it for as long as a plan and an apply
/// take, so its age counts from here.
fn replaced_now(site: &Site, digest: &str) -> std::io::Result<()> {
    let old = match fs::read(site.seeds().join(digest)) {
        Ok(bytes) => serde_json::from_slice::<Pointer>(&bytes).ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match old.map(|old| fs::File::open(site.seeds().join(old.dir))) {
        Some(Ok(dir)) => Ok(futimens(dir, &REPLACED_NOW)?),
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Some(Err(_)) | None => Ok(()),
    }
}

/// A stack without a lock file of its own is planned with the one that its seed was made with.
fn put_lock_file(own: &Own<'_>, inputs: &Inputs, data_dir: &Path) -> Result<(), ToolError> {
    if inputs.lock_file.is_some() {
        return Ok(());
    }
    let put = || match beneath::read(data_dir, Path::new(MADE_LOCK_FILE), 1 << 20)? {
        Some(bytes) => beneath::write(&own.root, &own.file(LOCK_FILE), &bytes, 0o644),
        None => Ok(()),
    };
    put().map_err(ToolError::io("put the lock file into a tree"))
}

/// The true state. What the files seemed to say is not trusted: a state that would lie in the tree is refused here
/// even if it was not recognised before.
fn key(site: &Site, at: &StackAt<'_>, data_dir: &Path, kept: Option<&KeptState>) -> Result<LockKey, ToolError> {
    let bytes =
        beneath::read(data_dir, Path::new("terraform.tfstate"), 1 << 20).map_err(ToolError::io("read the backend"))?;
    let record: Option<backend::Record> = match bytes {
        Some(bytes) => {
            let step = Step::Init;
            Some(serde_json::from_slice(&bytes).map_err(|cause| ToolError::Unreadable { step, cause })?)
        }
        None => None,
    };
    let Some(backend) = record.and_then(|record| record.backend) else {
        return Err(refused_local(at));
    };
    match (&at.stack.state, kept, backend.local_path()) {
        (StateAt::Local { key, file: _ }, Some(_), Some(path)) if Path::new(path).starts_with(STATE_LINK) => {
            Ok(key.clone())
        }
        (StateAt::Absolute { key, file }, _, Some(path)) if path == file => {
            match (&at.stack.workspace, backend.workspace_dir()) {
                (workspace, _) if workspace == "default" => Ok(key.clone()),
                (_, Some(dir)) if site.write.iter().any(|allowed| Path::new(dir).starts_with(allowed)) => {
                    Ok(key.clone())
                }
                (workspace, _) => Err(ToolError::refused(
                    format!(
                        "the local backend of stack {} has no absolute `workspace_dir` for its workspace {workspace:?}: its state would be thrown away with its working tree",
                        at.stack.name
                    ),
                    "add one in a folder that this server's operator lists in LOCKKEEPER_TOOL_WRITE",
                )),
            }
        }
        (_, _, Some(_)) => Err(refused_local(at)),
        (_, _, None) if matches!(backend.kind.as_str(), "cloud" | "remote") => Err(ToolError::refused(
            format!(
                "the state of stack {} is in HCP Terraform, whose plans run there and not here",
                at.stack.name
            ),
            "exclude it, or move its state to another backend",
        )),
        (_, _, None) => backend
            .key(&at.stack.workspace)
            .map_err(|why| ToolError::refused(format!("stack {}: {why}", at.stack.name), "complete the backend block")),
    }
}
