//! Owns the JSON of accounts, repositories, Apps and commits, as GitHub writes them.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::git::diff::FileDiff;
use super::git::{CommitInfo, Signature};
use super::state::{App, Installation, Kind, Repo, Role, Team, World};

/// `2026-01-02T03:04:05Z`: GitHub's times have whole seconds.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn maybe_time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(time(at)))
}

pub fn node_id(kind: &str, id: u64) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{kind}:{id}"))
}

impl World {
    /// Where the API's own addresses start.
    pub fn api(&self) -> String {
        format!("{}/api/v3", self.url)
    }
}

/// A simple user; Apps' bots and unknown logins too.
pub fn user(world: &World, login: &str) -> Value {
    let (id, login, kind) = match world.user(login) {
        Some(user) => (user.id, user.login.as_str(), user.kind),
        None => (1, login, Kind::User),
    };
    let api = format!(
        "{}/users/{}",
        world.api(),
        login.replace('[', "%5B").replace(']', "%5D")
    );
    let html = match kind {
        Kind::Bot => format!("{}/apps/{}", world.url, login.trim_end_matches("[bot]")),
        Kind::User | Kind::Organization => format!("{}/{login}", world.url),
    };
    json!({
        "login": login, "id": id, "node_id": node_id("User", id),
        "avatar_url": format!("{}/avatars/u/{id}", world.url), "gravatar_id": "",
        "url": api, "html_url": html,
        "followers_url": format!("{api}/followers"), "following_url": format!("{api}/following{{/other_user}}"),
        "gists_url": format!("{api}/gists{{/gist_id}}"), "starred_url": format!("{api}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{api}/subscriptions"), "organizations_url": format!("{api}/orgs"),
        "repos_url": format!("{api}/repos"), "events_url": format!("{api}/events{{/privacy}}"),
        "received_events_url": format!("{api}/received_events"),
        "type": kind.name(), "user_view_type": "public", "site_admin": false,
    })
}

/// The `organization` of a webhook.
pub fn organization(world: &World, login: &str) -> Option<Value> {
    let user = world.user(login).filter(|user| user.kind == Kind::Organization)?;
    let api = format!("{}/orgs/{}", world.api(), user.login);
    Some(json!({
        "login": user.login, "id": user.id, "node_id": node_id("Organization", user.id), "url": api,
        "repos_url": format!("{api}/repos"), "events_url": format!("{api}/events"), "hooks_url": format!("{api}/hooks"),
        "issues_url": format!("{api}/issues"), "members_url": format!("{api}/members{{/member}}"),
        "public_members_url": format!("{api}/public_members{{/member}}"),
        "avatar_url": format!("{}/avatars/u/{}", world.url, user.id), "description": "",
    }))
}

pub fn team(world: &World, org: &str, slug: &str, team: &Team, role: Role) -> Value {
    let api = format!("{}/organizations/{org}/team/{}", world.api(), team.id);
    let permission = match role {
        Role::None | Role::Read => "pull",
        Role::Triage => "triage",
        Role::Write => "push",
        Role::Maintain => "maintain",
        Role::Admin => "admin",
    };
    json!({
        "id": team.id, "node_id": node_id("Team", team.id), "name": team.name, "slug": slug, "description": "",
        "privacy": "closed", "notification_setting": "notifications_enabled", "permission": permission, "url": api,
        "html_url": format!("{}/orgs/{org}/teams/{slug}", world.url), "members_url": format!("{api}/members{{/member}}"),
        "repositories_url": format!("{api}/repos"), "type": "organization",
        "organization_id": world.user(org).map_or(1, |org| org.id), "parent": null,
    })
}

/// The address fields of a repository that are its API address and an ending.
const REPO_URLS: &[(&str, &str)] = &[
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
];

pub fn repo(world: &World, repo: &Repo) -> Value {
    let full = repo.full_name();
    let api = format!("{}/repos/{full}", world.api());
    let html = format!("{}/{full}", world.url);
    let open = repo.pulls.values().filter(|pull| pull.open).count();
    let forks = world
        .repos
        .values()
        .filter(|other| other.fork_of == Some(repo.id))
        .count();
    let mut body = Map::new();
    let head = json!({
        "id": repo.id, "node_id": node_id("Repository", repo.id), "name": repo.name, "full_name": full,
        "private": repo.private, "owner": user(world, &repo.owner), "html_url": html, "description": null,
        "fork": repo.fork_of.is_some(), "url": api,
    });
    body.extend(head.as_object().cloned().unwrap_or_default());
    for (field, ending) in REPO_URLS {
        body.insert((*field).to_owned(), json!(format!("{api}{ending}")));
    }
    let tail = json!({
        "created_at": time(repo.created), "updated_at": time(repo.pushed), "pushed_at": time(repo.pushed),
        "git_url": format!("git://{}/{full}.git", world.url.trim_start_matches("http://")),
        "ssh_url": format!("git@{}:{full}.git", world.url.trim_start_matches("http://")),
        "clone_url": format!("{html}.git"), "svn_url": html, "homepage": null, "size": 1,
        "stargazers_count": 0, "watchers_count": 0, "language": "HCL", "has_issues": true, "has_projects": true,
        "has_downloads": true, "has_wiki": true, "has_pages": false, "has_discussions": false, "forks_count": forks,
        "mirror_url": null, "archived": false, "disabled": false, "open_issues_count": open, "license": null,
        "allow_forking": true, "is_template": false, "web_commit_signoff_required": false, "topics": [],
        "visibility": if repo.private { "private" } else { "public" }, "forks": forks, "open_issues": open, "watchers": 0,
        "default_branch": repo.default_branch,
    });
    body.extend(tail.as_object().cloned().unwrap_or_default());
    Value::Object(body)
}

