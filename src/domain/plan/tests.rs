//! Owns the tests of refinement: a table for each of its clauses, and its laws.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::domain::plan::change::{Action, OutputChange, Plan, ResourceChange};
use crate::domain::plan::compare::{Between, Comparison, compare};
use crate::domain::plan::value::Value;

mod laws;

/// `"?"` is unknown, `"#h"` is hidden with the hash `h`.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(digits) => Value::Number(digits.to_string()),
        Json::String(text) if text == "?" => Value::Unknown,
        Json::String(text) => match text.strip_prefix('#') {
            Some(hash) => Value::Hidden(hash.to_owned()),
            None => Value::text(text),
        },
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(entries) => Value::Map(entries.iter().map(|(name, item)| (name.clone(), value(item))).collect()),
    }
}

fn change(action: Action, before: Json, after: Json) -> ResourceChange {
    ResourceChange {
        address: "a.b".to_owned(),
        deposed: None,
        previous_address: None,
        kind: "a".to_owned(),
        action,
        before: value(&before),
        after: value(&after),
        replace_paths: BTreeSet::new(),
        importing: None,
    }
}

fn create(after: Json) -> ResourceChange {
    change(Action::Create, Json::Null, after)
}

fn update(before: Json, after: Json) -> ResourceChange {
    change(Action::Update, before, after)
}

fn delete(before: Json) -> ResourceChange {
    change(Action::Delete, before, Json::Null)
}

fn replace(before: Json, after: Json, paths: &[&str]) -> ResourceChange {
    ResourceChange {
        replace_paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..change(Action::Replace, before, after)
    }
}

fn moved(change: ResourceChange) -> ResourceChange {
    ResourceChange {
        previous_address: Some("a.was".to_owned()),
        ..change
    }
}

/// Another change, so that a real plan is not one that changes nothing.
fn elsewhere() -> ResourceChange {
    ResourceChange {
        address: "a.elsewhere".to_owned(),
        ..create(json!({ "x": 1 }))
    }
}

fn plan(resources: impl IntoIterator<Item = ResourceChange>) -> Plan {
    Plan {
        resources: resources.into_iter().collect(),
        ..Plan::default()
    }
}

fn told(reviewed: &Plan, real: &Plan, between: Between) -> String {
    match compare(reviewed, real, between) {
        Comparison::Equal => "equal".to_owned(),
        Comparison::Differs(difference) => format!("differs: {}", difference.lines.join("; ")),
        Comparison::Refines(became) => {
            let one = |became: &crate::domain::plan::Became| match &became.attribute {
                Some(attribute) => format!("{}: {attribute} = {}", became.subject, became.value),
                None => format!("{}: {}", became.subject, became.value),
            };
            let all: Vec<String> = became.iter().map(one).collect();
            format!("refines: {}", all.join("; "))
        }
    }
}

/// Each row: what was reviewed, what is really planned, and what is said.
fn table(rows: Vec<(ResourceChange, Option<ResourceChange>, &str)>) {
    for (reviewed, real, expected) in rows {
        let real = plan(real.into_iter().chain([elsewhere()]));
        let reviewed = plan([reviewed, elsewhere()]);
        assert_eq!(
            told(&reviewed, &real, Between::Nothing),
            expected,
            "{reviewed:#?} {real:#?}"
        );
        let with_unreviewed = Plan {
            unreviewed: BTreeMap::from([("a.elsewhere".to_owned(), BTreeSet::from(["x".to_owned()]))]),
            ..reviewed
        };
        assert!(
            told(&with_unreviewed, &real, Between::Nothing).starts_with("differs"),
            "{expected}"
        );
        assert!(
            !told(&with_unreviewed, &Plan::default(), Between::Nothing).starts_with("differs"),
            "{expected}"
        );
    }
}

