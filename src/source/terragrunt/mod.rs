//! Owns terragrunt trees: which directories are units, and the stacks and edges they become.

use crate::domain::ids::RepoPath;
use crate::domain::located::Located;
use crate::source::Tree;

pub mod scan;
pub mod light;
pub mod reads;
pub mod generated;
pub mod known;
pub mod stack;
pub mod called;

/// What makes a directory a unit.
pub const UNIT_FILE: &str = "terragrunt.hcl";
/// What generates units.
pub const STACK_FILE: &str = "terragrunt.stack.hcl";

/// What a stack file gives to a unit that it generates.
pub const VALUES_FILE: &str = "terragrunt.values.hcl";

/// The same in JSON, which terragrunt prefers where both are there.
pub const UNIT_FILE_JSON: &str = "terragrunt.hcl.json";

/// Whether a file makes its directory a unit.
pub fn is_unit_file(path: &RepoPath) -> bool {
    matches!(path.file_name(), UNIT_FILE | UNIT_FILE_JSON) && !is_cache(path)
}

/// Whether a path lies in what the tools leave behind.
pub fn is_cache(path: &RepoPath) -> bool {
    path.as_str()
        .split('/')
        .any(|part| matches!(part, ".terraform" | ".terragrunt-cache"))
}

/// Why what is known of a tree's units is less than the program knows; nothing, if there are none.
pub fn read_lightly(tree: &Tree) -> Option<Located> {
    if !tree.entries.keys().any(is_unit_file) {
        return None;
    }
    match &tree.units {
        None => Some(Located::nowhere(
            "terragrunt was not asked: its units are read as plain text, and stacks and edges may be missing",
        )),
        // An answer that failed as a whole.
        Some(units) => units.notices.first().cloned(),
    }
}
