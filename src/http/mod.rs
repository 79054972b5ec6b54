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
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::http::body::Room;
use crate::worker::Worker;

pub mod body;
pub mod webhook;
pub mod health;
pub mod metrics;
pub mod page;

/// What the doors share.
#[derive(Clone)]
pub struct Doors {
    pub worker: Worker,
    pub webhook_secret: Arc<SecretString>,
    room: Arc<Room>,
}

impl Doors {
    pub fn new(worker: Worker, webhook_secret: Arc<SecretString>) -> Self {
        Doors {
            worker,
            webhook_secret,
            room: Arc::default(),
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
