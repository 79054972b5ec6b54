//! Owns the face: a pull request as a person sees it in a browser, and the forms they fill in.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::call::Refused;
use super::checks as check_runs;
use super::comments;
use super::contents;
use super::git::Change;
use super::merge;
use super::pulls;
use super::reviews;
use super::server::Hub;
use super::state::{Role, Verdict, World};

pub mod frame;
pub mod markdown;
pub mod checks;
pub mod files;
pub mod conversation;

use frame::escape;

/// Serves a page, or takes a form.
pub async fn serve(hub: &Hub, method: &str, path: &[&str], query: &str, body: &Bytes) -> Response<Body> {
    let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let mut world = hub.world.lock().await;
    let shown = match (method, path) {
        ("GET" | "HEAD", _) => show(&mut world, path, &Given(query)).await,
        ("POST", _) => take(&mut world, path, &Given(form)).await,
        _ => Err(Refused::new(405, "Method Not Allowed")),
    };
    shown.unwrap_or_else(|refused| {
        let content = format!("<h1>{}</h1><p>{}</p>", refused.status, escape(&refused.message));
        html(
            refused.status,
            frame::page("GitHub", "<b><a href=\"/\">Home</a></b>", &content),
        )
    })
}

/// Fields of a query or a form.
struct Given(Vec<(String, String)>);

impl Given {
    fn field(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    }
}

fn html(status: u16, text: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
    answer
}

fn find(world: &World, owner: &str, name: &str) -> Result<u64, Refused> {
    world.repo_id(owner, name).ok_or_else(Refused::not_found)
}

