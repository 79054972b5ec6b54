//! Owns the journeys of a push that comes at the wrong moment, and of a base that moves.

use crate::journeys::applying::chain_by_names;
use crate::world::{Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_during_a_plan_interrupts_it() {
    let world = World::with(Setup::default().watched()).await;
    world.hold("plan", "dns");
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.reached("plan", "dns", 1).await;
    let old = world.sim.head(crate::world::REPO, "dns").await.expect("a head");
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    world.reached("plan", "dns", 2).await;
    world.let_go("plan", "dns");
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.status().await.contains("example.net"));
    let checks = world.sim.checks_at(crate::world::REPO, &old).await.expect("checks");
    for check in checks {
        assert_eq!(check.conclusion.as_deref(), Some("cancelled"), "{check:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_during_an_apply_lets_it_finish_and_plans_afterwards() {
    let world = World::with(chain_by_names().watched()).await;
    let pull = world
        .open(
            "all",
            &[
                ("network/main.tf", &module("n2", None)),
                ("cluster/main.tf", &module("c2", None)),
            ],
        )
        .await;
    world.settle().await;
    world.hold("apply", "network");
    pull.approve("bob").await.comment("alice", "/apply").await;
    world.reached("apply", "network", 1).await;
    pull.push(&[("network/main.tf", &module("n3", None))]).await;
    world.seen_head("all").await;
    assert_eq!(
        world.started().iter().filter(|line| *line == "plan network").count(),
        1,
        "the new run must not plan what is being applied"
    );
    world.let_go("apply", "network");
    world.settle().await;
    assert!(world.state_of("n2").is_some(), "the apply under way has ended");
    let row = pull.row("network").await;
    assert!(row.contains("~1"), "planned after the apply: {row}");
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(
        !world.started().contains(&"apply cluster".to_owned()),
        "later waves are superseded"
    );
    let reply = pull.apply().await;
    assert!(reply.contains("applied"), "{reply}");
    assert_eq!(
        pull.checks().await,
        "success success success",
        "{}",
        pull.status().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_moved_under_a_stack_asks_for_a_new_plan() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    world
        .commit(
            "main",
            "bob",
            &[("dns/extra.tf", "resource \"terraform_data\" \"extra\" {}\n")],
        )
        .await;
    let reply = pull.apply().await;
    assert!(reply.contains("dns/extra.tf") && reply.contains("/plan"), "{reply}");
    let reply = pull.say("bob", "/plan").await;
    assert!(reply.contains("+2 ~0 -0"), "{reply}");
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_moved_elsewhere_does_not_matter() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    world
        .commit("main", "bob", &[("network/main.tf", &module("10.9.0.0/16", None))])
        .await;
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_push_to_an_older_commit_is_a_new_head_too() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let first = world.sim.head(crate::world::REPO, "dns").await.expect("a head");
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    world.settle().await;
    let reset = world.sim.reset_branch(crate::world::REPO, "dns", &first, "alice").await;
    reset.expect("a moved branch");
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    assert!(pull.status().await.contains("example.org"));
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}
