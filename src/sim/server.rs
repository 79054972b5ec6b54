//! Owns the door: which request is for the API, for git or for the page, what it is answered, and the log of it all.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::auth;
use super::call::{Actor, Answer, Answered, Call, Refused};
use super::faults::{Faults, Trouble};
use super::smart_http;
use super::state::World;
use super::wire::Scissors;

/// One request and its answer, for counting and for the contract test.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub at: Timestamp,
    pub method: String,
    /// Without `/api/v3` and without the query.
    pub path: String,
    pub query: String,
    /// nobody, app, installation, user.
    pub auth: &'static str,
    pub status: u16,
    pub request: Arc<Value>,
    pub response: Arc<Value>,
    pub request_headers: Vec<(String, String)>,
    /// Set when a scripted fault answered.
    pub fault: bool,
    /// Whether the simulator knows this endpoint.
    pub routed: bool,
    pub door: Door,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    Api,
    Graphql,
    Git,
    Page,
}

/// What every request needs; a clone is the same one.
#[derive(Clone)]
pub struct Hub {
    pub world: Arc<tokio::sync::Mutex<World>>,
    pub faults: Faults,
    pub log: Arc<Mutex<Vec<Exchange>>>,
}

impl Hub {
    pub fn router(self) -> Router {
        Router::new().fallback(serve).with_state(self)
    }

    pub fn record(&self, exchange: Exchange) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }
}

/// First segments that are the API's when nothing else says so.
const API: [&str; 12] = [
    "app",
    "installation",
    "repos",
    "repositories",
    "orgs",
    "user",
    "users",
    "rate_limit",
    "meta",
    "graphql",
    "search",
    "zen",
];

async fn serve(
    State(hub): State<Hub>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        scissors.cut();
        return Response::new(Body::empty());
    };
    let raw = parts.uri.path();
    let segments: Vec<String> = raw.split('/').filter(|s| !s.is_empty()).map(decode).collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = parts.uri.query().unwrap_or_default();
    let at = |skip: usize| segments[skip..].to_vec();
    let incoming = |segments: Vec<String>| Incoming {
        method: parts.method.as_str().to_owned(),
        segments,
        query: query.to_owned(),
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    match &names[..] {
        ["api", "v3", ..] => api(&hub, &scissors, incoming(at(2))).await,
        ["api", "graphql"] => api(&hub, &scissors, incoming(at(1))).await,
        [first, ..] if API.contains(first) => api(&hub, &scissors, incoming(at(0))).await,
        [owner, name, ..] if is_git(&names) => {
            let name = name.trim_end_matches(".git");
            let service: String = names[2..].iter().map(|s| format!("/{s}")).collect();
            let request = smart_http::Request {
                method: parts.method.as_str(),
                owner,
                name,
                service: &service,
                query,
                headers: &parts.headers,
                body: body.clone(),
            };
            git(&hub, &scissors, request, raw).await
        }
        _ => super::page::serve(&hub, parts.method.as_str(), &names, query, &body).await,
    }
}

fn is_git(names: &[&str]) -> bool {
    matches!(
        names,
        [_, _, "info", "refs"] | [_, _, "git-upload-pack" | "git-receive-pack"]
    ) || names.get(1).is_some_and(|name| name.ends_with(".git"))
}

