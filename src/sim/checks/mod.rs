//! Owns check runs and suites: what an App says about a commit, and the buttons people press on it.

use serde_json::{Value, json};

use super::call::Refused;
use super::state::{CheckRun, CheckSuite, World};
use super::webhooks::{News, tell};

pub mod fields;
pub mod shown;
pub mod doors;

use shown::{brief_suite, check_json, suite_json};

/// Opens the suite of a push and asks the App to check it, as GitHub does for every push.
pub async fn suite_for_push(
    world: &mut World,
    repo: u64,
    branch: &str,
    before: &str,
    after: &str,
    by: &str,
) -> Result<(), Refused> {
    let app = world.app.id;
    let writes = world
        .installation_for(app, repo)
        .is_some_and(|i| i.permissions.get("checks").is_some_and(|p| p == "write"));
    if !writes {
        return Ok(());
    }
    if world
        .repo(repo)
        .suites
        .values()
        .any(|s| s.app == app && s.head_sha == after)
    {
        return Ok(());
    }
    let id = new_suite(
        world,
        repo,
        app,
        after,
        Some(branch.to_owned()),
        Some(before.to_owned()),
    );
    announce_suite(world, repo, id, "requested", by).await
}

fn new_suite(world: &mut World, repo: u64, app: u64, sha: &str, branch: Option<String>, before: Option<String>) -> u64 {
    let (id, now) = (world.fresh(), world.now());
    let suite = CheckSuite {
        id,
        app,
        head_sha: sha.to_owned(),
        head_branch: branch,
        before,
        created: now,
        updated: now,
    };
    world.repo_mut(repo).suites.insert(id, suite);
    id
}

async fn announce_suite(world: &mut World, repo: u64, id: u64, action: &str, by: &str) -> Result<(), Refused> {
    let mut suite = suite_json(world, repo, id).await?;
    if let Value::Object(suite) = &mut suite {
        suite.shift_remove("repository");
    }
    tell(
        world,
        News {
            event: "check_suite",
            action: Some(action),
            repo,
            sender: by,
            body: json!({"check_suite": suite}),
        },
    );
    Ok(())
}

fn announce(world: &mut World, repo: u64, id: u64, action: &str, by: &str, more: Value) -> Result<(), Refused> {
    let check = find(world, repo, id)?;
    // "Press" and "again" go to the App whose check it is; "created" and "completed" to all.
    if matches!(action, "rerequested" | "requested_action") && check.app != world.app.id {
        return Ok(());
    }
    let check = check.clone();
    let mut shown = check_json(world, repo, &check);
    shown["check_suite"] = brief_suite(world, repo, check.suite);
    let mut body = json!({"check_run": shown});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key.as_str()] = value.clone();
    }
    tell(
        world,
        News {
            event: "check_run",
            action: Some(action),
            repo,
            sender: by,
            body,
        },
    );
    Ok(())
}

pub fn find(world: &World, repo: u64, id: u64) -> Result<&CheckRun, Refused> {
    world.repo(repo).checks.get(&id).ok_or_else(Refused::not_found)
}

/// A person presses one of a check's buttons.
pub fn press(world: &mut World, repo: u64, id: u64, identifier: &str, by: &str) -> Result<(), Refused> {
    let check = find(world, repo, id)?;
    if !check.actions.iter().any(|action| action["identifier"] == identifier) {
        return Err(Refused::new(
            404,
            format!("the check {:?} has no button {identifier:?}", check.name),
        ));
    }
    announce(
        world,
        repo,
        id,
        "requested_action",
        by,
        json!({"requested_action": {"identifier": identifier}}),
    )
}

/// A person asks for a check again.
pub fn rerequest(world: &mut World, repo: u64, id: u64, by: &str) -> Result<(), Refused> {
    announce(world, repo, id, "rerequested", by, json!({}))
}

/// A person asks for all of an App's checks of a commit again.
pub async fn rerequest_suite(world: &mut World, repo: u64, id: u64, by: &str) -> Result<(), Refused> {
    announce_suite(world, repo, id, "rerequested", by).await
}

/// Per App and name the latest run: what counts.
pub fn latest<'w>(world: &'w World, repo: u64, sha: &str) -> Vec<&'w CheckRun> {
    let mut latest: Vec<&CheckRun> = Vec::new();
    for check in world.repo(repo).checks.values().filter(|c| c.head_sha == sha) {
        latest.retain(|other| other.app != check.app || other.name != check.name);
        latest.push(check);
    }
    latest
}

/// A queued check of an App, in its suite.
pub fn start(world: &mut World, repo: u64, app: u64, name: &str, sha: &str) -> u64 {
    let suite = world
        .repo(repo)
        .suites
        .values()
        .find(|s| s.app == app && s.head_sha == sha)
        .map(|s| s.id);
    let suite = suite.unwrap_or_else(|| {
        let it = world.repo(repo);
        let branch = it
            .refs
            .iter()
            .find_map(|(r, s)| r.strip_prefix("refs/heads/").filter(|_| s == sha))
            .map(str::to_owned);
        new_suite(world, repo, app, sha, branch, None)
    });
    let (id, now) = (world.fresh(), world.now());
    let check = CheckRun {
        id,
        suite,
        app,
        name: name.to_owned(),
        head_sha: sha.to_owned(),
        status: "queued".into(),
        conclusion: None,
        external_id: String::new(),
        details_url: None,
        title: None,
        summary: None,
        text: None,
        annotations: Vec::new(),
        actions: Vec::new(),
        started: now,
        completed: None,
    };
    world.repo_mut(repo).checks.insert(id, check);
    id
}
