//! Owns the deciding transaction: read under the mailbox lease, decided by the caller, written all or not at all.

use std::collections::BTreeSet;

use sqlx::{Sqlite, Transaction};

use crate::domain::event::Event;
use crate::domain::ids::{LockKey, PullId, Timestamp};
use crate::domain::state::State;
use crate::engine::Step;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::mailbox::{MailId, MailLease};
use crate::store::{job, state, statements as sql, touch};

/// A write transaction of whoever holds the mailbox. Dropped without a commit: nothing was written. Nobody else
/// writes while it is open, so nothing slow may happen in it.
#[derive(Debug)]
pub struct Tx {
    tx: Transaction<'static, Sqlite>,
    lease: MailLease,
    /// The locks that were read: no other may be written.
    read: BTreeSet<LockKey>,
}

/// A pull request's revision: one more with each decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub i64);

/// What a decision came to.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// As it was loaded in this transaction.
    pub before: &'a State,
    pub step: &'a Step,
    /// The rows that were decided on: they are read now.
    pub read: &'a [MailId],
    pub now: Timestamp,
}

impl Store {
    /// Begins to write (`BEGIN IMMEDIATE`). `Conflict`: the mailbox is no longer ours.
    pub async fn begin(&self, lease: &MailLease) -> Result<Tx, StoreError> {
        let mut tx = self.pools.begin().await?;
        let holds: Option<i64> = sqlx::query_scalar(sql::HOLDS_MAILBOX)
            .bind(lease.pull.repo.0)
            .bind(lease.pull.number.0)
            .fetch_optional(&mut *tx)
            .await?;
        match holds == Some(lease.number) {
            true => Ok(Tx {
                tx,
                lease: lease.clone(),
                read: BTreeSet::new(),
            }),
            false => Err(StoreError::Conflict),
        }
    }

    /// The state of the lease's pull request, with the locks that these events name.
    pub async fn load(&self, tx: &mut Tx, events: &[Event]) -> Result<State, StoreError> {
        let (state, read) = state::load(&mut tx.tx, tx.lease.pull, &state::keys_of(events)).await?;
        tx.read.extend(read);
        Ok(state)
    }

    /// The same outside of any decision: one consistent picture, for gathering and for what people see.
    pub async fn peek(&self, pull: PullId) -> Result<State, StoreError> {
        self.peek_with(pull, &[]).await
    }

    /// A picture with the locks that these events name.
    pub async fn peek_with(&self, pull: PullId, events: &[Event]) -> Result<State, StoreError> {
        let mut tx = self.pools.readers.begin().await?;
        let (state, _) = state::load(&mut tx, pull, &state::keys_of(events)).await?;
        Ok(state)
    }

    /// Writes the rows that differ, the jobs and the surfaces, marks the mail read and gives the mailbox back: all in
    /// one.
    pub async fn commit(&self, tx: Tx, decided: Decided<'_>) -> Result<Revision, StoreError> {
        let Decided {
            before,
            step,
            read,
            now,
        } = decided;
        let Step {
            state: after,
            jobs,
            touched,
            remarks: _,
        } = step;
        let Tx {
            mut tx,
            lease,
            read: locks,
        } = tx;
        let pull = lease.pull;
        if before.id != pull || after.id != pull {
            return Err(StoreError::corrupt(
                format!("pulls {pull}"),
                "the decision is about another pull request",
            ));
        }
        if let Some((key, _)) = state::differing(&before.locks, &after.locks).find(|(key, _)| !locks.contains(*key)) {
            return Err(StoreError::Unread(key.clone()));
        }

        let revision = state::save(&mut tx, before, after).await?;
        for job in jobs {
            job::insert(&mut tx, job).await?;
        }
        touch::touch(&mut tx, before, after, touched, now).await?;
        for MailId(id) in read {
            sqlx::query(sql::READ_MAIL)
                .bind(id)
                .bind(pull.repo.0)
                .bind(pull.number.0)
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(sql::RELEASE_MAILBOX)
            .bind(pull.repo.0)
            .bind(pull.number.0)
            .bind(lease.number)
            .execute(&mut *tx)
            .await?;
        self.commit_tx(tx).await?;
        Ok(Revision(revision))
    }
}
