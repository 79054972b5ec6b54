//! Owns where the repository keeps its policies: that the directory which the rules name holds some.

use std::collections::BTreeSet;

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::source::config::shapes::did_you_mean;
use crate::source::config::{Config, FILE, Fault, Half};
use crate::source::{Kind, Tree};

/// Adds the fault of a `policies.dir` that holds no policy. A gate that nobody guards must not look open.
pub fn check(config: &mut Config, tree: &Tree) {
    let Some(dir) = &config.rules.policies.dir else { return };
    if tree
        .entries
        .iter()
        .any(|(path, entry)| is_policy(dir, path, entry.kind))
    {
        return;
    }
    let place = config.policies_at.clone();
    let place = place.unwrap_or_else(|| Place::file(RepoPath::parse(FILE).expect("a plain name")));
    let is_there = dir.is_root() || tree.entries.keys().any(|path| path != dir && path.is_within(dir));
    let shown = if dir.is_root() { "." } else { dir.as_str() };
    let problem = match is_there {
        true => format!("`policies.dir`: {shown} holds no policy (a .rego file that is no test)"),
        false => format!("`policies.dir`: there is no directory {shown}"),
    };
    let error = Located::at(place, problem).hint(hint(dir, tree));
    config.errors.push(Fault {
        half: Half::Gate,
        error,
    });
}

/// The nearest directory that would do.
fn hint(dir: &RepoPath, tree: &Tree) -> String {
    let root = RepoPath::root();
    let policies = tree
        .entries
        .iter()
        .filter(|(path, entry)| is_policy(&root, path, entry.kind));
    let dirs: BTreeSet<RepoPath> = policies.map(|(path, _)| path.parent()).collect();
    let names: Vec<&str> = dirs
        .iter()
        .map(RepoPath::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    match names.len() {
        0 => "add a policy there, or remove the line".to_owned(),
        // More names help nobody.
        1..=20 => did_you_mean(dir.as_str(), &names),
        _ => "name a directory that holds policies".to_owned(),
    }
}

/// As the judge reads a directory: tests and what stands below a dot do not count.
fn is_policy(dir: &RepoPath, path: &RepoPath, kind: Kind) -> bool {
    let name = path.file_name();
    let is_file = matches!(kind, Kind::File | Kind::Executable);
    if !is_file || !name.ends_with(".rego") || name.ends_with("_test.rego") || !path.is_within(dir) {
        return false;
    }
    let below = path.as_str().strip_prefix(dir.as_str()).unwrap_or_default();
    !below.split('/').any(|part| part.starts_with('.'))
}
