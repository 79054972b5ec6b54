//! Owns what we say to GitHub and what it says to us: the App's doors to the API, and its webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp as Moment;
use secrecy::SecretString;
use url::Url;

use crate::domain::ids::{InstallationId, Timestamp};

use error::GithubError;
use identity::Identity;
use token::{AppKey, Tokens};
use wire::call::Call;
use wire::{Caller, Pace, Reply, Wire};

pub mod branches;
pub mod checks;
pub mod comments;
pub mod deliveries;
pub mod error;
pub mod identity;
pub mod installations;
pub mod mergeability;
pub mod people;
pub mod pulls;
pub mod token;
pub mod webhook;
pub mod wire;

/// What time it is: made once by the caller, moved by hand in tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the App needs to speak to GitHub.
pub struct Settings {
    /// `https://api.github.com`, `https://HOST/api/v3`, or `http` on a loopback address.
    pub api_url: String,
    pub app_id: i64,
    /// The App's RSA private key, PEM, as GitHub hands it out.
    pub private_key: SecretString,
    pub pace: Pace,
    pub clock: Clock,
}

/// Why the App cannot be set up: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    #[error("the GitHub API address {url:?} {why}")]
    ApiUrl { url: String, why: &'static str },
    #[error("the App's private key is not an RSA key in PEM")]
    PrivateKey {
        #[source]
        cause: jsonwebtoken::errors::Error,
    },
    #[error("could not set up the connection to GitHub: {why}")]
    Client { why: String },
}

/// The App itself. Cheap to clone; all clones share tokens, connections and gates.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    wire: Wire,
    tokens: Tokens,
    identity: tokio::sync::OnceCell<Identity>,
}

impl App {
    /// Must be called inside a tokio runtime: the client keeps a task. Sends nothing.
    pub fn new(settings: Settings) -> Result<Self, BadSetting> {
        let Settings {
            api_url,
            app_id,
            private_key,
            pace,
            clock,
        } = settings;
        let base = api_base(&api_url)?;
        let key = AppKey::new(app_id, &private_key)?;
        let wire = Wire::new(base, pace, clock)?;
        let inner = Inner {
            wire,
            tokens: Tokens::new(key),
            identity: tokio::sync::OnceCell::new(),
        };
        Ok(App { inner: Arc::new(inner) })
    }

    /// The calls that are made for one installation.
    pub fn installation(&self, id: InstallationId) -> Installation {
        Installation { app: self.clone(), id }
    }

    /// The App's number.
    pub fn id(&self) -> i64 {
        self.inner.tokens.key().app_id()
    }

    /// How many requests were sent since the start, by method and route template; retries count.
    pub fn requests(&self) -> BTreeMap<(String, &'static str), u64> {
        self.inner.wire.requests()
    }

    /// Sends a call as the App itself.
    async fn send(&self, call: &Call) -> Result<Reply, GithubError> {
        let now = self.inner.wire.now();
        let jwt = self.inner.tokens.key().jwt(now, call)?;
        self.inner.wire.send(Caller::App, &jwt, call).await
    }
}

/// One installation of the App. Cheap to clone.
#[derive(Clone)]
pub struct Installation {
    app: App,
    id: InstallationId,
}

impl Installation {
    pub fn id(&self) -> InstallationId {
        self.id
    }

    pub fn app(&self) -> &App {
        &self.app
    }

    /// Whether GitHub did not know it when a token was asked for last.
    pub fn is_unknown(&self) -> bool {
        self.app.inner.tokens.is_unknown(self.id)
    }

    /// Sends a call with the installation's token. A token that GitHub takes no more is renewed once: a 401
    /// means that nothing was done, so this holds for every call.
    async fn send(&self, call: &Call) -> Result<Reply, GithubError> {
        let Inner { wire, tokens, .. } = &*self.app.inner;
        let token = tokens.full(wire, self.id).await?;
        let answer = wire.send(Caller::Installation(self.id), &token.secret, call).await;
        match answer {
            Err(error) if error.detail().status == Some(401) => {
                tokens.forget(self.id, &token).await;
                let token = tokens.full(wire, self.id).await?;
                wire.send(Caller::Installation(self.id), &token.secret, call).await
            }
            answer => answer,
        }
    }

    /// Every page of a list, oldest pages first.
    async fn send_all(&self, call: Call) -> Result<Vec<Reply>, GithubError> {
        let mut replies = Vec::new();
        for page in 1..=wire::MOST_PAGES {
            let call = call.clone().page(page);
            let reply = self.send(&call).await?;
            let more = reply.next_page().is_some();
            replies.push(reply);
            if !more {
                return Ok(replies);
            }
        }
        let call = call.page(wire::MOST_PAGES);
        Err(GithubError::unexpected(&call, "the list does not end"))
    }
}

/// What we know about an upsert's target before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prior<Id> {
    /// Nothing was ever sent: create without looking.
    Fresh,
    /// Something may have been sent, and no answer came: look it up by its mark first.
    Unsure,
    /// It is there, as far as we know.
    Known(Id),
}

/// Reads and checks the address of the API: a token must not travel in the clear.
fn api_base(text: &str) -> Result<Url, BadSetting> {
    let refuse = |why| BadSetting::ApiUrl {
        url: text.to_owned(),
        why,
    };
    let url = Url::parse(text.trim_end_matches('/')).map_err(|_| refuse("is not a URL"))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(refuse("names no host")),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err(refuse("must begin with https:// (http:// only on a loopback address)")),
    }
    if matches!(url.host_str(), Some("github.com" | "www.github.com")) {
        return Err(refuse("is the website; the API is at https://api.github.com"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must be only scheme, host, port and path"));
    }
    Ok(url)
}

/// GitHub's spelling of a time, e.g. `2024-01-01T00:00:00Z`.
fn moment(text: &str) -> Option<Timestamp> {
    let moment: Moment = text.parse().ok()?;
    Some(Timestamp(moment.as_millisecond()))
}

#[cfg(test)]
mod tests;
