//! Owns the tables: small repositories as text, and what discovery says of each.
#![expect(
    clippy::disallowed_methods,
    reason = "tests are users: they start programs, read the environment and the clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use crate::domain::graph::{Because, Edge, Graph, Reads, Reason};
use crate::domain::ids::{RepoId, RepoPath, StackName};
use crate::domain::layout::{Discovered, ReadSet, Stack, StateAt, Tool};
use crate::domain::located::Place;
use crate::source::{Change, Entry, Input, Kind, Tree, discover, wanted};

mod kept;
mod properties;

/// `-- stack DIR --` is a root module with a local backend. `-- path --` stands in both trees, `-- base: path --` and `-- head: path --` in one; `-- path -> target --` is
/// a link, `-- path @ commit --` a submodule and `-- path * --` a file that may be executed.
struct Case {
    base: Tree,
    merged: Tree,
    changes: Vec<Change>,
}

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).expect("a path")
}

fn put(tree: &mut Tree, header: &str, text: &str) {
    let (name, kind, text) = if let Some((name, target)) = header.split_once(" -> ") {
        (name, Kind::Symlink, target)
    } else if let Some((name, commit)) = header.split_once(" @ ") {
        (name, Kind::Submodule, commit)
    } else if let Some(name) = header.strip_suffix(" *") {
        (name, Kind::Executable, text)
    } else {
        (header, Kind::File, text)
    };
    // Equal contents have equal names, as in git.
    let of = if kind == Kind::Executable { Kind::File } else { kind };
    let blob = format!("{of:?} {text}");
    if wanted(&path(name), kind) {
        tree.blobs.insert(blob.clone(), Arc::from(text.as_bytes()));
    }
    Arc::make_mut(&mut tree.entries).insert(path(name), Entry { kind, blob });
}

fn case(text: &str) -> Case {
    let mut base = Tree::default();
    let mut merged = Tree::default();
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            Some(header) => sections.push((header, String::new())),
            None => {
                let (_, body) = sections.last_mut().expect("a fixture begins with a header");
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    for (header, body) in &sections {
        if let Some(dir) = header.strip_prefix("stack ") {
            let text = format!("terraform {{\n  backend \"local\" {{}}\n}}\n{body}");
            put(&mut base, &format!("{dir}/main.tf"), &text);
            put(&mut merged, &format!("{dir}/main.tf"), &text);
            continue;
        }
        if let Some(header) = header.strip_prefix("base: ") {
            put(&mut base, header, body);
        } else if let Some(header) = header.strip_prefix("head: ") {
            put(&mut merged, header, body);
        } else {
            put(&mut base, header, body);
            put(&mut merged, header, body);
        }
    }
    let changes = diff(&base, &merged);
    Case { base, merged, changes }
}

/// As git tells it: a file that went and one of equal content that came are a rename.
fn diff(base: &Tree, merged: &Tree) -> Vec<Change> {
    let mut gone: Vec<&RepoPath> = base
        .entries
        .keys()
        .filter(|path| !merged.entries.contains_key(*path))
        .collect();
    let mut changes = Vec::new();
    for (path, entry) in merged.entries.iter() {
        match base.entries.get(path) {
            Some(old) if old == entry => {}
            Some(_) => changes.push(Change {
                old: Some(path.clone()),
                new: Some(path.clone()),
            }),
            None => {
                let at = gone.iter().position(|old| base.entries[*old].blob == entry.blob);
                changes.push(Change {
                    old: at.map(|at| gone.remove(at).clone()),
                    new: Some(path.clone()),
                });
            }
        }
    }
    let deleted = |path: &RepoPath| Change {
        old: Some(path.clone()),
        new: None,
    };
    changes.extend(gone.into_iter().map(deleted));
    changes
}

fn run(case: &Case) -> Discovered {
    discover(&Input {
        repo: RepoId(7),
        base: &case.base,
        merged: &case.merged,
        changes: &case.changes,
    })
}

/// Everything that was found, one line each, without what is as usual.
fn show(found: &Discovered) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    let Discovered {
        rules,
        graph,
        selected,
        changed,
        broken,
        errors,
        notices,
        deleted,
        at_base,
        owners: _,
        unread: _,
    } = found;
    if let Err(faults) = rules {
        faults.iter().for_each(|fault| line(format!("RULES {fault}")));
    }
    for stack in graph.stacks().values() {
        line(show_stack(stack));
        line(format!("  reads {}", show_reads(&stack.reads)));
    }
    for edge in graph.edges() {
        line(show_edge(edge));
    }
    for (name, reasons) in selected {
        let mark = if changed.contains(name) { "changed" } else { "affected" };
        line(format!("{mark} {name}"));
        reasons.iter().for_each(|reason| line(format!("  {reason}")));
    }
    for gone in deleted {
        let after: Vec<&str> = gone.after.iter().map(StackName::as_str).collect();
        let after = if after.is_empty() {
            String::new()
        } else {
            format!(" after {}", after.join(", "))
        };
        line(format!("deleted {}{after}", gone.stack.name));
        gone.reasons.iter().for_each(|reason| line(format!("  {reason}")));
        gone.broken.iter().for_each(|error| line(format!("  BROKEN {error}")));
    }
    for (name, keys) in at_base {
        let own = graph.stack(name).and_then(|stack| stack.state.key());
        let left = keys.iter().filter(|key| Some(*key) != own);
        left.for_each(|key| line(format!("at base {name} is in {key}")));
    }
    for (name, errors) in broken {
        errors.iter().for_each(|error| line(format!("BROKEN {name}: {error}")));
    }
    errors.iter().for_each(|error| line(format!("ERROR {error}")));
    notices.iter().for_each(|notice| line(format!("notice {notice}")));
    out
}