async fn show(world: &mut World, path: &[&str], given: &Given) -> Result<Response<Body>, Refused> {
    match path {
        [] => Ok(html(200, home(world, None))),
        [owner, name] | [owner, name, "pulls"] => {
            let repo = find(world, owner, name)?;
            Ok(html(200, home(world, Some(repo))))
        }
        [owner, name, "runs", id] => {
            let repo = find(world, owner, name)?;
            let id = id.parse().map_err(|_| Refused::not_found())?;
            Ok(html(200, checks::run(world, repo, id, given.field("as"))?))
        }
        [owner, name, "pull", number, tab @ ..] => {
            let repo = find(world, owner, name)?;
            let number = number.parse().map_err(|_| Refused::not_found())?;
            pulls::find(world, repo, number)?;
            if tab == ["live"] {
                return live(world, repo, number).await;
            }
            Ok(html(200, pull(world, repo, number, tab, given).await?))
        }
        _ => Err(Refused::not_found()),
    }
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

/// The part that changes by itself, for the page's script.
async fn live(world: &mut World, repo: u64, number: u64) -> Result<Response<Body>, Refused> {
    let text = conversation::live(world, repo, number).await?;
    let hash = HeaderValue::from_str(&hash(&text)).unwrap_or_else(|_| HeaderValue::from_static(""));
    let mut answer = html(200, text);
    answer.headers_mut().insert("x-hash", hash);
    Ok(answer)
}

/// All repositories with their pull requests, or one.
fn home(world: &World, only: Option<u64>) -> String {
    let mut out = String::new();
    for repo in world.repos.values().filter(|repo| only.is_none_or(|id| id == repo.id)) {
        let full = escape(&repo.full_name());
        let pulls: String = repo.pulls.values().rev().map(|pull| {
            let (class, word) = state(pull);
            format!("<a class=\"pr\" href=\"/{full}/pull/{}\"><span class=\"state {class}\">{word}</span><b>{}</b><small>#{} by {}</small></a>", pull.number, escape(&pull.title), pull.number, escape(&pull.author))
        }).collect();
        let pulls = if pulls.is_empty() {
            "<div class=\"md\">No pull requests.</div>".to_owned()
        } else {
            pulls
        };
        out += &format!(
            "<div class=\"box list\" style=\"margin-bottom:16px\"><div class=\"head\"><b>{full}</b></div>{pulls}</div>"
        );
    }
    frame::page("Pull requests", "<b><a href=\"/\">Pull requests</a></b>", &out)
}

fn state(pull: &super::state::Pull) -> (&'static str, &'static str) {
    match (&pull.merged, pull.open, pull.draft) {
        (Some(_), _, _) => ("merged", "Merged"),
        (None, false, _) => ("closed", "Closed"),
        (None, true, true) => ("draft", "Draft"),
        (None, true, false) => ("open", "Open"),
    }
}

/// Who acts when nobody was chosen: somebody who is not the author and may write.
fn default_actor(world: &World, repo: u64, pull: &super::state::Pull) -> String {
    let mut people = world
        .users
        .values()
        .filter(|user| user.is_person() && world.role(repo, &user.login) >= Role::Write);
    people
        .find(|user| user.login != pull.author)
        .map_or(pull.author.clone(), |user| user.login.clone())
}

async fn pull(world: &mut World, repo: u64, number: u64, tab: &[&str], given: &Given) -> Result<String, Refused> {
    let files = pulls::facts::files(world, repo, number).await?;
    let commits = pulls::facts::commits(world, repo, number).await?;
    let chosen = match given.field("as") {
        "" => default_actor(world, repo, pulls::find(world, repo, number)?),
        chosen => chosen.to_owned(),
    };
    let full = world.repo(repo).full_name();
    let at = format!("/{full}/pull/{number}");
    let content = match tab {
        [] => {
            let live = conversation::live(world, repo, number).await?;
            let open = pulls::find(world, repo, number)?.open;
            let clean = open && pulls::facts::mergeable(world, repo, number).await?;
            let against = merge::blockers(world, repo, number).await?;
            let pull = pulls::find(world, repo, number)?;
            format!(
                "<div class=\"columns\"><div><div id=\"live\" data-from=\"{at}/live\" data-hash=\"{}\">{live}</div>{}</div><div class=\"side\">{}</div></div>",
                hash(&live),
                conversation::forms(world, repo, pull, clean, &against, &chosen),
                conversation::side(world, repo, pull, &chosen)
            )
        }
        ["files"] => files::diffs(&files, &format!("{at}/edit?as={}", escape(&chosen))),
        ["commits"] => commits.iter().map(|commit| {
            let who = escape(&commit.author.name);
            format!("<div class=\"box\" style=\"padding:12px 16px;margin-bottom:8px\"><b>{}</b><br><small>{who} · {} · <span class=\"mono\">{}</span></small></div>", escape(commit.message.lines().next().unwrap_or_default()), frame::time(commit.author.at), frame::short(&commit.sha))
        }).collect(),
        ["checks"] => {
            let head = pulls::find(world, repo, number)?.head.sha.clone();
            let list: String = check_runs::latest(world, repo, &head).into_iter().map(|check| checks::line(world, repo, check, false)).collect();
            format!("<div class=\"box\">{list}</div>")
        }
        ["edit"] => files::edit(world, repo, number, Some(given.field("path")).filter(|path| !path.is_empty()), &chosen).await?,
        _ => return Err(Refused::not_found()),
    };
    let pull = pulls::find(world, repo, number)?;
    let it = world.repo(repo);
    let head = if pull.head.repo == repo {
        pull.head.branch.clone()
    } else {
        format!("{}:{}", world.repo(pull.head.repo).owner, pull.head.branch)
    };
    let (class, word) = state(pull);
    let checks = check_runs::latest(world, repo, &pull.head.sha).len();
    let said = pull.comments.len() + pull.reviews.len();
    let tabs: String = [
        ("", "Conversation", said),
        ("/commits", "Commits", commits.len()),
        ("/checks", "Checks", checks),
        ("/files", "Files changed", files.len()),
    ]
    .iter()
    .map(|(end, name, count)| {
        let on = if tab.first().copied().unwrap_or_default() == end.trim_start_matches('/') {
            " class=\"on\""
        } else {
            ""
        };
        format!(
            "<a href=\"{at}{end}?as={}\"{on}>{name}<span class=\"count\">{count}</span></a>",
            escape(&chosen)
        )
    })
    .collect();
    let (plus, minus) = (
        files.iter().map(|f| f.additions).sum::<u64>(),
        files.iter().map(|f| f.deletions).sum::<u64>(),
    );
    let flash = match given.field("no") {
        "" => String::new(),
        why => format!("<div class=\"flash\">{}</div>", escape(why)),
    };
    let verb = if pull.merged.is_some() {
        "merged"
    } else {
        "wants to merge"
    };
    let content = format!(
        "<h1>{} <span class=\"num\">#{number}</span></h1><div class=\"meta\"><span class=\"state {class}\">{word}</span><span><b>{}</b> {verb} {} commit{} into \
         <span class=\"branch\">{}</span> from <span class=\"branch\">{}</span></span></div><div class=\"tabs\">{tabs}<span class=\"sum\"><span class=\"plus\">+{plus}</span> \
         <span class=\"minus\">−{minus}</span></span></div>{flash}{content}",
        escape(&pull.title),
        escape(&pull.author),
        commits.len(),
        if commits.len() == 1 { "" } else { "s" },
        escape(&pull.base.branch),
        escape(&head)
    );
    Ok(frame::page(
        &format!("{} · Pull Request #{number} · {full}", pull.title),
        &frame::crumbs(&it.owner, &it.name, it.private),
        &content,
    ))
}

/// Does what a form says, then shows the page again; a refusal is shown on it.
async fn take(world: &mut World, path: &[&str], form: &Given) -> Result<Response<Body>, Refused> {
    let by = form.field("as").to_owned();
    if world.user(&by).is_none_or(|user| !user.is_person()) {
        return Err(Refused::new(403, "choose who you are"));
    }
    match path {
        [owner, name, "runs", id] => {
            let repo = find(world, owner, name)?;
            let id = id.parse().map_err(|_| Refused::not_found())?;
            if form.field("again").is_empty() {
                check_runs::press(world, repo, id, form.field("press"), &by)?;
            } else {
                check_runs::rerequest(world, repo, id, &by)?;
            }
            let head = &check_runs::find(world, repo, id)?.head_sha;
            let number = world
                .repo(repo)
                .pulls
                .values()
                .find(|pull| pull.head.sha == *head)
                .map(|pull| pull.number);
            Ok(see(&match number {
                Some(number) => format!("/{owner}/{name}/pull/{number}?as={by}"),
                None => format!("/{owner}/{name}/runs/{id}?as={by}"),
            }))
        }
        [owner, name, "pull", number, what] => {
            let repo = find(world, owner, name)?;
            let number = number.parse().map_err(|_| Refused::not_found())?;
            let at = format!("/{owner}/{name}/pull/{number}?as={by}");
            Ok(see(&match act(world, repo, number, what, &by, form).await {
                Ok(()) => at,
                Err(refused) => format!("{at}&no={}", super::shape::encode(&reason(&refused))),
            }))
        }
        _ => Err(Refused::not_found()),
    }
}

/// The sentence of a refusal that says most.
fn reason(refused: &Refused) -> String {
    let inner = refused.errors.as_ref().map(|errors| &errors[0]);
    let inner = inner.and_then(|e| e.as_str().or_else(|| e["message"].as_str()));
    inner.map_or_else(|| refused.message.clone(), str::to_owned)
}

fn see(at: &str) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    answer.headers_mut().insert(
        "location",
        HeaderValue::from_str(at).unwrap_or_else(|_| HeaderValue::from_static("/")),
    );
    answer
}

