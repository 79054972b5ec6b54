//! Owns the net below the webhooks: deliveries that failed are asked for again, heads are compared with the store,
//! and what no run needs any more is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::event::Event;
use crate::domain::ids::{PullId, RunId, Timestamp};
use crate::domain::pull::PullState;
use crate::github::error::GithubError;
use crate::worker::{Worker, place};

/// GitHub keeps deliveries for three days.
const KEPT: Duration = Duration::from_secs(3 * 24 * 3600);
/// Longer than any plan or apply that may still use a seed that a newer one replaced.
const UNUSED_SEED: Duration = Duration::from_secs(24 * 3600);
/// How often one delivery is asked for again.
const TRIES: usize = 3;

pub async fn sweep(worker: &Worker) -> anyhow::Result<()> {
    if let Err(error) = redeliver(worker).await {
        tracing::warn!(error = %error, "failed deliveries could not be asked for");
    }
    if let Err(error) = compare_heads(worker).await {
        tracing::warn!(error = %error, "open pull requests could not be compared");
    }
    worker.store().prune(ago(worker, KEPT), ago(worker, 10 * KEPT)).await?;
    crate::tool::seed::sweep(worker.site(), UNUSED_SEED)?;
    remove_old_runs(worker).await
}

fn ago(worker: &Worker, duration: Duration) -> Timestamp {
    Timestamp(worker.now().0 - i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// Those without an answer, with a 5xx or a 401, three times each.
async fn redeliver(worker: &Worker) -> anyhow::Result<()> {
    let since = ago(worker, KEPT);
    let mut tries: BTreeMap<String, (usize, bool, i64)> = BTreeMap::new();
    // Newest first: the first word about a delivery is its last.
    for seen in worker.github().deliveries_since(since).await? {
        let failed = seen.status == 0 || seen.status >= 500 || seen.status == 401;
        let entry = tries.entry(seen.guid).or_insert((0, failed, seen.id));
        entry.0 += 1;
    }
    for (guid, (count, failed, id)) in tries {
        if failed && count <= TRIES {
            tracing::info!(delivery.id = %guid, "asking GitHub to deliver again");
            match worker.github().redeliver(id).await {
                // One that GitHub does not have any more is no reason to leave out the others.
                Err(
                    error @ (GithubError::NotFound { .. }
                    | GithubError::Refused { .. }
                    | GithubError::Unexpected { .. }),
                ) => {
                    tracing::warn!(delivery.id = %guid, detail = %error.detail(), "GitHub does not deliver it again");
                }
                asked => asked?,
            }
        }
    }
    Ok(())
}

/// A webhook that GitHub never sent leaves no delivery: what is open there is compared with what is known here.
async fn compare_heads(worker: &Worker) -> anyhow::Result<()> {
    for row in worker.store().repos().await? {
        if !worker.parts().allow.allows(&row.name) {
            continue;
        }
        let repository = match worker.repository(row.id).await {
            Ok(repository) => repository,
            Err(error) => {
                tracing::debug!(repo.id = %row.id, detail = %error.detail(), "left out of the sweep");
                continue;
            }
        };
        let open = match repository.github.open_pulls(&repository.name).await {
            Ok(open) => open,
            Err(error) => {
                tracing::debug!(repo.id = %row.id, detail = %error.detail(), "left out of the sweep");
                continue;
            }
        };
        let known = worker.store().open_pulls(row.id).await?;
        let mut known: BTreeSet<PullId> = known.into_iter().map(|open| open.pull).collect();
        for pull in open {
            let id = PullId {
                repo: row.id,
                number: pull.number,
            };
            known.remove(&id);
            let state = worker.store().peek(id).await?;
            let same = state.pull.now.as_ref().is_some_and(|now| {
                now.head.sha == pull.head.sha && now.base_ref == pull.base_ref && now.state == PullState::Open
            });
            if !same {
                worker.store().post(id, &Event::Look, worker.now()).await?;
            }
        }
        // Whatever is open here and not there was closed without a word.
        for id in known {
            worker.store().post(id, &Event::Look, worker.now()).await?;
        }
    }
    Ok(())
}

/// Folders of runs that the store does not know any more.
async fn remove_old_runs(worker: &Worker) -> anyhow::Result<()> {
    worker.artifacts().sweep(worker.store()).await?;
    let root = worker.parts().data.join("runs");
    let mut entries = match tokio::fs::read_dir(&root).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let run = name
            .to_str()
            .and_then(|name| uuid::Uuid::parse_str(name).ok())
            .map(RunId);
        match run {
            Some(run) if !worker.store().knows_run(run).await? => {
                crate::git::remove::remove(&place::run_dir(worker, run)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}
