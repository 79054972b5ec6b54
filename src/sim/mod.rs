//! Owns a GitHub that fits in one process: REST, git over HTTP, signed webhooks and a pull request page.
//!
//! It shares no code with the product, so that it cannot share its mistakes. `Sim` speaks like the people on GitHub:
//! `sim.open_pull(..)`, `sim.comment(..)`, `sim.review(..)`; the product sees only HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::TcpListener;

use faults::Faults;
use server::Hub;
use state::{Clock, Kind, World};
use webhooks::Outbox;

pub mod state;
pub mod call;
pub mod git;
pub mod shape;
pub mod webhooks;
pub mod auth;
pub mod faults;
pub mod wire;
pub mod protection;
pub mod reactions;
pub mod comments;
pub mod reviews;
pub mod statuses;
pub mod checks;
pub mod permissions;
pub mod activity;
pub mod pulls;
pub mod pushes;
pub mod merge;
pub mod contents;
pub mod graphql;
pub mod smart_http;
pub mod page;
pub mod server;
pub mod control;
pub mod snapshot;

/// How to start a simulator.
pub struct Options {
    /// Where to listen; port 0 picks a free one.
    pub address: SocketAddr,
    /// Where the bare repositories go; must exist.
    pub data_dir: PathBuf,
    /// Where webhooks go; `None` until `Sim::set_webhook_url`.
    pub webhook_url: Option<String>,
    /// The time everything is stamped and judged with.
    pub clock: Clock,
    /// The App's name, as in `slug[bot]`.
    pub app_slug: String,
    pub webhook_secret: String,
    /// What every installation grants, name → read or write.
    pub permissions: BTreeMap<String, String>,
    /// The events the App listens to.
    pub events: Vec<String>,
    /// Requests an hour and token.
    pub rate_limit: u64,
}

impl Options {
    #[expect(
        clippy::disallowed_methods,
        reason = "a default for those who do not move time by hand"
    )]
    /// Loopback, a free port, the system's clock, the permissions and events Lockkeeper asks for.
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        let permissions = [
            ("metadata", "read"),
            ("contents", "read"),
            ("pull_requests", "write"),
            ("issues", "read"),
            ("merge_queues", "read"),
            ("checks", "write"),
            ("statuses", "read"),
        ];
        let events = [
            "pull_request",
            "issue_comment",
            "pull_request_review",
            "check_run",
            "check_suite",
            "merge_group",
            "push",
        ];
        Options {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            webhook_url: None,
            clock: Arc::new(Timestamp::now),
            app_slug: "lockkeeper".into(),
            webhook_secret: "a secret between the App and GitHub".into(),
            permissions: permissions
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            events: events.into_iter().map(str::to_owned).collect(),
            rate_limit: 15_000,
        }
    }
}

/// What somebody who configures the App needs to know of it.
#[derive(Clone, Debug)]
pub struct AppSecrets {
    pub id: u64,
    pub slug: String,
    pub private_key_pem: String,
    pub webhook_secret: String,
}

/// A running simulator; a clone is the same one. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct Sim {
    hub: Hub,
    outbox: Outbox,
    url: String,
    app: AppSecrets,
    _running: Arc<Running>,
}

struct Running(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Sim {
    /// Listens and serves from now on.
    pub async fn start(options: Options) -> std::io::Result<Sim> {
        let Options {
            address,
            data_dir,
            webhook_url,
            clock,
            app_slug,
            webhook_secret,
            permissions,
            events,
            rate_limit,
        } = options;
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let dir = data_dir.canonicalize()?;
        let (outbox, sender) = Outbox::start(webhook_url, webhook_secret.clone());
        let (app, other_app) = auth::apps(
            clock(),
            1001,
            &app_slug,
            "octo-apps",
            webhook_secret,
            permissions,
            events,
        );
        let secrets = AppSecrets {
            id: app.id,
            slug: app.slug.clone(),
            private_key_pem: app.private_key_pem.clone(),
            webhook_secret: app.webhook_secret.clone(),
        };
        let mut world = World {
            dir,
            url: url.clone(),
            clock,
            last_id: 2_000,
            app,
            other_app,
            users: BTreeMap::new(),
            repos: BTreeMap::new(),
            installations: BTreeMap::new(),
            tokens: BTreeMap::new(),
            outbox: outbox.clone(),
            mergeable_unknown: 0,
            rate_limit,
            used: BTreeMap::new(),
        };
        world.account("octo-apps", Kind::Organization);
        for bot in [world.app.bot(), world.other_app.bot()] {
            world.account(&bot, Kind::Bot);
        }
        let hub = Hub {
            world: Arc::new(tokio::sync::Mutex::new(world)),
            faults: Faults::default(),
            log: Arc::default(),
        };
        let service = hub
            .clone()
            .router()
            .into_make_service_with_connect_info::<wire::Scissors>();
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(wire::Wires(listener), service).await {
                tracing::error!(error = %error, "the simulator stopped serving");
            }
        });
        let running = Arc::new(Running(vec![serving, sender]));
        Ok(Sim {
            hub,
            outbox,
            url,
            app: secrets,
            _running: running,
        })
    }

    /// `http://127.0.0.1:PORT`; the API is there and under `/api/v3`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The App's id, key and webhook secret.
    pub fn app(&self) -> &AppSecrets {
        &self.app
    }
}

#[cfg(test)]
mod tests;
