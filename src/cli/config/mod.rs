//! Owns `lockkeeper config`: what a repository's files say, read as the server reads them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::cli::checkout::{At, Checkout};
use crate::cli::environment::Environment;
use crate::cli::terminal::{counted, plain};
use crate::cli::{graph, print, say, terminal, wrong};
use crate::source::config::schema::SCHEMA;
use crate::source::survey::{Survey, survey};

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
    /// Find the stacks of a working directory and say what is wrong. Exit code 0: nothing; 1: something; 2: the
    /// arguments are wrong.
    Check {
        /// The root of the repository. Files that git ignores are left out.
        #[arg(value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show everything that holds: what was found, what is written and the defaults, each with where it comes from.
    ///
    /// As YAML it is a complete lockkeeper.yaml that says the same.
    ///
    /// Exit code 0: it is shown; 1: there are errors in the repository, which are listed; 2: the arguments are wrong.
    Show {
        #[command(flatten)]
        at: At,
        /// For people, for programs
        #[arg(long, value_enum, default_value_t = Format::Yaml)]
        format: Format,
    },
    /// Print the JSON Schema of lockkeeper.yaml, for editors. Exit code 0.
    Schema,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub async fn run(args: ConfigArgs, environment: &Environment) -> ExitCode {
    let (checkout, write): (_, fn(&Survey) -> String) = match args.command {
        ConfigCommand::Check { dir, json: false } => (Checkout::at(&dir), as_text),
        ConfigCommand::Check { dir, json: true } => (Checkout::at(&dir), as_json),
        ConfigCommand::Show { at, format } => {
            let write = match format {
                Format::Yaml => show::as_yaml,
                Format::Json => show::as_json,
            };
            let said_beside = move |found: &Survey| eprint!("{}", graph::problems(found, terminal::Colours::Off));
            return shown(at.checkout(), environment, write, said_beside).await;
        }
        ConfigCommand::Schema => {
            say(SCHEMA.trim_end());
            return ExitCode::SUCCESS;
        }
    };
    shown(checkout, environment, write, |_| ()).await
}

async fn shown(
    checkout: anyhow::Result<Checkout>,
    environment: &Environment,
    write: fn(&Survey) -> String,
    beside: impl Fn(&Survey),
) -> ExitCode {
    let files = match checkout {
        Ok(checkout) => checkout.files(environment).await,
        Err(error) => Err(error),
    };
    let found = match files {
        Ok(files) => survey(&files),
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    beside(&found);
    print(&write(&found));
    ExitCode::from(u8::from(!found.problems().is_empty()))
}

fn as_text(found: &Survey) -> String {
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
    let _ = writeln!(out, "{}, {}", counted(stacks, "stack"), counted(errors, "error"));
    out
}

fn as_json(found: &Survey) -> String {
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
    let report = serde_json::json!({ "stacks": stacks, "errors": found.problems(), "notices": found.notices });
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let checkout = Checkout::at(dir.path()).expect("a directory");
        let files = checkout.files(&Environment::default()).await.expect("a tree");
        as_text(&survey(&files))
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
        assert!(said.ends_with("0 stacks, 1 error\n"), "{said}");
    }
}
