//! Owns the tests of the typed calls: pages, marks, annotations, roles.

use serde_json::{Value, json};

use super::{NOW, SHA, Script, html, repo, say};
use crate::domain::ids::{CommentId, CommitSha, Login, PullNumber, RepoPath, Timestamp};
use crate::domain::pull::{
    Annotation, AnnotationLevel, Button, CheckBy, CheckConclusion, CheckId, CheckStatus, CheckWanted, Mergeable,
    RequiredState, ReviewKind, Role, Unseen,
};
use crate::github::Prior;
use crate::github::comments::{CommentText, Reaction};
use crate::github::error::GithubError;
use crate::github::people::Readable;

const COMMENTS: &str = "/repos/acme/infra/issues/3/comments";
const PULL: PullNumber = PullNumber(3);

fn link(script: &Script, path: &str, links: &[(&str, &str)]) -> String {
    let link = |(rel, query): &(&str, &str)| format!("<{}{path}?{query}>; rel=\"{rel}\"", script.url);
    links.iter().map(link).collect::<Vec<String>>().join(", ")
}

#[tokio::test]
async fn every_page_of_the_reviews_is_read() {
    let script = Script::start().await;
    let path = "/repos/acme/infra/pulls/3/reviews";
    let review = |state: &str, commit: Value| json!({ "user": { "login": "Ann" }, "state": state, "commit_id": commit, "submitted_at": "2023-11-14T22:13:20Z" });
    let next = link(
        &script,
        path,
        &[("next", "per_page=100&page=2"), ("last", "per_page=100&page=2")],
    );
    script.on(
        &format!("GET {path}"),
        say(
            200,
            json!([review("APPROVED", json!(SHA)), review("FUTURE", json!(SHA))]),
        )
        .header("link", next),
    );
    script.on(
        &format!("GET {path}"),
        say(200, json!([review("DISMISSED", Value::Null)])),
    );
    let reviews = script.installation().reviews(&repo(), PULL).await.expect("reviews");
    let kinds: Vec<(ReviewKind, bool)> = reviews
        .iter()
        .map(|review| (review.kind, review.commit.is_some()))
        .collect();
    assert_eq!(kinds, [(ReviewKind::Approved, true), (ReviewKind::Dismissed, false)]);
    assert_eq!(reviews[0].at, Timestamp(NOW));
    assert_eq!(
        script.lines(),
        [
            format!("GET {path}?per_page=100&page=1"),
            format!("GET {path}?per_page=100&page=2")
        ]
    );
}

fn comment(id: i64, mark: &str, app: Option<i64>, login: &str, kind: &str) -> Value {
    json!({
        "id": id, "body": format!("<!-- lockkeeper:comment:{mark} -->\nhello"), "user": { "login": login, "type": kind },
        "performed_via_github_app": app.map(|id| json!({ "id": id })),
    })
}

#[tokio::test]
async fn our_comment_is_found_by_its_mark_newest_first() {
    let script = Script::start().await;
    let get = format!("GET {COMMENTS}");
    let last = link(&script, COMMENTS, &[("next", "page=2"), ("last", "page=3")]);
    script.on("GET /app", say(200, json!({ "id": 42, "slug": "lk" })));
    script.on(
        &get,
        say(200, json!([comment(1, "plan", Some(42), "lk[bot]", "Bot")])).header("link", last),
    );
    // The newest page holds only impostors: a person, another App, a user who is called like us.
    script.on(
        &get,
        say(
            200,
            json!([
                comment(31, "plan", None, "mallory", "User"),
                comment(32, "plan", Some(13), "lk[bot]", "Bot"),
                comment(33, "plan", None, "lk[bot]", "User"),
                comment(34, "other", Some(42), "lk[bot]", "Bot"),
            ]),
        ),
    );
    script.on(
        &get,
        say(
            200,
            json!([
                comment(21, "plan", None, "LK[bot]", "Bot"),
                comment(22, "other", Some(42), "lk[bot]", "Bot"),
            ]),
        ),
    );
    let text = CommentText::new("plan", "new").expect("a text");
    script.on(
        "PATCH /repos/acme/infra/issues/comments/21",
        say(200, json!({ "id": 21 })),
    );
    let installation = script.installation();
    let id = installation
        .upsert_comment(&repo(), PULL, Prior::Unsure, &text)
        .await
        .expect("updated");
    assert_eq!(id, CommentId(21));
    let pages: Vec<String> = script
        .lines()
        .into_iter()
        .filter(|line| line.starts_with(&get))
        .collect();
    assert_eq!(
        pages.iter().map(|line| &line[line.len() - 1..]).collect::<Vec<_>>(),
        ["1", "3", "2"]
    );
    let sent = script.seen().pop().expect("a request").body;
    assert_eq!(sent, json!({ "body": "<!-- lockkeeper:comment:plan -->\nnew" }));
}

