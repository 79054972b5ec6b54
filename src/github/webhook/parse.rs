//! Owns the reading of a webhook's body, leniently: what we do not use may be anything.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::ids::{BadId, CommentId, CommitSha, InstallationId, Login, PullNumber, RepoId, RepoName};
use crate::domain::pull::RepoRef;
use crate::github::error::one_line;
use crate::github::webhook::{
    CheckAction, CheckAsked, Commented, Delivery, Fault, InstallationAction, InstallationMoved, Kind, MergeGroupAction,
    MergeGroupMoved, PullAction, PullMoved, Pushed, ReviewAction, Reviewed, SuiteAsked,
};

/// Reads a signed body. `event` is the event header's word. Events and actions we do not know are `Ignored`.
pub fn parse(event: &str, body: &[u8]) -> Result<Delivery, Fault> {
    let event = one_line(event);
    let envelope: Envelope = read(&event, body)?;
    let mut action = envelope.action.clone().unwrap_or_default();
    action.truncate(action.floor_char_boundary(60));
    let kind = match event.as_str() {
        "pull_request" => pull(&action, read(&event, body)?),
        "issue_comment" => comment(&action, read(&event, body)?, &envelope),
        "pull_request_review" => review(&action, read(&event, body)?),
        "check_run" => check(&action, read(&event, body)?, &envelope),
        "check_suite" => suite(&action, read(&event, body)?, &envelope),
        "merge_group" => merge_group(&action, read(&event, body)?),
        "push" => push(read(&event, body)?),
        "installation" | "installation_repositories" => installation(&action, read(&event, body)?),
        "ping" => Ok(Kind::Ping),
        _ => Ok(Kind::Ignored(format!("nothing depends on {event} events"))),
    };
    let bad = |why: BadId| Fault::Malformed {
        event: event.clone(),
        why: one_line(&why.to_string()),
    };
    let kind = match kind.map_err(bad)? {
        // The word of someone we cannot name is nobody's.
        Kind::Ignored(why) if why.is_empty() => Kind::Ignored(format!("nothing depends on {event}.{action}")),
        kind => kind,
    };
    let repo = envelope.repository.map(RepoJson::read).transpose();
    let sender = envelope.sender.map(|sender| Login::parse(&sender.login)).transpose();
    // An event that is ignored is ignored whatever it holds.
    let (repo, sender) = match &kind {
        Kind::Ignored(_) | Kind::Ping => (repo.unwrap_or(None), sender.unwrap_or(None)),
        _ => (repo.map_err(bad)?, sender.map_err(bad)?),
    };
    let installation = envelope
        .installation
        .map(|installation| InstallationId(installation.id));
    Ok(Delivery {
        repo,
        installation,
        sender,
        kind,
    })
}

/// "Nothing depends on this action": the caller puts in the words.
fn ignored() -> Kind {
    Kind::Ignored(String::new())
}

/// Reads one view of the body. The views are read one after the other: each skips what it does not name.
fn read<T: DeserializeOwned>(event: &str, body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Fault::Malformed {
            event: event.to_owned(),
            why: one_line(&error.to_string()),
        },
        _ => Fault::NotJson {
            why: one_line(&error.to_string()),
        },
    })
}

#[derive(Deserialize)]
struct Envelope {
    action: Option<String>,
    repository: Option<RepoJson>,
    installation: Option<NumberedJson>,
    sender: Option<UserJson>,
}

impl Envelope {
    fn sender(&self) -> Result<Login, BadId> {
        Login::parse(self.sender.as_ref().map_or("", |sender| &sender.login))
    }
}

#[derive(Deserialize)]
struct NumberedJson {
    id: i64,
}

#[derive(Deserialize)]
struct UserJson {
    login: String,
}

#[derive(Deserialize)]
struct RepoJson {
    id: i64,
    full_name: String,
}

impl RepoJson {
    fn read(self) -> Result<RepoRef, BadId> {
        let name = RepoName::parse(&self.full_name)?;
        let id = RepoId(self.id);
        Ok(RepoRef { id, name })
    }
}

#[derive(Deserialize)]
struct PullEvent {
    pull_request: PullJson,
    before: Option<String>,
    after: Option<String>,
    changes: Option<ChangesJson>,
}

