//! Owns what a stack takes from upstreams that are planned and not applied: their outputs as they are planned, and
//! whether any of those changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::{Because, Edge, Reads, Reason};
use crate::domain::ids::StackName;
use crate::domain::plan::{Fallback, PlanSummary, Provisional};
use crate::domain::run::{StackRun, StackState};
use crate::policy::input::UpstreamInput;
use crate::store::artifact::ArtifactKind;
use crate::tool::cascade::feeds::Feeds;
use crate::tool::cascade::outcome::Cascade;
use crate::tool::output::{Planned, PlannedOutput};
use crate::tool::redact::Secrets;
use crate::worker::Worker;
use crate::worker::place::Attempting;
use crate::worker::shelf::{self, Beside};

/// What a stack is planned with.
pub enum Takes {
    /// What was applied last.
    Todays,
    /// Nothing that changes, and it is not changed itself: no plan is made. Named is what changes something else.
    Unchanged(BTreeSet<StackName>),
    /// Outputs as they are planned.
    Planned(Box<Taken>),
}

/// Planned outputs, and which of them the stack reads.
pub struct Taken {
    pub cascade: Cascade,
    pub consumed: BTreeMap<StackName, BTreeSet<String>>,
}

/// How an upstream stands for those that read it.
enum Upstream<'a> {
    /// Its outputs stay as they are.
    Unchanged(&'a BTreeSet<StackName>),
    Planned(&'a PlanSummary),
    /// It was applied, or something has gone wrong with it: nobody knows its outputs but its state.
    Other,
}

/// What one stack takes from one upstream.
#[derive(Default)]
struct Fed {
    feeds: Feeds,
    consumed: BTreeSet<String>,
    /// Whether every edge to it names outputs: else no one knows that nothing it takes changes.
    is_named: bool,
}

/// Looks at every upstream of a stack's first plan. A real plan is always made with what is applied, a unit of terragrunt
/// is planned with nothing else, and a stack that goes does not rest on what this run makes of its upstreams.
pub async fn takes(worker: &Worker, attempting: &Attempting<'_>, stack_run: &StackRun) -> anyhow::Result<Takes> {
    let is_first = matches!(stack_run.state, StackState::Planning { .. });
    if !is_first || stack_run.goes() || stack_run.stack.unit.is_some() {
        return Ok(Takes::Todays);
    }
    let mut taken = Taken::nothing();
    let is_need = |reason: &Reason| matches!(reason, Reason::Needs { .. });
    let mut may_be_left_out = !stack_run.reasons.is_empty() && stack_run.reasons.iter().all(is_need);
    let mut changing = BTreeSet::new();
    let mut is_changed = false;
    let edges = stack_run.edges.iter().map(|edge| &edge.upstream);
    let direct: BTreeSet<&StackName> = edges.filter(|name| attempting.run.stacks.contains_key(*name)).collect();
    may_be_left_out &= !direct.is_empty();
    for name in direct {
        let Some(upstream) = attempting.run.stacks.get(name) else {
            continue;
        };
        let plan = match upstream_of(upstream) {
            Upstream::Unchanged(because_of) if because_of.is_empty() => continue,
            Upstream::Unchanged(_) => {
                changing.insert(name.clone());
                continue;
            }
            Upstream::Planned(plan) => plan,
            Upstream::Other => {
                may_be_left_out = false;
                continue;
            }
        };
        changing.insert(name.clone());
        let fed = fed(&stack_run.edges, name);
        let given = stack_run.given.get(name) == Some(&plan.attempt);
        let beside = match (&fed, given) {
            (Some(_), true) => {
                let key = shelf::of(attempting.run.id, name, plan.attempt);
                shelf::get::<Beside>(worker, ArtifactKind::Beside, &key).await?
            }
            (Some(_), false) | (None, _) => None,
        };
        let (Some(fed), Some(beside)) = (fed, beside) else {
            may_be_left_out = false;
            continue;
        };
        may_be_left_out &= fed.is_named && plan.reads_todays.is_empty();
        is_changed |= beside.prior.is_none() || fed.changes(&beside.outputs);
        taken.add(name, fed, beside);
    }
    Ok(match (is_changed, may_be_left_out) {
        (true, _) => Takes::Planned(Box::new(taken)),
        (false, true) => Takes::Unchanged(changing),
        (false, false) => Takes::Todays,
    })
}

fn upstream_of(upstream: &StackRun) -> Upstream<'_> {
    static NOTHING: BTreeSet<StackName> = BTreeSet::new();
    if upstream.goes() {
        return Upstream::Other;
    }
    match &upstream.state {
        StackState::Pruned(because_of) => Upstream::Unchanged(because_of),
        StackState::Planned(plan) if plan.is_nothing_for_good() => Upstream::Unchanged(&NOTHING),
        StackState::Planned(_) | StackState::Differs { .. } | StackState::Queued(_) => match &upstream.reviewed {
            Some(plan) => Upstream::Planned(plan),
            None => Upstream::Other,
        },
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Deferred(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Applying { .. }
        | StackState::Lost { .. }
        | StackState::Applied(_)
        | StackState::Failed { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => Upstream::Other,
    }
}

/// `None`: some read of this upstream cannot be given anything else than what is applied, or none is known.
fn fed(edges: &[Edge], upstream: &StackName) -> Option<Fed> {
    let mut fed = Fed {
        is_named: true,
        ..Fed::default()
    };
    for edge in edges.iter().filter(|edge| edge.upstream == *upstream) {
        let Edge { outputs, reads, .. } = edge;
        match (&edge.because, reads) {
            (Because::Terragrunt { .. }, _) | (Because::RemoteState { .. }, Reads::Unknown) => return None,
            (Because::RemoteState { place, data_name }, Reads::Named(names)) => {
                fed.is_named &= !names.is_empty();
                fed.consumed.extend(names.iter().cloned());
                let block = (place.path.parent(), data_name.clone());
                fed.feeds.states.insert(block, upstream.clone());
            }
            (Because::Declared { .. }, _) => fed.is_named &= !outputs.is_empty(),
        }
        for (output, variable) in outputs {
            fed.consumed.insert(output.clone());
            let from = (upstream.clone(), output.clone());
            fed.feeds.variables.insert(variable.clone(), from);
        }
    }
    let Feeds { states, variables } = &fed.feeds;
    (!states.is_empty() || !variables.is_empty()).then_some(fed)
}

impl Fed {
    /// Whether anything that is taken changes. What a variable is to be given and is not there is told by the plan.
    fn changes(&self, outputs: &BTreeMap<String, PlannedOutput>) -> bool {
        let mut given = self.feeds.variables.values();
        given.any(|(_, output)| !outputs.contains_key(output))
            || self
                .consumed
                .iter()
                .filter_map(|output| outputs.get(output))
                .any(PlannedOutput::changes)
    }
}

impl Taken {
    fn nothing() -> Self {
        let cascade = Cascade {
            feeds: Feeds::default(),
            upstreams: BTreeMap::new(),
            mocks: BTreeMap::new(),
            hidden: Secrets::default(),
        };
        Taken {
            cascade,
            consumed: BTreeMap::new(),
        }
    }

    fn add(&mut self, upstream: &StackName, fed: Fed, beside: Beside) {
        let Cascade {
            feeds,
            upstreams,
            mocks: _,
            hidden,
        } = &mut self.cascade;
        feeds.states.extend(fed.feeds.states);
        feeds.variables.extend(fed.feeds.variables);
        upstreams.insert(upstream.clone(), beside.outputs);
        hidden.add_bytes(&beside.hidden);
        self.consumed.insert(upstream.clone(), fed.consumed);
    }

    /// Whose planned outputs are given.
    pub fn upstreams(&self) -> BTreeSet<StackName> {
        self.cascade.upstreams.keys().cloned().collect()
    }

    /// What policies are told of them.
    pub fn told(&self, provisional: &Provisional) -> Vec<UpstreamInput> {
        let of = |(stack, names): (&StackName, &BTreeSet<String>)| {
            let mut told = UpstreamInput {
                stack: stack.clone(),
                known: BTreeSet::new(),
                unknown: BTreeSet::new(),
                fallback: BTreeSet::new(),
            };
            let outputs = self.cascade.upstreams.get(stack);
            for name in names {
                let stands_in = |one: &Fallback| one.upstream == *stack && one.output == *name;
                let planned = outputs
                    .and_then(|outputs| outputs.get(name))
                    .map(|output| &output.planned);
                let list = match planned {
                    _ if provisional.fallbacks.iter().any(stands_in) => &mut told.fallback,
                    Some(Planned::Partly { .. } | Planned::Unknown) => &mut told.unknown,
                    Some(Planned::Known { .. }) => &mut told.known,
                    // There is no such output.
                    Some(Planned::Removed) | None => continue,
                };
                list.insert(name.clone());
            }
            told
        };
        self.consumed.iter().map(of).collect()
    }
}

/// The planned outputs for the stacks downstream. What rests on a value that only stood for the real one is not known.
pub fn passed_on(
    mut outputs: BTreeMap<String, PlannedOutput>,
    unreviewed: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, PlannedOutput> {
    for (name, output) in &mut outputs {
        if unreviewed.contains_key(&format!("output.{name}")) {
            output.planned = Planned::Unknown;
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RepoPath;
    use crate::domain::located::Place;
    use crate::domain::plan::FallbackTo;

    fn stack(name: &str) -> StackName {
        StackName::parse(name).expect("a name")
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn place() -> Place {
        Place::file(RepoPath::parse("app/main.tf").expect("a path"))
    }

    fn edge(because: Because, reads: Reads, outputs: &[(&str, &str)]) -> Edge {
        let pair = |(output, variable): &(&str, &str)| ((*output).to_owned(), (*variable).to_owned());
        Edge {
            downstream: stack("app"),
            upstream: stack("network"),
            outputs: outputs.iter().map(pair).collect(),
            reads,
            because,
        }
    }

    fn state(reads: Reads) -> Edge {
        let because = Because::RemoteState {
            place: place(),
            data_name: "net".to_owned(),
        };
        edge(because, reads, &[])
    }

    fn declared(outputs: &[(&str, &str)]) -> Edge {
        edge(
            Because::Declared { place: place() },
            Reads::Named(BTreeSet::new()),
            outputs,
        )
    }

    fn output(planned: Planned, prior: Option<&str>) -> PlannedOutput {
        PlannedOutput {
            sensitive: false,
            planned,
            prior: prior.map(Into::into),
            prior_kind: Default::default(),
        }
    }

    fn known(value: &str) -> Planned {
        Planned::Known {
            value: value.into(),
            kind: Default::default(),
        }
    }

    #[test]
    fn an_upstream_is_given_as_planned_only_where_every_read_of_it_can_be() {
        let named = || state(Reads::Named(names(&["cidr"])));
        let of = |edges: &[Edge]| {
            let fed = fed(edges, &stack("network"))?;
            let reads = fed.feeds.states.len() + fed.feeds.variables.len();
            Some((reads, fed.consumed, fed.is_named))
        };
        assert_eq!(of(&[named()]), Some((1, names(&["cidr"]), true)));
        assert_eq!(
            of(&[named(), declared(&[("id", "vpc")])]),
            Some((2, names(&["cidr", "id"]), true))
        );
        assert_eq!(of(&[state(Reads::Unknown), declared(&[("id", "vpc")])]), None);
        assert_eq!(of(&[declared(&[])]), None, "nothing says what it takes");
        assert_eq!(of(&[named(), declared(&[])]), Some((1, names(&["cidr"]), false)));
        assert_eq!(of(&[state(Reads::Named(names(&[])))]), Some((1, names(&[]), false)));
        assert_eq!(fed(&[named()], &stack("other")).map(|fed| fed.consumed), None);
    }

    #[test]
    fn only_what_is_taken_changes_anything() {
        let outputs = BTreeMap::from([
            ("same".to_owned(), output(known("a"), Some("a"))),
            ("other".to_owned(), output(known("b"), Some("a"))),
            ("new".to_owned(), output(known("a"), None)),
            ("open".to_owned(), output(Planned::Unknown, Some("a"))),
            ("gone".to_owned(), output(Planned::Removed, Some("a"))),
        ]);
        for (taken, expected) in [
            (&["same"][..], false),
            (&["same", "never"], false),
            (&["same", "other"], true),
            (&["new"], true),
            (&["open"], true),
            (&["gone"], true),
        ] {
            let edges = [state(Reads::Named(names(taken)))];
            let fed = fed(&edges, &stack("network")).expect("it is read");
            assert_eq!(fed.changes(&outputs), expected, "{taken:?}");
        }
        let variable = fed(&[declared(&[("never", "vpc")])], &stack("network")).expect("it is read");
        assert!(variable.changes(&outputs), "its plan says that there is none");
    }

    #[test]
    fn what_rests_on_a_stand_in_is_not_known_downstream_and_policies_are_told_names() {
        let outputs = BTreeMap::from([
            ("cidr".to_owned(), output(known("10."), Some("10."))),
            ("count".to_owned(), output(known("1"), Some("1"))),
            ("list".to_owned(), output(Planned::Unknown, Some("1"))),
        ]);
        let unreviewed = BTreeMap::from([("output.count".to_owned(), names(&[""]))]);
        let outputs = passed_on(outputs, &unreviewed);
        assert!(outputs["count"].planned == Planned::Unknown && outputs["cidr"].planned == known("10."));

        let mut taken = Taken::nothing();
        taken.cascade.upstreams.insert(stack("network"), outputs);
        let consumed = names(&["cidr", "count", "list", "never"]);
        taken.consumed.insert(stack("network"), consumed);
        let told = taken.told(&Provisional {
            upstreams: BTreeSet::from([stack("network")]),
            fallbacks: vec![Fallback {
                upstream: stack("network"),
                output: "list".to_owned(),
                to: FallbackTo::LastApplied,
                because: "a count".to_owned(),
                attributes: Vec::new(),
            }],
            not_evaluated: 0,
            read_today: Vec::new(),
        });
        let expected = UpstreamInput {
            stack: stack("network"),
            known: names(&["cidr"]),
            unknown: names(&["count"]),
            fallback: names(&["list"]),
        };
        assert_eq!(told, [expected]);
    }
}
