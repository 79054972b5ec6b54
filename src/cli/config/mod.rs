//! Owns `lockkeeper config`: what a repository's files say, read as the server reads them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::checkout::{At, Checkout};
use crate::cli::environment::Environment;
use crate::cli::graph::{Lightly, Seen};
use crate::cli::terminal::{counted, plain};
use crate::cli::units::{Asked, Asker};
use crate::cli::{graph, print, say, terminal, wrong};
use crate::process::OwnBinary;
use crate::source::config::schema::SCHEMA;

pub mod origin;
pub mod yaml;
pub mod part;
pub mod stack;
pub mod show;

/// Look at a repository's configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Find the stacks of a working directory and say what is wrong.
    ///
    /// Files that git ignores are left out. Exit code 0: nothing; 1: something; 2: the arguments are wrong; 3: nothing,
    /// and stacks and edges may be missing, since terragrunt could not be asked.
    Check {
        /// The same as --dir; without either it is the current directory
        #[arg(value_name = "DIR", conflicts_with = "root")]
        dir: Option<PathBuf>,
        /// The root of the repository
        #[arg(id = "root", long = "dir", value_name = "DIR")]
        root: Option<PathBuf>,
        /// For people, for programs
        #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
        format: CheckFormat,
        /// The same as --format json
        #[arg(long, conflicts_with = "format")]
        json: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Show everything that holds: what was found, what is written and the defaults, each with where it comes from.
    ///
    /// As YAML it is a complete lockkeeper.yaml that says the same.
    ///
    /// Exit code 0: it is shown; 1: there are errors in the repository, which are listed; 2: the arguments are wrong; 3:
    /// it is shown, and stacks and edges may be missing, since terragrunt could not be asked.
    Show {
        #[command(flatten)]
        at: At,
        /// For people, for programs
        #[arg(long, value_enum, default_value_t = Format::Yaml)]
        format: Format,
        #[command(flatten)]
        asked: Asked,
    },
    /// Print the JSON Schema of lockkeeper.yaml, for editors. Exit code 0.
    Schema,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    Text,
    Json,
}

pub async fn run(args: ConfigArgs, environment: &Environment, own: &OwnBinary) -> ExitCode {
    let (checkout, write, asked): (_, fn(&Seen) -> String, _) = match args.command {
        ConfigCommand::Check {
            dir,
            root,
            format,
            json,
            asked,
        } => {
            let write = match (format, json) {
                (CheckFormat::Text, false) => as_text,
                (CheckFormat::Json, _) | (_, true) => as_json,
            };
            let dir = dir.or(root).unwrap_or_else(|| ".".into());
            (Checkout::at(&dir), write, asked)
        }
        ConfigCommand::Show { at, format, asked } => {
            let write: fn(&Seen) -> String = match format {
                Format::Yaml => |seen| show::as_yaml(&seen.found),
                Format::Json => |seen| show::as_json(&seen.found),
            };
            let said_beside = |seen: &Seen| eprint!("{}", graph::problems(&seen.found, terminal::Colours::Off));
            let asker = Asker {
                asked: &asked,
                environment,
                own,
            };
            return shown(at.checkout(), &asker, write, said_beside).await;
        }
        ConfigCommand::Schema => {
            say(SCHEMA.trim_end());
            return ExitCode::SUCCESS;
        }
    };
    let asker = Asker {
        asked: &asked,
        environment,
        own,
    };
    shown(checkout, &asker, write, |_| ()).await
}

async fn shown(
    checkout: anyhow::Result<Checkout>,
    asker: &Asker<'_>,
    write: fn(&Seen) -> String,
    beside: impl Fn(&Seen),
) -> ExitCode {
    let seen = match graph::seen(checkout, asker).await {
        Ok(seen) => seen,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    beside(&seen);
    print(&write(&seen));
    graph::exit_code(seen.found.problems().len(), seen.lightly)
}

fn as_text(Seen { files, found, .. }: &Seen) -> String {
    let mut out = String::new();
    let problems = found.problems();
    for problem in &problems {
        let _ = writeln!(out, "error: {}", plain(&problem.to_string()));
    }
    for notice in &found.notices {
        let _ = writeln!(out, "note: {}", plain(&notice.to_string()));
    }
    for name in found.graph.in_order() {
        let Some(stack) = found.graph.stack(name) else { continue };
        let needs: Vec<&str> = found
            .graph
            .upstreams(name)
            .into_iter()
            .map(|name| name.as_str())
            .collect();
        let needs = match needs.is_empty() {
            true => String::new(),
            false => format!("  needs {}", needs.join(", ")),
        };
        let line = format!("{name}  ({}, {}){needs}", graph::shown_dir(stack), stack.tool.word());
        let _ = writeln!(out, "{}", plain(&line));
    }
    let (stacks, errors) = (found.graph.stacks().len(), problems.len());
    if stacks == 0 {
        let _ = writeln!(out, "{}", graph::no_stacks(files));
    }
    let _ = writeln!(out, "{}, {}", counted(stacks, "stack"), counted(errors, "error"));
    out
}

fn as_json(Seen { found, lightly, .. }: &Seen) -> String {
    let stack = |name| {
        let stack = found.graph.stack(name)?;
        Some(serde_json::json!({
            "name": name,
            "dir": stack.dir,
            "tool": stack.tool.word(),
            "workspace": stack.workspace,
            "needs": found.graph.upstreams(name),
        }))
    };
    let stacks: Vec<Value> = found.graph.in_order().into_iter().filter_map(stack).collect();
    let report = serde_json::json!({
        "stacks": stacks,
        "errors": found.problems(),
        "notices": found.notices,
        "incomplete": *lightly == Lightly::Incomplete,
    });
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::survey::survey;

    async fn said(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let checkout = Checkout::at(dir.path()).expect("a directory");
        let files = checkout.files(&Environment::default()).await.expect("a tree");
        let found = survey(&files);
        as_text(&Seen {
            files,
            found,
            lightly: Lightly::Complete,
        })
    }

    const STACK: &str = "terraform {\n  backend \"local\" {}\n}\n";

    #[tokio::test]
    async fn stacks_are_listed_in_order_with_what_they_need() {
        let config = "version: 1\nstacks:\n  - name: app\n    dir: app\n    depends_on: [{ stack: network }]\n  - name: network\n    dir: network\n";
        let files = [
            ("lockkeeper.yaml", config),
            ("app/main.tf", STACK),
            ("network/main.tf", STACK),
            (".gitignore", "ignored/\n"),
            ("ignored/main.tf", STACK),
        ];
        assert_eq!(
            said(&files).await,
            "network  (network, terraform)\napp  (app, terraform)  needs network\n2 stacks, 0 errors\n"
        );
    }

    #[tokio::test]
    async fn a_wrong_key_is_named_once_with_its_place() {
        let said = said(&[("lockkeeper.yaml", "version: 1\napply: { requires: [approved] }\n")]).await;
        assert!(said.starts_with("error: lockkeeper.yaml:2:"), "{said}");
        let end = "no stacks: there is no file for terraform or tofu here\n0 stacks, 1 error\n";
        assert!(said.ends_with(end), "{said}");
    }
}
