//! Owns what comes from the server: fetching, and keeping the mirror in shape for the next fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::ids::{CommitSha, PullNumber};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::output::commit;
use crate::git::program::{Answer, Ask, MOST_SHORT};
use crate::git::remove::remove_now;

/// Something the mirror shall hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Want {
    /// With all its ancestors. Costs no network when it is already there.
    Commit(CommitSha),
    /// The branch's commit of this moment, by its name without `refs/heads/`.
    Branch(String),
    /// The head of a pull request of this moment, also from a fork.
    Pull(PullNumber),
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The commit behind each want.
    pub tips: BTreeMap<Want, CommitSha>,
    /// Whether the server was asked at all.
    pub over_network: bool,
}

/// Packs that pile up before a fetch repacks on its own account; the sweep's `tidy` should come sooner.
const MANY_PACKS: usize = 100;

impl Mirror {
    /// Makes the mirror hold all `wants`, creating it first where needed. One process looks, one fetches; none at all
    /// when this process has seen every wanted commit before.
    ///
    /// # Errors
    /// `NotFound`: repository, branch or commit; `Refused`: the token; `Transient`: anything that may pass.
    pub async fn fetch(&self, token: Option<&SecretString>, wants: &[Want]) -> Result<Fetched, GitError> {
        let mut tips = BTreeMap::new();
        for want in wants {
            if let Want::Commit(sha) = want {
                tips.insert(want.clone(), sha.clone());
            }
        }
        let moving: Vec<&Want> = wants.iter().filter(|want| !matches!(want, Want::Commit(_))).collect();
        let unknown = |mirror: &Mirror| -> BTreeSet<CommitSha> {
            tips.values().filter(|sha| !mirror.gate.knows(sha)).cloned().collect()
        };
        if moving.is_empty() && unknown(self).is_empty() {
            return Ok(Fetched {
                tips,
                over_network: false,
            });
        }

        let _turn = self.gate.writing.lock().await;
        let _lock = self.lock_on_disk().await?;
        self.create().await?;
        let missing = self.missing(unknown(self)).await?;
        if moving.is_empty() && missing.is_empty() {
            return Ok(Fetched {
                tips,
                over_network: false,
            });
        }
        self.fetch_now(token, &missing, &moving).await?;
        self.gate.remember(&missing);

        for (want, sha) in moving.iter().zip(self.tips_of(&moving).await?) {
            self.gate.remember([&sha]);
            tips.insert((*want).clone(), sha);
        }
        if self.packs() > MANY_PACKS {
            self.repack().await?;
        }
        Ok(Fetched {
            tips,
            over_network: true,
        })
    }

    /// Puts many small packs together and packs refs. For the sweep: nothing is ever lost by it.
    pub async fn tidy(&self) -> Result<(), GitError> {
        let _turn = self.gate.writing.lock().await;
        if !self.path.is_dir() {
            return Ok(());
        }
        let _lock = self.lock_on_disk().await?;
        self.repack().await
    }

    /// Removes the mirror from disk, e.g. when the App is uninstalled.
    pub async fn delete(&self) -> Result<(), GitError> {
        const DOING: &str = "delete the repository's mirror";
        let _turn = self.gate.writing.lock().await;
        let _lock = self.lock_on_disk().await?;
        self.gate.forget();
        let path = self.path.clone();
        blocking(DOING, move || remove_now(&path)).await
    }

    async fn create(&self) -> Result<(), GitError> {
        const DOING: &str = "create the repository's mirror";
        if self.path.is_dir() {
            return Ok(());
        }
        // Under another name until it is whole: a directory of the right name is a mirror.
        let new = self.path.with_extension("new");
        let made = new.clone();
        blocking(DOING, move || {
            remove_now(&made)?;
            std::fs::create_dir(&made)
        })
        .await?;
        let ask = Ask {
            doing: DOING,
            args: &["init", "--bare", "--quiet", "--template=", "--initial-branch=none"],
            stdin: b"",
            most: MOST_SHORT,
        };
        match self.git.ask(&new, &[], self.git.ask_deadline, &ask).await? {
            Answer { status: 0, .. } => {}
            Answer { status, stderr, .. } => return Err(GitError::said(DOING, status, &stderr)),
        }
        let to = self.path.clone();
        blocking(DOING, move || std::fs::rename(new, to)).await
    }

