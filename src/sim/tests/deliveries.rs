//! What the App hears, and what goes wrong on the way.

use serde_json::{Value, json};

use crate::sim::control::put;
use crate::sim::faults::Trouble;
use crate::sim::merge::Method;
use crate::sim::webhooks::Mail;

use super::{REPO, stage};

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_becomes_signed_webhooks() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .comment(REPO, number, "bob", "/plan")
        .await
        .expect("an answer");
    stage.sim.approve(REPO, number, "bob").await.expect("an answer");
    stage
        .sim
        .label(REPO, number, "production", "bob")
        .await
        .expect("an answer");
    stage
        .sim
        .commit(REPO, "feature", "alice", "Three", &[put("main.tf", "# three\n")])
        .await
        .expect("an answer");
    stage
        .sim
        .convert_to_draft(REPO, number, "alice")
        .await
        .expect("an answer");
    stage
        .sim
        .ready_for_review(REPO, number, "alice")
        .await
        .expect("an answer");
    stage.sim.close(REPO, number, "alice").await.expect("an answer");
    stage.sim.reopen(REPO, number, "alice").await.expect("an answer");
    stage
        .sim
        .merge(REPO, number, "bob", Method::Squash)
        .await
        .expect("an answer");
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
    assert_eq!(stage.sim.pull(REPO, number).await.expect("an answer").state, "merged");
    assert_eq!(
        stage.sim.read_file(REPO, "main", "main.tf").await.expect("an answer"),
        b"# three\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_and_reruns_reach_the_app() {
    let stage = stage().await;
    let number = stage.pull().await;
    let head = stage.sim.pull(REPO, number).await.expect("an answer").head;
    let button = json!({"label": "Apply", "description": "Apply it", "identifier": "apply"});
    let body =
        json!({"name": "app", "head_sha": head, "external_id": "run 7", "conclusion": "success", "actions": [button]});
    let _: Value = stage
        .installation()
        .await
        .post("/repos/acme/infra/check-runs", Some(&body))
        .await
        .expect("an answer");
    stage
        .sim
        .press_button(REPO, number, "app", "apply", "bob")
        .await
        .expect("an answer");
    stage
        .sim
        .rerequest(REPO, number, "app", "bob")
        .await
        .expect("an answer");
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
    let received = stage.received.lock().expect("nobody panicked");
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
    let answer = post().await.expect("an answer");
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["content-type"].to_str().expect("as it was made")
        ),
        (502, "text/html; charset=utf-8")
    );
    stage
        .sim
        .faults()
        .next(1, "POST", "/comments", Trouble::SecondaryLimit { retry_after: 7 });
    let answer = post().await.expect("an answer");
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["retry-after"].to_str().expect("as it was made")
        ),
        (403, "7")
    );
    stage.sim.faults().next(1, "POST", "/comments", Trouble::Drop);
    assert!(post().await.is_err());
    assert!(
        stage
            .sim
            .pull(REPO, number)
            .await
            .expect("an answer")
            .comments
            .is_empty()
    );
    stage.sim.faults().next(1, "POST", "/comments", Trouble::DropAfter);
    assert!(post().await.is_err());
    assert_eq!(stage.sim.pull(REPO, number).await.expect("an answer").comments.len(), 1);
    assert_eq!(stage.sim.faults().left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_lost_doubled_reordered_listed_and_sent_again() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage.sim.outbox_idle().await;
    stage.received.lock().expect("nobody panicked").clear();
    for mail in [Mail::Lost, Mail::Twice, Mail::Later] {
        stage.sim.mail(Some("issue_comment"), 1, mail);
    }
    for body in ["lost", "twice", "later", "before"] {
        stage.sim.comment(REPO, number, "bob", body).await.expect("an answer");
    }
    stage.sim.outbox_idle().await;
    let bodies = || -> Vec<String> {
        let received = stage.received.lock().expect("nobody panicked");
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
        .expect("an answer");
    let id = &list[0]["id"];
    let _ = stage
        .app
        ._post(format!("/app/hook/deliveries/{id}/attempts"), None::<&()>)
        .await
        .expect("an answer");
    stage.sim.outbox_idle().await;
    assert_eq!(bodies().len(), 5);
}
