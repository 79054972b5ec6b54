//! Owns the deliveries: stored under their id before they are answered, settled once.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::event::Event;
use crate::domain::ids::{CommitSha, PullId, RepoId, Timestamp};
use crate::store::Store;
use crate::store::connection::Pools;
use crate::store::error::StoreError;
use crate::store::repo::{self, RepoRow};
use crate::store::{mailbox, row, statements as sql, touch};

/// One signed delivery as it came in.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// `X-GitHub-Event`.
    pub event: String,
    pub body: bytes::Bytes,
    pub received_at: Timestamp,
}

/// What the door already knows of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Work,
    /// Not on the allow-list: recorded without its body.
    Refused(String),
    /// Signed, but not JSON.
    Fault(String),
}

/// Whether a delivery makes any work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    New,
    /// A person said *Redeliver* after a fault or a refusal: it is tried again.
    Reopened,
    /// Known already: its work is done once.
    Repeated,
}

/// What a delivery came to, written in one transaction.
#[derive(Debug, Clone)]
pub struct Settled {
    pub repo: Option<RepoRow>,
    pub events: Vec<(PullId, Event)>,
    /// Commits of a merge queue whose three checks are to be concluded.
    pub groups: Vec<(RepoId, CommitSha)>,
    pub outcome: Outcome,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Ignored(String),
    /// Cannot be understood: kept with its reason, never retried by itself.
    Fault(String),
}

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `waiting`, `done`, `ignored`, `fault` or `refused`.
    pub stands: String,
    pub why: Option<String>,
}

/// A delivery in the writer's queue.
#[derive(Debug)]
pub(super) struct Waiting {
    delivery: Delivery,
    fate: Fate,
    answer: oneshot::Sender<Result<Received, StoreError>>,
}

/// Most deliveries written in one transaction: one sync for all of them.
const GROUP: usize = 256;

impl Store {
    /// Stores a delivery under its id; it is on disk when this returns.
    pub async fn receive(&self, delivery: Delivery, fate: Fate) -> Result<Received, StoreError> {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable(sqlx::Error::PoolClosed);
        let waiting = Waiting { delivery, fate, answer };
        self.receives.send(waiting).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The oldest deliveries that nobody has settled, in the order they came in.
    pub async fn next_deliveries(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let rows: Vec<(String, String, Vec<u8>, i64)> = sqlx::query_as(sql::WAITING_DELIVERIES)
            .bind(i64::from(limit))
            .fetch_all(&self.pools.readers)
            .await?;
        let decode = |(id, event, body, received_at): (String, String, Vec<u8>, i64)| Delivery {
            id,
            event,
            body: body.into(),
            received_at: Timestamp(received_at),
        };
        Ok(rows.into_iter().map(decode).collect())
    }

    /// Ends a delivery and posts what it said, all or nothing. `Conflict`: it was settled already, nothing is written.
    pub async fn settle(&self, delivery: &str, settled: &Settled, now: Timestamp) -> Result<(), StoreError> {
        let Settled {
            repo,
            events,
            groups,
            outcome,
        } = settled;
        let (stands, why) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::Ignored(why) => ("ignored", Some(row::text(why))),
            Outcome::Fault(why) => ("fault", Some(row::text(why))),
        };
        let mut tx = self.pools.begin().await?;
        let marked = sqlx::query(sql::SETTLE_DELIVERY)
            .bind(delivery)
            .bind(stands)
            .bind(why)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        if marked.rows_affected() == 0 {
            return Err(StoreError::Conflict);
        }
        if let Some(repo) = repo {
            repo::upsert(&mut tx, repo).await?;
        }
        for (pull, event) in events {
            mailbox::insert(&mut tx, *pull, event, now).await?;
        }
        for (repo, sha) in groups {
            touch::touch_group(&mut tx, *repo, sha, now).await?;
        }
        self.commit_tx(tx).await
    }

    /// How a delivery stands; none where it was never received, or pruned.
    pub async fn delivery(&self, id: &str) -> Result<Option<Standing>, StoreError> {
        let found: Option<(String, Option<String>)> = sqlx::query_as(sql::DELIVERY)
            .bind(id)
            .fetch_optional(&self.pools.readers)
            .await?;
        Ok(found.map(|(stands, why)| Standing { stands, why }))
    }