/// What `GET /repos/{owner}/{repo}` has beyond the short form.
pub fn full_repo(world: &World, it: &Repo) -> Value {
    let mut body = repo(world, it);
    body["network_count"] = json!(0);
    body["subscribers_count"] = json!(0);
    body["allow_squash_merge"] = json!(true);
    body["allow_merge_commit"] = json!(true);
    body["allow_rebase_merge"] = json!(true);
    if let Some(parent) = it.fork_of {
        body["parent"] = repo(world, world.repo(parent));
        body["source"] = repo(world, world.repo(parent));
    }
    body
}

pub fn app(world: &World, app: &App) -> Value {
    json!({
        "id": app.id, "slug": app.slug, "node_id": node_id("App", app.id), "client_id": app.client_id,
        "owner": user(world, &app.owner), "name": app.slug, "description": "",
        "external_url": "https://example.com", "html_url": format!("{}/apps/{}", world.url, app.slug),
        "created_at": time(app.created), "updated_at": time(app.created),
        "permissions": app.permissions, "events": app.events,
    })
}

pub fn installation(world: &World, it: &Installation) -> Value {
    let app = world.app_by_id(it.app);
    let (id, kind) = world
        .user(&it.account)
        .map_or((1, Kind::User), |user| (user.id, user.kind));
    json!({
        "id": it.id, "account": user(world, &it.account),
        "repository_selection": if it.repositories.is_none() { "all" } else { "selected" },
        "access_tokens_url": format!("{}/app/installations/{}/access_tokens", world.api(), it.id),
        "repositories_url": format!("{}/installation/repositories", world.api()),
        "html_url": format!("{}/organizations/{}/settings/installations/{}", world.url, it.account, it.id),
        "app_id": it.app, "client_id": app.client_id, "app_slug": app.slug, "target_id": id, "target_type": kind.name(),
        "permissions": it.permissions, "events": app.events, "created_at": time(it.created),
        "updated_at": time(it.created), "single_file_name": null, "has_multiple_single_files": false,
        "single_file_paths": [], "suspended_by": null, "suspended_at": maybe_time(it.suspended),
    })
}

pub fn git_user(who: &Signature) -> Value {
    json!({"name": who.name, "email": who.email, "date": time(who.at)})
}

/// The account a commit's address belongs to.
pub fn account_of(world: &World, who: &Signature) -> Value {
    let login = who
        .email
        .strip_suffix("@users.noreply.github.com")
        .map(|l| l.rsplit('+').next().unwrap_or(l));
    match login.and_then(|login| world.user(login)) {
        Some(found) => user(world, &found.login),
        None => Value::Null,
    }
}

pub fn commit(world: &World, repo: &Repo, it: &CommitInfo) -> Value {
    let full = repo.full_name();
    let api = format!("{}/repos/{full}", world.api());
    let html = format!("{}/{full}", world.url);
    let sha = &it.sha;
    let parents = it.parents.iter().map(|parent| {
        json!({"sha": parent, "url": format!("{api}/commits/{parent}"), "html_url": format!("{html}/commit/{parent}")})
    });
    json!({
        "sha": sha, "node_id": node_id("Commit", repo.id),
        "commit": {
            "author": git_user(&it.author), "committer": git_user(&it.committer), "message": it.message,
            "tree": {"sha": it.tree, "url": format!("{api}/git/trees/{}", it.tree)},
            "url": format!("{api}/git/commits/{sha}"), "comment_count": 0,
            "verification": {"verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null},
        },
        "url": format!("{api}/commits/{sha}"), "html_url": format!("{html}/commit/{sha}"),
        "comments_url": format!("{api}/commits/{sha}/comments"),
        "author": account_of(world, &it.author), "committer": account_of(world, &it.committer),
        "parents": parents.collect::<Vec<_>>(),
    })
}

pub fn file(world: &World, repo: &Repo, commit: &str, it: &FileDiff) -> Value {
    let full = repo.full_name();
    let path: String = it.path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let mut body = json!({
        "sha": it.blob, "filename": it.path, "status": it.status, "additions": it.additions,
        "deletions": it.deletions, "changes": it.additions + it.deletions,
        "blob_url": format!("{}/{full}/blob/{commit}/{path}", world.url),
        "raw_url": format!("{}/{full}/raw/{commit}/{path}", world.url),
        "contents_url": format!("{}/repos/{full}/contents/{path}?ref={commit}", world.api()),
    });
    if let Some(patch) = &it.patch {
        body["patch"] = json!(patch);
    }
    if let Some(previous) = &it.previous {
        body["previous_filename"] = json!(previous);
    }
    body
}

/// Percent-encoding of one path segment.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// How GitHub calls someone's relation to a repository.
pub fn association(world: &World, repo: &Repo, login: &str) -> &'static str {
    let organisation = world
        .user(&repo.owner)
        .is_some_and(|owner| owner.kind == Kind::Organization);
    if repo.owner.eq_ignore_ascii_case(login) {
        return "OWNER";
    }
    match repo.roles.get(&login.to_lowercase()) {
        Some(role) if *role > Role::None && organisation => "MEMBER",
        Some(role) if *role > Role::None => "COLLABORATOR",
        _ if repo
            .pulls
            .values()
            .any(|p| p.merged.is_some() && p.author.eq_ignore_ascii_case(login)) =>
        {
            "CONTRIBUTOR"
        }
        _ => "NONE",
    }
}
