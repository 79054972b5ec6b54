//! Owns who may do what: collaborators and teams.

use serde_json::{Value, json};

use super::call::{Answered, Call, Need, Refused, empty, ok, reach};
use super::shape;
use super::state::{Kind, Role, World};

/// `…/collaborators…`, `/orgs/{org}/teams…`, `/users/{login}`
pub fn route(world: &World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    Some(match (method, &path[..]) {
        ("GET", ["repos", owner, name, "collaborators", login, "permission"]) => {
            permission(world, call, owner, name, login)
        }
        ("GET", ["repos", owner, name, "collaborators", login]) => is_collaborator(world, call, owner, name, login),
        ("GET", ["repos", owner, name, "teams"]) => repo_teams(world, call, owner, name),
        ("GET", ["orgs", org, "teams"]) => teams(world, call, org),
        ("GET", ["orgs", org, "teams", slug]) => team(world, call, org, slug),
        ("GET", ["orgs", org, "teams", slug, "members"]) => members(world, call, org, slug),
        ("GET", ["orgs", org, "teams", slug, "memberships", login]) => membership(world, call, org, slug, login),
        ("GET", ["users", login]) => user(world, login),
        ("GET", ["user"]) => me(world, call),
        _ => return None,
    })
}

fn user(world: &World, login: &str) -> Answered {
    let found = world.user(login).ok_or_else(Refused::not_found)?;
    let mut body = shape::user(world, &found.login);
    let more = json!({
        "name": found.login, "company": null, "blog": "", "location": null, "email": null, "hireable": null, "bio": null,
        "twitter_username": null, "public_repos": 0, "public_gists": 0, "followers": 0, "following": 0,
        "created_at": shape::time(found.created), "updated_at": shape::time(found.created),
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key.as_str()] = value.clone();
    }
    ok(body)
}

fn me(world: &World, call: &Call) -> Answered {
    match &call.actor {
        super::call::Actor::User(login) => user(world, login),
        super::call::Actor::Nobody => Err(Refused::new(401, "Requires authentication")),
        _ => Err(Refused::new(403, "Resource not accessible by integration")),
    }
}

fn permission(world: &World, call: &Call, owner: &str, name: &str, login: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["metadata"]))?;
    let found = world
        .user(login)
        .ok_or_else(|| Refused::new(404, format!("{login} is not a user")))?;
    let role = if found.kind == Kind::Bot {
        Role::None
    } else {
        world.role(repo, &found.login)
    };
    let mut who = shape::user(world, &found.login);
    who["permissions"] = flags(role);
    who["role_name"] = json!(role.name());
    ok(json!({"permission": role.legacy(), "role_name": role.name(), "user": who}))
}

fn flags(role: Role) -> Value {
    json!({
        "admin": role >= Role::Admin, "maintain": role >= Role::Maintain, "push": role >= Role::Write,
        "triage": role >= Role::Triage, "pull": role >= Role::Read,
    })
}

fn is_collaborator(world: &World, call: &Call, owner: &str, name: &str, login: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["metadata"]))?;
    let own = world.repo(repo).roles.contains_key(&login.to_lowercase())
        || world.repo(repo).owner.eq_ignore_ascii_case(login);
    if own { empty(204) } else { Err(Refused::not_found()) }
}

fn repo_teams(world: &World, call: &Call, owner: &str, name: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["administration"]))?;
    let it = world.repo(repo);
    let teams = world.user(&it.owner).map(|org| &org.teams);
    let shown = it
        .team_roles
        .iter()
        .filter_map(|(slug, role)| Some(shape::team(world, &it.owner, slug, teams?.get(slug)?, *role)));
    call.page(world, shown.collect())
}

/// The organisation, if the caller may read its members.
fn organisation<'w>(world: &'w World, call: &Call, org: &str) -> Result<&'w super::state::User, Refused> {
    let found = world
        .user(org)
        .filter(|org| org.kind == Kind::Organization)
        .ok_or_else(Refused::not_found)?;
    match &call.actor {
        super::call::Actor::User(_) => Ok(found),
        super::call::Actor::Installation { token, .. } => {
            let granted = world
                .tokens
                .get(token)
                .is_some_and(|t| t.permissions.contains_key("members"));
            if granted {
                Ok(found)
            } else {
                Err(Refused::new(403, "Resource not accessible by integration"))
            }
        }
        _ => Err(Refused::not_found()),
    }
}

fn teams(world: &World, call: &Call, org: &str) -> Answered {
    let found = organisation(world, call, org)?;
    call.page(
        world,
        found
            .teams
            .iter()
            .map(|(slug, team)| shape::team(world, &found.login, slug, team, Role::Read))
            .collect(),
    )
}

fn team(world: &World, call: &Call, org: &str, slug: &str) -> Answered {
    let found = organisation(world, call, org)?;
    let team = found.teams.get(slug).ok_or_else(Refused::not_found)?;
    let mut body = shape::team(world, &found.login, slug, team, Role::Read);
    body["members_count"] = json!(team.members.len());
    body["repos_count"] = json!(0);
    body["created_at"] = json!(shape::time(found.created));
    body["updated_at"] = json!(shape::time(found.created));
    let mut org = shape::organization(world, &found.login).unwrap_or(Value::Null);
    let more = json!({
        "type": "Organization", "html_url": format!("{}/{}", world.url, found.login), "public_repos": 0, "public_gists": 0,
        "followers": 0, "following": 0, "has_organization_projects": true, "has_repository_projects": true,
        "created_at": shape::time(found.created), "updated_at": shape::time(found.created), "archived_at": null,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        org[key.as_str()] = value.clone();
    }
    body["organization"] = org;
    ok(body)
}

fn members(world: &World, call: &Call, org: &str, slug: &str) -> Answered {
    let found = organisation(world, call, org)?;
    let team = found.teams.get(slug).ok_or_else(Refused::not_found)?;
    call.page(
        world,
        team.members.iter().map(|login| shape::user(world, login)).collect(),
    )
}

fn membership(world: &World, call: &Call, org: &str, slug: &str, login: &str) -> Answered {
    let found = organisation(world, call, org)?;
    let team = found.teams.get(slug).ok_or_else(Refused::not_found)?;
    if !team.members.contains(&login.to_lowercase()) {
        return Err(Refused::not_found());
    }
    let url = format!(
        "{}/organizations/{}/team/{}/memberships/{login}",
        world.api(),
        found.id,
        team.id
    );
    ok(json!({"url": url, "role": "member", "state": "active"}))
}
