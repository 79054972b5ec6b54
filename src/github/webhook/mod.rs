//! Owns the reading of webhooks: is it GitHub who speaks, and what has moved.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::domain::ids::{CommentId, CommitSha, InstallationId, Login, PullNumber};
use crate::domain::pull::RepoRef;

pub mod parse;

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-hub-signature-256";
/// The header that names the event.
pub const EVENT_HEADER: &str = "x-github-event";
/// The header that numbers the delivery; a redelivery has the same.
pub const DELIVERY_HEADER: &str = "x-github-delivery";

/// Why a body is not believed. None of it says what the right signature would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    #[error("the request carries no {SIGNATURE_HEADER}")]
    Missing,
    #[error("{SIGNATURE_HEADER} is not sha256= and 64 hexadecimal digits")]
    Malformed,
    #[error("{SIGNATURE_HEADER} does not fit the body: the webhook secrets differ, or it is not from GitHub")]
    Wrong,
}

/// Checks the signature over the raw bytes, in constant time.
pub fn verify(secret: &SecretString, body: &[u8], signature: Option<&str>) -> Result<(), BadSignature> {
    let signature = signature.ok_or(BadSignature::Missing)?;
    let digits = signature
        .trim()
        .strip_prefix("sha256=")
        .ok_or(BadSignature::Malformed)?;
    let signature = hex::decode(digits).map_err(|_| BadSignature::Malformed)?;
    if signature.len() != 32 {
        return Err(BadSignature::Malformed);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any key length will do");
    mac.update(body);
    mac.verify_slice(&signature).map_err(|_| BadSignature::Wrong)
}

/// A signed delivery that cannot be read: kept with its reason, never tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the body is not JSON: {why}")]
    NotJson { why: String },
    #[error("the {event} event cannot be read: {why}")]
    Malformed { event: String, why: String },
}

/// What a delivery says has moved. It never says how things are now: GitHub is asked for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub repo: Option<RepoRef>,
    /// `None`: from a webhook of the App itself (ping), or not from an App's webhook at all.
    pub installation: Option<InstallationId>,
    pub sender: Option<Login>,
    pub kind: Kind,
}

/// The nouns that move us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Pull(PullMoved),
    Comment(Commented),
    Review(Reviewed),
    Check(CheckAsked),
    Suite(SuiteAsked),
    MergeGroup(MergeGroupMoved),
    Push(Pushed),
    Installation(InstallationMoved),
    Ping,
    /// Nothing that concerns us, and why: shown to operators.
    Ignored(String),
}

/// A pull request moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullMoved {
    pub number: PullNumber,
    pub action: PullAction,
    /// The head as the payload says it.
    pub head: CommitSha,
}

/// How a pull request moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullAction {
    Opened,
    Reopened,
    /// New commits; the delivery's sender pushed them (for a fork the only way to know).
    Pushed {
        before: Option<CommitSha>,
        after: Option<CommitSha>,
    },
    /// Its base became another branch.
    Retargeted,
    ReadyForReview,
    ConvertedToDraft,
    Labeled,
    Unlabeled,
    Enqueued,
    Dequeued,
    Closed,
}

/// A new comment on a pull request; edited and deleted ones are nobody's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commented {
    pub pull: PullNumber,
    pub comment: CommentId,
    /// Who sent the delivery, which for a new comment is who wrote it.
    pub by: Login,
    /// As it was when it was made: anyone with write access may edit it since.
    pub body: String,
}

/// A review was given or dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    pub pull: PullNumber,
    pub action: ReviewAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewAction {
    Submitted,
    Dismissed,
}

/// Somebody pressed something on a check of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckAsked {
    pub action: CheckAction,
    pub name: String,
    /// Our own mark on the check: which stack of which run.
    pub external_id: String,
    pub head: CommitSha,
    /// Whose check it is, where GitHub says.
    pub app: Option<i64>,
    pub by: Login,
    /// Those whose head it is, without forks'.
    pub pulls: Vec<PullNumber>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckAction {
    Rerequested,
    /// One of our buttons, by its identifier.
    Button(String),
}

/// Somebody asked for all of our checks on a commit again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteAsked {
    pub head: CommitSha,
    pub by: Login,
    pub pulls: Vec<PullNumber>,
}

/// A merge queue's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeGroupMoved {
    pub action: MergeGroupAction,
    pub head: CommitSha,
    /// The branch it merges into, without `refs/heads/`.
    pub base: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeGroupAction {
    ChecksRequested,
    Destroyed,
}

/// A branch moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Without `refs/heads/`.
    pub branch: String,
    /// `None`: the branch is new.
    pub before: Option<CommitSha>,
    /// `None`: the branch is gone.
    pub after: Option<CommitSha>,
    pub forced: bool,
}

/// Where the App is installed moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationMoved {
    pub action: InstallationAction,
    pub account: Option<Login>,
    /// Those that the action is about, where it names any.
    pub repos: Vec<RepoRef>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallationAction {
    Created,
    Deleted,
    Suspended,
    Unsuspended,
    PermissionsAccepted,
    ReposAdded,
    ReposRemoved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_own_example_is_believed_and_nothing_else() {
        let secret = SecretString::from("It's a Secret to Everybody");
        let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |body: &[u8], signature: Option<&str>| verify(&secret, body, signature);
        assert_eq!(check(b"Hello, World!", Some(right)), Ok(()));
        assert_eq!(
            check(b"Hello, World!", Some(&right.to_uppercase().replace("SHA", "sha"))),
            Ok(())
        );
        assert_eq!(check(b"Hello, World", Some(right)), Err(BadSignature::Wrong));
        assert_eq!(check(b"Hello, World!", None), Err(BadSignature::Missing));
        let malformed = [
            "",
            "sha256=",
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "sha1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "sha256=757107ea",
            "sha256=zz7107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1700",
        ];
        for signature in malformed {
            assert_eq!(
                check(b"Hello, World!", Some(signature)),
                Err(BadSignature::Malformed),
                "{signature}"
            );
        }
        let other = SecretString::from("");
        assert_eq!(verify(&other, b"Hello, World!", Some(right)), Err(BadSignature::Wrong));
    }
}
