//! Owns the journeys of modules that live in another repository of the same GitHub.

use lockkeeper::sim::state::Role;

use crate::world::{World, module};

async fn with_module(world: &World, private: bool) -> String {
    with_module_of(world, "acme", private).await
}

async fn with_module_of(world: &World, owner: &str, private: bool) -> String {
    let inner = "variable \"name\" {}\nresource \"terraform_data\" \"this\" {\n  input = var.name\n}\noutput \"value\" {\n  value = terraform_data.this.output\n}\n";
    world
        .sim
        .create_repo(&format!("{owner}/modules"), private, &[("vpc/main.tf", inner)])
        .await
        .expect("a repository");
    format!(
        "terraform {{\n  backend \"local\" {{}}\n}}\nmodule \"vpc\" {{\n  source = \"git::{}/{owner}/modules.git//vpc?ref=main\"\n  name   = \"from a module\"\n}}\noutput \"value\" {{\n  value = module.vpc.value\n}}\n",
        world.sim.url()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_module_that_the_author_may_read_is_fetched() {
    let world = World::new().await;
    let text = with_module(&world, true).await;
    world
        .sim
        .set_role("acme/modules", "alice", Role::Read)
        .await
        .expect("a role");
    let pull = world.open("module", &[("dns/main.tf", &text)]).await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert!(world.state_of("from a module").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_module_that_the_author_may_not_read_is_refused_by_name() {
    let world = World::new().await;
    let text = with_module(&world, true).await;
    let pull = world.open("module", &[("dns/main.tf", &text)]).await;
    let status = pull.status().await;
    assert_eq!(pull.checks().await, "failure failure failure", "{status}");
    assert!(
        status.contains("acme/modules") && status.contains("dns/main.tf:"),
        "{status}"
    );
    pull.push(&[("dns/main.tf", &module("example.org", None))]).await;
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}

/// Another owner's modules, where the App is not installed.
async fn of_a_stranger(world: &World, private: bool) -> String {
    let text = with_module_of(world, "globex", private).await;
    world.sim.uninstall("globex").await;
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_module_of_another_owner_is_fetched() {
    let world = World::new().await;
    let text = of_a_stranger(&world, false).await;
    let pull = world.open("module", &[("dns/main.tf", &text)]).await;
    let status = pull.status().await;
    assert_eq!(pull.checks().await, "success success action_required", "{status}");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert!(world.state_of("from a module").is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_and_a_private_module_are_fetched_with_one_token() {
    let world = World::new().await;
    let public = of_a_stranger(&world, false).await;
    with_module(&world, true).await;
    let roled = world.sim.set_role("acme/modules", "alice", Role::Read).await;
    roled.expect("a role");
    let both = format!(
        "{public}module \"own\" {{\n  source = \"git::{}/acme/modules.git//vpc?ref=main\"\n  name   = \"x\"\n}}\n",
        world.sim.url()
    );
    let pull = world.open("module", &[("dns/main.tf", &both)]).await;
    let status = pull.status().await;
    assert_eq!(pull.checks().await, "success success action_required", "{status}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_module_of_another_owner_is_refused_by_name() {
    let world = World::new().await;
    let text = of_a_stranger(&world, true).await;
    let pull = world.open("module", &[("dns/main.tf", &text)]).await;
    let status = pull.status().await;
    assert_eq!(pull.checks().await, "failure failure failure", "{status}");
    let sentence = "the module repository globex/modules is not one that the author of this pull request may read";
    assert!(status.contains(sentence), "{status}");
    world.end().await;
}
