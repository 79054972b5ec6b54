//! Owns the credentials: the App's signed word, and the installation tokens it is exchanged for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::ids::{InstallationId, RepoId, Timestamp};
use crate::github::error::GithubError;
use crate::github::wire::call::Call;
use crate::github::wire::{Caller, Wire};
use crate::github::{BadSetting, Installation, moment};

/// A token that ends sooner than this is renewed first: whoever gets it may hold it through a long fetch.
const MARGIN: Duration = Duration::from_secs(10 * 60);
/// Kept tokens beyond this are looked through for ended ones.
const MANY: usize = 256;

/// An installation token: good for an hour from when it was made.
#[derive(Debug, Clone)]
pub struct Token {
    pub secret: SecretString,
    pub expires: Timestamp,
}

/// The App's own key.
pub struct AppKey {
    app_id: i64,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims {
    iat: i64,
    exp: i64,
    iss: String,
}

impl AppKey {
    pub fn new(app_id: i64, pem: &SecretString) -> Result<Self, BadSetting> {
        let key = EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes())
            .map_err(|cause| BadSetting::PrivateKey { cause })?;
        Ok(AppKey { app_id, key })
    }

    pub fn app_id(&self) -> i64 {
        self.app_id
    }

    /// A signed word that we are the App. Begins a minute ago (GitHub's clock may be behind ours) and ends in
    /// nine (it takes none that ends in more than ten).
    pub fn jwt(&self, now: Timestamp, call: &Call) -> Result<SecretString, GithubError> {
        let seconds = now.0.div_euclid(1000);
        let claims = Claims {
            iat: seconds - 60,
            exp: seconds + 9 * 60,
            iss: self.app_id.to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map(SecretString::from)
            .map_err(|error| GithubError::unexpected(call, error))
    }
}

/// Which token: the installation's own, or one narrowed to reading the contents of some repositories.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    installation: InstallationId,
    narrowed: Option<BTreeSet<RepoId>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The installation tokens we hold. Two callers who need the same new token wait for one request.
pub struct Tokens {
    key: AppKey,
    slots: Mutex<BTreeMap<Scope, Slot>>,
    /// Installations of which GitHub gave no token when it was asked last.
    unknown: Mutex<BTreeSet<InstallationId>>,
}

impl Tokens {
    pub fn new(key: AppKey) -> Self {
        Tokens {
            key,
            slots: Mutex::default(),
            unknown: Mutex::default(),
        }
    }

    pub fn key(&self) -> &AppKey {
        &self.key
    }

    /// The installation's own token, with all that the App was granted.
    pub async fn full(&self, wire: &Wire, installation: InstallationId) -> Result<Token, GithubError> {
        let narrowed = None;
        self.token(wire, Scope { installation, narrowed }).await
    }

    /// Drops the installation's own token if it is still that one: another caller may have renewed it already.
    pub async fn forget(&self, installation: InstallationId, refused: &Token) {
        let narrowed = None;
        let slot = self.slot(Scope { installation, narrowed });
        let mut held = slot.lock().await;
        let same = |token: &Token| token.secret.expose_secret() == refused.secret.expose_secret();
        if held.as_ref().is_some_and(same) {
            *held = None;
        }
    }

    async fn token(&self, wire: &Wire, scope: Scope) -> Result<Token, GithubError> {
        let slot = self.slot(scope.clone());
        let mut held = slot.lock().await;
        if let Some(token) = held.as_ref()
            && token.expires > wire.now().plus(MARGIN)
        {
            return Ok(token.clone());
        }
        let exchanged = self.exchange(wire, &scope).await;
        {
            let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
            match &exchanged {
                Ok(_) => unknown.remove(&scope.installation),
                Err(error) => matches!(error.detail().status, Some(401 | 404)) && unknown.insert(scope.installation),
            };
        }
        let token = exchanged?;
        *held = Some(token.clone());
        Ok(token)
    }

    /// Whether GitHub did not know the installation when a token of it was asked for last: the App was removed, and
    /// may have been installed anew under another number.
    pub fn is_unknown(&self, installation: InstallationId) -> bool {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.contains(&installation)
    }

    fn slot(&self, scope: Scope) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() > MANY {
            // Nobody else holds these: what they kept can be asked for again.
            slots.retain(|scope, slot| scope.narrowed.is_none() || Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(scope).or_default())
    }

    async fn exchange(&self, wire: &Wire, scope: &Scope) -> Result<Token, GithubError> {
        let body = match &scope.narrowed {
            None => serde_json::json!({}),
            Some(ids) => serde_json::json!({ "repository_ids": ids, "permissions": { "contents": "read" } }),
        };
        // A token more than we need does no harm, so this may repeat.
        let call = Call::post("/app/installations/{installation}/access_tokens", body)
            .fill("installation", scope.installation)
            .idempotent();
        let jwt = self.key.jwt(wire.now(), &call)?;
        let reply = wire.send(Caller::App, &jwt, &call).await?;
        let TokenJson { token, expires_at } = reply.json()?;
        let expires = moment(&expires_at).ok_or_else(|| reply.unreadable("expires_at is not a time"))?;
        let secret = SecretString::from(token);
        Ok(Token { secret, expires })
    }
}

#[derive(Deserialize)]
struct TokenJson {
    token: String,
    expires_at: String,
}

impl Installation {
    /// A token that can do nothing but read the contents of these repositories, for git. By number, because
    /// GitHub takes names without their owner here, and `evil/infra` would become `acme/infra`. One that was not
    /// granted to the installation is `Refused`.
    pub async fn read_token(&self, repos: &BTreeSet<RepoId>) -> Result<Token, GithubError> {
        let scope = Scope {
            installation: self.id,
            narrowed: Some(repos.clone()),
        };
        let inner = &self.app.inner;
        inner.tokens.token(&inner.wire, scope).await
    }
}
