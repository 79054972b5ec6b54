use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::domain::ids::RepoPath;
use crate::policy::bundle::{Bundle, Directory, Tests, set_of};

fn directory(files: &[(&str, &str)]) -> Directory {
    let mut directory = Directory::default();
    for (path, text) in files {
        directory.add(RepoPath::parse(path).expect("a path"), text.as_bytes());
    }
    directory
}

fn words(task: Task, sets: Vec<Set>, input: Option<&str>, plan: &str, skip: BTreeSet<Stage>) -> Vec<Word> {
    let request = Request {
        task,
        sets: sets.into(),
        input: input.map(|text| serde_json::from_str::<serde_json::Value>(text).expect("JSON")),
        skip,
        kept: Kept {
            rule: Duration::from_millis(300),
        },
    };
    let mut bytes = serde_json::to_vec(&request).expect("JSON");
    bytes.push(b'\n');
    bytes.extend_from_slice(plan.as_bytes());
    let mut said = Vec::new();
    answer(bytes.as_slice(), &mut said).expect("an answer");
    let text = String::from_utf8(said).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a word"))
        .collect()
}

fn shown(words: &[Word]) -> Vec<String> {
    let finding = |word: &Word| match word {
        Word::Found(Finding {
            effect,
            policy,
            message,
            address,
        }) => {
            let at = address
                .as_deref()
                .map(|address| format!(" @{address}"))
                .unwrap_or_default();
            Some(format!("{effect:?} {policy}: {message}{at}"))
        }
        _ => None,
    };
    words.iter().filter_map(finding).collect()
}

const INPUT: &str = r#"{"now_ns": 1700000000000000000, "point": "plan", "stack": {"name": "app"}}"#;

fn findings(repository: &[(&str, &str)], server: &[(&str, &str)], plan: &str) -> Vec<String> {
    let dir = RepoPath::parse("policies").expect("a path");
    let bundle = Bundle::new(&[], &dir, &directory(repository), &directory(server));
    let words = words(Task::Judge, bundle.sets().to_vec(), Some(INPUT), plan, BTreeSet::new());
    assert!(matches!(words.last(), Some(Word::End)));
    shown(&words)
}

