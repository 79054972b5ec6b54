//! Owns the comparison of two trees: what a pull request changes, moves and removes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::graph::{Edge, Graph, Reach, Reason, Touch};
use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::{Deleted, Readers, Stack};
use crate::domain::located::{Located, Place};
use crate::source::change::deleted::{Between, deleted};
use crate::source::change::formatting::is_formatting;
use crate::source::change::gone::{Fate, Fates};
use crate::source::layout::Layout;
use crate::source::{Change, Entry, Kind, Tree};

pub mod formatting;
pub mod gone;
pub mod deleted;
pub mod rekeyed;

/// How the stacks of base are found again in the merged tree.
pub struct Matching {
    /// Base's name → names in the merged tree; the best match first.
    forward: BTreeMap<StackName, Vec<StackName>>,
    /// Name in the merged tree → base's names; the best match first.
    back: BTreeMap<StackName, Vec<StackName>>,
    /// As `back`, with every stack of base that could be meant: nobody sheds a label by a likeness.
    labels: BTreeMap<StackName, Vec<StackName>>,
}

impl Matching {
    /// By state, by directory and workspace, by name, in this order.
    pub fn of(base: &Layout, merged: &Layout) -> Matching {
        let by_key = by_key(merged);
        let mut by_place: BTreeMap<(&RepoPath, &str), Vec<&StackName>> = BTreeMap::new();
        for stack in merged.stacks.values() {
            by_place
                .entry((&stack.dir, &stack.workspace))
                .or_default()
                .push(&stack.name);
        }
        let mut pairs: Vec<(u8, &StackName, &StackName)> = Vec::new();
        for stack in base.stacks.values() {
            let mut found: BTreeMap<&StackName, u8> = BTreeMap::new();
            let by_name = merged.stacks.get_key_value(&stack.name).map(|(name, _)| name);
            let at = by_place
                .get(&(&stack.dir, stack.workspace.as_str()))
                .into_iter()
                .flatten();
            let key = stack
                .state
                .key()
                .and_then(|key| by_key.get(key.as_str()))
                .into_iter()
                .flatten();
            // The last insertion wins: the best reason to believe it.
            found.extend(by_name.map(|name| (name, 2)));
            found.extend(at.map(|name| (*name, 1)));
            found.extend(key.map(|name| (*name, 0)));
            pairs.extend(found.into_iter().map(|(name, rank)| (rank, &stack.name, name)));
        }
        pairs.sort();
        let mut best_of_base: BTreeMap<&StackName, u8> = BTreeMap::new();
        let mut best_of_merged: BTreeMap<&StackName, u8> = BTreeMap::new();
        for (rank, base, merged) in &pairs {
            best_of_base.entry(base).or_insert(*rank);
            best_of_merged.entry(merged).or_insert(*rank);
        }
        let siblings = Siblings {
            base,
            merged,
            base_keys: self::by_key(base),
            merged_keys: by_key,
        };
        let mut matching = Matching {
            forward: BTreeMap::new(),
            back: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        let add = |to: &mut BTreeMap<StackName, Vec<StackName>>, from: &StackName, name: &StackName| {
            to.entry(from.clone()).or_default().push(name.clone());
        };
        // Two environments of one directory share a place; where both ends are better matched, it says nothing.
        for (rank, base, merged) in pairs {
            if best_of_base[base] == rank || best_of_merged[merged] == rank {
                add(&mut matching.labels, merged, base);
                if rank == 0 || base == merged || !siblings.are(base, merged) {
                    add(&mut matching.forward, base, merged);
                    add(&mut matching.back, merged, base);
                }
            }
        }
        matching
    }

    /// What a stack of base is in the merged tree.
    pub fn merged(&self, base: &StackName) -> &[StackName] {
        self.forward.get(base).map_or(&[], Vec::as_slice)
    }

    /// Whether a stack of base is in the merged tree what it was, and nothing else.
    fn is_itself(&self, base: &StackName) -> bool {
        self.merged(base) == std::slice::from_ref(base)
    }

    /// What a stack of the merged tree is at base.
    pub fn bases(&self, merged: &StackName) -> &[StackName] {
        self.back.get(merged).map_or(&[], Vec::as_slice)
    }
}

/// Names by the key of the state.
fn by_key(layout: &Layout) -> BTreeMap<&str, Vec<&StackName>> {
    let mut by_key: BTreeMap<&str, Vec<&StackName>> = BTreeMap::new();
    for stack in layout.stacks.values() {
        if let Some(key) = stack.state.key() {
            by_key.entry(key.as_str()).or_default().push(&stack.name);
        }
    }
    by_key
}

/// Tells environments of one directory from each other: a stack that came or went beside one that stayed.
struct Siblings<'a> {
    base: &'a Layout,
    merged: &'a Layout,
    base_keys: BTreeMap<&'a str, Vec<&'a StackName>>,
    merged_keys: BTreeMap<&'a str, Vec<&'a StackName>>,
}

