//! Owns the jobs: written by decisions, claimed under a lease, ended with a word to the mailbox.

use std::time::Duration;

use sqlx::{FromRow, SqliteConnection};

use crate::domain::event::Event;
use crate::domain::ids::{Attempt, PullId, StackRunId, Timestamp};
use crate::domain::job::{Beat, Job, Lane, Work};
use crate::domain::run::{Discovery, Run, StackRun};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::{mailbox, row, statements as sql};

/// Leave to do one job. Numbered: a later one ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLease {
    pub(super) id: i64,
    pub(super) number: i64,
    pub(super) job: Job,
    length: Duration,
}

/// A job that is ours until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub job: Job,
    pub lease: JobLease,
    /// How often it was claimed before by someone who neither finished nor released it: more than 0 means that a
    /// worker died with it, or was too slow.
    pub taken_before: u32,
    /// How often it was released before, undone.
    pub released_before: u32,
}

#[derive(FromRow)]
struct Columns {
    lease_no: i64,
    taken: i64,
    released: i64,
    repo: i64,
    number: i64,
    attempt: i64,
    not_before: i64,
    work: String,
}

impl JobLease {
    pub fn job(&self) -> &Job {
        &self.job
    }
}

impl Store {
    /// The job of this lane that has been due longest and that nobody holds. One that this program cannot read is
    /// left for a newer one.
    pub async fn claim_job(
        &self,
        lane: Lane,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        if next(&mut *self.pools.readers.acquire().await?, lane, now)
            .await?
            .is_none()
        {
            return Ok(None);
        }
        let mut tx = self.pools.begin().await?;
        let mut found = None;
        while let Some(id) = next(&mut tx, lane, now).await? {
            let columns: Columns = sqlx::query_as(sql::CLAIM_JOB)
                .bind(id)
                .bind(worker)
                .bind(now.plus(lease).0)
                .fetch_one(&mut *tx)
                .await?;
            match claimed(id, columns, lease) {
                Ok(claimed) => {
                    found = Some(claimed);
                    break;
                }
                Err(why) => {
                    tracing::warn!(job.id = id, error = %why, "a job is left for a newer program");
                    sqlx::query(sql::SET_JOB_ASIDE)
                        .bind(id)
                        .bind(row::text(&why.to_string()))
                        .execute(&mut *tx)
                        .await?;
                }
            }
        }
        // There is less to do than before: nobody is woken.
        tx.commit().await?;
        Ok(found)
    }

    /// Lengthens the lease by its own length and says whether the work is still wanted. An apply is never stopped.
    pub async fn beat(&self, lease: &JobLease, now: Timestamp) -> Result<Beat, StoreError> {
        let mut tx = self.pools.begin().await?;
        let beaten = sqlx::query(sql::BEAT_JOB)
            .bind(lease.id)
            .bind(lease.number)
            .bind(now.plus(lease.length).0)
            .execute(&mut *tx)
            .await?;
        if beaten.rows_affected() == 0 {
            return Ok(Beat::LeaseLost);
        }
        let wanted = still_wanted(&mut tx, &lease.job).await?;
        // No loop waits for a heartbeat: nobody is woken.
        tx.commit().await?;
        Ok(if wanted { Beat::GoOn } else { Beat::Stop })
    }

    /// The answer of a heartbeat without one: writes nothing, so it may be asked at every wake-up.
    pub async fn glance(&self, lease: &JobLease) -> Result<Beat, StoreError> {
        let mut tx = self.pools.readers.begin().await?;
        let holds: Option<i64> = sqlx::query_scalar(sql::HOLDS_JOB)
            .bind(lease.id)
            .fetch_optional(&mut *tx)
            .await?;
        if holds != Some(lease.number) {
            return Ok(Beat::LeaseLost);
        }
        let wanted = still_wanted(&mut tx, &lease.job).await?;
        Ok(if wanted { Beat::GoOn } else { Beat::Stop })
    }

    /// Ends a job and posts what it learned, in one transaction. `Conflict`: another has it, nothing was written;
    /// what an apply learned may still be posted by `post`.
    pub async fn finish(
        &self,
        lease: &JobLease,
        learned: Option<(PullId, &Event)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let finished = sqlx::query(sql::FINISH_JOB)
            .bind(lease.id)
            .bind(lease.number)
            .execute(&mut *tx)
            .await?;
        if finished.rows_affected() == 0 {
            return Err(StoreError::Conflict);
        }
        if let Some((pull, event)) = learned {
            mailbox::insert(&mut tx, pull, event, now).await?;
        }
        self.commit_tx(tx).await
    }

