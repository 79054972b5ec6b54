//! Owns what is in a repository, read through the API: the repository itself, files, branches, refs, commits, compare.

use base64::Engine as _;
use serde_json::{Value, json};

use super::call::{Actor, Answer, Answered, Call, Level, Need, Refused, created, empty, ok, reach};
use super::git::{self, Change};
use super::pulls;
use super::pushes;
use super::shape;
use super::state::{Role, World};

const READ: Need = Need::read(&["contents"]);
const META: Need = Need::read(&["metadata"]);

/// The commit a branch, tag or (short) id names.
pub async fn commit_id(world: &World, repo: u64, reference: &str) -> Result<String, Refused> {
    let it = world.repo(repo);
    for full in [
        format!("refs/heads/{reference}"),
        format!("refs/tags/{reference}"),
        format!("refs/{reference}"),
        reference.to_owned(),
    ] {
        if let Some(sha) = it.refs.get(&full) {
            return Ok(sha.clone());
        }
    }
    let hexadecimal = reference.len() >= 4 && reference.bytes().all(|b| b.is_ascii_hexdigit());
    let found = if hexadecimal || reference == "HEAD" {
        git::resolve(&it.dir, reference).await?
    } else {
        None
    };
    found.ok_or_else(|| Refused::new(422, format!("No commit found for SHA: {reference}")))
}

pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    let ["repos", owner, name, rest @ ..] = &path[..] else {
        return None;
    };
    let at = (*owner, *name);
    Some(match (method, rest) {
        ("GET", []) => show(world, call, at),
        ("GET", ["contents", file @ ..]) => content(world, call, at, &file.join("/")).await,
        ("PUT", ["contents", file @ ..]) => put(world, call, at, &file.join("/")).await,
        ("GET", ["branches"]) => branches(world, call, at),
        ("GET", ["branches", branch @ .., "protection"]) => {
            super::protection::classic(world, call, at, &branch.join("/"))
        }
        ("GET", ["branches", branch @ ..]) => branch_show(world, call, at, &branch.join("/")).await,
        ("GET", ["git", "ref", reference @ ..]) => reference_show(world, call, at, &reference.join("/")),
        ("GET", ["git", "matching-refs", reference @ ..]) => matching(world, call, at, &reference.join("/")),
        ("POST", ["git", "refs"]) => reference_create(world, call, at).await,
        ("DELETE", ["git", "refs", reference @ ..]) => reference_delete(world, call, at, &reference.join("/")).await,
        ("GET", ["commits"]) => commits(world, call, at).await,
        ("GET", ["commits", sha, "pulls"]) => reach(world, call, owner, name, &Need::read(&["pull_requests"]))
            .and_then(|repo| call.page(world, super::checks::doors::pulls_of(world, repo, sha))),
        ("GET", ["commits", reference @ ..]) => commit(world, call, at, &reference.join("/")).await,
        ("GET", ["compare", range @ ..]) => compare(world, call, at, &range.join("/")).await,
        _ => return None,
    })
}

fn show(world: &World, call: &Call, (owner, name): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &META)?;
    let mut body = shape::full_repo(world, world.repo(repo));
    if let Actor::User(login) = &call.actor {
        let role = world.role(repo, login);
        body["permissions"] = json!({
            "admin": role >= Role::Admin, "maintain": role >= Role::Maintain, "push": role >= Role::Write,
            "triage": role >= Role::Triage, "pull": role >= Role::Read,
        });
    }
    ok(body)
}

