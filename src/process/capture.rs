//! Owns short helper programs whose output is held in memory: git, the judge.
#![expect(
    clippy::disallowed_methods,
    reason = "process/ is the one place that starts programs"
)]

use std::io;
use std::pin::pin;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::process::confine::{self, Confinement, Report};
use crate::process::pidfd::Pidfd;
use crate::process::{Exit, OwnBinary, ProcessError, Program};

/// What a helper said.
#[derive(Clone, Debug)]
pub struct Captured {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    /// At most as many bytes as were allowed; the rest was dropped.
    pub stderr: Vec<u8>,
}

/// Runs `program` to its end with `stdin` as its input.
///
/// It has its own process group, which is killed as a whole when the program ends, when its deadline is reached and
/// when the future is dropped. More than `most` bytes on standard output is an error (half an answer must not be
/// read as one); of standard error the first `most` bytes are kept.
pub async fn capture(program: &Program, stdin: &[u8], most: usize) -> Result<Captured, ProcessError> {
    let mut command = Command::new(&program.file);
    command.args(&program.args);
    run(command, program, stdin, most).await
}

/// As [`capture`], but the program starts through our launcher, under `confinement`.
///
/// The program's own file may be read in any case; what else it needs to start (`confine::base_reads`) is the
/// caller's to name.
pub async fn capture_confined(
    own: &OwnBinary,
    program: &Program,
    confinement: &Confinement,
    stdin: &[u8],
    most: usize,
) -> Result<Captured, ProcessError> {
    let hide = confine::decide(own, confinement).await?;
    let mut command = Command::new(&own.0);
    command.args(confine::launch_args(program, confinement, hide, Report::Stderr)?);
    let captured = run(command, program, stdin, most).await?;
    match confine::refusal(&captured) {
        Some(sentence) => Err(ProcessError::Refused(sentence)),
        None => Ok(captured),
    }
}

async fn run(mut command: Command, program: &Program, stdin: &[u8], most: usize) -> Result<Captured, ProcessError> {
    command
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&program.cwd)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| ProcessError::Start {
        program: program.name(),
        cause,
    })?;
    let group = Group::of(&child);
    let pidfd = Pidfd::of(group.0).map_err(|cause| ProcessError::Pipe {
        program: program.name(),
        cause,
    })?;
    let leader_pidfd = pidfd.expect("a child that was not waited for is there, if only as a zombie");

    let mut output = Output::default();
    let heard = {
        let fill = output.fill(Pipes::of(&mut child), stdin, most);
        let (mut fill, mut deadline) = (pin!(fill), pin!(tokio::time::sleep(program.deadline)));
        let mut leader = Leader::Running;
        loop {
            tokio::select! {
                heard = &mut fill => break Some(heard),
                // Whatever the program left behind in its group would hold our pipes open.
                _ = leader_pidfd.ended(), if leader == Leader::Running => { group.kill(); leader = Leader::Ended }
                () = &mut deadline => break None,
            }
        }
    };
    // The group goes while its leader is not yet waited for: until then nobody else can have its number.
    drop(group);
    let status = child.wait().await.map_err(|cause| ProcessError::Pipe {
        program: program.name(),
        cause,
    })?;

    let Output { stdout, stderr } = output;
    match heard {
        None => Ok(Captured {
            exit: Exit::DeadlineReached,
            stdout,
            stderr,
        }),
        Some(Ok(Heard::All)) => Ok(Captured {
            exit: status.into(),
            stdout,
            stderr,
        }),
        Some(Ok(Heard::TooMuch)) => Err(ProcessError::TooMuchOutput {
            program: program.name(),
            most,
        }),
        Some(Err(cause)) => Err(ProcessError::Pipe {
            program: program.name(),
            cause,
        }),
    }
}

#[derive(PartialEq)]
enum Leader {
    Running,
    Ended,
}

/// A process group that does not outlive this value.
struct Group(Pid);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().expect("a child that was not waited for has an id");
        Self(
            i32::try_from(id)
                .ok()
                .and_then(Pid::from_raw)
                .expect("the kernel's ids are positive"),
        )
    }

    fn kill(&self) {
        // ESRCH is the good case: nothing is left.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Pipes {
    fn of(child: &mut Child) -> Self {
        const PIPED: &str = "all three were asked to be pipes";
        Self {
            stdin: child.stdin.take().expect(PIPED),
            stdout: child.stdout.take().expect(PIPED),
            stderr: child.stderr.take().expect(PIPED),
        }
    }
}

#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum Heard {
    All,
    TooMuch,
}

impl Output {
    async fn fill(&mut self, pipes: Pipes, input: &[u8], most: usize) -> io::Result<Heard> {
        let Pipes {
            mut stdin,
            stdout,
            stderr,
        } = pipes;
        let feed = async move {
            match stdin.write_all(input).await {
                // It ended, or closed its input, without reading all of it: its exit says what that means.
                Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(cause),
                _ => Ok(()),
            }
        };
        let Self {
            stdout: out,
            stderr: err,
        } = self;
        let hear_out = async {
            // One byte more than allowed tells "exactly as much" from "too much".
            stdout.take(most as u64 + 1).read_to_end(out).await?;
            if out.len() > most { Err(Stop::TooMuch) } else { Ok(()) }
        };
        let hear_err = async { Ok::<(), Stop>(keep_first(stderr, err, most).await?) };
        match tokio::try_join!(async { Ok::<(), Stop>(feed.await?) }, hear_out, hear_err) {
            Ok(_) => Ok(Heard::All),
            Err(Stop::TooMuch) => Ok(Heard::TooMuch),
            Err(Stop::Broken(cause)) => Err(cause),
        }
    }
}

enum Stop {
    TooMuch,
    Broken(io::Error),
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        Stop::Broken(cause)
    }
}

/// Reads to the end, so that the writer never blocks, but keeps only the first `most` bytes.
async fn keep_first(mut from: impl AsyncRead + Unpin, kept: &mut Vec<u8>, most: usize) -> io::Result<()> {
    (&mut from).take(most as u64).read_to_end(kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(())
}