fn show_stack(stack: &Stack) -> String {
    let Stack {
        name,
        dir,
        workspace,
        var_files,
        backend_files,
        tool,
        tool_version,
        required_version,
        labels,
        autoplan,
        reads: _,
        local_modules,
        git_modules,
        state,
        defined_at,
        unit,
    } = stack;
    let mut text = format!("stack {name} in {:?}", dir.as_str());
    let mut add = |part: String| write!(text, " {part}").expect("a string takes all");
    if let Some(place) = defined_at {
        add(format!("({place})"));
    }
    if workspace != "default" {
        add(format!("workspace={workspace}"));
    }
    match state {
        StateAt::Key(key) => add(format!("state={key}")),
        StateAt::Local { file, .. } => add(format!("local={file}")),
        StateAt::Absolute { file, .. } => add(format!("absolute={file}")),
        StateAt::Cloud { workspace, .. } => add(format!("cloud={workspace}")),
        StateAt::Unknown(why) => add(format!("state?{why:?}")),
    }
    if let Some(unit) = unit {
        add("unit".to_owned());
        unit.copied.iter().for_each(|dir| add(format!("copies={dir}")));
    }
    if *tool != Tool::Terraform {
        add(tool.word().to_owned());
    }
    tool_version.iter().for_each(|version| add(format!("={version}")));
    required_version
        .iter()
        .for_each(|constraint| add(format!("required={:?}@{}", constraint.text, constraint.place)));
    labels.iter().for_each(|(key, value)| add(format!("{key}:{value}")));
    var_files.iter().for_each(|file| add(format!("var={file}")));
    backend_files.iter().for_each(|file| add(format!("backend={file}")));
    local_modules.iter().for_each(|dir| add(format!("calls={dir}")));
    git_modules
        .iter()
        .for_each(|module| add(format!("git={}@{}", module.source, module.place)));
    if !autoplan {
        add("autoplan=off".to_owned());
    }
    text
}

fn show_reads(reads: &ReadSet) -> String {
    let dirs = reads.dirs.iter().map(|dir| {
        if dir.is_root() {
            "*".to_owned()
        } else {
            format!("{dir}/*")
        }
    });
    let files = reads.files.iter().map(ToString::to_string);
    let patterns = reads
        .patterns
        .iter()
        .map(|pattern| format!("{}{}", if pattern.negated { "!" } else { "" }, pattern.glob));
    dirs.chain(files).chain(patterns).collect::<Vec<_>>().join(" ")
}

