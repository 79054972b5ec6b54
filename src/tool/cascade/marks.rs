//! Owns the marks on what rests on a fallback: nobody has reviewed what it will really be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::domain::plan::Fallback;
use crate::tool::cascade::rests::{Attributes, On, Rests, What};

/// Subject (an address, or `output.NAME`) to paths; an empty path is the whole.
pub type Unreviewed = BTreeMap<String, BTreeSet<String>>;

/// The mark's name beside `after`; it has the form of `after_unknown`.
const MARK: &str = "after_unreviewed";

/// Marks in the JSON what rests on a fallback, says of each fallback what rests on it, and gives it all.
pub fn mark(plan: &mut Json, rests: &Rests, fallbacks: &mut [Fallback]) -> Unreviewed {
    let mut all = Unreviewed::new();
    if fallbacks.is_empty() {
        return all;
    }
    let changes = plan.get_mut("resource_changes").and_then(Json::as_array_mut);
    for resource in changes.into_iter().flatten() {
        let managed = resource["mode"] == "managed";
        let (true, Some(address)) = (managed, resource["address"].as_str().map(str::to_owned)) else {
            continue;
        };
        let plain = without_keys(&address);
        let known = rests.resources.get(&plain);
        let paths = |fallback: &Fallback| match known {
            _ if rests.incomplete || is_imported(rests, &plain, fallback) => BTreeSet::from([String::new()]),
            Some(known) => paths(known, fallback, &resource["change"]),
            None => BTreeSet::new(),
        };
        let marked = collect(&mut all, &address, fallbacks, paths);
        put(resource.get_mut("change"), &marked);
    }
    let outputs = plan.get_mut("output_changes").and_then(Json::as_object_mut);
    for (name, change) in outputs.into_iter().flatten() {
        let on = rests.outputs.get(name);
        let paths = |fallback: &Fallback| match rests.incomplete || on.is_some_and(|on| rests_on(on, fallback)) {
            true => BTreeSet::from([String::new()]),
            false => BTreeSet::new(),
        };
        let marked = collect(&mut all, &format!("output.{name}"), fallbacks, paths);
        put(Some(change), &marked);
    }
    all
}

fn collect(
    all: &mut Unreviewed,
    subject: &str,
    fallbacks: &mut [Fallback],
    paths: impl Fn(&Fallback) -> BTreeSet<String>,
) -> BTreeSet<String> {
    let mut marked = BTreeSet::new();
    for fallback in fallbacks {
        let paths = paths(fallback);
        fallback
            .attributes
            .extend(paths.iter().map(|path| match path.is_empty() {
                true => subject.to_owned(),
                false => format!("{subject}.{path}"),
            }));
        marked.extend(paths);
    }
    // the whole holds its parts
    if marked.contains("") {
        marked.retain(String::is_empty);
    }
    if !marked.is_empty() {
        all.insert(subject.to_owned(), marked.clone());
    }
    marked
}

fn rests_on(on: &On, fallback: &Fallback) -> bool {
    on.iter().any(|fed| fed.may_be(&fallback.upstream, &fallback.output))
}

/// Whether which object it is rests on a fallback.
fn is_imported(rests: &Rests, subject: &str, fallback: &Fallback) -> bool {
    let imports = rests.refusing.iter().filter(|position| position.what == What::ImportId);
    imports
        .filter(|position| without_keys(&position.subject) == subject)
        .any(|position| rests_on(&position.on, fallback))
}

/// What of one instance rests on a fallback: what its text gives from it, and what a provider may compute from that.
fn paths(known: &Attributes, fallback: &Fallback, change: &Json) -> BTreeSet<String> {
    if rests_on(&known.exists, fallback) {
        return BTreeSet::from([String::new()]);
    }
    let written = known.written.iter().filter(|(_, on)| rests_on(on, fallback));
    let mut paths: BTreeSet<String> = written.map(|(name, _)| name.clone()).collect();
    if rests_on(&known.computed, fallback) {
        let after = change["after"].as_object().into_iter().flatten();
        // what stays as it is was not computed from it, and an unknown shows nothing that could be believed
        let moves = |(name, value): &(&String, &Json)| !value.is_null() && change["before"][name.as_str()] != **value;
        let computed = after.filter(moves).map(|(name, _)| name);
        paths.extend(computed.filter(|name| !known.written.contains_key(*name)).cloned());
    }
    paths
}

