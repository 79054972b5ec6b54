//! Owns the journeys of size: many stacks, long plans, and what they cost.

use crate::world::{Setup, World, module};

fn many(count: usize, value: &str) -> Vec<(String, String)> {
    (0..count)
        .map(|at| (format!("stack-{at:03}/main.tf"), module(value, None)))
        .collect()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_stacks_fit_into_one_comment() {
    let base = many(60, "a");
    let world = World::with(Setup::only(&borrowed(&base))).await;
    let head = many(60, &"long ".repeat(200));
    let pull = world.open("all", &borrowed(&head)).await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    let status = pull.status().await;
    assert!(status.len() < 65_536, "{} bytes", status.len());
    for at in [0, 59] {
        pull.row(&format!("stack-{at:03}")).await;
        let check = pull.stack_check(&format!("stack-{at:03}")).await;
        assert!(check.text.unwrap_or_default().contains("long long"));
    }
    let shown = pull.shown().await;
    assert_eq!(shown.checks.len(), 63);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_of_300_kb_is_cut_where_it_must_be_and_whole_on_its_page() {
    let world = World::new().await;
    let big = "terraform {\n  backend \"local\" {}\n}\nresource \"terraform_data\" \"this\" {\n  input = { for i in range(1000) : format(\"key-%04d\", i) => join(\" \", [for j in range(60) : \"v-${j}\"]) }\n}\n";
    let pull = world.open("big", &[("dns/main.tf", big)]).await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    let status = pull.status().await;
    assert!(
        status.len() < 65_536 && status.contains("more lines"),
        "{} bytes",
        status.len()
    );
    let check = pull.stack_check("dns").await;
    let text = check.text.expect("a text");
    assert!(
        text.len() <= 65_535 && text.contains("key-0100"),
        "{} bytes",
        text.len()
    );
    let (_, html) = world.fetch(&check.details_url.expect("a page")).await;
    assert!(
        html.len() > 300_000 && html.contains("key-0999"),
        "{} bytes",
        html.len()
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_stacks_cost_few_calls_and_few_processes() {
    let base = many(10, "a");
    let world = World::with(Setup::only(&borrowed(&base)).watched()).await;
    world.settle().await;
    world.sim.clear_requests();
    let head = many(10, "b");
    let pull = world.open("all", &borrowed(&head)).await;
    world.settle().await;
    let calls = calls(&world);
    assert!(calls.len() <= 15 + 10, "{} calls for a plan: {calls:#?}", calls.len());
    let started = world.started().len();
    // One of them asks for the version, once in the life of the server.
    assert!(started <= 31, "{started} processes for a plan: {:?}", world.started());

    pull.approve("bob").await;
    world.settle().await;
    world.sim.clear_requests();
    pull.comment("alice", "/apply").await;
    assert!(
        pull.reply().await.contains("10 of 10 applied"),
        "{}",
        pull.reply().await
    );
    let calls = self::calls(&world);
    assert!(calls.len() <= 15 + 20, "{} calls for an apply: {calls:#?}", calls.len());
    let started = world.started().len() - started;
    assert!(started <= 10, "{started} processes for an apply: {:?}", world.started());
    world.end().await;
}

/// What GitHub's API was asked; git is not counted.
fn calls(world: &World) -> Vec<String> {
    world
        .sim
        .requests()
        .iter()
        .filter(|exchange| !exchange.path.starts_with("/app/hook"))
        .filter(|exchange| exchange.door != lockkeeper::sim::server::Door::Git)
        .map(|exchange| {
            let mut body = exchange.request.to_string();
            body.truncate(200);
            format!("{} {} {body}", exchange.method, exchange.path)
        })
        .collect()
}
