//! Owns the comparison of a reviewed plan with the real one: may the apply go on under the same ticket?

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::plan::change::{Action, NOTHING, OutputChange, Plan, ResourceChange};
use crate::domain::plan::refine::{
    Sides, Strength, differed_in_unknowns, may_become, may_come_to_nothing, places, same_or_fewer_reasons, strength,
};
use crate::domain::plan::value::{Delta, Value};
use crate::domain::plan::{Became, Difference};

/// What happened between the two plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    Nothing,
    /// An apply of the reviewed plan failed or was interrupted: what it had done counts as done.
    FailedApply,
}

/// What the real plan is to the reviewed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// The same changes (or what a failed apply left of them): goes on under the same ticket.
    Equal,
    /// The same, but for what was unknown when it was reviewed: goes on under the same ticket. The first 50 of those
    /// and what they became.
    Refines(Vec<Became>),
    Differs(Difference),
}

/// One thing that is not what was reviewed.
struct Entry {
    /// A resource's address, or `output.NAME`.
    subject: String,
    /// `None`: the whole of it.
    attribute: Option<String>,
    reviewed: String,
    real: String,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry {
            subject,
            attribute,
            reviewed,
            real,
        } = self;
        match attribute {
            Some(attribute) => write!(f, "{subject}: {attribute}: reviewed {reviewed}, really {real}"),
            None => write!(f, "{subject}: reviewed: {reviewed}; really: {real}"),
        }
    }
}

/// What was found so far: the first 50 differences in words and how many more, and what unknowns became.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    more: u32,
    /// How often something differed, told or not.
    differed: usize,
    became: Vec<Became>,
    /// Whether anything is not exactly what was reviewed.
    refined: bool,
}

/// The most entries a difference holds, and the most unknowns whose end is told.
const MOST: usize = 50;

/// The longest name of a subject or an attribute, in characters.
const NAME: usize = 500;

/// Whether what would really happen is what was reviewed, where that was known. A real plan that changes nothing
/// always is. What rested on a fallback was not reviewed, and neither was an instance that the reviewed plan did not
/// have. Over plans of the same state of the world this is an order: reflexive for final plans, and transitive.
pub fn compare(reviewed: &Plan, real: &Plan, between: Between) -> Comparison {
    let mut found = Found::default();
    if !real.is_empty() {
        unreviewed(reviewed, real, &mut found);
    }
    resources(reviewed, real, between, &mut found);
    outputs(reviewed, real, between, &mut found);
    let mut lines: Vec<String> = found.entries.iter().map(Entry::to_string).collect();
    if found.more > 0 {
        lines.push(format!("and {} more", found.more));
    }
    match (lines.is_empty(), found.refined) {
        (true, false) => Comparison::Equal,
        (false, _) if !real.is_empty() => Comparison::Differs(Difference { lines }),
        (true, true) | (false, _) => Comparison::Refines(found.became),
    }
}

impl Found {
    fn push(&mut self, subject: &str, attribute: Option<String>, reviewed: impl Into<String>, real: impl Into<String>) {
        self.differed += 1;
        let subject: String = subject.chars().take(NAME).collect();
        let attribute: Option<String> = attribute.map(|name| name.chars().take(NAME).collect());
        let is_told = |entry: &Entry| entry.subject == subject && entry.attribute == attribute;
        if self.entries.iter().any(is_told) {
            return;
        }
        if self.entries.len() == MOST {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.entries.push(Entry {
            subject,
            attribute,
            reviewed: reviewed.into(),
            real: real.into(),
        });
    }

    fn became(&mut self, subject: &str, attribute: Option<&str>, value: impl Into<String>) {
        self.refined = true;
        if self.became.len() < MOST {
            self.became.push(Became {
                subject: subject.chars().take(NAME).collect(),
                attribute: attribute.map(|name| name.chars().take(NAME).collect()),
                value: value.into(),
            });
        }
    }
}

type Key<'a> = (&'a str, Option<&'a str>);

fn by_key(plan: &Plan) -> BTreeMap<Key<'_>, &ResourceChange> {
    plan.resources
        .iter()
        .map(|change| ((change.address.as_str(), change.deposed.as_deref()), change))
        .collect()
}

