//! Owns what GitHub says of people: their roles in a repository, and who pushed.

use serde::Deserialize;

use crate::domain::ids::{CommitSha, Login, RepoName};
use crate::domain::pull::{BranchPush, RepoRef, Role};
use crate::github::error::GithubError;
use crate::github::wire::call::Call;
use crate::github::{Installation, moment};

#[derive(Deserialize)]
struct PermissionJson {
    permission: String,
    role_name: Option<String>,
}

#[derive(Deserialize)]
struct ActivityJson {
    before: String,
    after: String,
    timestamp: String,
    actor: Option<ActorJson>,
}

#[derive(Deserialize)]
struct ActorJson {
    login: String,
}

/// Who may read a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// It is public. The installation need not cover it, and a token narrowed to it may not be had.
    ByEveryone,
    /// Those with access: the person who was asked for is one, and the installation covers it.
    ByThem(RepoRef),
    /// Not by that person, or the App cannot see it.
    No,
}

impl Installation {
    /// What someone may do in the repository. An account that does not exist, or an App's, has no role.
    pub async fn role(&self, repo: &RepoName, who: &Login) -> Result<Role, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/collaborators/{login}/permission")
            .repo(repo)
            .fill("login", who);
        match self.send(&call).await {
            Ok(reply) => {
                let PermissionJson { permission, role_name } = reply.json()?;
                role(&permission, role_name.as_deref()).ok_or_else(|| reply.unreadable("an unknown permission"))
            }
            Err(GithubError::NotFound { detail }) if is_no_user(&detail.said) => Ok(Role::None),
            Err(error) => Err(error),
        }
    }

    /// Whether this person (nobody: a stranger) may read the repository. For modules.
    pub async fn readable_by(&self, repo: &RepoName, who: Option<&Login>) -> Result<Readable, GithubError> {
        let seen = match self.repository(repo).await {
            Ok(seen) => seen,
            Err(GithubError::NotFound { .. }) => return Ok(Readable::No),
            Err(error) => return Err(error),
        };
        if !seen.private {
            return Ok(Readable::ByEveryone);
        }
        let readable = match who {
            Some(who) => self.role(repo, who).await? >= Role::Read,
            None => false,
        };
        Ok(if readable {
            Readable::ByThem(seen.repo)
        } else {
            Readable::No
        })
    }

    /// The latest moves of a branch of this repository, newest first, at most a hundred. The head was pushed by
    /// the actor of the newest whose `after` is the head. (A fork's branch is not in it.)
    pub async fn pushes(&self, repo: &RepoName, branch: &str) -> Result<Vec<BranchPush>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/activity")
            .repo(repo)
            .with("ref", format!("refs/heads/{branch}"))
            .with("per_page", 100);
        let reply = self.send(&call).await?;
        let entries: Vec<ActivityJson> = reply.json()?;
        let read = |entry: ActivityJson| {
            Some(BranchPush {
                by: entry.actor.and_then(|actor| Login::parse(&actor.login).ok()),
                before: commit(&entry.before)?,
                after: commit(&entry.after)?,
                at: moment(&entry.timestamp)?,
            })
        };
        let pushes: Option<Vec<BranchPush>> = entries.into_iter().map(read).collect();
        pushes.ok_or_else(|| reply.unreadable("an activity with a broken commit or time"))
    }
}

/// Outer `None`: not an object name; inner: the zeros by which git says "none".
fn commit(text: &str) -> Option<Option<CommitSha>> {
    match text.bytes().all(|byte| byte == b'0') {
        true => Some(None),
        false => CommitSha::parse(text).ok().map(Some),
    }
}

/// `{"message":"octocat[bot] is not a user"}`; any other 404 means that the repository is out of our sight.
fn is_no_user(said: &str) -> bool {
    said.contains("is not a user")
}

/// `permission` knows four words; `role_name` is finer, but may be an organisation's own, which `permission` maps.
fn role(permission: &str, role_name: Option<&str>) -> Option<Role> {
    let named = |word: &str| match word {
        "admin" => Some(Role::Admin),
        "maintain" => Some(Role::Maintain),
        "write" => Some(Role::Write),
        "triage" => Some(Role::Triage),
        "read" => Some(Role::Read),
        "none" => Some(Role::None),
        _ => None,
    };
    let base = named(permission)?;
    // A custom role may be called like one of GitHub's only by GitHub: still, it never gives more than `permission`.
    match (base, role_name.and_then(named)) {
        (Role::Write, Some(Role::Maintain)) => Some(Role::Maintain),
        (Role::Read, Some(Role::Triage)) => Some(Role::Triage),
        (base, _) => Some(base),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_role_gives_what_its_base_gives() {
        let table = [
            ("admin", Some("admin"), Some(Role::Admin)),
            ("write", Some("maintain"), Some(Role::Maintain)),
            ("write", Some("deployer"), Some(Role::Write)),
            ("read", Some("triage"), Some(Role::Triage)),
            ("read", Some("admin"), Some(Role::Read)),
            ("read", None, Some(Role::Read)),
            ("none", None, Some(Role::None)),
            ("owner", None, None),
        ];
        for (permission, name, expected) in table {
            assert_eq!(role(permission, name), expected, "{permission} {name:?}");
        }
    }
}