fn put(change: Option<&mut Json>, marked: &BTreeSet<String>) {
    let Some(change) = change.and_then(Json::as_object_mut).filter(|_| !marked.is_empty()) else {
        return;
    };
    let mark = match marked.contains("") {
        true => Json::Bool(true),
        false => Json::Object(
            marked
                .iter()
                .map(|path| (path.clone(), Json::Bool(true)))
                .collect::<Map<_, _>>(),
        ),
    };
    change.insert(MARK.to_owned(), mark);
}

/// `module.a["x.y"].aws_x.z[0]` becomes `module.a.aws_x.z`.
pub fn without_keys(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    let (mut within, mut quoted, mut escaped) = (false, false, false);
    for c in address.chars() {
        match (within, c) {
            (false, '[') => within = true,
            (false, c) => out.push(c),
            (true, _) if escaped => escaped = false,
            (true, '\\') if quoted => escaped = true,
            (true, '"') => quoted = !quoted,
            (true, ']') if !quoted => within = false,
            (true, _) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::StackName;
    use crate::domain::plan::FallbackTo;
    use crate::tool::cascade::rests::Fed;

    fn net() -> StackName {
        StackName::parse("net").expect("a name")
    }

    fn on(output: &str) -> On {
        On::from([Fed {
            upstream: net(),
            output: Some(output.to_owned()),
        }])
    }

    #[test]
    fn an_address_without_its_keys_names_the_text() {
        for (address, plain) in [
            ("terraform_data.x", "terraform_data.x"),
            ("module.a[\"x.y\"].aws_x.z[0]", "module.a.aws_x.z"),
            ("aws_x.z[\"a]\\\"]b\"].c", "aws_x.z.c"),
        ] {
            assert_eq!(without_keys(address), plain);
        }
    }

    #[test]
    fn what_rests_on_a_fallback_is_marked_and_nothing_else() {
        let mut rests = Rests::default();
        let attributes = Attributes {
            written: BTreeMap::from([("input".to_owned(), on("ids")), ("name".to_owned(), on("other"))]),
            computed: on("ids"),
            exists: On::new(),
        };
        rests
            .resources
            .insert("module.m.terraform_data.a".to_owned(), attributes);
        let counted = Attributes {
            exists: on("ids"),
            ..Attributes::default()
        };
        rests.resources.insert("terraform_data.b".to_owned(), counted);
        rests.outputs.insert("o".to_owned(), on("ids"));
        let mut plan = json!({
            "resource_changes": [
                { "mode": "managed", "address": "module.m[0].terraform_data.a", "change": {
                    "before": { "id": "1", "input": 1, "output": 1 }, "after": { "id": "1", "input": 2, "output": 2, "none": null } } },
                { "mode": "managed", "address": "terraform_data.b[\"k\"]", "change": { "before": null, "after": {} } },
                { "mode": "managed", "address": "terraform_data.c", "change": {} },
            ],
            "output_changes": { "o": {}, "p": {} },
        });
        let mut fallbacks = [Fallback {
            upstream: net(),
            output: "ids".to_owned(),
            to: FallbackTo::LastApplied,
            because: String::new(),
            attributes: Vec::new(),
        }];
        let all = mark(&mut plan, &rests, &mut fallbacks);
        let told: Vec<(&str, Vec<&str>)> = all
            .iter()
            .map(|(subject, paths)| (subject.as_str(), paths.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            told,
            [
                ("module.m[0].terraform_data.a", vec!["input", "output"]),
                ("output.o", vec![""]),
                ("terraform_data.b[\"k\"]", vec![""]),
            ]
        );
        let marks: Vec<&Json> = (0..3)
            .map(|index| &plan["resource_changes"][index]["change"][MARK])
            .collect();
        assert_eq!(
            marks,
            [&json!({ "input": true, "output": true }), &json!(true), &Json::Null]
        );
        assert_eq!(plan["output_changes"], json!({ "o": { MARK: true }, "p": {} }));
        assert_eq!(
            fallbacks[0].attributes,
            [
                "module.m[0].terraform_data.a.input",
                "module.m[0].terraform_data.a.output",
                "terraform_data.b[\"k\"]",
                "output.o"
            ]
        );
    }
}
