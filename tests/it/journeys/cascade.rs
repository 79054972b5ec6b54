//! Owns the journeys of cascade plans: what a change does downstream is reviewed before anything is applied.

use crate::world::{Setup, World};

/// A root module that keeps a value, and gives it on as it is written (`cidr`), as the tool makes it (`value`), and with
/// something else beside it (`note`).
fn network(cidr: &str, note: &str) -> String {
    format!(
        "terraform {{\n  backend \"local\" {{}}\n}}\nresource \"terraform_data\" \"this\" {{\n  input = \"{cidr}\"\n}}\noutput \"cidr\" {{\n  value = \"{cidr}\"\n}}\noutput \"value\" {{\n  value = terraform_data.this.output\n}}\noutput \"first\" {{\n  value = substr(terraform_data.this.output, 0, 3)\n}}\noutput \"note\" {{\n  value = \"{note}\"\n}}\n"
    )
}

/// A read of that upstream's state, and this after it.
fn reading(upstream: &str, rest: &str) -> String {
    format!(
        "terraform {{\n  backend \"local\" {{}}\n}}\ndata \"terraform_remote_state\" \"up\" {{\n  backend = \"local\"\n  config  = {{ path = \"../{upstream}/terraform.tfstate\" }}\n}}\n{rest}"
    )
}

/// Keeps what it reads and gives it on.
fn passing(upstream: &str, output: &str, name: &str) -> String {
    let read = format!("data.terraform_remote_state.up.outputs.{output}");
    reading(
        upstream,
        &format!(
            "resource \"terraform_data\" \"this\" {{\n  input = \"${{{read}}}/{name}\"\n}}\noutput \"cidr\" {{\n  value = \"${{{read}}}/{name}\"\n}}\noutput \"value\" {{\n  value = terraform_data.this.output\n}}\n"
        ),
    )
}

fn chain(output: &str) -> Vec<(&'static str, String)> {
    vec![
        ("network/main.tf", network("10.0.0.0/16", "a")),
        ("cluster/main.tf", passing("network", output, "cluster")),
        ("app/main.tf", passing("cluster", output, "app")),
    ]
}

async fn world_of(files: &[(&str, String)]) -> World {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    World::with(Setup::only(&files)).await
}

/// Everything applied once, by one review and one `/apply`.
async fn deployed(files: &[(&str, String)]) -> World {
    let world = world_of(files).await;
    world
        .deploy(&[("network/main.tf", &network("10.1.0.0/16", "a"))], 1)
        .await;
    world
}

