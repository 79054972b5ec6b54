//! Owns the questions of load balancers and operators: are you there, can you work, are you at rest.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Doors;

/// The process answers.
pub async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The database answers too.
pub async fn ready(State(doors): State<Doors>) -> (StatusCode, Json<Value>) {
    match doors.worker.store().answers().await {
        Ok(()) => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Err(error) => {
            tracing::error!(error = ?error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Json(json!({ "status": "the database does not answer" })),
            )
        }
    }
}

/// How long `/quiet` may wait.
#[derive(Deserialize)]
pub struct Patience {
    /// Seconds; 0: answer at once.
    wait: Option<u64>,
}

/// The longest a call may wait.
const LONGEST: Duration = Duration::from_secs(600);

/// A long poll: answers 200 when no mailbox row is unread, no job is due or running and every surface is published;
/// 202 when the patience is over before that.
pub async fn quiet(
    State(doors): State<Doors>,
    patience: Result<Query<Patience>, QueryRejection>,
) -> (StatusCode, Json<Value>) {
    let Ok(Query(patience)) = patience else {
        let problem = json!({ "error": "`wait` is a number of seconds, as in /quiet?wait=30" });
        return (StatusCode::BAD_REQUEST, Json(problem));
    };
    let store = doors.worker.store();
    let until = tokio::time::Instant::now() + Duration::from_secs(patience.wait.unwrap_or(0)).min(LONGEST);
    let mut woken = store.woken();
    loop {
        let quiet = match store.quiet(doors.worker.now()).await {
            Ok(quiet) => quiet,
            Err(error) => {
                tracing::error!(error = ?error, "the store does not answer");
                return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "quiet": false })));
            }
        };
        let body = Json(json!({
            "quiet": quiet.is_quiet(),
            "next_timer": quiet.next_timer.map(|at| at.0),
            "mail_unread": quiet.remaining.mail_unread,
            "jobs_running": quiet.remaining.jobs_running,
            "jobs_due": quiet.remaining.tool_jobs_due + quiet.remaining.light_jobs_due,
            "surfaces_unpublished": quiet.remaining.surfaces_unpublished,
        }));
        if quiet.is_quiet() {
            return (StatusCode::OK, body);
        }
        tokio::select! {
            () = woken.wait() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = tokio::time::sleep_until(until) => return (StatusCode::ACCEPTED, body),
        }
    }
}
