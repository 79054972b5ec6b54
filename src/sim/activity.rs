//! Owns who moved which ref, as `GET …/activity` tells it.

use serde_json::json;

use super::call::{Answered, Call, Need, reach};
use super::shape;
use super::state::World;

/// `…/activity`
pub fn route(world: &World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    match (method, &path[..]) {
        ("GET", ["repos", owner, name, "activity"]) => Some(list(world, call, owner, name)),
        _ => None,
    }
}

fn list(world: &World, call: &Call, owner: &str, name: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["contents"]))?;
    let reference = call.query("ref").map(|r| {
        if r.starts_with("refs/") {
            r.to_owned()
        } else {
            format!("refs/heads/{r}")
        }
    });
    let wanted = world.repo(repo).activity.iter().filter(|a| {
        reference.as_ref().is_none_or(|r| *r == a.reference)
            && call
                .query("actor")
                .is_none_or(|actor| actor.eq_ignore_ascii_case(&a.by))
            && call.query("activity_type").is_none_or(|kind| kind == a.kind)
    });
    let mut list: Vec<_> = wanted.collect();
    if call.query("direction") != Some("asc") {
        list.reverse();
    }
    let shown = list.into_iter().map(|a| {
        json!({
            "id": a.id, "node_id": shape::node_id("Activity", a.id), "before": a.before, "after": a.after, "ref": a.reference,
            "timestamp": shape::time(a.at), "activity_type": a.kind, "actor": shape::user(world, &a.by),
        })
    });
    call.page(world, shown.collect())
}
