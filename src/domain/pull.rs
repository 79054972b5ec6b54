//! Owns what GitHub answers about a pull request: how it looks now, its reviews, who may do what, and the
//! checks we want to stand on its commits.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::ids::{CommitSha, Login, PullNumber, RepoId, RepoName, RepoPath, Timestamp};

/// A pull request as GitHub's pull says it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullNow {
    pub number: PullNumber,
    pub title: String,
    pub state: PullState,
    pub draft: bool,
    pub author: Login,
    pub head: Head,
    /// The branch this wants to go into, without `refs/heads/`.
    pub base_ref: String,
    /// The base branch's tip *as the pull says it*: GitHub refreshes it only when the pull moves, so it may be
    /// old. The true tip is asked of the branch.
    pub base_sha: CommitSha,
    /// The repository's default branch: the one that says who may apply. `None`: GitHub did not say.
    #[serde(default)]
    pub default_branch: Option<String>,
    pub labels: BTreeSet<String>,
    /// GitHub's test merge while the pull is open (may be old or missing), the merge commit afterwards.
    pub merge_commit_sha: Option<CommitSha>,
}

impl PullNow {
    /// Whether the head lives in another repository than the base.
    pub fn is_fork(&self) -> bool {
        self.head.is_fork
    }

    /// What policies see of it that may be another without a new head.
    pub fn facts(&self) -> FactsDigest {
        let PullNow {
            number,
            title,
            state: _,
            draft,
            author,
            head,
            base_ref,
            base_sha: _,
            default_branch: _,
            labels,
            merge_commit_sha: _,
        } = self;
        let seen = serde_json::json!([number, title, draft, author, head.name, base_ref, labels]);
        FactsDigest(hex::encode(&Sha256::digest(seen.to_string())[..16]))
    }
}

/// Tells whether policies would see a pull request as they did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactsDigest(String);

/// Whether a pull request still wants something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum PullState {
    Open,
    Closed,
    Merged { commit: CommitSha },
}

/// The commit a pull request offers, and where its branch lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub sha: CommitSha,
    /// The branch, without `refs/heads/`.
    pub name: String,
    /// `None`: the fork was deleted.
    pub repo: Option<RepoRef>,
    /// True also when the fork was deleted: nobody can tell any more, so the careful answer.
    pub is_fork: bool,
}

/// One repository by both its names: the number survives renames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoRef {
    pub id: RepoId,
    pub name: RepoName,
}

/// One review of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub by: Login,
    pub kind: ReviewKind,
    /// The commit it was given for; `None`: GitHub does not know (no commit, no count).
    pub commit: Option<CommitSha>,
    pub at: Timestamp,
}

/// What a review says. Only approvals, requests and dismissals move anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewKind {
    Approved,
    ChangesRequested,
    Dismissed,
    Commented,
    Pending,
}

/// One move of a branch, as GitHub's activity log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchPush {
    /// `None`: the account is gone.
    pub by: Option<Login>,
    /// `None`: the branch was made by this.
    pub before: Option<CommitSha>,
    /// `None`: the branch was deleted by this.
    pub after: Option<CommitSha>,
    pub at: Timestamp,
}

/// What someone may do in a repository, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    None,
    Read,
    Triage,
    Write,
    Maintain,
    Admin,
}

impl Role {
    pub fn can_write(self) -> bool {
        self >= Role::Write
    }
}

/// What GitHub and the rules it lets us see say about merging a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mergeability {
    pub mergeable: Mergeable,
    pub draft: bool,
    /// The head this was said about: another one than the plan's means "ask again".
    pub head: CommitSha,
    /// Every required check of the base branch that is known, ours too, by name.
    pub required: Vec<RequiredCheck>,
    pub review_decision: Option<ReviewDecision>,
    pub unseen: Unseen,
}

impl Mergeability {
    /// The required checks that are not Lockkeeper's own.
    pub fn other_required(&self) -> impl Iterator<Item = &RequiredCheck> {
        self.required.iter().filter(|check| check.by == CheckBy::Other)
    }
}

/// Whether the head merges into the base without conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mergeable {
    Yes,
    No,
    /// GitHub has not worked it out yet: ask again.
    Unknown,
}

/// One check that the base branch requires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequiredCheck {
    pub name: String,
    pub state: RequiredState,
    pub by: CheckBy,
}

/// Whose check it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckBy {
    Us,
    Other,
}

/// How a required check stands: success, neutral and skipped pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequiredState {
    Passed,
    Failed,
    Pending,
    /// Required by a rule, and nothing has reported under that name.
    Missing,
}

