//! Owns reviews: pending, submitted, dismissed.

use serde_json::{Value, json};

use super::call::{Answered, Call, Need, Refused, ok, reach};
use super::pulls;
use super::shape;
use super::state::{Pull, Review, Role, Verdict, World};
use super::webhooks::{News, tell};

/// Writes a review of the head as it is now (or of `commit`); all but pending ones are announced.
pub fn submit(
    world: &mut World,
    repo: u64,
    number: u64,
    by: &str,
    verdict: Verdict,
    body: &str,
    commit: Option<String>,
) -> Result<u64, Refused> {
    let pull = pulls::find(world, repo, number)?;
    let own = pull.author.eq_ignore_ascii_case(by);
    match verdict {
        Verdict::Approved if own => return Err(unprocessable("Can not approve your own pull request")),
        Verdict::ChangesRequested if own => {
            return Err(unprocessable("Can not request changes on your own pull request"));
        }
        Verdict::ChangesRequested | Verdict::Commented if body.trim().is_empty() => {
            return Err(unprocessable("Could not be submitted: body can't be blank"));
        }
        _ => {}
    }
    if verdict == Verdict::Pending
        && pull
            .reviews
            .values()
            .any(|r| r.by == by && r.verdict == Verdict::Pending)
    {
        return Err(unprocessable("User can only have one pending review per pull request"));
    }
    let commit = commit.unwrap_or_else(|| pull.head.sha.clone());
    let (id, now) = (world.fresh(), world.now());
    let submitted = (verdict != Verdict::Pending).then_some(now);
    let review = Review {
        id,
        by: by.to_owned(),
        body: body.to_owned(),
        verdict,
        commit,
        submitted,
    };
    let pull = pulls::find_mut(world, repo, number)?;
    pull.requested_reviewers.retain(|one| !one.eq_ignore_ascii_case(by));
    pull.reviews.insert(id, review);
    pull.updated = now;
    if verdict != Verdict::Pending {
        announce(world, repo, number, id, "submitted", by)?;
    }
    Ok(id)
}

/// Turns a pending review into a submitted one.
pub fn finish(
    world: &mut World,
    repo: u64,
    number: u64,
    id: u64,
    verdict: Verdict,
    body: Option<String>,
) -> Result<(), Refused> {
    let now = world.now();
    let review = find_mut(world, repo, number, id)?;
    if review.verdict != Verdict::Pending {
        return Err(unprocessable("Could not submit: the review is not pending"));
    }
    review.verdict = verdict;
    review.submitted = Some(now);
    if let Some(body) = body {
        review.body = body;
    }
    let by = review.by.clone();
    announce(world, repo, number, id, "submitted", &by)
}

/// Dismisses an approval or a request for changes.
pub async fn dismiss(world: &mut World, repo: u64, number: u64, id: u64, by: &str) -> Result<(), Refused> {
    let review = find_mut(world, repo, number, id)?;
    if !matches!(review.verdict, Verdict::Approved | Verdict::ChangesRequested) {
        return Err(unprocessable("Can not dismiss a commented pull request review"));
    }
    review.verdict = Verdict::Dismissed;
    announce(world, repo, number, id, "dismissed", by)
}

fn unprocessable(message: &str) -> Refused {
    Refused {
        status: 422,
        message: "Unprocessable Entity".into(),
        errors: Some(json!([message])),
    }
}

fn find_mut(world: &mut World, repo: u64, number: u64, id: u64) -> Result<&mut Review, Refused> {
    pulls::find_mut(world, repo, number)?
        .reviews
        .get_mut(&id)
        .ok_or_else(Refused::not_found)
}

fn announce(world: &mut World, repo: u64, number: u64, id: u64, action: &str, by: &str) -> Result<(), Refused> {
    let pull = pulls::find(world, repo, number)?;
    let review = pull.reviews.get(&id).ok_or_else(Refused::not_found)?;
    let mut told = review_json(world, repo, number, review);
    // Webhooks write the state in lower case, the API in upper case.
    told["state"] = json!(review.verdict.name().to_lowercase());
    let body = json!({"review": told, "pull_request": pulls::shown::brief(world, repo, pull)});
    tell(
        world,
        News {
            event: "pull_request_review",
            action: Some(action),
            repo,
            sender: by,
            body,
        },
    );
    Ok(())
}

