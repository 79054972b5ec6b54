//! Owns the journeys of an apply: of one stack, of several, of one that fails.

use crate::world::{Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stack_is_planned_approved_and_applied() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    pull.comment("alice", "/apply").await;
    assert!(
        pull.reply().await.contains("needs an approval"),
        "{}",
        pull.reply().await
    );
    pull.approve("bob").await;
    pull.comment("alice", "/apply").await;
    assert!(pull.reply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(pull.checks().await, "success success success");
    assert!(world.state_of("example.org").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_acknowledged_and_has_one_reply_that_mentions_its_author() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    pull.apply().await;
    let shown = pull.shown().await;
    let said = shown.comments_by("alice")[0];
    assert_eq!(said.reactions, ["lockkeeper[bot] eyes"]);
    let replies = pull.replies().await;
    assert_eq!(replies.len(), 1, "{replies:?}");
    assert!(replies[0].starts_with("@alice `/apply`"), "{}", replies[0]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_with_nothing_left_says_so() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    pull.apply().await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("Nothing is left to apply"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_without_changes_needs_no_apply() {
    let world = World::new().await;
    world.deploy(&[("dns/main.tf", &module("example.org", None))], 1).await;
    let same = format!("# a comment\n{}", module("example.org", None));
    let pull = world.open("dns", &[("dns/main.tf", &same)]).await;
    assert_eq!(
        pull.checks().await,
        "success success success",
        "{}",
        pull.status().await
    );
    let row = pull.row("dns").await;
    assert!(row.contains("no changes") && row.contains("nothing to do"), "{row}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_apply_is_resumed_by_saying_apply_again() {
    let world = World::with(chain_by_names().watched()).await;
    let mended = world.dir.path().join("mended");
    let failing = format!(
        "{}resource \"terraform_data\" \"check\" {{\n  lifecycle {{\n    precondition {{\n      condition     = fileexists(terraform_data.this.output == \"\" ? \"/\" : \"{}\")\n      error_message = \"the quota is used up\"\n    }}\n  }}\n}}\n",
        module("cluster", None),
        mended.display()
    );
    let pull = world
        .open(
            "fails",
            &[
                ("network/main.tf", &module("10.1.0.0/16", None)),
                ("cluster/main.tf", &failing),
            ],
        )
        .await;
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 3 applied"), "{reply}");
    assert!(reply.contains("`/apply`"), "{reply}");
    assert!(pull.row("cluster").await.contains("apply failed"));
    assert!(pull.row("app").await.contains("skipped"), "{}", pull.row("app").await);
    assert_eq!(pull.checks().await, "success success failure");
    assert!(
        pull.status().await.contains("the quota is used up"),
        "{}",
        pull.status().await
    );
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("0 of 2 applied"), "{reply}");

    std::fs::write(mended, "").expect("a file");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("2 of 2 applied"), "{reply}\n{}", pull.status().await);
    assert_eq!(pull.checks().await, "success success success");
    let started = world.started();
    assert_eq!(
        started.iter().filter(|line| *line == "apply network").count(),
        1,
        "{started:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_apply_is_mended_by_a_push() {
    let world = World::new().await;
    let failing = format!(
        "{}resource \"terraform_data\" \"check\" {{\n  provisioner \"local-exec\" {{\n    command = \"echo it-broke; exit 3\"\n  }}\n}}\n",
        module("example.org", None)
    );
    let pull = world.open("fails", &[("dns/main.tf", &failing)]).await;
    let reply = pull.apply().await;
    assert!(reply.contains("0 of 1 applied"), "{reply}");
    assert_eq!(pull.checks().await, "success success failure");
    pull.push(&[("dns/main.tf", &module("example.org", None))]).await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_refuses_while_plans_are_running() {
    let world = World::with(Setup::default().watched()).await;
    world.hold("plan", "dns");
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.reached("plan", "dns", 1).await;
    pull.approve("bob").await.comment("alice", "/apply").await;
    let reply = pull.reply_soon().await;
    assert!(reply.contains("1 plan is still running"), "{reply}");
    world.let_go("plan", "dns");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_is_not_applied_before_what_it_needs() {
    let world = World::with(chain_by_names()).await;
    let pull = world
        .open(
            "both",
            &[
                ("network/main.tf", &module("10.1.0.0/16", None)),
                ("app/main.tf", &module("app2", None)),
            ],
        )
        .await;
    world.settle().await;
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply app").await;
    assert!(reply.contains("`app` waits for"), "{reply}");
    let reply = pull.say("alice", "/apply network").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    assert!(pull.checks().await.ends_with("action_required"));
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("2 of 2 applied"), "{reply}\n{}", pull.status().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unrelated_stacks_go_on_when_one_fails() {
    let world = World::new().await;
    let failing = module("example.org", None)
        + "resource \"terraform_data\" \"check\" {\n  provisioner \"local-exec\" {\n    command = \"exit 3\"\n  }\n}\n";
    let pull = world
        .open(
            "two",
            &[("dns/main.tf", &failing), ("other/main.tf", &module("other", None))],
        )
        .await;
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 2 applied"), "{reply}");
    assert!(pull.row("other").await.contains("applied"));
    assert!(world.state_of("other").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_by_half_is_to_be_replaced_and_that_is_asked_for() {
    let world = World::with(Setup::default().watched()).await;
    let mended = world.dir.path().join("mended");
    let failing = format!(
        "{}resource \"terraform_data\" \"run\" {{\n  provisioner \"local-exec\" {{\n    command = \"test -e {}\"\n  }}\n}}\n",
        module("example.org", None),
        mended.display()
    );
    let pull = world.open("fails", &[("dns/main.tf", &failing)]).await;
    assert!(pull.apply().await.contains("0 of 1 applied"));
    std::fs::write(mended, "").expect("a file");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("not what was reviewed"), "{reply}");
    assert!(
        pull.status().await.contains("would be replaced"),
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}

/// network → cluster → app, bound by names alone: every stack can be planned before the others are applied.
pub fn chain_by_names() -> Setup {
    let config = "version: 1\nstacks:\n  - dir: network\n  - dir: cluster\n    depends_on: [network]\n  - dir: app\n    depends_on: [cluster]\n";
    Setup::only(&[
        ("lockkeeper.yaml", config),
        ("network/main.tf", &module("10.0.0.0/16", None)),
        ("cluster/main.tf", &module("cluster", None)),
        ("app/main.tf", &module("app", None)),
    ])
}

/// An approved apply of dns that has its ticket and waits for the one tool that there is.
async fn waiting_for_the_tool() -> (World, u64) {
    let setup = Setup {
        parallel: 1,
        ..Setup::default()
    };
    let world = World::with(setup.watched()).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    pull.approve("bob").await;
    world.hold("plan", "network");
    world
        .open("network", &[("network/main.tf", &module("10.2.0.0/16", None))])
        .await;
    world.reached("plan", "network", 1).await;
    pull.comment("alice", "/apply").await;
    let reply = pull.reply_to("Applying").await;
    assert!(reply.contains("Applying"), "{reply}");
    let number = pull.number;
    (world, number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_applied_of_what_became_a_draft_after_the_ticket() {
    let (world, number) = waiting_for_the_tool().await;
    let pull = world.known(number, "dns");
    let draft = world.sim.convert_to_draft(crate::world::REPO, number, "alice").await;
    draft.expect("a draft");
    world.sim.outbox_idle().await;
    world.let_go("plan", "network");
    let status = pull.status().await;
    assert!(status.contains("the pull request is a draft now"), "{status}");
    assert!(world.state_of("example.org").is_none());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_applied_under_a_gate_that_moved_after_the_ticket() {
    let (world, number) = waiting_for_the_tool().await;
    let pull = world.known(number, "dns");
    world
        .commit("main", "dave", &[("lockkeeper.yaml", "version: 1\n")])
        .await;
    world.let_go("plan", "network");
    let status = pull.status().await;
    assert!(
        status.contains("main has changed") && status.contains("lockkeeper.yaml") && status.contains("/plan"),
        "{status}"
    );
    assert!(world.state_of("example.org").is_none());
    pull.say("alice", "/plan").await;
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}