    async fn missing(&self, unknown: BTreeSet<CommitSha>) -> Result<BTreeSet<CommitSha>, GitError> {
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let names: Vec<&str> = unknown.iter().map(CommitSha::as_str).collect();
        let found = self.look_up("look for commits in the mirror", &names).await?;
        let missing: BTreeSet<CommitSha> = unknown
            .iter()
            .zip(&found)
            .filter(|(sha, found)| found.as_deref() != Some(sha.as_str()))
            .map(|(sha, _)| sha.clone())
            .collect();
        self.gate.remember(unknown.difference(&missing));
        Ok(missing)
    }

    async fn tips_of(&self, moving: &[&Want]) -> Result<Vec<CommitSha>, GitError> {
        const DOING: &str = "read what was fetched";
        if moving.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = moving.iter().map(|want| ref_of(want)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut tips = Vec::new();
        for (name, found) in names.iter().zip(self.look_up(DOING, &names).await?) {
            let found = found.ok_or_else(|| GitError::unexpected(DOING, format!("{name} is no commit")))?;
            tips.push(commit(DOING, &found)?);
        }
        Ok(tips)
    }

    /// The commit behind each name, in order; `None` for what is not there or is no commit.
    async fn look_up(&self, doing: &'static str, names: &[&str]) -> Result<Vec<Option<String>>, GitError> {
        let lines = names.join("\n") + "\n";
        let ask = Ask {
            doing,
            args: &["cat-file", "--batch-check=%(objecttype) %(objectname)", "--buffer"],
            stdin: lines.as_bytes(),
            most: MOST_SHORT,
        };
        let found: Vec<Option<String>> = String::from_utf8_lossy(&self.output(&ask).await?)
            .lines()
            .map(|line| line.strip_prefix("commit ").map(str::to_owned))
            .collect();
        match found.len() == names.len() {
            true => Ok(found),
            false => Err(GitError::unexpected(
                doing,
                "git answered another number of lines than it was asked",
            )),
        }
    }

    async fn fetch_now(
        &self,
        token: Option<&SecretString>,
        missing: &BTreeSet<CommitSha>,
        moving: &[&Want],
    ) -> Result<(), GitError> {
        const DOING: &str = "fetch from GitHub";
        let mut specs = Vec::new();
        for sha in missing {
            specs.push(format!("+{sha}:{}", ref_of(&Want::Commit(sha.clone()))));
        }
        for want in moving {
            specs.push(format!("+{}:{}", theirs(want)?, ref_of(want)));
        }
        let mirror = self.path.clone();
        blocking(DOING, move || sweep_leftovers(&mirror)).await?;

        let lines = specs.join("\n") + "\n";
        let ask = Ask {
            doing: DOING,
            args: &[
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--no-auto-maintenance",
                "--no-show-forced-updates",
                "--refmap=",
                "--stdin",
                self.remote.url(),
            ],
            stdin: lines.as_bytes(),
            most: MOST_SHORT,
        };
        let settings = self.remote.settings(token);
        match self
            .git
            .ask(&self.path, &settings, self.git.fetch_deadline, &ask)
            .await?
        {
            Answer { status: 0, .. } => Ok(()),
            Answer { status, stderr, .. } => Err(GitError::said(DOING, status, &without(token, &stderr))),
        }
    }

    async fn repack(&self) -> Result<(), GitError> {
        const DOING: &str = "repack the mirror";
        let mirror = self.path.clone();
        blocking(DOING, move || sweep_leftovers(&mirror)).await?;
        // Geometric repacking keeps what hangs on no ref: merged trees, and commits that were pushed away.
        for args in [
            &["repack", "-d", "--geometric=2", "--quiet"][..],
            &["pack-refs", "--all"][..],
        ] {
            let ask = Ask {
                doing: DOING,
                args,
                stdin: b"",
                most: MOST_SHORT,
            };
            match self.git.ask(&self.path, &[], self.git.fetch_deadline, &ask).await? {
                Answer { status: 0, .. } => {}
                Answer { status, stderr, .. } => return Err(GitError::said(DOING, status, &stderr)),
            }
        }
        Ok(())
    }

    fn packs(&self) -> usize {
        std::fs::read_dir(self.path.join("objects/pack")).map_or(0, |entries| {
            let packs = entries
                .flatten()
                .filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"));
            packs.count()
        })
    }

    /// Another process (a second worker on this data directory) waits here; the kernel lets go when we die.
    async fn lock_on_disk(&self) -> Result<File, GitError> {
        let path = self.path.with_extension("lock");
        blocking("lock the repository's mirror", move || {
            if let Some(root) = path.parent() {
                // Private repositories lie in it.
                DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            }
            let file = File::create(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        })
        .await
    }
}

/// Runs work on files off the event loop.
pub(in crate::git) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, GitError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| GitError::unexpected(doing, cause.to_string()))?
        .map_err(|cause| GitError::file(doing, cause))
}

