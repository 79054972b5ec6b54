//! Owns the removal of the scaffold from a plan's JSON: what a provisional plan was given beside the author's
//! configuration does not show in it.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

/// The scaffold's resource type: it is built into both tools, and needs no provider.
pub(super) const KIND: &str = "terraform_data";

/// Removes everything whose name is one of ours from the JSON of `show -json`.
///
/// What the author's expressions refer to is told by `written`: for a reference with a name of ours the author's own,
/// or nothing.
pub fn json(plan: &mut Json, ours: &dyn Fn(&str) -> bool, written: &dyn Fn(&str) -> Option<String>) {
    let removed = strip_changes(plan, ours);
    for name in ["planned_values", "prior_state"] {
        let values = plan.get_mut(name);
        let values = match name {
            "prior_state" => values.and_then(|state| state.get_mut("values")),
            _ => values,
        };
        if let Some(root) = values.and_then(|values| values.get_mut("root_module")) {
            strip_values(root, ours, 0);
        }
    }
    if let Some(variables) = plan.get_mut("variables").and_then(Json::as_object_mut) {
        variables.retain(|name, _| !ours(name));
    }
    if plan["variables"].as_object().is_some_and(Map::is_empty) {
        forget(plan, "variables");
    }
    if let Some(root) = plan.get_mut("configuration").and_then(|all| all.get_mut("root_module")) {
        strip_configuration(root, ours, written, 0);
    }
    if let Some(relevant) = plan.get_mut("relevant_attributes").and_then(Json::as_array_mut) {
        relevant.retain(|attribute| !attribute["resource"].as_str().is_some_and(|at| names_ours(at, ours)));
    }
    if let Some(checks) = plan.get_mut("checks").and_then(Json::as_array_mut) {
        checks.iter_mut().for_each(|check| strip_check(check, ours));
    }
    if removed && plan.get("applyable").is_some() {
        // terraform says so of a plan in which anything at all would be done
        plan["applyable"] = Json::Bool(does_anything(plan));
    }
}

/// A variable whose value is not wholly known is none while planning: the root keeps it without a value, which would say
/// null, and with a default that is not the author's.
pub fn without_value(plan: &mut Json, variable: &str) {
    if let Some(variables) = plan.get_mut("variables") {
        forget(variables, variable);
    }
    let root = plan.get_mut("configuration").and_then(|all| all.get_mut("root_module"));
    let declared = root.and_then(|root| root.get_mut("variables"));
    if let Some(declared) = declared.and_then(|all| all.get_mut(variable)) {
        forget(declared, "default");
    }
}

fn forget(json: &mut Json, name: &str) {
    if let Some(attributes) = json.as_object_mut() {
        attributes.remove(name);
    }
}

/// Whether a word of an address or of a reference is one of ours.
pub fn names_ours(text: &str, ours: &dyn Fn(&str) -> bool) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
        .any(ours)
}

fn strip_changes(plan: &mut Json, ours: &dyn Fn(&str) -> bool) -> bool {
    let mut removed = false;
    for name in ["resource_changes", "resource_drift"] {
        let Some(changes) = plan.get_mut(name).and_then(Json::as_array_mut) else {
            continue;
        };
        let before = changes.len();
        changes.retain(|change| !is_scaffold(change, ours));
        removed |= changes.len() < before;
    }
    removed
}

fn is_scaffold(resource: &Json, ours: &dyn Fn(&str) -> bool) -> bool {
    resource["type"] == KIND && resource["name"].as_str().is_some_and(ours)
}

fn does_anything(plan: &Json) -> bool {
    let resources = plan["resource_changes"].as_array().into_iter().flatten();
    let outputs = plan["output_changes"].as_object().into_iter().flatten();
    let acts = |actions: &Json| *actions != serde_json::json!(["no-op"]) && *actions != serde_json::json!(["read"]);
    resources.map(|resource| &resource["change"]["actions"]).any(acts)
        || outputs.map(|(_, output)| &output["actions"]).any(acts)
}

/// The deepest module that is looked into: a plan of the tool holds none that are deeper than its author nests them.
const DEEPEST: usize = 100;

