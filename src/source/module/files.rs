//! Owns the view of one tree: directories, symlinks and texts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::ids::RepoPath;
use crate::source::{Entry, Kind, Tree};

/// One tree, indexed by directory.
pub struct Files<'a> {
    pub tree: &'a Tree,
    /// Files (and links, and submodules) directly in each directory; every ancestor is a directory too.
    dirs: HashMap<&'a str, Vec<&'a RepoPath>>,
    /// The directories directly in each directory that has any.
    folders: HashMap<&'a str, BTreeSet<&'a str>>,
    /// The links directly in each directory that has any.
    links_by_dir: HashMap<&'a str, Vec<&'a RepoPath>>,
    /// Every link, sorted.
    links: Vec<&'a RepoPath>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub path: RepoPath,
    pub what: What,
    /// The links that were followed.
    pub links: Vec<RepoPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    File,
    Directory,
}

/// Why a path leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    Missing,
    /// A link on the way points out of the repository.
    Leaves(RepoPath),
    /// It lies in a submodule, whose contents are not read.
    Submodule(RepoPath),
    /// Links refer to each other.
    Circle(RepoPath),
}

/// More links on one way than anybody makes.
const MAX_LINKS: usize = 40;
/// Paths that are looked at to tell where all links of a tree lead.
const MAX_STEPS: usize = 50_000;

/// Where one link leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Lead {
    /// Every path that was looked at on the way.
    by: Vec<RepoPath>,
    pub to: Result<Found, Lost>,
}

impl<'a> Files<'a> {
    pub fn new(tree: &'a Tree) -> Self {
        let mut dirs: HashMap<&str, Vec<&RepoPath>> = HashMap::from([("", Vec::new())]);
        let mut folders: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for path in tree.entries.keys() {
            let mut parent = parent(path.as_str());
            match dirs.get_mut(parent) {
                Some(files) => files.push(path),
                None => {
                    dirs.insert(parent, vec![path]);
                    // The loop ends at the first ancestor that is known: every directory is entered once.
                    while !parent.is_empty() {
                        let folder = parent;
                        parent = self::parent(parent);
                        folders.entry(parent).or_default().insert(folder);
                        if dirs.contains_key(parent) {
                            break;
                        }
                        dirs.insert(parent, Vec::new());
                    }
                }
            }
        }
        let is_link = |(_, entry): &(&RepoPath, &Entry)| entry.kind == Kind::Symlink;
        let links: Vec<&RepoPath> = tree.entries.iter().filter(is_link).map(|(path, _)| path).collect();
        let mut links_by_dir: HashMap<&str, Vec<&RepoPath>> = HashMap::new();
        for link in &links {
            links_by_dir.entry(parent(link.as_str())).or_default().push(link);
        }
        Files {
            tree,
            dirs,
            folders,
            links_by_dir,
            links,
        }
    }

    /// The links that lie directly in a directory.
    pub fn links_in(&self, dir: &RepoPath) -> &[&'a RepoPath] {
        self.links_by_dir.get(dir.as_str()).map_or(&[], Vec::as_slice)
    }

