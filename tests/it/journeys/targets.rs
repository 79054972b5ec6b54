//! Owns the journeys of pull requests into other branches than the default one.

use crate::world::{Setup, World, module};

const LAX: &str = "version: 1\napply: { require: [], branches: [\"**\"] }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_pushes_a_branch_with_rules_of_their_own_applies_nothing_through_it() {
    let world = World::new().await;
    world.commit("lax", "alice", &[("lockkeeper.yaml", LAX)]).await;
    world
        .commit("dns", "alice", &[("dns/main.tf", &module("evil.example", None))])
        .await;
    let pull = world.pull("dns", "lax").await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    let reply = pull.say("alice", "/apply").await;
    for part in [
        "`lax`",
        "`apply.branches`",
        "lockkeeper.yaml of `main`",
        "Open the pull request into `main`",
    ] {
        assert!(reply.contains(part), "{part}: {reply}");
    }
    assert!(world.state_of("evil.example").is_none(), "it was applied");
    let check = pull.check("lockkeeper/apply").await;
    let summary = check.summary.unwrap_or_default();
    assert!(summary.contains("`apply.branches`"), "{summary}");
    assert!(
        pull.status().await.contains("`apply.branches`"),
        "{}",
        pull.status().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_the_default_branch_names_is_applied_by_its_own_rules() {
    let rules = "version: 1\napply: { branches: [\"release/*\"] }\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", rules)])).await;
    world
        .commit(
            "release/1",
            "dave",
            &[("lockkeeper.yaml", "version: 1\napply: { require: [mergeable] }\n")],
        )
        .await;
    world
        .commit("dns", "alice", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let pull = world.pull("dns", "release/1").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leave_that_the_default_branch_takes_back_is_gone_at_the_next_apply() {
    let rules = "version: 1\napply: { branches: [release] }\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", rules)])).await;
    world.commit("release", "dave", &[("README.md", "# release\n")]).await;
    world
        .commit("dns", "alice", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let pull = world.pull("dns", "release").await;
    world.settle().await;
    pull.approve("bob").await;
    world
        .commit("main", "dave", &[("lockkeeper.yaml", "version: 1\n")])
        .await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("`apply.branches`"), "{reply}");
    world
        .commit("main", "dave", &[("lockkeeper.yaml", "version: 1\nwhat: ever\n")])
        .await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("cannot be used"), "{reply}");
    world.commit("main", "dave", &[("lockkeeper.yaml", rules)]).await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}
