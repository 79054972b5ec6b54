//! Owns the reading of `show -json`: the tool's plan becomes the typed plan, the masked JSON and the outputs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::domain::plan::PlanJson;
use crate::domain::plan::change::{Action, OutputChange, Plan, ResourceChange};
use crate::domain::plan::value::Value;
use crate::tool::mask;
use crate::tool::output::{Planned, PlannedOutput};
use crate::tool::redact::{Found, HashKey, Redactor, Secrets, keyed_hash};

/// Why a plan's JSON could not be read; fits after "could not read the plan: ".
#[derive(Debug, thiserror::Error)]
pub enum BadPlan {
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("its format version is {0:?}; this version reads format 1")]
    Format(String),
    #[error("{address} has the action {actions}, which this version does not know")]
    Action { address: String, actions: String },
    #[error("{0} is missing or not of the expected shape")]
    Shape(String),
    #[error("it holds more sensitive values than can be hidden")]
    TooManySecrets,
}

/// A plan that was read once; nothing here but `outputs` and `secrets` holds a sensitive value.
pub struct Read {
    pub plan: Plan,
    pub json: PlanJson,
    pub outputs: BTreeMap<String, PlannedOutput>,
    /// What must be hidden in every text about this plan.
    pub secrets: Secrets,
    /// Whether the state held anything before this plan.
    pub prior: Prior,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prior {
    Nothing,
    Something,
}

/// Reads the output of `show -json`. `secrets`: what is known to be sensitive already (environment, values from
/// upstreams); `sensitive`: variables whose value is, whatever the configuration says.
pub fn read(bytes: &[u8], secrets: Secrets, sensitive: &BTreeSet<String>, key: &HashKey) -> Result<Read, BadPlan> {
    read_json(parse(bytes)?, secrets, sensitive, key)
}

/// The plan as JSON, if it is of a format that we know. Every sensitive value is still in it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, BadPlan> {
    let json: Json = serde_json::from_slice(bytes).map_err(BadPlan::NotJson)?;
    match json["format_version"].as_str() {
        Some(version) if version.starts_with("1.") => Ok(json),
        version => Err(BadPlan::Format(version.unwrap_or_default().chars().take(20).collect())),
    }
}

/// Reads what [`parse`] gave.
pub(crate) fn read_json(
    mut json: Json,
    mut secrets: Secrets,
    sensitive: &BTreeSet<String>,
    key: &HashKey,
) -> Result<Read, BadPlan> {
    mask::collect(&mut json, sensitive, &mut secrets);
    if secrets.too_many() {
        return Err(BadPlan::TooManySecrets);
    }
    let redactor = Redactor::new(&secrets, &[]);
    let reader = Reader {
        redactor: &redactor,
        key,
    };
    let plan = reader.plan(&json)?;
    let outputs = outputs(&json)?;
    let prior = prior(&json);
    mask::replace(&mut json, sensitive, key);
    mask::replace_by_value(&mut json, &redactor, key);
    let masked = serde_json::to_vec(&json).map_err(BadPlan::NotJson)?;
    Ok(Read {
        plan,
        json: PlanJson::new(masked),
        outputs,
        secrets,
        prior,
    })
}

struct Reader<'a> {
    redactor: &'a Redactor,
    key: &'a HashKey,
}

