//! Owns the graph: which stack needs which, and who is affected by a change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::Stack;
use crate::domain::located::{Located, Place};

/// Why we believe that one stack needs another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// `depends_on` in `lockkeeper.yaml`.
    Declared { place: Place },
    /// `data "terraform_remote_state" NAME`, whose configuration is that of the upstream's backend.
    RemoteState { place: Place, data_name: String },
    /// `dependency "NAME"` of a terragrunt unit, whose outputs it is given; without a name one of its `dependencies`.
    Terragrunt { place: Place, name: Option<String> },
}

impl Because {
    pub fn place(&self) -> &Place {
        match self {
            Because::Declared { place } | Because::RemoteState { place, .. } | Because::Terragrunt { place, .. } => {
                place
            }
        }
    }

    /// For people: `declared`, `remote state`, `terragrunt`.
    pub fn word(&self) -> &'static str {
        match self {
            Because::Declared { .. } => "declared",
            Because::RemoteState { .. } => "remote state",
            Because::Terragrunt { .. } => "terragrunt",
        }
    }
}

/// Which outputs of the upstream are read through a remote state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// Every read was found and names its output.
    Named(BTreeSet<String>),
    /// Some read takes the outputs as a whole, or by a computed name.
    Unknown,
}

/// `downstream` needs `upstream`. Two stacks may be joined by several: one for each reason to believe it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    pub downstream: StackName,
    pub upstream: StackName,
    /// Upstream output → variable of the downstream (`depends_on.outputs`).
    pub outputs: BTreeMap<String, String>,
    /// What is read besides `outputs`; a declared edge alone reads nothing more.
    pub reads: Reads,
    pub because: Because,
}

/// Why a stack is in a run. `Display` is a line of the comment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Base has its state under another name or in another directory: lock and history follow.
    Moved {
        stack: StackName,
        was: StackName,
        dir: RepoPath,
    },
    /// Its files are gone and nobody has its state.
    Removed { stack: StackName },
    /// The diff touches a file that the stack reads.
    Reads {
        path: RepoPath,
        stack: StackName,
        #[serde(default)]
        touch: Touch,
    },
    /// The diff touches this many further files that the stack reads.
    MoreReads { stack: StackName, files: u32 },
    /// Its resolved definition is another than at base.
    Redefined { stack: StackName },
    /// A terragrunt unit reads files that only a run can name, and resolves to something else than at base.
    Resolved { stack: StackName },
    /// Base has no such stack.
    New { stack: StackName },
    /// A stack it needs is in the run.
    Needs {
        stack: StackName,
        upstream: StackName,
        /// `declared`, `remote state`, `terragrunt`.
        because: String,
    },
}

/// What the diff does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touch {
    /// Its contents differ, or it came or went.
    #[default]
    Contents,
    /// White space and comments alone differ.
    Formatting,
    /// It became executable, or is no longer.
    Mode,
    /// A submodule that names another commit.
    Submodule,
}

impl Touch {
    /// For people, after a reason: empty, or words in parentheses.
    pub fn remark(self) -> &'static str {
        match self {
            Touch::Contents => "",
            Touch::Formatting => " (formatting only)",
            Touch::Mode => " (mode only)",
            Touch::Submodule => " (the submodule is at another commit)",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Moved { stack, was, dir } if stack == was => match dir.is_root() {
                true => write!(f, "{stack} was in the root of the repository"),
                false => write!(f, "{stack} was in {dir}"),
            },
            Reason::Moved { stack, was, dir: _ } => write!(f, "{stack} was {was}"),
            Reason::Removed { stack } => write!(f, "the files of {stack} are gone"),
            Reason::Reads { path, stack, touch } => write!(f, "{path} is read by {stack}{}", touch.remark()),
            Reason::MoreReads { stack, files } => write!(f, "and {files} more changed files are read by {stack}"),
            Reason::Redefined { stack } => write!(f, "the definition of {stack} changed in lockkeeper.yaml"),
            Reason::Resolved { stack } => write!(f, "terragrunt resolves {stack} to something else"),
            Reason::New { stack } => write!(f, "{stack} is new"),
            Reason::Needs {
                stack,
                upstream,
                because,
            } => write!(f, "{stack} needs {upstream} ({because})"),
        }
    }
}

/// All stacks of one tree and the edges between them; acyclic.
#[derive(Clone)]
pub struct Graph {
    stacks: Arc<BTreeMap<StackName, Stack>>,
    edges: Vec<Edge>,
    /// What was left out because it stands in a circle.
    circular: Vec<Edge>,
    reach: Reach,
}

