//! Owns what the App is told: signed deliveries, their list, and sending them again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::{Notify, watch};

use super::call::{Answered, Call, Refused, empty, ok};
use super::shape;
use super::state::{App, World};

/// How long GitHub waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One attempt to tell the App something.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: u64,
    pub guid: String,
    pub event: String,
    pub action: Option<String>,
    pub installation: Option<u64>,
    pub repository: Option<u64>,
    pub payload: Arc<Value>,
    pub redelivery: bool,
    pub delivered: Timestamp,
    /// Seconds.
    pub duration: f64,
    /// 0 while nothing has answered.
    pub status_code: u16,
    pub status: String,
    pub url: String,
    pub request_headers: BTreeMap<String, String>,
    pub response_headers: BTreeMap<String, String>,
    pub response_body: String,
}

/// What may go wrong between GitHub and the App.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mail {
    /// Never sent, and in no list.
    Lost,
    /// Sent twice under one delivery id.
    Twice,
    /// Sent after the next one.
    Later,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Delivery>,
    held: Vec<Delivery>,
    script: Vec<(Option<String>, u32, Mail)>,
    sent: Vec<Delivery>,
    url: Option<String>,
    paused: bool,
}

/// The queue of deliveries; a task sends them one after the other.
#[derive(Clone)]
pub struct Outbox {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<Notify>,
    pending: watch::Sender<usize>,
}

impl Outbox {
    /// Starts the task that sends; it ends with the runtime or when aborted.
    pub fn start(url: Option<String>, secret: String) -> (Outbox, tokio::task::JoinHandle<()>) {
        let queue = Queue {
            url,
            ..Queue::default()
        };
        let outbox = Outbox {
            queue: Arc::new(Mutex::new(queue)),
            wake: Arc::default(),
            pending: watch::Sender::new(0),
        };
        let task = tokio::spawn(outbox.clone().send_all(secret));
        (outbox, task)
    }

    pub fn set_url(&self, url: Option<String>) {
        self.lock().url = url;
    }

    /// Holds deliveries back until told to go on.
    pub fn pause(&self, paused: bool) {
        self.lock().paused = paused;
        self.wake.notify_one();
    }

    pub fn script(&self, event: Option<String>, times: u32, mail: Mail) {
        self.lock().script.push((event, times, mail));
    }

    pub fn sent(&self) -> Vec<Delivery> {
        self.lock().sent.clone()
    }

    /// Waits until everything was sent and answered (or refused).
    pub async fn idle(&self) {
        let mut pending = self.pending.subscribe();
        let _ = pending.wait_for(|n| *n == 0).await;
    }

