//! Owns what a program to be started is: file, arguments, closed environment, deadline; nothing else in the crate starts one.
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where our own binary is: it is started again as supervisor and as launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBinary(pub PathBuf);

/// A program to start. Its environment is exactly `env`; secrets go there or to its input, never into `args`.
#[derive(Clone)]
pub struct Program {
    pub file: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// From the start; what happens then is said where the program is started.
    pub deadline: Duration,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It was stopped by us because its time was over, whatever it said then.
    DeadlineReached,
}

/// Why a program could not be started, followed or heard out.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("start {program}")]
    Start {
        program: String,
        #[source]
        cause: io::Error,
    },
    #[error("{doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("talk to {program}")]
    Pipe {
        program: String,
        #[source]
        cause: io::Error,
    },
    #[error("{program} wrote more than {most} bytes")]
    TooMuchOutput { program: String, most: usize },
    /// The program was not started because it cannot be confined as asked; the sentence is for the operator.
    #[error("{0}")]
    NotConfined(String),
    /// The launcher or the supervisor refused; the program never ran.
    #[error("{0}")]
    Refused(String),
    #[error("{} already holds a task: every task needs a folder of its own", .0.display())]
    Used(PathBuf),
    /// The supervisor died before it could write down how the program ended; nobody knows.
    #[error("the supervisor of {} died, and with it the exit status of its program", .0.display())]
    Lost(PathBuf),
    #[error("{} is locked by a process that cannot be seen from here", .0.display())]
    Elsewhere(PathBuf),
}

impl Program {
    /// The file's name, for messages: paths of ours are not shown to people.
    pub fn name(&self) -> String {
        self.file
            .file_name()
            .unwrap_or(self.file.as_os_str())
            .to_string_lossy()
            .into_owned()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            args,
            env,
            cwd,
            deadline,
        } = self;
        let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
        out.debug_struct("Program")
            .field("file", file)
            .field("args", args)
            .field("env", &names)
            .field("cwd", cwd)
            .field("deadline", deadline)
            .finish()
    }
}

impl Exit {
    /// Ended by itself with status 0.
    pub fn succeeded(&self) -> bool {
        matches!(self, Exit::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(out, "ended with status {code}"),
            Exit::Signal(signal) => write!(out, "was ended by signal {signal}"),
            Exit::DeadlineReached => write!(out, "was stopped because its time was over"),
        }
    }
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Signal(0),
        }
    }
}

impl ProcessError {
    pub(in crate::process) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProcessError {
        let path = path.to_owned();
        move |cause| ProcessError::File { doing, path, cause }
    }
}

pub mod capture;
pub mod confine;
pub mod supervise;
pub mod descriptors;
pub mod replace;
mod pidfd;
