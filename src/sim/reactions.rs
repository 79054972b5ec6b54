//! Owns reactions on comments and pull requests.

use serde_json::{Value, json};

use super::call::{Answer, Answered, Call, Need, Refused, empty, reach};
use super::comments;
use super::pulls;
use super::shape;
use super::state::{Reaction, Role, World};

/// GitHub's eight.
pub const CONTENTS: [&str; 8] = ["+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"];

/// The counts beside a comment.
pub fn rollup(reactions: &[Reaction], url: &str) -> Value {
    let mut body = json!({"url": url, "total_count": reactions.len()});
    for content in CONTENTS {
        body[content] = json!(reactions.iter().filter(|r| r.content == content).count());
    }
    body
}

/// Adds a reaction; the same one twice stays one. Tells whether it is new.
pub fn react(reactions: &mut Vec<Reaction>, fresh: Reaction) -> (Reaction, bool) {
    if let Some(known) = reactions
        .iter()
        .find(|r| r.by == fresh.by && r.content == fresh.content)
    {
        return (known.clone(), false);
    }
    reactions.push(fresh.clone());
    (fresh, true)
}

fn reaction_json(world: &World, it: &Reaction) -> Value {
    json!({
        "id": it.id, "node_id": shape::node_id("Reaction", it.id), "user": shape::user(world, &it.by),
        "content": it.content, "created_at": shape::time(it.created),
    })
}

const READ: Need = Need::read(&["issues", "pull_requests"]);
const WRITE: Need = Need::write(&["issues", "pull_requests"], Role::Read);

/// `…/issues/comments/{id}/reactions`, `…/issues/{n}/reactions`
pub fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    let ["repos", owner, name, "issues", rest @ ..] = &path[..] else {
        return None;
    };
    let (on, rest) = match rest {
        ["comments", id, "reactions", rest @ ..] => (On::Comment(id), rest),
        [number, "reactions", rest @ ..] => (On::Pull(number), rest),
        _ => return None,
    };
    Some(match (method, rest) {
        ("GET", []) => list(world, call, owner, name, &on),
        ("POST", []) => create(world, call, owner, name, &on),
        ("DELETE", [id]) => remove(world, call, owner, name, &on, id),
        _ => return None,
    })
}

enum On<'a> {
    Comment(&'a str),
    Pull(&'a str),
}

fn reactions_mut<'w>(
    world: &'w mut World,
    call: &Call,
    repo: u64,
    on: &On<'_>,
) -> Result<&'w mut Vec<Reaction>, Refused> {
    match on {
        On::Comment(id) => {
            let id = call.number(id)?;
            let number = comments::pull_of(world, repo, id)?;
            Ok(&mut comments::comment_mut(world, repo, number, id)?.reactions)
        }
        On::Pull(number) => Ok(&mut pulls::find_mut(world, repo, call.number(number)?)?.reactions),
    }
}

fn list(world: &mut World, call: &Call, owner: &str, name: &str, on: &On<'_>) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let mut reactions = reactions_mut(world, call, repo, on)?.clone();
    if let Some(content) = call.query("content") {
        reactions.retain(|r| r.content == content);
    }
    call.page(world, reactions.iter().map(|r| reaction_json(world, r)).collect())
}

fn create(world: &mut World, call: &Call, owner: &str, name: &str, on: &On<'_>) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let content = call.text("content")?;
    if !CONTENTS.contains(&content.as_str()) {
        return Err(Refused::invalid("Reaction", "content", "invalid", ""));
    }
    let fresh = Reaction {
        id: world.fresh(),
        by: call.writer(world)?,
        content,
        created: world.now(),
    };
    let (reaction, new) = react(reactions_mut(world, call, repo, on)?, fresh);
    let body = reaction_json(world, &reaction);
    Ok(Answer {
        status: if new { 201 } else { 200 },
        body,
        headers: Vec::new(),
    })
}

fn remove(world: &mut World, call: &Call, owner: &str, name: &str, on: &On<'_>, id: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let id = call.number(id)?;
    let by = call.writer(world)?;
    let reactions = reactions_mut(world, call, repo, on)?;
    let before = reactions.len();
    reactions.retain(|r| r.id != id || r.by != by);
    if reactions.len() == before {
        Err(Refused::not_found())
    } else {
        empty(204)
    }
}
