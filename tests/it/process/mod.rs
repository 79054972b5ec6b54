//! Owns the proof that programs start closed, confined and supervised, with the real binary.
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockkeeper::process::capture::{Captured, capture_confined};
use lockkeeper::process::confine::{self, Confine, Confinement, Limits};
use lockkeeper::process::supervise::{IfServerDies, Task};
use lockkeeper::process::{OwnBinary, Program};
use tempfile::TempDir;

mod capture;
mod confinement;
mod supervision;
mod tool;

const MOST: usize = 1 << 20;

fn own() -> OwnBinary {
    OwnBinary(PathBuf::from(env!("CARGO_BIN_EXE_lockkeeper")))
}

fn shell(script: &str) -> Program {
    program("/bin/sh", &["-c", script])
}

fn program(file: &str, args: &[&str]) -> Program {
    Program {
        file: PathBuf::from(file),
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: PathBuf::from("/"),
        deadline: Duration::from_secs(60),
    }
}

fn confinement(mode: Confine) -> Confinement {
    Confinement {
        mode,
        read: confine::base_reads(),
        write: Vec::new(),
        limits: Limits::default(),
    }
}

fn text(captured: &Captured) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&captured.stdout),
        String::from_utf8_lossy(&captured.stderr)
    )
}

/// A folder with one that a program may use and one that it may not.
struct House {
    home: TempDir,
}

impl House {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("temporary folder");
        for folder in ["open", "shut"] {
            fs::create_dir(home.path().join(folder)).expect("made");
        }
        fs::write(home.path().join("shut/key"), "the-app-key").expect("written");
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    fn confinement(&self) -> Confinement {
        Confinement {
            write: vec![self.path("open")],
            ..confinement(Confine::Auto)
        }
    }

    fn task(&self, name: &str, program: Program, if_server_dies: IfServerDies) -> Task {
        let task = Task::new(self.path(name), program, self.confinement(), if_server_dies);
        Task {
            grace: Duration::from_secs(20),
            ..task
        }
    }

    async fn attempt(&self, script: &str) -> Captured {
        capture_confined(&own(), &shell(script), &self.confinement(), b"", MOST)
            .await
            .expect("started")
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn alive(pid: i32) -> bool {
    // A zombie has ended; nobody may have been there to reap it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn pid_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
