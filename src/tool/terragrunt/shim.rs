//! Owns the stand-in for the tool that terragrunt starts: another face of our binary, told from the others by its name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::process::replace::become_program;

/// The name of the link to our binary; the order lies beside it.
pub const NAME: &str = "lockkeeper-unit-tool";
/// The order's name.
pub(crate) const ORDER: &str = "order.json";
/// Marks the directory of a unit whose outputs are held; terragrunt takes it along to where it works.
pub(crate) const MARK: &str = "lockkeeper_unit.tf";
/// What the mark says: `# outputs of ID`.
pub(crate) const MARK_BEGINS: &str = "# outputs of ";

/// What the stand-in is to do. Holds values in the clear.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    /// The real tool.
    pub tool: PathBuf,
    pub phase: Phase,
    /// Where `init` is noted.
    pub notes: PathBuf,
    /// By the mark's id, as `output -json` prints them.
    pub outputs: BTreeMap<String, Json>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Nothing runs: where and how `init` would run is noted.
    Note,
    /// The seed is there: `init` has nothing to do, and everything else runs.
    Run,
}

/// Where and how the unit's own `init` was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub cwd: PathBuf,
    pub args: Vec<String>,
    /// Of what terragrunt sets, that which `init` may need: inputs, and the credentials of a role it took.
    pub env: BTreeMap<String, String>,
}

/// What terragrunt may hand to `init`. A seed is shared: nothing that could bring another provider or module into it.
fn may_be_noted(name: &str) -> bool {
    const OF_A_ROLE: [&str; 4] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
    ];
    name.starts_with("TF_VAR_") || OF_A_ROLE.contains(&name)
}

/// What one call comes to.
#[derive(Debug, PartialEq)]
enum Answer {
    Real,
    Print(String),
    Note,
    Nothing,
    Refuse(&'static str),
}

/// Whether the program was started under the stand-in's name.
pub fn is_asked(program: Option<&OsStr>) -> bool {
    program.is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(NAME)))
}

/// Answers one call of terragrunt. What it may touch was decided when terragrunt was started.
pub fn shim_main(program: &OsStr, args: Vec<OsString>) -> ExitCode {
    let folder = Path::new(program).parent().unwrap_or(Path::new("/"));
    let order = std::fs::read(folder.join(ORDER)).map_err(|cause| cause.to_string());
    let order = order.and_then(|bytes| serde_json::from_slice::<Order>(&bytes).map_err(|cause| cause.to_string()));
    let order = match order {
        Ok(order) => order,
        Err(why) => return refuse(&format!("the order cannot be read: {why}")),
    };
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mark = std::fs::read_to_string(MARK).ok();
    match answer(&order, &words, mark.as_deref()) {
        Answer::Real => {
            let cause = become_program(&order.tool, args);
            refuse(&format!("cannot start the tool: {cause}"))
        }
        Answer::Print(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(cause) => refuse(&format!("cannot print outputs: {cause}")),
        },
        Answer::Note => match note(&order, words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(cause) => refuse(&format!("cannot note where init runs: {cause}")),
        },
        Answer::Nothing => ExitCode::SUCCESS,
        Answer::Refuse(why) => refuse(why),
    }
}

fn answer(order: &Order, words: &[String], mark: Option<&str>) -> Answer {
    let command = words.first().map(String::as_str).unwrap_or_default();
    let version = matches!(command, "-version" | "--version" | "version" | "-v");
    let held = mark.and_then(|text| text.lines().next()?.strip_prefix(MARK_BEGINS));
    match (command, held, order.phase) {
        _ if version => Answer::Real,
        ("init", Some(_), _) => Answer::Nothing,
        ("output", Some(id), _) => match order.outputs.get(id.trim()) {
            Some(outputs) => Answer::Print(outputs.to_string()),
            None => Answer::Print("{}".to_owned()),
        },
        (_, Some(_), _) => Answer::Refuse("another unit is not run from here"),
        ("init", None, Phase::Note) => Answer::Note,
        ("init", None, Phase::Run) => Answer::Nothing,
        (_, None, Phase::Run) => Answer::Real,
        (_, None, Phase::Note) => Answer::Refuse("nothing runs before init"),
    }
}

fn note(order: &Order, args: Vec<String>) -> std::io::Result<()> {
    let noted = Noted {
        cwd: std::env::current_dir()?,
        args,
        env: crate::process::replace::environment_of(may_be_noted),
    };
    std::fs::write(&order.notes, serde_json::to_vec(&noted)?)
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("Error: lockkeeper: {why}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(phase: Phase, words: &[&str], mark: Option<&str>) -> Answer {
        let order = Order {
            tool: PathBuf::from("/usr/bin/tofu"),
            phase,
            notes: PathBuf::from("/n"),
            outputs: BTreeMap::from([("7".to_owned(), serde_json::json!({"id": {"value": 1}}))]),
        };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        answer(&order, &words, mark)
    }

    #[test]
    fn another_unit_is_only_ever_asked_for_what_is_held() {
        let mark = Some("# outputs of 7\n");
        for phase in [Phase::Note, Phase::Run] {
            assert_eq!(answered(phase, &["init", "-no-color"], mark), Answer::Nothing);
            let Answer::Print(text) = answered(phase, &["output", "-json"], mark) else {
                panic!("outputs are printed");
            };
            assert_eq!(text, r#"{"id":{"value":1}}"#);
            for command in ["plan", "apply", "destroy", "state", "import", "providers", ""] {
                assert!(
                    matches!(answered(phase, &[command], mark), Answer::Refuse(_)),
                    "{command}"
                );
            }
        }
        assert_eq!(
            answered(Phase::Run, &["output", "-json"], Some("# outputs of 8")),
            Answer::Print("{}".to_owned())
        );
    }

    #[test]
    fn the_unit_itself_runs_what_its_phase_lets_it() {
        for (phase, command, expected) in [
            (Phase::Note, "init", Answer::Note),
            (Phase::Run, "init", Answer::Nothing),
            (Phase::Run, "plan", Answer::Real),
            (Phase::Run, "output", Answer::Real),
            (Phase::Note, "plan", Answer::Refuse("nothing runs before init")),
            (Phase::Note, "-version", Answer::Real),
        ] {
            assert_eq!(answered(phase, &[command], None), expected, "{command}");
        }
        // A file of that name that says nothing of ours is the author's own.
        assert_eq!(answered(Phase::Run, &["plan"], Some("locals {}\n")), Answer::Real);
    }
}
