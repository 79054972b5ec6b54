//! Owns the journeys of environments: one root module with a variable file for each, and a state of its own for each.

use crate::world::{Setup, World};

const WORKSPACES: &str = "terraform {\n  backend \"local\" {}\n}\nvariable \"value\" {}\nresource \"terraform_data\" \"this\" {\n  input = \"${terraform.workspace} ${var.value}\"\n}\noutput \"value\" {\n  value = terraform_data.this.output\n}\n";
const BACKENDS: &str = "terraform {\n  backend \"local\" {}\n}\nvariable \"value\" {}\nresource \"terraform_data\" \"this\" {\n  input = var.value\n}\noutput \"value\" {\n  value = terraform_data.this.output\n}\n";

/// A change that says nothing new.
fn touched(text: &str) -> String {
    format!("# touched\n{text}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_variable_file_is_a_stack_with_a_workspace_of_its_own() {
    let world = World::with(Setup::only(&[
        ("app/main.tf", WORKSPACES),
        ("app/env/prod.tfvars", "value = \"one\"\n"),
        ("app/env/test.tfvars", "value = \"two\"\n"),
    ]))
    .await;
    world.deploy(&[("app/main.tf", &touched(WORKSPACES))], 1).await;
    assert_eq!(world.states(), ["prod one", "test two"]);

    let pull = world
        .open("prod", &[("app/env/prod.tfvars", "value = \"three\"\n")])
        .await;
    assert!(pull.row("app:prod").await.contains("+0 ~1 -0"));
    assert!(!pull.status().await.contains("app:test"), "{}", pull.status().await);
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["prod three", "test two"]);
    pull.merge("alice").await;
    world.settle().await;

    // An environment that loses its file goes, by its name; its module and the other one stay.
    let pull = world.removing(&["app/env/test.tfvars"]).await;
    pull.stands("success success action_required").await;
    let row = pull.row("app:test").await;
    assert!(
        row.contains("its files are gone") && row.contains("destroy plan: -1"),
        "{row}"
    );
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("only a comment that names it does that"), "{reply}");
    let reply = pull.say("alice", "/apply app:test").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}\n{}", pull.status().await);
    assert_eq!(world.states(), ["-", "prod three"]);
    pull.stands("success success success").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_backend_file_is_a_state_of_its_own() {
    let world = World::with(Setup::only(&[
        ("app/main.tf", BACKENDS),
        ("app/prod.tfvars", "value = \"one\"\n"),
        ("app/prod.tfbackend", "path = \"states/prod.tfstate\"\n"),
        ("app/test.tfvars", "value = \"two\"\n"),
        ("app/test.tfbackend", "path = \"states/test.tfstate\"\n"),
    ]))
    .await;
    world.deploy(&[("app/main.tf", &touched(BACKENDS))], 1).await;
    assert_eq!(world.states(), ["one", "two"]);
    let pull = world.removing(&["app/test.tfvars", "app/test.tfbackend"]).await;
    let row = pull.row("app:test").await;
    assert!(row.contains("destroy plan: -1"), "{}", pull.status().await);
    pull.approve("bob").await;
    let reply = pull.say("alice", "/apply app:test").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}\n{}", pull.status().await);
    assert_eq!(world.states(), ["-", "one"]);
    world.end().await;
}

const JSON: &str = "{\"terraform\": {\"backend\": {\"local\": {}}}, \"resource\": {\"terraform_data\": {\"this\": {\"input\": \"VALUE\"}}}, \"output\": {\"value\": {\"value\": \"${terraform_data.this.output}\"}}}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_in_json_is_planned_and_applied() {
    let world = World::with(Setup::only(&[("app/main.tf.json", JSON)])).await;
    let pull = world
        .open("json", &[("app/main.tf.json", &JSON.replace("VALUE", "in json"))])
        .await;
    pull.stands("success success action_required").await;
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["in json"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_with_tofu_files_runs_tofu() {
    let text = |value: &str| {
        BACKENDS
            .replace("variable \"value\" {}", "locals {\n  value = \"VALUE\"\n}")
            .replace("var.value", "local.value")
            .replace("VALUE", value)
    };
    let world = World::with(Setup::only(&[("app/main.tofu", &text("none"))])).await;
    if !world.has_tofu() {
        eprintln!("not proven here: tofu is not on the PATH");
        return world.end().await;
    }
    let pull = world.open("tofu", &[("app/main.tofu", &text("by tofu"))]).await;
    pull.stands("success success action_required").await;
    // No other tool reads that file.
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["by tofu"]);
    world.end().await;
}