#[derive(Deserialize)]
struct PullJson {
    number: i64,
    head: HeadJson,
}

#[derive(Deserialize)]
struct HeadJson {
    sha: String,
}

#[derive(Deserialize)]
struct ChangesJson {
    base: Option<serde::de::IgnoredAny>,
}

fn pull(action: &str, event: PullEvent) -> Result<Kind, BadId> {
    let action = match action {
        "opened" => PullAction::Opened,
        "reopened" => PullAction::Reopened,
        "synchronize" => PullAction::Pushed {
            before: commit(event.before.as_deref())?,
            after: commit(event.after.as_deref())?,
        },
        "edited" if event.changes.is_some_and(|changes| changes.base.is_some()) => PullAction::Retargeted,
        "ready_for_review" => PullAction::ReadyForReview,
        "converted_to_draft" => PullAction::ConvertedToDraft,
        "labeled" => PullAction::Labeled,
        "unlabeled" => PullAction::Unlabeled,
        "enqueued" => PullAction::Enqueued,
        "dequeued" => PullAction::Dequeued,
        "closed" => PullAction::Closed,
        _ => return Ok(ignored()),
    };
    Ok(Kind::Pull(PullMoved {
        number: PullNumber(event.pull_request.number),
        action,
        head: CommitSha::parse(&event.pull_request.head.sha)?,
    }))
}

/// The zeros by which git says "none" are none.
fn commit(text: Option<&str>) -> Result<Option<CommitSha>, BadId> {
    match text {
        None => Ok(None),
        Some(text) if text.bytes().all(|byte| byte == b'0') => Ok(None),
        Some(text) => CommitSha::parse(text).map(Some),
    }
}

#[derive(Deserialize)]
struct CommentEvent {
    issue: IssueJson,
    comment: CommentJson,
}

