//! Owns the relations between commits: what merging them gives, and where they part.

use crate::domain::ids::{CommitSha, RepoPath, TreeSha};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::output::{commit, fields, shown_path, tree};
use crate::git::program::{Answer, Ask, MOST_LISTED, MOST_SHORT};

/// What merging a head into a base gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    Clean(TreeSha),
    /// The files that a person must mend, in git's order.
    Conflict(Vec<RepoPath>),
    /// The two share no history; git and GitHub refuse to merge them.
    Unrelated,
}

/// Whether one commit is among another's ancestors, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    Ancestor,
    Elsewhere,
}

/// Commits of one pull request that are listed at most; more are an error (GitHub itself shows 250).
const MOST_COMMITS: usize = 50_000;

impl Mirror {
    /// Merges `head` into `base` as GitHub's merge button does, without a working tree: the tree is written into the mirror.
    pub async fn merge_tree(&self, base: &CommitSha, head: &CommitSha) -> Result<Merged, GitError> {
        const DOING: &str = "merge the pull request into its base";
        let ask = Ask {
            doing: DOING,
            args: &[
                "merge-tree",
                "--write-tree",
                "-z",
                "--name-only",
                "--no-messages",
                base.as_str(),
                head.as_str(),
            ],
            stdin: b"",
            most: MOST_LISTED,
        };
        let Answer { status, stdout, stderr } = self.ask(&ask).await?;
        let mut answered = fields(&stdout);
        match status {
            0 => Ok(Merged::Clean(tree(DOING, answered.next().unwrap_or_default())?)),
            // Also git's status for a commit that is not there; but then it names no tree.
            1 if !stdout.is_empty() => {
                let mut paths = Vec::new();
                for path in answered.skip(1) {
                    let path = shown_path(DOING, path)?;
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
                Ok(Merged::Conflict(paths))
            }
            _ if stderr.contains("refusing to merge unrelated histories") => Ok(Merged::Unrelated),
            _ => Err(GitError::said(DOING, status, &stderr)),
        }
    }

    /// Whether merging `approved` and merging `head` into `base` give one and the same tree, so that an approval of
    /// the one is an approval of the other (*Update branch* keeps it). A merge that conflicts is like no other.
    pub async fn same_merge(&self, approved: &CommitSha, head: &CommitSha, base: &CommitSha) -> Result<bool, GitError> {
        if approved == head {
            return Ok(true);
        }
        match tokio::try_join!(self.merge_tree(base, approved), self.merge_tree(base, head))? {
            (Merged::Clean(approved), Merged::Clean(head)) => Ok(approved == head),
            (Merged::Clean(_) | Merged::Conflict(_) | Merged::Unrelated, _) => Ok(false),
        }
    }

    /// The tree of a commit.
    pub async fn tree_of(&self, commit: &CommitSha) -> Result<TreeSha, GitError> {
        const DOING: &str = "read a commit";
        let ask = Ask {
            doing: DOING,
            args: &[
                "rev-parse",
                "--verify",
                "--end-of-options",
                &format!("{commit}^{{tree}}"),
            ],
            stdin: b"",
            most: MOST_SHORT,
        };
        tree(DOING, &self.output(&ask).await?)
    }

    /// The newest commit that both have in their history; `None` for unrelated histories.
    pub async fn merge_base(&self, one: &CommitSha, other: &CommitSha) -> Result<Option<CommitSha>, GitError> {
        const DOING: &str = "find where the pull request left its base";
        let ask = Ask {
            doing: DOING,
            args: &["merge-base", one.as_str(), other.as_str()],
            stdin: b"",
            most: MOST_SHORT,
        };
        let Answer { status, stdout, stderr } = self.ask(&ask).await?;
        match status {
            0 => Ok(Some(commit(DOING, &String::from_utf8_lossy(&stdout))?)),
            1 => Ok(None),
            _ => Err(GitError::said(DOING, status, &stderr)),
        }
    }

    /// Whether `old` is an ancestor of `new`.
    pub async fn is_ancestor(&self, old: &CommitSha, new: &CommitSha) -> Result<Ancestry, GitError> {
        const DOING: &str = "compare two commits";
        let ask = Ask {
            doing: DOING,
            args: &["merge-base", "--is-ancestor", old.as_str(), new.as_str()],
            stdin: b"",
            most: MOST_SHORT,
        };
        match self.ask(&ask).await? {
            Answer { status: 0, .. } => Ok(Ancestry::Ancestor),
            Answer { status: 1, .. } => Ok(Ancestry::Elsewhere),
            Answer { status, stderr, .. } => Err(GitError::said(DOING, status, &stderr)),
        }
    }

    /// The commits of `head` that `base` does not have, newest first.
    pub async fn commits_since(&self, base: &CommitSha, head: &CommitSha) -> Result<Vec<CommitSha>, GitError> {
        const DOING: &str = "list the pull request's commits";
        let ask = Ask {
            doing: DOING,
            args: &["rev-list", head.as_str(), &format!("^{base}")],
            stdin: b"",
            most: MOST_COMMITS * 65,
        };
        let listed = self.output(&ask).await?;
        String::from_utf8_lossy(&listed)
            .lines()
            .map(|line| commit(DOING, line))
            .collect()
    }
}
