//! Owns the checks and statuses of a commit, as GraphQL rolls them up.

use serde_json::{Value, json};

use super::query::Field;
use super::{Got, actor, connection, each, error, typename, unknown};
use crate::sim::checks;
use crate::sim::shape;
use crate::sim::state::{CheckRun, Pull, Status, World};
use crate::sim::statuses;

enum Context<'a> {
    Check(&'a CheckRun),
    Status(&'a Status),
}

pub fn rollup(world: &World, repo: u64, pull: &Pull, sha: &str, field: &Field) -> Got {
    let statuses = statuses::latest(world, repo, sha);
    let checks = checks::latest(world, repo, sha);
    let contexts: Vec<Context<'_>> = checks
        .iter()
        .map(|c| Context::Check(c))
        .chain(statuses.iter().map(Context::Status))
        .collect();
    if contexts.is_empty() {
        return Ok(Value::Null);
    }
    let state = |context: &Context<'_>| match context {
        Context::Check(check) => match check.conclusion.as_deref() {
            None => "PENDING",
            Some("success" | "neutral" | "skipped") => "SUCCESS",
            Some(_) => "FAILURE",
        },
        Context::Status(status) => match status.state.as_str() {
            "success" => "SUCCESS",
            "pending" => "PENDING",
            _ => "FAILURE",
        },
    };
    let has = |wanted: &str| contexts.iter().any(|c| state(c) == wanted);
    each(field, |f| {
        Ok(match f.name.as_str() {
            "state" if has("FAILURE") => json!("FAILURE"),
            "state" if has("PENDING") => json!("PENDING"),
            "state" => json!("SUCCESS"),
            "contexts" => connection(f, "StatusCheckRollupContextConnection", &contexts, |c, n| {
                context_node(world, repo, pull, c, n)
            })?,
            _ => return Err(unknown(f, "StatusCheckRollup")),
        })
    })
}

fn required(world: &World, repo: u64, pull: &Pull, context: &Context<'_>, field: &Field) -> Got {
    if field.argument("pullRequestNumber").is_none() && field.argument("pullRequestId").is_none() {
        return Err(error(
            "ARGUMENT_ERROR",
            "You must specify either `pullRequestId` or `pullRequestNumber`.",
        ));
    }
    let rules = world.repo(repo).rules.get(&pull.base.branch);
    let needed = rules
        .map(|r| r.checks.as_slice())
        .unwrap_or_default()
        .iter()
        .any(|required| match context {
            Context::Check(check) => {
                required.context == check.name && required.app_id.is_none_or(|app| app == check.app)
            }
            Context::Status(status) => required.context == status.context && required.app_id.is_none(),
        });
    Ok(json!(needed))
}

fn context_node(world: &World, repo: u64, pull: &Pull, it: &Context<'_>, field: &Field) -> Got {
    let name = match it {
        Context::Check(_) => "CheckRun",
        Context::Status(_) => "StatusContext",
    };
    let field = field.of_type(name);
    each(&field, |f| {
        if let Some(value) = typename(f, name) {
            return Ok(value);
        }
        if f.name == "isRequired" {
            return required(world, repo, pull, it, f);
        }
        match it {
            Context::Check(check) => check_field(world, repo, check, f),
            Context::Status(status) => Ok(match f.name.as_str() {
                "id" => json!(shape::node_id("Status", status.id)),
                "context" => json!(status.context),
                "state" => json!(status.state.to_uppercase()),
                "description" => json!(status.description),
                "targetUrl" => json!(status.target_url),
                "createdAt" => json!(shape::time(status.at)),
                "creator" => actor(world, &status.by, f)?,
                _ => return Err(unknown(f, "StatusContext")),
            }),
        }
    })
}

fn check_field(world: &World, repo: u64, check: &CheckRun, f: &Field) -> Got {
    Ok(match f.name.as_str() {
        "id" => json!(shape::node_id("CheckRun", check.id)),
        "databaseId" => json!(check.id),
        "name" => json!(check.name),
        "status" => json!(check.status.to_uppercase()),
        "conclusion" => json!(check.conclusion.as_ref().map(|c| c.to_uppercase())),
        "externalId" => json!(check.external_id),
        "title" => json!(check.title),
        "summary" => json!(check.summary),
        "text" => json!(check.text),
        "startedAt" => json!(shape::time(check.started)),
        "completedAt" => shape::maybe_time(check.completed),
        "detailsUrl" => json!(check.details_url),
        "url" | "permalink" => json!(format!(
            "{}/{}/runs/{}",
            world.url,
            world.repo(repo).full_name(),
            check.id
        )),
        "checkSuite" => each(f, |s| match s.name.as_str() {
            "databaseId" => Ok(json!(check.suite)),
            "app" => each(s, |a| match a.name.as_str() {
                "databaseId" => Ok(json!(check.app)),
                "slug" | "name" => Ok(json!(world.app_by_id(check.app).slug)),
                _ => Err(unknown(a, "App")),
            }),
            _ => Err(unknown(s, "CheckSuite")),
        })?,
        _ => return Err(unknown(f, "CheckRun")),
    })
}
