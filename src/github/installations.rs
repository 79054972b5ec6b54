//! Owns where the App is installed and which repositories that covers.

use serde::Deserialize;

use crate::domain::ids::{BadId, InstallationId, Login, RepoId, RepoName};
use crate::domain::pull::RepoRef;
use crate::github::error::GithubError;
use crate::github::wire::call::Call;
use crate::github::wire::{MOST_PAGES, Reply};
use crate::github::{App, Installation};

/// One installation as GitHub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationSeen {
    pub id: InstallationId,
    /// Whose account it is on.
    pub account: Login,
    pub suspended: bool,
}

/// One repository as GitHub shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSeen {
    pub repo: RepoRef,
    /// Not readable by everyone: private, or internal to an enterprise.
    pub private: bool,
    pub archived: bool,
    pub default_branch: String,
    /// For `git fetch`, without credentials.
    pub clone_url: String,
    pub html_url: String,
}

#[derive(Deserialize)]
struct InstallationJson {
    id: i64,
    account: Option<AccountJson>,
    suspended_at: Option<String>,
}

/// A user or organisation has a login, an enterprise a slug.
#[derive(Deserialize)]
struct AccountJson {
    login: Option<String>,
    slug: Option<String>,
}

#[derive(Deserialize)]
struct RepoJson {
    id: i64,
    full_name: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    archived: bool,
    default_branch: Option<String>,
    clone_url: Option<String>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct ReposJson {
    repositories: Vec<RepoJson>,
}

impl App {
    /// Everywhere the App is installed.
    pub async fn installations(&self) -> Result<Vec<InstallationSeen>, GithubError> {
        let call = Call::get("/app/installations");
        let mut installations = Vec::new();
        for page in 1..=MOST_PAGES {
            let reply = self.send(&call.clone().page(page)).await?;
            let entries: Vec<InstallationJson> = reply.json()?;
            for entry in entries {
                installations.push(entry.read(&reply)?);
            }
            if reply.next_page().is_none() {
                return Ok(installations);
            }
        }
        Err(GithubError::unexpected(&call, "the list does not end"))
    }

    /// The installation that covers a repository; `NotFound` where there is none.
    pub async fn installation_of(&self, repo: &RepoName) -> Result<InstallationSeen, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/installation").repo(repo);
        let reply = self.send(&call).await?;
        let entry: InstallationJson = reply.json()?;
        entry.read(&reply)
    }
}

impl Installation {
    /// Every repository that the installation was granted.
    pub async fn repositories(&self) -> Result<Vec<RepoSeen>, GithubError> {
        let mut repos = Vec::new();
        for reply in self.send_all(Call::get("/installation/repositories")).await? {
            let ReposJson { repositories } = reply.json()?;
            for repo in repositories {
                repos.push(repo.read().map_err(|bad| reply.unreadable(bad))?);
            }
        }
        Ok(repos)
    }

    pub async fn repository(&self, repo: &RepoName) -> Result<RepoSeen, GithubError> {
        self.repo_at(Call::get("/repos/{owner}/{repo}").repo(repo)).await
    }

    /// By number: what survives renames and transfers.
    pub async fn repository_by_id(&self, id: RepoId) -> Result<RepoSeen, GithubError> {
        self.repo_at(Call::get("/repositories/{id}").fill("id", id)).await
    }

    async fn repo_at(&self, call: Call) -> Result<RepoSeen, GithubError> {
        let reply = self.send(&call).await?;
        let repo: RepoJson = reply.json()?;
        repo.read().map_err(|bad| reply.unreadable(bad))
    }
}

impl InstallationJson {
    fn read(self, reply: &Reply) -> Result<InstallationSeen, GithubError> {
        let account = self.account.and_then(|account| account.login.or(account.slug));
        let account = Login::parse(account.as_deref().unwrap_or("ghost")).map_err(|bad| reply.unreadable(bad))?;
        Ok(InstallationSeen {
            id: InstallationId(self.id),
            account,
            suspended: self.suspended_at.is_some(),
        })
    }
}

impl RepoJson {
    fn read(self) -> Result<RepoSeen, BadId> {
        let name = RepoName::parse(&self.full_name)?;
        Ok(RepoSeen {
            repo: RepoRef {
                id: RepoId(self.id),
                name,
            },
            private: self.private,
            archived: self.archived,
            default_branch: self.default_branch.unwrap_or_else(|| "main".to_owned()),
            clone_url: self.clone_url.unwrap_or_default(),
            html_url: self.html_url.unwrap_or_default(),
        })
    }
}
