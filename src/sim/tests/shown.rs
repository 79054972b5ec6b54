//! Limits, pages and the page for people.

use serde_json::{Value, json};

use crate::sim::control::{OpenPull, put};
use crate::sim::protection::Rules;

use super::{REPO, stage};

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
    let head = stage.sim.pull(REPO, number).await.expect("an answer").head;
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
    assert!(stage.sim.pull(REPO, number).await.expect("an answer").checks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_pages_with_links() {
    let stage = stage().await;
    let files: Vec<_> = (0..130).map(|n| put(&format!("many/{n:03}.tf"), "# x\n")).collect();
    stage
        .sim
        .commit(REPO, "many", "alice", "Many", &files)
        .await
        .expect("an answer");
    let number = stage
        .sim
        .open_pull(REPO, "alice", OpenPull::new("Many", "many"))
        .await
        .expect("an answer");
    let token = stage.token().await;
    let url = format!("{}/repos/acme/infra/pulls/{number}/files?per_page=100", stage.sim.url());
    let client = reqwest::Client::new();
    let first = client.get(&url).bearer_auth(&token).send().await.expect("an answer");
    let link = first.headers()["link"].to_str().expect("as it was made").to_owned();
    assert!(link.contains("page=2>; rel=\"next\""), "{link}");
    let etag = first.headers()["etag"].clone();
    assert_eq!(first.json::<Vec<Value>>().await.expect("an answer").len(), 100);
    let again = client
        .get(&url)
        .bearer_auth(&token)
        .header("if-none-match", etag)
        .send()
        .await
        .expect("an answer");
    assert_eq!(again.status(), 304);
    let second = client
        .get(format!("{url}&page=2"))
        .bearer_auth(&token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(second.json::<Vec<Value>>().await.expect("an answer").len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_takes_forms_and_says_why_it_refuses() {
    let stage = stage().await;
    let number = stage.pull().await;
    stage
        .sim
        .protect(REPO, "main", Rules::require(["ci"], 0))
        .await
        .expect("an answer");
    stage
        .sim
        .comment(REPO, number, "bob", "**bold** <script>alert(1)</script>")
        .await
        .expect("an answer");
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("as it was made");
    let at = format!("{}/{REPO}/pull/{number}", stage.sim.url());
    let page = |end: &str| {
        let request = client.get(format!("{at}{end}"));
        async move {
            request
                .send()
                .await
                .expect("an answer")
                .text()
                .await
                .expect("an answer")
        }
    };
    let post = |end: &str, form: &str| {
        let request = client.post(format!("{at}{end}")).body(form.to_owned());
        async move {
            request.send().await.expect("an answer").headers()["location"]
                .to_str()
                .expect("as it was made")
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
        stage
            .sim
            .read_file(REPO, "feature", "main.tf")
            .await
            .expect("an answer"),
        b"# three\n"
    );
    stage
        .sim
        .other_check(REPO, number, "ci", Some("success"))
        .await
        .expect("an answer");
    post("/act", "as=bob&do=merge&method=squash").await;
    assert_eq!(stage.sim.pull(REPO, number).await.expect("an answer").state, "merged");
    for end in ["", "/live", "/files", "/commits", "/checks", "/edit?path=main.tf"] {
        assert!(page(end).await.contains("main") || end == "/checks", "{end}");
    }
}
