//! Owns the question where a state is: from a backend's configuration to its key.

use std::collections::BTreeMap;

use crate::domain::ids::{LockKey, RepoId, RepoPath};
use crate::domain::layout::{StateAt, local_state_key, state_key, tells_the_state};
use crate::source::part::walk::Target;
use crate::source::value::{Lit, Why};

/// What is known of a backend's configuration.
pub type Config = BTreeMap<String, Result<Lit, Why>>;

/// Where a stack's state is. `Err`: a path that leaves the repository.
pub fn of_stack(repo: RepoId, dir: &RepoPath, kind: &str, config: &Config, workspace: &str) -> Result<StateAt, String> {
    match kind {
        "" => Ok(StateAt::Unknown("the file does not parse".to_owned())),
        "local" => local(repo, dir, config, workspace),
        "cloud" | "remote" => {
            let hosted = hosted(config, workspace);
            let told = |part: &str| {
                hosted
                    .as_ref()
                    .ok()
                    .and_then(|config| config.get(part))
                    .map_or("?", String::as_str)
            };
            Ok(StateAt::Cloud {
                workspace: format!("{}/{}", told("organization"), told("workspaces.name")),
                key: hosted
                    .as_ref()
                    .ok()
                    .and_then(|config| state_key("remote", config, "default").ok()),
            })
        }
        kind => Ok(match key(kind, config, workspace) {
            Ok(key) => StateAt::Key(key),
            Err(why) => StateAt::Unknown(why),
        }),
    }
}

/// The key of the state that a `terraform_remote_state` looks into; `dir` is the reading root module's.
pub fn of_read(repo: RepoId, dir: &RepoPath, target: &Target) -> Result<LockKey, Why> {
    let Target {
        backend,
        config,
        workspace,
    } = target;
    match backend.as_str() {
        "local" => match local(repo, dir, config, workspace)? {
            StateAt::Local { key, .. } | StateAt::Absolute { key, .. } | StateAt::Key(key) => Ok(key),
            StateAt::Cloud { .. } => Err("it is hosted".to_owned()),
            StateAt::Unknown(why) => Err(why),
        },
        "cloud" | "remote" => {
            let hosted = hosted(config, workspace)?;
            state_key("remote", &hosted, "default").map_err(|missing| format!("`{missing}` is given elsewhere"))
        }
        kind => key(kind, config, workspace),
    }
}

fn key(kind: &str, config: &Config, workspace: &str) -> Result<LockKey, Why> {
    let flat = flat(kind, config)?;
    state_key(kind, &flat, workspace)
        .map_err(|missing| format!("`{missing}` is given elsewhere (partial configuration)"))
}

/// The attributes that are known, dotted; `Err` where one that matters is not.
fn flat(kind: &str, config: &Config) -> Result<BTreeMap<String, String>, Why> {
    let mut flat = BTreeMap::new();
    for (name, value) in config {
        match value {
            Ok(lit) => flatten(name, lit, &mut flat),
            Err(why) if tells_the_state(kind, name) => return Err(format!("`{name}` could not be told: {why}")),
            Err(_) => {}
        }
    }
    Ok(flat)
}

fn flatten(name: &str, lit: &Lit, flat: &mut BTreeMap<String, String>) {
    match lit {
        Lit::Map(map) => {
            for (inner, lit) in map {
                flatten(&format!("{name}.{inner}"), lit, flat);
            }
        }
        // JSON and older syntax write a nested block as a list of one.
        Lit::List(items) => {
            if let [only] = items.as_slice() {
                flatten(name, only, flat);
            }
        }
        lit => {
            if let Some(text) = lit.text() {
                flat.insert(name.to_owned(), text);
            }
        }
    }
}

/// HCP Terraform: the workspace there is a name, or a prefix (or tags) with the one chosen here.
fn hosted(config: &Config, workspace: &str) -> Result<BTreeMap<String, String>, Why> {
    let mut flat = flat("remote", config)?;
    let prefix = flat.get("workspaces.prefix").cloned();
    if !flat.contains_key("workspaces.name") && workspace != "default" {
        flat.insert(
            "workspaces.name".to_owned(),
            format!("{}{workspace}", prefix.unwrap_or_default()),
        );
    }
    flat.entry("hostname".to_owned())
        .or_insert_with(|| "app.terraform.io".to_owned());
    Ok(flat)
}