#[derive(Deserialize)]
struct IssueJson {
    number: i64,
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct CommentJson {
    id: i64,
    body: Option<String>,
}

fn comment(action: &str, event: CommentEvent, envelope: &Envelope) -> Result<Kind, BadId> {
    if action != "created" {
        return Ok(ignored());
    }
    if event.issue.pull_request.is_none() {
        return Ok(Kind::Ignored(
            "a comment on an issue that is no pull request".to_owned(),
        ));
    }
    Ok(Kind::Comment(Commented {
        pull: PullNumber(event.issue.number),
        comment: CommentId(event.comment.id),
        by: envelope.sender()?,
        body: event.comment.body.unwrap_or_default(),
    }))
}

#[derive(Deserialize)]
struct ReviewEvent {
    pull_request: NumberJson,
}

#[derive(Deserialize)]
struct NumberJson {
    number: i64,
}

fn review(action: &str, event: ReviewEvent) -> Result<Kind, BadId> {
    let action = match action {
        "submitted" => ReviewAction::Submitted,
        "dismissed" => ReviewAction::Dismissed,
        _ => return Ok(ignored()),
    };
    let pull = PullNumber(event.pull_request.number);
    Ok(Kind::Review(Reviewed { pull, action }))
}

#[derive(Deserialize)]
struct CheckEvent {
    check_run: CheckJson,
    requested_action: Option<ButtonJson>,
}

#[derive(Deserialize)]
struct ButtonJson {
    identifier: String,
}

#[derive(Deserialize)]
struct CheckJson {
    name: Option<String>,
    external_id: Option<String>,
    head_sha: String,
    app: Option<NumberedJson>,
    pull_requests: Option<Vec<NumberJson>>,
}

fn check(action: &str, event: CheckEvent, envelope: &Envelope) -> Result<Kind, BadId> {
    let action = match (action, event.requested_action) {
        ("rerequested", _) => CheckAction::Rerequested,
        ("requested_action", Some(button)) => CheckAction::Button(button.identifier),
        _ => return Ok(ignored()),
    };
    let check = event.check_run;
    Ok(Kind::Check(CheckAsked {
        action,
        name: check.name.unwrap_or_default(),
        external_id: check.external_id.unwrap_or_default(),
        head: CommitSha::parse(&check.head_sha)?,
        app: check.app.map(|app| app.id),
        by: envelope.sender()?,
        pulls: numbers(check.pull_requests),
    }))
}

fn numbers(pulls: Option<Vec<NumberJson>>) -> Vec<PullNumber> {
    let pulls = pulls.unwrap_or_default();
    pulls.into_iter().map(|pull| PullNumber(pull.number)).collect()
}

#[derive(Deserialize)]
struct SuiteEvent {
    check_suite: SuiteJson,
}

#[derive(Deserialize)]
struct SuiteJson {
    head_sha: String,
    pull_requests: Option<Vec<NumberJson>>,
}

fn suite(action: &str, event: SuiteEvent, envelope: &Envelope) -> Result<Kind, BadId> {
    // `requested` comes with every push, of which the pull request's own event says more.
    if action != "rerequested" {
        return Ok(ignored());
    }
    Ok(Kind::Suite(SuiteAsked {
        head: CommitSha::parse(&event.check_suite.head_sha)?,
        by: envelope.sender()?,
        pulls: numbers(event.check_suite.pull_requests),
    }))
}

#[derive(Deserialize)]
struct MergeGroupEvent {
    merge_group: MergeGroupJson,
}

#[derive(Deserialize)]
struct MergeGroupJson {
    head_sha: String,
    base_ref: String,
}

fn merge_group(action: &str, event: MergeGroupEvent) -> Result<Kind, BadId> {
    let action = match action {
        "checks_requested" => MergeGroupAction::ChecksRequested,
        "destroyed" => MergeGroupAction::Destroyed,
        _ => return Ok(ignored()),
    };
    let base = event.merge_group.base_ref;
    Ok(Kind::MergeGroup(MergeGroupMoved {
        action,
        head: CommitSha::parse(&event.merge_group.head_sha)?,
        base: base.strip_prefix("refs/heads/").unwrap_or(&base).to_owned(),
    }))
}

#[derive(Deserialize)]
struct PushEvent {
    #[serde(rename = "ref")]
    name: String,
    before: Option<String>,
    after: Option<String>,
    #[serde(default)]
    forced: bool,
}

fn push(event: PushEvent) -> Result<Kind, BadId> {
    let Some(branch) = event.name.strip_prefix("refs/heads/") else {
        return Ok(Kind::Ignored("a push of a tag, which no plan reads".to_owned()));
    };
    Ok(Kind::Push(Pushed {
        branch: branch.to_owned(),
        before: commit(event.before.as_deref())?,
        after: commit(event.after.as_deref())?,
        forced: event.forced,
    }))
}

#[derive(Deserialize)]
struct InstallationEvent {
    installation: InstallationJson,
    repositories: Option<Vec<RepoJson>>,
    repositories_added: Option<Vec<RepoJson>>,
    repositories_removed: Option<Vec<RepoJson>>,
}

#[derive(Deserialize)]
struct InstallationJson {
    account: Option<AccountJson>,
}

/// A user or organisation has a login, an enterprise a slug.
#[derive(Deserialize)]
struct AccountJson {
    login: Option<String>,
    slug: Option<String>,
}

fn installation(action: &str, event: InstallationEvent) -> Result<Kind, BadId> {
    let (action, repos) = match action {
        "created" => (InstallationAction::Created, event.repositories),
        "deleted" => (InstallationAction::Deleted, event.repositories),
        "suspend" => (InstallationAction::Suspended, event.repositories),
        "unsuspend" => (InstallationAction::Unsuspended, event.repositories),
        "new_permissions_accepted" => (InstallationAction::PermissionsAccepted, event.repositories),
        "added" => (InstallationAction::ReposAdded, event.repositories_added),
        "removed" => (InstallationAction::ReposRemoved, event.repositories_removed),
        _ => return Ok(ignored()),
    };
    let account = event.installation.account;
    let account = account.and_then(|account| account.login.or(account.slug));
    let repos: Result<Vec<RepoRef>, BadId> = repos.unwrap_or_default().into_iter().map(RepoJson::read).collect();
    Ok(Kind::Installation(InstallationMoved {
        action,
        account: account.as_deref().map(Login::parse).transpose()?,
        repos: repos?,
    }))
}

#[cfg(test)]
mod tests {
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
                prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..8)
                    .prop_map(Value::from_iter),
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
}