impl Reader<'_> {
    fn plan(&self, json: &Json) -> Result<Plan, BadPlan> {
        let mut plan = Plan::default();
        for resource in list(&json["resource_changes"], "resource_changes")? {
            self.resource(resource, &mut plan)?;
        }
        plan.resources
            .sort_by(|a, b| (&a.address, &a.deposed).cmp(&(&b.address, &b.deposed)));
        if let Some(outputs) = json["output_changes"].as_object() {
            for (name, change) in outputs {
                let (before, after) = self.sides(change);
                if before != after || change["actions"] != serde_json::json!(["no-op"]) {
                    plan.outputs.insert(name.clone(), OutputChange { before, after });
                }
            }
        }
        Ok(plan)
    }

    fn resource(&self, resource: &Json, plan: &mut Plan) -> Result<(), BadPlan> {
        let address = text(resource, "address")?;
        if resource["mode"] != "managed" {
            return Ok(());
        }
        let change = &resource["change"];
        let previous_address = resource["previous_address"].as_str().map(str::to_owned);
        let importing = match &change["importing"] {
            Json::Null => None,
            importing => Some(self.value(importing, &Json::Null, &Json::Null)),
        };
        let action = match action(change) {
            Some(Some(action)) => action,
            Some(None) if previous_address.is_some() || importing.is_some() => Action::Keep,
            Some(None) => {
                plan.unchanged.insert(address);
                return Ok(());
            }
            None => {
                let actions = change["actions"].to_string().chars().take(80).collect();
                return Err(BadPlan::Action { address, actions });
            }
        };
        let (before, after) = self.sides(change);
        let paths = change["replace_paths"].as_array().map_or(&[][..], Vec::as_slice);
        plan.resources.push(ResourceChange {
            deposed: resource["deposed"].as_str().map(str::to_owned),
            kind: text(resource, "type")?,
            address,
            previous_address,
            action,
            before,
            after,
            replace_paths: paths.iter().map(path).collect(),
            importing,
        });
        Ok(())
    }

    fn sides(&self, change: &Json) -> (Value, Value) {
        let before = self.value(&change["before"], &Json::Null, &change["before_sensitive"]);
        let after = self.value(&change["after"], &change["after_unknown"], &change["after_sensitive"]);
        (before, after)
    }

    /// One value with its unknown and its sensitive parts put where they belong.
    fn value(&self, value: &Json, unknown: &Json, sensitive: &Json) -> Value {
        match (value, unknown, sensitive) {
            (_, Json::Bool(true), _) => Value::Unknown,
            (Json::Null, Json::Object(_), _) if mask::marks(unknown) => {
                self.value(&Json::Object(serde_json::Map::new()), unknown, sensitive)
            }
            (Json::Null, _, _) => Value::Null,
            (value, _, Json::Bool(true)) => Value::Hidden(keyed_hash(self.key, value)),
            (Json::Bool(value), _, _) => Value::Bool(*value),
            (Json::Number(digits), _, _) => Value::Number(digits.to_string()),
            (Json::String(text), _, _) => match self.redactor.within_json(self.key, text) {
                Found::Nothing => Value::text(text),
                Found::Whole => Value::Hidden(keyed_hash(self.key, value)),
                Found::Parts(replaced) => Value::Text(replaced),
            },
            (Json::Array(items), _, _) => {
                let item = |(index, item)| self.value(item, &unknown[index], &sensitive[index]);
                Value::List(items.iter().enumerate().map(item).collect())
            }
            (Json::Object(attributes), _, _) => {
                let mut map: BTreeMap<String, Value> = attributes
                    .iter()
                    .map(|(name, item)| (name.clone(), self.value(item, &unknown[name], &sensitive[name])))
                    .collect();
                // an attribute that is not known yet is missing from the value
                for (name, inner) in unknown.as_object().into_iter().flatten() {
                    if !map.contains_key(name) && mask::marks(inner) {
                        map.insert(name.clone(), self.value(&Json::Null, inner, &Json::Null));
                    }
                }
                Value::Map(map)
            }
        }
    }
}

/// `Some(None)`: nothing would be done. `None`: an action we do not know, which must not pass as harmless.
fn action(change: &Json) -> Option<Option<Action>> {
    let names: Vec<&str> = change["actions"]
        .as_array()?
        .iter()
        .map(Json::as_str)
        .collect::<Option<_>>()?;
    match names.as_slice() {
        ["no-op"] | ["read"] => Some(None),
        ["create"] => Some(Some(Action::Create)),
        ["update"] => Some(Some(Action::Update)),
        ["delete"] => Some(Some(Action::Delete)),
        ["delete", "create"] => Some(Some(Action::Replace)),
        ["create", "delete"] => Some(Some(Action::ReplaceCreateFirst)),
        ["forget"] => Some(Some(Action::Forget)),
        ["create", "forget"] | ["forget", "create"] => Some(Some(Action::ReplaceForget)),
        _ => None,
    }
}

/// `["a", 0, "b"]` becomes `a[0].b`.
fn path(steps: &Json) -> String {
    let mut path = String::new();
    for step in steps.as_array().into_iter().flatten() {
        match step {
            Json::String(name) if path.is_empty() => path.push_str(name),
            Json::String(name) => {
                path.push('.');
                path.push_str(name);
            }
            step => {
                path.push('[');
                path.push_str(&step.to_string());
                path.push(']');
            }
        }
    }
    path
}

