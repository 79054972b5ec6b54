//! Owns which outputs of another state a module consumes: in itself, through its locals and in the modules it calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Reads;
use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::source::facts::{MAX_STEPS, Origin, StateKind, Use};
use crate::source::module::{Module, Modules};

/// A mention of a state or a variable, once its locals are followed.
pub struct Mention {
    /// Never a local.
    origin: Origin,
    steps: Vec<Option<String>>,
    whole: IfWhole,
}

/// What becomes of a state, or of its outputs, that are mentioned as a whole.
enum IfWhole {
    Read,
    /// It is a local, whose own mentions say what is read.
    Kept,
    /// It is an argument of a module call, and the module's mentions say what is read.
    Handed {
        call: String,
        name: String,
    },
}

/// Locals that stand for each other.
const MAX_LOCALS: usize = 10;
/// Modules through which an output is handed on.
const MAX_MODULES: usize = 10;
/// Mentions that are followed for one state.
const FUEL: u32 = 10_000;

/// What is read of one state of a module.
pub fn consumed(
    modules: &Modules<'_>,
    dir: &RepoPath,
    module: &Module,
    tool: Tool,
    kind: StateKind,
    name: &str,
) -> Reads {
    let mut consumption = Consumption {
        modules,
        tool,
        kind,
        named: BTreeSet::new(),
        fuel: FUEL,
    };
    let origin = Origin::State(kind, name.to_owned());
    match consumption.of(dir, module, &origin, &[], 0) {
        Some(()) => Reads::Named(consumption.named),
        None => Reads::Unknown,
    }
}

struct Consumption<'a> {
    modules: &'a Modules<'a>,
    tool: Tool,
    kind: StateKind,
    named: BTreeSet<String>,
    fuel: u32,
}

/// What a way into a state says.
enum Way<'s> {
    Output(&'s str),
    /// Something else than its outputs: its workspace, its configuration.
    Beside,
    /// The state or its outputs as a whole.
    Whole,
    Unknown,
}

impl Consumption<'_> {
    /// `None`: something is read that could not be told.
    fn of(
        &mut self,
        dir: &RepoPath,
        module: &Module,
        origin: &Origin,
        before: &[Option<String>],
        depth: usize,
    ) -> Option<()> {
        for mention in mentions(module).iter().filter(|mention| mention.origin == *origin) {
            self.fuel = self.fuel.checked_sub(1)?;
            let steps: Vec<Option<String>> = before.iter().chain(&mention.steps).cloned().collect();
            match (way(self.kind, &steps), &mention.whole) {
                (Way::Output(name), _) => {
                    self.named.insert(name.to_owned());
                }
                (Way::Beside, _) | (Way::Whole, IfWhole::Kept) => {}
                (Way::Whole, IfWhole::Handed { call, name }) if depth < MAX_MODULES => {
                    let calls = module.files.iter().flat_map(|(_, facts)| &facts.calls);
                    let call = calls.into_iter().find(|other| other.name == *call)?;
                    // A module from elsewhere may read all that it is given.
                    let (target, real) = self.modules.called(dir, call)?;
                    let called = self.modules.at(&real, self.tool);
                    self.of(&target, &called, &Origin::Var(name.clone()), &steps, depth + 1)?;
                }
                (Way::Whole | Way::Unknown, _) => return None,
            }
        }
        Some(())
    }
}

fn way(kind: StateKind, steps: &[Option<String>]) -> Way<'_> {
    let is_outputs = |step: &Option<String>| step.as_deref().is_some_and(|step| kind.outputs().contains(&step));
    // Before the outputs may stand the index of one instance.
    let after = match steps {
        [] | [None] => return Way::Whole,
        [first, rest @ ..] if is_outputs(first) => rest,
        [_, second, rest @ ..] if is_outputs(second) => rest,
        [Some(first), ..] if BESIDE.contains(&first.as_str()) => return Way::Beside,
        [_, Some(second), ..] if BESIDE.contains(&second.as_str()) => return Way::Beside,
        [_] => return Way::Whole,
        _ => return Way::Unknown,
    };
    match after {
        [] => Way::Whole,
        [Some(name), ..] => Way::Output(name),
        [None, ..] => Way::Unknown,
    }
}

/// Attributes of the data sources that are no outputs.
const BESIDE: &[&str] = &["backend", "config", "defaults", "id", "organization", "workspace"];

/// Every mention of a state or variable in a module, with its locals followed.
fn mentions(module: &Module) -> &[Mention] {
    module.mentions.get_or_init(|| {
        let references = || module.files.iter().flat_map(|(_, facts)| &facts.references);
        let mut locals: BTreeMap<&str, _> = BTreeMap::new();
        for reference in references() {
            if let Use::Local(name) = &reference.what_for {
                locals.insert(name, (&reference.origin, &reference.steps));
            }
        }
        let mut mentions = Vec::new();
        for reference in references() {
            let whole = match &reference.what_for {
                Use::Read => IfWhole::Read,
                Use::Local(_) => IfWhole::Kept,
                Use::Argument { call, name } => IfWhole::Handed {
                    call: call.clone(),
                    name: name.clone(),
                },
            };
            let mut origin = &reference.origin;
            let mut steps = reference.steps.clone();
            for _ in 0..MAX_LOCALS {
                let Origin::Local(name) = origin else { break };
                let Some((further, before)) = locals.get(name.as_str()) else {
                    break;
                };
                origin = further;
                steps.splice(0..0, before.iter().cloned());
                steps.truncate(MAX_STEPS);
            }
            if !matches!(origin, Origin::Local(_)) {
                mentions.push(Mention {
                    origin: origin.clone(),
                    steps,
                    whole,
                });
            }
        }
        mentions
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_into_a_state_names_an_output_or_says_that_it_does_not() {
        for (steps, expected) in [
            ("outputs a", "a"),
            ("outputs a b", "a"),
            ("k outputs a", "a"),
            ("* outputs a", "a"),
            ("outputs", "whole"),
            ("", "whole"),
            ("*", "whole"),
            ("k", "whole"),
            ("outputs *", "unknown"),
            ("workspace", "beside"),
            ("k config bucket", "beside"),
            ("* x", "unknown"),
        ] {
            let parts: Vec<Option<String>> = steps
                .split_whitespace()
                .map(|step| (step != "*").then(|| step.to_owned()))
                .collect();
            let found = match way(StateKind::RemoteState, &parts) {
                Way::Output(name) => name,
                Way::Beside => "beside",
                Way::Whole => "whole",
                Way::Unknown => "unknown",
            };
            assert_eq!(found, expected, "{steps}");
        }
    }
}
