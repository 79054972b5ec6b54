//! Owns the laws of refinement, over plans of one state of the world.

use std::collections::BTreeMap;

use proptest::prelude::{
    BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest,
};
use proptest::{collection, option, sample};

use super::{plan, replace, told, value};
use crate::domain::plan::change::{Action, OutputChange, Plan, ResourceChange};
use crate::domain::plan::compare::{Between, Comparison, compare};
use crate::domain::plan::value::Value;
use serde_json::json;

const ADDRESSES: [&str; 3] = ["a.a", "a.b", "a.c[0]"];

/// What is really there, the same for every plan.
fn before() -> Value {
    value(&json!({ "id": "i", "x": 1, "l": [1, 2], "m": { "k": 1 } }))
}

fn scalar() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        3 => Just(Value::Unknown),
        2 => Just(value(&json!(1))),
        2 => Just(value(&json!(2))),
        1 => Just(Value::Null),
        1 => Just(value(&json!("#aa"))),
        1 => Just(value(&json!("#bb"))),
    ]
}

fn known() -> impl Strategy<Value = Value> {
    sample::select(vec![value(&json!(1)), value(&json!(2)), value(&json!(3)), Value::Null])
}

fn map(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Map(
        entries
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn element() -> BoxedStrategy<Value> {
    prop_oneof![
        4 => scalar(),
        1 => (scalar(), scalar()).prop_map(|(k, l)| map([("k", k), ("l", l)])),
    ]
    .boxed()
}

fn list() -> BoxedStrategy<Value> {
    prop_oneof![
        1 => Just(Value::Unknown),
        1 => Just(value(&json!([1, 2]))),
        3 => collection::vec(element(), 0..4).prop_map(Value::List),
    ]
    .boxed()
}

fn after() -> BoxedStrategy<Value> {
    let x = prop_oneof![2 => Just(value(&json!(1))), 3 => scalar()];
    let m = prop_oneof![
        2 => Just(value(&json!({ "k": 1 }))),
        1 => Just(Value::Unknown),
        2 => (scalar(), option::of(scalar())).prop_map(|(k, j)| map([("k", k)].into_iter().chain(j.map(|j| ("j", j))))),
    ];
    let all = (x, list(), m);
    all.prop_map(|(x, l, m)| map([("id", value(&json!("i"))), ("x", x), ("l", l), ("m", m)]))
        .boxed()
}

/// As the tool would put it: what changes nothing is in no plan, and what replaces says why.
fn as_planned(address: &str, action: Action, after: Value) -> Option<ResourceChange> {
    let mut change = ResourceChange {
        address: address.to_owned(),
        ..replace(json!({}), json!({}), &[])
    };
    change.action = action;
    change.before = before();
    change.after = after;
    match action {
        Action::Create => change.before = Value::Null,
        Action::Delete => change.after = Value::Null,
        Action::Update | Action::Replace if change.before == change.after => return None,
        Action::Replace => {
            if change.after.attribute("x") != change.before.attribute("x") {
                change.replace_paths.insert("x".to_owned());
            }
        }
        Action::Keep => {
            change.after = before();
            change.previous_address = Some("a.was".to_owned());
        }
        Action::Update | Action::ReplaceCreateFirst | Action::Forget | Action::ReplaceForget => {}
    }
    Some(change)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Update),
        2 => Just(Action::Create),
        2 => Just(Action::Replace),
        1 => Just(Action::Delete),
        1 => Just(Action::Keep),
    ]
}

fn plans() -> BoxedStrategy<Plan> {
    let resource = || option::weighted(0.6, (action(), after()));
    let output = option::weighted(0.4, list());
    let all = ([resource(), resource(), resource()], output);
    all.prop_map(|(resources, output)| {
        let changes = resources.into_iter().zip(ADDRESSES);
        let changes = changes
            .filter_map(|(change, address)| change.and_then(|(action, after)| as_planned(address, action, after)));
        let output = output.map(|after| OutputChange {
            before: value(&json!([1, 2])),
            after,
        });
        let output = output.filter(|output| output.before != output.after);
        Plan {
            outputs: output.map(|output| ("x".to_owned(), output)).into_iter().collect(),
            ..plan(changes)
        }
    })
    .boxed()
}