/// A stand-in was planned with, because the value itself was not known where the tool insists on one.
fn unreviewed(reviewed: &Plan, real: &Plan, found: &mut Found) {
    let (old, new) = (by_key(reviewed), by_key(real));
    for (subject, paths) in &reviewed.unreviewed {
        let key = (subject.as_str(), None);
        let output = subject.strip_prefix("output.");
        for path in paths {
            // What is counted and not told need not be looked up.
            if found.entries.len() == MOST {
                found.more = found.more.saturating_add(1);
                continue;
            }
            let at = |change: Option<&&ResourceChange>, plan: &Plan| -> Option<String> {
                match (change, output.and_then(|name| plan.outputs.get(name))) {
                    (Some(change), _) if path.is_empty() => Some(planned(change)),
                    (Some(change), _) => {
                        let deltas = change.effect().deltas;
                        let delta = deltas.iter().find(|delta| delta.path == *path);
                        delta.map(|delta| delta.after.shown())
                    }
                    (None, Some(output)) => Some(output.after.shown()),
                    (None, None) => None,
                }
            };
            let stood = at(old.get(&key), reviewed).map_or_else(
                || "with a stand-in for a value that was not known".to_owned(),
                |value| format!("{value} (with a stand-in for a value that was not known)"),
            );
            let really = at(new.get(&key), real).unwrap_or_else(|| "no change".to_owned());
            let attribute = (!path.is_empty()).then(|| path.clone());
            found.push(subject, attribute, stood, really);
        }
    }
}

fn resources(reviewed: &Plan, real: &Plan, between: Between, found: &mut Found) {
    let (old, new) = (by_key(reviewed), by_key(real));
    let keys: BTreeSet<Key<'_>> = old.keys().chain(new.keys()).copied().collect();
    for key in keys {
        match (old.get(&key), new.get(&key)) {
            (Some(old), Some(new)) => changed(old, new, found),
            (Some(old), None) if is_done(old, real, between) => {}
            (Some(old), None) if may_come_to_nothing(old) => found.became(&old.address, None, "no change"),
            (Some(old), None) => found.push(&subject(key), None, planned(old), "no change"),
            (None, Some(new)) => found.push(&subject(key), None, "no change", planned(new)),
            (None, None) => {}
        }
    }
}

fn subject((address, deposed): Key<'_>) -> String {
    match deposed {
        Some(deposed) => format!("{address} (deposed {deposed})"),
        None => address.to_owned(),
    }
}

fn planned(change: &ResourceChange) -> String {
    let mut words = format!("would be {}", change.action.participle());
    if let Some(previous) = &change.previous_address {
        words = format!("{words}, moved from {}", previous.chars().take(200).collect::<String>());
    }
    match &change.importing {
        Some(id) => format!("{words}, imported by {}", id.shown()),
        None => words,
    }
}

/// After a failed apply: an object that the reviewed plan made or changed is there and stays as it is; one that it
/// destroyed or forgot is in no plan any more.
fn is_done(reviewed: &ResourceChange, real: &Plan, between: Between) -> bool {
    match (between, reviewed.action) {
        (Between::Nothing, _) => false,
        (Between::FailedApply, Action::Delete | Action::Forget) => {
            reviewed.deposed.is_some() || !real.unchanged.contains(&reviewed.address)
        }
        (
            Between::FailedApply,
            Action::Keep
            | Action::Create
            | Action::Update
            | Action::Replace
            | Action::ReplaceCreateFirst
            | Action::ReplaceForget,
        ) => real.unchanged.contains(&reviewed.address),
    }
}

fn changed(reviewed: &ResourceChange, real: &ResourceChange, found: &mut Found) {
    let (old, new) = (reviewed.effect(), real.effect());
    if old == new {
        return;
    }
    let address = &real.address;
    let differed = found.differed;
    let may = match strength(reviewed.action, real.action) {
        Strength::Same => true,
        Strength::Weaker => differed_in_unknowns(reviewed),
        Strength::Another => false,
    };
    if !may || (old.previous_address, old.importing) != (new.previous_address, new.importing) {
        found.push(address, None, planned(reviewed), planned(real));
        return;
    }
    if reviewed.action != real.action {
        found.became(
            address,
            None,
            format!("{}, not {}", real.action.participle(), reviewed.action.participle()),
        );
    } else if !same_or_fewer_reasons(reviewed, real) {
        let because = |change: &ResourceChange| {
            let names: Vec<&str> = change.replace_paths.iter().map(String::as_str).collect();
            Value::Text(format!("because of {}", names.join(", "))).shown()
        };
        found.push(address, None, because(reviewed), because(real));
    }
    let (before, after) = sides(reviewed, real);
    let at = places(before, after);
    for (path, reviewed, real) in at.differ {
        let (reviewed, real) = shown(changing(reviewed).as_ref(), changing(real).as_ref());
        found.push(address, Some(path), reviewed, real);
    }
    for (path, value) in at.became {
        found.became(address, Some(&path), value.shown());
    }
    if reviewed.action == real.action {
        attributes(address, &reviewed.identity(), &real.identity(), found);
    }
    // They are not equal: where nothing was unknown, there is no way but to differ.
    if found.differed == differed && !reviewed.after.has_unknown() {
        found.push(
            address,
            None,
            planned(reviewed),
            format!("{}, in another way", planned(real)),
        );
    }
    found.refined = true;
}

