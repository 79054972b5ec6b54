//! Owns the doors: the routes of the public listener and of the operator's.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::worker::Worker;

pub mod webhook;
pub mod health;
pub mod metrics;
pub mod page;

/// GitHub sends at most 25 MiB.
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>
pub const LARGEST_BODY: usize = 25 << 20;

/// All bodies that are being read at a time, in KiB. A usual delivery has 20.
const ROOM: usize = 256 << 10;

/// What the doors share.
#[derive(Clone)]
pub struct Doors {
    pub worker: Worker,
    pub webhook_secret: Arc<SecretString>,
    /// One permit for each KiB of a webhook's body.
    room: Arc<Semaphore>,
}

impl Doors {
    pub fn new(worker: Worker, webhook_secret: Arc<SecretString>) -> Self {
        Doors {
            worker,
            webhook_secret,
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }
}

/// What the world may reach.
pub fn public(doors: Doors) -> Router {
    Router::new()
        .route("/webhook", post(webhook::receive))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/runs/{repo}/{pull}/{run}/{stack}", get(page::stack))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_secs(60),
        ))
        .layer(CatchPanicLayer::custom(broken))
        .with_state(doors)
}

/// What the operator may reach: it names no repository, and has a listener of its own.
pub fn operator(doors: Doors) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/quiet", get(health::quiet))
        .route("/healthz", get(health::alive))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(broken))
        .with_state(doors)
}

async fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is nothing here")
}

async fn wrong_method() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
}

/// The panic's own words stay in the log.
fn broken(_: Box<dyn Any + Send>) -> Response {
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "this is a fault of the server; its log says more",
    )
}

fn refusal(status: StatusCode, why: &str) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(json!({ "error": why }))).into_response()
}
