//! Owns the question whether a stack's workspace exists. Every step that reads a state makes the workspace that it is
//! told to use: a plan of one that does not exist would leave it behind, and plan everything as new.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::domain::layout::Stack;
use crate::domain::located::Located;
use crate::tool::diagnostics::plain;
use crate::tool::error::{Step, ToolError};
use crate::tool::program::Installed;
use crate::tool::redact::Redactor;
use crate::tool::run::Command;
use crate::tool::seed::Seed;
use crate::tool::site::{Site, StackAt};

/// Whether nobody has to ask: there is no other workspace, this server keeps it, or it was listed before.
pub(crate) fn was_seen(site: &Site, at: &StackAt<'_>, seed: &Seed) -> bool {
    at.stack.workspace == "default" || at.kept_state(site).is_some() || mark(site, at, seed).is_file()
}

/// Asks the tool, one process; what is there is remembered.
pub(crate) async fn is_listed(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
    redactor: &Redactor,
) -> Result<bool, ToolError> {
    if at.stack.workspace == "default" || at.kept_state(site).is_some() {
        return Ok(true);
    }
    let args = vec!["workspace".into(), "list".into(), "-no-color".into()];
    let mut command = Command::new(Step::Workspace, &seed.installed.file, args, &seed.data_dir);
    command.deadline = site.deadlines.init;
    let finished = command.run(site, at).await?.expect(&[0], at, redactor)?;
    let listed = is_in(&String::from_utf8_lossy(&finished.stdout), &at.stack.workspace);
    let mark = mark(site, at, seed);
    let remembered = match listed {
        true => fs::create_dir_all(site.workspaces()).and_then(|()| fs::write(mark, [])),
        false => match fs::remove_file(mark) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        },
    };
    remembered.map_err(ToolError::io("remember a workspace"))?;
    Ok(listed)
}

/// An empty file for each workspace that was seen, named by the state and the workspace.
fn mark(site: &Site, at: &StackAt<'_>, seed: &Seed) -> PathBuf {
    let mut digest = Sha256::new();
    for part in seed
        .keys
        .iter()
        .map(|key| key.as_str())
        .chain([at.stack.workspace.as_str()])
    {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    site.workspaces().join(hex::encode(&digest.finalize()[..16]))
}

/// The author has to mend its name, or somebody has to make it.
pub(crate) fn missing(stack: &Stack, installed: &Installed) -> ToolError {
    let workspace = &stack.workspace;
    let problem = format!("the workspace {workspace:?} of stack {} does not exist", stack.name);
    let hint = format!(
        "correct its name, or make it with `{} workspace new {workspace}`",
        installed.tool.word()
    );
    ToolError::Refused(match &stack.defined_at {
        Some(place) => Located::at(place.clone(), problem).hint(hint),
        None => Located::nowhere(problem).hint(hint),
    })
}

/// Reads `* default\n  prod\n`: the current one is marked.
fn is_in(list: &str, wanted: &str) -> bool {
    let name = |line: &str| line.trim_start_matches("* ").trim().to_owned();
    plain(list).lines().any(|line| name(line) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_read_from_the_tools_list() {
        let list = "* default\n  prod\n\n";
        assert!(is_in(list, "prod") && is_in(list, "default"));
        assert!(!is_in(list, "pro") && !is_in("", "prod"));
    }
}
