//! Owns refinement: what a value or a change that was unknown when it was reviewed may really become.

use std::collections::BTreeSet;

use crate::domain::plan::change::{Action, ResourceChange};
use crate::domain::plan::value::{Value, deltas};

/// The elements of a list that are known in part are matched in any order as long as there are so many pairs of them;
/// beyond that, in their own order.
const MOST_PAIRS: usize = 4096;

/// Whether a value that was reviewed may really be that one: equal, or unknown where they differ. The elements of a
/// list with something unknown in it may stand in another order: it may be a set, which the tool's JSON does not tell
/// from a list and shows with the unknown elements last.
pub fn may_become(reviewed: &Value, real: &Value) -> bool {
    match (reviewed, real) {
        (Value::Unknown, _) => true,
        (reviewed, real) if !reviewed.has_unknown() => reviewed == real,
        (Value::Map(old), Value::Map(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            names
                .into_iter()
                .all(|name| may_become(reviewed.attribute(name), real.attribute(name)))
        }
        (Value::List(old), Value::List(new)) => old.len() == new.len() && in_any_order(old, new),
        (
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::Hidden(_),
            _,
        ) => false,
    }
}

/// Two lists of one length as multisets. An element that is known takes an equal one, which of them does not matter;
/// one that is known in part takes one it may become; the rest is for those that are unknown altogether.
fn in_any_order(old: &[Value], new: &[Value]) -> bool {
    let mut left: Vec<&Value> = new.iter().collect();
    left.sort();
    let (known, open): (Vec<&Value>, Vec<&Value>) = old.iter().partition(|value| !value.has_unknown());
    let mut known = known;
    known.sort();
    let mut known = known.into_iter().peekable();
    left.retain(|value| known.next_if(|next| next == value).is_none());
    if known.peek().is_some() {
        return false;
    }
    let partly: Vec<&Value> = open.into_iter().filter(|value| !value.is_unknown()).collect();
    if partly.len() * left.len() > MOST_PAIRS {
        return old.iter().zip(new).all(|(old, new)| may_become(old, new));
    }
    matching(&partly, &left)
}

/// Whether each of `partly` can have one of `left` for itself (Kuhn's algorithm for bipartite matching).
fn matching(partly: &[&Value], left: &[&Value]) -> bool {
    let may: Vec<Vec<usize>> = partly
        .iter()
        .map(|old| (0..left.len()).filter(|at| may_become(old, left[*at])).collect())
        .collect();
    let mut taken: Vec<Option<usize>> = vec![None; left.len()];
    (0..partly.len()).all(|old| takes(old, &may, &mut taken, &mut vec![false; left.len()]))
}

fn takes(old: usize, may: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for &at in &may[old] {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        if taken[at].is_none_or(|other| takes(other, may, taken, seen)) {
            taken[at] = Some(old);
            return true;
        }
    }
    false
}

/// One place of an object before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides<'a> {
    pub before: &'a Value,
    pub after: &'a Value,
}

impl<'a> Sides<'a> {
    /// A value that nothing happens to.
    pub fn staying(value: &'a Value) -> Self {
        Sides {
            before: value,
            after: value,
        }
    }

    pub fn stays(&self) -> bool {
        self.before == self.after
    }
}

/// What was found at the places of one object.
#[derive(Debug, Default)]
pub struct Places<'a> {
    /// Where something else happens than was reviewed: the path, what was reviewed, what really happens.
    pub differ: Vec<(String, Sides<'a>, Sides<'a>)>,
    /// What was unknown and what it is now.
    pub became: Vec<(String, &'a Value)>,
}

/// Compares what happens to one object place by place, at the smallest places that both plans have. Where nothing was
/// unknown the same must happen; what stays as it is in both plans may have moved in the real world and does not matter.
pub fn places<'a>(reviewed: Sides<'a>, real: Sides<'a>) -> Places<'a> {
    let mut found = Places::default();
    walk(String::new(), reviewed, real, &mut found);
    found
}

fn walk<'a>(path: String, reviewed: Sides<'a>, real: Sides<'a>, found: &mut Places<'a>) {
    if reviewed == real || (reviewed.stays() && real.stays()) {
        return;
    }
    let now = match real.stays() {
        true => reviewed.before,
        false => real.after,
    };
    if *reviewed.after == Value::Unknown && came_to(reviewed, real) {
        found.became.push((path, now));
        return;
    }
    let Some(parts) = parts(&path, reviewed, real) else {
        match came_to(reviewed, real) {
            true => found.became.push((path, now)),
            false => found.differ.push((path, reviewed, real)),
        }
        return;
    };
    let mut inner = Places::default();
    for (path, reviewed, real) in parts {
        walk(path, reviewed, real, &mut inner);
    }
    // In their own order they are not the same: they may be those of a set.
    if !inner.differ.is_empty() && matches!(now, Value::List(_)) && came_to(reviewed, real) {
        found.became.push((path, now));
        return;
    }
    found.differ.append(&mut inner.differ);
    found.became.append(&mut inner.became);
}

/// Whether what was unknown came to what really happens here: to a change from the same value, or to none at all.
fn came_to(reviewed: Sides<'_>, real: Sides<'_>) -> bool {
    if !reviewed.after.has_unknown() {
        return false;
    }
    match real.stays() {
        true => may_become(reviewed.after, reviewed.before),
        false => reviewed.before == real.before && may_become(reviewed.after, real.after),
    }
}

