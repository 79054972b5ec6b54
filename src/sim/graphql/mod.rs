//! Owns the part of GraphQL that an App like ours asks: a pull request, its reviews and its rollup.
//!
//! Queries are parsed, fields that this simulator does not know are errors, as unknown fields are on GitHub.

pub mod query;
pub mod rollup;

use serde_json::{Map, Value, json};

use super::call::{Answered, Call, Need, Refused, ok, reach};
use super::merge;
use super::pulls;
use super::reviews;
use super::shape;
use super::state::{Kind, Pull, Review, Verdict, World};
use query::Field;

/// `POST /graphql`: always 200, errors beside the data.
pub async fn answer(world: &mut World, call: &Call) -> Answered {
    if matches!(call.actor, super::call::Actor::Nobody) {
        return Err(Refused::new(401, "This endpoint requires you to be authenticated."));
    }
    let fields = match query::parse(&call.text("query")?, &call.body["variables"]) {
        Ok(fields) => fields,
        Err(message) => return ok(json!({"errors": [{"message": message}]})),
    };
    let mut data = Map::new();
    let mut errors = Vec::new();
    for field in &fields {
        let value = match field.name.as_str() {
            "repository" => repository(world, call, field).await,
            "rateLimit" => each(field, |f| {
                Ok(match f.name.as_str() {
                    "limit" | "remaining" => json!(world.rate_limit),
                    "cost" | "used" => json!(1),
                    "resetAt" => json!(shape::time(world.now())),
                    _ => return Err(unknown(f, "RateLimit")),
                })
            }),
            "viewer" => call
                .writer(world)
                .map_err(|r| error("FORBIDDEN", r.message))
                .and_then(|login| actor(world, &login, field)),
            _ => Err(unknown(field, "Query")),
        };
        match value {
            Ok(value) => {
                data.insert(field.alias.clone(), value);
            }
            Err(mut wrong) => {
                wrong["path"] = json!([field.alias]);
                data.insert(field.alias.clone(), Value::Null);
                errors.push(wrong);
            }
        }
    }
    let invalid = errors.iter().any(|e| e["extensions"]["code"] == "undefinedField");
    ok(match (errors.is_empty(), invalid) {
        (true, _) => json!({"data": data}),
        // A query that does not fit the schema is not run at all.
        (false, true) => json!({"errors": errors}),
        (false, false) => json!({"data": data, "errors": errors}),
    })
}

type Got = Result<Value, Value>;

fn error(kind: &str, message: impl Into<String>) -> Value {
    json!({"type": kind, "message": message.into()})
}

fn unknown(field: &Field, on: &str) -> Value {
    json!({
        "message": format!("Field '{}' doesn't exist on type '{on}'", field.name),
        "extensions": {"code": "undefinedField", "typeName": on, "fieldName": field.name},
    })
}

fn refused(refused: Refused) -> Value {
    error(
        if refused.status == 404 {
            "NOT_FOUND"
        } else {
            "FORBIDDEN"
        },
        refused.message,
    )
}

/// The selected fields of an object, each by the same rule.
fn each(field: &Field, mut value: impl FnMut(&Field) -> Got) -> Got {
    let mut out = Map::new();
    for one in &field.selection {
        out.insert(one.alias.clone(), value(one)?);
    }
    Ok(Value::Object(out))
}

