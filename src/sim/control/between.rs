//! Owns what happens between GitHub and the App: webhooks, trouble, the log of requests.

use crate::sim::Sim;
use crate::sim::call::Refused;
use crate::sim::faults::Faults;
use crate::sim::server::Exchange;
use crate::sim::webhooks::{self, Delivery, Mail};

impl Sim {
    /// Where webhooks go from now on.
    pub fn set_webhook_url(&self, url: impl Into<String>) {
        self.outbox.set_url(Some(url.into()));
    }

    /// Waits until every webhook was sent and answered or refused.
    pub async fn outbox_idle(&self) {
        self.outbox.idle().await;
    }

    /// Holds webhooks back (`true`) or lets them go.
    pub fn pause_webhooks(&self, paused: bool) {
        self.outbox.pause(paused);
    }

    /// What happens to the next `times` webhooks of this event (any, without one).
    pub fn mail(&self, event: Option<&str>, times: u32, mail: Mail) {
        self.outbox.script(event.map(str::to_owned), times, mail);
    }

    /// Every webhook that was sent, with what was answered.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.outbox.sent()
    }

    /// A person presses *Redeliver*.
    pub async fn redeliver(&self, id: u64) -> Result<(), Refused> {
        let mut world = self.world().await;
        webhooks::redeliver(&mut world, id)
    }

    /// A webhook as given, signed and sent to the App; for payloads the simulator does not make itself.
    pub async fn send_webhook(&self, event: &str, payload: serde_json::Value) {
        let mut world = self.world().await;
        let action = payload["action"].as_str().map(str::to_owned);
        let installation = payload["installation"]["id"].as_u64().unwrap_or(0);
        webhooks::post(
            &mut world,
            event,
            action.as_deref(),
            payload["repository"]["id"].as_u64(),
            installation,
            payload,
        );
    }

    /// Trouble with the next answers.
    pub fn faults(&self) -> &Faults {
        &self.hub.faults
    }

    /// The next `times` answers do not know yet whether a pull request merges cleanly.
    pub async fn mergeable_unknown(&self, times: u32) {
        self.world().await.mergeable_unknown = times;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Exchange> {
        self.hub
            .log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Forgets the requests so far: for counting from here on.
    pub fn clear_requests(&self) {
        self.hub
            .log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clear();
    }

    /// Requests to endpoints the simulator does not have, as `METHOD path`.
    pub fn unrouted(&self) -> Vec<String> {
        self.requests()
            .iter()
            .filter(|e| !e.routed)
            .map(|e| format!("{} {}", e.method, e.path))
            .collect()
    }
}