    /// Puts one delivery into the queue, as the script says.
    pub fn post(&self, delivery: Delivery) {
        let mut queue = self.lock();
        let scripted = queue
            .script
            .iter_mut()
            .find(|(event, times, _)| *times > 0 && event.as_ref().is_none_or(|event| *event == delivery.event));
        let mail = scripted.map(|(_, times, mail)| {
            *times -= 1;
            *mail
        });
        let mut out = Vec::new();
        match mail {
            Some(Mail::Lost) => return,
            Some(Mail::Later) => {
                queue.held.push(delivery);
                return;
            }
            Some(Mail::Twice) => out.extend([delivery.clone(), delivery]),
            None => out.push(delivery),
        }
        out.append(&mut queue.held);
        self.pending.send_modify(|n| *n += out.len());
        queue.waiting.extend(out);
        drop(queue);
        self.wake.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn send_all(self, secret: String) {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .unwrap_or_default();
        loop {
            let (next, url) = {
                let mut queue = self.lock();
                let next = if queue.paused { None } else { queue.waiting.pop_front() };
                (next, queue.url.clone())
            };
            let Some(mut delivery) = next else {
                self.wake.notified().await;
                continue;
            };
            if let Some(url) = url {
                send(&client, &url, &secret, &mut delivery).await;
            }
            self.lock().sent.push(delivery);
            self.pending.send_modify(|n| *n -= 1);
        }
    }
}

async fn send(client: &reqwest::Client, url: &str, secret: &str, delivery: &mut Delivery) {
    let body = delivery.payload.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = BTreeMap::from([
        ("Accept".to_owned(), "*/*".to_owned()),
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("User-Agent".to_owned(), "GitHub-Hookshot/5176b27".to_owned()),
        ("X-GitHub-Delivery".to_owned(), delivery.guid.clone()),
        ("X-GitHub-Event".to_owned(), delivery.event.clone()),
        ("X-GitHub-Hook-ID".to_owned(), "1".to_owned()),
        ("X-GitHub-Hook-Installation-Target-ID".to_owned(), "1".to_owned()),
        (
            "X-GitHub-Hook-Installation-Target-Type".to_owned(),
            "integration".to_owned(),
        ),
        ("X-Hub-Signature-256".to_owned(), signature),
    ]);
    let mut request = client.post(url).body(body);
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    let started = Instant::now();
    let answer = request.send().await;
    delivery.url = url.to_owned();
    delivery.request_headers = headers;
    match answer {
        Ok(answer) => {
            delivery.status_code = answer.status().as_u16();
            let text = |v: &reqwest::header::HeaderValue| v.to_str().unwrap_or_default().to_owned();
            delivery.response_headers = answer.headers().iter().map(|(k, v)| (k.to_string(), text(v))).collect();
            delivery.status = if answer.status().is_success() {
                "OK".into()
            } else {
                "Invalid HTTP Response".into()
            };
            delivery.status = format!(
                "{}{}",
                delivery.status,
                if answer.status().is_success() {
                    String::new()
                } else {
                    format!(": {}", answer.status().as_u16())
                }
            );
            delivery.response_body = answer.text().await.unwrap_or_default();
        }
        Err(error) if error.is_timeout() => delivery.status = "timed out".into(),
        Err(_) => delivery.status = "failed to connect to host".into(),
    }
    delivery.duration = started.elapsed().as_secs_f64();
}

/// What happened, before it is known who hears of it.
pub struct News<'a> {
    pub event: &'a str,
    pub action: Option<&'a str>,
    pub repo: u64,
    pub sender: &'a str,
    /// The fields beside `action`, `repository`, `organization`, `installation` and `sender`.
    pub body: Value,
}

/// Events every App with `checks: write` gets without asking.
const ALWAYS: &[&str] = &[
    "check_suite",
    "check_run",
    "installation",
    "installation_repositories",
    "github_app_authorization",
];

/// Tells the App, if it is installed there and listens.
pub fn tell(world: &mut World, news: News<'_>) {
    let app = world.app.id;
    let Some(installation) = world.installation_for(app, news.repo).filter(|i| i.suspended.is_none()) else {
        return;
    };
    let installation = installation.id;
    if !listens(&world.app, news.event) {
        return;
    }
    let repo = world.repo(news.repo);
    let mut payload = serde_json::Map::new();
    if let Some(action) = news.action {
        payload.insert("action".into(), json!(action));
    }
    if let Value::Object(body) = news.body {
        payload.extend(body);
    }
    payload.insert("repository".into(), shape::repo(world, repo));
    if let Some(organization) = shape::organization(world, &repo.owner) {
        payload.insert("organization".into(), organization);
    }
    payload.insert("sender".into(), shape::user(world, news.sender));
    let node = shape::node_id("Integration", installation);
    payload.insert("installation".into(), json!({"id": installation, "node_id": node}));
    post(
        world,
        news.event,
        news.action,
        Some(news.repo),
        installation,
        Value::Object(payload),
    );
}

fn listens(app: &App, event: &str) -> bool {
    app.events.iter().any(|one| one == event) || ALWAYS.contains(&event)
}

/// A delivery about an installation itself.
pub fn post(
    world: &mut World,
    event: &str,
    action: Option<&str>,
    repo: Option<u64>,
    installation: u64,
    payload: Value,
) {
    let id = world.fresh();
    let delivery = Delivery {
        id,
        guid: uuid::Uuid::now_v7().to_string(),
        event: event.to_owned(),
        action: action.map(str::to_owned),
        installation: Some(installation),
        repository: repo,
        payload: Arc::new(payload),
        redelivery: false,
        delivered: world.now(),
        duration: 0.0,
        status_code: 0,
        status: String::new(),
        url: String::new(),
        request_headers: BTreeMap::new(),
        response_headers: BTreeMap::new(),
        response_body: String::new(),
    };
    world.outbox.post(delivery);
}

