//! Owns the apply of a saved plan: started once, never repeated, found again after a restart.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::domain::ids::PlanDigest;
use crate::domain::run::Failure;
use crate::process::supervise::{self, Ended, Found, IfServerDies, Running};
use crate::process::{Exit, ProcessError};
use crate::tool::beneath;
use crate::tool::diagnostics::plain;
use crate::tool::error::{Step, ToolError};
use crate::tool::plan::digest;
use crate::tool::redact::Secrets;
use crate::tool::run::{Command, Finished, redactor_for, workspace_env};
use crate::tool::seed::{Seed, states};
use crate::tool::site::{Site, StackAt};
use crate::tool::terragrunt::unit;

/// The plan that may be applied, and what must be hidden in what the tool says meanwhile.
pub struct ApplyOrder {
    pub plan: PlanDigest,
    pub hidden: Secrets,
}

/// An apply under way. Dropping it does not stop it.
#[derive(Debug)]
pub struct Applying {
    running: Running,
    hidden: Secrets,
}

/// How an apply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// `text`: what the tool printed, redacted.
    Done {
        text: String,
    },
    Failed(Failure),
}

/// What is left of an apply that was started before this server was.
#[expect(clippy::large_enum_variant, reason = "there is one for each apply")]
#[derive(Debug)]
pub enum Adopted {
    /// It still runs: wait for it, then ask [`Applying::ended`].
    Alive(Applying),
    Ended(Applied),
    /// The tool never ran, and will not.
    NotStarted,
    /// It ran, and nobody knows how it ended.
    Lost,
}

/// The largest state that a failed apply could not save.
const MOST_STATE: u64 = 256 << 20;
/// The plan file of an apply, in the attempt's folder.
const PLAN: &str = "apply.bin";
/// What the tool leaves beside the configuration if it could not save the state.
const ERRORED_STATE: &str = "errored.tfstate";

/// The folder of the supervisor within an attempt's folder: it is there once an apply was begun.
pub const FOLDER: &str = "apply";

/// One per attempt: an attempt that has been used cannot be started again.
fn task_dir(at: &StackAt<'_>) -> PathBuf {
    at.attempt.join(FOLDER)
}

/// Starts the apply of a plan file, if that is the one that was ordered. Nothing is started on an error.
pub async fn apply(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
    order: &ApplyOrder,
    plan_file: &[u8],
) -> Result<Applying, ToolError> {
    if digest(plan_file) != order.plan {
        return Err(ToolError::WrongPlan);
    }
    fs::create_dir_all(&at.attempt).map_err(ToolError::io("make a folder"))?;
    // a copy that was compared, at a place where nobody else writes
    beneath::write(&at.attempt, Path::new(PLAN), plan_file, 0o600).map_err(ToolError::io("keep the plan file"))?;
    let plan = at.attempt.join(PLAN);
    let mut args: Vec<std::ffi::OsString> = vec!["apply".into(), "-input=false".into(), "-no-color".into()];
    // somebody at a keyboard may hold it for a moment
    args.push("-lock-timeout=5m".into());
    args.push(plan.clone().into());
    let mut command = Command::new(Step::Apply, &seed.installed.file, args, &seed.data_dir);
    command.env = workspace_env(at);
    command.read = states(site, at);
    command.read.push(plan);
    command.write = site.write.iter().filter(|path| path.exists()).cloned().collect();
    command.write.push(at.tree.clone());
    command.write.extend(at.kept_state(site).map(|kept| kept.folder));
    command.deadline = site.deadlines.apply;
    command.if_server_dies = IfServerDies::Finish;
    let command = seed.run(site, at, command)?;
    let running = command.start(site, at, task_dir(at)).await?;
    let hidden = order.hidden.clone();
    Ok(Applying { running, hidden })
}

