//! Owns who we are on GitHub: the App's names, permissions and events as GitHub has them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::domain::ids::Login;
use crate::github::App;
use crate::github::error::GithubError;
use crate::github::wire::call::Call;

/// The App as GitHub knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: i64,
    pub slug: String,
    pub name: String,
    /// Who our comments are by: the slug with `[bot]`.
    pub login: Login,
    /// What the App asks for, e.g. `checks` → `write`; an installation may not have accepted all of it yet.
    pub permissions: BTreeMap<String, String>,
    pub events: BTreeSet<String>,
}

#[derive(Deserialize)]
struct AppJson {
    id: i64,
    slug: String,
    name: Option<String>,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    #[serde(default)]
    events: BTreeSet<String>,
}

impl App {
    /// Asked once (`GET /app`), then remembered.
    pub async fn identity(&self) -> Result<&Identity, GithubError> {
        self.inner.identity.get_or_try_init(|| self.ask_identity()).await
    }

    async fn ask_identity(&self) -> Result<Identity, GithubError> {
        let reply = self.send(&Call::get("/app")).await?;
        let AppJson {
            id,
            slug,
            name,
            permissions,
            events,
        } = reply.json()?;
        let login = Login::parse(&format!("{slug}[bot]")).map_err(|bad| reply.unreadable(bad))?;
        let name = name.unwrap_or_else(|| slug.clone());
        Ok(Identity {
            id,
            slug,
            name,
            login,
            permissions,
            events,
        })
    }
}