    /// Puts a job back of which nothing was done. Where a newer try waits already, that one stays.
    pub async fn release(&self, lease: &JobLease, not_before: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        let released = sqlx::query(sql::RELEASE_JOB)
            .bind(lease.id)
            .bind(lease.number)
            .bind(not_before.0)
            .execute(&mut *tx)
            .await?;
        if released.rows_affected() == 0 {
            let overtaken = sqlx::query(sql::FINISH_JOB)
                .bind(lease.id)
                .bind(lease.number)
                .execute(&mut *tx)
                .await?;
            if overtaken.rows_affected() == 0 {
                return Err(StoreError::Conflict);
            }
        }
        self.commit_tx(tx).await
    }
}

/// Writes a job, unless the same try exists; of those that wait under one key the newest try stays.
pub(super) async fn insert(db: &mut SqliteConnection, job: &Job) -> Result<(), StoreError> {
    let Job {
        pull,
        not_before,
        attempt,
        work,
    } = job;
    let is_timer = match work {
        Work::Wake => true,
        Work::Discover(_) | Work::Plan(_) | Work::Apply(_) | Work::See => false,
    };
    sqlx::query(sql::UPSERT_JOB)
        .bind(work.key(*pull))
        .bind(attempt.0)
        .bind(word(work.lane()))
        .bind(pull.repo.0)
        .bind(pull.number.0)
        .bind(row::to_doc("jobs", work)?)
        .bind(not_before.0)
        .bind(i64::from(is_timer))
        .execute(db)
        .await?;
    Ok(())
}

fn word(lane: Lane) -> &'static str {
    match lane {
        Lane::Tool => "tool",
        Lane::Light => "light",
    }
}

async fn next(db: &mut SqliteConnection, lane: Lane, now: Timestamp) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(sql::NEXT_JOB)
        .bind(word(lane))
        .bind(now.0)
        .fetch_optional(db)
        .await?)
}

fn claimed(id: i64, columns: Columns, length: Duration) -> Result<Claimed, StoreError> {
    let Columns {
        lease_no,
        taken,
        released,
        repo,
        number,
        attempt,
        not_before,
        work,
    } = columns;
    let job = Job {
        pull: row::pull(repo, number),
        not_before: Timestamp(not_before),
        attempt: Attempt(attempt),
        work: row::from_doc(|| format!("jobs {id}"), &work)?,
    };
    let lease = JobLease {
        id,
        number: lease_no,
        job: job.clone(),
        length,
    };
    Ok(Claimed {
        job,
        lease,
        taken_before: u32::try_from(taken - 1).unwrap_or(0),
        released_before: u32::try_from(released).unwrap_or(0),
    })
}

/// Whether the state still names this attempt.
async fn still_wanted(db: &mut SqliteConnection, job: &Job) -> Result<bool, StoreError> {
    let run = match &job.work {
        Work::Apply(_) | Work::Wake | Work::See => return Ok(true),
        Work::Discover(run) => *run,
        Work::Plan(at) => at.run,
    };
    let doc: Option<String> = sqlx::query_scalar(sql::RUN)
        .bind(run.to_string())
        .fetch_optional(&mut *db)
        .await?;
    let Some(doc) = doc else { return Ok(false) };
    let row: Run = row::from_doc(|| format!("runs {run}"), &doc)?;
    if row.end.is_some() {
        return Ok(false);
    }
    match &job.work {
        Work::Plan(at) => {
            let stack = stack_run(db, at).await?;
            Ok(stack.is_some_and(|stack| stack.state.awaits() == Some(job.attempt)))
        }
        Work::Discover(_) => Ok(match row.discovery {
            Discovery::Wanted(attempt) | Discovery::Pending(attempt) => attempt == job.attempt,
            Discovery::Held | Discovery::Done(_) | Discovery::Failed(_) => false,
        }),
        Work::Apply(_) | Work::Wake | Work::See => Ok(true),
    }
}

pub(super) async fn stack_run(db: &mut SqliteConnection, at: &StackRunId) -> Result<Option<StackRun>, StoreError> {
    let doc: Option<String> = sqlx::query_scalar(sql::STACK_RUN)
        .bind(at.run.to_string())
        .bind(at.stack.as_str())
        .fetch_optional(db)
        .await?;
    doc.map(|doc| row::from_doc(|| format!("stack_runs {at}"), &doc))
        .transpose()
}