/// Draws what unknowns become.
struct Learning {
    seeds: Vec<u8>,
    at: usize,
}

impl Learning {
    fn next(&mut self, below: usize) -> usize {
        let seed = self.seeds.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        usize::from(seed) % below
    }

    fn value(&mut self, of: &Value, old: &Value) -> Value {
        match of {
            Value::Unknown => match self.next(5) {
                0 => Value::Unknown,
                1 => old.clone(),
                2 => value(&json!(["?", 7])),
                3 => value(&json!("#cc")),
                _ => value(&json!(9)),
            },
            Value::Map(entries) => {
                let one = |(name, inner): (&String, &Value)| (name.clone(), self.value(inner, old.attribute(name)));
                Value::Map(entries.iter().map(one).collect())
            }
            Value::List(items) => {
                let mut items: Vec<Value> = items.iter().map(|item| self.value(item, &Value::Null)).collect();
                // A set shows its elements in another order once they are known.
                if of.has_unknown() && !items.is_empty() {
                    let by = self.next(items.len());
                    items.rotate_left(by);
                }
                Value::List(items)
            }
            known => known.clone(),
        }
    }

    /// The same plan made again when more is known.
    fn plan(&mut self, of: &Plan) -> Plan {
        let mut learned = Plan::default();
        for change in &of.resources {
            let all_open = crate::domain::plan::refine::differed_in_unknowns(change);
            let mut new = ResourceChange {
                after: self.value(&change.after, &change.before),
                ..change.clone()
            };
            let same = |name: &str| new.after.attribute(name) == new.before.attribute(name);
            let stays = change.action == Action::Update && new.after == new.before;
            if change.action == Action::Replace && same("x") {
                new.replace_paths.clear();
                if all_open && !change.replace_paths.is_empty() {
                    new.action = Action::Update;
                }
            }
            match stays || (new.action == Action::Update && new.after == new.before) {
                true => drop(learned.unchanged.insert(new.address)),
                false => learned.resources.push(new),
            }
        }
        for (name, output) in &of.outputs {
            let new = OutputChange {
                before: output.before.clone(),
                after: self.value(&output.after, &output.before),
            };
            if new.before != new.after {
                learned.outputs.insert(name.clone(), new);
            }
        }
        learned
    }
}

fn seeds() -> impl Strategy<Value = Vec<u8>> {
    collection::vec(any::<u8>(), 24)
}

fn learned(of: &Plan, seeds: Vec<u8>) -> Plan {
    Learning { seeds, at: 0 }.plan(of)
}

fn goes_on(reviewed: &Plan, real: &Plan) -> bool {
    match compare(reviewed, real, Between::Nothing) {
        Comparison::Equal | Comparison::Refines(_) => true,
        Comparison::Differs(_) => false,
    }
}

fn has_unknown(plan: &Plan) -> bool {
    plan.resources.iter().any(|change| change.after.has_unknown())
        || plan.outputs.values().any(|output| output.after.has_unknown())
}

