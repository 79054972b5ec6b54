//! Owns the identifiers: strings and numbers that mean something, parsed once at the edge.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it was taken for; fits after "could not read".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {why}")]
pub struct BadId {
    pub what: &'static str,
    pub text: String,
    pub why: &'static str,
}

fn bad(what: &'static str, text: &str, why: &'static str) -> BadId {
    let text = text.chars().take(80).collect();
    BadId { what, text, why }
}

/// A text newtype whose inside can only be made by its `parse`.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        impl $name {
            pub fn parse(text: &str) -> Result<Self, BadId> {
                let check: fn(&str) -> Result<String, &'static str> = $check;
                check(text).map($name).map_err(|why| bad(stringify!($name), text, why))
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                $name::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                $name::parse(text)
            }
        }
    };
}

/// A number newtype.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// A UUID (version 7, made by the caller's `Mint`) newtype.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

fn hex_of(text: &str, lengths: &[usize]) -> Result<String, &'static str> {
    match lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("expected a full hexadecimal object name"),
    }
}

fn path_of(text: &str) -> Result<String, &'static str> {
    match text {
        "" => return Ok(String::new()),
        text if text.starts_with('/') => return Err("a path inside the repository does not start with /"),
        text if text.contains('\0') => return Err("a path holds no NUL"),
        _ => {}
    }
    match text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err("expected a normal path relative to the repository root"),
        false => Ok(text.to_owned()),
    }
}

text_id!(
    /// A full commit object name (SHA-1 or SHA-256), lower case.
    CommitSha, |text| hex_of(text, &[40, 64])
);
text_id!(
    /// A full tree object name.
    TreeSha, |text| hex_of(text, &[40, 64])
);
text_id!(
    /// A normal path relative to the repository root, `/`-separated; the root itself is empty.
    RepoPath, path_of
);
text_id!(
    /// A stack's name: unique in one repository, printable, without white space.
    StackName, |text| match text {
        "" => Err("a stack's name is not empty"),
        text if text.len() > 200 => Err("a stack's name has at most 200 bytes"),
        text if text.starts_with('-') => Err("a stack's name does not start with -"),
        text if text.split('/').any(|part| matches!(part, "." | "..")) => Err("no part of a stack's name is . or .."),
        text if text.chars().any(is_unseen) => Err("a stack's name holds no invisible character"),
        text if !text.chars().all(StackName::allows) =>
            Err("a stack's name holds no space, comma, quote, backtick, |, < or >"),
        text => Ok(text.to_owned()),
    }
);

impl StackName {
    /// Whether a name may hold this character.
    pub fn allows(c: char) -> bool {
        !(c.is_whitespace() || c.is_control() || is_unseen(c) || "`|<>,\"'\\".contains(c))
    }
}

/// Characters that leave no mark, or turn the text around them: with one of them a name looks like another. Unicode's
/// `Cf` and `Default_Ignorable_Code_Point`.
pub fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
        | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

text_id!(
    /// A GitHub login, compared as GitHub does: without case. A bot's ends in `[bot]`.
    Login, |text| match !text.is_empty() && text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_[]".contains(&b)) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("not a GitHub login"),
    }
);
text_id!(
    /// Which state: backend type + resolved configuration without credentials + workspace, as one readable
    /// line, e.g. `s3:bucket=acme-tf,key=network.tfstate:default`. Neither the repository nor the stack's name is part of it.
    LockKey, |text| match text.is_empty() || text.contains('\0') {
        true => Err("a lock key is not empty"),
        false => Ok(text.to_owned()),
    }
);
text_id!(
    /// SHA-256 of a plan file, in hexadecimal: what an apply takes.
    PlanDigest, |text| hex_of(text, &[64])
);
text_id!(
    /// SHA-256 of a plan's canonical content (planning twice gives the same): what tickets and approvals are bound to.
    ContentDigest, |text| hex_of(text, &[64])
);

impl RepoPath {
    /// The repository root.
    pub fn root() -> Self {
        RepoPath(String::new())
    }

