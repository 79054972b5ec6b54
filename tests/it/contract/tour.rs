//! Owns a tour through all the simulator has, so that every answer and webhook of it is held against the description.

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lockkeeper::sim::control::{OpenPull, put};
use lockkeeper::sim::merge::Method;
use lockkeeper::sim::protection::{Made, RequiredCheck, Rules};
use lockkeeper::sim::state::{Role, Verdict};
use lockkeeper::sim::{Options, Sim};
use serde_json::{Value, json};

use super::{check, check_webhooks};

const REPO: &str = "acme/infra";

struct Tour {
    sim: Sim,
    client: reqwest::Client,
    jwt: String,
    token: String,
    alice: String,
    bob: String,
    _dir: tempfile::TempDir,
}

impl Tour {
    async fn start() -> Tour {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(dir.path());
        for (name, level) in [
            ("contents", "write"),
            ("statuses", "write"),
            ("administration", "read"),
            ("members", "read"),
        ] {
            options.permissions.insert(name.into(), level.into());
        }
        options.events.push("status".into());
        let sim = Sim::start(options).await.expect("a simulator");
        let alice = sim.create_user("alice").await;
        let bob = sim.create_user("bob").await;
        sim.create_team("acme", "platform", &["bob"]).await;
        sim.create_repo(REPO, true, &[("main.tf", "# one\n"), ("a/b.tf", "# deep\n")])
            .await
            .expect("a repository");
        for (login, role) in [("alice", Role::Write), ("bob", Role::Admin), ("eve", Role::Read)] {
            sim.set_role(REPO, login, role).await.expect("a role");
        }
        sim.set_team_role(REPO, "platform", Role::Maintain)
            .await
            .expect("a role");
        let key = EncodingKey::from_rsa_pem(sim.app().private_key_pem.as_bytes()).expect("the key is PEM");
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({"iat": now - 10, "exp": now + 300, "iss": sim.app().id.to_string()});
        let jwt = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).expect("a JWT");
        let mut tour = Tour {
            sim,
            client: reqwest::Client::new(),
            jwt,
            token: String::new(),
            alice,
            bob,
            _dir: dir,
        };
        let installation = tour.sim.ids(REPO).await.expect("ids").1.expect("installed");
        let path = format!("/app/installations/{installation}/access_tokens");
        let body = json!({"repositories": ["infra"], "permissions": {"contents": "read"}});
        tour.call(&tour.jwt, "POST", &path, body).await;
        let answer = tour.call(&tour.jwt, "POST", &path, Value::Null).await;
        tour.token = answer["token"].as_str().expect("a token").to_owned();
        tour
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().expect("a method");
        let mut request = self
            .client
            .request(method, format!("{}/api/v3{path}", self.sim.url()))
            .bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    async fn read(&self, path: &str) -> Value {
        self.call(&self.token, "GET", path, Value::Null).await
    }

    async fn write(&self, method: &str, path: &str, body: Value) -> Value {
        self.call(&self.token, method, path, body).await
    }

