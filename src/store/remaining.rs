//! Owns what is left to do: for `/quiet`, for the metrics and for loops that sleep until something is due.

use sqlx::FromRow;

use crate::domain::ids::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::statements as sql;

/// How long the queues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromRow)]
pub struct Remaining {
    pub deliveries_waiting: i64,
    pub mail_unread: i64,
    /// Mailboxes that somebody holds.
    pub deciding: i64,
    pub jobs_running: i64,
    pub tool_jobs_due: i64,
    pub light_jobs_due: i64,
    /// Jobs whose time has not come.
    pub jobs_later: i64,
    pub surfaces_unpublished: i64,
    pub locks_held: i64,
    /// Rows that this program cannot read.
    pub set_aside: i64,
}

/// Whether anything is left to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    pub remaining: Remaining,
    /// When something will be due of which nothing is due now.
    pub next_timer: Option<Timestamp>,
}

impl Quiet {
    /// Nothing waits, nothing runs, everything is published. Timers may be set.
    pub fn is_quiet(&self) -> bool {
        let Remaining {
            deliveries_waiting,
            mail_unread,
            deciding,
            jobs_running,
            tool_jobs_due,
            light_jobs_due,
            jobs_later: _,
            surfaces_unpublished,
            locks_held: _,
            set_aside: _,
        } = self.remaining;
        [
            deliveries_waiting,
            mail_unread,
            deciding,
            jobs_running,
            tool_jobs_due,
            light_jobs_due,
            surfaces_unpublished,
        ]
        .iter()
        .all(|count| *count == 0)
    }
}

impl Store {
    /// Whether anything is left to do, in one consistent picture.
    pub async fn quiet(&self, now: Timestamp) -> Result<Quiet, StoreError> {
        let mut tx = self.pools.readers.begin().await?;
        let remaining = sqlx::query_as(sql::COUNTS).bind(now.0).fetch_one(&mut *tx).await?;
        let next: Option<i64> = sqlx::query_scalar(sql::NEXT_DUE)
            .bind(now.0)
            .fetch_one(&mut *tx)
            .await?;
        Ok(Quiet {
            remaining,
            next_timer: next.map(Timestamp),
        })
    }

    /// Whether the database answers at all.
    pub async fn answers(&self) -> Result<(), StoreError> {
        sqlx::query(sql::PING).execute(&self.pools.readers).await?;
        Ok(())
    }

    /// When the next row becomes due that is not due now: how long a loop may sleep if nobody wakes it.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar(sql::NEXT_DUE)
            .bind(now.0)
            .fetch_one(&self.pools.readers)
            .await?;
        Ok(next.map(Timestamp))
    }

    /// How many deliveries could not be understood and wait for a person.
    pub async fn faults(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(sql::FAULTS).fetch_one(&self.pools.readers).await?)
    }
}
