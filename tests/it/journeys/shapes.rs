//! Owns the journeys of a repository's shape: what a pull request adds, removes, leaves out, and what a stack is.

use lockkeeper::sim::state::Role;

use crate::world::{REPO, Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_adds_a_stack_together_with_its_edge() {
    let config = "version: 1\nstacks:\n  - dir: network\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", config)])).await;
    let added = format!("{config}  - dir: cache\n    depends_on: [network]\n");
    let pull = world
        .open(
            "cache",
            &[
                ("lockkeeper.yaml", &added),
                ("cache/main.tf", &module("redis", None)),
                ("network/main.tf", &module("10.1.0.0/16", None)),
            ],
        )
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    pull.row("cache").await;
    let reply = pull.say("alice", "/apply cache").await;
    assert!(
        reply.contains("`cache` waits for `network`") && reply.contains("/apply cache network"),
        "{reply}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exclusion_takes_effect_after_the_merge() {
    let world = World::new().await;
    let pull = world
        .open(
            "exclude",
            &[
                ("lockkeeper.yaml", "version: 1\ndiscover: { exclude: [dns] }\n"),
                ("dns/main.tf", &module("example.org", None)),
            ],
        )
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    pull.row("dns").await;
    assert!(
        pull.status().await.contains("takes effect after the merge"),
        "{}",
        pull.status().await
    );
    pull.merge("bob").await;
    let next = world
        .open("next", &[("dns/main.tf", &module("example.net", None))])
        .await;
    assert_eq!(next.checks().await, "success success success");
    assert!(
        next.status().await.contains("touches no stack"),
        "{}",
        next.status().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stacks_on_one_state_are_an_error_on_both() {
    let shared = "terraform {\n  backend \"local\" {\n    path = \"../shared/terraform.tfstate\"\n  }\n}\n";
    let one = format!("{shared}resource \"terraform_data\" \"one\" {{}}\n");
    let two = format!("{shared}resource \"terraform_data\" \"two\" {{}}\n");
    let world = World::new().await;
    let pull = world
        .open("twins", &[("one/main.tf", &one), ("two/main.tf", &two)])
        .await;
    assert_eq!(pull.checks().await, "failure failure failure");
    for stack in ["one", "two"] {
        assert!(
            pull.row(stack).await.contains("cannot be planned"),
            "{}",
            pull.status().await
        );
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn var_files_and_labels_of_a_stack_are_used() {
    let config = "version: 1\nstacks:\n  - name: dns-prod\n    dir: dns\n    var_files: [prod.tfvars]\n";
    let world = World::with(Setup::chain_and(&[
        ("lockkeeper.yaml", config),
        ("dns/prod.tfvars", "value = \"prod.example.com\"\n"),
    ]))
    .await;
    let pull = world
        .open("vars", &[("dns/prod.tfvars", "value = \"prod.example.org\"\n")])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    assert!(pull.row("dns-prod").await.contains("dns/prod.tfvars"));
    assert!(pull.apply().await.contains("1 of 1 applied"));
    assert!(world.state_of("prod.example.org").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_workspace_of_a_directory_is_a_stack_with_a_state_of_its_own() {
    let config = "version: 1\nstacks:\n  - name: dns-prod\n    dir: dns\n    workspace: prod\n  - name: dns-test\n    dir: dns\n    workspace: test\n    var_files: [test.tfvars]\n";
    let tfvars = "value = \"test.example\"\n";
    let world = World::with(Setup::chain_and(&[
        ("lockkeeper.yaml", config),
        ("dns/test.tfvars", tfvars),
    ]))
    .await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("2 of 2 applied"), "{}", pull.reply().await);
    for value in ["example.org", "test.example"] {
        assert!(world.state_of(value).is_some(), "{value}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_of_opentofu_is_planned_and_applied_by_it() {
    let config = "version: 1\nstacks:\n  - dir: dns\n    tool: opentofu\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", config)])).await;
    if !world.has_tofu() {
        eprintln!("not proven here: tofu is not on the PATH");
        return world.end().await;
    }
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert!(world.state_of("example.org").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_is_not_installed_is_a_clear_failure() {
    let config = "version: 1\nstacks:\n  - dir: dns\n    tool: opentofu\n";
    let setup = Setup {
        path: Some("/nonexistent".to_owned()),
        ..Setup::chain_and(&[("lockkeeper.yaml", config)])
    };
    let world = World::with(setup).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "failure failure failure");
    let status = pull.status().await;
    assert!(status.contains("tofu") && status.contains("not installed"), "{status}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_fit_names_both() {
    let world = World::new().await;
    let text = module("example.org", None).replace("terraform {", "terraform {\n  required_version = \"~> 0.11.0\"");
    let pull = world.open("dns", &[("dns/main.tf", &text)]).await;
    assert_eq!(pull.checks().await, "failure failure failure");
    let status = pull.status().await;
    assert!(
        status.contains("0.11.0") && status.contains("this server has terraform"),
        "{status}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_module_selects_every_stack_that_reads_it() {
    let caller = |backend: &str| {
        format!(
            "terraform {{\n  backend \"local\" {{}}\n}}\nmodule \"m\" {{\n  source = \"../modules/m\"\n  name = \"{backend}\"\n}}\n"
        )
    };
    let inner = "variable \"name\" {}\nresource \"terraform_data\" \"this\" {\n  input = var.name\n}\n";
    let world = World::with(Setup::only(&[
        ("a/main.tf", &caller("a")),
        ("b/main.tf", &caller("b")),
        ("c/main.tf", &module("c", None)),
        ("modules/m/main.tf", inner),
    ]))
    .await;
    let changed = inner.replace("var.name", "upper(var.name)");
    let pull = world.open("module", &[("modules/m/main.tf", &changed)]).await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    for stack in ["a", "b"] {
        assert!(pull.row(stack).await.contains("modules/m/main.tf"));
    }
    assert!(!pull.status().await.contains("`c`"));
    assert!(pull.apply().await.contains("2 of 2 applied"), "{}", pull.reply().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_is_planned_like_any_other() {
    let setup = Setup {
        private: true,
        ..Setup::default()
    };
    let world = World::with(setup).await;
    world.sim.set_role(REPO, "mallory", Role::None).await.expect("a role");
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    world.end().await;
}
