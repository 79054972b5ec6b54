//! Owns the files of one supervised task: who writes which, and what each one proves.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid};
use serde::{Deserialize, Serialize};

use crate::process::Exit;

/// One task's folder. Only the supervisor writes in it; the program is given two of its files, already open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// What is on record of a task that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    Ended {
        exit: Exit,
        interrupted: bool,
    },
    /// The launcher refused; the program never ran.
    NotStarted(String),
}

/// One process, so that its number alone, used again by another, is not mistaken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// In clock ticks since the boot, field 22 of `/proc/PID/stat`.
    pub started: u64,
    pub boot: String,
}

/// Whether what is written must outlast a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The task may never be repeated: what is not on record is lost.
    Yes,
    /// It is simply done again.
    No,
}

/// Who holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    Process(Pid),
    /// Somebody in a process namespace that is not ours.
    Unseen,
}

impl Folder {
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the folder, shut to others.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }

    pub fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }

    /// What the supervisor itself says; empty unless it has a bug.
    pub fn complaints(&self) -> PathBuf {
        self.0.join("supervisor")
    }

    /// The lock's file says by being there that a supervisor was here, and by being locked that it lives: the kernel
    /// takes the lock away from a dead process, and tells who holds it.
    pub fn lock(&self) -> io::Result<File> {
        let file = private().create_new(true).open(self.0.join("lock"))?;
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    pub fn holder(&self) -> io::Result<Holder> {
        let Some(file) = there(OpenOptions::new().read(true).write(true).open(self.0.join("lock")))? else {
            return Ok(Holder::Nobody);
        };
        let whole = Flock {
            start: 0,
            length: 0,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        Ok(match rustix::process::fcntl_getlk(&file, &whole)? {
            None => Holder::Nobody,
            Some(Flock { pid: Some(pid), .. }) if pid.as_raw_nonzero().get() > 0 => Holder::Process(pid),
            Some(_) => Holder::Unseen,
        })
    }

    pub fn create_output(&self, path: &Path) -> io::Result<File> {
        private().append(true).create_new(true).open(path)
    }

    /// The FIFO by which anybody who may write here asks for an interrupt.
    pub fn make_control(&self) -> io::Result<File> {
        rustix::fs::mkfifoat(CWD, self.control(), Mode::RUSR | Mode::WUSR)?;
        // Read and write, so that it never ends: a writer comes and goes.
        let open = rustix::fs::open(
            self.control(),
            OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(File::from(open))
    }

    /// Asks for an interrupt; nobody listening means there is nothing left to interrupt.
    pub fn ask_interrupt(&self) -> io::Result<()> {
        let open = rustix::fs::open(
            self.control(),
            OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        );
        match open {
            Ok(fifo) => File::from(fifo).write_all(b"i"),
            Err(rustix::io::Errno::NXIO | rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Written before the program is started: without this mark it was not.
    pub fn mark_started(&self, durable: Durable) -> io::Result<()> {
        // It says all by being there, so its name is all that must last.
        private().create_new(true).open(self.0.join("started"))?;
        if durable == Durable::Yes { self.sync() } else { Ok(()) }
    }

    pub fn was_started(&self) -> io::Result<bool> {
        self.0.join("started").try_exists()
    }

    pub fn write_program(&self, identity: &Identity) -> io::Result<()> {
        self.write("program", &serde_json::to_vec(identity)?, Durable::No)
    }

    pub fn program(&self) -> io::Result<Option<Identity>> {
        self.read("program")
    }

    pub fn write_record(&self, record: &Record, durable: Durable) -> io::Result<()> {
        self.write("exit", &serde_json::to_vec(record)?, durable)
    }

    pub fn record(&self) -> io::Result<Option<Record>> {
        self.read("exit")
    }

    /// Whole or not at all: under another name first.
    fn write(&self, name: &str, bytes: &[u8], durable: Durable) -> io::Result<()> {
        let temporary = self.0.join(format!("{name}.new"));
        let mut file = private().create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        if durable == Durable::Yes {
            file.sync_all()?;
        }
        fs::rename(&temporary, self.0.join(name))?;
        if durable == Durable::Yes {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> io::Result<Option<T>> {
        Ok(match there(fs::read(self.0.join(name)))? {
            Some(bytes) => Some(serde_json::from_slice(&bytes)?),
            None => None,
        })
    }
}

impl Identity {
    /// The process `pid` as it is now; nothing if there is none, or only its remains for a parent to look at.
    pub fn of(pid: Pid) -> io::Result<Option<Self>> {
        let Some(stat) = there(fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())))? else {
            return Ok(None);
        };
        let (state, started) =
            state_and_start(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat has no start time"))?;
        if matches!(state, b'Z' | b'X') {
            return Ok(None);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Some(Self {
            pid: pid.as_raw_nonzero().get(),
            started,
            boot,
        }))
    }

    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }
}

/// Fields 3 and 22 of `1234 (a) name) S 1 …`: the second is the program's name in brackets and may hold anything.
fn state_and_start(stat: &[u8]) -> Option<(u8, u64)> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after_name..)?)
        .ok()?
        .split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn there<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        // ESRCH: the process ended between opening and reading its file.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(3) => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::{Durable, Folder, Holder, Identity, Record, state_and_start};
    use crate::process::Exit;

    #[test]
    fn the_start_time_is_found_behind_a_hostile_name() {
        let stat = b"77 (a) S 1 2) R 1 77 77 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 0\n";
        assert_eq!(state_and_start(stat), Some((b'R', 987_654)));
        assert_eq!(state_and_start(b"77 (x) R 1"), None);
    }

    #[test]
    fn a_process_is_itself_and_nobody_else() {
        let me = rustix::process::getpid();
        let mine = Identity::of(me).expect("readable").expect("alive");
        assert_eq!(Identity::of(me).expect("readable"), Some(mine.clone()));
        let parent = Identity::of(rustix::process::getppid().expect("has a parent")).expect("readable");
        assert_ne!(parent, Some(mine));
    }

    #[test]
    fn a_record_reads_back_and_absence_is_not_an_error() {
        let home = tempfile::tempdir().expect("temporary folder");
        let folder = Folder::at(&home.path().join("task"));
        assert_eq!(folder.record().expect("no folder yet"), None);
        assert_eq!(folder.holder().expect("no folder yet"), Holder::Nobody);
        folder.make().expect("made");
        for exit in [Exit::Code(3), Exit::Signal(9), Exit::DeadlineReached] {
            let record = Record::Ended {
                exit,
                interrupted: true,
            };
            folder.write_record(&record, Durable::Yes).expect("written");
            assert_eq!(folder.record().expect("readable"), Some(record));
        }
    }

    #[test]
    fn a_folder_is_locked_once() {
        let home = tempfile::tempdir().expect("temporary folder");
        let folder = Folder::at(home.path());
        let _lock = folder.lock().expect("free");
        assert!(
            folder.lock().is_err(),
            "a second supervisor must not start in the same folder"
        );
    }
}
