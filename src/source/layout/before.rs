//! Owns what may be kept of one tree's reading for another: whatever no difference between them touches.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::ids::RepoPath;
use crate::domain::layout::{ReadSet, literal_prefix};
use crate::source::layout::Layout;
use crate::source::module::files::{Files, Lead};
use crate::source::part::{Asked, Part};
use crate::source::{Entry, Kind, Tree, wanted};

/// One tree as it was when it was read, without its contents.
pub struct Seen {
    entries: Arc<BTreeMap<RepoPath, Entry>>,
    /// Contents that are wanted and were not at hand, by object name.
    unread: BTreeSet<String>,
    /// Where its links lead. `None`: they are too many to follow.
    leads: Option<Vec<Lead>>,
}

impl Seen {
    pub fn of(files: &Files<'_>) -> Seen {
        Seen {
            entries: files.tree.entries.clone(),
            unread: unread(files.tree).into_iter().map(str::to_owned).collect(),
            leads: files.leads(),
        }
    }

    /// Whether this is that very tree, as far as anybody could read it.
    pub fn is(&self, tree: &Tree) -> bool {
        self.entries == tree.entries && self.unread.iter().eq(&unread(tree))
    }

    /// How many files it holds.
    pub fn size(&self) -> usize {
        self.entries.len()
    }
}

fn unread(tree: &Tree) -> BTreeSet<&str> {
    let is_unread =
        |(path, entry): &(&RepoPath, &Entry)| !tree.blobs.contains_key(&entry.blob) && wanted(path, entry.kind);
    let entries = tree.entries.iter().filter(is_unread);
    entries.map(|(_, entry)| entry.blob.as_str()).collect()
}

/// The differences between two trees.
pub struct Differences<'t> {
    /// Every path that differs, and every directory above one.
    touched: HashSet<&'t str>,
    /// Every link is in both trees, and leads to the same in both. Else a path may lead elsewhere although nothing at
    /// it differs, and nothing is kept.
    is_plain: bool,
}

impl<'t> Differences<'t> {
    pub fn between(old: &'t Seen, new: &Files<'t>) -> Differences<'t> {
        let mut differences = Differences {
            touched: HashSet::new(),
            is_plain: true,
        };
        let unread = unread(new.tree);
        let was_read = |entry: &Entry| !old.unread.contains(entry.blob.as_str());
        let is_read = |entry: &Entry| !unread.contains(entry.blob.as_str());
        let mut olds = old.entries.iter().peekable();
        let mut news = new.tree.entries.iter().peekable();
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            let before = olds.next_if(|_| order != Ordering::Greater);
            let after = news.next_if(|_| order != Ordering::Less);
            match (before, after) {
                (Some((_, before)), Some((_, after))) if before == after && was_read(before) == is_read(after) => {}
                (Some((path, entry)), None) | (None, Some((path, entry))) => {
                    differences.is_plain &= is_file(entry.kind);
                    differences.touch(path.as_str());
                }
                (Some((path, before)), Some((_, after))) => {
                    // Which commit of a submodule is meant is read where it is named; that it is one stays.
                    differences.is_plain &= (is_file(before.kind) && is_file(after.kind))
                        || (before.kind, after.kind) == (Kind::Submodule, Kind::Submodule);
                    differences.touch(path.as_str());
                }
                (None, None) => {}
            }
        }
        differences.is_plain = differences.is_plain && differences.leaves_links(old, new);
        differences
    }

    /// Whatever is looked for through a link is one of the paths on the link's way, or lies where it leads.
    fn leaves_links(&self, old: &Seen, new: &Files<'_>) -> bool {
        let leads = old.leads.as_ref().filter(|leads| new.leads().as_ref() == Some(*leads));
        let is_left = |lead: &Lead| match &lead.to {
            Ok(found) => !self.touched.contains(found.path.as_str()),
            // It leads nowhere in both trees.
            Err(_) => true,
        };
        leads.is_some_and(|leads| leads.iter().all(is_left))
    }

    fn touch(&mut self, path: &'t str) {
        let mut path = path;
        while self.touched.insert(path) && !path.is_empty() {
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    /// Paths that differ, and the directories above them: how much has to be read again.
    pub fn extent(&self) -> usize {
        match self.is_plain {
            true => self.touched.len(),
            false => usize::MAX,
        }
    }

    /// Whether a directory and all below it are the same, and no link leads elsewhere.
    pub fn leaves(&self, dir: &str) -> bool {
        self.is_plain && !self.touched.contains(dir)
    }

    fn leaves_reads(&self, reads: &ReadSet, probed: &BTreeSet<RepoPath>) -> bool {
        let paths = reads.dirs.iter().chain(&reads.files).chain(probed);
        let patterns = reads.patterns.iter().map(|pattern| literal_prefix(&pattern.glob));
        self.is_plain
            && paths.into_iter().all(|path| !self.touched.contains(path.as_str()))
            && patterns
                .into_iter()
                .all(|prefix| !self.touched.contains(prefix.as_str()))
    }
}

fn is_file(kind: Kind) -> bool {
    match kind {
        Kind::File | Kind::Executable => true,
        Kind::Symlink | Kind::Submodule => false,
    }
}

/// The reading of a tree that came before.
pub struct Before<'a> {
    pub looked_up: &'a BTreeSet<String>,
    layout: &'a Layout,
    differences: &'a Differences<'a>,
}

impl<'a> Before<'a> {
    pub fn new(layout: &'a Layout, differences: &'a Differences<'a>) -> Self {
        Before {
            looked_up: &layout.looked_up,
            layout,
            differences,
        }
    }

    /// What was read for the same question, if reading it again would say the same.
    pub fn part(&self, asked: &Asked) -> Option<Arc<Part>> {
        let part = self.layout.parts.get(asked)?;
        self.differences
            .leaves_reads(&part.reads, &part.probed)
            .then(|| part.clone())
    }
}