/// A number that stands in every value here once more, changed.
fn other(of: &Value) -> Option<Value> {
    match of {
        Value::Number(_) | Value::Hidden(_) => Some(value(&json!("another"))),
        Value::List(items) if !of.has_unknown() => {
            let mut items = items.clone();
            items.push(value(&json!(4)));
            Some(Value::List(items))
        }
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) | Value::Unknown => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_itself(plan in plans()) {
        prop_assert_eq!(compare(&plan, &plan, Between::Nothing), Comparison::Equal);
        prop_assert_eq!(compare(&plan, &plan, Between::FailedApply), Comparison::Equal);
    }

    #[test]
    fn a_plan_that_knows_more_refines(plan in plans(), more in seeds(), most in seeds()) {
        let real = learned(&plan, more);
        prop_assert!(goes_on(&plan, &real), "{:#?} {:#?}: {}", plan, real, told(&plan, &real, Between::Nothing));
        // And so on: what is learned later never turns the yes into a no.
        let later = learned(&real, most);
        prop_assert!(goes_on(&real, &later), "{:#?} {:#?}: {}", real, later, told(&real, &later, Between::Nothing));
        prop_assert!(goes_on(&plan, &later), "{:#?} {:#?}: {}", plan, later, told(&plan, &later, Between::Nothing));
    }

    #[test]
    fn it_is_transitive(a in plans(), b in plans(), c in plans(), more in seeds(), most in seeds()) {
        let related = learned(&a, more);
        let further = learned(&related, most);
        for (a, b, c) in [(&a, &b, &c), (&a, &related, &c), (&a, &related, &further), (&b, &related, &further)] {
            prop_assert!(!goes_on(a, b) || !goes_on(b, c) || goes_on(a, c), "{:#?} {:#?} {:#?}", a, b, c);
        }
    }

    #[test]
    fn where_nothing_was_unknown_nothing_refines(a in plans(), b in plans()) {
        let a = learned(&a, vec![4; 500]);
        prop_assert!(!has_unknown(&a), "{:#?}", a);
        prop_assume!(!b.is_empty());
        let said = compare(&a, &b, Between::Nothing);
        prop_assert!(!matches!(said, Comparison::Refines(_)), "{:?}", said);
        prop_assert_eq!(said == Comparison::Equal, a.content() == b.content());
    }

    #[test]
    fn equal_means_the_same_content(a in plans(), more in seeds()) {
        let b = learned(&a, more);
        let equal = compare(&a, &b, Between::Nothing) == Comparison::Equal;
        prop_assert_eq!(equal, a.content() == b.content());
    }

    #[test]
    fn a_known_value_that_differs_is_a_difference(
        plan in plans(), more in seeds(), which in sample::select(vec!["x", "l"]), at in 0..3usize,
    ) {
        let Some(reviewed) = plan.resources.get(at).filter(|change| !matches!(change.action, Action::Delete | Action::Keep)) else {
            return Ok(());
        };
        let Some(changed) = other(reviewed.after.attribute(which)) else { return Ok(()) };
        let mut real = learned(&plan, more);
        let Some(found) = real.resources.iter_mut().find(|change| change.address == reviewed.address) else {
            return Ok(());
        };
        if let Value::Map(attributes) = &mut found.after {
            attributes.insert(which.to_owned(), changed);
        }
        prop_assert!(!goes_on(&plan, &real), "{:#?} {:#?}", plan, real);
    }

    #[test]
    fn no_order_matters(plan in plans(), more in seeds(), by in 0..3usize) {
        let real = learned(&plan, more);
        let turned = |of: &Plan| {
            let mut of = of.clone();
            let by = by.min(of.resources.len());
            of.resources.rotate_left(by);
            of.resources.reverse();
            of
        };
        let said = compare(&plan, &real, Between::Nothing);
        prop_assert_eq!(&compare(&turned(&plan), &real, Between::Nothing), &said);
        prop_assert_eq!(&compare(&plan, &turned(&real), Between::Nothing), &said);
    }

    #[test]
    fn the_order_of_a_set_does_not_matter(items in collection::vec(element(), 1..6), become_ in collection::vec(known(), 6), by in 0..6usize) {
        prop_assume!(items.iter().any(Value::has_unknown));
        let fill = |(at, item): (usize, &Value)| if item.has_unknown() {
            let mut learning = Learning { seeds: vec![4; 9], at: 0 };
            match item { Value::Unknown => become_[at].clone(), part => learning.value(part, &Value::Null) }
        } else { item.clone() };
        let mut real: Vec<Value> = items.iter().enumerate().map(fill).collect();
        let len = real.len();
        real.rotate_left(by % len);
        prop_assert!(crate::domain::plan::refine::may_become(&Value::List(items), &Value::List(real)));
    }

    #[test]
    fn a_plan_that_changes_nothing_refines_every_other(mut plan in plans(), fell_back in any::<bool>()) {
        if fell_back {
            plan.unreviewed = BTreeMap::from([("a.a".to_owned(), ["x".to_owned()].into())]);
        }
        prop_assert!(goes_on(&plan, &Plan::default()));
    }

    #[test]
    fn what_rested_on_a_fallback_never_goes_on_to_a_change(mut plan in plans(), more in seeds()) {
        let real = learned(&plan, more);
        plan.unreviewed = BTreeMap::from([("a.a".to_owned(), ["x".to_owned()].into())]);
        prop_assert_eq!(goes_on(&plan, &real), real.is_empty());
    }
}
