//! Owns the mailboxes: what happened to one pull request, read by one worker at a time.

use std::time::Duration;

use sqlx::SqliteConnection;

use crate::domain::event::Event;
use crate::domain::ids::{PullId, Timestamp};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::{row, statements as sql};

/// The number of one row of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailId(pub(super) i64);

/// Leave to decide about one pull request. Numbered: a later one ends it, whatever the clocks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailLease {
    pub(super) pull: PullId,
    pub(super) number: i64,
}

impl MailLease {
    pub fn pull(&self) -> PullId {
        self.pull
    }
}

/// All that waits in one mailbox.
#[derive(Debug, Clone)]
pub struct Mail {
    pub lease: MailLease,
    pub pull: PullId,
    /// In the order they were posted, never empty.
    pub events: Vec<(MailId, Event)>,
    /// How often it was put back, or left by a worker that died or was too slow, since something of it was last
    /// decided.
    pub tries: u32,
    /// Whether the worker before this one neither decided on it nor put it back.
    pub was_left: bool,
}

/// Most rows handed out at once.
const MOST: i64 = 500;

impl Store {
    /// Puts an event into a pull request's mailbox.
    pub async fn post(&self, pull: PullId, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        insert(&mut tx, pull, event, now).await?;
        self.commit_tx(tx).await
    }

    /// The mailbox with the oldest unread row, if its time has come and nobody holds it. A row that this program
    /// cannot read is set aside for a newer one and stops nobody.
    pub async fn claim_mailbox(
        &self,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<Mail>, StoreError> {
        // Asked of a reader first: most of the time there is nothing, and that must not keep the writer busy.
        if next(&mut *self.pools.readers.acquire().await?, now).await?.is_none() {
            return Ok(None);
        }
        let mut tx = self.pools.begin().await?;
        let mut found = None;
        while let Some((pull, was_left)) = next(&mut tx, now).await? {
            let events = unread(&mut tx, pull).await?;
            if events.is_empty() {
                continue;
            }
            let (number, tries): (i64, i64) = sqlx::query_as(sql::CLAIM_MAILBOX)
                .bind(pull.repo.0)
                .bind(pull.number.0)
                .bind(worker)
                .bind(now.plus(lease).0)
                .fetch_one(&mut *tx)
                .await?;
            found = Some(Mail {
                lease: MailLease { pull, number },
                pull,
                events,
                tries: u32::try_from(tries).unwrap_or(u32::MAX),
                was_left,
            });
            break;
        }
        // There is less to do than before: nobody is woken.
        tx.commit().await?;
        Ok(found)
    }

    /// Lengthens a lease while answers are gathered.
    pub async fn extend_mailbox(&self, lease: &MailLease, now: Timestamp, by: Duration) -> Result<(), StoreError> {
        self.with_mailbox(sql::EXTEND_MAILBOX, lease, now.plus(by)).await
    }

    /// Gives the mailbox back with its rows unread; nobody gets it before `not_before`.
    pub async fn put_back(&self, lease: &MailLease, not_before: Timestamp) -> Result<(), StoreError> {
        self.with_mailbox(sql::PUT_MAILBOX_BACK, lease, not_before).await
    }

    async fn with_mailbox(
        &self,
        statement: &'static str,
        lease: &MailLease,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let held = sqlx::query(statement)
            .bind(lease.pull.repo.0)
            .bind(lease.pull.number.0)
            .bind(lease.number)
            .bind(time.0)
            .execute(&mut *tx)
            .await?;
        if held.rows_affected() == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit_tx(tx).await
    }
}

pub(super) async fn insert(
    db: &mut SqliteConnection,
    pull: PullId,
    event: &Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(sql::ENSURE_MAILBOX)
        .bind(pull.repo.0)
        .bind(pull.number.0)
        .execute(&mut *db)
        .await?;
    sqlx::query(sql::INSERT_MAIL)
        .bind(pull.repo.0)
        .bind(pull.number.0)
        .bind(row::to_doc("mail", event)?)
        .bind(now.0)
        .execute(&mut *db)
        .await?;
    Ok(())
}

async fn next(db: &mut SqliteConnection, now: Timestamp) -> Result<Option<(PullId, bool)>, StoreError> {
    let found: Option<(i64, i64, i64)> = sqlx::query_as(sql::NEXT_MAILBOX).bind(now.0).fetch_optional(db).await?;
    Ok(found.map(|(repo, number, held)| (row::pull(repo, number), held != 0)))
}

async fn unread(db: &mut SqliteConnection, pull: PullId) -> Result<Vec<(MailId, Event)>, StoreError> {
    let rows: Vec<(i64, String)> = sqlx::query_as(sql::UNREAD_MAIL)
        .bind(pull.repo.0)
        .bind(pull.number.0)
        .bind(MOST)
        .fetch_all(&mut *db)
        .await?;
    let mut events = Vec::with_capacity(rows.len());
    for (id, doc) in rows {
        match row::from_doc(|| format!("mail {id}"), &doc) {
            Ok(event) => events.push((MailId(id), event)),
            Err(why) => {
                tracing::warn!(mail.id = id, pull.id = %pull, error = %why, "a mailbox row is left for a newer program");
                sqlx::query(sql::SET_MAIL_ASIDE)
                    .bind(id)
                    .bind(row::text(&why.to_string()))
                    .execute(&mut *db)
                    .await?;
            }
        }
    }
    Ok(events)
}
