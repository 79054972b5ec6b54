//! Owns one run of a tool: its environment, what it may touch, and what its end means.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::confine::{Confinement, Limits, base_reads};
use crate::process::supervise::{Ended, IfServerDies, Running, Task, start};
use crate::process::{Exit, Program};
use crate::tool::diagnostics;
use crate::tool::error::{Step, ToolError};
use crate::tool::fetch::protocols;
use crate::tool::redact::{Redactor, Secrets};
use crate::tool::site::{Site, StackAt};

/// Where programs are looked for by the tool; the confinement lets it read them.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables whose value is a path that the tool has to read.
const FILES_NAMED_BY_ENV: [&str; 8] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_FEDERATED_TOKEN_FILE",
    "TF_CLI_CONFIG_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The most bytes of a tool's output that are read; of a log that is longer the beginning.
const MOST_READ: u64 = 16 << 20;
/// The most bytes of a plan or of outputs as JSON: what is larger would be the memory of this server.
const MOST_JSON: u64 = 64 << 20;

/// Names the tool's own configuration.
const CONFIG: &str = "TF_CLI_CONFIG_FILE";
/// Without it `terraform.d/plugins` where the tool is started, and others, are mirrors that come before every registry
/// (terraform: "Implied Local Mirror Directories"): a pull request would bring its own program for every provider.
const NO_IMPLIED_MIRROR: &str = "provider_installation {\n  direct {}\n}\n";

/// One command of the tool.
pub(crate) struct Command {
    pub step: Step,
    /// The tool's program file.
    pub file: PathBuf,
    pub args: Vec<OsString>,
    pub data_dir: PathBuf,
    /// Where it is started, if that is not the stack's directory in its tree.
    pub cwd: Option<PathBuf>,
    /// Beside what every command gets.
    pub env: Vec<(OsString, OsString)>,
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    pub deadline: Duration,
    pub if_server_dies: IfServerDies,
}

impl Command {
    pub fn new(step: Step, file: &Path, args: Vec<OsString>, data_dir: &Path) -> Self {
        Command {
            step,
            file: file.to_owned(),
            args,
            data_dir: data_dir.to_owned(),
            cwd: None,
            env: Vec::new(),
            read: Vec::new(),
            write: Vec::new(),
            deadline: Duration::ZERO,
            if_server_dies: IfServerDies::Interrupt,
        }
    }

    /// Starts it under a supervisor, whose folder is `dir`.
    pub async fn start(self, site: &Site, at: &StackAt<'_>, dir: PathBuf) -> Result<Running, ToolError> {
        let step = self.step;
        for dir in [home(at), temp(at)] {
            std::fs::create_dir_all(&dir).map_err(ToolError::io("make a scratch folder"))?;
        }
        if configured(site, at).is_none() {
            keep_config(site).map_err(ToolError::io("write the tool's configuration"))?;
        }
        let mut task = Task::new(
            dir,
            Program {
                env: environment(site, at, &self),
                cwd: self.cwd.clone().unwrap_or_else(|| at.cwd()),
                deadline: self.deadline,
                file: self.file.clone(),
                args: self.args.clone(),
            },
            confinement(site, at, &self),
            self.if_server_dies,
        );
        task.die_at = site.supervisors_die_at;
        std::fs::create_dir_all(&at.attempt).map_err(ToolError::io("make a folder"))?;
        site.starts.count(step);
        start(&site.own, &task)
            .await
            .map_err(|cause| ToolError::Process { step, cause })
    }

    /// Runs it to its end. Stops early when the attempt's `stop` says so, or when this future is dropped.
    pub async fn run(self, site: &Site, at: &StackAt<'_>) -> Result<Finished, ToolError> {
        let (step, deadline) = (self.step, self.deadline);
        let dir = at.attempt.join(format!(
            "{}-{}",
            step.word().replace(' ', "-"),
            uuid::Uuid::now_v7().simple()
        ));
        let mut running = self.start(site, at, dir.clone()).await?;
        let stopped = at.stop.clone();
        let mut asked = false;
        let ended = loop {
            tokio::select! {
                ended = running.wait() => break ended,
                () = stopped.cancelled(), if !asked => {
                    asked = true;
                    running.interrupt();
                }
            }
        };
        let ended = ended.map_err(|cause| ToolError::Process { step, cause })?;
        let finished = Finished::read(step, ended, deadline);
        // what a tool prints can hold values in the clear
        std::fs::remove_dir_all(dir).map_err(ToolError::io("remove the output"))?;
        finished
    }
}

