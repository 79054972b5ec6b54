//! Owns `lockkeeper graph`: the stacks of a checkout and what joins them, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::checkout::{At, Checkout};
use crate::cli::environment::Environment;
use crate::cli::terminal::{Colours, Look, counted, listed, plain};
use crate::cli::units::{Asked, Asker, INCOMPLETE};
use crate::cli::{print, tree, wrong};
use crate::domain::graph::{Because, Edge, Graph, Reads};
use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::Stack;
use crate::process::OwnBinary;
use crate::render::mermaid::{self, Arrow, Class, Node};
use crate::source::facts::parse::Flavour;
use crate::source::survey::{Survey, survey};
use crate::source::{Kind, Tree};

/// Show the stacks of a checkout and the edges between them, with the reason of each.
///
/// Reads the files as they lie there; needs no server, no settings and no network. Where there are terragrunt units it
/// asks terragrunt, confined, on a copy.
///
/// Exit code 0: it is shown; 1: there are errors in the repository, which are listed; 2: the arguments are wrong; 3: it
/// is shown, and stacks and edges may be missing, since terragrunt could not be asked.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    asked: Asked,
    /// For people, for Graphviz, for Markdown, for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Dot,
    Mermaid,
    Json,
}

pub async fn run(args: GraphArgs, environment: &Environment, own: &OwnBinary) -> ExitCode {
    let asker = Asker {
        asked: &args.asked,
        environment,
        own,
    };
    let Seen { files, found, lightly } = match seen(args.at.checkout(), &asker).await {
        Ok(seen) => seen,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    let shown = match args.format {
        Format::Text => text(&found, &files, Colours::of(environment)),
        Format::Dot => dot(&found.graph),
        Format::Mermaid => {
            let drawing = drawing(&found.graph);
            if let Some(why) = mermaid::too_large(&drawing) {
                eprintln!("note: {why}");
            }
            drawing
        }
        Format::Json => format!("{:#}\n", json(&found, lightly)),
    };
    if args.format != Format::Text {
        // Standard output is a program's; a person finds the errors beside it.
        eprint!("{}", problems(&found, Colours::Off));
    }
    print(&shown);
    exit_code(found.problems().len(), lightly)
}

/// A checkout that was looked at.
pub struct Seen {
    pub files: Tree,
    pub found: Survey,
    pub lightly: Lightly,
}

/// Whether terragrunt said what it knows of the units, if there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lightly {
    Complete,
    /// What is told may lack stacks and edges; a note says why.
    Incomplete,
}

/// Reads a checkout, and asks terragrunt about its units.
pub async fn seen(checkout: anyhow::Result<Checkout>, asker: &Asker<'_>) -> anyhow::Result<Seen> {
    let checkout = checkout?;
    let mut files = checkout.files(asker.environment).await?;
    let why = asker.fill(&checkout, &mut files).await;
    let mut found = survey(&files);
    let lightly = match why {
        Some(why) => {
            found.notices.retain(|notice| *notice != why);
            found.notices.insert(0, why);
            Lightly::Incomplete
        }
        None => Lightly::Complete,
    };
    Ok(Seen { files, found, lightly })
}

/// Errors are told before what may be missing.
pub fn exit_code(problems: usize, lightly: Lightly) -> ExitCode {
    match (problems, lightly) {
        (0, Lightly::Complete) => ExitCode::SUCCESS,
        (0, Lightly::Incomplete) => ExitCode::from(INCOMPLETE),
        _ => ExitCode::from(1),
    }
}

/// Errors, then what was not understood.
pub fn problems(found: &Survey, colours: Colours) -> String {
    let notices: Vec<_> = found.notices.iter().collect();
    listed("error:", Look::Red, &found.problems(), colours) + &listed("note:", Look::Yellow, &notices, colours)
}