/// GitHub's own word on whether the reviews suffice for a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewDecision {
    Approved,
    ChangesRequested,
    ReviewRequired,
}

/// Whether rules may stand on the base branch that GitHub did not show us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// All rules were answered.
    Nothing,
    /// The branch is protected in a way that needs administration permission to read, or the rules were refused.
    Rules,
}

/// GitHub's number of a check run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckId(pub i64);

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a check is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "conclusion", rename_all = "snake_case")]
pub enum CheckStatus {
    Queued,
    InProgress,
    Completed(CheckConclusion),
}

/// How a check ended, in GitHub's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckConclusion {
    Success,
    Failure,
    Neutral,
    Cancelled,
    Skipped,
    TimedOut,
    ActionRequired,
}

/// A check as we want it to stand on a commit. `name` and `external_id` together say which one it is on `head`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckWanted {
    /// At most 255 characters.
    pub name: String,
    pub head: CommitSha,
    /// Our mark on it: found again after an unknown answer, and what a button comes back with.
    pub external_id: String,
    pub status: CheckStatus,
    pub title: String,
    /// Markdown, at most 65,535 characters.
    pub summary: String,
    /// Markdown, at most 65,535 characters.
    pub text: Option<String>,
    pub details_url: Option<String>,
    /// Any number; sent fifty at a time, as GitHub asks.
    pub annotations: Vec<Annotation>,
    /// At most three.
    pub buttons: Vec<Button>,
}

/// A remark on lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    pub path: RepoPath,
    /// Counts from 1.
    pub start_line: u32,
    pub end_line: u32,
    pub level: AnnotationLevel,
    pub title: Option<String>,
    pub message: String,
}

/// How loud a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationLevel {
    Notice,
    Warning,
    Failure,
}

/// A button on a check, within GitHub's limits by construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ButtonText", into = "ButtonText")]
pub struct Button(ButtonText);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ButtonText {
    label: String,
    description: String,
    identifier: String,
}

/// Why a button cannot be shown: our bug, GitHub would refuse the whole check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the button's {part} {text:?} is empty or longer than {limit} characters")]
pub struct BadButton {
    pub part: &'static str,
    pub text: String,
    pub limit: usize,
}

impl Button {
    pub const MOST: usize = 3;

    /// `label` ≤ 20, `description` ≤ 40, `identifier` ≤ 20 characters, none empty.
    pub fn new(label: &str, description: &str, identifier: &str) -> Result<Self, BadButton> {
        Button::try_from(ButtonText {
            label: label.to_owned(),
            description: description.to_owned(),
            identifier: identifier.to_owned(),
        })
    }

    pub fn label(&self) -> &str {
        &self.0.label
    }

    pub fn description(&self) -> &str {
        &self.0.description
    }

    /// What the delivery says when someone presses it.
    pub fn identifier(&self) -> &str {
        &self.0.identifier
    }
}

impl TryFrom<ButtonText> for Button {
    type Error = BadButton;

    fn try_from(text: ButtonText) -> Result<Self, BadButton> {
        let parts = [
            ("label", &text.label, 20),
            ("description", &text.description, 40),
            ("identifier", &text.identifier, 20),
        ];
        for (part, value, limit) in parts {
            if value.is_empty() || value.chars().count() > limit {
                let text = value.clone();
                return Err(BadButton { part, text, limit });
            }
        }
        Ok(Button(text))
    }
}

impl From<Button> for ButtonText {
    fn from(button: Button) -> ButtonText {
        button.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_access_begins_at_write() {
        let roles = [
            Role::None,
            Role::Read,
            Role::Triage,
            Role::Write,
            Role::Maintain,
            Role::Admin,
        ];
        let can: Vec<bool> = roles.into_iter().map(Role::can_write).collect();
        assert_eq!(can, [false, false, false, true, true, true]);
    }

    #[test]
    fn a_button_that_github_would_refuse_cannot_be_made() {
        assert!(Button::new("Apply", "Apply this stack", "apply").is_ok());
        assert_eq!(
            Button::new(&"x".repeat(21), "d", "i").map_err(|bad| bad.part),
            Err("label")
        );
        assert_eq!(
            Button::new("l", &"x".repeat(41), "i").map_err(|bad| bad.part),
            Err("description")
        );
        assert_eq!(Button::new("l", "d", "").map_err(|bad| bad.part), Err("identifier"));
        let read: Result<Button, _> = serde_json::from_str(r#"{"label":"","description":"d","identifier":"i"}"#);
        assert!(read.is_err());
    }
}
