//! Owns the bare repositories on disk, through the git program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::process::capture::capture;
use crate::process::{Exit, ProcessError, Program};

pub mod diff;

/// A git command that failed, or could not start.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git did not run: {0}")]
    Run(#[from] ProcessError),
    #[error("the repository's folder: {0}")]
    Folder(#[from] std::io::Error),
    #[error("git {command}: {stderr}")]
    Failed { command: String, stderr: String },
    #[error("git {command} answered {what}")]
    Unexpected { command: &'static str, what: String },
}

/// Runs git in a repository and gives its output.
pub async fn run(dir: &Path, args: &[&str], stdin: &[u8]) -> Result<Vec<u8>, GitError> {
    let (code, stdout, stderr) = start(dir, args, &[], stdin).await?;
    if code == Some(0) {
        return Ok(stdout);
    }
    let command = args.first().copied().unwrap_or_default().to_owned();
    Err(GitError::Failed {
        command,
        stderr: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}

/// How long any one git command may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// The largest answer, a whole clone, in bytes.
const MOST: usize = 1 << 30;

/// Runs git and gives its exit code and both outputs.
pub async fn start(
    dir: &Path,
    args: &[&str],
    env: &[(&str, OsString)],
    stdin: &[u8],
) -> Result<(Option<i32>, Vec<u8>, Vec<u8>), GitError> {
    let own = [
        ("PATH", OsString::from("/usr/local/bin:/usr/bin:/bin")),
        ("HOME", dir.into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_TERMINAL_PROMPT", "0".into()),
        ("LC_ALL", "C".into()),
    ];
    let program = Program {
        file: PathBuf::from("git"),
        args: args.iter().map(OsString::from).collect(),
        env: own
            .iter()
            .chain(env)
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect(),
        cwd: dir.to_owned(),
        deadline: DEADLINE,
    };
    let captured = capture(&program, stdin, MOST).await?;
    let code = match captured.exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::DeadlineReached => None,
    };
    Ok((code, captured.stdout, captured.stderr))
}

async fn line(dir: &Path, args: &[&str], stdin: &[u8]) -> Result<String, GitError> {
    Ok(String::from_utf8_lossy(&run(dir, args, stdin).await?).trim().to_owned())
}

/// An empty bare repository that serves what GitHub serves.
pub async fn init(dir: &Path, default_branch: &str) -> Result<(), GitError> {
    std::fs::create_dir_all(dir)?;
    run(
        dir,
        &[
            "init",
            "--quiet",
            "--bare",
            "--template=",
            &format!("--initial-branch={default_branch}"),
        ],
        b"",
    )
    .await?;
    settings(dir)
}

/// A copy with all branches, as a fork is.
pub async fn fork(from: &Path, to: &Path) -> Result<(), GitError> {
    std::fs::create_dir_all(to)?;
    let from = from.to_string_lossy();
    run(
        to,
        &["clone", "--quiet", "--bare", "--template=", "--no-local", &from, "."],
        b"",
    )
    .await?;
    settings(to)
}

fn settings(dir: &Path) -> Result<(), GitError> {
    let more = "[http]\n\treceivepack = true\n[receive]\n\thideRefs = refs/pull\n[uploadpack]\n\tallowAnySHA1InWant = true\n\
                \tallowReachableSHA1InWant = true\n\tallowFilter = true\n[gc]\n\tauto = 0\n[core]\n\tquotePath = false\n";
    let path = dir.join("config");
    let config = std::fs::read_to_string(&path)?;
    Ok(std::fs::write(&path, config + more)?)
}

/// Who a commit is by.
#[derive(Clone, Debug)]
pub struct Signature {
    pub name: String,
    pub email: String,
    pub at: Timestamp,
}

impl Signature {
    fn line(&self) -> String {
        format!("{} <{}> {} +0000", self.name, self.email, self.at.as_second())
    }
}

/// What a commit does to a file.
#[derive(Clone, Debug)]
pub enum Change {
    Put { path: String, bytes: Vec<u8> },
    Executable { path: String, bytes: Vec<u8> },
    Symlink { path: String, target: String },
    Delete { path: String },
    Rename { from: String, to: String },
}

/// One commit on top of `parent`, on a ref, without a work tree.
pub async fn commit(
    dir: &Path,
    reference: &str,
    parent: Option<&str>,
    by: &Signature,
    message: &str,
    changes: &[Change],
) -> Result<String, GitError> {
    let mut input = Vec::new();
    let who = by.line();
    let head = format!(
        "feature done\ncommit {reference}\nmark :1\nauthor {who}\ncommitter {who}\ndata {}\n{message}\n",
        message.len()
    );
    input.extend(head.bytes());
    if let Some(parent) = parent {
        input.extend(format!("from {parent}\n").bytes());
    }
    let quoted = |path: &str| {
        format!(
            "\"{}\"",
            path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        )
    };
    let mut put = |mode: &str, path: &str, bytes: &[u8]| {
        input.extend(format!("M {mode} inline {}\ndata {}\n", quoted(path), bytes.len()).bytes());
        input.extend(bytes);
        input.push(b'\n');
    };
    let mut other = String::new();
    for change in changes {
        match change {
            Change::Put { path, bytes } => put("100644", path, bytes),
            Change::Executable { path, bytes } => put("100755", path, bytes),
            Change::Symlink { path, target } => put("120000", path, target.as_bytes()),
            Change::Delete { path } => other += &format!("D {}\n", quoted(path)),
            Change::Rename { from, to } => other += &format!("R {} {}\n", quoted(from), quoted(to)),
        }
    }
    // Renames and deletes come after the puts of one commit: nobody puts what they delete.
    input.extend(other.bytes());
    input.extend(b"\nget-mark :1\ndone\n");
    line(dir, &["fast-import", "--quiet", "--force"], &input).await
}

/// The tree of merging two commits, or `None` for a conflict.
pub async fn merge_tree(dir: &Path, ours: &str, theirs: &str) -> Result<Option<String>, GitError> {
    let args = [
        "merge-tree",
        "--write-tree",
        "--allow-unrelated-histories",
        "--no-messages",
        ours,
        theirs,
    ];
    let (code, stdout, stderr) = start(dir, &args, &[], b"").await?;
    match code {
        Some(0) => Ok(Some(String::from_utf8_lossy(&stdout).trim().to_owned())),
        Some(1) => Ok(None),
        _ => Err(GitError::Failed {
            command: "merge-tree".into(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }),
    }
}

/// A commit object of a tree; moves no ref.
pub async fn commit_tree(
    dir: &Path,
    tree: &str,
    parents: &[&str],
    author: &Signature,
    committer: &Signature,
    message: &str,
) -> Result<String, GitError> {
    let mut object = format!("tree {tree}\n");
    for parent in parents {
        object += &format!("parent {parent}\n");
    }
    object += &format!(
        "author {}\ncommitter {}\n\n{message}\n",
        author.line(),
        committer.line()
    );
    line(
        dir,
        &["hash-object", "-t", "commit", "-w", "--stdin"],
        object.as_bytes(),
    )
    .await
}

pub async fn set_ref(dir: &Path, reference: &str, sha: &str) -> Result<(), GitError> {
    run(dir, &["update-ref", reference, sha], b"").await.map(drop)
}

pub async fn delete_ref(dir: &Path, reference: &str) -> Result<(), GitError> {
    run(dir, &["update-ref", "-d", reference], b"").await.map(drop)
}

/// Brings a commit of a fork under a ref of this repository.
pub async fn bring(dir: &Path, from: &Path, sha: &str, reference: &str) -> Result<(), GitError> {
    let from = from.to_string_lossy();
    run(
        dir,
        &["fetch", "--quiet", "--no-tags", &from, &format!("+{sha}:{reference}")],
        b"",
    )
    .await
    .map(drop)
}

/// All refs and where they point.
pub async fn refs(dir: &Path) -> Result<std::collections::BTreeMap<String, String>, GitError> {
    let text = line(dir, &["for-each-ref", "--format=%(objectname) %(refname)"], b"").await?;
    Ok(text
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(sha, name)| (name.to_owned(), sha.to_owned()))
        .collect())
}

pub async fn merge_base(dir: &Path, one: &str, other: &str) -> Result<Option<String>, GitError> {
    let (_, stdout, _) = start(dir, &["merge-base", one, other], &[], b"").await?;
    let sha = String::from_utf8_lossy(&stdout).trim().to_owned();
    Ok(Some(sha).filter(|sha| !sha.is_empty()))
}

/// Whether `old` is an ancestor of `new`.
pub async fn contains(dir: &Path, new: &str, old: &str) -> Result<bool, GitError> {
    Ok(start(dir, &["merge-base", "--is-ancestor", old, new], &[], b"")
        .await?
        .0
        == Some(0))
}

/// The full id of anything git can name as a commit.
pub async fn resolve(dir: &Path, name: &str) -> Result<Option<String>, GitError> {
    if name.starts_with('-') {
        return Ok(None);
    }
    let (code, stdout, _) = start(
        dir,
        &["rev-parse", "--quiet", "--verify", &format!("{name}^{{commit}}")],
        &[],
        b"",
    )
    .await?;
    Ok((code == Some(0)).then(|| String::from_utf8_lossy(&stdout).trim().to_owned()))
}

/// One commit, as `git log` tells it.
#[derive(Clone, Debug)]
pub struct CommitInfo {
    pub sha: String,
    pub tree: String,
    pub parents: Vec<String>,
    pub author: Signature,
    pub committer: Signature,
    pub message: String,
}

/// Commits of a range, oldest first; `most` newest of them.
pub async fn log(dir: &Path, range: &[&str], most: usize) -> Result<Vec<CommitInfo>, GitError> {
    let most = format!("--max-count={most}");
    let format = "--format=%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%at%x1f%cn%x1f%ce%x1f%ct%x1f%B";
    let mut args = vec!["log", "-z", "--topo-order", "--reverse", &most, format];
    args.extend(range);
    args.push("--");
    let text = run(dir, &args, b"").await?;
    let text = String::from_utf8_lossy(&text);
    text.split('\0')
        .filter(|one| !one.trim().is_empty())
        .map(commit_info)
        .collect()
}

fn commit_info(text: &str) -> Result<CommitInfo, GitError> {
    let mut fields = text.splitn(10, '\u{1f}').map(str::to_owned);
    let mut next = || {
        fields.next().ok_or_else(|| GitError::Unexpected {
            command: "log",
            what: text.to_owned(),
        })
    };
    let sha = next()?.trim().to_owned();
    let (tree, parents) = (next()?, next()?);
    let mut signature = || -> Result<Signature, GitError> {
        let (name, email, at) = (next()?, next()?, next()?);
        let at = at.parse().ok().and_then(|s| Timestamp::from_second(s).ok());
        let at = at.ok_or_else(|| GitError::Unexpected {
            command: "log",
            what: "a date it cannot have".into(),
        })?;
        Ok(Signature { name, email, at })
    };
    let (author, committer) = (signature()?, signature()?);
    let parents = parents.split_whitespace().map(str::to_owned).collect();
    Ok(CommitInfo {
        sha,
        tree,
        parents,
        author,
        committer,
        message: next()?.trim_end().to_owned(),
    })
}

/// What stands at a path of a commit.
pub struct Entry {
    pub mode: String,
    pub kind: String,
    pub sha: String,
    pub size: u64,
    pub path: String,
}

/// The entry itself, or for a directory (`path` ends in `/` or is empty) what is in it.
pub async fn list(dir: &Path, commit: &str, path: &str) -> Result<Vec<Entry>, GitError> {
    let mut args = vec!["ls-tree", "-z", "--long", "--full-tree", commit];
    if !path.is_empty() {
        args.extend(["--", path]);
    }
    let text = run(dir, &args, b"").await?;
    let text = String::from_utf8_lossy(&text);
    let entries = text.split('\0').filter_map(|entry| {
        let (head, path) = entry.split_once('\t')?;
        let mut head = head.split_whitespace().map(str::to_owned);
        let (mode, kind, sha) = (head.next()?, head.next()?, head.next()?);
        let size = head.next().and_then(|size| size.parse().ok()).unwrap_or(0);
        Some(Entry {
            mode,
            kind,
            sha,
            size,
            path: path.to_owned(),
        })
    });
    Ok(entries.collect())
}

pub async fn blob(dir: &Path, sha: &str) -> Result<Vec<u8>, GitError> {
    run(dir, &["cat-file", "blob", sha], b"").await
}

/// How many commits each side has that the other has not.
pub async fn ahead_behind(dir: &Path, base: &str, head: &str) -> Result<(u64, u64), GitError> {
    let text = line(
        dir,
        &["rev-list", "--left-right", "--count", &format!("{base}...{head}"), "--"],
        b"",
    )
    .await?;
    let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap_or(0));
    let behind = numbers.next().unwrap_or(0);
    Ok((numbers.next().unwrap_or(0), behind))
}
