//! Owns the checkout that a person works in: its root, its files as they lie there, its commits.

use std::collections::HashMap;
use std::fs::FileType;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Args;

use crate::cli::environment::Environment;
use crate::domain::ids::RepoPath;
use crate::git::borrow::{self, LocalClone};
use crate::git::program::Git;
use crate::source::{Entry, Kind, Tree, wanted};

/// As the server: a larger file is not read, and no more than this in all.
const LARGEST: u64 = 4 << 20;
const LARGEST_SUM: u64 = 512 << 20;

/// Which repository is looked at.
#[derive(Debug, Args)]
pub struct At {
    /// The root of the repository [default: the git repository around the current directory, else that directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// A directory on this machine that is a repository's root.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
}

impl At {
    /// The checkout; an error names what was given.
    pub fn checkout(&self) -> anyhow::Result<Checkout> {
        match &self.dir {
            Some(dir) => Checkout::at(dir),
            None => Checkout::around(Path::new(".")),
        }
    }
}

impl Checkout {
    /// Exactly this directory, even if a repository lies around it.
    pub fn at(dir: &Path) -> anyhow::Result<Checkout> {
        let reading = || format!("read {}", dir.display());
        if !dir.try_exists().with_context(reading)? {
            anyhow::bail!("read {}: there is no such directory", dir.display());
        }
        let root = dir.canonicalize().with_context(reading)?;
        anyhow::ensure!(root.is_dir(), "read {}: it is not a directory", dir.display());
        Ok(Checkout { root })
    }