fn strip_values(module: &mut Json, ours: &dyn Fn(&str) -> bool, depth: usize) {
    if let Some(resources) = module.get_mut("resources").and_then(Json::as_array_mut) {
        resources.retain(|resource| !is_scaffold(resource, ours));
        for resource in resources {
            if let Some(needs) = resource.get_mut("depends_on").and_then(Json::as_array_mut) {
                needs.retain(|address| !address.as_str().is_some_and(|address| names_ours(address, ours)));
            }
            if resource["depends_on"].as_array().is_some_and(Vec::is_empty) {
                forget(resource, "depends_on");
            }
        }
    }
    if let Some(children) = module.get_mut("child_modules").and_then(Json::as_array_mut) {
        children.retain(|child| {
            !child["address"]
                .as_str()
                .is_some_and(|address| names_ours(address, ours))
        });
        if depth < DEEPEST {
            children
                .iter_mut()
                .for_each(|child| strip_values(child, ours, depth + 1));
        }
    }
    for name in ["resources", "child_modules"] {
        if module[name].as_array().is_some_and(Vec::is_empty) {
            forget(module, name);
        }
    }
}

fn strip_configuration(
    module: &mut Json,
    ours: &dyn Fn(&str) -> bool,
    written: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) {
    if let Some(resources) = module.get_mut("resources").and_then(Json::as_array_mut) {
        resources.retain(|resource| !is_scaffold(resource, ours));
    }
    for name in ["variables", "module_calls", "outputs"] {
        if let Some(named) = module.get_mut(name).and_then(Json::as_object_mut) {
            named.retain(|name, _| !ours(name));
        }
    }
    if depth < DEEPEST
        && let Some(calls) = module.get_mut("module_calls").and_then(Json::as_object_mut)
    {
        for call in calls.values_mut() {
            if let Some(expressions) = call.get_mut("expressions").and_then(Json::as_object_mut) {
                expressions.retain(|name, _| !ours(name));
            }
            if let Some(module) = call.get_mut("module") {
                strip_configuration(module, ours, written, depth + 1);
            }
        }
    }
    for name in ["resources", "variables", "module_calls"] {
        let empty =
            module[name].as_array().is_some_and(Vec::is_empty) || module[name].as_object().is_some_and(Map::is_empty);
        if empty {
            forget(module, name);
        }
    }
    references(module, ours, written);
}

