//! Owns one stack in `config show`: its values and what it needs, each with where it comes from.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::config::origin::{Origin, Written};
use crate::cli::config::part::{Part, leaf};
use crate::cli::graph::{by_upstream, shown_dir};
use crate::domain::graph::{Because, Edge, Reads};
use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::{Stack, Tool};
use crate::source::config::{Declared, Description};
use crate::source::survey::Survey;

/// One stack, with what is written, what was found and what holds without either.
pub fn stack(found: &Survey, written: &Written, stack: &Stack) -> Part {
    let layout = &found.config.layout;
    let declared = layout
        .stacks
        .iter()
        .find(|declared| stack.defined_at.as_ref() == Some(&declared.at));
    let origins = Origins { written, declared };
    let Stack {
        name,
        dir: _,
        workspace,
        var_files,
        backend_files,
        tool,
        tool_version,
        labels,
        autoplan,
        state,
        defined_at,
        required_version: _,
        reads: _,
        local_modules: _,
        git_modules: _,
        unit,
    } = stack;
    let found_at = Origin::discovered(defined_at.as_ref());
    let mut keys = vec![
        (
            "name",
            leaf(name.as_str(), origins.or("name", Origin::discovered(None))),
        ),
        ("dir", leaf(shown_dir(stack), origins.or("dir", found_at))),
        (
            "workspace",
            leaf(workspace.as_str(), origins.or("workspace", Origin::Default)),
        ),
        ("tool", leaf(tool.word(), origins.tool(layout, *tool))),
    ];
    if let Some(version) = tool_version {
        keys.push((
            "tool_version",
            leaf(version.as_str(), origins.or_defaults("tool_version")),
        ));
    }
    keys.push(("autoplan", leaf(*autoplan, origins.or_defaults("autoplan"))));
    let named = |written: Option<&Vec<(String, _)>>, resolved: &[RepoPath]| match written {
        Some(written) => written.iter().map(|(file, _)| file.clone()).collect(),
        None => resolved
            .iter()
            .map(|file| relative(&stack.dir, file))
            .collect::<Vec<String>>(),
    };
    let watch = declared.map(|declared| &declared.watch);
    let lists = [
        (
            "var_files",
            named(declared.map(|declared| &declared.var_files), var_files),
        ),
        (
            "backend_files",
            named(declared.map(|declared| &declared.backend_files), backend_files),
        ),
        ("watch", named(watch, &[])),
    ];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        keys.push((key, leaf(list, origins.or(key, Origin::discovered(None)))));
    }
    if !labels.is_empty() {
        keys.push(("labels", leaf(json!(labels), origins.or("labels", Origin::Default))));
    }
    let needs: Vec<Part> = by_upstream(&found.graph, name)
        .into_iter()
        .map(|(upstream, edges)| dependency(upstream, &edges))
        .collect();
    if !needs.is_empty() {
        keys.push(("depends_on", Part::List(needs)));
    }
    if unit.is_some() {
        keys.push(("run_by", Part::Told(json!("terragrunt"))));
    }
    keys.push(("state", Part::Told(json!(state.shown()))));
    Part::Keys(keys)
}

fn dependency(upstream: &StackName, edges: &[&Edge]) -> Part {
    let mut outputs: BTreeMap<&str, &str> = BTreeMap::new();
    let mut reads: Vec<&str> = Vec::new();
    let mut from = Vec::new();
    for edge in edges {
        outputs.extend(
            edge.outputs
                .iter()
                .map(|(output, variable)| (output.as_str(), variable.as_str())),
        );
        if let Reads::Named(names) = &edge.reads {
            reads.extend(names.iter().map(String::as_str));
        }
        from.push(match &edge.because {
            Because::Declared { place } => Origin::Written(place.clone()),
            because @ (Because::RemoteState { place, .. } | Because::Terragrunt { place, .. }) => Origin::Discovered {
                word: because.word(),
                place: Some(place.clone()),
            },
        });
    }
    from.dedup();
    let mut keys = vec![("stack", Part::Leaf(Some(Value::from(upstream.as_str())), from))];
    if !outputs.is_empty() {
        let giving = edges.iter().filter(|edge| !edge.outputs.is_empty());
        let given = giving
            .map(|edge| Origin::Written(edge.because.place().clone()))
            .collect();
        keys.push(("outputs", Part::Leaf(Some(json!(outputs)), given)));
    }
    keys.push(("reads", Part::Told(json!(reads))));
    Part::Keys(keys)
}

/// Where the values of one stack come from.
struct Origins<'a> {
    written: &'a Written,
    declared: Option<&'a Declared>,
}

impl Origins<'_> {
    /// Its own line, or what holds without one.
    fn or(&self, key: &str, otherwise: Origin) -> Origin {
        let own = self
            .declared
            .and_then(|declared| self.written.of_stack(&declared.at, key));
        own.map_or(otherwise, Origin::Written)
    }

    fn or_defaults(&self, key: &str) -> Origin {
        let shared = self.written.at(&["defaults", key]);
        self.or(key, shared.map_or(Origin::Default, Origin::Defaults))
    }

    fn tool(&self, layout: &Description, tool: Tool) -> Origin {
        match (self.or_defaults("tool"), layout.tool, tool) {
            (Origin::Default, None, Tool::OpenTofu) => Origin::Discovered {
                word: "it has tofu files",
                place: None,
            },
            (origin, _, _) => origin,
        }
    }
}

/// A file as an entry of that directory would name it.
/// A file's path from a directory.
pub fn relative(dir: &RepoPath, file: &RepoPath) -> String {
    let parts = |path: &RepoPath| -> Vec<String> {
        let parts = path.as_str().split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let (dir, file) = (parts(dir), parts(file));
    let shared = dir.iter().zip(&file).take_while(|(one, other)| one == other).count();
    let up = vec!["..".to_owned(); dir.len() - shared];
    up.into_iter()
        .chain(file[shared..].iter().cloned())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_from_the_stacks_directory() {
        let path = |text| RepoPath::parse(text).expect("a path");
        for (dir, file, expected) in [
            ("infra/app", "infra/app/x.tfvars", "x.tfvars"),
            ("infra/app", "infra/env/x.tfvars", "../env/x.tfvars"),
            ("infra/app", "x.tfvars", "../../x.tfvars"),
            ("", "env/x.tfvars", "env/x.tfvars"),
        ] {
            assert_eq!(relative(&path(dir), &path(file)), expected);
        }
    }
}
