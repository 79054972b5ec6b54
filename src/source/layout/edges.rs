//! Owns the finding of edges: declared ones, and remote states that are another stack's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::graph::{Because, Edge, Reads};
use crate::domain::ids::{LockKey, StackName};
use crate::domain::layout::Stack;
use crate::domain::located::{Located, Place};
use crate::source::config::Declared;
use crate::source::facts::StateKind;
use crate::source::module::Module;
use crate::source::part::Part;
use crate::source::part::walk::StateRead;

/// The edges of one tree, and what is wrong with them.
#[derive(Default)]
pub struct Joined {
    pub edges: Vec<Edge>,
    pub looking: Vec<Looking>,
    pub broken: Vec<(StackName, Located)>,
    pub notices: Vec<(StackName, Located)>,
}

/// A stack looks into a state, whoever's it is.
pub struct Looking {
    pub stack: StackName,
    pub key: LockKey,
    pub place: Place,
}

/// Finds every edge between these stacks.
pub fn edges(
    stacks: &BTreeMap<StackName, Stack>,
    declared: &[Declared],
    parts: &BTreeMap<StackName, Arc<Part>>,
    root_module: &dyn Fn(&Stack) -> Arc<Module>,
) -> Joined {
    let mut joined = Joined::default();
    let by_place: BTreeMap<&Place, &Declared> = declared.iter().map(|declared| (&declared.at, declared)).collect();
    for stack in stacks.values() {
        let own = stack.defined_at.as_ref().and_then(|place| by_place.get(place));
        if let Some(own) = own {
            declared_edges(stack, own, stacks, root_module, &mut joined);
        }
    }
    let mut by_key: HashMap<&LockKey, Vec<&Stack>> = HashMap::new();
    for stack in stacks.values() {
        if let Some(key) = stack.state.key() {
            by_key.entry(key).or_default().push(stack);
        }
    }
    for (name, part) in parts {
        let several = of_several_states(&part.states);
        for read in &part.states {
            let stack = &stacks[name];
            let reads = match read.kind == StateKind::RemoteState && !several.contains(&(&read.place, &read.name)) {
                true => read.reads.clone(),
                false => Reads::Unknown,
            };
            remote_edges(stack, read, reads, &by_key, root_module, &mut joined);
        }
    }
    joined
}

fn declared_edges(
    stack: &Stack,
    own: &Declared,
    stacks: &BTreeMap<StackName, Stack>,
    root_module: &dyn Fn(&Stack) -> Arc<Module>,
    joined: &mut Joined,
) {
    for dependency in &own.depends_on {
        let upstream = stacks.get(&dependency.stack);
        let upstream_module = upstream.map(root_module).filter(|module| module.errors.is_empty());
        let own_module = Some(root_module(stack)).filter(|module| module.errors.is_empty());
        for (output, variable) in &dependency.outputs {
            if let Some(module) = &upstream_module
                && !module.outputs.contains(output)
            {
                let problem = format!("{} has no output `{output}`", dependency.stack);
                let hint = format!("add `output \"{output}\"` there, or mend the name");
                joined.broken.push((
                    stack.name.clone(),
                    Located::at(dependency.at.clone(), problem).hint(hint),
                ));
            }
            if let Some(module) = &own_module
                && !module.variables.contains_key(variable)
            {
                let problem = format!("{} has no variable `{variable}`", stack.name);
                let hint = format!("add `variable \"{variable}\"` to it, or mend the name");
                joined.broken.push((
                    stack.name.clone(),
                    Located::at(dependency.at.clone(), problem).hint(hint),
                ));
            }
        }
        joined.edges.push(Edge {
            downstream: stack.name.clone(),
            upstream: dependency.stack.clone(),
            outputs: dependency.outputs.clone(),
            reads: Reads::Named(BTreeSet::new()),
            because: Because::Declared {
                place: dependency.at.clone(),
            },
        });
    }
}

/// Blocks that look into another state from one call of their module than from the next: nobody knows which read is of
/// which.
fn of_several_states(states: &[StateRead]) -> BTreeSet<(&Place, &String)> {
    let mut first: BTreeMap<(&Place, &String), Option<&LockKey>> = BTreeMap::new();
    let mut several = BTreeSet::new();
    for read in states {
        let key = read.key.as_ref().ok();
        if *first.entry((&read.place, &read.name)).or_insert(key) != key {
            several.insert((&read.place, &read.name));
        }
    }
    several
}

fn remote_edges(
    stack: &Stack,
    read: &StateRead,
    reads: Reads,
    by_key: &HashMap<&LockKey, Vec<&Stack>>,
    root_module: &dyn Fn(&Stack) -> Arc<Module>,
    joined: &mut Joined,
) {
    let key = match &read.key {
        Ok(key) => key,
        Err(why) => {
            let problem = format!(
                "which state data.{}.{} of {} looks into could not be told: {why}",
                read.kind.word(),
                read.name,
                stack.name
            );
            let hint = "if it is a stack of this repository, name it under `depends_on` in lockkeeper.yaml";
            joined
                .notices
                .push((stack.name.clone(), Located::at(read.place.clone(), problem).hint(hint)));
            return;
        }
    };
    // A stack that looks into its own state needs nobody for it.
    for upstream in by_key
        .get(key)
        .into_iter()
        .flatten()
        .filter(|upstream| upstream.name != stack.name)
    {
        // Of a repeated block nobody knows which instance reads which output.
        if let (Reads::Named(names), false) = (&read.reads, read.is_repeated)
            && let module = root_module(upstream)
            && module.errors.is_empty()
        {
            for missing in names.difference(&module.outputs) {
                let problem = format!(
                    "{} reads the output `{missing}` of {}, which has none of that name",
                    stack.name, upstream.name
                );
                let hint = "it works only as long as the state still holds an old one";
                joined
                    .notices
                    .push((stack.name.clone(), Located::at(read.place.clone(), problem).hint(hint)));
            }
        }
        joined.edges.push(Edge {
            downstream: stack.name.clone(),
            upstream: upstream.name.clone(),
            outputs: BTreeMap::new(),
            reads: reads.clone(),
            because: Because::RemoteState {
                place: read.place.clone(),
                data_name: read.name.clone(),
            },
        });
    }
    joined.looking.push(Looking {
        stack: stack.name.clone(),
        key: key.clone(),
        place: read.place.clone(),
    });
}
