//! Owns the question which git modules a fetched configuration calls.

use crate::domain::ids::{RepoId, RepoPath};
use crate::domain::layout::{GitModule, Tool};
use crate::source::Tree;
use crate::source::facts::parse::Parsed;
use crate::source::module::Modules;
use crate::source::module::files::Files;
use crate::source::parallel::on_a_deep_stack;
use crate::source::part::walk::{Root, walk};
use crate::source::value::Vars;

/// The git modules that the configuration of one directory calls, by itself or through local modules. What could not be
/// read calls none: the tool says why.
pub fn git_modules(tree: &Tree, dir: &RepoPath, tool: Tool) -> Vec<GitModule> {
    let called = || {
        let (parsed, files) = (Parsed::default(), Files::new(tree));
        let facts = parsed.of(tree, |_| true);
        let root = Root {
            repo: RepoId(0),
            dir,
            tool,
            workspace: "default",
            vars: Vars::new(),
            looked_up: &Default::default(),
        };
        walk(&Modules::new(&files, &facts), root).git_modules
    };
    on_a_deep_stack(called).unwrap_or_default()
}
