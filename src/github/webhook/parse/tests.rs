//! Deliveries of every kind, as they are read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SHA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn body(event: Value) -> Vec<u8> {
    let mut body = json!({
        "repository": { "id": 9, "full_name": "acme/infra", "owner": { "login": "acme" } },
        "installation": { "id": 7 },
        "sender": { "login": "Ann", "type": "User" },
    });
    for (name, value) in event.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn kind(event: &str, payload: Value) -> Kind {
    parse(event, &body(payload)).expect("read").kind
}

fn sha() -> CommitSha {
    CommitSha::parse(SHA).expect("a sha")
}

#[test]
fn a_delivery_says_where_and_by_whom() {
    let Delivery {
        repo,
        installation,
        sender,
        kind,
    } = parse("ping", &body(json!({ "zen": "x" }))).expect("read");
    let repo = repo.expect("a repository");
    assert_eq!((repo.id, repo.name.to_string().as_str()), (RepoId(9), "acme/infra"));
    assert_eq!(installation, Some(InstallationId(7)));
    assert_eq!(sender.as_ref().map(Login::as_str), Some("ann"));
    assert_eq!(kind, Kind::Ping);
}

#[test]
fn each_action_of_a_pull_moves_what_it_should() {
    let pull = |action: &str, more: Value| {
        let mut payload =
            json!({ "action": action, "number": 3, "pull_request": { "number": 3, "head": { "sha": SHA } } });
        for (name, value) in more.as_object().expect("an object") {
            payload[name] = value.clone();
        }
        match kind("pull_request", payload) {
            Kind::Pull(PullMoved { number, action, head }) => {
                assert_eq!((number, head), (PullNumber(3), sha()));
                Some(action)
            }
            Kind::Ignored(why) => {
                assert_eq!(why, format!("nothing depends on pull_request.{action}"));
                None
            }
            other => panic!("{other:?}"),
        }
    };
    let pushed = PullAction::Pushed {
        before: None,
        after: Some(sha()),
    };
    let zeros = "0".repeat(40);
    assert_eq!(
        pull("synchronize", json!({ "before": zeros, "after": SHA })),
        Some(pushed)
    );
    assert_eq!(pull("edited", json!({ "changes": { "title": { "from": "x" } } })), None);
    let base = json!({ "changes": { "base": { "ref": { "from": "x" } } } });
    assert_eq!(pull("edited", base), Some(PullAction::Retargeted));
    let table = [
        ("opened", Some(PullAction::Opened)),
        ("reopened", Some(PullAction::Reopened)),
        ("ready_for_review", Some(PullAction::ReadyForReview)),
        ("converted_to_draft", Some(PullAction::ConvertedToDraft)),
        ("labeled", Some(PullAction::Labeled)),
        ("unlabeled", Some(PullAction::Unlabeled)),
        ("enqueued", Some(PullAction::Enqueued)),
        ("dequeued", Some(PullAction::Dequeued)),
        ("closed", Some(PullAction::Closed)),
        ("assigned", None),
        ("", None),
    ];
    for (action, expected) in table {
        assert_eq!(pull(action, json!({})), expected, "{action}");
    }
}

#[test]
fn only_a_new_comment_on_a_pull_is_a_command() {
    let comment = |action: &str, issue: Value| {
        kind(
            "issue_comment",
            json!({ "action": action, "issue": issue, "comment": { "id": 5, "body": "/plan" } }),
        )
    };
    let on_pull = json!({ "number": 3, "pull_request": { "url": "x" } });
    let expected = Commented {
        pull: PullNumber(3),
        comment: CommentId(5),
        by: Login::parse("ann").expect("a login"),
        body: "/plan".to_owned(),
    };
    assert_eq!(comment("created", on_pull.clone()), Kind::Comment(expected));
    assert!(matches!(comment("edited", on_pull.clone()), Kind::Ignored(_)));
    assert!(matches!(comment("deleted", on_pull), Kind::Ignored(_)));
    assert!(matches!(comment("created", json!({ "number": 3 })), Kind::Ignored(_)));
    assert!(matches!(
        comment("created", json!({ "number": 3, "pull_request": null })),
        Kind::Ignored(_)
    ));
}

#[test]
fn a_button_comes_with_its_check() {
    let run = json!({ "name": "app", "external_id": "x", "head_sha": SHA, "app": { "id": 42 }, "pull_requests": [{ "number": 3 }] });
    let asked = |payload| match kind("check_run", payload) {
        Kind::Check(asked) => Some(asked),
        _ => None,
    };
    let pressed =
        json!({ "action": "requested_action", "check_run": run, "requested_action": { "identifier": "apply" } });
    let pressed = asked(pressed).expect("a button");
    assert_eq!(pressed.action, CheckAction::Button("apply".to_owned()));
    assert_eq!(
        (pressed.external_id.as_str(), pressed.app, pressed.pulls),
        ("x", Some(42), vec![PullNumber(3)])
    );
    let again = asked(json!({ "action": "rerequested", "check_run": run })).expect("again");
    assert_eq!(again.action, CheckAction::Rerequested);
    assert_eq!(asked(json!({ "action": "completed", "check_run": run })), None);
    let suite = json!({ "action": "rerequested", "check_suite": { "head_sha": SHA, "pull_requests": null } });
    assert!(matches!(kind("check_suite", suite), Kind::Suite(SuiteAsked { pulls, .. }) if pulls.is_empty()));
}

