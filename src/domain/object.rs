//! Owns where in a backend the state of a workspace lies: one object has one description, however it was written.
//!
//! From the backends' own documentation and code (developer.hashicorp.com/terraform/language/backend, opentofu.org/docs/language/settings/backends).

use std::collections::BTreeMap;

/// The attributes that tell the state, and the workspace as far as it is not in them already. Where two objects could
/// be one, they are taken for one: a lock too many is seen, one too few is not.
pub fn object(
    backend: &str,
    mut told: BTreeMap<String, String>,
    workspace: &str,
) -> (BTreeMap<String, String>, String) {
    let named = (workspace != DEFAULT).then_some(workspace);
    match backend {
        "s3" | "oci" => {
            let prefix = told.remove("workspace_key_prefix");
            // `PREFIX/WORKSPACE/KEY`, and `KEY` alone for the default one.
            let parts = named.map(|workspace| [prefix.as_deref().unwrap_or("env:"), workspace]);
            within(&mut told, "key", parts.as_ref().map_or(&[], |parts| parts.as_slice()));
            one_endpoint(&mut told);
        }
        "azurerm" => appended(&mut told, "key", "env:", named),
        "consul" => {
            appended(&mut told, "path", "-env:", named);
            forget(&mut told, "address", &["127.0.0.1:8500", "http://127.0.0.1:8500"]);
        }
        "oss" | "cos" => {
            let prefix = told.remove("prefix");
            // OSS has one where none is written (`env:`); COS has none.
            let prefix = prefix.as_deref().unwrap_or(if backend == "oss" { "env:" } else { "" });
            told.entry("key".to_owned())
                .or_insert_with(|| "terraform.tfstate".to_owned());
            let parts: Vec<&str> = std::iter::once(prefix).chain(named).collect();
            within(&mut told, "key", &parts);
        }
        "kubernetes" => {
            // The secret is `tfstate-WORKSPACE-SUFFIX`.
            if let Some(suffix) = told.remove("secret_suffix") {
                told.insert("secret".to_owned(), format!("{workspace}-{suffix}"));
            }
            forget(&mut told, "namespace", &["default"]);
        }
        "gcs" => {
            if let Some(prefix) = told.remove("prefix") {
                told.insert("prefix".to_owned(), clean(&[&prefix]));
            }
            forget(&mut told, "prefix", &[""]);
            return (told, workspace.to_owned());
        }
        "pg" => {
            forget(&mut told, "schema_name", &["terraform_remote_state"]);
            return (told, workspace.to_owned());
        }
        "remote" => {
            forget(&mut told, "hostname", &["app.terraform.io"]);
            return (told, workspace.to_owned());
        }
        _ => return (told, workspace.to_owned()),
    }
    (told, DEFAULT.to_owned())
}

const DEFAULT: &str = "default";

fn within(told: &mut BTreeMap<String, String>, name: &str, parts: &[&str]) {
    if let Some(key) = told.remove(name) {
        let parts: Vec<&str> = parts.iter().copied().chain([key.as_str()]).collect();
        told.insert(name.to_owned(), clean(&parts));
    }
}

fn appended(told: &mut BTreeMap<String, String>, name: &str, between: &str, workspace: Option<&str>) {
    if let (Some(value), Some(workspace)) = (told.get_mut(name), workspace) {
        value.push_str(between);
        value.push_str(workspace);
    }
}

/// Written as what it is anyway.
fn forget(told: &mut BTreeMap<String, String>, name: &str, defaults: &[&str]) {
    if told.get(name).is_some_and(|value| defaults.contains(&value.as_str())) {
        told.remove(name);
    }
}

/// The older and the newer word for one thing; AWS's own addresses name nothing that the bucket does not.
fn one_endpoint(told: &mut BTreeMap<String, String>) {
    let old = told.remove("endpoint");
    let Some(endpoint) = told.remove("endpoints.s3").or(old) else {
        return;
    };
    let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    if !host.ends_with(".amazonaws.com") {
        told.insert("endpoint".to_owned(), endpoint);
    }
}