/// Puts the author's references where ours stand: `{"references": ["local.ours.vpc", "local.ours"]}`.
fn references(json: &mut Json, ours: &dyn Fn(&str) -> bool, written: &dyn Fn(&str) -> Option<String>) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(|item| references(item, ours, written)),
        Json::Object(attributes) => {
            for (name, value) in attributes.iter_mut() {
                match (name.as_str(), value.as_array_mut()) {
                    ("references" | "depends_on", Some(all)) => translate(all, ours, written),
                    _ => references(value, ours, written),
                }
            }
        }
        // of a file in JSON the tool shows the text itself
        Json::String(text) if names_ours(text, ours) => *text = written(text).unwrap_or_default(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn translate(all: &mut Vec<Json>, ours: &dyn Fn(&str) -> bool, written: &dyn Fn(&str) -> Option<String>) {
    let mut seen = BTreeSet::new();
    let old = std::mem::take(all);
    for reference in old {
        let text = match reference.as_str() {
            Some(text) if names_ours(text, ours) => written(text),
            Some(text) => Some(text.to_owned()),
            None => None,
        };
        all.extend(text.filter(|text| seen.insert(text.clone())).map(Json::String));
    }
}

/// A validation of a variable that goes through a generated module is the root's: `module.ours.var.x` is `var.x`.
fn strip_check(check: &mut Json, ours: &dyn Fn(&str) -> bool) {
    let shorten = |address: &mut Json| {
        let module = address["module"].as_str().unwrap_or_default().to_owned();
        if !names_ours(&module, ours) {
            return;
        }
        let shown = address["to_display"].as_str().unwrap_or_default();
        let shown = shown
            .strip_prefix(&module)
            .unwrap_or(shown)
            .trim_start_matches('.')
            .to_owned();
        address["to_display"] = Json::String(shown);
        forget(address, "module");
    };
    if let Some(address) = check.get_mut("address") {
        shorten(address);
    }
    for instance in check
        .get_mut("instances")
        .and_then(Json::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(address) = instance.get_mut("address") {
            shorten(address);
        }
    }
}

/// How many conditions the tool could not evaluate: it says `unknown` of each and goes on.
pub fn not_evaluated(plan: &Json) -> u32 {
    let checks = plan["checks"].as_array().into_iter().flatten();
    let unknown = |check: &Json| {
        let instances = check["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let count = instances
            .iter()
            .filter(|instance| instance["status"] == "unknown")
            .count();
        // where the instances themselves are not known, the whole is one
        match instances.is_empty() && check["status"] == "unknown" {
            true => 1,
            false => count,
        }
    };
    u32::try_from(checks.map(unknown).sum::<usize>()).unwrap_or(u32::MAX)
}

/// The data sources that were read while planning, by address: those that wait for the apply are changes of the plan.
pub fn read_today(plan: &Json) -> Vec<String> {
    let mut found = Vec::new();
    let mut modules = vec![&plan["prior_state"]["values"]["root_module"]];
    while let Some(module) = modules.pop() {
        let resources = module["resources"].as_array().into_iter().flatten();
        let data = resources.filter(|resource| resource["mode"] == "data");
        found.extend(
            data.filter_map(|resource| resource["address"].as_str())
                .map(str::to_owned),
        );
        modules.extend(module["child_modules"].as_array().into_iter().flatten());
    }
    let waits: BTreeSet<&str> = plan["resource_changes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|change| change["mode"] == "data")
        .filter_map(|change| change["address"].as_str())
        .collect();
    found.retain(|address| !waits.contains(address.as_str()));
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours(name: &str) -> bool {
        name.starts_with("lk")
    }

    #[test]
    fn nothing_of_the_scaffold_is_in_the_json() {
        let mut plan = json!({
            "variables": { "lk_in": { "value": 1 } },
            "planned_values": { "root_module": {
                "resources": [{ "type": KIND, "name": "lk", "address": "terraform_data.lk" }],
                "child_modules": [{ "address": "module.lk_vars" }, { "address": "module.m", "resources": [
                    { "type": KIND, "name": "lk", "address": "module.m.terraform_data.lk" },
                    { "type": KIND, "name": "a", "address": "module.m.terraform_data.a" },
                ] }],
            } },
            "resource_changes": [{ "type": KIND, "name": "lk", "mode": "managed", "change": { "actions": ["create"] } },
                { "type": KIND, "name": "b", "mode": "managed", "change": { "actions": ["no-op"] } }],
            "prior_state": { "values": { "root_module": { "resources": [
                { "type": KIND, "name": "b", "mode": "managed", "depends_on": ["terraform_data.lk"] },
                { "type": "d", "name": "x", "mode": "data", "address": "data.d.x" },
            ] } } },
            "configuration": { "root_module": {
                "variables": { "lk_in": {}, "mine": {} },
                "resources": [{ "type": KIND, "name": "lk" }, { "type": KIND, "name": "b", "depends_on": ["terraform_data.lk"],
                    "expressions": { "input": { "references": ["local.lk_up.vpc", "local.lk_up", "var.mine"] } } }],
                "module_calls": { "lk_vars": {}, "m": { "expressions": { "lk": {} }, "module": { "variables": { "lk": {} } } } },
            } },
            "relevant_attributes": [{ "resource": "terraform_data.lk" }, { "resource": "terraform_data.b" }],
            "checks": [{ "address": { "module": "module.lk_vars", "to_display": "module.lk_vars.var.cidr" }, "status": "unknown",
                "instances": [{ "address": { "module": "module.lk_vars", "to_display": "module.lk_vars.var.cidr" }, "status": "unknown" }] }],
            "applyable": true,
        });
        json(&mut plan, &ours, &|_| Some("data.terraform_remote_state.up".to_owned()));
        assert!(!plan.to_string().contains("lk"), "{plan:#}");
        assert_eq!(plan["applyable"], false);
        let references = &plan["configuration"]["root_module"]["resources"][0]["expressions"]["input"]["references"];
        assert_eq!(*references, json!(["data.terraform_remote_state.up", "var.mine"]));
        assert_eq!(plan["checks"][0]["address"], json!({ "to_display": "var.cidr" }));
        assert_eq!(not_evaluated(&plan), 1);
        assert_eq!(read_today(&plan), ["data.d.x"]);
    }
}
