//! Owns pull requests and their reviews as GitHub's REST API tells them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::domain::ids::{BadId, CommitSha, Login, PullNumber, RepoId, RepoName, Timestamp};
use crate::domain::pull::{Head, PullNow, PullState, RepoRef, Review, ReviewKind};
use crate::github::error::GithubError;
use crate::github::wire::call::Call;
use crate::github::{Installation, moment};

/// A commit of a pull request; a person without an account is null.
#[derive(Deserialize)]
struct CommitJson {
    author: Option<PersonJson>,
    committer: Option<PersonJson>,
}

#[derive(Deserialize)]
struct PersonJson {
    login: Option<String>,
}

impl Installation {
    /// The pull request as it is now. Asked conditionally: unchanged costs no rate limit.
    pub async fn pull(&self, repo: &RepoName, number: PullNumber) -> Result<PullNow, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/pulls/{number}")
            .repo(repo)
            .fill("number", number)
            .remembered();
        let reply = self.send(&call).await?;
        let pull: PullJson = reply.json()?;
        pull.read().map_err(|why| reply.unreadable(why))
    }

    /// Every open pull request of the repository, a hundred for each request: the sweep's question.
    pub async fn open_pulls(&self, repo: &RepoName) -> Result<Vec<PullNow>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/pulls")
            .repo(repo)
            .with("state", "open");
        self.pulls_of(call).await
    }

    /// The open pull requests whose head is this branch (of `owner`, who may be a fork's) at this commit,
    /// whatever their base. One request.
    pub async fn open_pulls_from(
        &self,
        repo: &RepoName,
        owner: &str,
        head: &Head,
    ) -> Result<Vec<PullNow>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/pulls")
            .repo(repo)
            .with("state", "open")
            .with("head", format!("{owner}:{}", head.name));
        let mut pulls = self.pulls_of(call).await?;
        pulls.retain(|pull| pull.head.sha == head.sha);
        Ok(pulls)
    }

    /// The open pull requests of this repository whose head is this commit, whatever their branch. GitHub does
    /// not find those of forks this way.
    pub async fn open_pulls_at(&self, repo: &RepoName, commit: &CommitSha) -> Result<Vec<PullNow>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/commits/{commit}/pulls")
            .repo(repo)
            .fill("commit", commit);
        let mut pulls = self.pulls_of(call).await?;
        pulls.retain(|pull| pull.state == PullState::Open && pull.head.sha == *commit);
        Ok(pulls)
    }

    /// Every review, oldest first.
    pub async fn reviews(&self, repo: &RepoName, number: PullNumber) -> Result<Vec<Review>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/pulls/{number}/reviews")
            .repo(repo)
            .fill("number", number);
        let mut reviews = Vec::new();
        for reply in self.send_all(call).await? {
            let page: Vec<ReviewJson> = reply.json()?;
            for review in page {
                let review = review.read().map_err(|why| reply.unreadable(why))?;
                reviews.extend(review);
            }
        }
        Ok(reviews)
    }

    /// Everyone GitHub knows to have authored or committed a commit of the pull request (it lists 250 at most).
    pub async fn contributors(&self, repo: &RepoName, number: PullNumber) -> Result<BTreeSet<Login>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/pulls/{number}/commits")
            .repo(repo)
            .fill("number", number);
        let mut logins = BTreeSet::new();
        let mut commits = 0;
        for reply in self.send_all(call).await? {
            let page: Vec<CommitJson> = reply.json()?;
            commits += page.len();
            for person in page.into_iter().flat_map(|commit| [commit.author, commit.committer]) {
                let login = person.and_then(|person| Login::parse(&person.login?).ok());
                // Somebody without an account here may be anybody, the reviewer too.
                logins.insert(login.ok_or_else(|| GithubError::unsaid("a commit is by nobody whom GitHub knows"))?);
            }
        }
        match commits {
            0..250 => Ok(logins),
            _ => Err(GithubError::unsaid("GitHub lists no more than 250 commits")),
        }
    }

    async fn pulls_of(&self, call: Call) -> Result<Vec<PullNow>, GithubError> {
        let mut pulls = Vec::new();
        for reply in self.send_all(call).await? {
            let page: Vec<PullJson> = reply.json()?;
            for pull in page {
                pulls.push(pull.read().map_err(|why| reply.unreadable(why))?);
            }
        }
        Ok(pulls)
    }
}

/// Why an answer that is JSON is still not what GitHub documents.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Id(#[from] BadId),
    #[error("a merged pull request without its merge commit")]
    NoMergeCommit,
    #[error("a pull request whose base is in no repository")]
    NoBase,
}

#[derive(Deserialize)]
struct PullJson {
    number: i64,
    title: Option<String>,
    state: String,
    draft: Option<bool>,
    user: Option<UserJson>,
    head: SideJson,
    base: SideJson,
    #[serde(default)]
    labels: Vec<LabelJson>,
    merged: Option<bool>,
    merged_at: Option<String>,
    merge_commit_sha: Option<String>,
}

#[derive(Deserialize)]
struct UserJson {
    login: String,
}

#[derive(Deserialize)]
struct SideJson {
    #[serde(rename = "ref")]
    name: String,
    sha: String,
    repo: Option<RepoJson>,
}