type Part<'a> = (String, Sides<'a>, Sides<'a>);

static UNKNOWN: Value = Value::Unknown;

/// The places inside, where both plans have the same ones: what is an object (or a list of as many elements) in each.
fn parts<'a>(path: &str, reviewed: Sides<'a>, real: Sides<'a>) -> Option<Vec<Part<'a>>> {
    let values = [reviewed.before, reviewed.after, real.before, real.after];
    // Both make it anew: then nothing of it was anything before.
    let anew = reviewed.after.has_unknown() && [reviewed.before, real.before] == [&Value::Null; 2];
    let counts = |at: usize| match values[at] {
        Value::Unknown => at == 1,
        Value::Null => anew && matches!(at, 0 | 2),
        _ => false,
    };
    let each = |fits: &dyn Fn(&Value) -> bool| (0..4).all(|at| fits(values[at]) || counts(at));
    let inside = |part: &dyn Fn(&'a Value) -> &'a Value| {
        let side = |sides: Sides<'a>| Sides {
            before: part(sides.before),
            after: part(sides.after),
        };
        (side(reviewed), side(real))
    };
    match real.after {
        Value::Map(_) if each(&|value| matches!(value, Value::Map(_))) => {
            let mut names: BTreeSet<&'a String> = BTreeSet::new();
            for value in values {
                if let Value::Map(attributes) = value {
                    names.extend(attributes.keys());
                }
            }
            let part = |name: &'a String| {
                let (reviewed, real) = inside(&|value| attribute(value, name));
                let path = match path.is_empty() {
                    true => name.clone(),
                    false => format!("{path}.{name}"),
                };
                (path, reviewed, real)
            };
            Some(names.into_iter().map(part).collect())
        }
        Value::List(items) if each(&|value| matches!(value, Value::List(other) if other.len() == items.len())) => {
            let part = |at: usize| {
                let (reviewed, real) = inside(&|value| element(value, at));
                (format!("{path}[{at}]"), reviewed, real)
            };
            Some((0..items.len()).map(part).collect())
        }
        _ => None,
    }
}

/// All of what is unknown is unknown.
fn attribute<'a>(value: &'a Value, name: &str) -> &'a Value {
    match value {
        Value::Unknown => &UNKNOWN,
        value => value.attribute(name),
    }
}

fn element(value: &Value, at: usize) -> &Value {
    match value {
        Value::Unknown => &UNKNOWN,
        Value::List(items) => items.get(at).unwrap_or(&Value::Null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) | Value::Hidden(_) => {
            &Value::Null
        }
    }
}

/// Whether one action is the other or a weaker one, and what that rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    Same,
    /// Only where all that differed in the reviewed plan was unknown.
    Weaker,
    Another,
}

/// No-op < update < replace; every other action is equal only to itself. What is only moved or imported is a no-op
/// but for that, which is compared apart.
pub fn strength(reviewed: Action, real: Action) -> Strength {
    match (reviewed, real) {
        (reviewed, real) if reviewed == real => Strength::Same,
        (Action::Update, Action::Keep)
        | (Action::Replace | Action::ReplaceCreateFirst, Action::Update | Action::Keep) => Strength::Weaker,
        (
            Action::Keep
            | Action::Create
            | Action::Update
            | Action::Delete
            | Action::Replace
            | Action::ReplaceCreateFirst
            | Action::Forget
            | Action::ReplaceForget,
            _,
        ) => Strength::Another,
    }
}

/// Whether everything that differed in a reviewed plan was unknown, and something did.
pub fn differed_in_unknowns(reviewed: &ResourceChange) -> bool {
    let deltas = deltas(&reviewed.before, &reviewed.after);
    !deltas.is_empty() && deltas.iter().all(|delta| delta.after.has_unknown())
}

/// Whether a reviewed change may come to nothing: what was unknown is what it was before.
pub fn may_come_to_nothing(reviewed: &ResourceChange) -> bool {
    let sides = Sides {
        before: &reviewed.before,
        after: &reviewed.after,
    };
    matches!(strength(reviewed.action, Action::Keep), Strength::Weaker)
        && reviewed.deposed.is_none()
        && reviewed.previous_address.is_none()
        && reviewed.importing.is_none()
        && differed_in_unknowns(reviewed)
        && places(sides, Sides::staying(&reviewed.before)).differ.is_empty()
}

/// Whether the reasons of a replacement are those that were reviewed, less such as were unknown and came to nothing.
pub fn same_or_fewer_reasons(reviewed: &ResourceChange, real: &ResourceChange) -> bool {
    let unknown: Vec<String> = deltas(&reviewed.before, &reviewed.after)
        .into_iter()
        .filter(|delta| delta.after.has_unknown())
        .map(|delta| delta.path)
        .collect();
    let gone: Vec<&String> = reviewed.replace_paths.difference(&real.replace_paths).collect();
    real.replace_paths.is_subset(&reviewed.replace_paths)
        && gone
            .into_iter()
            .all(|gone| unknown.iter().any(|path| is_at(gone, path) || is_at(path, gone)))
}

/// Whether a path is that one or lies within it.
fn is_at(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
