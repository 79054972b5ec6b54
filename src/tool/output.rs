//! Owns the outputs of a root module: as planned, and as the state holds them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::tool::error::{Step, ToolError};
use crate::tool::run::{Command, redactor_for, workspace_env};
use crate::tool::seed::{Seed, states};
use crate::tool::site::{Site, StackAt};
use crate::tool::terragrunt::unit;

/// What an output would be after the apply.
#[derive(Clone, PartialEq)]
pub enum Planned {
    /// `kind`: the tool's own type, e.g. `["set", "string"]`; null if it did not say.
    Known {
        value: Json,
        kind: Json,
    },
    /// Parts are unknown: `unknown` mirrors the value with `true` in their places.
    Partly {
        value: Json,
        unknown: Json,
    },
    Unknown,
    Removed,
}

/// One output in a plan. Its `Debug` shows no value.
#[derive(Clone, PartialEq)]
pub struct PlannedOutput {
    pub sensitive: bool,
    pub planned: Planned,
    /// The value that was last applied; `None`: there was none.
    pub prior: Option<Json>,
}

/// One output in the state. Its `Debug` shows no value.
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Output {
    pub sensitive: bool,
    pub value: Json,
    /// The tool's own type.
    pub kind: Json,
}

impl std::fmt::Debug for PlannedOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let planned = match self.planned {
            Planned::Known { .. } => "known",
            Planned::Partly { .. } => "partly known",
            Planned::Unknown => "unknown",
            Planned::Removed => "removed",
        };
        write!(f, "PlannedOutput({planned})")
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Output(…)")
    }
}

/// The outputs that the state holds now: `output -json`, one process.
pub async fn outputs(site: &Site, at: &StackAt<'_>, seed: &Seed) -> Result<BTreeMap<String, Output>, ToolError> {
    let step = Step::Output;
    let args = vec!["output".into(), "-json".into(), "-no-color".into()];
    let mut command = Command::new(step, &seed.installed.file, args, &seed.data_dir);
    command.env = workspace_env(at);
    command.read = states(site, at);
    command.deadline = site.deadlines.init;
    let redactor = redactor_for(site, at, &site.secrets());
    // the unit's role may be the one that reads its state
    let command = seed.run(site, at, command)?;
    let finished = command.run(site, at).await?.expect(&[0], at, &redactor)?;
    unit::forget(at).map_err(ToolError::io("remove an order"))?;
    read(&finished.stdout).map_err(|cause| ToolError::Unreadable { step, cause })
}

/// Reads `output -json`: `{"name": {"sensitive": false, "type": "string", "value": "x"}}`.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Output>, serde_json::Error> {
    let all: BTreeMap<String, BTreeMap<String, Json>> = serde_json::from_slice(bytes)?;
    let output = |(name, mut fields): (String, BTreeMap<String, Json>)| {
        let output = Output {
            // what is not said to be public is not
            sensitive: fields.get("sensitive") != Some(&Json::Bool(false)),
            value: fields.remove("value").unwrap_or_default(),
            kind: fields.remove("type").unwrap_or_default(),
        };
        (name, output)
    };
    Ok(all.into_iter().map(output).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_not_said_to_be_public_is_sensitive() {
        let all = read(br#"{"a":{"sensitive":false,"type":"string","value":"x"},"b":{"value":1}}"#).expect("outputs");
        assert!(!all["a"].sensitive);
        assert_eq!(all["a"].value, Json::from("x"));
        assert!(all["b"].sensitive);
        assert!(read(b"Warning: no outputs").is_err());
    }
}
