//! Owns the journeys of values that go from one stack to the next by `depends_on.outputs`.

use crate::world::{Pull, Setup, World, module};

const CONFIG: &str = "version: 1\nstacks:\n  - dir: network\n  - dir: app\n    depends_on:\n      - stack: network\n        outputs: { value: subnet }\n";

fn app() -> String {
    "terraform {\n  backend \"local\" {}\n}\nvariable \"subnet\" {}\nresource \"terraform_data\" \"this\" {\n  input = \"app in ${var.subnet}\"\n}\noutput \"value\" {\n  value = terraform_data.this.output\n}\n".to_owned()
}

fn setup() -> Setup {
    Setup::only(&[
        ("lockkeeper.yaml", CONFIG),
        ("network/main.tf", &module("10.0.0.0/16", None)),
        ("app/main.tf", &app()),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_becomes_a_variable_downstream() {
    let world = World::with(setup()).await;
    let pull = world
        .open("net", &[("network/main.tf", &module("10.1.0.0/16", None))])
        .await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    // What nobody knows yet is reviewed as unknown, and shown when it is known.
    assert!(
        pull.status().await.contains("(known after apply)"),
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("2 of 2 applied"), "{}", pull.reply().await);
    assert!(
        pull.status().await.contains("app in 10.1.0.0/16"),
        "{}",
        pull.status().await
    );
    assert!(world.state_of("app in 10.1.0.0/16").is_some());
    pull.merge("alice").await;

    // The upstream is not in the next run: it is asked for its outputs.
    let changed = app().replace("app in", "the app in");
    let next = world.open("app", &[("app/main.tf", &changed)]).await;
    assert_eq!(
        next.checks().await,
        "success success action_required",
        "{}",
        next.status().await
    );
    assert!(
        next.status().await.contains("the app in 10.1.0.0/16"),
        "{}",
        next.status().await
    );
    assert!(next.apply().await.contains("1 of 1 applied"), "{}", next.reply().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_sensitive_upstream_is_shown_nowhere() {
    let secret =
        module("hunter2-very-secret", None).replace("output \"value\" {", "output \"value\" {\n  sensitive = true");
    let world = World::with(Setup::only(&[
        ("lockkeeper.yaml", CONFIG),
        ("network/main.tf", &secret),
        ("app/main.tf", &app()),
    ]))
    .await;
    let marked = "terraform {\n  backend \"local\" {}\n}\nvariable \"value\" {\n  default = \"hunter2-very-secret\"\n  sensitive = true\n}\nresource \"terraform_data\" \"this\" {\n  input = var.value\n}\noutput \"value\" {\n  value = terraform_data.this.output\n  sensitive = true\n}\n";
    let pull = world.open("net", &[("network/main.tf", marked)]).await;
    let reply = pull.apply().await;
    assert!(reply.contains("2 of 2 applied"), "{reply}\n{}", pull.status().await);
    let changed = app().replace("app in", "the app in");
    pull.merge("alice").await;
    let next = world.open("app", &[("app/main.tf", &changed)]).await;
    assert!(next.apply().await.contains("1 of 1 applied"), "{}", next.reply().await);
    for text in [pull.all_text().await, next.all_text().await] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(
        world.state_of("the app in hunter2-very-secret").is_some(),
        "the tool itself was given it"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_does_not_exist_is_located() {
    let world = World::with(setup()).await;
    world
        .deploy(&[("network/main.tf", &module("10.1.0.0/16", None))], 2)
        .await;
    let bad = CONFIG.replace("{ value: subnet }", "{ valeu: subnet }");
    let pull = world.open("typo", &[("lockkeeper.yaml", &bad)]).await;
    let status = pull.status().await;
    assert!(pull.checks().await.starts_with("failure"), "{status}");
    assert!(
        status.contains("valeu") && status.contains("lockkeeper.yaml:"),
        "{status}"
    );
    world.end().await;
}

/// `app`, and a `web` that reads the same upstream.
fn with_web() -> String {
    format!("{CONFIG}  - dir: web\n    depends_on:\n      - stack: network\n        outputs: {{ value: subnet }}\n")
}

/// Applies `network` alone, under a pull request of its own.
async fn network_becomes<'a>(world: &'a World, value: &str) -> Pull<'a> {
    let pull = world.open("other", &[("network/main.tf", &module(value, None))]).await;
    world.settle().await;
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply network").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}");
    pull
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_pull_request_applied_upstream_is_seen_though_the_own_plan_of_it_is_older() {
    let world = World::with(setup()).await;
    world
        .deploy(&[("network/main.tf", &module("10.1.0.0/16", None))], 2)
        .await;
    // Its `network` changes nothing, so that it takes no lock of it.
    let commented = format!("# a word\n{}", module("10.1.0.0/16", None));
    let changed = app().replace("app in", "the app in");
    let pull = world
        .open("app", &[("network/main.tf", &commented), ("app/main.tf", &changed)])
        .await;
    assert!(
        pull.row("network").await.contains("no changes"),
        "{}",
        pull.status().await
    );
    network_becomes(&world, "10.9.0.0/16").await;

    pull.apply().await;
    assert!(pull.row("app").await.contains("differs"), "{}", pull.status().await);
    assert!(
        pull.status().await.contains("the app in 10.9.0.0/16"),
        "{}",
        pull.status().await
    );
    assert!(world.state_of("the app in").is_none(), "nobody has reviewed this");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert!(world.state_of("the app in 10.9.0.0/16").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_one_upstream_are_not_given_what_another_reader_was_told_before_its_apply() {
    let world = World::with(setup()).await;
    world
        .deploy(&[("network/main.tf", &module("10.1.0.0/16", None))], 2)
        .await;
    // `app` was applied once and `web` never: their own states' numbers differ by one, as those of `network` will.
    let changed = app().replace("app in", "the app in");
    let web = app().replace("app in", "web in");
    let files = [
        ("lockkeeper.yaml", with_web()),
        ("app/main.tf", changed),
        ("web/main.tf", web),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let pull = world.open("web", &files).await;
    assert!(
        pull.status().await.contains("web in 10.1.0.0/16"),
        "{}",
        pull.status().await
    );
    network_becomes(&world, "10.9.0.0/16").await;

    pull.apply().await;
    for stack in ["app", "web"] {
        assert!(pull.row(stack).await.contains("differs"), "{}", pull.status().await);
    }
    assert!(pull.apply().await.contains("2 of 2 applied"), "{}", pull.reply().await);
    for value in ["web in 10.9.0.0/16", "the app in 10.9.0.0/16"] {
        assert!(world.state_of(value).is_some(), "{value}");
    }
    world.end().await;
}

/// A root module that gives nothing on.
fn mute(value: &str) -> String {
    let whole = module(value, None);
    let given = whole.split_once("output ").expect("it has an output").0;
    given.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_was_applied_and_has_no_outputs_is_not_waited_for() {
    let reader = module("app", Some("network")).replace(
        "data.terraform_remote_state.up.outputs.value",
        "try(data.terraform_remote_state.up.outputs.value, \"none\")",
    );
    let world = World::with(Setup::only(&[
        ("network/main.tf", &mute("n0")),
        ("app/main.tf", &reader),
    ]))
    .await;
    let pull = world.open("first", &[("network/main.tf", &mute("n1"))]).await;
    assert!(pull.status().await.contains("none/app"), "{}", pull.status().await);
    assert!(pull.apply().await.contains("2 of 2 applied"), "{}", pull.reply().await);
    assert!(world.state_of("none/app").is_some());
    pull.merge("alice").await;

    let commented = format!("# a word\n{}", mute("n1"));
    let changed = reader.replace("\"app\"", "\"the app\"");
    let files = [
        ("network/main.tf", commented.as_str()),
        ("app/main.tf", changed.as_str()),
    ];
    let next = world.open("next", &files).await;
    assert!(
        next.row("network").await.contains("no changes"),
        "{}",
        next.status().await
    );
    assert!(next.status().await.contains("none/the app"), "{}", next.status().await);
    assert!(next.apply().await.contains("1 of 1 applied"), "{}", next.reply().await);
    world.end().await;
}