/// Looks for an apply that was started in this attempt's folder; `hidden` is what was ordered to be hidden. May be
/// asked as often as one likes: whoever asks may die before the answer is on record.
pub fn adopt(site: &Site, at: &StackAt<'_>, hidden: Secrets) -> Result<Adopted, ToolError> {
    let step = Step::Apply;
    let dir = task_dir(at);
    match supervise::find(&dir).map_err(|cause| ToolError::Process { step, cause })? {
        Found::Alive(running) => Ok(Adopted::Alive(Applying { running, hidden })),
        Found::Finished(ended) => match ended_as(site, at, ended, &hidden) {
            Err(ToolError::Lost(_)) => Ok(Adopted::Lost),
            ended => Ok(Adopted::Ended(ended?)),
        },
        Found::NotStarted => {
            // a supervisor may have died in it, and each wants a folder of its own
            match fs::remove_dir_all(dir) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    Err(ToolError::io("remove what an apply left that never began")(cause))
                }
                _ => Ok(Adopted::NotStarted),
            }
        }
        Found::Gone => {
            unit::forget(at).map_err(ToolError::io("remove an order"))?;
            Ok(Adopted::Lost)
        }
    }
}

impl Applying {
    /// Waits for its end. May be dropped and called again; [`ToolError::Lost`] is final.
    pub async fn ended(&mut self, site: &Site, at: &StackAt<'_>) -> Result<Applied, ToolError> {
        let step = Step::Apply;
        match self.running.wait().await {
            Ok(ended) => ended_as(site, at, ended, &self.hidden),
            Err(ProcessError::Lost(_)) => Err(ToolError::Lost(step)),
            Err(cause) => Err(ToolError::Process { step, cause }),
        }
    }
}

fn ended_as(site: &Site, at: &StackAt<'_>, ended: Ended, hidden: &Secrets) -> Result<Applied, ToolError> {
    let exit = ended.exit;
    unit::forget(at).map_err(ToolError::io("remove an order"))?;
    let mut secrets = site.secrets();
    secrets.add_bytes(&hidden.to_bytes());
    let redactor = redactor_for(site, at, &secrets);
    // Killed, by the system or by us when its time was over: nobody knows what it did, nor whether the state was saved.
    if matches!(exit, Exit::Signal(_) | Exit::DeadlineReached) {
        keep_errored_state(site, at)?;
        return Err(ToolError::Lost(Step::Apply));
    }
    let applied = match Finished::read(Step::Apply, ended, site.deadlines.apply) {
        Ok(finished) if finished.code == 0 => Applied::Done {
            text: redactor.text(&plain(&String::from_utf8_lossy(&finished.stdout))),
        },
        Ok(finished) => Applied::Failed(finished.failed(at, &redactor).failure()),
        Err(ToolError::Interrupted(_)) => Applied::Failed(Failure::saying(
            "apply was interrupted: what it had done by then is done and saved",
        )),
        Err(why) => return Err(why),
    };
    if keep_errored_state(site, at)? {
        // What was made is in no state: a second apply would make it again.
        return Err(ToolError::Lost(Step::Apply));
    }
    forget_plan(&at.attempt)?;
    Ok(applied)
}

/// Removes the plan file of an attempt's apply: it holds every value in the clear, and once the apply has ended, was
/// never begun or is given up, nobody reads it.
pub fn forget_plan(attempt: &Path) -> Result<(), ToolError> {
    beneath::remove(attempt, Path::new(PLAN)).map_err(ToolError::io("remove the plan file"))
}

/// A state that could not be saved is the only record of what was made: it leaves the tree and the run, which are
/// thrown away. Says whether there was one.
fn keep_errored_state(site: &Site, at: &StackAt<'_>) -> Result<bool, ToolError> {
    let of_unit = unit::where_it_works(at).map_err(ToolError::io("keep the unsaved state"))?;
    let (root, file) = match of_unit {
        Some((root, dir)) => (root, Path::new(dir.as_str()).join(ERRORED_STATE)),
        None => (at.tree.clone(), at.in_dir(ERRORED_STATE)),
    };
    let state = beneath::read(&root, &file, MOST_STATE).map_err(ToolError::io("keep the unsaved state"))?;
    let Some(bytes) = state else { return Ok(false) };
    let folder = site.data.join("errored");
    fs::create_dir_all(&folder).map_err(ToolError::io("keep the unsaved state"))?;
    let name = hex::encode(Sha256::digest(at.attempt.as_os_str().as_encoded_bytes()));
    let name = format!("{}.tfstate", &name[..24]);
    beneath::write(&folder, Path::new(&name), &bytes, 0o600).map_err(ToolError::io("keep the unsaved state"))?;
    tracing::error!(
        stack = %at.stack.name,
        file = %folder.join(&name).display(),
        "the state of an apply could not be saved: push this file before anything else"
    );
    Ok(true)
}
