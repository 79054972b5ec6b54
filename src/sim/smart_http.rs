//! Owns git over HTTP: who may clone, fetch and push, through `git http-backend`.

use std::ffi::OsString;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode};

use super::auth;
use super::call::{Actor, Refused};
use super::git;
use super::pushes;
use super::state::{Role, World};

/// A request for a repository's git side.
pub struct Request<'a> {
    pub method: &'a str,
    pub owner: &'a str,
    pub name: &'a str,
    /// What stands behind `owner/name.git`, with its slash.
    pub service: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
}

fn no(status: u16, text: &str) -> Box<Response<Body>> {
    Box::new(plain(status, text))
}

fn plain(status: u16, text: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(text.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == 401 {
        let realm = axum::http::HeaderValue::from_static("Basic realm=\"GitHub\"");
        answer.headers_mut().insert("www-authenticate", realm);
    }
    answer
}

/// Whether the request pushes.
fn pushes(request: &Request<'_>) -> bool {
    request.service == "/git-receive-pack" || request.query.contains("service=git-receive-pack")
}

/// Who asks and for which repository; refused as GitHub refuses.
pub fn admit(world: &World, request: &Request<'_>) -> Result<(u64, String), Box<Response<Body>>> {
    let actor = auth::identify(world, request.headers).map_err(|_| no(401, "Invalid username or token.\n"))?;
    let hidden = || match actor {
        Actor::Nobody => no(401, "Repository not found.\n"),
        _ => no(404, "Repository not found.\n"),
    };
    let id = world.repo_id(request.owner, request.name).ok_or_else(hidden)?;
    let repo = world.repo(id);
    let (sees, writes, login) = match &actor {
        Actor::Nobody | Actor::App(_) => (!repo.private, false, String::new()),
        Actor::User(login) => (
            world.role(id, login) >= Role::Read,
            world.role(id, login) >= Role::Write,
            login.clone(),
        ),
        Actor::Installation { token, app, .. } => {
            let token = world.tokens.get(token);
            let covers = token.is_some_and(|t| {
                world.installation_for(*app, id).is_some_and(|i| i.id == t.installation)
                    && t.repositories.as_ref().is_none_or(|some| some.contains(&id))
            });
            let contents = token.and_then(|t| t.permissions.get("contents")).map(String::as_str);
            let reads = covers && contents.is_some();
            (
                reads || !repo.private,
                reads && contents == Some("write"),
                world.app_by_id(*app).bot(),
            )
        }
    };
    if !sees {
        return Err(hidden());
    }
    if pushes(request) && !writes {
        return Err(match actor {
            Actor::Nobody => no(401, "Authentication required.\n"),
            _ => no(
                403,
                &format!("Permission to {}.git denied to {login}.\n", repo.full_name()),
            ),
        });
    }
    Ok((id, login))
}

/// Serves one request; a push is told about afterwards.
pub async fn serve(world: &tokio::sync::Mutex<World>, request: Request<'_>) -> Response<Body> {
    let admitted = {
        let world = world.lock().await;
        admit(&world, &request).map(|(id, login)| (id, login, world.repo(id).dir.clone()))
    };
    let (id, login, dir) = match admitted {
        Ok(admitted) => admitted,
        Err(answer) => return *answer,
    };
    if request.service != "/git-receive-pack" {
        return backend(&dir, &request, &login).await;
    }
    let mut world = world.lock().await;
    if let Some(branch) = protected(&world, id, &request.body) {
        return plain(
            403,
            &format!("refusing to push: {branch} is protected; changes must be made through a pull request\n"),
        );
    }
    let answer = backend(&dir, &request, &login).await;
    if let Err(refused) = after_push(&mut world, id, &login).await {
        tracing::error!(error = %refused, "the simulator could not follow a push");
    }
    answer
}

/// The first branch a push wants to move that takes pull requests only.
fn protected(world: &World, repo: u64, body: &[u8]) -> Option<String> {
    let rules = &world.repo(repo).rules;
    let mut rest = body;
    while let Some(length) = rest
        .get(..4)
        .and_then(|l| std::str::from_utf8(l).ok())
        .and_then(|l| usize::from_str_radix(l, 16).ok())
    {
        if length < 4 {
            return None;
        }
        let line = String::from_utf8_lossy(rest.get(4..length)?).into_owned();
        rest = rest.get(length..)?;
        let reference = line.split('\0').next()?.split(' ').nth(2)?.trim().to_owned();
        let branch = reference.strip_prefix("refs/heads/").unwrap_or_default();
        if rules
            .get(branch)
            .is_some_and(|r| r.approvals.is_some() || !r.checks.is_empty())
        {
            return Some(branch.to_owned());
        }
    }
    None
}

async fn after_push(world: &mut World, repo: u64, by: &str) -> Result<(), Refused> {
    let dir = world.repo(repo).dir.clone();
    let now = git::refs(&dir).await?;
    let before = world.repo(repo).refs.clone();
    for (reference, sha) in &now {
        if before.get(reference) != Some(sha) {
            pushes::moved(world, repo, reference, Some(sha), by, false).await?;
        }
    }
    for reference in before.keys().filter(|r| !now.contains_key(*r)) {
        pushes::moved(world, repo, reference, None, by, false).await?;
    }
    Ok(())
}

/// One run of the CGI program.
async fn backend(dir: &std::path::Path, request: &Request<'_>, login: &str) -> Response<Body> {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let root = dir.parent().unwrap_or(dir);
    let file = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut env: Vec<(&str, OsString)> = vec![
        ("GIT_PROJECT_ROOT", root.into()),
        ("GIT_HTTP_EXPORT_ALL", "1".into()),
        ("PATH_INFO", format!("/{file}{}", request.service).into()),
        ("QUERY_STRING", request.query.into()),
        ("REQUEST_METHOD", request.method.into()),
        ("CONTENT_TYPE", header("content-type").into()),
        ("CONTENT_LENGTH", request.body.len().to_string().into()),
        ("GIT_PROTOCOL", header("git-protocol").into()),
        ("REMOTE_ADDR", "127.0.0.1".into()),
    ];
    if !header("content-encoding").is_empty() {
        env.push(("HTTP_CONTENT_ENCODING", header("content-encoding").into()));
    }
    if !login.is_empty() {
        env.push(("REMOTE_USER", login.into()));
    }
    match git::start(dir, &["http-backend"], &env, &request.body).await {
        Ok((_, stdout, _)) => cgi(&stdout),
        Err(error) => plain(500, &error.to_string()),
    }
}

/// Headers, an empty line, the body.
fn cgi(output: &[u8]) -> Response<Body> {
    let end = output.windows(4).position(|w| w == b"\r\n\r\n");
    let Some(end) = end else {
        return plain(500, "git http-backend gave no answer\n");
    };
    let mut answer = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *answer.status_mut() = code
                .and_then(|c| StatusCode::from_u16(c).ok())
                .unwrap_or(StatusCode::OK);
        } else if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
