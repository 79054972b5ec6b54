//! Owns the journeys of policies: denied, mended, and never loosened by the pull request that they judge.

use crate::world::{Setup, World, module};

const LIBRARY: &str = "version: 1\npolicies: { library: [no-provisioners] }\n";
const OWN: &str = "version: 1\npolicies: { dir: policies }\n";
const NO_EVIL: &str = "package lockkeeper.plan\n\ndeny contains msg if {\n\tsome change in input.plan.resource_changes\n\tcontains(json.marshal(change.change.after), \"evil\")\n\tmsg := sprintf(\"%s is evil\", [change.address])\n}\n";

/// A repository with a policy of its own.
async fn judged() -> World {
    World::with(Setup::chain_and(&[
        ("lockkeeper.yaml", OWN),
        ("policies/evil.rego", NO_EVIL),
    ]))
    .await
}

fn with_provisioner() -> String {
    module("example.org", None)
        + "resource \"terraform_data\" \"run\" {\n  provisioner \"local-exec\" {\n    command = \"true\"\n  }\n}\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_the_library_denies_until_it_is_mended() {
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", LIBRARY)])).await;
    let pull = world.open("dns", &[("dns/main.tf", &with_provisioner())]).await;
    pull.stands("success failure action_required").await;
    let status = pull.status().await;
    assert!(
        status.contains("no-provisioners") && status.contains("A policy denies"),
        "{status}"
    );
    let reply = pull.apply().await;
    assert!(reply.contains("A policy denies the plan of `dns`"), "{reply}");
    let check = pull.stack_check("dns").await;
    assert_eq!(check.conclusion.as_deref(), Some("failure"));

    pull.push(&[("dns/main.tf", &module("example.org", None))]).await;
    pull.stands("success success action_required").await;
    assert!(pull.apply().await.contains("1 of 1 applied"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_repositorys_own_policies_judge() {
    let world = judged().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("evil.example", None))])
        .await;
    pull.stands("success failure action_required").await;
    assert!(
        pull.status().await.contains("terraform\\_data.this is evil"),
        "{}",
        pull.status().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistyped_directory_of_policies_opens_no_gate() {
    let world = World::with(Setup::chain_and(&[
        ("lockkeeper.yaml", "version: 1\npolicies: { dir: polices }\n"),
        ("policies/evil.rego", NO_EVIL),
    ]))
    .await;
    let change = module("example.org", None);
    let pull = world.open("dns", &[("dns/main.tf", &change)]).await;
    let status = pull.status().await;
    assert!(status.contains("lockkeeper.yaml:2:18"), "{status}");
    assert!(status.contains("did you mean `policies`?"), "{status}");
    let checks = pull.checks().await;
    assert_eq!(checks, "failure failure failure");
    let reply = pull.apply().await;
    assert!(!reply.contains("applied"), "{reply}");

    // Mended in the pull request, base's rules still judge it.
    pull.push(&[("lockkeeper.yaml", OWN)]).await;
    pull.stands("failure failure failure").await;
    let status = pull.status().await;
    assert!(status.contains("lockkeeper.yaml:2:18"), "{status}");
    let reply = pull.apply().await;
    assert!(reply.contains("lockkeeper.yaml"), "{reply}");
    assert_eq!(world.state_of("example.org"), None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_cannot_change_the_policies_that_judge_it() {
    let world = judged().await;
    let pull = world
        .open(
            "loosen",
            &[
                ("dns/main.tf", &module("evil.example", None)),
                ("policies/evil.rego", "package lockkeeper.plan\n"),
            ],
        )
        .await;
    pull.stands("success failure action_required").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_cannot_take_the_policies_out_of_the_rules_either() {
    let world = judged().await;
    let pull = world
        .open(
            "loosen",
            &[
                ("dns/main.tf", &module("evil.example", None)),
                ("lockkeeper.yaml", "version: 1\napply: { require: [] }\n"),
            ],
        )
        .await;
    pull.stands("success failure action_required").await;
    assert!(
        pull.status().await.contains("takes effect after the merge"),
        "{}",
        pull.status().await
    );
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("A policy denies") && reply.contains("needs an approval"),
        "{reply}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_cannot_be_read_denies() {
    let world = World::with(Setup::chain_and(&[
        ("lockkeeper.yaml", OWN),
        (
            "policies/broken.rego",
            "package lockkeeper.plan\n\ndeny contains msg if {\n",
        ),
    ]))
    .await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    pull.stands("success failure action_required").await;
    assert!(
        pull.status().await.contains("policies/broken.rego"),
        "{}",
        pull.status().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_is_shown_and_stops_nothing() {
    let warns = NO_EVIL.replace("deny contains", "warn contains");
    let world = World::with(Setup::chain_and(&[
        ("lockkeeper.yaml", OWN),
        ("policies/evil.rego", &warns),
    ]))
    .await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("evil.example", None))])
        .await;
    pull.stands("success success action_required").await;
    assert!(pull.row("dns").await.contains("1 warning"), "{}", pull.status().await);
    assert!(pull.apply().await.contains("1 of 1 applied"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_only_becomes_bad_later_is_stopped_at_its_wave() {
    let world = judged().await;
    let deep = NO_EVIL.replace("\"evil\"", "\"net-evil/cluster\"");
    world.commit("main", "dave", &[("policies/evil.rego", &deep)]).await;
    let pull = world
        .open("net", &[("network/main.tf", &module("net-evil", None))])
        .await;
    pull.stands("success success action_required").await;
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 3 applied"), "{reply}");
    pull.stands("success failure action_required").await;
    let reply = pull.apply().await;
    assert!(reply.contains("A policy denies the plan of `cluster`"), "{reply}");
    assert!(world.state_of("net-evil/cluster").is_none());
    world.end().await;
}

const LABELLED: &str = "version: 1\npolicies: { library: [production-needs-approval-label] }\nstacks:\n  - name: dns\n    dir: dns\n    labels: { env: production }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_taken_away_after_the_plan_counts_at_the_apply() {
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", LABELLED)])).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success failure action_required");
    let label = "production-approved";
    world
        .sim
        .label(crate::world::REPO, pull.number, label, "bob")
        .await
        .expect("a label");
    let reply = pull.apply().await;
    assert!(
        reply.contains("has changed since") && reply.contains("`/plan`"),
        "{reply}"
    );
    pull.say("alice", "/plan").await;
    assert_eq!(pull.checks().await, "success success action_required");

    world
        .sim
        .unlabel(crate::world::REPO, pull.number, label, "bob")
        .await
        .expect("no label");
    let reply = pull.apply().await;
    assert!(reply.contains("0 of 1 applied"), "{reply}");
    assert!(
        pull.status().await.contains("a policy denies the real plan"),
        "{}",
        pull.status().await
    );
    assert!(world.state_of("example.org").is_none());

    world
        .sim
        .label(crate::world::REPO, pull.number, label, "bob")
        .await
        .expect("a label");
    pull.say("alice", "/plan").await;
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    world.end().await;
}