fn decode(segment: &str) -> String {
    let mut bytes = segment.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let pair = (byte == b'%').then(|| bytes.clone().take(2).collect::<Vec<u8>>());
        let value = pair.and_then(|p| u8::from_str_radix(std::str::from_utf8(&p).ok()?, 16).ok());
        match value {
            Some(value) => {
                out.push(value);
                bytes.nth(1);
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn git(hub: &Hub, scissors: &Scissors, request: smart_http::Request<'_>, raw: &str) -> Response<Body> {
    let method = request.method.to_owned();
    let query = request.query.to_owned();
    let trouble = hub.faults.take(&method, raw);
    let known = request.headers.contains_key("authorization");
    let answer = match &trouble {
        Some(Trouble::Delay(time)) => {
            tokio::time::sleep(*time).await;
            smart_http::serve(&hub.world, request).await
        }
        Some(Trouble::Drop | Trouble::DropAfter) => {
            scissors.cut();
            Response::new(Body::empty())
        }
        Some(Trouble::Status(status) | Trouble::Html(status)) => {
            let mut answer = Response::new(Body::from("<html>Unicorn!</html>"));
            *answer.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            answer
        }
        Some(_) | None => smart_http::serve(&hub.world, request).await,
    };
    let now = hub.world.lock().await.now();
    hub.record(Exchange {
        at: now,
        method,
        path: raw.to_owned(),
        query,
        auth: if known { "git" } else { "nobody" },
        status: answer.status().as_u16(),
        request: Arc::default(),
        response: Arc::default(),
        request_headers: Vec::new(),
        fault: trouble.is_some(),
        routed: true,
        door: Door::Git,
    });
    answer
}

struct Incoming {
    method: String,
    segments: Vec<String>,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn api(hub: &Hub, scissors: &Scissors, incoming: Incoming) -> Response<Body> {
    let path = format!("/{}", incoming.segments.join("/"));
    let trouble = hub.faults.take(&incoming.method, &path);
    if let Some(Trouble::Delay(time)) = &trouble {
        tokio::time::sleep(*time).await;
    }
    let done = !matches!(
        trouble,
        Some(
            Trouble::Status(_)
                | Trouble::Html(_)
                | Trouble::SecondaryLimit { .. }
                | Trouble::TooMany { .. }
                | Trouble::PrimaryLimit { .. }
                | Trouble::Drop
        )
    );
    let request: Result<Value, _> = if incoming.body.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(&incoming.body)
    };
    let mut world = hub.world.lock().await;
    let actor = auth::identify(&world, &incoming.headers);
    let mut call = Call {
        method: incoming.method,
        path: path.clone(),
        segments: incoming.segments,
        query: url::form_urlencoded::parse(incoming.query.as_bytes())
            .into_owned()
            .collect(),
        headers: incoming.headers,
        body: request.as_ref().cloned().unwrap_or(Value::Null),
        actor: actor.as_ref().cloned().unwrap_or(Actor::Nobody),
    };
    let door = if call.segments.first().is_some_and(|s| s == "graphql") {
        Door::Graphql
    } else {
        Door::Api
    };
    let mut routed = true;
    let limit = rate(&mut world, &call.actor);
    let answered: Answered = match (actor, request) {
        (Err(refused), _) => Err(refused),
        (_, Err(_)) => Err(Refused::new(400, "Problems parsing JSON")),
        _ if !done => Err(Refused::new(500, "scripted")),
        _ if limit.remaining == 0 && path != "/rate_limit" => Err(Refused::new(
            403,
            format!("API rate limit exceeded for {}.", call.actor.name()),
        )),
        _ => match route(&mut world, &mut call).await {
            Some(answered) => answered,
            None => {
                routed = false;
                Err(Refused::new(
                    404,
                    format!("Not Found: the simulator does not know {} {path}", call.method),
                ))
            }
        },
    };
    let now = world.now();
    drop(world);
    let mut answer = answered.unwrap_or_else(|refused| Answer {
        status: refused.status,
        body: refused.body(),
        headers: Vec::new(),
    });
    let mut html = None;
    trouble_in(trouble.as_ref(), scissors, now, &mut answer, &mut html);
    let exchange = Exchange {
        at: now,
        method: call.method.clone(),
        path,
        query: incoming.query,
        auth: call.actor.name(),
        status: answer.status,
        request: Arc::new(call.body.clone()),
        response: Arc::new(answer.body.clone()),
        request_headers: shown_headers(&call.headers),
        fault: trouble.is_some(),
        routed,
        door,
    };
    let half = matches!(trouble, Some(Trouble::HalfBody));
    let response = respond(&call, answer, &limit, html, half);
    hub.record(Exchange {
        status: response.status().as_u16(),
        ..exchange
    });
    response
}

/// Headers without what authorises.
fn shown_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |v: &HeaderValue| v.to_str().unwrap_or_default().to_owned();
    headers
        .iter()
        .filter(|(name, _)| *name != "authorization")
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

fn trouble_in(
    trouble: Option<&Trouble>,
    scissors: &Scissors,
    now: Timestamp,
    answer: &mut Answer,
    html: &mut Option<String>,
) {
    let refuse = |answer: &mut Answer, status: u16, message: &str| {
        *answer = Answer {
            status,
            body: Refused::new(status, message).body(),
            headers: Vec::new(),
        };
    };
    match trouble {
        None | Some(Trouble::Delay(_) | Trouble::HalfBody) => {}
        Some(Trouble::Status(status)) => refuse(answer, *status, "Server Error"),
        Some(Trouble::Html(status)) => {
            refuse(answer, *status, "html");
            *html = Some("<!DOCTYPE html><html><head><title>Unicorn!</title></head><body>We had issues producing the response to your request.</body></html>".into());
        }
        Some(Trouble::SecondaryLimit { retry_after }) => {
            refuse(
                answer,
                403,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            );
            answer.headers.push(("retry-after", retry_after.to_string()));
        }
        Some(Trouble::TooMany { retry_after }) => {
            refuse(
                answer,
                429,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            );
            answer.headers.push(("retry-after", retry_after.to_string()));
        }
        Some(Trouble::PrimaryLimit { reset_in }) => {
            refuse(answer, 403, "API rate limit exceeded for installation.");
            let reset = now + SignedDuration::from_secs(i64::try_from(*reset_in).unwrap_or(3600));
            answer.headers.push(("x-ratelimit-remaining", "0".into()));
            answer
                .headers
                .push(("x-ratelimit-reset", reset.as_second().to_string()));
        }
        Some(Trouble::Drop | Trouble::DropAfter) => scissors.cut(),
    }
}

/// What is left of the hour.
struct Limit {
    limit: u64,
    remaining: u64,
    used: u64,
    reset: i64,
}

fn rate(world: &mut World, actor: &Actor) -> Limit {
    let (key, limit) = match actor {
        Actor::Nobody => ("nobody".to_owned(), world.rate_limit),
        Actor::App(app) => (format!("app {app}"), world.rate_limit),
        Actor::Installation { installation, .. } => (format!("installation {installation}"), world.rate_limit),
        Actor::User(login) => (format!("user {login}"), world.rate_limit),
    };
    let now = world.now();
    let hour = SignedDuration::from_hours(1);
    let entry = world.used.entry(key).or_insert((now, 0));
    if now.duration_since(entry.0) >= hour {
        *entry = (now, 0);
    }
    let remaining = limit.saturating_sub(entry.1);
    entry.1 += 1;
    Limit {
        limit,
        remaining,
        used: entry.1.min(limit),
        reset: (entry.0 + hour).as_second(),
    }
}

fn respond(call: &Call, answer: Answer, limit: &Limit, html: Option<String>, half: bool) -> Response<Body> {
    let is_html = html.is_some();
    let text = match (html, &answer.body) {
        (Some(html), _) => html,
        (None, Value::Null) if matches!(answer.status, 204 | 304) => String::new(),
        (None, Value::String(text)) => text.clone(),
        (None, body) => body.to_string(),
    };
    let etag = format!("W/\"{}\"", hex::encode(&Sha256::digest(text.as_bytes())[..16]));
    let fresh = call.method == "GET" && answer.status == 200;
    let known = call
        .headers
        .get("if-none-match")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v == etag);
    let mut response = Response::new(match () {
        () if fresh && known => Body::empty(),
        () if half => Body::from(text.chars().take(text.len() / 2).collect::<String>()),
        () => Body::from(text),
    });
    let status = if fresh && known { 304 } else { answer.status };
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(
        "content-type",
        if is_html {
            "text/html; charset=utf-8".into()
        } else {
            "application/json; charset=utf-8".into()
        },
    );
    set("x-github-media-type", "github.v3; format=json".into());
    set("x-github-request-id", uuid::Uuid::now_v7().simple().to_string());
    set("x-ratelimit-limit", limit.limit.to_string());
    set("x-ratelimit-remaining", limit.remaining.saturating_sub(1).to_string());
    set("x-ratelimit-used", limit.used.to_string());
    set("x-ratelimit-reset", limit.reset.to_string());
    set("x-ratelimit-resource", "core".into());
    if fresh {
        set("etag", etag);
    }
    for (name, value) in answer.headers {
        set(name, value);
    }
    response
}

/// Asks each noun in turn whether the path is its own.
async fn route(world: &mut World, call: &mut Call) -> Option<Answered> {
    let (method, path) = call.route();
    match (method, &path[..]) {
        ("GET", ["rate_limit"]) => return Some(rate_limit(world)),
        ("GET", ["meta"]) => {
            return Some(super::call::ok(
                json!({"verifiable_password_authentication": false, "hooks": ["127.0.0.1/32"]}),
            ));
        }
        ("GET", ["zen"]) => return Some(super::call::ok(json!("Keep it logically awesome."))),
        ("POST", ["graphql"]) => return Some(super::graphql::answer(world, call).await),
        _ => {}
    }
    if let Some(answered) = auth::route(world, call) {
        return Some(answered);
    }
    if let Some(answered) = super::webhooks::route(world, call) {
        return Some(answered);
    }
    if let Some(answered) = super::reviews::route(world, call).await {
        return Some(answered);
    }
    if let Some(answered) = super::merge::route(world, call).await {
        return Some(answered);
    }
    if let Some(answered) = super::pulls::doors::route(world, call).await {
        return Some(answered);
    }
    if let Some(answered) = super::reactions::route(world, call) {
        return Some(answered);
    }
    if let Some(answered) = super::comments::route(world, call).await {
        return Some(answered);
    }
    if let Some(answered) = super::checks::doors::route(world, call).await {
        return Some(answered);
    }
    if let Some(answered) = super::statuses::route(world, call).await {
        return Some(answered);
    }
    if let Some(answered) = super::permissions::route(world, call) {
        return Some(answered);
    }
    if let Some(answered) = super::protection::route(world, call) {
        return Some(answered);
    }
    if let Some(answered) = super::activity::route(world, call) {
        return Some(answered);
    }
    super::contents::route(world, call).await
}

fn rate_limit(world: &World) -> Answered {
    let reset = (world.now() + SignedDuration::from_hours(1)).as_second();
    let one = json!({"limit": world.rate_limit, "remaining": world.rate_limit, "reset": reset, "used": 0});
    super::call::ok(json!({"resources": {"core": one, "search": one, "graphql": one}, "rate": one}))
}
