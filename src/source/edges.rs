//! Owns the finding of edges: declared ones, and remote states that are another stack's.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::{Because, Edge, Reads};
use crate::domain::ids::{LockKey, RepoId, StackName};
use crate::domain::layout::Stack;
use crate::domain::located::{Located, Place};
use crate::source::config::Declared;
use crate::source::state;
use crate::source::walk::StateRead;

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

/// Outputs and variables of a stack's root module; `None` where its files do not parse.
pub type Interface = Option<(BTreeSet<String>, BTreeSet<String>)>;

/// Finds every edge between these stacks.
pub fn edges(
    repo: RepoId,
    stacks: &BTreeMap<StackName, Stack>,
    declared: &[Declared],
    states: &BTreeMap<StackName, Vec<StateRead>>,
    interface: &impl Fn(&Stack) -> Interface,
) -> Joined {
    let mut joined = Joined::default();
    for stack in stacks.values() {
        let own = declared
            .iter()
            .find(|declared| stack.defined_at.as_ref() == Some(&declared.at));
        if let Some(own) = own {
            declared_edges(stack, own, stacks, interface, &mut joined);
        }
    }
    let mut by_key: BTreeMap<&LockKey, Vec<&Stack>> = BTreeMap::new();
    for stack in stacks.values() {
        if let Some(key) = stack.state.key() {
            by_key.entry(key).or_default().push(stack);
        }
    }
    for (name, reads) in states {
        for read in reads {
            let stack = &stacks[name];
            remote_edges(repo, stack, read, &by_key, interface, &mut joined);
        }
    }
    joined
}

fn declared_edges(
    stack: &Stack,
    own: &Declared,
    stacks: &BTreeMap<StackName, Stack>,
    interface: &impl Fn(&Stack) -> Interface,
    joined: &mut Joined,
) {
    for dependency in &own.depends_on {
        let upstream = stacks.get(&dependency.stack);
        let upstream_interface = upstream.and_then(interface);
        let own_interface = interface(stack);
        for (output, variable) in &dependency.outputs {
            if let Some((outputs, _)) = &upstream_interface
                && !outputs.contains(output)
            {
                let problem = format!("{} has no output `{output}`", dependency.stack);
                let hint = format!("add `output \"{output}\"` there, or mend the name");
                joined.broken.push((
                    stack.name.clone(),
                    Located::at(dependency.at.clone(), problem).hint(hint),
                ));
            }
            if let Some((_, variables)) = &own_interface
                && !variables.contains(variable)
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

fn remote_edges(
    repo: RepoId,
    stack: &Stack,
    read: &StateRead,
    by_key: &BTreeMap<&LockKey, Vec<&Stack>>,
    interface: &impl Fn(&Stack) -> Interface,
    joined: &mut Joined,
) {
    let key = match read
        .at
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|target| state::of_read(repo, &stack.dir, target))
    {
        Ok(key) => key,
        Err(why) => {
            let problem = format!(
                "which state data.terraform_remote_state.{} of {} looks into could not be told: {why}",
                read.name, stack.name
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
        .get(&key)
        .into_iter()
        .flatten()
        .filter(|upstream| upstream.name != stack.name)
    {
        if let (Reads::Named(names), Some((outputs, _))) = (&read.reads, interface(upstream)) {
            for missing in names.difference(&outputs) {
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
            reads: read.reads.clone(),
            because: Because::RemoteState {
                place: read.place.clone(),
                data_name: read.name.clone(),
            },
        });
    }
    joined.looking.push(Looking {
        stack: stack.name.clone(),
        key,
        place: read.place.clone(),
    });
}
