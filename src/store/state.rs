//! Owns the rows of one pull request's state: read into a `State`, and written back where they differ.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{FromRow, SqliteConnection};

use crate::domain::event::{CommandId, Discovered, Event};
use crate::domain::ids::{CommitSha, LockKey, PullId, StackName, TicketId, Timestamp};
use crate::domain::pull::PullState;
use crate::domain::run::{Run, StackEvent, StackRun};
use crate::domain::state::{Holder, Lock, PullRow, State, Ticket, TicketParts};
use crate::store::error::StoreError;
use crate::store::{row, statements as sql};

/// A row of `locks`; all columns of the holder are null, or only `merged` is.
#[derive(FromRow)]
struct LockColumns {
    key: String,
    fence: i64,
    applied: i64,
    applying: Option<i64>,
    holder_repo: Option<i64>,
    holder_number: Option<i64>,
    holder_stack: Option<String>,
    holder_since: Option<i64>,
    holder_merged: Option<String>,
}

/// Everything stored of one pull request, with the locks of its stacks and of `more`.
/// Also tells which locks were read, free ones without a row too.
pub(super) async fn load(
    db: &mut SqliteConnection,
    id: PullId,
    more: &BTreeSet<LockKey>,
) -> Result<(State, BTreeSet<LockKey>), StoreError> {
    let mut state = State::unknown(id);
    let pull: Option<String> = sqlx::query_scalar(sql::PULL)
        .bind(id.repo.0)
        .bind(id.number.0)
        .fetch_optional(&mut *db)
        .await?;
    if let Some(doc) = pull {
        state.pull = row::from_doc(|| format!("pulls {id}"), &doc)?;
        load_runs(db, &mut state).await?;
        load_tickets(db, &mut state).await?;
        load_commands(db, &mut state).await?;
    }
    load_held(db, &mut state).await?;

    let mut keys = state.keys();
    keys.extend(more.iter().cloned());
    for key in &keys {
        if !state.locks.contains_key(key)
            && let Some(lock) = lock(db, key).await?
        {
            state.locks.insert(key.clone(), lock);
        }
    }
    Ok((state, keys))
}

/// The locks that a decision about these events may take: their keys stand in no row yet.
pub(super) fn keys_of(events: &[Event]) -> BTreeSet<LockKey> {
    let mut keys = BTreeSet::new();
    for event in events {
        match event {
            Event::Discovered {
                outcome: Discovered::Found { stacks, .. },
                ..
            } => {
                for stack in stacks.values() {
                    keys.extend(stack.keys.iter().chain(&stack.at_base).cloned());
                    keys.extend(stack.upstream_keys.values().flatten().cloned());
                }
            }
            Event::Stack { event, .. } => match event {
                StackEvent::Planned { plan, .. } => {
                    keys.extend(plan.keys.iter().cloned());
                    keys.extend(plan.made_against.keys().cloned());
                }
                StackEvent::Deferred { keys: of_stack, .. } | StackEvent::Pruned { keys: of_stack, .. } => {
                    keys.extend(of_stack.iter().cloned());
                }
                StackEvent::PlanFailed(_)
                | StackEvent::Interrupted
                | StackEvent::Applied
                | StackEvent::ApplyFailed(_)
                | StackEvent::ApplyLost
                | StackEvent::Outdated
                | StackEvent::NotStarted(_) => {}
            },
            Event::Discovered {
                outcome: Discovered::Failed(_) | Discovered::Again(_),
                ..
            }
            | Event::Pull(_)
            | Event::Command { .. }
            | Event::Published { .. }
            | Event::Look => {}
        }
    }
    keys
}

async fn load_runs(db: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
    let id = state.id;
    let rows: Vec<(String, String)> = sqlx::query_as(sql::RUNS)
        .bind(id.repo.0)
        .bind(id.number.0)
        .fetch_all(&mut *db)
        .await?;
    for (text, doc) in rows {
        let run: Run = row::from_doc(|| format!("runs {text}"), &doc)?;
        if run.id != row::run(|| format!("runs {text}"), &text)? {
            return Err(StoreError::corrupt(
                format!("runs {text}"),
                "its document is another run's",
            ));
        }
        state.runs.insert(run.id, run);
    }
    let rows: Vec<(String, String, String)> = sqlx::query_as(sql::STACK_RUNS)
        .bind(id.repo.0)
        .bind(id.number.0)
        .fetch_all(&mut *db)
        .await?;
    for (run, stack, doc) in rows {
        let name = || format!("stack_runs {run}/{stack}");
        let stack_name = StackName::parse(&stack).map_err(|why| StoreError::corrupt(name(), why))?;
        let stack_run: StackRun = row::from_doc(name, &doc)?;
        let of = row::run(name, &run)?;
        let run = state
            .runs
            .get_mut(&of)
            .ok_or_else(|| StoreError::corrupt(name(), "its run is gone"))?;
        run.stacks.insert(stack_name, stack_run);
    }
    Ok(())
}