async fn content(world: &World, call: &Call, (owner, name): (&str, &str), path: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let it = world.repo(repo);
    let reference = call.query("ref").unwrap_or(&it.default_branch);
    let no_ref = |_| Refused::new(404, format!("No commit found for the ref {reference}"));
    let commit = commit_id(world, repo, reference).await.map_err(no_ref)?;
    let raw = call
        .headers
        .get("accept")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("raw"));
    let path = path.trim_matches('/');
    let own = if path.is_empty() {
        Vec::new()
    } else {
        git::list(&it.dir, &commit, path).await?
    };
    match own.first() {
        None if !path.is_empty() => Err(Refused::not_found()),
        Some(entry) if entry.kind != "tree" => {
            let bytes = git::blob(&it.dir, &entry.sha).await?;
            if raw {
                let body = Value::String(String::from_utf8_lossy(&bytes).into_owned());
                let kind = ("content-type", "application/vnd.github.raw; charset=utf-8".to_owned());
                return Ok(Answer {
                    status: 200,
                    body,
                    headers: vec![kind],
                });
            }
            let mut body = entry_json(world, repo, reference, entry);
            // Above one megabyte GitHub leaves the content out.
            let large = bytes.len() > 1_000_000;
            body["encoding"] = json!(if large { "none" } else { "base64" });
            body["content"] = json!(if large { String::new() } else { lines_of_60(&bytes) });
            if entry.mode == "120000" {
                body["type"] = json!("symlink");
                body["target"] = json!(String::from_utf8_lossy(&bytes));
            }
            ok(body)
        }
        _ => {
            let folder = if path.is_empty() {
                String::new()
            } else {
                format!("{path}/")
            };
            let entries = git::list(&it.dir, &commit, &folder).await?;
            ok(entries
                .iter()
                .map(|entry| entry_json(world, repo, reference, entry))
                .collect())
        }
    }
}

/// Base64 as GitHub breaks it.
fn lines_of_60(bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    (0..text.len())
        .step_by(60)
        .map(|at| format!("{}\n", &text[at..text.len().min(at + 60)]))
        .collect()
}

fn entry_json(world: &World, repo: u64, reference: &str, it: &git::Entry) -> Value {
    let full_name = world.repo(repo).full_name();
    let path: String = it.path.split('/').map(shape::encode).collect::<Vec<_>>().join("/");
    let url = format!("{}/repos/{full_name}/contents/{path}?ref={reference}", world.api());
    let folder = it.kind == "tree";
    let git_url = format!("{}/repos/{full_name}/git/{}s/{}", world.api(), it.kind, it.sha);
    let html = format!("{}/{full_name}/{}/{reference}/{path}", world.url, it.kind);
    let download = (!folder).then(|| format!("{}/{full_name}/raw/{reference}/{path}", world.url));
    json!({
        "type": if folder { "dir" } else { "file" }, "size": it.size, "name": it.path.rsplit('/').next(), "path": it.path,
        "sha": it.sha, "url": url, "git_url": git_url, "html_url": html, "download_url": download,
        "_links": {"self": url, "git": git_url, "html": html},
    })
}

async fn put(world: &mut World, call: &Call, (owner, name): (&str, &str), path: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["contents"], Role::Write))?;
    let by = call.writer(world)?;
    let branch = call
        .maybe_text("branch")?
        .unwrap_or_else(|| world.repo(repo).default_branch.clone());
    let content: String = call.text("content")?.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(content)
        .map_err(|_| Refused::new(422, "content is not valid Base64"))?;
    let message = call.text("message")?;
    let sha = commit_on(
        world,
        repo,
        &branch,
        &by,
        &message,
        &[Change::Put {
            path: path.to_owned(),
            bytes,
        }],
    )
    .await?;
    let it = world.repo(repo);
    let entry = git::list(&it.dir, &sha, path).await?;
    let info = git::log(&it.dir, &[&sha], 1).await?;
    let entry = entry.first().map(|e| entry_json(world, repo, &branch, e));
    created(json!({"content": entry, "commit": info.first().map(|c| shape::commit(world, it, c)["commit"].clone())}))
}

/// A commit on a branch by somebody, with all that follows.
pub async fn commit_on(
    world: &mut World,
    repo: u64,
    branch: &str,
    by: &str,
    message: &str,
    changes: &[Change],
) -> Result<String, Refused> {
    let reference = format!("refs/heads/{branch}");
    let it = world.repo(repo);
    // A branch that is not there starts where the default branch is.
    let parent = it
        .refs
        .get(&reference)
        .or_else(|| it.branch(&it.default_branch))
        .cloned();
    let dir = it.dir.clone();
    let who = pulls::signature(world, by);
    let sha = git::commit(&dir, &reference, parent.as_deref(), &who, message, changes).await?;
    pushes::moved(world, repo, &reference, Some(&sha), by, false).await?;
    Ok(sha)
}

