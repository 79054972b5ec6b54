//! Owns somebody's own clone as a source of commits: a bare repository beside it borrows its objects, so that nothing
//! is written into theirs and no setting of theirs counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::ids::{CommitSha, RepoPath};
use crate::git::error::GitError;
use crate::git::output::{commit, fields};
use crate::git::program::{Answer, Ask, Git, MOST_LISTED, MOST_SHORT};
use crate::git::remote::Remote;
use crate::git::{Gate, Mirror};

/// A clone on this machine, as its owner made it.
#[derive(Clone)]
pub struct LocalClone {
    git: Git,
    /// Its `.git`, or what a worktree's `.git` file names.
    path: PathBuf,
}

/// How much of the history a clone holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Whole,
    /// `clone --depth`: where two commits part may lie beyond its end.
    Shallow,
    /// `clone --filter`: files are fetched when they are asked for, which is never done here.
    Partial,
}

/// The directory that holds `dir` and has a `.git`: itself or the nearest above it. `dir` is absolute.
pub fn root_of(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|above| above.join(".git").exists())
}

impl LocalClone {
    /// The clone whose root this directory is; `None` where it has no usable `.git`.
    pub fn at(git: Git, root: &Path) -> Option<LocalClone> {
        let dot_git = root.join(".git");
        let path = match dot_git.is_dir() {
            true => dot_git,
            // A worktree or submodule: `gitdir: /path/.git/worktrees/name`.
            false => {
                let text = std::fs::read_to_string(&dot_git).ok()?;
                root.join(text.strip_prefix("gitdir: ")?.trim_end_matches('\n'))
            }
        };
        path.is_dir().then_some(LocalClone { git, path })
    }

    /// The commit that a branch, tag, remote branch or object name stands for; `None`: there is none.
    pub async fn commit(&self, name: &str) -> Result<Option<CommitSha>, GitError> {
        const DOING: &str = "look for a commit";
        let wanted = format!("{name}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let Answer { status, stdout, stderr } = self.ask(DOING, &args, MOST_SHORT).await?;
        match status {
            0 => commit(DOING, &String::from_utf8_lossy(&stdout)).map(Some),
            // `--quiet` leaves only what is wrong with the repository itself.
            _ if stderr.contains("not a git repository") => Err(GitError::said(DOING, status, &stderr)),
            _ => Ok(None),
        }
    }

    /// What is in the index: files that git keeps although an ignore file names them are among these.
    pub async fn tracked(&self) -> Result<Vec<RepoPath>, GitError> {
        const DOING: &str = "list the files of the checkout";
        let listed = self.output(DOING, &["ls-files", "-z"], MOST_LISTED).await?;
        let paths = fields(&listed).filter_map(|path| RepoPath::parse(str::from_utf8(path).ok()?).ok());
        Ok(paths.collect())
    }

    pub async fn depth(&self) -> Result<Depth, GitError> {
        const DOING: &str = "ask how deep the clone is";
        let args = ["rev-parse", "--is-shallow-repository"];
        if self.output(DOING, &args, MOST_SHORT).await?.starts_with(b"true") {
            return Ok(Depth::Shallow);
        }
        let args = [
            "config",
            "--get-regexp",
            "^(remote\\..*\\.promisor|extensions\\.partialclone)$",
        ];
        Ok(match self.ask(DOING, &args, MOST_SHORT).await?.status {
            0 => Depth::Partial,
            _ => Depth::Whole,
        })
    }

    /// A bare repository in the empty folder `at` that has every object of this one, and whose own objects (merged
    /// trees) stay in `at`.
    pub async fn lend(&self, at: &Path) -> Result<Mirror, GitError> {
        const DOING: &str = "borrow the objects of the checkout";
        let args = [
            "rev-parse",
            "--show-object-format",
            "--git-path",
            "objects",
            "--git-path",
            "shallow",
        ];
        let said = self.output(DOING, &args, MOST_SHORT).await?;
        let said = String::from_utf8(said).map_err(|_| GitError::unexpected(DOING, "its path is not UTF-8"))?;
        let lines: Vec<&str> = said.lines().collect();
        let [format, objects, shallow] = lines[..] else {
            return Err(GitError::unexpected(DOING, format!("git said {said:?}")));
        };
        let config =
            format!("[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = {format}\n");
        let objects = std::path::absolute(self.path.join(objects)).map_err(|cause| GitError::file(DOING, cause))?;
        let made = || -> std::io::Result<()> {
            std::fs::create_dir_all(at.join("refs"))?;
            std::fs::create_dir_all(at.join("objects/info"))?;
            std::fs::write(at.join("HEAD"), "ref: refs/heads/none\n")?;
            std::fs::write(at.join("config"), config)?;
            std::fs::write(at.join("objects/info/alternates"), format!("{}\n", objects.display()))?;
            match std::fs::copy(self.path.join(shallow), at.join("shallow")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        };
        made().map_err(|cause| GitError::file(DOING, cause))?;
        Ok(Mirror {
            git: self.git.clone(),
            path: at.to_owned(),
            remote: Remote::nowhere(),
            gate: Arc::new(Gate::default()),
        })
    }

    async fn ask(&self, doing: &'static str, args: &[&str], most: usize) -> Result<Answer, GitError> {
        let ask = Ask {
            doing,
            args,
            stdin: b"",
            most,
        };
        self.git.ask(&self.path, &[], self.git.ask_deadline, &ask).await
    }

    async fn output(&self, doing: &'static str, args: &[&str], most: usize) -> Result<Vec<u8>, GitError> {
        match self.ask(doing, args, most).await? {
            Answer { status: 0, stdout, .. } => Ok(stdout),
            Answer { status, stderr, .. } => Err(GitError::said(doing, status, &stderr)),
        }
    }
}
