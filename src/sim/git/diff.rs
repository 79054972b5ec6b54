//! Owns diffs, in GitHub's words.

use std::path::Path;

use super::{GitError, run};

/// One file of a diff, in GitHub's words.
#[derive(Clone, Debug)]
pub struct FileDiff {
    pub path: String,
    pub previous: Option<String>,
    pub status: &'static str,
    pub blob: String,
    pub additions: u64,
    pub deletions: u64,
    pub patch: Option<String>,
}

/// The largest patch of one file that GitHub still puts into an answer, in bytes.
const LARGEST_PATCH: usize = 300_000;

/// The two-dot diff of two commits or trees, renames found.
pub async fn diff(dir: &Path, from: &str, to: &str) -> Result<Vec<FileDiff>, GitError> {
    let raw = run(
        dir,
        &["diff", "-M", "--raw", "--numstat", "-z", "--abbrev=40", from, to, "--"],
        b"",
    )
    .await?;
    let patch = run(dir, &["diff", "-M", "--patch", "--no-color", from, to, "--"], b"").await?;
    let patch = String::from_utf8_lossy(&patch);
    let raw = String::from_utf8_lossy(&raw);
    let mut sections = patch_sections(&patch).into_iter();
    let mut parts = raw.split('\0');
    let mut files = Vec::new();
    let mut first_count = None;
    while let Some(part) = parts.next() {
        let Some(entry) = part.strip_prefix(':') else {
            first_count = Some(part);
            break;
        };
        let fields: Vec<&str> = entry.split(' ').collect();
        let [_, _, old, new, letter] = fields.as_slice() else {
            return Err(GitError::Unexpected {
                command: "diff",
                what: entry.to_owned(),
            });
        };
        let path = parts.next().unwrap_or_default().to_owned();
        let (status, renamed) = match letter.as_bytes().first() {
            Some(b'A') => ("added", false),
            Some(b'D') => ("removed", false),
            Some(b'R') => ("renamed", true),
            Some(b'C') => ("copied", true),
            Some(b'T') => ("changed", false),
            _ => ("modified", false),
        };
        let (path, previous) = if renamed {
            (parts.next().unwrap_or_default().to_owned(), Some(path))
        } else {
            (path, None)
        };
        let mut text = sections.next().unwrap_or_default();
        if status == "changed" {
            text += &sections.next().unwrap_or_default();
        }
        let patch = Some(text).filter(|text| !text.is_empty() && text.len() <= LARGEST_PATCH);
        let blob = if status == "removed" { old } else { new };
        files.push(FileDiff {
            path,
            previous,
            status,
            blob: (*blob).to_owned(),
            additions: 0,
            deletions: 0,
            patch,
        });
    }
    let counts = first_count
        .into_iter()
        .chain(parts)
        .filter(|part| !part.is_empty() && part.contains('\t'));
    for (file, count) in files.iter_mut().zip(counts) {
        let mut numbers = count.split('\t').map(|n| n.parse().unwrap_or(0));
        file.additions = numbers.next().unwrap_or(0);
        file.deletions = numbers.next().unwrap_or(0);
    }
    Ok(files)
}

/// The hunks of each file of a patch, in order; a line inside a hunk never starts with `diff --git`.
fn patch_sections(patch: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    let mut in_hunk = false;
    for line in patch.split_inclusive('\n') {
        if line.starts_with("diff --git ") {
            sections.push(String::new());
            in_hunk = false;
        } else if line.starts_with("@@ ") || in_hunk {
            in_hunk = true;
            if let Some(section) = sections.last_mut() {
                section.push_str(line);
            }
        }
    }
    sections
        .iter()
        .map(|section| section.trim_end_matches('\n').to_owned())
        .collect()
}