fn show_edge(edge: &Edge) -> String {
    let outputs: Vec<String> = edge
        .outputs
        .iter()
        .map(|(output, variable)| format!("{output}→{variable}"))
        .collect();
    let reads = match &edge.reads {
        Reads::Unknown => "anything".to_owned(),
        Reads::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
    };
    let because = match &edge.because {
        Because::Declared { place } => format!("declared {place}"),
        Because::RemoteState { place, data_name } => format!("remote state {data_name} {place}"),
        Because::Terragrunt { place, name } => {
            format!("terragrunt {} {place}", name.as_deref().unwrap_or("order"))
        }
    };
    format!(
        "edge {} needs {} [{}] reads [{reads}] ({because})",
        edge.downstream,
        edge.upstream,
        outputs.join(",")
    )
}

/// Every case of every file in `cases/`: `=== title`, the repository, `=== expect`, the lines.
/// `UPDATE_CASES=1` writes what is found in place of what is expected; read the difference before you commit it.
#[test]
fn the_cases_say_what_they_say() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/source/cases");
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut titles = BTreeSet::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a case file");
        let mut written = String::new();
        let mut parts = text.split("=== ").filter(|part| !part.trim().is_empty()).peekable();
        while let Some(given) = parts.next() {
            let (title, repository) = given.split_once('\n').expect("a title line");
            let expected = parts.next_if(|part| part.starts_with("expect\n")).unwrap_or("expect\n");
            let expected = &expected["expect\n".len()..];
            let found = show(&run(&case(repository)));
            count += 1;
            assert!(titles.insert(title.to_owned()), "{title} stands twice");
            if found.trim() != expected.trim() {
                wrong.push(format!(
                    "{title}\n--- expected\n{}\n--- found\n{}",
                    expected.trim(),
                    found.trim()
                ));
            }
            write!(
                written,
                "=== {title}\n{}\n=== expect\n{}\n\n",
                repository.trim_end(),
                found.trim()
            )
            .expect("text");
        }
        if update {
            std::fs::write(&file, format!("{}\n", written.trim_end())).expect("writable");
        }
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count >= 80, "{count} cases");
}

fn stack(name: &str) -> Stack {
    let text = format!("-- {name}/main.tf --\nterraform {{\n  backend \"local\" {{}}\n}}\n");
    let found = run(&case(&text));
    found.graph.stacks().values().next().expect("one stack").clone()
}

fn stack_name(number: usize) -> StackName {
    StackName::parse(&format!("s{number}")).expect("a name")
}

/// `edges`: (downstream, upstream) by number.
fn graph_of(count: usize, edges: &[(usize, usize)], order: &[usize]) -> Graph {
    let template = stack("x");
    let name = |number: usize| stack_name(order[number]);
    let stacks: BTreeMap<StackName, Stack> = (0..count)
        .map(|number| {
            let stack = Stack {
                name: name(number),
                ..template.clone()
            };
            (name(number), stack)
        })
        .collect();
    let edge = |(line, (downstream, upstream)): (usize, &(usize, usize))| Edge {
        downstream: name(*downstream),
        upstream: name(*upstream),
        outputs: BTreeMap::new(),
        reads: Reads::Unknown,
        because: Because::Declared {
            place: Place::line(path("lockkeeper.yaml"), u32::try_from(line + 1).expect("few")),
        },
    };
    let (graph, errors) = Graph::build(stacks, edges.iter().enumerate().map(edge).collect());
    assert_eq!(errors, [], "edges lead from greater to smaller numbers");
    graph
}

