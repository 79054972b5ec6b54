//! Owns a stack run's own tree: real folders where the tool may write, links into the run's checkout for all else.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::domain::ids::RepoPath;
use crate::git::error::GitError;
use crate::git::fetch::blocking;
use crate::git::folder::Folder;
use crate::git::remove::remove_now;

/// Where a stack run's tree lies and what in it is real. Two values made of the same parts are the same tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackTree {
    pub(in crate::git) checkout: PathBuf,
    pub(in crate::git) at: PathBuf,
    /// Sorted; none lies within another.
    pub(in crate::git) real: Vec<RepoPath>,
}

/// What became of the folders that should be real.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Laid {
    /// Copied, with all that is below them.
    pub real: Vec<RepoPath>,
    /// Not in the commit as folders: absent, a file, or reached through a link of the repository, which is kept as it is.
    pub elsewhere: Vec<RepoPath>,
}

const DOING: &str = "lay out a stack's tree";

impl StackTree {
    /// `checkout` is what `Mirror::checkout` gave, `at` the tree's own path (both absolute, their parents ours);
    /// `real` are the stack's folder and the local modules it reads.
    pub fn new<'a>(checkout: &Path, at: &Path, real: impl IntoIterator<Item = &'a RepoPath>) -> Self {
        let mut outermost: Vec<RepoPath> = Vec::new();
        // A folder sorts before what lies in it.
        for folder in real.into_iter().collect::<BTreeSet<_>>() {
            if !outermost.iter().any(|outer| folder.is_within(outer)) {
                outermost.push(folder.clone());
            }
        }
        StackTree {
            checkout: checkout.to_owned(),
            at: at.to_owned(),
            real: outermost,
        }
    }

    /// The path of a folder or file of the repository in this tree.
    pub fn path_of(&self, path: &RepoPath) -> PathBuf {
        self.at.join(path.as_str())
    }

    /// Makes the tree, or puts it back to the commit exactly, whatever a tool or an earlier crash left there.
    ///
    /// Real folders hold copies (files 0600 or 0700, folders 0700); links of the repository stay the links they are and
    /// are never followed; everything else is a link into the checkout. It is always made anew and then put in place:
    /// a program that survived an earlier try holds folders that are no longer anybody's.
    pub async fn lay(&self) -> Result<Laid, GitError> {
        let tree = self.clone();
        blocking(DOING, move || tree.lay_now()).await
    }

    /// Removes the tree.
    pub async fn remove(&self) -> Result<(), GitError> {
        let at = self.at.clone();
        blocking("remove a stack's tree", move || remove_now(&at)).await
    }

    fn lay_now(&self) -> io::Result<Laid> {
        if !self.checkout.is_absolute() || !self.at.is_absolute() {
            // A relative link would lead to another place from each folder.
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "checkout and tree need absolute paths",
            ));
        }
        let parent = self.at.parent().ok_or(io::ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(parent)?;
        let mut name = self.at.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{:016x}.new", rand::random::<u64>()));
        let new = parent.join(name);

        let mut laid = Laid::default();
        let made = Links::beside(&self.checkout)
            .and_then(|links| self.fill(&new, &RepoPath::root(), &links, &mut laid))
            .and_then(|()| remove_now(&self.at))
            .and_then(|()| std::fs::rename(&new, &self.at));
        if let Err(cause) = made {
            let _ = remove_now(&new); // the first error is the one to tell
            return Err(cause);
        }
        laid.elsewhere = self
            .real
            .iter()
            .filter(|folder| !laid.real.contains(folder))
            .cloned()
            .collect();
        Ok(laid)
    }

    /// Makes one folder that is real or holds one that is.
    fn fill(&self, new: &Path, folder: &RepoPath, links: &Links, laid: &mut Laid) -> io::Result<()> {
        let from = self.checkout.join(folder.as_str());
        if self.real.contains(folder) {
            copy_folder(&from, &new.join(folder.as_str()))?;
            laid.real.push(folder.clone());
            return Ok(());
        }
        let to = new.join(folder.as_str());
        make_folder(&to)?;
        let made = Folder::open(&to)?;
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            let (name, sort) = (entry.file_name(), entry.file_type()?);
            let child = name.to_str().and_then(|name| folder.join(name));
            match child {
                Some(child) if sort.is_dir() && self.real.iter().any(|real| real.is_within(&child)) => {
                    self.fill(new, &child, links, laid)?;
                }
                _ if sort.is_symlink() => made.put_link(&name, std::fs::read_link(entry.path())?.as_os_str())?,
                _ => links.put(&made, &name, &entry.path())?,
            }
        }
        Ok(())
    }
}

