//! Owns the supervisor's life: start the program, watch it, stop it in good order, write down how it ended.
#![expect(
    clippy::disallowed_methods,
    reason = "process/ is the one place that starts programs"
)]

use std::env::ArgsOs;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::process::Exit;
use crate::process::supervise::folder::{Durable, Folder, Identity, Record};
use crate::process::supervise::order::{self, Answer, Order};
use crate::process::supervise::{CrashPoint, IfServerDies, descendants};

/// Reads its order from standard input, answers once on standard output, and stays with the program.
pub fn run(mut args: ArgsOs) -> ExitCode {
    let Some(dir) = args.next() else {
        eprintln!("lockkeeper supervise: no folder; it is started by lockkeeper, not by hand");
        return ExitCode::from(2);
    };
    match supervise(&Folder::at(Path::new(&dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("lockkeeper supervise: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(folder: &Folder) -> io::Result<()> {
    detach()?;
    let order: Order = order::read(io::stdin())?;
    let durable = match order.if_server_dies {
        IfServerDies::Finish => Durable::Yes,
        IfServerDies::Interrupt => Durable::No,
    };
    let _lock = match folder.lock() {
        Ok(lock) => lock,
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return answer(&Answer::Used),
        Err(cause) => return answer(&Answer::Refused(format!("cannot lock its folder: {cause}"))),
    };
    // The lock first, then this look: who finds no lock after the server's death may rely on nothing being started.
    if server_is_gone()? {
        return folder.write_record(&Record::NotStarted("the server died first".to_owned()), durable);
    }
    let started = Instant::now();
    let mut watched = match prepare(folder, durable)
        .map_err(StartError::from)
        .and_then(|ready| ready.start(&order))
    {
        Ok(watched) => watched,
        Err(StartError::NotStarted(sentence)) => {
            folder.write_record(&Record::NotStarted(sentence.clone()), durable)?;
            return answer(&Answer::Refused(sentence));
        }
        Err(StartError::Unknown(cause)) => return Err(cause),
    };
    if order.die_at == Some(CrashPoint::Started) {
        rustix::process::kill_process(rustix::process::getpid(), Signal::KILL)?;
    }
    // A server that is gone does not hear the answer; its program goes on all the same.
    let _ = answer(&Answer::Started);

    let interrupted = watched.until_it_ends(&order, started)?;
    let status = watched.child.wait()?;
    descendants::end();
    let exit = if interrupted == Some(Why::Deadline) {
        Exit::DeadlineReached
    } else {
        status.into()
    };
    folder.write_record(
        &Record::Ended {
            exit,
            interrupted: interrupted.is_some(),
        },
        durable,
    )
}

/// Makes this process nobody's: no terminal, group or descriptor of the server's reaches it, and what is sent to all
/// processes of a service when it stops does not end it.
fn detach() -> io::Result<()> {
    // Heard and not listened to. Not ignored: that would be passed on to the program, a handler is not.
    let heard = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::clone(&heard))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    match rustix::process::setsid() {
        // Only a leader of its group cannot; started by hand from a shell it is one, and apart enough.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Descendants that leave their parents become our children, so that none outlives the program.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Whether the other end of standard input is closed.
fn server_is_gone() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [server] = polled;
    Ok(!server.revents().is_empty())
}

/// Says it and closes standard output: the server reads to its end.
fn answer(answer: &Answer) -> io::Result<()> {
    use std::io::Write;
    let framed = order::framed(answer)?;
    let said = io::stdout().write_all(&framed).and_then(|()| io::stdout().flush());
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    said
}

/// All that is made before the program is.
struct Ready<'a> {
    folder: &'a Folder,
    control: File,
    stdout: File,
    stderr: File,
}

fn prepare(folder: &Folder, durable: Durable) -> io::Result<Ready<'_>> {
    let control = folder.make_control()?;
    let stdout = folder.create_output(&folder.stdout())?;
    let stderr = folder.create_output(&folder.stderr())?;
    folder.mark_started(durable)?;
    Ok(Ready {
        folder,
        control,
        stdout,
        stderr,
    })
}

impl Ready<'_> {
    fn start(self, order: &Order) -> Result<Watched, StartError> {
        let Self {
            folder,
            control,
            stdout,
            stderr,
        } = self;
        let (hear, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let child = Command::new(&order.launcher)
            .args(&order.args)
            .env_clear()
            .envs(order.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&order.cwd)
            .process_group(0)
            .stdin(tell)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn();
        let mut child = child.map_err(|cause| match order.cwd.is_dir() {
            true => StartError::from(cause),
            false => StartError::NotStarted(format!("cannot enter {}: {cause}", order.cwd.display())),
        })?;
        let pid = pid_of(&child);
        // From here on the program may run: what fails is no longer "not started".
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(unknown)?;
        // Ends empty when the launcher has become the program.
        let mut refusal = Vec::new();
        File::from(hear)
            .take(64 << 10)
            .read_to_end(&mut refusal)
            .map_err(unknown)?;
        if !refusal.is_empty() {
            child.wait().map_err(unknown)?;
            return Err(StartError::NotStarted(String::from_utf8_lossy(&refusal).into_owned()));
        }
        // Only for whoever comes after this supervisor's own death; the program goes on without.
        let known = Identity::of(pid).and_then(|identity| identity.map_or(Ok(()), |one| folder.write_program(&one)));
        if let Err(cause) = known {
            eprintln!("lockkeeper supervise: cannot write down which process the program is: {cause}");
        }
        Ok(Watched {
            child,
            pid,
            process,
            control,
            stdout,
            stderr,
        })
    }
}

/// Why there is no program to watch.
enum StartError {
    /// It did not run, and will not.
    NotStarted(String),
    /// It may have.
    Unknown(io::Error),
}

impl From<io::Error> for StartError {
    fn from(cause: io::Error) -> Self {
        StartError::NotStarted(cause.to_string())
    }
}

impl From<rustix::io::Errno> for StartError {
    fn from(errno: rustix::io::Errno) -> Self {
        StartError::from(io::Error::from(errno))
    }
}

fn unknown(cause: impl Into<io::Error>) -> StartError {
    StartError::Unknown(cause.into())
}

fn pid_of(child: &Child) -> Pid {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("the kernel's ids are positive")
}

/// The program, and all by which it is watched.
struct Watched {
    child: Child,
    pid: Pid,
    process: OwnedFd,
    control: File,
    stdout: File,
    stderr: File,
}

/// Why the program was interrupted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Asked,
    ServerDied,
    Deadline,
    TooMuchOutput,
}

/// Where the program is on its way to its end.
enum Stage {
    Running,
    /// It was interrupted, once; it is killed then.
    Stopping(Why, Instant),
    Killed(Why),
}

/// How often the output is measured.
const MEASURE: Duration = Duration::from_secs(1);

impl Watched {
    /// Returns when the program can be waited for, and says whether and why it was interrupted.
    fn until_it_ends(&mut self, order: &Order, started: Instant) -> io::Result<Option<Why>> {
        let server = io::stdin();
        let mut server = Some(server.as_fd());
        let deadline = started + order.deadline;
        let mut stage = Stage::Running;
        loop {
            let now = Instant::now();
            stage = match stage {
                Stage::Running if now >= deadline => self.interrupt(Why::Deadline, now + order.grace)?,
                Stage::Running if self.output()? > order.most_output => {
                    self.interrupt(Why::TooMuchOutput, now + order.grace)?
                }
                Stage::Stopping(why, kill_at) if now >= kill_at => {
                    // ESRCH: it ended just now.
                    let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
                    Stage::Killed(why)
                }
                other => other,
            };
            let next = match stage {
                Stage::Running => Some(deadline.saturating_duration_since(now).min(MEASURE)),
                Stage::Stopping(_, kill_at) => Some(kill_at.saturating_duration_since(now)),
                Stage::Killed(_) => None,
            };
            let heard = wait(&self.process, &self.control, server, next)?;
            if heard.ended {
                return Ok(match stage {
                    Stage::Running => None,
                    Stage::Stopping(why, _) | Stage::Killed(why) => Some(why),
                });
            }
            let asked = heard.control && self.take_words()?;
            let mut died = false;
            if heard.server && server.is_some() {
                server = None;
                died = order.if_server_dies == IfServerDies::Interrupt;
            }
            stage = match stage {
                Stage::Running if asked => self.interrupt(Why::Asked, Instant::now() + order.grace)?,
                Stage::Running if died => self.interrupt(Why::ServerDied, Instant::now() + order.grace)?,
                other => other,
            };
        }
    }

    /// Once, and to the program alone: terraform takes a second one as "exit now", and passes the first one on itself.
    fn interrupt(&self, why: Why, kill_at: Instant) -> io::Result<Stage> {
        match rustix::process::pidfd_send_signal(&self.process, Signal::INT) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(Stage::Stopping(why, kill_at)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn take_words(&mut self) -> io::Result<bool> {
        let mut words = [0; 64];
        match self.control.read(&mut words) {
            Ok(length) => Ok(length > 0),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    fn output(&self) -> io::Result<u64> {
        Ok(self.stdout.metadata()?.len() + self.stderr.metadata()?.len())
    }
}

struct Heard {
    ended: bool,
    control: bool,
    server: bool,
}

fn wait(
    process: &OwnedFd,
    control: &File,
    server: Option<std::os::fd::BorrowedFd<'_>>,
    next: Option<Duration>,
) -> io::Result<Heard> {
    let mut polled = vec![PollFd::new(process, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
    if let Some(server) = &server {
        polled.push(PollFd::new(server, PollFlags::IN));
    }
    let next = next.map(|next| {
        Timespec::try_from(next).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        })
    });
    match poll(&mut polled, next.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let heard = |index: usize| {
        polled
            .get(index)
            .is_some_and(|one: &PollFd<'_>| !one.revents().is_empty())
    };
    Ok(Heard {
        ended: heard(0),
        control: heard(1),
        server: heard(2),
    })
}
