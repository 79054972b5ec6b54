//! Owns where a plan's JSON holds sensitive values: it collects them, and replaces them by keyed hashes.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::tool::redact::{Found, HashKey, Redactor, Secrets, keyed_hash, masked};

/// A value in the JSON and which parts of it are sensitive: `true`, or an object or list with masks for its parts.
struct Masked<'a>(&'a mut Value, Value);

/// Every sensitive value in the plan. `names`: variables that are sensitive whatever the plan says.
pub fn collect(plan: &mut Value, names: &BTreeSet<String>, secrets: &mut Secrets) {
    visit(plan, names, &mut |Masked(value, mask)| gather(value, &mask, secrets));
}

/// Replaces what is marked sensitive by its keyed hash, in its place.
pub fn replace(plan: &mut Value, names: &BTreeSet<String>, key: &HashKey) {
    visit(plan, names, &mut |Masked(value, mask)| hide(value, &mask, key));
}

/// Replaces secrets that stand in places which are not marked: a provider copied them, or a mark was lost.
pub fn replace_by_value(value: &mut Value, redactor: &Redactor, key: &HashKey) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => match redactor.within_json(key, text) {
            Found::Nothing => {}
            Found::Whole => *text = masked(&keyed_hash(key, &Value::String(std::mem::take(text)))),
            Found::Parts(replaced) => *text = replaced,
        },
        Value::Array(items) => items.iter_mut().for_each(|item| replace_by_value(item, redactor, key)),
        Value::Object(attributes) => attributes
            .values_mut()
            .for_each(|item| replace_by_value(item, redactor, key)),
    }
}

/// Whether a mask marks anything at all.
pub fn marks(mask: &Value) -> bool {
    match mask {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(marks),
        Value::Object(attributes) => attributes.values().any(marks),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}

fn gather(value: &Value, mask: &Value, secrets: &mut Secrets) {
    match (value, mask) {
        (value, Value::Bool(true)) => secrets.add(value),
        (Value::Array(items), Value::Array(masks)) => {
            items
                .iter()
                .zip(masks)
                .for_each(|(item, mask)| gather(item, mask, secrets));
        }
        (Value::Object(attributes), Value::Object(masks)) => masks.iter().for_each(|(name, mask)| {
            if let Some(item) = attributes.get(name) {
                gather(item, mask, secrets);
            }
        }),
        _ => {}
    }
}

fn hide(value: &mut Value, mask: &Value, key: &HashKey) {
    match (value, mask) {
        (Value::Null, _) => {}
        (value, Value::Bool(true)) => *value = Value::String(masked(&keyed_hash(key, value))),
        (Value::Array(items), Value::Array(masks)) => {
            items
                .iter_mut()
                .zip(masks)
                .for_each(|(item, mask)| hide(item, mask, key));
        }
        (Value::Object(attributes), Value::Object(masks)) => masks.iter().for_each(|(name, mask)| {
            if let Some(item) = attributes.get_mut(name) {
                hide(item, mask, key);
            }
        }),
        _ => {}
    }
}

fn visit(plan: &mut Value, names: &BTreeSet<String>, each: &mut impl FnMut(Masked<'_>)) {
    let sensitive = sensitive_variables(&plan["configuration"]["root_module"], names);
    if let Some(variables) = plan.get_mut("variables").and_then(Value::as_object_mut) {
        for (name, variable) in variables.iter_mut() {
            if let (true, Some(value)) = (sensitive.contains(name), variable.get_mut("value")) {
                each(Masked(value, Value::Bool(true)));
            }
        }
    }
    if let Some(root) = plan.get_mut("configuration").and_then(|c| c.get_mut("root_module")) {
        defaults(root, names, each);
    }
    for name in ["resource_changes", "resource_drift"] {
        for resource in items(plan.get_mut(name)) {
            change(resource.get_mut("change"), each);
        }
    }
    for deferred in items(plan.get_mut("deferred_changes")) {
        change(
            deferred.get_mut("resource_change").and_then(|r| r.get_mut("change")),
            each,
        );
    }
    if let Some(outputs) = plan.get_mut("output_changes").and_then(Value::as_object_mut) {
        outputs.values_mut().for_each(|output| change(Some(output), each));
    }
    values(plan.get_mut("planned_values"), each);
    values(
        plan.get_mut("prior_state").and_then(|state| state.get_mut("values")),
        each,
    );
}

fn items(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

fn sensitive_variables(module: &Value, names: &BTreeSet<String>) -> BTreeSet<String> {
    let mut sensitive = names.clone();
    if let Some(variables) = module["variables"].as_object() {
        let marked = variables
            .iter()
            .filter(|(_, variable)| variable["sensitive"] == Value::Bool(true));
        sensitive.extend(marked.map(|(name, _)| name.clone()));
    }
    sensitive
}

/// Defaults of sensitive variables, in the root module and every module it calls.
fn defaults(module: &mut Value, names: &BTreeSet<String>, each: &mut impl FnMut(Masked<'_>)) {
    let sensitive = sensitive_variables(module, names);
    if let Some(variables) = module.get_mut("variables").and_then(Value::as_object_mut) {
        for (name, variable) in variables.iter_mut() {
            if let (true, Some(value)) = (sensitive.contains(name), variable.get_mut("default")) {
                each(Masked(value, Value::Bool(true)));
            }
        }
    }
    if let Some(calls) = module.get_mut("module_calls").and_then(Value::as_object_mut) {
        for call in calls.values_mut() {
            if let Some(module) = call.get_mut("module") {
                defaults(module, &BTreeSet::new(), each);
            }
        }
    }
}

fn change(change: Option<&mut Value>, each: &mut impl FnMut(Masked<'_>)) {
    let Some(change) = change.and_then(Value::as_object_mut) else {
        return;
    };
    for (side, mask) in [("before", "before_sensitive"), ("after", "after_sensitive")] {
        let mask = change.get(mask).cloned().unwrap_or_default();
        if let (true, Some(value)) = (marks(&mask), change.get_mut(side)) {
            each(Masked(value, mask));
        }
    }
}

fn values(state: Option<&mut Value>, each: &mut impl FnMut(Masked<'_>)) {
    let Some(state) = state.and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(outputs) = state.get_mut("outputs").and_then(Value::as_object_mut) {
        for output in outputs.values_mut() {
            if let (true, Some(value)) = (output["sensitive"] == Value::Bool(true), output.get_mut("value")) {
                each(Masked(value, Value::Bool(true)));
            }
        }
    }
    if let Some(root) = state.get_mut("root_module").and_then(Value::as_object_mut) {
        module_values(root, each);
    }
}

fn module_values(module: &mut Map<String, Value>, each: &mut impl FnMut(Masked<'_>)) {
    for resource in items(module.get_mut("resources")) {
        let mask = resource.get("sensitive_values").cloned().unwrap_or_default();
        if let (true, Some(value)) = (marks(&mask), resource.get_mut("values")) {
            each(Masked(value, mask));
        }
    }
    for child in items(module.get_mut("child_modules")) {
        if let Some(child) = child.as_object_mut() {
            module_values(child, each);
        }
    }
}
