//! Owns `lockkeeper policy`: tests policies, judges a plan by hand, shows the library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::cli::{print, wrong};
use crate::domain::ids::{Login, PullNumber, RepoPath, StackName, Timestamp};
use crate::domain::plan::PlanJson;
use crate::domain::verdict::{Effect, Finding, Verdict};
use crate::policy::bundle::{Bundle, Directory};
use crate::policy::input::{Input, PhaseInput, PlanKindInput, PullInput, RunInput, RunKindInput, StackInput};
use crate::policy::limits::Limits;
use crate::policy::{self, directory, library, trial};
use crate::process::OwnBinary;

/// Test policies, judge a plan with them, show the library.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Run every `test_…` rule. Exit code 0: all passed; 1: one did not; 2: nothing to run, or not readable.
    Test {
        /// Directories and files, loaded together.
        #[arg(value_name = "PATH", default_value = "policies")]
        paths: Vec<PathBuf>,
        /// The report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Judge a plan (`terraform show -json`). Exit code 0: no deny; 1: denied; 2: not readable.
    Eval(EvalArgs),
    /// Names of the library's policies, or the text of one.
    Library { name: Option<String> },
}

#[derive(Debug, Args)]
struct EvalArgs {
    /// The plan as JSON; `-` reads standard input.
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// The directory with the policies, as the repository or the server would have it.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Policies of the library, by name.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    library: Vec<String>,
    /// `input.stack.name`
    #[arg(long, default_value = "stack")]
    stack: StackName,
    /// `input.stack.labels`
    #[arg(long = "stack-label", value_name = "KEY=VALUE", value_parser = label)]
    stack_labels: Vec<(String, String)>,
    /// `input.pull_request.labels`; without one there is no pull request.
    #[arg(long = "pull-label", value_name = "LABEL")]
    pull_labels: Vec<String>,
    /// The verdict as JSON.
    #[arg(long)]
    json: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the subcommand. `now` is what policies see as the time.
pub async fn run(args: PolicyArgs, own: &OwnBinary, now: Timestamp) -> ExitCode {
    let ended = match args.command {
        PolicyCommand::Test { paths, json } => test(&paths, json, own).await,
        PolicyCommand::Eval(args) => eval(args, own, now).await,
        PolicyCommand::Library { name } => shown_library(name.as_deref()),
    };
    match ended {
        Ok((text, code)) => {
            print(&text);
            ExitCode::from(code)
        }
        Err(error) => wrong(format_args!("could not {error:#}")),
    }
}

/// What to print, and the exit code.
type Ended = (String, u8);

async fn test(paths: &[PathBuf], json: bool, own: &OwnBinary) -> anyhow::Result<Ended> {
    let report = trial::run_tests(own, paths, &Limits::default()).await?;
    if report.cases.is_empty() && report.problems.is_empty() {
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!(
            "find a test in {}: tests are rules named `test_…` in files named `…_test.rego`",
            shown.join(", ")
        );
    }
    let text = match json {
        true => serde_json::to_string_pretty(&report)?,
        false => report.to_string(),
    };
    Ok((text + "\n", u8::from(!report.succeeded())))
}

async fn eval(args: EvalArgs, own: &OwnBinary, now: Timestamp) -> anyhow::Result<Ended> {
    if args.policies.is_none() && args.library.is_empty() {
        bail!("judge without policies: give --policies DIR, --library NAME or both");
    }
    let json = args.json;
    let (dir, files) = match &args.policies {
        Some(path) => (shown_dir(path), directory::read(path)?),
        None => (RepoPath::root(), Directory::default()),
    };
    let bundle = Bundle::new(&args.library, &dir, &files, &Directory::default());
    let verdict = policy::judge(own, &bundle, &input(args, now)?, &Limits::default()).await;
    let text = match json {
        true => serde_json::to_string_pretty(&verdict)? + "\n",
        false => shown(&verdict),
    };
    Ok((text, u8::from(verdict.denied())))
}

/// Only for the places in findings; an odd path shows them relative to the directory itself.
fn shown_dir(path: &Path) -> RepoPath {
    let text = path
        .to_str()
        .map(|text| text.trim_start_matches("./").trim_end_matches('/'));
    text.and_then(|text| RepoPath::parse(text).ok())
        .unwrap_or_else(RepoPath::root)
}

fn input(args: EvalArgs, now: Timestamp) -> anyhow::Result<Input> {
    let plan = match args.plan.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).context("read standard input")?;
            bytes
        }
        false => std::fs::read(&args.plan).with_context(|| format!("read {}", args.plan.display()))?,
    };
    let pull_request = (!args.pull_labels.is_empty()).then(|| PullInput {
        number: PullNumber(0),
        title: String::new(),
        author: Login::parse("nobody").expect("a login"),
        labels: args.pull_labels,
        base: "main".to_owned(),
        head: "change".to_owned(),
        draft: false,
    });
    Ok(Input {
        plan_kind: PlanKindInput::Final,
        plan: PlanJson::new(plan),
        stack: StackInput {
            name: args.stack,
            dir: RepoPath::root(),
            workspace: "default".to_owned(),
            labels: args.stack_labels.into_iter().collect::<BTreeMap<_, _>>(),
            tool: "terraform".to_owned(),
        },
        pull_request,
        run: RunInput {
            id: None,
            kind: RunKindInput::Eval,
            head: None,
            base: None,
            phase: PhaseInput::Review,
        },
        upstreams: Vec::new(),
        now,
    })
}

fn shown(verdict: &Verdict) -> String {
    let line = |finding: &Finding| {
        let effect = match finding.effect {
            Effect::Deny => "DENY",
            Effect::Warn => "WARN",
        };
        format!("{effect}  {}: {}\n", finding.policy, finding.message)
    };
    let lines: String = verdict.findings().iter().map(line).collect();
    let (denied, warned) = (verdict.count(Effect::Deny), verdict.count(Effect::Warn));
    format!("{lines}{denied} denied, {warned} warned\n")
}

fn shown_library(name: Option<&str>) -> anyhow::Result<Ended> {
    let line = |name: &str| format!("{name:32} {}\n", library::summary(name).unwrap_or_default());
    let text = match name {
        None => library::names().map(line).collect(),
        Some(name) => match library::text(name) {
            Some(text) => text.to_owned(),
            None => {
                bail!(
                    "find `{name}` in the library; it holds {}",
                    library::names().collect::<Vec<_>>().join(", ")
                )
            }
        },
    };
    Ok((text, 0))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn parsed(line: &str) -> Result<PolicyCommand, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.policy.command)
    }

    #[test]
    fn the_lines_of_the_manual_are_understood() {
        let line = "policy eval plan.json --policies policies --library required-tags,x --stack-label env=production";
        let Ok(PolicyCommand::Eval(args)) = parsed(line) else {
            panic!("{line}")
        };
        assert_eq!(args.library, ["required-tags", "x"]);
        assert_eq!(args.stack_labels, [("env".to_owned(), "production".to_owned())]);
        let Ok(PolicyCommand::Test { paths, json: false }) = parsed("policy test") else {
            panic!("test")
        };
        assert_eq!(paths, [PathBuf::from("policies")]);
        assert!(parsed("policy eval p --stack-label env").is_err());
    }

    #[test]
    fn the_library_is_listed_and_shown() {
        let (list, code) = shown_library(None).expect("a list");
        assert_eq!((list.lines().count(), code), (library::names().count(), 0));
        assert!(
            shown_library(Some("required-tags"))
                .expect("a policy")
                .0
                .contains("package lockkeeper.plan")
        );
        assert!(shown_library(Some("nothing")).is_err());
    }
}