/// The outputs of the root module. What an output was is taken from its change: the `prior_state` of a plan holds
/// the refreshed state, in which outputs have their *new* values already.
fn outputs(json: &Json) -> Result<BTreeMap<String, PlannedOutput>, BadPlan> {
    let mut outputs = BTreeMap::new();
    let Some(changes) = json["output_changes"].as_object() else {
        return Ok(outputs);
    };
    for (name, change) in changes {
        let actions = change["actions"].to_string();
        let sensitive = mask::marks(&change["before_sensitive"]) || mask::marks(&change["after_sensitive"]);
        let planned = match (actions.as_str(), &change["after_unknown"]) {
            (r#"["delete"]"#, _) => Planned::Removed,
            (_, Json::Bool(true)) => Planned::Unknown,
            (_, unknown) if mask::marks(unknown) => Planned::Partly {
                value: change["after"].clone(),
                unknown: unknown.clone(),
            },
            _ => Planned::Known {
                value: change["after"].clone(),
                kind: json["planned_values"]["outputs"][name]["type"].clone(),
            },
        };
        let prior = match actions.as_str() {
            r#"["create"]"# => None,
            _ => Some(change["before"].clone()),
        };
        outputs.insert(
            name.clone(),
            PlannedOutput {
                sensitive,
                planned,
                prior,
                prior_kind: json["prior_state"]["values"]["outputs"][name]["type"].clone(),
            },
        );
    }
    Ok(outputs)
}

fn prior(json: &Json) -> Prior {
    let managed = |module: &Json| has_managed(module, 0);
    let had = |change: &Json| !change["before"].is_null();
    let outputs = json["output_changes"].as_object();
    match managed(&json["prior_state"]["values"]["root_module"]) || outputs.is_some_and(|all| all.values().any(had)) {
        true => Prior::Something,
        false => Prior::Nothing,
    }
}

fn has_managed(module: &Json, depth: usize) -> bool {
    let here = module["resources"].as_array().into_iter().flatten();
    let mut below = module["child_modules"].as_array().into_iter().flatten();
    here.map(|resource| &resource["mode"]).any(|mode| mode == "managed")
        || (depth < 100 && below.any(|child| has_managed(child, depth + 1)))
}

fn text(json: &Json, name: &str) -> Result<String, BadPlan> {
    let text = json[name]
        .as_str()
        .ok_or_else(|| BadPlan::Shape(format!("{name:?} of a resource change")))?;
    Ok(text.to_owned())
}

fn list<'a>(json: &'a Json, name: &str) -> Result<&'a [Json], BadPlan> {
    match json {
        Json::Null => Ok(&[]),
        Json::Array(items) => Ok(items),
        _ => Err(BadPlan::Shape(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretBox;
    use serde_json::json;

    use super::*;
    use crate::domain::plan::Counts;

    /// `show -json` of one configuration by both tools: create, update, replace, delete, import, moved, sensitive
    /// and unknown values inside others, outputs.
    const SAMPLES: [&[u8]; 2] = [
        include_bytes!("samples/terraform-1.11.4.json"),
        include_bytes!("samples/tofu-1.12.6.json"),
    ];

    fn key() -> HashKey {
        SecretBox::new(Box::new([7; 32]))
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        for depth in [100, 200_000] {
            let (open, close) = ("[{\"a\":".repeat(depth), "}]".repeat(depth));
            let text = format!(
                "{{\"format_version\": \"1.2\", \"planned_values\": {open}1{close}, \"resource_changes\": []}}"
            );
            let read = read(text.as_bytes(), Secrets::default(), &BTreeSet::new(), &key());
            assert!(matches!(read, Err(BadPlan::NotJson(_))), "{depth}");
        }
    }

    fn plan(bytes: &[u8]) -> Read {
        match read(bytes, Secrets::default(), &BTreeSet::new(), &key()) {
            Ok(read) => read,
            Err(why) => panic!("the sample is a plan: {why}"),
        }
    }

    fn change(resource: Json) -> Result<Plan, BadPlan> {
        let json = json!({ "format_version": "1.2", "resource_changes": [resource] });
        read(
            json.to_string().as_bytes(),
            Secrets::default(),
            &BTreeSet::new(),
            &key(),
        )
        .map(|read| read.plan)
    }

    #[test]
    fn both_tools_plans_are_read_the_same() {
        for sample in SAMPLES {
            let plan = plan(sample).plan;
            let told: Vec<_> = plan.resources.iter().map(|r| (r.address.as_str(), r.action)).collect();
            assert_eq!(
                told,
                [
                    ("terraform_data.create[\"a\"]", Action::Create),
                    ("terraform_data.create[\"b\"]", Action::Create),
                    ("terraform_data.delete", Action::Delete),
                    ("terraform_data.imported", Action::Keep),
                    ("terraform_data.new", Action::Keep),
                    ("terraform_data.replace", Action::Replace),
                    ("terraform_data.secret", Action::Update),
                    ("terraform_data.update", Action::Update),
                ]
            );
            let counts = Counts {
                add: 3,
                change: 2,
                destroy: 2,
                import: 1,
                outputs: 5,
                state_only: plan.counts().state_only,
            };
            assert_eq!(plan.counts(), counts);
            assert_eq!(
                plan.resources[4].previous_address.as_deref(),
                Some("terraform_data.old")
            );
            assert_eq!(
                plan.resources[0].after.attribute("input").attribute("id"),
                &Value::Unknown
            );
            assert_eq!(
                plan.resources[5].replace_paths,
                BTreeSet::from(["triggers_replace".to_owned()])
            );
            assert_eq!(plan.unchanged, BTreeSet::from(["terraform_data.same".to_owned()]));
        }
    }

    #[test]
    fn a_sensitive_value_is_nowhere_in_what_is_kept() {
        for sample in SAMPLES {
            assert!(
                String::from_utf8_lossy(sample).contains("hunter2hunter2"),
                "else this test cannot fail"
            );
            let read = plan(sample);
            let typed = serde_json::to_string(&read.plan).expect("a plan is JSON");
            let json = String::from_utf8(read.json.bytes().to_vec()).expect("JSON is UTF-8");
            for kept in [
                &typed,
                &json,
                &format!("{:?}", read.outputs),
                &format!("{:?}", read.secrets),
            ] {
                assert!(!kept.contains("hunter"), "{kept}");
            }
            let secret = &read.plan.resources[6].after.attribute("input").clone();
            assert!(matches!(secret.attribute("password"), Value::Hidden(_)));
            assert_eq!(secret.attribute("user"), &Value::text("app"));
            // the old one had lost its mark in `output`: found by its value, hidden with the same hash
            let before = &read.plan.resources[6].before;
            assert_eq!(
                before.attribute("output").attribute("password"),
                before.attribute("input").attribute("password")
            );
        }
    }

    #[test]
    fn an_output_was_what_its_change_says_and_not_what_the_prior_state_says() {
        for sample in SAMPLES {
            let outputs = plan(sample).outputs;
            assert_eq!(outputs["known"].prior, Some(json!("v1")));
            assert!(
                outputs["known"].planned
                    == Planned::Known {
                        value: json!("v2"),
                        kind: json!("string")
                    }
            );
            assert!(outputs["gone"].planned == Planned::Removed);
            assert_eq!(outputs["typed"].prior, None);
            let partly = Planned::Partly {
                value: json!(["a", null]),
                unknown: json!([false, true]),
            };
            assert!(outputs["partly"].planned == partly);
            assert!(outputs["secret"].sensitive && !outputs["known"].sensitive);
        }
    }

    #[test]
    fn an_action_we_do_not_know_does_not_pass_as_harmless() {
        let resource = |actions: Json| json!({ "address": "a.b", "mode": "managed", "type": "a", "change": { "actions": actions, "before": null, "after": {} } });
        assert!(matches!(
            change(resource(json!(["explode"]))),
            Err(BadPlan::Action { .. })
        ));
        assert!(matches!(change(resource(json!(null))), Err(BadPlan::Action { .. })));
        assert!(matches!(change(resource(json!([]))), Err(BadPlan::Action { .. })));
        assert!(change(json!({ "mode": "managed" })).is_err());
        assert!(change(resource(json!(["read"]))).is_ok_and(|plan| plan.is_empty()));
    }

    #[test]
    fn what_is_not_a_plan_is_an_error_that_says_so() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"format_version\":\"2.0\"}",
            "{\"format_version\":\"1.0\",\"resource_changes\":3}",
        ] {
            assert!(
                read(text.as_bytes(), Secrets::default(), &BTreeSet::new(), &key()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn the_digest_of_the_content_leaves_out_what_differs_between_two_plans() {
        let sample = String::from_utf8_lossy(SAMPLES[0]).into_owned();
        let digest = plan(sample.as_bytes()).plan.content();
        let later = sample.replace("2026-11-21T04:14:03Z", "2026-11-22T00:00:00Z");
        assert_ne!(later, sample);
        assert_eq!(plan(later.as_bytes()).plan.content(), digest);
        let other = sample.replace(
            "\"after\":{\"id\":\"d95396f3-748b-2f52-3c20-6cdfc813d722\",\"input\":\"v2\"",
            "\"after\":{\"id\":\"d95396f3-748b-2f52-3c20-6cdfc813d722\",\"input\":\"v3\"",
        );
        assert_ne!(other, sample);
        assert_ne!(plan(other.as_bytes()).plan.content(), digest);
        let secret = sample.replace("hunter3hunter3", "hunter4hunter4");
        assert_ne!(
            plan(secret.as_bytes()).plan.content(),
            digest,
            "a sensitive value that changed is a change"
        );
    }
}
