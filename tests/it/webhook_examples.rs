//! Owns the proof that GitHub's own example payloads can be read: those of the npm package
//! `@octokit/webhooks-examples`, fetched when the test runs.

use std::path::Path;
use std::process::Command;

use lockkeeper::github::webhook::parse::parse;
use lockkeeper::github::webhook::{Delivery, Kind};

use crate::doors::World;

const PACKAGE: &str = "@octokit/webhooks-examples";
/// Those of github.com; the Enterprise Servers' are beside it.
const EXAMPLES: &str = "package/api.github.com/index.json";

/// The package's examples, or `None` where npm or the network is missing.
fn examples(folder: &Path) -> Option<serde_json::Value> {
    let ran = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .output()
            .ok()?;
        output.status.success().then_some(output.stdout)
    };
    let archive = ran("npm", &["pack", PACKAGE, "--silent"])?;
    let archive = String::from_utf8(archive).expect("npm prints a file name");
    ran("tar", &["-xzf", archive.trim()]).expect("npm packs tar.gz");
    let text = std::fs::read(folder.join(EXAMPLES)).expect("the package holds examples");
    Some(serde_json::from_slice(&text).expect("the examples are JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_payload_is_accepted_stored_and_handled_or_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(examples) = examples(folder.path()) else {
        let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|tool| tool.trim() == "npm"),
            "{PACKAGE} cannot be fetched and is required"
        );
        println!("left out 1 test: {PACKAGE} could not be fetched with npm");
        return;
    };
    can_be_read(&examples);
    are_taken(&examples).await;
}

/// Each is posted, signed, to a whole server that serves everybody.
async fn are_taken(examples: &serde_json::Value) {
    let world = World::serving("*").await;
    let mut sent = Vec::new();
    for event in examples.as_array().expect("a list of events") {
        let name = event["name"].as_str().expect("a name");
        for example in event["examples"].as_array().expect("a list of examples") {
            let id = format!("{name}-{}", sent.len());
            let request = world.delivery_of(name, &id, example.to_string().as_bytes());
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            assert_eq!(status, 202, "{name}.{}: {:?}", example["action"], answer.text().await);
            sent.push(id);
        }
    }
    for id in sent {
        let standing = world.standing(&id).await;
        let ended_well = match standing.stands.as_str() {
            "done" => true,
            "ignored" | "refused" => standing.why.as_ref().is_some_and(|why| !why.is_empty()),
            _ => false,
        };
        assert!(ended_well, "{id}: {standing:?}");
    }
    world.ends().await;
}

fn can_be_read(examples: &serde_json::Value) {
    let (mut handled, mut ignored) = (std::collections::BTreeSet::new(), 0);
    for event in examples.as_array().expect("a list of events") {
        let name = event["name"].as_str().expect("a name");
        for example in event["examples"].as_array().expect("a list of examples") {
            let body = example.to_string();
            match parse(name, body.as_bytes()) {
                Ok(Delivery {
                    kind: Kind::Ignored(why),
                    ..
                }) => {
                    assert!(!why.is_empty(), "{name}: ignored without a reason");
                    ignored += 1;
                }
                Ok(_) => {
                    handled.insert(name);
                }
                Err(fault) => panic!("{name}.{}: {fault}", example["action"]),
            }
        }
    }
    assert!(ignored > 100, "{ignored} ignored");
    let expected = [
        "check_run",
        "check_suite",
        "installation",
        "installation_repositories",
        "merge_group",
        "ping",
        "pull_request",
        "pull_request_review",
        "push",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|name| !handled.contains(name)).collect();
    // The examples of issue_comment are on issues, which are ignored.
    assert!(missing.is_empty(), "no example is handled of {missing:?}");
}