fn review_json(world: &World, repo: u64, number: u64, it: &Review) -> Value {
    let full_name = world.repo(repo).full_name();
    let html = format!("{}/{full_name}/pull/{number}#pullrequestreview-{}", world.url, it.id);
    let pull = format!("{}/repos/{full_name}/pulls/{number}", world.api());
    let mut body = json!({
        "id": it.id, "node_id": shape::node_id("PullRequestReview", it.id), "user": shape::user(world, &it.by),
        "body": it.body, "state": it.verdict.name(), "html_url": html, "pull_request_url": pull,
        "author_association": shape::association(world, world.repo(repo), &it.by),
        "_links": {"html": {"href": html}, "pull_request": {"href": pull}}, "commit_id": it.commit,
    });
    if let Some(at) = it.submitted {
        body["submitted_at"] = json!(shape::time(at));
    }
    body
}

/// Per person the latest of approved, changes requested, dismissed: what GitHub's own rules look at.
pub fn opinions(pull: &Pull) -> Vec<&Review> {
    let mut latest: Vec<&Review> = Vec::new();
    for review in pull.reviews.values() {
        if matches!(review.verdict, Verdict::Commented | Verdict::Pending) {
            continue;
        }
        latest.retain(|other| !other.by.eq_ignore_ascii_case(&review.by));
        latest.push(review);
    }
    latest
}

const READ: Need = Need::read(&["pull_requests"]);
const WRITE: Need = Need::write(&["pull_requests"], Role::Read);

/// `/repos/{owner}/{repo}/pulls/{n}/reviews…`
pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    let ["repos", owner, name, "pulls", number, "reviews", rest @ ..] = &path[..] else {
        return None;
    };
    Some(match (method, rest) {
        ("GET", []) => list(world, call, owner, name, number),
        ("POST", []) => create(world, call, owner, name, number),
        ("GET", [id]) => show(world, call, owner, name, (number, id)),
        ("POST", [id, "events"]) => submit_pending(world, call, owner, name, (number, id)),
        ("PUT", [id, "dismissals"]) => dismissal(world, call, owner, name, (number, id)).await,
        _ => return None,
    })
}

/// A pending review is seen by its author alone.
fn visible(world: &World, call: &Call, it: &Review) -> bool {
    it.verdict != Verdict::Pending || call.writer(world).is_ok_and(|writer| writer == it.by)
}

fn list(world: &World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let number = call.number(number)?;
    let reviews = pulls::find(world, repo, number)?
        .reviews
        .values()
        .filter(|r| visible(world, call, r));
    call.page(world, reviews.map(|r| review_json(world, repo, number, r)).collect())
}

fn verdict(event: Option<&str>) -> Result<Verdict, Refused> {
    match event {
        Some("APPROVE") => Ok(Verdict::Approved),
        Some("REQUEST_CHANGES") => Ok(Verdict::ChangesRequested),
        Some("COMMENT") => Ok(Verdict::Commented),
        None => Ok(Verdict::Pending),
        Some(_) => Err(unprocessable(
            "Variable $event of type PullRequestReviewEvent was provided invalid value",
        )),
    }
}

fn create(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    let verdict = verdict(call.maybe_text("event")?.as_deref())?;
    let body = call.maybe_text("body")?.unwrap_or_default();
    let id = submit(world, repo, number, &by, verdict, &body, call.maybe_text("commit_id")?)?;
    let review = find_mut(world, repo, number, id)?.clone();
    ok(review_json(world, repo, number, &review))
}

fn show(world: &World, call: &Call, owner: &str, name: &str, (number, id): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &READ)?;
    let (number, id) = (call.number(number)?, call.number(id)?);
    let review = pulls::find(world, repo, number)?
        .reviews
        .get(&id)
        .filter(|r| visible(world, call, r));
    ok(review_json(world, repo, number, review.ok_or_else(Refused::not_found)?))
}

fn submit_pending(world: &mut World, call: &Call, owner: &str, name: &str, (number, id): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &WRITE)?;
    let (number, id) = (call.number(number)?, call.number(id)?);
    finish(
        world,
        repo,
        number,
        id,
        verdict(Some(&call.text("event")?))?,
        call.maybe_text("body")?,
    )?;
    let review = find_mut(world, repo, number, id)?.clone();
    ok(review_json(world, repo, number, &review))
}

async fn dismissal(world: &mut World, call: &Call, owner: &str, name: &str, (number, id): (&str, &str)) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["pull_requests"], Role::Write))?;
    let (number, id, by) = (call.number(number)?, call.number(id)?, call.writer(world)?);
    call.text("message")?;
    dismiss(world, repo, number, id, &by).await?;
    let review = find_mut(world, repo, number, id)?.clone();
    ok(review_json(world, repo, number, &review))
}
