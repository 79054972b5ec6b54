//! Owns the making of a plan: the tool's `plan` and `show`, and everything that is kept of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::domain::ids::{ContentDigest, PlanDigest, RepoPath};
use crate::domain::located::Located;
use crate::domain::plan::change::Plan;
use crate::domain::plan::{Counts, PlanJson};
use crate::domain::run::Aim;
use crate::tool::beneath;
use crate::tool::diagnostics::plain;
use crate::tool::error::{Step, ToolError};
use crate::tool::output::{Output, PlannedOutput};
use crate::tool::reading::{self, Prior};
use crate::tool::redact::{Redactor, Secrets};
use crate::tool::run::{Command, redactor_for, workspace_env};
use crate::tool::seed::{Seed, states};
use crate::tool::site::{Site, StackAt};
use crate::tool::terragrunt::unit;
use crate::tool::workspace;

/// What a plan is for, and what the stack is given from its upstreams.
#[derive(Clone, Default)]
pub struct Inputs {
    pub aim: Aim,
    /// Variables of the root module; passed in a private file.
    pub variables: BTreeMap<String, Json>,
    /// Those whose value is sensitive upstream.
    pub sensitive: BTreeSet<String>,
    /// What a terragrunt unit's dependencies put out, by their directories: for [`StackAt::held`].
    pub units: BTreeMap<RepoPath, BTreeMap<String, Output>>,
    /// What upstreams hide, and the tool does not know to be sensitive where it reads it from a state.
    pub hidden: Secrets,
}

/// A final plan. Nothing here but the plan file, `outputs` and `hidden` holds a sensitive value.
#[derive(Debug)]
pub struct Planned {
    /// In the attempt's folder; holds every value in the clear. To be taken (encrypted) and removed.
    pub file: PathBuf,
    pub digest: PlanDigest,
    pub content: ContentDigest,
    pub counts: Counts,
    pub json: PlanJson,
    /// What the tool prints, redacted; at most 4 MiB.
    pub text: String,
    /// For the stacks downstream.
    pub outputs: BTreeMap<String, PlannedOutput>,
    /// Whether the state held anything before it.
    pub prior: Prior,
    pub plan: Plan,
    /// What must be hidden in the output of the apply too. To be kept as the plan file is.
    pub hidden: Secrets,
}

/// The largest plan file.
const MOST_PLAN: u64 = 256 << 20;
/// The longest text that is kept.
const MOST_TEXT: usize = 4 << 20;
/// The plan file's name in the folder that the tool may write to.
const OUT: &str = "plan";

/// Plans a stack for real: `plan` and `show`, two processes. Takes no state lock.
pub async fn plan(site: &Site, at: &StackAt<'_>, seed: &Seed, inputs: &Inputs) -> Result<Planned, ToolError> {
    let mut secrets = site.secrets();
    secrets.add_all(&inputs.hidden);
    let values = inputs.sensitive.iter().filter_map(|name| inputs.variables.get(name));
    values.for_each(|value| secrets.add(value));
    at.add_held(&mut secrets);
    let redactor = redactor_for(site, at, &secrets);

    if let (Aim::Destroy, Some(dir)) = (inputs.aim, at.not_held()) {
        // Terragrunt cannot tell its inputs, and no destroy plan is made on guessed ones.
        return match state_is_empty(site, at, seed, &redactor).await? {
            true => nothing_to_destroy(at, "Its state holds nothing".to_owned()),
            false => Err(ToolError::Refused(no_outputs_of(at, dir))),
        };
    }
    if !workspace::was_seen(site, at, seed) && !workspace::is_listed(site, at, seed, &redactor).await? {
        return match inputs.aim {
            Aim::Change => Err(workspace::missing(at.stack, &seed.installed)),
            Aim::Destroy => nothing_to_destroy(at, format!("The workspace {:?} does not exist", at.stack.workspace)),
        };
    }

    let told = Told {
        aim: inputs.aim,
        variables: &inputs.variables,
        read: &[],
    };
    let made = make(site, at, seed, &told, &redactor).await?;
    let (file, digest) = take_plan(at)?;
    let shown = show(site, at, seed, &told, &file, &redactor).await?;
    let reading::Read {
        plan,
        json,
        outputs,
        secrets,
        prior,
    } = reading::read(&shown, secrets, &inputs.sensitive, &site.hash_key)?;
    // Removed since it was seen.
    if prior == Prior::Nothing && inputs.aim == Aim::Change && !workspace::is_listed(site, at, seed, &redactor).await? {
        return Err(workspace::missing(at.stack, &seed.installed));
    }
    Ok(Planned {
        text: bounded(redactor_for(site, at, &secrets).text(&text(&made))),
        content: plan.content(),
        counts: plan.counts(),
        file,
        digest,
        json,
        outputs,
        prior,
        plan,
        hidden: secrets,
    })
}

