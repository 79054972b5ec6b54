//! The simulator, driven by a real client, a real git and a real webhook receiver.
#![expect(
    clippy::disallowed_methods,
    reason = "tests are users: they start programs, read the environment and the clock"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::EncodingKey;
use octocrab::Octocrab;
use octocrab::models::{AppId, InstallationId};
use octocrab::params::repos::Commitish;
use serde_json::{Value, json};

use super::control::{OpenPull, put};
use super::faults::Trouble;
use super::merge::Method;
use super::protection::Rules;
use super::state::{Role, Verdict};
use super::webhooks::Mail;
use super::{Options, Sim};

type Received = Arc<Mutex<Vec<(String, bool, Value)>>>;

const REPO: &str = "acme/infra";

struct Stage {
    sim: Sim,
    received: Received,
    app: Octocrab,
    dir: tempfile::TempDir,
}

/// A server that takes webhooks and says whether each was signed with our secret.
async fn receiver(secret: String) -> (String, Received) {
    let received = Received::default();
    let into = received.clone();
    let take = move |headers: axum::http::HeaderMap, body: axum::body::Bytes| async move {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&body);
        let signature = headers["x-hub-signature-256"]
            .to_str()
            .unwrap()
            .strip_prefix("sha256=")
            .unwrap()
            .to_owned();
        let genuine = mac.verify_slice(&hex::decode(signature).unwrap()).is_ok();
        let event = headers["x-github-event"].to_str().unwrap().to_owned();
        into.lock()
            .unwrap()
            .push((event, genuine, serde_json::from_slice(&body).unwrap()));
        axum::http::StatusCode::ACCEPTED
    };
    let router = axum::Router::new().route("/webhook", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

async fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(Options::new(dir.path())).await.unwrap();
    let (url, received) = receiver(sim.app().webhook_secret.clone()).await;
    sim.set_webhook_url(url);
    sim.create_user("alice").await;
    sim.create_repo(REPO, true, &[("main.tf", "# one\n"), ("README.md", "hello\n")])
        .await
        .unwrap();
    for (login, role) in [("alice", Role::Write), ("bob", Role::Write), ("eve", Role::Read)] {
        sim.set_role(REPO, login, role).await.unwrap();
    }
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let key = EncodingKey::from_rsa_pem(sim.app().private_key_pem.as_bytes()).unwrap();
    let app = Octocrab::builder()
        .base_uri(sim.url())
        .unwrap()
        .app(AppId(sim.app().id), key)
        .build()
        .unwrap();
    Stage {
        sim,
        received,
        app,
        dir,
    }
}

impl Stage {
    async fn installation(&self) -> Octocrab {
        let (_, id) = self.sim.ids(REPO).await.unwrap();
        self.app.installation(InstallationId(id.unwrap())).unwrap()
    }

