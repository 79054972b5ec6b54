//! Owns the list of what GitHub sent us, to ask again for what did not arrive.

use serde::Deserialize;

use crate::domain::ids::{InstallationId, RepoId, Timestamp};
use crate::github::error::GithubError;
use crate::github::wire::MOST_PAGES;
use crate::github::wire::call::Call;
use crate::github::{App, moment};

/// One try of GitHub's to deliver a webhook. A redelivery has the same `guid` and a new `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySeen {
    pub id: i64,
    /// What `X-GitHub-Delivery` says.
    pub guid: String,
    pub at: Timestamp,
    /// What we answered; 0: nothing.
    pub status: u16,
    pub redelivery: bool,
    pub event: String,
    pub action: Option<String>,
    pub installation: Option<InstallationId>,
    pub repo: Option<RepoId>,
}

#[derive(Deserialize)]
struct DeliveryJson {
    id: i64,
    guid: String,
    delivered_at: String,
    #[serde(default)]
    redelivery: bool,
    status_code: Option<i64>,
    event: String,
    action: Option<String>,
    installation_id: Option<i64>,
    repository_id: Option<i64>,
}

impl App {
    /// What GitHub sent since then, newest first. It keeps three days.
    pub async fn deliveries_since(&self, since: Timestamp) -> Result<Vec<DeliverySeen>, GithubError> {
        let mut deliveries = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut call = Call::get("/app/hook/deliveries").with("per_page", 100);
            if let Some(cursor) = &cursor {
                call = call.with("cursor", cursor);
            }
            let reply = self.send(&call).await?;
            let entries: Vec<DeliveryJson> = reply.json()?;
            for entry in entries {
                let seen = entry
                    .read()
                    .ok_or_else(|| reply.unreadable("delivered_at is not a time"))?;
                if seen.at < since {
                    return Ok(deliveries);
                }
                deliveries.push(seen);
            }
            cursor = reply.linked("next", "cursor");
            if cursor.is_none() {
                break;
            }
        }
        Ok(deliveries)
    }

    /// Asks GitHub to send a delivery again. Twice does no harm: the store knows it by its guid.
    pub async fn redeliver(&self, delivery: i64) -> Result<(), GithubError> {
        let call = Call::post("/app/hook/deliveries/{delivery}/attempts", serde_json::json!({}))
            .fill("delivery", delivery)
            .idempotent();
        self.send(&call).await.map(|_| ())
    }
}

impl DeliveryJson {
    fn read(self) -> Option<DeliverySeen> {
        let at = moment(&self.delivered_at)?;
        Some(DeliverySeen {
            id: self.id,
            guid: self.guid,
            at,
            status: self.status_code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
            redelivery: self.redelivery,
            event: self.event,
            action: self.action,
            installation: self.installation_id.map(InstallationId),
            repo: self.repository_id.map(RepoId),
        })
    }
}