fn branches(world: &World, call: &Call, (owner, name): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let it = world.repo(repo);
    let heads = it
        .refs
        .iter()
        .filter_map(|(r, sha)| Some((r.strip_prefix("refs/heads/")?, sha)));
    let shown = heads.map(|(branch, sha)| {
        let url = format!("{}/repos/{}/commits/{sha}", world.api(), it.full_name());
        json!({"name": branch, "commit": {"sha": sha, "url": url}, "protected": it.rules.contains_key(branch)})
    });
    call.page(world, shown.collect())
}

async fn branch_show(world: &World, call: &Call, (owner, name): (&str, &str), branch: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let it = world.repo(repo);
    let sha = it.branch(branch).ok_or_else(|| Refused::new(404, "Branch not found"))?;
    let info = git::log(&it.dir, &[sha], 1).await?;
    let commit = info.first().map(|c| shape::commit(world, it, c));
    let url = format!("{}/repos/{}/branches/{}", world.api(), it.full_name(), branch);
    ok(json!({
        "name": branch, "commit": commit,
        "_links": {"self": url, "html": format!("{}/{}/tree/{branch}", world.url, it.full_name())},
        "protected": it.rules.contains_key(branch), "protection": super::protection::hint(it.rules.get(branch)),
        "protection_url": format!("{url}/protection"),
    }))
}

fn reference_json(world: &World, repo: u64, name: &str, sha: &str) -> Value {
    let api = format!("{}/repos/{}/git", world.api(), world.repo(repo).full_name());
    json!({
        "ref": name, "node_id": shape::node_id("Ref", repo), "url": format!("{api}/{name}"),
        "object": {"sha": sha, "type": "commit", "url": format!("{api}/commits/{sha}")},
    })
}

fn reference_show(world: &World, call: &Call, (owner, name): (&str, &str), reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let full = format!("refs/{reference}");
    let sha = world.repo(repo).refs.get(&full).ok_or_else(Refused::not_found)?;
    ok(reference_json(world, repo, &full, sha))
}

fn matching(world: &World, call: &Call, (owner, name): (&str, &str), reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let start = format!("refs/{reference}");
    let refs = world
        .repo(repo)
        .refs
        .iter()
        .filter(|(name, _)| name.starts_with(&start));
    call.page(
        world,
        refs.map(|(name, sha)| reference_json(world, repo, name, sha)).collect(),
    )
}

async fn reference_create(world: &mut World, call: &Call, (owner, name): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["contents"], Role::Write))?;
    let by = call.writer(world)?;
    let (reference, sha) = (call.text("ref")?, call.text("sha")?);
    if !reference.starts_with("refs/heads/") && !reference.starts_with("refs/tags/") {
        return Err(Refused::new(
            422,
            "Reference name must start with 'refs/heads/' or 'refs/tags/'",
        ));
    }
    if world.repo(repo).refs.contains_key(&reference) {
        return Err(Refused::new(422, "Reference already exists"));
    }
    let dir = world.repo(repo).dir.clone();
    if git::resolve(&dir, &sha).await?.as_deref() != Some(sha.as_str()) {
        return Err(Refused::new(422, "Object does not exist"));
    }
    git::set_ref(&dir, &reference, &sha).await?;
    pushes::moved(world, repo, &reference, Some(&sha), &by, false).await?;
    created(reference_json(world, repo, &reference, &sha))
}

async fn reference_delete(world: &mut World, call: &Call, (owner, name): (&str, &str), reference: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["contents"], Role::Write))?;
    let by = call.writer(world)?;
    let full = format!("refs/{reference}");
    if !world.repo(repo).refs.contains_key(&full) || full.starts_with("refs/pull/") {
        return Err(Refused::new(422, "Reference does not exist"));
    }
    let dir = world.repo(repo).dir.clone();
    git::delete_ref(&dir, &full).await?;
    pushes::moved(world, repo, &full, None, &by, false).await?;
    empty(204)
}