    async fn pull(&self, branch: &str) -> u64 {
        let text = format!("# {branch}\n");
        self.sim
            .commit(REPO, branch, "alice", "Change", &[put(&format!("{branch}.tf"), text)])
            .await
            .expect("a commit");
        self.sim
            .open_pull(REPO, "alice", OpenPull::new(branch, branch))
            .await
            .expect("a pull request")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_answers_as_github_describes_itself() {
    let tour = Tour::start().await;
    let repo = format!("/repos/{REPO}");
    let number = tour.pull("feature").await;
    let head = tour.sim.head(REPO, "feature").await.expect("a head");
    tour.sim
        .label(REPO, number, "production", "bob")
        .await
        .expect("a label");
    let rules = Rules {
        checks: vec![RequiredCheck {
            context: "ci".into(),
            app_id: None,
        }],
        approvals: Some(1),
        ..Rules::default()
    };
    tour.sim.protect(REPO, "main", rules.clone()).await.expect("rules");
    the_app(&tour).await;
    conversation(&tour, &repo, number).await;
    checking(&tour, &repo, &head).await;
    for path in [
        "rules/branches/main",
        "branches/main",
        "branches",
        "contents/main.tf",
        "contents/a",
        "contents/a/b.tf?ref=feature",
        "git/ref/heads/main",
        "git/matching-refs/heads/",
        "commits",
        "commits/feature",
        "compare/main...feature",
        "activity?ref=refs/heads/feature",
        "collaborators/alice/permission",
        "collaborators/eve/permission",
        "teams",
        "pulls?state=all&per_page=5",
    ] {
        tour.read(&format!("{repo}/{path}")).await;
    }
    for path in ["", "/files", "/commits", "/reviews"] {
        tour.read(&format!("{repo}/pulls/{number}{path}")).await;
    }
    tour.sim
        .protect(
            REPO,
            "main",
            Rules {
                made: Made::Classic,
                ..rules
            },
        )
        .await
        .expect("rules");
    tour.read(&format!("{repo}/branches/main/protection")).await;
    tour.sim.unprotect(REPO, "main").await.expect("no rules");
    for path in [
        "/orgs/acme/teams",
        "/orgs/acme/teams/platform",
        "/orgs/acme/teams/platform/members",
        "/orgs/acme/teams/platform/memberships/bob",
        "/users/alice",
        "/rate_limit",
        "/meta",
    ] {
        tour.read(path).await;
    }
    endings(&tour, &repo, number).await;
    let content = json!({"message": "m", "content": "aGVsbG8=", "branch": "notes"});
    tour.write("PUT", &format!("{repo}/contents/notes.md"), content).await;
    let branch = json!({"ref": "refs/heads/fresh", "sha": head});
    tour.write("POST", &format!("{repo}/git/refs"), branch).await;
    tour.write("DELETE", &format!("{repo}/git/refs/heads/fresh"), Value::Null)
        .await;
    fits(&tour).await;
}

/// What was said and sent so far holds against the description.
async fn fits(tour: &Tour) {
    tour.sim.outbox_idle().await;
    let lines = |wrong: BTreeSet<String>| wrong.into_iter().collect::<Vec<_>>().join("\n");
    let (said, sent) = (
        lines(check(&tour.sim.requests())),
        lines(check_webhooks(&tour.sim.deliveries())),
    );
    assert!(said.is_empty() && sent.is_empty(), "{said}\n{sent}");
    assert_eq!(tour.sim.unrouted(), Vec::<String>::new());
}

async fn the_app(tour: &Tour) {
    let (repo, installation) = tour.sim.ids(REPO).await.expect("ids");
    let installation = installation.expect("installed");
    tour.sim.outbox_idle().await;
    let deliveries = tour
        .call(&tour.jwt, "GET", "/app/hook/deliveries?per_page=2", Value::Null)
        .await;
    for path in [
        "/app",
        "/app/installations",
        "/repos/acme/infra/installation",
        "/orgs/acme/installation",
        "/app/hook/config",
    ] {
        tour.call(&tour.jwt, "GET", path, Value::Null).await;
    }
    tour.call(
        &tour.jwt,
        "GET",
        &format!("/app/installations/{installation}"),
        Value::Null,
    )
    .await;
    let id = &deliveries[0]["id"];
    tour.call(&tour.jwt, "GET", &format!("/app/hook/deliveries/{id}"), Value::Null)
        .await;
    tour.call(
        &tour.jwt,
        "POST",
        &format!("/app/hook/deliveries/{id}/attempts"),
        Value::Null,
    )
    .await;
    tour.read("/installation/repositories?per_page=10").await;
    tour.read("/repos/acme/infra").await;
    // Not in GitHub's description, though GitHub answers it.
    let before = tour.sim.requests().len();
    tour.read(&format!("/repositories/{repo}")).await;
    assert_eq!(tour.sim.requests().len(), before + 1);
}

async fn conversation(tour: &Tour, repo: &str, number: u64) {
    let comments = format!("{repo}/issues/{number}/comments");
    let comment = tour.write("POST", &comments, json!({"body": "hello"})).await;
    let id = &comment["id"];
    tour.write(
        "PATCH",
        &format!("{repo}/issues/comments/{id}"),
        json!({"body": "hello again"}),
    )
    .await;
    tour.read(&format!("{repo}/issues/comments/{id}")).await;
    let reaction = tour
        .write(
            "POST",
            &format!("{repo}/issues/comments/{id}/reactions"),
            json!({"content": "eyes"}),
        )
        .await;
    tour.read(&format!("{repo}/issues/comments/{id}/reactions")).await;
    tour.write(
        "DELETE",
        &format!("{repo}/issues/comments/{id}/reactions/{}", reaction["id"]),
        Value::Null,
    )
    .await;
    tour.write(
        "POST",
        &format!("{repo}/issues/{number}/reactions"),
        json!({"content": "+1"}),
    )
    .await;
    tour.read(&format!("{comments}?per_page=100&page=1")).await;
    tour.read(&format!("{repo}/issues/{number}")).await;
    tour.write(
        "POST",
        &format!("{repo}/issues/{number}/labels"),
        json!({"labels": ["a", "b"]}),
    )
    .await;
    tour.write("DELETE", &format!("{repo}/issues/{number}/labels/a"), Value::Null)
        .await;
    tour.read(&format!("{repo}/issues/{number}/labels")).await;
    tour.write("DELETE", &format!("{repo}/issues/comments/{id}"), Value::Null)
        .await;
    let reviews = format!("{repo}/pulls/{number}/reviews");
    let approval = tour
        .call(&tour.bob, "POST", &reviews, json!({"event": "APPROVE", "body": "fine"}))
        .await;
    tour.read(&format!("{reviews}/{}", approval["id"])).await;
    let pending = tour.call(&tour.bob, "POST", &reviews, json!({"body": "later"})).await;
    let submit = json!({"event": "REQUEST_CHANGES", "body": "no"});
    tour.call(
        &tour.bob,
        "POST",
        &format!("{reviews}/{}/events", pending["id"]),
        submit,
    )
    .await;
    let dismissal = json!({"message": "over"});
    tour.call(
        &tour.alice,
        "PUT",
        &format!("{reviews}/{}/dismissals", pending["id"]),
        dismissal,
    )
    .await;
    tour.sim
        .review(REPO, number, "bob", Verdict::Commented, "hm")
        .await
        .expect("a review");
    tour.sim
        .request_review(REPO, number, "bob", "alice")
        .await
        .expect("a request");
}

async fn checking(tour: &Tour, repo: &str, head: &str) {
    let note =
        json!({"path": "main.tf", "start_line": 1, "end_line": 1, "annotation_level": "warning", "message": "m"});
    let button = json!({"label": "Apply", "description": "Apply it", "identifier": "apply"});
    let output = json!({"title": "t", "summary": "s", "text": "x", "annotations": [note]});
    let running = json!({"name": "plan", "head_sha": head, "status": "in_progress", "external_id": "7"});
    let made = tour.write("POST", &format!("{repo}/check-runs"), running).await;
    let done = json!({"status": "completed", "conclusion": "action_required", "output": output, "actions": [button]});
    let id = &made["id"];
    tour.write("PATCH", &format!("{repo}/check-runs/{id}"), done).await;
    tour.read(&format!("{repo}/check-runs/{id}")).await;
    tour.read(&format!("{repo}/check-runs/{id}/annotations")).await;
    tour.read(&format!(
        "{repo}/commits/{head}/check-runs?check_name=plan&app_id={}",
        tour.sim.app().id
    ))
    .await;
    let suites = tour.read(&format!("{repo}/commits/{head}/check-suites")).await;
    let suite = &suites["check_suites"][0]["id"];
    tour.read(&format!("{repo}/check-suites/{suite}")).await;
    tour.read(&format!("{repo}/check-suites/{suite}/check-runs")).await;
    tour.write("POST", &format!("{repo}/check-suites/{suite}/rerequest"), Value::Null)
        .await;
    tour.write("POST", &format!("{repo}/check-runs/{id}/rerequest"), Value::Null)
        .await;
    tour.sim
        .press_button(REPO, 1, "plan", "apply", "bob")
        .await
        .expect("a button");
    let status = json!({"state": "success", "context": "ci", "description": "d", "target_url": "https://example.com"});
    tour.write("POST", &format!("{repo}/statuses/{head}"), status).await;
    tour.read(&format!("{repo}/commits/{head}/status")).await;
    tour.read(&format!("{repo}/commits/{head}/statuses")).await;
    tour.read(&format!("{repo}/commits/{head}/pulls")).await;
}

async fn endings(tour: &Tour, repo: &str, number: u64) {
    let sim = &tour.sim;
    sim.convert_to_draft(REPO, number, "alice").await.expect("a draft");
    sim.ready_for_review(REPO, number, "alice").await.expect("ready");
    sim.close(REPO, number, "alice").await.expect("closed");
    sim.reopen(REPO, number, "alice").await.expect("reopened");
    sim.commit(REPO, "other", "bob", "Elsewhere", &[put("other.tf", "# x\n")])
        .await
        .expect("a commit");
    sim.retarget(REPO, number, "other", "alice").await.expect("retargeted");
    tour.write(
        "PATCH",
        &format!("{repo}/pulls/{number}"),
        json!({"title": "new title", "base": "main"}),
    )
    .await;
    sim.commit(REPO, "main", "bob", "Elsewhere", &[put("other.tf", "# y\n")])
        .await
        .expect("a commit");
    tour.write("PUT", &format!("{repo}/pulls/{number}/update-branch"), json!({}))
        .await;
    let head = sim.head(REPO, "feature").await.expect("a head");
    let merge = json!({"merge_method": "squash", "sha": head, "commit_title": "Done"});
    tour.write("PUT", &format!("{repo}/pulls/{number}/merge"), merge).await;
    tour.read(&format!("{repo}/pulls/{number}/merge")).await;
    let fork = sim.fork(REPO, "eve").await.expect("a fork");
    sim.commit(&fork, "theirs", "eve", "Theirs", &[put("theirs.tf", "# z\n")])
        .await
        .expect("a commit");
    let body = json!({"title": "Theirs", "head": "eve:theirs", "base": "main", "body": "please"});
    let eve = sim.create_user("eve").await;
    let theirs = tour.call(&eve, "POST", &format!("{repo}/pulls"), body).await["number"]
        .as_u64()
        .expect("a number");
    tour.read(&format!("{repo}/pulls/{theirs}")).await;
    sim.merge(REPO, theirs, "bob", Method::Rebase).await.expect("merged");
    sim.delete_branch(REPO, "other", "bob").await.expect("deleted");
    sim.uninstall("nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_named() {
    let tour = Tour::start().await;
    let number = tour.pull("feature").await;
    tour.sim.clear_requests();
    tour.read(&format!("/repos/{REPO}/pulls/{number}")).await;
    let good = tour.sim.requests().remove(0);
    if super::description::rest().is_none() {
        return;
    }
    let wrong = |change: &dyn Fn(&mut lockkeeper::sim::server::Exchange)| {
        let mut bad = good.clone();
        change(&mut bad);
        check(&[bad]).into_iter().collect::<Vec<_>>().join("\n")
    };
    assert_eq!(wrong(&|_| ()), "");
    let answer = |field: &str, value: Value| {
        let mut body = (*good.response).clone();
        body[field] = value;
        Arc::new(body)
    };
    assert!(wrong(&|bad| bad.response = answer("number", json!("one"))).contains("/number"));
    assert!(wrong(&|bad| bad.response = answer("state", json!("ajar"))).contains("/state"));
    assert!(wrong(&|bad| bad.path = "/repos/a/b/nonsense".into()).contains("no such endpoint"));
    assert!(wrong(&|bad| bad.method = "PUT".into()).contains("not the method"));
    assert!(wrong(&|bad| bad.status = 201).contains("does not answer so"));
    assert!(wrong(&|bad| bad.query = "per_pagee=3".into()).contains("per_pagee"));
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_queries_are_held_against_the_schema() {
    let tour = Tour::start().await;
    let number = tour.pull("feature").await;
    let ask = |query: String| {
        let tour = &tour;
        async move {
            tour.sim.clear_requests();
            tour.write("POST", "/graphql", json!({"query": query})).await;
            check(&tour.sim.requests()).into_iter().collect::<Vec<_>>().join("\n")
        }
    };
    let on = |fields: &str| {
        format!("{{ repository(owner: \"acme\", name: \"infra\") {{ pullRequest(number: {number}) {{ {fields} }} }} }}")
    };
    let good = "mergeable reviewDecision isDraft headRefOid baseRefOid author { __typename login ... on User { databaseId } }
        latestOpinionatedReviews(first: 9, writersOnly: true) { nodes { state commit { oid } } pageInfo { hasNextPage endCursor } }
        commits(last: 1) { nodes { commit { statusCheckRollup { state contexts(first: 50) { nodes { ... on CheckRun { name } ... on StatusContext { context } } } } } } }";
    assert_eq!(ask(on(good)).await, "");
    if super::description::graphql().is_some() {
        assert!(ask(on("mergable")).await.contains("mergable"));
        assert!(ask(on("commits(newest: 1) { totalCount }")).await.contains("newest"));
        assert!(ask(on("author")).await.contains("selected wrongly"));
    }
}
