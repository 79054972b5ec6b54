//! Owns trees that are a commit's tree with some files more: what a program makes of a commit before anything is planned.

use std::path::Path;

use crate::domain::ids::{RepoPath, TreeSha};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::fetch::blocking;
use crate::git::output::tree as tree_in;
use crate::git::program::{Ask, MOST_LISTED, MOST_SHORT};
use crate::git::remove::remove_now;

/// A file that the commit does not have, or has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    pub path: RepoPath,
    pub bytes: Vec<u8>,
    pub executable: bool,
}

const DOING: &str = "write a tree with generated files";

impl Mirror {
    /// The tree with these files, written into the mirror; it hangs on no ref, as merged trees do. Equal files give an
    /// equal tree. `scratch` is a folder that nobody has made yet; it is gone afterwards. Four processes.
    pub async fn with_files(&self, tree: &TreeSha, files: &[Added], scratch: &Path) -> Result<TreeSha, GitError> {
        if files.is_empty() {
            return Ok(tree.clone());
        }
        let written = self.written(tree, files, scratch).await;
        let folder = scratch.to_owned();
        let _ = blocking(DOING, move || remove_now(&folder)).await; // the first error is the one to tell
        written
    }

    async fn written(&self, tree: &TreeSha, files: &[Added], scratch: &Path) -> Result<TreeSha, GitError> {
        let (folder, contents) = (scratch.to_owned(), files.to_vec());
        let paths = blocking(DOING, move || {
            std::fs::create_dir_all(&folder)?;
            let mut paths = Vec::new();
            for (number, file) in contents.iter().enumerate() {
                let path = folder.join(number.to_string());
                std::fs::write(&path, &file.bytes)?;
                paths.extend_from_slice(path.as_os_str().as_encoded_bytes());
                paths.push(b'\n');
            }
            Ok(paths)
        })
        .await?;
        // Exactly these bytes, whatever an attribute of the repository says.
        let args = ["hash-object", "-w", "--no-filters", "--stdin-paths"];
        let ids = self.output(&ask(&args, &paths, MOST_LISTED)).await?;
        let ids = String::from_utf8_lossy(&ids);
        let ids: Vec<&str> = ids.lines().collect();
        if ids.len() != files.len() {
            return Err(GitError::unexpected(
                DOING,
                "git named another number of objects".to_owned(),
            ));
        }

        let mut entries = Vec::new();
        for (file, id) in files.iter().zip(ids) {
            let mode = if file.executable { "100755" } else { "100644" };
            entries.extend_from_slice(format!("{mode} {id}\t{}\0", file.path).as_bytes());
        }
        let index = scratch.join("index");
        let read = ["read-tree", tree.as_str()];
        self.output_with(&ask(&read, b"", MOST_SHORT), &index).await?;
        let add = ["update-index", "-z", "--index-info"];
        self.output_with(&ask(&add, &entries, MOST_SHORT), &index).await?;
        let wrote = self.output_with(&ask(&["write-tree"], b"", MOST_SHORT), &index).await?;
        tree_in(DOING, &wrote)
    }
}

fn ask<'a>(args: &'a [&'a str], stdin: &'a [u8], most: usize) -> Ask<'a> {
    Ask {
        doing: DOING,
        args,
        stdin,
        most,
    }
}
