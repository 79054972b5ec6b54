//! Who may see and push what.

use octocrab::params::repos::Commitish;

use crate::sim::control::{OpenPull, put};
use crate::sim::merge::Method;

use super::{REPO, git, stage};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_authenticates_comments_and_checks_with_octocrab() {
    let stage = stage().await;
    let number = stage.pull().await;
    let client = stage.installation().await;
    let pull = client.pulls("acme", "infra").get(number).await.expect("an answer");
    assert_eq!(pull.mergeable, Some(true));
    let comment = client
        .issues("acme", "infra")
        .create_comment(number, "**planned**")
        .await
        .expect("an answer");
    client
        .issues("acme", "infra")
        .update_comment(comment.id, "**applied**")
        .await
        .expect("an answer");
    let check = client
        .checks("acme", "infra")
        .create_check_run("lockkeeper/plan", pull.head.sha.clone())
        .send()
        .await
        .expect("an answer");
    assert_eq!(check.name, "lockkeeper/plan");
    let listed = client
        .checks("acme", "infra")
        .list_check_runs_for_git_ref(Commitish(pull.head.sha))
        .send()
        .await
        .expect("an answer");
    assert_eq!(listed.total_count, 1);
    let shown = stage.sim.pull(REPO, number).await.expect("an answer");
    assert_eq!(shown.comments_by("lockkeeper[bot]")[0].body, "**applied**");
    assert_eq!(shown.check("lockkeeper/plan").expect("as it was made").status, "queued");
    assert_eq!(stage.sim.unrouted(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_cloned_and_pushed_only_with_a_token() {
    let stage = stage().await;
    let number = stage.pull().await;
    let host = stage
        .sim
        .url()
        .strip_prefix("http://")
        .expect("as it was made")
        .to_owned();
    let work = stage.dir.path().join("work");
    std::fs::create_dir(&work).expect("as it was made");
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
        .expect("an answer");
    let client = reqwest::Client::new();
    let status = |token: Option<String>, path: &'static str| {
        let mut request = client.get(format!("{}/api/v3{path}", stage.sim.url()));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        async move { request.send().await.expect("an answer").status().as_u16() }
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
    let fork = stage.sim.fork(REPO, "eve").await.expect("an answer");
    stage
        .sim
        .commit(&fork, "feature", "eve", "Two", &[put("main.tf", "# two\n")])
        .await
        .expect("an answer");
    let number = stage
        .sim
        .open_pull(REPO, "eve", OpenPull::new("Two", "eve:feature"))
        .await
        .expect("an answer");
    let second = stage
        .sim
        .commit(&fork, "feature", "eve", "Three", &[put("main.tf", "# three\n")])
        .await
        .expect("an answer");
    assert_eq!(stage.sim.pull(REPO, number).await.expect("an answer").head, second);
    let events = stage.events().await;
    assert_eq!(
        events.iter().filter(|e| e.starts_with("pull_request.")).count(),
        2,
        "{events:?}"
    );
    stage
        .sim
        .merge(REPO, number, "bob", Method::Rebase)
        .await
        .expect("an answer");
    assert_eq!(
        stage.sim.read_file(REPO, "main", "main.tf").await.expect("an answer"),
        b"# three\n"
    );
}