impl Graph {
    /// Sorts out what cannot be: an edge to a stack that does not exist and every edge of a cycle is left out
    /// and reported. Whoever gets an error plans nothing.
    pub fn build(stacks: impl Into<Arc<BTreeMap<StackName, Stack>>>, edges: Vec<Edge>) -> (Graph, Vec<Located>) {
        let stacks = stacks.into();
        let mut errors = Vec::new();
        let mut kept: Vec<Edge> = Vec::with_capacity(edges.len());
        for edge in edges {
            match missing(&stacks, &edge) {
                Some(error) => errors.push(error),
                None => kept.push(edge),
            }
        }
        kept.sort();
        kept.dedup();
        let reach = Reach::new(stacks.keys().cloned().collect(), &kept);
        let circles = reach.circles();
        if circles.is_empty() {
            let graph = Graph {
                stacks,
                edges: kept,
                circular: Vec::new(),
                reach,
            };
            return (graph, errors);
        }
        errors.extend(circles.iter().map(|circle| cycle_error(&circle.path, &kept)));
        let (circular, kept): (Vec<Edge>, Vec<Edge>) = kept.into_iter().partition(|edge| {
            let inside =
                |circle: &Circle| circle.members.contains(&edge.downstream) && circle.members.contains(&edge.upstream);
            circles.iter().any(inside)
        });
        let reach = Reach::new(stacks.keys().cloned().collect(), &kept);
        let graph = Graph {
            stacks,
            edges: kept,
            circular,
            reach,
        };
        (graph, errors)
    }

    pub fn stacks(&self) -> &BTreeMap<StackName, Stack> {
        &self.stacks
    }

    pub fn stack(&self, name: &StackName) -> Option<&Stack> {
        self.stacks.get(name)
    }

    /// Every edge, sorted by downstream, then upstream.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The edges among stacks that need each other in a circle, which no order can satisfy: in no other answer here.
    pub fn circular(&self) -> &[Edge] {
        &self.circular
    }

    /// The edges from this stack to what it needs directly.
    pub fn needs(&self, name: &StackName) -> impl Iterator<Item = &Edge> {
        let start = self.edges.partition_point(|edge| edge.downstream < *name);
        self.edges[start..]
            .iter()
            .take_while(move |edge| edge.downstream == *name)
    }

    /// What this stack needs directly.
    pub fn upstreams(&self, name: &StackName) -> BTreeSet<&StackName> {
        self.reach.beside(name, Direction::Outgoing)
    }

    /// What needs this stack directly.
    pub fn downstreams(&self, name: &StackName) -> BTreeSet<&StackName> {
        self.reach.beside(name, Direction::Incoming)
    }

    /// Everything that this stack reaches upstream, at any distance, and that is in the selection: what it
    /// waits for, also through stacks that are not selected.
    pub fn waits_for(&self, name: &StackName, selection: &BTreeSet<StackName>) -> BTreeSet<StackName> {
        let reached = self.reach.reached(std::iter::once(name), Direction::Outgoing);
        reached
            .into_iter()
            .filter(|other| *other != name && selection.contains(*other))
            .cloned()
            .collect()
    }

    /// Everything downstream of this stack, at any distance.
    pub fn all_downstreams(&self, name: &StackName) -> BTreeSet<StackName> {
        let reached = self.reach.reached(std::iter::once(name), Direction::Incoming);
        reached.into_iter().filter(|other| *other != name).cloned().collect()
    }

    /// All stacks, each after everything it needs; equals by name.
    pub fn in_order(&self) -> Vec<&StackName> {
        self.reach.in_order()
    }

    /// The wave of each stack of a selection: 1 for what waits for none of it, else one more than the last that it
    /// waits for, also through stacks that are not selected.
    pub fn waves(&self, selection: &BTreeSet<StackName>) -> BTreeMap<&StackName, usize> {
        let mut passed: BTreeMap<&StackName, usize> = BTreeMap::new();
        for name in self.in_order() {
            let above = self.upstreams(name);
            let last = above.into_iter().filter_map(|upstream| passed.get(upstream)).max();
            let own = usize::from(selection.contains(name));
            passed.insert(name, last.copied().unwrap_or(0) + own);
        }
        passed.retain(|name, _| selection.contains(*name));
        passed
    }

    /// The changed stacks and everything downstream of them, each with its reasons.
    pub fn affected(&self, changed: BTreeMap<StackName, Vec<Reason>>) -> BTreeMap<StackName, Vec<Reason>> {
        self.reach.affected(&self.edges, changed)
    }
}