    /// The git repository that holds this directory, else the directory itself.
    pub fn around(dir: &Path) -> anyhow::Result<Checkout> {
        let Checkout { root: dir } = Checkout::at(dir)?;
        let root = borrow::root_of(&dir).unwrap_or(&dir).to_owned();
        Ok(Checkout { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its git repository, which may begin above it; `None`: there is none.
    pub fn git(&self, environment: &Environment) -> Option<LocalClone> {
        LocalClone::at(git(environment), borrow::root_of(&self.root)?)
    }

    /// The files as they lie there, as a commit of all of them would hold them: what git ignores is left out, unless
    /// it is tracked.
    pub async fn files(&self, environment: &Environment) -> anyhow::Result<Tree> {
        let mut reader = Reader {
            root: &self.root,
            tree: Tree {
                entries: Arc::default(),
                blobs: HashMap::new(),
                units: None,
            },
            room: LARGEST_SUM,
        };
        let nested = reader.walk()?;
        // Without git, or with an index that it cannot read, the ignore files alone decide.
        if let Some(clone) = LocalClone::at(git(environment), &self.root)
            && let Ok(tracked) = clone.tracked().await
        {
            let within_nested = |path: &RepoPath| nested.iter().any(|dir| path.is_within(dir));
            for path in tracked.into_iter().filter(|path| !within_nested(path)) {
                reader.tracked(path)?;
            }
        }
        Ok(reader.tree)
    }
}

fn git(environment: &Environment) -> Git {
    let mut git = Git::new("git");
    git.env = environment.for_git();
    git
}

struct Reader<'a> {
    root: &'a Path,
    tree: Tree,
    /// Bytes that may still be read.
    room: u64,
}

impl Reader<'_> {
    /// Takes what no ignore file names; gives the repositories within (submodules, worktrees), which are not entered.
    fn walk(&mut self) -> anyhow::Result<Vec<RepoPath>> {
        let nested: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let found = Arc::clone(&nested);
        let walk = ignore::WalkBuilder::new(self.root)
            .hidden(false)
            // What only one person's machine says is not what a commit would hold.
            .ignore(false)
            .git_global(false)
            .parents(false)
            .require_git(false)
            .filter_entry(move |entry| {
                if matches!(entry.file_name().to_str(), Some(".git" | ".terraform")) {
                    return false;
                }
                let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
                let is_nested = is_dir && entry.depth() > 0 && entry.path().join(".git").exists();
                if is_nested {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push(entry.path().to_owned());
                }
                !is_nested
            })
            .build();
        for entry in walk {
            let entry = entry.with_context(|| format!("read {}", self.root.display()))?;
            if let (Some(kind), Some(path)) = (entry.file_type(), self.path_of(entry.path())) {
                self.take(path, kind)?;
            }
        }
        let nested = std::mem::take(&mut *nested.lock().unwrap_or_else(PoisonError::into_inner));
        let nested: Vec<RepoPath> = nested.iter().filter_map(|path| self.path_of(path)).collect();
        for path in &nested {
            self.put(path.clone(), Kind::Submodule);
        }
        Ok(nested)
    }

    /// A file that git keeps although an ignore file names it.
    fn tracked(&mut self, path: RepoPath) -> anyhow::Result<()> {
        if self.tree.entries.contains_key(&path) {
            return Ok(());
        }
        // Deleted and not committed yet: then it is not there.
        match self.root.join(path.as_str()).symlink_metadata() {
            Ok(metadata) => self.take(path, metadata.file_type()),
            Err(_) => Ok(()),
        }
    }

    fn path_of(&self, path: &Path) -> Option<RepoPath> {
        let text = path.strip_prefix(self.root).ok()?.to_str()?;
        RepoPath::parse(text).ok().filter(|path| !path.is_root())
    }

    /// Only files and links: git holds nothing else, and a pipe would be waited for.
    fn take(&mut self, path: RepoPath, kind: FileType) -> anyhow::Result<()> {
        let kind = match (kind.is_symlink(), kind.is_file()) {
            (true, _) => Kind::Symlink,
            (_, true) => Kind::File,
            _ => return Ok(()),
        };
        let file = self.root.join(path.as_str());
        if wanted(&path, kind) {
            let reading = || format!("read {}", file.display());
            let size = file.symlink_metadata().with_context(reading)?.len();
            if size <= LARGEST && size <= self.room {
                let bytes = match kind {
                    Kind::Symlink => std::fs::read_link(&file).map(|to| to.into_os_string().into_encoded_bytes()),
                    Kind::File | Kind::Executable | Kind::Submodule => std::fs::read(&file),
                };
                self.room -= size;
                self.tree
                    .blobs
                    .insert(path.to_string(), Arc::from(bytes.with_context(reading)?));
            }
        }
        self.put(path, kind);
        Ok(())
    }

    fn put(&mut self, path: RepoPath, kind: Kind) {
        // Only equality counts, and a path is equal to itself.
        let blob = path.to_string();
        Arc::make_mut(&mut self.tree.entries).insert(path, Entry { kind, blob });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn paths(dir: &Path) -> Vec<String> {
        let checkout = Checkout::at(dir).expect("a directory");
        let tree = checkout.files(&Environment::default()).await.expect("readable");
        let shown = |(path, entry): (&RepoPath, &Entry)| format!("{path} {:?}", entry.kind);
        tree.entries.iter().map(shown).collect()
    }

    #[tokio::test]
    async fn what_git_would_not_commit_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            (".gitignore", "ignored/\n"),
            (".ignore", "a/\n"),
            ("a/main.tf", "x"),
            ("ignored/main.tf", "x"),
            ("a/.terraform/modules/m/main.tf", "x"),
            ("sub/.git", "gitdir: ../.git/modules/sub\n"),
            ("sub/main.tf", "x"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        std::os::unix::fs::symlink("../a", dir.path().join("a/link")).expect("linked");
        let pipe = dir.path().join("a/pipe.tf");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        let expected = [
            ".gitignore File",
            ".ignore File",
            "a/link Symlink",
            "a/main.tf File",
            "sub Submodule",
        ];
        assert_eq!(paths(dir.path()).await, expected);
    }

    #[test]
    fn what_is_no_directory_is_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let said = |path: &Path| format!("{:#}", Checkout::at(path).expect_err("no directory"));
        assert!(said(&file).ends_with("/file: it is not a directory"), "{}", said(&file));
        let gone = said(&dir.path().join("gone"));
        assert!(gone.ends_with("/gone: there is no such directory"), "{gone}");
        let checkout = Checkout::around(dir.path()).expect("the directory itself");
        assert_eq!(checkout.root(), dir.path().canonicalize().expect("there"));
    }
}
