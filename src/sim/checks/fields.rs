//! Owns what an App may write into a check, within GitHub's limits.

use jiff::Timestamp;
use serde_json::Value;

use super::find;
use crate::sim::call::Refused;
use crate::sim::state::{CheckRun, World};

const CONCLUSIONS: [&str; 8] = [
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
    "stale",
];

/// Takes the fields of a create or update, within GitHub's limits. An error leaves the check as it was.
pub fn write(world: &mut World, repo: u64, id: u64, body: &Value) -> Result<(), Refused> {
    let now = world.now();
    let mut check = find(world, repo, id)?.clone();
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    let long = |what: &str| Refused::schema(format!("{what} is too long."));
    if let Some(name) = text("name") {
        if name.is_empty() || name.chars().count() > 255 {
            return Err(long("name"));
        }
        check.name = name;
    }
    if let Some(external_id) = text("external_id") {
        check.external_id = external_id;
    }
    check.details_url = text("details_url").or(check.details_url);
    if let Some(at) = text("started_at") {
        check.started = moment(&at)?;
    }
    if let Some(status) = text("status") {
        if !["queued", "in_progress", "completed", "waiting", "requested", "pending"].contains(&status.as_str()) {
            return Err(Refused::schema(format!("{status} is not a member of status.")));
        }
        if status != "completed" {
            check.conclusion = None;
            check.completed = None;
        }
        check.status = status;
    }
    if let Some(conclusion) = text("conclusion") {
        if !CONCLUSIONS.contains(&conclusion.as_str()) {
            return Err(Refused::schema(format!("{conclusion} is not a member of conclusion.")));
        }
        check.status = "completed".into();
        check.conclusion = Some(conclusion);
        check.completed = Some(text("completed_at").map_or(Ok(now), |at| moment(&at))?);
    } else if check.status == "completed" && check.conclusion.is_none() {
        return Err(Refused::schema("conclusion is required when status is completed."));
    }
    output(&mut check, &body["output"])?;
    actions(&mut check, &body["actions"])?;
    let suite = check.suite;
    world.repo_mut(repo).checks.insert(id, check);
    if let Some(suite) = world.repo_mut(repo).suites.get_mut(&suite) {
        suite.updated = now;
    }
    Ok(())
}

fn moment(text: &str) -> Result<Timestamp, Refused> {
    text.parse()
        .map_err(|_| Refused::schema(format!("{text} is not a valid date-time.")))
}

fn output(check: &mut CheckRun, output: &Value) -> Result<(), Refused> {
    let Value::Object(fields) = output else { return Ok(()) };
    let field = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let long = |text: &Option<String>| text.as_ref().is_some_and(|t| t.len() > 65_535);
    let (title, summary, text) = (field("title"), field("summary"), field("text"));
    if summary.is_none() {
        return Err(Refused::schema(
            "No subschema in \"anyOf\" matched: \"summary\" wasn't supplied.",
        ));
    }
    if title.is_none() && check.title.is_none() {
        return Err(Refused::schema("\"title\" wasn't supplied."));
    }
    if long(&summary) || long(&text) {
        return Err(Refused::schema("Only 65535 characters are allowed in output."));
    }
    let fresh: Vec<Value> = fields
        .get("annotations")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if fresh.len() > 50 {
        return Err(Refused::schema(format!(
            "No more than 50 items are allowed; {} were supplied.",
            fresh.len()
        )));
    }
    for annotation in &fresh {
        let complete = annotation["path"].is_string()
            && annotation["start_line"].is_u64()
            && annotation["end_line"].is_u64()
            && ["notice", "warning", "failure"].contains(&annotation["annotation_level"].as_str().unwrap_or_default())
            && annotation["message"].as_str().is_some_and(|m| m.len() <= 65_535);
        if !complete {
            return Err(Refused::schema(format!("an annotation is not complete: {annotation}")));
        }
    }
    check.title = title.or(check.title.take());
    check.summary = summary;
    check.text = text.or(check.text.take());
    // Annotations of later updates are added, never replaced.
    check.annotations.extend(fresh);
    Ok(())
}

fn actions(check: &mut CheckRun, actions: &Value) -> Result<(), Refused> {
    let Some(list) = actions.as_array() else { return Ok(()) };
    if list.len() > 3 {
        return Err(Refused::schema(format!(
            "No more than 3 items are allowed; {} were supplied.",
            list.len()
        )));
    }
    for (field, most) in [("label", 20), ("description", 40), ("identifier", 20)] {
        for action in list {
            match action[field].as_str() {
                Some(text) if text.chars().count() <= most => {}
                Some(_) => {
                    return Err(Refused::schema(format!(
                        "{field} is too long (maximum is {most} characters)."
                    )));
                }
                None => return Err(Refused::schema(format!("\"{field}\" wasn't supplied."))),
            }
        }
    }
    check.actions = list.clone();
    Ok(())
}
