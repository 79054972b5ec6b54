//! Judging by a real child of the real binary: what policies do to it must never be more than a deny.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockkeeper::domain::ids::{RepoPath, StackName, Timestamp};
use lockkeeper::domain::plan::PlanJson;
use lockkeeper::domain::verdict::{Effect, Verdict};
use lockkeeper::policy::bundle::{Bundle, Directory};
use lockkeeper::policy::input::{Input, PhaseInput, PlanKindInput, RunInput, RunKindInput, StackInput};
use lockkeeper::policy::limits::Limits;
use lockkeeper::policy::{judge, trial};
use lockkeeper::process::OwnBinary;

fn own() -> OwnBinary {
    OwnBinary(PathBuf::from(env!("CARGO_BIN_EXE_lockkeeper")))
}

fn input(plan: impl Into<Vec<u8>>) -> Input {
    Input {
        plan_kind: PlanKindInput::Final,
        plan: PlanJson::new(plan.into()),
        stack: StackInput {
            name: StackName::parse("app").expect("a name"),
            dir: RepoPath::parse("infra/app").expect("a path"),
            workspace: "default".to_owned(),
            labels: BTreeMap::from([("env".to_owned(), "production".to_owned())]),
            tool: "terraform".to_owned(),
        },
        pull_request: None,
        run: RunInput {
            id: None,
            kind: RunKindInput::Pull,
            head: None,
            base: None,
            phase: PhaseInput::Review,
        },
        upstreams: Vec::new(),
        now: Timestamp(1_700_000_000_000),
    }
}

fn bundle(files: &[(&str, &str)]) -> Bundle {
    let mut directory = Directory::default();
    for (path, text) in files {
        directory.add(RepoPath::parse(path).expect("a path"), text.as_bytes());
    }
    let dir = RepoPath::parse("policies").expect("a path");
    Bundle::new(&[], &dir, &directory, &Directory::default())
}

fn limits() -> Limits {
    Limits {
        rule: Duration::from_secs(1),
        child: Duration::from_secs(3),
        total: Duration::from_secs(30),
        ..Limits::default()
    }
}

fn shown(verdict: &Verdict) -> Vec<String> {
    let show = |finding: &lockkeeper::domain::verdict::Finding| {
        format!("{:?} {}: {}", finding.effect, finding.policy, finding.message)
    };
    verdict.findings().iter().map(show).collect()
}

async fn judged(files: &[(&str, &str)]) -> Vec<String> {
    shown(&judge(&own(), &bundle(files), &input("{}"), &limits()).await)
}

const GOOD: (&str, &str) = (
    "good.rego",
    "package lockkeeper.plan\ndeny contains \"good\" if input.stack.labels.env == \"production\"",
);

