//! Owns the journeys of locks: two pull requests on one stack, and how a lock ends.

use lockkeeper::sim::state::Role;

use crate::world::{REPO, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_pull_request_on_a_stack_waits_for_the_first() {
    let world = World::new().await;
    let first = world.open("first", &[("dns/main.tf", &module("first", None))]).await;
    let second = world
        .open(
            "second",
            &[("dns/extra.tf", "resource \"terraform_data\" \"extra\" {}\n")],
        )
        .await;
    assert!(first.apply().await.contains("1 of 1 applied"));
    let reply = second.apply().await;
    assert!(reply.contains("`dns` is locked by #1"), "{reply}");
    assert!(
        second.status().await.contains("locked by #1"),
        "{}",
        second.status().await
    );

    first.merge("alice").await;
    assert!(
        !second.status().await.contains("locked by"),
        "{}",
        second.status().await
    );
    let reply = second.say("alice", "/apply").await;
    assert!(reply.contains("/plan"), "main moved under it: {reply}");
    let reply = second.say("alice", "/plan").await;
    assert!(reply.contains("+1 ~0 -0"), "{reply}");
    assert!(
        second.apply().await.contains("1 of 1 applied"),
        "{}",
        second.reply().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlock_gives_the_stack_to_the_next_one() {
    let world = World::new().await;
    let first = world.open("first", &[("dns/main.tf", &module("first", None))]).await;
    let second = world.open("second", &[("dns/main.tf", &module("second", None))]).await;
    assert!(first.apply().await.contains("1 of 1 applied"));
    let reply = second.say("alice", "/unlock dns").await;
    assert!(reply.contains("locked by #1") && reply.contains("there"), "{reply}");
    let reply = first.say("carol", "/unlock dns").await;
    assert!(reply.contains("write access"), "{reply}");
    let reply = first.say("bob", "/unlock dns").await;
    assert!(reply.contains("Unlocked `dns`"), "{reply}");
    let reply = first.say("bob", "/unlock").await;
    assert!(reply.contains("No lock was held"), "{reply}");
    world.settle().await;
    second.approve("bob").await;
    let reply = second.say("alice", "/apply").await;
    assert!(!reply.contains("locked by"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_gives_the_lock_up_and_says_what_was_applied() {
    let world = World::new().await;
    let first = world.open("first", &[("dns/main.tf", &module("first", None))]).await;
    assert!(first.apply().await.contains("1 of 1 applied"));
    first.close().await;
    let status = first.status().await;
    assert!(
        status.contains("`dns` was applied from here and is not in the base branch"),
        "{status}"
    );
    let second = world.open("second", &[("dns/main.tf", &module("second", None))]).await;
    assert!(second.row("dns").await.contains("~1"), "{}", second.status().await);
    assert!(
        second.apply().await.contains("1 of 1 applied"),
        "{}",
        second.reply().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_merged_before_it_was_applied_is_continued_by_the_next_one() {
    let world = World::new().await;
    let failing = module("first", None)
        + "resource \"terraform_data\" \"run\" {\n  provisioner \"local-exec\" {\n    command = \"exit 1\"\n  }\n}\n";
    let first = world.open("first", &[("dns/main.tf", &failing)]).await;
    assert!(first.apply().await.contains("0 of 1 applied"));
    first.merge("alice").await;
    world.settle().await;
    assert!(first.status().await.contains("not applied"), "{}", first.status().await);
    let second = world.open("second", &[("dns/main.tf", &module("second", None))]).await;
    let reply = second.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlock_under_a_running_apply_is_refused() {
    let world = World::with(crate::world::Setup::default().watched()).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    world.hold("apply", "dns");
    pull.approve("bob").await.comment("alice", "/apply").await;
    world.reached("apply", "dns", 1).await;
    pull.comment("bob", "/unlock dns").await;
    let reply = pull.reply_to("/unlock dns").await;
    assert!(reply.contains("being applied"), "{reply}");
    pull.close().await;
    world.let_go("apply", "dns");
    world.settle().await;
    assert!(world.state_of("example.org").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_repository_on_the_same_state_shares_the_lock() {
    // Both keep it in an absolute local file, which the operator has not allowed: refused with that reason.
    let world = World::new().await;
    world
        .sim
        .create_repo("acme/other", false, &[("README.md", "")])
        .await
        .expect("a repository");
    world
        .sim
        .set_role("acme/other", "alice", Role::Write)
        .await
        .expect("a role");
    let text = "terraform {\n  backend \"local\" {\n    path = \"/var/lib/shared/terraform.tfstate\"\n  }\n}\nresource \"terraform_data\" \"x\" {}\n";
    let pull = world.open("absolute", &[("dns/main.tf", text)]).await;
    assert!(pull.checks().await.starts_with("failure"), "{}", pull.status().await);
    assert!(
        pull.status().await.contains("/var/lib/shared"),
        "{}",
        pull.status().await
    );
    let _ = REPO;
    world.end().await;
}
