//! Owns `/metrics`: numbers without the name of any repository.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::http::Doors;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct What {
    what: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

/// Everything is asked for at the scrape: nothing can go stale.
pub async fn metrics(State(doors): State<Doors>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("lockkeeper");
    let events: Family<What, Counter> = Family::default();
    for (what, count) in doors.worker.counted() {
        events.get_or_create(&What { what: what.to_owned() }).inc_by(count);
    }
    registry.register("events", "What happened since the start", events);

    let requests: Family<Route, Counter> = Family::default();
    for ((method, route), count) in doors.worker.github().requests() {
        requests
            .get_or_create(&Route {
                method,
                route: route.to_owned(),
            })
            .inc_by(count);
    }
    registry.register("github_requests", "Requests sent to GitHub, retries included", requests);

    let programs: Family<What, Counter> = Family::default();
    for (step, count) in doors.worker.site().started() {
        programs.get_or_create(&What { what: step.to_owned() }).inc_by(count);
    }
    registry.register(
        "tool_programs",
        "Steps of terraform and tofu that were started",
        programs,
    );

    let queues: Family<What, Gauge> = Family::default();
    match doors.worker.store().quiet(doors.worker.now()).await {
        Ok(quiet) => {
            let remaining = quiet.remaining;
            for (what, count) in [
                ("deliveries_waiting", remaining.deliveries_waiting),
                ("mail_unread", remaining.mail_unread),
                ("jobs_running", remaining.jobs_running),
                ("tool_jobs_due", remaining.tool_jobs_due),
                ("light_jobs_due", remaining.light_jobs_due),
                ("jobs_later", remaining.jobs_later),
                ("surfaces_unpublished", remaining.surfaces_unpublished),
                ("locks_held", remaining.locks_held),
                ("set_aside", remaining.set_aside),
            ] {
                queues.get_or_create(&What { what: what.to_owned() }).set(count);
            }
        }
        Err(error) => tracing::error!(error = ?error, "the queues could not be counted"),
    }
    registry.register("queue", "What waits, runs or is held now", queues);

    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