/// What a plan is told besides what its stack says.
pub(crate) struct Told<'a> {
    pub aim: Aim,
    /// Passed in a private file, after the stack's own variable files.
    pub variables: &'a BTreeMap<String, Json>,
    /// Further places that the tool has to read.
    pub read: &'a [PathBuf],
}

/// Runs `plan`: what it printed. The plan file is where [`take_plan`] takes it.
pub(crate) async fn make(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
    told: &Told<'_>,
    redactor: &Redactor,
) -> Result<Vec<u8>, ToolError> {
    let out = out(at);
    fs::create_dir_all(&out).map_err(ToolError::io("make a folder"))?;
    let vars = write_variables(at, told.variables)?;
    let mut command = Command::new(
        Step::Plan,
        &seed.installed.file,
        plan_args(at, told.aim, &out, vars.as_deref()),
        &seed.data_dir,
    );
    command.env = workspace_env(at);
    command.read = states(site, at);
    command.read.extend(vars.clone());
    command.read.extend_from_slice(told.read);
    command.write = vec![at.tree.clone(), out];
    command.deadline = site.deadlines.plan;
    let command = seed.run(site, at, command)?;
    let finished = command.run(site, at).await;
    unit::forget(at).map_err(ToolError::io("remove an order"))?;
    if let Some(vars) = vars {
        fs::remove_file(vars).map_err(ToolError::io("remove the variables' file"))?;
    }
    // 2: there are changes
    Ok(finished?.expect(&[0, 2], at, redactor)?.stdout)
}

/// Where the tool writes its plan file.
fn out(at: &StackAt<'_>) -> PathBuf {
    at.attempt.join("out")
}

/// Whether a unit's state holds no resource, one process. Its inputs do not matter for that.
async fn state_is_empty(site: &Site, at: &StackAt<'_>, seed: &Seed, redactor: &Redactor) -> Result<bool, ToolError> {
    let step = Step::State;
    let args = vec!["state".into(), "pull".into()];
    let mut command = Command::new(step, &seed.installed.file, args, &seed.data_dir);
    command.env = workspace_env(at);
    command.read = states(site, at);
    command.deadline = site.deadlines.init;
    let finished = seed.run(site, at, command)?.run(site, at).await;
    unit::forget(at).map_err(ToolError::io("remove an order"))?;
    let stdout = finished?.expect(&[0], at, redactor)?.stdout;
    if stdout.trim_ascii().is_empty() {
        return Ok(true);
    }
    let state: Json = serde_json::from_slice(&stdout).map_err(|cause| ToolError::Unreadable { step, cause })?;
    // What does not say that it is empty is not.
    Ok(state["resources"].as_array().is_some_and(Vec::is_empty))
}

fn no_outputs_of(at: &StackAt<'_>, dir: &RepoPath) -> Located {
    let problem = format!(
        "{} takes outputs of {dir}, whose state holds none: terragrunt cannot tell its inputs, and nothing is destroyed on \
         guessed ones",
        at.stack.name
    );
    let hint =
        format!("apply {dir} first, or destroy this unit by hand from the base branch and then remove its files");
    match &at.stack.defined_at {
        Some(place) => Located::at(place.clone(), problem).hint(hint),
        None => Located::nowhere(problem).hint(hint),
    }
}

/// The destroy plan of a stack that has nothing: asking the tool for one might make its workspace, or need inputs that
/// nobody has. There is nothing in it that could be applied.
fn nothing_to_destroy(at: &StackAt<'_>, why: String) -> Result<Planned, ToolError> {
    let plan = Plan::default();
    fs::create_dir_all(&at.attempt).map_err(ToolError::io("make a folder"))?;
    let name = Path::new("plan.bin");
    beneath::write(&at.attempt, name, &[], 0o600).map_err(ToolError::io("keep the plan file"))?;
    let json = serde_json::json!({ "format_version": "1.2", "resource_changes": [], "output_changes": {} });
    Ok(Planned {
        file: at.attempt.join(name),
        digest: digest(&[]),
        content: plan.content(),
        counts: plan.counts(),
        json: PlanJson::new(json.to_string().into_bytes()),
        text: format!("{why}: there is nothing to destroy."),
        outputs: BTreeMap::new(),
        prior: Prior::Nothing,
        plan,
        hidden: Secrets::default(),
    })
}