    /// Empties the bodies of deliveries settled before `bodies`, and forgets deliveries and read mail older than
    /// `rows`. GitHub can redeliver for three days: `rows` lies further back than that.
    pub async fn prune(&self, bodies: Timestamp, rows: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        sqlx::query(sql::EMPTY_BODIES)
            .bind(bodies.0)
            .bind(Vec::<u8>::new())
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql::DELETE_DELIVERIES)
            .bind(rows.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql::DELETE_MAIL).bind(rows.0).execute(&mut *tx).await?;
        self.commit_tx(tx).await
    }
}

/// Writes whatever waits in one transaction, again and again, until the last store is gone. A sync takes about as
/// long for a hundred deliveries as for one.
pub(super) async fn write_in_groups(
    pools: Pools,
    commits: Arc<watch::Sender<u64>>,
    mut waiting: mpsc::Receiver<Waiting>,
) {
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        match write(&pools, &group).await {
            Ok(received) => {
                commits.send_modify(|commits| *commits = commits.wrapping_add(1));
                for (waiting, received) in group.drain(..).zip(received) {
                    // Whoever asked may have hung up; the delivery is stored all the same.
                    let _ = waiting.answer.send(Ok(received));
                }
            }
            // One of them may be to blame: each gets its own try and its own answer.
            Err(_) => {
                for one in group.drain(..) {
                    let written = write(&pools, std::slice::from_ref(&one)).await;
                    commits.send_modify(|commits| *commits = commits.wrapping_add(1));
                    let _ = one.answer.send(written.map(|received| received[0]));
                }
            }
        }
    }
}

async fn write(pools: &Pools, group: &[Waiting]) -> Result<Vec<Received>, StoreError> {
    let mut tx = pools.begin().await?;
    let mut received = Vec::with_capacity(group.len());
    let (many, few) = group.as_chunks::<TOGETHER>();
    for rows in many {
        insert(&mut tx, sql::INSERT_DELIVERIES, rows, &mut received).await?;
    }
    for row in few.chunks(1) {
        insert(&mut tx, sql::INSERT_DELIVERY, row, &mut received).await?;
    }
    tx.commit().await?;
    Ok(received)
}

/// How many rows `INSERT_DELIVERIES` takes: each statement costs a round trip to the connection's thread.
const TOGETHER: usize = 8;

async fn insert(
    db: &mut SqliteConnection,
    statement: &'static str,
    rows: &[Waiting],
    received: &mut Vec<Received>,
) -> Result<(), StoreError> {
    let mut query = sqlx::query_scalar(statement);
    for Waiting { delivery, fate, .. } in rows {
        let (stands, why, settled_at) = match fate {
            Fate::Work => ("waiting", None, None),
            Fate::Refused(why) => ("refused", Some(row::text(why)), Some(delivery.received_at.0)),
            Fate::Fault(why) => ("fault", Some(row::text(why)), Some(delivery.received_at.0)),
        };
        // Whoever is not on the list cannot fill the disk either.
        let body: &[u8] = match fate {
            Fate::Work | Fate::Fault(_) => &delivery.body,
            Fate::Refused(_) => &[],
        };
        query = query
            .bind(row::text(&delivery.id))
            .bind(row::text(&delivery.event))
            .bind(body)
            .bind(delivery.received_at.0)
            .bind(stands)
            .bind(why)
            .bind(settled_at);
    }
    let new: Vec<String> = query.fetch_all(&mut *db).await?;
    let mut new: BTreeSet<String> = new.into_iter().collect();
    for Waiting { delivery, fate, .. } in rows {
        received.push(match new.remove(&row::text(&delivery.id)) {
            true => Received::New,
            false => known(db, delivery, fate).await?,
        });
    }
    Ok(())
}

/// A delivery that is there already.
async fn known(db: &mut SqliteConnection, delivery: &Delivery, fate: &Fate) -> Result<Received, StoreError> {
    if *fate != Fate::Work {
        return Ok(Received::Repeated);
    }
    let reopened = sqlx::query(sql::REOPEN_DELIVERY)
        .bind(row::text(&delivery.id))
        .bind(delivery.body.as_ref())
        .execute(db)
        .await?;
    match reopened.rows_affected() {
        0 => Ok(Received::Repeated),
        _ => Ok(Received::Reopened),
    }
}
