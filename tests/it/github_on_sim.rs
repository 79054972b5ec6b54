//! Owns the proof that the GitHub adapter and the simulator, which share no code, understand each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockkeeper::domain::ids::{CommentId, CommitSha, InstallationId, Login, PullNumber, RepoId, RepoName, Timestamp};
use lockkeeper::domain::pull::{
    Annotation, AnnotationLevel, Button, CheckConclusion, CheckStatus, CheckWanted, Mergeable, PullState,
    RequiredState, ReviewKind, Role, Unseen,
};
use lockkeeper::github::comments::{CommentText, Reaction};
use lockkeeper::github::error::GithubError;
use lockkeeper::github::people::Readable;
use lockkeeper::github::wire::Pace;
use lockkeeper::github::{App, Clock, Installation, Prior, Settings};
use lockkeeper::sim::control::{OpenPull, put};
use lockkeeper::sim::protection::Rules;
use lockkeeper::sim::{Options, Sim};

const REPO: &str = "acme/infra";

struct World {
    sim: Sim,
    app: App,
    installation: Installation,
    repo: RepoName,
    pull: PullNumber,
    _data: tempfile::TempDir,
}

fn now() -> Clock {
    Arc::new(|| Timestamp(jiff::Timestamp::now().as_millisecond()))
}

/// A private repository with one pull request by ann from `feature/x`.
async fn world(base: &str) -> World {
    let data = tempfile::tempdir().expect("a folder");
    let sim = Sim::start(Options::new(data.path())).await.expect("a simulator");
    for login in ["ann", "bob"] {
        sim.create_user(login).await;
    }
    sim.create_repo(REPO, true, &[("main.tf", "# one\n")])
        .await
        .expect("a repository");
    let (_, id) = sim.ids(REPO).await.expect("a repository");
    let id = id.expect("an installation, which comes with a new account");
    let role = lockkeeper::sim::state::Role::Write;
    for login in ["ann", "bob"] {
        sim.set_role(REPO, login, role).await.expect("a role");
    }
    let change = [put("main.tf", "# two\n")];
    sim.commit(REPO, "feature/x", "ann", "two", &change)
        .await
        .expect("a commit");
    let number = sim
        .open_pull(REPO, "ann", OpenPull::new("Two", "feature/x"))
        .await
        .expect("a pull request");
    let secrets = sim.app();
    let app = App::new(Settings {
        api_url: format!("{}{base}", sim.url()),
        app_id: i64::try_from(secrets.id).expect("a small number"),
        private_key: secrets.private_key_pem.clone().into(),
        pace: Pace::default(),
        clock: now(),
    });
    let app = app.expect("an app");
    World {
        installation: app.installation(InstallationId(i64::try_from(id).expect("a small number"))),
        app,
        sim,
        repo: RepoName::parse(REPO).expect("a name"),
        pull: PullNumber(i64::try_from(number).expect("a small number")),
        _data: data,
    }
}

impl World {
    async fn ends(self) {
        assert_eq!(self.sim.unrouted(), Vec::<String>::new());
    }

    fn number(&self) -> u64 {
        u64::try_from(self.pull.0).expect("a small number")
    }
}

fn login(text: &str) -> Login {
    Login::parse(text).expect("a login")
}