async fn commits(world: &World, call: &Call, (owner, name): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let it = world.repo(repo);
    let sha = commit_id(world, repo, call.query("sha").unwrap_or(&it.default_branch)).await?;
    let mut list = git::log(&it.dir, &[&sha], 1_000).await?;
    list.reverse();
    call.page(world, list.iter().map(|c| shape::commit(world, it, c)).collect())
}

async fn commit(world: &mut World, call: &Call, (owner, name): (&str, &str), reference: &str) -> Answered {
    let repo = reach(
        world,
        call,
        owner,
        name,
        &Need {
            any_of: &["contents"],
            level: Level::Read,
            role: Role::Read,
        },
    )?;
    let sha = commit_id(world, repo, reference).await?;
    let wants = |kind: &str| {
        call.headers
            .get("accept")
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.contains(kind))
    };
    if wants("sha") {
        let kind = ("content-type", "application/vnd.github.sha; charset=utf-8".to_owned());
        return Ok(Answer {
            status: 200,
            body: Value::String(sha),
            headers: vec![kind],
        });
    }
    let it = world.repo(repo);
    let info = git::log(&it.dir, &[&sha], 1).await?;
    let info = info.first().ok_or_else(Refused::not_found)?;
    const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    let parent = info.parents.first().map_or(EMPTY_TREE, String::as_str);
    let files = git::diff::diff(&it.dir, parent, &sha).await?;
    let mut body = shape::commit(world, it, info);
    let (add, remove) = (
        files.iter().map(|f| f.additions).sum::<u64>(),
        files.iter().map(|f| f.deletions).sum::<u64>(),
    );
    body["stats"] = json!({"total": add + remove, "additions": add, "deletions": remove});
    body["files"] = files
        .iter()
        .take(300)
        .map(|f| shape::file(world, it, &sha, f))
        .collect();
    ok(body)
}

/// `base...head`, where either may name a fork: `owner:branch`.
async fn compare(world: &mut World, call: &Call, (owner, name): (&str, &str), range: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let (base, head) = range.split_once("...").ok_or_else(Refused::not_found)?;
    let side = |text: &str| {
        text.split_once(':')
            .map_or(text.to_owned(), |(_, branch)| branch.to_owned())
    };
    let missing = |_| Refused::not_found();
    let base = commit_id(world, repo, &side(base)).await.map_err(missing)?;
    let head = commit_id(world, repo, &side(head)).await.map_err(missing)?;
    let dir = world.repo(repo).dir.clone();
    let (ahead, behind) = git::ahead_behind(&dir, &base, &head).await?;
    let merge_base = git::merge_base(&dir, &base, &head).await?;
    let none = || Refused::new(404, format!("No common ancestor between {base} and {head}."));
    let merge_base = merge_base.ok_or_else(none)?;
    let files = pulls::facts::three_dot(world, repo, base.clone(), head.clone()).await?;
    let commits = git::log(&dir, &[&format!("{base}..{head}")], 10_000).await?;
    let ends = git::log(&dir, &["--no-walk=unsorted", &base, &merge_base], 2).await?;
    let it = world.repo(repo);
    let info = |sha: &str| ends.iter().find(|c| c.sha == sha).map(|c| shape::commit(world, it, c));
    let status = match (ahead, behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    let html = format!("{}/{}/compare/{base}...{head}", world.url, it.full_name());
    let listed = commits.iter().map(|c| shape::commit(world, it, c)).collect();
    let page = call.page(world, listed)?;
    // Files come with the first page only, 300 at most.
    let first = call.query("page").is_none_or(|page| page == "1");
    let files: Vec<Value> = files
        .iter()
        .take(if first { 300 } else { 0 })
        .map(|f| shape::file(world, it, &head, f))
        .collect();
    let body = json!({
        "url": format!("{}/repos/{}/compare/{base}...{head}", world.api(), it.full_name()), "html_url": html,
        "permalink_url": html, "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"),
        "base_commit": info(&base), "merge_base_commit": info(&merge_base), "status": status, "ahead_by": ahead,
        "behind_by": behind, "total_commits": commits.len(), "commits": page.body, "files": files,
    });
    Ok(Answer {
        status: 200,
        body,
        headers: page.headers,
    })
}