/// Our own name for what was fetched. Branches are hashed: `a` and `a/b` may follow each other on the server, but
/// cannot both be files here.
fn ref_of(want: &Want) -> String {
    match want {
        Want::Commit(sha) => format!("refs/lockkeeper/commit/{sha}"),
        Want::Branch(name) => format!("refs/lockkeeper/branch/{}", hex::encode(Sha256::digest(name))),
        Want::Pull(number) => format!("refs/lockkeeper/pull/{number}"),
    }
}

/// The server's name for a want that moves.
fn theirs(want: &Want) -> Result<String, GitError> {
    match want {
        Want::Commit(sha) => Ok(sha.to_string()),
        Want::Pull(number) => Ok(format!("refs/pull/{number}/head")),
        // What git forbids in a name, some of which would make our line a pattern or two.
        Want::Branch(name)
            if name.is_empty()
                || name.contains("..")
                || name.contains("@{")
                || name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c)) =>
        {
            Err(GitError::NotFound {
                doing: "fetch the branch",
                detail: format!("{name:?} cannot be a branch"),
            })
        }
        Want::Branch(name) => Ok(format!("refs/heads/{name}")),
    }
}

/// A fetch that was killed leaves lock files, which would stop every later one, and half a pack. Only called by
/// whoever holds the mirror's lock, so all of them are left over.
fn sweep_leftovers(mirror: &Path) -> io::Result<()> {
    let mut folders = vec![mirror.join("refs/lockkeeper")];
    let mut left: Vec<PathBuf> = vec![mirror.join("packed-refs.lock"), mirror.join("shallow.lock")];
    while let Some(folder) = folders.pop() {
        for entry in read_dir_or_empty(&folder)? {
            let path = entry.path();
            match entry.file_type()?.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "lock") => left.push(path),
                false => {}
            }
        }
    }
    for entry in read_dir_or_empty(&mirror.join("objects/pack"))? {
        if entry.file_name().to_string_lossy().starts_with("tmp_") {
            left.push(entry.path());
        }
    }
    for path in left {
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
    }
    Ok(())
}

fn read_dir_or_empty(folder: &Path) -> io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(cause),
    }
}

/// Git does not print headers, but a log that depends on that is one change of git away from a leak.
fn without(token: Option<&SecretString>, stderr: &str) -> String {
    match token {
        Some(token) if !token.expose_secret().is_empty() => stderr.replace(token.expose_secret(), "***"),
        _ => stderr.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_name_cannot_become_a_pattern_or_a_second_line() {
        for name in ["", "a\nb", "x:refs/heads/y", "*", "a b", "a..b", "a@{1}"] {
            assert!(theirs(&Want::Branch(name.to_owned())).is_err(), "{name:?}");
        }
        let name = theirs(&Want::Branch("feature/ü-1".to_owned())).expect("a branch");
        assert_eq!(name, "refs/heads/feature/ü-1");
    }

    #[test]
    fn a_branch_and_a_branch_below_it_have_names_side_by_side() {
        let below = ref_of(&Want::Branch("a/b".to_owned()));
        assert!(!below.starts_with(&ref_of(&Want::Branch("a".to_owned()))));
    }
}
