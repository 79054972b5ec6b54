//! Owns a tool that must outlive the server: started under a supervisor, followed, found again after a restart.
#![expect(
    clippy::disallowed_methods,
    reason = "process/ is the one place that starts programs"
)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use crate::process::confine::{self, Confinement, Report};
use crate::process::pidfd::Pidfd;
use crate::process::supervise::folder::{Folder, Holder, Identity, Record};
use crate::process::supervise::order::{Answer, Order};
use crate::process::{Exit, OwnBinary, ProcessError, Program};

/// A program to start under a supervisor.
#[derive(Clone, Debug)]
pub struct Task {
    /// A folder of its own, made if missing: output, lock, exit status. Never used twice, never readable to the program.
    pub dir: PathBuf,
    /// At its deadline it is interrupted, and killed after `grace`.
    pub program: Program,
    pub confinement: Confinement,
    pub if_server_dies: IfServerDies,
    /// Between the interrupt and the kill of the whole group.
    pub grace: Duration,
    /// Bytes of standard output and error together; a program that writes more is interrupted.
    pub most_output: u64,
    /// For crash tests.
    pub die_at: Option<CrashPoint>,
}

/// What the supervisor does when the server that started it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfServerDies {
    /// A plan: it is made again.
    Interrupt,
    /// An apply: it is never made again, so it finishes, and its status outlasts a power cut.
    Finish,
}

/// Where a supervisor kills itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrashPoint {
    /// The program runs, the server does not know yet.
    Started,
}

/// Terraform and its providers need this long to save what they did.
pub const GRACE: Duration = Duration::from_secs(60);

const MOST_OUTPUT: u64 = 256 << 20;

impl Task {
    pub fn new(dir: PathBuf, program: Program, confinement: Confinement, if_server_dies: IfServerDies) -> Self {
        Self {
            dir,
            program,
            confinement,
            if_server_dies,
            grace: GRACE,
            most_output: MOST_OUTPUT,
            die_at: None,
        }
    }
}

/// A program that runs under its supervisor. Dropping it leaves an apply alone and interrupts a plan, as the server's
/// death does, unless it was found again after a restart.
#[derive(Debug)]
pub struct Running {
    folder: Folder,
    supervisor: Supervisor,
    /// Its closing tells the supervisor that the server is gone.
    _alive: Option<ChildStdin>,
    seen: u64,
}

#[derive(Debug)]
enum Supervisor {
    Ours(Child),
    /// Started before we were.
    Found(Pidfd),
    /// It died, its program did not yet.
    Orphan(Pidfd),
}

/// How a supervised program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// It was asked to stop (by us, by the server's death, by its deadline or its flood of output) before it ended.
    pub interrupted: bool,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

/// What a task's folder holds after a restart.
#[derive(Debug)]
pub enum Found {
    Alive(Running),
    Finished(Ended),
    /// The program never ran, and will not.
    NotStarted,
    /// It ran, and nobody knows how it ended.
    Gone,
}

