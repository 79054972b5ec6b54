//! What stands in the way of a merge, and how a review comes to be.

use serde_json::{Value, json};

use crate::sim::control::put;
use crate::sim::merge::Method;
use crate::sim::protection::Rules;
use crate::sim::state::Verdict;

use super::{REPO, stage};

#[tokio::test(flavor = "multi_thread")]
async fn protection_is_enforced_on_merge() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .protect(REPO, "main", Rules::require(["ci"], 1))
        .await
        .expect("an answer");
    let merge = || stage.sim.merge(REPO, number, "bob", Method::Merge);
    let refused = merge().await.unwrap_err();
    assert_eq!(refused.status, 405);
    stage
        .sim
        .other_check(REPO, number, "ci", Some("action_required"))
        .await
        .expect("an answer");
    stage.sim.approve(REPO, number, "eve").await.expect("an answer");
    assert!(
        merge().await.unwrap_err().message.contains("failing"),
        "action_required does not pass"
    );
    stage
        .sim
        .other_check(REPO, number, "ci", Some("skipped"))
        .await
        .expect("an answer");
    assert!(
        merge().await.unwrap_err().message.contains("approving review"),
        "a reader's approval does not count"
    );
    stage.sim.approve(REPO, number, "bob").await.expect("an answer");
    merge().await.expect("an answer");
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
        .expect("an answer");
    let head = stage.sim.update_branch(REPO, number, "bob").await.expect("an answer");
    assert_eq!(stage.sim.pull(REPO, number).await.expect("an answer").head, head);
    let activity: Vec<Value> = stage
        .installation()
        .await
        .get("/repos/acme/infra/activity?ref=refs/heads/feature", None::<&()>)
        .await
        .expect("an answer");
    assert_eq!(activity[0]["actor"]["login"], "bob");
    assert_eq!(activity[0]["after"], head);
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_pending_submitted_and_dismissed() {
    let stage = stage().await;
    let number = stage.pull().await;
    let pending = stage
        .sim
        .review(REPO, number, "bob", Verdict::Pending, "")
        .await
        .expect("an answer");
    let client = stage.installation().await;
    let seen: Vec<Value> = client
        .get(format!("/repos/acme/infra/pulls/{number}/reviews"), None::<&()>)
        .await
        .expect("an answer");
    assert!(seen.is_empty(), "a pending review is seen by its author alone");
    let approved = stage.sim.approve(REPO, number, "bob").await.expect("an answer");
    assert_ne!(pending, approved);
    stage
        .sim
        .dismiss_review(REPO, number, approved, "alice")
        .await
        .expect("an answer");
    let seen: Vec<Value> = client
        .get(format!("/repos/acme/infra/pulls/{number}/reviews"), None::<&()>)
        .await
        .expect("an answer");
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
        .expect("an answer");
    stage
        .sim
        .other_check(REPO, number, "ci", Some("success"))
        .await
        .expect("an answer");
    stage
        .sim
        .set_status(REPO, number, "legacy", "pending", "bob")
        .await
        .expect("an answer");
    stage.sim.approve(REPO, number, "bob").await.expect("an answer");
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
        async move {
            client
                .post::<_, Value>("/graphql", Some(&body))
                .await
                .expect("an answer")
        }
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
        wrong["errors"][0]["message"]
            .as_str()
            .expect("as GitHub shapes it")
            .contains("mergable"),
        "{wrong}"
    );
}
