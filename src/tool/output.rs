//! Owns the outputs of a root module: as planned, and as the state holds them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::tool::diagnostics::plain;
use crate::tool::error::{Step, ToolError};
use crate::tool::run::{Command, Finished, redactor_for, workspace_env};
use crate::tool::seed::{Seed, states};
use crate::tool::site::{Site, StackAt};
use crate::tool::terragrunt::unit;

/// What an output would be after the apply.
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PlannedOutput {
    pub sensitive: bool,
    pub planned: Planned,
    /// The value that was last applied; `None`: there was none.
    pub prior: Option<Json>,
    /// The type of `prior` where the planned value is not wholly known; else it may be the planned value's. Null: the
    /// tool did not say.
    pub prior_kind: Json,
}

impl PlannedOutput {
    /// Whether the apply changes it, or may.
    pub fn changes(&self) -> bool {
        match &self.planned {
            Planned::Known { value, kind: _ } => self.prior.as_ref() != Some(value),
            Planned::Partly { .. } | Planned::Unknown | Planned::Removed => true,
        }
    }
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

/// The outputs that the state holds now; `None` if there is no state. One process, and one more where there are none.
pub async fn outputs(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
) -> Result<Option<BTreeMap<String, Output>>, ToolError> {
    let step = Step::Output;
    let finished = ask(site, at, seed, step, &["output", "-json", "-no-color"], &[0]).await?;
    let outputs = read(&finished.stdout).map_err(|cause| ToolError::Unreadable { step, cause })?;
    // The tool gives the same answer for a state without outputs and for none at all.
    if !outputs.is_empty() {
        return Ok(Some(outputs));
    }
    let listed = ask(site, at, seed, Step::StateList, &["state", "list"], &[0, 1]).await?;
    match listed.code {
        0 => Ok(Some(outputs)),
        _ if there_is_none(&listed.stderr) => Ok(None),
        _ => Err(listed.failed(at, &redactor_for(site, at, &site.secrets()))),
    }
}

/// A command that only looks into the state.
async fn ask(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
    step: Step,
    args: &[&str],
    codes: &[i32],
) -> Result<Finished, ToolError> {
    let args = args.iter().map(Into::into).collect();
    let mut command = Command::new(step, &seed.installed.file, args, &seed.data_dir);
    command.env = workspace_env(at);
    command.read = states(site, at);
    command.deadline = site.deadlines.init;
    let redactor = redactor_for(site, at, &site.secrets());
    // the unit's role may be the one that reads its state
    let command = seed.run(site, at, command)?;
    let finished = command.run(site, at).await?.expect(codes, at, &redactor)?;
    unit::forget(at).map_err(ToolError::io("remove an order"))?;
    Ok(finished)
}

/// Reads what `state list` says where nothing was ever applied: terraform `No state file was found!`, tofu
/// `Error: No state file was found`.
fn there_is_none(stderr: &[u8]) -> bool {
    plain(&String::from_utf8_lossy(stderr)).contains("No state file was found")
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

    #[test]
    fn no_state_is_told_from_other_trouble() {
        let none = "\u{1b}[31mNo state file was found!\n\nState management commands require a state file.\u{1b}[0m";
        let of_tofu = "\nError: No state file was found\n\nState management commands require a state file.\n";
        assert!(there_is_none(none.as_bytes()) && there_is_none(of_tofu.as_bytes()));
        assert!(!there_is_none(b"Error: Failed to load state: access denied"));
    }
}