async fn act(world: &mut World, repo: u64, number: u64, what: &str, by: &str, form: &Given) -> Result<(), Refused> {
    let writes = world.role(repo, by) >= Role::Write;
    let must_write = || {
        if writes {
            Ok(())
        } else {
            Err(Refused::new(403, format!("{by} has no write access")))
        }
    };
    // A browser ends lines with CR LF.
    let body = form.field("body").replace("\r\n", "\n");
    match (what, form.field("do")) {
        ("say", "comment") => comments::add(world, repo, number, by, None, &body).await.map(drop),
        ("say", "approve") => reviews::submit(world, repo, number, by, Verdict::Approved, &body, None).map(drop),
        ("say", "changes") => {
            reviews::submit(world, repo, number, by, Verdict::ChangesRequested, &body, None).map(drop)
        }
        ("act", "close") => pulls::close(world, repo, number, by).await,
        ("act", "reopen") => pulls::reopen(world, repo, number, by).await,
        ("act", "ready") => pulls::set_draft(world, repo, number, false, by).await,
        ("act", "update") => {
            must_write()?;
            merge::update_branch(world, repo, number, by).await.map(drop)
        }
        ("act", "merge") => {
            must_write()?;
            let method = match form.field("method") {
                "squash" => merge::Method::Squash,
                "rebase" => merge::Method::Rebase,
                _ => merge::Method::Merge,
            };
            merge::merge(world, repo, number, by, method, None, None)
                .await
                .map(drop)
        }
        ("label", _) => pulls::label(world, repo, number, form.field("label").trim(), by).await,
        ("push", _) => {
            let pull = pulls::find(world, repo, number)?;
            let (head_repo, branch) = (pull.head.repo, pull.head.branch.clone());
            if world.role(head_repo, by) < Role::Write {
                return Err(Refused::new(403, format!("{by} has no write access")));
            }
            let text = form.field("content").replace("\r\n", "\n");
            let change = Change::Put {
                path: form.field("path").to_owned(),
                bytes: text.into_bytes(),
            };
            contents::commit_on(world, head_repo, &branch, by, form.field("message"), &[change])
                .await
                .map(drop)
        }
        _ => Err(Refused::not_found()),
    }
}
