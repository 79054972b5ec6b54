//! Owns the journeys of lockkeeper.yaml: broken here, broken at base, changed here, from a later version.

use crate::world::{Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_in_the_head_fails_with_its_line_and_the_nearest_key() {
    let world = World::new().await;
    let pull = world
        .open(
            "config",
            &[
                ("lockkeeper.yaml", "version: 1\nstakcs:\n  - dir: dns\n"),
                ("dns/main.tf", &module("example.org", None)),
            ],
        )
        .await;
    assert_eq!(pull.checks().await, "failure failure failure");
    let status = pull.status().await;
    assert!(
        status.contains("lockkeeper.yaml:2:1") && status.contains("stacks"),
        "{status}"
    );
    let check = pull.check("lockkeeper/plan").await;
    assert!(
        check
            .title
            .as_deref()
            .unwrap_or_default()
            .contains("lockkeeper.yaml:2:1"),
        "{check:?}"
    );
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("can be planned"), "{reply}");
    pull.push(&[("lockkeeper.yaml", "version: 1\nstacks:\n  - dir: dns\n")])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_gate_at_base_fails_everybody_and_is_mended_there() {
    let world = World::with(Setup::chain_and(&[(
        "lockkeeper.yaml",
        "version: 1\napply: { require: [aproved] }\n",
    )]))
    .await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "failure failure failure",
        "{}",
        pull.status().await
    );
    assert!(pull.status().await.contains("approved"), "{}", pull.status().await);
    let reply = pull.apply().await;
    assert!(reply.contains("can be planned"), "{reply}");

    world
        .commit("main", "dave", &[("lockkeeper.yaml", "version: 1\n")])
        .await;
    let reply = pull.say("alice", "/plan").await;
    assert!(reply.contains("shows the plans"), "{reply}");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fix_of_a_broken_base_can_be_merged() {
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", "version: 1\nwhat: ever\n")])).await;
    let pull = world.open("fix", &[("lockkeeper.yaml", "version: 1\n")]).await;
    let status = pull.status().await;
    assert!(status.contains("lockkeeper.yaml"), "{status}");
    pull.merge("bob").await;
    let next = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(next.checks().await, "success success action_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_later_version_is_refused_and_not_ignored() {
    let world = World::with(Setup::chain_and(&[(
        "lockkeeper.yaml",
        "version: 1\napply: { on: merge }\n",
    )]))
    .await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert!(pull.checks().await.starts_with("failure"));
    assert!(
        pull.status().await.contains("not in this version"),
        "{}",
        pull.status().await
    );
    let reply = pull.apply().await;
    assert!(reply.contains("can be planned"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_the_head_take_effect_after_the_merge() {
    let world = World::new().await;
    let pull = world
        .open(
            "loosen",
            &[
                ("lockkeeper.yaml", "version: 1\napply: { require: [mergeable] }\n"),
                ("dns/main.tf", &module("example.org", None)),
            ],
        )
        .await;
    assert!(
        pull.status().await.contains("takes effect after the merge"),
        "{}",
        pull.status().await
    );
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("needs an approval"), "{reply}");
    assert!(pull.apply().await.contains("1 of 1 applied"));
    pull.merge("alice").await;
    let next = world
        .open("next", &[("dns/main.tf", &module("example.net", None))])
        .await;
    let reply = next.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_is_declared_twice_or_in_a_circle_is_located() {
    let world = World::new().await;
    let circle =
        "version: 1\nstacks:\n  - dir: dns\n    depends_on: [network]\n  - dir: network\n    depends_on: [dns]\n";
    let pull = world.open("circle", &[("lockkeeper.yaml", circle)]).await;
    assert_eq!(pull.checks().await, "failure failure failure");
    let status = pull.status().await;
    assert!(
        status.contains("circle") && status.contains("lockkeeper.yaml:"),
        "{status}"
    );
    pull.push(&[(
        "lockkeeper.yaml",
        "version: 1\nstacks:\n  - dir: dns\n    depends_on: [nowhere]\n",
    )])
    .await;
    let status = pull.status().await;
    assert!(status.contains("nowhere"), "{status}");
    assert_eq!(pull.checks().await, "failure failure failure");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pending_check_may_be_yellow_instead_of_red() {
    let config = "version: 1\napply: { pending_check: in_progress }\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", config)])).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success in_progress");
    assert!(pull.apply().await.contains("1 of 1 applied"));
    assert_eq!(pull.checks().await, "success success success");
    world.end().await;
}
