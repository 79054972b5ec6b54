//! Owns the journeys of forks: nothing of a stranger's runs before someone has read it.

use lockkeeper::sim::control::{OpenPull, put};

use crate::world::{Pull, REPO, Setup, World, module};

async fn from_a_fork(world: &World) -> Pull<'_> {
    opened(world, "dns/main.tf", &module("example.org", None)).await
}

/// A stranger's pull request that changes one file.
pub async fn opened<'a>(world: &'a World, path: &str, text: &str) -> Pull<'a> {
    let fork = world.sim.fork(REPO, "mallory").await.expect("a fork");
    let change = [put(path, text)];
    world
        .sim
        .commit(&fork, "evil", "mallory", "a change", &change)
        .await
        .expect("a commit");
    let number = world
        .sim
        .open_pull(REPO, "mallory", OpenPull::new("from a fork", "mallory:evil"))
        .await
        .expect("a pull request");
    world.known(number, "evil")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_fork_runs_before_somebody_says_so() {
    let world = World::with(Setup::default().watched()).await;
    let pull = from_a_fork(&world).await;
    assert_eq!(pull.checks().await, "action_required action_required action_required");
    assert_eq!(world.started(), Vec::<String>::new());
    let head = pull.shown().await.head;
    let status = pull.status().await;
    assert!(status.contains(&format!("/plan {}", &head)), "{status}");

    let reply = pull.say("mallory", &format!("/plan {head}")).await;
    assert!(reply.contains("write access"), "{reply}");
    let reply = pull.say("bob", "/plan").await;
    assert!(reply.contains(&format!("/plan {}", &head)), "{reply}");
    let reply = pull.say("bob", "/plan 0123456789").await;
    assert!(reply.contains("not the head"), "{reply}");
    assert_eq!(world.started(), Vec::<String>::new());

    let reply = pull.say("bob", &format!("/plan {}", &head)).await;
    assert!(reply.contains("shows the plans"), "{reply}");
    assert_eq!(pull.checks().await, "success success action_required");
    pull.approve("bob").await;
    let reply = pull.say("dave", "/apply").await;
    assert!(reply.contains("Nothing is applied from a fork"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_fork_needs_a_new_word() {
    let world = World::with(Setup::default().watched()).await;
    let pull = from_a_fork(&world).await;
    let head = pull.shown().await.head;
    let reply = pull.say("bob", &format!("/plan {}", &head)).await;
    assert!(reply.contains("shows the plans"), "{reply}");
    let plans = world.started().len();
    let change = [put("dns/main.tf", module("evil.example", None))];
    world
        .sim
        .commit("mallory/infra", "evil", "mallory", "more", &change)
        .await
        .expect("a commit");
    assert_eq!(pull.checks().await, "action_required action_required action_required");
    let reply = pull.say("bob", &format!("/plan {}", &head)).await;
    assert!(reply.contains("not the head"), "{reply}");
    assert_eq!(world.started().len(), plans, "nothing ran");
    world.end().await;
}