fn home(at: &StackAt<'_>) -> PathBuf {
    at.scratch.join("home")
}

fn temp(at: &StackAt<'_>) -> PathBuf {
    at.scratch.join("tmp")
}

/// The tools are short-lived Go programs with a live heap of some megabytes; with Go's default of 100 they spend a
/// quarter of their processor time on collecting it.
const LAZY_COLLECTION: &str = "400";

/// A provider inherits the tool's environment and can have a heap of hundreds of megabytes: that must not grow fivefold.
fn starts_no_provider(command: &Command) -> bool {
    matches!(command.step, Step::Init | Step::Fetch) || !command.data_dir.join("providers").exists()
}

/// The operator's configuration of the tool.
fn configured<'a>(site: &'a Site, at: &StackAt<'_>) -> Option<&'a OsString> {
    let given = site.env_for(at.origin).iter().find(|(name, _)| name == CONFIG);
    given.map(|(_, file)| file).filter(|file| !file.is_empty())
}

fn keep_config(site: &Site) -> std::io::Result<()> {
    let file = site.tool_config();
    if std::fs::read(&file).is_ok_and(|bytes| bytes == NO_IMPLIED_MIRROR.as_bytes()) {
        return Ok(());
    }
    // renamed into place: another tool may read it now
    let new = site.data.join(format!("tool.tfrc.{}", uuid::Uuid::now_v7().simple()));
    std::fs::write(&new, NO_IMPLIED_MIRROR)?;
    std::fs::rename(new, file)
}

/// Exactly this, nothing of the server's. What we set stands last and cannot be overridden from outside.
fn environment(site: &Site, at: &StackAt<'_>, command: &Command) -> Vec<(OsString, OsString)> {
    let mut env = site.env_for(at.origin).to_vec();
    let mut set = |name: &str, value: OsString| {
        env.retain(|(other, _)| other != name);
        env.push((name.into(), value));
    };
    set("PATH", PATH.into());
    set("HOME", home(at).into());
    set("TMPDIR", temp(at).into());
    set("LANG", "C.UTF-8".into());
    if starts_no_provider(command) && !site.env_for(at.origin).iter().any(|(name, _)| name == "GOGC") {
        set("GOGC", LAZY_COLLECTION.into());
    }
    set("TF_DATA_DIR", command.data_dir.clone().into());
    // no hints about what to type next
    set("TF_IN_AUTOMATION", "1".into());
    set("TF_INPUT", "0".into());
    // the tool does not ask for newer versions of itself
    set("CHECKPOINT_DISABLE", "1".into());
    // `git::file:///…` and `git::ext::…` would reach what is on this server
    set("GIT_ALLOW_PROTOCOL", protocols(&site.github).into());
    set("GIT_CONFIG_NOSYSTEM", "1".into());
    set("GIT_TERMINAL_PROMPT", "0".into());
    if configured(site, at).is_none() {
        set(CONFIG, site.tool_config().into());
    }
    for (name, value) in &command.env {
        set(&name.to_string_lossy(), value.clone());
    }
    env
}

/// The workspace, for the steps that read the state. Not for `init`: it would create one that does not exist.
pub(crate) fn workspace_env(at: &StackAt<'_>) -> Vec<(OsString, OsString)> {
    match at.stack.workspace.as_str() {
        "default" => Vec::new(),
        workspace => vec![("TF_WORKSPACE".into(), workspace.into())],
    }
}

fn confinement(site: &Site, at: &StackAt<'_>, command: &Command) -> Confinement {
    let mut read = base_reads();
    read.extend([
        command.file.clone(),
        at.tree.clone(),
        at.checkout.clone(),
        site.providers(),
    ]);
    if configured(site, at).is_none() {
        read.push(site.tool_config());
    }
    read.push(command.data_dir.clone());
    read.extend(site.paths_for(at.origin).cloned());
    for (name, value) in site.env_for(at.origin) {
        if FILES_NAMED_BY_ENV.iter().any(|known| name == known) && Path::new(value).is_absolute() {
            read.push(PathBuf::from(value));
        }
    }
    read.extend(command.read.iter().cloned());
    let mut write = vec![home(at), temp(at)];
    write.extend(command.write.iter().cloned());
    Confinement {
        mode: site.confine,
        read,
        write,
        limits: Limits::default(),
    }
}

