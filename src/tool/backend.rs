//! Owns the true lock key: which state a seed's backend record and a workspace name.

use serde_json::Value as Json;

use crate::domain::ids::LockKey;
use crate::domain::layout::{flat_settings, state_key};

/// `terraform.tfstate` in a data directory: the backend that `init` resolved.
#[derive(Debug, serde::Deserialize)]
pub struct Record {
    pub backend: Option<Backend>,
}

#[derive(Debug, serde::Deserialize)]
pub struct Backend {
    #[serde(rename = "type")]
    pub kind: String,
    pub config: Json,
}

impl Backend {
    /// Backend type, what tells the state, workspace: `s3:bucket=acme-tf,key=network.tfstate:default`. An error says
    /// why it does not tell one state.
    pub fn key(&self, workspace: &str) -> Result<LockKey, String> {
        let kind = &self.kind;
        state_key(kind, &flat_settings(&self.config), workspace)
            .map_err(|missing| format!("the backend {kind:?} says no {missing}, which tells its state"))
    }

    /// Where a local backend keeps the states of other workspaces, if that was configured.
    pub fn workspace_dir(&self) -> Option<&str> {
        self.config["workspace_dir"].as_str()
    }

    /// The path of a local backend, as it was configured.
    pub fn local_path(&self) -> Option<&str> {
        match self.kind.as_str() {
            "local" => Some(self.config["path"].as_str().unwrap_or("terraform.tfstate")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_names_the_state_and_no_credential() {
        for (kind, config, key) in [
            (
                "s3",
                json!({ "key": "network.tfstate", "bucket": "acme-tf", "region": "eu-central-1", "access_key": "AKIA", "secret_key": "s3cr3t", "endpoints": null }),
                "s3:bucket=acme-tf,key=env:/prod/network.tfstate:default",
            ),
            (
                "new",
                json!({ "bucket": "b", "secret_token": "x", "a": 1 }),
                "new:a=1,bucket=b:prod",
            ),
        ] {
            let backend = Backend {
                kind: kind.to_owned(),
                config,
            };
            assert_eq!(backend.key("prod").map(|key| key.to_string()), Ok(key.to_owned()));
        }
        assert!(
            Backend {
                kind: "s3".to_owned(),
                config: json!({})
            }
            .key("default")
            .is_err()
        );
    }
}