    async fn token(&self) -> String {
        let (_, id) = self.sim.ids(REPO).await.unwrap();
        let path = format!("/app/installations/{}/access_tokens", id.unwrap());
        let answer: Value = self.app.post(path, None::<&()>).await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    async fn pull(&self) -> u64 {
        self.sim
            .commit(REPO, "feature", "alice", "Two", &[put("main.tf", "# two\n")])
            .await
            .unwrap();
        self.sim
            .open_pull(REPO, "alice", OpenPull::new("Two", "feature"))
            .await
            .unwrap()
    }

    async fn events(&self) -> Vec<String> {
        self.sim.outbox_idle().await;
        let events = self.received.lock().unwrap();
        assert!(events.iter().all(|(_, genuine, _)| *genuine), "every webhook is signed");
        events
            .iter()
            .map(|(event, _, body)| format!("{event}.{}", body["action"].as_str().unwrap_or("-")))
            .collect()
    }
}

fn git(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=alice",
            "-c",
            "user.email=1+alice@users.noreply.github.com",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_authenticates_comments_and_checks_with_octocrab() {
    let stage = stage().await;
    let number = stage.pull().await;
    let client = stage.installation().await;
    let pull = client.pulls("acme", "infra").get(number).await.unwrap();
    assert_eq!(pull.mergeable, Some(true));
    let comment = client
        .issues("acme", "infra")
        .create_comment(number, "**planned**")
        .await
        .unwrap();
    client
        .issues("acme", "infra")
        .update_comment(comment.id, "**applied**")
        .await
        .unwrap();
    let check = client
        .checks("acme", "infra")
        .create_check_run("lockkeeper/plan", pull.head.sha.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(check.name, "lockkeeper/plan");
    let listed = client
        .checks("acme", "infra")
        .list_check_runs_for_git_ref(Commitish(pull.head.sha))
        .send()
        .await
        .unwrap();
    assert_eq!(listed.total_count, 1);
    let shown = stage.sim.pull(REPO, number).await.unwrap();
    assert_eq!(shown.comments_by("lockkeeper[bot]")[0].body, "**applied**");
    assert_eq!(shown.check("lockkeeper/plan").unwrap().status, "queued");
    assert_eq!(stage.sim.unrouted(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_becomes_signed_webhooks() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage.sim.comment(REPO, number, "bob", "/plan").await.unwrap();
    stage.sim.approve(REPO, number, "bob").await.unwrap();
    stage.sim.label(REPO, number, "production", "bob").await.unwrap();
    stage
        .sim
        .commit(REPO, "feature", "alice", "Three", &[put("main.tf", "# three\n")])
        .await
        .unwrap();
    stage.sim.convert_to_draft(REPO, number, "alice").await.unwrap();
    stage.sim.ready_for_review(REPO, number, "alice").await.unwrap();
    stage.sim.close(REPO, number, "alice").await.unwrap();
    stage.sim.reopen(REPO, number, "alice").await.unwrap();
    stage.sim.merge(REPO, number, "bob", Method::Squash).await.unwrap();
    let expected = [
        "installation.created",
        "push.-",
        "check_suite.requested",
        "push.-",
        "check_suite.requested",
        "pull_request.opened",
        "issue_comment.created",
        "pull_request_review.submitted",
        "pull_request.labeled",
        "push.-",
        "check_suite.requested",
        "pull_request.synchronize",
        "pull_request.converted_to_draft",
        "pull_request.ready_for_review",
        "pull_request.closed",
        "pull_request.reopened",
        "pull_request.closed",
        "push.-",
        "check_suite.requested",
    ];
    assert_eq!(stage.events().await, expected);
    assert_eq!(stage.sim.pull(REPO, number).await.unwrap().state, "merged");
    assert_eq!(
        stage.sim.read_file(REPO, "main", "main.tf").await.unwrap(),
        b"# three\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_cloned_and_pushed_only_with_a_token() {
    let stage = stage().await;
    let number = stage.pull().await;
    let host = stage.sim.url().strip_prefix("http://").unwrap().to_owned();
    let work = stage.dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    assert!(
        !git(&work, &["clone", &format!("http://{host}/{REPO}.git"), "nobody"]).0,
        "without a token"
    );
    let token = stage.token().await;
    let url = format!("http://x-access-token:{token}@{host}/{REPO}.git");
    let cloned = git(&work, &["clone", &url, "app"]);
    assert!(cloned.0, "{}", cloned.1);
    let app = work.join("app");
    let fetched = git(&app, &["fetch", "origin", &format!("refs/pull/{number}/head:pull")]);
    assert!(fetched.0, "{}", fetched.1);
    assert!(git(&app, &["checkout", "-q", "pull"]).0);
    assert!(git(&app, &["commit", "-q", "--allow-empty", "-m", "pushed"]).0);
    let refused = git(&app, &["push", "origin", "pull:feature"]);
    assert!(
        !refused.0 && refused.1.contains("403"),
        "the App has contents: read: {}",
        refused.1
    );
    let alice = stage.sim.create_user("alice").await;
    let pushed = git(
        &app,
        &[
            "push",
            &format!("http://alice:{alice}@{host}/{REPO}.git"),
            "pull:feature",
        ],
    );
    assert!(pushed.0, "{}", pushed.1);
    assert!(stage.events().await.ends_with(&[
        "push.-".into(),
        "check_suite.requested".into(),
        "pull_request.synchronize".into()
    ]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_may_not_see_is_not_found() {
    let stage = stage().await;
    stage
        .sim
        .create_repo("other/secret", true, &[("a", "b")])
        .await
        .unwrap();
    let client = reqwest::Client::new();
    let status = |token: Option<String>, path: &'static str| {
        let mut request = client.get(format!("{}/api/v3{path}", stage.sim.url()));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let token = stage.token().await;
    assert_eq!(status(Some(token.clone()), "/repos/acme/infra").await, 200);
    assert_eq!(status(Some(token.clone()), "/repos/other/secret").await, 404);
    assert_eq!(status(None, "/repos/acme/infra").await, 404);
    assert_eq!(status(Some("ghs_wrong".into()), "/repos/acme/infra").await, 401);
    assert_eq!(
        status(Some(token.clone()), "/repos/acme/infra/branches/main/protection").await,
        403
    );
    assert_eq!(status(Some(token), "/repos/acme/infra/nonsense").await, 404);
    assert_eq!(stage.sim.unrouted(), ["GET /repos/acme/infra/nonsense"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_opens_a_pull_request_and_pushes_to_it() {
    let stage = stage().await;
    let fork = stage.sim.fork(REPO, "eve").await.unwrap();
    stage
        .sim
        .commit(&fork, "feature", "eve", "Two", &[put("main.tf", "# two\n")])
        .await
        .unwrap();
    let number = stage
        .sim
        .open_pull(REPO, "eve", OpenPull::new("Two", "eve:feature"))
        .await
        .unwrap();
    let second = stage
        .sim
        .commit(&fork, "feature", "eve", "Three", &[put("main.tf", "# three\n")])
        .await
        .unwrap();
    assert_eq!(stage.sim.pull(REPO, number).await.unwrap().head, second);
    let events = stage.events().await;
    assert_eq!(
        events.iter().filter(|e| e.starts_with("pull_request.")).count(),
        2,
        "{events:?}"
    );
    stage.sim.merge(REPO, number, "bob", Method::Rebase).await.unwrap();
    assert_eq!(
        stage.sim.read_file(REPO, "main", "main.tf").await.unwrap(),
        b"# three\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn protection_is_enforced_on_merge() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .protect(REPO, "main", Rules::require(["ci"], 1))
        .await
        .unwrap();
    let merge = || stage.sim.merge(REPO, number, "bob", Method::Merge);
    let refused = merge().await.unwrap_err();
    assert_eq!(refused.status, 405);
    stage
        .sim
        .other_check(REPO, number, "ci", Some("action_required"))
        .await
        .unwrap();
    stage.sim.approve(REPO, number, "eve").await.unwrap();
    assert!(
        merge().await.unwrap_err().message.contains("failing"),
        "action_required does not pass"
    );
    stage
        .sim
        .other_check(REPO, number, "ci", Some("skipped"))
        .await
        .unwrap();
    assert!(
        merge().await.unwrap_err().message.contains("approving review"),
        "a reader's approval does not count"
    );
    stage.sim.approve(REPO, number, "bob").await.unwrap();
    merge().await.unwrap();
    assert!(
        stage.sim.approve(REPO, number, "alice").await.is_err(),
        "authors do not approve their own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn update_branch_merges_the_base_and_names_who_pressed_it() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .commit(REPO, "main", "bob", "Elsewhere", &[put("other.tf", "# x\n")])
        .await
        .unwrap();
    let head = stage.sim.update_branch(REPO, number, "bob").await.unwrap();
    assert_eq!(stage.sim.pull(REPO, number).await.unwrap().head, head);
    let activity: Vec<Value> = stage
        .installation()
        .await
        .get("/repos/acme/infra/activity?ref=refs/heads/feature", None::<&()>)
        .await
        .unwrap();
    assert_eq!(activity[0]["actor"]["login"], "bob");
    assert_eq!(activity[0]["after"], head);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_refuse_as_on_github() {
    let stage = stage().await;
    let number = stage.pull().await;
    let client = stage.installation().await;
    let long = "x".repeat(65_537);
    let comment: octocrab::Result<Value> = client
        .post(
            format!("/repos/acme/infra/issues/{number}/comments"),
            Some(&json!({"body": long})),
        )
        .await;
    assert!(format!("{:?}", comment.unwrap_err()).contains("too long"));
    let head = stage.sim.pull(REPO, number).await.unwrap().head;
    let note = json!({"path": "main.tf", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"});
    let button = json!({"label": "a", "description": "b", "identifier": "c"});
    for (what, body) in [
        (
            "annotations",
            json!({"name": "n", "head_sha": head, "output": {"title": "t", "summary": "s", "annotations": vec![note; 51]}}),
        ),
        (
            "buttons",
            json!({"name": "n", "head_sha": head, "actions": vec![button; 4]}),
        ),
        ("name", json!({"name": "n".repeat(256), "head_sha": head})),
        ("commit", json!({"name": "n", "head_sha": "0".repeat(40)})),
    ] {
        let refused: octocrab::Result<Value> = client.post("/repos/acme/infra/check-runs", Some(&body)).await;
        assert!(refused.is_err(), "{what}");
    }
    assert!(stage.sim.pull(REPO, number).await.unwrap().checks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_pages_with_links() {
    let stage = stage().await;
    let files: Vec<_> = (0..130).map(|n| put(&format!("many/{n:03}.tf"), "# x\n")).collect();
    stage.sim.commit(REPO, "many", "alice", "Many", &files).await.unwrap();
    let number = stage
        .sim
        .open_pull(REPO, "alice", OpenPull::new("Many", "many"))
        .await
        .unwrap();
    let token = stage.token().await;
    let url = format!("{}/repos/acme/infra/pulls/{number}/files?per_page=100", stage.sim.url());
    let client = reqwest::Client::new();
    let first = client.get(&url).bearer_auth(&token).send().await.unwrap();
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains("page=2>; rel=\"next\""), "{link}");
    let etag = first.headers()["etag"].clone();
    assert_eq!(first.json::<Vec<Value>>().await.unwrap().len(), 100);
    let again = client
        .get(&url)
        .bearer_auth(&token)
        .header("if-none-match", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    let second = client
        .get(format!("{url}&page=2"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(second.json::<Vec<Value>>().await.unwrap().len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_and_reruns_reach_the_app() {
    let stage = stage().await;
    let number = stage.pull().await;
    let head = stage.sim.pull(REPO, number).await.unwrap().head;
    let button = json!({"label": "Apply", "description": "Apply it", "identifier": "apply"});
    let body =
        json!({"name": "app", "head_sha": head, "external_id": "run 7", "conclusion": "success", "actions": [button]});
    let _: Value = stage
        .installation()
        .await
        .post("/repos/acme/infra/check-runs", Some(&body))
        .await
        .unwrap();
    stage
        .sim
        .press_button(REPO, number, "app", "apply", "bob")
        .await
        .unwrap();
    stage.sim.rerequest(REPO, number, "app", "bob").await.unwrap();
    assert!(
        stage
            .sim
            .press_button(REPO, number, "app", "explode", "bob")
            .await
            .is_err()
    );
    let events = stage.events().await;
    assert!(
        events.ends_with(&["check_run.requested_action".into(), "check_run.rerequested".into()]),
        "{events:?}"
    );
    let received = stage.received.lock().unwrap();
    let pressed = &received[received.len() - 2].2;
    assert_eq!(
        (
            &pressed["requested_action"]["identifier"],
            &pressed["check_run"]["external_id"]
        ),
        (&json!("apply"), &json!("run 7"))
    );
    assert_eq!(pressed["sender"]["login"], "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripted_trouble_happens_once_and_a_dropped_answer_was_still_done() {
    let stage = stage().await;
    let number = stage.pull().await;
    let token = stage.token().await;
    let url = format!("{}/repos/acme/infra/issues/{number}/comments", stage.sim.url());
    let client = reqwest::Client::new();
    let post = || {
        client
            .post(&url)
            .bearer_auth(&token)
            .json(&json!({"body": "hello"}))
            .send()
    };
    stage.sim.faults().next(1, "POST", "/comments", Trouble::Html(502));
    let answer = post().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["content-type"].to_str().unwrap()
        ),
        (502, "text/html; charset=utf-8")
    );
    stage
        .sim
        .faults()
        .next(1, "POST", "/comments", Trouble::SecondaryLimit { retry_after: 7 });
    let answer = post().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["retry-after"].to_str().unwrap()
        ),
        (403, "7")
    );
    stage.sim.faults().next(1, "POST", "/comments", Trouble::Drop);
    assert!(post().await.is_err());
    assert!(stage.sim.pull(REPO, number).await.unwrap().comments.is_empty());
    stage.sim.faults().next(1, "POST", "/comments", Trouble::DropAfter);
    assert!(post().await.is_err());
    assert_eq!(stage.sim.pull(REPO, number).await.unwrap().comments.len(), 1);
    assert_eq!(stage.sim.faults().left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_lost_doubled_reordered_listed_and_sent_again() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage.sim.outbox_idle().await;
    stage.received.lock().unwrap().clear();
    for mail in [Mail::Lost, Mail::Twice, Mail::Later] {
        stage.sim.mail(Some("issue_comment"), 1, mail);
    }
    for body in ["lost", "twice", "later", "before"] {
        stage.sim.comment(REPO, number, "bob", body).await.unwrap();
    }
    stage.sim.outbox_idle().await;
    let bodies = || -> Vec<String> {
        let received = stage.received.lock().unwrap();
        received
            .iter()
            .map(|(_, _, b)| b["comment"]["body"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(bodies(), ["twice", "twice", "before", "later"]);
    let list: Vec<Value> = stage
        .app
        .get("/app/hook/deliveries?per_page=1", None::<&()>)
        .await
        .unwrap();
    let id = &list[0]["id"];
    let _ = stage
        .app
        ._post(format!("/app/hook/deliveries/{id}/attempts"), None::<&()>)
        .await
        .unwrap();
    stage.sim.outbox_idle().await;
    assert_eq!(bodies().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_pending_submitted_and_dismissed() {
    let stage = stage().await;
    let number = stage.pull().await;
    let pending = stage
        .sim
        .review(REPO, number, "bob", Verdict::Pending, "")
        .await
        .unwrap();
    let client = stage.installation().await;
    let seen: Vec<Value> = client
        .get(format!("/repos/acme/infra/pulls/{number}/reviews"), None::<&()>)
        .await
        .unwrap();
    assert!(seen.is_empty(), "a pending review is seen by its author alone");
    let approved = stage.sim.approve(REPO, number, "bob").await.unwrap();
    assert_ne!(pending, approved);
    stage.sim.dismiss_review(REPO, number, approved, "alice").await.unwrap();
    let seen: Vec<Value> = client
        .get(format!("/repos/acme/infra/pulls/{number}/reviews"), None::<&()>)
        .await
        .unwrap();
    assert_eq!(seen[0]["state"], "DISMISSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_tells_what_merging_needs_and_refuses_unknown_fields() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .protect(REPO, "main", Rules::require(["ci"], 1))
        .await
        .unwrap();
    stage
        .sim
        .other_check(REPO, number, "ci", Some("success"))
        .await
        .unwrap();
    stage
        .sim
        .set_status(REPO, number, "legacy", "pending", "bob")
        .await
        .unwrap();
    stage.sim.approve(REPO, number, "bob").await.unwrap();
    stage.sim.mergeable_unknown(1).await;
    let query = "query($n: Int!) { repository(owner: \"acme\", name: \"infra\") { pullRequest(number: $n) {
        mergeable reviewDecision isDraft headRefOid baseRefOid latestReviews(first: 10) { nodes { state author { login } } }
        commits(last: 1) { nodes { commit { statusCheckRollup { contexts(first: 100) { nodes { __typename
            ... on CheckRun { name conclusion status isRequired(pullRequestNumber: $n) }
            ... on StatusContext { context state isRequired(pullRequestNumber: $n) } } pageInfo { hasNextPage } } } } } } } } }";
    let client = stage.installation().await;
    let ask = |query: &str| {
        let body = json!({"query": query, "variables": {"n": number}});
        let client = client.clone();
        async move { client.post::<_, Value>("/graphql", Some(&body)).await.unwrap() }
    };
    let mergeable = |answer: &Value| answer["data"]["repository"]["pullRequest"]["mergeable"].clone();
    assert_eq!(mergeable(&ask(query).await), "UNKNOWN");
    let answer = ask(query).await;
    assert_eq!(mergeable(&answer), "MERGEABLE", "{answer}");
    let pull = &answer["data"]["repository"]["pullRequest"];
    assert_eq!(pull["reviewDecision"], "APPROVED");
    let contexts = &pull["commits"]["nodes"][0]["commit"]["statusCheckRollup"]["contexts"]["nodes"];
    let expected = json!([
        {"__typename": "CheckRun", "name": "ci", "conclusion": "SUCCESS", "status": "COMPLETED", "isRequired": true},
        {"__typename": "StatusContext", "context": "legacy", "state": "PENDING", "isRequired": false},
    ]);
    assert_eq!(contexts, &expected);
    let wrong = ask(
        "query($n: Int!) { repository(owner: \"acme\", name: \"infra\") { pullRequest(number: $n) { mergable } } }",
    )
    .await;
    assert!(
        wrong["errors"][0]["message"].as_str().unwrap().contains("mergable"),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_takes_forms_and_says_why_it_refuses() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .protect(REPO, "main", Rules::require(["ci"], 0))
        .await
        .unwrap();
    stage
        .sim
        .comment(REPO, number, "bob", "**bold** <script>alert(1)</script>")
        .await
        .unwrap();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let at = format!("{}/{REPO}/pull/{number}", stage.sim.url());
    let page = |end: &str| {
        let request = client.get(format!("{at}{end}"));
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let post = |end: &str, form: &str| {
        let request = client.post(format!("{at}{end}")).body(form.to_owned());
        async move {
            request.send().await.unwrap().headers()["location"]
                .to_str()
                .unwrap()
                .to_owned()
        }
    };
    let shown = page("").await;
    assert!(shown.contains("<strong>bold</strong>") && !shown.contains("alert(1)"));
    assert!(shown.contains("Required status check &quot;ci&quot; is expected."));
    assert!(
        post("/act", "as=bob&do=merge&method=merge")
            .await
            .contains("is%20expected")
    );
    assert!(
        post("/say", "as=alice&do=approve")
            .await
            .contains("own%20pull%20request")
    );
    assert!(post("/act", "as=eve&do=merge").await.contains("no%20write%20access"));
    post("/say", "as=bob&do=approve").await;
    post("/push", "as=alice&path=main.tf&content=%23+three%0D%0A&message=Three").await;
    assert_eq!(
        stage.sim.read_file(REPO, "feature", "main.tf").await.unwrap(),
        b"# three\n"
    );
    stage
        .sim
        .other_check(REPO, number, "ci", Some("success"))
        .await
        .unwrap();
    post("/act", "as=bob&do=merge&method=squash").await;
    assert_eq!(stage.sim.pull(REPO, number).await.unwrap().state, "merged");
    for end in ["", "/live", "/files", "/commits", "/checks", "/edit?path=main.tf"] {
        assert!(page(end).await.contains("main") || end == "/checks", "{end}");
    }
}