#[tokio::test]
async fn a_pull_its_reviews_and_its_people_are_read() {
    for base in ["", "/api/v3"] {
        let world = world(base).await;
        let World {
            installation,
            repo,
            pull,
            sim,
            ..
        } = &world;
        sim.approve(REPO, world.number(), "bob").await.expect("approved");
        sim.label(REPO, world.number(), "prod", "ann").await.expect("labelled");
        let seen = installation.pull(repo, *pull).await.expect("a pull");
        assert_eq!(
            (seen.author.as_str(), seen.head.name.as_str(), seen.is_fork()),
            ("ann", "feature/x", false)
        );
        assert_eq!(
            (&seen.state, seen.draft, seen.base_ref.as_str()),
            (&PullState::Open, false, "main")
        );
        assert!(seen.labels.contains("prod"));
        assert_eq!(installation.pull(repo, *pull).await.expect("the same"), seen);
        let branch = installation.branch(repo, "feature/x").await.expect("a branch");
        assert_eq!(branch.tip, seen.head.sha);

        let reviews = installation.reviews(repo, *pull).await.expect("reviews");
        assert_eq!(reviews.len(), 1);
        assert_eq!((reviews[0].by.as_str(), reviews[0].kind), ("bob", ReviewKind::Approved));
        assert_eq!(reviews[0].commit.as_ref(), Some(&seen.head.sha));
        assert_eq!(
            installation.role(repo, &login("ann")).await.expect("a role"),
            Role::Write
        );
        let nobody = installation.role(repo, &login("nobody-here")).await.expect("a role");
        assert_eq!(nobody, Role::None);
        let pushes = installation.pushes(repo, "feature/x").await.expect("pushes");
        assert_eq!(pushes[0].after.as_ref(), Some(&seen.head.sha));
        assert_eq!(pushes[0].by, Some(login("ann")));

        let numbers = |pulls: Vec<lockkeeper::domain::pull::PullNow>| -> Vec<PullNumber> {
            pulls.into_iter().map(|pull| pull.number).collect()
        };
        assert_eq!(numbers(installation.open_pulls(repo).await.expect("pulls")), [*pull]);
        assert_eq!(
            numbers(installation.open_pulls_at(repo, &seen.head.sha).await.expect("pulls")),
            [*pull]
        );
        let from = installation
            .open_pulls_from(repo, "acme", &seen.head)
            .await
            .expect("pulls");
        assert_eq!(numbers(from), [*pull]);
        world.ends().await;
    }
}

#[tokio::test]
async fn the_app_finds_its_way_and_its_tokens_are_narrow() {
    let world = world("").await;
    let World {
        installation,
        repo,
        app,
        ..
    } = &world;
    assert_eq!(
        app.identity().await.expect("ourselves").login.as_str(),
        "lockkeeper[bot]"
    );
    let seen = app.installations().await.expect("installations");
    assert_eq!(seen.iter().map(|seen| seen.id).collect::<Vec<_>>(), [installation.id()]);
    assert_eq!(app.installation_of(repo).await.expect("covered"), seen[0]);
    let found = installation.repository(repo).await.expect("a repository");
    assert!(found.private && found.default_branch == "main");
    assert_eq!(
        installation.repository_by_id(found.repo.id).await.expect("by number"),
        found
    );
    let granted = installation.repositories().await.expect("granted");
    assert_eq!(granted.as_slice(), std::slice::from_ref(&found));
    installation
        .read_token(&BTreeSet::from([found.repo.id]))
        .await
        .expect("a narrow token");
    let other = installation.read_token(&BTreeSet::from([RepoId(1)])).await;
    assert!(matches!(other, Err(GithubError::Refused { .. })), "{other:?}");
    let ann = installation
        .readable_by(repo, Some(&login("ann")))
        .await
        .expect("an answer");
    assert_eq!(ann, Readable::ByThem(found.repo));
    assert_eq!(
        installation
            .readable_by(repo, Some(&login("stranger")))
            .await
            .expect("an answer"),
        Readable::No
    );
    let deliveries = app.deliveries_since(Timestamp(0)).await.expect("deliveries");
    for pair in deliveries.windows(2) {
        assert!(pair[0].at >= pair[1].at, "newest first");
    }
    world.ends().await;
}

