//! Owns what may be kept of one tree's reading for another: whatever no difference between them touches.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::ids::RepoPath;
use crate::domain::layout::{ReadSet, literal_prefix};
use crate::source::layout::Layout;
use crate::source::part::{Asked, Part};
use crate::source::{Kind, Tree};

/// The differences between two trees.
pub struct Differences<'t> {
    /// Every path that differs, and every directory above one.
    touched: HashSet<&'t str>,
    /// A link or submodule lets a path lead elsewhere: then nothing is kept.
    is_plain: bool,
}

impl<'t> Differences<'t> {
    pub fn between(old: &'t Tree, new: &'t Tree) -> Differences<'t> {
        let mut differences = Differences {
            touched: HashSet::new(),
            is_plain: true,
        };
        let mut olds = old.entries.iter().peekable();
        let mut news = new.entries.iter().peekable();
        loop {
            let path = match (olds.peek(), news.peek()) {
                (None, None) => return differences,
                (Some((path, _)), None) | (None, Some((path, _))) => *path,
                (Some((one, _)), Some((other, _))) => (*one).min(*other),
            };
            let old = olds.next_if(|(other, _)| *other == path).map(|(_, entry)| entry);
            let new = news.next_if(|(other, _)| *other == path).map(|(_, entry)| entry);
            let mut entries = old.iter().chain(&new);
            differences.is_plain &= entries.all(|entry| matches!(entry.kind, Kind::File | Kind::Executable));
            if old != new {
                differences.touch(path.as_str());
            }
        }
    }

    fn touch(&mut self, path: &'t str) {
        let mut path = path;
        while self.touched.insert(path) && !path.is_empty() {
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    /// Whether a directory and all below it are the same, and no link plays a part.
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
