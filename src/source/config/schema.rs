//! Owns the JSON Schema of `lockkeeper.yaml`, which editors read as the reader reads the file.

/// Draft 2020-12. What it cannot say stays the reader's: that names are unique, that files are there.
pub const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use serde_json::{Map, Value as Json};

    use super::SCHEMA;
    use crate::domain::ids::RepoPath;
    use crate::source::config::yaml::{Node, Value, read};
    use crate::source::config::{Config, FILE, KEYS};

    fn schema() -> Json {
        serde_json::from_str(SCHEMA).expect("JSON")
    }

    fn path() -> RepoPath {
        RepoPath::parse(FILE).expect("a path")
    }

    /// What an editor's YAML parser hands to the schema.
    fn json(node: &Node) -> Json {
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.text.clone(), json(value)));
                Json::Object(entries.collect::<Map<String, Json>>())
            }
        }
    }

    /// What the reader and the schema say of a file that is YAML; `None`: it is none.
    fn said(text: &str) -> Option<(Vec<String>, Vec<String>)> {
        let node = read(&path(), text).ok()?;
        let reader = Config::parse(&path(), text).errors;
        let reader = reader.iter().map(|fault| fault.error.to_string()).collect();
        let validator = jsonschema::validator_for(&schema()).expect("a schema");
        let schema = validator
            .iter_errors(&json(&node))
            .map(|error| error.to_string())
            .collect();
        Some((reader, schema))
    }

    fn agree(text: &str, name: &str) {
        let Some((reader, schema)) = said(text) else { return };
        // What is right in one file alone, and wrong in its repository, is no schema's business; nor is the syntax of a
        // pattern.
        let beyond = |error: &String| error.contains("is already taken in line") || error.contains("is not a pattern");
        let reader: Vec<String> = reader.into_iter().filter(|error| !beyond(error)).collect();
        assert_eq!(
            reader.is_empty(),
            schema.is_empty(),
            "{name}\n{text}\nreader: {reader:#?}\nschema: {schema:#?}"
        );
    }

    #[test]
    fn it_is_a_schema_of_its_draft() {
        let draft = schema()["$schema"].as_str().map(str::to_owned);
        assert_eq!(draft.as_deref(), Some("https://json-schema.org/draft/2020-12/schema"));
        jsonschema::meta::validate(&schema()).expect("a valid schema");
    }

    #[test]
    fn every_example_of_the_documents_is_what_both_read() {
        let docs = include_str!("../../../docs/config.md");
        let blocks = docs
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let examples: Vec<&str> = blocks.filter(|block| block.starts_with("version: 1\n")).collect();
        assert!(!examples.is_empty());
        for example in examples {
            let (reader, schema) = said(example).expect("YAML");
            assert_eq!((reader, schema), (Vec::new(), Vec::new()), "{example}");
        }
    }

    #[test]
    fn every_file_of_the_cases_is_read_alike() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/source/cases");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("cases") {
            let file = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&file).expect("text");
            let sections = text.split("\n-- ").filter_map(|section| section.split_once(" --\n"));
            for (header, body) in sections {
                let name = header.trim_start_matches("base: ").trim_start_matches("head: ");
                let body = body.split("\n=== ").next().unwrap_or_default();
                if name == FILE {
                    count += 1;
                    agree(&format!("{body}\n"), &file.display().to_string());
                }
            }
        }
        assert!(count >= 30, "{count} files");
    }

    #[test]
    fn what_is_right_passes_both() {
        for text in [
            "",
            "version: 1\n",
            "apply:\nstacks:\ndiscover:\ndefaults:\npolicies:\n",
            "discover: { enabled: false, include: [], exclude: }\n",
            "defaults: { tool: opentofu, tool_version: \"1.11.4\", lock: apply, autoplan: false }\n",
            "defaults: { tool_version: 1.11.4 }\n",
            "defaults: { tool_version: 1.10 }\n",
            "stacks: [{ dir: . }]\n",
            "stacks: [{ dir: a, name: 7, workspace: 2024, labels: { a: 1, b: true, c: x }, watch: ['!*.md', ../x] }]\n",
            "stacks: [{ dir: a, depends_on: [b, { stack: c }, { stack: d, outputs: { x: y } }, { stack: e, outputs: }] }]\n",
            "stacks: [{ dir: a, var_files: [x.tfvars], backend_files: [b.hcl], depends_on: , labels: , watch: }]\n",
            "policies: { dir: ops/policies, library: [required-tags, public-ingress] }\n",
            "apply: { on: comment, require: [], approvals: { count: 100, teams: [], codeowners: false }, automerge: off }\n",
            "apply: { branches: [\"release/*\", \"**\", 1.0] }\n",
            "apply: { branches: }\n",
            "apply: { automerge: false, pending_check: in_progress, approvals: }\n",
        ] {
            assert_eq!(said(text).expect("YAML"), (Vec::new(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_fails_both() {
        for text in [
            "[1]\n",
            "version\n",
            "version: 2\n",
            "version: \"1\"\n",
            "version:\n",
            "appply: {}\n",
            "drift: {}\n",
            "apply: []\n",
            "apply: { requires: [] }\n",
            "apply: { require: approved }\n",
            "apply: { require: [approvd] }\n",
            "apply: { branches: release }\n",
            "apply: { branches: [\"\"] }\n",
            "apply: { branches: [[main]] }\n",
            "apply: { on: merge }\n",
            "apply: { automerge: squash }\n",
            "apply: { automerge: true }\n",
            "apply: { pending_check: red }\n",
            "apply: { approvals: { count: 0 } }\n",
            "apply: { approvals: { count: 101 } }\n",
            "apply: { approvals: { count: two } }\n",
            "apply: { approvals: { teams: [a] } }\n",
            "apply: { approvals: { teams: } }\n",
            "apply: { approvals: { codeowners: true } }\n",
            "defaults: { tool: pulumi }\n",
            "defaults: { tool: terragrunt }\n",
            "defaults: { tool: }\n",
            "defaults: { tool_version: latest }\n",
            "defaults: { tool_version: 1 }\n",
            "defaults: { tool_version: \"~> 1.5\" }\n",
            "defaults: { lock: plan }\n",
            "defaults: { autoplan: \"yes\" }\n",
            "discover: { enabled: 1 }\n",
            "discover: { include: x }\n",
            "discover: { include: [\"\"] }\n",
            "discover: { exclude: [\"# x\"] }\n",
            "discover: { exclude: [[a]] }\n",
            "policies: { dir: ../x }\n",
            "policies: { dir: /x }\n",
            "policies: { library: required-tags }\n",
            "policies: { library: [{ a: b }] }\n",
            "stacks: { dir: a }\n",
            "stacks: [a]\n",
            "stacks: [{ name: a }]\n",
            "stacks: [{}]\n",
            "stacks: [{ dir: }]\n",
            "stacks: [{ dir: ../a }]\n",
            "stacks: [{ dir: .. }]\n",
            "stacks: [{ dir: a, name: }]\n",
            "stacks: [{ dir: a, name: \"\" }]\n",
            "stacks: [{ dir: a, name: a b }]\n",
            "stacks: [{ dir: a, name: -a }]\n",
            "stacks: [{ dir: a, name: -1 }]\n",
            "stacks: [{ dir: a, name: \"a`b\" }]\n",
            "stacks: [{ dir: a, name: \"a\\u0007b\" }]\n",
            "stacks: [{ dir: a, workspace: a/b }]\n",
            "stacks: [{ dir: a, workspace: -a }]\n",
            "stacks: [{ dir: a, workspace: \"\" }]\n",
            "stacks: [{ dir: a, lables: {} }]\n",
            "stacks: [{ dir: a, labels: [a] }]\n",
            "stacks: [{ dir: a, labels: { a: [b] } }]\n",
            "stacks: [{ dir: a, labels: { a: } }]\n",
            "stacks: [{ dir: a, watch: x }]\n",
            "stacks: [{ dir: a, var_files: x }]\n",
            "stacks: [{ dir: a, depends_on: b }]\n",
            "stacks: [{ dir: a, depends_on: [{ name: b }] }]\n",
            "stacks: [{ dir: a, depends_on: [{ outputs: {} }] }]\n",
            "stacks: [{ dir: a, depends_on: [{ stack: b, outputs: [x] }] }]\n",
            "stacks: [{ dir: a, depends_on: [] , environment: prod }]\n",
        ] {
            let (reader, schema) = said(text).expect("YAML");
            assert!(!reader.is_empty(), "the reader takes {text}");
            assert!(!schema.is_empty(), "the schema takes {text}");
        }
    }

    /// The keys of every object in the schema, by the keys above it as the reader names them.
    fn keys_of(schema: &Json, at: &str, whole: &Json, found: &mut BTreeSet<(String, String)>) {
        let schema = match schema["$ref"].as_str() {
            Some(name) => &whole["$defs"][name.trim_start_matches("#/$defs/")],
            None => schema,
        };
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            assert!(
                inner["description"].is_string() || inner["$ref"].is_string(),
                "{at}.{key} has no description"
            );
            found.insert((at.to_owned(), key.clone()));
            let below = match at {
                "" => key.clone(),
                at => format!("{at}.{key}"),
            };
            keys_of(inner, &below, whole, found);
        }
        let inner = schema["anyOf"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(schema.get("items"));
        inner.for_each(|inner| keys_of(inner, at, whole, found));
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], Json::Bool(false), "{at}");
        }
    }

    #[test]
    fn both_know_the_same_keys() {
        let mut of_schema = BTreeSet::new();
        keys_of(&schema(), "", &schema(), &mut of_schema);
        let of_reader: BTreeSet<(String, String)> = KEYS
            .iter()
            .flat_map(|(at, keys)| keys.iter().map(|key| ((*at).to_owned(), (*key).to_owned())))
            .collect();
        assert_eq!(of_schema, of_reader);
    }
}