#[tokio::test]
async fn a_comment_is_made_once_and_made_again_if_somebody_deleted_it() {
    let script = Script::start().await;
    let installation = script.installation();
    let text = CommentText::new("plan", "new").expect("a text");
    let post = format!("POST {COMMENTS}");
    script
        .on(&post, say(201, json!({ "id": 5 })))
        .on(&post, say(201, json!({ "id": 6 })));
    let patch = "PATCH /repos/acme/infra/issues/comments/5";
    script
        .on(patch, html(502))
        .on(patch, say(200, json!({ "id": 5 })))
        .on(patch, say(404, json!({ "message": "Not Found" })));
    let first = installation
        .upsert_comment(&repo(), PULL, Prior::Fresh, &text)
        .await
        .expect("made");
    let second = installation
        .upsert_comment(&repo(), PULL, Prior::Known(first), &text)
        .await
        .expect("updated");
    let third = installation
        .upsert_comment(&repo(), PULL, Prior::Known(second), &text)
        .await
        .expect("made again");
    assert_eq!((first, second, third), (CommentId(5), CommentId(5), CommentId(6)));
    assert_eq!(script.lines(), [post.as_str(), patch, patch, patch, post.as_str()]);
}

#[tokio::test]
async fn a_reaction_may_be_repeated() {
    let script = Script::start().await;
    let line = "POST /repos/acme/infra/issues/comments/9/reactions";
    script.on(line, html(502)).on(line, say(200, json!({ "id": 1 })));
    let installation = script.installation();
    installation
        .react(&repo(), CommentId(9), Reaction::ThumbsUp)
        .await
        .expect("reacted");
    assert_eq!(script.seen().pop().expect("a request").body, json!({ "content": "+1" }));
}

fn wanted(annotations: usize) -> CheckWanted {
    let annotation = |n: usize| Annotation {
        path: RepoPath::parse("a.tf").expect("a path"),
        start_line: u32::try_from(n).expect("small"),
        end_line: 0,
        level: AnnotationLevel::Failure,
        title: None,
        message: format!("m{n}"),
    };
    CheckWanted {
        name: "lockkeeper/policy".to_owned(),
        head: CommitSha::parse(SHA).expect("a sha"),
        external_id: "x1".to_owned(),
        status: CheckStatus::Completed(CheckConclusion::ActionRequired),
        title: "t".to_owned(),
        summary: "s".to_owned(),
        text: None,
        details_url: None,
        annotations: (0..annotations).map(annotation).collect(),
        buttons: vec![Button::new("Apply", "Apply it", "apply").expect("a button")],
    }
}

fn check(id: i64, external_id: &str, annotations: usize) -> Value {
    json!({
        "id": id, "name": "lockkeeper/policy", "external_id": external_id, "head_sha": SHA, "status": "completed",
        "conclusion": "stale", "output": { "annotations_count": annotations }, "app": { "id": 42 },
    })
}

/// How many annotations each request carried.
fn annotations(script: &Script) -> Vec<usize> {
    let seen = script
        .seen()
        .into_iter()
        .filter(|seen| seen.line.contains("/check-runs"));
    seen.map(|seen| seen.body["output"]["annotations"].as_array().map_or(0, Vec::len))
        .collect()
}

#[tokio::test]
async fn a_check_has_each_annotation_once_fifty_at_a_time() {
    let script = Script::start().await;
    let installation = script.installation();
    let patch = "PATCH /repos/acme/infra/check-runs/5";
    script.on("POST /repos/acme/infra/check-runs", say(201, check(5, "x1", 0)));
    script.on(patch, say(200, check(5, "x1", 100))).on(patch, html(502));
    let broken = installation.upsert_check(&repo(), Prior::Fresh, &wanted(120)).await;
    assert!(matches!(broken, Err(GithubError::Transient { .. })), "{broken:?}");
    assert_eq!(
        annotations(&script),
        [50, 50, 20],
        "what adds annotations is not repeated"
    );

    let list = format!("GET /repos/acme/infra/commits/{SHA}/check-runs");
    script.on(
        &list,
        say(
            200,
            json!({ "total_count": 2, "check_runs": [check(4, "x0", 0), check(5, "x1", 100)] }),
        ),
    );
    script
        .on(patch, say(200, check(5, "x1", 100)))
        .on(patch, say(200, check(5, "x1", 120)));
    let id = installation
        .upsert_check(&repo(), Prior::Unsure, &wanted(120))
        .await
        .expect("finished");
    assert_eq!(id, CheckId(5));
    assert_eq!(annotations(&script)[3..], [0, 0, 20]);
    assert!(script.lines().contains(&format!(
        "{list}?filter=all&app_id=42&check_name=lockkeeper%2Fpolicy&per_page=100&page=1"
    )));
}