    /// Joins a relative reference as a file in this directory would write it (`../modules/x`, `./a`), or
    /// `None` where it leaves the repository or is absolute.
    pub fn join(&self, relative: &str) -> Option<RepoPath> {
        if relative.starts_with('/') || relative.contains('\0') {
            return None;
        }
        let mut parts: Vec<&str> = self.0.split('/').filter(|part| !part.is_empty()).collect();
        for part in relative.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                part => parts.push(part),
            }
        }
        Some(RepoPath(parts.join("/")))
    }

    /// The directory that holds this path; the root holds itself.
    pub fn parent(&self) -> RepoPath {
        RepoPath(
            self.0
                .rsplit_once('/')
                .map_or(String::new(), |(parent, _)| parent.to_owned()),
        )
    }

    /// The last component; empty for the root.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// Whether this is `directory` or lies anywhere below it.
    pub fn is_within(&self, directory: &RepoPath) -> bool {
        directory.0.is_empty()
            || self.0 == directory.0
            || self
                .0
                .strip_prefix(&directory.0)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl CommitSha {
    /// The first nine digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..9]
    }
}

impl Login {
    /// Whether GitHub says this account is an App's.
    pub fn is_bot(&self) -> bool {
        self.0.ends_with("[bot]")
    }
}

/// `owner/repo`, kept as GitHub spells it, compared without case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName {
    owner: String,
    name: String,
}

impl RepoName {
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 100
                && !matches!(part, "." | "..")
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match text.split_once('/') {
            Some((owner, name)) if plain(owner) && plain(name) => Ok(RepoName {
                owner: owner.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(bad("RepoName", text, "expected owner/repo")),
        }
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn key(&self) -> (String, String) {
        (self.owner.to_ascii_lowercase(), self.name.to_ascii_lowercase())
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}
impl TryFrom<String> for RepoName {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        RepoName::parse(&text)
    }
}
impl From<RepoName> for String {
    fn from(name: RepoName) -> String {
        name.to_string()
    }
}
impl PartialEq for RepoName {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for RepoName {}
impl PartialOrd for RepoName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for RepoName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
impl std::hash::Hash for RepoName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

number_id!(
    /// GitHub's number of a repository: survives renames and transfers.
    RepoId
);
number_id!(
    /// GitHub's number of an installation of the App.
    InstallationId
);
number_id!(
    /// A pull request's number in its repository.
    PullNumber
);
number_id!(
    /// GitHub's number of an issue comment.
    CommentId
);
number_id!(
    /// The number of one try of a stack run's job; a word from an older attempt is stale.
    Attempt
);
number_id!(
    /// A lock's fencing number: only grows.
    Fence
);

impl Attempt {
    pub const FIRST: Attempt = Attempt(1);

    pub fn next(self) -> Attempt {
        Attempt(self.0 + 1)
    }
}

impl Fence {
    pub const ZERO: Fence = Fence(0);

    pub fn next(self) -> Fence {
        Fence(self.0 + 1)
    }
}

/// One pull request of one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PullId {
    pub repo: RepoId,
    pub number: PullNumber,
}

impl fmt::Display for PullId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repo, self.number)
    }
}

uuid_id!(
    /// One evaluation of one set of stacks at one commit.
    RunId
);
uuid_id!(
    /// One proof that someone asked for an apply and was entitled to.
    TicketId
);

/// One stack in one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StackRunId {
    pub run: RunId,
    pub stack: StackName,
}

impl fmt::Display for StackRunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.stack)
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn plus(self, duration: std::time::Duration) -> Timestamp {
        Timestamp(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_repository_does_not_join() {
        let dir = RepoPath::parse("infra/app").expect("a path");
        let joined = |text: &str| dir.join(text).map(|path| path.to_string());
        assert_eq!(joined("../../modules/x").as_deref(), Some("modules/x"));
        assert_eq!(joined("./a.tf").as_deref(), Some("infra/app/a.tf"));
        assert_eq!(joined("../..").as_deref(), Some(""));
        assert_eq!(joined("../../../x"), None);
        assert_eq!(joined("/etc/passwd"), None);
    }

    #[test]
    fn within_is_by_component() {
        let path = |text| RepoPath::parse(text).expect("a path");
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("ab").is_within(&RepoPath::root()));
    }

    #[test]
    fn names_that_would_break_a_path_or_a_table_are_refused() {
        for text in ["", "a/b/c", "../x", "a/..", "a b/c"] {
            assert!(RepoName::parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "a b",
            "a|b",
            "-x",
            "a`b",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{feff}",
            "a\u{e0041}",
        ] {
            assert!(StackName::parse(text).is_err(), "{text}");
        }
        assert_eq!(RepoName::parse("Acme/Infra"), RepoName::parse("acme/infra"));
    }
}