/// Starts the task; when this returns the program itself runs (or could not be started, and never will).
pub async fn start(own: &OwnBinary, task: &Task) -> Result<Running, ProcessError> {
    // The supervisor works in another folder.
    let dir = std::path::absolute(&task.dir).map_err(ProcessError::file("find", &task.dir))?;
    let folder = Folder::at(&dir);
    if let Some(open) = task
        .confinement
        .read
        .iter()
        .chain(&task.confinement.write)
        .find(|open| dir.starts_with(open))
    {
        let open = open.display();
        return Err(ProcessError::Refused(format!(
            "the program could touch its own status: {open} is open to it"
        )));
    }
    folder.make().map_err(ProcessError::file("make", folder.path()))?;
    let order = order(own, task).await?;
    let framed = order::framed(&order).map_err(|cause| ProcessError::Pipe {
        program: SUPERVISOR.to_owned(),
        cause,
    })?;
    let complaints =
        std::fs::File::create(folder.complaints()).map_err(ProcessError::file("make", &folder.complaints()))?;

    let mut supervisor = Command::new(&own.0)
        .arg("supervise")
        .arg(folder.path())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(complaints)
        .spawn()
        .map_err(|cause| ProcessError::Start {
            program: SUPERVISOR.to_owned(),
            cause,
        })?;
    let (stdin, stdout) = (supervisor.stdin.take(), supervisor.stdout.take());
    let (mut stdin, mut stdout) = stdin.zip(stdout).expect("both were asked to be pipes");

    // What goes wrong with the order shows as an answer that does not come.
    let _ = stdin.write_all(&framed).await;
    let mut answer = Vec::new();
    let heard = stdout
        .read_to_end(&mut answer)
        .await
        .and_then(|_| order::read::<Answer>(&answer[..]));
    let refused = match heard {
        Ok(Answer::Started) => {
            return Ok(Running {
                folder,
                supervisor: Supervisor::Ours(supervisor),
                _alive: Some(stdin),
                seen: 0,
            });
        }
        Ok(Answer::Refused(sentence)) => ProcessError::Refused(sentence),
        Ok(Answer::Used) => ProcessError::Used(task.dir.clone()),
        Err(_) => ProcessError::Lost(task.dir.clone()),
    };
    // Until it has gone it holds the lock, and `find` would take the task for alive.
    supervisor.wait().await.map_err(|cause| ProcessError::Pipe {
        program: SUPERVISOR.to_owned(),
        cause,
    })?;
    Err(refused)
}

const SUPERVISOR: &str = "the supervisor";

async fn order(own: &OwnBinary, task: &Task) -> Result<Order, ProcessError> {
    let Task {
        dir: _,
        program,
        confinement,
        if_server_dies,
        grace,
        most_output,
        die_at,
    } = task;
    let hide = confine::decide(own, confinement).await?;
    Ok(Order {
        launcher: own.0.clone(),
        args: confine::launch_args(program, confinement, hide, Report::Stdin)?,
        env: program.env.clone(),
        cwd: program.cwd.clone(),
        deadline: program.deadline,
        grace: *grace,
        most_output: *most_output,
        if_server_dies: *if_server_dies,
        die_at: *die_at,
    })
}

/// Says what became of the task in `dir`; for a worker that starts, when the server that started the task is dead.
///
/// Alive means that its supervisor lives, or that it died but the program did not: then `wait` ends in
/// [`ProcessError::Lost`], and not before the program is gone. Must be called within the runtime.
pub fn find(dir: &Path) -> Result<Found, ProcessError> {
    let folder = Folder::at(dir);
    let failed = || ProcessError::file("look into", dir);
    match folder.holder().map_err(failed())? {
        Holder::Process(pid) => {
            let supervisor = Pidfd::of(pid).map_err(failed())?;
            // Asked again: if it held the lock after its descriptor was opened, the descriptor is its own.
            if let (Some(supervisor), Holder::Process(again)) = (supervisor, folder.holder().map_err(failed())?)
                && again == pid
            {
                return Ok(Found::Alive(Running::again(folder, Supervisor::Found(supervisor))));
            }
        }
        Holder::Unseen => return Err(ProcessError::Elsewhere(dir.to_owned())),
        Holder::Nobody => {}
    }
    // No supervisor: whatever it wrote is all there will be.
    match folder.record().map_err(failed())? {
        Some(Record::Ended { exit, interrupted }) => return Ok(Found::Finished(folder.ended(exit, interrupted))),
        Some(Record::NotStarted(_)) => return Ok(Found::NotStarted),
        None => {}
    }
    if !folder.was_started().map_err(failed())? {
        return Ok(Found::NotStarted);
    }
    match orphan(&folder).map_err(failed())? {
        Some(program) => Ok(Found::Alive(Running::again(folder, Supervisor::Orphan(program)))),
        None => Ok(Found::Gone),
    }
}