#[tokio::test]
async fn a_child_judges() {
    assert_eq!(judged(&[GOOD]).await, ["Deny good: good"]);
    assert_eq!(judged(&[]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_function_without_end_denies_and_the_others_are_judged() {
    let deep = (
        "deep.rego",
        "package lockkeeper.plan\nf(x) := f(x + 1)\n\ndeny contains \"x\" if f(1) == 2",
    );
    let later = ("later.rego", "package main\nwarn contains \"later\"");
    assert_eq!(
        judged(&[deep, GOOD, later]).await,
        [
            "Deny deep: policies/deep.rego:4: `deny` needed more than 64 MiB of stack and was stopped; does a function call itself without end?",
            "Deny good: good",
            "Warn later: later",
        ]
    );
}

#[tokio::test]
async fn what_the_interpreter_cannot_stop_is_stopped_from_outside() {
    let bomb = (
        "bomb.rego",
        "package lockkeeper.plan\ndeny contains \"x\" if count(numbers.range(1, 100000000000)) == 1",
    );
    let found = judged(&[bomb, GOOD]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        "Deny bomb: policies/bomb.rego:2: `deny` needed more than 1024 MiB of memory and was stopped"
    );
    assert_eq!(found[1], "Deny good: good");
}

#[tokio::test]
async fn a_builtin_that_does_not_end_is_stopped_by_the_clock() {
    // One builtin call: the interpreter looks at its timer only between steps.
    let text = "package lockkeeper.plan\ndeny contains \"x\" if {\n  base := concat(\"\", [s | some i in numbers.range(1, 200000); s := \"aaaaaaaaaa\"])\n  strings.replace_n({sprintf(\"%d\", [i]): base | some i in numbers.range(0, 9)}, concat(\"\", [sprintf(\"%d\", [i]) | some i in numbers.range(1, 20000)])) == \"\"\n}";
    let found = judged(&[("slow.rego", text), GOOD]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .any(|found| found.starts_with("Deny slow: policies/slow.rego:2: `deny` ")),
        "{found:?}"
    );
    assert!(found.contains(&"Deny good: good".to_owned()), "{found:?}");
}

#[tokio::test]
async fn a_comprehension_without_end_runs_out_of_its_time() {
    let text = "package main\nxs := numbers.range(1, 10000)\ndeny contains \"x\" if count([1 | some a in xs; some b in xs; some c in xs; a + b + c < 0]) > 0";
    assert_eq!(
        judged(&[("endless.rego", text), GOOD]).await,
        [
            "Deny endless: policies/endless.rego:3: `deny` could not be evaluated: ran longer than 1 s and was stopped",
            "Deny good: good"
        ]
    );
}

#[tokio::test]
async fn a_flood_of_findings_is_bounded() {
    let text = "package main\ndeny contains msg if { some i in numbers.range(1, 20000); msg := sprintf(\"%d %s\", [i, concat(\"\", [s | some _ in numbers.range(1, 200); s := \"xxxxxxxxxx\"])]) }";
    let generous = Limits {
        rule: Duration::from_secs(60),
        child: Duration::from_secs(60),
        total: Duration::from_secs(60),
        ..limits()
    };
    let flood = text.replace("20000", "2000");
    let verdict = judge(&own(), &bundle(&[("flood.rego", &flood)]), &input("{}"), &generous).await;
    assert_eq!(verdict.count(Effect::Deny), 101);
    assert!(
        verdict
            .findings()
            .iter()
            .all(|finding| finding.message.chars().count() <= 1_001)
    );
}

#[tokio::test]
async fn broken_and_old_syntax_is_located() {
    let found = judged(&[
        ("old.rego", "package main\ndeny[msg] {\n  msg := \"x\"\n}"),
        ("bad.rego", "package main\n\ndeny contains = 1"),
        GOOD,
    ])
    .await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("Deny bad: policies/bad.rego:3:"), "{found:?}");
    assert_eq!(found[1], "Deny good: good");
    assert!(
        found[2].starts_with("Deny old: policies/old.rego:2:") && found[2].contains("this is Rego v0"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_policy_reads_no_environment_and_no_network() {
    for call in [
        "opa.runtime().env.HOME",
        "http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1/\"}).body",
    ] {
        let found = judged(&[("p.rego", &format!("package main\ndeny contains x if x := {call}"))]).await;
        assert!(found.len() == 1 && found[0].contains("is off here"), "{found:?}");
    }
}

#[tokio::test]
async fn a_binary_that_is_no_judge_denies() {
    for file in ["/bin/true", "/nowhere/at/all"] {
        let verdict = judge(
            &OwnBinary(PathBuf::from(file)),
            &bundle(&[GOOD]),
            &input("{}"),
            &limits(),
        )
        .await;
        assert!(verdict.denied(), "{file}: {verdict:?}");
        assert!(!shown(&verdict).concat().contains("/nowhere"), "{verdict:?}");
    }
}

#[tokio::test]
async fn the_library_judges_what_terraform_prints() {
    let library: Vec<String> = lockkeeper::policy::library::names().map(str::to_owned).collect();
    let bundle = Bundle::new(
        &library,
        &RepoPath::root(),
        &Directory::default(),
        &Directory::default(),
    );
    // Made by Terraform 1.11.4: a resource and a module, each with a `local-exec` provisioner.
    let verdict = judge(
        &own(),
        &bundle,
        &input(include_bytes!("policy/plan.json").to_vec()),
        &limits(),
    )
    .await;
    assert_eq!(
        shown(&verdict),
        [
            "Deny no-provisioners: module.m.terraform_data.b runs a `local-exec` provisioner",
            "Deny no-provisioners: terraform_data.a runs a `local-exec` provisioner",
            "Deny production-needs-approval-label: app is a production stack: this change needs the label `production-approved` on the pull request",
        ]
    );
}

#[tokio::test]
async fn a_mistake_in_a_test_is_reported_and_the_rest_is_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write(
        "p.rego",
        "package lockkeeper.plan\ndeny contains \"x\" if input.plan.bad",
    );
    write("bad.rego", "package x\n}");
    write(
        "p_test.rego",
        "package p_test\nimport data.lockkeeper.plan\ntest_denies if count(plan.deny) == 1 with input.plan as {\"bad\": true}\ntest_not if count(plan.deny) == 5 with input as {}\nf(x) := f(x + 1)\ntest_deep if f(1)\n",
    );
    let report = trial::run_tests(&own(), &[folder.path().to_owned()], &limits())
        .await
        .expect("a folder");
    assert!(!report.succeeded());
    assert_eq!(
        (report.passed(), report.cases.len(), report.problems.len()),
        (1, 2, 2),
        "{report}"
    );
    let text = report.to_string();
    assert!(
        text.contains("bad.rego:2:") && text.contains("p_test.rego:6: `test_deep` needed more than 64 MiB of stack"),
        "{text}"
    );
    assert!(
        trial::run_tests(&own(), &[folder.path().join("none")], &limits())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_library_passes_its_own_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let report = trial::run_tests(&own(), &[folder], &Limits::default())
        .await
        .expect("a folder");
    assert!(report.succeeded(), "{report}");
    assert!(report.passed() > 40, "{report}");
}
