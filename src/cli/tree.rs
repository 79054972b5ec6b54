//! Owns the graph as a tree of lines: downstream below upstream, as the water flows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::cli::graph::{by_upstream, passes, shown_dir};
use crate::cli::terminal::{Colours, Look, padded, plain, width};
use crate::domain::graph::{Edge, Graph};
use crate::domain::ids::StackName;

/// A column grows with what it holds up to this; what is longer pushes the rest of its own line.
const WIDEST: usize = 56;

/// Deeper levels are not indented any further.
const DEEPEST: usize = 20;

/// Outputs that are named at an edge; the rest is counted.
const MOST_OUTPUTS: usize = 3;

struct Row {
    wave: usize,
    branches: String,
    name: String,
    /// Behind the name: where it lies, where it stands, that it is broken.
    tail: String,
    look: Look,
    takes: String,
    because: String,
}

/// Every stack with what is downstream of it, every edge once.
///
/// A stack that needs several others stands below the one that it waits for longest; under the others there is
/// a line that says where.
pub fn drawn(graph: &Graph, broken: &BTreeSet<&StackName>, colours: Colours) -> String {
    let rows = rows(graph, broken);
    let widest = |of: &dyn Fn(&Row) -> usize| {
        let widths = rows.iter().map(of).filter(|width| *width <= WIDEST);
        widths.max().unwrap_or(0)
    };
    let heads = widest(&|row| head(row)).max("stack".len());
    let takes = match widest(&|row| width(&row.takes)) {
        0 => 0,
        takes => takes.max("takes".len()),
    };
    let mut titles = format!("wave  {}", padded("stack", heads));
    if rows.iter().any(|row| !row.because.is_empty()) {
        let _ = write!(
            titles,
            "  {}  because",
            padded(if takes > 0 { "takes" } else { "" }, takes)
        );
    }
    let mut out = colours.paint(Look::Dim, titles.trim_end()) + "\n";
    for row in &rows {
        let pad = match row.because.is_empty() {
            true => String::new(),
            false => " ".repeat(heads.saturating_sub(head(row)) + 2),
        };
        let line = format!(
            "{}  {}{}{}{pad}{}  {}",
            colours.paint(Look::Dim, &format!("{:>4}", row.wave)),
            colours.paint(Look::Dim, &row.branches),
            colours.paint(row.look, &row.name),
            colours.paint(Look::Dim, &row.tail),
            colours.paint(
                Look::Blue,
                &padded(&row.takes, if row.because.is_empty() { 0 } else { takes })
            ),
            colours.paint(Look::Dim, &row.because),
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The columns up to what is taken.
fn head(row: &Row) -> usize {
    width(&row.branches) + width(&row.name) + width(&row.tail)
}

fn rows(graph: &Graph, broken: &BTreeSet<&StackName>) -> Vec<Row> {
    let all: BTreeSet<StackName> = graph.stacks().keys().cloned().collect();
    let waves = graph.waves(&all);
    let wave = |name: &StackName| waves.get(name).copied().unwrap_or(1);
    let mut edges: BTreeMap<(&StackName, &StackName), Vec<&Edge>> = BTreeMap::new();
    // Where each stack stands with what is below it: under the last that it waits for.
    let mut stands_under: BTreeMap<&StackName, &StackName> = BTreeMap::new();
    for name in graph.stacks().keys() {
        for (upstream, between) in by_upstream(graph, name) {
            let other = stands_under.get(name).copied();
            if other.is_none_or(|other| wave(upstream) > wave(other)) {
                stands_under.insert(name, upstream);
            }
            edges.insert((upstream, name), between);
        }
    }
    let mut rows = Vec::new();
    // Nearest first: names are pushed in reverse.
    let mut waiting: Vec<Place<'_>> = Vec::new();
    let roots = graph.stacks().keys().filter(|name| !stands_under.contains_key(*name));
    for root in roots.rev() {
        waiting.push(Place::root(root));
    }
    while let Some(place) = waiting.pop() {
        let Place {
            name,
            under,
            depth,
            branches,
            below,
        } = place;
        let stands_here = stands_under.get(name).copied() == under;
        let between = under.and_then(|under| edges.get(&(under, name)));
        let because = between.into_iter().flatten().map(|edge| why(graph, edge));
        let (look, tail) = match (stands_here, broken.contains(name)) {
            (false, _) => (Look::Dim, elsewhere(stands_under.get(name))),
            (true, false) => (Look::Bold, lies_in(graph, name)),
            (true, true) => (Look::Red, format!("{} ✗", lies_in(graph, name))),
        };
        rows.push(Row {
            wave: wave(name),
            branches,
            name: plain(name.as_str()),
            tail: plain(&tail),
            look,
            takes: plain(&between.map(|edges| passes(edges, MOST_OUTPUTS)).unwrap_or_default()),
            because: plain(&because.collect::<Vec<_>>().join("; ")),
        });
        if !stands_here {
            continue;
        }
        // What stands elsewhere is a line; what stands here may be a page.
        let mut children: Vec<&StackName> = graph.downstreams(name).into_iter().collect();
        children.sort_by_key(|child| (stands_under.get(*child).copied() == Some(name), *child));
        for (at, child) in children.iter().enumerate().rev() {
            waiting.push(Place::below(child, name, depth, &below, at + 1 == children.len()));
        }
    }
    rows
}

fn elsewhere(under: Option<&&StackName>) -> String {
    under.map(|under| format!(" (under {under})")).unwrap_or_default()
}

/// The directory, where the name does not say it.
fn lies_in(graph: &Graph, name: &StackName) -> String {
    let dir = graph.stack(name).map(shown_dir).filter(|dir| *dir != name.as_str());
    dir.map(|dir| format!(" ({dir})")).unwrap_or_default()
}

/// `remote state, ./main.tf:5`: from the directory of the stack that needs the other.
fn why(graph: &Graph, edge: &Edge) -> String {
    let because = &edge.because;
    let place = because.place();
    let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
    let dir = graph.stack(&edge.downstream).map(|stack| &stack.dir);
    let own = dir.and_then(|dir| place.path.as_str().strip_prefix(dir.as_str())?.strip_prefix('/'));
    match own {
        Some(file) => format!("{}, ./{file}{line}", because.word()),
        None => format!("{}, {}{line}", because.word(), place.path),
    }
}

/// A line to be written: which stack, under which, and the branches before it.
struct Place<'a> {
    name: &'a StackName,
    under: Option<&'a StackName>,
    depth: usize,
    branches: String,
    /// What stands before the branches of the lines below it.
    below: String,
}

impl<'a> Place<'a> {
    fn root(name: &'a StackName) -> Self {
        Place {
            name,
            under: None,
            depth: 0,
            branches: String::new(),
            below: String::new(),
        }
    }

    fn below(name: &'a StackName, under: &'a StackName, depth: usize, before: &str, last: bool) -> Self {
        let (branch, on) = match last {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        let below = match depth < DEEPEST {
            true => format!("{before}{on}"),
            false => before.to_owned(),
        };
        Place {
            name,
            under: Some(under),
            depth: depth + 1,
            branches: format!("{before}{branch}"),
            below,
        }
    }
}
