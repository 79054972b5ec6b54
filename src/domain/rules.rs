//! Owns the rules: the half of the configuration that gates, read at base, so that a pull request cannot loosen
//! the gate that judges it.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::domain::ids::RepoPath;

/// What must hold before an apply is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    Approved,
    PoliciesPassed,
    Mergeable,
    Undiverged,
}

impl Requirement {
    /// All of them, in the order people read them.
    pub const ALL: [Requirement; 4] = [
        Requirement::Approved,
        Requirement::PoliciesPassed,
        Requirement::Mergeable,
        Requirement::Undiverged,
    ];

    /// As it is written in `apply.require`.
    pub fn word(self) -> &'static str {
        match self {
            Requirement::Approved => "approved",
            Requirement::PoliciesPassed => "policies_passed",
            Requirement::Mergeable => "mergeable",
            Requirement::Undiverged => "undiverged",
        }
    }
}

/// How `lockkeeper/apply` stands while nobody has applied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingCheck {
    /// Red until done: blocks a merge that requires the check.
    ActionRequired,
    /// Yellow until done, for those who do not want red before the apply.
    InProgress,
}

/// When a stack's lock is taken. `lock: plan` is a later version's word, refused when read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockAt {
    Apply,
}

/// The names that `policies.library` may hold: the policies that this program ships.
pub const LIBRARY: [&str; 5] = [
    "destroy-limit",
    "no-provisioners",
    "production-needs-approval-label",
    "public-ingress",
    "required-tags",
];

/// Which policies of the repository count, beside those of the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicySources {
    /// The repository's policy directory, read at base.
    pub dir: Option<RepoPath>,
    /// Names out of the library that we ship.
    pub library: Vec<String>,
}

/// The gate, as `lockkeeper.yaml` at base says. `Default` is what holds without a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    pub require: BTreeSet<Requirement>,
    /// Branches other than the default one into which a pull request may want and still be applied (`apply.branches`).
    /// Only what the default branch says of this counts.
    #[serde(default)]
    pub branches: Vec<String>,
    /// How many approvals of people with write access, when `Approved` is required.
    pub approvals: u32,
    pub pending_check: PendingCheck,
    pub policies: PolicySources,
    /// Directories that are no stacks (`discover.exclude`), gitignore syntax from the repository root.
    pub exclude: Vec<String>,
    pub lock: LockAt,
    /// Whether a pull request is planned without being asked (`defaults.autoplan`); a stack may say otherwise.
    pub autoplan: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            require: BTreeSet::from(Requirement::ALL),
            branches: Vec::new(),
            approvals: 1,
            pending_check: PendingCheck::ActionRequired,
            policies: PolicySources::default(),
            exclude: Vec::new(),
            lock: LockAt::Apply,
            autoplan: true,
        }
    }
}

impl Rules {
    pub fn requires(&self, requirement: Requirement) -> bool {
        self.require.contains(&requirement)
    }

    /// Whether a pattern of `apply.branches` matches this branch.
    pub fn names(&self, branch: &str) -> bool {
        let matches = |pattern: &String| branch_pattern(pattern).is_some_and(|pattern| pattern.is_match(branch));
        self.branches.iter().any(matches)
    }
}

/// A pattern of branches: the whole name, `*` stands for anything but `/`, `**` for anything. `None`: it is none.
pub fn branch_pattern(text: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(text).literal_separator(true).build().ok()?;
    (!text.is_empty()).then(|| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_everything_is_required() {
        let rules = Rules::default();
        assert!(
            Requirement::ALL
                .into_iter()
                .all(|requirement| rules.requires(requirement))
        );
        assert_eq!(rules.approvals, 1);
    }

    #[test]
    fn a_requirement_is_stored_by_the_word_people_write() {
        for requirement in Requirement::ALL {
            let stored = serde_json::to_string(&requirement).expect("plain data");
            assert_eq!(stored, format!("{:?}", requirement.word()));
        }
    }
}