fn seeds(names: impl IntoIterator<Item = StackName>) -> BTreeMap<StackName, Vec<Reason>> {
    names
        .into_iter()
        .map(|stack| (stack.clone(), vec![Reason::New { stack }]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn affected_is_what_brute_force_reaches(
        order in Just((0..14usize).collect::<Vec<_>>()).prop_shuffle(),
        pairs in prop::collection::vec((0..14usize, 0..14usize), 0..40),
        changed in prop::collection::btree_set(0..14usize, 0..4),
    ) {
        let edges: Vec<(usize, usize)> = pairs.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (a.max(b), a.min(b))).collect();
        let graph = graph_of(14, &edges, &order);
        let mut reached = changed.clone();
        for _ in 0..14 {
            for (downstream, upstream) in &edges {
                if reached.contains(upstream) {
                    reached.insert(*downstream);
                }
            }
        }
        let expected: BTreeSet<StackName> = reached.iter().map(|number| stack_name(order[*number])).collect();
        let affected = graph.affected(seeds(changed.iter().map(|number| stack_name(order[*number]))));
        prop_assert_eq!(affected.keys().cloned().collect::<BTreeSet<_>>(), expected);
        for (name, reasons) in &affected {
            prop_assert!(!reasons.is_empty(), "{} has no reason", name);
        }

        // Waiting is the other direction, restricted to a selection.
        let selection: BTreeSet<StackName> = (0..14).step_by(2).map(stack_name).collect();
        for number in 0..14 {
            let name = stack_name(order[number]);
            let mut above: BTreeSet<usize> = BTreeSet::from([number]);
            for _ in 0..14 {
                for (downstream, upstream) in &edges {
                    if above.contains(downstream) {
                        above.insert(*upstream);
                    }
                }
            }
            above.remove(&number);
            let expected: BTreeSet<StackName> =
                above.iter().map(|number| stack_name(order[*number])).filter(|name| selection.contains(name)).collect();
            prop_assert_eq!(graph.waits_for(&name, &selection), expected);
        }

        // Everything stands after what it needs, and a stored graph reads back as itself.
        let position: BTreeMap<&StackName, usize> = graph.in_order().into_iter().enumerate().map(|(at, name)| (name, at)).collect();
        prop_assert_eq!(position.len(), 14);
        for edge in graph.edges() {
            prop_assert!(position[&edge.upstream] < position[&edge.downstream]);
        }
        let stored = serde_json::to_string(&graph).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Graph>(&stored).expect("what was stored"), graph);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), which in 0..6usize) {
        let name = ["lockkeeper.yaml", "a/main.tf", "a/main.tf.json", "a/terraform.tfvars", "a/x.auto.tfvars.json", "a/terragrunt.hcl"][which];
        let mut case = case("-- a/backend.tf --\nterraform {\n  backend \"local\" {}\n}\n");
        let entry = Entry { kind: Kind::File, blob: "fuzzed".to_owned() };
        Arc::make_mut(&mut case.merged.entries).insert(path(name), entry);
        case.merged.blobs.insert("fuzzed".to_owned(), bytes.into());
        case.changes = diff(&case.base, &case.merged);
        let found = run(&case);
        prop_assert!(found.rules.is_ok());
        prop_assert!(!found.graph.stacks().is_empty() || name == "lockkeeper.yaml");
    }

    #[test]
    fn words_of_the_languages_in_any_order_are_read_without_a_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..60),
        which in 0..5usize,
    ) {
        let name = ["lockkeeper.yaml", "a/main.tf", "a/main.tf.json", "a/terraform.tfvars", "a/terragrunt.hcl"][which];
        let mut case = case("-- a/backend.tf --\nterraform {\n  backend \"local\" {}\n}\n");
        Arc::make_mut(&mut case.merged.entries).insert(path(name), Entry { kind: Kind::File, blob: "fuzzed".to_owned() });
        case.merged.blobs.insert("fuzzed".to_owned(), Arc::from(words.concat().as_bytes()));
        case.changes = diff(&case.base, &case.merged);
        run(&case);
    }
}

const WORDS: &[&str] = &[
    "stacks:",
    "\n",
    "\n  ",
    "- ",
    "name: a",
    "dependency \"a\" {",
    "config_path = ",
    "include {",
    "path = ",
    "find_in_parent_folders()",
    "dependency.a.outputs.b",
    "dir: a",
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "\"",
    "&x ",
    "*x",
    "<<: ",
    "!!map ",
    "|\n",
    "terraform ",
    "module \"m\" ",
    "source = \"./\"",
    "data \"terraform_remote_state\" \"r\" ",
    "config = ",
    "${",
    "%{ if ",
    "path.module",
    "file(",
    ")",
    "<<EOT\n",
    "EOT\n",
    "local.x",
    "locals ",
    "x = ",
    "\u{feff}",
    "'",
    "\t",
    "\\",
    "for_each = ",
    "each.key",
    "count = ",
    "? ",
    " : ",
    " == ",
    "!",
    "toset(",
    "merge(",
    "try(",
    "lookup(data.terraform_remote_state.r.outputs, \"",
    "[for s in data.terraform_remote_state.r : ",
    "[*].outputs.",
    ".outputs.",
    "/* ",
    " */",
    "# ",
    "\"data\": ",
    "\"terraform_remote_state\": ",
    "depends_on: ",
    "watch: [../..]",
    "é",
];