fn text(found: &Survey, files: &Tree, colours: Colours) -> String {
    let mut out = String::new();
    let stacks = found.graph.stacks().len();
    if stacks > 0 {
        let broken: BTreeSet<&StackName> = found.broken.keys().collect();
        out.push_str(&tree::drawn(&found.graph, &broken, colours));
        out.push_str(&circular(&found.graph, colours));
        out.push('\n');
    }
    let problems = problems(found, colours);
    if !problems.is_empty() {
        out.push_str(&problems);
        out.push('\n');
    }
    if stacks == 0 {
        let _ = writeln!(out, "{}", no_stacks(files));
        return out;
    }
    let all: BTreeSet<StackName> = found.graph.stacks().keys().cloned().collect();
    let waves = found.graph.waves(&all).into_values().max().unwrap_or(0);
    let pairs: BTreeSet<(&StackName, &StackName)> = found
        .graph
        .edges()
        .iter()
        .chain(found.graph.circular())
        .map(|edge| (&edge.upstream, &edge.downstream))
        .collect();
    let mut line = format!(
        "{} in {}, {}",
        counted(stacks, "stack"),
        counted(waves, "wave"),
        counted(pairs.len(), "edge")
    );
    for (count, word) in [(found.problems().len(), "error"), (found.notices.len(), "note")] {
        if count > 0 {
            let _ = write!(line, ", {}", counted(count, word));
        }
    }
    let _ = writeln!(out, "{}", colours.paint(Look::Bold, &line));
    out
}

/// What stands in no tree: `circle  app needs network  subnets  remote state, app/main.tf:5`.
fn circular(graph: &Graph, colours: Colours) -> String {
    let mut out = String::new();
    for edge in graph.circular() {
        let pair = format!("{} needs {}", edge.downstream, edge.upstream);
        let words = [pair, passes(&[edge], 5), reason(&edge.because)];
        let words: Vec<String> = words
            .iter()
            .filter(|word| !word.is_empty())
            .map(|word| plain(word))
            .collect();
        let _ = writeln!(out, "{} {}", colours.paint(Look::Red, "circle"), words.join("  "));
    }
    out
}

/// Why there are none: nothing to find, or nothing that says it is a stack.
pub fn no_stacks(files: &Tree) -> String {
    let modules: BTreeSet<RepoPath> = files
        .entries
        .iter()
        .filter(|(path, entry)| entry.kind != Kind::Submodule && Flavour::of(path.file_name()).is_some())
        .map(|(path, _)| path.parent())
        .collect();
    match modules.len() {
        0 => "no stacks: there is no file for terraform or tofu here".to_owned(),
        1 => {
            "no stacks: one directory holds files for terraform or tofu, and it has no backend and no provider block; \
              name it under `stacks` in lockkeeper.yaml"
                .to_owned()
        }
        many => format!(
            "no stacks: {many} directories hold files for terraform or tofu, and none has a backend or provider block; \
             name them under `stacks` in lockkeeper.yaml"
        ),
    }
}

/// The edges of one stack by upstream: two stacks may be joined for several reasons.
pub fn by_upstream<'a>(graph: &'a Graph, name: &StackName) -> BTreeMap<&'a StackName, Vec<&'a Edge>> {
    let mut edges: BTreeMap<&StackName, Vec<&Edge>> = BTreeMap::new();
    for edge in graph.needs(name) {
        edges.entry(&edge.upstream).or_default().push(edge);
    }
    edges
}