impl Siblings<'_> {
    /// Whether these two, which share a place, are known to be different stacks of it.
    fn are(&self, base: &StackName, merged: &StackName) -> bool {
        let (old, new) = (&self.base.stacks[base], &self.merged.stacks[merged]);
        let (Some(old_key), Some(new_key)) = (old.state.key(), new.state.key()) else {
            return false;
        };
        let same_place = |other: &Stack| other.dir == old.dir && other.workspace == old.workspace;
        let stayed = |keys: &BTreeMap<&str, Vec<&StackName>>, layout: &Layout, key: &str| {
            let names = keys.get(key).into_iter().flatten();
            names.into_iter().any(|name| same_place(&layout.stacks[*name]))
        };
        old_key != new_key
            && (stayed(&self.merged_keys, self.merged, old_key.as_str())
                || stayed(&self.base_keys, self.base, new_key.as_str()))
    }
}

/// Gives stacks that exist at base base's labels, and says where the pull request wrote others.
pub fn take_labels(base: &Layout, merged: &mut Layout, matching: &Matching) -> Vec<Located> {
    let mut notices = Vec::new();
    for stack in Arc::make_mut(&mut merged.stacks).values_mut() {
        let bases = matching.labels.get(&stack.name).map_or(&[][..], Vec::as_slice);
        if bases.is_empty() {
            continue;
        }
        let mut labels = BTreeMap::new();
        // The best match comes last, so that its word stands.
        for name in bases.iter().rev() {
            labels.extend(base.stacks[name].labels.clone());
        }
        if labels != stack.labels {
            let place = merged.labels_at.get(&stack.name).or(stack.defined_at.as_ref());
            let place = place.cloned().unwrap_or_else(|| Place::file(stack.dir.clone()));
            let problem = format!("the labels of {} are those of the base branch", stack.name);
            notices.push(Located::at(place, problem).hint("another label takes effect after the merge"));
            stack.labels = labels;
        }
    }
    notices
}

/// What the diff does to the stacks of both trees.
#[derive(Default)]
pub struct Effect {
    pub selected: BTreeMap<StackName, Vec<Reason>>,
    pub changed: BTreeSet<StackName>,
    pub deleted: Vec<Deleted>,
    pub broken: Vec<(StackName, Located)>,
    pub notices: Vec<Located>,
    /// Paths of the diff that no stack of either tree reads.
    pub unread: BTreeSet<RepoPath>,
}

/// What is compared.
pub struct Compared<'a> {
    pub base: &'a Layout,
    pub merged: &'a Layout,
    /// Of the merged tree.
    pub graph: &'a Graph,
    pub matching: &'a Matching,
    pub fates: &'a Fates<'a>,
    pub changes: &'a [Change],
    /// Each path of the diff, with what is done to it.
    pub touches: &'a BTreeMap<RepoPath, Touch>,
    /// Whether `lockkeeper.yaml` is another file.
    pub file_differs: bool,
}

/// More read files than anybody reads of; the rest is counted.
const MAX_READS: usize = 20;

/// Files of one pull request that are compared for formatting; the rest are said to have changed.
const MAX_COMPARED: usize = 500;
/// Larger than a file that a person formats.
const MAX_COMPARED_BYTES: usize = 1 << 20;

/// Each path of the diff, with what is done to it.
pub fn touches(base: &Tree, merged: &Tree, changes: &[Change]) -> BTreeMap<RepoPath, Touch> {
    let mut compared = 0;
    let mut touches = BTreeMap::new();
    for change in changes {
        let touch = match (&change.old, &change.new) {
            (Some(old), Some(new)) if old == new => {
                let touch = touch(base, merged, new, compared < MAX_COMPARED);
                compared += 1;
                touch
            }
            _ => Touch::Contents,
        };
        for path in change.old.iter().chain(&change.new) {
            touches.insert(path.clone(), touch);
        }
    }
    touches
}

