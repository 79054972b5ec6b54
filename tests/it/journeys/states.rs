//! Owns the journeys of stacks that change where their state is, or take another's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;

use crate::world::{Setup, World};

type Kept = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// What terraform's http backend talks to: one state for each path.
struct States {
    url: String,
    kept: Kept,
}

impl States {
    async fn start() -> States {
        let kept = Kept::default();
        let read = |State(kept): State<Kept>, Path(name): Path<String>| async move {
            let state = kept.lock().expect("no panic").get(&name).cloned();
            state.map_or((StatusCode::NOT_FOUND, Bytes::new()), |state| (StatusCode::OK, state))
        };
        let write = |State(kept): State<Kept>, Path(name): Path<String>, state: Bytes| async move {
            kept.lock().expect("no panic").insert(name, state);
        };
        let doors = Router::new()
            .route("/{name}", get(read).post(write))
            .with_state(Arc::clone(&kept));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, doors).await });
        States { url, kept }
    }

    fn has(&self, name: &str, needle: &str) -> bool {
        let kept = self.kept.lock().expect("no panic");
        let state = kept.get(name).map(|state| String::from_utf8_lossy(state).into_owned());
        state.is_some_and(|state| state.contains(needle))
    }

    /// A root module whose state is there; without a name its backend says nothing.
    fn module(&self, name: Option<&str>, value: &str) -> String {
        let address = name.map_or(String::new(), |name| format!("address = \"{}/{name}\"", self.url));
        format!(
            "terraform {{\n  backend \"http\" {{\n    {address}\n  }}\n}}\nresource \"terraform_data\" \"this\" {{\n  input = \"{value}\"\n}}\n"
        )
    }
}

const PROD: &str = "version: 1\nstacks:\n  - name: prod\n    dir: prod\n    labels: { env: production }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_another_stacks_state_by_a_backend_file_that_is_not_read() {
    let states = States::start().await;
    let prod = states.module(Some("prod"), "real");
    let world = World::with(Setup::only(&[("lockkeeper.yaml", PROD), ("prod/main.tf", &prod)])).await;
    let evil = format!("{PROD}  - name: evil\n    dir: evil\n    backend_files: [b.conf]\n");
    let pull = world
        .open(
            "evil",
            &[
                ("lockkeeper.yaml", &evil),
                ("evil/main.tf", &states.module(None, "evil")),
                ("evil/b.conf", &format!("address = \"{}/prod\"\n", states.url)),
            ],
        )
        .await;
    assert!(pull.checks().await.starts_with("failure"), "{}", pull.status().await);
    let status = pull.status().await;
    assert!(
        status.contains("evil and prod") && status.contains("one state between them"),
        "{status}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_leaves_its_state_holds_both_and_is_applied_only_by_its_name() {
    let states = States::start().await;
    let files = [
        ("lockkeeper.yaml", PROD),
        ("prod/main.tf", &*states.module(Some("old"), "one")),
    ];
    let world = World::with(Setup::only(&files)).await;
    let pull = world
        .open("move", &[("prod/main.tf", &states.module(Some("new"), "one"))])
        .await;
    world.settle().await;
    pull.approve("bob").await;
    let status = pull.status().await;
    assert!(
        status.contains("in another state") && status.contains("/apply prod"),
        "{status}"
    );
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("another state than the base branch") && reply.contains("`/apply prod`"),
        "{reply}"
    );
    let reply = pull.say("alice", "/apply prod").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    assert!(states.has("new", "one") && !states.has("old", "one"));

    // The old state is held too, until this is merged.
    let other = world
        .open("other", &[("prod/main.tf", &states.module(Some("old"), "two"))])
        .await;
    world.settle().await;
    other.approve("bob").await;
    let reply = other.say("alice", "/apply").await;
    assert!(reply.contains("`prod` is locked by #1"), "{reply}");
    world.end().await;
}