#[test]
fn an_attribute_is_equal_or_was_unknown() {
    let old = || json!({ "id": "i", "x": "a", "seen": 1 });
    let to = |x: Json| update(old(), json!({ "id": "i", "x": x, "seen": 1 }));
    table(vec![
        (to(json!("?")), Some(to(json!("b"))), "refines: a.b: x = \"b\""),
        (to(json!("?")), Some(to(json!(null))), "refines: a.b: x = null"),
        (to(json!("?")), Some(to(json!("?"))), "equal"),
        (
            to(json!("?")),
            Some(to(json!(["b", "?"]))),
            "refines: a.b: x = [\"b\", (known after apply)]",
        ),
        (
            to(json!("b")),
            Some(to(json!("?"))),
            "differs: a.b: x: reviewed \"b\", really (known after apply)",
        ),
        (
            to(json!("b")),
            Some(to(json!("c"))),
            "differs: a.b: x: reviewed \"b\", really \"c\"",
        ),
        // What it was, was seen too.
        (
            to(json!("?")),
            Some(update(json!({ "id": "i", "x": "z" }), json!({ "id": "i", "x": "b" }))),
            "differs: a.b: x: reviewed (known after apply), really \"b\"",
        ),
        // It was seen to stay.
        (
            to(json!("?")),
            Some(update(old(), json!({ "id": "i", "x": "b", "seen": 2 }))),
            "differs: a.b: seen: reviewed no change, really 2",
        ),
        // It moved in the real world, and neither plan touches it.
        (
            to(json!("?")),
            Some(update(
                json!({ "id": "i", "x": "a", "seen": 7 }),
                json!({ "id": "i", "x": "b", "seen": 7 }),
            )),
            "refines: a.b: x = \"b\"",
        ),
        (
            create(json!({ "x": "?" })),
            Some(create(json!({ "x": "b" }))),
            "refines: a.b: x = \"b\"",
        ),
        (
            create(json!({ "x": "?" })),
            Some(create(json!({}))),
            "refines: a.b: x = null",
        ),
        (
            create(json!({ "x": "?" })),
            Some(create(json!({ "x": "b", "y": "c" }))),
            "differs: a.b: y: reviewed no change, really \"c\"",
        ),
    ]);
}

#[test]
fn what_is_known_inside_of_what_is_unknown_in_part_is_kept() {
    let to = |x: Json| update(json!({ "x": { "k": 1 } }), json!({ "x": x }));
    table(vec![
        (
            to(json!({ "k": 2, "u": "?" })),
            Some(to(json!({ "k": 2, "u": 3 }))),
            "refines: a.b: x.u = 3",
        ),
        (
            to(json!({ "k": 2, "u": "?" })),
            Some(to(json!({ "k": 4, "u": 3 }))),
            "differs: a.b: x.k: reviewed 2, really 4",
        ),
        (
            to(json!({ "k": 2, "u": "?" })),
            Some(to(json!({ "k": 2, "u": 3, "v": 4 }))),
            "differs: a.b: x.v: reviewed no change, really 4",
        ),
        (
            create(json!({ "x": { "k": 2, "u": ["?"] } })),
            Some(create(json!({ "x": { "k": 3, "u": ["w"] } }))),
            "differs: a.b: x.k: reviewed 2, really 3",
        ),
    ]);
}

#[test]
fn a_list_with_unknown_elements_is_a_multiset() {
    let to = |x: Json| update(json!({ "x": ["old"] }), json!({ "x": x }));
    table(vec![
        (
            to(json!(["b", "?"])),
            Some(to(json!(["a", "b"]))),
            "refines: a.b: x = [\"a\", \"b\"]",
        ),
        (
            to(json!(["b", "b", "?"])),
            Some(to(json!(["b", "c", "b"]))),
            "refines: a.b: x = [\"b\", \"c\", \"b\"]",
        ),
        // One of the two is gone.
        (
            to(json!(["b", "b", "?"])),
            Some(to(json!(["b", "c", "d"]))),
            "differs: a.b: x: reviewed [\"b\", \"b\", (known after apply)], really [\"b\", \"c\", \"d\"]",
        ),
        (
            to(json!(["b", "?"])),
            Some(to(json!(["b"]))),
            "differs: a.b: x: reviewed [\"b\", (known after apply)], really [\"b\"]",
        ),
        (
            to(json!(["b", "?"])),
            Some(to(json!(["b", "c", "d"]))),
            "differs: a.b: x: reviewed [\"b\", (known after apply)], really [\"b\", \"c\", \"d\"]",
        ),
        // All of it was known: then its order was too.
        (
            to(json!(["a", "b"])),
            Some(to(json!(["b", "a"]))),
            "differs: a.b: x: reviewed [\"a\", \"b\"], really [\"b\", \"a\"]",
        ),
        // The first takes what the second needs, and has to give it up again.
        (
            to(json!([{ "k": "?", "l": "?" }, { "k": 1, "l": "?" }])),
            Some(to(json!([{ "k": 1, "l": 5 }, { "k": 2, "l": 6 }]))),
            "refines: a.b: x = [{k = 1, l = 5}, {k = 2, l = 6}]",
        ),
        (
            to(json!([{ "k": 2, "l": "?" }, { "k": 1, "l": "?" }])),
            Some(to(json!([{ "k": 1, "l": 5 }, { "k": 1, "l": 6 }]))),
            "differs: a.b: x: reviewed [{k = 2, l = (known after apply)}, {k = 1, l = (known after apply)}], really \
             [{k = 1, l = 5}, {k = 1, l = 6}]",
        ),
    ]);
}

