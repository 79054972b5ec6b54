//! Owns reading a warrant back: what was decided is checked once more against the rows, at the moment of the act.

use sqlx::SqliteConnection;

use crate::domain::ids::{Fence, StackRunId};
use crate::domain::job::{Job, Work};
use crate::domain::plan::{FinalPlan, PlanSummary};
use crate::domain::run::{StackRun, StackState};
use crate::domain::state::{Ticket, Warrant};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::{job, state, statements as sql};

/// Leave to apply, with what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Warranted {
    pub warrant: Warrant,
    pub ticket: Ticket,
    /// The plan to apply, by the digest of its file.
    pub plan: FinalPlan,
    pub stack_run: StackRun,
}

/// Why a job has no warrant: its apply must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWarrant {
    #[error("the job is not an apply")]
    NotAnApply,
    /// The run is forgotten, or the stack is in another state or attempt: a word about this one would be stale.
    #[error("the state no longer names this attempt")]
    Stale,
    /// For people: one sentence without a full stop.
    #[error("{0}")]
    Refused(String),
}

impl Store {
    /// The warrant of a claimed apply, or why there is none, from one consistent picture of the rows.
    pub async fn warrant_of(&self, job: &Job) -> Result<Result<Warranted, NoWarrant>, StoreError> {
        let Work::Apply(at) = &job.work else {
            return Ok(Err(NoWarrant::NotAnApply));
        };
        let mut tx = self.pools.readers.begin().await?;
        let Some(stack_run) = job::stack_run(&mut tx, at).await? else {
            return Ok(Err(NoWarrant::Stale));
        };
        let (ticket_id, fence, plan) = match &stack_run.state {
            StackState::Applying {
                ticket,
                attempt,
                fence,
                plan,
            } if *attempt == job.attempt => (*ticket, *fence, plan.clone()),
            _ => return Ok(Err(NoWarrant::Stale)),
        };
        let doc: Option<String> = sqlx::query_scalar(sql::TICKET)
            .bind(ticket_id.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(doc) = doc else {
            return Ok(refused("the permission for this apply is gone"));
        };
        let ticket = state::ticket(&ticket_id.to_string(), &doc)?;
        if let Some(why) = objection(&mut tx, job, at, &stack_run, &ticket, fence, &plan).await? {
            return Ok(Err(NoWarrant::Refused(why)));
        }
        let warrant = Warrant::restore(ticket_id, at.clone(), &plan, fence);
        Ok(Ok(Warranted {
            warrant,
            ticket,
            plan,
            stack_run,
        }))
    }
}

fn refused(why: &str) -> Result<Warranted, NoWarrant> {
    Err(NoWarrant::Refused(why.to_owned()))
}

/// The first thing that speaks against the apply.
async fn objection(
    db: &mut SqliteConnection,
    job: &Job,
    at: &StackRunId,
    stack_run: &StackRun,
    ticket: &Ticket,
    fence: Fence,
    plan: &PlanSummary,
) -> Result<Option<String>, StoreError> {
    if ticket.run() != at.run || !ticket.stacks().contains_key(&at.stack) {
        return Ok(Some("the permission for this apply is for something else".to_owned()));
    }
    if plan.keys != stack_run.keys || plan.keys.is_empty() {
        return Ok(Some("the plan is for another state than the locked one".to_owned()));
    }
    for key in &stack_run.keys {
        let lock = state::lock(db, key).await?;
        let ours =
            lock.filter(|lock| lock.held_by(job.pull) && lock.fence == fence.0 && lock.applying == Some(fence.0));
        if ours.is_none() {
            return Ok(Some(format!("the lock of {key} is not held for this apply any more")));
        }
    }
    for key in stack_run.leaves() {
        let lock = state::lock(db, key).await?;
        if !lock.is_some_and(|lock| lock.held_by(job.pull)) {
            return Ok(Some(format!("the lock of {key} is not held for this apply any more")));
        }
    }
    // The warrant may have waited for a free tool meanwhile: terraform would apply the old upstream values without a word.
    for (key, made) in &plan.made_against {
        let lock = state::lock(db, key).await?.unwrap_or_default();
        let moving = lock.applying.is_some() && !stack_run.keys.contains(key);
        if moving || lock.last_applied() != *made {
            return Ok(Some(
                "a stack that it reads was applied since its plan was made: say `/apply`, and it is planned anew"
                    .to_owned(),
            ));
        }
    }
    Ok(None)
}
