//! Owns the tests of retries, limits, redirects and remembered answers.

use std::time::Duration;

use serde_json::json;

use super::{Answer, NOW, SHA, Script, html, repo, say};
use crate::domain::ids::{PullNumber, Timestamp};
use crate::github::comments::CommentText;
use crate::github::error::GithubError;
use crate::github::{BadSetting, api_base};

const BRANCH: &str = "GET /repos/acme/infra/branches/main";
const COMMENTS: &str = "POST /repos/acme/infra/issues/3/comments";

fn branch() -> Answer {
    say(200, json!({ "commit": { "sha": SHA }, "protected": false }))
}

fn text() -> CommentText {
    CommentText::new("plan", "hello").expect("a text")
}

#[tokio::test]
async fn a_get_is_repeated_and_a_post_is_not() {
    let script = Script::start().await;
    let installation = script.installation();
    script
        .on(BRANCH, html(502))
        .on(BRANCH, Answer::Hang)
        .on(BRANCH, branch());
    let tip = installation.branch(&repo(), "main").await.expect("the third try").tip;
    assert_eq!(tip.as_str(), SHA);

    for trouble in [html(502), Answer::Hang] {
        script.on(COMMENTS, trouble);
        let made = installation.create_comment(&repo(), PullNumber(3), &text()).await;
        assert!(matches!(made, Err(GithubError::Transient { .. })), "{made:?}");
    }
    let expected = [BRANCH, BRANCH, BRANCH, COMMENTS, COMMENTS];
    assert_eq!(script.lines(), expected);
    let counted = installation.app().requests();
    assert_eq!(
        counted[&("GET".to_owned(), "/repos/{owner}/{repo}/branches/{branch}")],
        3
    );
    assert_eq!(
        counted[&("POST".to_owned(), "/repos/{owner}/{repo}/issues/{number}/comments")],
        2
    );
}

#[tokio::test]
async fn after_the_last_try_the_error_keeps_the_status() {
    let script = Script::start().await;
    for _ in 0..4 {
        script.on(BRANCH, html(503).header("x-github-request-id", "AB:12"));
    }
    let error = script
        .installation()
        .branch(&repo(), "main")
        .await
        .expect_err("an error");
    assert!(matches!(error, GithubError::Transient { .. }));
    assert_eq!(
        error.detail().to_string(),
        "GET /repos/{owner}/{repo}/branches/{branch} answered 503 (request AB:12): <!DOCTYPE html> <title>Unicorn!</title>"
    );
    assert_eq!(
        error.to_string(),
        "GitHub could not be reached or had a problem of its own"
    );
    assert_eq!(script.lines().len(), 3);
}

#[tokio::test]
async fn a_limit_silences_us_until_it_ends() {
    let script = Script::start().await;
    let installation = script.installation();
    let secondary = json!({ "message": "You have exceeded a secondary rate limit. Please wait a few minutes." });
    script.on(BRANCH, say(403, secondary)).on(BRANCH, branch());
    let until = |error: GithubError| match error {
        GithubError::RateLimited { until, .. } => until,
        error => panic!("{error:?}"),
    };
    for _ in 0..2 {
        let error = installation.branch(&repo(), "main").await.expect_err("a limit");
        assert_eq!(until(error), Timestamp(NOW + 60_000));
    }
    assert_eq!(script.lines().len(), 1, "the second was not sent");
    script.wait(Duration::from_secs(60));
    installation.branch(&repo(), "main").await.expect("the limit has ended");
}

#[tokio::test]
async fn a_short_limit_is_sat_out_for_a_get_and_told_for_a_post() {
    let script = Script::start().await;
    let installation = script.installation();
    let limit = || say(429, json!({ "message": "slow down" })).header("retry-after", "0");
    script.on(BRANCH, limit()).on(BRANCH, branch()).on(COMMENTS, limit());
    installation.branch(&repo(), "main").await.expect("the second try");
    let made = installation.create_comment(&repo(), PullNumber(3), &text()).await;
    assert!(matches!(made, Err(GithubError::RateLimited { .. })), "{made:?}");
}

#[tokio::test]
async fn the_last_call_of_an_allowance_closes_the_gate() {
    let script = Script::start().await;
    let installation = script.installation();
    let last = branch()
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", (NOW / 1000 + 30).to_string());
    script.on(BRANCH, last).on(BRANCH, branch());
    installation.branch(&repo(), "main").await.expect("allowed");
    let error = installation.branch(&repo(), "main").await.expect_err("used up");
    assert!(matches!(error, GithubError::RateLimited { until, .. } if until == Timestamp(NOW + 31_000)));
}

