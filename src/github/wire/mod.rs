//! Owns the exchange with GitHub: one request and its answer, with deadline, retries, limits and redirects.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use octocrab::{OctoBody, Octocrab};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use crate::domain::ids::{InstallationId, Timestamp};
use crate::github::error::GithubError;
use crate::github::{BadSetting, Clock};

use call::{Api, Call, Remember, Repeat};
use classify::{Refusal, classify};
use memory::Memory;

pub mod call;
pub mod classify;
mod graphql;
pub mod memory;

/// A list with more pages than this is not read to its end.
pub const MOST_PAGES: u32 = 100;
/// An answer with more bytes than this is not read.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
/// GitHub redirects renamed repositories once; more is a loop.
const MOST_REDIRECTS: u32 = 3;

/// How patient we are with GitHub.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For one try, from connecting to the last byte.
    pub deadline: Duration,
    /// Tries of a call that may repeat, the first included.
    pub tries: u32,
    /// Before the second try; doubled each time.
    pub pause: Duration,
    /// The longest wait we sit out ourselves; a longer one is `RateLimited` at once.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            deadline: Duration::from_secs(30),
            tries: 3,
            pause: Duration::from_millis(500),
            patience: Duration::from_secs(5),
        }
    }
}

/// On whose allowance a call is made: limits are counted for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    App,
    Installation(InstallationId),
}

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    call: Call,
    headers: HeaderMap,
    body: Bytes,
    at: Timestamp,
}

impl Reply {
    /// Reads the body; unknown fields are ignored.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, GithubError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(error))
    }

    /// An answer that is not what GitHub documents.
    pub fn unreadable(&self, why: impl std::fmt::Display) -> GithubError {
        GithubError::unexpected(&self.call, format!("could not read the answer: {why}"))
    }

    /// When the allowance that this answer speaks of is new: a minute on, where it does not say.
    fn limit_ends(&self) -> Timestamp {
        let wait = classify::retry_after(&self.headers).or_else(|| classify::exhausted(&self.headers, self.at));
        self.at.plus(wait.unwrap_or(Duration::from_secs(60)))
    }

    /// The number of the next page, if there is one.
    pub fn next_page(&self) -> Option<u32> {
        self.linked("next", "page")?.parse().ok()
    }

    /// The number of the last page, if this is not it.
    pub fn last_page(&self) -> Option<u32> {
        self.linked("last", "page")?.parse().ok()
    }

    /// A parameter of the address that the `link` header gives for `rel`. Only parameters are taken from it:
    /// the address we go to is always our own.
    pub fn linked(&self, rel: &str, parameter: &str) -> Option<String> {
        let links = self.headers.get("link")?.to_str().ok()?;
        let wanted = format!("rel=\"{rel}\"");
        let link = links.split(',').find(|link| link.contains(&wanted))?;
        let url = link.split_once('<')?.1.split_once('>')?.0;
        let url = Url::parse(url).ok()?;
        let (_, value) = url.query_pairs().find(|(name, _)| name == parameter)?;
        Some(value.into_owned())
    }
}

