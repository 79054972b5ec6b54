//! Owns the comparison with the program itself: the same units, edges, sources and backends, by both readings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use lockkeeper::domain::graph::Because;
use lockkeeper::domain::ids::{RepoId, RepoPath};
use lockkeeper::domain::layout::Discovered;
use lockkeeper::domain::unit::{Source, Unit, UnitState, Units, Where};
use lockkeeper::process::OwnBinary;
use lockkeeper::source::terragrunt::generated::{StackFiles, of_tree};
use lockkeeper::source::terragrunt::light::light;
use lockkeeper::source::{Input, Tree, discover};
use lockkeeper::tool::program::Tools;
use lockkeeper::tool::site::{self, Site};
use lockkeeper::tool::terragrunt::ask::{Bounds, Place, ask};
use lockkeeper::tool::terragrunt::generate::generate;
use secrecy::SecretBox;
use serde_json::Value as Json;

use super::{files, path, program, tree, write};

/// What the program says, read without any of our code.
#[derive(Debug, Default, PartialEq)]
struct Said {
    stacks: BTreeSet<String>,
    /// By unit: what it needs.
    units: BTreeMap<String, BTreeSet<String>>,
    /// Of those that could be rendered.
    rendered: BTreeMap<String, Json>,
}

fn run(program: &Path, cwd: &Path, args: &[&str]) -> Option<Json> {
    let output = started(program, cwd, args);
    match output.status.success() {
        true => Some(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => None,
    }
}

fn started(program: &Path, cwd: &Path, args: &[&str]) -> Output {
    let home = cwd.join(".home");
    Command::new(program)
        .args(args)
        .args(["--no-color", "--non-interactive", "--log-level", "error"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .env("TG_TF_PATH", "/nonexistent")
        .current_dir(cwd)
        .output()
        .expect("terragrunt runs")
}

/// What stack files generated in a copy.
fn left_in(root: &Path, dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let shown = path.strip_prefix(root).expect("below it").display().to_string();
        if path.is_dir() {
            files.extend(left_in(root, &path));
        } else if shown.contains(".terragrunt-stack/") && shown.ends_with(".hcl") {
            files.insert(shown, std::fs::read_to_string(&path).expect("text"));
        }
    }
    files
}

fn said(program: &Path, root: &Path) -> Said {
    let found = run(program, root, &["find", "--dag", "--json", "--dependencies"]).expect("find answers");
    let mut said = Said::default();
    for entry in found.as_array().expect("a list") {
        let dir = entry["path"].as_str().expect("a path").to_owned();
        if entry["type"] == "stack" {
            said.stacks.insert(dir);
            continue;
        }
        let needs = entry["dependencies"].as_array().into_iter().flatten();
        let needs = needs.map(|need| need.as_str().expect("a path").to_owned());
        said.units.insert(dir.clone(), needs.collect());
        let args = [
            "render",
            "--json",
            "--experiment",
            "optional-dependency-outputs",
            "--no-dependency-outputs",
        ];
        if let Some(rendered) = run(program, &root.join(&dir), &args) {
            said.rendered.insert(dir, rendered);
        }
    }
    said
}

fn name(dir: &RepoPath) -> String {
    match dir.is_root() {
        true => ".".to_owned(),
        false => dir.to_string(),
    }
}

fn needs(unit: &Unit) -> BTreeSet<String> {
    let where_to = |of: &Where| match of {
        Where::Inside(dir) => name(dir),
        Where::Outside(written) => written.clone(),
    };
    unit.needs.iter().map(|need| where_to(&need.of)).collect()
}

fn edges(units: &Units) -> BTreeMap<String, BTreeSet<String>> {
    units.units.iter().map(|(dir, unit)| (name(dir), needs(unit))).collect()
}

/// A source as the program writes it, as one directory or address.
fn source_of(dir: &str, root: &Path, rendered: &Json) -> String {
    let Some(written) = rendered["terraform"]["source"].as_str().filter(|text| !text.is_empty()) else {
        return "own".to_owned();
    };
    if written.contains("::") || written.contains("tfr://") {
        return written.to_owned();
    }
    let inside = match written.strip_prefix(&*root.to_string_lossy()) {
        Some(rest) => RepoPath::root().join(rest.trim_start_matches('/')),
        None => path(if dir == "." { "" } else { dir }).join(written),
    };
    inside.expect("inside").to_string()
}

fn source(unit: &Unit) -> String {
    match &unit.source {
        Source::Own => "own".to_owned(),
        Source::Local { dir, .. } => dir.to_string(),
        Source::Remote(written) => written.clone(),
        Source::Unknown(why) => format!("? {why}"),
    }
}

fn backend(unit: &Unit) -> Option<&str> {
    match &unit.state {
        UnitState::Remote { backend, .. } => Some(backend),
        UnitState::InSource | UnitState::Generated(_) | UnitState::Unknown(_) => None,
    }
}

/// What is resolved of each unit is what `render` says.
fn resolved_alike(title: &str, units: &Units, said: &Said, root: &Path) {
    for (dir, rendered) in &said.rendered {
        let unit = &units.units[&path(if dir == "." { "" } else { dir })];
        assert_eq!(source(unit), source_of(dir, root, rendered), "{title}: source of {dir}");
        assert_eq!(
            backend(unit),
            rendered["remote_state"]["backend"].as_str(),
            "{title}: backend of {dir}"
        );
        let names: BTreeSet<&str> = unit.needs.iter().filter_map(|need| need.name.as_deref()).collect();
        let blocks = rendered["dependency"].as_object().into_iter().flatten();
        let enabled = blocks.filter(|(_, block)| block["enabled"] != Json::Bool(false));
        let blocks: BTreeSet<&str> = enabled.map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, blocks, "{title}: dependencies of {dir}");
    }
}

fn discovered(tree: &Tree) -> Discovered {
    discover(&Input {
        repo: RepoId(7),
        base: tree,
        merged: tree,
        changes: &[],
    })
}

/// The edges of the graph are those of the program, between units that are stacks.
fn joined_alike(title: &str, tree: &Tree, said: &Said) {
    let found = discovered(tree);
    let stacks: BTreeMap<String, &RepoPath> = found
        .graph
        .stacks()
        .values()
        .filter(|stack| stack.unit.is_some())
        .map(|stack| (name(&stack.dir), &stack.dir))
        .collect();
    let mut expected = BTreeSet::new();
    for (unit, needs) in said.units.iter().filter(|(unit, _)| stacks.contains_key(*unit)) {
        let known = needs.iter().filter(|need| stacks.contains_key(*need));
        expected.extend(known.map(|need| (unit.clone(), need.clone())));
    }
    let dir = |stack| name(&found.graph.stack(stack).expect("a stack of the graph").dir);
    let edges: BTreeSet<(String, String)> = found
        .graph
        .edges()
        .iter()
        .inspect(|edge| assert!(matches!(edge.because, Because::Terragrunt { .. }), "{edge:?}"))
        .map(|edge| (dir(&edge.downstream), dir(&edge.upstream)))
        .collect();
    assert_eq!(edges, expected, "{title}");
}

pub fn site(path: &std::ffi::OsStr, data: &Path) -> Site {
    Site::new(site::Place {
        own: OwnBinary(env!("CARGO_BIN_EXE_lockkeeper").into()),
        tools: Tools::find(path),
        data: data.to_owned(),
        github: url::Url::parse("https://github.com").expect("an address"),
        hash_key: SecretBox::new(Box::new([7; 32])),
    })
}

pub async fn asked(root: &Path, text: &str, bounds: &Bounds) -> Units {
    let place = Place {
        tree: root.join("copy"),
        scratch: root.join("scratch"),
    };
    write(&place.tree, &files(text));
    let site = site(&std::env::var_os("PATH").unwrap_or_default(), root);
    let StackFiles { generating, templates } = of_tree(&tree(&files(text)));
    let untold = generate(&site, &place, bounds, &generating).await;
    assert_eq!(untold, Some(BTreeMap::new()));
    ask(&site, &place, bounds, &templates)
        .await
        .expect("terragrunt is installed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trees_are_read_as_the_program_reads_them() {
    let Some(program) = program() else { return };
    let (mut trees, mut lightly) = (0, 0);
    for given in include_str!("trees.txt")
        .split("=== ")
        .filter(|part| !part.trim().is_empty())
    {
        let (title, text) = given.split_once('\n').expect("a title line");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let theirs = root.join("theirs");
        let files = files(text);
        write(&theirs, &files);
        // `get_repo_root()` asks git.
        let git = Command::new("git").args(["init", "-q"]).current_dir(&theirs).status();
        assert!(git.expect("git runs").success());
        let before = said(&program, &theirs);
        // By hand, in the folder that people work in.
        if theirs.join("live/terragrunt.stack.hcl").is_file() {
            let args = ["stack", "generate"];
            let done = started(&program, &theirs.join("live"), &args);
            assert!(done.status.success(), "{title}: {done:?}");
        }
        let said = said(&program, &theirs);

        let units = asked(&root, text, &Bounds::default()).await;
        assert!(units.notices.is_empty(), "{title}: {:?}", units.notices);
        let ours: BTreeSet<String> = units.stacks.iter().map(name).collect();
        assert_eq!(ours, said.stacks, "{title}: stacks");
        assert_eq!(edges(&units), said.units, "{title}: units and edges");
        resolved_alike(title, &units, &said, &theirs);
        let mut generated = files.clone();
        generated.extend(left_in(&root.join("copy"), &root.join("copy")));
        let mut with = tree(&generated);
        with.units = Some(Arc::new(units));
        joined_alike(title, &with, &said);
        trees += 1;

        if title.ends_with("(light)") {
            let (mut tree, said) = (tree(&files), before);
            let units = light(&tree);
            let ours: BTreeSet<String> = units.stacks.iter().map(name).collect();
            assert_eq!(ours, said.stacks, "{title}: stacks, lightly");
            assert_eq!(edges(&units), said.units, "{title}: units and edges, lightly");
            resolved_alike(title, &units, &said, &theirs);
            let notices = units.units.values().flat_map(|unit| &unit.notices);
            assert_eq!(notices.count(), 0, "{title}: all of it could be told");
            tree.units = None;
            joined_alike(title, &tree, &said);
            lightly += 1;
        }
    }
    assert!(
        trees >= 20 && lightly >= 12,
        "{trees} trees, {lightly} of them lightly too"
    );
}

/// What discovery says of a tree with the program's answer, one line each.
async fn shown(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    let mut tree = tree(&files(text));
    tree.units = Some(Arc::new(asked(&root, text, &Bounds::default()).await));
    let found = discovered(&tree);
    let mut lines = Vec::new();
    lines.extend(
        found
            .graph
            .stacks()
            .values()
            .map(|stack| format!("{} {:?}", stack.name, stack.state)),
    );
    lines.extend(found.errors.iter().map(|error| format!("ERROR {error}")));
    for (name, errors) in &found.broken {
        lines.extend(errors.iter().map(|error| format!("BROKEN {name}: {error}")));
    }
    lines.join("\n")
}

/// Why the units of each stack file are not known.
async fn untold(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    let place = Place {
        tree: root.join("copy"),
        scratch: root.join("scratch"),
    };
    write(&place.tree, &files(text));
    let site = site(&std::env::var_os("PATH").unwrap_or_default(), &root);
    let generating = of_tree(&tree(&files(text))).generating;
    let untold = generate(&site, &place, &Bounds::default(), &generating).await;
    let untold = untold.expect("terragrunt is installed");
    untold.values().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_file_that_generates_nothing_says_why_and_the_others_go_on() {
    if program().is_none() {
        return;
    }
    let good = "-- good/terragrunt.stack.hcl --\nunit \"a\" {\n  source = \"../units/a\"\n  path = \"a\"\n}\n-- units/a/terragrunt.hcl --\n";
    let broken = untold(&format!(
        "{good}-- bad/terragrunt.stack.hcl --\nunit \"a\" {{\n  source = ../a\"\n}}\n"
    ))
    .await;
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].starts_with("bad/terragrunt.stack.hcl:2:"), "{broken:?}");
    let missing = "unit \"a\" {\n  source = \"../nope\"\n  path   = \"a\"\n}\n";
    let missing = untold(&format!("{good}-- bad/terragrunt.stack.hcl --\n{missing}")).await;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0].starts_with("bad/terragrunt.stack.hcl: ") && missing[0].contains("failed to fetch unit a"),
        "{missing:?}"
    );
    assert!(!missing[0].contains("/tmp"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_unit_is_an_error_with_its_line_and_the_others_have_their_states() {
    if program().is_none() {
        return;
    }
    let text = "-- root.hcl --\nremote_state {\n  backend = \"s3\"\n  config = {\n    bucket = \"acme\"\n    key    = \"${path_relative_to_include()}/x.tfstate\"\n  }\n}\n\
                -- live/good/terragrunt.hcl --\ninclude \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\nterraform {\n  source = \"../../m\"\n}\n\
                -- live/bad/terragrunt.hcl --\nterraform {\n  source = \"../../m\"\n}\ninputs = {\n  x = no_such_function()\n}\n\
                -- m/main.tf --\n";
    let shown = shown(text).await;
    assert!(
        shown.contains("live/good Key(LockKey(\"s3:bucket=acme,key=live/good/x.tfstate:default\"))"),
        "{shown}"
    );
    assert!(shown.contains("BROKEN live/bad: live/bad/terragrunt.hcl:5"), "{shown}");
    assert!(shown.contains("no_such_function"), "{shown}");
    assert!(!shown.contains("BROKEN live/good"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_only_a_run_can_name_selects_what_it_feeds() {
    if program().is_none() {
        return;
    }
    let unit = "locals {\n  env = run_cmd(\"--terragrunt-quiet\", \"echo\", \"-n\", \"prod\")\n  all = yamldecode(file(\"../${local.env}.yaml\"))\n}\nterraform {\n  source = \"../m\"\n}\ninputs = local.all\n";
    let text = |size: &str| {
        format!(
            "-- a/terragrunt.hcl --\n{unit}-- b/terragrunt.hcl --\nterraform {{\n  source = \"../m\"\n}}\n-- m/main.tf --\n-- prod.yaml --\nsize: {size}\n"
        )
    };
    let mut sides = Vec::new();
    for text in [text("1"), text("2")] {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let mut side = tree(&files(&text));
        side.units = Some(Arc::new(asked(&root, &text, &Bounds::default()).await));
        sides.push(side);
    }
    let of = |merged: &Tree| {
        let found = discover(&Input {
            repo: RepoId(7),
            base: &sides[0],
            merged,
            changes: &[],
        });
        assert!(found.notices.is_empty(), "{:?}", found.notices);
        found
            .selected
            .values()
            .flatten()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&sides[1]), ["terragrunt resolves a to something else"]);
    assert_eq!(of(&sides[0]), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_is_reported_with_the_lines_though_the_program_drops_it() {
    if program().is_none() {
        return;
    }
    let unit = |other: &str| {
        format!(
            "terraform {{\n  source = \"../m\"\n}}\ndependency \"{other}\" {{\n  config_path = \"../{other}\"\n}}\n"
        )
    };
    let text = format!(
        "-- a/terragrunt.hcl --\n{}-- b/terragrunt.hcl --\n{}-- m/main.tf --\n",
        unit("b"),
        unit("a")
    );
    let shown = shown(&text).await;
    assert!(
        shown.contains("a needs b (a/terragrunt.hcl:4), b needs a (b/terragrunt.hcl:4)"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tree_runs_while_it_is_asked_reaches_nothing_of_the_server() {
    if program().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    std::fs::write(root.join("secret"), "s3cr3t").expect("a file");
    let secret = root.join("secret").display().to_string();
    let made = root.join("made").display().to_string();
    let text = format!(
        "-- a/terragrunt.hcl --\nlocals {{\n  x = run_cmd(\"sh\", \"-c\", \"cat {secret} || echo -n denied\")\n  y = run_cmd(\"sh\", \"-c\", \"touch {made} || echo -n denied\")\n  z = run_cmd(\"sh\", \"-c\", \"env | grep -c SECRET || echo -n\")\n}}\nterraform {{\n  source = \"../m\"\n}}\nremote_state {{\n  backend = \"s3\"\n  config = {{\n    bucket = local.x\n    key    = local.y\n  }}\n}}\n-- m/main.tf --\n"
    );
    let units = asked(&root, &text, &Bounds::default()).await;
    let UnitState::Remote { config, .. } = &units.units[&path("a")].state else {
        panic!("{:?}", units.units);
    };
    assert_eq!(config["bucket"], "denied", "{config:?}");
    assert!(!root.join("made").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_never_ends_is_left_and_read_lightly() {
    if program().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    let text = "-- a/terragrunt.hcl --\nlocals {\n  x = run_cmd(\"sleep\", \"1000\")\n}\nterraform {\n  source = \"../m\"\n}\ndependency \"b\" {\n  config_path = \"../b\"\n}\n-- b/terragrunt.hcl --\nterraform {\n  source = \"../m\"\n}\n-- m/main.tf --\n";
    let bounds = Bounds {
        time: std::time::Duration::from_secs(3),
        ..Bounds::default()
    };
    let units = asked(&root, text, &bounds).await;
    let mut tree = tree(&files(text));
    tree.units = Some(Arc::new(units));
    let found = discovered(&tree);
    assert_eq!(found.graph.edges().len(), 1, "{:?}", found.graph.edges());
    assert_eq!(found.graph.stacks().len(), 2);
}