/// Joined with `/`, as a path is: no empty part, no `.`, and `..` goes up.
fn clean(parts: &[&str]) -> String {
    let mut path: Vec<&str> = Vec::new();
    for part in parts.iter().flat_map(|part| part.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.join("/")
}

#[cfg(test)]
mod tests {
    use crate::domain::layout::state_key;

    type Written<'a> = (&'a [(&'a str, &'a str)], &'a str);

    fn key(backend: &str, (config, workspace): Written<'_>) -> String {
        let config = config
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        state_key(backend, &config.collect(), workspace)
            .expect("a key")
            .to_string()
    }

    #[test]
    fn one_state_has_one_key_however_it_is_written() {
        let ways: &[(&str, &[Written<'_>])] = &[
            (
                "s3",
                &[
                    (&[("bucket", "b"), ("key", "x")], "prod"),
                    (&[("bucket", "b"), ("key", "env:/prod/x")], "default"),
                    (
                        &[("bucket", "b"), ("key", "x"), ("workspace_key_prefix", "env:")],
                        "prod",
                    ),
                    (
                        &[("bucket", "b"), ("key", "x"), ("workspace_key_prefix", "env:/")],
                        "prod",
                    ),
                    (
                        &[
                            ("bucket", "b"),
                            ("key", "x"),
                            ("endpoints.s3", "https://s3.eu-central-1.amazonaws.com"),
                        ],
                        "prod",
                    ),
                    (
                        &[("bucket", "b"), ("key", "x"), ("endpoint", "s3.amazonaws.com")],
                        "prod",
                    ),
                ],
            ),
            (
                "s3",
                &[
                    (
                        &[("bucket", "b"), ("key", "x"), ("endpoint", "https://minio:9000")],
                        "default",
                    ),
                    (
                        &[("bucket", "b"), ("key", "x"), ("endpoints.s3", "https://MinIO:9000/")],
                        "default",
                    ),
                ],
            ),
            (
                "azurerm",
                &[
                    (
                        &[("storage_account_name", "a"), ("container_name", "c"), ("key", "x")],
                        "prod",
                    ),
                    (
                        &[
                            ("storage_account_name", "a"),
                            ("container_name", "c"),
                            ("key", "xenv:prod"),
                        ],
                        "default",
                    ),
                ],
            ),
            (
                "consul",
                &[
                    (&[("path", "x")], "prod"),
                    (&[("path", "x-env:prod"), ("address", "127.0.0.1:8500")], "default"),
                ],
            ),
            (
                "kubernetes",
                &[
                    (&[("secret_suffix", "b-c")], "a"),
                    (&[("secret_suffix", "c"), ("namespace", "default")], "a-b"),
                ],
            ),
            (
                "gcs",
                &[
                    (&[("bucket", "b"), ("prefix", "/p//q/")], "prod"),
                    (&[("bucket", "b"), ("prefix", "p/q")], "prod"),
                ],
            ),
            (
                "pg",
                &[
                    (&[("conn_str", "postgres://db/tf")], "prod"),
                    (
                        &[
                            ("conn_str", "postgresql://me:x@DB:5432/tf?sslmode=off"),
                            ("schema_name", "terraform_remote_state"),
                        ],
                        "prod",
                    ),
                    (&[("conn_str", "dbname=tf user=me host=db port=5432")], "prod"),
                ],
            ),
            (
                "cos",
                &[
                    (&[("bucket", "b"), ("prefix", "p")], "prod"),
                    (
                        &[("bucket", "b"), ("prefix", "p/prod"), ("key", "terraform.tfstate")],
                        "default",
                    ),
                ],
            ),
            (
                "http",
                &[
                    (&[("address", "https://x/state")], "default"),
                    (&[("address", "HTTPS://me:y@X:443/state")], "default"),
                ],
            ),
        ];
        for (backend, written) in ways {
            let keys: Vec<String> = written.iter().map(|one| key(backend, *one)).collect();
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{backend}: {keys:#?}");
        }
    }

    #[test]
    fn two_states_have_two_keys() {
        let bucket = |rest: &[(&'static str, &'static str)]| {
            let mut all = vec![("bucket", "b")];
            all.extend(rest);
            all
        };
        for (backend, one, other) in [
            (
                "s3",
                (bucket(&[("key", "x")]), "prod"),
                (bucket(&[("key", "x")]), "dev"),
            ),
            (
                "s3",
                (bucket(&[("key", "x")]), "prod"),
                (bucket(&[("key", "x")]), "default"),
            ),
            (
                "s3",
                (bucket(&[("key", "x")]), "default"),
                (bucket(&[("key", "x"), ("endpoint", "https://minio")]), "default"),
            ),
            (
                "gcs",
                (bucket(&[("prefix", "p")]), "a"),
                (bucket(&[("prefix", "p")]), "b"),
            ),
            ("oss", (bucket(&[]), "default"), (bucket(&[("prefix", "p")]), "default")),
        ] {
            assert_ne!(
                key(backend, (&one.0, one.1)),
                key(backend, (&other.0, other.1)),
                "{backend}"
            );
        }
    }
}