/// A connection over what is in `items`, first or last so many, with cursors.
fn connection<T>(field: &Field, on: &str, items: &[T], mut node: impl FnMut(&T, &Field) -> Got) -> Got {
    let number = |name: &str| {
        field
            .argument(name)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    let after: usize = field
        .argument("after")
        .and_then(Value::as_str)
        .and_then(|c| c.parse().ok())
        .unwrap_or(0);
    let (start, end) = match (number("first"), number("last")) {
        (Some(first), _) => (after.min(items.len()), (after + first).min(items.len())),
        (None, Some(last)) => (items.len().saturating_sub(last), items.len()),
        (None, None) => {
            let message = format!(
                "You must provide a `first` or `last` value to properly paginate the `{}` connection.",
                field.name
            );
            return Err(error("MISSING_PAGINATION_BOUNDARIES", message));
        }
    };
    if end - start > 100 {
        return Err(error(
            "EXCESSIVE_PAGINATION",
            "Requesting more than 100 records exceeds the `first` limit of 100 records.",
        ));
    }
    each(field, |f| match f.name.as_str() {
        "totalCount" => Ok(json!(items.len())),
        "nodes" => items[start..end].iter().map(|item| node(item, f)).collect(),
        "pageInfo" => each(f, |p| {
            Ok(match p.name.as_str() {
                "hasNextPage" => json!(end < items.len()),
                "hasPreviousPage" => json!(start > 0),
                "startCursor" => json!(start.to_string()),
                "endCursor" => json!(end.to_string()),
                _ => return Err(unknown(p, "PageInfo")),
            })
        }),
        _ => Err(unknown(f, on)),
    })
}

fn typename(field: &Field, name: &str) -> Option<Value> {
    (field.name == "__typename").then(|| json!(name))
}

async fn repository(world: &mut World, call: &Call, field: &Field) -> Got {
    let text = |name: &str| {
        field
            .argument(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (owner, name) = (text("owner"), text("name"));
    let missing = || {
        error(
            "NOT_FOUND",
            format!("Could not resolve to a Repository with the name '{owner}/{name}'."),
        )
    };
    let repo = reach(world, call, &owner, &name, &Need::read(&["metadata"])).map_err(|_| missing())?;
    let mut out = Map::new();
    for one in &field.selection {
        let it = world.repo(repo);
        let value = match one.name.as_str() {
            "__typename" => json!("Repository"),
            "id" => json!(shape::node_id("Repository", repo)),
            "databaseId" => json!(repo),
            "name" => json!(it.name),
            "nameWithOwner" => json!(it.full_name()),
            "isPrivate" => json!(it.private),
            "isFork" => json!(it.fork_of.is_some()),
            "url" => json!(format!("{}/{}", world.url, it.full_name())),
            "pullRequest" => pull_request(world, call, repo, one).await?,
            "defaultBranchRef" => each(one, |f| match f.name.as_str() {
                "name" => Ok(json!(it.default_branch)),
                _ => Err(unknown(f, "Ref")),
            })?,
            "ref" => branch(world, repo, one)?,
            _ => return Err(unknown(one, "Repository")),
        };
        out.insert(one.alias.clone(), value);
    }
    Ok(Value::Object(out))
}

fn branch(world: &World, repo: u64, field: &Field) -> Got {
    let name = field
        .argument("qualifiedName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let full = if name.starts_with("refs/") {
        name.to_owned()
    } else {
        format!("refs/heads/{name}")
    };
    let Some(sha) = world.repo(repo).refs.get(&full) else {
        return Ok(Value::Null);
    };
    each(field, |f| match f.name.as_str() {
        "name" => Ok(json!(full.trim_start_matches("refs/heads/"))),
        "target" => each(f, |t| match t.name.as_str() {
            "oid" => Ok(json!(sha)),
            _ => Err(unknown(t, "GitObject")),
        }),
        _ => Err(unknown(f, "Ref")),
    })
}

async fn pull_request(world: &mut World, call: &Call, repo: u64, field: &Field) -> Got {
    let it = world.repo(repo);
    reach(world, call, &it.owner, &it.name, &Need::read(&["pull_requests"])).map_err(refused)?;
    let number = field.argument("number").and_then(Value::as_u64).unwrap_or(0);
    if pulls::find(world, repo, number).is_err() {
        let message = format!("Could not resolve to a PullRequest with the number of {number}.");
        return Err(error("NOT_FOUND", message));
    }
    let mergeable = mergeable(
        world,
        repo,
        number,
        field.asks("mergeable") || field.asks("potentialMergeCommit"),
    )
    .await
    .map_err(refused)?;
    let commits = pulls::facts::commits(world, repo, number).await.map_err(refused)?;
    let files = pulls::facts::files(world, repo, number).await.map_err(refused)?;
    let state = merge::mergeable_state(
        world,
        repo,
        number,
        (mergeable != "UNKNOWN").then_some(mergeable == "MERGEABLE"),
    )
    .await;
    let state = state.map_err(refused)?;
    let world = &*world;
    let pull = pulls::find(world, repo, number).map_err(refused)?;
    let known = Known {
        commits: &commits,
        files: &files,
        mergeable,
        state,
    };
    each(field, |f| pull_field(world, repo, pull, &known, f))
}

struct Known<'a> {
    commits: &'a [super::git::CommitInfo],
    files: &'a [super::git::diff::FileDiff],
    mergeable: &'static str,
    state: &'static str,
}

async fn mergeable(world: &mut World, repo: u64, number: u64, asked: bool) -> Result<&'static str, Refused> {
    if !asked || !pulls::find(world, repo, number)?.open {
        return Ok("UNKNOWN");
    }
    if world.mergeable_unknown > 0 {
        world.mergeable_unknown -= 1;
        return Ok("UNKNOWN");
    }
    Ok(if pulls::facts::mergeable(world, repo, number).await? {
        "MERGEABLE"
    } else {
        "CONFLICTING"
    })
}

fn pull_field(world: &World, repo: u64, pull: &Pull, known: &Known<'_>, f: &Field) -> Got {
    let it = world.repo(repo);
    let html = format!("{}/{}/pull/{}", world.url, it.full_name(), pull.number);
    Ok(match f.name.as_str() {
        "__typename" => json!("PullRequest"),
        "id" => json!(shape::node_id("PullRequest", pull.id)),
        "databaseId" | "fullDatabaseId" => json!(pull.id),
        "number" => json!(pull.number),
        "title" => json!(pull.title),
        "body" => json!(pull.body.clone().unwrap_or_default()),
        "url" => json!(html),
        "state" => json!(match (&pull.merged, pull.open) {
            (Some(_), _) => "MERGED",
            (None, true) => "OPEN",
            (None, false) => "CLOSED",
        }),
        "closed" => json!(!pull.open),
        "merged" => json!(pull.merged.is_some()),
        "mergedAt" => shape::maybe_time(pull.merged.as_ref().map(|m| m.at)),
        "closedAt" => shape::maybe_time(pull.closed),
        "createdAt" => json!(shape::time(pull.created)),
        "updatedAt" => json!(shape::time(pull.updated)),
        "isDraft" => json!(pull.draft),
        "isCrossRepository" => json!(pull.head.repo != repo),
        "locked" => json!(false),
        "headRefOid" => json!(pull.head.sha),
        "headRefName" => json!(pull.head.branch),
        "baseRefOid" => json!(pull.base.sha),
        "baseRefName" => json!(pull.base.branch),
        "additions" => json!(known.files.iter().map(|f| f.additions).sum::<u64>()),
        "deletions" => json!(known.files.iter().map(|f| f.deletions).sum::<u64>()),
        "changedFiles" => json!(known.files.len()),
        "mergeable" => json!(known.mergeable),
        "mergeStateStatus" => json!(known.state.to_uppercase()),
        "reviewDecision" => json!(merge::decision(world, repo, pull.number).map_err(refused)?),
        "isInMergeQueue" | "isMergeQueueEnabled" | "maintainerCanModify" => json!(false),
        "author" => actor(world, &pull.author, f)?,
        "mergedBy" => pull
            .merged
            .as_ref()
            .map_or(Ok(Value::Null), |m| actor(world, &m.by, f))?,
        "mergeCommit" => pull.merged.as_ref().map_or(Ok(Value::Null), |m| oid(&m.sha, f))?,
        "potentialMergeCommit" => pull
            .test_merge
            .as_ref()
            .filter(|_| pull.open)
            .map_or(Ok(Value::Null), |sha| oid(sha, f))?,
        "labels" => connection(f, "LabelConnection", &pull.labels, |label, n| {
            each(n, |l| match l.name.as_str() {
                "name" => Ok(json!(label)),
                _ => Err(unknown(l, "Label")),
            })
        })?,
        "headRepository" | "baseRepository" => {
            let of = world.repo(if f.name == "headRepository" {
                pull.head.repo
            } else {
                repo
            });
            each(f, |r| match r.name.as_str() {
                "nameWithOwner" => Ok(json!(of.full_name())),
                "name" => Ok(json!(of.name)),
                "databaseId" => Ok(json!(of.id)),
                "isFork" => Ok(json!(of.fork_of.is_some())),
                "isPrivate" => Ok(json!(of.private)),
                "owner" => actor(world, &of.owner, r),
                _ => Err(unknown(r, "Repository")),
            })?
        }
        "commits" => connection(f, "PullRequestCommitConnection", known.commits, |commit, n| {
            each(n, |c| match c.name.as_str() {
                "commit" => commit_node(world, repo, pull, commit, c),
                _ => Err(unknown(c, "PullRequestCommit")),
            })
        })?,
        "reviews" => review_list(world, pull, f)?,
        "latestReviews" | "latestOpinionatedReviews" => {
            let writers = f.argument("writersOnly").and_then(Value::as_bool).unwrap_or(false);
            let latest = latest_reviews(world, repo, pull, f.name == "latestOpinionatedReviews", writers);
            connection(f, "PullRequestReviewConnection", &latest, |r, n| {
                review_node(world, r, n)
            })?
        }
        "baseRef" => match it.branch(&pull.base.branch) {
            None => Value::Null,
            Some(sha) => each(f, |r| match r.name.as_str() {
                "name" => Ok(json!(pull.base.branch)),
                "target" => oid(sha, r),
                _ => Err(unknown(r, "Ref")),
            })?,
        },
        _ => return Err(unknown(f, "PullRequest")),
    })
}

fn oid(sha: &str, field: &Field) -> Got {
    each(field, |f| match f.name.as_str() {
        "oid" => Ok(json!(sha)),
        "__typename" => Ok(json!("Commit")),
        _ => Err(unknown(f, "Commit")),
    })
}

fn actor(world: &World, login: &str, field: &Field) -> Got {
    let user = world.user(login);
    let kind = user.map_or(Kind::User, |u| u.kind);
    let html = shape::user(world, login)["html_url"].clone();
    each(&field.of_type(kind.name()), |f| {
        Ok(match f.name.as_str() {
            "__typename" => json!(kind.name()),
            // GraphQL leaves `[bot]` out of a bot's login.
            "login" => json!(login.trim_end_matches("[bot]")),
            "url" => html.clone(),
            "databaseId" => json!(user.map(|u| u.id)),
            "id" => json!(shape::node_id("User", user.map_or(1, |u| u.id))),
            _ => return Err(unknown(f, "Actor")),
        })
    })
}

fn review_list(world: &World, pull: &Pull, field: &Field) -> Got {
    let states: Option<Vec<&str>> = field.argument("states").map(|s| match s {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    });
    let visible = pull.reviews.values().filter(|r| r.verdict != Verdict::Pending);
    let reviews: Vec<&Review> = visible
        .filter(|r| states.as_ref().is_none_or(|s| s.contains(&r.verdict.name())))
        .collect();
    connection(field, "PullRequestReviewConnection", &reviews, |r, n| {
        review_node(world, r, n)
    })
}

/// Per person the latest; "opinionated" leaves comments out.
fn latest_reviews<'p>(world: &World, repo: u64, pull: &'p Pull, opinionated: bool, writers: bool) -> Vec<&'p Review> {
    let mut latest: Vec<&Review> = if opinionated {
        reviews::opinions(pull)
    } else {
        let mut all: Vec<&Review> = Vec::new();
        for review in pull.reviews.values().filter(|r| r.verdict != Verdict::Pending) {
            all.retain(|other| other.by != review.by);
            all.push(review);
        }
        all
    };
    latest.retain(|r| !writers || world.role(repo, &r.by) >= super::state::Role::Write);
    latest
}