/// One link for each place in the checkout, which all trees of the run share under their own names: a name costs a
/// tenth of a new link where the file system is slow to find room for one, and sixty stacks beside each other make
/// 3,600 of them. No program can change a link, only remove its own name for it.
struct Links(Folder);

impl Links {
    fn beside(checkout: &Path) -> io::Result<Links> {
        let mut name = checkout.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".links");
        let path = checkout.with_file_name(name);
        match make_folder(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
            _ => Ok(Links(Folder::open(&path)?)),
        }
    }

    fn put(&self, folder: &Folder, name: &OsStr, target: &Path) -> io::Result<()> {
        let target = target.as_os_str();
        let shared = OsString::from(hex::encode(&Sha256::digest(target.as_bytes())[..16]));
        let put = match folder.put_same_link(name, &self.0, &shared) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => match self.0.put_link(&shared, target) {
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
                _ => folder.put_same_link(name, &self.0, &shared),
            },
            put => put,
        };
        // Too many names for one link, or a file system that gives links only one.
        put.or_else(|_| folder.put_link(name, target))
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Copies a folder and all below it. Iterative: how deep a repository nests is its author's choice.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    make_folder(to)?;
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            let (path, copy, sort) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
            if sort.is_dir() {
                make_folder(&copy)?;
                folders.push((path, copy));
            } else if sort.is_symlink() {
                symlink(std::fs::read_link(&path)?, copy)?;
            } else {
                copy_file(&path, &copy)?;
            }
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).expect("a flag of open(2) is an int");
    let mut source: File = OpenOptions::new().read(true).custom_flags(nofollow).open(from)?;
    let executable = source.metadata()?.permissions().mode() & 0o100 != 0;
    let mode = if executable { 0o700 } else { 0o600 };
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    io::copy(&mut source, &mut copy)?;
    Ok(())
}

