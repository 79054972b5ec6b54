//! Owns the journeys of the waves: what is downstream is planned again after what it reads was applied.

use crate::journeys::applying::chain_by_names;
use crate::world::{Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_of_an_apply_stays_said() {
    let world = World::new().await;
    let pull = world
        .open("net", &[("network/main.tf", &module("10.1.0.0/16", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    let reply = pull.apply().await;
    assert!(reply.contains("3 of 3 applied"), "{reply}");
    assert_eq!(pull.checks().await, "success success success");
    assert!(world.state_of("10.1.0.0/16/cluster/app").is_some());

    // Word for word.
    let replies = pull.replies().await;
    pull.push(&[("network/main.tf", &module("10.3.0.0/16", None))]).await;
    assert_eq!(pull.replies().await, replies, "after a push");
    pull.merge("alice").await;
    assert_eq!(pull.replies().await, replies, "after the merge");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_cannot_be_followed_shows_its_real_effect_before_it_is_applied() {
    let cluster = module("cluster", Some("network")).replace("up.outputs.value", "up.outputs[var.output]")
        + "variable \"output\" {\n  default = \"value\"\n}\n";
    let world = World::with(Setup::chain_and(&[("cluster/main.tf", &cluster)])).await;
    world
        .deploy(&[("network/main.tf", &module("10.1.0.0/16", None))], 3)
        .await;
    let pull = world
        .open("net", &[("network/main.tf", &module("10.2.0.0/16", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    assert!(
        pull.row("cluster").await.contains("no changes"),
        "{}",
        pull.row("cluster").await
    );
    assert!(
        pull.status().await.contains("today's `network`"),
        "{}",
        pull.status().await
    );
    for left in ["1 of 3", "1 of 2", "1 of 1"] {
        let reply = pull.apply().await;
        assert!(reply.contains(&format!("{left} applied")), "{reply}");
    }
    assert_eq!(pull.checks().await, "success success success");
    assert!(world.state_of("10.2.0.0/16/cluster/app").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_that_turn_out_as_reviewed_go_on_by_themselves() {
    let world = World::with(chain_by_names().watched()).await;
    let pull = world
        .open(
            "all",
            &[
                ("network/main.tf", &module("n2", None)),
                ("cluster/main.tf", &module("c2", None)),
                ("app/main.tf", &module("a2", None)),
            ],
        )
        .await;
    let reply = pull.apply().await;
    assert!(reply.contains("3 of 3 applied"), "{reply}");
    let started = world.started();
    let applies: Vec<&String> = started.iter().filter(|line| line.starts_with("apply ")).collect();
    assert_eq!(applies, ["apply network", "apply cluster", "apply app"]);
    world.end().await;
}

const NOT_UNDIVERGED: &str = "version: 1\napply: { require: [approved, policies_passed, mergeable] }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_moved_in_what_a_stack_reads_is_planned_again_before_the_apply() {
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", NOT_UNDIVERGED)])).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    world
        .commit("main", "dave", &[("dns/note.tf", "# nothing that changes a plan\n")])
        .await;
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");

    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    world.settle().await;
    let more = "resource \"terraform_data\" \"more\" {}\n";
    world.commit("main", "dave", &[("dns/more.tf", more)]).await;
    let reply = pull.apply().await;
    assert!(
        reply.contains("0 of 1 applied") && reply.contains("not what was reviewed"),
        "{reply}"
    );
    assert!(world.state_of("example.net").is_none());
    // What is shown now is what is on the base too.
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    let state = world.state_of("example.net").expect("a state").to_string();
    assert!(state.contains("\"more\""), "{state}");
    world.end().await;
}