/// `/app/hook/…`
pub fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    Some(match (method, &path[..]) {
        ("GET", ["app", "hook", "config"]) => config(world, call),
        ("GET", ["app", "hook", "deliveries"]) => list(world, call),
        ("GET", ["app", "hook", "deliveries", id]) => show(world, call, id),
        ("POST", ["app", "hook", "deliveries", id, "attempts"]) => again(world, call, id),
        _ => return None,
    })
}

fn only_the_app(call: &Call) -> Result<(), Refused> {
    match call.actor {
        super::call::Actor::App(_) => Ok(()),
        _ => Err(Refused::new(401, "A JSON web token could not be decoded")),
    }
}

fn config(world: &World, call: &Call) -> Answered {
    only_the_app(call)?;
    let mut body = json!({"content_type": "json", "insecure_ssl": "0", "secret": "********"});
    if let Some(url) = &world.outbox.lock().url {
        body["url"] = json!(url);
    }
    ok(body)
}

fn item(it: &Delivery) -> Value {
    json!({
        "id": it.id, "guid": it.guid, "delivered_at": shape::time(it.delivered), "redelivery": it.redelivery,
        "duration": it.duration, "status": it.status, "status_code": it.status_code, "event": it.event,
        "action": it.action, "installation_id": it.installation, "repository_id": it.repository, "throttled_at": null,
    })
}

/// Newest first, by cursor.
fn list(world: &World, call: &Call) -> Answered {
    only_the_app(call)?;
    let size = call
        .query("per_page")
        .and_then(|n| n.parse().ok())
        .unwrap_or(30usize)
        .clamp(1, 100);
    let before: u64 = call
        .query("cursor")
        .and_then(|c| c.trim_start_matches('v').parse().ok())
        .unwrap_or(u64::MAX);
    let mut sent = world.outbox.sent();
    sent.sort_by_key(|d| std::cmp::Reverse(d.id));
    let wanted = call.query("status");
    sent.retain(|d| match wanted {
        Some("success") => (200..400).contains(&d.status_code),
        Some("failure") => !(200..400).contains(&d.status_code),
        _ => true,
    });
    let rest: Vec<&Delivery> = sent.iter().filter(|d| d.id < before).collect();
    let page: Vec<Value> = rest.iter().take(size).map(|d| item(d)).collect();
    let mut answer = ok(Value::Array(page))?;
    if rest.len() > size {
        let cursor = rest[size - 1].id;
        let link = format!(
            "<{}/app/hook/deliveries?per_page={size}&cursor=v{cursor}>; rel=\"next\"",
            world.api()
        );
        answer.headers.push(("link", link));
    }
    Ok(answer)
}

fn show(world: &World, call: &Call, id: &str) -> Answered {
    only_the_app(call)?;
    let id = call.number(id)?;
    let sent = world.outbox.sent();
    let found = sent.iter().find(|d| d.id == id).ok_or_else(Refused::not_found)?;
    let mut body = item(found);
    body["url"] = json!(found.url);
    body["request"] = json!({"headers": found.request_headers, "payload": *found.payload});
    body["response"] = json!({"headers": found.response_headers, "payload": found.response_body});
    ok(body)
}

fn again(world: &mut World, call: &Call, id: &str) -> Answered {
    only_the_app(call)?;
    redeliver(world, call.number(id)?)?;
    let mut answer = empty(202)?;
    answer.body = json!({});
    Ok(answer)
}

/// Sends a delivery again under its old guid.
pub fn redeliver(world: &mut World, id: u64) -> Result<(), Refused> {
    let sent = world.outbox.sent();
    let found = sent.iter().find(|d| d.id == id).ok_or_else(Refused::not_found)?.clone();
    let id = world.fresh();
    let now = world.now();
    world.outbox.post(Delivery {
        id,
        redelivery: true,
        delivered: now,
        status_code: 0,
        status: String::new(),
        ..found
    });
    Ok(())
}