async fn load_tickets(db: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
    let id = state.id;
    let rows: Vec<(String, String)> = sqlx::query_as(sql::TICKETS)
        .bind(id.repo.0)
        .bind(id.number.0)
        .fetch_all(&mut *db)
        .await?;
    for (id, doc) in rows {
        let uuid = uuid::Uuid::try_parse(&id).map_err(|why| StoreError::corrupt(format!("tickets {id}"), why))?;
        state.tickets.insert(TicketId(uuid), ticket(&id, &doc)?);
    }
    Ok(())
}

/// A ticket as it was issued.
pub(super) fn ticket(id: &str, doc: &str) -> Result<Ticket, StoreError> {
    let parts: TicketParts = row::from_doc(|| format!("tickets {id}"), doc)?;
    Ok(Ticket::restore(parts))
}

async fn load_commands(db: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
    let pull = state.id;
    let rows: Vec<(String, String)> = sqlx::query_as(sql::COMMANDS)
        .bind(pull.repo.0)
        .bind(pull.number.0)
        .fetch_all(&mut *db)
        .await?;
    for (id, doc) in rows {
        let name = || format!("commands {pull} {id}");
        let command = CommandId::try_from(id.clone()).map_err(|why| StoreError::corrupt(name(), why))?;
        state.commands.insert(command, row::from_doc(name, &doc)?);
    }
    Ok(())
}

async fn load_held(db: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
    let rows: Vec<LockColumns> = sqlx::query_as(sql::LOCKS_HELD)
        .bind(state.id.repo.0)
        .bind(state.id.number.0)
        .fetch_all(&mut *db)
        .await?;
    for columns in rows {
        let (key, lock) = decode_lock(columns)?;
        state.locks.insert(key, lock);
    }
    Ok(())
}

/// One lock; none where the state was never locked.
pub(super) async fn lock(db: &mut SqliteConnection, key: &LockKey) -> Result<Option<Lock>, StoreError> {
    let columns: Option<LockColumns> = sqlx::query_as(sql::LOCK).bind(key.as_str()).fetch_optional(db).await?;
    Ok(columns.map(decode_lock).transpose()?.map(|(_, lock)| lock))
}

fn decode_lock(columns: LockColumns) -> Result<(LockKey, Lock), StoreError> {
    let name = format!("locks {}", columns.key);
    let wrong = |why: &dyn std::fmt::Display| StoreError::corrupt(name.as_str(), why);
    let LockColumns {
        key,
        fence,
        applied,
        applying,
        holder_repo,
        holder_number,
        holder_stack,
        holder_since,
        holder_merged,
    } = columns;
    let key = LockKey::parse(&key).map_err(|why| wrong(&why))?;
    let holder = match (holder_repo, holder_number, holder_stack, holder_since) {
        (Some(repo), Some(number), Some(stack), Some(since)) => Some(Holder {
            pull: row::pull(repo, number),
            stack: StackName::parse(&stack).map_err(|why| wrong(&why))?,
            since: Timestamp(since),
            merged: holder_merged
                .map(|commit| CommitSha::parse(&commit))
                .transpose()
                .map_err(|why| wrong(&why))?,
        }),
        (None, None, None, None) => None,
        _ => return Err(wrong(&"its holder is only half there")),
    };
    let lock = Lock {
        holder,
        fence,
        applied,
        applying,
    };
    Ok((key, lock))
}