#[test]
fn many_elements_cost_no_more_than_a_moment() {
    let many = |l: Json| -> Json { (0..3_000).map(|at| json!({ "k": at % 7, "l": l.clone() })).collect() };
    let to = |x: Json| plan([update(json!({ "x": [] }), json!({ "x": x })), elsewhere()]);
    assert!(told(&to(many(json!("?"))), &to(many(json!(1))), Between::Nothing).starts_with("refines"));
}

#[test]
fn a_weaker_action_needs_that_all_that_differed_was_unknown() {
    let old = || json!({ "id": "i", "x": "a", "y": 1 });
    let both = |x: Json, y: Json| json!({ "id": "i", "x": x, "y": y });
    let anew = |x: Json, y: Json| json!({ "id": "?", "x": x, "y": y });
    table(vec![
        (
            update(old(), both(json!("?"), json!(1))),
            None,
            "refines: a.b: no change",
        ),
        (
            update(old(), both(json!("b"), json!("?"))),
            None,
            "differs: a.b: reviewed: would be updated; really: no change",
        ),
        (
            replace(old(), anew(json!("?"), json!(1)), &["x"]),
            None,
            "refines: a.b: no change",
        ),
        (
            replace(old(), anew(json!("?"), json!("?")), &["x"]),
            Some(update(old(), both(json!("a"), json!(2)))),
            "refines: a.b: updated, not replaced (destroyed first); a.b: id = \"i\"; a.b: x = \"a\"; a.b: y = 2",
        ),
        (
            replace(old(), anew(json!("?"), json!(2)), &["x"]),
            Some(update(old(), both(json!("a"), json!(2)))),
            "differs: a.b: reviewed: would be replaced (destroyed first); really: would be updated",
        ),
        (
            replace(old(), anew(json!("?"), json!(1)), &["x"]),
            Some(update(old(), both(json!("a"), json!(3)))),
            "differs: a.b: y: reviewed no change, really 3",
        ),
        // Known in part, and what is known differed.
        (
            update(json!({ "x": ["a"] }), json!({ "x": ["b", "?"] })),
            None,
            "differs: a.b: reviewed: would be updated; really: no change",
        ),
        (
            moved(update(old(), both(json!("?"), json!(1)))),
            None,
            "differs: a.b: reviewed: would be updated, moved from a.was; really: no change",
        ),
        (
            moved(update(old(), both(json!("?"), json!(1)))),
            Some(moved(change(Action::Keep, old(), old()))),
            "refines: a.b: kept, not updated; a.b: x = \"a\"",
        ),
    ]);
}

#[test]
fn no_action_becomes_a_stronger_or_another_one() {
    let old = || json!({ "id": "i", "x": "a" });
    let new = |x: &str| json!({ "id": "i", "x": x });
    let all = |x: &str| {
        let replaced = |action| ResourceChange {
            action,
            ..replace(old(), json!({ "id": "?", "x": x }), &["x"])
        };
        vec![
            moved(change(Action::Keep, old(), old())),
            create(json!({ "id": "?", "x": x })),
            update(old(), new(x)),
            delete(old()),
            change(Action::Forget, old(), Json::Null),
            replaced(Action::Replace),
            replaced(Action::ReplaceCreateFirst),
            replaced(Action::ReplaceForget),
        ]
    };
    for reviewed in all("?") {
        for real in all("b") {
            let weaker = matches!(
                (reviewed.action, real.action),
                (Action::Replace | Action::ReplaceCreateFirst, Action::Update)
            );
            let said = told(&plan([reviewed.clone()]), &plan([real.clone()]), Between::Nothing);
            let yes = reviewed.action == real.action || weaker;
            assert_eq!(
                !said.starts_with("differs"),
                yes,
                "{:?} {:?}: {said}",
                reviewed.action,
                real.action
            );
        }
    }
}

