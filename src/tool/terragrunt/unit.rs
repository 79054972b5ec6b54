//! Owns one unit's run: what stands for the units it needs, where terragrunt puts its configuration, and the commands
//! that go through it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::domain::ids::RepoPath;
use crate::domain::unit::Runs;
use crate::tool::beneath;
use crate::tool::error::{Step, ToolError};
use crate::tool::output::Output;
use crate::tool::program::Installed;
use crate::tool::run::{Command, redactor_for};
use crate::tool::site::{Site, StackAt};
use crate::tool::terragrunt::shim::{MARK, MARK_BEGINS, NAME, Noted, ORDER, Order, Phase};
use crate::tool::terragrunt::{fetched, make_repository};

/// Where terragrunt put one unit's configuration.
#[derive(Debug, Clone)]
pub struct Laid {
    /// All that terragrunt made; the tool may write there.
    pub downloads: PathBuf,
    /// As it was before any tool ran in it; ours alone.
    pub pristine: PathBuf,
    /// Where the tool works, below `downloads`.
    pub dir: RepoPath,
    /// What terragrunt gives to `init` by itself.
    pub init: Init,
    /// What we fetched in place of its source.
    source: Option<String>,
    program: PathBuf,
    tool: PathBuf,
}

/// What terragrunt gives to a unit's `init`. The unit's code could have written it: it is part of the seed's name, and a
/// seed that rests on more than plain settings is nobody else's.
#[derive(Debug, Clone, Default)]
pub struct Init {
    pub args: Vec<String>,
    /// Inputs, and the credentials of a role.
    pub env: BTreeMap<String, String>,
}

impl Init {
    /// Whether every argument says by itself all that it says: no file, no folder, no other module.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = |arg: &String| match arg.strip_prefix("-backend-config=") {
            Some(setting) => setting.contains('='),
            None => matches!(arg.as_str(), "-no-color" | "-input=false" | "-reconfigure" | "-upgrade"),
        };
        self.args.iter().all(plain)
    }
}

impl Laid {
    /// Where the tool works.
    pub fn cwd(&self) -> PathBuf {
        self.downloads.join(self.dir.as_str())
    }
}

/// Ours alone, in the attempt's folder: the stand-in, its order, and where the configuration was put.
fn ours(at: &StackAt<'_>) -> PathBuf {
    at.attempt.join("unit")
}

fn downloads(at: &StackAt<'_>) -> PathBuf {
    at.scratch.join("unit").join("downloads")
}

fn notes(at: &StackAt<'_>) -> PathBuf {
    at.scratch.join("unit").join("notes")
}

/// The same path at the plan and at the apply: it is part of the folder's name that terragrunt works in.
fn fetched_into(at: &StackAt<'_>) -> PathBuf {
    at.scratch.join("unit").join("source")
}

/// Says where the unit's configuration was put, also to a server that was not there then.
const WHERE: &str = "where";

/// Has terragrunt put the unit's configuration together, without running any tool, any other unit or asking any state.
pub async fn lay(
    site: &Site,
    at: &StackAt<'_>,
    runs: &Runs,
    installed: &Installed,
    token: Option<&SecretString>,
) -> Result<Laid, ToolError> {
    let program = site.tools.terragrunt().ok_or_else(|| {
        ToolError::refused(
            format!(
                "{} is a terragrunt unit, and terragrunt is not installed on this server",
                at.stack.name
            ),
            "ask its operator to install it",
        )
    })?;
    make_repository(&at.tree).map_err(ToolError::io("make a unit's tree"))?;
    stand_in_for_others(at, runs).map_err(ToolError::io("stand in for the units that this one needs"))?;
    let fresh = || -> io::Result<()> {
        remove_all(&at.scratch.join("unit"))?;
        remove_all(&ours(at))?;
        let data = at.scratch.join("unit").join("data");
        for dir in [downloads(at), notes(at), fetched_into(at), data, ours(at)] {
            fs::create_dir_all(dir)?;
        }
        std::os::unix::fs::symlink(&site.own.0, ours(at).join(NAME))
    };
    fresh().map_err(ToolError::io("make a unit's folders"))?;

    let source = fetched::fetch(site, at, runs, installed, token, &fetched_into(at)).await?;
    let mut laid = Laid {
        source,
        downloads: downloads(at),
        pristine: ours(at).join("pristine"),
        dir: RepoPath::root(),
        init: Init::default(),
        program: program.to_owned(),
        tool: installed.file.clone(),
    };
    let data = at.scratch.join("unit").join("data");
    let mut command = Command::new(Step::Init, &installed.file, vec!["init".into()], &data);
    command.write = vec![data.clone()];
    command.deadline = site.deadlines.init;
    let command = laid.through(site, at, command, Phase::Note)?;
    let mut secrets = site.secrets();
    at.add_held(&mut secrets);
    let redactor = redactor_for(site, at, &secrets);
    command.run(site, at).await?.expect(&[0], at, &redactor)?;
    laid.noted(at)?;

    let copied = copy(&laid.downloads, &laid.pristine);
    copied.map_err(ToolError::io("keep what terragrunt put together"))?;
    fs::write(ours(at).join(WHERE), laid.dir.as_str()).map_err(ToolError::io("note where a unit works"))?;
    Ok(laid)
}

