//! Owns what an attempt leaves beside the rows: the plan file, what belongs to it, texts and outputs, encrypted.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{Attempt, RepoPath, RunId, StackName, StackRunId};
use crate::domain::plan::change::Plan;
use crate::git::made::Made;
use crate::store::artifact::{ArtifactError, ArtifactKind, ArtifactOf};
use crate::tool::output::{Output, PlannedOutput};
use crate::worker::Worker;

/// What belongs to a plan file: needed to compare it, to apply it and to plan what reads its outputs.
#[derive(Serialize, Deserialize)]
pub struct Beside {
    pub typed: Plan,
    /// The root outputs as they were applied last; `None`: its apply has to be waited for.
    pub prior: Option<BTreeMap<String, Output>>,
    /// The root outputs as this plan would leave them: what a stack downstream is planned with.
    #[serde(default)]
    pub outputs: BTreeMap<String, PlannedOutput>,
    /// Files that the plan made or changed in the working tree.
    pub made: Made,
    /// The same of what terragrunt put together.
    #[serde(default)]
    pub made_by_unit: Made,
    /// What the units that this one needs put out when it was planned.
    #[serde(default)]
    pub held: BTreeMap<RepoPath, BTreeMap<String, Output>>,
    /// What must be hidden in the apply's output too.
    pub hidden: Vec<u8>,
}

/// Whose artifact.
pub fn of(run: RunId, stack: &StackName, attempt: Attempt) -> ArtifactOf {
    ArtifactOf {
        at: StackRunId {
            run,
            stack: stack.clone(),
        },
        attempt,
    }
}

pub async fn keep(worker: &Worker, kind: ArtifactKind, of: &ArtifactOf, bytes: Vec<u8>) -> anyhow::Result<()> {
    worker.artifacts().put(kind, of, bytes).await?;
    Ok(())
}

pub async fn put(worker: &Worker, kind: ArtifactKind, of: &ArtifactOf, value: &impl Serialize) -> anyhow::Result<()> {
    keep(worker, kind, of, serde_json::to_vec(value)?).await
}

pub async fn get<T: DeserializeOwned>(
    worker: &Worker,
    kind: ArtifactKind,
    of: &ArtifactOf,
) -> anyhow::Result<Option<T>> {
    match bytes(worker, kind, of).await? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

pub async fn text(worker: &Worker, kind: ArtifactKind, of: &ArtifactOf) -> anyhow::Result<Option<String>> {
    let bytes = bytes(worker, kind, of).await?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// `None` where it was never written or is swept.
pub async fn bytes(worker: &Worker, kind: ArtifactKind, of: &ArtifactOf) -> anyhow::Result<Option<Vec<u8>>> {
    match worker.artifacts().get(kind, of).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ArtifactError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
