//! Owns the webhook's door: verify over the raw bytes, store under the delivery's id, answer. The work comes later.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::ids::RepoName;
use crate::github::webhook::{DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, verify};
use crate::http::Doors;
use crate::http::body::Unread;
use crate::store::delivery::{Delivery, Fate, Received};

type Answer = (StatusCode, Json<Value>);

/// The little of a payload that decides whether it is anybody's whom we work for.
#[derive(Deserialize)]
struct Envelope {
    repository: Option<Named>,
    installation: Option<Installed>,
    organization: Option<Account>,
}

#[derive(Deserialize)]
struct Named {
    full_name: String,
}

#[derive(Deserialize)]
struct Installed {
    account: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    login: Option<String>,
}

/// How long a body may take; GitHub itself gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn receive(State(doors): State<Doors>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        doors.worker.count("deliveries_refused");
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "set the webhook's content type to application/json",
        );
    }
    let body = match read(&doors, &head.headers, body).await {
        Ok(body) => body,
        Err((status, why)) => {
            doors.worker.count("deliveries_refused");
            return refuse(status, why);
        }
    };
    if let Err(why) = verify(&doors.webhook_secret, &body, text(SIGNATURE_HEADER)) {
        doors.worker.count("deliveries_unsigned");
        return refuse(StatusCode::UNAUTHORIZED, &why.to_string());
    }
    let (Some(id), Some(event)) = (text(DELIVERY_HEADER), text(EVENT_HEADER)) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "x-github-delivery and x-github-event are missing",
        );
    };
    if id.is_empty() || id.len() > 100 || event.len() > 100 {
        return refuse(
            StatusCode::BAD_REQUEST,
            "x-github-delivery or x-github-event is not what GitHub sends",
        );
    }
    let fate = fate(&doors, &body);
    let delivery = Delivery {
        id: id.to_owned(),
        event: event.to_owned(),
        body,
        received_at: doors.worker.now(),
    };
    let received = doors.worker.store().receive(delivery, fate.clone()).await;
    doors.worker.at("webhook.stored");
    match received {
        Ok(received) => answer(&doors, received, &fate),
        Err(error) => {
            tracing::error!(error = ?error, delivery.id = id, "a delivery could not be stored; GitHub keeps it");
            refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "the delivery could not be stored; it will be asked for again",
            )
        }
    }
}

/// The raw body.
async fn read(doors: &Doors, headers: &HeaderMap, body: Body) -> Result<Bytes, (StatusCode, &'static str)> {
    match tokio::time::timeout(PATIENCE, doors.room.read(headers, body)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unread::TooLarge)) => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than the 25 MiB that GitHub sends at most",
        )),
        Ok(Err(Unread::Broken)) => Err((StatusCode::BAD_REQUEST, "the body did not arrive whole")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn answer(doors: &Doors, received: Received, fate: &Fate) -> Answer {
    let word = match received {
        Received::New => "new",
        Received::Reopened => "reopened",
        Received::Repeated => "repeated",
    };
    match fate {
        Fate::Fault(why) => {
            doors.worker.count("deliveries_faulty");
            refuse(StatusCode::BAD_REQUEST, why)
        }
        Fate::Refused(_) => {
            doors.worker.count("deliveries_refused");
            (StatusCode::ACCEPTED, Json(json!({ "delivery": word, "refused": true })))
        }
        Fate::Work => {
            doors.worker.count("deliveries_accepted");
            (StatusCode::ACCEPTED, Json(json!({ "delivery": word })))
        }
    }
}

fn refuse(status: StatusCode, why: &str) -> Answer {
    (status, Json(json!({ "error": why })))
}

/// Judged before anything is stored for work: a public App can be installed by anybody.
fn fate(doors: &Doors, body: &[u8]) -> Fate {
    let envelope: Envelope = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        // Another shape than we know may still be JSON; the first odd value ended the reading before the end.
        Err(error) if error.is_data() && is_json(body) => Envelope {
            repository: None,
            installation: None,
            organization: None,
        },
        Err(error) => return Fate::Fault(format!("the body is not JSON: {error}")),
    };
    let allow = &doors.worker.parts().allow;
    if let Some(named) = &envelope.repository {
        return match RepoName::parse(&named.full_name) {
            Ok(name) if allow.allows(&name) => Fate::Work,
            Ok(_) | Err(_) => Fate::Refused("the repository is not in LOCKKEEPER_ALLOW".to_owned()),
        };
    }
    let account = envelope
        .installation
        .and_then(|installed| installed.account)
        .or(envelope.organization);
    match account.and_then(|account| account.login) {
        Some(owner) if !allow.mentions(&owner) => Fate::Refused("the account is not in LOCKKEEPER_ALLOW".to_owned()),
        Some(_) | None => Fate::Work,
    }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}
