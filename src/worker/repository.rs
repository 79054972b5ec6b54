//! Owns one repository as the jobs see it: its name, its installation on GitHub and its mirror.

use std::sync::Arc;

use crate::domain::ids::{CommitSha, RepoId, RepoName};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::fetch::{Fetched, Want};
use crate::github::Installation;
use crate::github::error::GithubError;
use crate::github::installations::RepoSeen;
use crate::store::repo::RepoRow;
use crate::worker::Worker;
use crate::worker::tips::Tips;

/// Everything that is said to GitHub or git about one repository.
#[derive(Clone)]
pub struct Repository {
    pub id: RepoId,
    pub name: RepoName,
    pub html_url: String,
    pub github: Installation,
    pub mirror: Mirror,
    tips: Arc<Tips>,
}

impl Worker {
    /// The repository, asked of GitHub once for each installation that it is covered by: its name may have changed
    /// meanwhile, and its clone address is GitHub's to say.
    pub async fn repository(&self, id: RepoId) -> Result<Repository, GithubError> {
        if let Some(known) = self.known(id) {
            return Ok(known);
        }
        let row = self.store().repo(id).await.map_err(|error| {
            tracing::error!(error = %error, "the repository's row could not be read");
            GithubError::unsaid("the repository is not known to this server")
        })?;
        let row = row.ok_or_else(|| GithubError::unsaid("the repository is not known to this server"))?;
        let (github, seen) = self.seen(row).await?;
        let mirror = self.mirrors().open(id, &seen.clone_url).map_err(|error| {
            tracing::error!(error = %error, "the clone address cannot be used");
            GithubError::unsaid("its clone address cannot be used by this server")
        })?;
        let repository = Repository {
            id,
            name: seen.repo.name,
            html_url: seen.html_url,
            github,
            mirror,
            tips: Arc::default(),
        };
        self.remember(repository.clone());
        Ok(repository)
    }

    /// Asks through the installation that a delivery named last; where GitHub knows that one no more, through the one
    /// that covers the repository now. An App that was installed anew may not have heard of it yet.
    async fn seen(&self, row: RepoRow) -> Result<(Installation, RepoSeen), GithubError> {
        let github = self.github().installation(row.installation);
        let error = match github.repository_by_id(row.id).await {
            Ok(seen) => return Ok((github, seen)),
            Err(error) if !github.is_unknown() => return Err(error),
            Err(error) => error,
        };
        let installation = self.github().installation_of(&row.name).await?.id;
        if installation == row.installation {
            return Err(error);
        }
        let github = self.github().installation(installation);
        let seen = github.repository_by_id(row.id).await?;
        if let Err(error) = self.store().keep_repo(&RepoRow { installation, ..row }).await {
            // It is found the same way again.
            tracing::warn!(error = %error, "the new installation could not be kept");
        }
        Ok((github, seen))
    }

    /// Drops what is known of a repository when a delivery calls it by another name, or came through another
    /// installation: the App was installed anew, or the repository was transferred.
    pub fn forget_if_other(&self, now: &RepoRow) {
        let other = |known: Repository| known.name != now.name || known.github.id() != now.installation;
        if self.known(now.id).is_some_and(other) {
            self.forget(now.id);
        }
    }
}

impl Repository {
    /// Fetches what is not there yet, with a token that can read this repository and nothing else.
    pub async fn fetch(&self, wants: &[Want]) -> Result<Fetched, GitError> {
        let token = self.github.read_token(&[self.id].into()).await.map_err(|error| {
            tracing::warn!(detail = %error.detail(), "no token to fetch with");
            GitError::no_token(matches!(
                error,
                GithubError::Transient { .. } | GithubError::RateLimited { .. }
            ))
        })?;
        self.mirror.fetch(Some(&token.secret), wants).await
    }

    /// The tip of a branch now; `None`: there is no such branch.
    pub async fn tip(&self, branch: &str) -> Result<Option<CommitSha>, GitError> {
        let want = Want::Branch(branch.to_owned());
        let fetch = async || {
            let fetched = self.fetch(std::slice::from_ref(&want)).await?;
            Ok(fetched.tips.get(&want).cloned())
        };
        self.tips.of(branch, fetch).await
    }
}
