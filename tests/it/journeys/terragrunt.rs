//! Owns the journeys of terragrunt units.

use lockkeeper::sim::state::Role;

use super::forks;
use crate::world::{Setup, World};

const ROOT: &str = "remote_state {\n  backend = \"local\"\n  generate = {\n    path      = \"backend.tf\"\n    if_exists = \"overwrite\"\n  }\n  config = {\n    path = \"${get_terragrunt_dir()}/terraform.tfstate\"\n  }\n}\n";
const MODULE: &str = "variable \"value\" {}\nresource \"terraform_data\" \"this\" {\n  input = var.value\n}\noutput \"value\" {\n  value = terraform_data.this.output\n}\n";

fn network(value: &str) -> String {
    format!(
        "include \"root\" {{\n  path = find_in_parent_folders(\"root.hcl\")\n}}\nterraform {{\n  source = \"../../modules//one\"\n}}\ninputs = {{\n  value = \"{value}\"\n}}\n"
    )
}

/// Its plan makes a file that its apply needs.
fn app(word: &str) -> String {
    format!(
        "include \"root\" {{\n  path = find_in_parent_folders(\"root.hcl\")\n}}\nterraform {{\n  source = \"../../modules//one\"\n  before_hook \"make\" {{\n    commands = [\"plan\"]\n    execute  = [\"sh\", \"-c\", \"echo x > made.txt\"]\n  }}\n  before_hook \"look\" {{\n    commands = [\"apply\"]\n    execute  = [\"test\", \"-f\", \"made.txt\"]\n  }}\n}}\ndependency \"network\" {{\n  config_path  = \"../network\"\n  mock_outputs = {{ value = \"a-mock\" }}\n}}\ninputs = {{\n  value = \"{word} ${{dependency.network.outputs.value}}\"\n}}\n"
    )
}

fn setup() -> Setup {
    Setup::only(&[
        ("root.hcl", ROOT),
        ("live/network/terragrunt.hcl", &network("10.0.0.0/16")),
        ("live/app/terragrunt.hcl", &app("app in")),
        ("modules/one/main.tf", MODULE),
    ])
}

