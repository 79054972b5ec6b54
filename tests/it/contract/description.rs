//! Owns fetching GitHub's description of itself, and bringing it into the form of a JSON schema.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

const OPENAPI: &str = "@octokit/openapi@23.0.2";
const GRAPHQL: &str = "@octokit/graphql-schema@15.26.1";

/// GitHub's REST API and webhooks, as a JSON schema document.
pub fn rest() -> Option<&'static Value> {
    static REST: OnceLock<Option<Value>> = OnceLock::new();
    let read = || {
        let slim = folder().join("rest-2.json");
        if let Ok(bytes) = std::fs::read(&slim) {
            return serde_json::from_slice(&bytes).ok();
        }
        let text = fetched(OPENAPI, "package/generated/api.github.com.json")?;
        let mut whole: Value = serde_json::from_slice(&text).expect("the description is JSON");
        let mut kept = Map::new();
        for part in ["paths", "x-webhooks", "components"] {
            kept.insert(part.to_owned(), whole[part].take());
        }
        let mut kept = Value::Object(kept);
        as_json_schema(&mut kept);
        put(&slim, kept.to_string().as_bytes());
        Some(kept)
    };
    REST.get_or_init(read).as_ref()
}

/// GitHub's GraphQL schema, in its own language.
pub fn graphql() -> Option<&'static str> {
    static GRAPHQL_TEXT: OnceLock<Option<String>> = OnceLock::new();
    let read = || fetched(GRAPHQL, "package/schema.graphql").and_then(|bytes| String::from_utf8(bytes).ok());
    GRAPHQL_TEXT.get_or_init(read).as_deref()
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("github-description");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Written beside and moved into place, so that two test processes never read half a file.
fn put(path: &Path, bytes: &[u8]) {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .expect("the target folder can be written");
}

/// One file of a package; fetched once.
fn fetched(package: &str, file: &str) -> Option<Vec<u8>> {
    let kept = folder().join(file.rsplit('/').next().unwrap_or(file));
    if let Ok(bytes) = std::fs::read(&kept) {
        return Some(bytes);
    }
    let download = tempfile::tempdir().expect("a folder");
    let packed = Command::new("npm")
        .args(["pack", "--silent", package])
        .current_dir(download.path())
        .output();
    let archive = packed.ok().filter(|output| output.status.success());
    let archive = archive.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let bytes = archive.and_then(|archive| {
        let unpacked = Command::new("tar")
            .args(["xzOf", &archive, file])
            .current_dir(download.path())
            .output()
            .ok()?;
        unpacked.status.success().then_some(unpacked.stdout)
    });
    let Some(bytes) = bytes else {
        let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|tool| tool.trim() == "npm"),
            "{package} cannot be fetched and is required"
        );
        eprintln!("left out: the contract with {package}, which npm cannot fetch here");
        return None;
    };
    put(&kept, &bytes);
    Some(bytes)
}

/// OpenAPI 3.0 says `nullable`; JSON schema says it with a type. Examples and prose are dropped.
fn as_json_schema(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(as_json_schema),
        Value::Object(map) => {
            for prose in [
                "example",
                "examples",
                "description",
                "title",
                "summary",
                "externalDocs",
                "x-github",
            ] {
                // A property may be called so too; then it is a schema.
                if map
                    .get(prose)
                    .is_some_and(|it| it.is_string() || it["type"].is_null() && it["$ref"].is_null())
                {
                    map.shift_remove(prose);
                }
            }
            map.values_mut().for_each(as_json_schema);
            // A bot's address has brackets, which GitHub writes and the format forbids.
            if map.get("format").is_some_and(|format| format == "email") {
                map.shift_remove("format");
            }
            if map.shift_remove("nullable") == Some(Value::Bool(true)) {
                nullable(map);
            }
        }
        _ => {}
    }
}

fn nullable(map: &mut Map<String, Value>) {
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.push(Value::Null);
    }
    match map.get("type").cloned() {
        Some(Value::String(kind)) => {
            map.insert("type".into(), json!([kind, "null"]));
        }
        _ => {
            let inner = std::mem::take(map);
            map.insert("anyOf".into(), json!([inner, {"type": "null"}]));
        }
    }
}