    /// The links that lie in a directory, at any depth.
    pub fn links_within(&self, dir: &RepoPath) -> impl Iterator<Item = &'a RepoPath> {
        let first = self.links.partition_point(|link| link.as_str() < dir.as_str());
        let rest = self.links[first..].iter().copied();
        // Between `a` and `a/x` may sort `a-b`: what begins with the name is looked at, and no more.
        rest.take_while(|link| link.as_str().starts_with(dir.as_str()))
            .filter(|link| link.is_within(dir))
    }

    /// Every directory, in no order.
    pub fn directories(&self) -> impl Iterator<Item = (&'a str, &[&'a RepoPath])> {
        self.dirs.iter().map(|(dir, files)| (*dir, files.as_slice()))
    }

    /// What lies directly in a real directory; links are not followed.
    pub fn in_directory(&self, dir: &RepoPath) -> &[&'a RepoPath] {
        self.dirs.get(dir.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Whether any directory lies directly in a real directory.
    pub fn has_folders(&self, dir: &RepoPath) -> bool {
        self.folders.contains_key(dir.as_str())
    }

    /// The directories directly in a real directory, sorted.
    pub fn folders_in(&self, dir: &RepoPath) -> Vec<RepoPath> {
        self.folders
            .get(dir.as_str())
            .into_iter()
            .flatten()
            .map(|folder| RepoPath::parse(folder).expect("a directory of a tree is a path"))
            .collect()
    }

    /// The object's name of a plain file.
    pub fn blob(&self, path: &RepoPath) -> Option<&'a str> {
        let entry = self.tree.entries.get(path)?;
        matches!(entry.kind, Kind::File | Kind::Executable).then_some(entry.blob.as_str())
    }

    /// A file's bytes, if they were read.
    pub fn bytes(&self, path: &RepoPath) -> Option<&'a Arc<[u8]>> {
        self.tree.blobs.get(self.blob(path)?)
    }

    /// Follows a path through the repository's links.
    pub fn find(&self, path: &RepoPath) -> Result<Found, Lost> {
        let found = |what| Found {
            path: path.clone(),
            what,
            links: Vec::new(),
        };
        // What git names as a file or directory has no link above it.
        if self.blob(path).is_some() {
            return Ok(found(What::File));
        }
        if self.dirs.contains_key(path.as_str()) {
            return Ok(found(What::Directory));
        }
        self.follow(path, |_| true).unwrap_or(Err(Lost::Missing))
    }

    /// Where every link leads; `None`: following them all takes more steps than anybody's links do.
    pub fn leads(&self) -> Option<Vec<Lead>> {
        let mut left = MAX_STEPS;
        let lead = |link: &&RepoPath| {
            let mut by = Vec::new();
            let to = self.follow(link, |path| {
                by.push(path.clone());
                left = left.saturating_sub(1);
                left > 0
            });
            to.map(|to| Lead { by, to })
        };
        self.links.iter().map(lead).collect()
    }

    /// `look` is told every path that is looked at on the way; `None`: it says that this is enough.
    fn follow(&self, path: &RepoPath, mut look: impl FnMut(&RepoPath) -> bool) -> Option<Result<Found, Lost>> {
        let mut links = Vec::new();
        let mut at = RepoPath::root();
        let mut rest: Vec<String> = path.as_str().split('/').rev().map(str::to_owned).collect();
        while let Some(part) = rest.pop() {
            let Some(next) = at.join(&part) else {
                return Some(Err(Lost::Leaves(path.clone())));
            };
            if !look(&next) {
                return None;
            }
            match self.tree.entries.get(&next).map(|entry| (entry.kind, &entry.blob)) {
                Some((Kind::Symlink, blob)) => {
                    if links.len() >= MAX_LINKS {
                        return Some(Err(Lost::Circle(path.clone())));
                    }
                    let target = self
                        .tree
                        .blobs
                        .get(blob)
                        .and_then(|bytes| std::str::from_utf8(bytes).ok());
                    let Some(target) = target else {
                        return Some(Err(Lost::Missing));
                    };
                    links.push(next.clone());
                    if target.starts_with('/') {
                        return Some(Err(Lost::Leaves(next)));
                    }
                    let parts = target.split('/').filter(|part| !part.is_empty() && *part != ".");
                    rest.extend(parts.rev().map(str::to_owned));
                }
                Some((Kind::Submodule, _)) => return Some(Err(Lost::Submodule(next))),
                Some((Kind::File | Kind::Executable, _)) if rest.is_empty() => at = next,
                Some((Kind::File | Kind::Executable, _)) => return Some(Err(Lost::Missing)),
                None if self.dirs.contains_key(next.as_str()) => at = next,
                None => return Some(Err(Lost::Missing)),
            }
        }
        let what = if self.blob(&at).is_some() {
            What::File
        } else {
            What::Directory
        };
        Some(Ok(Found { path: at, what, links }))
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    fn tree(files: &[(&str, Kind, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (name, kind, text) in files {
            let entry = Entry {
                kind: *kind,
                blob: (*name).to_owned(),
            };
            Arc::make_mut(&mut tree.entries).insert(path(name), entry);
            tree.blobs.insert((*name).to_owned(), Arc::from(text.as_bytes()));
        }
        tree
    }

    #[test]
    fn links_inside_the_repository_are_followed_and_others_are_named() {
        let tree = tree(&[
            ("a/b/c.tf", Kind::File, ""),
            ("to-b", Kind::Symlink, "a/b"),
            ("a/up", Kind::Symlink, "../to-b/"),
            ("a/file", Kind::Symlink, "up/c.tf"),
            ("out", Kind::Symlink, "../x"),
            ("abs", Kind::Symlink, "/etc"),
            ("loop", Kind::Symlink, "loop2"),
            ("loop2", Kind::Symlink, "loop/x"),
            ("sub", Kind::Submodule, ""),
        ]);
        let files = Files::new(&tree);
        let show = |text: &str| match files.find(&path(text)) {
            Ok(found) => format!("{:?} {} via {}", found.what, found.path, found.links.len()),
            Err(lost) => format!("{lost:?}"),
        };
        assert_eq!(show("a/b/c.tf"), "File a/b/c.tf via 0");
        assert_eq!(show("a"), "Directory a via 0");
        assert_eq!(show("a/up"), "Directory a/b via 2");
        assert_eq!(show("a/file"), "File a/b/c.tf via 3");
        assert_eq!(show("to-b/c.tf"), "File a/b/c.tf via 1");
        assert_eq!(show("to-b/d.tf"), "Missing");
        assert_eq!(show("a/b/c.tf/d"), "Missing");
        assert_eq!(files.find(&path("out")), Err(Lost::Leaves(path("out"))));
        assert_eq!(files.find(&path("abs/passwd")), Err(Lost::Leaves(path("abs"))));
        assert_eq!(files.find(&path("loop")), Err(Lost::Circle(path("loop"))));
        assert_eq!(files.find(&path("sub/m")), Err(Lost::Submodule(path("sub"))));
    }
}