/// What is compared place by place: all of an object that is made, and of one that is changed what changes.
fn sides<'a>(reviewed: &'a ResourceChange, real: &'a ResourceChange) -> (Sides<'a>, Sides<'a>) {
    let of = |change: &'a ResourceChange| match real.action {
        Action::Update | Action::Keep => Sides {
            before: &change.before,
            after: &change.after,
        },
        Action::Create | Action::Replace | Action::ReplaceCreateFirst | Action::ReplaceForget => Sides {
            before: &NOTHING,
            after: &change.after,
        },
        Action::Delete | Action::Forget => Sides::staying(&NOTHING),
    };
    (of(reviewed), of(real))
}

fn changing(sides: Sides<'_>) -> Option<(Value, Value)> {
    (!sides.stays()).then(|| (sides.before.clone(), sides.after.clone()))
}

fn attributes(subject: &str, old: &[Delta<'_>], new: &[Delta<'_>], found: &mut Found) {
    let by_path = |deltas: &[Delta<'_>]| -> BTreeMap<String, (Value, Value)> {
        let entry = |delta: &Delta<'_>| (delta.path.clone(), (delta.before.clone(), delta.after.clone()));
        deltas.iter().map(entry).collect()
    };
    let (old, new) = (by_path(old), by_path(new));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for path in paths {
        let (old, new) = (old.get(path), new.get(path));
        if old != new {
            let (reviewed, real) = shown(old, new);
            found.push(subject, Some(path.clone()), reviewed, real);
        }
    }
}

/// Both sides in words, with the old value where only that differs; hidden values say only that they changed.
fn shown(reviewed: Option<&(Value, Value)>, real: Option<&(Value, Value)>) -> (String, String) {
    let same_target = matches!((reviewed, real), (Some((_, old)), Some((_, new))) if old == new);
    let words = |delta: Option<&(Value, Value)>| match delta {
        None => "no change".to_owned(),
        Some((before, after)) if same_target => format!("{} -> {}", before.shown(), after.shown()),
        Some((_, after)) => after.shown(),
    };
    match (words(reviewed), words(real)) {
        (old, new) if old == new => (old, "changed, hidden".to_owned()),
        both => both,
    }
}

