//! Owns what an attempt leaves on this machine: programs that outlived their server, and files that nobody needs.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::ids::{RunId, StackName};
use crate::process::ProcessError;
use crate::process::supervise::{self, Found};
use crate::tool::apply::FOLDER;
use crate::worker::Worker;
use crate::worker::place;

/// Waits for the end of every program that an earlier attempt at a stack still has, and hurries it: a server that was
/// killed cannot have waited, and two tools must not work in one tree. Applies are left alone: they are followed.
pub async fn end_earlier(worker: &Worker, run: RunId, stack: &StackName) -> anyhow::Result<()> {
    for dir in tasks(&place::stack_dir(worker, run, stack))? {
        if dir.ends_with(FOLDER) {
            continue;
        }
        while let Found::Alive(mut running) = supervise::find(&dir)? {
            tracing::info!(%stack, "a program of an earlier attempt is still running; its end is waited for");
            running.end().await?;
        }
    }
    Ok(())
}

/// Removes what a plan had to itself, whatever it came to: an author's program decides how much that is.
pub async fn clear_plan(worker: &Worker, run: RunId, stack: &StackName) {
    clear(worker, run, stack, &["scratch", "upstreams", "tree"], Attempts::Too).await;
}

/// Removes an apply's scratch. Its tree and its record stay: whoever starts after a crash reads them.
pub async fn clear_apply(worker: &Worker, run: RunId, stack: &StackName) {
    clear(worker, run, stack, &["scratch", "upstreams"], Attempts::Stay).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempts {
    Stay,
    /// All but those that an apply was begun in.
    Too,
}

async fn clear(worker: &Worker, run: RunId, stack: &StackName, names: &[&str], attempts: Attempts) {
    let dir = place::stack_dir(worker, run, stack);
    let cleared = async {
        for task in tasks(&dir)? {
            if matches!(
                supervise::find(&task),
                Ok(Found::Alive(_)) | Err(ProcessError::Elsewhere(_))
            ) {
                tracing::warn!(%stack, "a program still runs: what it works with stays");
                return Ok(());
            }
        }
        let mut gone: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        if attempts == Attempts::Too {
            gone.extend(
                attempts_in(&dir)?
                    .into_iter()
                    .filter(|attempt| !attempt.join(FOLDER).exists()),
            );
        }
        for path in gone {
            crate::git::remove::remove(&path).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = cleared.await {
        tracing::warn!(%stack, error = ?error, "what an attempt left could not be removed");
    }
}

/// The folders that a supervisor may have, of every attempt at a stack and at upstreams that it asked.
fn tasks(stack_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut attempts = attempts_in(stack_dir)?;
    for upstream in inside(&stack_dir.join("upstreams"))? {
        attempts.extend(attempts_in(&upstream)?);
    }
    let mut all = Vec::new();
    for attempt in attempts {
        all.extend(inside(&attempt)?);
    }
    Ok(all)
}

fn attempts_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = inside(dir)?;
    let is_attempt = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("attempt-"))
    };
    all.retain(is_attempt);
    Ok(all)
}

/// The folders in a folder; none if it is not there.
fn inside(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.push(entry.path());
        }
    }
    Ok(all)
}