async fn three_deep(files: &[(&str, String)]) {
    let world = deployed(files).await;
    let pull = world
        .open("net", &[("network/main.tf", &network("10.2.0.0/16", "a"))])
        .await;
    pull.stands("success success action_required").await;
    let status = pull.status().await;
    assert!(status.contains("10.2.0.0/16/cluster/app"), "{status}");
    assert!(!status.contains("today's"), "{status}");
    let reply = pull.apply().await;
    assert!(reply.contains("3 of 3 applied"), "{reply}\n{}", pull.status().await);
    pull.stands("success success success").await;
    assert_eq!(
        world.states(),
        ["10.2.0.0/16", "10.2.0.0/16/cluster", "10.2.0.0/16/cluster/app"]
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_reviewed_three_stacks_deep_and_applied_by_one_word() {
    three_deep(&chain("cidr")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_with_opentofu() {
    let config = "version: 1\nstacks:\n  - dir: network\n    tool: opentofu\n  - dir: cluster\n    tool: opentofu\n  - dir: app\n    tool: opentofu\n";
    let mut files = chain("cidr");
    let probe = world_of(&files).await;
    let has_tofu = probe.has_tofu();
    probe.end().await;
    if !has_tofu {
        eprintln!("not proven here: tofu is not on the PATH");
        return;
    }
    files.push(("lockkeeper.yaml", config.to_owned()));
    three_deep(&files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_deployment_is_reviewed_as_a_whole() {
    let world = world_of(&chain("value")).await;
    let pull = world
        .open("net", &[("network/main.tf", &network("10.1.0.0/16", "a"))])
        .await;
    pull.stands("success success action_required").await;
    let status = pull.status().await;
    assert!(status.contains("(known after apply)"), "{status}");
    let reply = pull.apply().await;
    assert!(reply.contains("3 of 3 applied"), "{reply}\n{}", pull.status().await);
    assert!(world.state_of("10.1.0.0/16/cluster/app").is_some());
    world.end().await;
}

const NAMED: &str = "terraform {\n  backend \"local\" {}\n}\nresource \"terraform_data\" \"this\" {\n  input = NAMES\n}\noutput \"names\" {\n  value = terraform_data.this.output\n}\n";

fn counted() -> [(&'static str, String); 2] {
    let each = "resource \"terraform_data\" \"each\" {\n  count = length(data.terraform_remote_state.up.outputs.names)\n  input = data.terraform_remote_state.up.outputs.names[count.index]\n}\noutput \"value\" {\n  value = join(\" \", terraform_data.each[*].output)\n}\n";
    [
        ("network/main.tf", NAMED.replace("NAMES", "[\"zero\"]")),
        ("cluster/main.tf", reading("network", each)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_over_an_unknown_list_is_deferred_then_planned_then_stopped_where_it_is_another() {
    let world = world_of(&counted()).await;
    let one = NAMED.replace("NAMES", "[\"one\"]");
    let pull = world.open("first", &[("network/main.tf", &one)]).await;
    pull.stands("success success action_required").await;
    let row = pull.row("cluster").await;
    assert!(row.contains("planned after `network` is applied"), "{row}");
    let reply = pull.apply().await;
    assert!(reply.contains("1 of 2 applied"), "{reply}");
    assert!(pull.status().await.contains("each[0]"), "{}", pull.status().await);
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert!(world.state_of("one").is_some());
    pull.merge("alice").await;

    // Now what was applied last stands for the list, and the real one is longer.
    let two = NAMED.replace("NAMES", "[\"one\", \"two\"]");
    let pull = world.open("second", &[("network/main.tf", &two)]).await;
    pull.stands("success success action_required").await;
    let reply = pull.apply().await;
    assert!(
        reply.contains("1 of 2 applied") && reply.contains("not what was reviewed"),
        "{reply}\n{}",
        pull.status().await
    );
    let status = pull.status().await;
    assert!(status.contains("differs") && status.contains("each[1]"), "{status}");
    assert!(world.state_of("one two").is_none());
    // The approval was given before that plan was shown, so saying it again is not enough.
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("approval"), "{reply}");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert!(world.state_of("one two").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_that_comes_out_as_it_was_leaves_nothing_to_do_downstream() {
    let files = [
        ("network/main.tf", network("10.0.0.0/16", "a")),
        ("cluster/main.tf", passing("network", "first", "cluster")),
    ];
    let world = deployed(&files).await;
    let pull = world
        .open("net", &[("network/main.tf", &network("10.2.0.0/16", "a"))])
        .await;
    pull.stands("success success action_required").await;
    let status = pull.status().await;
    assert!(status.contains("(known after apply)"), "{status}");
    let reply = pull.apply().await;
    assert!(reply.contains("2 of 2 applied"), "{reply}\n{}", pull.status().await);
    pull.stands("success success success").await;
    let status = pull.status().await;
    assert!(status.contains("was applied, has nothing to do."), "{status}");
    assert!(pull.row("cluster").await.contains("| no changes |"), "{status}");
    assert_eq!(world.states(), ["10./cluster", "10.2.0.0/16"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_nothing_that_changes_is_not_planned() {
    let files = chain("cidr");
    let world = deployed(&files).await;
    let pull = world
        .open("note", &[("network/main.tf", &network("10.1.0.0/16", "b"))])
        .await;
    pull.stands("success success action_required").await;
    let row = pull.row("cluster").await;
    assert!(row.contains("unchanged inputs from `network`"), "{row}");
    let row = pull.row("app").await;
    assert!(row.contains("unchanged inputs from `cluster`"), "{row}");
    let reply = pull.apply().await;
    assert!(reply.contains("3 of 3 applied"), "{reply}");
    pull.stands("success success success").await;

    // What is changed itself is planned for real.
    let changed = passing("network", "cidr", "the cluster");
    pull.merge("alice").await;
    let files = [
        ("network/main.tf", network("10.1.0.0/16", "c")),
        ("cluster/main.tf", changed),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let pull = world.open("both", &files).await;
    let status = pull.status().await;
    assert!(
        status.contains("10.1.0.0/16/the cluster/app") && status.contains("10.1.0.0/16/the cluster"),
        "{status}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sensitive_upstream_is_shown_nowhere_downstream() {
    let secret = |value: &str| {
        format!(
            "variable \"password\" {{\n  default   = \"{value}\"\n  sensitive = true\n}}\nterraform {{\n  backend \"local\" {{}}\n}}\nresource \"terraform_data\" \"this\" {{\n  input = var.password\n}}\noutput \"value\" {{\n  value     = terraform_data.this.output\n  sensitive = true\n}}\noutput \"cidr\" {{\n  value     = var.password\n  sensitive = true\n}}\n"
        )
    };
    for output in ["cidr", "value"] {
        let mut files = chain(output);
        files[0].1 = secret("hunter0-not-so-secret");
        let world = world_of(&files).await;
        for (branch, value) in [("first", "hunter2-very-secret"), ("second", "hunter3-very-secret")] {
            let text = secret(value);
            let pull = world.open(branch, &[("network/main.tf", &text)]).await;
            pull.stands("success success action_required").await;
            let page = pull.stack_check("app").await.details_url.expect("a page");
            let (_, before) = world.fetch(&page).await;
            let reply = pull.apply().await;
            assert!(reply.contains("3 of 3 applied"), "{reply}\n{}", pull.status().await);
            let (_, after) = world.fetch(&page).await;
            let all = pull.all_text().await;
            for text in [before, after, all] {
                assert!(!text.contains("hunter"), "{output}: {text}");
            }
            assert!(world.state_of(&format!("{value}/cluster/app")).is_some());
            pull.merge("alice").await;
        }
        for file in world.files_of(&["lockkeeper.db", "lockkeeper.db-wal", "artifacts"]) {
            let bytes = std::fs::read(&file).expect("a file");
            let found = bytes.windows(6).any(|window| window == b"hunter");
            assert!(!found, "the secret is in {}", file.display());
        }
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_goes_away_fails_the_check_of_who_reads_it() {
    let world = deployed(&chain("cidr")).await;
    let gone = network("10.1.0.0/16", "a").replace("output \"cidr\"", "output \"range\"");
    let pull = world.open("gone", &[("network/main.tf", &gone)]).await;
    let status = pull.status().await;
    assert!(pull.checks().await.starts_with("failure"), "{status}");
    assert!(
        status.contains("cidr") && status.contains("cluster/main.tf:"),
        "{status}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_see_what_a_provisional_plan_was_given() {
    let rule = "package lockkeeper.plan\n\nwarn contains msg if {\n\tinput.plan_kind == \"provisional\"\n\tsome upstream in input.upstreams\n\tmsg := sprintf(\"%s knows %v and not %v of %s\", [input.stack.name, upstream.known, upstream.unknown, upstream.stack])\n}\n\ndeny contains msg if {\n\tinput.plan_kind == \"final\"\n\tinput.run.phase == \"apply\"\n\tinput.stack.name == \"app\"\n\tmsg := \"app is real\"\n}\n";
    let mut files = chain("cidr");
    files.push((
        "lockkeeper.yaml",
        "version: 1\npolicies: { dir: policies }\n".to_owned(),
    ));
    files.push(("policies/told.rego", rule.to_owned()));
    let world = world_of(&files).await;
    let pull = world
        .open("net", &[("network/main.tf", &network("10.2.0.0/16", "a"))])
        .await;
    let status = pull.status().await;
    assert!(
        status.contains("cluster knows") && status.contains("app knows") && status.contains("of network"),
        "{status}"
    );
    // The real plans are judged as such: a rule that speaks of those alone stops what was reviewed.
    let reply = pull.apply().await;
    assert!(reply.contains("2 of 3 applied"), "{reply}");
    let status = pull.status().await;
    assert!(status.contains("app is real"), "{status}");
    world.end().await;
}