#[tokio::test]
async fn a_check_is_sent_as_github_reads_it() {
    let script = Script::start().await;
    script.on("POST /repos/acme/infra/check-runs", say(201, check(5, "x1", 0)));
    script
        .installation()
        .upsert_check(&repo(), Prior::Fresh, &wanted(1))
        .await
        .expect("made");
    let expected = json!({
        "name": "lockkeeper/policy", "external_id": "x1", "head_sha": SHA, "status": "completed",
        "conclusion": "action_required",
        "output": { "title": "t", "summary": "s", "annotations": [{
            "path": "a.tf", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m0" }] },
        "actions": [{ "label": "Apply", "description": "Apply it", "identifier": "apply" }],
    });
    assert_eq!(script.seen().pop().expect("a request").body, expected);
}

#[tokio::test]
async fn a_check_that_github_would_refuse_is_not_sent() {
    let script = Script::start().await;
    let mut long = wanted(0);
    long.summary = "x".repeat(65_536);
    let made = script.installation().upsert_check(&repo(), Prior::Fresh, &long).await;
    assert!(
        matches!(&made, Err(GithubError::Unexpected { detail }) if detail.said.contains("summary")),
        "{made:?}"
    );
    assert!(script.seen().is_empty());
}

#[tokio::test]
async fn somebody_who_is_no_user_has_no_role_and_a_hidden_repository_is_an_error() {
    let script = Script::start().await;
    let line = "GET /repos/acme/infra/collaborators/dependabot%5Bbot%5D/permission";
    script.on(line, say(404, json!({ "message": "dependabot[bot] is not a user" })));
    script.on(line, say(404, json!({ "message": "Not Found" })));
    script.on(
        line,
        say(200, json!({ "permission": "write", "role_name": "maintain" })),
    );
    let installation = script.installation();
    let bot = Login::parse("dependabot[bot]").expect("a login");
    assert_eq!(installation.role(&repo(), &bot).await.expect("a role"), Role::None);
    assert!(matches!(
        installation.role(&repo(), &bot).await,
        Err(GithubError::NotFound { .. })
    ));
    assert_eq!(installation.role(&repo(), &bot).await.expect("a role"), Role::Maintain);
}

#[tokio::test]
async fn a_module_is_readable_if_it_is_public_or_its_reader_has_a_role() {
    let script = Script::start().await;
    let installation = script.installation();
    let ann = Login::parse("ann").expect("a login");
    let line = "GET /repos/acme/infra";
    let seen = |private: bool| say(200, json!({ "id": 9, "full_name": "acme/infra", "private": private }));
    let role = |word: &str| say(200, json!({ "permission": word }));
    let asked = "GET /repos/acme/infra/collaborators/ann/permission";
    script
        .on(line, seen(false))
        .on(line, seen(true))
        .on(line, seen(true))
        .on(line, say(404, json!({})));
    script.on(asked, role("read")).on(asked, role("none"));
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(installation.readable_by(&repo(), Some(&ann)).await.expect("an answer"));
    }
    assert!(matches!(
        answers.as_slice(),
        [Readable::ByEveryone, Readable::ByThem(_), Readable::No, Readable::No]
    ));
    script.on(line, seen(true));
    let nobody = installation.readable_by(&repo(), None).await;
    assert_eq!(nobody.expect("an answer"), Readable::No);
}

#[tokio::test]
async fn the_pusher_is_in_the_branchs_activity() {
    let script = Script::start().await;
    let zero = "0".repeat(40);
    let entry = |before: &str, actor: Value| json!({ "before": before, "after": SHA, "timestamp": "2023-11-14T22:13:20Z", "activity_type": "push", "ref": "refs/heads/f", "actor": actor });
    script.on(
        "GET /repos/acme/infra/activity",
        say(
            200,
            json!([entry(SHA, json!({ "login": "Ann" })), entry(&zero, Value::Null)]),
        ),
    );
    let pushes = script.installation().pushes(&repo(), "f").await.expect("pushes");
    assert_eq!(pushes[0].by.as_ref().map(Login::as_str), Some("ann"));
    assert_eq!((&pushes[1].by, &pushes[1].before), (&None, &None));
    assert_eq!(
        script.lines(),
        ["GET /repos/acme/infra/activity?ref=refs%2Fheads%2Ff&per_page=100"]
    );
}

#[tokio::test]
async fn mergeability_joins_the_rollup_of_all_pages_with_the_rules() {
    let script = Script::start().await;
    let installation = script.installation();
    script.on(
        "GET /repos/acme/infra/branches/main",
        say(200, json!({ "commit": { "sha": SHA }, "protected": true })),
    );
    let rules = json!([
        { "type": "pull_request", "parameters": { "required_approving_review_count": 1 } },
        { "type": "required_status_checks", "parameters": { "required_status_checks": [{ "context": "late", "integration_id": 8 }] } },
        { "type": "deletion" },
    ]);
    script.on("GET /repos/acme/infra/rules/branches/main", say(200, rules));
    let page = |nodes: Value, next: Option<&str>| {
        say(
            200,
            json!({ "data": { "repository": { "pullRequest": {
            "mergeable": "MERGEABLE", "isDraft": false, "headRefOid": SHA, "reviewDecision": "REVIEW_REQUIRED",
            "commits": { "nodes": [{ "commit": { "oid": SHA, "statusCheckRollup": { "contexts": {
                "pageInfo": { "hasNextPage": next.is_some(), "endCursor": next }, "nodes": nodes } } } }] } } } } }),
        )
    };
    let run = |name: &str, app: i64| json!([{ "__typename": "CheckRun", "name": name, "status": "COMPLETED", "conclusion": "SUCCESS", "isRequired": true, "checkSuite": { "app": { "databaseId": app } } }]);
    script
        .on("POST /graphql", page(run("ci", 8), Some("c1")))
        .on("POST /graphql", page(run("lockkeeper/plan", 42), None));
    let found = installation
        .mergeability(&repo(), PULL, "main")
        .await
        .expect("an answer");
    assert_eq!(
        (found.mergeable, found.draft, found.unseen),
        (Mergeable::Yes, false, Unseen::Nothing)
    );
    let others: Vec<(&str, RequiredState)> = found
        .other_required()
        .map(|check| (check.name.as_str(), check.state))
        .collect();
    assert_eq!(
        others,
        [("ci", RequiredState::Passed), ("late", RequiredState::Missing)]
    );
    assert!(
        found
            .required
            .iter()
            .any(|check| check.name == "lockkeeper/plan" && check.by == CheckBy::Us)
    );
    let asked: Vec<Value> = script
        .seen()
        .into_iter()
        .filter(|seen| seen.line == "POST /graphql")
        .map(|seen| seen.body["variables"]["after"].clone())
        .collect();
    assert_eq!(asked, [Value::Null, json!("c1")]);
}

#[tokio::test]
async fn a_limit_of_graphql_comes_with_200_and_is_still_a_limit() {
    let script = Script::start().await;
    let installation = script.installation();
    script.on(
        "GET /repos/acme/infra/branches/main",
        say(200, json!({ "commit": { "sha": SHA }, "protected": false })),
    );
    script.on(
        "GET /repos/acme/infra/rules/branches/main",
        say(403, json!({ "message": "Upgrade to GitHub Pro" })),
    );
    let limit = json!({ "errors": [{ "type": "RATE_LIMITED", "message": "API rate limit exceeded" }] });
    script.on(
        "POST /graphql",
        say(200, limit)
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", (NOW / 1000 + 10).to_string()),
    );
    let found = installation.mergeability(&repo(), PULL, "main").await;
    assert!(
        matches!(found, Err(GithubError::RateLimited { until, .. }) if until == Timestamp(NOW + 11_000)),
        "{found:?}"
    );
    let branch = say(200, json!({ "commit": { "sha": SHA } }));
    script.on("GET /repos/acme/infra/branches/main", branch);
    let rest = installation.branch(&repo(), "main").await;
    rest.expect("REST has an allowance of its own");
}

#[tokio::test]
async fn deliveries_are_read_back_to_a_moment() {
    let script = Script::start().await;
    let path = "/app/hook/deliveries";
    let delivery = |id: i64, at: &str, status: i64| json!({ "id": id, "guid": format!("g{id}"), "delivered_at": at, "redelivery": false, "status": "x", "status_code": status, "event": "push", "action": null, "installation_id": null, "repository_id": null });
    let next = link(&script, path, &[("next", "per_page=100&cursor=v1_9")]);
    script.on(
        &format!("GET {path}"),
        say(
            200,
            json!([delivery(9_007_199_254_740_993, "2023-11-14T22:13:20.5Z", 502)]),
        )
        .header("link", next),
    );
    script.on(
        &format!("GET {path}"),
        say(
            200,
            json!([
                delivery(2, "2023-11-14T22:13:20Z", 0),
                delivery(1, "2023-11-14T22:13:19Z", 202)
            ]),
        ),
    );
    script.on("POST /app/hook/deliveries/2/attempts", say(202, json!({})));
    let app = script.app();
    let seen = app.deliveries_since(Timestamp(NOW)).await.expect("a list");
    let read: Vec<(i64, u16)> = seen.iter().map(|seen| (seen.id, seen.status)).collect();
    assert_eq!(read, [(9_007_199_254_740_993, 502), (2, 0)]);
    app.redeliver(2).await.expect("asked");
    assert_eq!(script.lines()[1], format!("GET {path}?per_page=100&cursor=v1_9"));
}