fn missing(stacks: &BTreeMap<StackName, Stack>, edge: &Edge) -> Option<Located> {
    let absent = [&edge.upstream, &edge.downstream]
        .into_iter()
        .find(|name| !stacks.contains_key(name))?;
    let nearest = nearest(absent.as_str(), stacks.keys().map(StackName::as_str));
    let problem = format!(
        "{} needs {}, but there is no stack {absent}",
        edge.downstream, edge.upstream
    );
    let error = Located::at(edge.because.place().clone(), problem);
    Some(match nearest {
        Some(nearest) => error.hint(format!("did you mean {nearest}?")),
        None => error.hint("name a stack of this repository, or remove the line"),
    })
}

fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    words
        .map(|other| (strsim::damerau_levenshtein(word, other), other))
        .filter(|(distance, other)| *distance <= 1 + other.len() / 4)
        .min()
        .map(|(_, other)| other)
}

/// `a needs b (infra/a/main.tf:3), b needs a (lockkeeper.yaml:9)`.
fn cycle_error(path: &[StackName], edges: &[Edge]) -> Located {
    let mut place = None;
    let mut steps = Vec::new();
    for (at, downstream) in path.iter().enumerate() {
        let upstream = &path[(at + 1) % path.len()];
        let edge = edges
            .iter()
            .find(|edge| edge.downstream == *downstream && edge.upstream == *upstream)
            .expect("a circle follows edges");
        place.get_or_insert_with(|| edge.because.place().clone());
        steps.push(format!("{downstream} needs {upstream} ({})", edge.because.place()));
    }
    let problem = match path {
        [alone] => format!("stack {alone} needs itself: {}", steps.join(", ")),
        _ => format!("stacks need each other in a circle: {}", steps.join(", ")),
    };
    let hint = "no order can satisfy this: remove one of these edges";
    match place {
        Some(place) => Located::at(place, problem).hint(hint),
        None => Located::nowhere(problem).hint(hint),
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Graph {
            stacks,
            edges,
            circular: _,
            reach: _,
        } = self;
        f.debug_struct("Graph")
            .field("stacks", stacks)
            .field("edges", edges)
            .finish()
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.stacks == other.stacks && self.edges == other.edges
    }
}

impl Default for Graph {
    fn default() -> Self {
        Graph::build(BTreeMap::<StackName, Stack>::new(), Vec::new()).0
    }
}

#[derive(Serialize)]
struct Borrowed<'a> {
    stacks: Vec<&'a Stack>,
    edges: &'a [Edge],
}

#[derive(Deserialize)]
struct Owned {
    stacks: Vec<Stack>,
    edges: Vec<Edge>,
}

impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stacks = self.stacks.values().collect();
        Borrowed {
            stacks,
            edges: &self.edges,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Graph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Owned { stacks, edges } = Owned::deserialize(deserializer)?;
        let stacks: BTreeMap<StackName, Stack> = stacks.into_iter().map(|stack| (stack.name.clone(), stack)).collect();
        match Graph::build(stacks, edges) {
            (graph, errors) if errors.is_empty() => Ok(graph),
            (_, errors) => Err(serde::de::Error::custom(format_args!("stored graph: {}", errors[0]))),
        }
    }
}

/// Who can be reached from whom; may hold circles, so that it also serves the union of two trees' edges.
#[derive(Clone)]
pub struct Reach {
    /// Sorted; a node's index is its place here.
    names: Vec<StackName>,
    /// From downstream to upstream.
    needs: DiGraph<(), ()>,
}

struct Circle {
    members: BTreeSet<StackName>,
    /// A shortest way round, beginning at the first name.
    path: Vec<StackName>,
}

impl Reach {
    /// Edges whose ends are not among the names are left out.
    pub fn new(names: BTreeSet<StackName>, edges: &[Edge]) -> Reach {
        let mut reach = Reach {
            names: names.into_iter().collect(),
            needs: DiGraph::with_capacity(0, edges.len()),
        };
        for _ in &reach.names {
            reach.needs.add_node(());
        }
        for edge in edges {
            if let (Some(down), Some(up)) = (reach.at(&edge.downstream), reach.at(&edge.upstream)) {
                reach.needs.add_edge(down, up, ());
            }
        }
        reach
    }

