//! Owns the surfaces: what people should see, what they see, and who is publishing it.

use std::fmt;
use std::time::Duration;

use sqlx::{FromRow, SqliteConnection};

use crate::domain::event::CommandId;
use crate::domain::ids::{CommitSha, PullId, RepoId, RunId, StackName, Timestamp};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::pace::Pace;
use crate::store::{row, statements as sql};

/// Whose surfaces: one publisher at a time for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    Pull(PullId),
    /// Checks belong to a commit: a function of every pull request with that head.
    Commit(RepoId, CommitSha),
}

/// Which of its owner's surfaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SurfaceKey {
    /// The sticky comment of a pull request.
    Comment,
    /// The one reply to a command.
    Reply(CommandId),
    /// The reaction that acknowledges a comment's command.
    Reaction(CommandId),
    /// A stack's own check.
    Stack(RunId, StackName),
    /// One of the three checks of a commit.
    Check(CheckKind),
    /// The same on a commit of a merge queue.
    GroupCheck(CheckKind),
}

/// The three checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckKind {
    Plan,
    Policy,
    Apply,
}

/// Leave to publish for one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishLease {
    owner: Owner,
    number: i64,
}

/// Everything of one owner that is due.
#[derive(Debug, Clone)]
pub struct Publishing {
    pub owner: Owner,
    pub lease: PublishLease,
    /// Never empty.
    pub rows: Vec<Surface>,
}

/// One surface that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surface {
    pub key: SurfaceKey,
    /// What a state read after the claim has at least; hand it back with `published`.
    pub wanted: i64,
    /// Where it is on GitHub, once it is there.
    pub github_id: Option<i64>,
    /// Of what was published last: equal text needs no call.
    pub digest: Option<String>,
    /// How often it was put off, or its publisher died, since it was last published. More than 0: it may have reached
    /// GitHub all the same.
    pub tries: u32,
}

/// A publication that GitHub confirmed, or that needed no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// `Surface::wanted` of the row that was handed out.
    pub wanted: i64,
    pub github_id: Option<i64>,
    pub digest: Option<String>,
}

#[derive(FromRow)]
pub(super) struct Columns {
    key: String,
    wanted: i64,
    published: i64,
    urgent: i64,
    step: i64,
    published_at: i64,
    not_before: i64,
    tries: i64,
    github_id: Option<i64>,
    digest: Option<String>,
}

impl CheckKind {
    pub const ALL: [CheckKind; 3] = [CheckKind::Plan, CheckKind::Policy, CheckKind::Apply];

    fn word(self) -> &'static str {
        match self {
            CheckKind::Plan => "plan",
            CheckKind::Policy => "policy",
            CheckKind::Apply => "apply",
        }
    }

    fn parse(word: &str) -> Option<CheckKind> {
        CheckKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Pull(pull) => write!(f, "pull {pull}"),
            Owner::Commit(repo, sha) => write!(f, "commit {repo}@{sha}"),
        }
    }
}

impl fmt::Display for SurfaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SurfaceKey::Comment => f.write_str("comment"),
            SurfaceKey::Reply(command) => write!(f, "reply {command}"),
            SurfaceKey::Reaction(command) => write!(f, "reaction {command}"),
            SurfaceKey::Stack(run, stack) => write!(f, "stack {run} {stack}"),
            SurfaceKey::Check(kind) => write!(f, "check {}", kind.word()),
            SurfaceKey::GroupCheck(kind) => write!(f, "group {}", kind.word()),
        }
    }
}

fn parse_owner(text: &str) -> Option<Owner> {
    match text.split_once(' ')? {
        ("pull", pull) => {
            let (repo, number) = pull.split_once('#')?;
            Some(Owner::Pull(row::pull(repo.parse().ok()?, number.parse().ok()?)))
        }
        ("commit", commit) => {
            let (repo, sha) = commit.split_once('@')?;
            Some(Owner::Commit(RepoId(repo.parse().ok()?), CommitSha::parse(sha).ok()?))
        }
        _ => None,
    }
}