#[test]
fn reasons_of_a_replacement_may_go_and_none_may_come() {
    let old = || json!({ "id": "i", "x": "a", "y": 1 });
    let to = |x: Json, y: Json, paths: &[&str]| replace(old(), json!({ "id": "?", "x": x, "y": y }), paths);
    table(vec![
        (
            to(json!("?"), json!(2), &["x", "y"]),
            Some(to(json!("a"), json!(2), &["y"])),
            "refines: a.b: x = \"a\"",
        ),
        (
            to(json!("?"), json!(2), &["x"]),
            Some(to(json!("b"), json!(2), &["x", "y"])),
            "differs: a.b: reviewed: \"because of x\"; really: \"because of x, y\"",
        ),
        (
            to(json!("?"), json!(2), &["x", "y"]),
            Some(to(json!("b"), json!(2), &["x"])),
            "differs: a.b: reviewed: \"because of x, y\"; really: \"because of x\"",
        ),
        // Another object would go than the one that was reviewed.
        (
            to(json!("?"), json!(1), &["x"]),
            Some(replace(
                json!({ "id": "j", "x": "a", "y": 1 }),
                json!({ "id": "?", "x": "b", "y": 1 }),
                &["x"],
            )),
            "differs: a.b: id of the old one: reviewed \"i\" -> null, really \"j\" -> null",
        ),
    ]);
}

#[test]
fn what_was_not_planned_was_not_reviewed() {
    let real = plan([create(json!({ "x": 1 })), elsewhere()]);
    assert_eq!(
        told(&plan([elsewhere()]), &real, Between::Nothing),
        "differs: a.b: reviewed: no change; really: would be created"
    );
    let gone = plan([elsewhere()]);
    for reviewed in [
        create(json!({ "x": "?" })),
        delete(json!({ "id": "i" })),
        moved(change(Action::Keep, json!({}), json!({}))),
    ] {
        let said = told(&plan([reviewed.clone(), elsewhere()]), &gone, Between::Nothing);
        assert!(said.starts_with("differs"), "{:?}: {said}", reviewed.action);
    }
}

#[test]
fn what_is_sensitive_is_compared_and_never_shown() {
    let to = |x: Json| create(json!({ "x": x }));
    table(vec![
        (to(json!("#aa")), Some(to(json!("#aa"))), "equal"),
        (
            to(json!("#aa")),
            Some(to(json!("#bb"))),
            "differs: a.b: x: reviewed (hidden), really changed, hidden",
        ),
        (to(json!("?")), Some(to(json!("#bb"))), "refines: a.b: x = (hidden)"),
        // The mark is gone: the value was not seen to be the same.
        (
            to(json!("#aa")),
            Some(to(json!("plain"))),
            "differs: a.b: x: reviewed (hidden), really \"plain\"",
        ),
        (
            to(json!({ "p": "#aa", "u": "?" })),
            Some(to(json!({ "p": "#bb", "u": 1 }))),
            "differs: a.b: x.p: reviewed (hidden), really changed, hidden",
        ),
    ]);
}

