//! Owns what is kept between runs: what files said, and how base trees were read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{RepoId, RepoPath};
use crate::domain::unit::Units;
use crate::source::config::Config;
use crate::source::facts::parse::Parsed;
use crate::source::layout::before::{Before, Differences, Seen};
use crate::source::layout::{Definitions, Layout, Of, layout};
use crate::source::module::files::Files;
use crate::source::module::{Assembled, Modules};
use crate::source::{Tree, configuration};

/// Shared by all runs. Only trees of base branches are kept: nobody's pull request fills the shelf or is served to
/// another one. It makes reading quicker and never different: a reading serves its own repository alone, and of a
/// tree that is not that very one only what no difference touches.
#[derive(Default)]
pub struct Kept {
    parsed: Parsed,
    /// Of each repository's base trees, the one that was used last at the end.
    readings: Mutex<Vec<(RepoId, Arc<Reading>)>>,
}

/// A repository has its default branch, and sometimes one for a release.
const MAX_OF_REPOSITORY: usize = 2;
/// Of all readings together, as [`weight`] counts them: a few hundred MB.
const MAX_WEIGHT: usize = 1_000_000;

impl Kept {
    /// The reading of a base tree: kept, or read now, with what an older one of the repository says still. This
    /// thread has to be a deep one.
    pub(in crate::source) fn base(&self, repo: RepoId, tree: &Tree) -> Arc<Reading> {
        let older: Vec<Arc<Reading>> = {
            let readings = self.readings();
            let own = readings.iter().filter(|(other, _)| *other == repo);
            own.map(|(_, reading)| Arc::clone(reading)).collect()
        };
        if let Some(same) = older.iter().find(|reading| reading.is_of(tree)) {
            self.keep(repo, same);
            return Arc::clone(same);
        }
        let files = Files::new(tree);
        let compared = older
            .iter()
            .map(|reading| (Differences::between(&reading.seen, &files), reading));
        let nearest = compared.min_by_key(|(differences, _)| differences.extent());
        let older = nearest
            .as_ref()
            .map(|(differences, reading)| Older { reading, differences });
        let config = configuration(tree);
        let asked = Asking {
            repo,
            files: &files,
            config: &config,
            exclude: &config.rules.exclude,
            known: &BTreeSet::new(),
            definitions: Definitions::Wanted,
        };
        let seen = Seen::of(&files);
        let read = |layout, modules: &Modules<'_>| (layout, modules.assembled(), modules.is_spent());
        let (layout, modules, is_spent) = self.read(&asked, older.as_ref(), read);
        let reading = Arc::new(Reading {
            weight: weight(&seen, &layout),
            seen,
            units: tree.units.clone(),
            config,
            layout,
            modules,
        });
        // Where not everything was followed, another reading may follow something else.
        if !is_spent {
            self.keep(repo, &reading);
        }
        reading
    }

    /// Reads a tree, with what another's reading says still; `put` takes what is wanted of it.
    pub(in crate::source) fn read<T>(
        &self,
        asked: &Asking<'_>,
        older: Option<&Older<'_>>,
        put: impl FnOnce(Layout, &Modules<'_>) -> T,
    ) -> T {
        let is_left = |dir: &str| older.is_some_and(|older| older.differences.leaves(dir));
        let facts = self.parsed.of(asked.files.tree, |dir| !is_left(dir));
        let mut modules = Modules::new(asked.files, &facts);
        if let Some(older) = older {
            modules = modules.keep(&older.reading.modules, is_left);
        }
        let before = older.map(|older| Before::new(&older.reading.layout, older.differences));
        let layout = layout(&Of {
            repo: asked.repo,
            modules: &modules,
            description: &asked.config.layout,
            exclude: asked.exclude,
            known: asked.known,
            before: before.as_ref(),
            definitions: asked.definitions,
        });
        put(layout, &modules)
    }

    fn keep(&self, repo: RepoId, reading: &Arc<Reading>) {
        let mut readings = self.readings();
        readings.retain(|(_, other)| !Arc::ptr_eq(other, reading));
        readings.push((repo, Arc::clone(reading)));
        let of_repository = readings.iter().filter(|(other, _)| *other == repo).count();
        if of_repository > MAX_OF_REPOSITORY
            && let Some(oldest) = readings.iter().position(|(other, _)| *other == repo)
        {
            readings.remove(oldest);
        }
        let mut weight: usize = readings.iter().map(|(_, reading)| reading.weight).sum();
        while weight > MAX_WEIGHT && !readings.is_empty() {
            let (_, gone) = readings.remove(0);
            weight -= gone.weight;
        }
    }

    fn readings(&self) -> MutexGuard<'_, Vec<(RepoId, Arc<Reading>)>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a tree is to be read.
pub(in crate::source) struct Asking<'a> {
    pub repo: RepoId,
    pub files: &'a Files<'a>,
    pub config: &'a Config,
    /// Base's `discover.exclude`.
    pub exclude: &'a [String],
    /// Directories that were stacks at base.
    pub known: &'a BTreeSet<RepoPath>,
    pub definitions: Definitions,
}

/// What is known of another tree.
pub(in crate::source) struct Older<'a> {
    pub reading: &'a Reading,
    pub differences: &'a Differences<'a>,
}

/// A base tree as it was read.
pub(in crate::source) struct Reading {
    pub seen: Seen,
    /// What terragrunt said of it.
    units: Option<Arc<Units>>,
    pub config: Config,
    pub layout: Layout,
    modules: Assembled,
    weight: usize,
}

impl Reading {
    fn is_of(&self, tree: &Tree) -> bool {
        self.units == tree.units && self.seen.is(tree)
    }
}

/// What it costs to keep a reading, more or less: the paths that it holds.
fn weight(seen: &Seen, layout: &Layout) -> usize {
    const AT_LEAST: usize = 100;
    let reads = layout.stacks.values().map(|stack| {
        let reads = &stack.reads;
        reads.dirs.len() + reads.files.len() + reads.patterns.len() + stack.local_modules.len()
    });
    AT_LEAST + seen.size() + layout.edges.len() + reads.sum::<usize>()
}
