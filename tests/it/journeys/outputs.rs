//! Owns the journeys of values that go from one stack to the next by `depends_on.outputs`.

use crate::world::{Setup, World, module};

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
async fn an_output_becomes_a_variable_wave_by_wave() {
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
    assert!(pull.row("app").await.contains("planned after `network` is applied"));
    assert!(pull.apply().await.contains("1 of 2 applied"), "{}", pull.reply().await);
    assert!(
        pull.status().await.contains("app in 10.1.0.0/16"),
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
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
    for left in ["1 of 2", "1 of 1"] {
        let reply = pull.apply().await;
        assert!(
            reply.contains(&format!("{left} applied")),
            "{reply}\n{}",
            pull.status().await
        );
    }
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