fn is_here() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|dir| dir.join("terragrunt").is_file());
    if !here {
        let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "terragrunt"),
            "terragrunt is required and is not on the PATH"
        );
        eprintln!("left out: 1 test, terragrunt is not on the PATH");
    }
    here
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_are_planned_and_applied_wave_by_wave() {
    if !is_here() {
        return;
    }
    let world = World::with(setup()).await;
    let pull = world
        .open("net", &[("live/network/terragrunt.hcl", &network("10.1.0.0/16"))])
        .await;
    pull.stands("success success action_required").await;
    assert!(
        pull.row("live/app")
            .await
            .contains("planned after `live/network` is applied"),
        "{}",
        pull.status().await
    );
    assert!(pull.apply().await.contains("1 of 2 applied"), "{}", pull.reply().await);
    assert!(
        pull.status().await.contains("app in 10.1.0.0/16"),
        "{}",
        pull.status().await
    );
    assert!(
        pull.apply().await.contains("1 of 1 applied"),
        "{}\n{}",
        pull.reply().await,
        pull.status().await
    );
    assert!(world.state_of("app in 10.1.0.0/16").is_some());
    pull.merge("alice").await;

    // The upstream is not in the next run: it is asked for its outputs.
    let next = world
        .open("app", &[("live/app/terragrunt.hcl", &app("the app in"))])
        .await;
    next.stands("success success action_required").await;
    assert!(
        next.status().await.contains("the app in 10.1.0.0/16"),
        "{}",
        next.status().await
    );
    assert!(next.apply().await.contains("1 of 1 applied"), "{}", next.reply().await);
    next.merge("alice").await;

    // Both at once: the reviewed plan of the second rests on today's outputs, the real one does not.
    let both = world
        .open("both", &[("modules/one/main.tf", &MODULE.replace("this", "that"))])
        .await;
    both.stands("success success action_required").await;
    assert!(both.status().await.contains("live/network") && both.status().await.contains("live/app"));
    assert!(!both.all_text().await.contains("a-mock"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_terragrunt_finds_units_and_says_why_it_cannot_plan_them() {
    let tools = tempfile::tempdir().expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let terraform = std::env::split_paths(&path)
        .map(|dir| dir.join("terraform"))
        .find(|file| file.is_file())
        .expect("terraform is on the PATH");
    std::os::unix::fs::symlink(terraform, tools.path().join("terraform")).expect("a link");
    let world = World::with(Setup {
        path: Some(format!("{}:/usr/bin:/bin", tools.path().display())),
        ..setup()
    })
    .await;
    let pull = world
        .open("net", &[("live/network/terragrunt.hcl", &network("10.1.0.0/16"))])
        .await;
    let status = pull.status().await;
    assert!(pull.checks().await.starts_with("failure"), "{status}");
    assert!(
        status.contains("terragrunt is not installed on this server"),
        "{status}"
    );
    assert!(
        status.contains("which file it includes could not be told without terragrunt"),
        "{status}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_runs_nothing_of_its_units_before_the_consent() {
    if !is_here() {
        return;
    }
    let world = World::with(setup()).await;
    let hostile = format!(
        "locals {{\n  x = run_cmd(\"sh\", \"-c\", \"echo -n $CREDENTIAL\")\n}}\n{}",
        network("10.9.0.0/16")
    );
    let pull = forks::opened(&world, "live/network/terragrunt.hcl", &hostile).await;
    pull.stands("action_required action_required action_required").await;
    let runs = world.dir.path().join("server/runs");
    let laid_out = || std::fs::read_dir(&runs).map_or(0, Iterator::count);
    assert_eq!(laid_out(), 0, "no tree was laid out, so nothing of it ran");

    let head = pull.shown().await.head;
    let reply = pull.say("bob", &format!("/plan {head}")).await;
    assert!(reply.contains("1 of 2 planned"), "{reply}");
    assert_ne!(laid_out(), 0);
    assert!(pull.status().await.contains("10.9.0.0/16"), "{}", pull.status().await);
    world.end().await;
}

/// Both units, applied and merged.
async fn deployed(setup: Setup) -> World {
    let world = World::with(setup).await;
    let files = [("live/network/terragrunt.hcl", network("10.1.0.0/16"))];
    world.deploy(&[(files[0].0, &files[0].1)], 2).await;
    assert_eq!(world.states(), ["10.1.0.0/16", "app in 10.1.0.0/16"]);
    world
}

const BOTH: [&str; 2] = ["live/network/terragrunt.hcl", "live/app/terragrunt.hcl"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_go_are_destroyed_by_their_names_and_before_what_they_need() {
    if !is_here() {
        return;
    }
    let world = deployed(setup()).await;
    let pull = world.removing(&BOTH).await;
    pull.stands("success success action_required").await;
    for unit in ["live/network", "live/app"] {
        let row = pull.row(unit).await;
        assert!(
            row.contains("its files are gone") && row.contains("destroy plan: -1"),
            "{row}"
        );
    }
    pull.approve("bob").await;
    let reply = pull.apply().await;
    assert!(reply.contains("only a comment that names them does that"), "{reply}");
    let reply = pull.say("alice", "/apply live/network").await;
    assert!(reply.contains("`live/network` waits for `live/app`"), "{reply}");
    assert_eq!(world.states(), ["10.1.0.0/16", "app in 10.1.0.0/16"]);

    let reply = pull.say("alice", "/apply live/app").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}\n{}", pull.status().await);
    assert_eq!(world.states(), ["-", "10.1.0.0/16"]);
    let reply = pull.say("alice", "/apply live/network").await;
    assert!(reply.contains("1 of 1 applied"), "{reply}\n{}", pull.status().await);
    assert_eq!(world.states(), ["-", "-"]);
    pull.stands("success success success").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_were_never_applied_have_nothing_to_destroy() {
    if !is_here() {
        return;
    }
    let world = World::with(setup()).await;
    let pull = world.removing(&BOTH).await;
    pull.stands("success success success").await;
    for unit in ["live/network", "live/app"] {
        let row = pull.row(unit).await;
        assert!(row.contains("nothing to destroy"), "{row}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_says_that_it_stays_is_not_destroyed() {
    if !is_here() {
        return;
    }
    let world = deployed(setup()).await;
    let kept = format!("prevent_destroy = true\n{}", app("app in"));
    let pull = world.open("keep", &[("live/app/terragrunt.hcl", &kept)]).await;
    pull.stands("success success success").await;
    pull.merge("alice").await;
    world.settle().await;
    let pull = world.removing(&["live/app/terragrunt.hcl"]).await;
    pull.stands("failure failure failure").await;
    let status = pull.status().await;
    assert!(
        status.contains("live/app/terragrunt.hcl:1") && status.contains("says that it must not be destroyed"),
        "{status}"
    );
    assert_eq!(world.states(), ["10.1.0.0/16", "app in 10.1.0.0/16"]);
    world.end().await;
}

const STACK_FILE: &str = "live/terragrunt.stack.hcl";
const NETWORK: &str = "live/.terragrunt-stack/network";
const APP: &str = "live/.terragrunt-stack/app";

/// network ← app, generated; `word` is `None` where there is no app.
fn stack_file(cidr: &str, word: Option<&str>) -> String {
    let unit = |name: &str, values: &str| {
        format!(
            "unit \"{name}\" {{\n  source = \"../units/{name}\"\n  path   = \"{name}\"\n  values = {{ {values} }}\n}}\n"
        )
    };
    let network = unit("network", &format!("cidr = \"{cidr}\""));
    let app = word.map(|word| unit("app", &format!("word = \"{word}\"")));
    network + &app.unwrap_or_default()
}

fn generated() -> Setup {
    let unit = |rest: &str| {
        format!(
            "include \"root\" {{\n  path = find_in_parent_folders(\"root.hcl\")\n}}\nterraform {{\n  source = \"${{get_repo_root()}}/modules//one\"\n}}\n{rest}"
        )
    };
    let network = unit("inputs = {\n  value = values.cidr\n}\n");
    let app = unit(
        "dependency \"network\" {\n  config_path = \"../network\"\n}\ninputs = {\n  value = \"${values.word} ${dependency.network.outputs.value}\"\n}\n",
    );
    Setup::only(&[
        ("root.hcl", ROOT),
        (STACK_FILE, &stack_file("none", Some("app in"))),
        ("units/network/terragrunt.hcl", &network),
        ("units/app/terragrunt.hcl", &app),
        ("modules/one/main.tf", MODULE),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_a_stack_file_generates_are_stacks() {
    if !is_here() {
        return;
    }
    let world = World::with(generated()).await;
    world
        .deploy(&[(STACK_FILE, &stack_file("10/8", Some("app in")))], 2)
        .await;
    assert_eq!(world.states(), ["10/8", "app in 10/8"]);

    // One line of the stack file concerns one unit.
    let pull = world
        .open("app", &[(STACK_FILE, &stack_file("10/8", Some("the app in")))])
        .await;
    pull.stands("success success action_required").await;
    let status = pull.status().await;
    let row = pull.row(APP).await;
    assert!(
        row.contains("+0 ~1 -0") && row.contains("app/terragrunt.values.hcl"),
        "{row}"
    );
    assert!(!status.contains(&format!("`{NETWORK}`")), "{status}");
    assert!(
        status.contains("there are 2") || !status.contains("units/app"),
        "{status}"
    );
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["10/8", "the app in 10/8"]);
    pull.merge("alice").await;
    world.settle().await;

    // A unit that the stack file has no more goes, by its name.
    let pull = world.open("gone", &[(STACK_FILE, &stack_file("10/8", None))]).await;
    let row = pull.row(APP).await;
    assert!(
        row.contains("its files are gone") && row.contains("destroy plan: -1"),
        "{row}"
    );
    pull.approve("bob").await;
    let reply = pull.say("alice", &format!("/apply {APP}")).await;
    assert!(reply.contains("1 of 1 applied"), "{reply}\n{}", pull.status().await);
    assert_eq!(world.states(), ["-", "10/8"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_file_that_cannot_generate_destroys_nothing() {
    if !is_here() {
        return;
    }
    let world = World::with(generated()).await;
    let broken = stack_file("10/8", Some("app in")).replace("../units/app", "../units/typo");
    let pull = world.open("typo", &[(STACK_FILE, &broken)]).await;
    pull.stands("failure failure failure").await;
    let status = pull.status().await;
    assert!(
        status.contains("live/terragrunt.stack.hcl") && status.contains("failed to fetch unit app"),
        "{status}"
    );
    assert!(!status.contains("destroy plan"), "{status}");
    world.end().await;
}

/// Two private repositories: the configuration of a unit, and a module that it calls.
async fn with_private_source(world: &World) -> String {
    let url = world.sim.url();
    let vpc = format!(
        "variable \"value\" {{}}\nmodule \"inner\" {{\n  source = \"git::{url}/acme/inner.git//x?ref=main\"\n  value  = var.value\n}}\noutput \"value\" {{\n  value = module.inner.value\n}}\n"
    );
    let sim = &world.sim;
    let created = sim.create_repo("acme/modules", true, &[("vpc/main.tf", &vpc)]).await;
    created.expect("a repository");
    let created = sim.create_repo("acme/inner", true, &[("x/main.tf", MODULE)]).await;
    created.expect("a repository");
    format!(
        "include \"root\" {{\n  path = find_in_parent_folders(\"root.hcl\")\n}}\nlocals {{\n  seen = run_cmd(\"--terragrunt-quiet\", \"sh\", \"-c\", \"{SPY}\")\n}}\nterraform {{\n  source = \"git::{url}/acme/modules.git//vpc?ref=main\"\n}}\ninputs = {{\n  value = \"seen: ${{local.seen}}\"\n}}\n"
    )
}

/// What the unit's code finds of a token: in its variables, and in files of ours.
const SPY: &str =
    "(env; find / -name git-credentials -exec cat {} + 2>/dev/null) | grep -c -i access-token | tr -d '\\\\n'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_private_source_of_a_unit_is_fetched_and_its_code_sees_no_token() {
    if !is_here() {
        return;
    }
    let world = World::with(Setup::only(&[("root.hcl", ROOT)])).await;
    let unit = with_private_source(&world).await;
    for repository in ["acme/modules", "acme/inner"] {
        let roled = world.sim.set_role(repository, "alice", Role::Read).await;
        roled.expect("a role");
    }
    let pull = world.open("vpc", &[("live/vpc/terragrunt.hcl", &unit)]).await;
    pull.stands("success success action_required").await;
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(world.states(), ["seen: 0"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_source_that_the_author_may_not_read_is_refused_by_name() {
    if !is_here() {
        return;
    }
    let world = World::with(Setup::only(&[("root.hcl", ROOT)])).await;
    let unit = with_private_source(&world).await;
    let pull = world.open("vpc", &[("live/vpc/terragrunt.hcl", &unit)]).await;
    let refused = |repository| format!("{repository} is not one that the author of this pull request may read");
    pull.stands("failure failure failure").await;
    let status = pull.status().await;
    assert!(
        status.contains(&refused("acme/modules")) && status.contains("live/vpc/terragrunt.hcl:8"),
        "{status}"
    );
    // The module that it calls is asked about when its source is there.
    let roled = world.sim.set_role("acme/modules", "alice", Role::Read).await;
    roled.expect("a role");
    pull.say("alice", "/plan").await;
    let status = pull.status().await;
    assert!(
        status.contains(&refused("acme/inner")) && status.contains("live/vpc/terragrunt.hcl:8"),
        "{status}"
    );
    world.end().await;
}