fn touch(base: &Tree, merged: &Tree, path: &RepoPath, compare: bool) -> Touch {
    let (Some(old), Some(new)) = (base.entries.get(path), merged.entries.get(path)) else {
        return Touch::Contents;
    };
    match (old.kind, new.kind, old.blob == new.blob) {
        (Kind::Submodule, Kind::Submodule, false) => Touch::Submodule,
        (Kind::File, Kind::Executable, true) | (Kind::Executable, Kind::File, true) => Touch::Mode,
        (Kind::File | Kind::Executable, Kind::File | Kind::Executable, false) if compare => {
            let bytes = |tree: &'_ Tree, entry: &Entry| tree.blobs.get(&entry.blob).cloned();
            let pair = bytes(base, old).zip(bytes(merged, new));
            let pair = pair.filter(|(old, new)| old.len().max(new.len()) <= MAX_COMPARED_BYTES);
            match pair.is_some_and(|(old, new)| is_formatting(path.file_name(), &old, &new)) {
                true => Touch::Formatting,
                false => Touch::Contents,
            }
        }
        _ => Touch::Contents,
    }
}

/// Computes the effect over the union of both layouts, so that removing a stack or an edge hides nothing.
pub fn effect(compared: &Compared<'_>) -> Effect {
    let Compared {
        base,
        merged,
        graph,
        matching,
        fates,
        changes,
        touches: _,
        file_differs: _,
    } = compared;
    let mut effect = Effect::default();
    let seeds = seeds(compared, &mut effect.unread);
    effect.changed = seeds
        .keys()
        .filter(|name| graph.stacks().contains_key(*name))
        .cloned()
        .collect();

    let seeds = seeds
        .into_iter()
        .map(|(name, reasons)| (name, shortened(reasons)))
        .collect();
    let mut affected = affected_in_either(compared, seeds);

    let between = Between {
        base,
        merged,
        matching,
        changed: &effect.changed,
    };
    effect.deleted = deleted(fates, &between, &mut affected);
    effect.broken = fates.broken(base, merged);
    effect.notices = fates.notices(merged, changes);
    effect.notices.extend(rekeyed::notices(base, merged, matching));
    affected.retain(|name, _| merged.stacks.contains_key(name));
    effect.selected = affected;
    effect
}

/// What reaches one of these stacks over the edges of either tree.
fn affected_in_either(
    compared: &Compared<'_>,
    seeds: BTreeMap<StackName, Vec<Reason>>,
) -> BTreeMap<StackName, Vec<Reason>> {
    let Compared {
        base,
        graph,
        matching,
        fates,
        ..
    } = compared;
    // Most edges of base are the merged tree's too, which are sorted.
    let stays = |edge: &&Edge| matching.is_itself(&edge.downstream) && matching.is_itself(&edge.upstream);
    let is_known = |edge: &&Edge| stays(edge) && graph.edges().binary_search(edge).is_ok();
    let others = base.edges.iter().filter(|edge| !is_known(edge));
    let mut further: Vec<Edge> = others.flat_map(|edge| translated(edge, matching)).collect();
    further.extend(fates.still_needed.iter().map(|needed| needed.edge.clone()));
    // A base stack that matches nothing keeps its name, which no merged stack has.
    let mut gone = base
        .stacks
        .keys()
        .filter(|name| matching.merged(name).is_empty())
        .peekable();
    if further.is_empty() && gone.peek().is_none() {
        return graph.affected(seeds);
    }
    let names = graph.stacks().keys().chain(gone);
    let mut edges: Vec<Edge> = graph.edges().to_vec();
    edges.extend(further);
    edges.sort();
    edges.dedup();
    Reach::new(names.cloned().collect(), &edges).affected(&edges, seeds)
}