#[test]
fn what_rested_on_a_fallback_stops_and_says_where() {
    let to = |x: Json| update(json!({ "x": "a", "y": 1 }), json!({ "x": x, "y": 2 }));
    let with = |paths: &[&str]| Plan {
        unreviewed: BTreeMap::from([("a.b".to_owned(), paths.iter().map(|path| (*path).to_owned()).collect())]),
        ..plan([to(json!("b"))])
    };
    let real = |x: Json| plan([to(x)]);
    let stood = "(with a stand-in for a value that was not known)";
    for (reviewed, real, expected) in [
        (
            with(&["x"]),
            real(json!("c")),
            format!("differs: a.b: x: reviewed \"b\" {stood}, really \"c\""),
        ),
        // Also where it happens to come out the same: nobody knew that when it was reviewed.
        (
            with(&["x"]),
            real(json!("b")),
            format!("differs: a.b: x: reviewed \"b\" {stood}, really \"b\""),
        ),
        (
            with(&[""]),
            real(json!("b")),
            format!("differs: a.b: reviewed: would be updated {stood}; really: would be updated"),
        ),
        (with(&["x"]), Plan::default(), "refines: ".to_owned()),
    ] {
        assert_eq!(told(&reviewed, &real, Between::Nothing), expected);
    }
    assert_ne!(
        with(&["x"]).content(),
        plan([to(json!("b"))]).content(),
        "a ticket tells them apart"
    );
}

#[test]
fn an_output_refines_as_an_attribute_does() {
    let with = |before: Json, after: Json| Plan {
        outputs: BTreeMap::from([(
            "x".to_owned(),
            OutputChange {
                before: value(&before),
                after: value(&after),
            },
        )]),
        ..plan([elsewhere()])
    };
    let none = || plan([elsewhere()]);
    for (reviewed, real, expected) in [
        (
            with(json!("a"), json!("?")),
            with(json!("a"), json!("b")),
            "refines: output.x: \"b\"",
        ),
        (with(json!("a"), json!("?")), none(), "refines: output.x: \"a\""),
        (
            with(json!("a"), json!("b")),
            none(),
            "differs: output.x: reviewed: \"b\"; really: no change",
        ),
        (
            with(json!("a"), json!("?")),
            with(json!("z"), json!("b")),
            "differs: output.x: reviewed: (known after apply); really: \"b\"",
        ),
        (
            none(),
            with(json!("a"), json!("b")),
            "differs: output.x: reviewed: no change; really: \"b\"",
        ),
        (
            with(json!(["a"]), json!(["k", "?"])),
            with(json!(["a"]), json!(["j", "k"])),
            "refines: output.x: [\"j\", \"k\"]",
        ),
    ] {
        assert_eq!(told(&reviewed, &real, Between::Nothing), expected);
    }
}

#[test]
fn after_a_failed_apply_what_is_left_refines_the_rest() {
    let at = |address: &str, change: ResourceChange| ResourceChange {
        address: address.to_owned(),
        ..change
    };
    let open = |x: Json| at("a.open", update(json!({ "x": 1 }), json!({ "x": x })));
    let reviewed = plan([at("a.new", create(json!({ "x": "?" }))), open(json!("?"))]);
    let left = |change: ResourceChange| Plan {
        unchanged: BTreeSet::from(["a.new".to_owned()]),
        ..plan([change])
    };
    assert_eq!(
        told(&reviewed, &left(open(json!(2))), Between::FailedApply),
        "refines: a.open: x = 2"
    );
    assert_eq!(
        told(&reviewed, &left(open(json!(2))), Between::Nothing),
        "differs: a.new: reviewed: would be created; really: no change"
    );
    let tainted = at(
        "a.new",
        replace(json!({ "id": "i", "x": 5 }), json!({ "id": "?", "x": 5 }), &[]),
    );
    assert_eq!(
        told(&reviewed, &plan([tainted]), Between::FailedApply),
        "differs: a.new: reviewed: would be created; really: would be replaced (destroyed first)"
    );
}

#[test]
fn what_became_of_the_unknowns_is_bounded() {
    let many = |x: Json| {
        plan((0..500).map(|at| ResourceChange {
            address: format!("a.b{at:03}"),
            ..create(json!({ "x": x.clone() }))
        }))
    };
    match compare(&many(json!("?")), &many(json!("y")), Between::Nothing) {
        Comparison::Refines(became) => assert_eq!(became.len(), 50),
        other => panic!("{other:?}"),
    }
    let mut stood = many(json!("y"));
    stood.unreviewed = (0..500)
        .map(|at| (format!("a.b{at:03}"), BTreeSet::from(["x".to_owned()])))
        .collect();
    match compare(&stood, &many(json!("y")), Between::Nothing) {
        Comparison::Differs(difference) => {
            assert_eq!(difference.lines.len(), 51);
            assert_eq!(difference.lines[50], "and 450 more");
        }
        other => panic!("{other:?}"),
    }
}