/// The connection to GitHub's API.
pub struct Wire {
    octocrab: Octocrab,
    base: Url,
    pace: Pace,
    clock: Clock,
    /// Until when GitHub wants to hear nothing from a caller; REST and GraphQL have an allowance each.
    gates: Mutex<BTreeMap<(Caller, Api), Timestamp>>,
    memory: Mutex<Memory>,
    requests: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Wire {
    /// octocrab is the transport (TLS, connections, deadlines of the socket). Its typed calls are not used: they
    /// lose the status where an error's body is HTML, and repeat what must not be repeated.
    pub fn new(base: Url, pace: Pace, clock: Clock) -> Result<Self, BadSetting> {
        let octocrab = Octocrab::builder()
            .base_uri(base.origin().ascii_serialization())
            .map(|builder| builder.set_connect_timeout(Some(pace.deadline.min(Duration::from_secs(10)))))
            .and_then(|builder| builder.build())
            .map_err(|error| BadSetting::Client { why: cause(&error) })?;
        Ok(Wire {
            octocrab,
            base,
            pace,
            clock,
            gates: Mutex::default(),
            memory: Mutex::default(),
            requests: Mutex::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// How many requests were sent, by method and route template.
    pub fn requests(&self) -> BTreeMap<(String, &'static str), u64> {
        held(&self.requests).clone()
    }

    /// Sends a call; one that may repeat is sent again after a pause where that can help.
    pub async fn send(&self, caller: Caller, secret: &SecretString, call: &Call) -> Result<Reply, GithubError> {
        if call.target().contains('{') {
            return Err(GithubError::unexpected(call, "a part of the route was not filled"));
        }
        let mut pause = self.pace.pause;
        for left in (0..self.pace.tries.max(1)).rev() {
            self.gate(caller, call)?;
            let Refusal { error, wait } = match self.exchange(caller, secret, call).await {
                Ok(reply) => return Ok(reply),
                Err(refusal) => refusal,
            };
            if let GithubError::RateLimited { until, .. } = &error {
                self.close((caller, call.api()), *until);
            }
            let wait = match &error {
                GithubError::RateLimited { .. } => wait.unwrap_or(pause),
                GithubError::Transient { .. } => wait.unwrap_or(pause).max(pause),
                GithubError::NotFound { .. } | GithubError::Refused { .. } | GithubError::Unexpected { .. } => {
                    return Err(error);
                }
            };
            if left == 0 || call.repeat() == Repeat::Never || wait > self.pace.patience {
                return Err(error);
            }
            tracing::debug!(github.detail = %error.detail(), "GitHub is asked again");
            tokio::time::sleep(wait).await;
            pause = pause.saturating_mul(2);
        }
        Err(GithubError::silent(call, "no try was left"))
    }

    /// Refuses without sending while GitHub wants quiet: going on is what turns a limit into a ban.
    fn gate(&self, caller: Caller, call: &Call) -> Result<(), GithubError> {
        let now = self.now();
        let mut gates = held(&self.gates);
        gates.retain(|_, until| *until > now);
        match gates.get(&(caller, call.api())) {
            None => Ok(()),
            Some(until) => {
                let silent = GithubError::silent(call, "not sent: GitHub's limit still holds");
                let detail = Box::new(silent.detail().clone());
                Err(GithubError::RateLimited { until: *until, detail })
            }
        }
    }

    fn close(&self, gate: (Caller, Api), until: Timestamp) {
        let mut gates = held(&self.gates);
        let gate = gates.entry(gate).or_insert(until);
        *gate = until.max(*gate);
    }

    /// One try, with the redirects that GitHub answers for a renamed repository. They are followed with the
    /// same method, since a redirect means that nothing was done, and only to the same origin: the token goes nowhere else.
    async fn exchange(&self, caller: Caller, secret: &SecretString, call: &Call) -> Result<Reply, Refusal> {
        let mut url = self.address(call).map_err(refusal)?;
        for _ in 0..=MOST_REDIRECTS {
            let (status, headers, body) = self.once(caller, secret, call, &url).await.map_err(refusal)?;
            if let Some(wait) = classify::exhausted(&headers, self.now())
                && status.is_success()
            {
                self.close((caller, call.api()), self.now().plus(wait));
            }
            match status.as_u16() {
                200..=299 => return Ok(self.kept(caller, call, &url, headers, body)),
                304 => match held(&self.memory).body((caller, url.as_str())) {
                    Some((headers, body)) => return Ok(self.reply(call, headers, body)),
                    None => return Err(refusal(GithubError::unexpected(call, "304 to what was never asked"))),
                },
                301 | 302 | 307 | 308 => {
                    let place = headers.get("location").and_then(|place| place.to_str().ok());
                    let next = place.and_then(|place| url.join(place).ok());
                    match next.filter(|next| next.origin() == self.base.origin()) {
                        Some(next) => url = next,
                        None => return Err(refusal(GithubError::unexpected(call, "redirected to another place"))),
                    }
                }
                _ => return Err(classify(call, status, &headers, &body, self.now())),
            }
        }
        Err(refusal(GithubError::unexpected(call, "redirected in a circle")))
    }

    fn kept(&self, caller: Caller, call: &Call, url: &Url, headers: HeaderMap, body: Bytes) -> Reply {
        if call.remember() == Remember::Yes {
            held(&self.memory).keep((caller, url.as_str()), &headers, &body);
        }
        self.reply(call, headers, body)
    }

    fn reply(&self, call: &Call, headers: HeaderMap, body: Bytes) -> Reply {
        let at = self.now();
        let call = call.clone();
        Reply {
            call,
            headers,
            body,
            at,
        }
    }

    /// One request and its whole answer, or no answer.
    async fn once(
        &self,
        caller: Caller,
        secret: &SecretString,
        call: &Call,
        url: &Url,
    ) -> Result<(StatusCode, HeaderMap, Bytes), GithubError> {
        let request = self.request(caller, secret, call, url)?;
        *held(&self.requests)
            .entry((call.method().to_string(), call.route()))
            .or_default() += 1;
        let answer = async {
            let response = self.octocrab.send(request).await.map_err(|error| cause(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| cause(error.as_ref()))?.to_bytes();
            Ok((parts.status, parts.headers, body))
        };
        match tokio::time::timeout(self.pace.deadline, answer).await {
            Ok(answer) => answer.map_err(|why: String| GithubError::silent(call, &why)),
            Err(_) => Err(GithubError::silent(call, "the deadline passed")),
        }
    }

    fn request(
        &self,
        caller: Caller,
        secret: &SecretString,
        call: &Call,
        url: &Url,
    ) -> Result<Request<OctoBody>, GithubError> {
        let bad = |error: http::Error| GithubError::unexpected(call, error);
        let mut authorization = http::HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))
            .map_err(|error| bad(error.into()))?;
        authorization.set_sensitive(true);
        let mut request = Request::builder()
            .method(call.method().clone())
            .uri(url.as_str())
            .header("authorization", authorization)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        if call.remember() == Remember::Yes
            && let Some(etag) = held(&self.memory).etag((caller, url.as_str()))
        {
            request = request.header("if-none-match", etag);
        }
        match call.payload() {
            Some(body) => request
                .header("content-type", "application/json")
                .body(OctoBody::from(body))
                .map_err(bad),
            None => request.body(OctoBody::empty()).map_err(bad),
        }
    }

    /// GHES serves REST under `/api/v3` and GraphQL under `/api/graphql`; github.com both under the root.
    fn address(&self, call: &Call) -> Result<Url, GithubError> {
        let base = self.base.as_str().trim_end_matches('/');
        let base = match call.api() {
            Api::Rest => base,
            Api::Graphql => base.strip_suffix("/v3").unwrap_or(base),
        };
        let url = format!("{base}{}", call.target());
        Url::parse(&url).map_err(|error| GithubError::unexpected(call, error))
    }
}

fn refusal(error: GithubError) -> Refusal {
    Refusal { error, wait: None }
}

/// A lock whose holder panicked holds plain data that is whole at every moment: take it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The deepest cause of an error: octocrab's own `Display` prints a backtrace.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    let mut depth = 0;
    while let Some(source) = deepest.source() {
        deepest = source;
        depth += 1;
    }
    match depth {
        0 => "the connection failed".to_owned(),
        _ => deepest.to_string(),
    }
}