/// Whether `name` can stand in a path of a tree.
pub(in crate::git) fn child_of(folder: &RepoPath, name: &OsStr) -> Option<RepoPath> {
    folder.join(str::from_utf8(name.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    /// A checkout with what a hostile author would put there.
    fn checkout(home: &Path) -> PathBuf {
        let root = home.join("checkout");
        for (file, text) in [
            ("infra/app/main.tf", "app"),
            ("infra/app/templates/a b\n.tpl", "template"),
            ("infra/network/main.tf", "network"),
            ("modules/x/main.tf", "x"),
            ("modules/y/main.tf", "y"),
            ("shared/common.tf", "common"),
        ] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            fs::write(file, text).expect("written");
        }
        symlink("../../shared/common.tf", root.join("infra/app/common.tf")).expect("linked");
        symlink("/etc", root.join("infra/etc")).expect("linked");
        symlink("/etc", root.join("infra/app/etc")).expect("linked");
        symlink("app", root.join("infra/current")).expect("linked");
        root
    }

    #[test]
    fn what_is_within_another_real_folder_is_not_named_twice() {
        let tree = StackTree::new(
            Path::new("/c"),
            Path::new("/t"),
            &[path("a/b"), path("a"), path("ab"), path("a")],
        );
        assert_eq!(tree.real, [path("a"), path("ab")]);
        let tree = StackTree::new(Path::new("/c"), Path::new("/t"), &[path("a"), RepoPath::root()]);
        assert_eq!(tree.real, [RepoPath::root()]);
    }

    #[tokio::test]
    async fn real_folders_are_copies_and_the_rest_links_into_the_checkout() {
        let home = tempfile::tempdir().expect("a folder");
        let root = checkout(home.path());
        let at = home.path().join("stacks/app");
        let real = [
            path("infra/app"),
            path("modules/x"),
            path("modules/gone"),
            path("infra/etc"),
            path("infra/current/templates"),
        ];
        let tree = StackTree::new(&root, &at, &real);

        let laid = tree.lay().await.expect("laid");

        assert_eq!(
            laid.real.iter().collect::<BTreeSet<_>>(),
            BTreeSet::from([&real[0], &real[1]])
        );
        assert_eq!(
            laid.elsewhere,
            [path("infra/current/templates"), path("infra/etc"), path("modules/gone")]
        );
        let link = |name: &str| fs::read_link(at.join(name)).ok();
        assert_eq!(link("infra/network"), Some(root.join("infra/network")));
        assert_eq!(link("modules/y"), Some(root.join("modules/y")));
        assert_eq!(link("shared"), Some(root.join("shared")));
        assert_eq!(
            link("infra/etc"),
            Some("/etc".into()),
            "a link of the repository stays what it is"
        );
        assert_eq!(link("infra/app/etc"), Some("/etc".into()));
        for real in [
            "infra",
            "infra/app",
            "infra/app/main.tf",
            "infra/app/templates",
            "modules",
            "modules/x/main.tf",
        ] {
            assert_eq!(link(real), None, "{real}");
        }
        assert_eq!(
            fs::read_to_string(at.join("infra/app/common.tf")).expect("resolves"),
            "common"
        );
        assert_eq!(
            fs::read_to_string(at.join("infra/app/templates/a b\n.tpl")).expect("copied"),
            "template"
        );
        fs::write(at.join("infra/app/main.tf"), "mine").expect("writable");
        assert_eq!(
            fs::read_to_string(root.join("infra/app/main.tf")).expect("read"),
            "app",
            "a copy"
        );
    }

    #[tokio::test]
    async fn laying_again_puts_everything_back() {
        let home = tempfile::tempdir().expect("a folder");
        let root = checkout(home.path());
        let at = home.path().join("stacks/app");
        let tree = StackTree::new(&root, &at, &[path("infra/app")]);
        tree.lay().await.expect("laid");
        fs::write(at.join("infra/app/main.tf"), "changed").expect("written");
        fs::write(at.join("infra/app/extra.zip"), "extra").expect("written");
        fs::remove_dir_all(at.join("infra/app/templates")).expect("removed");
        symlink("/etc", at.join("infra/app/templates")).expect("linked");

        tree.lay().await.expect("laid again");

        assert_eq!(fs::read_to_string(at.join("infra/app/main.tf")).expect("read"), "app");
        assert!(!at.join("infra/app/extra.zip").exists());
        assert!(at.join("infra/app/templates/a b\n.tpl").exists());
        let beside: Vec<_> = fs::read_dir(home.path().join("stacks"))
            .expect("read")
            .flatten()
            .collect();
        assert_eq!(beside.len(), 1, "nothing else is left: {beside:?}");
        tree.remove().await.expect("removed");
        assert!(!at.exists());
    }

    #[tokio::test]
    async fn a_stack_at_the_root_is_all_real() {
        let home = tempfile::tempdir().expect("a folder");
        let root = checkout(home.path());
        let at = home.path().join("root");
        let laid = StackTree::new(&root, &at, &[RepoPath::root()])
            .lay()
            .await
            .expect("laid");
        assert_eq!(laid.real, [RepoPath::root()]);
        assert!(fs::symlink_metadata(at.join("infra")).expect("there").is_dir());
    }
}