#[tokio::test]
async fn an_unchanged_answer_is_remembered() {
    let script = Script::start().await;
    let installation = script.installation();
    script.on(BRANCH, branch().header("etag", "W/\"1\""));
    script.on(
        BRANCH,
        Answer::Say {
            status: 304,
            headers: vec![],
            body: String::new(),
        },
    );
    let first = installation.branch(&repo(), "main").await.expect("asked");
    let second = installation.branch(&repo(), "main").await.expect("unchanged");
    assert_eq!(first, second);
    let asked: Vec<Option<String>> = script
        .seen()
        .iter()
        .filter(|seen| seen.line == BRANCH)
        .map(|seen| seen.headers.get("if-none-match").cloned())
        .collect();
    assert_eq!(asked, [None, Some("W/\"1\"".to_owned())]);
}

#[tokio::test]
async fn a_renamed_repository_is_followed_at_home_only() {
    let script = Script::start().await;
    let stranger = Script::start().await;
    let installation = script.installation();
    let moved = |url: String| say(301, json!({ "message": "Moved Permanently" })).header("location", url);
    script.on(BRANCH, moved(format!("{}/repositories/9/branches/main", script.url)));
    script.on("GET /repositories/9/branches/main", branch());
    installation.branch(&repo(), "main").await.expect("followed");

    script.on(BRANCH, moved(format!("{}/x", stranger.url)));
    let error = installation.branch(&repo(), "main").await.expect_err("not followed");
    assert!(matches!(error, GithubError::Unexpected { .. }));
    assert!(stranger.seen().is_empty(), "the token went nowhere else");

    for _ in 0..4 {
        script.on(BRANCH, moved(BRANCH.trim_start_matches("GET ").to_owned()));
    }
    let error = installation.branch(&repo(), "main").await.expect_err("a circle");
    assert!(error.detail().said.contains("circle"), "{}", error.detail());
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_told_with_its_place() {
    let script = Script::start().await;
    script
        .on(BRANCH, html(200))
        .on(BRANCH, say(200, json!({ "commit": { "sha": "main" } })));
    let installation = script.installation();
    for _ in 0..2 {
        let error = installation.branch(&repo(), "main").await.expect_err("unreadable");
        assert!(matches!(error, GithubError::Unexpected { .. }), "{error:?}");
        assert!(
            error.detail().to_string().contains("branches/{branch}"),
            "{}",
            error.detail()
        );
    }
}

#[tokio::test]
async fn nobody_there_is_transient_and_shows_no_backtrace() {
    let script = Script::start().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut settings = script.settings();
    settings.api_url = format!("http://{address}");
    let app = crate::github::App::new(settings).expect("an app");
    let error = app.identity().await.expect_err("nobody");
    assert!(matches!(error, GithubError::Transient { .. }));
    let detail = error.detail().to_string();
    assert!(detail.to_lowercase().contains("connection refused"), "{detail}");
    assert!(!detail.contains("backtrace") && !detail.contains(".rs"), "{detail}");
}

#[tokio::test]
async fn an_enterprise_server_has_its_graphql_beside_v3() {
    let script = Script::start().await;
    let mut settings = script.settings();
    settings.api_url = format!("{}/api/v3/", script.url);
    let app = crate::github::App::new(settings).expect("an app");
    let installation = app.installation(crate::domain::ids::InstallationId(7));
    script.on("GET /api/v3/repos/acme/infra/branches/main", branch());
    script.on("GET /api/v3/repos/acme/infra/rules/branches/main", say(200, json!([])));
    script.on(
        "POST /api/graphql",
        say(
            200,
            json!({ "data": null, "errors": [{ "type": "NOT_FOUND", "message": "Could not resolve" }] }),
        ),
    );
    let found = installation.mergeability(&repo(), PullNumber(3), "main").await;
    assert!(matches!(found, Err(GithubError::NotFound { .. })), "{found:?}");
    assert_eq!(script.seen()[0].line, "POST /api/v3/app/installations/7/access_tokens");
}

#[test]
fn a_token_never_travels_in_the_clear() {
    let why = |url: &str| match api_base(url) {
        Ok(url) => url.to_string(),
        Err(BadSetting::ApiUrl { why, .. }) => format!("refused: it {why}"),
        Err(error) => panic!("{error}"),
    };
    let table = [
        ("https://api.github.com", "https://api.github.com/"),
        ("https://ghes.acme.com/api/v3/", "https://ghes.acme.com/api/v3"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080/api/v3", "http://[::1]:8080/api/v3"),
        ("http://localhost:1", "http://localhost:1/"),
        (
            "http://api.github.com",
            "refused: it must begin with https:// (http:// only on a loopback address)",
        ),
        (
            "http://127.0.0.1.evil.com",
            "refused: it must begin with https:// (http:// only on a loopback address)",
        ),
        (
            "https://github.com",
            "refused: it is the website; the API is at https://api.github.com",
        ),
        (
            "https://u:p@ghes.acme.com/api/v3",
            "refused: it must be only scheme, host, port and path",
        ),
        (
            "https://api.github.com?x=1",
            "refused: it must be only scheme, host, port and path",
        ),
        ("api.github.com", "refused: it is not a URL"),
        ("file:///etc", "refused: it names no host"),
    ];
    for (url, expected) in table {
        assert_eq!(why(url), expected, "{url}");
    }
}
