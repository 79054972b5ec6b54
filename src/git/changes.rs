//! Owns the difference between two trees.

use std::collections::BTreeSet;

use crate::domain::ids::{CommitSha, RepoPath, TreeSha};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::output::{fields, shown_path};
use crate::git::program::{Ask, MOST_LISTED};

/// One path that differs. A rename counts on both sides: it has `old` and `new`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub status: Status,
    pub old: Option<RepoPath>,
    pub new: Option<RepoPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Added,
    /// In content or in mode.
    Modified,
    Deleted,
    Renamed,
    /// A file became a link or a submodule, or the other way round.
    TypeChanged,
}

/// A tree, or the tree of a commit.
#[derive(Debug, Clone, Copy)]
pub enum Treeish<'a> {
    Commit(&'a CommitSha),
    Tree(&'a TreeSha),
}

impl Change {
    /// Every path it touches: one, or both sides of a rename.
    pub fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        let Change { status: _, old, new } = self;
        old.iter()
            .chain(new.iter().filter(move |new| old.as_ref() != Some(*new)))
    }
}

impl Treeish<'_> {
    fn as_str(&self) -> &str {
        match self {
            Treeish::Commit(sha) => sha.as_str(),
            Treeish::Tree(sha) => sha.as_str(),
        }
    }
}

impl<'a> From<&'a CommitSha> for Treeish<'a> {
    fn from(sha: &'a CommitSha) -> Self {
        Treeish::Commit(sha)
    }
}

impl<'a> From<&'a TreeSha> for Treeish<'a> {
    fn from(sha: &'a TreeSha) -> Self {
        Treeish::Tree(sha)
    }
}

const DOING: &str = "compare two states of the repository";

impl Mirror {
    /// What differs, in git's order, with renames found. Paths that are not UTF-8 are shown with replacement characters.
    pub async fn changes<'a>(
        &self,
        from: impl Into<Treeish<'a>>,
        to: impl Into<Treeish<'a>>,
    ) -> Result<Vec<Change>, GitError> {
        self.diff(&["-M"], from.into(), to.into()).await
    }

    /// The paths that differ; what was renamed counts with both names.
    pub async fn changed_paths<'a>(
        &self,
        then: impl Into<Treeish<'a>>,
        now: impl Into<Treeish<'a>>,
    ) -> Result<BTreeSet<RepoPath>, GitError> {
        let changes = self.diff(&["--no-renames"], then.into(), now.into()).await?;
        Ok(changes
            .into_iter()
            .filter_map(|change| change.new.or(change.old))
            .collect())
    }

    async fn diff(&self, more: &[&str], from: Treeish<'_>, to: Treeish<'_>) -> Result<Vec<Change>, GitError> {
        let mut args = vec![
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-commit-id",
            "--no-ext-diff",
            "--no-textconv",
        ];
        args.extend(more);
        args.extend([from.as_str(), to.as_str(), "--"]);
        let ask = Ask {
            doing: DOING,
            args: &args,
            stdin: b"",
            most: MOST_LISTED,
        };
        read(&self.output(&ask).await?)
    }
}

/// Reads `:100644 100644 <old> <new> M\0path\0` and, for renames, `:… R087\0old\0new\0`.
fn read(raw: &[u8]) -> Result<Vec<Change>, GitError> {
    let mut fields = fields(raw);
    let mut changes = Vec::new();
    while let Some(head) = fields.next() {
        let broken = || GitError::unexpected(DOING, format!("unknown line {:?}", String::from_utf8_lossy(head)));
        let mut path = || {
            fields
                .next()
                .ok_or_else(broken)
                .and_then(|path| shown_path(DOING, path))
        };
        let letter = head
            .rsplit(|byte| *byte == b' ')
            .next()
            .and_then(|status| status.first());
        changes.push(match letter {
            Some(b'A') => Change {
                status: Status::Added,
                old: None,
                new: Some(path()?),
            },
            Some(b'D') => Change {
                status: Status::Deleted,
                old: Some(path()?),
                new: None,
            },
            Some(letter @ (b'M' | b'T')) => {
                let path = path()?;
                Change {
                    status: if *letter == b'M' {
                        Status::Modified
                    } else {
                        Status::TypeChanged
                    },
                    old: Some(path.clone()),
                    new: Some(path),
                }
            }
            Some(b'R') => Change {
                status: Status::Renamed,
                old: Some(path()?),
                new: Some(path()?),
            },
            _ => return Err(broken()),
        });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_change_is_read() {
        let raw = b":000000 100644 0 1 A\0new\nline.tf\0:100644 000000 1 0 D\0gone.tf\0:100644 100755 1 1 M\0run.sh\0\
                    :100644 120000 1 2 T\0link\0:100644 100644 1 2 R087\0a b.tf\0\xc3\xbc.tf\0";
        let shown: Vec<String> = read(raw)
            .expect("read")
            .iter()
            .map(|change| {
                let paths: Vec<&str> = change.paths().map(RepoPath::as_str).collect();
                format!("{:?} {}", change.status, paths.join(" -> "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "Added new\nline.tf",
                "Deleted gone.tf",
                "Modified run.sh",
                "TypeChanged link",
                "Renamed a b.tf -> ü.tf"
            ]
        );
        assert!(read(b"").expect("nothing").is_empty());
        assert!(read(b":100644 100644 1 2 M\0").is_err());
        assert!(read(b"x\0y\0").is_err());
    }
}
