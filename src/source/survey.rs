//! Owns the survey: everything that one tree says of itself, with nothing changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Graph;
use crate::domain::ids::{RepoId, RepoPath, StackName};
use crate::domain::located::Located;
use crate::source::config::{Config, FILE, Half};
use crate::source::facts::parse::{Parsed, text};
use crate::source::layout::{Definitions, Layout, Of, layout as read_layout};
use crate::source::module::Modules;
use crate::source::module::files::Files;
use crate::source::parallel::on_a_deep_stack;
use crate::source::terragrunt::generated::not_asked;
use crate::source::unmatched::unmatched;
use crate::source::{Kind, Tree, configuration, unread_beside};

/// What one tree says of its stacks, as the server would read it on a base branch.
#[derive(Default)]
pub struct Survey {
    /// `lockkeeper.yaml`, or the defaults where there is none.
    pub config: Config,
    /// Its text, as far as it is any.
    pub text: Option<String>,
    pub graph: Graph,
    /// Errors on one stack alone.
    pub broken: BTreeMap<StackName, Vec<Located>>,
    /// Errors that stop every run.
    pub errors: Vec<Located>,
    /// What could not be told, of every stack.
    pub notices: Vec<Located>,
    /// Those of the notices that are mere suggestions: all of it was understood.
    pub suggested: BTreeSet<Located>,
    /// Directories that would be stacks if `discover.exclude` did not name them.
    pub excluded: BTreeSet<RepoPath>,
}

impl Survey {
    /// All errors, each once, in the order of their places.
    pub fn problems(&self) -> Vec<&Located> {
        let mut all: Vec<&Located> = self.errors.iter().chain(self.broken.values().flatten()).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Reads one tree. Never panics on bad input; bounded in time.
pub fn survey(tree: &Tree) -> Survey {
    on_a_deep_stack(|| surveyed(tree)).unwrap_or_else(|error| Survey {
        errors: vec![Located::nowhere(format!(
            "there is no thread left to read the repository: {error}"
        ))],
        ..Survey::default()
    })
}

fn surveyed(tree: &Tree) -> Survey {
    let config = configuration(tree);
    let parsed = Parsed::default();
    let facts = parsed.of(tree, |_| true);
    let files = Files::new(tree);
    let modules = Modules::new(&files, &facts);
    let with = |exclude: &[String]| {
        read_layout(&Of {
            // One tree is compared with no other, so its number tells nothing apart.
            repo: RepoId(0),
            modules: &modules,
            description: &config.layout,
            exclude,
            known: &BTreeSet::new(),
            before: None,
            definitions: Definitions::Unwanted,
        })
    };
    let layout = with(&config.rules.exclude);
    let unmatched = unmatched(&config, &layout, tree);
    let Layout {
        stacks,
        edges,
        errors: layout_errors,
        broken,
        notices: stack_notices,
        suggested,
        unclaimed,
        definitions: _,
        labels_at: _,
        ..
    } = layout;
    let excluded = match config.rules.exclude.is_empty() {
        true => BTreeSet::new(),
        false => {
            let dirs = |stack: &crate::domain::layout::Stack| stack.dir.clone();
            let kept: BTreeSet<RepoPath> = stacks.values().map(dirs).collect();
            let all: BTreeSet<RepoPath> = with(&[]).stacks.values().map(dirs).collect();
            all.difference(&kept).cloned().collect()
        }
    };
    let (graph, cycles) = Graph::build(stacks, edges);
    let mut errors = config.faults(&[Half::Gate, Half::Description, Half::Both]);
    errors.extend(layout_errors);
    errors.extend(cycles);
    let mut notices: Vec<Located> = stack_notices.into_values().flatten().collect();
    notices.extend(not_asked(tree));
    notices.extend(unclaimed.into_iter().map(|(_, notice)| notice));
    notices.extend(unread_beside(tree));
    notices.extend(unmatched);
    for list in [&mut errors, &mut notices] {
        list.sort();
        list.dedup();
    }
    Survey {
        config,
        text: file_text(tree),
        graph,
        broken,
        errors,
        notices,
        suggested,
        excluded,
    }
}

fn file_text(tree: &Tree) -> Option<String> {
    let entry = tree.entries.get(&RepoPath::parse(FILE).ok()?)?;
    let bytes = tree.blobs.get(&entry.blob).filter(|_| entry.kind != Kind::Symlink)?;
    text(bytes).ok().map(str::to_owned)
}
