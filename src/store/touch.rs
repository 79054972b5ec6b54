//! Owns which surfaces a decision touches, and raises what is wanted of them.

use sqlx::SqliteConnection;

use crate::domain::event::CommandSource;
use crate::domain::ids::{CommitSha, LockKey, RepoId, Timestamp};
use crate::domain::state::State;
use crate::engine::Touched;
use crate::store::error::StoreError;
use crate::store::pace::{Pace, Rhythm, Urgency};
use crate::store::surface::{self, CheckKind, Owner, SurfaceKey};
use crate::store::{row, statements as sql};

/// Raises what a decision touched.
pub(super) async fn touch(
    db: &mut SqliteConnection,
    before: &State,
    after: &State,
    touched: &Touched,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Touched {
        pull,
        urgent,
        stands,
        replies,
        stacks,
    } = touched;
    let urgency_if = |urgent| if urgent { Urgency::Urgent } else { Urgency::Usual };
    let urgency = urgency_if(*urgent);
    let owner = Owner::Pull(after.id);
    if *pull || *urgent {
        raise(db, &owner, &SurfaceKey::Comment, Rhythm::Paced, urgency, now).await?;
        let head = |state: &State| state.pull.now.as_ref().map(|pull| pull.head.sha.clone());
        let left = head(before).filter(|left| Some(left) != head(after).as_ref());
        for sha in head(after).into_iter().chain(left) {
            let owner = Owner::Commit(after.id.repo, sha);
            for kind in CheckKind::ALL {
                let urgency = urgency_if(*urgent || *stands);
                raise(db, &owner, &SurfaceKey::Check(kind), Rhythm::Paced, urgency, now).await?;
            }
        }
    }
    for command in replies {
        if matches!(command.source, CommandSource::Comment(_)) && !before.commands.contains_key(command) {
            let key = SurfaceKey::Reaction(command.clone());
            raise(db, &owner, &key, Rhythm::AtOnce, urgency, now).await?;
        }
        // The first one at once; one that follows fifty stacks is not edited fifty times.
        let key = SurfaceKey::Reply(command.clone());
        raise(db, &owner, &key, Rhythm::Paced, urgency, now).await?;
    }
    for (run, stack) in stacks.iter().filter(|(run, _)| after.runs.contains_key(run)) {
        let key = SurfaceKey::Stack(*run, stack.clone());
        raise(db, &owner, &key, Rhythm::AtOnce, urgency, now).await?;
    }
    others(db, before, after, now).await
}

/// Other pull requests show who holds a state of theirs: theirs is another picture when the holder changes.
async fn others(db: &mut SqliteConnection, before: &State, after: &State, now: Timestamp) -> Result<(), StoreError> {
    let holder = |state: &State, key: &LockKey| {
        let lock = state.locks.get(key)?;
        lock.holder.as_ref().map(|holder| holder.pull)
    };
    for key in after
        .locks
        .keys()
        .filter(|key| holder(before, key) != holder(after, key))
    {
        let written = serde_json::Value::from(key.as_str()).to_string();
        let escaped = written.replace('!', "!!").replace('%', "!%").replace('_', "!_");
        let pulls: Vec<(i64, i64)> = sqlx::query_as(sql::PULLS_OF_STATE)
            .bind(format!("%{escaped}%"))
            .fetch_all(&mut *db)
            .await?;
        for (repo, number) in pulls {
            let pull = row::pull(repo, number);
            if pull != after.id {
                let owner = Owner::Pull(pull);
                raise(db, &owner, &SurfaceKey::Comment, Rhythm::Paced, Urgency::Usual, now).await?;
            }
        }
    }
    Ok(())
}

/// Wants the three checks of a merge queue's commit.
pub(super) async fn touch_group(
    db: &mut SqliteConnection,
    repo: RepoId,
    sha: &CommitSha,
    now: Timestamp,
) -> Result<(), StoreError> {
    let owner = Owner::Commit(repo, sha.clone());
    for kind in CheckKind::ALL {
        let key = SurfaceKey::GroupCheck(kind);
        raise(db, &owner, &key, Rhythm::AtOnce, Urgency::Usual, now).await?;
    }
    Ok(())
}

async fn raise(
    db: &mut SqliteConnection,
    owner: &Owner,
    key: &SurfaceKey,
    rhythm: Rhythm,
    urgency: Urgency,
    now: Timestamp,
) -> Result<(), StoreError> {
    let run = match key {
        SurfaceKey::Stack(run, _) => Some(run.to_string()),
        SurfaceKey::Comment
        | SurfaceKey::Reply(_)
        | SurfaceKey::Reaction(_)
        | SurfaceKey::Check(_)
        | SurfaceKey::GroupCheck(_) => None,
    };
    let (owner, key) = (owner.to_string(), row::text(&key.to_string()));
    let first = Pace::first(now, urgency);
    let inserted = sqlx::query(sql::INSERT_SURFACE)
        .bind(&owner)
        .bind(&key)
        .bind(run)
        .bind(first.urgent)
        .bind(first.not_before.0)
        .execute(&mut *db)
        .await?;
    if inserted.rows_affected() == 1 {
        return Ok(());
    }
    let Some(columns) = surface::columns(db, &owner, &key).await? else {
        return Ok(());
    };
    let pace = surface::pace_of(&columns).touch(now, rhythm, urgency);
    sqlx::query(sql::TOUCH_SURFACE)
        .bind(&owner)
        .bind(&key)
        .bind(pace.wanted)
        .bind(pace.urgent)
        .bind(pace.step)
        .bind(pace.not_before.0)
        .execute(db)
        .await?;
    Ok(())
}
