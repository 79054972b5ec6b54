//! Owns the journeys of a pull request's life: draft, closed, reopened, retargeted, two of one branch.

use lockkeeper::sim::control::OpenPull;
use lockkeeper::sim::protection::Rules;

use crate::world::{REPO, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_planned_and_not_applied() {
    let world = World::new().await;
    world
        .commit("dns", "alice", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let open = OpenPull {
        draft: true,
        ..OpenPull::new("a draft", "dns")
    };
    let number = world.sim.open_pull(REPO, "alice", open).await.expect("a pull request");
    let pull = world.known(number, "dns");
    assert_eq!(pull.checks().await, "success success action_required");
    let reply = pull.apply().await;
    assert!(reply.contains("draft"), "{reply}");
    world
        .sim
        .ready_for_review(REPO, number, "alice")
        .await
        .expect("a change");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_and_opened_again_it_is_planned_again() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    pull.close().await;
    assert_eq!(pull.checks().await, "success success cancelled");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("closed"), "{reply}");
    pull.reopen().await;
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_base_is_another_plan() {
    let world = World::new().await;
    world
        .commit("release", "dave", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let pull = world
        .open(
            "dns",
            &[
                ("dns/main.tf", &module("example.org", None)),
                ("dns/x.tf", "resource \"terraform_data\" \"x\" {}\n"),
            ],
        )
        .await;
    assert!(pull.row("dns").await.contains("+2"), "{}", pull.status().await);
    world
        .sim
        .retarget(REPO, pull.number, "release", "alice")
        .await
        .expect("a change");
    world.settle().await;
    let status = pull.status().await;
    assert!(status.contains("into `release`"), "{status}");
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pull_requests_of_one_branch_share_the_checks_and_the_worst_counts() {
    let world = World::new().await;
    world.commit("release", "dave", &[("README.md", "# release\n")]).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    world
        .commit("release", "dave", &[("lockkeeper.yaml", "version: 1\nwhat: ever\n")])
        .await;
    let other = world.pull("dns", "release").await;
    assert_eq!(
        other.checks().await,
        "failure failure failure",
        "{}",
        other.status().await
    );
    let check = pull.check("lockkeeper/plan").await;
    let summary = check.summary.unwrap_or_default();
    assert!(
        summary.contains("#1 (success)") && summary.contains("#2 (failure)"),
        "{summary}"
    );
    other.close().await;
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_check_lets_the_merge_through_only_after_the_apply() {
    let world = World::new().await;
    let rules = Rules::require(["lockkeeper/plan", "lockkeeper/policy", "lockkeeper/apply"], 1);
    world.sim.protect(REPO, "main", rules).await.expect("rules");
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    pull.approve("bob").await;
    let method = lockkeeper::sim::merge::Method::Squash;
    let refused = world.sim.merge(REPO, pull.number, "alice", method).await;
    assert!(refused.is_err(), "action_required must block the merge");
    assert!(
        pull.say("alice", "/apply").await.contains("1 of 1 applied"),
        "{}",
        pull.reply().await
    );
    let merged = world.sim.merge(REPO, pull.number, "alice", method).await;
    merged.expect("a merge");
    world.settle().await;
    assert!(pull.status().await.contains("merged"), "{}", pull.status().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_during_a_plan_ends_every_check() {
    let world = World::with(crate::world::Setup::default().watched()).await;
    world.hold("plan", "dns");
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.reached("plan", "dns", 1).await;
    pull.close().await;
    assert_eq!(pull.checks().await, "cancelled cancelled cancelled");
    world.let_go("plan", "dns");
    world.end().await;
}