fn parse_key(text: &str) -> Option<SurfaceKey> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    match kind {
        "comment" => Some(SurfaceKey::Comment),
        "reply" => Some(SurfaceKey::Reply(CommandId::try_from(rest.to_owned()).ok()?)),
        "reaction" => Some(SurfaceKey::Reaction(CommandId::try_from(rest.to_owned()).ok()?)),
        "stack" => {
            let (run, stack) = rest.split_once(' ')?;
            let run = RunId(uuid::Uuid::try_parse(run).ok()?);
            Some(SurfaceKey::Stack(run, StackName::parse(stack).ok()?))
        }
        "check" => Some(SurfaceKey::Check(CheckKind::parse(rest)?)),
        "group" => Some(SurfaceKey::GroupCheck(CheckKind::parse(rest)?)),
        _ => None,
    }
}

impl Store {
    /// Everything that is due of the owner who has waited longest and whom nobody publishes for.
    pub async fn claim_surfaces(
        &self,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<Publishing>, StoreError> {
        if next_owner(&mut *self.pools.readers.acquire().await?, now)
            .await?
            .is_none()
        {
            return Ok(None);
        }
        let mut tx = self.pools.begin().await?;
        let mut found = None;
        while let Some(name) = next_owner(&mut tx, now).await? {
            let owner = parse_owner(&name);
            // Whoever published for this owner never said that they were done: what they sent may have arrived.
            sqlx::query(sql::COUNT_ABANDONED).bind(&name).execute(&mut *tx).await?;
            let rows = due(&mut tx, &name, owner.is_some(), now).await?;
            let Some(owner) = owner.filter(|_| !rows.is_empty()) else {
                continue;
            };
            let number = sqlx::query_scalar(sql::CLAIM_OWNER)
                .bind(&name)
                .bind(worker)
                .bind(now.plus(lease).0)
                .fetch_one(&mut *tx)
                .await?;
            let lease = PublishLease {
                owner: owner.clone(),
                number,
            };
            found = Some(Publishing { owner, lease, rows });
            break;
        }
        // There is less to do than before: nobody is woken.
        tx.commit().await?;
        Ok(found)
    }

    /// Notes what GitHub shows now. `Conflict`: someone else publishes for this owner by now.
    pub async fn published(
        &self,
        lease: &PublishLease,
        key: &SurfaceKey,
        published: &Published,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Published {
            wanted,
            github_id,
            digest,
        } = published;
        let (owner, key) = (lease.owner.to_string(), row::text(&key.to_string()));
        let mut tx = self.pools.begin().await?;
        still_ours(&mut tx, lease).await?;
        let columns = columns(&mut tx, &owner, &key).await?;
        // A surface whose run was forgotten meanwhile has nothing to note.
        if let Some(columns) = columns {
            let pace = pace_of(&columns).publish(*wanted, now);
            sqlx::query(sql::PUBLISHED)
                .bind(&owner)
                .bind(&key)
                .bind(pace.published)
                .bind(pace.step)
                .bind(pace.published_at.0)
                .bind(pace.not_before.0)
                .bind(github_id.or(columns.github_id))
                .bind(digest.as_deref().map(row::text))
                .execute(&mut *tx)
                .await?;
        }
        self.commit_tx(tx).await
    }

    /// Puts one surface off: GitHub did not take it now. Not even something urgent goes out earlier.
    pub async fn publish_later(
        &self,
        lease: &PublishLease,
        key: &SurfaceKey,
        not_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_off(sql::PUBLISH_LATER, lease, key, not_before).await
    }

    /// Puts one surface off that GitHub refuses: something urgent may go out earlier.
    pub async fn publish_unless_urgent(
        &self,
        lease: &PublishLease,
        key: &SurfaceKey,
        not_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_off(sql::PUBLISH_UNLESS_URGENT, lease, key, not_before).await
    }

    async fn put_off(
        &self,
        statement: &'static str,
        lease: &PublishLease,
        key: &SurfaceKey,
        not_before: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        still_ours(&mut tx, lease).await?;
        sqlx::query(statement)
            .bind(lease.owner.to_string())
            .bind(row::text(&key.to_string()))
            .bind(not_before.0)
            .execute(&mut *tx)
            .await?;
        self.commit_tx(tx).await
    }

    /// Lengthens the lease of a publisher whose calls take long.
    pub async fn extend_publishing(
        &self,
        lease: &PublishLease,
        now: Timestamp,
        by: Duration,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let extended = sqlx::query(sql::EXTEND_OWNER)
            .bind(lease.owner.to_string())
            .bind(lease.number)
            .bind(now.plus(by).0)
            .execute(&mut *tx)
            .await?;
        match extended.rows_affected() {
            0 => Err(StoreError::Conflict),
            _ => self.commit_tx(tx).await,
        }
    }

    /// Ends a publication; what was neither published nor put off is due again at once.
    pub async fn done(&self, lease: &PublishLease) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let released = sqlx::query(sql::RELEASE_OWNER)
            .bind(lease.owner.to_string())
            .bind(lease.number)
            .execute(&mut *tx)
            .await?;
        match released.rows_affected() {
            0 => Err(StoreError::Conflict),
            _ => self.commit_tx(tx).await,
        }
    }

