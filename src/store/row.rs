//! Owns the crossing between rows and domain types: what is stored as JSON, and what a column may hold.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::ids::{PullId, PullNumber, RepoId, RunId};
use crate::store::error::StoreError;

/// A document column. `serde_json` writes NUL as `\u0000`, so the text itself never holds one.
pub(super) fn to_doc<T: Serialize>(row: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|why| StoreError::corrupt(row, why))
}

/// Reads a document; `row` names it for the person who has to look.
pub(super) fn from_doc<T: DeserializeOwned>(row: impl FnOnce() -> String, doc: &str) -> Result<T, StoreError> {
    serde_json::from_str(doc).map_err(|why| StoreError::corrupt(row(), why))
}

/// Text for a TEXT column: Postgres refuses NUL there.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "")
}

pub(super) fn pull(repo: i64, number: i64) -> PullId {
    PullId {
        repo: RepoId(repo),
        number: PullNumber(number),
    }
}

pub(super) fn run(row: impl FnOnce() -> String, id: &str) -> Result<RunId, StoreError> {
    let uuid = uuid::Uuid::try_parse(id).map_err(|why| StoreError::corrupt(row(), why))?;
    Ok(RunId(uuid))
}
