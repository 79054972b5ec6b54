//! Owns `lockkeeper config show`: everything that holds of a repository, each value with where it comes from.

use serde_json::{Value, json};

use crate::cli::config::origin::Written;
use crate::cli::config::part::{As, Keys, Part, json_of, leaf, write_keys};
use crate::cli::config::stack::stack;
use crate::cli::config::yaml::Page;
use crate::domain::ids::RepoPath;
use crate::domain::rules::{LockAt, PendingCheck, PolicySources, Requirement, Rules};
use crate::source::config::{Config, Description};
use crate::source::survey::Survey;

/// As YAML: a `lockkeeper.yaml` that says the same.
pub fn as_yaml(found: &Survey) -> String {
    let mut page = Page::default();
    write_keys(&parts(found), 0, As::Keys, &mut page);
    page.text()
}

pub fn as_json(found: &Survey) -> String {
    let mut shown = json_of(Part::Keys(parts(found)));
    shown["errors"] = json!(found.problems());
    shown["notes"] = json!(found.notices);
    format!("{shown:#}\n")
}

fn parts(found: &Survey) -> Keys {
    let Config {
        rules,
        layout,
        errors: _,
        unreadable: _,
        policies_at: _,
        discover_at: _,
    } = &found.config;
    let written = &Written::of(found.text.as_deref(), &found.problems());
    let Rules {
        require: _,
        branches: _,
        approvals: _,
        pending_check: _,
        policies,
        exclude,
        lock,
        // The same key as the description's.
        autoplan: _,
    } = rules;
    let names = found.graph.in_order().into_iter();
    let stacks = names.filter_map(|name| Some(stack(found, written, found.graph.stack(name)?)));
    vec![
        ("version", leaf(1, written.or_default(&["version"]))),
        ("discover", discover(layout, exclude, found, written)),
        ("defaults", defaults(layout, *lock, written)),
        ("policies", policies_of(policies, written)),
        ("apply", apply(rules, written)),
        ("stacks", Part::List(stacks.collect())),
    ]
}

fn discover(layout: &Description, exclude: &[String], found: &Survey, written: &Written) -> Part {
    let from = |key: &str| written.or_default(&["discover", key]);
    let excluded: Vec<&str> = found.excluded.iter().map(RepoPath::as_str).collect();
    Part::Keys(vec![
        ("enabled", leaf(layout.discover, from("enabled"))),
        ("include", leaf(layout.include.clone(), from("include"))),
        ("exclude", leaf(exclude.to_vec(), from("exclude"))),
        ("excluded", Part::Told(json!(excluded))),
    ])
}

fn defaults(layout: &Description, lock: LockAt, written: &Written) -> Part {
    let from = |key: &str| written.or_default(&["defaults", key]);
    let lock = match lock {
        LockAt::Apply => "apply",
    };
    let tool = layout.tool.map(|tool| Value::from(tool.word()));
    let version = layout.tool_version.clone().map(Value::from);
    Part::Keys(vec![
        ("tool", Part::Leaf(tool, vec![from("tool")])),
        ("tool_version", Part::Leaf(version, vec![from("tool_version")])),
        ("lock", leaf(lock, from("lock"))),
        ("autoplan", leaf(layout.autoplan, from("autoplan"))),
    ])
}

fn policies_of(sources: &PolicySources, written: &Written) -> Part {
    let from = |key: &str| written.or_default(&["policies", key]);
    let PolicySources { dir, library } = sources;
    let dir = dir.as_ref().map(|dir| Value::from(dot(dir)));
    Part::Keys(vec![
        ("dir", Part::Leaf(dir, vec![from("dir")])),
        ("library", leaf(library.clone(), from("library"))),
    ])
}

fn apply(rules: &Rules, written: &Written) -> Part {
    let from = |key: &str| written.or_default(&["apply", key]);
    let asked = |key: &str| written.or_default(&["apply", "approvals", key]);
    let required = Requirement::ALL.into_iter().filter(|word| rules.requires(*word));
    let required: Vec<&str> = required.map(Requirement::word).collect();
    let pending = match rules.pending_check {
        PendingCheck::ActionRequired => "action_required",
        PendingCheck::InProgress => "in_progress",
    };
    let approvals = vec![
        ("count", leaf(rules.approvals, asked("count"))),
        ("teams", leaf(json!([]), asked("teams"))),
        ("codeowners", leaf(false, asked("codeowners"))),
    ];
    Part::Keys(vec![
        ("on", leaf("comment", from("on"))),
        ("branches", leaf(rules.branches.clone(), from("branches"))),
        ("require", leaf(required, from("require"))),
        ("approvals", Part::Keys(approvals)),
        ("automerge", leaf("off", from("automerge"))),
        ("pending_check", leaf(pending, from("pending_check"))),
    ])
}

fn dot(dir: &RepoPath) -> &str {
    if dir.is_root() { "." } else { dir.as_str() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::config::{FILE, KEYS};
    use crate::source::survey::survey;
    use crate::source::{Entry, Kind, Tree};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            let path = RepoPath::parse(path).expect("a path");
            let blob = path.to_string();
            tree.blobs.insert(blob.clone(), Arc::from(text.as_bytes()));
            Arc::make_mut(&mut tree.entries).insert(path, Entry { kind: Kind::File, blob });
        }
        tree
    }

    #[test]
    fn every_key_that_the_reader_knows_is_shown() {
        let config = "version: 1\ndefaults: { tool_version: \"1.11.4\" }\npolicies: { dir: p }\nstacks:\n  - name: a\n    dir: a\n    \
                      var_files: [x.tfvars]\n    backend_files: [x.tfbackend]\n    watch: [\"*.md\"]\n    labels: { a: b }\n    \
                      depends_on: [{ stack: b, outputs: { x: y } }]\n";
        let root = "terraform {\n  backend \"local\" {}\n}\n";
        let found = survey(&tree(&[
            (FILE, config),
            ("a/main.tf", &format!("{root}variable \"y\" {{}}\n")),
            ("p/a.rego", "package a\n"),
            ("a/x.tfvars", ""),
            ("a/x.tfbackend", ""),
            ("b/main.tf", &format!("{root}output \"x\" {{\n  value = 1\n}}\n")),
        ]));
        assert_eq!(found.problems(), Vec::<&crate::domain::located::Located>::new());
        let shown = as_yaml(&found);
        for (at, keys) in KEYS {
            for key in *keys {
                let line = |line: &str| line.trim_start_matches([' ', '-', '#']).starts_with(&format!("{key}:"));
                assert!(shown.lines().any(line), "{at}.{key} is not in\n{shown}");
            }
        }
        // A later key is shown with where it is written, not as if nobody had said it.
        for line in ["backend_files: [x.tfbackend]", "watch: [\"*.md\"]", "dir: p"] {
            let line = shown.lines().find(|shown| shown.trim_start().starts_with(line));
            assert!(line.is_some_and(|line| line.contains("# lockkeeper.yaml:")), "{shown}");
        }
    }
}