#[derive(Deserialize)]
struct RepoJson {
    id: i64,
    full_name: String,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct LabelJson {
    name: String,
}

/// GitHub's own stand-in for an account that is gone.
const GHOST: &str = "ghost";

fn login(user: Option<UserJson>) -> Result<Login, BadId> {
    Login::parse(user.as_ref().map_or(GHOST, |user| user.login.as_str()))
}

impl PullJson {
    /// A pull from a list says `merged_at`, one by itself also `merged`.
    fn read(self) -> Result<PullNow, Unreadable> {
        let merge_commit_sha = self.merge_commit_sha.as_deref().map(CommitSha::parse).transpose()?;
        let merged = self.merged.unwrap_or(false) || self.merged_at.is_some();
        let state = match (merged, self.state.as_str()) {
            (true, _) => PullState::Merged {
                commit: merge_commit_sha.clone().ok_or(Unreadable::NoMergeCommit)?,
            },
            (false, "open") => PullState::Open,
            (false, _) => PullState::Closed,
        };
        let base_repo = self.base.repo.ok_or(Unreadable::NoBase)?;
        let is_fork = self.head.repo.as_ref().is_none_or(|repo| repo.id != base_repo.id);
        let repo = self.head.repo.map(|repo| {
            let name = RepoName::parse(&repo.full_name)?;
            let id = RepoId(repo.id);
            Ok::<_, BadId>(RepoRef { id, name })
        });
        Ok(PullNow {
            number: PullNumber(self.number),
            title: self.title.unwrap_or_default(),
            state,
            draft: self.draft.unwrap_or(false),
            author: login(self.user)?,
            head: Head {
                sha: CommitSha::parse(&self.head.sha)?,
                name: self.head.name,
                repo: repo.transpose()?,
                is_fork,
            },
            base_ref: self.base.name,
            base_sha: CommitSha::parse(&self.base.sha)?,
            default_branch: base_repo.default_branch.filter(|name| !name.is_empty()),
            labels: self.labels.into_iter().map(|label| label.name).collect(),
            merge_commit_sha,
        })
    }
}

#[derive(Deserialize)]
struct ReviewJson {
    user: Option<UserJson>,
    state: String,
    commit_id: Option<String>,
    submitted_at: Option<String>,
}

impl ReviewJson {
    /// `None`: a state of a newer GitHub, which cannot count as any we know.
    fn read(self) -> Result<Option<Review>, Unreadable> {
        let kind = match self.state.to_ascii_uppercase().as_str() {
            "APPROVED" => ReviewKind::Approved,
            "CHANGES_REQUESTED" => ReviewKind::ChangesRequested,
            "DISMISSED" => ReviewKind::Dismissed,
            "COMMENTED" => ReviewKind::Commented,
            "PENDING" => ReviewKind::Pending,
            _ => return Ok(None),
        };
        let commit = match self.commit_id.as_deref() {
            None | Some("") => None,
            Some(sha) => Some(CommitSha::parse(sha)?),
        };
        Ok(Some(Review {
            by: login(self.user)?,
            kind,
            commit,
            // A pending review has no time: it was not submitted, and never counts.
            at: self.submitted_at.as_deref().and_then(moment).unwrap_or(Timestamp(0)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn pull(change: impl FnOnce(&mut serde_json::Value)) -> Result<PullNow, Unreadable> {
        let mut json = serde_json::json!({
            "number": 7, "title": "t", "state": "open", "draft": false, "user": {"login": "Ann"}, "unknown": [{}],
            "head": {"ref": "f", "sha": A, "repo": {"id": 1, "full_name": "acme/infra"}},
            "base": {"ref": "main", "sha": A, "repo": {"id": 1, "full_name": "acme/infra"}},
            "labels": [{"name": "b"}, {"name": "a"}], "merged_at": null, "merge_commit_sha": null,
        });
        change(&mut json);
        serde_json::from_value::<PullJson>(json).expect("a pull").read()
    }

    #[test]
    fn a_pull_reads_as_what_it_is_now() {
        let open = pull(|_| {}).expect("read");
        assert_eq!(
            (open.state, open.author.as_str(), open.head.is_fork),
            (PullState::Open, "ann", false)
        );
        let commit = CommitSha::parse(A).expect("a sha");
        let merged = pull(|json| {
            json["state"] = "closed".into();
            json["merged_at"] = "2024-01-01T00:00:00Z".into();
            json["merge_commit_sha"] = A.into();
        });
        assert_eq!(merged.expect("read").state, PullState::Merged { commit });
        assert_eq!(
            pull(|json| json["state"] = "closed".into()).expect("read").state,
            PullState::Closed
        );
        assert_eq!(
            pull(|json| json["user"] = serde_json::Value::Null)
                .expect("read")
                .author
                .as_str(),
            "ghost"
        );
    }

    #[test]
    fn another_repository_or_none_is_a_fork() {
        assert!(
            pull(|json| json["head"]["repo"]["id"] = 2.into())
                .expect("read")
                .is_fork()
        );
        let deleted = pull(|json| json["head"]["repo"] = serde_json::Value::Null).expect("read");
        assert!(deleted.is_fork() && deleted.head.repo.is_none());
    }

    #[test]
    fn a_broken_answer_is_said_and_not_guessed() {
        assert!(pull(|json| json["head"]["sha"] = "main".into()).is_err());
        assert!(pull(|json| json["base"]["repo"] = serde_json::Value::Null).is_err());
        assert!(pull(|json| json["merged"] = true.into()).is_err());
    }
}