#[test]
fn branches_groups_and_installations_move() {
    let zeros = "0".repeat(40);
    let push = |name: &str| {
        kind(
            "push",
            json!({ "ref": name, "before": SHA, "after": zeros, "forced": true }),
        )
    };
    let expected = Pushed {
        branch: "a/b".to_owned(),
        before: Some(sha()),
        after: None,
        forced: true,
    };
    assert_eq!(push("refs/heads/a/b"), Kind::Push(expected));
    assert!(matches!(push("refs/tags/v1"), Kind::Ignored(_)));
    let group =
        json!({ "action": "checks_requested", "merge_group": { "head_sha": SHA, "base_ref": "refs/heads/main" } });
    let expected = MergeGroupMoved {
        action: MergeGroupAction::ChecksRequested,
        head: sha(),
        base: "main".to_owned(),
    };
    assert_eq!(kind("merge_group", group), Kind::MergeGroup(expected));
    let added = json!({
        "action": "added", "installation": { "id": 7, "account": { "login": "Acme" } },
        "repositories_added": [{ "id": 1, "full_name": "acme/a" }], "repositories_removed": [],
    });
    match kind("installation_repositories", added) {
        Kind::Installation(InstallationMoved { action, account, repos }) => {
            assert_eq!(action, InstallationAction::ReposAdded);
            assert_eq!(account.as_ref().map(Login::as_str), Some("acme"));
            assert_eq!(repos.len(), 1);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_read_is_a_fault_with_its_reason() {
    let fault = |event: &str, body: &[u8]| parse(event, body).expect_err("a fault").to_string();
    assert!(fault("push", b"payload=%7B%7D").starts_with("the body is not JSON: expected value at line 1"));
    assert!(fault("push", b"").starts_with("the body is not JSON: EOF"));
    assert!(fault("push", b"[]").starts_with("the push event cannot be read: "));
    let no_pull = fault("pull_request", &body(json!({ "action": "opened" })));
    assert!(no_pull.contains("missing field `pull_request`"), "{no_pull}");
    let branch = json!({ "action": "opened", "pull_request": { "number": 3, "head": { "sha": "../x" } } });
    assert!(fault("pull_request", &body(branch)).contains("CommitSha"));
    let nobody = json!({ "action": "created", "issue": { "number": 3, "pull_request": {} }, "comment": { "id": 5 }, "sender": null });
    assert!(fault("issue_comment", &body(nobody)).contains("Login"));
    let elsewhere = json!({ "ref": "refs/heads/a", "repository": { "id": 9, "full_name": "../../etc" } });
    assert!(fault("push", &body(elsewhere)).contains("RepoName"));
    let deep = [b"{\"x\":".as_slice(), &b"[".repeat(200_000)].concat();
    assert!(fault("push", &deep).starts_with("the body is not JSON"));
    let unknown = parse(&"x\n".repeat(500), &body(json!({}))).expect("ignored").kind;
    assert!(matches!(unknown, Kind::Ignored(why) if why.chars().count() < 400 && !why.contains('\n')));
}

/// JSON that is shaped like a delivery here and there, and like nothing elsewhere.
fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(SHA)),
        Just(Value::from("created")),
        Just(Value::from("rerequested")),
        Just(Value::from("opened")),
        ".{0,12}".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "action",
        "repository",
        "installation",
        "sender",
        "pull_request",
        "number",
        "head",
        "sha",
        "issue",
        "comment",
        "id",
        "full_name",
        "login",
        "body",
        "check_run",
        "head_sha",
        "requested_action",
        "identifier",
        "changes",
        "base",
        "merge_group",
        "base_ref",
        "ref",
        "before",
        "after",
        "repositories",
        "account",
        "check_suite",
    ]);
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..8).prop_map(Value::from_iter),
        ]
    })
}

fn event() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "pull_request",
        "issue_comment",
        "pull_request_review",
        "check_run",
        "check_suite",
        "merge_group",
        "push",
        "installation",
        "installation_repositories",
        "ping",
        "star",
        "",
    ])
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(event in event(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(event, &body);
    }

    #[test]
    fn no_json_makes_it_panic(event in event(), payload in payload()) {
        let _ = parse(event, payload.to_string().as_bytes());
    }

    #[test]
    fn no_event_name_makes_it_panic(event in ".{0,200}", action in ".{0,200}") {
        let body = body(json!({ "action": action }));
        let _ = parse(&event, &body);
    }

    #[test]
    fn a_changed_signature_is_never_believed(body in prop::collection::vec(any::<u8>(), 0..64), signature in ".{0,80}") {
        let secret = secrecy::SecretString::from("s");
        let verified = crate::github::webhook::verify(&secret, &body, Some(&signature));
        prop_assert!(verified.is_err());
    }
}
