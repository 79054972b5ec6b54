//! Owns the repositories we know, and which of their pull requests are open.

use crate::domain::ids::{CommitSha, InstallationId, PullId, PullNumber, RepoId, RepoName, RunId};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::{row, statements as sql};

/// A repository the App is installed on, as a delivery last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRow {
    pub id: RepoId,
    pub name: RepoName,
    pub installation: InstallationId,
}

/// A pull request that was open when it was last asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPull {
    pub pull: PullId,
    pub head: Option<CommitSha>,
}

/// A pull request whose head is a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullOfHead {
    pub pull: PullId,
    pub life: Life,
}

/// Whether a pull request counts for the checks of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Open,
    Closed,
}

impl Store {
    /// Inserts the repository, or takes over its new name and installation.
    pub async fn keep_repo(&self, repo: &RepoRow) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        upsert(&mut tx, repo).await?;
        self.commit_tx(tx).await
    }

    pub async fn repo(&self, id: RepoId) -> Result<Option<RepoRow>, StoreError> {
        let found = sqlx::query_as(sql::REPO)
            .bind(id.0)
            .fetch_optional(&self.pools.readers)
            .await?;
        found.map(decode).transpose()
    }

    pub async fn repos(&self) -> Result<Vec<RepoRow>, StoreError> {
        let found = sqlx::query_as(sql::REPOS).fetch_all(&self.pools.readers).await?;
        found.into_iter().map(decode).collect()
    }

    /// The open pull requests we know of, with the heads we know: what a sweep compares with GitHub.
    pub async fn open_pulls(&self, repo: RepoId) -> Result<Vec<OpenPull>, StoreError> {
        let rows: Vec<(i64, Option<String>)> = sqlx::query_as(sql::OPEN_PULLS)
            .bind(repo.0)
            .fetch_all(&self.pools.readers)
            .await?;
        let decode = |(number, head): (i64, Option<String>)| {
            let pull = PullId {
                repo,
                number: PullNumber(number),
            };
            let head = head
                .map(|head| CommitSha::parse(&head))
                .transpose()
                .map_err(|why| StoreError::corrupt(format!("pulls {pull}"), why))?;
            Ok(OpenPull { pull, head })
        };
        rows.into_iter().map(decode).collect()
    }

    /// Every pull request whose head is this commit, closed ones too: somebody has to conclude their checks.
    pub async fn pulls_with_head(&self, repo: RepoId, head: &CommitSha) -> Result<Vec<PullOfHead>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(sql::PULLS_WITH_HEAD)
            .bind(repo.0)
            .bind(head.as_str())
            .fetch_all(&self.pools.readers)
            .await?;
        let decode = |(number, is_open): (i64, i64)| PullOfHead {
            pull: PullId {
                repo,
                number: PullNumber(number),
            },
            life: if is_open == 1 { Life::Open } else { Life::Closed },
        };
        Ok(rows.into_iter().map(decode).collect())
    }

    /// Which pull request a run belongs to; none once the run is forgotten.
    pub async fn pull_of_run(&self, run: RunId) -> Result<Option<PullId>, StoreError> {
        let found: Option<(i64, i64)> = sqlx::query_as(sql::PULL_OF_RUN)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await?;
        Ok(found.map(|(repo, number)| row::pull(repo, number)))
    }
}

pub(super) async fn upsert(db: &mut sqlx::SqliteConnection, repo: &RepoRow) -> Result<(), StoreError> {
    let RepoRow { id, name, installation } = repo;
    sqlx::query(sql::UPSERT_REPO)
        .bind(id.0)
        .bind(name.to_string())
        .bind(installation.0)
        .execute(db)
        .await?;
    Ok(())
}

fn decode((id, name, installation): (i64, String, i64)) -> Result<RepoRow, StoreError> {
    let name = RepoName::parse(&name).map_err(|why| StoreError::corrupt(format!("repos {id}"), why))?;
    Ok(RepoRow {
        id: RepoId(id),
        name,
        installation: InstallationId(installation),
    })
}