#[tokio::test]
async fn comments_and_reactions_are_upserted() {
    let world = world("").await;
    let World {
        installation,
        repo,
        pull,
        sim,
        ..
    } = &world;
    let text = |body: &str| CommentText::new("plan", body).expect("a text");
    let imposter = sim
        .comment(REPO, world.number(), "bob", text("no").body())
        .await
        .expect("a comment");
    let none = installation
        .find_comment(repo, *pull, &text("x"))
        .await
        .expect("looked up");
    assert_eq!(none, None, "bob's does not count");
    let made = installation
        .upsert_comment(repo, *pull, Prior::Fresh, &text("one"))
        .await
        .expect("made");
    // More than a page of others' after ours.
    for n in 0..101 {
        let other = format!("comment {n}");
        sim.comment(REPO, world.number(), "bob", &other)
            .await
            .expect("a comment");
    }
    let found = installation
        .upsert_comment(repo, *pull, Prior::Unsure, &text("two"))
        .await
        .expect("found");
    assert_eq!(found, made);
    let gone = CommentId(999_999_999);
    let again = installation
        .upsert_comment(repo, *pull, Prior::Known(gone), &text("three"))
        .await
        .expect("made");
    assert_ne!(again, made);
    let imposter = CommentId(i64::try_from(imposter).expect("a small number"));
    for _ in 0..2 {
        installation
            .react(repo, imposter, Reaction::Eyes)
            .await
            .expect("reacted");
    }
    world.ends().await;
}

fn wanted(head: &CommitSha, annotations: u32) -> CheckWanted {
    let annotation = |n: u32| Annotation {
        path: "main.tf".parse().expect("a path"),
        start_line: n + 1,
        end_line: n + 1,
        level: AnnotationLevel::Warning,
        title: Some("rule".to_owned()),
        message: format!("finding {n}"),
    };
    CheckWanted {
        name: "lockkeeper/policy".to_owned(),
        head: head.clone(),
        external_id: "one".to_owned(),
        status: CheckStatus::Completed(CheckConclusion::ActionRequired),
        title: "Denied".to_owned(),
        summary: "by a rule".to_owned(),
        text: Some("at length".to_owned()),
        details_url: None,
        annotations: (0..annotations).map(annotation).collect(),
        buttons: vec![Button::new("Plan again", "Plan this stack again", "plan").expect("a button")],
    }
}

#[tokio::test]
async fn checks_are_upserted_with_each_annotation_once() {
    let world = world("").await;
    let World {
        installation,
        repo,
        pull,
        ..
    } = &world;
    let head = installation.pull(repo, *pull).await.expect("a pull").head.sha;
    let mut check = wanted(&head, 0);
    check.status = CheckStatus::InProgress;
    let id = installation
        .upsert_check(repo, Prior::Unsure, &check)
        .await
        .expect("made");
    for _ in 0..2 {
        let same = installation
            .upsert_check(repo, Prior::Unsure, &wanted(&head, 120))
            .await;
        assert_eq!(same.expect("updated"), id);
    }
    let seen = installation.checks_on(repo, &head).await.expect("checks");
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].annotations, seen[0].external_id.as_str()), (120, "one"));
    assert_eq!(seen[0].status, CheckStatus::Completed(CheckConclusion::ActionRequired));
    world.ends().await;
}

#[tokio::test]
async fn mergeability_knows_what_is_required_and_whose_it_is() {
    let world = world("").await;
    let World {
        installation,
        repo,
        pull,
        sim,
        ..
    } = &world;
    let rules = Rules::require(["ci", "late", "lockkeeper/policy"], 1);
    sim.protect(REPO, "main", rules).await.expect("protected");
    sim.other_check(REPO, world.number(), "ci", Some("skipped"))
        .await
        .expect("a check");
    let head = installation.pull(repo, *pull).await.expect("a pull").head.sha;
    installation
        .upsert_check(repo, Prior::Fresh, &wanted(&head, 0))
        .await
        .expect("made");
    let found = installation.mergeability(repo, *pull, "main").await.expect("an answer");
    assert_eq!(
        (found.mergeable, found.draft, found.head.clone()),
        (Mergeable::Yes, false, head)
    );
    assert_eq!(found.unseen, Unseen::Nothing);
    let others: Vec<(&str, RequiredState)> = found
        .other_required()
        .map(|check| (check.name.as_str(), check.state))
        .collect();
    assert_eq!(
        others,
        [("ci", RequiredState::Passed), ("late", RequiredState::Missing)]
    );
    assert_eq!(found.required.len(), 3);
    world.ends().await;
}
