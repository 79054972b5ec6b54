//! Owns what a started program may touch: the launcher that restricts itself and then becomes the program.
use std::env::ArgsOs;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::process::capture::{self, Captured};
use crate::process::confine::support::{Mounts, Support};
use crate::process::{Exit, OwnBinary, ProcessError, Program};

/// What a program may touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub mode: Confine,
    /// Files and folders it may read and execute, whole; one that does not exist is skipped. Links are followed.
    pub read: Vec<PathBuf>,
    /// Files and folders it may also write; one that does not exist is an error.
    pub write: Vec<PathBuf>,
    pub limits: Limits,
}

/// How much of the confinement must work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confine {
    /// Whatever this kernel offers; `support` names the rest.
    Auto,
    /// Nothing is started unless files, signals and sockets are covered.
    Required,
    /// Only limits, umask, closed descriptors and no-new-privileges.
    Off,
}

/// Limits of the kernel on the program and all it starts. `None` leaves the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space of each process. Not for programs written in Go: they reserve far more than they use.
    pub memory: Option<u64>,
    /// Seconds of processor time of each process; the kernel kills at the end.
    pub cpu_seconds: Option<u64>,
    /// Bytes of the main thread's stack.
    pub stack: Option<u64>,
    /// Processes and threads of this *user*, those of the server among them; the kernel does not hold root to it.
    pub processes: Option<u64>,
    /// Bytes of any one file it writes.
    pub file: Option<u64>,
}

/// What every tool needs to start at all: programs, libraries, the named files of `/etc`, the harmless devices, `/proc`
/// (where Landlock keeps what belongs to processes outside shut).
pub fn base_reads() -> Vec<PathBuf> {
    BASE_READS.iter().map(PathBuf::from).collect()
}

const BASE_READS: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/resolv.conf", // and its target: links are followed
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/urandom",
    "/dev/random",
    "/proc",
    "/sys/kernel/mm/transparent_hugepage", // Go's runtime asks for the page size
];

/// What this kernel can confine, as far as can be known without trying; `tried` knows.
pub fn support() -> Support {
    Support::of_this_kernel()
}

/// As [`support()`], after a try with private mounts. The answer is kept for the life of this process.
pub async fn tried(own: &OwnBinary) -> Result<Support, ProcessError> {
    let known = support();
    if known.mounts != Mounts::Untried {
        return Ok(known);
    }
    static TRIED: OnceCell<Mounts> = OnceCell::const_new();
    let mounts = TRIED.get_or_try_init(|| try_mounts(own)).await?;
    Ok(Support {
        mounts: *mounts,
        ..known
    })
}

async fn try_mounts(own: &OwnBinary) -> Result<Mounts, ProcessError> {
    let program = Program {
        file: own.0.clone(),
        args: vec!["confine".into(), TRY.into()],
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        deadline: Duration::from_secs(10),
    };
    let captured = capture::capture(&program, &[], 4096).await?;
    Ok(if captured.exit.succeeded() {
        Mounts::Allowed
    } else {
        Mounts::Denied
    })
}

const TRY: &str = "--try-mounts";

/// Whether the launcher hides sockets by private mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) enum Hide {
    Sockets,
    Nothing,
}

/// Decides before anything is started what the launcher can do, and refuses where that is less than is required.
pub(in crate::process) async fn decide(own: &OwnBinary, confinement: &Confinement) -> Result<Hide, ProcessError> {
    for path in &confinement.write {
        if let Err(cause) = path.symlink_metadata() {
            return Err(ProcessError::File {
                doing: "let a program write to",
                path: path.clone(),
                cause,
            });
        }
    }
    if confinement.mode == Confine::Off {
        return Ok(Hide::Nothing);
    }
    let support = tried(own).await?;
    match (confinement.mode, support.missing_for_required()) {
        (Confine::Required, Some(sentence)) => Err(ProcessError::NotConfined(sentence)),
        _ if support.hides_by_mounts() => Ok(Hide::Sockets),
        _ => Ok(Hide::Nothing),
    }
}

/// Where the launcher says why it could not become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) enum Report {
    /// As one marked line on standard error, with status 125.
    Stderr,
    /// Into standard input, which is the writing end of a pipe; the program itself gets `/dev/null`.
    Stdin,
}

#[derive(Serialize, Deserialize)]
struct Spec {
    confinement: Confinement,
    hide: Hide,
    report: Report,
}

/// The launcher's arguments, from `confine` on. They hold paths and the program's own arguments: nothing secret.
pub(in crate::process) fn launch_args(
    program: &Program,
    confinement: &Confinement,
    hide: Hide,
    report: Report,
) -> Result<Vec<OsString>, ProcessError> {
    let spec = Spec {
        confinement: confinement.clone(),
        hide,
        report,
    };
    let spec = serde_json::to_string(&spec)
        .map_err(|cause| ProcessError::Refused(format!("a path of the confinement is not UTF-8: {cause}")))?;
    let mut args: Vec<OsString> = vec!["confine".into(), spec.into(), "--".into(), program.file.clone().into()];
    args.extend(program.args.iter().cloned());
    Ok(args)
}

const REFUSED: u8 = 125;
const MARK: &str = "lockkeeper confine: ";

/// The launcher's refusal, if that is what ended.
pub(in crate::process) fn refusal(captured: &Captured) -> Option<String> {
    if captured.exit != Exit::Code(REFUSED.into()) {
        return None;
    }
    let text = String::from_utf8_lossy(&captured.stderr);
    Some(text.trim_end().strip_prefix(MARK)?.to_owned())
}

/// `confine SPEC -- FILE ARGS…`: restricts itself and becomes the program; returns only if it could not.
pub fn confine_main(mut args: ArgsOs) -> ExitCode {
    let first = args.next().unwrap_or_default();
    if first == OsStr::new(TRY) {
        return if launch::mounts_work() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let Some(spec) = first.to_str().and_then(|spec| serde_json::from_str::<Spec>(spec).ok()) else {
        eprintln!("{MARK}its first argument is not a confinement; it is started by lockkeeper, not by hand");
        return ExitCode::from(REFUSED);
    };
    let (Some(_), Some(file)) = (args.next().filter(|dashes| dashes == "--"), args.next()) else {
        eprintln!("{MARK}no program to become");
        return ExitCode::from(REFUSED);
    };
    launch::become_program(&spec, Path::new(&file), args)
}

pub mod support;
mod launch;
mod files;
mod hide;