/// A command that ended by itself.
pub(crate) struct Finished {
    pub step: Step,
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    /// What the end means, apart from the tool's own status.
    pub fn read(step: Step, ended: Ended, deadline: Duration) -> Result<Self, ToolError> {
        let code = match ended.exit {
            Exit::Code(0) => 0,
            Exit::DeadlineReached => return Err(ToolError::DeadlineReached { step, after: deadline }),
            Exit::Code(_) | Exit::Signal(_) if ended.interrupted => return Err(ToolError::Interrupted(step)),
            Exit::Code(code) => code,
            // killed for its memory, or it crashed: its output says more
            Exit::Signal(signal) => 128 + signal,
        };
        let stdout = match step {
            Step::Show | Step::Output | Step::State => whole(step, &ended.stdout)?,
            Step::Fetch | Step::Init | Step::Plan | Step::StateList | Step::Workspace | Step::Apply | Step::Version => {
                beginning(&ended.stdout, MOST_READ)?
            }
        };
        Ok(Finished {
            step,
            code,
            stdout,
            stderr: beginning(&ended.stderr, MOST_READ)?,
        })
    }

    /// Anything but these codes is the tool's own "no".
    pub fn expect(self, codes: &[i32], at: &StackAt<'_>, redactor: &Redactor) -> Result<Self, ToolError> {
        match codes.contains(&self.code) {
            true => Ok(self),
            false => Err(self.failed(at, redactor)),
        }
    }

    pub fn failed(&self, at: &StackAt<'_>, redactor: &Redactor) -> ToolError {
        let stderr = match at.stack.unit {
            Some(_) => without_the_summary(&self.stderr),
            None => &self.stderr,
        };
        let mut said = diagnostics::read(&self.stdout, stderr, at.config_dir(), redactor);
        if self.code > 128 && said.located.is_empty() {
            said.headline = format!("it was ended by signal {}: {}", self.code - 128, said.headline);
        }
        ToolError::Failed { step: self.step, said }
    }
}

/// Terragrunt says the tool's words again at the end: `14:26:50.018 ERROR  error occurred:`.
fn without_the_summary(stderr: &[u8]) -> &[u8] {
    const SUMMARY: &[u8] = b" ERROR  error occurred:";
    let found = stderr.windows(SUMMARY.len()).position(|at| at == SUMMARY);
    let begins = found.map(|at| {
        stderr[..at]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |line| line + 1)
    });
    match begins {
        Some(begins) if !stderr[..begins].trim_ascii().is_empty() => &stderr[..begins],
        _ => stderr,
    }
}

/// Half a JSON text is none.
fn whole(step: Step, file: &Path) -> Result<Vec<u8>, ToolError> {
    let bytes = beginning(file, MOST_JSON + 1)?;
    match bytes.len() as u64 > MOST_JSON {
        true => Err(ToolError::refused(
            format!(
                "what `{}` says of this stack is larger than {} MiB",
                step.word(),
                MOST_JSON >> 20
            ),
            "split the stack into smaller ones",
        )),
        false => Ok(bytes),
    }
}

fn beginning(file: &Path, most: u64) -> Result<Vec<u8>, ToolError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(ToolError::io("read the tool's output"))?;
    Ok(bytes)
}

/// Hides secrets, and turns our paths into what a reader of the repository knows.
pub(crate) fn redactor_for(site: &Site, at: &StackAt<'_>, secrets: &Secrets) -> Redactor {
    let paths: [(&Path, &str); 6] = [
        (&at.tree, ""),
        (&at.checkout, ""),
        (&at.scratch, "(scratch)"),
        (&at.attempt, "(scratch)"),
        (&site.providers(), "(providers)"),
        (&site.data, "(server)"),
    ];
    Redactor::new(secrets, &paths)
}
