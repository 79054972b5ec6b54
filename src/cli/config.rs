//! Owns `lockkeeper config check`: what a repository's files say, read as the server reads them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::cli::wrong;
use crate::domain::ids::{RepoId, RepoPath};
use crate::domain::layout::Discovered;
use crate::domain::located::Located;
use crate::source::{self, Entry, Input, Kind, Tree, wanted};

/// Look at a repository's configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Find the stacks of a working directory and say what is wrong. Exit code 0: nothing; 1: something.
    Check {
        /// The root of the repository. Files that git ignores are left out.
        #[arg(value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// As the server: a larger file is not read.
const LARGEST: u64 = 4 << 20;

pub fn run(args: ConfigArgs) -> ExitCode {
    let ConfigCommand::Check { dir, json } = args.command;
    let tree = match tree(&dir) {
        Ok(tree) => tree,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    // The directory stands for both sides: its gate is judged like its description.
    let found = source::discover(&Input {
        repo: RepoId(0),
        base: &tree,
        merged: &tree,
        changes: &[],
    });
    let problems = problems(&found);
    let out = &mut std::io::stdout().lock();
    let said = match json {
        true => as_json(&found, &problems, out),
        false => as_text(&found, &problems, out),
    };
    match said {
        Ok(()) => ExitCode::from(u8::from(!problems.is_empty())),
        Err(error) => wrong(error),
    }
}

/// Each once, however many sides say it.
fn problems(found: &Discovered) -> Vec<&Located> {
    let gate = found.rules.as_ref().err().into_iter().flatten();
    let mut all: Vec<&Located> = gate
        .chain(&found.errors)
        .chain(found.broken.values().flatten())
        .collect();
    all.sort();
    all.dedup();
    all
}

fn as_text(found: &Discovered, problems: &[&Located], out: &mut impl Write) -> std::io::Result<()> {
    for problem in problems {
        writeln!(out, "error: {problem}")?;
    }
    for notice in &found.notices {
        writeln!(out, "note: {notice}")?;
    }
    for name in found.graph.in_order() {
        let Some(stack) = found.graph.stack(name) else { continue };
        let needs: Vec<String> = found
            .graph
            .upstreams(name)
            .into_iter()
            .map(ToString::to_string)
            .collect();
        let needs = if needs.is_empty() {
            String::new()
        } else {
            format!("  needs {}", needs.join(", "))
        };
        writeln!(out, "{name}  ({}, {}){needs}", stack.dir, stack.tool.word())?;
    }
    let (stacks, count) = (found.graph.stacks().len(), problems.len());
    writeln!(
        out,
        "{stacks} {}, {count} {}",
        plural(stacks, "stack"),
        plural(count, "error")
    )
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

fn as_json(found: &Discovered, problems: &[&Located], out: &mut impl Write) -> std::io::Result<()> {
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
    let stacks: Vec<_> = found.graph.in_order().into_iter().filter_map(stack).collect();
    let report = serde_json::json!({ "stacks": stacks, "errors": problems, "notices": found.notices });
    writeln!(out, "{report:#}")
}

/// The files of a working directory, as a commit of all of them would hold them.
fn tree(root: &Path) -> anyhow::Result<Tree> {
    let (mut entries, mut blobs) = (BTreeMap::new(), std::collections::HashMap::new());
    let walk = ignore::WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some(".git" | ".terraform")))
        .build();
    for entry in walk {
        let entry = entry.with_context(|| format!("read {}", root.display()))?;
        let Some(kind) = entry.file_type().filter(|kind| !kind.is_dir()) else {
            continue;
        };
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let Some(path) = path.to_str().and_then(|path| RepoPath::parse(path).ok()) else {
            continue;
        };
        let kind = if kind.is_symlink() { Kind::Symlink } else { Kind::File };
        if wanted(&path, kind) && entry.metadata().is_ok_and(|meta| meta.len() <= LARGEST) {
            let contents = match kind {
                Kind::Symlink => std::fs::read_link(entry.path()).map(|to| to.into_os_string().into_encoded_bytes()),
                Kind::File | Kind::Executable | Kind::Submodule => std::fs::read(entry.path()),
            };
            let contents = contents.with_context(|| format!("read {}", entry.path().display()))?;
            blobs.insert(path.to_string(), Arc::from(contents));
        }
        // Only equality counts, and a path is equal to itself.
        let blob = path.to_string();
        entries.insert(path, Entry { kind, blob });
    }
    Ok(Tree {
        entries,
        blobs,
        units: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let tree = tree(dir.path()).expect("a tree");
        let found = source::discover(&Input {
            repo: RepoId(0),
            base: &tree,
            merged: &tree,
            changes: &[],
        });
        let mut out = Vec::new();
        as_text(&found, &problems(&found), &mut out).expect("text");
        String::from_utf8(out).expect("text")
    }

    const STACK: &str = "terraform {\n  backend \"local\" {}\n}\n";

    #[test]
    fn stacks_are_listed_in_order_with_what_they_need() {
        let config = "version: 1\nstacks:\n  - name: app\n    dir: app\n    depends_on: [{ stack: network }]\n  - name: network\n    dir: network\n";
        let files = [
            ("lockkeeper.yaml", config),
            ("app/main.tf", STACK),
            ("network/main.tf", STACK),
            (".gitignore", "ignored/\n"),
            ("ignored/main.tf", STACK),
        ];
        assert_eq!(
            said(&files),
            "network  (network, terraform)\napp  (app, terraform)  needs network\n2 stacks, 0 errors\n"
        );
    }

    #[test]
    fn a_wrong_key_is_named_once_with_its_place() {
        let said = said(&[("lockkeeper.yaml", "version: 1\napply: { requires: [approved] }\n")]);
        assert!(said.starts_with("error: lockkeeper.yaml:2:"), "{said}");
        assert!(said.ends_with("0 stacks, 1 error\n"), "{said}");
    }
}