#[test]
fn a_wide_graph_is_affected_in_time() {
    let count = 10_000;
    let template = stack("x");
    let name = |number: usize| StackName::parse(&format!("stack-{number:05}")).expect("a name");
    let stacks: BTreeMap<StackName, Stack> = (0..count)
        .map(|number| {
            (
                name(number),
                Stack {
                    name: name(number),
                    ..template.clone()
                },
            )
        })
        .collect();
    let place = Place::line(path("lockkeeper.yaml"), 1);
    let edge = |at: usize| {
        let downstream = 1 + (at * 7919) % (count - 1);
        Edge {
            downstream: name(downstream),
            upstream: name((at * 104_729) % downstream),
            outputs: BTreeMap::new(),
            reads: Reads::Unknown,
            because: Because::Declared { place: place.clone() },
        }
    };
    let (graph, errors) = Graph::build(stacks, (0..50_000).map(edge).collect());
    assert_eq!(errors, []);
    let began = std::time::Instant::now();
    let affected = graph.affected(seeds((0..100).map(name)));
    let took = began.elapsed();
    assert!(affected.len() > 1_000, "{}", affected.len());
    // The goal is 50 ms in a release build on a machine of its own; this only catches another complexity.
    assert!(took.as_secs() < 5, "{took:?}");
}

#[test]
fn a_module_tree_made_to_explode_ends() {
    let mut text = String::from("-- r/main.tf --\nterraform {\n  backend \"local\" {}\n}\n");
    for level in 0..25 {
        let from = if level == 0 {
            "r/calls.tf".to_owned()
        } else {
            format!("m{level}/main.tf")
        };
        write!(text, "-- {from} --\nvariable \"v\" {{}}\n").expect("text");
        for twin in 0..3 {
            let next = level + 1;
            write!(
                text,
                "module \"m{twin}\" {{\n  source = \"../m{next}\"\n  v = \"${{var.v}}{twin}\"\n}}\n"
            )
            .expect("text");
        }
    }
    text.push_str("-- m25/main.tf --\nvariable \"v\" {}\n");
    let found = run(&case(&text));
    assert_eq!(found.graph.stacks().len(), 1);
}

#[test]
fn what_lies_in_the_read_set_selects_and_nothing_else_does() {
    let fixture = "-- lockkeeper.yaml --\nversion: 1\nstacks:\n  - {name: s, dir: s, watch: ['../docs/*.md', '!*.txt']}\n\
                   -- s/main.tf --\nmodule \"m\" {\n  source = \"../m\"\n}\nlocals {\n  f = file(\"../f.json\")\n}\n\
                   -- s/notes.txt --\n-- s/README --\n-- m/m.tf --\n-- m/x/y.tf --\n-- f.json --\n-- docs/a.md --\n-- docs/b/c.md --\n-- other/z --\n";
    let whole = case(fixture);
    let reads = run(&whole).graph.stacks().values().next().expect("one").reads.clone();
    for file in whole
        .merged
        .entries
        .keys()
        .filter(|file| file.as_str() != "lockkeeper.yaml")
    {
        let changes = [Change {
            old: Some(file.clone()),
            new: Some(file.clone()),
        }];
        let found = discover(&Input {
            repo: RepoId(7),
            base: &whole.base,
            merged: &whole.merged,
            changes: &changes,
        });
        assert_eq!(!found.selected.is_empty(), reads.reads(file), "{file}");
    }
    let selecting: Vec<&str> = whole
        .merged
        .entries
        .keys()
        .filter(|file| reads.reads(file))
        .map(RepoPath::as_str)
        .collect();
    assert_eq!(selecting, ["docs/a.md", "f.json", "m/m.tf", "s/README", "s/main.tf"]);
}
