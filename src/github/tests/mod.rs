//! Owns the scripted stand-in for GitHub that this folder's tests speak to, on real HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::domain::ids::{InstallationId, RepoName, Timestamp};
use crate::github::wire::Pace;
use crate::github::{App, Clock, Installation, Settings};

mod calls;
mod exchange;
mod tokens;

/// Made for these tests; opens nothing.
const KEY: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEAmch8HymW6BZIpSh2P0AXX5lu/j9o0D8tTWIaM6sT6q9yHk/F
OPveKV9wd91KFQ7z3/4fBKdJudk7j2jSANIO7XAkzbKLlSLZ2Qou5Ba5B849N7SE
d6uKLMWcS5EsFskLT9MmEWVKRaI1oCtg0+BFwQCKnR6JJ45lLiqYDrf73cSmG7C/
oVXSHU1BqLSWiaetuEIt2RRBwWLEhjKyeTK4f081jul+Y1+eviFWgkYqmO1vvaRq
rGpt2yD8s3/TKg4SqKYvO4xia738Ct3g5+bxpNZmHuBQShvb9UbJNyfLA9wTsu8O
LFgV40q8TMo7SAFwo7CdfnkhJybHLxbe5HWEJwIDAQABAoIBACrTyjl1gCjfd9jD
FXdU9o1xshcNerewOIIaBZkJFnFf7gSiC5dskXjtMum2z5hgwytI3sORgTdIV81/
ECkZVv3qIt3EURo2C/xlWRy9dUdGuQbH97JKLB9+4yGqauBnmgZfk/T5Q/9zhsK2
Ae/PwC1ZZMEQDXteLTB3vUQwGe0vFWrmH+6RM2tuElGU4Q0+4cKOAVmjUCLgQxP8
ZyJeHv+5PbzY6a/iHUqoj+RfIWZf3xOxYxySfZ3pA/ubOzvc93xTJnREHQGFClyV
7r7sKRr5YVx09DWf9nUAuhjgPZ+UD5RwlZCcfhxM857a5oKKH/bZ0kqT0j2Ck3dX
h1kz3P0CgYEA2RtO3K3gFfJXhE9M5aSjsYiCas0LKd/6mqoxJFYW6fF+rhk7l9Pr
nROute0GzhAS0l8uzZtJvN+7tuG6x3wk2zSF7zwpWnPYvOVmCfZUDYuR5yE2VGW9
J9fYOUdn36axGYc7zw6v+T0tEOWK4lblSAVaDxAYPeusTbcGsZEksJUCgYEAtVUb
eFsa34pIS20J/J7bcv1c8sa8j+970J720QKu8au8dxNm/Y8rHBLKggx9xkHgmse9
rRXfyEDA5pKOtAOUmvydC2oVYpGqILGQrOqBgU2Ovw0PdiTKQXNuZH0hJjpEm6QM
0W2JDDS9qwNmvfWuP7vt8lduEV31HswoWT7SBssCgYEAxFKUYqv8yfvGNgf7smHK
AJ0/ydI2+RvoIvopzADpYY2Wj1qT7/ybwAPvZeW71JTmYEPgL97vtBLhTUQcQY26
SlrZjndpsbi2UkJinjmY0lLWkhoPZgxGG4Rsq4ctoCm9Vida5ycR7CDs4q2fhIMt
fI4SXTKhqUS3H+OU8vccJW0CgYBUW/C4sGGzJ2j0thiUTu828soAJBbrO3W1m46l
tALhaYz3NK6QPb/HgrJ1iAwnZNRyDYSfdnKyffWADySWeKf05prFCahDQBMOvKza
1QpEtmk3VoMf6oOxqVrtIw199FOguNRBxhyg8hRe7+knbJmRCwPq32PUboqvtjj7
M++PuwKBgQCZvpiKP4+dv7WVHmjT5qtstmiuR2X30MGhLZWOJyZb9XBYfx3NYmcc
DqrlNntHSubIGmTpoL8bctU3qKt75CEkh2fF42VhKW6SoJNQgLPQ0rGzZzyAmWCI
NARIfmtCyhFFkxO5e9ZFX0SV6S1U27mUHhChBJ0JN/BPDNLJA079Bw==
-----END RSA PRIVATE KEY-----
";

