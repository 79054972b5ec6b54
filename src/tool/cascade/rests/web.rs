//! Owns the web of what rests on what: nodes, threads between them, and how an output spreads along these.

use std::collections::HashMap;

use crate::tool::cascade::feeds::{Feeds, KIND};
use crate::tool::cascade::rests::instances::{Index, Instances, Mode};
use crate::tool::cascade::rests::{Fed, On};
use crate::tool::cascade::texts::mention::Mention;
use crate::tool::cascade::texts::{Argument, Block};

/// Something of one instance of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item<'m> {
    Local(&'m str),
    Variable(&'m str),
    Output(&'m str),
    Outputs,
    /// An object as a whole, one of its arguments or nested blocks, how often there is one.
    Object(Mode, &'m str, &'m str),
    Attribute(Mode, &'m str, &'m str, &'m str),
    Repeat(Mode, &'m str, &'m str),
    /// Everything that is passed to a module, and how often it is called.
    Call(&'m str),
    CallRepeat(&'m str),
    /// How often there is this instance of the module.
    Exists,
}

/// Whose arguments are looked at: `each`, `count` and `self` are its.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'m> {
    Nobody,
    Object(Mode, &'m str, &'m str),
    Call(&'m str),
}

pub struct Web<'m, 't, 'i> {
    instances: &'i Instances<'m, 't>,
    feeds: &'i Feeds,
    nodes: HashMap<(usize, Item<'m>), usize>,
    /// Node → what rests on it.
    bears: Vec<Vec<usize>>,
    outputs: HashMap<Fed, usize>,
    on: Vec<On>,
    threads: usize,
}

/// More than any real configuration has; what is more is not looked at.
const MAX_THREADS: usize = 2_000_000;
const MAX_STEPS_IN_ALL: usize = 300_000_000;
/// Local values that are nothing but another's name, one after the other.
const MAX_HOPS: usize = 32;

impl<'m, 't, 'i> Web<'m, 't, 'i> {
    pub fn new(instances: &'i Instances<'m, 't>, feeds: &'i Feeds) -> Self {
        Web {
            instances,
            feeds,
            nodes: HashMap::new(),
            bears: Vec::new(),
            outputs: HashMap::new(),
            on: Vec::new(),
            threads: 0,
        }
    }

    pub fn fresh(&mut self) -> usize {
        self.bears.push(Vec::new());
        self.bears.len() - 1
    }

    pub fn node(&mut self, instance: usize, item: Item<'m>) -> usize {
        if let Some(node) = self.nodes.get(&(instance, item)) {
            return *node;
        }
        let node = self.fresh();
        self.nodes.insert((instance, item), node);
        node
    }

    pub fn thread(&mut self, node: usize, rests_on: usize) {
        if self.threads < MAX_THREADS
            && let Some(bears) = self.bears.get_mut(rests_on)
        {
            bears.push(node);
            self.threads += 1;
        }
    }

    fn fed(&mut self, fed: Fed) -> usize {
        if let Some(node) = self.outputs.get(&fed) {
            return *node;
        }
        let node = self.fresh();
        self.outputs.insert(fed, node);
        node
    }

    /// Follows every output. `false`: there is too much to be followed.
    pub fn spread(&mut self) -> bool {
        self.on = vec![On::new(); self.bears.len()];
        let cost = (self.threads + self.bears.len()).saturating_mul(self.outputs.len());
        if self.threads >= MAX_THREADS || cost > MAX_STEPS_IN_ALL {
            return false;
        }
        for (fed, node) in &self.outputs {
            let mut seen = vec![false; self.bears.len()];
            let mut open = vec![*node];
            while let Some(node) = open.pop() {
                if std::mem::replace(&mut seen[node], true) {
                    continue;
                }
                self.on[node].insert(fed.clone());
                open.extend(&self.bears[node]);
            }
        }
        true
    }

    pub fn on(&self, node: usize) -> On {
        self.on.get(node).cloned().unwrap_or_default()
    }

    /// What a mention means, found by way of names that stand for nothing but another name.
    pub fn mention(&mut self, node: usize, instance: usize, mention: &'m Mention, owner: Owner<'m>) {
        let mut at = instance;
        let mut owner = owner;
        let mut root: &'m str = &mention.root;
        let mut steps: Vec<Option<&'m str>> = mention.steps.iter().map(Option::as_deref).collect();
        let instances = self.instances;
        for _ in 0..MAX_HOPS {
            let Some((next, other, new_owner)) = self.alias(at, root, &steps) else {
                break;
            };
            // What a call is repeated over is no part of the name that is followed.
            if let ("module", Some(Some(call))) = (root, steps.first()) {
                let repeat = self.node(at, Item::CallRepeat(call));
                self.thread(node, repeat);
            }
            let used = match root {
                "module" => 1 + self.output_at(at, &steps),
                _ => 1,
            };
            let rest = steps.split_off(used.min(steps.len()));
            steps = other.steps.iter().map(Option::as_deref).chain(rest).collect();
            (at, root, owner) = (next, &other.root, new_owner);
        }
        let Some(index) = instances.index(at) else { return };
        let name = steps.first().copied().flatten();
        match (root, name) {
            ("local", Some(name)) => self.rest_on(node, at, Item::Local(name)),
            ("var", Some(name)) => self.variable(node, at, name),
            ("module", Some(call)) => self.call(node, at, call, &steps),
            ("each" | "count", _) => match owner {
                Owner::Nobody => {}
                Owner::Object(mode, kind, name) => self.rest_on(node, at, Item::Repeat(mode, kind, name)),
                Owner::Call(call) => self.rest_on(node, at, Item::CallRepeat(call)),
            },
            ("self", _) => {
                if let Owner::Object(mode, kind, name) = owner {
                    self.object(node, at, index, (mode, kind, name), &[]);
                }
            }
            ("data" | "ephemeral" | "resource", Some(kind)) => {
                let mode = match root {
                    "data" => Mode::Data,
                    "ephemeral" => Mode::Ephemeral,
                    _ => Mode::Managed,
                };
                if let Some(name) = steps.get(1).copied().flatten() {
                    self.object(node, at, index, (mode, kind, name), steps.get(2..).unwrap_or_default());
                }
            }
            (kind, Some(name)) => {
                self.object(
                    node,
                    at,
                    index,
                    (Mode::Managed, kind, name),
                    steps.get(1..).unwrap_or_default(),
                );
            }
            (_, None) => {}
        }
    }

    fn rest_on(&mut self, node: usize, instance: usize, item: Item<'m>) {
        let other = self.node(instance, item);
        self.thread(node, other);
    }

    /// What a name stands for, if that is nothing but another name: where, which, and in whose argument.
    fn alias(&self, at: usize, root: &str, steps: &[Option<&'m str>]) -> Option<(usize, &'m Mention, Owner<'m>)> {
        let instances = self.instances;
        let index = instances.index(at)?;
        let name = steps.first().copied().flatten()?;
        let (at, argument, owner) = match root {
            "local" => match index.locals.get(name)?.as_slice() {
                [only] => (at, *only, Owner::Nobody),
                _ => return None,
            },
            "var" => {
                let (parent, call) = instances.all.get(at)?.parent?;
                let mut arguments = passed(instances.index(parent)?, call, name);
                (
                    parent,
                    arguments.next().filter(|_| arguments.next().is_none())?,
                    Owner::Call(call),
                )
            }
            "module" => {
                let child = *instances.all.get(at)?.children.get(name)?;
                let output = steps.get(self.output_at(at, steps)).copied().flatten()?;
                match instances.index(child)?.outputs.get(output)?.as_slice() {
                    [only] => (child, only.argument("value")?, Owner::Nobody),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let only = argument.mentions.all.first().filter(|_| argument.mentions.is_one)?;
        Some((at, only, owner))
    }

    /// The step of `module.a.x` or `module.a[0].x` that names the output.
    fn output_at(&self, at: usize, steps: &[Option<&'m str>]) -> usize {
        let call = steps.first().copied().flatten().unwrap_or_default();
        let blocks = self.instances.index(at).and_then(|index| index.calls.get(call));
        match blocks.is_some_and(|blocks| blocks.iter().any(|(_, block)| is_repeated(block))) {
            true => 2,
            false => 1,
        }
    }

    fn variable(&mut self, node: usize, at: usize, name: &'m str) {
        if at > 0 {
            return self.rest_on(node, at, Item::Variable(name));
        }
        if let Some((upstream, output)) = self.feeds.variables.get(name) {
            let fed = self.fed(Fed {
                upstream: upstream.clone(),
                output: Some(output.clone()),
            });
            self.thread(node, fed);
        }
    }

    fn call(&mut self, node: usize, at: usize, call: &'m str, steps: &[Option<&'m str>]) {
        let child = self
            .instances
            .all
            .get(at)
            .and_then(|instance| instance.children.get(call).copied());
        let Some(child) = child else {
            // Of a module that is not in the repository, any output may rest on any argument.
            return self.rest_on(node, at, Item::Call(call));
        };
        self.rest_on(node, at, Item::CallRepeat(call));
        match steps.get(self.output_at(at, steps)).copied().flatten() {
            Some(output) => self.rest_on(node, child, Item::Output(output)),
            None => self.rest_on(node, child, Item::Outputs),
        }
    }

    fn object(
        &mut self,
        node: usize,
        at: usize,
        index: &Index<'m, 't>,
        (mode, kind, name): (Mode, &'m str, &'m str),
        rest: &[Option<&'m str>],
    ) {
        let dir = self.instances.all.get(at).map(|instance| instance.module.dir.clone());
        let state = dir
            .filter(|_| mode == Mode::Data && kind == KIND)
            .map(|dir| (dir, name.to_owned()));
        let upstream = state.and_then(|state| self.feeds.states.get(&state));
        if let Some(upstream) = upstream {
            let is_outputs = |step: Option<&Option<&str>>| step.is_some_and(|step| *step == Some("outputs"));
            let output = match (is_outputs(rest.first()), is_outputs(rest.get(1)), rest.first()) {
                (true, ..) => rest.get(1).copied().flatten(),
                (_, true, _) => rest.get(2).copied().flatten(),
                (_, _, Some(Some("backend" | "config" | "workspace" | "defaults"))) => return,
                _ => None,
            };
            let fed = Fed {
                upstream: upstream.clone(),
                output: output.map(str::to_owned),
            };
            let fed = self.fed(fed);
            self.thread(node, fed);
        }
        let Some(blocks) = index.objects.get(&(mode, kind, name)) else {
            return;
        };
        self.rest_on(node, at, Item::Repeat(mode, kind, name));
        if upstream.is_some() {
            return;
        }
        let attribute = match blocks.iter().any(|(_, block)| is_repeated(block)) {
            true => rest.get(1),
            false => rest.first(),
        };
        let attribute = attribute
            .copied()
            .flatten()
            .filter(|name| blocks.iter().any(|(_, block)| gives(block, name)));
        self.rest_on(
            node,
            at,
            match attribute {
                Some(attribute) => Item::Attribute(mode, kind, name, attribute),
                None => Item::Object(mode, kind, name),
            },
        );
    }
}

/// The arguments that are passed for a variable.
pub fn passed<'a, 'm>(
    index: &'a Index<'m, '_>,
    call: &str,
    name: &'a str,
) -> impl Iterator<Item = &'m Argument> + use<'a, 'm> {
    let blocks = index.calls.get(call).map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(move |(_, block)| block.argument(name))
}

fn is_repeated(block: &Block) -> bool {
    block.argument("count").is_some() || block.argument("for_each").is_some()
}

/// Whether a block gives an attribute itself, as an argument or as a nested block.
fn gives(block: &Block, name: &str) -> bool {
    let nested = |inner: &Block| inner.kind == name || (inner.is("dynamic", 1) && inner.label(0) == name);
    block.argument(name).is_some() || block.blocks.iter().any(nested)
}
