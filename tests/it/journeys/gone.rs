//! Owns the journeys of stacks that go away: destroyed only by their name, moved, or no longer managed.

use crate::world::{Setup, World, module};

/// Two stacks that have nothing to do with each other, applied and merged.
async fn two() -> World {
    let world = World::with(Setup::only(&[
        ("dns/main.tf", &module("none", None)),
        ("web/main.tf", &module("none", None)),
    ]))
    .await;
    let files = [
        ("dns/main.tf", module("example.org", None)),
        ("web/main.tf", module("page", None)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.deploy(&files, 1).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_stack_is_destroyed_only_by_its_name() {
    let world = two().await;
    world
        .commit("gone", "alice", &[("web/main.tf", &module("other", None))])
        .await;
    let pull = world.removing(&["dns/main.tf"]).await;
    pull.stands("success success action_required").await;
    let row = pull.row("dns").await;
    assert!(
        row.contains("its files are gone") && row.contains("destroy plan: -1"),
        "{row}"
    );
    let status = pull.status().await;
    for shown in [
        "1 stack to apply: comment `/apply`. 🗑 1 stack to destroy: comment `/apply dns`.",
        "**This is a destroy plan**",
        "terraform_data.this will be destroyed",
    ] {
        assert!(status.contains(shown), "{shown} in {status}");
    }
    let check = pull.stack_check("dns").await;
    assert_eq!(
        check.title.as_deref(),
        Some("destroy plan: -1 · destroyed only by /apply dns")
    );
    assert_eq!(check.buttons, ["plan"], "no button destroys");
    let apply = pull.check("lockkeeper/apply").await;
    assert_eq!(
        apply.title.as_deref(),
        Some("1 stack to apply: comment /apply; 1 stack to destroy: comment /apply dns")
    );

    let reply = pull.apply().await;
    assert!(
        reply.contains("1 of 1 applied") && reply.contains("Left out") && reply.contains("say `/apply dns`"),
        "{reply}"
    );
    assert_eq!(world.states(), ["example.org", "other"]);
    let reply = pull.say("alice", "/apply").await;
    assert!(
        reply.contains("`dns` would be destroyed, and only a comment that names it does that. Say `/apply dns`."),
        "{reply}"
    );
    let reply = pull.say("alice", "/apply -d dns").await;
    assert!(reply.contains("only a comment that names it"), "{reply}");
    pull.stands("success success action_required").await;
    assert_eq!(world.states(), ["example.org", "other"]);

    let reply = pull.say("alice", "/apply dns").await;
    assert!(
        reply.contains("1 of 1 applied") && reply.contains("destroyed"),
        "{reply}"
    );
    assert_eq!(world.states(), ["-", "other"]);
    pull.stands("success success success").await;
    pull.merge("alice").await;
    let next = world.open("next", &[("README.md", "# none\n")]).await;
    next.stands("success success success").await;
    assert!(next.status().await.contains("there is 1"), "{}", next.status().await);
    world.end().await;
}

/// network ← app, applied and merged.
async fn network_and_app(setup: fn(Setup) -> Setup) -> World {
    let files = [
        ("network/main.tf", module("none", None)),
        ("app/main.tf", module("app", Some("network"))),
        ("README.md", "# infra\n".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let world = World::with(setup(Setup::only(&files))).await;
    world.deploy(&[("network/main.tf", &module("10/8", None))], 2).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_another_is_destroyed_before_it() {
    let world = network_and_app(Setup::watched).await;
    let pull = world.removing(&["network/main.tf", "app/main.tf"]).await;
    pull.stands("success success action_required").await;
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply network").await;
    assert!(
        reply.contains("`network` waits for `app`. Say `/apply app network`."),
        "{reply}"
    );
    let before = world.started().len();
    let reply = pull.say("alice", "/apply network app").await;
    assert!(reply.contains("2 of 2 applied"), "{reply}");
    let started = world.started();
    let applies: Vec<&String> = started[before..]
        .iter()
        .filter(|line| line.starts_with("apply "))
        .collect();
    assert_eq!(applies, ["apply app", "apply network"]);
    assert_eq!(world.states(), ["-", "-"]);
    pull.stands("success success success").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_is_still_read_cannot_go_and_both_lines_are_named() {
    let world = network_and_app(|setup| setup).await;
    let pull = world.removing(&["network/main.tf"]).await;
    pull.stands("failure failure failure").await;
    let status = pull.status().await;
    for stack in ["app", "network"] {
        let row = pull.row(stack).await;
        assert!(row.contains("cannot be planned"), "{row}");
    }
    assert!(
        status.contains("app/main.tf:7") && status.contains("network/main.tf:2"),
        "{status}"
    );
    let check = pull.check("lockkeeper: app").await;
    assert_eq!(check.annotations[0]["path"], "app/main.tf", "{check:?}");
    assert_eq!(check.annotations[0]["start_line"], 7);
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply network").await;
    assert!(reply.contains("`network` could not be planned"), "{reply}");
    assert_eq!(world.states(), ["10/8", "10/8/app"]);

    // The reader lets go in the same pull request: it is applied first.
    pull.push(&[("app/main.tf", &module("alone", None))]).await;
    pull.stands("success success action_required").await;
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply network").await;
    assert!(reply.contains("`network` waits for `app`"), "{reply}");
    let reply = pull.say("alice", "/apply network app").await;
    assert!(reply.contains("2 of 2 applied"), "{reply}");
    assert_eq!(world.states(), ["-", "alone"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_renamed_with_its_state_is_an_ordinary_change() {
    let text = |value: &str| {
        let backend = "backend \"local\" {\n    path = \"../states/dns.tfstate\"\n  }";
        module(value, None).replace("backend \"local\" {}", backend)
    };
    let world = World::with(Setup::only(&[("old/main.tf", &text("none"))])).await;
    world.deploy(&[("old/main.tf", &text("example.org"))], 1).await;
    world
        .commit("move", "alice", &[("new/main.tf", &text("example.net"))])
        .await;
    world.remove("move", "alice", &["old/main.tf"]).await;
    let pull = world.pull("move", "main").await;
    pull.stands("success success action_required").await;
    let row = pull.row("new").await;
    assert!(row.contains("was `old`") && row.contains("+0 ~1 -0"), "{row}");
    assert!(!pull.status().await.contains("destroy plan"), "{}", pull.status().await);
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["example.net"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_discovery_is_told_by_name_and_destroyed_never() {
    let world = two().await;
    let config = "version: 1\ndiscover: { include: [web] }\n";
    let pull = world.open("leave", &[("lockkeeper.yaml", config)]).await;
    pull.stands("success success success").await;
    let status = pull.status().await;
    assert!(
        status.contains("dns is no longer managed") && status.contains("`discover.include`"),
        "{status}"
    );
    let reply = pull.say("alice", "/apply dns").await;
    assert!(reply.contains("is not a stack of this pull request"), "{reply}");
    assert_eq!(world.states(), ["example.org", "page"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_excluded_before_can_be_removed_without_being_destroyed() {
    let world = two().await;
    let config = "version: 1\ndiscover: { exclude: [dns] }\n";
    world.commit("exclude", "alice", &[("lockkeeper.yaml", config)]).await;
    let pull = world.pull("exclude", "main").await;
    let status = pull.status().await;
    assert!(
        status.contains("dns is no longer managed after the merge") && status.contains("nothing of it is destroyed"),
        "{status}"
    );
    // In the pull request that excludes it, it goes like any other.
    world.remove("exclude", "alice", &["dns/main.tf"]).await;
    assert!(
        pull.row("dns").await.contains("destroy plan: -1"),
        "{}",
        pull.status().await
    );
    pull.push(&[("dns/main.tf", &module("example.org", None))]).await;
    pull.stands("success success success").await;
    pull.merge("alice").await;

    world.settle().await;
    world.remove("next", "alice", &["dns/main.tf"]).await;
    let next = world.pull("next", "main").await;
    next.stands("success success success").await;
    assert!(
        next.status().await.contains("touches no stack"),
        "{}",
        next.status().await
    );
    assert_eq!(world.states(), ["example.org", "page"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_brings_it_back_supersedes_the_destroy_plan() {
    let world = two().await;
    let pull = world.removing(&["dns/main.tf"]).await;
    assert!(pull.row("dns").await.contains("destroy plan: -1"));
    pull.approve("bob").await;
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    let row = pull.row("dns").await;
    assert!(row.contains("+0 ~1 -0") && !row.contains("destroy"), "{row}");
    let reply = pull.say("alice", "/apply dns").await;
    assert!(
        reply.contains("the code changed since"),
        "an approval of the removal is none of the change: {reply}"
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["example.net", "page"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_destroyed_and_not_merged_would_be_made_anew() {
    let world = two().await;
    let pull = world.removing(&["dns/main.tf"]).await;
    pull.shown().await;
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply dns").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    pull.close().await;
    let status = pull.status().await;
    assert!(
        status.contains("`dns` was destroyed from here and is still in the base branch"),
        "{status}"
    );
    let next = world.open("next", &[("dns/main.tf", &module("again", None))]).await;
    assert!(next.row("dns").await.contains("+1 ~0 -0"), "{}", next.status().await);
    assert!(next.apply().await.contains("1 of 1 applied"), "{}", next.reply().await);
    assert_eq!(world.states(), ["again", "page"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_before_the_destroy_leaves_what_it_made_and_says_so() {
    let world = two().await;
    let pull = world.removing(&["dns/main.tf"]).await;
    pull.shown().await;
    pull.merge("alice").await;
    let status = pull.status().await;
    assert!(
        status.contains("not destroyed") && status.contains("Bring the files back in a new pull request"),
        "{status}"
    );
    assert_eq!(world.states(), ["example.org", "page"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_knows_a_destroy_plan() {
    let no_end = "package lockkeeper.plan\n\ndeny contains msg if {\n\tinput.plan_kind == \"destroy\"\n\tinput.stack.labels.keep == \"yes\"\n\tmsg := sprintf(\"%s stays\", [input.stack.name])\n}\n";
    let config =
        "version: 1\npolicies: { dir: policies }\nstacks:\n  - { name: dns, dir: dns, labels: { keep: \"yes\" } }\n";
    let world = World::with(Setup::only(&[
        ("lockkeeper.yaml", config),
        ("policies/keep.rego", no_end),
        ("dns/main.tf", &module("none", None)),
    ]))
    .await;
    world.deploy(&[("dns/main.tf", &module("example.org", None))], 1).await;
    world.remove("gone", "alice", &["dns/main.tf"]).await;
    let bare = "version: 1\npolicies: { dir: policies }\n";
    world.commit("gone", "alice", &[("lockkeeper.yaml", bare)]).await;
    let pull = world.pull("gone", "main").await;
    pull.stands("success failure action_required").await;
    assert!(pull.status().await.contains("dns stays"), "{}", pull.status().await);
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply dns").await;
    assert!(reply.contains("A policy denies the plan of `dns`"), "{reply}");
    assert_eq!(world.states(), ["example.org"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_destroyed_on_a_base_that_has_moved() {
    let world = two().await;
    let pull = world.removing(&["dns/main.tf"]).await;
    pull.shown().await;
    pull.approve("bob").await;
    // Somebody else begins to read it.
    world
        .commit("main", "dave", &[("app/main.tf", &module("app", Some("dns")))])
        .await;
    let reply = pull.say("alice", "/apply dns").await;
    assert!(
        reply.contains("main has moved since the destroy plan of `dns` was made"),
        "{reply}"
    );
    pull.say("alice", "/plan").await;
    assert!(pull.checks().await.starts_with("failure"), "{}", pull.status().await);
    let status = pull.status().await;
    assert!(status.contains("app still reads the state of dns"), "{status}");
    assert_eq!(world.states(), ["example.org", "page"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_moves_during_the_wave_stops_what_goes_next() {
    let world = network_and_app(Setup::watched).await;
    let pull = world.removing(&["network/main.tf", "app/main.tf"]).await;
    pull.shown().await;
    pull.approve("bob").await;
    world.settle().await;
    let applies = world.started().iter().filter(|line| *line == "apply app").count();
    world.hold("apply", "app");
    pull.comment("alice", "/apply network app").await;
    world.reached("apply", "app", applies + 1).await;
    // Somebody else begins to read the network while the app is being destroyed.
    world
        .commit("main", "dave", &[("web/main.tf", &module("web", Some("network")))])
        .await;
    world.let_go("apply", "app");
    let row = pull.row("network").await;
    assert!(row.contains("apply failed"), "{row}");
    let status = pull.status().await;
    assert!(
        status.contains("main has moved since its destroy plan was made"),
        "{status}"
    );
    assert_eq!(world.states(), ["-", "10/8"]);
    pull.stands("success success failure").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_was_never_applied_has_nothing_to_destroy() {
    let config = "version: 1\nstacks:\n  - { name: app, dir: app, workspace: prod, depends_on: [network] }\n";
    let world = World::with(Setup::only(&[
        ("lockkeeper.yaml", config),
        ("network/main.tf", &module("10/8", None)),
        ("app/main.tf", &module("app", Some("network"))),
    ]))
    .await;
    let pull = world.removing(&["app/main.tf", "lockkeeper.yaml"]).await;
    pull.stands("success success success").await;
    let row = pull.row("app").await;
    assert!(row.contains("nothing to destroy"), "{row}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_an_upstream_gives_is_given_to_the_destroy_too() {
    let config = "version: 1\nstacks:\n  - { name: network, dir: network }\n  - { name: app, dir: app, depends_on: [{ stack: network, outputs: { value: cidr } }] }\n";
    let app = "terraform {\n  backend \"local\" {}\n}\nvariable \"cidr\" {}\nresource \"terraform_data\" \"this\" {\n  input = var.cidr\n}\noutput \"value\" {\n  value = var.cidr\n}\n";
    let world = World::with(Setup::only(&[
        ("lockkeeper.yaml", config),
        ("network/main.tf", &module("none", None)),
        ("app/main.tf", app),
    ]))
    .await;
    world.deploy(&[("network/main.tf", &module("10/8", None))], 2).await;
    let alone = "version: 1\nstacks:\n  - { name: network, dir: network }\n";
    world.commit("gone", "alice", &[("lockkeeper.yaml", alone)]).await;
    let pull = world.removing(&["app/main.tf"]).await;
    assert!(
        pull.row("app").await.contains("destroy plan: -1"),
        "{}",
        pull.status().await
    );
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply app").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    assert_eq!(world.states(), ["-", "10/8"]);
    world.end().await;
}