    /// One surface as it stands, due or not.
    pub async fn surface(&self, owner: &Owner, key: &SurfaceKey) -> Result<Option<Surface>, StoreError> {
        let mut db = self.pools.readers.acquire().await?;
        let columns = columns(&mut db, &owner.to_string(), &row::text(&key.to_string())).await?;
        Ok(columns.map(|columns| surface(key.clone(), columns)))
    }
}

async fn next_owner(db: &mut SqliteConnection, now: Timestamp) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(sql::NEXT_OWNER)
        .bind(now.0)
        .fetch_optional(db)
        .await?)
}

/// The due rows that this program can read; the others are set aside for a newer one.
async fn due(db: &mut SqliteConnection, owner: &str, known: bool, now: Timestamp) -> Result<Vec<Surface>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(sql::DUE_SURFACES)
        .bind(owner)
        .bind(now.0)
        .fetch_all(&mut *db)
        .await?;
    let mut surfaces = Vec::with_capacity(rows.len());
    for columns in rows {
        match parse_key(&columns.key).filter(|_| known) {
            Some(key) => surfaces.push(surface(key, columns)),
            None => {
                tracing::warn!(surface.owner = owner, surface.key = %columns.key, "a surface is left for a newer program");
                sqlx::query(sql::SET_SURFACE_ASIDE)
                    .bind(owner)
                    .bind(columns.key)
                    .bind("this program does not know it")
                    .execute(&mut *db)
                    .await?;
            }
        }
    }
    Ok(surfaces)
}

pub(super) async fn columns(db: &mut SqliteConnection, owner: &str, key: &str) -> Result<Option<Columns>, StoreError> {
    Ok(sqlx::query_as(sql::SURFACE)
        .bind(owner)
        .bind(key)
        .fetch_optional(db)
        .await?)
}

async fn still_ours(db: &mut SqliteConnection, lease: &PublishLease) -> Result<(), StoreError> {
    let holds: Option<i64> = sqlx::query_scalar(sql::HOLDS_OWNER)
        .bind(lease.owner.to_string())
        .fetch_optional(db)
        .await?;
    match holds == Some(lease.number) {
        true => Ok(()),
        false => Err(StoreError::Conflict),
    }
}

pub(super) fn pace_of(columns: &Columns) -> Pace {
    Pace {
        wanted: columns.wanted,
        published: columns.published,
        urgent: columns.urgent,
        step: columns.step,
        published_at: Timestamp(columns.published_at),
        not_before: Timestamp(columns.not_before),
    }
}

fn surface(key: SurfaceKey, columns: Columns) -> Surface {
    let Columns {
        key: _,
        wanted,
        published: _,
        urgent: _,
        step: _,
        published_at: _,
        not_before: _,
        tries,
        github_id,
        digest,
    } = columns;
    Surface {
        key,
        wanted,
        github_id,
        digest,
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
    }
}