/// The stacks whose own inputs are others, of both trees, each with why.
fn seeds(compared: &Compared<'_>, unread: &mut BTreeSet<RepoPath>) -> BTreeMap<StackName, BTreeSet<Reason>> {
    let Compared {
        base,
        merged,
        graph,
        matching,
        fates,
        changes: _,
        touches,
        file_differs,
    } = compared;
    let mut seeds = touched(base, graph, matching, touches, unread);
    for name in merged.stacks.keys() {
        let bases = matching.bases(name);
        let own = |reason: Reason| (name.clone(), reason);
        if bases.is_empty() {
            add(&mut seeds, own(Reason::New { stack: name.clone() }));
        } else if *file_differs
            && !bases
                .iter()
                .any(|base_name| base.definitions.get(base_name) == merged.definitions.get(name))
        {
            add(&mut seeds, own(Reason::Redefined { stack: name.clone() }));
        }
        let before = bases.iter().filter_map(|base_name| base.resolved.get(base_name));
        if let Some(resolved) = merged.resolved.get(name)
            && before.clone().next().is_some()
            && !before.clone().any(|before| before == resolved)
        {
            add(&mut seeds, own(Reason::Resolved { stack: name.clone() }));
        }
        if let Some(was) = gone::moved_from(&merged.stacks[name], base, bases) {
            let reason = Reason::Moved {
                stack: name.clone(),
                was: was.name.clone(),
                dir: was.dir.clone(),
            };
            add(&mut seeds, own(reason));
        }
    }
    for stack in fates.of(Fate::Deleted) {
        let name = stack.name.clone();
        let reason = Reason::Removed { stack: name.clone() };
        add(&mut seeds, (name, reason));
    }
    seeds
}

fn add(seeds: &mut BTreeMap<StackName, BTreeSet<Reason>>, (name, reason): (StackName, Reason)) {
    seeds.entry(name).or_default().insert(reason);
}

/// Stacks of either tree that read a changed file, under the names of the merged tree where they have one.
fn touched(
    base: &Layout,
    graph: &Graph,
    matching: &Matching,
    touches: &BTreeMap<RepoPath, Touch>,
    unread: &mut BTreeSet<RepoPath>,
) -> BTreeMap<StackName, BTreeSet<Reason>> {
    let base_readers = Readers::new(base.stacks.iter().map(|(name, stack)| (name, &stack.reads)));
    let merged_readers = Readers::new(graph.stacks().iter().map(|(name, stack)| (name, &stack.reads)));
    let mut seeds = BTreeMap::new();
    for (path, touch) in touches {
        let (at_base, at_merged) = (base_readers.of(path), merged_readers.of(path));
        if at_base.is_empty() && at_merged.is_empty() {
            unread.insert(path.clone());
        }
        for name in at_base {
            let alone = std::slice::from_ref(name);
            let names = match matching.merged(name) {
                [] => alone,
                names => names,
            };
            for name in names {
                add(&mut seeds, read_by(path, name, *touch));
            }
        }
        for name in at_merged {
            add(&mut seeds, read_by(path, name, *touch));
        }
    }
    seeds
}

fn read_by(path: &RepoPath, name: &StackName, touch: Touch) -> (StackName, Reason) {
    let reason = Reason::Reads {
        path: path.clone(),
        stack: name.clone(),
        touch,
    };
    (name.clone(), reason)
}

/// Where it went or came from, the first reads in full and the number of the others.
fn shortened(reasons: BTreeSet<Reason>) -> Vec<Reason> {
    let (came, reasons): (Vec<Reason>, Vec<Reason>) = reasons
        .into_iter()
        .partition(|reason| matches!(reason, Reason::Moved { .. } | Reason::Removed { .. }));
    let (mut reads, mut others): (Vec<Reason>, Vec<Reason>) = reasons
        .into_iter()
        .partition(|reason| matches!(reason, Reason::Reads { .. }));
    if reads.len() > MAX_READS {
        let more = reads.split_off(MAX_READS);
        if let Some(Reason::Reads { stack, .. }) = more.first() {
            reads.push(Reason::MoreReads {
                stack: stack.clone(),
                files: u32::try_from(more.len()).unwrap_or(u32::MAX),
            });
        }
    }
    reads.append(&mut others);
    [came, reads].concat()
}

/// An edge of base in the names of the merged tree.
fn translated(edge: &Edge, matching: &Matching) -> Vec<Edge> {
    let names = |name: &StackName| match matching.merged(name) {
        [] => vec![name.clone()],
        names => names.to_vec(),
    };
    let mut edges = Vec::new();
    for downstream in names(&edge.downstream) {
        for upstream in names(&edge.upstream) {
            edges.push(Edge {
                downstream: downstream.clone(),
                upstream,
                ..edge.clone()
            });
        }
    }
    edges
}