/// The program, if it still runs although its supervisor does not.
fn orphan(folder: &Folder) -> io::Result<Option<Pidfd>> {
    let Some(identity) = folder.program()? else {
        return Ok(None);
    };
    let Some(pid) = identity.pid() else { return Ok(None) };
    let program = Pidfd::of(pid)?;
    // Compared after its descriptor was opened: the descriptor then belongs to the one that was compared.
    Ok(if Identity::of(pid)? == Some(identity) {
        program
    } else {
        None
    })
}

impl Running {
    fn again(folder: Folder, supervisor: Supervisor) -> Self {
        Self {
            folder,
            supervisor,
            _alive: None,
            seen: 0,
        }
    }

    /// Waits until the program has ended and that is on record. May be dropped and called again.
    pub async fn wait(&mut self) -> Result<Ended, ProcessError> {
        match &mut self.supervisor {
            Supervisor::Ours(child) => child.wait().await.map(|_| ()),
            Supervisor::Found(process) | Supervisor::Orphan(process) => process.ended().await,
        }
        .map_err(|cause| ProcessError::Pipe {
            program: SUPERVISOR.to_owned(),
            cause,
        })?;
        let record = self
            .folder
            .record()
            .map_err(ProcessError::file("look into", self.folder.path()))?;
        match record {
            Some(Record::Ended { exit, interrupted }) => Ok(self.folder.ended(exit, interrupted)),
            Some(Record::NotStarted(sentence)) => Err(ProcessError::Refused(sentence)),
            None if !self
                .folder
                .was_started()
                .map_err(ProcessError::file("look into", self.folder.path()))? =>
            {
                Err(ProcessError::Refused(
                    "the supervisor ended before it started the program".to_owned(),
                ))
            }
            None => Err(ProcessError::Lost(self.folder.path().to_owned())),
        }
    }

    /// Asks the program to stop, once however often it is said; after the task's grace its whole group is killed.
    pub fn interrupt(&self) {
        if let Err(cause) = self.folder.ask_interrupt() {
            tracing::warn!(error = %cause, folder = %self.folder.path().display(), "could not ask a supervisor to interrupt its program");
        }
    }

    /// Sees to the end of one that is found again and that nobody wants: asked first, killed after twice the grace.
    pub async fn end(&mut self) -> Result<(), ProcessError> {
        if !matches!(self.supervisor, Supervisor::Orphan(_)) {
            self.interrupt();
        }
        // How it ended is nobody's concern.
        if tokio::time::timeout(2 * GRACE, self.wait()).await.is_err() {
            if let Supervisor::Found(process) | Supervisor::Orphan(process) = &self.supervisor {
                process
                    .kill()
                    .map_err(ProcessError::file("end the program of", self.folder.path()))?;
            }
            let _ended = self.wait().await;
        }
        Ok(())
    }

    pub fn stdout(&self) -> PathBuf {
        self.folder.stdout()
    }

    pub fn stderr(&self) -> PathBuf {
        self.folder.stderr()
    }

    /// Waits until there is more output than when this last returned, or the program has ended. May be dropped.
    pub async fn grown(&mut self) -> Growth {
        // Looked at four times a second: cheaper than a watch per file, and people do not read faster.
        let mut look = tokio::time::interval(Duration::from_millis(250));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let size = self.folder.output_size();
            if size > self.seen {
                self.seen = size;
                return Growth::More;
            }
            tokio::select! {
                _ = self.wait() => return Growth::Ended,
                _ = look.tick() => {}
            }
        }
    }
}

/// Why [`Running::grown`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    More,
    /// Nothing more will come; `wait` answers at once.
    Ended,
}

impl Folder {
    fn ended(&self, exit: Exit, interrupted: bool) -> Ended {
        Ended {
            exit,
            interrupted,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    fn output_size(&self) -> u64 {
        [self.stdout(), self.stderr()]
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    }
}

/// `supervise DIR`: the supervisor itself; it reads its order from standard input and stays until the program has ended.
pub fn supervise_main(args: std::env::ArgsOs) -> std::process::ExitCode {
    supervisor::run(args)
}

mod folder;
mod order;
mod supervisor;
mod descendants;