fn one(text: &str) -> Vec<String> {
    findings(&[("p.rego", text)], &[], r#"{"n": 3, "name": null}"#)
}

#[test]
fn rules_say_their_findings_in_every_shape() {
    let cases: &[(&str, &[&str])] = &[
        (
            "package lockkeeper.plan\ndeny contains \"no\" if input.plan.n == 3",
            &["Deny p: no"],
        ),
        (
            "package lockkeeper.plan\ndeny contains \"no\" if input.plan.n == 4",
            &[],
        ),
        (
            "package lockkeeper.plan.sub\nwarn contains {\"msg\": \"hm\", \"address\": \"a.b\"}",
            &["Warn p: hm @a.b"],
        ),
        (
            "package lockkeeper.plan\ndefault deny := \"shut\"\ndeny := false if input.plan.open",
            &["Deny p: shut"],
        ),
        (
            "package lockkeeper.plan\ndeny contains input.stack.name",
            &["Deny p: app"],
        ),
        ("package lockkeeper.plan\nhelp := 1", &[]),
        (
            "package main\ndeny contains msg if { msg := sprintf(\"n is %d\", [input.n]) }",
            &["Deny p: n is 3"],
        ),
        (
            "package main\nviolation_x contains {\"msg\": \"v\"}\nwarn_y contains \"w\"",
            &["Deny p: v", "Warn p: w"],
        ),
        ("package main\ndeny[msg] if { msg := \"old\" }", &["Deny p: old"]),
        (
            "package main\nimport rego.v1\ndeny contains \"a\" if { not input.gone }",
            &["Deny p: a"],
        ),
        (
            "package main\ndeny_x contains \"x\"\ndeny_y contains \"y\"\nexception contains rules if { rules := [\"x\"] }",
            &["Deny p: y"],
        ),
        (
            "package lockkeeper.plan\nimport data.lockkeeper.lib\ndeny contains \"n\" if lib.plan.n == 3",
            &["Deny p: n"],
        ),
        (
            "package lockkeeper.plan\ndeny contains sprintf(\"%d\", [time.now_ns()])",
            &["Deny p: 1700000000000000000"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(one(text), *expected, "{text}");
    }
}

#[test]
fn what_is_wrong_denies_and_says_where() {
    let cases: &[(&str, &str)] = &[
        (
            "package lockkeeper.plan\n\ndeny contains msg if {\n  msg := \n}",
            "policies/p.rego:4:7: expecting",
        ),
        (
            "package lockkeeper.plan\ndeny contains msg if { x == 1 }",
            "policies/p.rego:2:",
        ),
        (
            "package lockkeeper.plan\ndeny contains 7",
            "policies/p.rego:2: `deny` could not be evaluated: says 7",
        ),
        (
            "package lockkeeper.plan\ndeny contains \"a\" if to_number(\"x\") == 1",
            "policies/p.rego:2:33: `deny` could not be evaluated: ",
        ),
        (
            "package lockkeeper.plan\ndeny contains \"a\" if data.nope.f(1)",
            "policies/p.rego:2:",
        ),
        (
            "package lockkeeper.plan\ndeny contains x if { x := data.lockkeeper.plan.a }\na := b\nb := a",
            "recursion",
        ),
        (
            "package lockkeeper.plan\nrequire_approval contains \"x\"",
            "policies/p.rego:2: `require_approval` is not in this version",
        ),
        (
            "package lockkeeper.apply\ndeny contains \"x\"",
            "policies/p.rego: the point `apply` is not in this version",
        ),
        (
            "package lockkeeper.lib\nchanges := []",
            "policies/p.rego: `package lockkeeper.lib` is Lockkeeper's own",
        ),
        (
            "package lockkeeper.plan\ndeny(x) := true",
            "policies/p.rego:2: `deny` could not be evaluated: is a function",
        ),
        ("package main\ndeny[msg] { msg := \"old\" }", "this is Rego v0"),
    ];
    for (text, expected) in cases {
        let found = one(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].starts_with("Deny p: ") && found[0].contains(expected),
            "{text}: {found:?}"
        );
    }
    assert!(
        one("")
            .first()
            .is_some_and(|found| found.starts_with("Deny p: policies/p.rego")),
        "{:?}",
        one("")
    );
}

#[test]
fn a_rule_that_runs_too_long_is_stopped() {
    let endless = "package lockkeeper.plan\nxs := numbers.range(1, 3000)\ndeny contains \"x\" if {\n  some a in xs\n  some b in xs\n  some c in xs\n  a * b * c < 0\n}";
    assert_eq!(
        one(endless),
        ["Deny p: policies/p.rego:3: `deny` could not be evaluated: ran longer than 300 ms and was stopped"]
    );
}

#[test]
fn what_is_no_function_of_the_input_is_off_and_cannot_be_swallowed() {
    let calls = [
        "http.send({\"url\": \"http://x\"})",
        "rand.intn(\"a\", 5)",
        "uuid.rfc4122(\"a\")",
        "opa.runtime()",
    ];
    for call in calls {
        for package in ["lockkeeper.plan", "main"] {
            let text =
                format!("package {package}\nf(_) := x if {{ x := {call} }}\ndeny contains \"x\" if {{ not f(1) }}");
            let found = one(&text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("is off here"), "{found:?}");
        }
    }
}

#[test]
fn in_package_main_a_builtin_that_fails_is_undefined() {
    assert_eq!(
        one("package main\ndeny contains \"a\" if startswith(input.name, \"x\")"),
        Vec::<String>::new()
    );
    assert_eq!(
        one("package lockkeeper.plan\ndeny contains \"a\" if startswith(input.plan.name, \"x\")").len(),
        1
    );
}

#[test]
fn one_broken_file_does_not_hide_what_the_others_say() {
    let found = findings(
        &[
            ("a.rego", "package main\ndeny contains \"a\" if help.yes"),
            ("b.rego", "package main\ndeny contains"),
            ("c.rego", "package main\ndeny contains \"c\" if x > 1"),
            ("d.rego", "package main\ndeny contains \"d\" if f(1)"),
            ("help.rego", "package main.help\nyes := true"),
            (
                "main.rego",
                "package main\nimport data.main.help\nf(_) := true\ndeny contains \"m\" if help.yes",
            ),
        ],
        &[],
        "{}",
    );
    let starts: Vec<&str> = found.iter().map(|found| &found[..8]).collect();
    assert_eq!(
        starts,
        ["Deny b: ", "Deny c: ", "Deny a: ", "Deny d: ", "Deny mai"],
        "{found:?}"
    );
}

#[test]
fn the_repository_cannot_touch_what_the_server_says() {
    let server = (
        "s.rego",
        "package main\nimport data.main.x\ndeny contains \"server\" if not exempt\nexempt if data.lockkeeper.config.off\nexempt if x.y",
    );
    let repository = [
        ("r.rego", "package main\nexempt := true\nexception contains [\"\"]"),
        ("x.rego", "package main.x\ny := true"),
        ("data.json", r#"{"lockkeeper": {"config": {"off": true}}}"#),
    ];
    assert_eq!(findings(&repository, &[server], "{}"), ["Deny s: server"]);
}

#[test]
fn a_deny_that_nobody_asks_is_warned_of() {
    let found = one("package terraform.tags\ndeny contains \"x\"");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("Warn p: policies/p.rego:2: `deny` of `package terraform.tags` is never asked"),
        "{found:?}"
    );
}

#[test]
fn a_flood_is_counted() {
    let found = one(
        "package lockkeeper.plan\ndeny contains msg if { some i in numbers.range(1, 5000); msg := sprintf(\"%d\", [i]) }",
    );
    assert_eq!(found.len(), FINDINGS_PER_RULE + 1);
    assert_eq!(
        found.last().map(String::as_str),
        Some("Deny p: policies/p.rego:2: `deny` says 4900 more")
    );
}

#[test]
fn data_of_the_directory_is_there() {
    let found = findings(
        &[
            (
                "p.rego",
                "package lockkeeper.plan\ndeny contains msg if { some msg in data.lists.bad }\nwarn contains data.lockkeeper.config.p.w",
            ),
            ("lists/data.yaml", "bad: [one]"),
            ("data.json", r#"{"lockkeeper": {"config": {"p": {"w": "two"}}}}"#),
            ("broken/data.yaml", "a: [1"),
        ],
        &[],
        "{}",
    );
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].starts_with("Deny data.yaml: policies/broken/data.yaml: ")
            || found[0].starts_with("Deny policies/broken/data.yaml: "),
        "{found:?}"
    );
    assert_eq!(found[1..], ["Deny p: one", "Warn p: two"]);
}

#[test]
fn a_plan_that_is_no_json_denies() {
    for plan in ["", "[", "[1]", "null"] {
        let found = findings(&[("p.rego", "package main\ndeny contains \"x\"")], &[], plan);
        assert!(
            found.len() == 1 && found[0].starts_with("Deny lockkeeper: the plan could not be read"),
            "{found:?}"
        );
    }
}

#[test]
fn numbers_of_the_plan_keep_their_value() {
    let plan = r#"{"big": 12345678901234567890, "small": 0.1, "e": 1e3}"#;
    let text = "package main\ndeny contains \"same\" if { input.big == 12345678901234567890; input.small == 0.1; input.e == 1000 }";
    assert_eq!(findings(&[("p.rego", text)], &[], plan), ["Deny p: same"]);
}

#[test]
fn a_child_leaves_out_what_another_did_or_died_of() {
    let files = directory(&[
        ("a.rego", "package main\ndeny contains \"a\""),
        ("b.rego", "package main\ndeny contains \"b\""),
    ]);
    let bundle = Bundle::new(&[], &RepoPath::root(), &files, &Directory::default());
    let all = words(Task::Judge, bundle.sets().to_vec(), Some(INPUT), "{}", BTreeSet::new());
    let stages: Vec<Stage> = all
        .into_iter()
        .filter_map(|word| {
            if let Word::Begin(stage) = word {
                Some(stage)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(stages.len(), 5, "{stages:?}");
    let rest = |skip: &Stage| {
        shown(&words(
            Task::Judge,
            bundle.sets().to_vec(),
            Some(INPUT),
            "{}",
            BTreeSet::from([skip.clone()]),
        ))
    };
    assert_eq!(rest(&stages[0]), ["Deny b: b"]);
    assert_eq!(rest(&stages[2]), Vec::<String>::new());
    assert_eq!(rest(&stages[3]), ["Deny b: b"]);
}

#[test]
fn tests_pass_fail_and_err_with_their_line() {
    let files = directory(&[
        (
            "p.rego",
            "package lockkeeper.plan\ndeny contains \"no\" if input.plan.n > 3",
        ),
        (
            "p_test.rego",
            "package lockkeeper.plan_test\nimport data.lockkeeper.plan\n\ntest_denies if {\n  plan.deny == {\"no\"} with input as {\"plan\": {\"n\": 4}}\n}\n\ntest_wrong if {\n  print(\"seen\", 1)\n  count(plan.deny) == 1 with input as {\"plan\": {\"n\": 1}}\n  true\n}\n\ntest_error if {\n  to_number(\"x\") == 1\n}\n\ntodo_test_later if { false }\n\ntest_clock if { time.now_ns() == 5 with time.now_ns as 5 }\n",
        ),
    ]);
    let set = set_of(Origin::Repository, &files, Tests::Load, |path| path.to_string()).expect("files");
    let words = words(Task::Test, vec![set], None, "", BTreeSet::new());
    let cases: Vec<(String, u32, Outcome)> = words
        .into_iter()
        .filter_map(|word| {
            if let Word::Tested(case) = word {
                Some((case.name, case.line, case.outcome))
            } else {
                None
            }
        })
        .collect();
    let case = |name: &str| {
        cases
            .iter()
            .find(|case| case.0 == name)
            .map(|case| (case.1, case.2.clone()))
    };
    assert_eq!(case("test_denies"), Some((4, Outcome::Passed)));
    assert_eq!(
        case("test_wrong"),
        Some((
            8,
            Outcome::Failed("line 10: count(plan.deny) == 1 with input as {\"plan\": {\"n\": 1}}".to_owned())
        ))
    );
    assert!(matches!(case("test_error"), Some((14, Outcome::Error(what))) if what.starts_with("p_test.rego:15:")));
    assert_eq!(case("todo_test_later"), Some((18, Outcome::Todo)));
    assert_eq!(case("test_clock"), Some((20, Outcome::Passed)));
    assert_eq!(cases.len(), 5, "{cases:?}");
}
