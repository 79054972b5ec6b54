//! Owns the journeys of a plan: what a person learns from opening a pull request.

use crate::world::{Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_that_touches_no_stack_is_green_at_once() {
    let world = World::new().await;
    let pull = world.open("docs", &[("README.md", "# new\n")]).await;
    assert_eq!(pull.checks().await, "success success success");
    assert!(pull.status().await.contains("touches no stack"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_in_the_comment_and_whole_on_the_stacks_check() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    let row = pull.row("dns").await;
    assert!(row.contains("dns/main.tf") && row.contains("+1 ~0 -0"), "{row}");
    let check = pull.stack_check("dns").await;
    assert_eq!(check.conclusion.as_deref(), Some("success"));
    assert!(
        check
            .text
            .as_deref()
            .unwrap_or_default()
            .contains("terraform_data.this will be created"),
        "{check:?}"
    );
    assert!(pull.status().await.contains("1 stack to apply: comment `/apply`"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_downstream_of_a_change_is_in_the_table_with_its_reason() {
    let world = World::new().await;
    let pull = world
        .open("net", &[("network/main.tf", &module("10.1.0.0/16", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.row("network").await.contains("network/main.tf"));
    let cluster = pull.row("cluster").await;
    assert!(cluster.contains("needs `network`"), "{cluster}");
    assert!(cluster.contains("+1 ~0 -0"), "what it would do: {cluster}");
    assert!(pull.row("app").await.contains("needs `cluster`"));
    assert!(!pull.status().await.contains("`dns`"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_stack_says_where_and_the_others_go_on() {
    let world = World::new().await;
    let pull = world
        .open(
            "broken",
            &[
                (
                    "dns/main.tf",
                    "terraform {\n  backend \"local\" {}\n}\nresource \"terraform_data\" {\n",
                ),
                ("network/main.tf", &module("10.1.0.0/16", None)),
            ],
        )
        .await;
    assert_eq!(pull.checks().await, "failure failure failure");
    assert!(pull.status().await.contains("dns/main.tf:4"), "{}", pull.status().await);
    assert!(pull.row("network").await.contains("+1 ~0 -0"));
    let check = pull.stack_check("dns").await;
    assert_eq!(check.conclusion.as_deref(), Some("failure"));
    assert_eq!(check.annotations[0]["path"], "dns/main.tf");

    pull.push(&[("dns/main.tf", &module("example.org", None))]).await;
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_tool_is_shown_in_its_own_words() {
    let world = World::new().await;
    let bad = module("x", None).replace("var.value", "var.valeu");
    let pull = world.open("typo", &[("dns/main.tf", &bad)]).await;
    assert_eq!(pull.checks().await, "failure failure failure");
    let status = pull.status().await;
    assert!(status.contains("valeu") && status.contains("dns/main.tf:"), "{status}");
    assert!(!status.contains("/stacks/"), "a path of ours in {status}");
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("`dns` could not be planned"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_with_the_base_names_its_files() {
    let world = World::new().await;
    world
        .commit("theirs", "alice", &[("dns/main.tf", &module("theirs", None))])
        .await;
    world
        .commit("main", "bob", &[("dns/main.tf", &module("ours", None))])
        .await;
    let pull = world.pull("theirs", "main").await;
    assert_eq!(pull.checks().await, "failure failure failure");
    let status = pull.status().await;
    assert!(
        status.contains("dns/main.tf") && status.contains("conflicts with main"),
        "{status}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_with_autoplan_off_waits_for_somebody_to_say_plan() {
    let config = "version: 1\ndefaults: { autoplan: false }\n";
    let world = World::with(Setup::chain_and(&[("lockkeeper.yaml", config)])).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "action_required action_required action_required");
    assert!(pull.row("dns").await.contains("say `/plan`"));
    let reply = pull.say("bob", "/plan").await;
    assert!(
        reply.starts_with("@bob") && reply.contains("shows the plans"),
        "{reply}"
    );
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_again_makes_a_new_plan_of_that_stack_alone() {
    let world = World::with(Setup::default().watched()).await;
    let files = [
        ("dns/main.tf", module("example.org", None)),
        ("network/main.tf", module("10.1.0.0/16", None)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let pull = world.open("two", &files).await;
    world.settle().await;
    let reply = pull.say("bob", "/plan dns").await;
    assert!(reply.contains("`dns`") && !reply.contains("`network`"), "{reply}");
    let started = world.started();
    assert_eq!(started.iter().filter(|line| *line == "plan dns").count(), 2);
    assert_eq!(started.iter().filter(|line| *line == "plan network").count(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unicode_and_markup_in_a_plan_stay_text() {
    let world = World::new().await;
    let text = "größe 🚀 </details></td> ````` @bob <script>alert(1)</script> | x";
    let pull = world.open("markup", &[("dns/main.tf", &module(text, None))]).await;
    assert_eq!(pull.checks().await, "success success action_required");
    let status = pull.status().await;
    assert!(status.contains("größe 🚀"), "{status}");
    let outside = outside_of_fences(&status);
    assert!(!outside.contains("<script>") && !outside.contains("@bob"), "{outside}");
    assert_eq!(
        outside.matches("<details>").count(),
        outside.matches("</details>").count(),
        "{outside}"
    );
    world.end().await;
}

/// What is not code: a fence ends only at one as long as the one that began it.
fn outside_of_fences(markdown: &str) -> String {
    let mut fence = 0;
    let mut out = String::new();
    for line in markdown.lines() {
        let ticks = line.chars().take_while(|c| *c == '`').count();
        match fence {
            0 if ticks >= 3 => fence = ticks,
            0 => out.push_str(&format!("{line}\n")),
            open if ticks >= open && line.trim_matches('`').is_empty() => fence = 0,
            _ => {}
        }
    }
    assert_eq!(fence, 0, "a fence that does not end");
    out
}