/// A unit that another one needs is a file of ours in this stack's tree: nothing of it is evaluated, and the stand-in
/// for the tool knows it by its mark.
fn stand_in_for_others(at: &StackAt<'_>, runs: &Runs) -> io::Result<()> {
    for dir in &runs.needs {
        let path = Path::new(dir.as_str());
        // Through a link of the repository it could be a folder of the server, whose names would show in the tree.
        let checkout = at.checkout.canonicalize()?;
        match checkout.join(path).canonicalize() {
            Ok(found) if found != checkout.join(path) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a unit that is needed lies behind a link",
                ));
            }
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        beneath::real_dir(&at.tree, path, &at.checkout)?;
        for name in ["terragrunt.hcl.json", "terragrunt.values.hcl", "terragrunt.stack.hcl"] {
            beneath::remove(&at.tree, &path.join(name))?;
        }
        beneath::write(&at.tree, &path.join("terragrunt.hcl"), b"", 0o600)?;
        let mark = format!("{MARK_BEGINS}{}\n", id(dir));
        beneath::write(&at.tree, &path.join(MARK), mark.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Names a unit in its mark.
fn id(dir: &RepoPath) -> String {
    hex::encode(&Sha256::digest(dir.as_str())[..16])
}

impl Laid {
    /// Has terragrunt run a command of the tool, through the stand-in.
    pub(crate) fn through(
        &self,
        site: &Site,
        at: &StackAt<'_>,
        mut command: Command,
        phase: Phase,
    ) -> Result<Command, ToolError> {
        let order = Order {
            tool: self.tool.clone(),
            phase,
            notes: notes(at).join("init.json"),
            outputs: at
                .held
                .iter()
                .map(|(dir, outputs)| (id(dir), as_printed(outputs)))
                .collect(),
        };
        let bytes = serde_json::to_vec(&order).expect("an order is JSON");
        beneath::write(&ours(at), Path::new(ORDER), &bytes, 0o600).map_err(ToolError::io("write an order"))?;

        let mut args: Vec<OsString> = vec!["run".into()];
        if phase == Phase::Run {
            // The seed is there; without this each command begins with an `init`.
            args.push("--no-auto-init".into());
        }
        if at.not_held().is_some() {
            // Only its state is looked into: what feeds its inputs is not known, and does not matter.
            args.extend(["--experiment", "optional-dependency-outputs", "--no-dependency-outputs"].map(OsString::from));
        }
        let quiet = [
            "--tf-forward-stdout",
            "--log-level",
            "error",
            "--no-color",
            "--non-interactive",
            "--",
        ];
        args.extend(quiet.map(OsString::from));
        args.append(&mut command.args);
        command.args = args;
        command.read.extend([self.tool.clone(), site.own.0.clone(), ours(at)]);
        command
            .write
            .extend([at.tree.clone(), self.downloads.clone(), notes(at)]);
        if let Some(source) = &self.source {
            command.read.push(fetched_into(at));
            command.env.push(("TG_SOURCE".into(), source.into()));
        }
        command.file = self.program.clone();
        let set = |name: &str, value: OsString| (OsString::from(name), value);
        command.env.extend([
            set("TG_TF_PATH", ours(at).join(NAME).into()),
            set("TG_DOWNLOAD_DIR", self.downloads.clone().into()),
            // An apply that failed half-way is not tried again.
            set("TG_NO_AUTO_RETRY", "true".into()),
            set("TG_NON_INTERACTIVE", "true".into()),
            // No bucket is made for a state.
            set("TG_BACKEND_BOOTSTRAP", "false".into()),
        ]);
        Ok(command)
    }

    /// The tool itself, where terragrunt put the configuration: for what needs neither inputs nor hooks.
    pub(crate) fn beside(&self, mut command: Command) -> Command {
        command.cwd = Some(self.cwd());
        command.read.push(self.downloads.clone());
        command
    }

    /// Reads where `init` would have run. The unit's code could have written it: it decides only among its own folders.
    fn noted(&mut self, at: &StackAt<'_>) -> Result<(), ToolError> {
        let none = || {
            ToolError::refused(
                format!(
                    "terragrunt came to no init for {}: it may have no source and no configuration",
                    at.stack.name
                ),
                "give it a `source`, or configuration files beside its terragrunt.hcl",
            )
        };
        let bytes = beneath::read(&notes(at), Path::new("init.json"), 1 << 20).map_err(ToolError::io("read a note"))?;
        let noted: Noted = serde_json::from_slice(&bytes.ok_or_else(none)?).map_err(|cause| ToolError::Unreadable {
            step: Step::Init,
            cause,
        })?;
        let root = self
            .downloads
            .canonicalize()
            .map_err(ToolError::io("find a unit's folder"))?;
        let cwd = noted
            .cwd
            .canonicalize()
            .map_err(ToolError::io("find a unit's folder"))?;
        let dir = cwd.strip_prefix(&root).ok().and_then(Path::to_str);
        self.dir = dir.and_then(|dir| RepoPath::parse(dir).ok()).ok_or_else(none)?;
        self.init = Init {
            args: noted.args.into_iter().skip(1).collect(),
            env: noted.env,
        };
        // It holds values in the clear.
        beneath::remove(&notes(at), Path::new("init.json")).map_err(ToolError::io("remove a note"))
    }
}

/// Where the unit of this attempt works: `downloads` and the directory in it. `None`: it was never put together.
pub(crate) fn where_it_works(at: &StackAt<'_>) -> io::Result<Option<(PathBuf, RepoPath)>> {
    let bytes = beneath::read(&ours(at), Path::new(WHERE), 4096)?;
    let dir = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(dir.and_then(|dir| Some((downloads(at), RepoPath::parse(&dir).ok()?))))
}

/// Removes the order: it holds values in the clear.
pub(crate) fn forget(at: &StackAt<'_>) -> io::Result<()> {
    match ours(at).is_dir() {
        true => beneath::remove(&ours(at), Path::new(ORDER)),
        false => Ok(()),
    }
}

/// As `output -json` prints them.
fn as_printed(outputs: &BTreeMap<String, Output>) -> Json {
    let printed = |(name, output): (&String, &Output)| {
        let kind = match &output.kind {
            // A plan does not tell the type of what was applied before it.
            Json::Null => kind_of(&output.value),
            kind => kind.clone(),
        };
        let output = json!({ "sensitive": output.sensitive, "type": kind, "value": output.value });
        (name.clone(), output)
    };
    Json::Object(outputs.iter().map(printed).collect())
}

/// The type that a value has if nobody says more.
fn kind_of(value: &Json) -> Json {
    match value {
        Json::Null => json!("dynamic"),
        Json::Bool(_) => json!("bool"),
        Json::Number(_) => json!("number"),
        Json::String(_) => json!("string"),
        Json::Array(items) => json!(["tuple", items.iter().map(kind_of).collect::<Vec<_>>()]),
        Json::Object(map) => {
            let kinds: serde_json::Map<String, Json> =
                map.iter().map(|(name, value)| (name.clone(), kind_of(value))).collect();
            json!(["object", kinds])
        }
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

/// Copies a folder; links stay links. Iterative: how deep it nests is its author's choice.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (path, copy, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
            if kind.is_dir() {
                fs::create_dir(&copy)?;
                folders.push((path, copy));
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&path)?, copy)?;
            } else if kind.is_file() {
                fs::copy(&path, copy)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_that_reads_a_file_makes_a_seed_for_itself_alone() {
        for (arg, plain) in [
            ("-backend-config=bucket=acme", true),
            ("-no-color", true),
            ("-backend-config=prod.hcl", false),
            ("-backend-config", false),
            ("-plugin-dir=/x", false),
            ("-from-module=x", false),
            ("prod.hcl", false),
        ] {
            let init = Init {
                args: vec![arg.to_owned()],
                env: BTreeMap::new(),
            };
            assert_eq!(init.is_plain(), plain, "{arg}");
        }
    }

    #[test]
    fn outputs_are_printed_with_a_type_each() {
        let output = |value: Json, kind: Json| Output {
            sensitive: false,
            value,
            kind,
        };
        let outputs = BTreeMap::from([
            ("a".to_owned(), output(json!("x"), Json::Null)),
            ("b".to_owned(), output(json!(["x"]), json!(["set", "string"]))),
            ("c".to_owned(), output(json!({"k": [1, null]}), Json::Null)),
        ]);
        assert_eq!(
            as_printed(&outputs),
            json!({
                "a": {"sensitive": false, "type": "string", "value": "x"},
                "b": {"sensitive": false, "type": ["set", "string"], "value": ["x"]},
                "c": {"sensitive": false, "type": ["object", {"k": ["tuple", ["number", "dynamic"]]}], "value": {"k": [1, null]}},
            })
        );
    }
}