    /// The changed stacks and everything that reaches one of them, with `Needs` reasons from these edges added.
    pub fn affected(
        &self,
        edges: &[Edge],
        changed: BTreeMap<StackName, Vec<Reason>>,
    ) -> BTreeMap<StackName, Vec<Reason>> {
        let reached = self.marked(changed.keys(), Direction::Incoming);
        let mut needs: Vec<Vec<Reason>> = vec![Vec::new(); self.names.len()];
        // Edges mostly come sorted by their downstream: its place is looked for once.
        let mut last: Option<(&StackName, Option<NodeIndex>)> = None;
        for edge in edges {
            let down = match last {
                Some((name, at)) if *name == edge.downstream => at,
                _ => self.at(&edge.downstream),
            };
            last = Some((&edge.downstream, down));
            let Some(down) = down.filter(|down| reached[down.index()]) else {
                continue;
            };
            if edge.upstream != edge.downstream && self.at(&edge.upstream).is_some_and(|up| reached[up.index()]) {
                needs[down.index()].push(Reason::Needs {
                    stack: edge.downstream.clone(),
                    upstream: edge.upstream.clone(),
                    because: edge.because.word().to_owned(),
                });
            }
        }
        let mut affected: BTreeMap<StackName, Vec<Reason>> = BTreeMap::new();
        for ((name, mut needs), _) in self
            .names
            .iter()
            .zip(needs)
            .zip(&reached)
            .filter(|(_, reached)| **reached)
        {
            needs.sort();
            needs.dedup();
            let mut own = changed.get(name).cloned().unwrap_or_default();
            own.extend(needs);
            affected.insert(name.clone(), own);
        }
        affected
    }

    fn at(&self, name: &StackName) -> Option<NodeIndex> {
        self.names.binary_search(name).ok().map(NodeIndex::new)
    }

    fn beside(&self, name: &StackName, direction: Direction) -> BTreeSet<&StackName> {
        let Some(at) = self.at(name) else {
            return BTreeSet::new();
        };
        self.needs
            .neighbors_directed(at, direction)
            .map(|other| &self.names[other.index()])
            .collect()
    }

    /// The starts and all that lies in this direction.
    fn reached<'s>(
        &'s self,
        starts: impl Iterator<Item = &'s StackName>,
        direction: Direction,
    ) -> BTreeSet<&'s StackName> {
        let names = self.names.iter().zip(self.marked(starts, direction));
        names.filter(|(_, seen)| *seen).map(|(name, _)| name).collect()
    }

    /// The same by place.
    fn marked<'s>(&'s self, starts: impl Iterator<Item = &'s StackName>, direction: Direction) -> Vec<bool> {
        let mut seen = vec![false; self.names.len()];
        let mut waiting: Vec<NodeIndex> = starts.filter_map(|name| self.at(name)).collect();
        while let Some(at) = waiting.pop() {
            if !std::mem::replace(&mut seen[at.index()], true) {
                waiting.extend(self.needs.neighbors_directed(at, direction));
            }
        }
        seen
    }

    /// Kahn's algorithm over a sorted set: deterministic. Members of a circle are left out.
    fn in_order(&self) -> Vec<&StackName> {
        let mut waits: Vec<usize> = self
            .needs
            .node_indices()
            .map(|at| self.needs.edges_directed(at, Direction::Outgoing).count())
            .collect();
        let mut ready: BTreeSet<NodeIndex> = self.needs.node_indices().filter(|at| waits[at.index()] == 0).collect();
        let mut order = Vec::with_capacity(self.names.len());
        while let Some(at) = ready.pop_first() {
            order.push(&self.names[at.index()]);
            for edge in self.needs.edges_directed(at, Direction::Incoming) {
                let down = edge.source();
                waits[down.index()] -= 1;
                if waits[down.index()] == 0 {
                    ready.insert(down);
                }
            }
        }
        order
    }

    fn circles(&self) -> Vec<Circle> {
        let mut circles: Vec<Circle> = Vec::new();
        for mut members in kosaraju_scc(&self.needs) {
            members.sort();
            let first = members[0];
            if members.len() == 1 && !self.needs.contains_edge(first, first) {
                continue;
            }
            let name = |at: &NodeIndex| self.names[at.index()].clone();
            circles.push(Circle {
                path: self.way_round(first).iter().map(name).collect(),
                members: members.iter().map(name).collect(),
            });
        }
        circles.sort_by(|a, b| a.path.cmp(&b.path));
        circles
    }

    /// A shortest way from a node back to itself.
    fn way_round(&self, start: NodeIndex) -> Vec<NodeIndex> {
        let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(at) = waiting.pop_front() {
            let mut next: Vec<NodeIndex> = self.needs.neighbors_directed(at, Direction::Outgoing).collect();
            next.sort();
            for next in next {
                if next == start {
                    let mut path = vec![at];
                    while let Some(before) = path.last().filter(|at| **at != start).and_then(|at| came_from.get(at)) {
                        path.push(*before);
                    }
                    path.reverse();
                    return path;
                }
                if let std::collections::btree_map::Entry::Vacant(vacant) = came_from.entry(next) {
                    vacant.insert(at);
                    waiting.push_back(next);
                }
            }
        }
        vec![start]
    }
}