/// Writes every row that differs; rows that are gone from the state are deleted, locks never. Gives the pull
/// request's new revision.
pub(super) async fn save(db: &mut SqliteConnection, before: &State, after: &State) -> Result<i64, StoreError> {
    let id = after.id;
    let revision = save_pull(db, id, &after.pull).await?;
    save_runs(db, id, before, after).await?;
    for gone in before.tickets.keys().filter(|id| !after.tickets.contains_key(id)) {
        sqlx::query(sql::DELETE_TICKET)
            .bind(gone.to_string())
            .execute(&mut *db)
            .await?;
    }
    for (ticket, now) in differing(&before.tickets, &after.tickets) {
        sqlx::query(sql::UPSERT_TICKET)
            .bind(ticket.to_string())
            .bind(id.repo.0)
            .bind(id.number.0)
            .bind(row::to_doc("tickets", &now.parts())?)
            .execute(&mut *db)
            .await?;
    }
    for gone in before.commands.keys().filter(|id| !after.commands.contains_key(id)) {
        sqlx::query(sql::DELETE_COMMAND)
            .bind(id.repo.0)
            .bind(id.number.0)
            .bind(row::text(&gone.to_string()))
            .execute(&mut *db)
            .await?;
    }
    for (command, now) in differing(&before.commands, &after.commands) {
        sqlx::query(sql::UPSERT_COMMAND)
            .bind(id.repo.0)
            .bind(id.number.0)
            .bind(row::text(&command.to_string()))
            .bind(row::to_doc("commands", now)?)
            .execute(&mut *db)
            .await?;
    }
    for (key, now) in differing(&before.locks, &after.locks) {
        save_lock(db, key, now).await?;
    }
    Ok(revision)
}

/// What is new or another than before.
pub(super) fn differing<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    after.iter().filter(|(key, now)| before.get(key) != Some(now))
}

async fn save_pull(db: &mut SqliteConnection, id: PullId, pull: &PullRow) -> Result<i64, StoreError> {
    let head = pull.now.as_ref().map(|now| now.head.sha.as_str().to_owned());
    let is_open = pull.now.as_ref().is_some_and(|now| now.state == PullState::Open);
    Ok(sqlx::query_scalar(sql::UPSERT_PULL)
        .bind(id.repo.0)
        .bind(id.number.0)
        .bind(head)
        .bind(i64::from(is_open))
        .bind(row::to_doc("pulls", pull)?)
        .fetch_one(db)
        .await?)
}

async fn save_runs(db: &mut SqliteConnection, id: PullId, before: &State, after: &State) -> Result<(), StoreError> {
    for gone in before.runs.keys().filter(|run| !after.runs.contains_key(run)) {
        sqlx::query(sql::DELETE_SURFACES_OF_RUN)
            .bind(gone.to_string())
            .execute(&mut *db)
            .await?;
        sqlx::query(sql::DELETE_RUN)
            .bind(gone.to_string())
            .execute(&mut *db)
            .await?;
    }
    let none = BTreeMap::new();
    for (run, now) in differing(&before.runs, &after.runs) {
        let was = before.runs.get(run);
        if was.map(without_stacks).as_ref() != Some(&without_stacks(now)) {
            sqlx::query(sql::UPSERT_RUN)
                .bind(run.to_string())
                .bind(id.repo.0)
                .bind(id.number.0)
                .bind(row::to_doc("runs", &without_stacks(now))?)
                .execute(&mut *db)
                .await?;
        }
        let stacks = was.map_or(&none, |was| &was.stacks);
        for gone in stacks.keys().filter(|name| !now.stacks.contains_key(name)) {
            sqlx::query(sql::DELETE_STACK_RUN)
                .bind(run.to_string())
                .bind(gone.as_str())
                .execute(&mut *db)
                .await?;
        }
        for (name, stack) in differing(stacks, &now.stacks) {
            sqlx::query(sql::UPSERT_STACK_RUN)
                .bind(run.to_string())
                .bind(name.as_str())
                .bind(row::to_doc("stack_runs", stack)?)
                .execute(&mut *db)
                .await?;
        }
    }
    Ok(())
}

/// The run's own row: its stacks have rows of theirs.
fn without_stacks(run: &Run) -> Run {
    let Run {
        id,
        number,
        head,
        base_ref,
        discovery,
        stacks: _,
        end,
    } = run;
    Run {
        id: *id,
        number: *number,
        head: head.clone(),
        base_ref: base_ref.clone(),
        discovery: discovery.clone(),
        stacks: BTreeMap::new(),
        end: *end,
    }
}

async fn save_lock(db: &mut SqliteConnection, key: &LockKey, lock: &Lock) -> Result<(), StoreError> {
    let Lock {
        holder,
        fence,
        applied,
        applying,
    } = lock;
    let holder = holder.as_ref();
    sqlx::query(sql::UPSERT_LOCK)
        .bind(key.as_str())
        .bind(fence)
        .bind(applied)
        .bind(applying)
        .bind(holder.map(|holder| holder.pull.repo.0))
        .bind(holder.map(|holder| holder.pull.number.0))
        .bind(holder.map(|holder| holder.stack.as_str().to_owned()))
        .bind(holder.map(|holder| holder.since.0))
        .bind(holder.and_then(|holder| holder.merged.as_ref().map(|commit| commit.as_str().to_owned())))
        .execute(db)
        .await?;
    Ok(())
}
