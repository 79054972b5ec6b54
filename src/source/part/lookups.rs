//! Owns objects that stacks make and look up by the same name: a hint at an edge that nobody wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::graph::Edge;
use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::Tool;
use crate::domain::located::{Located, Place};
use crate::source::facts::Named;
use crate::source::module::Modules;
use crate::source::part::Part;
use crate::source::value::{Scope, resolve};

/// A resource or data source whose name is known.
pub struct NamedAt {
    is_data: bool,
    kind: String,
    label: String,
    attribute: &'static str,
    name: String,
    place: Place,
}

impl NamedAt {
    /// The block under each of the names that are known.
    pub fn of(named: &Named, place: Place, scope: &Scope<'_>) -> Vec<NamedAt> {
        let known = |(attribute, value): &(&'static str, _)| {
            let name = resolve(value, scope).ok()?.text().filter(|name| !name.is_empty())?;
            Some(NamedAt {
                is_data: named.is_data,
                kind: named.kind.clone(),
                label: named.label.clone(),
                attribute,
                name,
                place: place.clone(),
            })
        };
        named.values.iter().filter_map(known).collect()
    }
}

/// Types of objects that some data source of the tree looks up.
pub fn looked_up<'d>(
    modules: &Modules<'_>,
    dirs: impl Iterator<Item = &'d RepoPath>,
    tool: impl Fn(&RepoPath) -> Tool,
) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for dir in dirs {
        let module = modules.at(dir, tool(dir));
        let looked_up = &modules.surveyed(dir, &module).looks_up;
        kinds.extend(looked_up.difference(&kinds).cloned().collect::<Vec<_>>());
    }
    kinds
}

/// Stacks that are named in one suggestion.
const MAX_SHOWN: usize = 3;

/// For each look-up of what another stack makes, and no edge says so: a suggestion. It may be a mere likeness of
/// names, so it is never an edge.
pub fn suggestions(parts: &BTreeMap<StackName, Arc<Part>>, edges: &[Edge]) -> Vec<(StackName, Located)> {
    let joined: BTreeSet<(&StackName, &StackName)> =
        edges.iter().map(|edge| (&edge.downstream, &edge.upstream)).collect();
    let mut made: BTreeMap<(&str, &str, &str), BTreeMap<&StackName, &Place>> = BTreeMap::new();
    for (stack, part) in parts {
        for object in part.named.iter().filter(|object| !object.is_data) {
            let key = (object.kind.as_str(), object.attribute, object.name.as_str());
            made.entry(key).or_default().insert(stack, &object.place);
        }
    }
    let mut suggestions = Vec::new();
    for (stack, part) in parts {
        for object in part.named.iter().filter(|object| object.is_data) {
            let key = (object.kind.as_str(), object.attribute, object.name.as_str());
            let Some(makers) = made.get(&key) else { continue };
            // What it makes itself, and what it waits for already, needs no word.
            if makers
                .keys()
                .any(|maker| *maker == stack || joined.contains(&(stack, *maker)))
            {
                continue;
            }
            let shown = makers.iter().take(MAX_SHOWN);
            let shown: Vec<String> = shown.map(|(maker, place)| format!("{maker} ({place})")).collect();
            let problem = format!(
                "data.{}.{} of {stack} looks up {} {:?}, which {} makes",
                object.kind,
                object.label,
                object.attribute,
                object.name,
                shown.join(" or "),
            );
            let hint = format!(
                "a likeness of names is no edge: if {stack} has to wait, name it under `depends_on` in lockkeeper.yaml"
            );
            suggestions.push((stack.clone(), Located::at(object.place.clone(), problem).hint(hint)));
        }
    }
    suggestions
}
