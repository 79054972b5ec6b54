//! Owns the reading of git's NUL-separated output.

use crate::domain::ids::{CommitSha, RepoPath, TreeSha};
use crate::git::error::GitError;

/// The fields of `a\0b\0`.
pub(in crate::git) fn fields(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ended = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    ended
        .split(|byte| *byte == 0)
        .take(if bytes.is_empty() { 0 } else { usize::MAX })
}

/// A path that git names. One that is not UTF-8 is shown with replacement characters: it stays in its folder, which is
/// what a difference or a conflict is asked for. One that is not normal (`..`) comes only from a forged tree.
pub(in crate::git) fn shown_path(doing: &'static str, bytes: &[u8]) -> Result<RepoPath, GitError> {
    let text = String::from_utf8_lossy(bytes);
    match RepoPath::parse(&text) {
        Ok(path) if !path.is_root() => Ok(path),
        _ => Err(GitError::Unfit {
            doing,
            place: text.chars().take(200).collect(),
            why: "is not a normal path inside a repository",
        }),
    }
}

pub(in crate::git) fn tree(doing: &'static str, bytes: &[u8]) -> Result<TreeSha, GitError> {
    let text = String::from_utf8_lossy(bytes);
    TreeSha::parse(text.trim()).map_err(|cause| GitError::unexpected(doing, cause.to_string()))
}

pub(in crate::git) fn commit(doing: &'static str, text: &str) -> Result<CommitSha, GitError> {
    CommitSha::parse(text.trim()).map_err(|cause| GitError::unexpected(doing, cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_with_nul() {
        let read = |bytes: &'static [u8]| fields(bytes).collect::<Vec<_>>();
        assert_eq!(read(b""), Vec::<&[u8]>::new());
        assert_eq!(read(b"a\0"), [b"a"]);
        assert_eq!(read(b"a\0\nb \0"), [&b"a"[..], b"\nb "]);
    }

    #[test]
    fn a_path_that_is_not_utf8_stays_in_its_folder() {
        let path = shown_path("test", b"infra/caf\xe9.tf").expect("shown");
        assert_eq!(path.parent().as_str(), "infra");
        assert!(shown_path("test", b"../x").is_err());
    }
}
