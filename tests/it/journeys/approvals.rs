//! Owns the journeys of approvals: whose counts, when, and what makes one void.

use lockkeeper::sim::state::Verdict;

use crate::world::{Pull, REPO, Setup, World, module};

async fn planned(world: &World) -> Pull<'_> {
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    pull
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_before_the_push_does_not_count() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.approve("bob").await;
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("needs an approval") && reply.contains("The approval of bob does not count"),
        "{reply}"
    );
    assert!(pull.apply().await.contains("1 of 1 applied"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn update_branch_keeps_the_approval() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.approve("bob").await;
    world.commit("main", "dave", &[("README.md", "# other\n")]).await;
    let updated = world.sim.update_branch(REPO, pull.number, "bob").await;
    updated.expect("a merge of the base");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_author_cannot_approve_through_update_branch_either() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.push_by("bob", &[("dns/main.tf", &module("evil.example", None))])
        .await;
    world.settle().await;
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("The approval of bob does not count: they pushed last"),
        "{reply}"
    );
    pull.approve("dave").await;
    assert!(pull.say("alice", "/apply").await.contains("1 of 1 applied"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_author_does_not_approve_himself() {
    let world = World::new().await;
    let pull = planned(&world).await;
    // GitHub refuses this; whoever gets around it still does not count.
    let _ = world.sim.approve(REPO, pull.number, "alice").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("needs an approval"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_readers_approval_does_not_count() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.approve("carol").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("The approval of carol does not count: they have no write access"),
        "{reply}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_requested_after_the_approval_stop_the_apply() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.approve("bob").await.review("bob", Verdict::ChangesRequested).await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("bob requested changes"), "{reply}");
    pull.approve("dave").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("bob requested changes"),
        "another approval does not outvote it: {reply}"
    );
    pull.approve("bob").await;
    assert!(pull.say("alice", "/apply").await.contains("1 of 1 applied"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_readers_request_for_changes_stops_nobody() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.review("carol", Verdict::ChangesRequested).await;
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remark_after_the_approval_does_not_take_it_back() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.approve("bob").await.review("bob", Verdict::Commented).await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dismissed_approval_is_none() {
    let world = World::new().await;
    let pull = planned(&world).await;
    let review = world.sim.approve(REPO, pull.number, "bob").await.expect("a review");
    let done = world.sim.dismiss_review(REPO, pull.number, review, "dave").await;
    done.expect("a dismissal");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("needs an approval"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_approvals_are_two_people() {
    let config = "version: 1\napply: { approvals: { count: 2 } }\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", config)])).await;
    let pull = planned(&world).await;
    pull.approve("bob").await.approve("bob").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("needs 2 approvals and has 1"), "{reply}");
    pull.approve("dave").await;
    assert!(pull.say("alice", "/apply").await.contains("1 of 1 applied"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_requirement_nobody_has_to_approve() {
    let config = "version: 1\napply: { require: [mergeable, undiverged] }\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", config)])).await;
    let pull = planned(&world).await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_required_check_must_pass_first() {
    let world = World::new().await;
    let rules = lockkeeper::sim::protection::Rules::require(["ci", "lockkeeper/apply"], 0);
    world.sim.protect(REPO, "main", rules).await.expect("rules");
    let pull = planned(&world).await;
    let reply = pull.apply().await;
    assert!(reply.contains("`ci` has not reported"), "{reply}");
    assert!(
        !reply.contains("lockkeeper/apply"),
        "ours does not wait for itself: {reply}"
    );
    let done = world.sim.other_check(REPO, pull.number, "ci", Some("success")).await;
    done.expect("a check");
    assert!(
        pull.say("alice", "/apply").await.contains("1 of 1 applied"),
        "{}",
        pull.reply().await
    );
    world.end().await;
}