fn outputs(reviewed: &Plan, real: &Plan, between: Between, found: &mut Found) {
    let names: BTreeSet<&String> = reviewed.outputs.keys().chain(real.outputs.keys()).collect();
    for name in names {
        let subject = format!("output.{name}");
        match (reviewed.outputs.get(name), real.outputs.get(name)) {
            (old, new) if old == new => {}
            (Some(_), None) if between == Between::FailedApply => {}
            (Some(old), None) if old.after.has_unknown() && may_become(&old.after, &old.before) => {
                found.became(&subject, None, old.before.shown());
            }
            (Some(old), Some(new))
                if old.after.has_unknown() && old.before == new.before && may_become(&old.after, &new.after) =>
            {
                found.became(&subject, None, new.after.shown());
            }
            (old, new) => {
                let pair = |change: Option<&OutputChange>| change.map(|c| (c.before.clone(), c.after.clone()));
                let (reviewed, real) = shown(pair(old).as_ref(), pair(new).as_ref());
                found.push(&subject, None, reviewed, real);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(
            entries
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn resource(address: &str, action: Action, before: Value, after: Value) -> ResourceChange {
        ResourceChange {
            address: address.to_owned(),
            deposed: None,
            previous_address: None,
            kind: "terraform_data".to_owned(),
            action,
            before,
            after,
            replace_paths: BTreeSet::new(),
            importing: None,
        }
    }

    fn plan(resources: Vec<ResourceChange>) -> Plan {
        Plan {
            resources,
            ..Plan::default()
        }
    }

    fn update(before: &str, after: &str) -> ResourceChange {
        let side = |text: &str| {
            map(&[
                ("id", Value::text("i")),
                ("size", Value::text(text)),
                ("seen", Value::text(before)),
            ])
        };
        resource(
            "a.b",
            Action::Update,
            side(before),
            map(&[
                ("id", Value::text("i")),
                ("size", Value::text(after)),
                ("seen", Value::text(before)),
            ]),
        )
    }

    fn create(input: Value) -> ResourceChange {
        resource(
            "a.new",
            Action::Create,
            Value::Null,
            map(&[("input", input), ("id", Value::Unknown)]),
        )
    }

    fn delete(id: &str, other: &str) -> ResourceChange {
        resource(
            "a.old",
            Action::Delete,
            map(&[("id", Value::text(id)), ("seen", Value::text(other))]),
            Value::Null,
        )
    }

    fn lines(reviewed: &Plan, real: &Plan, between: Between) -> Vec<String> {
        match compare(reviewed, real, between) {
            Comparison::Equal | Comparison::Refines(_) => Vec::new(),
            Comparison::Differs(difference) => difference.lines,
        }
    }

    #[test]
    fn what_differs_is_told_in_words() {
        let hidden = |hash: &str| create(Value::Hidden(hash.to_owned()));
        let table: Vec<(ResourceChange, Option<ResourceChange>, &str)> = vec![
            (update("2", "3"), Some(update("2", "3")), ""),
            (
                update("2", "3"),
                Some(update("2", "4")),
                "a.b: size: reviewed \"3\", really \"4\"",
            ),
            (
                update("2", "5"),
                Some(update("4", "5")),
                "a.b: size: reviewed \"2\" -> \"5\", really \"4\" -> \"5\"",
            ),
            (
                create(Value::text("x")),
                Some(create(Value::Unknown)),
                "a.new: input: reviewed \"x\", really (known after apply)",
            ),
            (hidden("aa"), Some(hidden("aa")), ""),
            (
                hidden("aa"),
                Some(hidden("bb")),
                "a.new: input: reviewed (hidden), really changed, hidden",
            ),
            (delete("1", "x"), Some(delete("1", "y")), ""),
            (
                delete("1", "x"),
                Some(delete("2", "x")),
                "a.old: id: reviewed \"1\" -> null, really \"2\" -> null",
            ),
        ];
        for (reviewed, real, told) in table {
            let (reviewed, real) = (plan(vec![reviewed]), plan(real.into_iter().collect()));
            assert_eq!(lines(&reviewed, &real, Between::Nothing).join("; "), told);
            assert_eq!(
                told.is_empty(),
                reviewed.content() == real.content(),
                "digest and comparison agree: {told}"
            );
        }
    }

    #[test]
    fn a_stronger_action_differs() {
        let mut replaced = update("2", "3");
        replaced.action = Action::Replace;
        let told = lines(&plan(vec![update("2", "3")]), &plan(vec![replaced]), Between::Nothing);
        assert_eq!(
            told,
            ["a.b: reviewed: would be updated; really: would be replaced (destroyed first)"]
        );
    }

    #[test]
    fn what_a_failed_apply_had_done_counts_as_done() {
        let reviewed = plan(vec![create(Value::text("x")), delete("1", "x"), update("2", "3")]);
        let left = Plan {
            unchanged: BTreeSet::from(["a.new".to_owned()]),
            ..plan(vec![update("2", "3")])
        };
        assert_eq!(compare(&reviewed, &left, Between::FailedApply), Comparison::Equal);
        assert_eq!(lines(&reviewed, &left, Between::Nothing).len(), 2);
        // the created object is neither there nor planned: something else happened
        let gone = plan(vec![update("2", "3")]);
        assert_eq!(
            lines(&reviewed, &gone, Between::FailedApply),
            ["a.new: reviewed: would be created; really: no change"]
        );
        // a tainted object would be replaced
        let mut tainted = create(Value::text("x"));
        tainted.action = Action::Replace;
        let tainted = plan(vec![tainted, update("2", "3")]);
        assert_eq!(lines(&reviewed, &tainted, Between::FailedApply).len(), 1);
    }

    #[test]
    fn an_output_is_compared_too() {
        let with = |before: &str, after: &str| Plan {
            outputs: BTreeMap::from([(
                "x".to_owned(),
                OutputChange {
                    before: Value::text(before),
                    after: Value::text(after),
                },
            )]),
            ..Plan::default()
        };
        assert_eq!(
            compare(&with("a", "b"), &with("a", "b"), Between::Nothing),
            Comparison::Equal
        );
        assert_eq!(
            lines(&with("a", "b"), &with("a", "c"), Between::Nothing),
            ["output.x: reviewed: \"b\"; really: \"c\""]
        );
        assert_eq!(
            compare(&with("a", "b"), &Plan::default(), Between::FailedApply),
            Comparison::Equal
        );
        let elsewhere = plan(vec![create(Value::text("x"))]);
        assert!(!lines(&with("a", "b"), &elsewhere, Between::Nothing).is_empty());
    }

    #[test]
    fn a_difference_is_bounded() {
        let many = |size: &str| {
            plan(
                (0..500)
                    .map(|n| {
                        let mut one = update("1", size);
                        one.address = format!("a.b{n:03}");
                        one
                    })
                    .collect(),
            )
        };
        let told = lines(&many("2"), &many("3"), Between::Nothing);
        assert_eq!(told.len(), 51);
        assert_eq!(told[50], "and 450 more");
    }
}