fn plan_args(at: &StackAt<'_>, aim: Aim, out: &Path, variables: Option<&Path>) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["plan".into(), "-input=false".into(), "-no-color".into()];
    // plans of several pull requests may run at once; only an apply takes the state lock
    args.push("-lock=false".into());
    // 2 instead of 0 where there are changes
    args.push("-detailed-exitcode".into());
    if aim == Aim::Destroy {
        args.push("-destroy".into());
    }
    args.push(option("-out=", &out.join(OUT)));
    for file in &at.stack.var_files {
        args.push(option("-var-file=", &at.tree.join(file.as_str())));
    }
    // ours is last: what an edge declares is stronger than a file
    args.extend(variables.map(|file| option("-var-file=", file)));
    args
}

fn option(name: &str, value: &Path) -> OsString {
    let mut arg = OsString::from(name);
    arg.push(value);
    arg
}

/// Values never stand in arguments: every user of the machine can read those.
fn write_variables(at: &StackAt<'_>, variables: &BTreeMap<String, Json>) -> Result<Option<PathBuf>, ToolError> {
    const NAME: &str = "lockkeeper.tfvars.json";
    if variables.is_empty() {
        return Ok(None);
    }
    let bytes = serde_json::to_vec(variables).expect("JSON values are JSON");
    beneath::write(&at.attempt, Path::new(NAME), &bytes, 0o600).map_err(ToolError::io("write the variables' file"))?;
    Ok(Some(at.attempt.join(NAME)))
}

/// Takes the plan file away from where the tool could still write, then reads its digest.
pub(crate) fn take_plan(at: &StackAt<'_>) -> Result<(PathBuf, PlanDigest), ToolError> {
    let out = &out(at);
    let bytes = beneath::read(out, Path::new(OUT), MOST_PLAN).map_err(ToolError::io("take the plan file"))?;
    let bytes = bytes.ok_or_else(|| ToolError::io("take the plan file")(std::io::ErrorKind::NotFound.into()))?;
    let name = Path::new("plan.bin");
    beneath::write(&at.attempt, name, &bytes, 0o600).map_err(ToolError::io("keep the plan file"))?;
    fs::remove_dir_all(out).map_err(ToolError::io("remove a folder"))?;
    Ok((at.attempt.join(name), digest(&bytes)))
}

/// The digest of a plan file's bytes.
pub fn digest(bytes: &[u8]) -> PlanDigest {
    PlanDigest::parse(&hex::encode(Sha256::digest(bytes))).expect("SHA-256 in hexadecimal")
}

/// What `show -json` says of a plan file.
pub(crate) async fn show(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
    told: &Told<'_>,
    file: &Path,
    redactor: &Redactor,
) -> Result<Vec<u8>, ToolError> {
    let args = vec!["show".into(), "-json".into(), "-no-color".into(), file.into()];
    let mut command = Command::new(Step::Show, &seed.installed.file, args, &seed.data_dir);
    command.env = workspace_env(at);
    command.read = states(site, at);
    command.read.push(file.to_owned());
    command.read.extend_from_slice(told.read);
    command.deadline = site.deadlines.plan;
    let finished = seed.beside(command).run(site, at).await?.expect(&[0], at, redactor)?;
    Ok(finished.stdout)
}

/// What the tool printed, without the lines that only say how it got on. Not redacted yet.
pub(crate) fn text(stdout: &[u8]) -> String {
    let clean = plain(&String::from_utf8_lossy(stdout));
    let progress = |line: &str| {
        const WORDS: [&str; 5] = [
            ": Refreshing state...",
            ": Reading...",
            ": Read complete after ",
            ": Still reading...",
            ": Preparing import...",
        ];
        line.trim().is_empty() || WORDS.iter().any(|word| line.contains(word))
    };
    let lines: Vec<&str> = clean.lines().skip_while(|line| progress(line)).collect();
    lines.join("\n").trim_end().to_owned()
}

/// The text as it is kept: at most 4 MiB.
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        text.truncate(text.floor_char_boundary(MOST_TEXT));
        text.push_str("\n… (cut here)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_not_part_of_a_plan() {
        let stdout = b"terraform_data.x: Refreshing state... [id=1]\ndata.a.b: Reading...\n\nNo changes. Your infrastructure matches the configuration.\n\nx: Reading...\n";
        let shown = text(stdout);
        assert_eq!(
            shown,
            "No changes. Your infrastructure matches the configuration.\n\nx: Reading..."
        );
    }
}