/// 2023-11-14T22:13:20Z
const NOW: i64 = 1_700_000_000_000;
const SHA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// One scripted answer.
enum Answer {
    Say {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Takes the request and never answers.
    Hang,
}

fn say(status: u16, body: Value) -> Answer {
    let headers = vec![("content-type", "application/json".to_owned())];
    let body = body.to_string();
    Answer::Say { status, headers, body }
}

fn html(status: u16) -> Answer {
    let headers = vec![("content-type", "text/html".to_owned())];
    let body = "<!DOCTYPE html>\n<title>Unicorn!</title>".to_owned();
    Answer::Say { status, headers, body }
}

impl Answer {
    fn header(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Answer::Say {
                status,
                mut headers,
                body,
            } => {
                headers.push((name, value.into()));
                Answer::Say { status, headers, body }
            }
            Answer::Hang => Answer::Hang,
        }
    }
}

/// One request as it came.
#[derive(Clone)]
struct Seen {
    /// `GET /path?query`
    line: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

#[derive(Default)]
struct Inner {
    /// Answers by `GET /path` (without query), in order; asked once too often, a 400 that says so.
    answers: BTreeMap<String, VecDeque<Answer>>,
    seen: Vec<Seen>,
    tokens: u32,
}

/// A scripted GitHub on a port of its own, and a clock.
#[derive(Clone)]
struct Script {
    inner: Arc<Mutex<Inner>>,
    now: Arc<AtomicI64>,
    url: String,
}

impl Script {
    async fn start() -> Script {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script = Script {
            inner: Arc::default(),
            now: Arc::new(AtomicI64::new(NOW)),
            url: format!("http://{address}"),
        };
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        script
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics with it")
    }

    fn on(&self, line: &str, answer: Answer) -> &Self {
        self.inner()
            .answers
            .entry(line.to_owned())
            .or_default()
            .push_back(answer);
        self
    }

    fn wait(&self, duration: Duration) {
        let duration = i64::try_from(duration.as_millis()).expect("a short wait");
        self.now.fetch_add(duration, Ordering::SeqCst);
    }

    fn settings(&self) -> Settings {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::SeqCst)));
        Settings {
            api_url: self.url.clone(),
            app_id: 42,
            private_key: SecretString::from(KEY),
            pace: Pace {
                deadline: Duration::from_millis(500),
                tries: 3,
                pause: Duration::from_millis(1),
                patience: Duration::from_millis(100),
            },
            clock,
        }
    }

    fn app(&self) -> App {
        App::new(self.settings()).expect("an app")
    }

    fn installation(&self) -> Installation {
        self.app().installation(InstallationId(7))
    }

    fn seen(&self) -> Vec<Seen> {
        self.inner().seen.clone()
    }

    /// What was asked, without the tokens.
    fn lines(&self) -> Vec<String> {
        let seen = self.seen().into_iter().map(|seen| seen.line);
        seen.filter(|line| !line.ends_with("/access_tokens")).collect()
    }

    fn tokens(&self) -> u32 {
        self.inner().tokens
    }
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let path = format!("{} {}", parts.method, parts.uri.path());
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = value.to_str().expect("text").to_owned();
        (name.to_string(), value)
    });
    let seen = Seen {
        line: format!("{path}{query}"),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let answer = {
        let mut inner = script.inner();
        inner.seen.push(seen);
        let scripted = inner.answers.get_mut(&path).and_then(VecDeque::pop_front);
        match scripted {
            Some(answer) => answer,
            None if path.ends_with("/access_tokens") => {
                inner.tokens += 1;
                let ends = jiff::Timestamp::from_millisecond(script.now.load(Ordering::SeqCst) + 3_600_000);
                let ends = ends.expect("a time").to_string();
                say(
                    201,
                    json!({ "token": format!("t{}", inner.tokens), "expires_at": ends }),
                )
            }
            None => say(400, json!({ "message": format!("unscripted: {path}") })),
        }
    };
    let Answer::Say { status, headers, body } = answer else {
        return std::future::pending().await;
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).expect("a response")
}

fn repo() -> RepoName {
    RepoName::parse("acme/infra").expect("a name")
}
