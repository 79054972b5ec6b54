//! Owns the journeys of trouble between GitHub and the server: lost, repeated, refused, not allowed.

use std::time::Duration;

use lockkeeper::sim::faults::Trouble;
use lockkeeper::sim::webhooks::Mail;

use crate::world::{REPO, Setup, World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_not_allowed_gets_nothing_fetched() {
    let setup = Setup {
        allow: "somebody-else".to_owned(),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let shown = pull.shown().await;
    assert!(shown.comments.is_empty() && shown.checks.is_empty(), "{shown:?}");
    let sent = world.sim.deliveries();
    let mut opened = sent
        .iter()
        .filter(|delivery| delivery.event == "pull_request")
        .peekable();
    assert!(opened.peek().is_some() && opened.all(|delivery| delivery.status_code == 202));
    let asked: Vec<String> = world
        .sim
        .requests()
        .iter()
        .filter(|exchange| exchange.path.contains("acme"))
        .map(|exchange| exchange.path.clone())
        .collect();
    assert_eq!(asked, Vec::<String>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_comes_twice_does_its_work_once() {
    let world = World::with(Setup::default().watched()).await;
    world.sim.mail(None, 100, Mail::Twice);
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    assert_eq!(pull.replies().await.len(), 1);
    let mut deliveries = world.sim.deliveries().into_iter().rev();
    let said = deliveries
        .find(|delivery| delivery.event == "issue_comment")
        .expect("a delivery");
    world.sim.redeliver(said.id).await.expect("a redelivery");
    assert_eq!(pull.replies().await.len(), 1);
    let started = world.started();
    assert_eq!(
        started.iter().filter(|line| *line == "plan dns").count(),
        1,
        "{started:?}"
    );
    assert_eq!(
        started.iter().filter(|line| *line == "apply dns").count(),
        1,
        "{started:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_was_lost_is_found_by_the_sweep() {
    let world = World::new().await;
    let known = world.open("first", &[("README.md", "# new\n")]).await;
    assert_eq!(known.checks().await, "success success success");
    world.sim.mail(Some("pull_request"), 1, Mail::Lost);
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "missing missing missing");
    lockkeeper::worker::sweep::sweep(&world.worker).await.expect("a sweep");
    assert_eq!(pull.checks().await, "success success action_required");

    world.sim.mail(Some("pull_request"), 1, Mail::Lost);
    pull.close().await;
    world.settle().await;
    lockkeeper::worker::sweep::sweep(&world.worker).await.expect("a sweep");
    assert_eq!(pull.checks().await, "success success cancelled");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_delivery_that_github_will_not_repeat_does_not_hide_the_others() {
    let world = World::new().await;
    let pull = world.open("first", &[("README.md", "# new\n")]).await;
    world.settle().await;
    world.sim.set_webhook_url("http://127.0.0.1:1/nobody");
    pull.comment("alice", "/help").await.comment("alice", "/help").await;
    world.sim.outbox_idle().await;
    world.sim.set_webhook_url(format!("{}/webhook", world.url()));
    world.sim.faults().next(1, "POST", "/attempts", Trouble::Status(422));
    lockkeeper::worker::sweep::sweep(&world.worker).await.expect("a sweep");
    assert_eq!(pull.replies().await.len(), 1);
    lockkeeper::worker::sweep::sweep(&world.worker).await.expect("a sweep");
    assert_eq!(pull.replies().await.len(), 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_out_of_order_come_to_the_same() {
    let world = World::new().await;
    world.sim.mail(Some("pull_request"), 1, Mail::Later);
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.status().await.contains("example.net"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_queue_gets_its_answer_at_once() {
    let world = World::new().await;
    let head = world.sim.head(REPO, "main").await.expect("a head");
    let (repo, installation) = world.sim.ids(REPO).await.expect("ids");
    let payload = serde_json::json!({
        "action": "checks_requested",
        "merge_group": {
            "head_sha": head, "head_ref": "refs/heads/gh-readonly-queue/main/pr-1-x", "base_sha": head,
            "base_ref": "refs/heads/main", "head_commit": { "id": head, "tree_id": head, "message": "x",
            "timestamp": "2026-01-01T00:00:00Z", "author": { "name": "a", "email": "a@b" }, "committer": { "name": "a", "email": "a@b" } }
        },
        "repository": { "id": repo, "full_name": REPO, "name": "infra", "owner": { "login": "acme", "id": 1, "type": "Organization" } },
        "installation": { "id": installation.expect("an installation") },
        "sender": { "login": "alice", "id": 1, "type": "User" }
    });
    world.sim.send_webhook("merge_group", payload).await;
    world.settle().await;
    let checks = world.sim.checks_at(REPO, &head).await.expect("checks");
    assert_eq!(checks.len(), 3, "{checks:?}");
    for check in checks {
        assert_eq!(check.conclusion.as_deref(), Some("failure"));
        assert!(
            check
                .title
                .unwrap_or_default()
                .contains("merge queues are not supported yet")
        );
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_github_that_stumbles_gets_nothing_twice() {
    let world = World::new().await;
    let faults = world.sim.faults();
    faults.next(1, "POST", "/comments", Trouble::DropAfter);
    faults.next(1, "POST", "/check-runs", Trouble::Html(502));
    faults.next(1, "POST", "/check-runs", Trouble::DropAfter);
    faults.next(1, "PATCH", "/check-runs", Trouble::Status(502));
    faults.next(1, "PATCH", "/comments", Trouble::SecondaryLimit { retry_after: 1 });
    faults.next(1, "GET", "/pulls", Trouble::HalfBody);
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    pull.status().await;
    assert_eq!(pull.checks().await, "success success success");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_github_cannot_say_refuses_and_says_so() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    pull.approve("bob").await;
    world.settle().await;
    world.sim.faults().next(100, "GET", "/reviews", Trouble::Status(500));
    let reply = pull.say("alice", "/apply").await;
    assert!(reply.contains("Could not find out the reviews"), "{reply}");
    world.sim.faults().clear();
    assert!(
        pull.say("alice", "/apply").await.contains("1 of 1 applied"),
        "{}",
        pull.reply().await
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_with_a_wrong_signature_or_body_is_refused() {
    let world = World::new().await;
    let client = reqwest::Client::new();
    let address = format!("{}/webhook", world.url());
    for (signature, kind, expected) in [
        (None, "application/json", 401),
        (Some("sha256=00"), "application/json", 401),
        (Some("sha256=00"), "text/plain", 415),
    ] {
        let mut request = client
            .post(&address)
            .header("content-type", kind)
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", "00000000-0000-0000-0000-000000000001")
            .body("{}");
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), expected);
        let body: serde_json::Value = answer.json().await.expect("a JSON body");
        assert!(body.is_object(), "{body}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_comment_is_gone_is_answered_and_forgotten() {
    let world = World::new().await;
    let change = module("example.org", None);
    let pull = world.open("dns", &[("dns/main.tf", &change)]).await;
    world.settle().await;
    world.sim.clear_requests();
    world.sim.pause_webhooks(true);
    let said = world.sim.comment(REPO, pull.number, "alice", "/help").await;
    let said = said.expect("a comment");
    let deleted = world.sim.delete_comment(REPO, said, "alice").await;
    deleted.expect("a deletion");
    world.sim.pause_webhooks(false);
    assert!(pull.reply().await.contains("/apply"), "{}", pull.reply().await);
    let reactions = |path: &str| path.contains(&format!("/comments/{said}/reactions"));
    let sent = world.sim.requests();
    let tries = sent.iter().filter(|exchange| reactions(&exchange.path)).count();
    // It may only be late, so it is asked for again, and not for long.
    assert_eq!(tries, 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_comment_that_somebody_deleted_is_made_anew() {
    let world = World::new().await;
    let change = module("example.org", None);
    let pull = world.open("dns", &[("dns/main.tf", &change)]).await;
    let shown = pull.shown().await;
    let sticky = shown.comments_by("lockkeeper[bot]")[0].id;
    let deleted = world.sim.delete_comment(REPO, sticky, "alice").await;
    deleted.expect("a deletion");
    world.settle().await;
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    assert!(pull.status().await.contains("example.net"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_the_app_cannot_see_is_given_up() {
    let world = World::new().await;
    let (_, installation) = world.sim.ids(REPO).await.expect("ids");
    let sha = "0123456789012345678901234567890123456789";
    let side = |name: &str| {
        serde_json::json!({
            "ref": name, "sha": sha, "repo": { "id": 987_654, "full_name": "acme/unseen", "private": true }
        })
    };
    let payload = serde_json::json!({
        "action": "opened", "number": 1,
        "pull_request": { "number": 1, "head": side("x"), "base": side("main") },
        "repository": { "id": 987_654, "full_name": "acme/unseen", "name": "unseen",
            "owner": { "login": "acme", "id": 1, "type": "Organization" } },
        "installation": { "id": installation.expect("an installation") },
        "sender": { "login": "alice", "id": 1, "type": "User" }
    });
    world.sim.send_webhook("pull_request", payload).await;
    world.sim.outbox_idle().await;
    let looked = || {
        let seen = world.sim.requests().into_iter();
        seen.filter(|exchange| exchange.path.contains("987654")).count()
    };
    let store = world.worker.store();
    let mut woken = store.woken();
    while !store
        .quiet(world.worker.now())
        .await
        .expect("the store answers")
        .is_quiet()
    {
        assert!(looked() < 300, "it is tried for ever");
        world.pass(Duration::from_secs(3600));
        tokio::select! {
            () = woken.wait() => {}
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
    assert!(looked() > 0, "it was looked for");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_was_installed_anew_goes_on() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    let anew = async || {
        world.settle().await;
        world.sim.uninstall("acme").await;
        world.sim.install("acme", None).await.expect("an installation");
    };
    anew().await;
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.status().await.contains("example.net"));

    // No delivery says so: the first word that is refused lets it look for the installation.
    anew().await;
    world.sim.mail(Some("pull_request"), 1, Mail::Lost);
    pull.push(&[("dns/main.tf", &module("example.info", None))]).await;
    world.settle().await;
    for _ in 0..2 {
        lockkeeper::worker::sweep::sweep(&world.worker).await.expect("a sweep");
    }
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.status().await.contains("example.info"));
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    world.end().await;
}

/// Waits until it holds, looking again and again.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(120), "not true in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_github_refuses_for_hours_comes_once_it_is_taken() {
    let world = World::new().await;
    // The App's owner has not yet accepted the permission.
    world
        .sim
        .faults()
        .next(u32::MAX, "POST", "/check-runs", Trouble::Status(403));
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let names = [
        "lockkeeper/plan",
        "lockkeeper/policy",
        "lockkeeper/apply",
        "lockkeeper: dns",
    ];
    // How often each of the four was refused at least.
    let refused = || {
        let sent = world.sim.requests();
        let tries = |name: &&str| sent.iter().filter(|sent| sent.request["name"] == **name).count();
        names.iter().map(tries).min().unwrap_or_default()
    };
    let planned = async || {
        let shown = world.sim.pull(REPO, pull.number).await.expect("the pull request");
        let said = shown.comments_by("lockkeeper[bot]").into_iter();
        said.map(|comment| comment.body.as_str())
            .any(|body| body.contains("+1 ~0 -0"))
    };
    // Before the clock is moved: a job whose lease is over is begun again.
    until("it is planned", planned).await;
    for round in 1..=10 {
        world.pass(Duration::from_secs(3600));
        until("all are tried again", async || refused() >= round).await;
    }
    let at_rest = async || {
        let now = world.worker.now();
        let quiet = world.worker.store().quiet(now).await.expect("the store answers");
        // Further than any publisher's lease.
        let soon = now.plus(2 * lockkeeper::worker::publish::LEASE);
        quiet.next_timer.is_some_and(|timer| timer > soon)
    };
    until("they wait", at_rest).await;
    world.sim.faults().clear();
    world.pass(Duration::from_secs(3600));
    assert_eq!(pull.checks().await, "success success action_required");
    assert_eq!(pull.stack_check("dns").await.conclusion.as_deref(), Some("success"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_github_would_not_show_is_planned_once_it_does() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    assert_eq!(pull.checks().await, "success success action_required");
    let faults = world.sim.faults();
    faults.next(
        u32::MAX,
        "GET",
        &format!("/pulls/{}", pull.number),
        Trouble::Status(403),
    );
    pull.push(&[("dns/main.tf", &module("example.net", None))]).await;
    let refused = || {
        let sent = world.sim.requests().into_iter();
        sent.filter(|exchange| exchange.method == "GET" && exchange.status == 403)
            .count()
    };
    let waits = async || {
        let quiet = world.worker.store().quiet(world.worker.now()).await;
        quiet.expect("the store answers").remaining.mail_unread > 0
    };
    // Five times it may wait; then it is decided without.
    while refused() < 6 || waits().await {
        world.pass(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    faults.clear();
    world.pass(Duration::from_secs(3600));
    assert_eq!(pull.checks().await, "success success action_required");
    assert!(pull.status().await.contains("example.net"));
    world.end().await;
}