/// The local backend keeps other workspaces than the default in a directory of their own.
fn local(repo: RepoId, dir: &RepoPath, config: &Config, workspace: &str) -> Result<StateAt, String> {
    let told = |name: &str, default: &str| match config.get(name) {
        Some(Ok(Lit::Null)) | None => Ok(default.to_owned()),
        Some(Ok(lit)) => lit.text().ok_or_else(|| format!("`{name}` is not text")),
        Some(Err(why)) => Err(format!("`{name}` could not be told: {why}")),
    };
    let file = match workspace {
        "default" => told("path", "terraform.tfstate"),
        workspace => told("workspace_dir", "terraform.tfstate.d")
            .map(|dir| format!("{}/{workspace}/terraform.tfstate", dir.trim_end_matches('/'))),
    };
    let file = match file {
        Ok(file) => file,
        Err(why) => return Ok(StateAt::Unknown(why)),
    };
    if file.starts_with('/') {
        let config = BTreeMap::from([("path".to_owned(), file.clone())]);
        let key = state_key("local", &config, "default").map_err(|missing| format!("`{missing}` is missing"))?;
        return Ok(StateAt::Absolute { file, key });
    }
    match dir.join(&file).filter(|file| !file.is_root()) {
        Some(file) => {
            let key = local_state_key(repo, &file);
            Ok(StateAt::Local { file, key })
        }
        None => Err(format!("the state's path `{file}` leaves the repository")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> Config {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Ok(Lit::Text((*value).to_owned()))))
            .collect()
    }

    fn stack(kind: &str, entries: &[(&str, &str)], workspace: &str) -> String {
        let dir = RepoPath::parse("infra/app").expect("a path");
        match of_stack(RepoId(7), &dir, kind, &config(entries), workspace) {
            Ok(StateAt::Unknown(why)) => format!("unknown: {why}"),
            Ok(at) => at.key().map_or("no key".to_owned(), ToString::to_string),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn states_have_keys() {
        for (kind, entries, workspace, expected) in [
            (
                "s3",
                &[("bucket", "b"), ("key", "k"), ("region", "r")][..],
                "default",
                "s3:bucket=b,key=k:default",
            ),
            (
                "s3",
                &[("key", "k")],
                "default",
                "unknown: `bucket` is given elsewhere (partial configuration)",
            ),
            (
                "gcs",
                &[("bucket", "b"), ("prefix", "p/")],
                "dev",
                "gcs:bucket=b,prefix=p:dev",
            ),
            ("local", &[], "default", "local:7/infra/app/terraform.tfstate"),
            (
                "local",
                &[("path", "../x.tfstate")],
                "default",
                "local:7/infra/x.tfstate",
            ),
            (
                "local",
                &[],
                "dev",
                "local:7/infra/app/terraform.tfstate.d/dev/terraform.tfstate",
            ),
            ("local", &[("path", "/var/x")], "default", "local:path=/var/x:default"),
            (
                "local",
                &[("path", "../../../x")],
                "default",
                "error: the state's path `../../../x` leaves the repository",
            ),
            ("cloud", &[("organization", "acme")], "default", "no key"),
        ] {
            assert_eq!(stack(kind, entries, workspace), expected, "{kind} {entries:?}");
        }
    }

    #[test]
    fn an_attribute_that_does_not_tell_the_state_may_be_unknown() {
        let mut config = config(&[("bucket", "b"), ("key", "k")]);
        config.insert("region".to_owned(), Err("var.region is given elsewhere".to_owned()));
        assert!(key("s3", &config, "default").is_ok());
        config.insert("key".to_owned(), Err("var.key is given elsewhere".to_owned()));
        assert!(key("s3", &config, "default").is_err());
    }
}