fn review_node(world: &World, it: &Review, field: &Field) -> Got {
    each(field, |f| {
        Ok(match f.name.as_str() {
            "__typename" => json!("PullRequestReview"),
            "id" => json!(shape::node_id("PullRequestReview", it.id)),
            "databaseId" | "fullDatabaseId" => json!(it.id),
            "state" => json!(it.verdict.name()),
            "body" => json!(it.body),
            "submittedAt" => shape::maybe_time(it.submitted),
            "createdAt" => shape::maybe_time(it.submitted),
            "commit" => oid(&it.commit, f)?,
            "author" => actor(world, &it.by, f)?,
            _ => return Err(unknown(f, "PullRequestReview")),
        })
    })
}

fn commit_node(world: &World, repo: u64, pull: &Pull, it: &super::git::CommitInfo, field: &Field) -> Got {
    each(field, |f| {
        Ok(match f.name.as_str() {
            "__typename" => json!("Commit"),
            "oid" => json!(it.sha),
            "message" => json!(it.message),
            "messageHeadline" => json!(it.message.lines().next()),
            "committedDate" => json!(shape::time(it.committer.at)),
            "authoredDate" => json!(shape::time(it.author.at)),
            "author" | "committer" => {
                let who = if f.name == "author" { &it.author } else { &it.committer };
                let login = shape::account_of(world, who)["login"].as_str().map(str::to_owned);
                each(f, |g| match g.name.as_str() {
                    "name" => Ok(json!(who.name)),
                    "email" => Ok(json!(who.email)),
                    "user" => login.as_ref().map_or(Ok(Value::Null), |login| actor(world, login, g)),
                    _ => Err(unknown(g, "GitActor")),
                })?
            }
            "authors" => connection(f, "GitActorConnection", std::slice::from_ref(it), |c, n| {
                each(n, |g| match g.name.as_str() {
                    "name" => Ok(json!(c.author.name)),
                    "email" => Ok(json!(c.author.email)),
                    "user" => {
                        let login = shape::account_of(world, &c.author)["login"].as_str().map(str::to_owned);
                        login.map_or(Ok(Value::Null), |login| actor(world, &login, g))
                    }
                    _ => Err(unknown(g, "GitActor")),
                })
            })?,
            "parents" => connection(f, "CommitConnection", &it.parents, |sha, n| oid(sha, n))?,
            "statusCheckRollup" => rollup::rollup(world, repo, pull, &it.sha, f)?,
            _ => return Err(unknown(f, "Commit")),
        })
    })
}