/// What passes along these edges: `subnets, zone`, `endpoint → cluster_endpoint`, `any output`; empty: order alone.
pub fn passes(edges: &[&Edge], most: usize) -> String {
    let mut words: BTreeSet<String> = BTreeSet::new();
    for edge in edges {
        let given = edge.outputs.iter().map(|(output, variable)| match output == variable {
            true => output.clone(),
            false => format!("{output} → {variable}"),
        });
        words.extend(given);
        match &edge.reads {
            Reads::Named(names) => words.extend(names.iter().cloned()),
            Reads::Unknown => drop(words.insert("any output".to_owned())),
        }
    }
    let more = words.len().saturating_sub(most);
    let mut shown: Vec<String> = words.into_iter().take(most).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

fn dot(graph: &Graph) -> String {
    let mut out = "digraph stacks {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
    for (name, stack) in graph.stacks() {
        let label = match shown_dir(stack) {
            dir if dir == name.as_str() => escaped(dir),
            dir => format!("{}\\n{}", escaped(name.as_str()), escaped(dir)),
        };
        let _ = writeln!(out, "  {} [label=\"{label}\"];", quoted(name.as_str()));
    }
    for name in graph.stacks().keys() {
        for (upstream, edges) in by_upstream(graph, name) {
            let reasons: Vec<String> = edges.iter().map(|edge| reason(&edge.because)).collect();
            let _ = writeln!(
                out,
                "  {} -> {} [label={}, tooltip={}];",
                quoted(upstream.as_str()),
                quoted(name.as_str()),
                quoted(&passes(&edges, 5)),
                quoted(&reasons.join(", "))
            );
        }
    }
    for edge in graph.circular() {
        let _ = writeln!(
            out,
            "  {} -> {} [label={}, tooltip={}, color=red];",
            quoted(edge.upstream.as_str()),
            quoted(edge.downstream.as_str()),
            quoted("circle"),
            quoted(&reason(&edge.because))
        );
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// The inside of a string of Graphviz: a backslash begins one of its escapes, a line break would end the line.
fn escaped(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.replace('\\', "\\\\").replace('"', "\\\"")
}

/// `remote state, cluster/main.tf:5`
fn reason(because: &Because) -> String {
    format!("{}, {}", because.word(), because.place())
}

fn drawing(graph: &Graph) -> String {
    let order = graph.in_order();
    let places: BTreeMap<&StackName, usize> = order.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let nodes: Vec<Node<'_>> = order
        .iter()
        .map(|name| Node {
            name: name.as_str(),
            class: Class::Plain,
        })
        .collect();
    let mut arrows = Vec::new();
    for name in &order {
        for (upstream, edges) in by_upstream(graph, name) {
            arrows.push(Arrow {
                upstream: places[upstream],
                downstream: places[*name],
                label: passes(&edges, 3),
            });
        }
    }
    for edge in graph.circular() {
        arrows.push(Arrow {
            upstream: places[&edge.upstream],
            downstream: places[&edge.downstream],
            label: "circle".to_owned(),
        });
    }
    mermaid::flowchart(&nodes, &arrows)
}

/// The root of the repository is `.`: an empty path is no path to a shell.
pub fn shown_dir(stack: &Stack) -> &str {
    match stack.dir.is_root() {
        true => ".",
        false => stack.dir.as_str(),
    }
}

fn json(found: &Survey, lightly: Lightly) -> Value {
    let all: BTreeSet<StackName> = found.graph.stacks().keys().cloned().collect();
    let waves = found.graph.waves(&all);
    let stack = |name: &StackName| {
        let stack = found.graph.stack(name)?;
        Some(json!({
            "stack": name,
            "dir": shown_dir(stack),
            "workspace": stack.workspace,
            "tool": stack.tool.word(),
            "wave": waves.get(name),
            "needs": found.graph.upstreams(name),
            "state": stack.state.shown(),
            "defined_at": stack.defined_at,
            "errors": found.broken.get(name).map(Vec::as_slice).unwrap_or_default(),
        }))
    };
    let stacks: Vec<Value> = found.graph.in_order().into_iter().filter_map(stack).collect();
    let ordered = found.graph.edges().iter().map(|one| edge(one, false));
    let circular = found.graph.circular().iter().map(|one| edge(one, true));
    let edges: Vec<Value> = ordered.chain(circular).collect();
    json!({
        "stacks": stacks,
        "edges": edges,
        "errors": found.errors,
        "notes": found.notices,
        "incomplete": lightly == Lightly::Incomplete,
    })
}

fn edge(edge: &Edge, in_circle: bool) -> Value {
    let Edge {
        downstream,
        upstream,
        outputs,
        reads,
        because,
    } = edge;
    let reads = match reads {
        Reads::Named(names) => json!(names),
        Reads::Unknown => Value::Null,
    };
    json!({
        "upstream": upstream,
        "downstream": downstream,
        "because": because.word(),
        "at": because.place(),
        "outputs": outputs,
        "reads": reads,
        "in_circle": in_circle,
    })
}
