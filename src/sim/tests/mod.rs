//! The simulator, driven by a real client, a real git and a real webhook receiver.
#![expect(
    clippy::disallowed_methods,
    reason = "tests are users: they start programs, read the environment and the clock"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::EncodingKey;
use octocrab::Octocrab;
use octocrab::models::{AppId, InstallationId};
use serde_json::Value;

use crate::sim::control::{OpenPull, put};
use crate::sim::state::Role;
use crate::sim::{Options, Sim};

mod access;
mod deliveries;
mod merging;
mod shown;

type Received = Arc<Mutex<Vec<(String, bool, Value)>>>;

const REPO: &str = "acme/infra";

struct Stage {
    sim: Sim,
    received: Received,
    app: Octocrab,
    dir: tempfile::TempDir,
}

/// A server that takes webhooks and says whether each was signed with our secret.
async fn receiver(secret: String) -> (String, Received) {
    let received = Received::default();
    let into = received.clone();
    let take = move |headers: axum::http::HeaderMap, body: axum::body::Bytes| async move {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("as it was made");
        mac.update(&body);
        let signature = headers["x-hub-signature-256"]
            .to_str()
            .expect("as it was made")
            .strip_prefix("sha256=")
            .expect("as it was made")
            .to_owned();
        let genuine = mac
            .verify_slice(&hex::decode(signature).expect("as it was made"))
            .is_ok();
        let event = headers["x-github-event"].to_str().expect("as it was made").to_owned();
        into.lock().expect("nobody panicked").push((
            event,
            genuine,
            serde_json::from_slice(&body).expect("as it was made"),
        ));
        axum::http::StatusCode::ACCEPTED
    };
    let router = axum::Router::new().route("/webhook", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("an answer");
    let url = format!("http://{}/webhook", listener.local_addr().expect("as it was made"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

async fn stage() -> Stage {
    let dir = tempfile::tempdir().expect("as it was made");
    let sim = Sim::start(Options::new(dir.path())).await.expect("an answer");
    let (url, received) = receiver(sim.app().webhook_secret.clone()).await;
    sim.set_webhook_url(url);
    sim.create_user("alice").await;
    sim.create_repo(REPO, true, &[("main.tf", "# one\n"), ("README.md", "hello\n")])
        .await
        .expect("an answer");
    for (login, role) in [("alice", Role::Write), ("bob", Role::Write), ("eve", Role::Read)] {
        sim.set_role(REPO, login, role).await.expect("an answer");
    }
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let key = EncodingKey::from_rsa_pem(sim.app().private_key_pem.as_bytes()).expect("as it was made");
    let app = Octocrab::builder()
        .base_uri(sim.url())
        .expect("as it was made")
        .app(AppId(sim.app().id), key)
        .build()
        .expect("as it was made");
    Stage {
        sim,
        received,
        app,
        dir,
    }
}

impl Stage {
    async fn installation(&self) -> Octocrab {
        let (_, id) = self.sim.ids(REPO).await.expect("an answer");
        self.app
            .installation(InstallationId(id.expect("as it was made")))
            .expect("as it was made")
    }

    async fn token(&self) -> String {
        let (_, id) = self.sim.ids(REPO).await.expect("an answer");
        let path = format!("/app/installations/{}/access_tokens", id.expect("as it was made"));
        let answer: Value = self.app.post(path, None::<&()>).await.expect("an answer");
        answer["token"].as_str().expect("as GitHub shapes it").to_owned()
    }

    async fn pull(&self) -> u64 {
        self.sim
            .commit(REPO, "feature", "alice", "Two", &[put("main.tf", "# two\n")])
            .await
            .expect("an answer");
        self.sim
            .open_pull(REPO, "alice", OpenPull::new("Two", "feature"))
            .await
            .expect("an answer")
    }

    async fn events(&self) -> Vec<String> {
        self.sim.outbox_idle().await;
        let events = self.received.lock().expect("nobody panicked");
        assert!(events.iter().all(|(_, genuine, _)| *genuine), "every webhook is signed");
        events
            .iter()
            .map(|(event, _, body)| format!("{event}.{}", body["action"].as_str().unwrap_or("-")))
            .collect()
    }
}

fn git(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=alice",
            "-c",
            "user.email=1+alice@users.noreply.github.com",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("as it was made");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
