//! Owns the tests of the App's credentials: signed, cached, renewed, narrowed.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{NOW, SHA, Script, repo, say};
use crate::domain::ids::{PullNumber, RepoId};
use crate::github::comments::CommentText;
use crate::github::error::GithubError;
use crate::github::{App, BadSetting};

const BRANCH: &str = "GET /repos/acme/infra/branches/main";
const COMMENTS: &str = "POST /repos/acme/infra/issues/3/comments";
const ACCESS: &str = "POST /app/installations/7/access_tokens";

fn branches(script: &Script, count: usize) {
    for _ in 0..count {
        script.on(BRANCH, say(200, json!({ "commit": { "sha": SHA } })));
    }
}

fn used(script: &Script) -> Vec<String> {
    let seen = script.seen().into_iter().filter(|seen| seen.line != ACCESS);
    seen.map(|seen| seen.headers["authorization"].clone()).collect()
}

#[tokio::test]
async fn the_apps_word_is_signed_and_short_lived() {
    let script = Script::start().await;
    script.on("GET /app", say(200, json!({ "id": 42, "slug": "lockkeeper-acme" })));
    let app = script.app();
    let identity = app.identity().await.expect("known");
    assert_eq!(identity.login.as_str(), "lockkeeper-acme[bot]");
    app.identity().await.expect("remembered");
    let seen = script.seen();
    assert_eq!(seen.len(), 1);
    let jwt = seen[0].headers["authorization"]
        .strip_prefix("Bearer ")
        .expect("a bearer")
        .to_owned();
    let part = |n: usize| -> Value {
        let part = jwt.split('.').nth(n).expect("a part");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("json")
    };
    assert_eq!(part(0)["alg"], "RS256");
    assert_eq!(
        part(1),
        json!({ "iat": NOW / 1000 - 60, "exp": NOW / 1000 + 540, "iss": "42" })
    );
}

#[tokio::test]
async fn a_token_is_shared_until_it_is_about_to_end() {
    let script = Script::start().await;
    branches(&script, 8);
    let installation = script.installation();
    let repo = repo();
    let calls = (0..5).map(|_| installation.branch(&repo, "main"));
    for answer in futures_util::future::join_all(calls).await {
        answer.expect("a branch");
    }
    assert_eq!(script.tokens(), 1);
    script.wait(Duration::from_secs(49 * 60));
    installation.branch(&repo, "main").await.expect("a branch");
    assert_eq!(script.tokens(), 1);
    script.wait(Duration::from_secs(60));
    installation.branch(&repo, "main").await.expect("a branch");
    assert_eq!(script.tokens(), 2);
    assert_eq!(used(&script).last().map(String::as_str), Some("Bearer t2"));
}

#[tokio::test]
async fn a_revoked_token_is_renewed_once() {
    let script = Script::start().await;
    let installation = script.installation();
    let revoked = || say(401, json!({ "message": "Bad credentials" }));
    script
        .on(COMMENTS, revoked())
        .on(COMMENTS, say(201, json!({ "id": 5 })));
    let text = CommentText::new("plan", "hello").expect("a text");
    installation
        .create_comment(&repo(), PullNumber(3), &text)
        .await
        .expect("a 401 has done nothing, so even this is sent again");
    assert_eq!(used(&script), ["Bearer t1", "Bearer t2"]);

    script.on(COMMENTS, revoked()).on(COMMENTS, revoked());
    let refused = installation.create_comment(&repo(), PullNumber(3), &text).await;
    assert!(matches!(refused, Err(GithubError::Refused { .. })), "{refused:?}");
    assert_eq!(used(&script).len(), 4);
}

#[tokio::test]
async fn a_token_for_git_can_only_read_what_it_names() {
    let script = Script::start().await;
    let installation = script.installation();
    let ids = BTreeSet::from([RepoId(9), RepoId(8)]);
    let token = installation.read_token(&ids).await.expect("a token");
    let again = installation.read_token(&ids).await.expect("a token");
    assert_eq!(token.secret.expose_secret(), again.secret.expose_secret());
    assert_eq!(token.expires.0, NOW + 3_600_000);
    let seen = script.seen();
    assert_eq!(seen.len(), 1);
    let expected = json!({ "repository_ids": [8, 9], "permissions": { "contents": "read" } });
    assert_eq!(seen[0].body, expected);

    let refusal = json!({ "message": "There is at least one repository that does not exist or is not accessible" });
    script.on(ACCESS, say(422, refusal));
    let other = installation.read_token(&BTreeSet::from([RepoId(1)])).await;
    assert!(matches!(other, Err(GithubError::Refused { .. })), "{other:?}");
    assert!(!format!("{token:?}").contains("t1"), "a token shows nothing of itself");
}

#[tokio::test]
async fn an_installation_that_is_gone_is_not_found() {
    let script = Script::start().await;
    script.on(ACCESS, say(404, json!({ "message": "Not Found" })));
    let gone = script.installation().branch(&repo(), "main").await;
    assert!(matches!(gone, Err(GithubError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_key_that_is_no_key_is_one_clear_line() {
    let script = Script::start().await;
    for key in [
        "",
        "hunter2",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        let mut settings = script.settings();
        settings.private_key = SecretString::from(key);
        match App::new(settings) {
            Err(error @ BadSetting::PrivateKey { .. }) => {
                assert_eq!(error.to_string(), "the App's private key is not an RSA key in PEM");
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{key:?} was taken"),
        }
    }
}
